//! Read `computed.json`, the file by which an iExec app tells what counts.

use serde::Deserialize;

/// Its name in `IEXEC_OUT`.
pub const COMPUTED_FILE: &str = "computed.json";
/// It may have so many bytes.
pub const COMPUTED_BYTES_MAX: u64 = 1 << 20;
/// The answer (`callback-data`) may have so many bytes: it travels through the ledger.
pub const ANSWER_BYTES_MAX: usize = 16 * 1024;

/// What `computed.json` says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Computed {
    /// Only files below this path (relative to `IEXEC_OUT`) count; `None`: all do.
    pub deterministic_output_path: Option<String>,
    /// The answer for a callback.
    pub answer: Vec<u8>,
}

#[derive(Deserialize)]
struct Wire {
    #[serde(rename = "deterministic-output-path")]
    deterministic_output_path: Option<String>,
    #[serde(rename = "callback-data")]
    callback_data: Option<String>,
}

impl Computed {
    /// Reads the file's bytes. Whatever is malformed counts as absent, so that replicas agree on it: the files are then
    /// all listed, `computed.json` among them, and the requester sees it.
    pub fn parse(bytes: &[u8]) -> Self {
        let Ok(wire) = serde_json::from_slice::<Wire>(bytes) else { return Self::default() };
        let answer = wire
            .callback_data
            .and_then(|text| alloy_primitives::hex::decode(text).ok())
            .filter(|answer| answer.len() <= ANSWER_BYTES_MAX)
            .unwrap_or_default();
        let path = wire.deterministic_output_path.and_then(|path| relative_output_path(&path));
        Self { deterministic_output_path: path, answer }
    }
}

/// The path below `IEXEC_OUT`; apps write it absolute (`/iexec_out/x`) or relative.
fn relative_output_path(path: &str) -> Option<String> {
    let below = path.strip_prefix("/iexec_out").unwrap_or(path);
    let components: Vec<&str> = below.split('/').filter(|component| !matches!(*component, "" | ".")).collect();
    if components.contains(&"..") {
        return None;
    }
    Some(components.join("/")).filter(|path| !path.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_both_fields_and_ignores_what_is_malformed() {
        let parse = |text: &str| Computed::parse(text.as_bytes());
        let full = parse(r#"{"deterministic-output-path":"/iexec_out/./a/b.txt","callback-data":"0x0102","other":1}"#);
        assert_eq!(full, Computed { deterministic_output_path: Some("a/b.txt".into()), answer: vec![1, 2] });
        assert_eq!(parse(r#"{"deterministic-output-path":"/iexec_out"}"#), Computed::default());
        for text in ["", "[]", r#"{"deterministic-output-path":"../x"}"#, r#"{"callback-data":"zz"}"#] {
            assert_eq!(parse(text), Computed::default(), "{text}");
        }
    }
}
