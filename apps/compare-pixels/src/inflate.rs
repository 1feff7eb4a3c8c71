//! Unpacks a zlib stream (RFC 1950, RFC 1951) whose unpacked length is known beforehand.

use std::fmt;

use crate::checksum::adler32;

/// DEFLATE makes at most 258 bytes of 2 bits.
const EXPANSION_MAX: u64 = 1032;
const CODE_BITS_MAX: usize = 15;
/// Codes up to this length are found with one look.
const LOOK_BITS: u32 = 10;
const LITERAL_CODES: usize = 288;
const DISTANCE_CODES: usize = 30;
const END_OF_BLOCK: u16 = 256;
/// Order in which the lengths of the code-length code come (RFC 1951, 3.2.7).
const CODE_LENGTH_ORDER: [usize; 19] = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];

/// Why a stream could not be unpacked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InflateError {
    /// Not the header of a zlib stream, or one with a preset dictionary.
    Header,
    /// The stream ends too early.
    Truncated,
    /// A block type, code, length or distance that cannot be.
    Corrupt,
    /// Not as many bytes as the picture has.
    Length,
    /// The unpacked bytes are not those that were packed.
    Checksum,
    /// There is something behind the stream.
    Trailing,
    /// The memory does not suffice.
    Memory,
}

impl fmt::Display for InflateError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            InflateError::Header => "its pixels are not a zlib stream",
            InflateError::Truncated => "its zlib stream ends too early",
            InflateError::Corrupt => "its zlib stream is damaged",
            InflateError::Length => "its zlib stream has another length than its pixels",
            InflateError::Checksum => "its zlib stream is damaged: the checksum does not match",
            InflateError::Trailing => "there are bytes behind its zlib stream",
            InflateError::Memory => "there is no memory for its pixels",
        })
    }
}

/// Unpacks a zlib stream that holds exactly `length` bytes.
pub fn zlib(bytes: &[u8], length: usize) -> Result<Vec<u8>, InflateError> {
    let header = bytes.get(..2).ok_or(InflateError::Truncated)?;
    let word = u32::from(header[0]) << 8 | u32::from(header[1]);
    if header[0] & 15 != 8 || header[0] >> 4 > 7 || word % 31 != 0 || header[1] & 0x20 != 0 {
        return Err(InflateError::Header);
    }
    // Before the memory is taken: a short file cannot claim much of it.
    if length as u64 > bytes.len() as u64 * EXPANSION_MAX {
        return Err(InflateError::Truncated);
    }
    let mut out = Vec::new();
    out.try_reserve_exact(length).map_err(|_| InflateError::Memory)?;
    let mut bits = Bits { bytes, at: 2, held: 0, count: 0 };
    inflate(&mut bits, &mut out, length)?;
    if out.len() != length {
        return Err(InflateError::Length);
    }
    bits.skip_to_byte();
    let sum = (0..4).try_fold(0, |sum, _| Ok(sum << 8 | bits.take(8)?))?;
    if sum != adler32(&out) {
        return Err(InflateError::Checksum);
    }
    if bits.at - (bits.count / 8) as usize != bytes.len() {
        return Err(InflateError::Trailing);
    }
    Ok(out)
}

fn inflate(bits: &mut Bits, out: &mut Vec<u8>, length: usize) -> Result<(), InflateError> {
    // Made once: a hostile stream has millions of empty blocks.
    let (fixed_literals, fixed_distances) = fixed_codes()?;
    loop {
        let last = bits.take(1)? == 1;
        match bits.take(2)? {
            0 => stored(bits, out, length)?,
            1 => coded(bits, out, length, &fixed_literals, &fixed_distances)?,
            2 => {
                let (literals, distances) = dynamic_codes(bits)?;
                coded(bits, out, length, &literals, &distances)?;
            }
            _ => return Err(InflateError::Corrupt),
        }
        if last {
            return Ok(());
        }
    }
}

