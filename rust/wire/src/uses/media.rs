//! Calls, and pictures and sound that stream.

use super::bytes::{be16, be32, has, has_word, if_so, line, starts_with_any};
use super::{Encrypted, Head, Look, Row};

pub(super) const ROWS: &[Row] = &[
    Row::new("SIP", "call", Encrypted::No, &[5060], sip),
    Row::new("STUN", "call", Encrypted::No, &[3478, 19_302], stun),
    Row::new("TURN channel", "call", Encrypted::Unknown, &[3478], turn_channel).udp().of("STUN"),
    Row::new("RTCP", "call", Encrypted::No, &[], rtcp).udp().of("RTP"),
    Row::new("RTP", "call", Encrypted::Unknown, &[], rtp).udp(),
    Row::new("H.323", "call", Encrypted::No, &[1720], h323).tcp(),
    Row::new("SCCP", "call", Encrypted::No, &[2000], sccp).tcp(),
    Row::new("IAX2", "call", Encrypted::No, &[4569], iax).udp(),
    Row::new("MGCP", "call", Encrypted::No, &[2427, 2727], mgcp).udp(),
    Row::new("Zoom", "call", Encrypted::Yes, &[8801], zoom).udp(),
    Row::new("Telegram call", "call", Encrypted::Yes, &[], telegram).udp(),
    Row::new("Viber call", "call", Encrypted::Yes, &[7985, 7987, 5243, 9785], viber).udp(),
    Row::new("Skype", "call", Encrypted::Yes, &[], skype).udp(),
    Row::new("RTSP", "streaming", Encrypted::No, &[554, 8554], rtsp).tcp(),
    Row::new("RTMP", "streaming", Encrypted::No, &[1935], rtmp).tcp(),
    Row::new("SRT", "streaming", Encrypted::Unknown, &[], srt).udp(),
    Row::new("MPEG-TS", "streaming", Encrypted::No, &[], mpeg_ts).udp(),
    Row::new("Icecast", "streaming", Encrypted::No, &[8000], icecast).tcp(),
    Row::new("Spotify", "streaming", Encrypted::Yes, &[4070, 57_621], spotify),
];

fn sip(look: &Look<'_>) -> u8 {
    let bytes = look.bytes;
    if bytes.starts_with(b"SIP/2.0 ") {
        return 99;
    }
    let target =
        bytes.iter().position(|byte| *byte == b' ').and_then(|space| bytes.get(space + 1..)).unwrap_or_default();
    let is_method = bytes.first().is_some_and(u8::is_ascii_uppercase);
    if is_method && starts_with_any(target, &[b"sip:", b"sips:", b"tel:"]) {
        return 98;
    }
    // Cut or broken, but it says so itself.
    if_so(is_method && line(bytes).is_some_and(|line| line.ends_with(b" SIP/2.0")), 96)
}

/// RFC 8489: two bits 0, a length in words, the cookie. Without it (RFC 3489) only the length can tell.
fn stun(look: &Look<'_>) -> u8 {
    let bytes = look.bytes;
    let (Some(kind), Some(length)) = (be16(bytes, 0), be16(bytes, 2)) else { return 0 };
    if kind >= 0x4000 {
        return 0;
    }
    let fits = !look.is_udp() || usize::from(length) + 20 == look.length;
    if be32(bytes, 4) == Some(0x2112_a442) {
        return if fits { 99 } else { 80 };
    }
    if length % 4 != 0 {
        return 0;
    }
    let known = matches!(kind, 1 | 2 | 0x101 | 0x111 | 0x102 | 0x112 | 3 | 0x103 | 0x113);
    if_so(look.is_udp() && fits && known && look.length >= 20, 85)
}

/// RFC 8656 §12.4: a channel, then how much follows.
fn turn_channel(look: &Look<'_>) -> u8 {
    let fits = be16(look.bytes, 2).is_some_and(|length| usize::from(length) + 4 == look.length);
    if_so(
        be16(look.bytes, 0).is_some_and(|channel| (0x4000..0x5000).contains(&channel)) && fits && look.length > 12,
        70,
    )
}

/// RFC 3550 §6: version 2, a type, a length in words that ends within the datagram.
fn rtcp(look: &Look<'_>) -> u8 {
    match *look.bytes {
        [0x80..=0xbf, 200..=207, ..] => {
            let words = be16(look.bytes, 2).map_or(usize::MAX, usize::from);
            // What is sealed has a number and a seal at its end (RFC 3711).
            if_so(
                words < 360 && (words + 1) * 4 <= look.length && look.length >= 8,
                if (words + 1) * 4 == look.length { 90 } else { 80 },
            )
        }
        _ => 0,
    }
}

/// RFC 3550 §5: version 2 and a type that audio or video has. Two datagrams of one source, in order, leave no doubt.
fn rtp(look: &Look<'_>) -> u8 {
    let bytes = look.bytes;
    let (Some(first), Some(source)) = (be16(bytes, 2), be32(bytes, 8)) else { return 0 };
    let kind = bytes.get(1).map_or(0, |kind| kind & 0x7f);
    let known = matches!(kind, 0..=34 | 96..=127);
    if !bytes.first().is_some_and(|first| (0x80..=0xbf).contains(first)) || !known || look.length < 13 {
        return 0;
    }
    let follows = |(head, length): &Head| {
        let is_rtp = (0x80..=0xbf).contains(&head[0]) && *length >= 13 && be32(head, 8) == Some(source);
        is_rtp && be16(head, 2).is_some_and(|number| (1..=8).contains(&number.wrapping_sub(first)))
    };
    match look.following.iter().filter(|head| follows(head)).count() {
        0 => if_so(source != 0, if kind >= 96 { 45 } else { 50 }),
        1 => 92,
        _ => 97,
    }
}

