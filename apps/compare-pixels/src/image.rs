//! A picture as its canonical form has it, and that form: a PNG file without anything but pixels.

use crate::checksum::crc32;
use crate::deflate;

/// Bytes of a picture's rows, the filter byte of each row counted.
pub const PIXEL_BYTES_MAX: u64 = 1 << 28;
/// What a PNG file begins with.
pub const SIGNATURE: [u8; 8] = [0x89, b'P', b'N', b'G', 0x0d, 0x0a, 0x1a, 0x0a];

/// What was wrong with a file, for people.
pub type Problem = String;

/// Size and kind of a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    pub width: u32,
    pub height: u32,
    /// 1 grey, 2 grey and alpha, 3 RGB, 4 RGB and alpha.
    pub channels: u8,
    /// 16 bits a sample, high byte first, instead of 8.
    pub deep: bool,
}

impl Shape {
    /// Bytes of a pixel.
    pub fn pixel_bytes(&self) -> usize {
        usize::from(self.channels) << u32::from(self.deep)
    }

    /// Bytes of a row with its filter byte.
    fn row_bytes(&self) -> u128 {
        1 + u128::from(self.width) * self.pixel_bytes() as u128
    }
}

/// The rows of a picture, each behind a filter byte that is 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    shape: Shape,
    rows: Vec<u8>,
}

impl Image {
    /// Checks a size before anything of that size is made.
    pub fn check(shape: Shape) -> Result<(), Problem> {
        if shape.width == 0 || shape.height == 0 || shape.width > i32::MAX as u32 || shape.height > i32::MAX as u32 {
            return Err(format!("{} x {} is no size of a picture", shape.width, shape.height));
        }
        let bytes = shape.row_bytes() * u128::from(shape.height);
        if bytes > u128::from(PIXEL_BYTES_MAX) {
            return Err(format!(
                "{} x {} pixels are {} bytes, more than {}",
                shape.width, shape.height, bytes, PIXEL_BYTES_MAX
            ));
        }
        Ok(())
    }

    /// A picture of zeros.
    pub fn new(shape: Shape) -> Result<Image, Problem> {
        Image::check(shape)?;
        let length = shape.row_bytes() as usize * shape.height as usize;
        let mut rows = Vec::new();
        rows.try_reserve_exact(length).map_err(|_| "there is no memory for its pixels")?;
        rows.resize(length, 0);
        Ok(Image { shape, rows })
    }

    /// The samples of a row that there is.
    pub fn row_mut(&mut self, y: usize) -> &mut [u8] {
        let row_bytes = self.shape.row_bytes() as usize;
        &mut self.rows[y * row_bytes + 1..(y + 1) * row_bytes]
    }

    /// Makes the `count` lowest bits of each sample 0; `count` is at most 7.
    pub fn drop_low_bits(&mut self, count: u32) {
        let mask = 0xffu8 << count;
        let step = if self.shape.deep { 2 } else { 1 };
        for y in 0..self.shape.height as usize {
            self.row_mut(y).iter_mut().skip(step - 1).step_by(step).for_each(|byte| *byte &= mask);
        }
    }

    /// The canonical PNG file.
    pub fn encode(&self) -> Result<Vec<u8>, Problem> {
        let colour = [0, 4, 2, 6][usize::from(self.shape.channels) - 1];
        let depth = if self.shape.deep { 16 } else { 8 };
        let mut header = Vec::with_capacity(13);
        header.extend_from_slice(&self.shape.width.to_be_bytes());
        header.extend_from_slice(&self.shape.height.to_be_bytes());
        header.extend_from_slice(&[depth, colour, 0, 0, 0]);
        let packed = deflate::zlib(&self.rows).ok_or("there is no memory for its canonical form")?;
        let mut file = Vec::new();
        file.try_reserve_exact(packed.len() + 100).map_err(|_| "there is no memory for its canonical form")?;
        file.extend_from_slice(&SIGNATURE);
        chunk(&mut file, b"IHDR", &header);
        chunk(&mut file, b"IDAT", &packed);
        chunk(&mut file, b"IEND", &[]);
        Ok(file)
    }
}

fn chunk(file: &mut Vec<u8>, kind: &[u8; 4], data: &[u8]) {
    file.extend_from_slice(&(data.len() as u32).to_be_bytes());
    let start = file.len();
    file.extend_from_slice(kind);
    file.extend_from_slice(data);
    let crc = crc32(&file[start..]);
    file.extend_from_slice(&crc.to_be_bytes());
}
