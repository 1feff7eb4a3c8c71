//! Say how near to this machine an address is, so that nobody can have a worker dial into its owner's network.
//!
//! A pool's address on the ledger is a stranger's word. It is followed only if it is at least as far from this machine as the ledger is:
//! with a ledger on this machine everything is, for development; with one in the own network, that network and the world; with one in
//! the world, the world.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

/// How long a name is looked up.
const LOOKUP_TIME: Duration = Duration::from_secs(4);
/// Addresses of one name that are looked at.
const ADDRESSES_MAX: usize = 16;

/// How far an address is from this machine, the nearest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Vicinity {
    /// This machine, or no machine at all.
    Machine,
    /// A private network.
    Private,
    /// The world.
    Public,
}

impl fmt::Display for Vicinity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Machine => "this machine",
            Self::Private => "a private network",
            Self::Public => "the world",
        })
    }
}

impl Vicinity {
    /// Of an address.
    pub fn of_ip(ip: IpAddr) -> Self {
        match ip.to_canonical() {
            IpAddr::V4(ip) => Self::of_v4(ip),
            IpAddr::V6(ip) => Self::of_v6(ip),
        }
    }

    fn of_v4(ip: Ipv4Addr) -> Self {
        let [first, second, third, _] = ip.octets();
        match first {
            // The whole of 0.0.0.0/8 means this host; multicast and what is reserved name none.
            0 | 127 | 224.. => Self::Machine,
            // Between a provider and its customers.
            100 if second & 0xc0 == 64 => Self::Private,
            // For benchmarks, and for protocols.
            198 if second & 0xfe == 18 => Self::Private,
            192 if (second, third) == (0, 0) => Self::Private,
            _ if ip.is_private() || ip.is_link_local() || ip.is_documentation() => Self::Private,
            _ => Self::Public,
        }
    }

    fn of_v6(ip: Ipv6Addr) -> Self {
        let [first, second, third, .., seventh, eighth] = ip.segments();
        let inner = |high: u16, low: u16| {
            let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
            Self::of_v4(Ipv4Addr::new(a, b, c, d))
        };
        match first {
            _ if ip.is_loopback() || ip.is_unspecified() || ip.is_multicast() => Self::Machine,
            // IPv4 addresses behind a translator, and in 6to4: what they lead to counts.
            0x64 if second == 0xff9b => inner(seventh, eighth),
            0x2002 => inner(second, third),
            // Only 2000::/3 is given out in the world, and 2001:db8::/32 of it is for examples.
            0x2000..=0x3fff if (first, second) != (0x2001, 0xdb8) => Self::Public,
            _ => Self::Private,
        }
    }

    /// Of what a URL names; of a name the farthest of its addresses, and the world's if it has none.
    pub async fn of_url(url: &str) -> Self {
        let addresses = match host_of(url) {
            Some(host) => resolve(host, 0).await.unwrap_or_default(),
            None => Vec::new(),
        };
        addresses.into_iter().map(Self::of_ip).max().unwrap_or(Self::Public)
    }

    /// The first address of this host, which may be dialled if all of them are at least as far as this ledger is.
    ///
    /// # Errors
    /// Why not, for people.
    pub async fn admit(self, host: &str, port: u16) -> Result<IpAddr, String> {
        let addresses = resolve(host, port).await?;
        match addresses.iter().find(|ip| Self::of_ip(**ip) < self) {
            Some(near) => Err(format!(
                "{host} leads to {near}, which is in {}, while the ledger is in {self}",
                Self::of_ip(*near)
            )),
            None => addresses.first().copied().ok_or_else(|| format!("the name {host} leads nowhere")),
        }
    }

    /// Why a URL is not dialled, if so.
    pub async fn objection_to_url(self, url: &str) -> Option<String> {
        match host_of(url) {
            None => Some("its address names no host".to_owned()),
            Some(host) => self.admit(host, 0).await.err(),
        }
    }
}

