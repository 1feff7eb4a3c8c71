//! The `Range` header: one range of bytes.

/// Which bytes of a blob a request is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Selection {
    /// All of it.
    Whole,
    /// From `first` to `last`, both included. INVARIANT: `first <= last < len`.
    Part { first: u64, last: u64 },
    /// A range that begins past the end.
    Unsatisfiable,
}

/// Reads a `Range` header for a blob of `len` bytes.
///
/// What is not one range of bytes (another unit, several ranges, nonsense) is ignored, as RFC 9110 section 14.2 allows:
/// the answer is then the whole blob.
pub(super) fn select(header: Option<&str>, len: u64) -> Selection {
    header.and_then(|header| parse(header, len)).unwrap_or(Selection::Whole)
}

fn parse(header: &str, len: u64) -> Option<Selection> {
    let (unit, range) = header.split_once('=')?;
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return None;
    }
    let (first, last) = range.trim().split_once('-')?;
    match (first.is_empty(), last.is_empty()) {
        (true, true) => None,
        (true, false) => Some(match (number(last)?, len) {
            (0, _) | (_, 0) => Selection::Unsatisfiable,
            (suffix, _) => Selection::Part { first: len.saturating_sub(suffix), last: len - 1 },
        }),
        (false, open) => {
            let first = number(first)?;
            let last = if open { u64::MAX } else { number(last)? };
            if last < first {
                return None;
            }
            Some(if first >= len {
                Selection::Unsatisfiable
            } else {
                Selection::Part { first, last: last.min(len - 1) }
            })
        }
    }
}

/// Digits only: `parse` alone would take a plus sign. A number past 64 bits is as good as the largest.
fn number(text: &str) -> Option<u64> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some(text.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::Selection::{Part, Unsatisfiable, Whole};
    use super::select;

    #[test]
    fn ranges_of_ten_bytes() {
        let part = |first, last| Part { first, last };
        let cases = [
            ("bytes=0-9", part(0, 9)),
            ("bytes=0-", part(0, 9)),
            ("Bytes = 3-4", part(3, 4)),
            ("bytes=9-9", part(9, 9)),
            ("bytes=9-100", part(9, 9)),
            ("bytes=0-99999999999999999999999", part(0, 9)),
            ("bytes=-1", part(9, 9)),
            ("bytes=-10", part(0, 9)),
            ("bytes=-99", part(0, 9)),
            ("bytes=10-", Unsatisfiable),
            ("bytes=10-20", Unsatisfiable),
            ("bytes=99999999999999999999999-", Unsatisfiable),
            ("bytes=-0", Unsatisfiable),
            ("bytes=5-4", Whole),
            ("bytes=-", Whole),
            ("bytes=", Whole),
            ("bytes", Whole),
            ("", Whole),
            ("bytes=+1-2", Whole),
            ("bytes=1-2,4-5", Whole),
            ("bytes=a-b", Whole),
            ("bytes=--1", Whole),
            ("lines=1-2", Whole),
        ];
        for (header, expected) in cases {
            assert_eq!(select(Some(header), 10), expected, "{header}");
        }
        assert_eq!(select(None, 10), Whole);
    }

    #[test]
    fn an_empty_blob_has_no_ranges() {
        for header in ["bytes=0-", "bytes=0-0", "bytes=-1"] {
            assert_eq!(select(Some(header), 0), Unsatisfiable, "{header}");
        }
        assert_eq!(select(None, 0), Whole);
    }
}
