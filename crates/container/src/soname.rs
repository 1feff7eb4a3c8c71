//! Read by which name programs ask for a library: `DT_SONAME` of an ELF file (elf(5)), of 64 bits and little-endian.

use std::fs::File;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use nix::libc;

/// Program headers, and entries of the dynamic section, that are looked at.
const HEADERS_MAX: u64 = 64;
const ENTRIES_MAX: u64 = 512;
/// Bytes of a name.
const NAME_BYTES_MAX: usize = 255;
const ELF_64_LITTLE: &[u8] = b"\x7fELF\x02\x01";
// Kinds of program headers, and of entries.
const PT_LOAD: u64 = 1;
const PT_DYNAMIC: u64 = 2;
const DT_STRTAB: u64 = 5;
const DT_SONAME: u64 = 14;

/// The name; none when the file is no such library.
pub(crate) fn soname(path: &Path) -> Option<String> {
    let file = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(path).ok()?;
    file.metadata().ok()?.is_file().then_some(())?;
    let header = bytes::<64>(&file, 0)?;
    header.starts_with(ELF_64_LITTLE).then_some(())?;
    let (at, size, count) = (number(&header, 32, 8), number(&header, 54, 2), number(&header, 56, 2));
    let mut loads = Vec::new();
    let mut dynamic = None;
    for index in 0..count.min(HEADERS_MAX) {
        let header = bytes::<56>(&file, at.checked_add(index * size)?)?;
        let (offset, address, length) = (number(&header, 8, 8), number(&header, 16, 8), number(&header, 32, 8));
        match number(&header, 0, 4) {
            PT_LOAD => loads.push((offset, address, length)),
            PT_DYNAMIC => dynamic = Some((offset, length)),
            _ => {}
        }
    }
    let (offset, length) = dynamic?;
    let (mut strings, mut name) = (None, None);
    for index in 0..(length / 16).min(ENTRIES_MAX) {
        let entry = bytes::<16>(&file, offset.checked_add(index * 16)?)?;
        match number(&entry, 0, 8) {
            DT_STRTAB => strings = Some(number(&entry, 8, 8)),
            DT_SONAME => name = Some(number(&entry, 8, 8)),
            0 => break,
            _ => {}
        }
    }
    // Where in memory the names lie, as where in the file.
    let strings = strings?;
    let (offset, address, _) = loads
        .into_iter()
        .find(|(_, address, length)| strings.checked_sub(*address).is_some_and(|inside| inside < *length))?;
    let at = offset.checked_add(strings - address)?.checked_add(name?)?;
    let mut text = [0; NAME_BYTES_MAX + 1];
    let read = file.read_at(&mut text, at).ok()?;
    let end = text[..read].iter().position(|byte| *byte == 0)?;
    let name = std::str::from_utf8(&text[..end]).ok()?;
    let is_name = !name.is_empty() && !name.contains('/') && name != "." && name != "..";
    is_name.then(|| name.to_owned())
}

fn bytes<const COUNT: usize>(file: &File, at: u64) -> Option<[u8; COUNT]> {
    let mut bytes = [0; COUNT];
    file.read_exact_at(&mut bytes, at).ok()?;
    Some(bytes)
}

fn number(bytes: &[u8], at: usize, length: usize) -> u64 {
    bytes[at..at + length].iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_c_library_has_a_name_and_a_text_has_none() {
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        let libc = maps.lines().filter_map(|line| line.split_whitespace().last()).find(|path| path.contains("libc.so"));
        if let Some(libc) = libc {
            assert_eq!(soname(Path::new(libc)).as_deref(), Some("libc.so.6"), "{libc}");
        }
        let dir = tempfile::tempdir().unwrap();
        for (name, content) in [("short", &b"\x7fELF\x02\x01"[..]), ("text", b"hello"), ("empty", b"")] {
            std::fs::write(dir.path().join(name), content).unwrap();
            assert_eq!(soname(&dir.path().join(name)), None, "{name}");
        }
        assert_eq!(soname(dir.path()), None);
        // A header of nothing but ones: offsets past all ends.
        let mut wild = ELF_64_LITTLE.to_vec();
        wild.resize(4096, 0xff);
        std::fs::write(dir.path().join("wild"), &wild).unwrap();
        assert_eq!(soname(&dir.path().join("wild")), None);
    }
}
