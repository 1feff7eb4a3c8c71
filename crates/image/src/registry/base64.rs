//! Base 64 (RFC 4648, section 4), as logins are written in.

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

pub(super) fn encode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let group = chunk.iter().fold(0u32, |group, byte| group << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for place in 0..4 {
            let digit = DIGITS[(group >> (18 - 6 * place)) as usize & 63];
            text.push(if place <= chunk.len() { char::from(digit) } else { '=' });
        }
    }
    text
}

/// `None` for what is not base 64. Padding may be missing: some tools leave it out.
pub(super) fn decode(text: &str) -> Option<Vec<u8>> {
    let digits = text.trim_end_matches('=').as_bytes();
    let mut bytes = Vec::with_capacity(digits.len() / 4 * 3 + 2);
    for chunk in digits.chunks(4) {
        let mut group = 0u32;
        for digit in chunk {
            let value = DIGITS.iter().position(|known| known == digit)?;
            group = group << 6 | value as u32;
        }
        // A last chunk of two digits has one byte, one of three has two, and one of one has none.
        let whole = chunk.len() * 6 / 8;
        if whole == 0 {
            return None;
        }
        let group = group << (6 * (4 - chunk.len()));
        bytes.extend_from_slice(&group.to_be_bytes()[1..=whole]);
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_vectors_of_the_rfc_hold() {
        // RFC 4648, section 10.
        let vectors = ["", "Zg==", "Zm8=", "Zm9v", "Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy"];
        for (length, encoded) in vectors.iter().enumerate() {
            let plain = &b"foobar"[..length];
            assert_eq!(encode(plain), *encoded);
            assert_eq!(decode(encoded).as_deref(), Some(plain));
            assert_eq!(decode(encoded.trim_end_matches('=')).as_deref(), Some(plain));
        }
        for wrong in ["Z", "Zm9vY", "Zm 9", "Zm-_", "Z=m9", "\u{e9}\u{e9}"] {
            assert_eq!(decode(wrong), None, "{wrong}");
        }
    }
}
