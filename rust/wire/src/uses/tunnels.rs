//! Networks inside of networks, and proxies that carry anything.

use super::bytes::{be16, be32, has, if_so, is_text, line, starts_with_any};
use super::{Encrypted, Look, Row};

pub(super) const ROWS: &[Row] = &[
    Row::new("WireGuard", "vpn", Encrypted::Yes, &[51_820], wireguard).udp(),
    Row::new("OpenVPN", "vpn", Encrypted::Yes, &[1194], openvpn),
    Row::new("IKE", "vpn", Encrypted::Yes, &[500, 4500], ike).udp(),
    Row::new("ESP in UDP", "vpn", Encrypted::Yes, &[4500], esp).udp(),
    Row::new("L2TP", "vpn", Encrypted::No, &[1701], l2tp).udp(),
    Row::new("PPTP", "vpn", Encrypted::No, &[1723], pptp).tcp(),
    Row::new("tinc", "vpn", Encrypted::Yes, &[655], tinc).tcp(),
    Row::new("Teredo", "vpn", Encrypted::No, &[3544], teredo).udp(),
    Row::new("GTP", "mobile network", Encrypted::No, &[2152, 2123, 3386], gtp).udp(),
    Row::new("CAPWAP", "network control", Encrypted::No, &[5246, 5247], capwap).udp(),
    Row::new("VXLAN", "vpn", Encrypted::No, &[4789], vxlan).udp(),
    Row::new("SOCKS5", "proxy", Encrypted::No, &[1080, 9050], socks5).tcp().of("SOCKS"),
    Row::new("SOCKS4", "proxy", Encrypted::No, &[1080], socks4).tcp().of("SOCKS"),
    Row::new("QUIC", "web", Encrypted::Yes, &[443], super::quic::look).udp(),
];

/// Four messages, each of a known length; keep-alives and data in steps of 16.
fn wireguard(look: &Look<'_>) -> u8 {
    match *look.bytes {
        [1, 0, 0, 0, ..] => if_so(look.length == 148, 97),
        [2, 0, 0, 0, ..] => if_so(look.length == 92, 97),
        [3, 0, 0, 0, ..] => if_so(look.length == 64, 90),
        [4, 0, 0, 0, ..] => {
            // Its counter has eight bytes and begins at 0.
            let counts = be32(look.bytes, 12).is_some_and(|high| high & 0x00ff_ffff == 0);
            if_so(look.length >= 32 && look.length.is_multiple_of(16) && counts, 80)
        }
        _ => 0,
    }
}

/// A reset opens; with `tls-auth` a code of 20 or 32 bytes, a number and a time stand before what is acknowledged.
fn openvpn(look: &Look<'_>) -> u8 {
    let (bytes, length) = if look.is_udp() {
        (look.bytes, look.length)
    } else {
        let Some(length) = be16(look.bytes, 0) else { return 0 };
        (look.bytes.get(2..).unwrap_or_default(), usize::from(length))
    };
    match *bytes {
        // A server's or a client's reset, key 0, a session, nothing acknowledged, packet 0.
        [0x38 | 0x50, _, _, _, _, _, _, _, _, 0, 0, 0, 0, 0, ..] => if_so(length == 14, 97),
        [0x40, _, _, _, _, _, _, _, _, 0, 0, 0, 0, 0, ..] => if_so(length == 14, 97),
        [0x40, _, _, _, _, _, _, _, _, 1, 0, 0, 0, 0, ..] => if_so(length == 26, 97),
        [0x38 | 0x40 | 0x50, ..] => {
            let session = bytes.get(1..9).is_some_and(|session| session.iter().any(|byte| *byte != 0));
            // Behind the code: packet 1 of this key, and a time.
            let counted = [29, 41, 73].iter().any(|at| be32(bytes, *at) == Some(1));
            if_so(session && counted && (42..=118).contains(&length), 93)
        }
        // Version 2 of the key exchange with `tls-crypt`, acknowledgements, data.
        [0x28 | 0x20, ..] => if_so((20..=60).contains(&length), 40),
        _ => 0,
    }
}

/// RFC 7296 §3.1; behind four zeros on port 4500 (RFC 3948 §2.2).
fn ike(look: &Look<'_>) -> u8 {
    let (bytes, length) = match look.bytes {
        [0, 0, 0, 0, rest @ ..] => (rest, look.length.saturating_sub(4)),
        bytes => (bytes, look.length),
    };
    let fits = be32(bytes, 24).is_some_and(|whole| whole as usize == length);
    let starts = bytes.get(..8).is_some_and(|initiator| initiator.iter().any(|byte| *byte != 0));
    match (bytes.get(17), bytes.get(18)) {
        (Some(0x10), Some(1 | 2 | 4 | 5 | 6 | 32..=34)) | (Some(0x20), Some(34..=43)) => if_so(fits && starts, 99),
        _ => 0,
    }
}

/// An index, then a counter that is at its start; a keep-alive is one byte.
fn esp(look: &Look<'_>) -> u8 {
    let index = be32(look.bytes, 0).is_some_and(|index| index > 255);
    let counter = be32(look.bytes, 4).is_some_and(|counter| (1..1_000_000).contains(&counter));
    let counts_on = be32(look.bytes, 4)
        .zip(look.following.first().and_then(|(head, _)| be32(head, 4)))
        .is_some_and(|(one, next)| next == one.wrapping_add(1))
        && look.following.first().is_some_and(|(head, _)| be32(head, 0) == be32(look.bytes, 0));
    if look.length < 24 || !look.length.is_multiple_of(4) || !index {
        return 0;
    }
    if_so(
        counter,
        if counts_on {
            80
        } else if look.has_port(4500) {
            40
        } else {
            0
        },
    )
}