/// Q.931 in a TPKT: setup and what answers it; RAS is not told.
fn h323(look: &Look<'_>) -> u8 {
    match *look.bytes {
        [3, 0, _, _, 8, 1 | 2, ..] => 95,
        _ => 0,
    }
}

/// Length, reserved, and a message of those that open.
fn sccp(look: &Look<'_>) -> u8 {
    match *look.bytes {
        [length, 0, 0, 0, 0 | 0x11..=0x16, 0, 0, 0, kind, 0..=1, 0, 0, ..] if length >= 4 && length % 4 == 0 => {
            if_so(kind < 0xa0, 85)
        }
        _ => 0,
    }
}

/// A full frame of class 6 (its own control): call numbers, a time, two counters.
fn iax(look: &Look<'_>) -> u8 {
    match *look.bytes {
        [0x80..=0xff, _, 0..=0x7f, _, _, _, _, _, _, _, 6, 1..=40, ..] => 70,
        _ => 0,
    }
}

fn mgcp(look: &Look<'_>) -> u8 {
    if_so(line(look.bytes).is_some_and(|line| has(line, b" MGCP 1.0")), 96)
}

/// Its own header of media, in front of what is RTP then, and its setup.
fn zoom(look: &Look<'_>) -> u8 {
    match *look.bytes {
        [1 | 2, 0, ref rest @ ..] if has(rest.get(..40.min(rest.len())).unwrap_or_default(), b"\x05\x05\x05\x05") => 40,
        [1, 0, 3, 0, 0, 0, 0, 0, 0 | 1, 0, ..] | [1, 0, 2, 0, 0, 0, 0, 0, 0 | 1, 0, ..] => 70,
        [1, 0, 2, ..] | [2, 0, 1, ..] if (100..=120).contains(&look.length) => 40,
        [5, 16, 1, 0, ..] => 60,
        _ => 0,
    }
}

/// To its relays: their mark for the peer, then ones in the place of an address.
fn telegram(look: &Look<'_>) -> u8 {
    if_so(look.bytes.get(16..28) == Some(&[0xff; 12]) && look.length <= 64, 93)
}

fn viber(look: &Look<'_>) -> u8 {
    match *look.bytes {
        [_, _, 1 | 0x0c, 0, 1 | 5, 0, ..] | [_, _, 0x19 | 0x1a, 0, ..] => 35,
        _ => 0,
    }
}

/// The older protocol, between its users.
fn skype(look: &Look<'_>) -> u8 {
    match *look.bytes {
        [_, _, third] if look.length == 3 => if_so(third & 15 == 13, 55),
        [first, _, 2, ..] if look.length >= 16 => if_so(first != 0x30, 35),
        _ => 0,
    }
}

fn rtsp(look: &Look<'_>) -> u8 {
    let bytes = look.bytes;
    if bytes.starts_with(b"RTSP/1.0 ") {
        return 99;
    }
    let target =
        bytes.iter().position(|byte| *byte == b' ').and_then(|space| bytes.get(space + 1..)).unwrap_or_default();
    let is_method = bytes.first().is_some_and(u8::is_ascii_uppercase);
    if is_method && starts_with_any(target, &[b"rtsp://", b"rtspu://", b"RTSP://"]) {
        return 98;
    }
    if is_method && line(bytes).is_some_and(|line| line.ends_with(b" RTSP/1.0")) {
        return 97;
    }
    // Tunnelled in HTTP.
    if_so(has_word(bytes, b"application/x-rtsp-tunnelled") || has_word(bytes, b"x-sessioncookie:"), 97)
}

/// Version 3, a time, then zeros or Flash's version.
fn rtmp(look: &Look<'_>) -> u8 {
    match *look.bytes {
        [3, _, _, _, _, 0, 0, 0, 0, ..] => 85,
        [3, _, _, _, _, 9..=0x80, 0, 0..=0x7f, 0..=3, ..] => 80,
        [6, _, _, _, _, 0x80, 0, _, _, ..] => 60,
        _ => 0,
    }
}

/// A handshake: control type 0, subtype 0, no id; version 4 or 5.
fn srt(look: &Look<'_>) -> u8 {
    let bytes = look.bytes;
    if_so(be32(bytes, 0) == Some(0x8000_0000) && matches!(be32(bytes, 16), Some(4 | 5)) && look.length >= 64, 96)
}

fn mpeg_ts(look: &Look<'_>) -> u8 {
    let fits = look.length >= 188 && look.length.is_multiple_of(188);
    match *look.bytes {
        [0x47, high, _, 0x10..=0x3f, ..] if high & 0x80 == 0 => if_so(fits, 95),
        _ => 0,
    }
}

fn icecast(look: &Look<'_>) -> u8 {
    let bytes = look.bytes;
    let answers = has_word(bytes, b"icy-name:") || has_word(bytes, b"icy-br:") || has_word(bytes, b"icy-notice1:");
    if_so(bytes.starts_with(b"ICY 200 OK") || (bytes.starts_with(b"SOURCE /") && has(bytes, b" ICE/")) || answers, 96)
}

fn spotify(look: &Look<'_>) -> u8 {
    if look.is_udp() {
        return if_so(look.bytes.starts_with(b"SpotUdp"), 98);
    }
    // Version 4, its length, what it is built as.
    match *look.bytes {
        [0, 4, 0, 0, 0 | 1, _, 0x52, 0x0e | 0x0f, 0x50, ..] => 96,
        [0, 4, 0, 0, 0..=4, _, 0x52, ..] => 90,
        _ => 0,
    }
}
