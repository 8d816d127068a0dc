//! One packet in a block: where its parts stand (linux/if_packet.h), and how it looks in a file.

use std::mem::offset_of;

/// What packets begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    Ethernet,
    /// The kernel has taken the link's own header off. In its place stands one that says what the kernel knows of the packet
    /// (LINKTYPE_LINUX_SLL2, tcpdump.org/linktypes), the same for every kind of link.
    Cooked,
}

impl Link {
    /// Its number in capture files and for libpcap's compiler.
    pub const fn number(self) -> u16 {
        match self {
            Link::Ethernet => 1,
            Link::Cooked => 276,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    In,
    Broadcast,
    Multicast,
    /// For another machine.
    Other,
    Out,
}

/// A packet, lent out of the shared memory.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    pub timestamp_ns: u64,
    /// The number of the interface that it was seen on.
    pub interface: u32,
    pub(super) hardware: u16,
    /// In network order, as the other fields of the header that is made of them.
    protocol: [u8; 2],
    kind: u8,
    address: [u8; 8],
    address_bytes: u8,
    /// The outermost VLAN tag: the kernel keeps it beside the packet.
    tag: Option<[u8; 4]>,
    payload: &'a [u8],
    payload_wire_bytes: u32,
    link: Link,
    snap_bytes: u32,
}

impl<'a> Frame<'a> {
    /// The frame at `offset` of a block, and where the next one is. None for what is no frame: the kernel writes none such, and
    /// the block is then given back.
    pub(super) fn read(
        block: &'a [u8],
        offset: usize,
        link: Link,
        snap_bytes: u32,
    ) -> (Option<Frame<'a>>, Option<usize>) {
        let frame = block.get(offset..).and_then(|frame| Frame::parse(frame, link, snap_bytes));
        let step = block.get(offset..).and_then(|frame| u32_at(frame, offset_of!(libc::tpacket3_hdr, tp_next_offset)));
        let next = step.map(|step| offset.saturating_add(step as usize)).filter(|next| *next < block.len());
        (frame, frame.and(next))
    }

