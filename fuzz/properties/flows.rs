//! Flows put together from packets: what is kept of a side is the start of what it sent, however that was cut, repeated and shuffled;
//! no more flows are known than were allowed; and nothing that a packet says is too much.

use std::net::SocketAddr;

use socketkit_engine::first_bytes::{Flows, Found, Names};
use socketkit_wire::uses::{Segment, Transport, HELLO_BYTES};

/// The first byte says how many packets follow, of five bytes each; the rest is what both sides of every flow send.
pub fn check(data: &[u8]) {
    let Some((count, rest)) = data.split_first() else { return };
    let (packets, sent) = rest.split_at((usize::from(*count) * PACKET_BYTES).min(rest.len()));
    let (mut flows, mut names) = (Flows::new(MOST, 1_000), Names::default());
    for (now, packet) in packets.chunks_exact(PACKET_BYTES).enumerate() {
        let segment = segment(packet, sent);
        let _ = flows.asked(&segment);
        names.take(&segment, now as u64, || true);
        flows.take(&segment, now as u64 * 300);
        assert!(flows.len() <= MOST);
        let [source, destination] = [segment.source, segment.destination].map(|end| (end.ip(), end.port()));
        let Some(found) = flows.find(segment.transport, source, Some(destination)) else {
            panic!("the flow of the last packet is not known");
        };
        assert!(found.flow.sides[found.local].packets > 0 || segment.payload_bytes == 0);
        assert!(flows.find(segment.transport, source, None).is_some());
        check_found(&found, sent);
    }
}

fn check_found(found: &Found, sent: &[u8]) {
    let flow = &found.flow;
    for (number, side) in flow.sides.iter().enumerate() {
        assert!(side.bytes.len() <= HELLO_BYTES);
        assert!(side.sizes.iter().map(|count| u64::from(*count)).sum::<u64>() == side.packets);
        // Where the other side began is not known without its answer: then what came first is kept, wherever it belongs.
        let from_its_start = flow.transport == Transport::Tcp && flow.started && number == 0;
        let is_part = || sent.windows(side.bytes.len().max(1)).any(|part| part == side.bytes) || side.bytes.is_empty();
        assert!(if from_its_start { sent.starts_with(&side.bytes) } else { is_part() }, "{:?}", side.bytes);
    }
    let verdict = flow.verdict(found.ends.map(|end| end.1));
    assert!(verdict.is_none_or(|verdict| (1..=99).contains(&verdict.sure)));
    let _ = (flow.facts(), flow.randomness());
}

/// What a packet has: whose it is, what it says, and which part of `sent` is in it.
fn segment<'a>(packet: &[u8], sent: &'a [u8]) -> Segment<'a> {
    let [whose, says, ..] = *packet else { unreachable!("of five bytes each") };
    let transport = if whose & 1 == 0 { Transport::Tcp } else { Transport::Udp };
    let syn = says & 1 != 0 && transport == Transport::Tcp;
    // What comes with a SYN is the first.
    let at = if syn { 0 } else { usize::from(u16::from_be_bytes([packet[2], packet[3]])) };
    let payload = sent.get(at..).unwrap_or_default();
    let payload = &payload[..payload.len().min(usize::from(packet[4]) * 8)];
    let server: SocketAddr = ([192, 0, 2, 1], PORTS[usize::from(whose >> 1) % PORTS.len()]).into();
    let client: SocketAddr = ([192, 0, 2, 2 + (whose >> 4 & 3)], 40_000).into();
    let (source, destination) = if says & 2 == 0 { (client, server) } else { (server, client) };
    Segment {
        transport,
        source,
        destination,
        payload,
        payload_bytes: payload.len(),
        sequence: FIRST.wrapping_add(at as u32).wrapping_sub(u32::from(syn)),
        acknowledged: (says & 4 != 0).then_some(FIRST),
        syn,
        fin: says & 8 != 0,
        rst: says & 0x70 == 0x70,
    }
}

const PACKET_BYTES: usize = 5;
const MOST: usize = 3;
const PORTS: [u16; 4] = [443, 53, 5_353, 9_999];
/// The number of both sides' first byte: they go round in the middle of a hello.
const FIRST: u32 = u32::MAX - 99;
