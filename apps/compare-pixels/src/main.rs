//! The canonical form of an output folder whose pictures may differ in everything but their pixels.
//!
//! Reads `IEXEC_IN`, writes `IEXEC_OUT`: each PNG, PPM, PGM and BMP becomes the one PNG that these pixels have; other files stay as they
//! are. Replicas that differ in dates, comments, filters or packing so agree.

mod bmp;
mod checksum;
mod deflate;
mod folder;
mod image;
mod inflate;
mod netpbm;
mod png;
#[cfg(test)]
mod tests;

use std::env;
use std::ffi::OsString;
use std::process;

use folder::{Failure, Folders};
use image::{Image, Problem};

/// Bytes of a picture's file.
const FILE_BYTES_MAX: usize = 1 << 28;
/// Low bits of a sample that may be dropped: one must stay.
const LOW_BITS_MAX: u32 = 7;
const USAGE: &str = "usage: compare-pixels [--drop-low-bits N] [--only-images], with N from 0 to 7";

fn main() {
    let made = Settings::read(env::args_os().skip(1)).and_then(|settings| {
        let folders = Folders::new(env::var_os("IEXEC_IN"), env::var_os("IEXEC_OUT"))?;
        convert(&folders, &settings)
    });
    if let Err(failure) = made {
        eprintln!("compare-pixels: {}", failure);
        // Not `ExitCode`: the WASI library of Rust 1.63 makes a 1 of each that is not 0.
        process::exit(failure.code());
    }
}

/// What the command line asks for.
#[derive(Debug, Default, PartialEq, Eq)]
struct Settings {
    drop_low_bits: u32,
    only_images: bool,
}

impl Settings {
    fn read(words: impl Iterator<Item = OsString>) -> Result<Settings, Failure> {
        let wrong = || Failure::Usage(USAGE.into());
        let mut settings = Settings::default();
        let mut words = words;
        while let Some(word) = words.next() {
            match word.to_str() {
                Some("--drop-low-bits") => {
                    let count = words.next().and_then(|word| word.to_str().and_then(|text| text.parse().ok()));
                    settings.drop_low_bits = count.filter(|count| *count <= LOW_BITS_MAX).ok_or_else(wrong)?;
                }
                Some("--only-images") => settings.only_images = true,
                _ => return Err(wrong()),
            }
        }
        Ok(settings)
    }
}

fn convert(folders: &Folders, settings: &Settings) -> Result<(), Failure> {
    let files = folders.files()?;
    let mut targets = Vec::with_capacity(files.len());
    for path in files {
        match Format::of(&path) {
            Some((format, stem)) => {
                let target = format!("{}.png", stem);
                targets.push((path, target, Some(format)));
            }
            None if settings.only_images => {}
            None => targets.push((path.clone(), path, None)),
        }
    }
    folder::check_targets(targets.iter().map(|(_, target, _)| target.as_str()))?;
    for (path, target, format) in &targets {
        match format {
            Some(format) => {
                let file = folders.read(path, FILE_BYTES_MAX)?;
                let image = format.decode(&file).map_err(|problem| Failure::input(path, problem))?;
                drop(file);
                let canonical = canonical(image, settings).map_err(|problem| Failure::input(path, problem))?;
                folders.write(target, &canonical)?;
            }
            None => folders.copy(path)?,
        }
    }
    Ok(())
}

fn canonical(mut image: Image, settings: &Settings) -> Result<Vec<u8>, Problem> {
    if settings.drop_low_bits > 0 {
        image.drop_low_bits(settings.drop_low_bits);
    }
    image.encode()
}

/// What a file's ending says that it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Png,
    Netpbm,
    Bmp,
}

impl Format {
    /// The format and the path without its ending; none for other files.
    fn of(path: &str) -> Option<(Format, &str)> {
        let (stem, ending) = path.rsplit_once('.')?;
        let format = match ending.to_ascii_lowercase().as_str() {
            "png" => Format::Png,
            "ppm" | "pgm" | "pnm" => Format::Netpbm,
            "bmp" => Format::Bmp,
            _ => return None,
        };
        Some((format, stem))
    }

    fn decode(self, file: &[u8]) -> Result<Image, Problem> {
        match self {
            Format::Png => png::decode(file),
            Format::Netpbm => netpbm::decode(file),
            Format::Bmp => bmp::decode(file),
        }
    }
}
