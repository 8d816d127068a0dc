//! Flows put together from segments, as they come and as they should not.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use socketkit_wire::uses::{Encrypted, Segment, Transport, HELLO_BYTES, START_BYTES};

use super::{End, Flows};

const CLIENT: End = (IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 40_000);
const SERVER: End = (IpAddr::V4(Ipv4Addr::new(198, 51, 100, 1)), 7_777);

fn packet(transport: Transport, from: End, to: End, payload: &[u8]) -> Segment<'_> {
    Segment {
        transport,
        source: SocketAddr::from(from),
        destination: SocketAddr::from(to),
        payload,
        payload_bytes: payload.len(),
        sequence: 0,
        acknowledged: None,
        syn: false,
        fin: false,
        rst: false,
    }
}

fn data(sequence: u32, payload: &[u8]) -> Segment<'_> {
    Segment { sequence, acknowledged: Some(1), ..packet(Transport::Tcp, CLIENT, SERVER, payload) }
}

fn syn(sequence: u32) -> Segment<'static> {
    Segment { sequence, syn: true, ..packet(Transport::Tcp, CLIENT, SERVER, b"") }
}

fn flows() -> Flows {
    Flows::new(100, 1_000)
}

fn said(flows: &Flows) -> Vec<u8> {
    let found = flows.find(Transport::Tcp, CLIENT, Some(SERVER)).unwrap();
    found.flow.sides[found.local].bytes.clone()
}

#[test]
fn late_and_repeated_segments_spoil_nothing() {
    // The sequence goes round within it.
    let base = u32::MAX - 3;
    let mut flows = flows();
    flows.take(&syn(base.wrapping_sub(1)), 0);
    flows.take(&data(base.wrapping_add(8), b"HTTP"), 1);
    flows.take(&data(base.wrapping_add(4), b"/ HT"), 2);
    flows.take(&data(base, b"GET "), 3);
    flows.take(&data(base, b"GET / HTTP"), 4);
    flows.take(&data(base.wrapping_sub(1), b"x"), 5); // a keep-alive's
    flows.take(&data(base.wrapping_add(12), b"/1.1\r\n"), 6);
    assert_eq!(said(&flows), b"GET / HTHTTP/1.1\r\n");
    let found = flows.find(Transport::Tcp, SERVER, Some(CLIENT)).unwrap();
    assert_eq!((found.local, found.flow.started), (1, true));
    assert_eq!(found.flow.verdict([40_000, 7_777]).unwrap().row.protocol, "HTTP/1");
}

#[test]
fn what_is_kept_is_bounded() {
    let mut flows = flows();
    flows.take(&syn(0), 0);
    let long = [b'a'; 10_000];
    flows.take(&data(1, &long), 1);
    flows.take(&data(10_001, &long), 2);
    assert_eq!(said(&flows).len(), START_BYTES);
    let hello = [&[22, 3, 1, 0x20, 0, 1, 0, 0x1f, 0xfc, 3, 3][..], &long].concat();
    let mut flows = self::flows();
    flows.take(&syn(0), 0);
    flows.take(&data(1, &hello[..1_000]), 1);
    assert_eq!(said(&flows).len(), 1_000);
    flows.take(&data(1_001, &hello[1_000..]), 2);
    assert!(said(&flows).len() <= START_BYTES && HELLO_BYTES > START_BYTES);
    // Far ahead, and never followed.
    for number in 0..1_000 {
        flows.take(&data(100 + number * 50, b"early"), 3);
    }
    assert_eq!(flows.len(), 1);
}

#[test]
fn what_ran_before_has_no_start() {
    let mut flows = flows();
    flows.take(&data(77, b"GET / HTTP/1.1\r\n"), 0);
    let found = flows.find(Transport::Tcp, CLIENT, Some(SERVER)).unwrap();
    assert!(!found.flow.started);
    let verdict = found.flow.verdict([1, 2]).unwrap();
    assert_eq!((verdict.row.protocol, verdict.sure), ("HTTP/1", 70));
    let noise: Vec<u8> = (0..120_u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let mut flows = self::flows();
    flows.take(&data(77, &noise), 0);
    let found = flows.find(Transport::Tcp, CLIENT, Some(SERVER)).unwrap();
    assert!(found.flow.verdict([1, 2]).is_none());
    assert_ne!(found.flow.randomness(), Encrypted::Yes);
}

/// The answer to a SYN, with the number of its side.
fn syn_ack(sequence: u32) -> Segment<'static> {
    Segment { sequence, acknowledged: Some(1), syn: true, ..packet(Transport::Tcp, SERVER, CLIENT, b"") }
}

fn answered(sequence: u32, payload: &[u8]) -> Segment<'_> {
    Segment { sequence, acknowledged: Some(1), ..packet(Transport::Tcp, SERVER, CLIENT, payload) }
}

#[test]
fn what_came_before_the_start_was_known_is_no_start() {
    let mut flows = flows();
    flows.take(&syn(0), 0);
    flows.take(&answered(505, b"2.0-b\r\n"), 1);
    flows.take(&syn_ack(500), 2);
    flows.take(&answered(501, b"SSH-"), 3);
    let found = flows.find(Transport::Tcp, SERVER, Some(CLIENT)).unwrap();
    assert_eq!(found.flow.sides[1].bytes, b"SSH-");
}