/// RFC 2661 §3.1: control bits, version 2, the datagram's length.
fn l2tp(look: &Look<'_>) -> u8 {
    let fits = be16(look.bytes, 2).is_some_and(|length| usize::from(length) == look.length);
    match *look.bytes {
        [0xc8, 2, ..] => if_so(fits, 98),
        [0x40 | 0x42 | 0x48, 2, ..] => if_so(fits, 75),
        _ => 0,
    }
}

fn pptp(look: &Look<'_>) -> u8 {
    if_so(be16(look.bytes, 2) == Some(1) && be32(look.bytes, 4) == Some(0x1a2b_3c4d), 99)
}

/// `0 name 17` with a key behind: its ID request.
fn tinc(look: &Look<'_>) -> u8 {
    let Some(line) = line(look.bytes) else { return 0 };
    let mut words = line.split(|byte| *byte == b' ');
    let opens = words.next() == Some(b"0") && words.next().is_some_and(|name| !name.is_empty() && is_text(name));
    if_so(opens && words.next().is_some_and(|version| version.starts_with(b"17")), 95)
}

/// IPv6 in UDP, from or to 2001::/32 or a link's address; with an authentication or an origin in front.
fn teredo(look: &Look<'_>) -> u8 {
    let mut bytes = look.bytes;
    let mut length = look.length;
    if let [0, 1, 0, 0, rest @ ..] = bytes {
        (bytes, length) = (rest.get(9..).unwrap_or_default(), length.saturating_sub(13));
    }
    if let [0, 0, rest @ ..] = bytes {
        (bytes, length) = (rest.get(6..).unwrap_or_default(), length.saturating_sub(8));
    }
    let fits = bytes.first().is_some_and(|first| first >> 4 == 6)
        && be16(bytes, 4).is_some_and(|payload| usize::from(payload) + 40 == length);
    let is_teredo = |at: usize| be32(bytes, at) == Some(0x2001_0000) || be16(bytes, at) == Some(0xfe80);
    if_so(fits && (is_teredo(8) || is_teredo(24)), 96)
}

/// Version 1 with its flags, a message, a length that fits; version 2 of control.
fn gtp(look: &Look<'_>) -> u8 {
    let fits = be16(look.bytes, 2).is_some_and(|length| usize::from(length) + 8 == look.length);
    match *look.bytes {
        [0x30..=0x37, 255 | 1 | 2 | 16..=21 | 26 | 254, ..] => if_so(fits, 85),
        [0x40 | 0x48 | 0x58, 1..=3 | 32..=39 | 64..=73, ..] => {
            if_so(be16(look.bytes, 2).is_some_and(|length| usize::from(length) + 4 == look.length), 85)
        }
        _ => 0,
    }
}

fn capwap(look: &Look<'_>) -> u8 {
    let sealed = look.bytes.starts_with(&[1, 0, 0, 0]) && matches!(look.bytes.get(4..6), Some([20..=23, 0xfe]));
    match *look.bytes {
        _ if sealed => 95,
        // Header of two words, binding 802.11.
        [0, 0x08 | 0x10 | 0x18 | 0x20, 0x02..=0x07 | 0x42 | 0x43, _, ..] => 60,
        _ => 0,
    }
}

fn vxlan(look: &Look<'_>) -> u8 {
    match *look.bytes {
        [8, 0, 0, 0, _, _, _, 0, ..] => if_so(look.length >= 22, 55),
        _ => 0,
    }
}

/// RFC 1928: methods offered, of which there are few; then one is chosen. What follows the short greeting is a request.
fn socks5(look: &Look<'_>) -> u8 {
    match *look.bytes {
        [5, 1, 0 | 2, 5, 1..=3, 0, 1 | 3 | 4, ..] => 98,
        [5, 2, 0, 1 | 2, 5, 1..=3, 0, 1 | 3 | 4, ..] | [5, 3, 0, 1, 2, 5, 1..=3, 0, 1 | 3 | 4, ..] => 98,
        [5, 0, 5, 0..=8, 0, 1 | 3 | 4, ..] => 97,
        [5, 1..=9, ref methods @ ..]
            if methods.len() == usize::from(look.bytes.get(1).copied().unwrap_or_default()) =>
        {
            if_so(methods.iter().all(|method| *method <= 9 || *method >= 0x80), 70)
        }
        [5, 0 | 2 | 0xff] => 60,
        [5, 2, 1, 0 | 1, ..] => 55,
        [5, 1..=3, ref rest @ ..] if rest.first().is_some_and(|method| *method <= 2) => 45,
        _ => 0,
    }
}

fn socks4(look: &Look<'_>) -> u8 {
    match *look.bytes {
        [4, 1 | 2, _, _, _, _, _, _, ref user @ ..] => {
            let ends = user.iter().position(|byte| *byte == 0);
            let named = ends.is_some_and(|end| user.get(..end).is_some_and(|name| name.is_empty() || is_text(name)));
            if_so(named, 85)
        }
        [0, 0x5a..=0x5d, _, _, _, _, _, _] => 75,
        _ => if_so(starts_with_any(look.bytes, &[b"\0\x5a\0\0\0\0\0\0"]) && has(look.bytes, b"\0\x5a"), 75),
    }
}
