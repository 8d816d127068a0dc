//! What networks, machines and plants are watched and steered by; and money.

use super::bytes::{be16, be32, has, has_word, if_so, is_text, le16, le32, line, starts_with_any};
use super::{random, Encrypted, Look, Row};

pub(super) const ROWS: &[Row] = &[
    Row::new("SNMP", "monitoring", Encrypted::No, &[161, 162], snmp).udp(),
    Row::new("syslog", "monitoring", Encrypted::No, &[514, 6514], syslog),
    Row::new("statsd", "monitoring", Encrypted::No, &[8125], statsd).udp(),
    Row::new("Graphite", "monitoring", Encrypted::No, &[2003], graphite).tcp(),
    Row::new("Zabbix", "monitoring", Encrypted::No, &[10_050, 10_051], zabbix).tcp(),
    Row::new("Checkmk", "monitoring", Encrypted::No, &[6556], checkmk).tcp(),
    Row::new("NetFlow", "monitoring", Encrypted::No, &[2055, 9995, 9996, 2056], netflow).udp(),
    Row::new("IPFIX", "monitoring", Encrypted::No, &[4739], ipfix).udp(),
    Row::new("sFlow", "monitoring", Encrypted::No, &[6343], sflow).udp(),
    Row::new("Nest log", "monitoring", Encrypted::Unknown, &[11_095], nest_log).tcp(),
    Row::new("BGP", "network control", Encrypted::No, &[179], bgp).tcp(),
    Row::new("LDP", "network control", Encrypted::No, &[646], ldp),
    Row::new("RIP", "network control", Encrypted::No, &[520], rip).udp(),
    Row::new("BFD", "network control", Encrypted::No, &[3784, 3785], bfd).udp(),
    Row::new("UBNT discovery", "discovery", Encrypted::No, &[10_001], ubnt).udp(),
    Row::new("CoAP", "automation", Encrypted::No, &[5683], coap).udp(),
    Row::new("Modbus", "automation", Encrypted::No, &[502], modbus).tcp(),
    Row::new("DNP3", "automation", Encrypted::No, &[20_000], dnp3),
    Row::new("IEC 104", "automation", Encrypted::No, &[2404], iec104).tcp(),
    Row::new("S7", "automation", Encrypted::No, &[102], s7).tcp(),
    Row::new("EtherNet/IP", "automation", Encrypted::No, &[44_818, 2222], ethernet_ip),
    Row::new("BACnet", "automation", Encrypted::No, &[47_808], bacnet).udp(),
    Row::new("KNX", "automation", Encrypted::No, &[3671], knx),
    Row::new("OPC UA", "automation", Encrypted::No, &[4840], opc_ua).tcp(),
    Row::new("DCE/RPC", "remote procedure", Encrypted::No, &[135], dce_rpc),
    Row::new("Java RMI", "remote procedure", Encrypted::No, &[1099], rmi).tcp(),
    Row::new("CORBA", "remote procedure", Encrypted::No, &[], corba).tcp(),
    Row::new("LPD", "printing", Encrypted::No, &[515], lpd).tcp(),
    Row::new("PJL", "printing", Encrypted::No, &[9100], pjl).tcp(),
    Row::new("FIX", "finance", Encrypted::No, &[], fix).tcp(),
    Row::new("mining", "mining", Encrypted::No, &[3333, 4444, 8333, 9999, 14_444], mining),
    Row::new("Bitcoin", "mining", Encrypted::No, &[8333], bitcoin).tcp(),
    Row::new("Ethereum discovery", "mining", Encrypted::No, &[30_303], ethereum).udp(),
    Row::new("Ethereum", "mining", Encrypted::Yes, &[30_303], rlpx).tcp(),
    Row::new("Apple push", "messaging", Encrypted::Yes, &[5223], apple_push).tcp(),
    Row::new("Check Point HA", "network control", Encrypted::No, &[8116], cpha).udp(),
    Row::new("speed test", "monitoring", Encrypted::No, &[8080, 5060], ookla).tcp(),
];

/// A sequence, a version, then a community's name or the header of version 3.
fn snmp(look: &Look<'_>) -> u8 {
    let inner = match *look.bytes {
        [0x30, 0x81, _, ref rest @ ..] | [0x30, 0x82, _, _, ref rest @ ..] | [0x30, 0..=0x7f, ref rest @ ..] => rest,
        _ => return 0,
    };
    match *inner {
        [2, 1, 0 | 1, 4, length, ref rest @ ..] => match rest.get(usize::from(length)) {
            Some(0xa0..=0xa8) => 98,
            Some(_) => 0,
            None => 70,
        },
        [2, 1, 3, 0x30, ..] => 97,
        _ => 0,
    }
}

