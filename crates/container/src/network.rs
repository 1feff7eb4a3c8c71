//! Say what of the network a container may use: nothing, or one way out by the worker.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Where the way out is, in the container's own network: on its loopback address, so that nobody else can reach it.
pub const PROXY_PORT: u16 = 3128;
/// Variables that name it, in both spellings, because programs differ in which they look at. All say `http://`: every program that
/// knows proxies at all knows that kind, while one that names SOCKS makes some refuse to begin. SOCKS 5 is spoken too, if asked for.
pub(crate) const PROXY_VARIABLES: [&str; 6] =
    ["http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"];
/// Ports of mail between servers and from programs: what somebody else's task would send is sent in the owner's name.
pub const MAIL_PORTS: [u16; 3] = [25, 465, 587];
/// Ranges of addresses that an [`Egress`] may add.
pub const RANGES_MAX: usize = 256;

/// The way out of a container into the internet: a proxy of the worker's, for TCP by name or address (HTTP `CONNECT`, plain HTTP,
/// SOCKS 5). The container itself stays without an interface: what the proxy does not do, it cannot do.
#[derive(Clone)]
pub struct Network {
    /// Where it leads.
    pub egress: Egress,
    /// Holds it back to a bandwidth.
    pub pace: Option<Arc<dyn Pace>>,
    /// Counts what went through, as it goes.
    pub traffic: Arc<Traffic>,
}

impl Network {
    /// To all public addresses, as fast as it goes.
    pub fn new(egress: Egress) -> Self {
        Self { egress, pace: None, traffic: Arc::default() }
    }
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let paced = self.pace.is_some();
        f.debug_struct("Network")
            .field("egress", &self.egress)
            .field("paced", &paced)
            .field("traffic", &self.traffic)
            .finish()
    }
}

impl PartialEq for Network {
    /// With the same counters and the same bandwidth, not with such that look alike.
    fn eq(&self, other: &Self) -> bool {
        let same_pace = match (&self.pace, &other.pace) {
            (None, None) => true,
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            _ => false,
        };
        self.egress == other.egress && same_pace && Arc::ptr_eq(&self.traffic, &other.traffic)
    }
}

impl Eq for Network {}

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the container into the world.
    Up,
    /// From the world into the container.
    Down,
}

/// A bandwidth that many share. Called from many threads.
pub trait Pace: Send + Sync {
    /// So many bytes have come and are to go on: after how long? They are held for that long, unless the run ends before. It must not
    /// block.
    fn wait(&self, direction: Direction, bytes: u64) -> Duration;
}

impl<F: Fn(Direction, u64) -> Duration + Send + Sync> Pace for F {
    fn wait(&self, direction: Direction, bytes: u64) -> Duration {
        self(direction, bytes)
    }
}

/// What went through. It may be read at any time.
#[derive(Debug, Default)]
pub struct Traffic {
    up_bytes: AtomicU64,
    down_bytes: AtomicU64,
    connections: AtomicU64,
    refused: AtomicU64,
}

impl Traffic {
    /// Bytes into the world.
    pub fn up_bytes(&self) -> u64 {
        self.up_bytes.load(Ordering::Relaxed)
    }

    /// Bytes out of it.
    pub fn down_bytes(&self) -> u64 {
        self.down_bytes.load(Ordering::Relaxed)
    }

    /// Connections that were made into the world.
    pub fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }

    /// Connections that the policy did not allow.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    pub(crate) fn count(&self, direction: Direction, bytes: u64) {
        let counter = match direction {
            Direction::Up => &self.up_bytes,
            Direction::Down => &self.down_bytes,
        };
        counter.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn count_connection(&self) {
        self.connections.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_refusal(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }
}

