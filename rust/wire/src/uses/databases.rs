//! Databases and stores.

use super::bytes::{be16, be32, has, has_word, if_so, is_text, le32, line, starts_with_any};
use super::{Encrypted, Look, Row};

pub(super) const ROWS: &[Row] = &[
    Row::new("PostgreSQL", "database", Encrypted::No, &[5432], postgres).tcp(),
    Row::new("MySQL", "database", Encrypted::No, &[3306], mysql).tcp(),
    Row::new("MongoDB", "database", Encrypted::No, &[27_017], mongodb).tcp(),
    Row::new("Redis", "database", Encrypted::No, &[6379], redis).tcp(),
    Row::new("memcached", "database", Encrypted::No, &[11_211], memcached),
    Row::new("Cassandra", "database", Encrypted::No, &[9042], cassandra).tcp(),
    Row::new("TDS", "database", Encrypted::No, &[1433], tds).tcp(),
    Row::new("Oracle", "database", Encrypted::No, &[1521, 1526], oracle).tcp(),
    Row::new("DRDA", "database", Encrypted::No, &[50_000], drda).tcp(),
    Row::new("ZooKeeper", "database", Encrypted::No, &[2181], zookeeper).tcp(),
    Row::new("Elasticsearch", "database", Encrypted::No, &[9300], elastic).tcp(),
    Row::new("Z39.50", "database", Encrypted::No, &[210], z3950).tcp(),
];

fn postgres(look: &Look<'_>) -> u8 {
    let bytes = look.bytes;
    match (be32(bytes, 0), be32(bytes, 4)) {
        // Asks for TLS or GSSAPI, cancels.
        (Some(8), Some(80_877_103 | 80_877_104)) | (Some(16), Some(80_877_102)) => 99,
        // Version 3, then names and values.
        (Some(9..=10_000), Some(0x0003_0000..=0x0003_0010)) => {
            if_so(starts_with_any(bytes.get(8..).unwrap_or_default(), &[b"user\0", b"database\0"]), 99)
        }
        // An authentication request; its kinds' lengths.
        (Some(_), _) => match *bytes {
            [b'R', 0, 0, 0, 8, 0, 0, 0, 0 | 2 | 3 | 7, ..] | [b'R', 0, 0, 0, 12, 0, 0, 0, 5, ..] => 97,
            [b'R', 0, 0, 0, 12..=80, 0, 0, 0, 10, ..] => 97,
            [b'E', 0, 0, 0, _, b'S', b'F' | b'E', ..] => 95,
            _ => 0,
        },
        _ => 0,
    }
}

/// The server speaks first: packet 0, protocol 10, its version as text.
fn mysql(look: &Look<'_>) -> u8 {
    match *look.bytes {
        [_, _, 0, 0, 10, b'3'..=b'9', b'.', b'0'..=b'9', ..] | [_, _, 0, 0, 10, b'1', b'0'..=b'9', b'.', ..] => 97,
        // It refuses the host.
        [_, 0, 0, 0, 0xff, 0x6a | 0x69 | 0x10 | 0x15, 4, ..] => 95,
        // The client's answer: packet 1, flags with protocol 4.1 and how long a packet may be.
        [_, 0..=3, 0, 1, _, flags, _, _, 0, 0, 0, 0..=0x40, ..] if flags & 2 != 0 => 60,
        _ => 0,
    }
}

fn mongodb(look: &Look<'_>) -> u8 {
    let bytes = look.bytes;
    let (Some(length), Some(code)) = (le32(bytes, 0), le32(bytes, 12)) else { return 0 };
    let plausible = (16..50_000_000).contains(&length);
    match code {
        2013 => if_so(plausible && le32(bytes, 16).is_some_and(|flags| flags < 0x20000), 96),
        2004 => if_so(plausible && (has(bytes, b".$cmd\0") || has(bytes, b"\0")), 96),
        2010..=2012 | 2001 | 2002 | 2005..=2007 => if_so(plausible, 95),
        1 => if_so(
            plausible
                && le32(bytes, 8).is_some_and(|answers| answers > 0)
                && le32(bytes, 16).is_some_and(|flags| flags < 16),
            80,
        ),
        _ => 0,
    }
}

