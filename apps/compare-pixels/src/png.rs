//! Reads PNG: all colour types and depths, transparency, interlacing. Whatever else is in the file is checked and dropped.

use crate::checksum::crc32;
use crate::image::{Image, Problem, Shape, SIGNATURE};
use crate::inflate;

/// Longest chunk of the format.
const CHUNK_BYTES_MAX: usize = i32::MAX as usize;
const PALETTE_ENTRIES_MAX: usize = 256;
/// First column and row, and their steps, of the seven passes of Adam7.
const PASSES: [[usize; 4]; 7] =
    [[0, 0, 8, 8], [4, 0, 8, 8], [0, 4, 4, 8], [2, 0, 4, 4], [0, 2, 2, 4], [1, 0, 2, 2], [0, 1, 1, 2]];

/// Reads a PNG file.
pub fn decode(file: &[u8]) -> Result<Image, Problem> {
    let parts = Parts::read(file)?;
    let header = &parts.header;
    let shape = parts.shape();
    Image::check(shape)?;
    let passes: &[[usize; 4]] = if header.interlaced { &PASSES } else { &[[0, 0, 1, 1]] };
    let sizes = passes.iter().map(|pass| header.size(pass)).filter(|(width, height)| *width > 0 && *height > 0);
    let length = sizes.map(|(width, height)| (1 + header.row_bytes(width)) * height).sum();
    let mut raw = inflate::zlib(&parts.packed, length).map_err(|error| error.to_string())?;
    let mut image = Image::new(shape)?;
    let mut start = 0;
    for pass in passes {
        let (width, height) = header.size(pass);
        if width == 0 || height == 0 {
            continue;
        }
        let row_bytes = header.row_bytes(width);
        let end = start + (1 + row_bytes) * height;
        unfilter(&mut raw[start..end], row_bytes, header.pixel_bytes())?;
        for (line, row) in raw[start..end].chunks_exact(1 + row_bytes).enumerate() {
            let target = image.row_mut(pass[1] + line * pass[3]);
            parts.place(&row[1..], width, pass, target, shape.pixel_bytes())?;
        }
        start = end;
    }
    Ok(image)
}

struct Header {
    width: u32,
    height: u32,
    depth: u8,
    colour: u8,
    interlaced: bool,
}

impl Header {
    fn read(data: &[u8]) -> Result<Header, Problem> {
        if data.len() != 13 {
            return Err("its IHDR chunk has not 13 bytes".into());
        }
        let word = |at: usize| u32::from_be_bytes([data[at], data[at + 1], data[at + 2], data[at + 3]]);
        let (depth, colour) = (data[8], data[9]);
        let fits = match colour {
            0 => [1, 2, 4, 8, 16].contains(&depth),
            3 => [1, 2, 4, 8].contains(&depth),
            2 | 4 | 6 => [8, 16].contains(&depth),
            _ => false,
        };
        if !fits || data[10] != 0 || data[11] != 0 || data[12] > 1 {
            return Err(format!(
                "there is no PNG of depth {}, colour {}, packing {}, filters {} and interlacing {}",
                depth, colour, data[10], data[11], data[12]
            ));
        }
        Ok(Header { width: word(0), height: word(4), depth, colour, interlaced: data[12] == 1 })
    }

    fn channels(&self) -> usize {
        match self.colour {
            0 | 3 => 1,
            4 => 2,
            2 => 3,
            _ => 4,
        }
    }

    /// Bytes of a row of so many pixels.
    fn row_bytes(&self, width: usize) -> usize {
        (width * self.channels() * usize::from(self.depth) + 7) / 8
    }

    /// Bytes that a filter looks back: at least one.
    fn pixel_bytes(&self) -> usize {
        (self.channels() * usize::from(self.depth) / 8).max(1)
    }

    /// Columns and rows of a pass.
    fn size(&self, pass: &[usize; 4]) -> (usize, usize) {
        let count = |whole: u32, first: usize, step: usize| {
            (whole as usize).saturating_sub(first).saturating_add(step - 1) / step
        };
        (count(self.width, pass[0], pass[2]), count(self.height, pass[1], pass[3]))
    }
}

/// The chunks that make pixels.
struct Parts<'a> {
    header: Header,
    palette: &'a [u8],
    transparency: Option<&'a [u8]>,
    packed: Vec<u8>,
}