/// Where the way out leads, and its bounds.
///
/// Only to public unicast addresses, and of those not to this host's own nor to any that are on one link with it: the machine's owner,
/// and who lives with them, are not the task's to reach. A name is looked up here, and the connection goes to the very address that
/// was checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Egress {
    /// Addresses that are allowed beside those. At most [`RANGES_MAX`].
    pub also: Vec<AddressRange>,
    /// Ports that are allowed nowhere.
    pub ports_denied: Vec<u16>,
    /// Connections at once; the next one waits. At least 1.
    pub connections: usize,
    /// Bytes of a request's head.
    pub head_bytes: usize,
    /// Time in which a request has to be told.
    pub head_time: Duration,
    /// Time in which a name is looked up, and in which an address has to answer.
    pub connect_time: Duration,
    /// A connection on which nothing goes either way for so long is closed.
    pub idle_time: Duration,
}

impl Default for Egress {
    fn default() -> Self {
        Self {
            also: Vec::new(),
            ports_denied: MAIL_PORTS.to_vec(),
            connections: 64,
            head_bytes: 16 << 10,
            head_time: Duration::from_secs(10),
            connect_time: Duration::from_secs(15),
            idle_time: Duration::from_secs(300),
        }
    }
}

impl Egress {
    pub(crate) fn check(&self) -> Result<(), String> {
        match self.also.len() {
            _ if self.connections == 0 => Err("a network without a single connection".to_owned()),
            count if count > RANGES_MAX => Err(format!("{count} ranges of addresses; {RANGES_MAX} are allowed")),
            _ => Ok(()),
        }
    }

    /// Whether a connection may go there. `own` are the networks that this host is in.
    pub(crate) fn allows(&self, address: IpAddr, port: u16, own: &[AddressRange]) -> bool {
        let address = address.to_canonical();
        if port == 0 || self.ports_denied.contains(&port) {
            return false;
        }
        let is_in = |ranges: &[AddressRange]| ranges.iter().any(|range| range.contains(address));
        is_in(&self.also) || (is_public(address) && !is_in(own))
    }
}

/// Addresses that begin alike, written as `10.0.0.0/8`; an address alone is one of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressRange {
    address: IpAddr,
    prefix: u8,
}

impl AddressRange {
    /// Those whose first `prefix` bits are `address`'s. None when it has not as many.
    pub fn new(address: IpAddr, prefix: u8) -> Option<Self> {
        let most = if address.is_ipv4() { 32 } else { 128 };
        (prefix <= most).then_some(Self { address, prefix })
    }

    /// Whether an address is one of them.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.prefix)).unwrap_or(0);
                (own.to_bits() ^ other.to_bits()) & mask == 0
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(self.prefix)).unwrap_or(0);
                (own.to_bits() ^ other.to_bits()) & mask == 0
            }
            _ => false,
        }
    }
}

impl fmt::Display for AddressRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

/// A text is no range of addresses.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no range of addresses, such as 192.168.1.0/24, fd00::/8 or 10.0.0.7")]
pub struct AddressRangeError(String);

impl FromStr for AddressRange {
    type Err = AddressRangeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, prefix.parse().ok()),
            None if text.contains(':') => (text, Some(128)),
            None => (text, Some(32)),
        };
        let range = address.parse().ok().zip(prefix).and_then(|(address, prefix)| Self::new(address, prefix));
        range.ok_or_else(|| AddressRangeError(text.to_owned()))
    }
}

/// What of the IPv4 addresses is not public unicast (IANA's registry of special purposes, RFC 6890), and what looks public and is a
/// cloud's own.
const NOT_PUBLIC: [(u32, u32); 18] = [
    (v4(0, 0, 0, 0), 8),
    (v4(10, 0, 0, 0), 8),
    (v4(100, 64, 0, 0), 10),
    (v4(127, 0, 0, 0), 8),
    (v4(169, 254, 0, 0), 16),
    (v4(172, 16, 0, 0), 12),
    (v4(192, 0, 0, 0), 24),
    (v4(192, 0, 2, 0), 24),
    // Anycast relays of 6to4 (RFC 7526), AS 112's and AMT's.
    (v4(192, 88, 99, 0), 24),
    (v4(192, 31, 196, 0), 24),
    (v4(192, 52, 193, 0), 24),
    (v4(192, 175, 48, 0), 24),
    (v4(192, 168, 0, 0), 16),
    (v4(198, 18, 0, 0), 15),
    (v4(198, 51, 100, 0), 24),
    (v4(203, 0, 113, 0), 24),
    // Where Azure's machines find what their host has for them.
    (v4(168, 63, 129, 16), 32),
    // Multicast, what is reserved, and broadcast.
    (v4(224, 0, 0, 0), 3),
];

