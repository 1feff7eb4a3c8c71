//! Read an app of the user's own: a module, an image, a comparator.

use alloy_primitives::B256;
use gristmill_image::{Host, ImageError, Source};
use gristmill_types::{AppCode, Comparator, Program};

use crate::inputs::{InputError, LocalFile, read_file};
use crate::module::{check_module, is_tar};
use crate::request::{AppSource, CompareRequest};

/// Endings that are no part of an app's name, the longest first.
const ENDINGS: [&str; 4] = [".oci.tar", ".docker.tar", ".tar", ".wasm"];

/// An app of the user's own, read and checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalApp {
    /// What it will be called: its file's name, or its image's.
    pub name: String,
    /// What it is made of.
    pub code: AppCode,
    /// What has to be uploaded.
    pub files: Vec<LocalFile>,
}

impl LocalApp {
    /// What it is registered with: the hash of its program, whichever names it.
    pub fn checksum(&self) -> B256 {
        match &self.code.program {
            Program::Wasm(id) | Program::Archive(id) => B256::from(*id.as_bytes()),
            Program::Registry(reference) => {
                let digest = reference.rsplit(':').next().unwrap_or_default();
                // INVARIANT: a reference is pinned by 64 digits, or it would be none of ours.
                digest.parse().unwrap_or_default()
            }
        }
    }
}

/// Reads what `source` names, if it is the user's own; `None` for what is registered already. Blocks.
///
/// # Errors
/// [`InputError`]: a file that is missing, empty, neither module nor image, or changes meanwhile.
pub fn read(source: &AppSource, compare: Option<&CompareRequest>) -> Result<Option<LocalApp>, InputError> {
    let mut app = match source {
        AppSource::Named(_) | AppSource::Address(_) => return Ok(None),
        AppSource::Image(reference) => {
            let name = reference.split('@').next().and_then(|name| name.rsplit('/').next()).unwrap_or_default();
            let name = name.split(':').next().unwrap_or_default().to_owned();
            let code = AppCode { program: Program::Registry(reference.clone()), compare: None };
            LocalApp { name, code, files: Vec::new() }
        }
        AppSource::File(path) => {
            let file = match read_file(path) {
                // The module check has the better words for an empty one.
                Err(InputError::Empty { .. }) => {
                    check_module(path, &[])?;
                    return Ok(None);
                }
                file => file?,
            };
            let program = if is_tar(&file.head) {
                check_image(&file)?;
                Program::Archive(file.content)
            } else {
                check_module(path, &file.head)?;
                Program::Wasm(file.content)
            };
            let ending = ENDINGS.iter().find(|ending| file.name.ends_with(*ending)).copied().unwrap_or_default();
            let name = file.name[..file.name.len() - ending.len()].to_owned();
            LocalApp { name, code: AppCode { program, compare: None }, files: vec![file] }
        }
    };
    if let Some(CompareRequest { module, args }) = compare {
        let file = read_file(module)?;
        check_module(module, &file.head)?;
        app.code.compare = Some(Comparator { module: file.content, args: args.clone() });
        app.files.push(file);
    }
    Ok(Some(app))
}

/// Finds out now what every worker would find out later. An image for other machines passes: the workers may be such.
fn check_image(file: &LocalFile) -> Result<(), ImageError> {
    match Source::open(&file.path)?.image(&Host::this(), None) {
        Ok(_) | Err(ImageError::OtherPlatform { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_of_a_registry_is_known_by_its_digest() {
        let reference = format!("registry.example/some/tool:1.2@sha256:{}", "ab".repeat(32));
        let app = read(&AppSource::parse(&reference), None).unwrap().unwrap();
        assert_eq!((app.name.as_str(), app.checksum()), ("tool", B256::repeat_byte(0xab)));
        assert_eq!(app.code.to_string(), reference);
    }

    #[test]
    fn a_comparator_goes_with_the_app_and_is_uploaded_too() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        std::fs::write(path("app.wasm"), b"\0asm\x01\0\0\0").unwrap();
        std::fs::write(path("same.wasm"), b"\0asm\x01\0\0\0\0").unwrap();
        std::fs::write(path("text.wasm"), b"hello").unwrap();
        let compare = CompareRequest { module: path("same.wasm"), args: vec!["--digits".into(), "6".into()] };
        let app = read(&AppSource::File(path("app.wasm")), Some(&compare)).unwrap().unwrap();
        assert_eq!((app.name.as_str(), app.files.len()), ("app", 2));
        assert!(app.code.to_string().ends_with("&args=--digits%206"), "{}", app.code);
        let wrong = CompareRequest { module: path("text.wasm"), args: vec![] };
        let error = read(&AppSource::File(path("app.wasm")), Some(&wrong)).unwrap_err().to_string();
        assert!(error.contains("text.wasm is not an app"), "{error}");
    }

    #[test]
    fn a_tar_that_is_no_image_is_told_how_to_become_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("files.tar");
        let mut head = vec![0; 10_240];
        head[257..263].copy_from_slice(b"ustar\0");
        std::fs::write(&path, head).unwrap();
        let error = read(&AppSource::File(path), None).unwrap_err().to_string();
        assert!(error.contains("files.tar"), "{error}");
    }
}
