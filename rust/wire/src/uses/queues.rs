//! Queues between programs.

use super::bytes::{be16, be32, has, if_so, starts_with_any};
use super::{Encrypted, Look, Row};

pub(super) const ROWS: &[Row] = &[
    Row::new("MQTT", "message queue", Encrypted::No, &[1883], mqtt).tcp(),
    Row::new("AMQP", "message queue", Encrypted::No, &[5672], amqp).tcp(),
    Row::new("Kafka", "message queue", Encrypted::No, &[9092], kafka).tcp(),
    Row::new("NATS", "message queue", Encrypted::No, &[4222], nats).tcp(),
    Row::new("STOMP", "message queue", Encrypted::No, &[61_613], stomp).tcp(),
    Row::new("ZeroMQ", "message queue", Encrypted::No, &[], zeromq).tcp(),
    Row::new("ActiveMQ", "message queue", Encrypted::No, &[61_616], openwire).tcp(),
];

fn mqtt(look: &Look<'_>) -> u8 {
    let bytes = look.bytes;
    match *bytes {
        // CONNECT: how much remains in one to four bytes, then the protocol's name and version.
        [0x10, ref rest @ ..] => {
            let digits = rest.iter().take(3).take_while(|byte| **byte >= 0x80).count() + 1;
            let rest = rest.get(digits..).unwrap_or_default();
            if_so(starts_with_any(rest, &[b"\0\x04MQTT", b"\0\x06MQIsdp"]), 99)
        }
        // CONNACK, of 3.1 and of 5.
        [0x20, 2, 0 | 1, 0..=5, ..] => 80,
        [0x20, 3..=60, 0 | 1, 0 | 0x80..=0x9f, _, ..] => 60,
        [0xc0, 0, ..] | [0xd0, 0, ..] => 60,
        // PUBLISH with a topic that is text.
        [0x30..=0x3d, _, 0, 1..=127, letter, ..] if letter.is_ascii_graphic() => 50,
        _ => 0,
    }
}

fn amqp(look: &Look<'_>) -> u8 {
    match *look.bytes {
        [b'A', b'M', b'Q', b'P', 0..=3, ..] => 99,
        // connection.start in a method frame on channel 0.
        [1, 0, 0, 0, 0, _, _, 0, 10, 0, 10 | 11 | 30 | 31, ..] => 97,
        [1, _, _, 0, 0, _, _, 0, 10..=90, 0, 10..=121, ..] => 85,
        _ => 0,
    }
}

/// A request: length, which of the APIs, its version, a number, the client's name.
fn kafka(look: &Look<'_>) -> u8 {
    let bytes = look.bytes;
    let (Some(length), Some(key), Some(version), Some(name)) =
        (be32(bytes, 0), be16(bytes, 4), be16(bytes, 6), be16(bytes, 12))
    else {
        return 0;
    };
    let text = bytes
        .get(14..14 + usize::from(name.min(100)))
        .is_some_and(|name| name.iter().all(|byte| byte.is_ascii_graphic()));
    let plausible =
        (10..1 << 24).contains(&length) && version <= 20 && u32::from(name) + 10 <= length && name > 0 && text;
    match key {
        // ApiVersions and Metadata come first.
        18 | 3 => if_so(plausible, 95),
        0..=75 => if_so(plausible, 75),
        _ => 0,
    }
}

fn nats(look: &Look<'_>) -> u8 {
    let bytes = look.bytes;
    if bytes.starts_with(b"INFO {") {
        return if has(bytes, b"\"server_id\"") || has(bytes, b"\"version\"") { 98 } else { 90 };
    }
    if_so(starts_with_any(bytes, &[b"CONNECT {"]), 97)
}

fn stomp(look: &Look<'_>) -> u8 {
    if_so(
        starts_with_any(
            look.bytes,
            &[
                b"CONNECT\naccept-version:",
                b"STOMP\naccept-version:",
                b"CONNECTED\nversion:",
                b"CONNECT\nlogin:",
                b"STOMP\n",
                b"CONNECT\n",
            ],
        ),
        97,
    )
}

/// ZMTP 3: the signature, then its version.
fn zeromq(look: &Look<'_>) -> u8 {
    match *look.bytes {
        [0xff, _, _, _, _, _, _, _, _, 0x7f, 0..=3, ..] => 97,
        _ => 0,
    }
}

fn openwire(look: &Look<'_>) -> u8 {
    if_so(matches!(*look.bytes, [_, _, _, _, 1, b'A', b'c', b't', b'i', b'v', b'e', b'M', b'Q', ..]), 98)
}
