//! Whether a stream starts with a whole TLS ClientHello.
//!
//! Asked before a TLS object is made, so that whoever stalls in his first message costs the bytes that he sent and no more. Only
//! records and lengths are read (RFC 8446 §5.1, §4.1.2); what the hello says is the TLS library's business. No allocation, and no state
//! between two calls: the whole start of the stream is walked again each time, which is one or two records for an honest peer.

use thiserror::Error;

/// What the first bytes of a stream are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hello {
    /// The start of a ClientHello, as far as it goes.
    Incomplete,
    /// One whole ClientHello, which ends with its last record at `bytes`.
    Complete { bytes: usize },
    /// No ClientHello, whatever may follow.
    Refused(Refusal),
}

/// Why the bytes cannot be a ClientHello. More bytes may make the reason more precise (`G` is `NotTls`, `GET ` is `Http`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Refusal {
    #[error("plain HTTP where TLS was expected")]
    Http,
    #[error("SSH where TLS was expected")]
    Ssh,
    #[error("plain SMTP where TLS was expected")]
    Smtp,
    #[error("a PROXY protocol header where TLS was expected")]
    ProxyHeader,
    #[error("a hello of SSL 2.0, which no TLS accepts any more (RFC 6176)")]
    Ssl2,
    #[error("not TLS: the first byte is {0:#04x}")]
    NotTls(u8),
    #[error("a TLS record of type {0}, the hello's are of type 22")]
    RecordType(u8),
    #[error("a TLS record of version {0}.x, the hello's are 3.x")]
    RecordVersion(u8),
    #[error("an empty handshake record")]
    EmptyRecord,
    #[error("a record of more than 16384 bytes")]
    LongRecord,
    #[error("a handshake message of type {0}, a ClientHello is of type 1")]
    HandshakeType(u8),
    #[error("a ClientHello of version {0}.x instead of 3.x")]
    HelloVersion(u8),
    #[error("a ClientHello of {0} bytes, which is too short to be one")]
    ShortHello(usize),
    #[error("a ClientHello of more than {MAX_HELLO_BYTES} bytes, records included")]
    LongHello,
    #[error("a ClientHello with something behind it in its record")]
    Unaligned,
}

/// No hello is longer, its record headers included, so this is also the most that a caller ever has to keep. Real ones have 200 to
/// 2,000 bytes, the longer ones a post-quantum key share.
pub const MAX_HELLO_BYTES: usize = 16 * 1024;

/// Whether `seen`, the bytes from a stream's start, hold a whole ClientHello, possibly fragmented over several records.
///
/// What follows the hello is not looked at. Refused at the first byte that no ClientHello can have there; never `Incomplete` for
/// `MAX_HELLO_BYTES` or more.
pub fn client_hello(seen: &[u8]) -> Hello {
    match end_of_hello(seen) {
        Ok(None) => Hello::Incomplete,
        Ok(Some(bytes)) => Hello::Complete { bytes },
        Err(refusal) => Hello::Refused(refusal),
    }
}

fn end_of_hello(seen: &[u8]) -> Result<Option<usize>, Refusal> {
    if seen.first().is_some_and(|&first| first != HANDSHAKE) {
        return Err(what_else(seen));
    }
    let mut message = Message::default();
    let mut start = 0; // of the record
    loop {
        let Some(length) = record_length(&seen[start..])? else { return Ok(None) };
        let (payload, end) = (start + HEADER_BYTES, start + HEADER_BYTES + length);
        message.read_head(&seen[payload..end.min(seen.len())])?;
        if let Some(missing) = message.missing() {
            if missing < length {
                // A key change follows the hello, and no record may reach across that (§5.1).
                return Err(Refusal::Unaligned);
            }
            let least = payload + missing + if missing > length { HEADER_BYTES } else { 0 };
            if least > MAX_HELLO_BYTES {
                return Err(Refusal::LongHello);
            }
        }
        if seen.len() < end {
            return Ok(None);
        }
        if message.missing() == Some(length) {
            return Ok(Some(end));
        }
        message.received += length;
        start = end;
    }
}

/// The length of the record that `rest` starts with; None while its header is not whole.
fn record_length(rest: &[u8]) -> Result<Option<usize>, Refusal> {
    match *rest {
        [kind, ..] if kind != HANDSHAKE => Err(Refusal::RecordType(kind)),
        [_, major, ..] if major != MAJOR_VERSION => Err(Refusal::RecordVersion(major)),
        [_, _, _, high, ..] if usize::from(high) << 8 > MAX_RECORD_BYTES => Err(Refusal::LongRecord),
        [_, _, _, high, low, ..] => match usize::from(u16::from_be_bytes([high, low])) {
            0 => Err(Refusal::EmptyRecord),
            length if length > MAX_RECORD_BYTES => Err(Refusal::LongRecord),
            length => Ok(Some(length)),
        },
        _ => Ok(None),
    }
}

/// The handshake message, which does not care about the borders of records.
#[derive(Default)]
struct Message {
    /// Type, length in three bytes, and the first byte of the body, the major version.
    head: [u8; 5],
    head_bytes: usize,
    /// In the records before the present one.
    received: usize,
}

