//! Names and directories: who has which name, address, right or time.

use super::bytes::{be16, be32, has, if_so, starts_with_any};
use super::{Encrypted, Look, Row, Transport, CERTAIN};

pub(super) const ROWS: &[Row] = &[
    Row::new("mDNS", "discovery", Encrypted::No, &[5353], mdns).udp().of("DNS"),
    Row::new("LLMNR", "discovery", Encrypted::No, &[5355], llmnr).udp().of("DNS"),
    Row::new("NetBIOS names", "discovery", Encrypted::No, &[137], netbios_names).udp(),
    Row::new("NetBIOS datagrams", "discovery", Encrypted::No, &[138], netbios_datagrams).udp(),
    Row::new("DNS", "dns", Encrypted::No, &[53], dns),
    Row::new("DNSCrypt", "dns", Encrypted::Yes, &[443, 5443], dnscrypt).udp(),
    Row::new("DHCP", "network control", Encrypted::No, &[67, 68], dhcp).udp(),
    Row::new("DHCPv6", "network control", Encrypted::No, &[546, 547], dhcpv6).udp(),
    Row::new("NTP", "time", Encrypted::No, &[123], ntp).udp(),
    Row::new("PTP", "time", Encrypted::No, &[319, 320], ptp).udp(),
    Row::new("LDAP", "directory", Encrypted::No, &[389, 3268], ldap),
    Row::new("Kerberos", "directory", Encrypted::No, &[88, 464], kerberos),
    Row::new("RADIUS", "directory", Encrypted::No, &[1812, 1813, 1645, 1646, 3799], radius).udp(),
    Row::new("Diameter", "directory", Encrypted::No, &[3868], diameter).tcp(),
    Row::new("TACACS+", "directory", Encrypted::Yes, &[49], tacacs).tcp(),
    Row::new("whois", "directory", Encrypted::No, &[43], whois).tcp(),
    Row::new("SLP", "discovery", Encrypted::No, &[427], slp),
];

/// RFC 1035 §4.1: a header whose counts make sense, and a name that is one. How many questions there are, and the name.
fn message<'a>(look: &Look<'a>) -> Option<(&'a [u8], u8)> {
    let bytes = match look.transport {
        Transport::Udp => look.bytes,
        // A length in front.
        Transport::Tcp => {
            let length = be16(look.bytes, 0)?;
            if length < 17 {
                return None;
            }
            look.bytes.get(2..)?
        }
    };
    let flags = be16(bytes, 2)?;
    let counts = [4, 6, 8, 10].map(|at| be16(bytes, at));
    let [Some(questions), Some(answers), Some(authorities), Some(additional)] = counts else { return None };
    let operation = flags >> 11 & 15;
    let is_answer = flags & 0x8000 != 0;
    let plausible = matches!(operation, 0..=2 | 4..=6) && flags & 0x40 == 0 && (flags & 15) <= 10;
    let counted = questions <= 32 && answers <= 200 && authorities <= 64 && additional <= 64;
    // Who asks asks something, unless he asks the other way round (RFC 1035 §6.4); an answer to mDNS may be nothing but answers.
    let some = questions > 0 || ((is_answer || operation == 1) && answers > 0);
    if !plausible || !counted || !some || (!is_answer && answers > 32) {
        return None;
    }
    let name = bytes.get(12..)?;
    let labels = walk(name)?;
    // A single label, or none, is a weaker sign; so are several questions.
    let strong = is_answer || additional <= 4;
    Some((
        name,
        if labels == Labels::Cut {
            80
        } else if strong {
            97
        } else {
            85
        },
    ))
}

#[derive(PartialEq, Eq)]
enum Labels {
    Whole,
    Cut,
}

/// Labels of at most 63 bytes, printable for the most part, an end or a reference, then a type and a class that there are.
fn walk(name: &[u8]) -> Option<Labels> {
    let mut at = 0;
    loop {
        match name.get(at) {
            None => return (at > 0).then_some(Labels::Cut),
            Some(0) => {
                at += 1;
                break;
            }
            Some(0xc0..) => {
                at += 2;
                break;
            }
            Some(length @ 1..=63) => {
                let end = at + 1 + usize::from(*length);
                let label = name.get(at + 1..end.min(name.len()))?;
                let odd = label.iter().filter(|byte| !(b' '..=b'~').contains(byte)).count();
                // Names in other scripts are written in UTF-8 by mDNS and LLMNR.
                if odd * 4 > label.len() && (end > name.len() || std::str::from_utf8(label).is_err()) {
                    return None;
                }
                at = end;
            }
            Some(_) => return None,
        }
        if at > 255 {
            return None;
        }
    }
    let Some(class) = be16(name, at + 2) else { return Some(Labels::Cut) };
    let kind = be16(name, at)?;
    let known = matches!(class & 0x7fff, 1..=4 | 254 | 255) && (1..=300).contains(&kind) || kind >= 0x7fff;
    known.then_some(Labels::Whole)
}

