//! Unpacks gzip (RFC 1952) and its DEFLATE stream (RFC 1951), and checks length and CRC.

use std::fmt;

/// Longest unpacked file, so that a small hostile file cannot fill the memory.
pub const MAX_UNPACKED: usize = 256 << 20;

const MAX_CODE_BITS: usize = 15;
const LITERAL_CODES: usize = 288;
const DISTANCE_CODES: usize = 32;
const END_OF_BLOCK: u16 = 256;
/// Order in which the lengths of the code-length code come (RFC 1951, 3.2.7).
const CODE_LENGTH_ORDER: [usize; 19] = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];

/// Why a file could not be unpacked.
#[derive(Debug, PartialEq, Eq)]
pub enum InflateError {
    /// Not gzip, or a part of gzip nobody uses.
    Header,
    /// The file ends too early.
    Truncated,
    /// A code, length or distance that cannot be.
    Corrupt,
    /// More than [`MAX_UNPACKED`] bytes.
    TooLong,
    /// The unpacked bytes are not those that were packed.
    Checksum,
}

impl fmt::Display for InflateError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            InflateError::Header => "not a gzip file",
            InflateError::Truncated => "the gzip file ends too early",
            InflateError::Corrupt => "the gzip file is damaged",
            InflateError::TooLong => "the unpacked file is too long",
            InflateError::Checksum => "the gzip file is damaged: its checksum does not match",
        })
    }
}

/// Whether the bytes begin as a gzip file does.
pub fn is_gzip(bytes: &[u8]) -> bool {
    bytes.starts_with(&[0x1f, 0x8b])
}

/// Unpacks a gzip file of one or more members.
pub fn gunzip(bytes: &[u8]) -> Result<Vec<u8>, InflateError> {
    let mut out = Vec::new();
    let mut rest = bytes;
    loop {
        let body = rest.get(header_length(rest)?..).ok_or(InflateError::Truncated)?;
        let start = out.len();
        let used = inflate(body, &mut out)?;
        let trailer = body.get(used..used + 8).ok_or(InflateError::Truncated)?;
        let word = |at: usize| u32::from_le_bytes([trailer[at], trailer[at + 1], trailer[at + 2], trailer[at + 3]]);
        if word(0) != crc32(&out[start..]) || word(4) != (out.len() - start) as u32 {
            return Err(InflateError::Checksum);
        }
        rest = &body[used + 8..];
        if rest.is_empty() {
            return Ok(out);
        }
    }
}

fn header_length(bytes: &[u8]) -> Result<usize, InflateError> {
    const CRC: u8 = 2;
    const EXTRA: u8 = 4;
    const NAME: u8 = 8;
    const COMMENT: u8 = 16;
    let fixed = bytes.get(..10).ok_or(InflateError::Header)?;
    if !is_gzip(fixed) || fixed[2] != 8 || fixed[3] > 31 {
        return Err(InflateError::Header);
    }
    let flags = fixed[3];
    let mut at = 10;
    if flags & EXTRA != 0 {
        let length = bytes.get(at..at + 2).ok_or(InflateError::Truncated)?;
        at += 2 + usize::from(u16::from_le_bytes([length[0], length[1]]));
    }
    for text in [NAME, COMMENT] {
        if flags & text != 0 {
            let tail = bytes.get(at..).ok_or(InflateError::Truncated)?;
            at += 1 + tail.iter().position(|&byte| byte == 0).ok_or(InflateError::Truncated)?;
        }
    }
    Ok(if flags & CRC != 0 { at + 2 } else { at })
}

/// Unpacks one DEFLATE stream to the end of `out` and says how many bytes of input it took.
pub fn inflate(bytes: &[u8], out: &mut Vec<u8>) -> Result<usize, InflateError> {
    let start = out.len();
    let mut bits = Bits { bytes, at: 0, held: 0, count: 0 };
    loop {
        let last = bits.take(1)? == 1;
        match bits.take(2)? {
            0 => stored(&mut bits, out)?,
            1 => {
                let (literals, distances) = fixed_codes()?;
                coded(&mut bits, out, start, &literals, &distances)?;
            }
            2 => {
                let (literals, distances) = dynamic_codes(&mut bits)?;
                coded(&mut bits, out, start, &literals, &distances)?;
            }
            _ => return Err(InflateError::Corrupt),
        }
        if last {
            return Ok(bits.at - (bits.count / 8) as usize);
        }
    }
}

