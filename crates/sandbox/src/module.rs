//! Turn a file into a compiled module, say why it is none, and keep the compiled form.

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use gristmill_types::{ContentId, Reach};
use wasmtime::{Engine, ExternType, Linker, Module};

use crate::meter;
use crate::preview1::{self, Host};
use crate::profile::EngineProfile;

/// Bytes of a module. Larger ones run nowhere, so that every replica says the same.
pub const MODULE_BYTES_MAX: u64 = 256 << 20;
/// What marks a file as WebAssembly.
const MAGIC: &[u8; 4] = b"\0asm";
/// Follows [`MAGIC`] in a core module.
const CORE_VERSION: [u8; 4] = [1, 0, 0, 0];
/// A module that does nothing: `(module (func (export "_start")))`.
pub(crate) const PROBE: &[u8] =
    b"\0asm\x01\0\0\0\x01\x04\x01\x60\0\0\x03\x02\x01\0\x07\x0a\x01\x06_start\0\0\x0a\x04\x01\x02\0\x0b";
/// Separates the check sum of a compiled module from every other use of the hash.
const CACHE_CONTEXT: &str = "gristmill 2026 compiled module v1";
const CHECKSUM_BYTES: usize = 32;
/// Imports that an error names before it only counts.
const NAMED_IMPORTS_MAX: usize = 12;

/// Where the compiled form of an app lies, for an engine profile.
pub(crate) fn cache_file(cache_dir: &Path, profile: EngineProfile, app: ContentId) -> PathBuf {
    cache_dir.join(profile.to_string().replace('/', "_")).join(format!("{app}.cwasm"))
}

/// Why a module was not compiled.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Uncompiled {
    /// No host can run it: the reason is the same on each host of an engine profile.
    Unfit(String),
    /// This host cannot load code that it has made itself, whatever the code: it forbids executable memory, or has none left.
    Host(String),
}

impl From<String> for Uncompiled {
    fn from(reason: String) -> Self {
        Self::Unfit(reason)
    }
}

/// Compiles `bytes`, or says why not.
pub(crate) fn compile(engine: &Engine, reach: Reach, bytes: &[u8]) -> Result<Vec<u8>, Uncompiled> {
    check_kind(bytes)?;
    let invalid = |error: wasmtime::Error| format!("not a valid module: {error:#}");
    Module::validate(engine, bytes).map_err(invalid)?;
    let bytes = meter::instrument(bytes, reach)?;
    let compiled = engine.precompile_module(&bytes).map_err(invalid)?;
    // SAFETY: the bytes were made by this engine a line ago.
    let module = unsafe { Module::deserialize(engine, &compiled) }.map_err(|error| {
        let reason = format!("the compiled module cannot be loaded: {error:#}");
        if is_hosts(engine, &error) { Uncompiled::Host(reason) } else { Uncompiled::Unfit(reason) }
    })?;
    check_interface(engine, &module)?;
    Ok(compiled)
}

/// Whether a module could not be loaded because of this host: the system refused something, or refuses it to any module. Otherwise
/// it asks for more than the engine gives, on any host.
fn is_hosts(engine: &Engine, error: &wasmtime::Error) -> bool {
    let is_systems = error.chain().any(|cause| cause.is::<std::io::Error>());
    // SAFETY: the bytes are made by this engine.
    let loads = || engine.precompile_module(PROBE).and_then(|made| unsafe { Module::deserialize(engine, &made) });
    is_systems || loads().is_err()
}

/// Registers preview1 in a linker.
pub(crate) fn linker(engine: &Engine) -> wasmtime::Result<Linker<Host>> {
    let mut linker = Linker::new(engine);
    preview1::add_to_linker(&mut linker)?;
    Ok(linker)
}

/// Says what a file that is no core module looks like.
fn check_kind(bytes: &[u8]) -> Result<(), String> {
    let Some(rest) = bytes.strip_prefix(MAGIC) else {
        return Err(format!("not a WebAssembly module: it {}", looks_like(bytes)));
    };
    if rest.starts_with(&CORE_VERSION) {
        return Ok(());
    }
    Err(match rest.get(2..4) {
        Some([1, 0]) => "a WebAssembly component: build a core module for WASI preview1 instead".to_owned(),
        _ => "not a WebAssembly module that is known: its version is not 1".to_owned(),
    })
}

