//! `uses`: a certain verdict stays what it is however much follows, the same bytes give the same verdict, and none is surer than sure.

use socketkit_wire::uses::{classify, looks_random, quic, tls, Start, Transport, Verdict, CERTAIN};

/// The first byte says TCP or UDP and which ports, the second how many of the rest are the client's.
pub fn check(data: &[u8]) {
    let Some(([how, split], rest)) = data.split_first_chunk() else { return };
    let transport = if how & 1 == 0 { Transport::Tcp } else { Transport::Udp };
    let ports = PORTS[usize::from(how >> 1) % PORTS.len()];
    let (client, server) = rest.split_at(usize::from(*split).min(rest.len()));
    let whole = verdict(transport, ports, client, client.len(), server);
    let again = verdict(transport, ports, client, client.len(), server);
    assert_eq!(named(&whole), named(&again));
    if let Some(verdict) = &whole {
        assert!((1..=99).contains(&verdict.sure), "{verdict:?}");
    }
    for side in [client, server] {
        check_starts(transport, ports, side);
        // What has structure may be anything; only that it ends, and stays within its words.
        let _ = looks_random(side, &[]);
        let _ = tls::answered(tls::offered(side), side);
        let _ = tls::facts_of_message(side);
        if let Some(initial) = quic::initial(side) {
            assert!(initial.number_at <= initial.packet.len() && initial.packet.len() <= side.len());
        }
        let (mut message, mut have) = (Vec::new(), Vec::new());
        let _ = quic::gather(side, &mut message, &mut have);
        assert!(message.len() == have.len() && message.len() <= 16 * 1024);
    }
}

/// Once certain, always the same family.
fn check_starts(transport: Transport, ports: [u16; 2], side: &[u8]) {
    let mut certain: Option<(usize, Verdict)> = None;
    for length in 0..=side.len().min(MOST) {
        let now = verdict(transport, ports, &side[..length], side.len(), &[]);
        if let Some((since, before)) = &certain {
            let family = now.map(|now| (now.row.family, now.sure >= CERTAIN));
            assert_eq!(family, Some((before.row.family, true)), "certain with {since} bytes, not with {length}");
        }
        if let Some(now) = now.filter(|now| now.sure >= CERTAIN && certain.is_none()) {
            certain = Some((length, now));
        }
    }
}

fn verdict(
    transport: Transport,
    ports: [u16; 2],
    client: &[u8],
    datagram_bytes: usize,
    server: &[u8],
) -> Option<Verdict> {
    let client = Start { bytes: client, datagram_bytes, following: &[] };
    let server = Start { bytes: server, datagram_bytes: server.len(), following: &[] };
    classify(transport, ports, client, server)
}

fn named(verdict: &Option<Verdict>) -> Option<(&'static str, u8)> {
    verdict.as_ref().map(|verdict| (verdict.row.protocol, verdict.sure))
}

/// As much as is kept of a side that is no hello.
const MOST: usize = 127;
const PORTS: [[u16; 2]; 6] = [[40_000, 1], [40_000, 53], [40_000, 443], [5_353, 5_353], [40_000, 25_565], [68, 67]];
