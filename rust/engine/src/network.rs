//! A range of IP addresses, as an operator writes it: `10.0.0.0/8`, `::1/128`, `192.0.2.7`.
//!
//! An IPv4 address inside IPv6 (`::ffff:192.0.2.7`) is that IPv4 address, in the text as in the question. Beyond that the families stay
//! apart: `::/0` is every IPv6 address and no IPv4 address.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    first: IpAddr,
    prefix: u8,
}

/// Why a text is no network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotNetwork {
    #[error("{0:?} is not an IP address")]
    Address(String),
    #[error("{text:?} is not a prefix length: a number from 0 to {most} without leading zeros")]
    Prefix { text: String, most: u8 },
    /// Whoever writes 10.0.0.7/8 meant another address or another length, and trust is no place to guess.
    #[error("{0} has bits set behind its prefix: the network is {1}")]
    HostBits(String, Network),
}

impl FromStr for Network {
    type Err = NotNetwork;

    fn from_str(text: &str) -> Result<Self, NotNetwork> {
        let (address, length) = text.split_once('/').map_or((text, None), |(address, length)| (address, Some(length)));
        let first: IpAddr = address.parse().map_err(|_| NotNetwork::Address(address.to_owned()))?;
        let most = bits_of(first);
        let prefix = length.map_or(Ok(most), |length| prefix_length(length, most))?;
        let network = Network { first: masked(first, prefix), prefix };
        if network.first != first {
            return Err(NotNetwork::HostBits(text.to_owned(), network));
        }
        Ok(network.canonical())
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first, self.prefix)
    }
}

impl Network {
    pub fn contains(&self, address: IpAddr) -> bool {
        masked(address.to_canonical(), self.prefix) == self.first
    }

    /// A network of IPv4 addresses inside IPv6 becomes the IPv4 network.
    fn canonical(self) -> Self {
        match self.first.to_canonical() {
            first @ IpAddr::V4(_) if self.prefix >= MAPPED_BITS && self.first.is_ipv6() => {
                Self { first, prefix: self.prefix - MAPPED_BITS }
            }
            _ => self,
        }
    }
}

fn prefix_length(text: &str, most: u8) -> Result<u8, NotNetwork> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    let wrong = || NotNetwork::Prefix { text: text.to_owned(), most };
    text.parse().ok().filter(|length| plain && *length <= most).ok_or_else(wrong)
}

/// `address` with only its first `prefix` bits (all of them, if it has no more).
fn masked(address: IpAddr, prefix: u8) -> IpAddr {
    match address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32_u32.saturating_sub(prefix.into())).unwrap_or(0);
            IpAddr::V4((u32::from(v4) & mask).into())
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128_u32.saturating_sub(prefix.into())).unwrap_or(0);
            IpAddr::V6(Ipv6Addr::from(u128::from(v6) & mask))
        }
    }
}

fn bits_of(address: IpAddr) -> u8 {
    if address.is_ipv4() {
        32
    } else {
        128
    }
}

/// `::ffff:0:0/96` is where IPv6 keeps the IPv4 addresses (RFC 4291 section 2.5.5.2).
const MAPPED_BITS: u8 = 96;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn network(text: &str) -> Network {
        text.parse().unwrap()
    }

    fn contains(text: &str, address: &str) -> bool {
        network(text).contains(address.parse().unwrap())
    }

    #[test]
    fn contains_from_the_first_address_to_the_last() {
        for (text, first, last, before, after) in [
            ("10.0.0.0/8", "10.0.0.0", "10.255.255.255", "9.255.255.255", "11.0.0.0"),
            ("192.0.2.6/31", "192.0.2.6", "192.0.2.7", "192.0.2.5", "192.0.2.8"),
            ("192.0.2.7", "192.0.2.7", "192.0.2.7", "192.0.2.6", "192.0.2.8"),
            ("::1/128", "::1", "::1", "::", "::2"),
            ("2001:db8::/56", "2001:db8::", "2001:db8:0:ff:ffff:ffff:ffff:ffff", "2001:db7:ffff::", "2001:db8:0:100::"),
        ] {
            assert!(contains(text, first) && contains(text, last), "{text}");
            assert!(!contains(text, before) && !contains(text, after), "{text}");
        }
    }

    #[test]
    fn the_families_stay_apart() {
        assert!(contains("0.0.0.0/0", "255.255.255.255") && !contains("0.0.0.0/0", "::"));
        assert!(contains("::/0", "ffff::1") && !contains("::/0", "10.0.0.1") && !contains("::/0", "::ffff:10.0.0.1"));
        assert!(!contains("::/96", "0.0.0.0"));
    }

    #[test]
    fn mapped_addresses_are_ipv4() {
        assert!(contains("10.0.0.0/8", "::ffff:10.1.2.3"));
        assert!(contains("::ffff:10.0.0.0/104", "10.1.2.3"));
        assert_eq!(network("::ffff:10.0.0.0/104"), network("10.0.0.0/8"));
        assert_eq!(network("::ffff:0:0/96"), network("0.0.0.0/0"));
        assert_eq!(network("::ffff:10.0.0.1"), network("10.0.0.1/32"));
    }

    #[test]
    fn round_trip() {
        for text in ["10.0.0.0/8", "0.0.0.0/0", "192.0.2.7/32", "::/0", "::1/128", "2001:db8::/32"] {
            assert_eq!(network(text).to_string(), text);
        }
    }

    #[test]
    fn refuses_what_is_no_network() {
        for (text, reason) in [
            ("", "\"\" is not an IP address"),
            ("10.0.0/8", "\"10.0.0\" is not an IP address"),
            ("010.0.0.0/8", "\"010.0.0.0\" is not an IP address"),
            (" 10.0.0.0/8", "\" 10.0.0.0\" is not an IP address"),
            ("fe80::1%eth0", "\"fe80::1%eth0\" is not an IP address"),
            ("localhost", "\"localhost\" is not an IP address"),
            ("10.0.0.0/33", "\"33\" is not a prefix length: a number from 0 to 32 without leading zeros"),
            ("::/129", "\"129\" is not a prefix length: a number from 0 to 128 without leading zeros"),
            ("10.0.0.7/8", "10.0.0.7/8 has bits set behind its prefix: the network is 10.0.0.0/8"),
            ("::1/127", "::1/127 has bits set behind its prefix: the network is ::/127"),
        ] {
            assert_eq!(text.parse::<Network>().unwrap_err().to_string(), reason);
        }
        for length in ["", "+8", "08", "00", "-1", "8 ", "8/8", "256", "255.0.0.0", "\u{664}"] {
            let text = format!("10.0.0.0/{length}");
            assert!(matches!(text.parse::<Network>(), Err(NotNetwork::Prefix { .. })), "{text}");
        }
    }
}
