//! Writes an RGB picture as PNG: no date, no text, so that equal pictures are equal files.

use crate::deflate::zlib;
use crate::inflate::crc32;

const SIGNATURE: [u8; 8] = [0x89, b'P', b'N', b'G', 0x0d, 0x0a, 0x1a, 0x0a];
const BYTES_A_PIXEL: usize = 3;

/// Packs `pixels` (three bytes a pixel, row by row from the top) of a picture `width` wide.
pub fn encode(width: usize, pixels: &[u8]) -> Vec<u8> {
    let row_bytes = width * BYTES_A_PIXEL;
    let height = pixels.len() / row_bytes;
    let mut header = Vec::with_capacity(13);
    header.extend_from_slice(&(width as u32).to_be_bytes());
    header.extend_from_slice(&(height as u32).to_be_bytes());
    header.extend_from_slice(&[8, 2, 0, 0, 0]);
    let mut rows = Vec::with_capacity(pixels.len() + height);
    let mut above = vec![0u8; row_bytes];
    for row in pixels.chunks_exact(row_bytes) {
        filter(row, &above, &mut rows);
        above.copy_from_slice(row);
    }
    let mut file = SIGNATURE.to_vec();
    chunk(&mut file, b"IHDR", &header);
    chunk(&mut file, b"IDAT", &zlib(&rows));
    chunk(&mut file, b"IEND", &[]);
    file
}

/// Appends the row in the cheaper of two filters: 1 (difference to the pixel on the left) or 2 (to the pixel above).
fn filter(row: &[u8], above: &[u8], rows: &mut Vec<u8>) {
    let left = |place: usize| {
        if place < BYTES_A_PIXEL {
            0
        } else {
            row[place - BYTES_A_PIXEL]
        }
    };
    let sub: Vec<u8> = row.iter().enumerate().map(|(place, &byte)| byte.wrapping_sub(left(place))).collect();
    let up: Vec<u8> = row.iter().zip(above).map(|(&byte, &higher)| byte.wrapping_sub(higher)).collect();
    let cost = |bytes: &[u8]| bytes.iter().fold(0u64, |sum, &byte| sum + u64::from((byte as i8).unsigned_abs()));
    let (number, bytes) = if cost(&sub) < cost(&up) { (1, sub) } else { (2, up) };
    rows.push(number);
    rows.extend_from_slice(&bytes);
}

fn chunk(file: &mut Vec<u8>, kind: &[u8; 4], data: &[u8]) {
    file.extend_from_slice(&(data.len() as u32).to_be_bytes());
    let start = file.len();
    file.extend_from_slice(kind);
    file.extend_from_slice(data);
    let crc = crc32(&file[start..]);
    file.extend_from_slice(&crc.to_be_bytes());
}