/// RFC 5424, 3164: a priority below 192 in angles; over TCP a length may stand before it.
fn syslog(look: &Look<'_>) -> u8 {
    let digits = look.bytes.iter().take(5).take_while(|byte| byte.is_ascii_digit()).count();
    let bytes = match look.bytes.get(digits..) {
        Some([b' ', rest @ ..]) if digits > 0 && !look.is_udp() => rest,
        _ => look.bytes,
    };
    let Some(rest) = bytes.strip_prefix(b"<") else { return 0 };
    let digits = rest.iter().take(4).take_while(|byte| byte.is_ascii_digit()).count();
    let priority = rest.iter().take(digits).fold(0_u32, |number, digit| number * 10 + u32::from(digit - b'0'));
    let Some(text) = rest.get(digits..).and_then(|rest| rest.strip_prefix(b">")) else { return 0 };
    if !(1..=3).contains(&digits) || priority > 191 {
        return 0;
    }
    let dated = text.starts_with(b"1 ") || MONTHS.iter().any(|month| text.starts_with(month));
    if dated {
        96
    } else {
        82
    }
}

/// `name:value|kind`
fn statsd(look: &Look<'_>) -> u8 {
    let first = line(look.bytes).unwrap_or(look.bytes);
    let Some(colon) = first.iter().position(|byte| *byte == b':') else { return 0 };
    let (name, value) = first.split_at(colon);
    let Some(bar) = value.iter().position(|byte| *byte == b'|') else { return 0 };
    let number = value.get(1..bar).unwrap_or_default();
    let kind = value.get(bar + 1..).unwrap_or_default();
    let named = !name.is_empty() && name.iter().all(|byte| byte.is_ascii_graphic());
    let counted = !number.is_empty() && number.iter().all(|byte| byte.is_ascii_digit() || b"+-.e".contains(byte));
    if_so(named && counted && starts_with_any(kind, &[b"c", b"g", b"ms", b"h", b"s", b"d"]), 92)
}

/// `path value time`
fn graphite(look: &Look<'_>) -> u8 {
    let Some(first) = line(look.bytes) else { return 0 };
    let words: Vec<_> = first.split(|byte| *byte == b' ').collect();
    let is_number =
        |word: &[u8]| !word.is_empty() && word.iter().all(|byte| byte.is_ascii_digit() || b"+-.e".contains(byte));
    match *words.as_slice() {
        [path, value, time] => {
            if_so(path.contains(&b'.') && is_number(value) && is_number(time) && time.len() >= 9, 92)
        }
        _ => 0,
    }
}

fn zabbix(look: &Look<'_>) -> u8 {
    if_so(matches!(*look.bytes, [b'Z', b'B', b'X', b'D', 1..=7, ..]), 99)
}

fn checkmk(look: &Look<'_>) -> u8 {
    if_so(look.bytes.starts_with(b"<<<check_mk>>>"), 99)
}

/// Version 1, 5, 7 and 9: how many records there are, the time the machine is up, a date.
fn netflow(look: &Look<'_>) -> u8 {
    let count = be16(look.bytes, 2).is_some_and(|count| (1..=64).contains(&count));
    let dated = be32(look.bytes, 8).is_some_and(|date| (0x3000_0000..0xf000_0000).contains(&date));
    let length =
        |record: usize| be16(look.bytes, 2).is_some_and(|count| 24 + usize::from(count) * record == look.length);
    match be16(look.bytes, 0) {
        Some(5) => if_so(count && dated && length(48), 97),
        Some(7) => if_so(count && dated && length(52), 97),
        Some(1) => if_so(count && dated && look.length >= 68, 80),
        Some(9) => if_so(count && dated && look.length >= 24, 93),
        _ => 0,
    }
}

fn ipfix(look: &Look<'_>) -> u8 {
    let fits = be16(look.bytes, 2).is_some_and(|length| usize::from(length) == look.length);
    if_so(be16(look.bytes, 0) == Some(10) && fits && look.length >= 20, 95)
}

fn sflow(look: &Look<'_>) -> u8 {
    if_so(be32(look.bytes, 0) == Some(5) && matches!(be32(look.bytes, 4), Some(1 | 2)) && look.length >= 28, 93)
}

/// Weave's log upload.
fn nest_log(look: &Look<'_>) -> u8 {
    match *look.bytes {
        [_, 2, 0, 0x13, ..] => 55,
        _ => 0,
    }
}

/// RFC 4271 §4.1: sixteen times 0xff, a length, one of five types.
fn bgp(look: &Look<'_>) -> u8 {
    let marked = look.bytes.starts_with(&[0xff; 16]);
    let length = be16(look.bytes, 16).is_some_and(|length| (19..=4_096).contains(&length));
    if_so(marked && length && matches!(look.bytes.get(18), Some(1..=5)), 99)
}

