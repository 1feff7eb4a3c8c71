//! gzip, zlib, PNG and the drawing beneath it.

use super::{noise, PRICES};
use crate::deflate::{adler32, zlib};
use crate::inflate::{crc32, gunzip, inflate, InflateError};
use crate::rng::Rng;
use crate::scene::{Anchor, Colour, Scene, Step};
use crate::{font, png, raster, svg};

/// A gzip file around what our own packer makes.
fn gzip(bytes: &[u8]) -> Vec<u8> {
    let packed = zlib(bytes);
    let mut file = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    file.extend_from_slice(&packed[2..packed.len() - 4]);
    file.extend_from_slice(&crc32(bytes).to_le_bytes());
    file.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
    file
}

#[test]
fn checksums_are_the_standard_ones() {
    assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    assert_eq!(adler32(b"Wikipedia"), 0x11e6_0398);
    let long = vec![255u8; 100_000];
    let (low, high) = long.iter().fold((1u64, 0u64), |(low, high), &byte| {
        let low = (low + u64::from(byte)) % 65_521;
        (low, (high + low) % 65_521)
    });
    assert_eq!(u64::from(adler32(&long)), high << 16 | low);
}

#[test]
fn packed_bytes_come_back() {
    let mut mixed = noise(3, 5000);
    mixed.extend(b"abcabcabcabc".repeat(4000));
    mixed.extend(noise(3, 5000));
    mixed.extend(vec![7u8; 70_000]);
    for bytes in [vec![], vec![1], noise(1, 40_000), vec![0; 300_000], mixed] {
        assert_eq!(gunzip(&gzip(&bytes)), Ok(bytes.clone()), "{} bytes", bytes.len());
    }
    assert!(zlib(&vec![0; 300_000]).len() < 3000, "long runs are packed");
}

#[test]
fn a_stored_block_and_a_header_with_every_field_are_read() {
    let text = b"stored";
    let mut file = vec![0x1f, 0x8b, 8, 2 | 4 | 8 | 16, 0, 0, 0, 0, 0, 3];
    file.extend_from_slice(&[3, 0, 1, 2, 3]);
    file.extend_from_slice(b"name\0comment\0\xaa\xbb");
    file.extend_from_slice(&[1, 6, 0, !6, 255]);
    file.extend_from_slice(text);
    file.extend_from_slice(&crc32(text).to_le_bytes());
    file.extend_from_slice(&6u32.to_le_bytes());
    assert_eq!(gunzip(&file), Ok(text.to_vec()));
    let twice = [file.clone(), file].concat();
    assert_eq!(gunzip(&twice), Ok(b"storedstored".to_vec()));
}

#[test]
fn the_real_file_uses_dynamic_codes_and_its_length_is_known() {
    assert_eq!(PRICES[10 + "SP500.csv".len() + 1] >> 1 & 3, 2, "block type");
    let text = gunzip(PRICES).expect("unpacks");
    assert!(text.starts_with(b"Date,AAPL,") && text.ends_with(b",106.627\r\n"));
}

#[test]
fn a_damaged_file_is_refused_and_never_panics() {
    let file = gzip(&b"the quick brown fox jumps over the lazy dog, again and again ".repeat(20));
    for length in 0..file.len() {
        assert!(gunzip(&file[..length]).is_err(), "cut to {length} bytes");
    }
    let mut rng = Rng::stream(2018, 0, 0);
    for round in 0..4000 {
        let mut damaged = file.clone();
        let bit = 80 + rng.below((damaged.len() - 10) * 8);
        damaged[bit / 8] ^= 1 << (bit % 8);
        assert!(gunzip(&damaged).is_err(), "seed 2018, round {round}: bit {bit} changed");
    }
    for round in 0..2000u64 {
        let _ = inflate(&noise(round, 60), &mut Vec::new());
    }
    assert_eq!(gunzip(b"plain"), Err(InflateError::Header));
}