impl Message {
    /// Takes what `payload`, of the present record, holds of the head.
    fn read_head(&mut self, payload: &[u8]) -> Result<(), Refusal> {
        for &byte in payload.iter().take(self.head.len() - self.head_bytes) {
            self.head[self.head_bytes] = byte;
            self.head_bytes += 1;
            self.check_head()?;
        }
        Ok(())
    }

    /// Checks what its last byte adds: one that is not there yet is still zero, so a length is never taken for too long.
    fn check_head(&self) -> Result<(), Refusal> {
        match self.head_bytes {
            1 if self.head[0] != CLIENT_HELLO => Err(Refusal::HandshakeType(self.head[0])),
            2..=4 if self.body_bytes() > MAX_HELLO_BYTES => Err(Refusal::LongHello),
            4 if self.body_bytes() < MIN_BODY_BYTES => Err(Refusal::ShortHello(self.body_bytes())),
            5 if self.head[4] != MAJOR_VERSION => Err(Refusal::HelloVersion(self.head[4])),
            _ => Ok(()),
        }
    }

    /// How much of it the present record and those after it must bring; None as long as its length is unknown.
    fn missing(&self) -> Option<usize> {
        (self.head_bytes >= 4).then(|| 4 + self.body_bytes() - self.received)
    }

    fn body_bytes(&self) -> usize {
        let [_, high, middle, low, _] = self.head;
        usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low)
    }
}

/// What the stream is instead, as far as that can be told.
fn what_else(seen: &[u8]) -> Refusal {
    for (refusal, starts) in OTHERS {
        if starts.iter().any(|start| seen.starts_with(start)) {
            return *refusal;
        }
    }
    match *seen {
        // Length of 15 bits, message type 1, and the version that is offered: 0.2 is SSL 2.0, 3.x goes on as SSL 3.0 or TLS.
        [0x80..=0xff, _, CLIENT_HELLO, MAJOR_VERSION, ..] | [0x80..=0xff, _, CLIENT_HELLO, 0, 2, ..] => Refusal::Ssl2,
        // Change_cipher_spec, alert, application_data, heartbeat.
        [kind @ 20..=24, MAJOR_VERSION, ..] => Refusal::RecordType(kind),
        [first, ..] => Refusal::NotTls(first),
        [] => Refusal::EmptyRecord,
    }
}

const OTHERS: &[(Refusal, &[&[u8]])] = &[
    (
        Refusal::Http,
        &[
            b"GET ",
            b"HEAD ",
            b"POST ",
            b"PUT ",
            b"DELETE ",
            b"OPTIONS ",
            b"CONNECT ",
            b"PATCH ",
            b"TRACE ",
            b"PRI * HTTP",
        ],
    ),
    (Refusal::Ssh, &[b"SSH-"]),
    (Refusal::Smtp, &[b"EHLO ", b"HELO "]),
    (Refusal::ProxyHeader, &[b"PROXY ", b"\r\n\r\n\0\r\nQUIT\n"]),
];

const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
const MAJOR_VERSION: u8 = 3;
const HEADER_BYTES: usize = 5;
const MAX_RECORD_BYTES: usize = 1 << 14;
/// Version, random, an empty session id, one cipher suite, one compression method, no extensions (as before TLS 1.2).
const MIN_BODY_BYTES: usize = 2 + 32 + 1 + (2 + 2) + (1 + 1);

#[cfg(test)]
mod tests {
    use super::*;

    /// The handshake message of a hello whose body has `body_bytes`.
    fn message(body_bytes: usize) -> Vec<u8> {
        let length = (body_bytes as u32).to_be_bytes();
        let mut message = vec![CLIENT_HELLO, length[1], length[2], length[3], 3, 3];
        message.resize(4 + body_bytes, 0xaa);
        message
    }

    /// `message` in records of at most `record_bytes`.
    fn records(message: &[u8], record_bytes: usize) -> Vec<u8> {
        let mut stream = Vec::new();
        for fragment in message.chunks(record_bytes) {
            stream.extend([HANDSHAKE, 3, 1]);
            stream.extend((fragment.len() as u16).to_be_bytes());
            stream.extend(fragment);
        }
        stream
    }

    /// The length of the shortest start of `stream` that is refused, and why.
    fn refused(stream: &[u8]) -> (usize, Refusal) {
        let first = (0..=stream.len()).find_map(|length| match client_hello(&stream[..length]) {
            Hello::Refused(refusal) => Some((length, refusal)),
            Hello::Incomplete => None,
            Hello::Complete { bytes } => panic!("complete with {bytes} bytes"),
        });
        first.expect("is refused")
    }

    #[test]
    fn whole_hello_is_complete_at_its_last_byte() {
        for record_bytes in [1, 2, 3, 4, 5, 44, 45, 100, 300, 16_384] {
            let mut stream = records(&message(300), record_bytes);
            let bytes = stream.len();
            for length in 0..bytes {
                assert_eq!(client_hello(&stream[..length]), Hello::Incomplete, "{length} of {bytes}");
            }
            assert_eq!(client_hello(&stream), Hello::Complete { bytes });
            stream.extend(b"not looked at");
            assert_eq!(client_hello(&stream), Hello::Complete { bytes });
        }
    }

