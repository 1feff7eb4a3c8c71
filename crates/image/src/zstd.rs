//! Read what Zstandard (RFC 8878) has compressed: any number of frames, one after the other.

use std::io::{self, BufReader, ErrorKind, Read};

use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

/// Memory that a frame may ask for: what the format's own tools take at their highest ordinary level.
const WINDOW_BYTES_MAX: u64 = 128 << 20;
/// Bytes that are read at once.
const BUFFER_BYTES: usize = 64 << 10;

/// The bytes in the frames. Their checksums are not looked at: a layer's own hash says more.
pub(crate) struct Frames<R> {
    compressed: BufReader<R>,
    decoder: FrameDecoder,
    within: bool,
}

impl<R: Read> Frames<R> {
    pub fn new(compressed: R) -> Self {
        let mut decoder = FrameDecoder::new();
        decoder.set_max_window_size(WINDOW_BYTES_MAX);
        Self { compressed: BufReader::with_capacity(BUFFER_BYTES, compressed), decoder, within: false }
    }

    /// Goes to the next frame with something in it; false at the end.
    fn begin(&mut self) -> io::Result<bool> {
        loop {
            let mut first = [0];
            match self.compressed.read(&mut first) {
                Ok(0) => return Ok(false),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            }
            match self.decoder.reset(first.as_slice().chain(&mut self.compressed)) {
                Ok(()) => return Ok(true),
                // Tools put a table of contents into such a frame.
                Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame { length, .. })) => {
                    let length = u64::from(length);
                    if io::copy(&mut (&mut self.compressed).take(length), &mut io::sink())? < length {
                        return Err(ErrorKind::UnexpectedEof.into());
                    }
                }
                Err(error) => return Err(io::Error::new(ErrorKind::InvalidData, error)),
            }
        }
    }
}

impl<R: Read> Read for Frames<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while !buffer.is_empty() && (self.within || self.begin()?) {
            self.within = true;
            while self.decoder.can_collect() == 0 && !self.decoder.is_finished() {
                let decoded = self.decoder.decode_blocks(&mut self.compressed, BlockDecodingStrategy::UptoBlocks(1));
                decoded.map_err(|error| io::Error::new(ErrorKind::InvalidData, error))?;
            }
            let read = self.decoder.read(buffer)?;
            if read > 0 {
                return Ok(read);
            }
            self.within = false;
        }
        Ok(0)
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use ruzstd::encoding::{CompressionLevel, compress_to_vec};

    use super::*;

    /// `text()`, made by the format's own tool: `zstd -19 --check`, version 1.5.4.
    const FRAME: &str = "\
        28b52ffd046845090046d73314a0a9da657753b51f00382bbb7ba704be6ad82a04370029002a008c8846b43c57ede88e90f1f29322d574e2b8e3a110\
        09cb779a986d198602818501c341c1c0407010600008c3c1c040509010b080703044959a11611112e68d51e94adf467c2bdf3bab922e8486caa97fec\
        29458a4ecabafae8a5b9445cf6afdb674454c4c57976a9d8999eabc5ccbcd19dab4caa292a32c734631a536ca712b3a8aec734a1a898cd922fbcfeea\
        b9d3652222767e28e6e875d210d199ce29b38c3da7c48fa695b37e738bfe342adf519fbdba52034ea81140488e14caee9f01b033d401105eb4827c4e\
        5ec8e83751a232a6d2ded31ca262fa57b19098bbb59ac906b77bdc651426e921755925879c80136bd438d6673ae634a381790a78502036840b06bd81\
        0f40a85605cdae7af6";

    fn text() -> String {
        (0..40u32).fold(String::new(), |mut text, i| {
            writeln!(text, "{i} squared is {}, and its cube {}", i * i, i * i * i).unwrap();
            text
        })
    }

    fn frame() -> Vec<u8> {
        let digits = FRAME.as_bytes().chunks(2);
        digits.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
    }

    fn plain(compressed: &[u8]) -> io::Result<Vec<u8>> {
        let mut plain = Vec::new();
        Frames::new(compressed).take(1 << 20).read_to_end(&mut plain)?;
        Ok(plain)
    }

    #[test]
    fn frames_are_read_one_after_the_other() {
        let (text, frame) = (text(), frame());
        assert_eq!(plain(&frame).unwrap(), text.as_bytes());
        assert_eq!(plain(b"").unwrap(), b"");
        let skipped = [&0x184d_2a5fu32.to_le_bytes()[..], &3u32.to_le_bytes(), b"abc"].concat();
        let empty = compress_to_vec(&b""[..], CompressionLevel::Fastest);
        let other = compress_to_vec(&[7; 300_000][..], CompressionLevel::Fastest);
        let all = [&skipped[..], &frame, &empty, &skipped, &skipped, &other].concat();
        assert_eq!(plain(&all).unwrap(), [text.as_bytes(), &[7; 300_000]].concat());
    }

    #[test]
    fn what_is_damaged_is_an_error_and_nothing_worse() {
        let frame = frame();
        for length in 1..frame.len() {
            assert!(plain(&frame[..length]).is_err(), "{length}");
        }
        assert!(plain(&[&frame[..], b"more"].concat()).is_err());
        // The magic number, then a window of 256 MiB.
        let error = plain(&[0x28, 0xb5, 0x2f, 0xfd, 0x00, 18 << 3, 0x01, 0x00, 0x00]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidData);
        // A skipped frame that is not all there.
        let cut = [&0x184d_2a50u32.to_le_bytes()[..], &4u32.to_le_bytes(), b"abc"].concat();
        assert_eq!(plain(&cut).unwrap_err().kind(), ErrorKind::UnexpectedEof);
        let mut state = 0x9e37_79b9_7f4a_7c15u64;
        let mut random = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state as usize >> 8
        };
        for _ in 0..20_000 {
            let mut damaged = frame.clone();
            for _ in 0..1 + random() % 3 {
                let place = random() % damaged.len();
                damaged[place] = random() as u8;
            }
            // It may be read as something else, which a layer's hash finds out.
            let _ = plain(&damaged);
        }
    }
}
