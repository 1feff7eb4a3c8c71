//! Write a zip archive whose files are stored as they are.
//!
//! The same files give the same bytes: no times, no owners, and the order of the caller. Stored, not compressed: results are
//! read once, over the loopback as a rule, and what is large is compressed already.

use std::io::{self, Seek, SeekFrom, Write};

/// Files that an archive of this form can have: their number is written in 16 bits.
pub const FILES_MAX: usize = u16::MAX as usize - 1;

const LOCAL_HEADER: u32 = 0x0403_4b50;
const CENTRAL_HEADER: u32 = 0x0201_4b50;
const END_HEADER: u32 = 0x0605_4b50;
/// Version 1.0: stored files.
const VERSION_NEEDED: u16 = 10;
/// Made on Unix, so that the mode is read.
const VERSION_MADE: u16 = 3 << 8 | VERSION_NEEDED;
/// Names are UTF-8.
const FLAG_UTF8: u16 = 1 << 11;
/// 1 January 1980, the first day that the format knows.
const DATE: u16 = 1 << 5 | 1;
/// A plain file, readable by all.
const MODE: u32 = 0o100_644 << 16;
/// Where CRC and sizes stand in a local header.
const CRC_OFFSET: u64 = 14;

struct Member {
    name: Vec<u8>,
    crc: u32,
    length: u32,
    offset: u32,
}

/// An archive that is being written. Sizes and offsets are 32 bits: past 4 GiB a write is an error.
pub struct ZipWriter<W> {
    out: W,
    position: u64,
    members: Vec<Member>,
    /// Of the file that is being written.
    crc: Crc,
}

impl<W: Write + Seek> ZipWriter<W> {
    /// An archive that begins where `out` stands, which must be its start.
    pub fn new(out: W) -> Self {
        Self { out, position: 0, members: Vec::new(), crc: Crc::new() }
    }

    /// Begins the next file; what is written from now on is its content.
    pub fn begin(&mut self, name: &str) -> io::Result<()> {
        self.end_file()?;
        if self.members.len() == FILES_MAX {
            return Err(io::Error::other(format!("an archive has room for {FILES_MAX} files")));
        }
        let offset = narrow(self.position)?;
        let name = name.as_bytes().to_vec();
        let name_length = u16::try_from(name.len()).map_err(|_| io::Error::other("a file's name is too long"))?;
        let mut header = Vec::with_capacity(30 + name.len());
        header.extend(LOCAL_HEADER.to_le_bytes());
        for field in [VERSION_NEEDED, FLAG_UTF8, 0, 0, DATE] {
            header.extend(field.to_le_bytes());
        }
        // CRC and both sizes, known at the end of the file.
        header.extend([0; 12]);
        header.extend(name_length.to_le_bytes());
        header.extend(0u16.to_le_bytes());
        header.extend(&name);
        self.out.write_all(&header)?;
        self.position += header.len() as u64;
        self.members.push(Member { name, crc: 0, length: 0, offset });
        self.crc = Crc::new();
        Ok(())
    }

    fn end_file(&mut self) -> io::Result<()> {
        let Some(member) = self.members.last_mut() else { return Ok(()) };
        let start = u64::from(member.offset) + 30 + member.name.len() as u64;
        let length = narrow(self.position - start)?;
        (member.crc, member.length) = (self.crc.value(), length);
        let mut fields = Vec::with_capacity(12);
        for field in [member.crc, length, length] {
            fields.extend(field.to_le_bytes());
        }
        self.out.seek(SeekFrom::Start(u64::from(member.offset) + CRC_OFFSET))?;
        self.out.write_all(&fields)?;
        self.out.seek(SeekFrom::Start(self.position))?;
        Ok(())
    }