    #[test]
    fn other_protocols_are_refused_at_the_first_byte_and_named_when_known() {
        for (stream, refusal) in [
            (&b"GET / HTTP/1.1\r\n"[..], Refusal::Http),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Refusal::Http),
            (b"SSH-2.0-OpenSSH_9.2\r\n", Refusal::Ssh),
            (b"EHLO example.com\r\n", Refusal::Smtp),
            (b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n", Refusal::ProxyHeader),
            (b"\r\n\r\n\0\r\nQUIT\n\x21\x11", Refusal::ProxyHeader),
            (b"\x80\x2e\x01\x00\x02\x00\x15", Refusal::Ssl2),
            (b"\x80\x2e\x01\x03\x01\x00\x15", Refusal::Ssl2),
            (b"\x80\x2e\x02\x03\x01\x00\x15", Refusal::NotTls(0x80)),
            (b"\x15\x03\x01\x00\x02\x02\x28", Refusal::RecordType(21)),
            (b"\x15\x00", Refusal::NotTls(21)),
            (b"hello\n", Refusal::NotTls(b'h')),
        ] {
            assert_eq!(client_hello(stream), Hello::Refused(refusal));
            assert_eq!(client_hello(&stream[..1]), Hello::Refused(Refusal::NotTls(stream[0])));
        }
    }

    #[test]
    fn records_that_cannot_be_are_refused_at_once() {
        assert_eq!(refused(b"\x16\x02\x00"), (2, Refusal::RecordVersion(2)));
        assert_eq!(refused(b"\x16\x03\x01\x00\x00"), (5, Refusal::EmptyRecord));
        assert_eq!(refused(b"\x16\x03\x01\x40\x01"), (5, Refusal::LongRecord));
        assert_eq!(refused(b"\x16\x03\x01\x41\x00"), (4, Refusal::LongRecord));
        assert_eq!(client_hello(b"\x16\x03\x01\x40\x00"), Hello::Incomplete);
    }

    #[test]
    fn later_records_are_checked_as_the_first() {
        let first = records(&message(300), 100)[..105].to_vec();
        for (next, refusal) in [
            (&b"\x14\x03\x03\x00\x01\x01"[..], (106, Refusal::RecordType(20))),
            (b"\x16\x04", (107, Refusal::RecordVersion(4))),
            (b"\x16\x03\x01\x00\x00", (110, Refusal::EmptyRecord)),
            (b"\x16\x03\x01\x00\xcd", (110, Refusal::Unaligned)), // 204 bytes are missing, it brings 205
        ] {
            assert_eq!(refused(&[&first, next].concat()), refusal);
        }
    }

    #[test]
    fn messages_that_cannot_be_are_refused_at_once() {
        assert_eq!(refused(b"\x16\x03\x01\x00\x05\x02"), (6, Refusal::HandshakeType(2)));
        assert_eq!(refused(b"\x16\x03\x01\x01\x00\x01\x01"), (7, Refusal::LongHello));
        assert_eq!(refused(b"\x16\x03\x01\x01\x00\x01\x00\x41"), (8, Refusal::LongHello));
        assert_eq!(refused(b"\x16\x03\x01\x01\x00\x01\x00\x00\x28"), (9, Refusal::ShortHello(40)));
        assert_eq!(refused(b"\x16\x03\x01\x00\x2e\x01\x00\x00\x29"), (9, Refusal::Unaligned));
        assert_eq!(refused(b"\x16\x03\x01\x00\x2d\x01\x00\x00\x29\x02"), (10, Refusal::HelloVersion(2)));
        assert!(matches!(client_hello(&records(&message(41), 100)), Hello::Complete { bytes: 50 }));
    }

    #[test]
    fn limit_counts_records_too() {
        let most = MAX_HELLO_BYTES - HEADER_BYTES - 4;
        let stream = records(&message(most), MAX_RECORD_BYTES);
        assert_eq!(client_hello(&stream), Hello::Complete { bytes: MAX_HELLO_BYTES });
        assert_eq!(refused(&records(&message(most + 1), MAX_RECORD_BYTES)), (9, Refusal::LongHello));
        // The first record leaves one byte to a second one, which costs a header.
        assert_eq!(refused(&records(&message(most), most + 3)), (9, Refusal::LongHello));
        let stream = records(&message(most - HEADER_BYTES), 8_192);
        assert_eq!(client_hello(&stream), Hello::Complete { bytes: MAX_HELLO_BYTES });
    }

    #[test]
    fn nothing_is_incomplete_for_ever() {
        let stream = records(&message(MAX_HELLO_BYTES - 4), 1);
        assert!(refused(&stream).0 <= MAX_HELLO_BYTES);
        assert!(matches!(client_hello(&stream[..MAX_HELLO_BYTES]), Hello::Refused(Refusal::LongHello)));
    }
}
