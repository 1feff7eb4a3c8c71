//! Tests of the program, built by `test.sh` with `rustc --test`.

use super::*;
use crate::checksum::{adler32, crc32};
use crate::image::{Shape, SIGNATURE};

/// Pictures of another encoder, with the canonical form that another program computed: see `check/make_images.py`.
const IMAGES: &str = include_str!("../check/images.txt");
/// Damaged files that are tried for each picture.
const MUTATIONS: u64 = 120;

struct Case {
    name: String,
    file: Vec<u8>,
    canonical: Vec<u8>,
}

fn bytes(digits: &str) -> Vec<u8> {
    assert_eq!(digits.len() % 2, 0);
    (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).expect("two digits")).collect()
}

fn cases() -> Vec<Case> {
    let lines = IMAGES.lines().filter(|line| !line.starts_with("big "));
    let cases: Vec<Case> = lines
        .map(|line| match line.split(' ').collect::<Vec<_>>()[..] {
            [name, file, canonical] => Case { name: name.into(), file: bytes(file), canonical: bytes(canonical) },
            _ => panic!("a line of images.txt has not three words: {}", line),
        })
        .collect();
    assert!(cases.len() > 150);
    cases
}

fn case(name: &str) -> Case {
    cases().into_iter().find(|case| case.name == name).expect("images.txt has it")
}

/// The generator that `make_images.py` has too.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u8 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 56) as u8
    }

    fn below(&mut self, end: usize) -> usize {
        let value = (0..4).fold(0, |value, _| value << 8 | usize::from(self.next()));
        value % end
    }
}

fn convert_one(name: &str, file: &[u8], settings: &Settings) -> Result<Vec<u8>, Problem> {
    let (format, _) = Format::of(name).expect("a picture's name");
    format.decode(file).and_then(|image| canonical(image, settings))
}

fn check(name: &str, file: &[u8]) -> Result<Vec<u8>, Problem> {
    convert_one(name, file, &Settings::default())
}

#[test]
fn published_checksums_come_out() {
    assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    assert_eq!(adler32(b"Wikipedia"), 0x11e6_0398);
    assert_eq!(adler32(&vec![255; 100_000]), 0x149a_302c);
    // The IEND chunk of every PNG file.
    assert_eq!(crc32(b"IEND"), 0xae42_6082);
}

#[test]
fn every_kind_of_picture_has_the_form_that_another_program_computed() {
    for Case { name, file, canonical } in cases() {
        assert_eq!(check(&name, &file).as_ref(), Ok(&canonical), "{}", name);
        assert_eq!(check("again.png", &canonical).as_ref(), Ok(&canonical), "{}, again", name);
    }
}

#[test]
fn the_same_pixels_are_the_same_file() {
    let same: Vec<Case> = cases().into_iter().filter(|case| case.name.starts_with("same")).collect();
    assert_eq!(same.len(), 14);
    for case in &same[1..] {
        assert_ne!(case.file, same[0].file, "{}", case.name);
        assert_eq!(case.canonical, same[0].canonical, "{}", case.name);
    }
}

#[test]
fn large_pictures_have_the_form_that_another_program_computed() {
    let lines: Vec<&str> = IMAGES.lines().filter(|line| line.starts_with("big ")).collect();
    assert_eq!(lines.len(), 3);
    for line in lines {
        let numbers: Vec<usize> = line.split(' ').skip(1).map(|word| word.parse().expect("a number")).collect();
        let (width, height, deep) = (numbers[0], numbers[1], numbers[3] == 2);
        let shape = Shape { width: width as u32, height: height as u32, channels: numbers[2] as u8, deep };
        let row = width * shape.pixel_bytes();
        let mut noise = Noise(width as u64);
        let source: Vec<u8> = (0..row * height).map(|_| noise.next()).collect();
        let mut image = Image::new(shape).expect("small enough");
        for y in 0..height {
            for (x, sample) in image.row_mut(y).iter_mut().enumerate() {
                *sample = match 3 * y / height {
                    0 => source[y * row + x],
                    1 => (x / 5 + y) as u8,
                    _ => source[(y % 7) * row + x],
                };
            }
        }
        let file = image.encode().expect("memory");
        assert_eq!((file.len(), crc32(&file) as usize), (numbers[4], numbers[5]), "{}", line);
        assert_eq!(png::decode(&file), Ok(image), "{}", line);
    }
}

