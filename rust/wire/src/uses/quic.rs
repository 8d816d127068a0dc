//! QUIC's long headers (RFC 8999 §5.1, RFC 9000 §17.2), and Google's QUIC before it.
//!
//! A client's first datagram is sealed with keys that anyone can make from the connection's id in it (RFC 9001 §5.2). Here are the parts
//! that need no cipher: where they stand, and how the pieces of the hello (CRYPTO frames) are put together.

use super::bytes::{be16, be32, if_so};
use super::Look;

/// A sealed Initial packet, and where its parts are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Initial<'a> {
    pub version: u32,
    pub destination: &'a [u8],
    /// The whole packet, from its first byte.
    pub packet: &'a [u8],
    /// Where the packet's number begins, still masked.
    pub number_at: usize,
}

pub(super) fn look(look: &Look<'_>) -> u8 {
    let bytes = look.bytes;
    let (Some(first), Some(version)) = (bytes.first(), be32(bytes, 1)) else { return 0 };
    if first & 0x80 != 0 && be16(bytes, 5).is_some() {
        let lengths = bytes.get(5).copied().unwrap_or(0xff);
        return match version {
            // Ids have at most 20 bytes, Google's 50 had lengths of both in one byte.
            1 | 0x6b33_43cf | 0x709a_50c4 | 0xff00_0000..=0xff00_00ff | 0xff02_0000..=0xff02_00ff if lengths <= 20 => {
                // The client's first is padded to 1,200 bytes.
                if first & 0x40 == 0 {
                    0
                } else if look.length >= 1_200 || first & 0x30 != 0 {
                    98
                } else {
                    90
                }
            }
            0xface_b000..=0xface_b0ff if lengths <= 20 => 98,
            0x5130_3436..=0x5130_3530 | 0x5430_3530..=0x5430_3539 if look.length >= 20 => 97,
            _ if version & 0x0f0f_0f0f == 0x0a0a_0a0a && lengths <= 20 => if_so(look.length >= 1_200, 96),
            0 if lengths <= 20 && first & 0x40 != 0 => 60,
            _ => 0,
        };
    }
    google(look)
}

/// Before version 46: flags, an id of 8 bytes, a version as text; after the first answer without it.
fn google(look: &Look<'_>) -> u8 {
    match *look.bytes {
        [0x09 | 0x0d | 0x08 | 0x0c, _, _, _, _, _, _, _, _, b'Q' | b'T', b'0', digit, last, ..] => {
            if_so(digit.is_ascii_digit() && last.is_ascii_digit(), 97)
        }
        _ => 0,
    }
}

/// The Initial packet at a datagram's start, of the versions whose keys are known.
pub fn initial(datagram: &[u8]) -> Option<Initial<'_>> {
    let first = *datagram.first()?;
    let version = be32(datagram, 1)?;
    // Version 2 numbers its packets differently (RFC 9369 §3.2).
    let kind = if version == VERSION_2 { 1 } else { 0 };
    if first & 0xc0 != 0xc0 || first >> 4 & 3 != kind || !matches!(version, 1 | VERSION_2 | 0xff00_001d..=0xff00_0022) {
        return None;
    }
    let mut at = 5;
    let destination_bytes = usize::from(*datagram.get(at)?);
    at += 1;
    let destination = datagram.get(at..at + destination_bytes)?;
    at += destination_bytes;
    at += 1 + usize::from(*datagram.get(at)?);
    let (token, read) = number(datagram.get(at..)?)?;
    at = at.checked_add(read)?.checked_add(usize::try_from(token).ok()?)?;
    let (length, read) = number(datagram.get(at..)?)?;
    at += read;
    let end = at.checked_add(usize::try_from(length).ok()?)?;
    let is_id = (1..=20).contains(&destination_bytes);
    is_id.then_some(Initial { version, destination, packet: datagram.get(..end)?, number_at: at })
}

/// Puts CRYPTO frames in `payload` into `message` at their places; nothing else may stand in an Initial but PADDING, PING and ACK.
///
/// `have` says which bytes of `message` are there.
pub fn gather(payload: &[u8], message: &mut Vec<u8>, have: &mut Vec<bool>) -> Option<()> {
    let mut rest = payload;
    while let Some((kind, behind)) = rest.split_first() {
        rest = behind;
        match kind {
            0 | 1 => {}
            2 | 3 => {
                for _ in 0..2 {
                    rest = skip(rest)?.1;
                }
                let (ranges, behind) = skip(rest)?;
                rest = skip(behind)?.1;
                for _ in 0..ranges.min(64) * 2 + if *kind == 3 { 3 } else { 0 } {
                    rest = skip(rest)?.1;
                }
            }
            6 => {
                let (offset, behind) = skip(rest)?;
                let (length, behind) = skip(behind)?;
                let length = usize::try_from(length).ok()?;
                let data = behind.get(..length)?;
                let offset = usize::try_from(offset).ok()?;
                let end = offset.checked_add(length).filter(|end| *end <= MOST_MESSAGE_BYTES)?;
                if message.len() < end {
                    message.resize(end, 0);
                    have.resize(end, false);
                }
                message.get_mut(offset..end)?.copy_from_slice(data);
                have.get_mut(offset..end)?.fill(true);
                rest = behind.get(length..)?;
            }
            _ => return None,
        }
    }
    Some(())
}

fn skip(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (value, read) = number(bytes)?;
    Some((value, bytes.get(read..)?))
}

/// RFC 9000 §16, and how many bytes it took.
fn number(bytes: &[u8]) -> Option<(u64, usize)> {
    let first = *bytes.first()?;
    let length = 1_usize << (first >> 6);
    let value =
        bytes.get(..length)?.iter().skip(1).fold(u64::from(first & 0x3f), |value, byte| value << 8 | u64::from(*byte));
    Some((value, length))
}

pub const VERSION_2: u32 = 0x6b33_43cf;
const MOST_MESSAGE_BYTES: usize = 16 * 1024;