/// Input, low bit first.
struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
    held: u64,
    count: u32,
}

impl Bits<'_> {
    /// Holds as many bits as fit, or all that are left.
    fn fill(&mut self) {
        while self.count <= 48 {
            match self.bytes.get(self.at) {
                Some(&byte) => self.held |= u64::from(byte) << self.count,
                None => return,
            }
            self.at += 1;
            self.count += 8;
        }
    }

    fn drop(&mut self, count: u32) -> Result<(), InflateError> {
        self.count = self.count.checked_sub(count).ok_or(InflateError::Truncated)?;
        self.held >>= count;
        Ok(())
    }

    fn take(&mut self, wanted: u32) -> Result<u32, InflateError> {
        if self.count < wanted {
            self.fill();
        }
        let value = self.held & ((1 << wanted) - 1);
        self.drop(wanted)?;
        Ok(value as u32)
    }

    fn skip_to_byte(&mut self) {
        let odd = self.count % 8;
        self.held >>= odd;
        self.count -= odd;
    }
}

/// A canonical Huffman code: how many codes of each length, and the symbols in the order of their codes.
struct Code {
    counts: [u16; CODE_BITS_MAX + 1],
    symbols: Vec<u16>,
    /// By the next bits of the input: symbol and length of a short code, length 0 where there is none.
    short: Vec<(u16, u8)>,
}

impl Code {
    fn new(lengths: &[u8]) -> Result<Code, InflateError> {
        let mut counts = [0u16; CODE_BITS_MAX + 1];
        for &length in lengths {
            counts[usize::from(length)] += 1;
        }
        counts[0] = 0;
        let (mut room, mut first) = (1i32, 0u32);
        let mut offsets = [0u16; CODE_BITS_MAX + 2];
        let mut next = [0u32; CODE_BITS_MAX + 1];
        for length in 1..=CODE_BITS_MAX {
            room = room * 2 - i32::from(counts[length]);
            if room < 0 {
                return Err(InflateError::Corrupt);
            }
            offsets[length + 1] = offsets[length] + counts[length];
            next[length] = first;
            first = (first + u32::from(counts[length])) << 1;
        }
        let mut symbols = vec![0u16; lengths.len()];
        let mut short = vec![(0u16, 0u8); 1 << LOOK_BITS];
        for (symbol, &length) in lengths.iter().enumerate().filter(|(_, &length)| length > 0) {
            let place = usize::from(length);
            symbols[usize::from(offsets[place])] = symbol as u16;
            offsets[place] += 1;
            let code = next[place];
            next[place] += 1;
            if u32::from(length) <= LOOK_BITS {
                // Codes come with their highest bit first.
                let start = (code.reverse_bits() >> (32 - u32::from(length))) as usize;
                for entry in short[start..].iter_mut().step_by(1 << length) {
                    *entry = (symbol as u16, length);
                }
            }
        }
        Ok(Code { counts, symbols, short })
    }

    fn read(&self, bits: &mut Bits) -> Result<u16, InflateError> {
        if bits.count < CODE_BITS_MAX as u32 {
            bits.fill();
        }
        let (symbol, length) = self.short[(bits.held & ((1 << LOOK_BITS) - 1)) as usize];
        if length > 0 {
            bits.drop(u32::from(length))?;
            return Ok(symbol);
        }
        let (mut code, mut first, mut index) = (0i32, 0i32, 0i32);
        for length in 1..=CODE_BITS_MAX {
            code |= (bits.held >> (length - 1) & 1) as i32;
            let count = i32::from(self.counts[length]);
            if code - count < first {
                bits.drop(length as u32)?;
                return Ok(self.symbols[(index + code - first) as usize]);
            }
            index += count;
            first = (first + count) << 1;
            code <<= 1;
        }
        Err(InflateError::Corrupt)
    }
}

