use std::fs::{self, DirBuilder, File, TryLockError};
use std::io::Read;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;

use crate::digest::{Digest, Hashing};
use crate::error::ImageError;
use crate::image::{Compression, Image, Layer};
use crate::layer::{self, Limits, Unpacked};
use crate::source::Source;

/// What a layer's folder is called until it is whole.
const UNFINISHED: &str = ".unpacking-";
const LOCK: &str = ".lock";

/// Unpacked layers, each in a folder that is named by what is in it (its diff id). One process has it at a time.
///
/// The folders belong to who runs this process, whatever the image says of owners, and nothing in them has set-user-id. Overlayfs
/// takes them as lower folders, with the option `userxattr`.
#[derive(Debug)]
pub struct LayerStore {
    folder: PathBuf,
    _lock: File,
}

impl LayerStore {
    /// Opens the folder, and makes it if it is not there. What an interrupted unpacking has left is taken away.
    ///
    /// # Errors
    /// [`ImageError::Busy`] when another process has it.
    pub fn open(folder: &Path) -> Result<Self, ImageError> {
        DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(ImageError::io(folder))?;
        let place = folder.join(LOCK);
        let lock = File::create(&place).map_err(ImageError::io(&place))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(ImageError::Busy { path: folder.to_owned() }),
            Err(TryLockError::Error(error)) => return Err(ImageError::Io { path: place, error }),
        }
        for entry in fs::read_dir(folder).map_err(ImageError::io(folder))? {
            let entry = entry.map_err(ImageError::io(folder))?;
            if entry.file_name().to_string_lossy().starts_with(UNFINISHED) {
                fs::remove_dir_all(entry.path()).map_err(ImageError::io(&entry.path()))?;
            }
        }
        Ok(Self { folder: folder.to_owned(), _lock: lock })
    }

    /// Unpacks the layers that are not there yet, and returns the folders of all, the lowest first.
    ///
    /// # Errors
    /// [`ImageError`]: layers unpacked before the one at fault stay, of that one nothing is left.
    pub fn unpack(&self, source: &mut Source, image: &Image, limits: Limits) -> Result<Vec<PathBuf>, ImageError> {
        let mut left = limits;
        let mut stack = Vec::with_capacity(image.layers.len());
        for layer in &image.layers {
            let folder = self.folder_of(layer.diff_id);
            if !folder.is_dir() {
                let unpacked = self.unpack_layer(source, layer, left, limits)?;
                left.unpacked_bytes = left.unpacked_bytes.saturating_sub(unpacked.bytes);
                tracing::debug!(diff_id = %layer.diff_id, ?unpacked, "unpacked a layer");
            }
            stack.push(folder);
        }
        Ok(stack)
    }

    /// Where a layer is, or would be.
    pub fn folder_of(&self, diff_id: Digest) -> PathBuf {
        self.folder.join(diff_id.hex())
    }

    /// `limits`: of the whole image, for messages; `left`: what of them is left.
    fn unpack_layer(
        &self,
        source: &mut Source,
        layer: &Layer,
        left: Limits,
        limits: Limits,
    ) -> Result<Unpacked, ImageError> {
        let unfinished = tempfile::Builder::new().prefix(UNFINISHED).tempdir_in(&self.folder);
        let unfinished = unfinished.map_err(ImageError::io(&self.folder))?;
        let path = source.path().to_owned();
        let mut blob = source.blob(layer.digest, layer.size)?;
        let plain: Box<dyn Read + '_> = match layer.compression {
            Compression::None => Box::new(&mut blob),
            Compression::Gzip => Box::new(MultiGzDecoder::new(&mut blob)),
        };
        let mut tar = Hashing::new(plain, left.unpacked_bytes);
        let unpacked = layer::unpack(layer.digest, &mut tar, unfinished.path(), left).map_err(|error| match error {
            ImageError::TooLarge { what, why, limit } if limit == left.unpacked_bytes => {
                ImageError::TooLarge { what, why, limit: limits.unpacked_bytes }
            }
            other => other,
        })?;
        let (_, found) = tar.finish().map_err(|error| layer::read_error(layer.digest, limits, error))?;
        blob.finish(&path)?;
        if found != layer.diff_id {
            return Err(ImageError::Digest { expected: layer.diff_id, found });
        }
        let folder = self.folder_of(layer.diff_id);
        fs::rename(unfinished.path(), &folder).map_err(ImageError::io(&folder))?;
        // Its name is gone, so that there is nothing to take away.
        let _ = unfinished.keep();
        Ok(unpacked)
    }
}
