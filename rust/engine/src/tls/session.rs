//! One side of one TLS connection: ciphertext in, plaintext out, and the other way round. No socket in here.

use rustls::client::{ClientConnectionData, UnbufferedClientConnection};
use rustls::pki_types::ServerName;
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncodeTlsData, EncryptError, InsufficientSizeError, UnbufferedStatus,
};
use rustls::{CommonState, HandshakeKind};
use socketkit_wire::fingerprint::Fingerprint;

use super::{fingerprint, ClientTls, Fault, Rejected, ServerTls, OVERHEAD_BYTES, RECORD_BYTES};

pub struct Session {
    side: Side,
    /// The beginning of a record, or of a handshake message in several, whose end has not arrived.
    rest: Vec<u8>,
    /// A server has looked at who resumes, once.
    admitted: bool,
    ended: bool,
    ending: bool,
    fault: Option<Fault>,
}

enum Side {
    Client(UnbufferedClientConnection),
    Server(UnbufferedServerConnection, ServerTls),
}

impl Session {
    /// `name` is what the server's certificate must be for, and what is asked for (SNI) unless it is an IP address.
    pub fn client(configuration: &ClientTls, name: &str) -> Result<Self, Fault> {
        let name = ServerName::try_from(name.to_owned())
            .map_err(|_| Fault::Local(format!("{name} is no valid server name")))?;
        Ok(Self::new(Side::Client(UnbufferedClientConnection::new(configuration.config.clone(), name)?)))
    }

    pub fn server(configuration: &ServerTls) -> Result<Self, Fault> {
        let connection = UnbufferedServerConnection::new(configuration.config.clone())?;
        Ok(Self::new(Side::Server(connection, configuration.clone())))
    }

    fn new(side: Side) -> Self {
        Self { side, rest: Vec::new(), admitted: false, ended: false, ending: false, fault: None }
    }

    /// Puts what is left of a record in front of `into` (at least `BUFFER_BYTES`); new ciphertext belongs behind it. Says how much that is.
    pub fn put_rest(&self, into: &mut [u8]) -> usize {
        into[..self.rest.len()].copy_from_slice(&self.rest);
        self.rest.len()
    }

    /// Takes in `ciphertext` (with the rest in front). Each record's plaintext is lent to `plain`; what must be sent in answer is
    /// appended to `answer`, after a fault too (the alert that tells the peer).
    pub fn open(
        &mut self,
        ciphertext: &mut [u8],
        plain: &mut dyn FnMut(&[u8]),
        answer: &mut Vec<u8>,
    ) -> Result<(), Fault> {
        if let Some(fault) = &self.fault {
            return Err(fault.clone());
        }
        let turned = match &mut self.side {
            Side::Client(connection) => turn(connection, ciphertext, plain, answer),
            Side::Server(connection, _) => turn(connection, ciphertext, plain, answer),
        };
        let kept = turned.and_then(|turned| {
            self.admit()?;
            self.ended |= turned.ended;
            let used = if self.ended { ciphertext.len() } else { turned.used };
            self.keep(&ciphertext[used..])
        });
        match kept {
            Ok(()) => Ok(()),
            Err(fault) => {
                self.rest = Vec::new();
                self.fault = Some(fault.clone());
                Err(fault)
            }
        }
    }

    /// Seals `data` (not empty) into `into`, which has room for `sealed_bytes(data.len())`; says how much that gave. Only after the
    /// handshake, and before `end`.
    pub fn seal(&mut self, data: &[u8], into: &mut [u8]) -> Result<usize, Fault> {
        self.write(Outgoing::Data(data), into)
    }

    /// Writes close_notify into `into` (`sealed_bytes(0)`): how many bytes; 0 if it has been said before, or cannot be said any more.
    pub fn end(&mut self, into: &mut [u8]) -> usize {
        if self.ending || self.fault.is_some() || self.common().is_handshaking() {
            return 0;
        }
        self.ending = true;
        self.write(Outgoing::End, into).unwrap_or(0)
    }

    pub fn handshaking(&self) -> bool {
        self.common().is_handshaking()
    }

    /// Whether the peer has said that nothing more will come.
    pub fn ended(&self) -> bool {
        self.ended
    }

    /// Whether a record has begun to arrive and is not whole.
    pub fn inside_record(&self) -> bool {
        !self.rest.is_empty()
    }

    pub fn kept_bytes(&self) -> usize {
        self.rest.capacity()
    }

