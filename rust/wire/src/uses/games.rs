//! Games, and who talks while playing them.

use super::bytes::{be32, has, if_so, le32, starts_with_any};
use super::{Encrypted, Look, Row};

pub(super) const ROWS: &[Row] = &[
    Row::new("Minecraft", "game", Encrypted::No, &[25_565], minecraft).tcp(),
    Row::new("RakNet", "game", Encrypted::No, &[19_132, 19_133], raknet).udp(),
    Row::new("Source engine", "game", Encrypted::No, &[27_015, 27_016], source_engine).udp(),
    Row::new("Quake III", "game", Encrypted::No, &[27_960], quake).udp(),
    Row::new("Steam", "game", Encrypted::Yes, &[27_017, 27_018, 27_019], steam),
    Row::new("TeamSpeak", "call", Encrypted::Yes, &[9987], teamspeak).udp(),
    Row::new("Mumble", "call", Encrypted::Yes, &[64_738], mumble).udp(),
    Row::new("Among Us", "game", Encrypted::No, &[22_023, 22_123], hazel).udp(),
    Row::new("KCP", "game", Encrypted::Unknown, &[22_101, 22_102], kcp).udp(),
    Row::new("Blizzard", "game", Encrypted::No, &[1119, 3724, 6112, 6113], blizzard).tcp(),
    Row::new("Nintendo", "game", Encrypted::Unknown, &[45_000], nintendo).udp(),
    Row::new("Unreal engine", "game", Encrypted::No, &[7777, 7778], unreal).udp(),
];

/// Java's handshake: length, packet 0, version, the server's name, its port, what comes next.
fn minecraft(look: &Look<'_>) -> u8 {
    let bytes = look.bytes;
    if starts_with_any(bytes, &[b"\xfe\x01\xfa\0\x0b\0M\0C"]) {
        return 98;
    }
    let Some((length, rest)) = variable(bytes) else { return 0 };
    let Some((0, rest)) = variable(rest) else { return 0 };
    let Some((_, rest)) = variable(rest) else { return 0 };
    let Some((name, rest)) = variable(rest) else { return 0 };
    let Some(host) = rest.get(..name) else { return 0 };
    let named = !host.is_empty()
        && host.iter().all(|byte| byte.is_ascii_graphic() || *byte == 0)
        && host.iter().any(u8::is_ascii_alphanumeric);
    let next = matches!(rest.get(name + 2), Some(1..=3));
    if_so(named && next && (name + 5..name + 10).contains(&length), 97)
}

/// Seven bits a byte, the low ones first, in at most five.
fn variable(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let mut number = 0_usize;
    for (place, byte) in bytes.iter().take(5).enumerate() {
        number |= usize::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            return Some((number & 0xffff_ffff, bytes.get(place + 1..)?));
        }
    }
    None
}

fn raknet(look: &Look<'_>) -> u8 {
    const MAGIC: &[u8] = &[0, 0xff, 0xff, 0, 0xfe, 0xfe, 0xfe, 0xfe, 0xfd, 0xfd, 0xfd, 0xfd, 0x12, 0x34, 0x56, 0x78];
    let at = match look.bytes.first() {
        Some(1 | 2) => 9,
        Some(5..=8 | 0x19) => 1,
        Some(0x1c) => 17,
        _ => return 0,
    };
    if_so(look.bytes.get(at..).is_some_and(|rest| rest.starts_with(MAGIC)), 99)
}

fn source_engine(look: &Look<'_>) -> u8 {
    let Some(rest) = look.bytes.strip_prefix(&[0xff; 4]) else { return 0 };
    match rest {
        _ if rest.starts_with(b"TSource Engine Query\0") => 99,
        [b'U' | b'V' | b'W', ..] if look.length == 9 || look.length == 5 => 85,
        [b'A', _, _, _, _] => 85,
        [b'I', 1..=60, letter, ..] if letter.is_ascii_graphic() => 85,
        [b'D' | b'E', ..] => 60,
        [b'i' | b'q', ..] => 40,
        _ => 0,
    }
}

