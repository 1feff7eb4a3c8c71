use std::fmt;
use std::io::{self, Read};
use std::str::FromStr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use sha2::{Digest as _, Sha256};

/// The SHA-256 of some bytes, written `sha256:` and 64 hexadecimal digits. (Of the algorithms that the image specification
/// registers it is the one in use.)
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    /// Of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    pub(crate) fn from_hasher(hasher: Sha256) -> Self {
        Self(hasher.finalize().into())
    }

    /// The 64 digits without the algorithm: a safe file name.
    pub fn hex(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Digest {
    type Err = String;

    /// # Errors
    /// What is wrong with the text, for people.
    fn from_str(text: &str) -> Result<Self, String> {
        let shown = || text.chars().take(80).collect::<String>().escape_default().to_string();
        let digits = text.strip_prefix("sha256:").ok_or_else(|| format!("`{}` is no sha256 digest", shown()))?;
        let is_digit = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        if digits.len() != 64 || !digits.as_bytes().iter().all(is_digit) {
            return Err(format!("`{}` should be sha256: and 64 digits of 0-9, a-f", shown()));
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(digits.as_bytes().chunks_exact(2)) {
            let value = |digit: u8| if digit <= b'9' { digit - b'0' } else { digit - b'a' + 10 };
            *byte = value(pair[0]) << 4 | value(pair[1]);
        }
        Ok(Self(bytes))
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

/// Passes bytes on, counts them and takes their hash; more than `limit` are an error.
pub(crate) struct Hashing<R> {
    inner: R,
    hasher: Sha256,
    bytes: u64,
    limit: u64,
}

impl<R: Read> Hashing<R> {
    pub fn new(inner: R, limit: u64) -> Self {
        Self { inner, hasher: Sha256::new(), bytes: 0, limit }
    }

    /// Reads what is left, and says how many bytes there were in all and what their hash is.
    pub fn finish(mut self) -> io::Result<(u64, Digest)> {
        io::copy(&mut self, &mut io::sink())?;
        Ok((self.bytes, Digest(self.hasher.finalize().into())))
    }
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.bytes += read as u64;
        if self.bytes > self.limit {
            return Err(io::Error::other(PastLimit { limit: self.limit }));
        }
        self.hasher.update(&buffer[..read]);
        Ok(read)
    }
}

/// More bytes came than may.
#[derive(Debug, thiserror::Error)]
#[error("more than {limit} bytes")]
pub(crate) struct PastLimit {
    pub limit: u64,
}

impl PastLimit {
    /// Whether that is why reading failed, however deep.
    pub fn of(error: &io::Error) -> Option<u64> {
        let mut source: Option<&(dyn std::error::Error + 'static)> = error.get_ref().map(|inner| inner as _);
        while let Some(inner) = source {
            if let Some(past) = inner.downcast_ref::<Self>() {
                return Some(past.limit);
            }
            source = match inner.downcast_ref::<io::Error>() {
                Some(error) => error.get_ref().map(|inner| inner as _),
                None => inner.source(),
            };
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_written_as_it_is_read() {
        // FIPS 180-2, appendix B.1.
        let text = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(Digest::of(b"abc").to_string(), text);
        assert_eq!(text.parse(), Ok(Digest::of(b"abc")));
    }

    #[test]
    fn what_is_no_digest_is_refused() {
        let digits = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        for text in
            ["", "sha256:", digits, &format!("sha512:{digits}"), &format!("sha256:{digits}0"), "sha256:../../etc"]
        {
            assert!(text.parse::<Digest>().is_err(), "{text}");
        }
        assert!(format!("sha256:{}", digits.to_uppercase()).parse::<Digest>().is_err());
        assert!(format!("sha256:{}é", &digits[..62]).parse::<Digest>().is_err());
    }

    #[test]
    fn a_stream_is_bounded() {
        let (bytes, digest) = Hashing::new(&b"abc"[..], 3).finish().unwrap();
        assert_eq!((bytes, digest), (3, Digest::of(b"abc")));
        let error = Hashing::new(&b"abcd"[..], 3).finish().unwrap_err();
        assert_eq!(PastLimit::of(&error), Some(3));
        assert_eq!(PastLimit::of(&io::Error::other("else")), None);
    }
}