    fn parse(frame: &'a [u8], link: Link, snap_bytes: u32) -> Option<Frame<'a>> {
        use libc::tpacket3_hdr as Header;
        let seconds = u32_at(frame, offset_of!(Header, tp_sec))?;
        let nanoseconds = u32_at(frame, offset_of!(Header, tp_nsec))?;
        let captured = u32_at(frame, offset_of!(Header, tp_snaplen))? as usize;
        let start = usize::from(u16_at(frame, offset_of!(Header, tp_mac))?);
        let from = frame.get(ADDRESS_OFFSET..)?;
        Some(Frame {
            timestamp_ns: u64::from(seconds) * 1_000_000_000 + u64::from(nanoseconds),
            interface: u32_at(from, offset_of!(libc::sockaddr_ll, sll_ifindex))?,
            hardware: u16_at(from, offset_of!(libc::sockaddr_ll, sll_hatype))?,
            protocol: array_at(from, offset_of!(libc::sockaddr_ll, sll_protocol))?,
            kind: *from.get(offset_of!(libc::sockaddr_ll, sll_pkttype))?,
            address: array_at(from, offset_of!(libc::sockaddr_ll, sll_addr))?,
            address_bytes: *from.get(offset_of!(libc::sockaddr_ll, sll_halen))?,
            tag: tag(frame)?,
            payload: frame.get(start..start.checked_add(captured)?)?,
            payload_wire_bytes: u32_at(frame, offset_of!(Header, tp_len))?,
            link,
            snap_bytes,
        })
    }

    /// Its length on the wire, with a VLAN tag; of a cooked one with the header that is made here.
    pub fn wire_bytes(&self) -> u32 {
        self.payload_wire_bytes + self.added_bytes() as u32
    }

    /// How much of it is here.
    pub fn captured_bytes(&self) -> usize {
        (self.payload.len() + self.added_bytes()).min(self.snap_bytes as usize)
    }

    pub fn direction(&self) -> Direction {
        match self.kind {
            libc::PACKET_BROADCAST => Direction::Broadcast,
            libc::PACKET_MULTICAST => Direction::Multicast,
            libc::PACKET_OTHERHOST => Direction::Other,
            libc::PACKET_OUTGOING => Direction::Out,
            _ => Direction::In,
        }
    }

    /// Its bytes, with the tag put back and the header in front; `scratch` holds them if they are not together already.
    pub fn bytes<'b>(&'b self, scratch: &'b mut Vec<u8>) -> &'b [u8] {
        if self.added_bytes() == 0 {
            return &self.payload[..self.captured_bytes()];
        }
        scratch.clear();
        match self.link {
            Link::Cooked => self.put_cooked(scratch),
            Link::Ethernet => self.put_tagged(scratch),
        }
        scratch.truncate(self.captured_bytes());
        scratch
    }

    fn added_bytes(&self) -> usize {
        let tag = if self.tag.is_some() { TAG_BYTES } else { 0 };
        tag + if self.link == Link::Cooked { COOKED_BYTES } else { 0 }
    }

    /// Behind the two addresses.
    fn put_tagged(&self, out: &mut Vec<u8>) {
        let (addresses, rest) = self.payload.split_at(self.payload.len().min(ADDRESSES_BYTES));
        out.extend_from_slice(addresses);
        out.extend_from_slice(&self.tag.unwrap_or_default());
        out.extend_from_slice(rest);
    }

    fn put_cooked(&self, out: &mut Vec<u8>) {
        let tag = self.tag.map(|[a, b, c, d]| ([a, b], [c, d]));
        out.extend_from_slice(&tag.map_or(self.protocol, |(protocol, _)| protocol));
        out.extend_from_slice(&[0, 0]);
        out.extend_from_slice(&self.interface.to_be_bytes());
        out.extend_from_slice(&self.hardware.to_be_bytes());
        out.extend_from_slice(&[self.kind, self.address_bytes]);
        out.extend_from_slice(&self.address);
        if let Some((_, control)) = tag {
            out.extend_from_slice(&control);
            out.extend_from_slice(&self.protocol);
        }
        out.extend_from_slice(self.payload);
    }
}

/// How many frames a block has, and where the first one is.
pub(super) fn block_header(block: &[u8]) -> (u32, usize) {
    let at = |field| u32_at(block, HEADER_OFFSET + field);
    let count = at(offset_of!(libc::tpacket_hdr_v1, num_pkts)).unwrap_or(0);
    let first = at(offset_of!(libc::tpacket_hdr_v1, offset_to_first_pkt)).unwrap_or(0);
    (count, first as usize)
}

/// The tag as it stands on the wire, if the kernel has one. The outer None: this is no frame.
fn tag(frame: &[u8]) -> Option<Option<[u8; 4]>> {
    use libc::{tpacket3_hdr as Header, tpacket_hdr_variant1 as Variant};
    let status = u32_at(frame, offset_of!(Header, tp_status))?;
    let control = u32_at(frame, offset_of!(Header, hv1) + offset_of!(Variant, tp_vlan_tci))? as u16;
    let named = u16_at(frame, offset_of!(Header, hv1) + offset_of!(Variant, tp_vlan_tpid))?;
    if status & libc::TP_STATUS_VLAN_VALID == 0 {
        return Some(None);
    }
    let protocol = if status & libc::TP_STATUS_VLAN_TPID_VALID == 0 { libc::ETH_P_8021Q as u16 } else { named };
    let ([a, b], [c, d]) = (protocol.to_be_bytes(), control.to_be_bytes());
    Some(Some([a, b, c, d]))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    array_at(bytes, at).map(u32::from_ne_bytes)
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    array_at(bytes, at).map(u16::from_ne_bytes)
}

fn array_at<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

pub(super) const STATUS_OFFSET: usize = HEADER_OFFSET + offset_of!(libc::tpacket_hdr_v1, block_status);
const HEADER_OFFSET: usize = offset_of!(libc::tpacket_block_desc, hdr);
/// Where the address of the packet's origin stands behind a frame's header (TPACKET_ALIGN).
const ADDRESS_OFFSET: usize = size_of::<libc::tpacket3_hdr>().next_multiple_of(libc::TPACKET_ALIGNMENT);
const ADDRESSES_BYTES: usize = 12;
const TAG_BYTES: usize = 4;
const COOKED_BYTES: usize = 20;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// A frame as the kernel writes it, for a payload at its usual place.
    fn written(payload: &[u8], wire_bytes: u32, tag: Option<(u16, u16)>) -> Vec<u8> {
        let start = 82_usize;
        let mut frame = vec![0; start];
        let mut put = |at: usize, bytes: &[u8]| frame[at..at + bytes.len()].copy_from_slice(bytes);
        put(offset_of!(libc::tpacket3_hdr, tp_sec), &3_u32.to_ne_bytes());
        put(offset_of!(libc::tpacket3_hdr, tp_nsec), &5_u32.to_ne_bytes());
        put(offset_of!(libc::tpacket3_hdr, tp_snaplen), &(payload.len() as u32).to_ne_bytes());
        put(offset_of!(libc::tpacket3_hdr, tp_len), &wire_bytes.to_ne_bytes());
        put(offset_of!(libc::tpacket3_hdr, tp_mac), &(start as u16).to_ne_bytes());
        put(offset_of!(libc::tpacket3_hdr, tp_next_offset), &(start as u32).to_ne_bytes());
        if let Some((protocol, control)) = tag {
            let status = libc::TP_STATUS_VLAN_VALID | libc::TP_STATUS_VLAN_TPID_VALID;
            put(offset_of!(libc::tpacket3_hdr, tp_status), &status.to_ne_bytes());
            put(offset_of!(libc::tpacket3_hdr, hv1) + 4, &u32::from(control).to_ne_bytes());
            put(offset_of!(libc::tpacket3_hdr, hv1) + 8, &protocol.to_ne_bytes());
        }
        put(ADDRESS_OFFSET + 2, &0x0800_u16.to_be_bytes());
        put(ADDRESS_OFFSET + 4, &7_u32.to_ne_bytes());
        put(ADDRESS_OFFSET + 8, &1_u16.to_ne_bytes());
        put(ADDRESS_OFFSET + 10, &[4, 6, 1, 2, 3, 4, 5, 6]);
        frame.extend_from_slice(payload);
        frame
    }