const fn v4(a: u8, b: u8, c: u8, d: u8) -> u32 {
    u32::from_be_bytes([a, b, c, d])
}

/// Whether it is an address of the public internet, of one machine.
pub(crate) fn is_public(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let bits = address.to_bits();
    !NOT_PUBLIC.iter().any(|(network, prefix)| (bits ^ network) >> (32 - prefix) == 0)
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let [a, b, c, d, e, f, g, h] = address.segments();
    let inner = |high: u16, low: u16| Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low));
    match (a, b) {
        // NAT64 (RFC 6052) leads to the IPv4 address inside. The prefix for networks' own use, 64:ff9b:1::/48, is theirs.
        (0x64, 0xff9b) => (c, d, e, f) == (0, 0, 0, 0) && is_public_v4(inner(g, h)),
        // Teredo (RFC 4380): the server's address, and the client's upside down.
        (0x2001, 0) => is_public_v4(inner(c, d)) && is_public_v4(inner(!g, !h)),
        // The rest of 2001::/23 is protocols' and benchmarks', and 2001:db8::/32 an example.
        (0x2001, ..0x200 | 0xdb8) => false,
        // 6to4 (RFC 3056).
        (0x2002, _) => is_public_v4(inner(b, c)),
        // Examples (RFC 9637), and AS 112's.
        (0x3fff, ..0x1000) => false,
        (0x2620, 0x4f) if c == 0x8000 => false,
        // Global unicast is 2000::/3; nothing else is.
        _ => a & 0xe000 == 0x2000,
    }
}