/// Input, low bit first.
struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
    held: u32,
    count: u32,
}

impl Bits<'_> {
    fn take(&mut self, wanted: u32) -> Result<u32, InflateError> {
        while self.count < wanted {
            let byte = *self.bytes.get(self.at).ok_or(InflateError::Truncated)?;
            self.held |= u32::from(byte) << self.count;
            self.at += 1;
            self.count += 8;
        }
        let value = self.held & ((1 << wanted) - 1);
        self.held >>= wanted;
        self.count -= wanted;
        Ok(value)
    }

    fn skip_to_byte(&mut self) {
        let odd = self.count % 8;
        self.held >>= odd;
        self.count -= odd;
    }
}

/// A canonical Huffman code: how many codes of each length, and the symbols in the order of their codes.
struct Code {
    counts: [u16; MAX_CODE_BITS + 1],
    symbols: Vec<u16>,
}

impl Code {
    fn new(lengths: &[u8]) -> Result<Code, InflateError> {
        let mut counts = [0u16; MAX_CODE_BITS + 1];
        for &length in lengths {
            counts[usize::from(length)] += 1;
        }
        counts[0] = 0;
        let mut room = 1i32;
        let mut offsets = [0u16; MAX_CODE_BITS + 2];
        for length in 1..=MAX_CODE_BITS {
            room = room * 2 - i32::from(counts[length]);
            if room < 0 {
                return Err(InflateError::Corrupt);
            }
            offsets[length + 1] = offsets[length] + counts[length];
        }
        let mut symbols = vec![0u16; lengths.len()];
        for (symbol, &length) in lengths.iter().enumerate().filter(|(_, &length)| length > 0) {
            symbols[usize::from(offsets[usize::from(length)])] = symbol as u16;
            offsets[usize::from(length)] += 1;
        }
        Ok(Code { counts, symbols })
    }

    fn read(&self, bits: &mut Bits) -> Result<u16, InflateError> {
        let (mut code, mut first, mut index) = (0i32, 0i32, 0i32);
        for length in 1..=MAX_CODE_BITS {
            code |= bits.take(1)? as i32;
            let count = i32::from(self.counts[length]);
            if code - count < first {
                return Ok(self.symbols[(index + code - first) as usize]);
            }
            index += count;
            first = (first + count) << 1;
            code <<= 1;
        }
        Err(InflateError::Corrupt)
    }
}

fn stored(bits: &mut Bits, out: &mut Vec<u8>) -> Result<(), InflateError> {
    bits.skip_to_byte();
    let length = bits.take(16)?;
    if bits.take(16)? != length ^ 0xffff {
        return Err(InflateError::Corrupt);
    }
    for _ in 0..length {
        let byte = bits.take(8)?;
        push(out, byte as u8)?;
    }
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
    start: usize,
    literals: &Code,
    distances: &Code,
) -> Result<(), InflateError> {
    loop {
        let symbol = literals.read(bits)?;
        if symbol < END_OF_BLOCK {
            push(out, symbol as u8)?;
            continue;
        }
        if symbol == END_OF_BLOCK {
            return Ok(());
        }
        let (base, extra) = length_of(symbol).ok_or(InflateError::Corrupt)?;
        let length = base + bits.take(extra)? as usize;
        let (base, extra) = distance_of(distances.read(bits)?).ok_or(InflateError::Corrupt)?;
        let distance = base + bits.take(extra)? as usize;
        if distance > out.len() - start {
            return Err(InflateError::Corrupt);
        }
        for _ in 0..length {
            let byte = out[out.len() - distance];
            push(out, byte)?;
        }
    }
}

fn push(out: &mut Vec<u8>, byte: u8) -> Result<(), InflateError> {
    if out.len() >= MAX_UNPACKED {
        return Err(InflateError::TooLong);
    }
    out.push(byte);
    Ok(())
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

/// The CRC-32 of gzip and PNG.
pub fn crc32(bytes: &[u8]) -> u32 {
    let mut table = [0u32; 256];
    for (index, entry) in table.iter_mut().enumerate() {
        *entry = (0..8).fold(index as u32, |crc, _| if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 });
    }
    !bytes.iter().fold(!0u32, |crc, &byte| (crc >> 8) ^ table[((crc ^ u32::from(byte)) & 0xff) as usize])
}