fn ldp(look: &Look<'_>) -> u8 {
    match *look.bytes {
        [0, 1, high, _, _, _, _, _, 0, 0, 1..=4, _, ..] => if_so(high < 0x10, 80),
        _ => 0,
    }
}

fn rip(look: &Look<'_>) -> u8 {
    match *look.bytes {
        [1 | 2, 1 | 2, 0, 0, 0 | 0xff, 0 | 2 | 0xff, ..] => if_so(look.length >= 24 && look.length % 20 == 4, 80),
        _ => 0,
    }
}

fn bfd(look: &Look<'_>) -> u8 {
    match *look.bytes {
        [0x20..=0x3f, _, 1..=50, 24, ..] => if_so(look.length == 24, 90),
        _ => 0,
    }
}

fn ubnt(look: &Look<'_>) -> u8 {
    match *look.bytes {
        [1, 0, 0, 0] => 60,
        [1, 0, _, _, ..] | [2, 6 | 9, _, _, ..]
            if be16(look.bytes, 2).is_some_and(|length| usize::from(length) + 4 == look.length) =>
        {
            92
        }
        _ => 0,
    }
}

/// RFC 7252 §3: version 1, a token of at most eight bytes, a code that there is.
fn coap(look: &Look<'_>) -> u8 {
    let (Some(first), Some(code)) = (look.bytes.first(), look.bytes.get(1)) else { return 0 };
    let token = usize::from(first & 15);
    let known = matches!(code, 0..=7 | 0x41..=0x45 | 0x5f | 0x80..=0x8f | 0xa0..=0xa5);
    // The options behind the token begin with a small step, or the payload does.
    let behind = look.bytes.get(4 + token).is_none_or(|option| *option == 0xff || option >> 4 <= 12);
    if first >> 6 != 1 || token > 8 || !known || look.length < 4 + token || !behind {
        return 0;
    }
    // A path that is asked for.
    let asks =
        matches!(code, 1..=4) && matches!(look.bytes.get(4 + token), Some(0xb1..=0xbd | 0x31..=0x3d | 0x60..=0x62));
    if asks {
        85
    } else {
        55
    }
}

/// A number, protocol 0, a length, a unit, a function that there is.
fn modbus(look: &Look<'_>) -> u8 {
    match *look.bytes {
        [_, _, 0, 0, 0, length @ 3..=254, _, 1..=8 | 11 | 12 | 15..=17 | 20..=24 | 43 | 90 | 0x81..=0x98, ..] => {
            if_so(look.bytes.len() >= 6 + usize::from(length).min(60), 80)
        }
        _ => 0,
    }
}

fn dnp3(look: &Look<'_>) -> u8 {
    if_so(matches!(*look.bytes, [5, 0x64, 5..=255, _, _, _, _, _, _, _, ..]), 97)
}

fn iec104(look: &Look<'_>) -> u8 {
    match *look.bytes {
        // An unnumbered frame opens: start or test, asked or done.
        [0x68, 4, 7 | 0x0b | 0x13 | 0x23 | 0x43 | 0x83, 0, 0, 0, ..] => 97,
        [0x68, 4, 1, 0, _, _, ..] => 85,
        [0x68, 10..=253, even, _, _, _, 1..=127, ..] => if_so(even & 1 == 0, 75),
        _ => 0,
    }
}

/// COTP in a TPKT: a connection with its parameters, or data of the protocol 0x32.
fn s7(look: &Look<'_>) -> u8 {
    match *look.bytes {
        [3, 0, _, _, _, 0xe0 | 0xd0, _, _, _, _, 0..=0x40, 0xc0..=0xc2, ..] => 95,
        [3, 0, _, _, 2, 0xf0, 0x80, 0x32, ..] => 98,
        [3, 0, _, _, 2, 0xf0, 0x80, ..] => 70,
        _ => 0,
    }
}

fn ethernet_ip(look: &Look<'_>) -> u8 {
    let fits = le16(look.bytes, 2).is_some_and(|length| length < 2_000) && le32(look.bytes, 8) == Some(0);
    match le16(look.bytes, 0) {
        Some(0x65) => if_so(le16(look.bytes, 2) == Some(4) && fits, 96),
        Some(0x63 | 0x64 | 0x04) => if_so(fits && look.bytes.len() >= 24, 75),
        Some(0x6f | 0x70) => if_so(fits && look.bytes.len() >= 24, 85),
        _ => 0,
    }
}

fn bacnet(look: &Look<'_>) -> u8 {
    let fits = be16(look.bytes, 2).is_some_and(|length| usize::from(length) == look.length);
    if_so(matches!(*look.bytes, [0x81, 0..=12, ..]) && fits, 95)
}