/// RESP: a command is an array of counted strings; what is simple are words.
fn redis(look: &Look<'_>) -> u8 {
    let bytes = look.bytes;
    match *bytes {
        [b'*', b'1'..=b'9', b'\r', b'\n', b'$', b'0'..=b'9', ..]
        | [b'*', b'1'..=b'9', b'0'..=b'9', b'\r', b'\n', b'$', ..] => 97,
        _ if starts_with_any(
            bytes,
            &[b"-NOAUTH ", b"+PONG\r\n", b"-ERR unknown command", b"-DENIED Redis", b"-WRONGPASS"],
        ) =>
        {
            96
        }
        _ if bytes.starts_with(b"+OK\r\n") => 60,
        _ if starts_with_any(bytes, &[b"PING\r\n", b"INFO\r\n", b"-ERR "]) => 50,
        [b'$', b'0'..=b'9', ..] => {
            if_so(line(bytes).is_some_and(|line| line.iter().skip(1).all(u8::is_ascii_digit)), 60)
        }
        _ => 0,
    }
}

fn memcached(look: &Look<'_>) -> u8 {
    // UDP has eight bytes before it: request, number, how many, 0.
    let bytes = match *look.bytes {
        [_, _, 0, 0, _, _, 0, 0, ref rest @ ..] if look.is_udp() => rest,
        _ if look.is_udp() => return 0,
        ref bytes => bytes,
    };
    let Some(command) = line(bytes) else {
        // Magic, operation, length of the key, of extras, type 0.
        return match *bytes {
            [0x80, 0..=0x25, _, _, 0 | 4 | 8 | 20, 0, 0, 0, ..] if bytes.len() >= 24 => 85,
            [0x81, 0..=0x25, _, _, 0 | 4 | 8, 0, ..] if bytes.len() >= 24 => 80,
            _ => 0,
        };
    };
    let mut words = command.split(|byte| *byte == b' ');
    let verb = words.next().unwrap_or_default();
    let count = words.clone().count();
    let sure = match verb {
        b"get" | b"gets" | b"delete" | b"incr" | b"touch" if count >= 1 => 95,
        b"set" | b"add" | b"replace" | b"append" | b"prepend" | b"cas" if count >= 4 => 97,
        b"stats" | b"version" | b"flush_all" => 85,
        b"VALUE" if count >= 3 => 95,
        b"STAT" if count >= 2 => 95,
        b"VERSION" if count == 1 => 90,
        b"STORED" | b"END" if count == 0 => 85,
        _ => 0,
    };
    if_so(is_text(command) && sure > 0, sure)
}

/// The binary protocol's frames: version, flags, stream, operation, length.
fn cassandra(look: &Look<'_>) -> u8 {
    match *look.bytes {
        // STARTUP and OPTIONS open.
        [3..=6, 0..=0x1f, _, _, 5, 0, 0, 0, 0, ..] => 95,
        [3..=6, 0..=0x1f, _, _, 1, 0, 0, _, _, ..] => if_so(has(look.bytes, b"CQL_VERSION"), 99),
        [1 | 2, 0..=3, _, 5, 0, 0, 0, 0, ..] => 85,
        [1 | 2, 0..=3, _, 1, 0, 0, _, _, ..] => if_so(has(look.bytes, b"CQL_VERSION"), 99),
        // ERROR, READY, AUTHENTICATE, SUPPORTED answer.
        [0x83..=0x86, 0..=0x1f, _, _, 0 | 2 | 3 | 6, 0, 0, _, _, ..] => 75,
        _ => 0,
    }
}

