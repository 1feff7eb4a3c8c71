use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::lchown;
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;
use gristmill_datadir::DataDir;
use rustix::fs::syncfs;

use crate::digest::{Digest, Hashing};
use crate::error::ImageError;
use crate::image::{Compression, Image, Layer};
use crate::layer::{self, Limits};
use crate::source::Source;
use crate::zstd;

/// What the folder says it is, and how its layers are unpacked: another way is another version.
const KIND: &str = "layers";
const VERSION: u32 = 1;

/// Unpacked layers, each in a folder that is named by what is in it (its diff id). One process has it at a time.
///
/// The folders belong to who runs this process, whatever the image says of owners, and nothing in them has set-user-id. Overlayfs
/// takes them as lower folders, with the option `userxattr`.
#[derive(Debug)]
pub struct LayerStore {
    _folder: DataDir,
    layers: PathBuf,
    /// Where a layer lies until it is whole.
    unfinished: PathBuf,
    /// Whose the layers are to be, if not this process's user's.
    owner: Option<(u32, u32)>,
}

impl LayerStore {
    /// Opens the folder, and makes it if it is not there. What an interrupted unpacking has left is taken away.
    ///
    /// # Errors
    /// [`ImageError::Store`] when another process has it, or it is another program's.
    pub fn open(path: &Path) -> Result<Self, ImageError> {
        let folder = DataDir::open(path, KIND, VERSION)?;
        let (layers, unfinished) = (folder.subdir("layers")?, folder.subdir("unfinished")?);
        for entry in fs::read_dir(&unfinished).map_err(ImageError::io(&unfinished))? {
            let left_over = entry.map_err(ImageError::io(&unfinished))?.path();
            fs::remove_dir_all(&left_over).map_err(ImageError::io(&left_over))?;
        }
        Ok(Self { _folder: folder, layers, unfinished, owner: None })
    }

    /// What is unpacked from now on belongs to this user and group; only root can give it away.
    #[must_use]
    pub fn owned_by(self, uid: u32, gid: u32) -> Self {
        Self { owner: Some((uid, gid)), ..self }
    }

    /// Unpacks the layers that are not there yet, and returns the folders of all, the lowest first.
    ///
    /// # Errors
    /// [`ImageError`]: layers unpacked before the one at fault stay, of that one nothing is left.
    pub fn unpack(&self, source: &mut Source, image: &Image, limits: Limits) -> Result<Vec<PathBuf>, ImageError> {
        let mut left = limits.unpacked_bytes;
        let mut stack = Vec::with_capacity(image.layers.len());
        for layer in &image.layers {
            let folder = self.folder_of(layer.diff_id);
            if !folder.is_dir() {
                let bytes = self.unpack_layer(source, layer, limits, left)?;
                left = left.saturating_sub(bytes);
            }
            stack.push(folder);
        }
        Ok(stack)
    }

    /// Where a layer is, or would be.
    pub fn folder_of(&self, diff_id: Digest) -> PathBuf {
        self.layers.join(diff_id.hex())
    }

    /// `left`: what of the image's bytes is left for this layer. Returns what it took of them.
    fn unpack_layer(&self, source: &mut Source, layer: &Layer, limits: Limits, left: u64) -> Result<u64, ImageError> {
        let unfinished = tempfile::tempdir_in(&self.unfinished).map_err(ImageError::io(&self.unfinished))?;
        let path = source.path().to_owned();
        let mut blob = source.blob(layer.digest, layer.size)?;
        let plain: Box<dyn Read + '_> = match layer.compression {
            Compression::None => Box::new(&mut blob),
            Compression::Gzip => Box::new(MultiGzDecoder::new(&mut blob)),
            Compression::Zstd => Box::new(zstd::Frames::new(&mut blob)),
        };
        let mut tar = Hashing::new(plain, left);
        let unpacked = layer::unpack(layer.digest, &mut tar, unfinished.path(), limits, left)?;
        let (bytes, found) = tar.finish().map_err(|error| layer::read_error(layer.digest, limits, error))?;
        blob.finish(&path)?;
        if found != layer.diff_id {
            return Err(ImageError::Digest { expected: layer.diff_id, found });
        }
        tracing::debug!(diff_id = %layer.diff_id, ?unpacked, "unpacked a layer");
        if let Some(owner) = self.owner {
            give(unfinished.path(), owner)?;
        }
        // A folder with this name is taken for whole: its files must be on the disk before it has the name.
        let opened = File::open(unfinished.path()).map_err(ImageError::io(unfinished.path()))?;
        syncfs(&opened).map_err(|error| ImageError::io(unfinished.path())(error.into()))?;
        let folder = self.folder_of(layer.diff_id);
        fs::rename(unfinished.path(), &folder).map_err(ImageError::io(&folder))?;
        // Its name is gone, so that there is nothing to take away.
        let _ = unfinished.keep();
        // A sparse file has more bytes on disk than in the tar.
        Ok(bytes.max(unpacked.bytes))
    }
}

/// Makes a folder and all in it somebody's. Follows no link.
fn give(path: &Path, (uid, gid): (u32, u32)) -> Result<(), ImageError> {
    lchown(path, Some(uid), Some(gid)).map_err(ImageError::io(path))?;
    if fs::symlink_metadata(path).map_err(ImageError::io(path))?.is_dir() {
        for entry in fs::read_dir(path).map_err(ImageError::io(path))? {
            give(&entry.map_err(ImageError::io(path))?.path(), (uid, gid))?;
        }
    }
    Ok(())
}
