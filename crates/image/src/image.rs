use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;

use crate::digest::Digest;
use crate::error::ImageError;
use crate::source::Source;
use crate::{INDEX_DEPTH_MAX, LAYERS_MAX, MANIFESTS_MAX};

/// How an index names the image in it (image specification, pre-defined annotation keys).
pub(crate) const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// For which machines an image is made: Go's names, as the image specification uses them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// "linux".
    pub os: String,
    /// "amd64", "arm64".
    pub architecture: String,
}

impl Host {
    /// This machine.
    pub fn this() -> Self {
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        Self { os: std::env::consts::OS.to_owned(), architecture: architecture.to_owned() }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)
    }
}

/// What an image says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// Of its manifest: what names the image everywhere.
    pub digest: Digest,
    /// For which machines it is.
    pub host: Host,
    /// Its layers, the lowest first.
    pub layers: Vec<Layer>,
    /// What is run before the arguments.
    pub entrypoint: Vec<String>,
    /// What is run, or the arguments, when none are given.
    pub cmd: Vec<String>,
    /// `NAME=value`.
    pub env: Vec<String>,
    /// Where it is run; empty for `/`.
    pub working_dir: String,
    /// As whom: a name or a number, with a group behind a colon; empty for root.
    pub user: String,
}

impl Image {
    /// What is run when no arguments are given.
    pub fn command(&self) -> Vec<&str> {
        self.entrypoint.iter().chain(&self.cmd).map(String::as_str).collect()
    }
}

/// A layer of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    /// Of its bytes as they are in the image.
    pub digest: Digest,
    /// Of the tar in it: what names the layer's content, however it is compressed.
    pub diff_id: Digest,
    /// Its bytes in the image.
    pub size: u64,
    /// How it is compressed.
    pub(crate) compression: Compression,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Compression {
    None,
    Gzip,
}

#[derive(Deserialize)]
struct Index {
    manifests: Vec<Descriptor>,
}

#[derive(Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Descriptor {
    #[serde(default)]
    pub media_type: String,
    pub digest: Digest,
    pub size: u64,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
    platform: Option<Platform>,
}

#[derive(Clone, Deserialize)]
struct Platform {
    os: String,
    architecture: String,
}

#[derive(Deserialize)]
struct Manifest {
    config: Descriptor,
    layers: Vec<Descriptor>,
}

#[derive(Deserialize)]
struct Configuration {
    os: String,
    architecture: String,
    rootfs: RootFs,
    #[serde(default)]
    config: RunConfiguration,
}

#[derive(Deserialize)]
struct RootFs {
    #[serde(rename = "type")]
    kind: String,
    diff_ids: Vec<Digest>,
}

/// Missing and `null` are the same here.
#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct RunConfiguration {
    entrypoint: Option<Vec<String>>,
    cmd: Option<Vec<String>>,
    env: Option<Vec<String>>,
    working_dir: Option<String>,
    user: Option<String>,
}

/// A manifest that an index leads to, and by what name.
struct Found {
    descriptor: Descriptor,
    name: Option<String>,
}

/// Reads the image for `host` that is called `name`; without a name there must be one only.
pub(crate) fn read(source: &mut Source, host: &Host, name: Option<&str>) -> Result<Image, ImageError> {
    let mut found = Vec::new();
    let index = source.index()?;
    collect(source, &index, "index.json", None, 0, &mut found)?;
    if found.is_empty() {
        return Err(ImageError::malformed("index.json", "it leads to no image"));
    }
    let names = || -> Vec<String> {
        let mut names: Vec<String> = found
            .iter()
            .map(|found| found.name.clone().unwrap_or_else(|| found.descriptor.digest.to_string()))
            .collect();
        names.dedup();
        names
    };
    let is_named = |found: &&Found| {
        name.is_none_or(|name| found.name.as_deref() == Some(name) || found.descriptor.digest.to_string() == name)
    };
    let named: Vec<&Found> = found.iter().filter(is_named).collect();
    if let (true, Some(wanted)) = (named.is_empty(), name) {
        return Err(ImageError::NoSuchName { wanted: wanted.to_owned(), names: names() });
    }
    let fits = |found: &&&Found| match &found.descriptor.platform {
        Some(platform) => platform.os == host.os && platform.architecture == host.architecture,
        // The configuration will tell.
        None => true,
    };
    let mut fitting: Vec<&&Found> = named.iter().filter(fits).collect();
    fitting.sort_by_key(|found| found.descriptor.digest);
    fitting.dedup_by_key(|found| found.descriptor.digest);
    match fitting.as_slice() {
        [] => {
            let of = |found: &&Found| {
                let platform = found.descriptor.platform.as_ref();
                platform.map_or("nothing".to_owned(), |platform| format!("{}/{}", platform.os, platform.architecture))
            };
            let has: Vec<String> = named.iter().map(of).collect();
            Err(ImageError::OtherPlatform { has: has.join(", "), wanted: host.to_string() })
        }
        [one] => {
            let descriptor = one.descriptor.clone();
            read_manifest(source, &descriptor, host)
        }
        _ => Err(ImageError::Ambiguous { names: names() }),
    }
}

