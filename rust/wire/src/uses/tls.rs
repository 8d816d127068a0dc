//! TLS and DTLS: the version, the name that is asked for, and what is to be spoken inside (RFC 8446, 6066, 7301).
//!
//! A hello that was cut is read as far as it goes. Whether it is a hello at all is `hello`'s matter.

use super::bytes::{be16, if_so, when};
use super::{Encrypted, Look, Row};
use crate::hello::{client_hello, Hello};

pub(super) const ROWS: &[Row] = &[
    Row::new("TLS", "web", Encrypted::Yes, &[443, 853, 993, 995, 465, 8443], tls).tcp(),
    Row::new("DTLS", "vpn", Encrypted::Yes, &[443, 4433, 2083], dtls).udp(),
];

/// What the hellos say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// The version that the server chose, as on the wire (0x0304 = TLS 1.3); without its answer the highest that was offered.
    pub version: u16,
    /// The name that the client asks for, as far as it is printable.
    pub name: Option<String>,
    /// What is to be spoken inside: the server's choice where it can be seen, else what the client would like, the best first.
    pub inside: Vec<String>,
    /// The ClientHello was all there.
    pub whole: bool,
    /// The name is hidden (RFC 9849): what `name` says then is the one that hides it.
    pub hidden: bool,
}

impl Facts {
    /// As people say it.
    pub fn version_name(&self) -> &'static str {
        match self.version {
            0x0300 => "SSL 3.0",
            0x0301 => "TLS 1.0",
            0x0302 => "TLS 1.1",
            0x0303 => "TLS 1.2",
            0x0304 => "TLS 1.3",
            0xfeff => "DTLS 1.0",
            0xfefd => "DTLS 1.2",
            0xfefc => "DTLS 1.3",
            _ => "TLS",
        }
    }
}

fn tls(look: &Look<'_>) -> u8 {
    let bytes = look.bytes;
    match *bytes {
        [22, 3, 0..=4, high, _, kind @ (1 | 2), ..] if high <= 0x48 => match kind {
            1 => match client_hello(bytes) {
                Hello::Complete { .. } => 99,
                Hello::Incomplete if bytes.len() >= 11 => 98,
                // `Unaligned` and the like: it says that it is one, and is a bad one.
                _ => 90,
            },
            _ => if_so(bytes.len() >= 11 && matches!(bytes.get(9..11), Some([3, 0..=4])), 98),
        },
        // An alert in place of an answer, of two bytes.
        [21, 3, 0..=4, 0, 2, 1 | 2, ..] => 90,
        // Records of a connection that was resumed, or whose start is not here.
        [20, 3, 0..=4, 0, 1, 1, ..] => 90,
        [23, 3, 1..=4, high, _, ..] if high <= 0x48 => 80,
        [22, 3, 0..=4, high, _, ..] if high <= 0x48 => 80,
        // SSL 2.0's hello that offers 3.x: length, type 1, version, and lengths that fit it.
        [0x80, _, 1, 3, 0..=3, _, specs, 0, 0 | 16, 0, 16 | 32, ..] if specs % 3 == 0 => 96,
        _ => 0,
    }
}

fn dtls(look: &Look<'_>) -> u8 {
    let length = be16(look.bytes, 11).map(usize::from);
    match *look.bytes {
        // Type, version, epoch 0, sequence in 48 bits, length.
        [kind @ (20..=23 | 25), 0xfe, 0xfc | 0xfd | 0xff, epoch, ..] => {
            let fits = length.is_some_and(|length| length + 13 <= look.length);
            if_so(fits && epoch == 0, if kind == 22 { 98 } else { 96 })
        }
        // OpenSSL's DTLS 0.9, which AnyConnect speaks.
        [20..=23, 1, 0, 0, ..] => when(length.map(|length| length + 13 <= look.length), 90),
        _ => 0,
    }
}

/// Whether a ClientHello stands behind something else.
pub fn begins_within(bytes: &[u8]) -> bool {
    bytes.windows(6).skip(1).any(|window| matches!(*window, [22, 3, 0..=4, high, _, 1] if high <= 0x40))
}

/// What the client said in its hello; of DTLS and of what is no hello, nothing.
pub fn offered(client: &[u8]) -> Facts {
    let whole = matches!(client_hello(client), Hello::Complete { .. });
    let mut facts = Facts { whole, ..Facts::default() };
    read_client(&handshake(client), &mut facts);
    facts
}

/// The same, and what the server chose.
pub fn answered(mut facts: Facts, server: &[u8]) -> Facts {
    read_server(&handshake(server), &mut facts);
    facts
}