#[test]
fn one_changed_pixel_is_another_file() {
    let case = case("same.ppm");
    for at in case.file.len() - 231..case.file.len() {
        let mut file = case.file.clone();
        file[at] ^= 1;
        assert_ne!(check("x.ppm", &file), Ok(case.canonical.clone()), "byte {}", at);
    }
}

#[test]
fn low_bits_are_dropped_from_every_sample() {
    let drop = |drop_low_bits| Settings { drop_low_bits, only_images: false };
    let file = b"P6 1 2 255 \x80\x81\x87\xff\x07\x08";
    let dropped = b"P6 1 2 255 \x80\x80\x80\xf8\x00\x08";
    assert_eq!(convert_one("x.ppm", file, &drop(3)), check("x.ppm", dropped));
    assert_ne!(convert_one("x.ppm", file, &drop(2)), check("x.ppm", dropped));
    let deep = b"P5 2 1 65535 \xff\xff\x01\x08";
    assert_eq!(convert_one("x.pgm", deep, &drop(7)), check("x.pgm", b"P5 2 1 65535 \xff\x80\x01\x00"));
    let twice = convert_one("x.ppm", file, &drop(3)).and_then(|file| convert_one("x.png", &file, &drop(3)));
    assert_eq!(twice, check("x.ppm", dropped));
}

#[test]
fn cut_files_are_refused() {
    for case in cases() {
        // Behind IEND nothing counts.
        let end = if case.name == "same-tail.png" { case.file.len() - 8 } else { case.file.len() };
        for length in 0..end {
            assert!(check(&case.name, &case.file[..length]).is_err(), "{} cut to {}", case.name, length);
        }
    }
}

/// Sets the checksums of all chunks right, so that a change inside is not found by them.
fn mend(file: &mut [u8]) {
    let mut at = SIGNATURE.len();
    while at + 12 <= file.len() {
        let length = u32::from_be_bytes([file[at], file[at + 1], file[at + 2], file[at + 3]]) as usize;
        let end = match at.checked_add(8 + length) {
            Some(end) if end + 4 <= file.len() => end,
            _ => return,
        };
        let sum = crc32(&file[at + 4..end]);
        file[end..end + 4].copy_from_slice(&sum.to_be_bytes());
        at = end + 4;
    }
}