fn dns(look: &Look<'_>) -> u8 {
    message(look).map_or(0, |(_, sure)| sure)
}

fn mdns(look: &Look<'_>) -> u8 {
    let Some((name, sure)) = message(look) else { return 0 };
    let is_local = has(name, b"\x05local\0") || has(name, b"\x04_tcp") || has(name, b"\x04_udp");
    let is_its = be16(look.bytes, 0) == Some(0) && is_local;
    if_so(look.has_port(5353) || is_its, if sure < CERTAIN { sure } else { 98 })
}

fn llmnr(look: &Look<'_>) -> u8 {
    // RFC 4795 §2.1.1: DNS's form; the port is its only difference.
    match message(look) {
        Some((_, sure)) if look.has_port(5355) => sure,
        _ => 0,
    }
}

/// RFC 1002 §4.2: a name of 16 bytes, each written as two letters.
fn netbios_names(look: &Look<'_>) -> u8 {
    let coded = look.bytes.get(12..45).is_some_and(|name| {
        name.first() == Some(&0x20) && name.iter().skip(1).all(|byte| (b'A'..=b'P').contains(byte))
    });
    let kind = matches!(be16(look.bytes, 46), Some(0x20 | 0x21));
    if_so(coded && kind, 99)
}

fn netbios_datagrams(look: &Look<'_>) -> u8 {
    match *look.bytes {
        [0x10..=0x16, 0..=0x0f, ..] => if_so(
            look.bytes.get(14) == Some(&0x20)
                && look.bytes.get(15..47).is_some_and(|name| name.iter().all(|byte| (b'A'..=b'P').contains(byte))),
            98,
        ),
        _ => 0,
    }
}

/// The resolver's answer begins with its mark; a client's sealed question with one that only its resolver knows.
fn dnscrypt(look: &Look<'_>) -> u8 {
    if_so(look.bytes.starts_with(b"r6fnvWj8"), 98)
}

/// RFC 2131: Ethernet's kind and length of address; the cookie stands at 236.
fn dhcp(look: &Look<'_>) -> u8 {
    match *look.bytes {
        [1 | 2, 1 | 6, 6, 0..=16, ..] => if_so(look.length >= 240, if look.has_port(67) { 97 } else { 80 }),
        _ => 0,
    }
}

/// RFC 8415 §8: a type, a number in three bytes, options that end with the datagram.
fn dhcpv6(look: &Look<'_>) -> u8 {
    match *look.bytes {
        [1..=11, _, _, _, 0, 1..=30, high, ..] => {
            if_so(high < 2, if look.has_port(546) || look.has_port(547) { 96 } else { 30 })
        }
        [12 | 13, _, 0xfe, 0x80, ..] => 60,
        _ => 0,
    }
}

/// RFC 5905 §7.3: version, mode, stratum, interval, precision.
fn ntp(look: &Look<'_>) -> u8 {
    let (Some(first), Some(stratum), Some(interval)) = (look.bytes.first(), look.bytes.get(1), look.bytes.get(2))
    else {
        return 0;
    };
    let (version, mode) = (first >> 3 & 7, first & 7);
    if !(1..=4).contains(&version) {
        return 0;
    }
    match mode {
        1..=5 => {
            let length = matches!(look.length, 48 | 52 | 56 | 60 | 68 | 72);
            let delays = [4, 8].iter().all(|at| be32(look.bytes, *at).is_some_and(|delay| delay < 0x0020_0000));
            if_so(length && *stratum <= 16 && (*interval <= 17 || *interval >= 0xf6) && delays, 95)
        }
        // Control and Microsoft's or the monitor's own.
        6 => {
            if_so(look.length >= 12 && be16(look.bytes, 10).is_some_and(|count| usize::from(count) <= look.length), 55)
        }
        7 => if_so(look.length >= 8, 50),
        _ => 0,
    }
}

fn ptp(look: &Look<'_>) -> u8 {
    match *look.bytes {
        [kind, 2 | 0x12, ..] if kind & 15 <= 13 => {
            if_so(be16(look.bytes, 2).is_some_and(|length| usize::from(length) == look.length && length >= 44), 80)
        }
        _ => 0,
    }
}

/// The rest of a value in BER, behind its length.
fn ber(bytes: &[u8]) -> Option<&[u8]> {
    match bytes.first()? {
        length @ 0..=0x7f => (*length > 0).then_some(bytes.get(1..)?),
        0x81 => bytes.get(2..),
        0x82 => bytes.get(3..),
        0x83 => bytes.get(4..),
        0x84 => bytes.get(5..),
        _ => None,
    }
}