    /// What the peer has proved: that it has this key.
    pub fn fingerprint(&self) -> Option<Fingerprint> {
        fingerprint(self.common().peer_certificates()?.first()?).ok()
    }

    /// Whether the peer was asked for a key, and has proved one that is on the list.
    pub fn authorized(&self) -> bool {
        matches!(&self.side, Side::Server(_, ServerTls { authorized: Some(_), .. })) && !self.handshaking()
    }

    /// The application protocol that both sides have agreed on (RFC 7301).
    pub fn protocol(&self) -> Option<&[u8]> {
        self.common().alpn_protocol()
    }

    /// The cipher and the key exchange, by their standard names.
    pub fn ciphers(&self) -> Option<(String, String)> {
        let cipher = self.common().negotiated_cipher_suite()?.suite();
        let exchange = self.common().negotiated_key_exchange_group()?.name();
        Some((format!("{cipher:?}"), format!("{exchange:?}")))
    }

    pub fn resumed(&self) -> bool {
        self.common().handshake_kind() == Some(HandshakeKind::Resumed)
    }

    /// What a server looks at when the handshake is done. Both sides must have agreed on a protocol, where one is required.
    ///
    /// A client that resumes has proved its key before; meanwhile it may have been taken off the list. Its tickets are void then
    /// (`tickets`); this is for a change between the two looks.
    fn admit(&mut self) -> Result<(), Fault> {
        if self.admitted || self.handshaking() {
            return Ok(());
        }
        self.admitted = true;
        if self.protocol().is_none() && matches!(&self.side, Side::Server(_, ServerTls { protocol_required: true, .. }))
        {
            return Err(Fault::Violation(
                "the peer names no application protocol (ALPN), and one is required".to_owned(),
            ));
        }
        match &self.side {
            Side::Server(_, ServerTls { authorized: Some(file), .. }) if self.resumed() => {
                let peer = self.fingerprint();
                if peer.is_some_and(|peer| file.allows(&peer)) {
                    return Ok(());
                }
                Err(Fault::Untrusted(Rejected::withdrawn(peer)))
            }
            _ => Ok(()),
        }
    }

    fn keep(&mut self, rest: &[u8]) -> Result<(), Fault> {
        if rest.len() > REST_BYTES {
            return Err(Fault::Violation("broken TLS: a handshake message in too many parts".to_owned()));
        }
        if rest.is_empty() {
            // An idle connection keeps no buffer.
            self.rest = Vec::new();
        } else {
            self.rest.clear();
            self.rest.extend_from_slice(rest);
        }
        Ok(())
    }

    fn write(&mut self, what: Outgoing<'_>, into: &mut [u8]) -> Result<usize, Fault> {
        if let Some(fault) = &self.fault {
            return Err(fault.clone());
        }
        let written = match &mut self.side {
            Side::Client(connection) => write(connection, &mut self.rest, what, into, &mut self.ended),
            Side::Server(connection, _) => write(connection, &mut self.rest, what, into, &mut self.ended),
        };
        if let Err(fault) = &written {
            self.fault = Some(fault.clone());
        }
        written
    }

    fn common(&self) -> &CommonState {
        match &self.side {
            Side::Client(connection) => connection,
            Side::Server(connection, _) => connection,
        }
    }
}

/// How much room sealing `plain` bytes needs at most, with what may have to go before it (a change of keys, RFC 8446 §4.6.3).
pub const fn sealed_bytes(plain: usize) -> usize {
    plain + (plain / RECORD_BYTES + 1) * OVERHEAD_BYTES + CONTROL_BYTES
}

const CONTROL_BYTES: usize = 256;

/// What may wait for the rest of a message: the longest that rustls takes (64 KiB), in records that carry little. A stranger who cuts it
/// into single bytes would have a megabyte kept.
const REST_BYTES: usize = 96 * 1024;

/// The room for the rest of a message and at least the longest record behind it (RFC 8446 §5.2).
pub const BUFFER_BYTES: usize = REST_BYTES + 3 * RECORD_BYTES + 512;