impl<'a> Parts<'a> {
    fn read(file: &'a [u8]) -> Result<Parts<'a>, Problem> {
        let mut rest = file.strip_prefix(&SIGNATURE).ok_or("does not begin as a PNG file does")?;
        let (kind, data) = next(&mut rest)?;
        if &kind != b"IHDR" {
            return Err("does not begin with an IHDR chunk".into());
        }
        let mut parts = Parts { header: Header::read(data)?, palette: &[], transparency: None, packed: Vec::new() };
        let (mut before, mut pixels_seen) = (kind, false);
        loop {
            let (kind, data) = next(&mut rest)?;
            match &kind {
                b"PLTE" if parts.palette.is_empty() && parts.transparency.is_none() && !pixels_seen => {
                    parts.set_palette(data)?;
                }
                b"tRNS" if parts.transparency.is_none() && !pixels_seen => parts.set_transparency(data)?,
                b"IDAT" if !pixels_seen || &before == b"IDAT" => {
                    parts.packed.try_reserve(data.len()).map_err(|_| "there is no memory for its pixels")?;
                    parts.packed.extend_from_slice(data);
                    pixels_seen = true;
                }
                b"IEND" if pixels_seen && data.is_empty() => return parts.finish(),
                b"IHDR" | b"PLTE" | b"tRNS" | b"IDAT" | b"IEND" => {
                    return Err(format!("its {} chunk cannot stand there", String::from_utf8_lossy(&kind)));
                }
                _ if kind[0] & 0x20 == 0 => {
                    return Err(format!("its {} chunk is unknown, but needed", String::from_utf8_lossy(&kind)));
                }
                _ => {}
            }
            before = kind;
        }
    }

    fn set_palette(&mut self, data: &'a [u8]) -> Result<(), Problem> {
        let entries_max = if self.header.colour == 3 { 1 << self.header.depth } else { PALETTE_ENTRIES_MAX };
        let coloured = [2, 3, 6].contains(&self.header.colour);
        if !coloured || data.is_empty() || data.len() % 3 != 0 || data.len() / 3 > entries_max {
            return Err(format!("its palette of {} bytes cannot be", data.len()));
        }
        self.palette = data;
        Ok(())
    }

    fn set_transparency(&mut self, data: &'a [u8]) -> Result<(), Problem> {
        let fits = match self.header.colour {
            0 => data.len() == 2,
            2 => data.len() == 6,
            3 => !data.is_empty() && data.len() <= self.palette.len() / 3,
            _ => false,
        };
        if !fits {
            return Err(format!("its tRNS chunk of {} bytes cannot be", data.len()));
        }
        self.transparency = Some(data);
        Ok(())
    }

    fn finish(self) -> Result<Parts<'a>, Problem> {
        if self.header.colour == 3 && self.palette.is_empty() {
            return Err("has no palette".into());
        }
        Ok(self)
    }

    /// What the canonical form of it looks like.
    fn shape(&self) -> Shape {
        let colours = match self.header.colour {
            0 | 4 => 1,
            _ => 3,
        };
        let alpha = u8::from(self.transparency.is_some() || self.header.colour & 4 != 0);
        let Header { width, height, depth, .. } = self.header;
        Shape { width, height, channels: colours + alpha, deep: depth == 16 }
    }

    /// Puts the pixels of a row where they belong.
    fn place(
        &self,
        row: &[u8],
        width: usize,
        pass: &[usize; 4],
        target: &mut [u8],
        pixel_bytes: usize,
    ) -> Result<(), Problem> {
        let depth = usize::from(self.header.depth);
        if depth >= 8 && self.transparency.is_none() && self.header.colour != 3 {
            for (column, pixel) in row.chunks_exact(pixel_bytes).enumerate() {
                let at = (pass[0] + column * pass[2]) * pixel_bytes;
                target[at..at + pixel_bytes].copy_from_slice(pixel);
            }
            return Ok(());
        }
        for column in 0..width {
            let at = (pass[0] + column * pass[2]) * pixel_bytes;
            let pixel = &mut target[at..at + pixel_bytes];
            match self.header.colour {
                0 if depth < 8 => self.place_grey(small(row, column, depth), pixel),
                3 => self.place_index(small(row, column, depth), pixel)?,
                _ => self.place_keyed(row, column, pixel),
            }
        }
        Ok(())
    }

    /// A grey sample of less than 8 bits: spread over 0 to 255.
    fn place_grey(&self, sample: u8, pixel: &mut [u8]) {
        let most = (1u8 << self.header.depth) - 1;
        pixel[0] = sample * (255 / most);
        if let Some(key) = self.transparency {
            pixel[1] = if key[1] & most == sample { 0 } else { 255 };
        }
    }

