//! A packet in one readable line: whom it is from and to, and what its headers say. etherparse reads them.
//!
//! Whatever the packet holds, the line is one line of printable text, of bounded length: it goes to terminals.

use std::fmt::{self, Write};
use std::net::{IpAddr, SocketAddr};

use etherparse::{
    ArpHardwareId, ArpOperation, ArpPacketSlice, EtherType, Icmpv4Slice, Icmpv4Type, Icmpv6Slice, Icmpv6Type, IpNumber,
    Ipv6ExtensionsSlice, Ipv6FragmentHeaderSlice, LaxLinkExtSlice, LaxNetSlice, LaxSlicedPacket, LinkSlice, TcpSlice,
    TransportSlice, UdpSlice,
};
use simple_dns::{Packet as Dns, PacketFlag, QTYPE, RCODE};

/// How a packet begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    Ethernet,
    /// LINKTYPE_LINUX_SLL2 (tcpdump.org/linktypes).
    Cooked,
}

/// Appends the line for a packet that was `wire_bytes` long on the wire and of which `data` was captured.
pub fn dissect(link: Link, data: &[u8], wire_bytes: u32, line: &mut String) {
    let cut = (data.len() as u64) < u64::from(wire_bytes);
    // Writing to a String does not fail.
    let _ = match link {
        Link::Ethernet => match LaxSlicedPacket::from_ethernet(data) {
            Ok(packet) => put_packet(line, &packet, cut),
            Err(_) => put_broken(line, "ethernet header", cut),
        },
        Link::Cooked => match data.split_at_checked(COOKED_BYTES) {
            Some((header, payload)) => {
                let ether_type = EtherType(u16::from_be_bytes([header[0], header[1]]));
                put_packet(line, &LaxSlicedPacket::from_ether_type(ether_type, payload), cut)
            }
            None => put_broken(line, "cooked header", cut),
        },
    };
    let _ = write!(line, ", {wire_bytes} bytes");
}

fn put_packet(line: &mut String, packet: &LaxSlicedPacket<'_>, cut: bool) -> fmt::Result {
    for extension in &packet.link_exts {
        match extension {
            LaxLinkExtSlice::Vlan(tag) => write!(line, "vlan {} ", tag.vlan_identifier().value())?,
            LaxLinkExtSlice::Macsec(_) => line.write_str("macsec ")?,
        }
    }
    match &packet.net {
        Some(LaxNetSlice::Arp(arp)) => put_arp(line, arp)?,
        Some(LaxNetSlice::Ipv4(ip)) => {
            let header = ip.header();
            let (source, destination) = (header.source_addr().into(), header.destination_addr().into());
            let fragment = header.is_fragmenting_payload().then(|| Fragment {
                id: header.identification().into(),
                offset: header.fragments_offset().byte_offset(),
                more: header.more_fragments(),
            });
            put_ip(line, source, destination, ip.payload().ip_number, fragment, packet, cut)?;
        }
        Some(LaxNetSlice::Ipv6(ip)) => {
            let (source, destination) = (ip.header().source_addr().into(), ip.header().destination_addr().into());
            let fragment = fragment_in(ip.extensions());
            put_ip(line, source, destination, ip.payload().ip_number, fragment, packet, cut)?;
        }
        None => put_link(line, packet)?,
    }
    match &packet.stop_err {
        Some((_, layer)) => {
            line.write_str(" ")?;
            put_broken(line, &layer.to_string().to_lowercase(), cut)
        }
        None => Ok(()),
    }
}

fn put_broken(line: &mut String, layer: &str, cut: bool) -> fmt::Result {
    // What was cut by us may have been whole.
    write!(line, "{} {layer}", if cut { "cut in its" } else { "malformed" })
}

fn put_link(line: &mut String, packet: &LaxSlicedPacket<'_>) -> fmt::Result {
    if let Some(LinkSlice::Ethernet2(ethernet)) = &packet.link {
        put_hardware(line, &ethernet.source())?;
        line.write_str(" > ")?;
        put_hardware(line, &ethernet.destination())?;
        line.write_str(" ")?;
    }
    let behind_tags = packet.link_exts.last().map(|last| match last {
        LaxLinkExtSlice::Vlan(tag) => Some(tag.ether_type()),
        LaxLinkExtSlice::Macsec(_) => None,
    });
    let ether_type = match (behind_tags, &packet.link) {
        (Some(ether_type), _) => ether_type,
        (None, Some(LinkSlice::Ethernet2(ethernet))) => Some(ethernet.ether_type()),
        (None, Some(LinkSlice::EtherPayload(payload))) => Some(payload.ether_type),
        _ => None,
    };
    match ether_type {
        // Below 1,536 it is a length (IEEE 802.3 §3.2.6): spanning trees and the like.
        Some(EtherType(length)) if length < 1_536 => line.write_str("802.3"),
        Some(EtherType(number)) => write!(line, "type 0x{number:04x}"),
        None => line.write_str("sealed"),
    }
}

