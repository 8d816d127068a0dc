//! Who counts as one caller: an IPv4 address, or an IPv6 /56, which is what a provider hands to one customer (RFC 6177).

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::NonZeroU64;

/// The number of a source. The lowest byte says the family, which leaves just the 56 bits that matter of an IPv6 address; it is never
/// 0, so that an `Option` of it costs nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Source(NonZeroU64);

impl Source {
    pub fn of(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V4(v4) => V4 | u64::from(u32::from(v4)) << FAMILY_BITS,
            IpAddr::V6(v6) => V6 | ((u128::from(v6) >> HOST_BITS) as u64) << FAMILY_BITS,
        })
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bits = self.0.get() >> FAMILY_BITS;
        if self.0.get() & FAMILY_MASK == V4.get() {
            Ipv4Addr::from(bits as u32).fmt(f)
        } else {
            write!(f, "{}/56", Ipv6Addr::from(u128::from(bits) << HOST_BITS))
        }
    }
}

const FAMILY_BITS: u32 = 8;
const FAMILY_MASK: u64 = (1 << FAMILY_BITS) - 1;
const HOST_BITS: u32 = 128 - 56;
const V4: NonZeroU64 = NonZeroU64::MIN;
const V6: NonZeroU64 = NonZeroU64::MIN.saturating_add(1);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn source(text: &str) -> Source {
        Source::of(text.parse().unwrap())
    }

    #[test]
    fn an_ipv4_address_is_a_source() {
        assert_eq!(source("192.0.2.7").to_string(), "192.0.2.7");
        assert_eq!(source("192.0.2.7"), source("::ffff:192.0.2.7"));
        assert_ne!(source("192.0.2.7"), source("192.0.2.8"));
        assert_eq!(source("0.0.0.0").to_string(), "0.0.0.0");
        assert_eq!(source("255.255.255.255").to_string(), "255.255.255.255");
    }

    #[test]
    fn an_ipv6_customer_is_a_source() {
        assert_eq!(source("2001:db8:0:100::1"), source("2001:db8:0:1ff:ffff:ffff:ffff:ffff"));
        assert_ne!(source("2001:db8:0:100::"), source("2001:db8:0:200::"));
        assert_eq!(source("2001:db8:0:1ff::1").to_string(), "2001:db8:0:100::/56");
        assert_eq!(source("::1").to_string(), "::/56");
        assert_eq!(source("ffff:ffff:ffff:ff00::").to_string(), "ffff:ffff:ffff:ff00::/56");
        assert_ne!(source("::"), source("0.0.0.0"));
    }

    #[test]
    fn is_small() {
        assert_eq!(size_of::<Option<Source>>(), 8);
    }
}