/// The networks that this host is in: its own addresses, and those on one link with them.
pub(crate) fn own_networks() -> Vec<AddressRange> {
    /// A host that is given a single address of a network is still in the network, which is never smaller (RFC 4291, 2.5.4).
    const LINK_PREFIX_MAX: u8 = 64;
    let Ok(interfaces) = nix::ifaddrs::getifaddrs() else { return Vec::new() };
    let network = |interface: nix::ifaddrs::InterfaceAddress| {
        let (address, mask) = (interface.address?, interface.netmask);
        if let Some(address) = address.as_sockaddr_in() {
            let mask = mask.as_ref().and_then(|mask| Some(mask.as_sockaddr_in()?.ip().to_bits().count_ones()));
            return AddressRange::new(address.ip().into(), mask.and_then(|ones| ones.try_into().ok()).unwrap_or(32));
        }
        let address = address.as_sockaddr_in6()?.ip();
        let mask = mask.as_ref().and_then(|mask| Some(mask.as_sockaddr_in6()?.ip().to_bits().count_ones()));
        let prefix = mask.and_then(|ones| ones.try_into().ok()).unwrap_or(LINK_PREFIX_MAX);
        AddressRange::new(address.into(), prefix.min(LINK_PREFIX_MAX))
    };
    interfaces.filter_map(network).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap_or_else(|_| panic!("{text}"))
    }

    /// The last one is Teredo's (RFC 4380): server 65.54.227.120, client 8.8.8.8.
    const PUBLIC: &str = "1.1.1.1 8.8.8.8 9.255.255.255 11.0.0.0 100.63.255.255 100.128.0.0 126.255.255.255 128.0.0.0 169.253.255.255 \
         169.255.0.0 172.15.255.255 172.32.0.0 192.0.1.0 192.167.255.255 192.169.0.0 198.17.255.255 198.20.0.0 223.255.255.255 \
         168.63.129.17 ::ffff:8.8.8.8 64:ff9b::8.8.8.8 2000::1 2001:200::1 2001:4860:4860::8888 2002:808:808::1 2606:4700::1111 \
         3fff:1000::1 2001:0:4136:e378:8000:63bf:f7f7:f7f7";
    /// Of every range that is not anybody's in the internet, and of those that embed such an address.
    const NOT_PUBLIC: &str = "0.0.0.0 0.1.2.3 10.0.0.1 10.255.255.255 100.64.0.0 100.100.100.200 100.127.255.255 127.0.0.1 127.255.255.254 \
         169.254.0.1 169.254.169.254 172.16.0.1 172.31.255.255 192.0.0.1 192.0.0.192 192.0.2.1 192.31.196.1 192.52.193.1 \
         192.88.99.1 192.168.0.1 192.168.255.255 192.175.48.1 198.18.0.1 198.19.255.255 198.51.100.1 203.0.113.1 168.63.129.16 \
         224.0.0.1 239.255.255.255 240.0.0.1 255.255.255.255 :: ::1 ::2 ::8.8.8.8 ::127.0.0.1 ::ffff:127.0.0.1 ::ffff:10.0.0.1 \
         ::ffff:169.254.169.254 ::ffff:0:8.8.8.8 64:ff9b::127.0.0.1 64:ff9b::10.0.0.1 64:ff9b::169.254.169.254 \
         64:ff9b:0:0:0:1:808:808 64:ff9b:1::8.8.8.8 100::1 1fff::1 2001:0:a00:1:8000:63bf:f7f7:f7f7 \
         2001:0:4136:e378:8000:63bf:80ff:fffe 2001:1::1 2001:2::1 2001:10::1 2001:20::1 2001:1ff::1 2001:db8::1 2002:7f00:1::1 \
         2002:a00:1::1 2002:a9fe:a9fe::1 2620:4f:8000::1 3fff::1 3fff:fff::1 4000::1 5f00::1 fc00::1 fd00:ec2::254 fe80::1 \
         febf::1 fec0::1 ff02::1 ff0e::1";

    #[test]
    fn only_the_public_internet_is_public() {
        for text in PUBLIC.split_whitespace() {
            assert!(is_public(address(text)), "{text}");
        }
        for text in NOT_PUBLIC.split_whitespace() {
            assert!(!is_public(address(text)), "{text}");
        }
    }

    #[test]
    fn ports_ranges_and_the_hosts_own_networks_count() {
        let own: Vec<AddressRange> = ["9.9.9.0/24", "2a00:1:2:3::/64"].map(|text| text.parse().unwrap()).into();
        let egress =
            Egress { also: vec!["10.1.0.0/16".parse().unwrap(), "9.9.9.7".parse().unwrap()], ..Egress::default() };
        for (text, port, expected) in [
            ("8.8.8.8", 443, true),
            ("8.8.8.8", 25, false),
            ("8.8.8.8", 465, false),
            ("8.8.8.8", 587, false),
            ("8.8.8.8", 0, false),
            ("9.9.9.9", 443, false),
            ("9.9.9.7", 443, true),
            ("9.9.8.9", 443, true),
            ("::ffff:9.9.9.9", 443, false),
            ("10.1.255.1", 80, true),
            ("10.1.255.1", 25, false),
            ("::ffff:10.1.0.1", 80, true),
            ("10.2.0.1", 80, false),
            ("2a00:1:2:3:4::1", 443, false),
            ("2a00:1:2:4::1", 443, true),
        ] {
            assert_eq!(egress.allows(address(text), port, &own), expected, "{text} {port}");
        }
        let here = own_networks();
        assert!(here.iter().any(|range| range.contains(address("127.0.0.1"))), "{here:?}");
    }

    #[test]
    fn ranges_are_read_as_they_are_written() {
        for text in ["10.0.0.0/8", "0.0.0.0/0", "::/0", "fd00::/8", "1.2.3.4/32"] {
            assert_eq!(text.parse::<AddressRange>().unwrap().to_string(), text);
        }
        for text in ["", "10.0.0.0/33", "::/129", "x/8", "10.0.0.0/", "10.0.0.0/-1", "10.0.0/8"] {
            text.parse::<AddressRange>().unwrap_err();
        }
        let all: AddressRange = "::/0".parse().unwrap();
        assert!(all.contains(address("::1")) && !all.contains(address("127.0.0.1")));
        assert!("0.0.0.0/0".parse::<AddressRange>().unwrap().contains(address("255.255.255.255")));
    }
}
