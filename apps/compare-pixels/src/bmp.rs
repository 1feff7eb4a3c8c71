//! Reads BMP without compression, 24 or 32 bits a pixel.

use crate::image::{Image, Problem, Shape};

/// Bytes before the header that tells the size.
const FILE_HEADER_BYTES: usize = 14;
/// Headers that we know: the classic one, and its five extensions.
const HEADER_BYTES: [u32; 6] = [40, 52, 56, 64, 108, 124];
/// "No compression" and "the masks say where the colours are".
const PLAIN: u32 = 0;
const MASKED: u32 = 3;
/// The masks of red, green and blue in the order of the file, and that of alpha.
const MASKS: [u32; 3] = [0x00ff_0000, 0x0000_ff00, 0x0000_00ff];
const ALPHA_MASK: u32 = 0xff00_0000;

/// Reads a BMP file.
pub fn decode(file: &[u8]) -> Result<Image, Problem> {
    if !file.starts_with(b"BM") {
        return Err("does not begin with BM, as a BMP file does".into());
    }
    let start = word(file, 10)? as usize;
    let header_bytes = word(file, FILE_HEADER_BYTES)?;
    if !HEADER_BYTES.contains(&header_bytes) {
        return Err(format!("has a header of {} bytes, which is not supported", header_bytes));
    }
    let (width, height) = (word(file, 18)? as i32, word(file, 22)? as i32);
    if width <= 0 || height == 0 {
        return Err(format!("{} x {} is no size of a picture", width, height));
    }
    let (planes, depth) = (word(file, 26)? & 0xffff, word(file, 26)? >> 16);
    let packing = word(file, 30)?;
    let alpha = match (depth, packing) {
        (24, PLAIN) | (32, PLAIN) => false,
        (32, MASKED) => has_alpha(file, header_bytes)?,
        _ => {
            return Err(format!(
                "has {} bits a pixel and packing {}: only 24 and 32, not packed, are supported",
                depth, packing
            ));
        }
    };
    if planes != 1 || start < FILE_HEADER_BYTES + header_bytes as usize {
        return Err("its header cannot be".into());
    }
    let shape =
        Shape { width: width as u32, height: height.unsigned_abs(), channels: 3 + u8::from(alpha), deep: false };
    Image::check(shape)?;
    // Each row is filled up to words. 64 bits, because 4 bytes a pixel are more than the picture's 3.
    let stride = (u64::from(shape.width) * u64::from(depth / 8) + 3) / 4 * 4;
    let end = start as u64 + stride * u64::from(shape.height);
    if end > file.len() as u64 {
        return Err(format!("has {} bytes, fewer than the {} that its pixels need", file.len(), end));
    }
    let mut image = Image::new(shape)?;
    let (source_bytes, target_bytes) = (depth as usize / 8, shape.pixel_bytes());
    for (line, row) in file[start..end as usize].chunks_exact(stride as usize).enumerate() {
        // A positive height means that the lowest row comes first.
        let y = if height > 0 { shape.height as usize - 1 - line } else { line };
        let pixels = row.chunks_exact(source_bytes).take(shape.width as usize);
        for (pixel, target) in pixels.zip(image.row_mut(y).chunks_exact_mut(target_bytes)) {
            target[..3].copy_from_slice(&[pixel[2], pixel[1], pixel[0]]);
            if alpha {
                target[3] = pixel[3];
            }
        }
    }
    Ok(image)
}

/// Whether the masks of a picture tell of alpha; other masks than the usual are refused.
fn has_alpha(file: &[u8], header_bytes: u32) -> Result<bool, Problem> {
    let masks = [word(file, 54)?, word(file, 58)?, word(file, 62)?];
    // The classic header ends before the masks: those of the colours follow it, and there is none of alpha.
    let alpha = if header_bytes >= 56 { word(file, 66)? } else { 0 };
    if masks != MASKS || (alpha != 0 && alpha != ALPHA_MASK) {
        return Err("has its colours at unusual places, which is not supported".into());
    }
    Ok(alpha != 0)
}

/// A number of four bytes, low byte first.
fn word(file: &[u8], at: usize) -> Result<u32, Problem> {
    match file.get(at..at + 4) {
        Some(bytes) => Ok(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])),
        None => Err("ends in its header".into()),
    }
}