fn stored(bits: &mut Bits, out: &mut Vec<u8>, length: usize) -> Result<(), InflateError> {
    bits.skip_to_byte();
    let count = bits.take(16)?;
    if bits.take(16)? != count ^ 0xffff {
        return Err(InflateError::Corrupt);
    }
    let start = bits.at - (bits.count / 8) as usize;
    let end = start + count as usize;
    let piece = bits.bytes.get(start..end).ok_or(InflateError::Truncated)?;
    if piece.len() > length - out.len() {
        return Err(InflateError::Length);
    }
    out.extend_from_slice(piece);
    bits.at = end;
    bits.held = 0;
    bits.count = 0;
    Ok(())
}

fn fixed_codes() -> Result<(Code, Code), InflateError> {
    let mut lengths = [8u8; LITERAL_CODES];
    lengths[144..256].fill(9);
    lengths[256..280].fill(7);
    Ok((Code::new(&lengths)?, Code::new(&[5u8; DISTANCE_CODES])?))
}

fn dynamic_codes(bits: &mut Bits) -> Result<(Code, Code), InflateError> {
    let literals = bits.take(5)? as usize + 257;
    let distances = bits.take(5)? as usize + 1;
    let given = bits.take(4)? as usize + 4;
    let mut code_lengths = [0u8; 19];
    for &place in &CODE_LENGTH_ORDER[..given] {
        code_lengths[place] = bits.take(3)? as u8;
    }
    let code = Code::new(&code_lengths)?;
    let mut lengths: Vec<u8> = Vec::with_capacity(literals + distances);
    while lengths.len() < literals + distances {
        let (value, times) = match code.read(bits)? {
            16 => (*lengths.last().ok_or(InflateError::Corrupt)?, 3 + bits.take(2)?),
            17 => (0, 3 + bits.take(3)?),
            18 => (0, 11 + bits.take(7)?),
            length => (length as u8, 1),
        };
        lengths.extend(std::iter::repeat(value).take(times as usize));
    }
    if lengths.len() > literals + distances {
        return Err(InflateError::Corrupt);
    }
    Ok((Code::new(&lengths[..literals])?, Code::new(&lengths[literals..])?))
}

fn coded(
    bits: &mut Bits,
    out: &mut Vec<u8>,
    end: usize,
    literals: &Code,
    distances: &Code,
) -> Result<(), InflateError> {
    loop {
        let symbol = literals.read(bits)?;
        if symbol < END_OF_BLOCK {
            if out.len() == end {
                return Err(InflateError::Length);
            }
            out.push(symbol as u8);
            continue;
        }
        if symbol == END_OF_BLOCK {
            return Ok(());
        }
        let (base, extra) = length_of(symbol).ok_or(InflateError::Corrupt)?;
        let length = base + bits.take(extra)? as usize;
        let (base, extra) = distance_of(distances.read(bits)?).ok_or(InflateError::Corrupt)?;
        let distance = base + bits.take(extra)? as usize;
        if distance > out.len() {
            return Err(InflateError::Corrupt);
        }
        if length > end - out.len() {
            return Err(InflateError::Length);
        }
        let start = out.len() - distance;
        for place in start..start + length {
            out.push(out[place]);
        }
    }
}

/// Base and extra bits of a length symbol 257..285.
pub fn length_of(symbol: u16) -> Option<(usize, u32)> {
    let place = usize::from(symbol.checked_sub(257)?);
    match place {
        0..=7 => Some((3 + place, 0)),
        8..=27 => {
            let extra = place as u32 / 4 - 1;
            Some((((4 + place % 4) << extra) + 3, extra))
        }
        28 => Some((258, 0)),
        _ => None,
    }
}

/// Base and extra bits of a distance symbol 0..29.
pub fn distance_of(symbol: u16) -> Option<(usize, u32)> {
    let place = usize::from(symbol);
    match place {
        0..=3 => Some((1 + place, 0)),
        4..=29 => {
            let extra = place as u32 / 2 - 1;
            Some((((2 + place % 2) << extra) + 1, extra))
        }
        _ => None,
    }
}
