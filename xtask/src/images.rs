//! Build the applications that are container images: Debian packages and a few files, as OCI archives.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use gristmill_image::{Host, PackedLayer, Run, Times, Writer};
use serde::Deserialize;

use crate::debian;
use crate::step::command;

/// The Debian release that all images begin with.
const RELEASE: &str = "bookworm";
/// Where an image's own files are in it.
const FILES_FOLDER: &str = "app";

/// What a host needs, and why.
const NEEDS: &str =
    "images are built on Debian or Ubuntu as root: debootstrap makes the base and overlay mounts the layers";

/// `apps/NAME/image.toml`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Recipe {
    /// Debian packages, installed without what they recommend.
    packages: Vec<String>,
    /// What is run before the arguments.
    entrypoint: Vec<String>,
    /// `NAME=value`.
    #[serde(default)]
    env: Vec<String>,
    /// Files of the application's folder, copied to `/app`.
    #[serde(default)]
    files: Vec<String>,
}

/// Builds the named images, or all.
pub fn build(names: &[&str]) -> Result<()> {
    let names = if names.is_empty() { all()? } else { names.iter().map(|name| (*name).to_owned()).collect() };
    let recipes = names.iter().map(|name| recipe(name)).collect::<Result<Vec<_>>>()?;
    require_host()?;
    let target = target();
    fs::create_dir_all(&target).with_context(|| format!("cannot make {}", target.display()))?;
    let base = base(&target)?;
    let started = Instant::now();
    let base_layer = PackedLayer::of_folder(&base, Times::Zero, &target)?;
    eprintln!("base: {} MB packed in {:.1} s", base_layer.size() / 1_000_000, started.elapsed().as_secs_f64());
    for (name, recipe) in names.iter().zip(recipes) {
        image(name, &recipe, &target, &base, &base_layer)
            .with_context(|| format!("cannot build the image of {name}"))?;
    }
    Ok(())
}

/// Builds those of the named images that are not built, or before the last change of what they are made of here.
pub fn build_older(names: &[&str]) -> Result<()> {
    let mut older = Vec::new();
    for name in names {
        if !is_newest(&archive(name), name)? {
            older.push(*name);
        }
    }
    if older.is_empty() { Ok(()) } else { build(&older) }
}