    #[test]
    fn a_frame_is_what_the_kernel_wrote() {
        let block = written(b"payload", 90, None);
        let (frame, next) = Frame::read(&block, 0, Link::Ethernet, 100);
        let frame = frame.unwrap();
        assert_eq!((frame.timestamp_ns, frame.interface, frame.wire_bytes()), (3_000_000_005, 7, 90));
        assert_eq!((frame.bytes(&mut Vec::new()), frame.direction()), (&b"payload"[..], Direction::Out));
        assert_eq!(next, Some(82));
    }

    #[test]
    fn a_tag_is_put_back_behind_the_addresses() {
        let block = written(b"ttttttssssss\x08\0rest", 90, Some((0x88a8, 0x2005)));
        let frame = Frame::read(&block, 0, Link::Ethernet, 100).0.unwrap();
        assert_eq!(frame.bytes(&mut Vec::new()), b"ttttttssssss\x88\xa8\x20\x05\x08\0rest");
        assert_eq!((frame.wire_bytes(), frame.captured_bytes()), (94, 22));
    }

    #[test]
    fn a_cooked_frame_says_what_the_kernel_knows() {
        let header = b"\x08\0\0\0\0\0\0\x07\0\x01\x04\x06\x01\x02\x03\x04\x05\x06\0\0";
        let plain = written(b"ip", 2, None);
        let frame = Frame::read(&plain, 0, Link::Cooked, 100).0.unwrap();
        assert_eq!(frame.bytes(&mut Vec::new()), [&header[..], b"ip"].concat());
        assert_eq!(frame.wire_bytes(), 22);
        let tagged = written(b"ip", 2, Some((0x8100, 5)));
        let frame = Frame::read(&tagged, 0, Link::Cooked, 100).0.unwrap();
        let mut scratch = Vec::new();
        let bytes = frame.bytes(&mut scratch);
        assert_eq!((&bytes[..2], &bytes[20..]), (&b"\x81\0"[..], &b"\0\x05\x08\0ip"[..]));
    }

    #[test]
    fn what_is_added_counts_for_the_snap_length() {
        let block = written(b"ttttttssssss\x08\0rest", 90, Some((0x8100, 5)));
        let frame = Frame::read(&block, 0, Link::Ethernet, 17).0.unwrap();
        assert_eq!(frame.bytes(&mut Vec::new()), b"ttttttssssss\x81\0\0\x05\x08");
        let short = written(b"tttt", 90, Some((0x8100, 5)));
        let frame = Frame::read(&short, 0, Link::Ethernet, 100).0.unwrap();
        assert_eq!(frame.bytes(&mut Vec::new()), b"tttt\x81\0\0\x05");
    }

    #[test]
    fn what_is_no_frame_gives_none() {
        let block = written(b"payload", 90, None);
        for length in 0..block.len() {
            assert!(Frame::read(&block[..length], 0, Link::Ethernet, 100).0.is_none(), "{length}");
        }
        assert!(Frame::read(&block, usize::MAX, Link::Ethernet, 100).0.is_none());
    }
}