fn put_arp(line: &mut String, arp: &ArpPacketSlice<'_>) -> fmt::Result {
    let addresses = (
        <[u8; 4]>::try_from(arp.sender_protocol_addr()).map(IpAddr::from),
        <[u8; 4]>::try_from(arp.target_protocol_addr()).map(IpAddr::from),
    );
    match (arp.operation(), addresses) {
        (ArpOperation::REQUEST, (Ok(sender), Ok(target))) => write!(line, "arp who-has {target} tell {sender}"),
        (ArpOperation::REPLY, (Ok(sender), Ok(_))) if arp.hw_addr_type() == ArpHardwareId::ETHERNET => {
            write!(line, "arp {sender} is-at ")?;
            put_hardware(line, &arp.sender_hw_addr()[..arp.sender_hw_addr().len().min(8)])
        }
        (ArpOperation(number), _) => write!(line, "arp operation {number}"),
    }
}

/// Part of a packet that was too long for the path.
struct Fragment {
    id: u32,
    offset: u16,
    more: bool,
}

/// The first that says that the packet is a part of one. etherparse's own iterator is not taken: where the header behind the last
/// whole one was cut, it reads beyond the packet (0.21).
fn fragment_in(extensions: &Ipv6ExtensionsSlice<'_>) -> Option<Fragment> {
    let (mut kind, mut rest) = (extensions.first_header()?, extensions.slice());
    while let [next, length, ..] = rest {
        if kind == IpNumber::IPV6_FRAGMENTATION_HEADER {
            let header = Ipv6FragmentHeaderSlice::from_slice(rest).ok()?;
            if header.is_fragmenting_payload() {
                return Some(Fragment {
                    id: header.identification(),
                    offset: header.fragment_offset().byte_offset(),
                    more: header.more_fragments(),
                });
            }
        }
        let bytes = match kind {
            IpNumber::IPV6_FRAGMENTATION_HEADER => 8,
            IpNumber::AUTHENTICATION_HEADER => (usize::from(*length) + 2) * 4, // RFC 4302 §2.2
            _ => (usize::from(*length) + 1) * 8,                               // RFC 8200 §4
        };
        (kind, rest) = (IpNumber(*next), rest.get(bytes..)?);
    }
    None
}

fn put_ip(
    line: &mut String,
    source: IpAddr,
    destination: IpAddr,
    protocol: IpNumber,
    fragment: Option<Fragment>,
    packet: &LaxSlicedPacket<'_>,
    cut: bool,
) -> fmt::Result {
    if let Some(Fragment { id, offset, more }) = fragment {
        write!(line, "{source} > {destination} ")?;
        put_protocol(line, protocol)?;
        return write!(line, " fragment {id} at {offset}{}", if more { "" } else { ", the last" });
    }
    let ends = |line: &mut String, from: u16, to: u16| {
        write!(line, "{} > {} ", SocketAddr::new(source, from), SocketAddr::new(destination, to))
    };
    match &packet.transport {
        Some(TransportSlice::Tcp(tcp)) => {
            ends(line, tcp.source_port(), tcp.destination_port())?;
            put_tcp(line, tcp)
        }
        Some(TransportSlice::Udp(udp)) => {
            ends(line, udp.source_port(), udp.destination_port())?;
            put_udp(line, udp, cut)
        }
        Some(TransportSlice::Icmpv4(icmp)) => {
            write!(line, "{source} > {destination} icmp ")?;
            put_icmp4(line, icmp)
        }
        Some(TransportSlice::Icmpv6(icmp)) => {
            write!(line, "{source} > {destination} icmp6 ")?;
            put_icmp6(line, icmp)
        }
        Some(TransportSlice::Igmp(_)) | None => {
            write!(line, "{source} > {destination} ")?;
            put_protocol(line, protocol)
        }
    }
}