    fn place_index(&self, index: u8, pixel: &mut [u8]) -> Result<(), Problem> {
        let start = usize::from(index) * 3;
        let colour = self.palette.get(start..start + 3).ok_or("has a pixel whose colour is not in its palette")?;
        pixel[..3].copy_from_slice(colour);
        if let Some(alphas) = self.transparency {
            pixel[3] = alphas.get(usize::from(index)).copied().unwrap_or(255);
        }
        Ok(())
    }

    /// A grey or RGB pixel of whole bytes, with a colour that means transparent.
    fn place_keyed(&self, row: &[u8], column: usize, pixel: &mut [u8]) {
        let bytes = self.header.pixel_bytes();
        let colour = &row[column * bytes..(column + 1) * bytes];
        pixel[..bytes].copy_from_slice(colour);
        let key = self.transparency.unwrap_or_default();
        // The key has 16 bits a sample whatever the depth; of those only the low ones count.
        let same = match self.header.depth {
            16 => colour == key,
            _ => colour.iter().eq(key.iter().skip(1).step_by(2)),
        };
        pixel[bytes..].fill(if same { 0 } else { 255 });
    }
}

/// Takes the next chunk off: its type and its data.
fn next<'a>(rest: &mut &'a [u8]) -> Result<([u8; 4], &'a [u8]), Problem> {
    let head = rest.get(..8).ok_or("ends in the middle")?;
    let length = u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize;
    let kind = [head[4], head[5], head[6], head[7]];
    if !kind.iter().all(u8::is_ascii_alphabetic) || length > CHUNK_BYTES_MAX {
        return Err("has a chunk that cannot be".into());
    }
    let whole = rest.get(8..).unwrap_or_default();
    if whole.len() < 4 || whole.len() - 4 < length {
        return Err("ends in the middle".into());
    }
    let sum = u32::from_be_bytes([whole[length], whole[length + 1], whole[length + 2], whole[length + 3]]);
    if sum != crc32(&rest[4..8 + length]) {
        return Err(format!("its {} chunk is damaged: the checksum does not match", String::from_utf8_lossy(&kind)));
    }
    *rest = &whole[length + 4..];
    Ok((kind, &whole[..length]))
}

/// A sample of 1, 2, 4 or 8 bits.
fn small(row: &[u8], column: usize, depth: usize) -> u8 {
    let bit = column * depth;
    let byte = row[bit / 8];
    if depth == 8 {
        byte
    } else {
        byte >> (8 - depth - bit % 8) & ((1 << depth) - 1)
    }
}

/// Undoes the filters of the rows, each `row_bytes` long behind the number of its filter.
fn unfilter(rows: &mut [u8], row_bytes: usize, back: usize) -> Result<(), Problem> {
    let first = vec![0; row_bytes];
    let mut done: &[u8] = &first;
    for line in rows.chunks_exact_mut(1 + row_bytes) {
        let (filter, row) = line.split_at_mut(1);
        match filter[0] {
            0 => {}
            1 => (back..row_bytes).for_each(|at| row[at] = row[at].wrapping_add(row[at - back])),
            2 => (0..row_bytes).for_each(|at| row[at] = row[at].wrapping_add(done[at])),
            3 => (0..row_bytes).for_each(|at| {
                let left = if at < back { 0 } else { u16::from(row[at - back]) };
                row[at] = row[at].wrapping_add(((left + u16::from(done[at])) / 2) as u8);
            }),
            4 => (0..row_bytes).for_each(|at| {
                let (left, corner) = if at < back { (0, 0) } else { (row[at - back], done[at - back]) };
                row[at] = row[at].wrapping_add(paeth(left, done[at], corner));
            }),
            other => return Err(format!("has a row with the unknown filter {}", other)),
        }
        done = row;
    }
    Ok(())
}

/// Whichever of the neighbours is nearest to left + above - corner; in doubt the first.
fn paeth(left: u8, above: u8, corner: u8) -> u8 {
    let guess = i16::from(left) + i16::from(above) - i16::from(corner);
    let away = |value: u8| (guess - i16::from(value)).abs();
    if away(left) <= away(above) && away(left) <= away(corner) {
        left
    } else if away(above) <= away(corner) {
        above
    } else {
        corner
    }
}