/// RFC 4511 §4.1.1: a sequence, a number, an operation.
fn ldap(look: &Look<'_>) -> u8 {
    let Some(inner) = look.bytes.strip_prefix(&[0x30]).and_then(ber) else { return 0 };
    let operation = match *inner {
        [2, 1, 0..=0x7f, ref rest @ ..]
        | [2, 2, _, _, ref rest @ ..]
        | [2, 3, _, _, _, ref rest @ ..]
        | [2, 4, _, _, _, _, ref rest @ ..] => rest,
        _ => return 0,
    };
    let body = operation.get(1..).and_then(ber).unwrap_or_default();
    match operation.first() {
        // Bind: version 2 or 3. Search: a name. Extended: an identifier. Their answers: a result.
        Some(0x60) => if_so(matches!(*body, [2, 1, 2 | 3, 4, ..]), 98),
        Some(0x63) => if_so(matches!(*body, [4, ..]), 96),
        Some(0x77) => if_so(matches!(*body, [0x80, ..]), 96),
        Some(0x61 | 0x65 | 0x78) => if_so(matches!(*body, [10, 1, ..]), 96),
        Some(0x64) => if_so(matches!(*body, [4, ..]), 96),
        Some(0x42 | 0x50) => 60,
        _ => 0,
    }
}

/// RFC 4120 §5.10: an application's tag, and version 5; over TCP with its length in front.
fn kerberos(look: &Look<'_>) -> u8 {
    let bytes = match look.bytes {
        [0, 0, _, _, rest @ ..] if !look.is_udp() => rest,
        _ if !look.is_udp() => return 0,
        bytes => bytes,
    };
    // Changing passwords has a header of its own before it.
    if let [_, _, 0 | 0xff, 0 | 1 | 0x80, _, _, 0x6e | 0x6f, ..] = *bytes {
        return 85;
    }
    match bytes.first() {
        Some(0x6a..=0x6f | 0x7e) => {}
        _ => return 0,
    }
    let Some(inner) = bytes.get(1..).and_then(ber).and_then(|rest| rest.strip_prefix(&[0x30])).and_then(ber) else {
        return 0;
    };
    if_so(starts_with_any(inner, &[&[0xa0, 3, 2, 1, 5], &[0xa1, 3, 2, 1, 5]]), 99)
}

/// RFC 2865 §3: a code, a number, the datagram's length, 16 bytes, attributes.
fn radius(look: &Look<'_>) -> u8 {
    let fits = be16(look.bytes, 2).is_some_and(|length| usize::from(length) == look.length) && look.length >= 20;
    let known = matches!(look.bytes.first(), Some(1..=5 | 11..=13 | 40..=45));
    // Each attribute says its length.
    let attributes = match look.bytes.get(20..) {
        Some([_, length, ..]) => *length >= 2,
        _ => true,
    };
    if_so(fits && known && attributes, 90)
}

/// RFC 6733 §3: version 1, length, flags, command.
fn diameter(look: &Look<'_>) -> u8 {
    match *look.bytes {
        [1, 0, _, low, flags, 0, 1, 1..=0x40, ..] => if_so(low % 4 == 0 && flags & 15 == 0, 95),
        [1, 0, _, low, flags, 0, _, _, 0..=1, ..] => {
            if_so(low % 4 == 0 && flags & 15 == 0 && look.bytes.len() >= 20, 60)
        }
        _ => 0,
    }
}

fn tacacs(look: &Look<'_>) -> u8 {
    match *look.bytes {
        [0xc0 | 0xc1, 1..=3, 1 | 2, 0 | 1 | 4 | 5, _, _, _, _, 0, 0, _, _, ..] => 92,
        _ => 0,
    }
}

fn whois(look: &Look<'_>) -> u8 {
    let bytes = look.bytes;
    if starts_with_any(
        bytes,
        &[
            b"% IANA WHOIS",
            b"% This is the RIPE",
            b"   Domain Name: ",
            b"Domain Name: ",
            b"% Whois",
            b"%% ",
            b"No match for",
        ],
    ) {
        return 90;
    }
    // One line and nothing else; a usual port must agree.
    let Some(question) = super::bytes::line(bytes) else { return 0 };
    if_so(look.has_port(43) && super::bytes::is_text(question) && question.len() + 2 >= bytes.len(), 45)
}

fn slp(look: &Look<'_>) -> u8 {
    match *look.bytes {
        [2, 1..=11, 0, high, low, _, 0, 0, 0, 0, _, _, 0, 2, ..] => {
            if_so(!look.is_udp() || usize::from(u16::from_be_bytes([high, low])) == look.length, 95)
        }
        _ => 0,
    }
}
