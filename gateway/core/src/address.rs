//! Whose connection it is: the address that a proxy tells of, where the proxy is one that is believed.

use std::{net::IpAddr, num::NonZeroU64, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// A range of addresses, like `10.0.0.0/8`; a single address is one, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

/// Not a range of addresses.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no range of addresses; write it like 10.0.0.0/8 or 2001:db8::/32")]
pub struct InvalidNetwork(String);

impl Network {
    /// Whether an address is in it; IPv4 may come as IPv6 (RFC 4291, section 2.5.5.2).
    #[must_use]
    pub fn contains(self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                (own.to_bits() ^ other.to_bits()).leading_zeros() >= u32::from(self.prefix)
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                (own.to_bits() ^ other.to_bits()).leading_zeros() >= u32::from(self.prefix)
            }
            _ => false,
        }
    }
}

impl FromStr for Network {
    type Err = InvalidNetwork;

    fn from_str(text: &str) -> Result<Self, InvalidNetwork> {
        let parse = || {
            let (address, prefix) = match text.split_once('/') {
                Some((address, prefix)) => (address, Some(prefix.parse().ok()?)),
                None => (text, None),
            };
            let address: IpAddr = address.parse().ok()?;
            let bits = if address.is_ipv4() { 32 } else { 128 };
            let prefix = prefix.unwrap_or(bits);
            (prefix <= bits).then_some(Self { address, prefix })
        };
        parse().ok_or_else(|| InvalidNetwork(text.to_owned()))
    }
}

impl<'de> Deserialize<'de> for Network {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

impl Serialize for Network {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{}/{}", self.address, self.prefix))
    }
}

/// Whose request it is: of the addresses in `X-Forwarded-For`, to which each proxy adds whom it sees, the last one that no trusted
/// proxy has. What stands before it is anybody's word.
#[must_use]
pub fn client<'a>(
    peer: IpAddr,
    forwarded_for: impl DoubleEndedIterator<Item = &'a str>,
    trusted: &[Network],
) -> IpAddr {
    let is_trusted = |address: IpAddr| trusted.iter().any(|network| network.contains(address));
    let mut client = peer;
    for text in forwarded_for.rev().flat_map(|value| value.rsplit(',')) {
        if !is_trusted(client) {
            break;
        }
        let Some(address) = parse(text.trim()) else { break };
        client = address;
    }
    client.to_canonical()
}

/// Some proxies write a port as well.
fn parse(text: &str) -> Option<IpAddr> {
    let with_port = || text.parse().ok().map(|address: std::net::SocketAddr| address.ip());
    text.parse().ok().or_else(with_port)
}

/// What one client can be expected to have one of: an IPv4 address, or 64 bits of an IPv6 address (RFC 6177).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Site(NonZeroU64);

impl Site {
    /// The site of an address.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        // ff00::/8 is for groups, so no client has an address there.
        const IPV4: u64 = 0xff00 << 48;
        let bits = match address.to_canonical() {
            IpAddr::V4(address) => IPV4 | u64::from(address.to_bits()),
            IpAddr::V6(address) => (address.to_bits() >> 64) as u64,
        };
        Self(NonZeroU64::new(bits).unwrap_or(NonZeroU64::MIN))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn networks(texts: &[&str]) -> Vec<Network> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn a_network_has_the_addresses_of_its_prefix() {
        let has = |network: &str, address| network.parse::<Network>().unwrap().contains(ip(address));
        assert!(has("10.0.0.0/8", "10.9.9.9") && has("10.0.0.1", "10.0.0.1") && has("0.0.0.0/0", "1.2.3.4"));
        assert!(has("10.0.0.0/8", "::ffff:10.1.1.1") && has("2001:db8::/32", "2001:db8:1::1"));
        assert!(!has("10.0.0.0/8", "11.0.0.0") && !has("10.0.0.1", "10.0.0.2"));
        assert!(!has("0.0.0.0/0", "2001:db8::1") && !has("2001:db8::/32", "2001:db9::"));
        for text in ["", "10.0.0.0/33", "10.0.0/8", "::/129", "10.0.0.0/", "example.com"] {
            let error = text.parse::<Network>().unwrap_err().to_string();
            assert!(error.contains("write it like"), "{error}");
        }
    }

    #[test]
    fn only_what_a_trusted_proxy_has_added_is_believed() {
        let trusted = networks(&["10.0.0.0/8", "2001:db8::/32"]);
        let cases = [
            ("192.0.2.1", vec!["198.51.100.7"], "192.0.2.1"),
            ("10.0.0.1", vec![], "10.0.0.1"),
            ("10.0.0.1", vec!["198.51.100.7"], "198.51.100.7"),
            ("10.0.0.1", vec!["1.1.1.1, 198.51.100.7"], "198.51.100.7"),
            ("10.0.0.1", vec!["1.1.1.1, 198.51.100.7, 10.0.0.2"], "198.51.100.7"),
            ("10.0.0.1", vec!["1.1.1.1", "198.51.100.7,10.0.0.2"], "198.51.100.7"),
            ("10.0.0.1", vec!["198.51.100.7:443"], "198.51.100.7"),
            ("10.0.0.1", vec!["1.1.1.1, nonsense"], "10.0.0.1"),
            ("::ffff:10.0.0.1", vec!["2001:db9::7"], "2001:db9::7"),
            ("10.0.0.1", vec!["10.0.0.3"], "10.0.0.3"),
        ];
        for (peer, forwarded, expected) in cases {
            let client = client(ip(peer), forwarded.iter().copied(), &trusted);
            assert_eq!(client, ip(expected), "{peer} {forwarded:?}");
        }
        assert_eq!(client(ip("10.0.0.1"), ["1.1.1.1"].into_iter(), &[]), ip("10.0.0.1"), "nobody is trusted");
    }

    #[test]
    fn addresses_that_one_client_can_choose_among_are_one_site() {
        let site = |address| Site::of(ip(address));
        assert_eq!(site("2001:db8::1"), site("2001:db8::ffff:1"));
        assert_ne!(site("2001:db8::1"), site("2001:db8:0:1::1"));
        assert_eq!(site("::ffff:10.0.0.1"), site("10.0.0.1"));
        assert_ne!(site("10.0.0.1"), site("10.0.0.2"));
        assert_ne!(site("0.0.0.0"), site("::"));
    }
}
