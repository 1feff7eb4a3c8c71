//! Read of an ELF program what it asks of the system that it is started on.

use anyhow::{Context, Result, bail};

/// Entries of a table that are looked at; a program has some tens.
const ENTRIES_MAX: usize = 10_000;
const PT_LOAD: u64 = 1;
const PT_DYNAMIC: u64 = 2;
const DT_NEEDED: u64 = 1;
const DT_STRTAB: u64 = 5;
const DT_VERNEED: u64 = 0x6fff_fffe;
const DT_VERNEEDNUM: u64 = 0x6fff_ffff;

/// What a machine is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Machine {
    /// By Debian.
    pub debian: &'static str,
    /// By the kernel and by Rust.
    pub kernel: &'static str,
}

/// A dynamically linked program.
#[derive(Debug, PartialEq, Eq)]
pub struct Program {
    pub machine: Machine,
    /// The shared libraries it names.
    pub libraries: Vec<String>,
    /// Library and version of its symbols that it needs, such as `libc.so.6` and `GLIBC_2.34`.
    pub versions: Vec<(String, String)>,
}

/// Reads a 64-bit little-endian program.
pub fn read(bytes: &[u8]) -> Result<Program> {
    if bytes.get(..6) != Some(b"\x7fELF\x02\x01") {
        bail!("it is no 64-bit little-endian ELF program");
    }
    let image = Image { bytes, segments: segments(bytes)? };
    let machine = machine(number(bytes, 18, 2)?)?;
    let Some(dynamic) = image.segments.iter().find(|segment| segment.kind == PT_DYNAMIC) else {
        return Ok(Program { machine, libraries: vec![], versions: vec![] });
    };
    let mut entries = Vec::new();
    for index in 0..(dynamic.length / 16).min(ENTRIES_MAX) {
        let at = dynamic.offset + index * 16;
        entries.push((number(bytes, at, 8)?, number(bytes, at + 8, 8)?));
    }
    let value = |wanted: u64| entries.iter().find(|(tag, _)| *tag == wanted).map(|(_, value)| *value);
    let strings = image.offset(value(DT_STRTAB).context("it has no table of strings")?)?;
    let needed = entries.iter().filter(|(tag, _)| *tag == DT_NEEDED);
    let libraries = needed.map(|(_, name)| text(bytes, strings, *name)).collect::<Result<_>>()?;
    let versions = match (value(DT_VERNEED), value(DT_VERNEEDNUM)) {
        (Some(table), Some(count)) => versions(bytes, image.offset(table)?, count, strings)?,
        _ => vec![],
    };
    Ok(Program { machine, libraries, versions })
}

/// The versions table: a list of libraries, each with a list of versions; both are chained by relative offsets.
fn versions(bytes: &[u8], table: usize, count: u64, strings: usize) -> Result<Vec<(String, String)>> {
    let mut found = Vec::new();
    let mut library = table;
    for _ in 0..(count as usize).min(ENTRIES_MAX) {
        let file = text(bytes, strings, number(bytes, library + 4, 4)?)?;
        let mut version = library + number(bytes, library + 8, 4)? as usize;
        for _ in 0..number(bytes, library + 2, 2)? {
            found.push((file.clone(), text(bytes, strings, number(bytes, version + 8, 4)?)?));
            version += number(bytes, version + 12, 4)? as usize;
        }
        library += number(bytes, library + 12, 4)? as usize;
    }
    Ok(found)
}

struct Segment {
    kind: u64,
    offset: usize,
    address: u64,
    length: usize,
}

struct Image<'a> {
    bytes: &'a [u8],
    segments: Vec<Segment>,
}

impl Image<'_> {
    /// Where in the file an address of the running program lies.
    fn offset(&self, address: u64) -> Result<usize> {
        let holds = |segment: &&Segment| {
            segment.kind == PT_LOAD && (segment.address..segment.address + segment.length as u64).contains(&address)
        };
        let segment = self.segments.iter().find(holds).with_context(|| format!("nothing lies at {address:#x}"))?;
        let offset = segment.offset + (address - segment.address) as usize;
        if offset >= self.bytes.len() {
            bail!("it is cut off");
        }
        Ok(offset)
    }
}

fn segments(bytes: &[u8]) -> Result<Vec<Segment>> {
    let (table, size, count) =
        (number(bytes, 32, 8)? as usize, number(bytes, 54, 2)? as usize, number(bytes, 56, 2)? as usize);
    let entry = |index: usize| {
        let at = table.checked_add(index * size).context("it is cut off")?;
        Ok(Segment {
            kind: number(bytes, at, 4)?,
            offset: number(bytes, at + 8, 8)? as usize,
            address: number(bytes, at + 16, 8)?,
            // In the file; a segment without contents has no entry to look up.
            length: number(bytes, at + 32, 8)? as usize,
        })
    };
    (0..count).map(entry).collect()
}

fn machine(number: u64) -> Result<Machine> {
    let (debian, kernel) = match number {
        62 => ("amd64", "x86_64"),
        183 => ("arm64", "aarch64"),
        243 => ("riscv64", "riscv64"),
        other => {
            bail!("it is for a machine (ELF number {other}) that has no name here: add it to xtask/src/dist/elf.rs")
        }
    };
    Ok(Machine { debian, kernel })
}

/// A little-endian number of so many bytes.
fn number(bytes: &[u8], at: usize, length: usize) -> Result<u64> {
    let end = at.checked_add(length).context("it is cut off")?;
    let field = bytes.get(at..end).context("it is cut off")?;
    Ok(field.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte)))
}

/// A string of the table, up to its zero.
fn text(bytes: &[u8], table: usize, at: u64) -> Result<String> {
    let start = table.checked_add(at as usize).context("it is cut off")?;
    let rest = bytes.get(start..).context("it is cut off")?;
    let end = rest.iter().position(|byte| *byte == 0).context("it is cut off")?;
    Ok(String::from_utf8_lossy(&rest[..end]).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own() -> Vec<u8> {
        std::fs::read(std::env::current_exe().unwrap()).unwrap()
    }

    #[test]
    fn this_program_is_what_it_is() {
        let program = read(&own()).unwrap();
        assert_eq!(program.machine.kernel, std::env::consts::ARCH);
        assert!(program.libraries.contains(&"libc.so.6".to_owned()), "{program:?}");
        let glibc = program.versions.iter().filter(|(library, _)| library == "libc.so.6");
        let names: Vec<&str> = glibc.map(|(_, version)| version.as_str()).collect();
        assert!(names.len() > 3 && names.iter().all(|name| name.starts_with("GLIBC_")), "{names:?}");
    }

    #[test]
    fn what_is_none_or_is_cut_off_is_an_error_and_no_panic() {
        let bytes = own();
        read(b"#!/bin/sh\n").unwrap_err();
        for length in (0..4096).chain([bytes.len() / 2]) {
            let _ = read(&bytes[..length]);
        }
        read(&bytes[..64]).unwrap_err();
        // Every field of the head and of the segments, made wrong.
        for at in 16..1024 {
            let mut wrong = bytes.clone();
            wrong[at] = 0xff;
            let _ = read(&wrong);
        }
    }
}
