//! Goes through a text line by line and writes it with canonical numbers.

use std::io::{self, BufRead, Read, Write};

use crate::number::{self, Grid};

/// Bytes of a line, its end counted.
pub const LINE_BYTES_MAX: usize = 1 << 26;
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// What is done to texts.
#[derive(Debug, PartialEq, Eq)]
pub struct Rules {
    pub grid: Grid,
    /// Numbers without point and exponent are rounded too.
    pub integers: bool,
    /// Numbers keep the place where they end, by more or fewer spaces before them.
    pub columns: bool,
    /// Lines that begin so are left out.
    pub skip: Vec<Vec<u8>>,
}

/// Why a text was not written.
#[derive(Debug)]
pub enum TextError {
    Read(io::Error),
    Write(io::Error),
    /// The number of the line that has more than [`LINE_BYTES_MAX`] bytes.
    Long(u64),
    /// The number of the line for which the memory does not suffice.
    Memory(u64),
}

/// Whether a file is UTF-8 without NUL. Others are no texts.
pub fn is_text(mut file: impl Read) -> io::Result<bool> {
    let mut piece = vec![0; 64 * 1024];
    let mut kept = 0;
    loop {
        let count = match file.read(&mut piece[kept..]) {
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let end = kept + count;
        if count == 0 {
            return Ok(kept == 0);
        }
        if piece[..end].contains(&0) {
            return Ok(false);
        }
        // A character may be cut by the end of the piece: its bytes, three at most, go before the next piece.
        kept = match std::str::from_utf8(&piece[..end]) {
            Ok(_) => 0,
            Err(error) if error.error_len().is_some() => return Ok(false),
            Err(error) => {
                piece.copy_within(error.valid_up_to()..end, 0);
                end - error.valid_up_to()
            }
        };
    }
}

/// Writes the canonical form of a text.
pub fn convert(mut source: impl BufRead, target: &mut impl Write, rules: &Rules) -> Result<(), TextError> {
    let mut line = Vec::new();
    let mut number = 0;
    loop {
        number += 1;
        next_line(&mut source, &mut line, number)?;
        if line.is_empty() {
            return Ok(());
        }
        let mark = if number == 1 && line.starts_with(BYTE_ORDER_MARK) { BYTE_ORDER_MARK.len() } else { 0 };
        let (mark, text) = line.split_at(mark);
        target.write_all(mark).map_err(TextError::Write)?;
        if !rules.skip.iter().any(|start| text.starts_with(start)) {
            convert_line(text, target, rules).map_err(TextError::Write)?;
        }
    }
}

/// The next line with its end; nothing at the end of the text.
fn next_line(source: &mut impl BufRead, line: &mut Vec<u8>, number: u64) -> Result<(), TextError> {
    line.clear();
    loop {
        let held = match source.fill_buf() {
            Ok(held) => held,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(TextError::Read(error)),
        };
        let end = held.iter().position(|byte| *byte == b'\n');
        let count = end.map_or(held.len(), |end| end + 1);
        if line.len() + count > LINE_BYTES_MAX {
            return Err(TextError::Long(number));
        }
        line.try_reserve(count).map_err(|_| TextError::Memory(number))?;
        line.extend_from_slice(&held[..count]);
        source.consume(count);
        if end.is_some() || count == 0 {
            return Ok(());
        }
    }
}

/// Bytes of which words are made, all characters beyond ASCII among them. All else stands between words.
fn is_of_word(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'+' | b'-') || *byte >= 0x80
}

fn convert_line(line: &[u8], target: &mut impl Write, rules: &Rules) -> io::Result<()> {
    let mut at = 0;
    while at < line.len() {
        let between = line[at..].iter().take_while(|byte| !is_of_word(byte)).count();
        let start = at + between;
        let end = start + line[start..].iter().take_while(|byte| is_of_word(byte)).count();
        let word = &line[start..end];
        let text = if is_seconds(line, start) { None } else { number::canonical(word, rules.grid, rules.integers) };
        match text {
            Some(text) if rules.columns => {
                let spaces = line[at..start].iter().rev().take_while(|byte| **byte == b' ').count();
                target.write_all(&line[at..start - spaces])?;
                let wanted = if spaces == 0 && start > 0 {
                    0
                } else {
                    // One space stays where one was.
                    (spaces + word.len()).saturating_sub(text.len()).max(spaces.min(1))
                };
                io::copy(&mut io::repeat(b' ').take(wanted as u64), target)?;
                target.write_all(&text)?;
            }
            Some(text) => {
                target.write_all(&line[at..start])?;
                target.write_all(&text)?;
            }
            None => target.write_all(&line[at..end])?,
        }
        at = end;
    }
    Ok(())
}

/// Whether hours and minutes stand directly before: 12:30:05.25 is a time of day.
fn is_seconds(line: &[u8], start: usize) -> bool {
    match line[..start] {
        [.., hour, b':', ten, minute, b':'] => [hour, ten, minute].iter().all(u8::is_ascii_digit),
        _ => false,
    }
}
