//! Packs bytes as zlib (RFC 1950) does: matches found through hash chains, written in DEFLATE's fixed Huffman code.

use crate::inflate::{distance_of, length_of};

const MIN_MATCH: usize = 3;
const MAX_MATCH: usize = 258;
const WINDOW: usize = 32 * 1024;
/// Earlier places with the same hash that are tried for a longer match.
const MAX_TRIES: usize = 24;
const HASH_BITS: u32 = 15;
const NOWHERE: u32 = u32::MAX;
/// Largest number of bytes summed before the sums of Adler-32 must be reduced.
const ADLER_RUN: usize = 5552;
const ADLER_BASE: u32 = 65_521;

/// Packs `bytes` into a zlib stream.
pub fn zlib(bytes: &[u8]) -> Vec<u8> {
    let mut out = Writer { bytes: vec![0x78, 0x9c], held: 0, count: 0 };
    out.bits(1, 1);
    out.bits(1, 2);
    compress(bytes, &mut out);
    out.literal(256);
    out.align();
    out.bytes.extend_from_slice(&adler32(bytes).to_be_bytes());
    out.bytes
}

fn compress(bytes: &[u8], out: &mut Writer) {
    let mut head = vec![NOWHERE; 1 << HASH_BITS];
    // The place before each place with the same hash; a ring, since nothing further back than the window can be used.
    let mut before = vec![NOWHERE; WINDOW];
    let mut at = 0;
    while at < bytes.len() {
        let (length, distance) = longest_match(bytes, at, &head, &before);
        let step = if length >= MIN_MATCH {
            out.match_of(length, distance);
            length
        } else {
            out.literal(u16::from(bytes[at]));
            1
        };
        for place in at..at + step {
            if let Some(key) = hash(bytes, place) {
                before[place % WINDOW] = head[key];
                head[key] = place as u32;
            }
        }
        at += step;
    }
}

fn hash(bytes: &[u8], at: usize) -> Option<usize> {
    let three = bytes.get(at..at + MIN_MATCH)?;
    let word = u32::from(three[0]) | u32::from(three[1]) << 8 | u32::from(three[2]) << 16;
    Some((word.wrapping_mul(0x9e37_79b1) >> (32 - HASH_BITS)) as usize)
}

/// Length and distance of the longest earlier match; length 0 if there is none.
fn longest_match(bytes: &[u8], at: usize, head: &[u32], before: &[u32]) -> (usize, usize) {
    let mut best = (0, 0);
    let limit = MAX_MATCH.min(bytes.len() - at);
    let mut candidate = hash(bytes, at).map_or(NOWHERE, |key| head[key]);
    for _ in 0..MAX_TRIES {
        let place = candidate as usize;
        if candidate == NOWHERE || at - place > WINDOW {
            break;
        }
        let ahead = bytes[at..at + limit].iter().zip(&bytes[place..]);
        let length = ahead.take_while(|(x, y)| x == y).count();
        if length > best.0 {
            best = (length, at - place);
        }
        if length == limit {
            break;
        }
        candidate = before[place % WINDOW];
    }
    best
}

/// Output, low bit first.
struct Writer {
    bytes: Vec<u8>,
    held: u64,
    count: u32,
}

impl Writer {
    fn bits(&mut self, value: u32, count: u32) {
        self.held |= u64::from(value) << self.count;
        self.count += count;
        while self.count >= 8 {
            self.bytes.push(self.held as u8);
            self.held >>= 8;
            self.count -= 8;
        }
    }

    /// Huffman codes go high bit first.
    fn code(&mut self, code: u32, count: u32) {
        self.bits(code.reverse_bits() >> (32 - count), count);
    }

    /// A literal, length or end symbol in the fixed code (RFC 1951, 3.2.6).
    fn literal(&mut self, symbol: u16) {
        let symbol = u32::from(symbol);
        match symbol {
            0..=143 => self.code(0x30 + symbol, 8),
            144..=255 => self.code(0x190 + symbol - 144, 9),
            256..=279 => self.code(symbol - 256, 7),
            _ => self.code(0xc0 + symbol - 280, 8),
        }
    }

    fn match_of(&mut self, length: usize, distance: usize) {
        let (symbol, base, extra) = symbol_for(257, 285, length, length_of);
        self.literal(symbol);
        self.bits((length - base) as u32, extra);
        let (symbol, base, extra) = symbol_for(0, 29, distance, distance_of);
        self.code(u32::from(symbol), 5);
        self.bits((distance - base) as u32, extra);
    }

    fn align(&mut self) {
        let odd = self.count % 8;
        if odd > 0 {
            self.bits(0, 8 - odd);
        }
    }
}

/// The last symbol of `first..=last` whose base is not above `value`, with its base and extra bits.
fn symbol_for(first: u16, last: u16, value: usize, parts: fn(u16) -> Option<(usize, u32)>) -> (u16, usize, u32) {
    let mut chosen = (first, 0, 0);
    for symbol in first..=last {
        match parts(symbol) {
            Some((base, extra)) if base <= value => chosen = (symbol, base, extra),
            _ => break,
        }
    }
    chosen
}

/// The Adler-32 checksum of zlib.
pub fn adler32(bytes: &[u8]) -> u32 {
    let (mut low, mut high) = (1u32, 0u32);
    for run in bytes.chunks(ADLER_RUN) {
        for &byte in run {
            low += u32::from(byte);
            high += low;
        }
        low %= ADLER_BASE;
        high %= ADLER_BASE;
    }
    high << 16 | low
}
