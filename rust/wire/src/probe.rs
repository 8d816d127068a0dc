//! The packets of a port scan: the SYN that asks, and what may come back: a segment, or an ICMP error that quotes the SYN.
//!
//! Nothing is looked up here. Whether an answer is to a probe of ours says the sequence number that comes back in it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use etherparse::{TcpHeader, TcpOptionElement};

/// A SYN with a segment size, as every stack sends one.
pub const SYN_BYTES: usize = 24;

/// A SYN, without its IP header; its checksum is for these addresses. None if they are of two families.
pub fn syn(source: IpAddr, destination: IpAddr, source_port: u16, port: u16, sequence: u32) -> Option<[u8; SYN_BYTES]> {
    let mut header = TcpHeader::new(source_port, port, sequence, WINDOW);
    header.syn = true;
    header.set_options(&[TcpOptionElement::MaximumSegmentSize(SEGMENT_BYTES)]).ok()?;
    header.checksum = match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            header.calc_checksum_ipv4_raw(source.octets(), destination.octets(), &[]).ok()?
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            header.calc_checksum_ipv6_raw(source.octets(), destination.octets(), &[]).ok()?
        }
        _ => return None,
    };
    header.to_bytes().as_slice().try_into().ok()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// SYN and ACK: somebody listens.
    Accepted,
    /// RST: nobody does.
    Reset,
}

/// What a port says to a SYN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// The port that answers.
    pub port: u16,
    /// The port that asked.
    pub to_port: u16,
    /// The sequence number of the SYN that it answers.
    pub sequence: u32,
    pub answer: Answer,
}

/// A TCP segment without its IP header; None if it answers no SYN.
pub fn segment(data: &[u8]) -> Option<Segment> {
    let (header, _) = data.split_first_chunk::<20>()?;
    let flags = header[13];
    let answer = match (flags & ACK != 0, flags & RST != 0, flags & SYN != 0) {
        (true, true, _) => Answer::Reset,
        (true, false, true) => Answer::Accepted,
        _ => return None,
    };
    Some(Segment {
        port: u16::from_be_bytes([header[0], header[1]]),
        to_port: u16::from_be_bytes([header[2], header[3]]),
        sequence: u32::from_be_bytes([header[8], header[9], header[10], header[11]]).wrapping_sub(1),
        answer,
    })
}

/// An IPv4 packet's sender, protocol and payload; its addresses are not checked against anything.
pub fn ipv4(data: &[u8]) -> Option<Packet<'_>> {
    let (header, _) = data.split_first_chunk::<20>()?;
    let header_bytes = usize::from(header[0] & 0xf) * 4;
    if header[0] >> 4 != 4 || header_bytes < header.len() {
        return None;
    }
    Some(Packet {
        source: Ipv4Addr::new(header[12], header[13], header[14], header[15]).into(),
        destination: Ipv4Addr::new(header[16], header[17], header[18], header[19]).into(),
        protocol: header[9],
        payload: data.get(header_bytes..)?,
    })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    pub source: IpAddr,
    pub destination: IpAddr,
    pub protocol: u8,
    pub payload: &'a [u8],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Complaint {
    /// A filter on the way says so.
    Prohibited,
    /// No such host, or no way there.
    Unreachable,
}

/// An ICMP error, and the SYN that it quotes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quote {
    pub destination: IpAddr,
    pub port: u16,
    pub from_port: u16,
    pub sequence: u32,
    pub complaint: Complaint,
}

/// An ICMP message (RFC 792): None if it is no "destination unreachable" about a TCP segment.
pub fn icmp4(data: &[u8]) -> Option<Quote> {
    let (header, quoted) = data.split_first_chunk::<8>()?;
    let complaint = match (header[0], header[1]) {
        (3, 0 | 1 | 5 | 6 | 7 | 8 | 11 | 12) => Complaint::Unreachable,
        // "Port unreachable" for TCP is the answer of a filter, too: a host without a listener resets.
        (3, 2 | 3 | 9 | 10 | 13..=15) => Complaint::Prohibited,
        _ => return None,
    };
    let packet = ipv4(quoted)?;
    quote(packet.destination, packet.protocol, packet.payload, complaint)
}

/// An ICMPv6 message (RFC 4443). Quoted extension headers are not looked behind: our probes have none.
pub fn icmp6(data: &[u8]) -> Option<Quote> {
    let (header, quoted) = data.split_first_chunk::<8>()?;
    let complaint = match (header[0], header[1]) {
        (1, 0 | 2 | 3) => Complaint::Unreachable,
        (1, 1 | 4 | 5 | 6) => Complaint::Prohibited,
        _ => return None,
    };
    let (ip, payload) = quoted.split_first_chunk::<40>()?;
    let destination: [u8; 16] = ip[24..].try_into().ok()?;
    quote(Ipv6Addr::from(destination).into(), ip[6], payload, complaint)
}