fn knx(look: &Look<'_>) -> u8 {
    if_so(matches!(*look.bytes, [6, 0x10, 2..=9, _, _, _, ..]), 95)
}

fn opc_ua(look: &Look<'_>) -> u8 {
    if_so(
        starts_with_any(look.bytes, &[b"HELF", b"ACKF", b"OPNF"])
            && le32(look.bytes, 4).is_some_and(|length| length < 1 << 20),
        97,
    )
}

/// Version 5.0 or 5.1, little-endian, or 4 over UDP.
fn dce_rpc(look: &Look<'_>) -> u8 {
    match *look.bytes {
        [5, 0 | 1, 0..=20, _, 0x10, 0, 0, 0, ..] => if_so(le16(look.bytes, 8).is_some_and(|length| length >= 16), 97),
        [5, 0 | 1, 0..=20, _, 0, 0, 0, 0, ..] => 90,
        // The serial number's high byte is 0 at a start.
        [4, 0..=10, _, 0..=3, 0 | 0x10, 0, 0, 0, ..] if look.is_udp() && look.length >= 80 => 75,
        _ => 0,
    }
}

fn rmi(look: &Look<'_>) -> u8 {
    if_so(starts_with_any(look.bytes, &[b"JRMI\0\x01", b"JRMI\0\x02"]), 97)
}

fn corba(look: &Look<'_>) -> u8 {
    if_so(matches!(*look.bytes, [b'G', b'I', b'O', b'P', 1, 0..=2, _, 0..=7, ..]), 97)
}

fn lpd(look: &Look<'_>) -> u8 {
    match *look.bytes {
        [2..=5, letter, ..] if letter.is_ascii_alphabetic() => {
            if_so(line(look.bytes).is_some_and(|line| is_text(line.get(1..).unwrap_or_default())), 65)
        }
        _ => 0,
    }
}

fn pjl(look: &Look<'_>) -> u8 {
    if_so(starts_with_any(look.bytes, &[b"\x1b%-12345X", b"@PJL ", b"%!PS-Adobe"]), 95)
}

fn fix(look: &Look<'_>) -> u8 {
    if_so(look.bytes.starts_with(b"8=FIX") && has(look.bytes, b"\x019="), 98)
}

/// JSON, with the names that miners' pools have (Stratum).
fn mining(look: &Look<'_>) -> u8 {
    let bytes = look.bytes;
    let words: &[&[u8]] = &[
        b"mining.",
        b"\"eth_submitLogin",
        b"\"eth_getWork\"",
        b"\"eth_submitHashrate\"",
        b"\"login\":\"",
        b"\"worker\"",
        b"xmr-stak",
        b"\"method\":\"login\"",
        b"\"method\": \"login\"",
        b"\"blob\":",
        b"\"job_id\":",
    ];
    let named = words.iter().any(|word| has(bytes, word));
    if_so(bytes.starts_with(b"{") && named && (has(bytes, b"\"id\"") || has(bytes, b"jsonrpc")), 96)
}

fn bitcoin(look: &Look<'_>) -> u8 {
    if_so(
        starts_with_any(look.bytes, &[&[0xf9, 0xbe, 0xb4, 0xd9], &[0x0b, 0x11, 0x09, 0x07], &[0xfb, 0xc0, 0xb6, 0xdb]]),
        97,
    )
}

/// A hash, a signature whose last byte is 0 or 1, a type, a list.
fn ethereum(look: &Look<'_>) -> u8 {
    let bytes = look.bytes;
    if_so(
        look.length > 98
            && matches!(bytes.get(96), Some(0 | 1))
            && matches!(bytes.get(97), Some(1..=6))
            && matches!(bytes.get(98), Some(0xc0..=0xff)),
        92,
    )
}

/// Its handshake (EIP-8): a length, then an elliptic curve's point by its mark.
fn rlpx(look: &Look<'_>) -> u8 {
    let length = be16(look.bytes, 0).is_some_and(|length| (0x130..0x300).contains(&length));
    if_so(length && look.bytes.get(2) == Some(&4) && random::looks_random(look.bytes) == Some(true), 55)
}

fn apple_push(look: &Look<'_>) -> u8 {
    if_so(has_word(look.bytes, b"apns-pack-v1") || has_word(look.bytes, b"apns-security-v"), 97)
}

fn cpha(look: &Look<'_>) -> u8 {
    if_so(matches!(*look.bytes, [0x1a, 0x90, ..]), 75)
}

fn ookla(look: &Look<'_>) -> u8 {
    if_so(starts_with_any(look.bytes, &[b"HI\n", b"HELLO 2.", b"PING 1"]), 75)
}

const MONTHS: [&[u8]; 12] =
    [b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"];