/// The host in `scheme://HOST[:PORT][/...]`, without brackets.
fn host_of(url: &str) -> Option<&str> {
    let (_, rest) = url.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    // What stands before an @ is a login, not the host.
    let authority = authority.rsplit('@').next()?;
    let host = match authority.strip_prefix('[') {
        Some(inner) => inner.split(']').next()?,
        None => authority.split(':').next()?,
    };
    (!host.is_empty()).then_some(host)
}

async fn resolve(host: &str, port: u16) -> Result<Vec<IpAddr>, String> {
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Ok(vec![ip]);
    }
    match tokio::time::timeout(LOOKUP_TIME, tokio::net::lookup_host((host, port))).await {
        Ok(Ok(found)) => Ok(found.take(ADDRESSES_MAX).map(|address| address.ip()).collect()),
        Ok(Err(error)) => Err(format!("the name {host} cannot be looked up: {error}")),
        Err(_) => Err(format!("the name {host} was not found within {LOOKUP_TIME:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_as_near_as_they_are() {
        use Vicinity::*;
        for (ip, expected) in [
            ("127.0.0.1", Machine),
            ("0.0.0.0", Machine),
            ("0.1.2.3", Machine),
            ("239.1.1.1", Machine),
            ("255.255.255.255", Machine),
            ("::1", Machine),
            ("::", Machine),
            ("ff02::1", Machine),
            ("::ffff:127.0.0.1", Machine),
            ("64:ff9b::7f00:1", Machine),
            ("2002:7f00:1::1", Machine),
            ("10.0.0.1", Private),
            ("172.16.0.1", Private),
            ("172.32.0.1", Public),
            ("192.168.1.1", Private),
            ("169.254.169.254", Private),
            ("100.64.0.1", Private),
            ("100.128.0.1", Public),
            ("198.18.0.1", Private),
            ("192.0.0.8", Private),
            ("203.0.113.1", Private),
            ("::ffff:10.0.0.1", Private),
            ("64:ff9b::a00:1", Private),
            ("fd00::1", Private),
            ("fe80::1", Private),
            ("2001:db8::1", Private),
            ("8.8.8.8", Public),
            ("2606:4700::1111", Public),
            ("64:ff9b::808:808", Public),
        ] {
            assert_eq!(Vicinity::of_ip(ip.parse().unwrap()), expected, "{ip}");
        }
    }

    #[test]
    fn the_host_is_what_would_be_dialled() {
        for (url, expected) in [
            ("http://127.0.0.1:80/x", Some("127.0.0.1")),
            ("http://pool.example", Some("pool.example")),
            ("http://[::1]:8545/", Some("::1")),
            ("http://pool.example@10.0.0.1:80/", Some("10.0.0.1")),
            ("http://pool.example?@10.0.0.1", Some("pool.example")),
            ("http://:80/", None),
            ("pool.example", None),
        ] {
            assert_eq!(host_of(url), expected, "{url}");
        }
    }

    #[tokio::test]
    async fn nothing_nearer_than_the_ledger_is_dialled() {
        let (world, home, here) = ("8.8.8.8", "10.1.2.3", "127.0.0.1");
        for (ledger, host, admitted) in [
            (world, world, true),
            (world, home, false),
            (world, here, false),
            (home, world, true),
            (home, home, true),
            (home, here, false),
            (here, world, true),
            (here, home, true),
            (here, here, true),
        ] {
            let vicinity = Vicinity::of_url(&format!("http://{ledger}:8545")).await;
            let answer = vicinity.admit(host, 80).await;
            assert_eq!(answer.is_ok(), admitted, "{ledger} {host}: {answer:?}");
            assert_eq!(vicinity.objection_to_url(&format!("http://{host}:1/")).await.is_none(), admitted);
        }
        assert!(Vicinity::Public.admit("localhost", 80).await.unwrap_err().contains("this machine"));
    }
}