fn looks_like(bytes: &[u8]) -> &'static str {
    const KINDS: [(&[u8], &str); 11] = [
        (b"\x7fELF", "looks like a native program for Linux (ELF): build it for wasm32-wasi"),
        (b"MZ", "looks like a native program for Windows: build it for wasm32-wasi"),
        (b"\xcf\xfa\xed\xfe", "looks like a native program for macOS: build it for wasm32-wasi"),
        (b"\xca\xfe\xba\xbe", "looks like a native program for macOS or a Java class: build it for wasm32-wasi"),
        (b"#!", "looks like a script: only modules are run, so give an interpreter built for WASI as the app"),
        (b"\x1f\x8b", "looks like gzip: unpack it first"),
        (b"PK\x03\x04", "looks like a zip archive: unpack it first"),
        (b"BC\xc0\xde", "looks like LLVM bitcode: link it first"),
        (b"!<arch>", "looks like a static library: link it first"),
        (b"(module", "looks like WebAssembly text: assemble it first (wat2wasm)"),
        (b"(component", "looks like WebAssembly text: assemble it first (wat2wasm)"),
    ];
    if bytes.is_empty() {
        return "is empty";
    }
    let trimmed = bytes.trim_ascii_start();
    let found = KINDS.iter().find(|(start, _)| bytes.starts_with(start) || trimmed.starts_with(start));
    match found {
        Some((_, kind)) => kind,
        None if trimmed.starts_with(b";;") => "looks like WebAssembly text: assemble it first (wat2wasm)",
        None if std::str::from_utf8(&bytes[..bytes.len().min(512)]).is_ok() => "looks like text",
        None => "does not begin with the bytes 00 61 73 6d",
    }
}

/// Checks that the module is a command that needs nothing but preview1.
fn check_interface(engine: &Engine, module: &Module) -> Result<(), String> {
    let unknown: Vec<String> = module
        .imports()
        .filter(|import| !preview1::offers(import.module(), import.name()))
        .map(|import| format!("{}.{}", import.module(), import.name()))
        .collect();
    if !unknown.is_empty() {
        let more = unknown.len().saturating_sub(NAMED_IMPORTS_MAX);
        let named = unknown[..unknown.len() - more].join(", ");
        let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
        let hint = unknown_hint(&unknown[0]);
        return Err(format!("it imports what is not offered: {named}{rest}{hint}"));
    }
    match module.get_export("_start") {
        Some(ExternType::Func(start)) if start.params().len() == 0 && start.results().len() == 0 => {}
        Some(_) => return Err("its export `_start` is not a function without parameters and results".to_owned()),
        None => {
            return Err(
                "it has no `_start`: build a command, not a library or reactor (a C program needs `main`)".to_owned()
            );
        }
    }
    let linker = linker(engine).map_err(|error| format!("{error:#}"))?;
    linker.instantiate_pre(module).map(drop).map_err(|error| format!("an import has another type: {error:#}"))
}

fn unknown_hint(import: &str) -> &'static str {
    match import.split_once('.').map_or(import, |(module, _)| module) {
        "wasi_unstable" => " (an old WASI: build it with a newer compiler, for preview1)",
        "env" => " (built for a JavaScript host, or linked with symbols missing)",
        "wasi" => " (threads are not offered)",
        name if name.starts_with("wasi:") => " (WASI preview2: build it for preview1)",
        name if name.starts_with("__wbindgen") || name.starts_with("wbg") => " (built for a browser by wasm-bindgen)",
        _ => "",
    }
}

/// Reads a file of at most `limit` bytes.
pub(crate) fn read_bounded(path: &Path, limit: u64) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Puts a compiled module into the cache; a reader sees all of it or nothing.
pub(crate) fn store(path: &Path, profile: EngineProfile, compiled: &[u8]) -> std::io::Result<()> {
    let temporary = path.with_extension(format!("{}.tmp", std::process::id()));
    let mut file = File::create(&temporary)?;
    let written = file
        .write_all(compiled)
        .and_then(|()| file.write_all(&checksum(path, profile, compiled)))
        .and_then(|()| file.sync_all())
        .and_then(|()| std::fs::rename(&temporary, path));
    if written.is_err() {
        // The first error is the one to report.
        let _ = std::fs::remove_file(&temporary);
    }
    written
}

/// The bytes of a compiled module in the cache; none when it is missing or damaged.
pub(crate) fn fetch(path: &Path, profile: EngineProfile) -> Option<Vec<u8>> {
    let mut bytes = std::fs::read(path).ok()?;
    let (compiled, sum) = bytes.split_last_chunk::<CHECKSUM_BYTES>()?;
    if *sum != checksum(path, profile, compiled) {
        return None;
    }
    bytes.truncate(bytes.len() - CHECKSUM_BYTES);
    Some(bytes)
}

/// Loads what [`fetch`] found from a sealed file, by mapping it. None when it is not for this engine.
pub(crate) fn load(engine: &Engine, code: File) -> Option<Module> {
    // SAFETY: the parent hands over only what `fetch` found intact, whose check sum says that `store` wrote it, and `store` is
    // handed only what the engine made; and the file's seals say that nobody can change it while it is mapped. Whoever can write
    // into the cache folder (mode 0700, and no child that runs a guest can) could as well replace this program.
    unsafe { Module::deserialize_open_file(engine, code) }.ok()
}

/// Binds the bytes to their place: the app's id and the engine profile.
fn checksum(path: &Path, profile: EngineProfile, compiled: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let mut hasher = blake3::Hasher::new_derive_key(CACHE_CONTEXT);
    hasher.update(profile.to_string().as_bytes());
    hasher.update(path.file_name().unwrap_or_default().as_encoded_bytes());
    hasher.update(compiled);
    *hasher.finalize().as_bytes()
}

#[cfg(test)]
mod tests;