fn quote(destination: IpAddr, protocol: u8, payload: &[u8], complaint: Complaint) -> Option<Quote> {
    let (ports, _) = payload.split_first_chunk::<8>().filter(|_| protocol == TCP)?;
    Some(Quote {
        destination,
        from_port: u16::from_be_bytes([ports[0], ports[1]]),
        port: u16::from_be_bytes([ports[2], ports[3]]),
        sequence: u32::from_be_bytes([ports[4], ports[5], ports[6], ports[7]]),
        complaint,
    })
}

const WINDOW: u16 = 64_240;
const SEGMENT_BYTES: u16 = 1_460;
const TCP: u8 = 6;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const ACK: u8 = 0x10;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use etherparse::PacketBuilder;

    use super::*;

    const US: [u8; 4] = [192, 0, 2, 1];
    const THEM: [u8; 4] = [192, 0, 2, 2];

    fn of(data: &[u8]) -> Option<Segment> {
        segment(ipv4(data)?.payload)
    }

    #[test]
    fn a_syn_is_what_others_write() {
        let ours = syn(US.into(), THEM.into(), 40_000, 443, 7).unwrap();
        let mut theirs = Vec::new();
        let options = [TcpOptionElement::MaximumSegmentSize(1_460)];
        let tcp = PacketBuilder::ipv4(US, THEM, 64).tcp(40_000, 443, 7, WINDOW).syn().options(&options).unwrap();
        tcp.write(&mut theirs, &[]).unwrap();
        assert_eq!(ours[..], theirs[20..]);
        let mut theirs = Vec::new();
        let tcp = PacketBuilder::ipv6([1; 16], [2; 16], 64).tcp(40_000, 443, 7, WINDOW).syn();
        tcp.options(&options).unwrap().write(&mut theirs, &[]).unwrap();
        assert_eq!(syn([1; 16].into(), [2; 16].into(), 40_000, 443, 7).unwrap()[..], theirs[40..]);
        assert_eq!(syn(US.into(), [2; 16].into(), 1, 2, 3), None);
    }

    #[test]
    fn answers_are_told_apart() {
        let packet = |flags: fn(PacketBuilderTcp) -> PacketBuilderTcp| {
            let mut data = Vec::new();
            flags(PacketBuilder::ipv4(THEM, US, 64).tcp(443, 40_000, 1, 512)).write(&mut data, &[]).unwrap();
            of(&data)
        };
        let answer = |answer| Some(Segment { port: 443, to_port: 40_000, sequence: 7, answer });
        assert_eq!(packet(|tcp| tcp.syn().ack(8)), answer(Answer::Accepted));
        assert_eq!(packet(|tcp| tcp.rst().ack(8)), answer(Answer::Reset));
        assert_eq!(packet(|tcp| tcp.ack(8)), None);
        assert_eq!(packet(|tcp| tcp.syn()), None);
        assert_eq!(packet(|tcp| tcp.rst()), None);
        assert_eq!(packet(|tcp| tcp.rst().ack(0)).unwrap().sequence, u32::MAX);
        assert_eq!(segment(&[0; 19]), None);
    }

    type PacketBuilderTcp = etherparse::PacketBuilderStep<TcpHeader>;

    #[test]
    fn errors_quote_the_probe() {
        let mut probe = Vec::new();
        PacketBuilder::ipv4(US, THEM, 64).tcp(40_000, 443, 7, 512).syn().write(&mut probe, &[]).unwrap();
        let message = |kind, code, quoted: &[u8]| [&[kind, code, 0, 0, 0, 0, 0, 0], quoted].concat();
        let quote = Quote {
            destination: THEM.into(),
            port: 443,
            from_port: 40_000,
            sequence: 7,
            complaint: Complaint::Prohibited,
        };
        // RFC 792: the header and eight bytes.
        assert_eq!(icmp4(&message(3, 13, &probe[..28])), Some(quote));
        assert_eq!(icmp4(&message(3, 1, &probe)), Some(Quote { complaint: Complaint::Unreachable, ..quote }));
        assert_eq!(icmp4(&message(3, 4, &probe)), None); // too large
        assert_eq!(icmp4(&message(11, 0, &probe)), None);
        assert_eq!(icmp4(&message(3, 13, &probe[..27])), None);
        probe[9] = 17;
        assert_eq!(icmp4(&message(3, 13, &probe)), None);
        let mut probe = Vec::new();
        PacketBuilder::ipv6([1; 16], [2; 16], 64).tcp(40_000, 443, 7, 512).syn().write(&mut probe, &[]).unwrap();
        assert_eq!(icmp6(&message(1, 1, &probe)), Some(Quote { destination: [2; 16].into(), ..quote }));
        assert_eq!(icmp6(&message(1, 1, &probe[..40])), None);
        assert_eq!(icmp6(&message(2, 0, &probe)), None);
    }

    #[test]
    fn nonsense_is_no_packet() {
        assert_eq!(ipv4(&[0x44; 40]), None);
        assert_eq!(ipv4(&[0x65; 40]), None);
        assert_eq!(ipv4(&[0x4f; 40]), None);
        assert_eq!(ipv4(&[]), None);
    }
}