/// The same for a handshake message that came without records (QUIC).
pub fn facts_of_message(message: &[u8]) -> Facts {
    let mut cursor = Cursor(message);
    let whole = cursor.take(1).is_some() && cursor.long().is_some_and(|length| cursor.0.len() >= length);
    let mut facts = Facts { whole, ..Facts::default() };
    read_client(message, &mut facts);
    facts
}

/// The payloads of handshake records, one after the other.
fn handshake(stream: &[u8]) -> Vec<u8> {
    let mut message = Vec::new();
    let mut rest = stream;
    while let [22, 3, _, high, low, payload @ ..] = rest {
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        let (here, behind) = payload.split_at(length.min(payload.len()));
        message.extend_from_slice(here);
        rest = behind;
    }
    message
}

/// RFC 8446 §4.1.2. Each `?` is where it was cut.
fn read_client(message: &[u8], facts: &mut Facts) -> Option<()> {
    let mut cursor = Cursor(message);
    if cursor.take(1)? != [1] {
        return None;
    }
    cursor.long()?;
    facts.version = cursor.short()?;
    cursor.take(32)?;
    cursor.counted_by_one()?; // session
    let ciphers = cursor.short()?;
    cursor.take(ciphers.into())?;
    cursor.counted_by_one()?; // compression
    cursor.short()?;
    loop {
        let kind = cursor.short()?;
        let length = usize::from(cursor.short()?);
        // One that is cut is read as far as it goes.
        let body = Cursor(cursor.0.get(..length).unwrap_or(cursor.0));
        match kind {
            SERVER_NAME => facts.name = server_name(body, length).or(facts.name.take()),
            ALPN => facts.inside = protocols(body),
            SUPPORTED_VERSIONS => {
                let highest = body
                    .0
                    .get(1..)
                    .unwrap_or_default()
                    .chunks_exact(2)
                    .map(|pair| u16::from_be_bytes([pair[0], pair[1]]));
                // GREASE (RFC 8701) is among them.
                facts.version =
                    highest.filter(|version| (0x0300..=0x0304).contains(version)).max().unwrap_or(facts.version);
            }
            ENCRYPTED_HELLO | ENCRYPTED_NAME => facts.hidden = true,
            _ => {}
        }
        cursor.take(length)?;
    }
}

/// RFC 8446 §4.1.3.
fn read_server(message: &[u8], facts: &mut Facts) -> Option<()> {
    let mut cursor = Cursor(message);
    if cursor.take(1)? != [2] {
        return None;
    }
    cursor.long()?;
    facts.version = cursor.short()?;
    cursor.take(32)?;
    cursor.counted_by_one()?;
    cursor.take(3)?;
    cursor.short()?;
    loop {
        let kind = cursor.short()?;
        let length = usize::from(cursor.short()?);
        let mut body = Cursor(cursor.take(length)?);
        match kind {
            SUPPORTED_VERSIONS => facts.version = body.short()?,
            ALPN => facts.inside = protocols(body),
            _ => {}
        }
    }
}

/// RFC 6066 §3: a list with one name of type 0.
fn server_name(mut body: Cursor<'_>, whole: usize) -> Option<String> {
    body.short()?;
    let kind = body.take(1)?;
    let length = usize::from(body.short()?);
    let name = body.take(length)?;
    let printable =
        name.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b'-' | b'.' | b'_'));
    let is_name = kind == [0] && printable && length + 5 <= whole && (1..=253).contains(&length);
    is_name.then(|| String::from_utf8_lossy(name).to_ascii_lowercase())
}

/// RFC 7301 §3.1; GREASE and what is not printable left out.
fn protocols(mut body: Cursor<'_>) -> Vec<String> {
    let mut names = Vec::new();
    if body.short().is_none() {
        return names;
    }
    while let Some(name) = body.counted_by_one() {
        if !name.is_empty() && name.iter().all(u8::is_ascii_graphic) && names.len() < MOST_NAMES {
            names.push(String::from_utf8_lossy(name).into_owned());
        }
    }
    names
}

struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn short(&mut self) -> Option<u16> {
        self.take(2).and_then(|bytes| be16(bytes, 0))
    }

    fn long(&mut self) -> Option<usize> {
        self.take(3).map(|bytes| bytes.iter().fold(0, |number, byte| number << 8 | usize::from(*byte)))
    }

    fn counted_by_one(&mut self) -> Option<&'a [u8]> {
        let count = *self.take(1)?.first()?;
        self.take(count.into())
    }
}

const SERVER_NAME: u16 = 0;
const ALPN: u16 = 16;
const SUPPORTED_VERSIONS: u16 = 43;
const ENCRYPTED_HELLO: u16 = 0xfe0d;
/// Its forerunner, ESNI.
const ENCRYPTED_NAME: u16 = 0xffce;
const MOST_NAMES: usize = 16;
