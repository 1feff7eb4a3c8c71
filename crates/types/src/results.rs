//! The hint on the ledger where a task's result lies.
//!
//! It has iExec's form, so that clients of that ecosystem download with it: `{"storage":"ipfs","location":"/ipfs/<CID>"}`. The
//! CID is the result pack's own (see [`ContentId::to_cid`]). Whoever follows the hint checks the bytes against the ledger's
//! digest: the hint itself proves nothing.

use serde::Deserialize;

use crate::id::ContentId;

/// A hint may be so long at most, in bytes; a longer one is not looked at.
pub const RESULTS_HINT_BYTES_MAX: usize = 1024;

/// Writes the hint for a result whose pack is `pack`.
pub fn results_hint(pack: ContentId) -> String {
    format!(r#"{{"storage":"ipfs","location":"/ipfs/{}"}}"#, pack.to_cid())
}

/// The pack that a hint names; `None` when it is not ours. The form of the first networks,
/// `{"storage":"gristmill","location":"/v1/blobs/<content id>"}`, is still read: it stands on their ledgers.
pub fn results_pack(hint: &[u8]) -> Option<ContentId> {
    #[derive(Deserialize)]
    struct Hint {
        storage: String,
        location: String,
    }
    if hint.len() > RESULTS_HINT_BYTES_MAX {
        return None;
    }
    let hint: Hint = serde_json::from_slice(hint).ok()?;
    match hint.storage.as_str() {
        "ipfs" => ContentId::from_cid(hint.location.strip_prefix("/ipfs/")?).ok(),
        "gristmill" => hint.location.strip_prefix("/v1/blobs/")?.parse().ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hint_names_its_pack_and_nothing_else_does() {
        let pack = ContentId([3; 32]);
        let hint = results_hint(pack);
        assert_eq!(hint, format!(r#"{{"storage":"ipfs","location":"/ipfs/f01551e20{pack}"}}"#));
        assert_eq!(results_pack(hint.as_bytes()), Some(pack));
        let old = format!(r#"{{"storage":"gristmill","location":"/v1/blobs/{pack}"}}"#);
        assert_eq!(results_pack(old.as_bytes()), Some(pack));
        for other in [
            "",
            "{}",
            r#"{"storage":"ipfs","location":"/ipfs/x"}"#,
            r#"{"storage":"ipfs","location":"/ipfs/QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWnPbdG"}"#,
            r#"{"storage":"gristmill","location":"/etc/passwd"}"#,
            r#"{"storage":"dropbox","location":"/results/x.zip"}"#,
        ] {
            assert_eq!(results_pack(other.as_bytes()), None, "{other}");
        }
    }

    #[test]
    fn a_cid_is_the_one_that_ipfs_would_give() {
        // `ipfs add --raw-leaves --hash blake3` of the empty file, and `ipfs cid format -b base16` of that.
        let empty: ContentId = "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262".parse().unwrap();
        let base32 = "bafkr4ifpcne3t5pzugtkaqcn5i3nzskjtpfslsnnyejlpte2spfoihzsmi";
        let base16 = "f01551e20af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262";
        assert_eq!(empty.to_cid(), base16);
        for cid in [base32, base16] {
            assert_eq!(ContentId::from_cid(cid).unwrap(), empty);
        }
        let bad = [base32.to_uppercase(), base32[1..].to_owned(), format!("{base32}a"), base32.replace('4', "5")];
        let worse =
            [base32.replace("mi", "mj"), base16[1..].to_owned(), format!("{base16}00"), base16.replace("af", "AF")];
        for bad in bad.into_iter().chain(worse) {
            assert!(ContentId::from_cid(&bad).unwrap_err().to_string().contains("bafkr4i"), "{bad}");
        }
    }
}
