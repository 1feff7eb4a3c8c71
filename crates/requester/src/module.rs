//! Tell a WebAssembly module or a container image from what people hand in by mistake.

use std::path::{Path, PathBuf};

/// A file that is no WebAssembly module.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{} is not an app: it is {what}; {fix}", path.display())]
pub struct NotAModule {
    /// The file.
    pub path: PathBuf,
    /// What it looks like.
    pub what: &'static str,
    /// What to do.
    pub fix: &'static str,
}

const BUILD: &str = "an app is a WebAssembly module (built for WASI preview 1; in Rust: `--target wasm32-wasip1`, in C: wasi-sdk) or a container \
     image in an OCI archive (`podman save --format oci-archive`, `skopeo copy ... oci-archive:FILE`)";
/// Where a tar says that it is one.
const TAR_MAGIC: std::ops::Range<usize> = 257..262;

/// Looks at the first bytes of the file at `path` (eight or more, unless the file is shorter). Whether the module can be
/// run is found out by the workers' sandbox, the same way everywhere.
///
/// # Errors
/// [`NotAModule`] saying what the file is instead.
pub fn check_module(path: &Path, head: &[u8]) -> Result<(), NotAModule> {
    let refuse = |what, fix| Err(NotAModule { path: path.to_path_buf(), what, fix });
    match head {
        [] => refuse("empty", BUILD),
        [0, b'a', b's', b'm', 1, 0, 0, 0, ..] => Ok(()),
        [0, b'a', b's', b'm', _, 0, 1, 0, ..] => refuse(
            "a WebAssembly component",
            "workers run core modules: build it for WASI preview 1 (in Rust: `--target wasm32-wasip1`)",
        ),
        [0, b'a', b's', b'm', ..] => refuse("a WebAssembly module that is cut short or of an unknown version", BUILD),
        [0x7f, b'E', b'L', b'F', ..] => refuse("a native Linux program (ELF)", BUILD),
        [b'M', b'Z', ..] => refuse("a Windows program", BUILD),
        [0xcf | 0xce, 0xfa, 0xed, 0xfe, ..] | [0xca, 0xfe, 0xba, 0xbe, ..] => refuse("a native macOS program", BUILD),
        [b'#', b'!', ..] => refuse("a script", BUILD),
        [0x1f, 0x8b, ..] => refuse("a gzip archive", "unpack it first (gunzip): the file inside may be an app"),
        [b'P', b'K', 3, 4, ..] => refuse("a zip archive", "unpack it and give the .wasm file inside"),
        head if is_text_format(head) => {
            refuse("WebAssembly in its text form", "assemble it first, with `wat2wasm` or `wasm-tools parse`")
        }
        _ => refuse("no WebAssembly module", BUILD),
    }
}

/// True for the first bytes of a tar: an image, perhaps.
pub fn is_tar(head: &[u8]) -> bool {
    head.get(TAR_MAGIC) == Some(b"ustar")
}

/// `(module ..` after white space, comments or a byte order mark.
fn is_text_format(head: &[u8]) -> bool {
    let text = String::from_utf8_lossy(head);
    let mut rest = text.trim_start_matches('\u{feff}').trim_start();
    while let Some(comment) = rest.strip_prefix(";;") {
        rest = comment.split_once('\n').map_or("", |(_, after)| after).trim_start();
    }
    rest.starts_with("(module") || rest.starts_with("(component") || rest.starts_with("(;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_core_modules_pass_and_the_others_are_called_by_their_name() {
        let table: &[(&[u8], Option<&str>)] = &[
            (b"\0asm\x01\0\0\0", None),
            (b"\0asm\x01\0\0\0\x01", None),
            (b"", Some("empty")),
            (b"\0asm\x0d\0\x01\0", Some("component")),
            (b"\0asm", Some("cut short")),
            (b"\x7fELF\x02\x01\x01\0", Some("ELF")),
            (b"#!/bin/sh\n", Some("script")),
            (b"(module)", Some("text form")),
            (b"\n ;; a comment\n  (module $x)", Some("text form")),
            (b"\x1f\x8b\x08\0", Some("gzip")),
            (b"MZ\x90\0", Some("Windows")),
            (b"hello world", Some("no WebAssembly")),
        ];
        for (head, expected) in table {
            let got = check_module(Path::new("app.wasm"), head).err().map(|error| error.to_string());
            match (expected, &got) {
                (None, None) => {}
                (Some(word), Some(text)) if text.contains(word) && text.starts_with("app.wasm ") => {}
                _ => panic!("{head:?}: expected {expected:?}, got {got:?}"),
            }
        }
    }
}