fn is_newest(archive: &Path, name: &str) -> Result<bool> {
    let Ok(built) = fs::metadata(archive).and_then(|file| file.modified()) else {
        return Ok(false);
    };
    let apps = crate::root().join("apps");
    let folder = apps.join(name);
    let mut parts = vec![apps.join("layer.sh"), folder.join("image.toml")];
    parts.extend(recipe(name)?.files.iter().map(|file| folder.join(file)));
    for part in parts {
        let changed = fs::metadata(&part).and_then(|file| file.modified());
        if changed.with_context(|| format!("cannot look at {}", part.display()))? > built {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The archive of an image.
pub fn archive(name: &str) -> PathBuf {
    target().join(format!("{name}.oci.tar"))
}

/// Where the archives go: `apps` in cargo's target folder.
pub fn target() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    crate::root().join(target.unwrap_or_else(|| "target".into())).join("apps")
}

/// The applications that are images, by name.
pub fn all() -> Result<Vec<String>> {
    let folder = crate::root().join("apps");
    let mut names = Vec::new();
    for entry in fs::read_dir(&folder).with_context(|| format!("cannot list {}", folder.display()))? {
        let entry = entry?;
        if entry.path().join("image.toml").is_file() {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    names.sort();
    Ok(names)
}

fn recipe(name: &str) -> Result<Recipe> {
    let path = crate::root().join("apps").join(name).join("image.toml");
    let text = fs::read_to_string(&path).with_context(|| format!("apps/{name} is no image: no image.toml in it"))?;
    let recipe: Recipe = toml::from_str(&text).with_context(|| format!("apps/{name}/image.toml"))?;
    if let Some(file) = recipe.files.iter().find(|file| file.contains('/')) {
        bail!("apps/{name}/image.toml: `{file}` should be the name of a file in apps/{name}");
    }
    Ok(recipe)
}

/// Fails unless root runs this: only root mounts and calls `chroot`.
pub fn require_root() -> Result<()> {
    let user = command("id", &["-u"]).output()?;
    if user.trim() != "0" {
        bail!(
            "images are built and run directly as root, with mounts and chroot, and this is user {}: use sudo",
            user.trim()
        );
    }
    Ok(())
}

/// Fails with what is missing, and installs debootstrap if only that is.
fn require_host() -> Result<()> {
    if command("debootstrap", &["--version"]).output().is_err() {
        let arguments = ["-qq", "-y", "--no-install-recommends", "install", "debootstrap"];
        // What it lacks is said below.
        let _ = command("apt-get", &arguments).env("DEBIAN_FRONTEND", "noninteractive").output();
    }
    match debian::missing() {
        missing if missing.is_empty() => Ok(()),
        missing => bail!("{NEEDS}; here\n  {}", missing.join("\n  ")),
    }
}

/// The base's folder, made once.
fn base(target: &Path) -> Result<PathBuf> {
    let base = target.join("base");
    if base.is_dir() {
        return Ok(base);
    }
    let unfinished = target.join("base-unclean");
    remove(&unfinished)?;
    debian::bootstrap(RELEASE, &[], &unfinished)?;
    command("sh", &["apps/layer.sh", "clean", text(&unfinished)?]).run()?;
    fs::rename(&unfinished, &base).with_context(|| format!("cannot make {}", base.display()))?;
    Ok(base)
}

fn image(name: &str, recipe: &Recipe, target: &Path, base: &Path, base_layer: &PackedLayer) -> Result<()> {
    let started = Instant::now();
    let work = target.join(format!("{name}.build"));
    remove(&work)?;
    let upper = work.join("upper");
    let cache = target.join("cache");
    if !recipe.packages.is_empty() {
        let mut arguments = vec!["--mount", "--propagation", "private", "sh", "apps/layer.sh", "install"];
        arguments.extend([text(base)?, text(&work)?, text(&cache)?]);
        arguments.extend(recipe.packages.iter().map(String::as_str));
        command("unshare", &arguments).run()?;
    }
    let folder = upper.join(FILES_FOLDER);
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    for path in [&upper, &folder] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755))?;
    }
    for file in &recipe.files {
        copy(&crate::root().join("apps").join(name).join(file), &folder.join(file))?;
    }
    let installed = started.elapsed().as_secs_f64();
    let layer = PackedLayer::of_folder(&upper, Times::Zero, target)?;
    let archive = archive(name);
    let run = Run { entrypoint: recipe.entrypoint.clone(), env: recipe.env.clone(), ..Run::default() };
    let digest = Writer::new(Host::this()).layer(base_layer).layer(&layer).write(&archive, name, &run)?;
    remove(&work)?;
    eprintln!(
        "{name}: {digest}\n  {}, its own layer {} MB, installed in {installed:.0} s, packed in {:.0} s",
        archive.display(),
        layer.size() / 1_000_000,
        started.elapsed().as_secs_f64() - installed,
    );
    Ok(())
}

/// A file as it is checked in, whatever the builder's umask: others may read it, and run it if its owner may.
fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::copy(from, to).with_context(|| format!("cannot copy {}", from.display()))?;
    let is_program = fs::metadata(from)?.permissions().mode() & 0o100 != 0;
    fs::set_permissions(to, fs::Permissions::from_mode(if is_program { 0o755 } else { 0o644 }))?;
    Ok(())
}

/// Removes a folder if it is there.
pub fn remove(folder: &Path) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    Ok(())
}

/// A path as an argument.
pub fn text(path: &Path) -> Result<&str> {
    path.to_str().with_context(|| format!("{} is no UTF-8, and a program is to be told of it", path.display()))
}