fn quake(look: &Look<'_>) -> u8 {
    let Some(rest) = look.bytes.strip_prefix(&[0xff; 4]) else { return 0 };
    let words: &[&[u8]] = &[
        b"getstatus",
        b"getinfo",
        b"getchallenge",
        b"getservers",
        b"statusResponse",
        b"infoResponse",
        b"challengeResponse",
        b"connect ",
        b"connectResponse",
        b"print\n",
        b"getserversResponse",
        b"rcon ",
        b"getserversExt",
    ];
    if_so(starts_with_any(rest, words), 96)
}

fn steam(look: &Look<'_>) -> u8 {
    let bytes = look.bytes;
    if look.is_udp() {
        // Its messages to the servers it logs in at, and in the local network; its own relays' pings.
        return if_so(starts_with_any(bytes, &[b"VS01", b"VS02"]), 97)
            .max(if_so(bytes.starts_with(&[0xff, 0xff, 0xff, 0xff, 0x21, 0x4c, 0x5f, 0xa0]), 97))
            .max(if_so(matches!(*bytes, [1, 0x64..=0x7f, _, _, ..]) && has(bytes, b"sdping"), 95))
            .max(if_so(has(bytes, b"sdping"), 95));
    }
    if_so(bytes.get(4..8) == Some(b"VT01"), 97)
}

fn teamspeak(look: &Look<'_>) -> u8 {
    if_so(look.bytes.starts_with(b"TS3INIT1"), 99)
}

/// Ping: type 0, eight bytes of time; the answer has the server's version in front.
fn mumble(look: &Look<'_>) -> u8 {
    match *look.bytes {
        [0, 0, 0, 0, _, _, _, _, _, _, _, _] if look.length == 12 => 55,
        [0, 1, 2..=5, _, ..] if look.length == 24 => 55,
        _ => 0,
    }
}

/// Hazel: a hello carries a name, reliable messages a number.
fn hazel(look: &Look<'_>) -> u8 {
    match *look.bytes {
        [8, 0, 1, 0, _, _, 2 | 3, 0..=15, ..] => 90,
        [10, 0, 1..=9, 0xff] if look.length == 4 => 55,
        [1, 0, 2..=9, _, 0, ..] if le32(look.bytes, 3).is_some() => 45,
        _ => 0,
    }
}

/// As Genshin Impact opens it, and its segments.
fn kcp(look: &Look<'_>) -> u8 {
    let bytes = look.bytes;
    if look.length == 20
        && matches!(
            (be32(bytes, 0), be32(bytes, 16)),
            (Some(0xff), Some(0xffff_ffff)) | (Some(0x145), Some(0x1451_4545))
        )
    {
        return 97;
    }
    0
}

fn blizzard(look: &Look<'_>) -> u8 {
    let bytes = look.bytes;
    // Battle.net's two ways to log in; World of Warcraft's.
    if starts_with_any(bytes, &[b"WORLD OF WARCRAFT CONNECTION - ", b"\0\x30WORLD OF WARCRAFT CONNECTION"]) {
        return 98;
    }
    match *bytes {
        [0x4a, 0, 0, 10, 0x66, 2, 10, 0xed, 0x2d, 0x66, ..] => 95,
        [1, 0xff, 0x50, _, _, ..] | [0xff, 0x50, _, 0, ..] => 90,
        [0, 3 | 8, _, 0, b'W', b'o', b'W', 0, ..] => 97,
        _ => 0,
    }
}

/// PIA, the protocol of its consoles.
fn nintendo(look: &Look<'_>) -> u8 {
    if_so(starts_with_any(look.bytes, &[b"\x32\xab\x98\x64"]), 95)
}

fn unreal(look: &Look<'_>) -> u8 {
    if_so(look.bytes.starts_with(b"\\status\\") || look.bytes.starts_with(b"\\info\\"), 90)
}
