//! What a row is called: the schemes of addresses, the states, and from where a socket can be reached.

use super::row::Row;

/// The scheme of its endpoints; None for a socket that no address opens.
pub fn scheme(row: &Row) -> Option<&'static str> {
    scheme_of(row.family, row.kind, row.protocol)
}

pub fn scheme_of(family: u16, kind: u16, protocol: u16) -> Option<&'static str> {
    Some(match (family, kind, protocol) {
        (AF_UNIX, SOCK_STREAM, _) => "unix",
        (AF_UNIX, SOCK_DGRAM, _) => "dgram+unix",
        (AF_UNIX, SOCK_SEQPACKET, _) => "seqpacket+unix",
        (AF_INET | AF_INET6, _, IPPROTO_SCTP) => "sctp",
        (AF_INET | AF_INET6, SOCK_STREAM, _) => "tcp",
        (AF_INET | AF_INET6, SOCK_DGRAM, IPPROTO_ICMP | IPPROTO_ICMPV6) => "icmp",
        (AF_INET | AF_INET6, SOCK_DGRAM, _) => "udp",
        (AF_INET | AF_INET6, SOCK_RAW, _) => "raw+ip",
        (AF_PACKET, _, _) => "raw+ethernet",
        (AF_VSOCK, SOCK_SEQPACKET, _) => "seqpacket+vsock",
        (AF_VSOCK, _, _) => "vsock",
        (AF_BLUETOOTH, _, BTPROTO_RFCOMM) => "bt-rfcomm",
        (AF_BLUETOOTH, _, BTPROTO_L2CAP) => "bt-l2cap",
        _ => return None,
    })
}

pub fn state(row: &Row) -> &'static str {
    let connected = match row.family {
        AF_INET | AF_INET6 if row.kind == SOCK_STREAM || row.protocol == IPPROTO_SCTP => "established",
        _ => "connected",
    };
    let tcp = connected == "established";
    match row.state {
        1 => connected,
        2 => "syn-sent",
        3 | 12 => "syn-received",
        4 => "fin-wait-1",
        5 => "fin-wait-2",
        6 => "time-wait",
        8 => "close-wait",
        9 => "last-ack",
        LISTENING => "listening",
        11 => "closing",
        _ if tcp => "closed",
        _ => "unconnected",
    }
}

pub fn listening(row: &Row) -> bool {
    row.state == LISTENING
}

/// From where its address can be reached: "loopback", "machine" (what is no network), "network", "everywhere".
pub fn exposure(row: &Row) -> &'static str {
    let address = row.local.as_bytes();
    match row.family {
        AF_INET => ip(address.get(4..8).unwrap_or(&[0; 4]), row.interface),
        AF_INET6 => ip(address.get(8..24).unwrap_or(&[0; 16]), row.interface),
        AF_PACKET => match row.interface {
            0 => "everywhere",
            LOOPBACK => "loopback",
            _ => "network",
        },
        AF_VSOCK => match address.get(8..12) {
            Some([1, 0, 0, 0]) => "loopback",
            Some([0xff, 0xff, 0xff, 0xff]) => "everywhere",
            Some(_) => "network",
            None => "machine",
        },
        AF_BLUETOOTH if !address.is_empty() => "network",
        _ => "machine",
    }
}

fn ip(address: &[u8], interface: u32) -> &'static str {
    let address = address.strip_prefix(MAPPED).unwrap_or(address);
    let loopback = match address {
        [127, _, _, _] => true,
        [zeros @ .., 1] => address.len() == 16 && zeros.iter().all(|&byte| byte == 0),
        _ => false,
    };
    match (loopback || interface == LOOPBACK, address.iter().all(|&byte| byte == 0), interface) {
        (true, ..) => "loopback",
        (false, true, 0) => "everywhere",
        _ => "network",
    }
}

const MAPPED: &[u8] = &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff];
/// The loopback interface is the first one of every network namespace.
const LOOPBACK: u32 = 1;
const LISTENING: u8 = 10;

const AF_UNIX: u16 = 1;
const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;
const AF_PACKET: u16 = 17;
const AF_BLUETOOTH: u16 = 31;
const AF_VSOCK: u16 = 40;
const SOCK_STREAM: u16 = 1;
const SOCK_DGRAM: u16 = 2;
const SOCK_RAW: u16 = 3;
const SOCK_SEQPACKET: u16 = 5;
const IPPROTO_ICMP: u16 = 1;
const IPPROTO_ICMPV6: u16 = 58;
const IPPROTO_SCTP: u16 = 132;
const BTPROTO_L2CAP: u16 = 0;
const BTPROTO_RFCOMM: u16 = 3;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::row::Address;

    fn bound(family: u16, address: &[u8], interface: u32) -> Row {
        let raw = match family {
            AF_INET => [&[2, 0, 0, 80], address, &[0; 8]].concat(),
            AF_INET6 => [&[10, 0, 0, 80, 0, 0, 0, 0], address, &[0; 4]].concat(),
            _ => address.to_vec(),
        };
        Row { family, kind: SOCK_STREAM, protocol: 6, local: Address::from_bytes(&raw), interface, ..Row::default() }
    }

    #[test]
    fn exposure_is_told_by_the_address() {
        let mapped = |last: [u8; 4]| [MAPPED, &last].concat();
        for (family, address, interface, told) in [
            (AF_INET, vec![127, 1, 2, 3], 0, "loopback"),
            (AF_INET, vec![0; 4], 0, "everywhere"),
            (AF_INET, vec![0; 4], LOOPBACK, "loopback"),
            (AF_INET, vec![0; 4], 7, "network"),
            (AF_INET, vec![192, 0, 2, 1], 0, "network"),
            (AF_INET6, vec![0; 16], 0, "everywhere"),
            (AF_INET6, std::net::Ipv6Addr::LOCALHOST.octets().to_vec(), 0, "loopback"),
            (AF_INET6, mapped([127, 0, 0, 1]), 0, "loopback"),
            (AF_INET6, mapped([0; 4]), 0, "everywhere"),
            (AF_INET6, mapped([0, 0, 0, 1]), 0, "network"),
            (AF_UNIX, b"\x01\0/run/a".to_vec(), 0, "machine"),
            (AF_PACKET, vec![17, 0], 0, "everywhere"),
            (AF_PACKET, vec![17, 0], LOOPBACK, "loopback"),
        ] {
            assert_eq!(exposure(&bound(family, &address, interface)), told, "{family} {address:?} {interface}");
        }
    }

    #[test]
    fn states_are_told_by_type() {
        let tcp = |state| Row { family: AF_INET, kind: SOCK_STREAM, protocol: 6, state, ..Row::default() };
        let unix = |state| Row { family: AF_UNIX, kind: SOCK_STREAM, state, ..Row::default() };
        assert_eq!(
            [1, 3, 6, 7, 10, 12, 13].map(|number| state(&tcp(number))),
            ["established", "syn-received", "time-wait", "closed", "listening", "syn-received", "closed"]
        );
        assert_eq!([1, 7, 10].map(|number| state(&unix(number))), ["connected", "unconnected", "listening"]);
    }

    #[test]
    fn what_no_address_opens_has_no_scheme() {
        assert_eq!(scheme(&Row { family: 16, kind: SOCK_RAW, ..Row::default() }), None);
        assert_eq!(scheme(&Row { family: AF_BLUETOOTH, kind: SOCK_RAW, protocol: 1, ..Row::default() }), None);
        assert_eq!(scheme(&Row { family: AF_INET6, kind: SOCK_DGRAM, protocol: 58, ..Row::default() }), Some("icmp"));
    }
}
