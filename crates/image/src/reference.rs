use std::fmt;
use std::str::FromStr;

use crate::digest::Digest;

/// The registry that is meant when none is named.
const DEFAULT_REGISTRY: &str = "docker.io";
/// Where that one answers.
const DEFAULT_REGISTRY_HOST: &str = "registry-1.docker.io";
/// Where its images lie that have a name of one part.
const DEFAULT_FOLDER: &str = "library";
/// Bytes of a reference: registry, name, tag and digest.
const TEXT_BYTES_MAX: usize = 1_024;
/// Characters of it that an error shows.
const SHOWN_CHARS_MAX: usize = 100;
/// Bytes of an image's name (distribution specification: most registries take no more).
const NAME_BYTES_MAX: usize = 255;
/// Bytes of a tag (distribution specification).
const TAG_BYTES_MAX: usize = 128;

/// An image of a registry: `registry/name@sha256:...`.
///
/// Without a registry it is one of `docker.io`. There is no reference without a digest: what a tag stands for is decided by the
/// registry's owner anew each day, and replicas that ask on different days would run different programs. A tag beside the digest is
/// for people.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Reference {
    /// With its port, if one was named.
    registry: String,
    name: String,
    tag: Option<String>,
    digest: Digest,
}

/// Why a text names no image of a registry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReferenceError {
    /// It is no reference.
    #[error(
        "`{text}` names no image of a registry: at byte {at}, {what}; expected `registry/name@sha256:<64 hex digits>`"
    )]
    Malformed {
        /// What was read, escaped and shortened.
        text: String,
        /// Where in it.
        at: usize,
        /// What is wrong there.
        what: &'static str,
    },
    /// It has no digest, so that its registry's owner decides what it is.
    #[error(
        "`{place}` may be another image tomorrow: name it by its digest, `{place}@sha256:...`, which `skopeo inspect --format \
         '{{{{.Digest}}}}' docker://{shown}` or `docker manifest inspect --verbose {shown}` tells"
    )]
    NoDigest {
        /// The reference without its tag.
        place: String,
        /// The reference.
        shown: String,
    },
}

impl Reference {
    /// The registry as it was named, or `docker.io`.
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// The image's name there.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Which image is meant: the digest of its manifest, or of an index of manifests.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The tag, if one was named. Nobody but people looks at it.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// Host and port that answer for the registry.
    pub(crate) fn host(&self) -> &str {
        if self.registry == DEFAULT_REGISTRY { DEFAULT_REGISTRY_HOST } else { &self.registry }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.name)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        write!(f, "@{}", self.digest)
    }
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        // All parts are slices of `text`, so that a part tells where it is.
        let refuse = |part: &str, what| ReferenceError::Malformed {
            text: text.chars().take(SHOWN_CHARS_MAX).flat_map(char::escape_default).collect(),
            at: part.as_ptr() as usize - text.as_ptr() as usize,
            what,
        };
        if text.len() > TEXT_BYTES_MAX {
            return Err(refuse(text, "it is too long"));
        }
        let (place, digest) = text.split_once('@').map_or((text, None), |(place, digest)| (place, Some(digest)));
        let (registry, rest) = match place.split_once('/') {
            Some((first, rest)) if is_registry(first) => (first, rest),
            _ => (DEFAULT_REGISTRY, place),
        };
        if !is_host(registry) {
            return Err(refuse(registry, "the registry is no host, nor a host and a port"));
        }
        let (name, tag) = rest.split_once(':').map_or((rest, None), |(name, tag)| (name, Some(tag)));
        if name.len() > NAME_BYTES_MAX {
            return Err(refuse(name, "the name is longer than 255 bytes"));
        }
        if let Some(part) = name.split('/').find(|part| !is_name_part(part)) {
            return Err(refuse(part, "a part of the name should be of a-z, 0-9 and single separators in between"));
        }
        if let Some(tag) = tag.filter(|tag| !is_tag(tag)) {
            return Err(refuse(tag, "the tag should be of letters, digits, dots, dashes and underscores"));
        }
        let Some(digest) = digest else {
            let place = &place[..place.len() - tag.map_or(0, |tag| tag.len() + 1)];
            return Err(ReferenceError::NoDigest { place: place.to_owned(), shown: text.to_owned() });
        };
        let digest = digest
            .parse()
            .map_err(|_| refuse(digest, "behind the @ should stand sha256: and 64 digits of 0-9, a-f"))?;
        let name = match (registry, name.contains('/')) {
            (DEFAULT_REGISTRY, false) => format!("{DEFAULT_FOLDER}/{name}"),
            _ => name.to_owned(),
        };
        // A host is the same however it is written, and a login is found by it.
        Ok(Self { registry: registry.to_ascii_lowercase(), name, tag: tag.map(str::to_owned), digest })
    }
}

/// Whether the first part is a registry rather than the beginning of a name: as Docker's tools decide it, which everybody follows.
fn is_registry(first: &str) -> bool {
    first.contains(['.', ':', '[']) || first == "localhost"
}

fn is_host(registry: &str) -> bool {
    let (host, port) = match registry.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, rest)) => {
            if address.parse::<std::net::Ipv6Addr>().is_err() {
                return false;
            }
            ("v6", if rest.is_empty() { None } else { Some(rest.strip_prefix(':').unwrap_or("")) })
        }
        None => match registry.split_once(':') {
            None => (registry, None),
            Some((host, port)) => (host, Some(port)),
        },
    };
    let is_label = |label: &str| {
        !label.is_empty()
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let is_port = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok();
    host.len() <= NAME_BYTES_MAX && host.split('.').all(is_label) && port.is_none_or(is_port)
}