#[test]
fn damaged_files_never_panic_and_mostly_are_refused() {
    let (mut refused, mut taken) = (0, 0);
    for (number, case) in cases().iter().enumerate() {
        for round in 0..MUTATIONS {
            let seed = number as u64 * MUTATIONS + round;
            let mut noise = Noise(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
            let mut file = case.file.clone();
            for _ in 0..1 + noise.below(4) {
                let at = noise.below(file.len());
                match noise.below(4) {
                    0 => file[at] = noise.next(),
                    1 => file[at] ^= 1 << noise.below(8),
                    2 => drop(file.remove(at)),
                    _ => file.insert(at, noise.next()),
                }
            }
            if case.name.ends_with(".png") && noise.below(4) > 0 {
                mend(&mut file);
            }
            match check(&case.name, &file) {
                Ok(form) => {
                    taken += 1;
                    assert_eq!(check("x.png", &form).as_ref(), Ok(&form), "{}, seed {}", case.name, seed);
                }
                Err(problem) => {
                    refused += 1;
                    assert!(!problem.is_empty());
                }
            }
        }
    }
    assert!(refused > 5_000 && taken > 200, "{} refused, {} taken", refused, taken);
}

#[test]
fn what_is_wrong_is_said() {
    let whole = case("same-plain.png").file;
    let with = |at: usize, new: &[u8]| {
        let mut file = whole.clone();
        file[at..at + new.len()].copy_from_slice(new);
        mend(&mut file);
        file
    };
    let mut unmended = whole.clone();
    unmended[20] ^= 1;
    let mut unchecked = whole.clone();
    let adler = whole.len() - 12 - 4 - 1;
    unchecked[adler] ^= 1;
    mend(&mut unchecked);
    for (file, problem) in [
        (b"GIF89a".to_vec(), "does not begin as a PNG file does"),
        (unmended, "its IHDR chunk is damaged"),
        (unchecked, "its zlib stream is damaged: the checksum"),
        (with(16, &[0, 0, 0, 0]), "no size of a picture"),
        (with(16, &[0x80, 0, 0, 0]), "no size of a picture"),
        (with(16, &[0x7f, 0xff, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xff, 16, 6]), "more than 268435456"),
        (with(16, &[0, 0, 16, 0, 0, 0, 16, 0]), "its zlib stream ends too early"),
        (with(19, &[10]), "another length than its pixels"),
        (with(24, &[7]), "there is no PNG of depth 7"),
        (with(25, &[3]), "has no palette"),
        (with(28, &[2]), "interlacing 2"),
        (with(37, b"IDAX"), "its IDAX chunk is unknown, but needed"),
        (with(37, b"IEND"), "its IEND chunk cannot stand there"),
        (with(37, b"PLTE"), "its IEND chunk cannot stand there"),
        (with(25, &[3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, b'P', b'L', b'T', b'E']), "its palette of 2 bytes"),
        (with(37, b"tRNS"), "its tRNS chunk of"),
        (with(37, b"I\x1b[m"), "has a chunk that cannot be"),
    ] {
        let said = check("x.png", &file).expect_err(problem);
        assert!(said.contains(problem), "{} instead of {}", said, problem);
    }
    for (name, file, problem) in [
        ("x.ppm", &b"P3 1 1 255 1 2 3"[..], "P5 or P6"),
        ("x.ppm", b"P6 1 1 255", "ends in its header"),
        ("x.ppm", b"P6 1 -1 255\n123", "width, height and largest"),
        ("x.ppm", b"P61 1 255\n123", "width, height and largest"),
        ("x.ppm", b"P6 1 1 255\n12", "2 bytes of samples instead of 3"),
        ("x.ppm", b"P6 1 1 255\n1234", "4 bytes of samples instead of 3"),
        ("x.ppm", b"P6 1 1 65536\n123", "largest sample is 65536"),
        ("x.ppm", b"P6 99999999999 1 255\n123", "width, height and largest"),
        ("x.pgm", b"P5 1 1 7\n\x08", "above its largest"),
        ("x.pgm", b"P5 1 1 0\n\x00", "largest sample is 0"),
        ("x.pgm", b"P5 2147483647 2147483647 1\n\x00", "more than 268435456"),
        ("x.bmp", b"BMW drives", "ends in its header"),
    ] {
        let said = check(name, file).expect_err(problem);
        assert!(said.contains(problem), "{} instead of {}", said, problem);
    }
    let bmp = case("same-24.bmp").file;
    for (at, new, problem) in [
        (14, 12, "a header of 12 bytes"),
        (18, 0, "no size"),
        (22, i32::MIN as u32, "no size of a picture"),
        (28, 8, "has 8 bits a pixel"),
        (30, 1, "packing 1"),
        (10, 53, "its header cannot be"),
        (10, u32::MAX, "fewer than"),
        (22, 8, "fewer than"),
    ] {
        let mut file = bmp.clone();
        let old = u32::from_le_bytes([file[at], file[at + 1], file[at + 2], file[at + 3]]);
        let new = if at == 28 { old & 0xffff_0000 | new } else { new };
        file[at..at + 4].copy_from_slice(&u32::to_le_bytes(new));
        let said = check("x.bmp", &file).expect_err(problem);
        assert!(said.contains(problem), "{} instead of {}", said, problem);
    }
}

#[test]
fn names_and_arguments_are_understood() {
    assert_eq!(Format::of("a.b/c.PNG"), Some((Format::Png, "a.b/c")));
    assert_eq!(Format::of("c.Pgm"), Some((Format::Netpbm, "c")));
    assert_eq!(Format::of("a.png/c"), None);
    assert_eq!(Format::of("png"), None);
    let read = |words: &[&str]| Settings::read(words.iter().map(|word| OsString::from(*word)));
    assert_eq!(read(&[]), Ok(Settings { drop_low_bits: 0, only_images: false }));
    let both = Settings { drop_low_bits: 7, only_images: true };
    assert_eq!(read(&["--only-images", "--drop-low-bits", "7"]), Ok(both));
    for wrong in [&["--drop-low-bits"][..], &["--drop-low-bits", "8"], &["--drop-low-bits", "-1"], &["x"], &[""]] {
        assert_eq!(read(wrong), Err(Failure::Usage(USAGE.into())), "{:?}", wrong);
    }
}

#[test]
fn names_that_meet_are_refused() {
    assert_eq!(folder::check_targets(["a", "b/a", "b/c"].into_iter()), Ok(()));
    assert!(folder::check_targets(["a.png", "b", "a.png"].into_iter()).is_err());
    assert!(folder::check_targets(["a.png/b/c", "a.png"].into_iter()).is_err());
}