    /// Ends the archive; returns what it was written to, and its length in bytes.
    pub fn finish(mut self) -> io::Result<(W, u64)> {
        self.end_file()?;
        let start = narrow(self.position)?;
        let mut directory = Vec::new();
        for member in &self.members {
            directory.extend(CENTRAL_HEADER.to_le_bytes());
            for field in [VERSION_MADE, VERSION_NEEDED, FLAG_UTF8, 0, 0, DATE] {
                directory.extend(field.to_le_bytes());
            }
            for field in [member.crc, member.length, member.length] {
                directory.extend(field.to_le_bytes());
            }
            // The name's length was checked when the file was begun.
            directory.extend((member.name.len() as u16).to_le_bytes());
            // Extra, comment, disk, internal attributes.
            directory.extend([0; 8]);
            directory.extend(MODE.to_le_bytes());
            directory.extend(member.offset.to_le_bytes());
            directory.extend(&member.name);
        }
        let length = narrow(directory.len() as u64)?;
        let count = u16::try_from(self.members.len()).map_err(|_| io::Error::other("too many files"))?;
        directory.extend(END_HEADER.to_le_bytes());
        directory.extend([0; 4]);
        directory.extend(count.to_le_bytes());
        directory.extend(count.to_le_bytes());
        directory.extend(length.to_le_bytes());
        directory.extend(start.to_le_bytes());
        directory.extend(0u16.to_le_bytes());
        self.out.write_all(&directory)?;
        self.out.flush()?;
        Ok((self.out, self.position + directory.len() as u64))
    }
}

impl<W: Write + Seek> Write for ZipWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.out.write(bytes)?;
        self.crc.update(&bytes[..count]);
        self.position += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

fn narrow(number: u64) -> io::Result<u32> {
    u32::try_from(number)
        .map_err(|_| io::Error::other("the result has more than 4 GiB, which a zip of this form cannot hold"))
}

/// CRC-32 as zip has it (polynomial 0xEDB88320, reflected).
struct Crc(u32);

const CRC_TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut index = 0;
    while index < 256 {
        let mut value = index as u32;
        let mut bit = 0;
        while bit < 8 {
            value = if value & 1 == 1 { value >> 1 ^ 0xedb8_8320 } else { value >> 1 };
            bit += 1;
        }
        table[index] = value;
        index += 1;
    }
    table
};

impl Crc {
    fn new() -> Self {
        Self(u32::MAX)
    }

    fn update(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0 >> 8 ^ CRC_TABLE[usize::from(self.0 as u8 ^ *byte)];
        }
    }

    fn value(&self) -> u32 {
        !self.0
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    #[test]
    fn the_checksum_is_the_known_one() {
        let mut crc = Crc::new();
        crc.update(b"123456789");
        assert_eq!(crc.value(), 0xcbf4_3926);
    }

    #[test]
    fn an_archive_has_its_files_where_its_directory_says() {
        let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
        for (name, text) in [("a.txt", "flour"), ("000000/é.txt", ""), ("b", "bran")] {
            zip.begin(name).unwrap();
            zip.write_all(text.as_bytes()).unwrap();
        }
        let (out, length) = zip.finish().unwrap();
        let bytes = out.into_inner();
        assert_eq!(bytes.len() as u64, length);
        let number = |at: usize, count: usize| {
            bytes[at..at + count].iter().rev().fold(0usize, |number, byte| number << 8 | usize::from(*byte))
        };
        let end = bytes.len() - 22;
        assert_eq!((number(end, 4), number(end + 10, 2)), (END_HEADER as usize, 3));
        let (mut at, mut found) = (number(end + 16, 4), Vec::new());
        while at < end {
            assert_eq!(number(at, 4), CENTRAL_HEADER as usize);
            let (crc, length, name_length) = (number(at + 16, 4), number(at + 24, 4), number(at + 28, 2));
            let name = String::from_utf8(bytes[at + 46..at + 46 + name_length].to_vec()).unwrap();
            let local = number(at + 42, 4);
            assert_eq!((number(local, 4), number(local + 14, 4)), (LOCAL_HEADER as usize, crc));
            let start = local + 30 + name_length;
            found.push((name, String::from_utf8(bytes[start..start + length].to_vec()).unwrap()));
            at += 46 + name_length;
        }
        let expected = [("a.txt", "flour"), ("000000/é.txt", ""), ("b", "bran")];
        assert_eq!(found, expected.map(|(name, text)| (name.to_owned(), text.to_owned())));
    }

    #[test]
    fn an_empty_archive_is_one() {
        let (out, length) = ZipWriter::new(Cursor::new(Vec::new())).finish().unwrap();
        assert_eq!((out.into_inner().len(), length), (22, 22));
    }
}
