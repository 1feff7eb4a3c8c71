//! The address of a pool, which says where it is and who it is.

use std::{fmt, str::FromStr};

const SCHEME: &str = "grist://";

/// The BLAKE3 hash of a public key (its SubjectPublicKeyInfo, DER), written as 64 hex digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyHash(pub [u8; 32]);

impl KeyHash {
    /// The hash of a key's SubjectPublicKeyInfo.
    pub fn of(subject_public_key_info: &[u8]) -> Self {
        Self(*blake3::hash(subject_public_key_info).as_bytes())
    }
}

impl fmt::Display for KeyHash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "KeyHash({self})")
    }
}

/// Where a pool listens and the hash of its key: `grist://HOST:PORT/KEYHASH`.
///
/// ```
/// # use gristmill_protocol::tls::PoolUrl;
/// let text = format!("grist://pool.example:4480/{}", "ab".repeat(32));
/// let url: PoolUrl = text.parse()?;
/// assert_eq!((url.host.as_str(), url.port), ("pool.example", 4480));
/// assert_eq!(url.to_string(), text);
/// # Ok::<(), gristmill_protocol::tls::PoolUrlError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PoolUrl {
    /// Host name or IP address; an IPv6 address without its brackets.
    pub host: String,
    /// TCP port, not 0.
    pub port: u16,
    /// Hash of the pool's key.
    pub key: KeyHash,
}

/// A pool's address that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is not the address of a pool: {reason}; it looks like grist://HOST:PORT/KEYHASH, as `gristmill up` prints it"
)]
pub struct PoolUrlError {
    /// The text, shortened to 120 characters.
    pub text: String,
    /// What is wrong with it.
    pub reason: &'static str,
}

impl fmt::Display for PoolUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port, key } = self;
        if host.contains(':') {
            write!(formatter, "{SCHEME}[{host}]:{port}/{key}")
        } else {
            write!(formatter, "{SCHEME}{host}:{port}/{key}")
        }
    }
}

impl FromStr for PoolUrl {
    type Err = PoolUrlError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse(text).map_err(|reason| PoolUrlError { text: text.chars().take(120).collect(), reason })
    }
}

fn parse(text: &str) -> Result<PoolUrl, &'static str> {
    let rest = text.strip_prefix(SCHEME).ok_or("it does not begin with grist://")?;
    let (authority, key) = rest.split_once('/').ok_or("the key's hash is missing")?;
    let (host, port) = authority.rsplit_once(':').ok_or("the port is missing")?;
    Ok(PoolUrl { host: parse_host(host)?, port: parse_port(port)?, key: parse_key(key)? })
}

fn parse_host(host: &str) -> Result<String, &'static str> {
    if let Some(inner) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        let address: std::net::Ipv6Addr = inner.parse().map_err(|_| "the host in brackets is not an IPv6 address")?;
        return Ok(address.to_string());
    }
    let plain = |character: char| character.is_ascii_alphanumeric() || "-._".contains(character);
    match host {
        "" => Err("the host is missing"),
        _ if host.contains(':') => Err("an IPv6 address must stand in brackets, as in [::1]:4480"),
        _ if host.len() > 253 => Err("the host is longer than any host name"),
        _ if !host.chars().all(plain) => Err("the host holds a character that no host name has"),
        _ => Ok(host.to_owned()),
    }
}

fn parse_port(port: &str) -> Result<u16, &'static str> {
    match port.parse() {
        Ok(port) if port > 0 => Ok(port),
        _ => Err("the port is not a number between 1 and 65535"),
    }
}

fn parse_key(key: &str) -> Result<KeyHash, &'static str> {
    let key = key.strip_suffix('/').unwrap_or(key);
    let mut hash = [0; 32];
    hex::decode_to_slice(key, &mut hash).map_err(|_| "the key's hash is not 64 hexadecimal digits")?;
    Ok(KeyHash(hash))
}
