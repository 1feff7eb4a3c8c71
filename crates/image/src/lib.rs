//! Read container images, unpack their layers so that nothing else on the machine is touched, and write images.
//!
//! An image is what the OCI image specification 1.1 says: an index, a manifest, a configuration and layers, each known by the
//! SHA-256 of its bytes. It comes as a folder (an *image layout*), as a tar of one (an *archive*: `docker save` since 25,
//! `podman save --format oci-archive`, `skopeo copy ... oci-archive:`) or from a registry. Who made it is a stranger, and so is the
//! registry: every digest and size is checked, every list is bounded, and no entry of a layer leaves the layer's own folder.
//!
//! Key types: [`Source`] is the file, the folder or the registry's image that a [`Reference`] names, [`Image`] what it says,
//! [`LayerStore`] keeps unpacked layers by what is in them, so that images share them and tasks stack them instead of copying.
//! [`PackedLayer`] is made of a folder, and [`Writer`] makes an archive of such layers, the same bytes each time.
//!
//! ```no_run
//! use gristmill_image::{Host, LayerStore, Limits, Source};
//!
//! let mut source = Source::open("vina.oci.tar".as_ref())?;
//! let image = source.image(&Host::this(), None)?;
//! let store = LayerStore::open("layers".as_ref())?;
//! // Lowest first, as a stack of folders for overlayfs.
//! let layers = store.unpack(&mut source, &image, Limits::default())?;
//! println!("{} runs {:?} on {} layers", image.digest, image.command(), layers.len());
//! # Ok::<(), gristmill_image::ImageError>(())
//! ```
//!
//! From a registry, by its digest, it is [`Source::pull`] instead of [`Source::open`]; the rest is the same, and what is not there
//! yet comes when it is needed.

mod digest;
mod error;
mod image;
mod layer;
mod reference;
mod registry;
mod source;
mod store;
mod writer;
mod zstd;

pub use digest::Digest;
pub use error::ImageError;
pub use image::{Host, Image, Layer};
pub use layer::Limits;
pub use reference::{Reference, ReferenceError};
pub use registry::{Access, BLOB_BYTES_MAX, Credentials, Fetched, Logins, OnProgress, PARTS_MAX, Pace, RegistryError};
pub use source::Source;
pub use store::LayerStore;
pub use writer::{PackedLayer, Run, Times, Writer};

/// Bytes of an index, a manifest or a configuration.
pub const JSON_BYTES_MAX: u64 = 4 << 20;
/// Layers of an image: more do not fit the options of one overlay mount.
pub const LAYERS_MAX: usize = 127;
/// Indexes inside indexes that are followed.
pub const INDEX_DEPTH_MAX: usize = 3;
/// Manifests of an index.
pub const MANIFESTS_MAX: usize = 256;