fn put_protocol(line: &mut String, protocol: IpNumber) -> fmt::Result {
    match protocol.keyword_str() {
        Some(name) => name.chars().try_for_each(|letter| line.write_char(letter.to_ascii_lowercase())),
        None => write!(line, "protocol {}", protocol.0),
    }
}

fn put_tcp(line: &mut String, tcp: &TcpSlice<'_>) -> fmt::Result {
    line.write_str("tcp ")?;
    let flags = [
        (tcp.syn(), 'S'),
        (tcp.fin(), 'F'),
        (tcp.rst(), 'R'),
        (tcp.psh(), 'P'),
        (tcp.ack(), 'A'),
        (tcp.urg(), 'U'),
        (tcp.ece(), 'E'),
        (tcp.cwr(), 'C'),
    ];
    if !flags.iter().any(|(set, _)| *set) {
        line.write_str("-")?;
    }
    flags.into_iter().filter(|(set, _)| *set).try_for_each(|(_, letter)| line.write_char(letter))?;
    write!(line, " seq {}", tcp.sequence_number())?;
    if tcp.ack() {
        write!(line, " ack {}", tcp.acknowledgment_number())?;
    }
    write!(line, " win {}", tcp.window_size())
}

fn put_udp(line: &mut String, udp: &UdpSlice<'_>, cut: bool) -> fmt::Result {
    line.write_str("udp")?;
    if [udp.source_port(), udp.destination_port()].iter().any(|port| DNS_PORTS.contains(port)) {
        return put_dns(line, udp.payload(), cut);
    }
    Ok(())
}

/// What is asked. Answers are not looked at: they may be long, and say how many they are before they have come.
fn put_dns(line: &mut String, payload: &[u8], cut: bool) -> fmt::Result {
    let mut question = [0_u8; DNS_QUESTION_BYTES];
    let length = payload.len().min(question.len());
    question[..length].copy_from_slice(&payload[..length]);
    let asked = length >= DNS_HEADER_BYTES && question[4..6] != [0, 0];
    question[4..DNS_HEADER_BYTES].copy_from_slice(&[0, u8::from(asked), 0, 0, 0, 0, 0, 0]);
    let message = (length >= DNS_HEADER_BYTES).then(|| Dns::parse(&question[..length])).and_then(Result::ok);
    let Some(message) = message else {
        line.write_str(" ")?;
        return put_broken(line, "dns", cut);
    };
    let answers = message.has_flags(PacketFlag::RESPONSE);
    line.write_str(if answers { " dns answer" } else { " dns query" })?;
    if let Some(question) = message.questions.first() {
        match question.qtype {
            QTYPE::TYPE(kind) => write!(line, " {kind:?} ")?,
            other => write!(line, " {other:?} ")?,
        }
        put_printable(line, &question.qname.to_string())?;
    }
    match message.rcode() {
        RCODE::NoError => Ok(()),
        code => write!(line, " {code:?}"),
    }
}

fn put_icmp4(line: &mut String, icmp: &Icmpv4Slice<'_>) -> fmt::Result {
    match icmp.icmp_type() {
        Icmpv4Type::EchoRequest(echo) => write!(line, "echo request id {} seq {}", echo.id, echo.seq),
        Icmpv4Type::EchoReply(echo) => write!(line, "echo reply id {} seq {}", echo.id, echo.seq),
        Icmpv4Type::DestinationUnreachable(reason) => write!(line, "unreachable: {}", in_words(&reason)),
        Icmpv4Type::TimeExceeded(code) => write!(line, "time exceeded: {}", in_words(&code)),
        Icmpv4Type::Redirect(_) => line.write_str("redirect"),
        _ => write!(line, "type {} code {}", icmp.type_u8(), icmp.code_u8()),
    }
}

