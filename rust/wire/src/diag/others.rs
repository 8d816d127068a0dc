//! Unix, packet and vsock sockets (linux/unix_diag.h, packet_diag.h, vm_sockets_diag.h).

use super::{attributes, cookie_at, dropped, request, u16_at, u32_at, NLM_F_DUMP, SOCK_DIAG_BY_FAMILY};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unix<'a> {
    /// SOCK_*
    pub kind: u8,
    pub state: u8,
    pub inode: u32,
    pub cookie: u64,
    /// A path, or a NUL and an abstract name.
    pub name: &'a [u8],
    /// The inode of the peer; 0 = none.
    pub peer: u32,
    pub receive_queue: u32,
    pub send_queue: u32,
    pub uid: Option<u32>,
    pub dropped: Option<u32>,
}

pub fn unix(body: &[u8]) -> Option<Unix<'_>> {
    let fixed: &[u8; 16] = body.first_chunk()?;
    let mut socket = Unix {
        kind: fixed[1],
        state: fixed[2],
        inode: u32_at(fixed, 4)?,
        cookie: cookie_at(fixed, 8)?,
        name: &[],
        peer: 0,
        receive_queue: 0,
        send_queue: 0,
        uid: None,
        dropped: None,
    };
    for (kind, value) in attributes(body, fixed.len()) {
        match kind {
            UNIX_DIAG_NAME => socket.name = value,
            UNIX_DIAG_PEER => socket.peer = u32_at(value, 0).unwrap_or_default(),
            UNIX_DIAG_RQLEN => {
                socket.receive_queue = u32_at(value, 0).unwrap_or_default();
                socket.send_queue = u32_at(value, 4).unwrap_or_default();
            }
            UNIX_DIAG_MEMINFO => socket.dropped = dropped(value),
            UNIX_DIAG_UID => socket.uid = u32_at(value, 0),
            _ => {}
        }
    }
    Some(socket)
}

pub fn unix_request() -> Vec<u8> {
    let show = UDIAG_SHOW_NAME | UDIAG_SHOW_PEER | UDIAG_SHOW_RQLEN | UDIAG_SHOW_MEMINFO | UDIAG_SHOW_UID;
    request(SOCK_DIAG_BY_FAMILY, NLM_F_DUMP, &with_states(AF_UNIX, show))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    /// SOCK_*
    pub kind: u8,
    /// The EtherType.
    pub protocol: u16,
    pub inode: u32,
    pub cookie: u64,
    pub interface: u32,
    pub uid: Option<u32>,
    pub receive_queue: u32,
    pub dropped: Option<u32>,
}

pub fn packet(body: &[u8]) -> Option<Packet> {
    let fixed: &[u8; 16] = body.first_chunk()?;
    let mut socket = Packet {
        kind: fixed[1],
        protocol: u16_at(fixed, 2)?,
        inode: u32_at(fixed, 4)?,
        cookie: cookie_at(fixed, 8)?,
        interface: 0,
        uid: None,
        receive_queue: 0,
        dropped: None,
    };
    for (kind, value) in attributes(body, fixed.len()) {
        match kind {
            PACKET_DIAG_INFO => socket.interface = u32_at(value, 0).unwrap_or_default(),
            PACKET_DIAG_UID => socket.uid = u32_at(value, 0),
            PACKET_DIAG_MEMINFO => {
                socket.receive_queue = u32_at(value, 0).unwrap_or_default();
                socket.dropped = dropped(value);
            }
            _ => {}
        }
    }
    Some(socket)
}

pub fn packet_request() -> Vec<u8> {
    let show = PACKET_SHOW_INFO | PACKET_SHOW_MEMINFO;
    let mut body = [0; 20];
    body[0] = AF_PACKET;
    body[8..12].copy_from_slice(&show.to_ne_bytes());
    body[12..].fill(0xff); // no cookie
    request(SOCK_DIAG_BY_FAMILY, NLM_F_DUMP, &body)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vsock {
    /// SOCK_*
    pub kind: u8,
    pub state: u8,
    /// (context id, port)
    pub local: (u32, u32),
    pub peer: (u32, u32),
    pub inode: u32,
    pub cookie: u64,
}

pub fn vsock(body: &[u8]) -> Option<Vsock> {
    let fixed: &[u8; 32] = body.first_chunk()?;
    Some(Vsock {
        kind: fixed[1],
        state: fixed[2],
        local: (u32_at(fixed, 4)?, u32_at(fixed, 8)?),
        peer: (u32_at(fixed, 12)?, u32_at(fixed, 16)?),
        inode: u32_at(fixed, 20)?,
        cookie: cookie_at(fixed, 24)?,
    })
}

pub fn vsock_request() -> Vec<u8> {
    request(SOCK_DIAG_BY_FAMILY, NLM_F_DUMP, &with_states(AF_VSOCK, 0))
}

/// `struct unix_diag_req`; that of vsock sockets is the same.
fn with_states(family: u8, show: u32) -> [u8; 24] {
    let mut body = [0; 24];
    body[0] = family;
    body[4..8].fill(0xff);
    body[12..16].copy_from_slice(&show.to_ne_bytes());
    body[16..].fill(0xff); // no cookie
    body
}

const AF_UNIX: u8 = 1;
const AF_PACKET: u8 = 17;
const AF_VSOCK: u8 = 40;

const UNIX_DIAG_NAME: u16 = 0;
const UNIX_DIAG_PEER: u16 = 2;
const UNIX_DIAG_RQLEN: u16 = 4;
const UNIX_DIAG_MEMINFO: u16 = 5;
const UNIX_DIAG_UID: u16 = 7;
const UDIAG_SHOW_NAME: u32 = 1;
const UDIAG_SHOW_PEER: u32 = 4;
const UDIAG_SHOW_RQLEN: u32 = 16;
const UDIAG_SHOW_MEMINFO: u32 = 32;
const UDIAG_SHOW_UID: u32 = 64;

const PACKET_DIAG_INFO: u16 = 0;
const PACKET_DIAG_UID: u16 = 5;
const PACKET_DIAG_MEMINFO: u16 = 6;
const PACKET_SHOW_INFO: u32 = 1;
const PACKET_SHOW_MEMINFO: u32 = 16;
