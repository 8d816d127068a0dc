//! What sock_diag says of sockets (man 7 sock_diag): netlink messages in, their fields out, and the requests for them.
//!
//! Nothing is copied or allocated: a hundred thousand sockets are thirty megabytes of messages, and most of what is in them nobody
//! asks for. Every field is taken by offset and may be missing: kernels add to the end of these structures, and old ones have less.

mod inet;
mod others;

pub use inet::{inet, inet_request, Inet, SocketId, TcpInfo, EVERY_STATE, LISTENING_ONLY};
pub use others::{packet, packet_request, unix, unix_request, vsock, vsock_request, Packet, Unix, Vsock};

/// The messages of a dump's piece, or of a datagram of events.
#[derive(Clone, Debug)]
pub struct Messages<'a> {
    rest: &'a [u8],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message<'a> {
    /// A socket; its shape is that of the family asked for.
    Socket { kind: u16, body: &'a [u8] },
    /// The end of a dump.
    Done,
    /// The kernel's answer to a request: 0, or the number of an error.
    Answer(i32),
    /// Something that is no news of sockets.
    Other,
}

/// Netlink messages that stand one behind the other; what is cut off or has a length that cannot be is not given.
pub fn messages(bytes: &[u8]) -> Messages<'_> {
    Messages { rest: bytes }
}

impl<'a> Iterator for Messages<'a> {
    type Item = Message<'a>;

    fn next(&mut self) -> Option<Message<'a>> {
        let length = u32_at(self.rest, 0)? as usize;
        let kind = u16_at(self.rest, 4)?;
        let body = self.rest.get(HEADER_BYTES..length)?;
        self.rest = self.rest.get(aligned(length)..).unwrap_or_default();
        Some(match kind {
            NLMSG_DONE if refused(body) == 0 => Message::Done,
            NLMSG_DONE | NLMSG_ERROR => Message::Answer(refused(body)),
            SOCK_DIAG_BY_FAMILY | SOCK_DESTROY => Message::Socket { kind, body },
            _ => Message::Other,
        })
    }
}

/// The number of an error, which the kernel writes with a minus, at the end of a dump too; 0 = none.
fn refused(body: &[u8]) -> i32 {
    u32_at(body, 0).map_or(0, |number| (number as i32).saturating_neg())
}

/// The attributes behind the fixed part of a message: (type, value).
#[derive(Clone, Debug)]
pub(crate) struct Attributes<'a> {
    rest: &'a [u8],
}

pub(crate) fn attributes(body: &[u8], fixed_bytes: usize) -> Attributes<'_> {
    Attributes { rest: body.get(fixed_bytes..).unwrap_or_default() }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<(u16, &'a [u8])> {
        let length = usize::from(u16_at(self.rest, 0)?);
        let kind = u16_at(self.rest, 2)?;
        let value = self.rest.get(ATTRIBUTE_BYTES..length)?;
        self.rest = self.rest.get(aligned(length)..).unwrap_or_default();
        Some((kind & ATTRIBUTE_TYPE, value))
    }
}

/// `struct nlmsghdr` and behind it the family's request.
pub(crate) fn request(kind: u16, flags: u16, body: &[u8]) -> Vec<u8> {
    let length = HEADER_BYTES + body.len();
    let mut message = Vec::with_capacity(length);
    message.extend_from_slice(&(length as u32).to_ne_bytes());
    message.extend_from_slice(&kind.to_ne_bytes());
    message.extend_from_slice(&(NLM_F_REQUEST | flags).to_ne_bytes());
    message.extend_from_slice(&[0; 8]); // sequence and port: one request at a time on a socket of its own
    message.extend_from_slice(body);
    message
}

pub(crate) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// Two halves, the lower one first, wherever they stand.
pub(crate) fn cookie_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from(u32_at(bytes, at)?) | u64::from(u32_at(bytes, at + 4)?) << 32)
}

/// The ninth number of `SK_MEMINFO_VARS` is what was dropped, the first what waits to be received.
pub(crate) fn dropped(memory: &[u8]) -> Option<u32> {
    u32_at(memory, 32)
}

fn aligned(length: usize) -> usize {
    length.saturating_add(3) & !3
}

const HEADER_BYTES: usize = 16;
const ATTRIBUTE_BYTES: usize = 4;
/// Two bits of an attribute's type say how its value is written.
const ATTRIBUTE_TYPE: u16 = 0x3fff;

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLM_F_REQUEST: u16 = 0x001;
pub(crate) const NLM_F_ACK: u16 = 0x004;
pub(crate) const NLM_F_DUMP: u16 = 0x300;
/// A request for sockets, and what answers it.
pub const SOCK_DIAG_BY_FAMILY: u16 = 20;
/// A request that ends a socket.
pub const SOCK_DESTROY: u16 = 21;

#[cfg(test)]
mod tests;
