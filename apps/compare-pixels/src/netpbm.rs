//! Reads the binary PGM (P5) and PPM (P6), one picture a file.

use crate::image::{Image, Problem, Shape};

/// Largest sample of the format.
const SAMPLE_MAX: u32 = 65_535;

/// Reads a PGM or PPM file.
pub fn decode(file: &[u8]) -> Result<Image, Problem> {
    let channels = match file.get(..2) {
        Some(b"P5") => 1,
        Some(b"P6") => 3,
        _ => return Err("does not begin with P5 or P6, as a binary PGM or PPM file does".into()),
    };
    let mut at = 2;
    let width = number(file, &mut at)?;
    let height = number(file, &mut at)?;
    let most = number(file, &mut at)?;
    if most == 0 || most > SAMPLE_MAX {
        return Err(format!("its largest sample is {}, not 1 to {}", most, SAMPLE_MAX));
    }
    // One byte of white space ends the header; a comment cannot stand there any more.
    let blank = file.get(at).map_or(false, is_blank);
    let samples = file.get(at + 1..).filter(|_| blank).ok_or("ends in its header")?;
    let shape = Shape { width, height, channels, deep: most > 255 };
    Image::check(shape)?;
    let row_bytes = width as usize * shape.pixel_bytes();
    let wanted = row_bytes * height as usize;
    if samples.len() != wanted {
        return Err(format!("has {} bytes of samples instead of {}", samples.len(), wanted));
    }
    let mut image = Image::new(shape)?;
    for (y, row) in samples.chunks_exact(row_bytes).enumerate() {
        scale(row, most, image.row_mut(y))?;
    }
    Ok(image)
}

fn is_blank(byte: &u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c)
}

/// The next number of the header, behind white space and comments.
fn number(file: &[u8], at: &mut usize) -> Result<u32, Problem> {
    let mut separated = false;
    while let Some(byte) = file.get(*at) {
        if *byte == b'#' {
            let tail = &file[*at..];
            *at += tail.iter().position(|&byte| byte == b'\n' || byte == b'\r').unwrap_or(tail.len());
        } else if is_blank(byte) {
            *at += 1;
        } else {
            break;
        }
        separated = true;
    }
    let digits = file[*at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let text = &file[*at..*at + digits];
    *at += digits;
    match std::str::from_utf8(text).map(str::parse) {
        Ok(Ok(value)) if separated => Ok(value),
        _ => Err("its header does not give width, height and largest sample".into()),
    }
}

/// Samples of 0 to `most` become samples of 0 to 255, or 0 to 65535 if they have two bytes: to the nearest, the half up.
fn scale(row: &[u8], most: u32, target: &mut [u8]) -> Result<(), Problem> {
    let too_large = || Problem::from("has a sample above its largest one");
    if most == 255 || most == SAMPLE_MAX {
        target.copy_from_slice(row);
    } else if most < 255 {
        for (sample, place) in row.iter().zip(target) {
            let sample = u32::from(*sample);
            if sample > most {
                return Err(too_large());
            }
            *place = ((2 * sample * 255 + most) / (2 * most)) as u8;
        }
    } else {
        for (sample, place) in row.chunks_exact(2).zip(target.chunks_exact_mut(2)) {
            let sample = u64::from(u16::from_be_bytes([sample[0], sample[1]]));
            let most = u64::from(most);
            if sample > most {
                return Err(too_large());
            }
            let scaled = (2 * sample * u64::from(SAMPLE_MAX) + most) / (2 * most);
            place.copy_from_slice(&(scaled as u16).to_be_bytes());
        }
    }
    Ok(())
}