/// Width, height and pixels of a PNG as our writer makes it.
fn unpack_png(file: &[u8]) -> (usize, usize, Vec<u8>) {
    let number = |at: usize| u32::from_be_bytes([file[at], file[at + 1], file[at + 2], file[at + 3]]) as usize;
    let (mut at, mut packed, mut size) = (8, Vec::new(), (0, 0));
    while at < file.len() {
        let length = number(at);
        let body = &file[at + 4..at + 8 + length];
        assert_eq!(crc32(body) as usize, number(at + 8 + length), "checksum of a chunk");
        match &body[..4] {
            b"IHDR" => size = (number(at + 8), number(at + 12)),
            b"IDAT" => packed.extend_from_slice(&body[4..]),
            kind => assert_eq!(kind, b"IEND"),
        }
        at += 12 + length;
    }
    let mut rows = Vec::new();
    inflate(&packed[2..], &mut rows).expect("the picture unpacks");
    assert_eq!(adler32(&rows).to_be_bytes(), packed[packed.len() - 4..]);
    let width = size.0 * 3;
    let mut pixels: Vec<u8> = Vec::new();
    for row in rows.chunks(width + 1) {
        for (place, &byte) in row[1..].iter().enumerate() {
            let before = match row[0] {
                1 if place >= 3 => pixels[pixels.len() - 3],
                2 if pixels.len() >= width => pixels[pixels.len() - width],
                1 | 2 => 0,
                other => panic!("filter {other}"),
            };
            pixels.push(byte.wrapping_add(before));
        }
    }
    (size.0, size.1, pixels)
}

#[test]
fn a_png_holds_its_pixels() {
    let mut pixels = noise(9, 3 * 31 * 17);
    pixels[..600].fill(200);
    assert_eq!(unpack_png(&png::encode(31, &pixels)), (31, 17, pixels));
}

#[test]
fn shapes_cover_what_they_should() {
    let mut scene = Scene::new(40.0, 30.0, "test");
    let black = Colour(0, 0, 0);
    scene.rect((10.0, 5.0), (20.0, 10.5), black);
    let canvas = raster::draw(&scene, 1.0);
    let red = |x: usize, y: usize| canvas.pixels[(y * 40 + x) * 3];
    assert_eq!((red(9, 8), red(10, 5), red(29, 14), red(30, 8)), (255, 0, 0, 255));
    assert_eq!(red(15, 15), 128, "half a pixel is covered");
    assert_eq!(red(15, 16), 255);
    let dark = canvas.pixels.iter().step_by(3).map(|&byte| (255.0 - f64::from(byte)) / 255.0);
    assert!((dark.sum::<f64>() - 210.0).abs() < 0.1, "the area is that of the rectangle");
    let triangle = [Step::Move((0.0, 0.0)), Step::Line((40.0, 0.0)), Step::Line((0.0, 30.0))];
    let mut scene = Scene::new(40.0, 30.0, "test");
    scene.shape(triangle.to_vec(), black, 0.5);
    let grey = raster::draw(&scene, 2.0).pixels;
    let dark = grey.iter().step_by(3).map(|&byte| (255.0 - f64::from(byte)) / 255.0);
    assert!((dark.sum::<f64>() - 0.5 * 0.5 * 80.0 * 60.0).abs() < 6.0, "the area is that of the triangle");
}

#[test]
fn things_outside_the_picture_are_cut_off() {
    let mut scene = Scene::new(20.0, 20.0, "test");
    scene.rect((-50.0, -50.0), (200.0, 60.0), Colour(0, 0, 0));
    scene.line(&[(-30.0, 15.0), (90.0, 400.0)], 3.0, Colour(9, 9, 9));
    scene.text((-5.0, 30.0), 12.0, Anchor::Middle, Colour(0, 0, 0), "outside");
    let canvas = raster::draw(&scene, 1.0);
    assert_eq!(canvas.pixels[..3], [0, 0, 0]);
    assert_eq!(canvas.pixels.len(), 20 * 20 * 3);
}

#[test]
fn every_letter_of_a_ticker_has_strokes_of_its_own() {
    let letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz0123456789.-_^/=%(),:;+&<>'";
    let mut seen = Vec::new();
    for letter in letters.chars() {
        let strokes = font::strokes(&letter.to_string(), 20.0);
        assert!(!strokes[0].is_empty() && !seen.contains(&strokes), "`{letter}`");
        seen.push(strokes);
    }
    assert!(font::width("WWW", 20.0) > font::width("iii", 20.0));
    assert_eq!(font::width("", 20.0), 0.0);
}

#[test]
fn svg_escapes_words() {
    let mut scene = Scene::new(10.0, 10.0, "a < b");
    scene.text((1.0, 2.5), 3.0, Anchor::End, Colour(1, 2, 255), "S&P \"500\"");
    let text = svg::write(&scene);
    assert!(text.contains("<title>a &lt; b</title>"));
    assert!(
        text.contains("x=\"1\" y=\"2.5\"") && text.contains("#0102ff") && text.contains("S&amp;P &quot;500&quot;<")
    );
}