/// Letters and digits, with one dot, one or two underscores or any dashes between them.
fn is_name_part(part: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = part.as_bytes();
    let ends = bytes.first().copied().is_some_and(is_plain) && bytes.last().copied().is_some_and(is_plain);
    ends && bytes
        .split(|byte| is_plain(*byte))
        .all(|between| matches!(between, b"" | b"." | b"_" | b"__") || between.iter().all(|byte| *byte == b'-'))
}

fn is_tag(tag: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    tag.len() <= TAG_BYTES_MAX
        && tag.bytes().next().is_some_and(is_word)
        && tag.bytes().all(|byte| is_word(byte) || byte == b'.' || byte == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_read_as_everybody_reads_them() {
        let digest = Digest::of(b"image");
        let table = [
            ("alpine", "docker.io/library/alpine", "registry-1.docker.io", None),
            ("some/tool", "docker.io/some/tool", "registry-1.docker.io", None),
            ("some/tool:1.2", "docker.io/some/tool:1.2", "registry-1.docker.io", Some("1.2")),
            ("docker.io/some/tool", "docker.io/some/tool", "registry-1.docker.io", None),
            ("docker.io/tool", "docker.io/library/tool", "registry-1.docker.io", None),
            ("localhost/tool:x", "localhost/tool:x", "localhost", Some("x")),
            ("127.0.0.1:5000/a/b/c", "127.0.0.1:5000/a/b/c", "127.0.0.1:5000", None),
            ("[::1]:5000/a", "[::1]:5000/a", "[::1]:5000", None),
            ("Registry.Example/a", "registry.example/a", "registry.example", None),
            (
                "registry.example/a-b_c__d.e/f--g:V_1.0-x",
                "registry.example/a-b_c__d.e/f--g:V_1.0-x",
                "registry.example",
                Some("V_1.0-x"),
            ),
        ];
        for (text, written, host, tag) in table {
            let reference: Reference = format!("{text}@{digest}").parse().unwrap();
            assert_eq!(reference.to_string(), format!("{written}@{digest}"), "{text}");
            assert_eq!((reference.host(), reference.tag(), reference.digest()), (host, tag, digest), "{text}");
            assert_eq!(reference.to_string().parse(), Ok(reference));
        }
    }

    #[test]
    fn a_tag_alone_is_refused_and_the_way_to_the_digest_is_told() {
        for (text, place) in [
            ("alpine", "alpine"),
            ("alpine:3.20", "alpine"),
            ("localhost:5000/a", "localhost:5000/a"),
            ("localhost:5000/a/a:a", "localhost:5000/a/a"),
        ] {
            let error = text.parse::<Reference>().unwrap_err();
            assert_eq!(error, ReferenceError::NoDigest { place: place.to_owned(), shown: text.to_owned() });
            let words = error.to_string();
            let by_skopeo = format!("`skopeo inspect --format '{{{{.Digest}}}}' docker://{text}`");
            assert!(words.contains(&by_skopeo) && words.contains(&format!("`{place}@sha256:...`")), "{words}");
        }
    }

    #[test]
    fn what_is_no_reference_is_refused_and_the_place_is_told() {
        let digest = Digest::of(b"image").to_string();
        let long = "a".repeat(256);
        let places = [
            ("", 0),
            ("/", 0),
            ("a/", 2),
            ("/a", 0),
            ("registry.example/", 17),
            ("registry.example//a", 17),
            ("registry.example/../a", 17),
            ("registry.example/a/..", 19),
            ("registry.example/A", 17),
            ("registry.example/a:", 19),
            ("registry.example/a:-b", 19),
            ("registry.example/a:b:c", 19),
            ("registry.example:port/a", 0),
            ("registry.example:99999/a", 0),
            ("registry.example:/a", 0),
            ("-registry.example/a", 0),
            ("registry.example/a?b", 17),
            ("registry.example/a b", 17),
            ("registry.example/a#b", 17),
            ("registry..example/a", 0),
            ("[::1/a", 0),
            ("[x]:1/a", 0),
            ("[::1]x/a", 0),
            ("registry.example/a___b", 17),
            ("registry.example/a..b", 17),
            ("registry.example/a%2e", 17),
            ("registry.example/é", 17),
            ("https://registry.example/a", 0),
            (&long, 0),
        ];
        let at = |text: &str| match text.parse::<Reference>() {
            Err(ReferenceError::Malformed { at, .. }) => at,
            other => panic!("{text}: {other:?}"),
        };
        for (place, expected) in places {
            assert_eq!(at(&format!("{place}@{digest}")), expected, "{place}");
            assert_eq!(at(place), expected, "{place}");
        }
        for end in [
            "",
            "b",
            "sha256:00",
            &digest[7..],
            &digest.to_uppercase(),
            &format!("{digest}0"),
            &format!("{digest}@{digest}"),
        ] {
            assert_eq!(at(&format!("registry.example/a@{end}")), 19, "{end}");
        }
        assert_eq!(at(&"a/".repeat(600)), 0);
        let error = format!("a\n{digest}@sha256:00").parse::<Reference>().unwrap_err().to_string();
        assert!(!error.contains('\n'), "{error}");
    }
}
