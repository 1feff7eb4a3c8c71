//! Write archives whose bytes depend on nothing but what is in them: sorted, one time, one owner.

use std::collections::BTreeMap;
use std::io::Write;

use anyhow::{Context, Result, bail};
use flate2::Compression;
use flate2::write::GzEncoder;
use tar::{EntryType, Header};

/// A member's name in an `ar` archive has so many bytes.
const AR_NAME_MAX: usize = 16;
const FOLDER_MODE: u32 = 0o755;

/// A file to be packed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    pub bytes: Vec<u8>,
    pub mode: u32,
}

/// Files by their paths, relative and without a dot in front.
#[derive(Clone, Debug, Default)]
pub struct Tree(BTreeMap<String, File>);

impl Tree {
    /// Adds a file that everybody may read.
    pub fn file(&mut self, path: impl Into<String>, bytes: impl Into<Vec<u8>>) {
        self.add(path.into(), bytes.into(), 0o644);
    }

    /// Adds a program.
    pub fn program(&mut self, path: impl Into<String>, bytes: impl Into<Vec<u8>>) {
        self.add(path.into(), bytes.into(), 0o755);
    }

    fn add(&mut self, path: String, bytes: Vec<u8>, mode: u32) {
        let before = self.0.insert(path, File { bytes, mode });
        assert!(before.is_none(), "a path is packed once");
    }

    /// The files by their paths, sorted.
    pub fn files(&self) -> impl Iterator<Item = (&str, &File)> {
        self.0.iter().map(|(path, file)| (path.as_str(), file))
    }

    /// The folders that the files lie in, sorted.
    pub fn folders(&self) -> Vec<&str> {
        let mut folders: Vec<&str> =
            self.0.keys().flat_map(|path| path.match_indices('/').map(|(end, _)| &path[..end])).collect();
        folders.sort_unstable();
        folders.dedup();
        folders
    }

    /// KiB that it takes when it is unpacked, as Debian counts them.
    pub fn installed_kib(&self) -> usize {
        let files: usize = self.0.values().map(|file| file.bytes.len().div_ceil(1024)).sum();
        files + self.folders().len() + 1
    }

    /// A compressed tar file. `prefix` comes before each path: `./` as Debian has it, which gets an entry of its own, or a folder's
    /// name.
    pub fn tar_gz(&self, prefix: &str, time_s: u64) -> Result<Vec<u8>> {
        let mut tar = tar::Builder::new(Vec::new());
        if prefix == "./" {
            append(&mut tar, "./", None, FOLDER_MODE, time_s)?;
        }
        // A folder sorts before what is in it.
        let folders = self.folders().into_iter().map(|path| (format!("{path}/"), None));
        let mut entries: Vec<_> =
            folders.chain(self.files().map(|(path, file)| (path.to_owned(), Some(file)))).collect();
        entries.sort_by(|(one, _), (other, _)| one.cmp(other));
        for (path, file) in entries {
            let mode = file.map_or(FOLDER_MODE, |file| file.mode);
            append(&mut tar, &format!("{prefix}{path}"), file.map(|file| file.bytes.as_slice()), mode, time_s)?;
        }
        gzip(&tar.into_inner().context("cannot pack")?)
    }
}

fn append(tar: &mut tar::Builder<Vec<u8>>, path: &str, bytes: Option<&[u8]>, mode: u32, time_s: u64) -> Result<()> {
    let mut header = Header::new_gnu();
    // As bytes: the library would take a leading `./` away.
    let name = &mut header.as_old_mut().name;
    if path.len() > name.len() {
        bail!("the path {path} is longer than {} bytes", name.len());
    }
    name[..path.len()].copy_from_slice(path.as_bytes());
    header.set_entry_type(if bytes.is_some() { EntryType::Regular } else { EntryType::Directory });
    header.set_mode(mode);
    header.set_mtime(time_s);
    header.set_uid(0);
    header.set_gid(0);
    header.set_username("root").context("cannot name the owner")?;
    header.set_groupname("root").context("cannot name the group")?;
    let bytes = bytes.unwrap_or_default();
    header.set_size(bytes.len() as u64);
    header.set_cksum();
    tar.append(&header, bytes).with_context(|| format!("cannot pack {path}"))
}

/// Compresses, without a name or a time in the result.
pub fn gzip(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).context("cannot compress")?;
    encoder.finish().context("cannot compress")
}

/// An `ar` archive, the outer shell of a Debian package: a line a member, then its bytes, padded to an even length.
pub fn ar(members: &[(&str, &[u8])], time_s: u64) -> Result<Vec<u8>> {
    let mut archive = b"!<arch>\n".to_vec();
    for (name, bytes) in members {
        if name.len() > AR_NAME_MAX {
            bail!("the name {name} is longer than {AR_NAME_MAX} bytes");
        }
        let length = bytes.len();
        writeln!(archive, "{name:<16}{time_s:<12}{:<6}{:<6}{:<8}{length:<10}`", 0, 0, "100644")?;
        archive.extend_from_slice(bytes);
        if length % 2 == 1 {
            archive.push(b'\n');
        }
    }
    Ok(archive)
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn tree() -> Tree {
        let mut tree = Tree::default();
        tree.program("usr/bin/x", b"program".as_slice());
        tree.file("etc/x.toml", b"# nothing\n".as_slice());
        tree.file("usr/bin-notes", b"".as_slice());
        tree
    }

    #[test]
    fn what_is_packed_comes_out_in_order_with_one_time_and_owner() {
        let packed = tree().tar_gz("./", 1_700_000_000).unwrap();
        let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(packed.as_slice()));
        let mut seen = Vec::new();
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            let mut text = String::new();
            entry.read_to_string(&mut text).unwrap();
            let header = entry.header();
            assert_eq!((header.mtime().unwrap(), header.uid().unwrap(), header.gid().unwrap()), (1_700_000_000, 0, 0));
            let path = String::from_utf8(entry.path_bytes().into_owned()).unwrap();
            seen.push(format!("{path} {:o} {text}", entry.header().mode().unwrap()));
        }
        assert_eq!(
            seen,
            [
                "./ 755 ",
                "./etc/ 755 ",
                "./etc/x.toml 644 # nothing\n",
                "./usr/ 755 ",
                "./usr/bin-notes 644 ",
                "./usr/bin/ 755 ",
                "./usr/bin/x 755 program",
            ]
        );
    }

    #[test]
    fn the_same_gives_the_same_bytes_and_another_time_does_not() {
        let packed = tree().tar_gz("x-1/", 7).unwrap();
        assert_eq!(packed, tree().tar_gz("x-1/", 7).unwrap());
        assert_ne!(packed, tree().tar_gz("x-1/", 8).unwrap());
        // No time and no name in the head of the compressed file either.
        assert_eq!(packed[..8], [0x1f, 0x8b, 8, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn members_of_an_archive_begin_at_even_places() {
        let archive = ar(&[("one", b"abc"), ("two", b"de")], 9).unwrap();
        assert_eq!(archive.len(), 8 + 60 + 4 + 60 + 2);
        assert_eq!(
            &archive[8..68],
            format!("{:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`\n", "one", 9, 0, 0, "100644", 3).as_bytes()
        );
        assert_eq!(&archive[68..72], b"abc\n");
        ar(&[("a name that is too long", b"")], 9).unwrap_err();
        let mut tree = Tree::default();
        tree.file("x/".repeat(60), b"".as_slice());
        tree.tar_gz("./", 0).unwrap_err();
    }
}