/// The image manifests of an index and of the indexes in it.
fn collect(
    source: &mut Source,
    bytes: &[u8],
    place: &str,
    name: Option<&str>,
    depth: usize,
    found: &mut Vec<Found>,
) -> Result<(), ImageError> {
    let index: Index = parse(bytes, place)?;
    for descriptor in index.manifests {
        let name = descriptor.annotations.get(REF_NAME).cloned().or_else(|| name.map(str::to_owned));
        if is_index(&descriptor.media_type) {
            if depth == INDEX_DEPTH_MAX {
                return Err(ImageError::TooLarge {
                    what: "indexes inside indexes".to_owned(),
                    limit: INDEX_DEPTH_MAX as u64,
                    why: "an index that leads to itself would never end",
                });
            }
            let inner = source.json(&descriptor)?;
            collect(source, &inner, &descriptor.digest.to_string(), name.as_deref(), depth + 1, found)?;
        } else if is_manifest(&descriptor.media_type) && !is_attestation(&descriptor) {
            found.push(Found { descriptor, name });
        }
        if found.len() > MANIFESTS_MAX {
            return Err(ImageError::TooLarge {
                what: "images in one file".to_owned(),
                limit: MANIFESTS_MAX as u64,
                why: "name the one you mean in a file of its own",
            });
        }
    }
    Ok(())
}

fn read_manifest(source: &mut Source, descriptor: &Descriptor, host: &Host) -> Result<Image, ImageError> {
    let place = format!("manifest {}", descriptor.digest);
    let manifest: Manifest = parse(&source.json(descriptor)?, &place)?;
    if manifest.layers.len() > LAYERS_MAX {
        return Err(ImageError::TooLarge {
            what: format!("{} layers", manifest.layers.len()),
            limit: LAYERS_MAX as u64,
            why: "more do not fit one overlay mount; squash the image",
        });
    }
    let config_place = format!("configuration {}", manifest.config.digest);
    let configuration: Configuration = parse(&source.json(&manifest.config)?, &config_place)?;
    let made_for = Host { os: configuration.os, architecture: configuration.architecture };
    if made_for != *host {
        return Err(ImageError::OtherPlatform { has: made_for.to_string(), wanted: host.to_string() });
    }
    let RootFs { kind, diff_ids } = configuration.rootfs;
    if kind != "layers" || diff_ids.len() != manifest.layers.len() {
        let what = format!(
            "its root file system has {} {kind:?} and the manifest {} layers",
            diff_ids.len(),
            manifest.layers.len()
        );
        return Err(ImageError::malformed(config_place, what));
    }
    let layers = manifest.layers.iter().zip(diff_ids).map(|(layer, diff_id)| {
        let compression = compression_of(&layer.media_type).map_err(|what| ImageError::malformed(&place, what))?;
        Ok(Layer { digest: layer.digest, diff_id, size: layer.size, compression })
    });
    let layers = layers.collect::<Result<Vec<_>, ImageError>>()?;
    let run = configuration.config;
    let image = Image {
        digest: descriptor.digest,
        host: made_for,
        layers,
        entrypoint: run.entrypoint.unwrap_or_default(),
        cmd: run.cmd.unwrap_or_default(),
        env: run.env.unwrap_or_default(),
        working_dir: run.working_dir.unwrap_or_default(),
        user: run.user.unwrap_or_default(),
    };
    no_zeros(&image).map_err(|what| ImageError::malformed(config_place, what))?;
    Ok(image)
}

/// What goes to the kernel as text ends at the first zero byte: one inside would hide what comes after it.
fn no_zeros(image: &Image) -> Result<(), String> {
    let texts = image.entrypoint.iter().chain(&image.cmd).chain(&image.env).chain([&image.working_dir, &image.user]);
    for text in texts {
        if text.contains('\0') {
            return Err(format!("{:?} has a zero byte", text.chars().take(40).collect::<String>()));
        }
    }
    match image.env.iter().find(|variable| !variable.contains('=') || variable.starts_with('=')) {
        Some(variable) => Err(format!("{variable:?} is no NAME=value")),
        None => Ok(()),
    }
}

fn is_index(media_type: &str) -> bool {
    matches!(
        media_type,
        "application/vnd.oci.image.index.v1+json" | "application/vnd.docker.distribution.manifest.list.v2+json"
    )
}

fn is_manifest(media_type: &str) -> bool {
    matches!(
        media_type,
        "" | "application/vnd.oci.image.manifest.v1+json" | "application/vnd.docker.distribution.manifest.v2+json"
    )
}

/// Build tools put statements about an image beside it, as a manifest for no machine.
fn is_attestation(descriptor: &Descriptor) -> bool {
    descriptor.platform.as_ref().is_some_and(|platform| platform.os == "unknown" && platform.architecture == "unknown")
}

fn compression_of(media_type: &str) -> Result<Compression, String> {
    match media_type {
        "application/vnd.oci.image.layer.v1.tar" | "application/vnd.docker.image.rootfs.diff.tar" => {
            Ok(Compression::None)
        }
        "application/vnd.oci.image.layer.v1.tar+gzip"
        | "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"
        | "application/vnd.docker.image.rootfs.diff.tar.gzip" => Ok(Compression::Gzip),
        other => Err(format!("layers of type `{}` are not read, only tar and tar+gzip", other.escape_default())),
    }
}

fn parse<'a, T: Deserialize<'a>>(bytes: &'a [u8], place: &str) -> Result<T, ImageError> {
    serde_json::from_slice(bytes).map_err(|error| ImageError::malformed(place, error))
}
