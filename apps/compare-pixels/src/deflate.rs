//! Packs the rows of a picture into the one zlib stream that they have in canonical form. Every choice here is part of the form, and the
//! README defines it: nothing may change without a new name for the app.

use crate::checksum::adler32;
use crate::inflate::{distance_of, length_of};

/// Bytes of a block: the longest that can be stored.
const BLOCK_BYTES: usize = 65_535;
/// Farthest match.
const DISTANCE_MAX: usize = 32_768;
/// Shortest match, and what the table is asked for.
const MATCH_BYTES: usize = 4;
/// Longest match.
const MATCH_BYTES_MAX: usize = 258;
const TABLE_BITS: u32 = 15;
const NOWHERE: u32 = u32::MAX;
const END_OF_BLOCK: u32 = 256;
/// Bits of a stored block besides its bytes, as they are counted: its head and its two lengths, not the gap between them.
const STORED_BITS: u64 = 35;

/// The zlib stream of `bytes`, of which there are less than 2^32; none when the memory does not suffice.
pub fn zlib(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut table = vec![NOWHERE; 1 << TABLE_BITS];
    let mut out = Out { bytes: vec![0x78, 0x01], held: 0, count: 0 };
    let mut tokens = Vec::with_capacity(BLOCK_BYTES);
    let mut start = 0;
    loop {
        let end = bytes.len().min(start + BLOCK_BYTES);
        out.bytes.try_reserve(end - start + 64).ok()?;
        tokens.clear();
        find(bytes, start, end, &mut table, &mut tokens);
        let last = u32::from(end == bytes.len());
        let coded_bits: u64 = 3 + 7 + tokens.iter().map(|token| token.bits()).sum::<u64>();
        if coded_bits <= 8 * (end - start) as u64 + STORED_BITS {
            out.put(last | 1 << 1, 3);
            tokens.iter().for_each(|token| token.put(&mut out));
            out.put_literal(END_OF_BLOCK);
        } else {
            out.put(last, 3);
            out.pad();
            let length = (end - start) as u16;
            out.bytes.extend_from_slice(&length.to_le_bytes());
            out.bytes.extend_from_slice(&(!length).to_le_bytes());
            out.bytes.extend_from_slice(&bytes[start..end]);
        }
        start = end;
        if last == 1 {
            break;
        }
    }
    out.pad();
    out.bytes.extend_from_slice(&adler32(bytes).to_be_bytes());
    Some(out.bytes)
}

/// A byte, or a match with its length and distance.
#[derive(Clone, Copy)]
enum Token {
    Literal(u8),
    Match(u16, u16),
}

impl Token {
    fn bits(self) -> u64 {
        match self {
            Token::Literal(byte) => 8 + u64::from(byte >= 144),
            Token::Match(length, distance) => {
                let (symbol, _, extra) = symbol(257, usize::from(length), length_of);
                let far = self::symbol(0, usize::from(distance) + 1, distance_of).2;
                u64::from(7 + u32::from(symbol >= 280) + extra + 5 + far)
            }
        }
    }

    fn put(self, out: &mut Out) {
        match self {
            Token::Literal(byte) => out.put_literal(u32::from(byte)),
            Token::Match(length, distance) => {
                let (symbol, rest, extra) = symbol(257, usize::from(length), length_of);
                out.put_literal(symbol);
                out.put(rest, extra);
                let (symbol, rest, extra) = self::symbol(0, usize::from(distance) + 1, distance_of);
                out.put(symbol.reverse_bits() >> 27, 5);
                out.put(rest, extra);
            }
        }
    }
}

/// The symbol of a length or distance: the last whose base is not above it. Its extra bits beside it, value and number.
fn symbol(first: u16, value: usize, base_of: fn(u16) -> Option<(usize, u32)>) -> (u32, u32, u32) {
    let mut found = (u32::from(first), 0, 0);
    for symbol in first.. {
        match base_of(symbol) {
            Some((base, extra)) if base <= value => found = (u32::from(symbol), (value - base) as u32, extra),
            _ => break,
        }
    }
    found
}

/// Greedy search: the table knows for each hash of four bytes where it was met last, in this block or before.
fn find(bytes: &[u8], start: usize, end: usize, table: &mut [u32], tokens: &mut Vec<Token>) {
    let mut at = start;
    while at < end {
        let before = if at + MATCH_BYTES <= end { enter(bytes, at, table) } else { NOWHERE };
        let distance = at.wrapping_sub(before as usize);
        let length = if before == NOWHERE || distance > DISTANCE_MAX {
            0
        } else {
            let old = &bytes[before as usize..];
            let most = MATCH_BYTES_MAX.min(end - at);
            old.iter().zip(&bytes[at..at + most]).take_while(|(old, new)| old == new).count()
        };
        if length < MATCH_BYTES {
            tokens.push(Token::Literal(bytes[at]));
            at += 1;
            continue;
        }
        tokens.push(Token::Match(length as u16, (distance - 1) as u16));
        for inside in at + 1..at + length {
            if inside + MATCH_BYTES <= end {
                enter(bytes, inside, table);
            }
        }
        at += length;
    }
}

/// Notes a place and says which place stood there.
fn enter(bytes: &[u8], at: usize, table: &mut [u32]) -> u32 {
    let word = u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    let hash = word.wrapping_mul(0x9e37_79b1) >> (32 - TABLE_BITS);
    std::mem::replace(&mut table[hash as usize], at as u32)
}

/// Output, low bit first.
struct Out {
    bytes: Vec<u8>,
    held: u64,
    count: u32,
}

impl Out {
    fn put(&mut self, value: u32, count: u32) {
        self.held |= u64::from(value) << self.count;
        self.count += count;
        while self.count >= 8 {
            self.bytes.push(self.held as u8);
            self.held >>= 8;
            self.count -= 8;
        }
    }

    /// A symbol of the fixed literal and length code (RFC 1951, 3.2.6).
    fn put_literal(&mut self, symbol: u32) {
        let (code, length) = match symbol {
            0..=143 => (0x30 + symbol, 8),
            144..=255 => (0x190 + symbol - 144, 9),
            256..=279 => (symbol - 256, 7),
            _ => (0xc0 + symbol - 280, 8),
        };
        self.put(code.reverse_bits() >> (32 - length), length);
    }

    fn pad(&mut self) {
        self.put(0, (8 - self.count) % 8);
    }
}