/// What both of rustls's sides can do.
trait Machine {
    type Data;
    fn step<'c, 'i>(&'c mut self, ciphertext: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data>;
}

impl Machine for UnbufferedClientConnection {
    type Data = ClientConnectionData;
    fn step<'c, 'i>(&'c mut self, ciphertext: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(ciphertext)
    }
}

impl Machine for UnbufferedServerConnection {
    type Data = ServerConnectionData;
    fn step<'c, 'i>(&'c mut self, ciphertext: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(ciphertext)
    }
}

struct Turned {
    used: usize,
    ended: bool,
}

/// Lets the machine take all whole records.
fn turn<M: Machine>(
    machine: &mut M,
    ciphertext: &mut [u8],
    plain: &mut dyn FnMut(&[u8]),
    answer: &mut Vec<u8>,
) -> Result<Turned, Fault> {
    let mut turned = Turned { used: 0, ended: false };
    loop {
        let UnbufferedStatus { mut discard, state } = machine.step(&mut ciphertext[turned.used..]);
        let mut done = false;
        let state = match state {
            Ok(state) => state,
            Err(error) => {
                let used = turned.used + discard;
                give_alert(machine, &mut ciphertext[used..], answer);
                return Err(error.into());
            }
        };
        match state {
            ConnectionState::ReadTraffic(mut traffic) => {
                while let Some(record) = traffic.next_record() {
                    let record = record?;
                    discard += record.discard;
                    plain(record.payload);
                }
            }
            ConnectionState::EncodeTlsData(mut data) => append(&mut data, answer)?,
            ConnectionState::TransmitTlsData(sent) => sent.done(),
            ConnectionState::PeerClosed => turned.ended = true,
            _ => done = true,
        }
        turned.used += discard;
        if done {
            return Ok(turned);
        }
    }
}

/// After an error: what tells the peer, behind what was to be sent before it. Not a step further: rustls would look at the same bytes
/// again, and complain again.
fn give_alert<M: Machine>(machine: &mut M, ciphertext: &mut [u8], answer: &mut Vec<u8>) {
    loop {
        let begin = answer.len();
        let UnbufferedStatus { state, .. } = machine.step(ciphertext);
        let Ok(ConnectionState::EncodeTlsData(mut data)) = state else { return };
        if append(&mut data, answer).is_err() || is_alert(&answer[begin..]) {
            return;
        }
    }
}

/// In plain text by its type, else by its length, which no other message has.
fn is_alert(record: &[u8]) -> bool {
    matches!(record.first(), Some(21)) || record.len() == 2 + OVERHEAD_BYTES
}

enum Outgoing<'a> {
    Data(&'a [u8]),
    End,
}

/// `rest` goes along: rustls counts on finding what it has seen of a message that came in parts.
fn write<M: Machine>(
    machine: &mut M,
    rest: &mut Vec<u8>,
    what: Outgoing<'_>,
    into: &mut [u8],
    ended: &mut bool,
) -> Result<usize, Fault> {
    let mut written = 0;
    loop {
        let UnbufferedStatus { discard, state } = machine.step(rest);
        let mut sealed = None;
        match state? {
            ConnectionState::WriteTraffic(mut traffic) => {
                let room = &mut into[written..];
                sealed = Some(match what {
                    Outgoing::Data(data) => traffic.encrypt(data, room),
                    Outgoing::End => traffic.queue_close_notify(room),
                });
            }
            ConnectionState::EncodeTlsData(mut data) => match data.encode(&mut into[written..]) {
                Ok(count) => written += count,
                Err(failure) => return Err(Fault::Local(failure.to_string())),
            },
            ConnectionState::TransmitTlsData(sent) => sent.done(),
            ConnectionState::PeerClosed => *ended = true,
            _ => return Err(Fault::Local("the TLS handshake is not over".to_owned())),
        }
        rest.drain(..discard.min(rest.len()));
        match sealed {
            None => {}
            Some(Ok(count)) => return Ok(written + count),
            Some(Err(EncryptError::InsufficientSize(_))) => {
                return Err(Fault::Local("no room for a TLS record".to_owned()));
            }
            Some(Err(EncryptError::EncryptExhausted)) => {
                return Err(Fault::Local("the TLS keys are used up".to_owned()));
            }
        }
    }
}

fn append<D>(data: &mut EncodeTlsData<'_, D>, answer: &mut Vec<u8>) -> Result<(), Fault> {
    let begin = answer.len();
    // Asked with no room it says how much it needs.
    if let Err(EncodeError::InsufficientSize(InsufficientSizeError { required_size })) = data.encode(&mut []) {
        answer.resize(begin + required_size, 0);
    }
    data.encode(&mut answer[begin..]).map(drop).map_err(|failure| Fault::Local(failure.to_string()))
}
