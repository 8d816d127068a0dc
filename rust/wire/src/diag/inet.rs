//! TCP, UDP, SCTP and raw sockets (linux/inet_diag.h).

use super::{attributes, cookie_at, dropped, request, u32_at, u64_at};
use super::{NLM_F_ACK, NLM_F_DUMP, SOCK_DESTROY, SOCK_DIAG_BY_FAMILY};

/// What says which socket it is: `struct inet_diag_sockid`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SocketId {
    /// AF_INET or AF_INET6; of the addresses of the first only four bytes mean something.
    pub family: u8,
    pub local_port: u16,
    pub peer_port: u16,
    pub local: [u8; 16],
    pub peer: [u8; 16],
    /// The index of the interface that it is bound to; 0 = none.
    pub interface: u32,
    pub cookie: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inet<'a> {
    pub id: SocketId,
    pub state: u8,
    pub receive_queue: u32,
    pub send_queue: u32,
    pub uid: u32,
    pub inode: u32,
    pub only_ipv6: Option<bool>,
    pub dropped: Option<u32>,
    /// IPPROTO_*, where the kernel tells it: with raw sockets, and with those that ended.
    pub protocol: Option<u8>,
    /// `struct tcp_info` or `struct sctp_info`.
    pub information: Option<&'a [u8]>,
}

/// A message of a dump, or of a socket that ended. None if it is too short for one.
pub fn inet(body: &[u8]) -> Option<Inet<'_>> {
    let fixed: &[u8; MESSAGE_BYTES] = body.first_chunk()?;
    let mut socket = Inet {
        id: SocketId {
            family: fixed[0],
            local_port: u16::from_be_bytes([fixed[4], fixed[5]]),
            peer_port: u16::from_be_bytes([fixed[6], fixed[7]]),
            local: *fixed.get(8..)?.first_chunk()?,
            peer: *fixed.get(24..)?.first_chunk()?,
            interface: u32_at(fixed, 40)?,
            cookie: cookie_at(fixed, 44)?,
        },
        state: fixed[1],
        receive_queue: u32_at(fixed, 56)?,
        send_queue: u32_at(fixed, 60)?,
        uid: u32_at(fixed, 64)?,
        inode: u32_at(fixed, 68)?,
        only_ipv6: None,
        dropped: None,
        protocol: None,
        information: None,
    };
    for (kind, value) in attributes(body, MESSAGE_BYTES) {
        match kind {
            INET_DIAG_INFO => socket.information = Some(value),
            INET_DIAG_SKMEMINFO => socket.dropped = dropped(value),
            INET_DIAG_PROTOCOL => socket.protocol = value.first().copied(),
            INET_DIAG_SKV6ONLY => socket.only_ipv6 = value.first().map(|&only| only != 0),
            // INET_DIAG_SOCKOPT is not read: SO_REUSEADDR and SO_REUSEPORT are not among its bits.
            _ => {}
        }
    }
    Some(socket)
}

/// Asks for all sockets of a family (AF_INET or AF_INET6) and protocol in some states (bits).
pub fn inet_request(family: u8, protocol: u8, states: u32) -> Vec<u8> {
    // TCP's information, and of all what they lost.
    let extensions =
        1 << (INET_DIAG_INFO - 1) | if protocol == IPPROTO_TCP { 0 } else { 1 << (INET_DIAG_SKMEMINFO - 1) };
    request(
        SOCK_DIAG_BY_FAMILY,
        NLM_F_DUMP,
        &inet_body(&SocketId { family, ..SocketId::default() }, protocol, extensions, states),
    )
}

impl SocketId {
    /// Asks the kernel to end this socket.
    pub fn destroy_request(&self, protocol: u8) -> Vec<u8> {
        request(SOCK_DESTROY, NLM_F_ACK, &inet_body(self, protocol, 0, u32::MAX))
    }
}

/// `struct inet_diag_req_v2`.
fn inet_body(id: &SocketId, protocol: u8, extensions: u8, states: u32) -> [u8; 56] {
    let mut body = [0; 56];
    let cookie = if id.cookie == 0 { u64::MAX } else { id.cookie }; // INET_DIAG_NOCOOKIE
    let parts: [&[u8]; 9] = [
        &[id.family, protocol, extensions, 0],
        &states.to_ne_bytes(),
        &id.local_port.to_be_bytes(),
        &id.peer_port.to_be_bytes(),
        &id.local,
        &id.peer,
        &id.interface.to_ne_bytes(),
        &(cookie as u32).to_ne_bytes(),
        &((cookie >> 32) as u32).to_ne_bytes(),
    ];
    for (room, byte) in body.iter_mut().zip(parts.iter().copied().flatten()) {
        *room = *byte;
    }
    body
}

/// What TCP counts of a connection (`struct tcp_info`); a field that the kernel does not have yet is 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpInfo<'a>(pub &'a [u8]);

impl TcpInfo<'_> {
    pub fn state(&self) -> u8 {
        self.0.first().copied().unwrap_or_default()
    }

    pub fn last_data_sent_ms(&self) -> u32 {
        self.number(44)
    }

    pub fn last_data_received_ms(&self) -> u32 {
        self.number(52)
    }

    pub fn last_answer_received_ms(&self) -> u32 {
        self.number(56)
    }

    pub fn round_trip_us(&self) -> u32 {
        self.number(68)
    }

    pub fn retransmits(&self) -> u32 {
        self.number(100)
    }

    /// With one for the SYN and one for the FIN, once they were acknowledged.
    pub fn acknowledged_bytes(&self) -> u64 {
        self.large_number(120)
    }

    /// With one for the FIN.
    pub fn received_bytes(&self) -> u64 {
        self.large_number(128)
    }

    pub fn sent_segments(&self) -> u32 {
        self.number(136)
    }

    pub fn received_segments(&self) -> u32 {
        self.number(140)
    }

    /// Data alone, those that were sent again included; None before Linux 4.19.
    pub fn sent_bytes(&self) -> Option<u64> {
        u64_at(self.0, 200)
    }

    pub fn sent_again_bytes(&self) -> u64 {
        self.large_number(208)
    }

    fn number(&self, at: usize) -> u32 {
        u32_at(self.0, at).unwrap_or_default()
    }

    fn large_number(&self, at: usize) -> u64 {
        u64_at(self.0, at).unwrap_or_default()
    }
}

/// All states, with that of sockets that are bound and do not listen (Linux 6.8; others take no notice).
pub const EVERY_STATE: u32 = 0xffff;
pub const LISTENING_ONLY: u32 = 1 << 10;

const MESSAGE_BYTES: usize = 72;
const IPPROTO_TCP: u8 = 6;

const INET_DIAG_INFO: u16 = 2;
const INET_DIAG_SKMEMINFO: u16 = 7;
const INET_DIAG_PROTOCOL: u16 = 10;
const INET_DIAG_SKV6ONLY: u16 = 11;