#[test]
fn a_syn_with_another_number_begins_anew() {
    let mut flows = flows();
    flows.take(&syn(0), 0);
    flows.take(&data(1, b"GET / HTTP/1.1\r\n"), 1);
    flows.take(&syn(0), 2);
    assert_eq!(said(&flows), b"GET / HTTP/1.1\r\n");
    flows.take(&data(1_010, b"early"), 3);
    flows.take(&syn(1_000), 4);
    flows.take(&data(1_001, b"SSH-2.0-a"), 5);
    assert_eq!(said(&flows), b"SSH-2.0-a");
}

#[test]
fn an_answer_to_a_syn_shows_both_starts() {
    let mut flows = flows();
    let answer =
        Segment { sequence: 500, acknowledged: Some(10), syn: true, ..packet(Transport::Tcp, SERVER, CLIENT, b"") };
    flows.take(&answer, 0);
    flows.take(&data(10, b"SSH-2.0-a\r\n"), 1);
    let found = flows.find(Transport::Tcp, CLIENT, Some(SERVER)).unwrap();
    assert_eq!((found.local, found.flow.started, found.ends), (0, true, [CLIENT, SERVER]));
    assert_eq!(found.flow.sides[0].bytes, b"SSH-2.0-a\r\n");
}

#[test]
fn the_same_ends_again_are_another_connection() {
    let mut flows = flows();
    flows.take(&syn(0), 0);
    flows.take(&data(1, b"first"), 1);
    flows.take(&Segment { rst: true, ..data(6, b"") }, 2);
    flows.take(&syn(9_000), 3);
    flows.take(&data(9_001, b"second"), 4);
    assert_eq!(said(&flows), b"second");
    assert_eq!(flows.len(), 1);
}

#[test]
fn the_longest_silent_go_first() {
    let mut flows = Flows::new(3, u64::MAX);
    let ends = |port| ((CLIENT.0, port), SERVER);
    for port in [1, 2, 3, 1, 4] {
        let (from, to) = ends(port);
        flows.take(&packet(Transport::Udp, from, to, b"x"), u64::from(port));
    }
    let known = |port| flows.find(Transport::Udp, ends(port).0, Some(SERVER)).is_some();
    assert_eq!([1, 2, 3, 4].map(known), [true, false, true, true]);
    assert_eq!((flows.len(), flows.pushed_out), (3, 1));
}

#[test]
fn what_was_silent_makes_room_and_is_not_counted() {
    let mut flows = Flows::new(100, 10);
    flows.take(&packet(Transport::Udp, (CLIENT.0, 1), SERVER, b"x"), 0);
    flows.take(&packet(Transport::Udp, (CLIENT.0, 2), SERVER, b"x"), 100);
    assert_eq!((flows.len(), flows.pushed_out), (1, 0));
}

#[test]
fn a_socket_without_a_peer_is_found_by_its_port() {
    let mut flows = flows();
    flows.take(&packet(Transport::Udp, CLIENT, SERVER, b"page:1|c"), 0);
    let any = |port| (IpAddr::V4(Ipv4Addr::UNSPECIFIED), port);
    assert_eq!(flows.find(Transport::Udp, any(7_777), None).unwrap().local, 1);
    assert_eq!(flows.find(Transport::Udp, CLIENT, None).unwrap().local, 0);
    assert!(flows.find(Transport::Udp, (SERVER.0, 40_000), None).is_none());
    assert!(flows.find(Transport::Udp, any(1), None).is_none());
    assert!(flows.find(Transport::Tcp, any(7_777), None).is_none());
    flows.take(&syn(0), 0);
    assert_eq!(flows.find(Transport::Tcp, any(7_777), None).unwrap().ends, [CLIENT, SERVER]);
    let mapped = (IpAddr::V6(Ipv4Addr::new(192, 0, 2, 1).to_ipv6_mapped()), 40_000);
    assert!(flows.find(Transport::Udp, mapped, Some(SERVER)).is_some());
}

/// RFC 9001, Appendix A.2: the client's first packet, sealed, with its hello for example.com.
#[test]
fn a_quic_hello_is_opened() {
    let packet = include_bytes!("quic-initial-rfc9001");
    let initial = socketkit_wire::uses::quic::initial(packet).unwrap();
    let payload = super::initial::open(&initial, initial.destination).unwrap();
    assert_eq!(payload[..4], [6, 0, 0x40, 0xf1]);
    let mut flows = flows();
    flows.take(&self::packet(Transport::Udp, CLIENT, SERVER, packet), 0);
    let facts = flows.find(Transport::Udp, CLIENT, Some(SERVER)).unwrap().flow.facts().unwrap();
    assert_eq!((facts.name.as_deref(), facts.whole), (Some("example.com"), true));
    let mut broken = packet.to_vec();
    broken[700] ^= 1;
    let initial = socketkit_wire::uses::quic::initial(&broken).unwrap();
    assert_eq!(super::initial::open(&initial, initial.destination), None);
}
