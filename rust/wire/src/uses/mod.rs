//! What a connection speaks, judged by the first bytes that each side sent.
//!
//! A protocol is one row in one of the tables below: a name, what it is used for, whether it encrypts, its usual ports, and a function
//! that looks at the start of one side. The function says how sure it is, in percent; at `CERTAIN` and above nothing that follows
//! changes the verdict's family. A port never makes a verdict: where bytes are a weak sign, a usual port makes it a better one.

mod bytes;
mod chat;
mod control;
mod databases;
mod files;
mod games;
mod media;
mod names;
mod packet;
mod queues;
pub mod quic;
pub mod random;
mod remote;
pub mod tls;
mod tunnels;
mod web;

pub use packet::{segment, Segment};

/// From here on, a verdict stays.
pub const CERTAIN: u8 = 95;

/// Of each side of a connection so much is kept, except for hellos.
pub const START_BYTES: usize = 127;

/// A TLS or QUIC hello is kept up to this, since the name in it often stands far behind.
pub const HELLO_BYTES: usize = 2_048;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Transport {
    Tcp,
    Udp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Encrypted {
    Yes,
    No,
    /// The bytes of it look random; that may also be compression.
    RandomLooking,
    Unknown,
}

impl Encrypted {
    pub fn word(self) -> &'static str {
        match self {
            Encrypted::Yes => "yes",
            Encrypted::No => "no",
            Encrypted::RandomLooking => "random-looking",
            Encrypted::Unknown => "unknown",
        }
    }
}

/// A later datagram of the same side: its start, and how long it was.
pub type Head = ([u8; 16], u32);

/// The start of one side.
#[derive(Clone, Copy, Debug, Default)]
pub struct Start<'a> {
    /// TCP: from the first byte of the connection on. UDP: of the first datagram.
    pub bytes: &'a [u8],
    /// How long the first datagram was; 0 for TCP.
    pub datagram_bytes: usize,
    /// UDP: the datagrams after it, as many as were kept.
    pub following: &'a [Head],
}

/// What a row's function is shown: the start of one side.
#[derive(Clone, Copy, Debug)]
struct Look<'a> {
    transport: Transport,
    bytes: &'a [u8],
    /// UDP: the whole length of the datagram. TCP: of what is here.
    length: usize,
    following: &'a [Head],
    ports: [u16; 2],
}

impl<'a> Look<'a> {
    fn at(start: Start<'a>, transport: Transport, ports: [u16; 2]) -> Look<'a> {
        let length = if transport == Transport::Udp { start.datagram_bytes } else { start.bytes.len() };
        Look { transport, bytes: start.bytes, length, following: start.following, ports }
    }

    fn is_udp(&self) -> bool {
        self.transport == Transport::Udp
    }

    fn has_port(&self, port: u16) -> bool {
        self.ports.contains(&port)
    }
}

/// One protocol.
#[derive(Debug)]
pub struct Row {
    pub protocol: &'static str,
    pub purpose: &'static str,
    pub encrypted: Encrypted,
    pub transport: Option<Transport>,
    pub ports: &'static [u16],
    /// Rows of one family are one protocol, the later ones known in more detail: WebSocket begins as HTTP.
    pub family: &'static str,
    look: fn(&Look<'_>) -> u8,
}

impl Row {
    const fn new(
        protocol: &'static str,
        purpose: &'static str,
        encrypted: Encrypted,
        ports: &'static [u16],
        look: fn(&Look<'_>) -> u8,
    ) -> Row {
        Row { protocol, purpose, encrypted, transport: None, ports, family: protocol, look }
    }

    const fn tcp(self) -> Row {
        Row { transport: Some(Transport::Tcp), ..self }
    }

    const fn udp(self) -> Row {
        Row { transport: Some(Transport::Udp), ..self }
    }

    const fn of(self, family: &'static str) -> Row {
        Row { family, ..self }
    }

    fn weigh(&self, look: &Look<'_>) -> u8 {
        if self.transport.is_some_and(|transport| transport != look.transport) || look.bytes.is_empty() {
            return 0;
        }
        let sure = (self.look)(look).min(99);
        // Two weak signs that agree are a good one, and still no certainty.
        if (1..CERTAIN).contains(&sure) && self.ports.iter().any(|port| look.has_port(*port)) {
            return (sure + AGREEMENT).min(CERTAIN - 1);
        }
        sure
    }
}

/// What it is.
#[derive(Clone, Copy, Debug)]
pub struct Verdict {
    pub row: &'static Row,
    /// In percent.
    pub sure: u8,
    pub encrypted: Encrypted,
    /// It began in the clear and went over to TLS.
    pub upgraded: bool,
}

/// Which protocol two sides speak; None if no row fits.
pub fn classify(transport: Transport, ports: [u16; 2], client: Start<'_>, server: Start<'_>) -> Option<Verdict> {
    let (client, server) = (Look::at(client, transport, ports), Look::at(server, transport, ports));
    let mut best: Option<(&Row, u8, bool)> = None;
    for row in TABLES.iter().copied().flatten() {
        let (asked, answered) = (row.weigh(&client), row.weigh(&server));
        let sure = match (asked, answered) {
            // Both sides say the same.
            (1.., 1..) => {
                let most = if asked.max(answered) >= CERTAIN { 99 } else { CERTAIN - 1 };
                (asked.max(answered) + asked.min(answered) / 4).min(most)
            }
            _ => asked.max(answered),
        };
        let certain = asked >= CERTAIN;
        // Of two that are certain, the one that asked says what it is.
        let better = best
            .is_none_or(|(_, before, by_client)| (certain && !by_client) || (sure > before && (certain || !by_client)));
        if sure > 0 && better {
            best = Some((row, sure, certain));
        }
    }
    let (row, sure, _) = best?;
    let upgraded = transport == Transport::Tcp && UPGRADES.contains(&row.family) && tls::begins_within(client.bytes);
    let encrypted = if upgraded { Encrypted::Yes } else { row.encrypted };
    Some(Verdict { row, sure, encrypted, upgraded })
}

/// Every protocol that can be told.
pub fn rows() -> impl Iterator<Item = &'static Row> {
    TABLES.iter().copied().flatten()
}

/// Whether a side that no row fits looks random, the longer one first.
pub fn looks_random(client: &[u8], server: &[u8]) -> Encrypted {
    let longer = if client.len() >= server.len() { client } else { server };
    match random::looks_random(longer) {
        None => Encrypted::Unknown,
        Some(true) => Encrypted::RandomLooking,
        // Structure does not mean that nothing in it is encrypted.
        Some(false) => Encrypted::Unknown,
    }
}

/// In the order in which equals are asked: what is exact first.
const TABLES: &[&[Row]] = &[
    tls::ROWS,
    web::ROWS,
    remote::ROWS,
    chat::ROWS,
    databases::ROWS,
    queues::ROWS,
    files::ROWS,
    games::ROWS,
    media::ROWS,
    tunnels::ROWS,
    names::ROWS,
    control::ROWS,
];

/// Protocols that begin in the clear and may go over to TLS.
const UPGRADES: &[&str] = &[
    "SMTP",
    "IMAP",
    "POP3",
    "FTP",
    "XMPP",
    "PostgreSQL",
    "MySQL",
    "LDAP",
    "RDP",
    "NNTP",
    "IRC",
    "TDS",
    "AMQP",
    "NATS",
    "SOCKS",
    "HTTP proxy",
    "VNC",
    "PROXY",
];

const AGREEMENT: u8 = 25;

#[cfg(test)]
mod tests;
