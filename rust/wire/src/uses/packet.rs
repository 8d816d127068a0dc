//! From a packet to what it carries: the transport, the ends, and the payload as far as it was captured.

use std::net::{IpAddr, SocketAddr};

use etherparse::{EtherType, IpNumber, LaxIpPayloadSlice, LaxNetSlice, LaxSlicedPacket, TransportSlice};

use super::bytes::be16;
use super::Transport;
use crate::dissect::Link;

/// What one packet brings of a TCP or UDP flow.
#[derive(Clone, Copy, Debug)]
pub struct Segment<'a> {
    pub transport: Transport,
    pub source: SocketAddr,
    pub destination: SocketAddr,
    /// As much as was captured.
    pub payload: &'a [u8],
    /// How long it was.
    pub payload_bytes: usize,
    /// TCP: the number of its first byte; a SYN counts as one before it.
    pub sequence: u32,
    pub acknowledged: Option<u32>,
    pub syn: bool,
    pub fin: bool,
    pub rst: bool,
}

/// None for what is no TCP or UDP, and for all but the first of a packet's fragments.
pub fn segment(link: Link, data: &[u8]) -> Option<Segment<'_>> {
    let packet = match link {
        Link::Ethernet => LaxSlicedPacket::from_ethernet(data).ok()?,
        Link::Cooked => {
            let (header, payload) = data.split_at_checked(COOKED_BYTES)?;
            LaxSlicedPacket::from_ether_type(
                EtherType(u16::from_be_bytes([*header.first()?, *header.get(1)?])),
                payload,
            )
        }
    };
    let (source, destination, promised, carried) = match packet.net.as_ref()? {
        LaxNetSlice::Ipv4(ip) => {
            let header = ip.header();
            let promised = usize::from(header.total_len()).checked_sub(usize::from(header.ihl()) * 4);
            let first = header.fragments_offset().value() == 0;
            (
                IpAddr::V4(header.source_addr()),
                IpAddr::V4(header.destination_addr()),
                promised,
                Some(ip.payload()).filter(|_| first),
            )
        }
        LaxNetSlice::Ipv6(ip) => {
            let header = ip.header();
            // Extension headers count, too: what they take is what lies before the transport's.
            let extensions = ip.extensions().slice().len();
            let promised = usize::from(header.payload_length()).checked_sub(extensions);
            (IpAddr::V6(header.source_addr()), IpAddr::V6(header.destination_addr()), promised, None)
        }
        LaxNetSlice::Arp(_) => return None,
    };
    let Some(transport) = packet.transport.as_ref() else {
        return first_fragment(source, destination, carried?);
    };
    match transport {
        TransportSlice::Tcp(tcp) => {
            let header = tcp.header_slice().len();
            // Segments that were joined may be longer than a length field can say; then it is 0.
            let payload_bytes = promised.and_then(|promised| promised.checked_sub(header)).unwrap_or(0);
            let payload = tcp.payload();
            // Ethernet pads what is short.
            let payload = payload.get(..payload_bytes).unwrap_or(payload);
            Some(Segment {
                transport: Transport::Tcp,
                source: SocketAddr::new(source, tcp.source_port()),
                destination: SocketAddr::new(destination, tcp.destination_port()),
                payload,
                payload_bytes: payload_bytes.max(payload.len()),
                sequence: tcp.sequence_number(),
                acknowledged: tcp.ack().then(|| tcp.acknowledgment_number()),
                syn: tcp.syn(),
                fin: tcp.fin(),
                rst: tcp.rst(),
            })
        }
        TransportSlice::Udp(udp) => {
            let payload_bytes = usize::from(udp.length()).saturating_sub(UDP_HEADER_BYTES);
            let payload = udp.payload();
            Some(Segment {
                transport: Transport::Udp,
                source: SocketAddr::new(source, udp.source_port()),
                destination: SocketAddr::new(destination, udp.destination_port()),
                payload,
                payload_bytes: payload_bytes.max(payload.len()),
                sequence: 0,
                acknowledged: None,
                syn: false,
                fin: false,
                rst: false,
            })
        }
        _ => None,
    }
}

/// The first part of a datagram that was too long for the path has the header and the start: that is enough.
fn first_fragment<'a>(source: IpAddr, destination: IpAddr, carried: &LaxIpPayloadSlice<'a>) -> Option<Segment<'a>> {
    let (header, payload) = carried.payload.split_at_checked(UDP_HEADER_BYTES)?;
    if carried.ip_number != IpNumber::UDP || !carried.fragmented {
        return None;
    }
    let payload_bytes = usize::from(be16(header, 4)?).checked_sub(UDP_HEADER_BYTES)?;
    Some(Segment {
        transport: Transport::Udp,
        source: SocketAddr::new(source, be16(header, 0)?),
        destination: SocketAddr::new(destination, be16(header, 2)?),
        payload: payload.get(..payload_bytes).unwrap_or(payload),
        payload_bytes,
        sequence: 0,
        acknowledged: None,
        syn: false,
        fin: false,
        rst: false,
    })
}

const COOKED_BYTES: usize = 20;
const UDP_HEADER_BYTES: usize = 8;
