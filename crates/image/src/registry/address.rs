//! Which addresses are everybody's, and which are not.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Where an address lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// In the public Internet.
    Public,
    /// On this machine.
    Here,
    /// In a private network.
    Private,
    /// In a block that is reserved for something else (the IANA registries of special-purpose addresses): where clouds tell machines
    /// their secrets, among others.
    Reserved,
}

impl Place {
    pub fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => of_v4(address),
            IpAddr::V6(address) => of_v6(address),
        }
    }

    /// Whether a registry at this place may send its clients to `other`. What is in a network that only some can reach must not be
    /// fetched because a stranger outside it says so.
    pub fn may_lead_to(self, other: Self) -> bool {
        other == Self::Public || (self == other && other != Self::Reserved)
    }
}

fn of_v4(address: Ipv4Addr) -> Place {
    let [first, second, third, _] = address.octets();
    match (first, second, third) {
        (127, _, _) => Place::Here,
        // RFC 1918, and what carriers share (RFC 6598).
        (10, _, _) | (172, 16..=31, _) | (192, 168, _) | (100, 64..=127, _) => Place::Private,
        // This network, link-local, multicast and what is kept for later.
        (0 | 224.., _, _) | (169, 254, _) => Place::Reserved,
        // Protocol assignments, documentation (RFC 5737), benchmarks (RFC 2544).
        (192, 0, 0 | 2) | (198, 51, 100) | (203, 0, 113) | (198, 18 | 19, _) => Place::Reserved,
        _ => Place::Public,
    }
}

fn of_v6(address: Ipv6Addr) -> Place {
    if let Some(mapped) = embedded(address) {
        return of_v4(mapped);
    }
    match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 1] => Place::Here,
        // Unique local addresses (RFC 4193).
        [0xfc00..=0xfdff, ..] => Place::Private,
        [0x2001, 0x0db8, ..] => Place::Reserved,
        // Only 2000::/3 has been given out.
        [0x2000..=0x3fff, ..] => Place::Public,
        _ => Place::Reserved,
    }
}

/// The IPv4 address that a mapped (`::ffff:0:0/96`), translated (`64:ff9b::/96`) or 6to4 (`2002::/16`) address leads to.
fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let v4 = |high: u16, low: u16| Ipv4Addr::from(u32::from(high) << 16 | u32::from(low));
    match address.segments() {
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => Some(v4(high, low)),
        [0x2002, high, low, ..] => Some(v4(high, low)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_lie_where_they_lie() {
        let table = [
            (
                Place::Public,
                "1.1.1.1 100.63.255.255 100.128.0.1 172.32.0.1 172.15.0.1 192.0.1.1 192.167.0.1 2606:4700::1111 64:ff9b::101:101",
            ),
            (Place::Here, "127.0.0.1 127.8.8.8 ::1 ::ffff:127.0.0.1 64:ff9b::7f00:1 2002:7f00:1::"),
            (
                Place::Private,
                "10.1.2.3 100.64.0.1 172.16.0.1 172.31.255.255 192.168.0.1 fc00::1 fd12::1 ::ffff:192.168.0.1",
            ),
            (
                Place::Reserved,
                "0.0.0.0 169.254.169.254 192.0.0.8 192.0.2.1 198.18.0.1 198.51.100.1 203.0.113.1 224.0.0.1 240.0.0.1 \
                 255.255.255.255 :: fe80::1 ff02::1 2001:db8::1 ::127.0.0.1",
            ),
        ];
        for (place, addresses) in table {
            for address in addresses.split_whitespace() {
                assert_eq!(Place::of(address.parse().unwrap()), place, "{address}");
            }
        }
    }

    #[test]
    fn nobody_leads_to_where_he_is_not() {
        use Place::{Here, Private, Public, Reserved};
        for from in [Public, Here, Private, Reserved] {
            assert!(from.may_lead_to(Public));
            assert!(!from.may_lead_to(Reserved));
            assert_eq!(from.may_lead_to(Here), from == Here);
            assert_eq!(from.may_lead_to(Private), from == Private);
        }
    }
}
