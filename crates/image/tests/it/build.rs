//! Make images, right ones and wrong ones.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use gristmill_image::{Digest, Host, Image, ImageError, LayerStore, Limits, Source};
use serde_json::{Value, json};

/// A tar that is made entry by entry, without the checks of the library that makes it.
#[derive(Default)]
pub struct Tar {
    bytes: Vec<u8>,
}

impl Tar {
    pub fn file(self, name: &str, content: &[u8]) -> Self {
        self.entry(name, tar::EntryType::Regular, "", content, 0o644)
    }

    pub fn folder(self, name: &str, mode: u32) -> Self {
        self.entry(name, tar::EntryType::Directory, "", &[], mode)
    }

    pub fn symlink(self, name: &str, target: &str) -> Self {
        self.entry(name, tar::EntryType::Symlink, target, &[], 0o777)
    }

    pub fn link(self, name: &str, target: &str) -> Self {
        self.entry(name, tar::EntryType::Link, target, &[], 0o644)
    }

    pub fn entry(mut self, name: &str, kind: tar::EntryType, target: &str, content: &[u8], mode: u32) -> Self {
        let mut header = tar::Header::new_ustar();
        // Written byte by byte: the library would refuse what an attacker writes.
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.as_old_mut().linkname[..target.len()].copy_from_slice(target.as_bytes());
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_size(content.len() as u64);
        header.set_mtime(1_500_000_000);
        header.set_cksum();
        self.bytes.extend(header.as_bytes());
        self.bytes.extend(content);
        self.bytes.resize(self.bytes.len().next_multiple_of(512), 0);
        self
    }

    pub fn raw(mut self, bytes: &[u8]) -> Self {
        self.bytes.extend(bytes);
        self
    }

    pub fn end(mut self) -> Vec<u8> {
        self.bytes.resize(self.bytes.len() + 1024, 0);
        self.bytes
    }
}

/// Numbers below a bound, the same ones for the same seed (Marsaglia's xorshift).
pub fn random(seed: u64) -> impl FnMut(usize) -> usize {
    println!("seed {seed:#x}");
    let mut state = seed;
    move |bound| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as usize % bound
    }
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub fn zstd(bytes: &[u8]) -> Vec<u8> {
    ruzstd::encoding::compress_to_vec(bytes, ruzstd::encoding::CompressionLevel::Fastest)
}

pub const LAYER_TAR: &str = "application/vnd.oci.image.layer.v1.tar";
pub const LAYER_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// The blobs and the index of an image, to be spoiled.
#[derive(Clone)]
pub struct Made {
    pub blobs: BTreeMap<Digest, Vec<u8>>,
    pub index: Value,
}

impl Made {
    /// An image of these tars, the lowest first, the first of them not compressed.
    pub fn new(layers: &[Vec<u8>]) -> Self {
        let mut made = Self { blobs: BTreeMap::new(), index: Value::Null };
        let (mut descriptors, mut diff_ids) = (Vec::new(), Vec::new());
        for (place, tar) in layers.iter().enumerate() {
            diff_ids.push(Digest::of(tar).to_string());
            let (bytes, kind) = if place == 0 { (tar.clone(), LAYER_TAR) } else { (gzip(tar), LAYER_GZIP) };
            descriptors.push(made.put(bytes, kind));
        }
        made.finish(&descriptors, &diff_ids, &Host::this());
        made
    }

    /// Describes layers that are there.
    pub fn finish(&mut self, layers: &[Value], diff_ids: &[String], host: &Host) {
        let manifest = self.manifest(layers, diff_ids, host);
        self.index = json!({"schemaVersion": 2, "manifests": [manifest]});
    }

    pub fn manifest(&mut self, layers: &[Value], diff_ids: &[String], host: &Host) -> Value {
        let config = json!({
            "architecture": host.architecture, "os": host.os,
            "config": {"Entrypoint": ["/bin/app"], "Cmd": ["--help"], "Env": ["PATH=/bin"], "WorkingDir": "/work"},
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        });
        let config = self.put(config.to_string().into_bytes(), "application/vnd.oci.image.config.v1+json");
        let manifest = json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers});
        self.put(manifest.to_string().into_bytes(), MANIFEST)
    }

    /// The digest of what the index leads to first.
    pub fn top(&self) -> Digest {
        self.index["manifests"][0]["digest"].as_str().unwrap().parse().unwrap()
    }

    /// Adds a blob, and describes it.
    pub fn put(&mut self, bytes: Vec<u8>, kind: &str) -> Value {
        let digest = Digest::of(&bytes);
        let descriptor = json!({"mediaType": kind, "digest": digest.to_string(), "size": bytes.len()});
        self.blobs.insert(digest, bytes);
        descriptor
    }

    pub fn archive(&self) -> Vec<u8> {
        let mut tar = Tar::default().file("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#);
        for (digest, bytes) in &self.blobs {
            tar = tar.file(&format!("blobs/sha256/{}", digest.hex()), bytes);
        }
        tar.file("index.json", self.index.to_string().as_bytes()).end()
    }

    pub fn layout(&self, folder: &Path) {
        std::fs::create_dir_all(folder.join("blobs/sha256")).unwrap();
        for (digest, bytes) in &self.blobs {
            std::fs::write(folder.join("blobs/sha256").join(digest.hex()), bytes).unwrap();
        }
        std::fs::write(folder.join("index.json"), self.index.to_string()).unwrap();
    }
}

/// A folder with a store in it, and beside the store a file that must stay as it is.
pub struct Place {
    pub folder: tempfile::TempDir,
    pub limits: Limits,
}

impl Place {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("precious"), "precious").unwrap();
        let limits = Limits { unpacked_bytes: 8 << 20, entries: 1_000 };
        Self { folder, limits }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Opens an archive of these bytes and unpacks the image in it.
    pub fn unpack(&self, archive: &[u8]) -> Result<(Image, Vec<PathBuf>), ImageError> {
        std::fs::write(self.path("image.tar"), archive).unwrap();
        let mut source = Source::open(&self.path("image.tar"))?;
        let image = source.image(&Host::this(), None)?;
        let store = LayerStore::open(&self.path("layers"))?;
        let layers = store.unpack(&mut source, &image, self.limits)?;
        Ok((image, layers))
    }

    /// An image of one layer.
    pub fn unpack_layer(&self, tar: Vec<u8>) -> Result<PathBuf, ImageError> {
        let (_, layers) = self.unpack(&Made::new(&[tar]).archive())?;
        Ok(layers[0].clone())
    }

    /// Nothing but layers, whole ones, came to be.
    pub fn assert_untouched(&self) {
        assert_eq!(std::fs::read(self.path("precious")).unwrap(), b"precious");
        let names = |folder: &Path| -> Vec<String> {
            let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
            let mut names: Vec<String> =
                entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
            names.sort();
            names
        };
        let mut expected = vec!["image.tar", "layers", "precious"];
        expected.retain(|name| *name != "layers" || self.path("layers").exists());
        assert_eq!(names(self.folder.path()), expected);
        assert_eq!(names(&self.path("layers/unfinished")), Vec::<String>::new());
        for name in names(&self.path("layers/layers")) {
            assert_eq!(name.len(), 64, "{name} is no layer");
        }
    }
}