fn put_icmp6(line: &mut String, icmp: &Icmpv6Slice<'_>) -> fmt::Result {
    match icmp.icmp_type() {
        Icmpv6Type::EchoRequest(echo) => write!(line, "echo request id {} seq {}", echo.id, echo.seq),
        Icmpv6Type::EchoReply(echo) => write!(line, "echo reply id {} seq {}", echo.id, echo.seq),
        Icmpv6Type::DestinationUnreachable(reason) => write!(line, "unreachable: {}", in_words(&reason)),
        Icmpv6Type::TimeExceeded(code) => write!(line, "time exceeded: {}", in_words(&code)),
        Icmpv6Type::PacketTooBig { mtu } => write!(line, "packet too big, mtu {mtu}"),
        Icmpv6Type::RouterSolicitation => line.write_str("router solicitation"),
        Icmpv6Type::RouterAdvertisement(_) => line.write_str("router advertisement"),
        Icmpv6Type::NeighborSolicitation => put_neighbour(line, "who-has", icmp.payload()),
        Icmpv6Type::NeighborAdvertisement(_) => put_neighbour(line, "is-here", icmp.payload()),
        Icmpv6Type::Redirect => line.write_str("redirect"),
        _ => write!(line, "type {} code {}", icmp.type_u8(), icmp.code_u8()),
    }
}

/// RFC 4861 §4.3 and §4.4: the target stands first.
fn put_neighbour(line: &mut String, verb: &str, payload: &[u8]) -> fmt::Result {
    match payload.first_chunk::<16>() {
        Some(target) => write!(line, "{verb} {}", IpAddr::from(*target)),
        None => line.write_str(verb),
    }
}

/// `HostUnknown` as `host unknown`: etherparse names the codes of the RFCs.
fn in_words(code: &impl fmt::Debug) -> String {
    let mut words = String::new();
    for (number, letter) in format!("{code:?}").chars().enumerate() {
        if letter.is_ascii_uppercase() && number > 0 {
            words.push(' ');
        }
        words.push(letter.to_ascii_lowercase());
    }
    words
}

fn put_hardware(line: &mut String, address: &[u8]) -> fmt::Result {
    address.iter().enumerate().try_for_each(|(number, byte)| {
        let colon = if number > 0 { ":" } else { "" };
        write!(line, "{colon}{byte:02x}")
    })
}

/// A stranger's letters, in one word: no control character of them reaches a terminal, and no words of ours can be among them.
fn put_printable(line: &mut String, text: &str) -> fmt::Result {
    text.chars().try_for_each(|letter| match letter {
        '!'..='~' => line.write_char(letter),
        other => write!(line, "{}", other.escape_unicode()),
    })
}