/// MS-TDS 2.2.3: type, status, length, two zeros, packet 0 or 1.
fn tds(look: &Look<'_>) -> u8 {
    let bytes = look.bytes;
    let length = be16(bytes, 2).is_some_and(|length| (8..=32_767).contains(&length));
    match *bytes {
        // Prelogin: its first option is the version, of six bytes at most.
        [0x12, 0 | 1, _, _, 0, 0, 0 | 1, 0, 0, 0, _, 0, 6, ..] => if_so(length, 98),
        [4, 1, _, _, 0, 0, 1, 0, 0, 0, _, 0, 6, ..] => if_so(length, 98),
        // Logins, of 7 and of before.
        [0x10, 0 | 1, _, _, 0, 0, 0 | 1, 0, ..] | [2, 0 | 1, _, _, 0, 0, 0 | 1, 0, ..] => if_so(length, 90),
        // Batches and answers.
        [1 | 3 | 0x0e, 1, _, _, 0..=255, _, _, 0, ..] => if_so(length, 60),
        [4, 0 | 1, _, _, _, _, _, 0, ..] => if_so(length, 60),
        _ => 0,
    }
}

/// Oracle's TNS: length, no checksum, type.
fn oracle(look: &Look<'_>) -> u8 {
    let bytes = look.bytes;
    let length = be16(bytes, 0).is_some_and(|length| (8..=8_192).contains(&length));
    match *bytes {
        [_, _, 0, 0, 1, 0, 0, 0, 1, _, ..] => {
            if_so(length, if has(bytes, b"(DESCRIPTION") || has(bytes, b"(CONNECT_DATA") { 98 } else { 90 })
        }
        [_, _, 0, 0, 2 | 5 | 11, 0 | 4, 0, 0, ..] => if_so(length, 75),
        [_, _, 0, 0, 4, _, 0, 0, ..] => if_so(length && has_word(bytes, b"(DESCRIPTION"), 97),
        _ => 0,
    }
}

fn drda(look: &Look<'_>) -> u8 {
    // DSS: length, 0xd0, format, correlation; then a length six less, and the command EXCSAT.
    let lengths =
        be16(look.bytes, 0).zip(be16(look.bytes, 6)).is_some_and(|(whole, inner)| whole == inner.wrapping_add(6));
    match be16(look.bytes, 8) {
        Some(0x1041 | 0x1443) => if_so(lengths && look.bytes.get(2) == Some(&0xd0), 97),
        Some(_) => if_so(lengths && look.bytes.get(2) == Some(&0xd0), 90),
        None => 0,
    }
}

/// A connect request: version 0, the last transaction, a timeout, session 0, its password.
fn zookeeper(look: &Look<'_>) -> u8 {
    let bytes = look.bytes;
    if starts_with_any(bytes, &[b"ruok", b"srvr", b"mntr"]) {
        return 70;
    }
    let request = matches!(be32(bytes, 0), Some(44 | 45)) && be32(bytes, 4) == Some(0);
    let timeout = be32(bytes, 16).is_some_and(|milliseconds| (100..10_000_000).contains(&milliseconds));
    if_so(request && timeout && matches!(be32(bytes, 28), Some(0 | 16)), 96)
}

fn elastic(look: &Look<'_>) -> u8 {
    if_so(matches!(*look.bytes, [b'E', b'S', 0, _, _, _, 0, 0, ..]), 95)
}

fn z3950(look: &Look<'_>) -> u8 {
    // initRequest (tag 20) or its answer (21), long form or short; the version as bits (tag 3).
    match *look.bytes {
        [0xb4 | 0xb5, length, 0x83, 2, ..] if length < 0x80 => 95,
        [0xb4 | 0xb5, 0x81, _, 0x83, 2, ..] | [0xb4 | 0xb5, 0x82, _, _, 0x83, 2, ..] => 96,
        [0xb4 | 0xb5, 0x81 | 0x82, ..] => if_so(has(look.bytes, &[0x83, 2]), 80),
        _ => 0,
    }
}