const COOKED_BYTES: usize = 20;
const DNS_PORTS: [u16; 2] = [53, 5353]; // RFC 1035, RFC 6762
const DNS_HEADER_BYTES: usize = 12;
const DNS_QUESTION_BYTES: usize = DNS_HEADER_BYTES + 255 + 4; // the longest name, its type and class (RFC 1035 §2.3.4, §4.1.2)

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use etherparse::{ArpEthIpv4Packet, IpFragOffset, PacketBuilder, TcpOptionElement};

    use super::*;

    const A: [u8; 6] = [2, 0, 0, 0, 0, 0xa];
    const B: [u8; 6] = [2, 0, 0, 0, 0, 0xb];

    fn line(data: &[u8]) -> String {
        cut_line(data, data.len() as u32)
    }

    fn cut_line(data: &[u8], wire_bytes: u32) -> String {
        let mut line = String::new();
        dissect(Link::Ethernet, data, wire_bytes, &mut line);
        line
    }

    macro_rules! packet {
        ($builder:expr, $payload:expr) => {{
            let mut data = Vec::new();
            $builder.write(&mut data, $payload).unwrap();
            data
        }};
    }

    fn udp(port: u16, payload: &[u8]) -> Vec<u8> {
        packet!(PacketBuilder::ethernet2(A, B).ipv4([192, 0, 2, 1], [192, 0, 2, 2], 64).udp(5_000, port), payload)
    }

    #[test]
    fn tcp_shows_flags_and_numbers() {
        let from = PacketBuilder::ethernet2(A, B).ipv4([192, 0, 2, 1], [192, 0, 2, 2], 64);
        let data = packet!(from.tcp(443, 51_000, 1, 512).psh().ack(2), &[0; 1_154]);
        assert_eq!(line(&data), "192.0.2.1:443 > 192.0.2.2:51000 tcp PA seq 1 ack 2 win 512, 1208 bytes");
        let from = PacketBuilder::ethernet2(A, B).ipv6([1; 16], [2; 16], 64);
        let options = [TcpOptionElement::MaximumSegmentSize(1_460)];
        let data = packet!(from.tcp(443, 51_000, 7, 512).syn().options(&options).unwrap(), &[]);
        let address = "101:101:101:101:101:101:101:101";
        assert!(line(&data).starts_with(&format!("[{address}]:443 > ")), "{}", line(&data));
        assert!(line(&data).ends_with(" tcp S seq 7 win 512, 78 bytes"));
        let from = PacketBuilder::ethernet2(A, B).ipv4([192, 0, 2, 1], [192, 0, 2, 2], 64);
        assert!(line(&packet!(from.tcp(1, 2, 7, 512), &[])).contains(" tcp - seq 7 win"));
    }

    #[test]
    fn udp_is_short() {
        assert_eq!(line(&udp(6_000, b"data")), "192.0.2.1:5000 > 192.0.2.2:6000 udp, 46 bytes");
    }

    #[test]
    fn a_name_that_is_asked_for_is_shown() {
        let query = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x07example\x03org\0\0\x1c\0\x01";
        assert_eq!(line(&udp(53, query)), "192.0.2.1:5000 > 192.0.2.2:53 udp dns query AAAA example.org, 71 bytes");
        let answer = b"\x12\x34\x81\x83\0\x01\xff\xff\0\0\0\0\x07example\x03org\0\0\x01\0\x01";
        assert!(line(&udp(53, answer)).contains(" udp dns answer A example.org NameError, "));
        let terminal = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x05\x1b[2J\n\x03org\0\0\x1c\0\x01";
        assert!(line(&udp(53, terminal)).contains(r"dns query AAAA \u{1b}[2J\u{a}.org"));
        let ours = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x0aa ServFail\x03org\0\0\x1c\0\x01";
        assert!(line(&udp(53, ours)).contains(r"dns query AAAA a\u{20}ServFail.org, "));
        assert!(line(&udp(53, &query[..20])).contains(" udp malformed dns, "));
        assert!(line(&udp(53, b"")).contains(" udp malformed dns, "));
        let data = udp(53, query);
        assert!(cut_line(&data[..60], data.len() as u32).contains(" udp cut in its dns, 71 bytes"));
    }

    #[test]
    fn icmp_says_what_happened() {
        let from = || PacketBuilder::ethernet2(A, B).ipv4([192, 0, 2, 1], [192, 0, 2, 2], 64);
        let echo = packet!(from().icmpv4_echo_request(7, 9), &[]);
        assert_eq!(line(&echo), "192.0.2.1 > 192.0.2.2 icmp echo request id 7 seq 9, 42 bytes");
        let unreachable = packet!(from().icmpv4_raw(3, 1, [0; 4]), &[]);
        assert!(line(&unreachable).contains(" icmp unreachable: host, "));
        let late = packet!(from().icmpv4_raw(11, 0, [0; 4]), &[]);
        assert!(line(&late).contains(" icmp time exceeded: ttl exceeded in transit, "), "{}", line(&late));
        let other = packet!(from().icmpv4_raw(42, 3, [0; 4]), &[]);
        assert!(line(&other).contains(" icmp type 42 code 3, "));
        let from = || PacketBuilder::ethernet2(A, B).ipv6([1; 16], [2; 16], 64);
        let who = packet!(from().icmpv6_raw(135, 0, [0; 4]), &[0xfe; 16]);
        assert!(line(&who).contains(" icmp6 who-has fefe:"), "{}", line(&who));
        let big = packet!(from().icmpv6_raw(2, 0, [0, 0, 5, 0]), &[]);
        assert!(line(&big).contains(" icmp6 packet too big, mtu 1280, "));
    }

    #[test]
    fn arp_asks_and_answers() {
        let arp = |operation| {
            let arp = ArpEthIpv4Packet {
                operation,
                sender_mac: A,
                sender_ipv4: [10, 0, 0, 1],
                target_mac: B,
                target_ipv4: [10, 0, 0, 2],
            };
            let mut data = Vec::new();
            PacketBuilder::ethernet2(A, B).arp(arp.into()).write(&mut data).unwrap();
            data
        };
        assert_eq!(line(&arp(ArpOperation::REQUEST)), "arp who-has 10.0.0.2 tell 10.0.0.1, 42 bytes");
        assert_eq!(line(&arp(ArpOperation::REPLY)), "arp 10.0.0.1 is-at 02:00:00:00:00:0a, 42 bytes");
        assert_eq!(line(&arp(ArpOperation(9))), "arp operation 9, 42 bytes");
    }

    #[test]
    fn fragments_are_named() {
        let mut data = udp(6_000, b"data");
        data[14 + 4..14 + 8].copy_from_slice(&[0, 7, 0x20, 185]);
        let offset = IpFragOffset::try_new(185).unwrap().byte_offset();
        assert!(
            line(&data).contains(&format!("192.0.2.1 > 192.0.2.2 udp fragment 7 at {offset}, ")),
            "{}",
            line(&data)
        );
        data[14 + 6] = 0;
        assert!(line(&data).contains(" udp fragment 7 at 1480, the last, "));
    }

    /// Extensions of IPv6: hop-by-hop options with this behind them, a fragment's header with that, and the start of the last.
    fn extended(behind: [u8; 2], last: &[u8]) -> Vec<u8> {
        let options = [behind[0], 0, 5, 2, 0, 0, 1, 0];
        let fragment = [behind[1], 0, 5, 0xc9, 0, 0, 0, 7];
        let payload = [&options[..], &fragment, last].concat();
        let mut data = packet!(PacketBuilder::ethernet2(A, B).ipv6([1; 16], [2; 16], 64).udp(1, 2), &[]);
        data.truncate(14 + 40);
        data[14 + 5] = payload.len() as u8;
        data[14 + 6] = 0;
        [data, payload].concat()
    }

    #[test]
    fn a_fragment_is_found_behind_other_extensions() {
        let whole = line(&extended([44, 17], b"data"));
        assert!(whole.contains(" udp fragment 7 at 1480, "), "{whole}");
    }

    #[test]
    fn no_extension_is_looked_for_behind_the_last_whole_one() {
        // Another one that is cut, one where it may not stand, and none.
        for (behind, last, told) in [
            ([60, 17], &b""[..], " malformed "),
            ([0, 17], b"", " malformed "),
            ([44, 60], b"\x11", " malformed "),
            ([44, 51], b"", " malformed "),
            ([59, 17], b"", "ipv6-nonxt, "),
        ] {
            let mut data = extended(behind, last);
            if behind[0] == 60 {
                data[14 + 40 + 8 + 1] = 200;
            }
            assert!(line(&data).contains(told), "{}", line(&data));
        }
    }

    #[test]
    fn tags_come_first() {
        let from = PacketBuilder::ethernet2(A, B).single_vlan(5.try_into().unwrap());
        let data = packet!(from.ipv4([192, 0, 2, 1], [192, 0, 2, 2], 64).udp(1, 2), &[]);
        assert_eq!(line(&data), "vlan 5 192.0.2.1:1 > 192.0.2.2:2 udp, 46 bytes");
    }

    #[test]
    fn what_is_not_ip_is_named_by_its_type() {
        let other = [&B[..], &A[..], &[0x88, 0xcc, 1, 2]].concat();
        assert_eq!(line(&other), "02:00:00:00:00:0a > 02:00:00:00:00:0b type 0x88cc, 16 bytes");
        let spanning_tree = [&B[..], &A[..], &[0, 38, 0x42, 0x42]].concat();
        assert!(line(&spanning_tree).contains(" 802.3, "));
    }

    #[test]
    fn malformed_is_said_and_cut_is_not_malformed() {
        assert_eq!(line(b"short"), "malformed ethernet header, 5 bytes");
        let mut data = udp(6_000, b"data");
        data[14] = 0x43;
        assert!(line(&data).contains(" malformed ip header, "), "{}", line(&data));
        let whole = udp(6_000, b"data");
        assert!(line(&whole[..40]).contains(" malformed udp header, "), "{}", line(&whole[..40]));
        assert!(
            cut_line(&whole[..40], 46).contains("cut in its udp header, 46 bytes"),
            "{}",
            cut_line(&whole[..40], 46)
        );
    }

    #[test]
    fn a_cooked_packet_has_another_header() {
        let header = b"\x08\0\0\0\0\0\0\x07\0\x01\x04\x06\x01\x02\x03\x04\x05\x06\0\0";
        let data = [&header[..], &udp(6_000, b"data")[14..]].concat();
        let mut line = String::new();
        dissect(Link::Cooked, &data, data.len() as u32, &mut line);
        assert_eq!(line, "192.0.2.1:5000 > 192.0.2.2:6000 udp, 52 bytes");
        line.clear();
        dissect(Link::Cooked, &data[..10], 10, &mut line);
        assert_eq!(line, "malformed cooked header, 10 bytes");
    }
}
