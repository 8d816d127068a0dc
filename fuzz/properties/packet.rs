//! From a packet to what it carries: nothing but its own bytes, no more than it promises, and of one that was captured in part the
//! same as far as it goes.

use socketkit_wire::dissect::Link;
use socketkit_wire::uses::{segment, Segment, Transport};

pub fn check(data: &[u8]) {
    for link in [Link::Ethernet, Link::Cooked] {
        let Some(whole) = segment(link, data) else { continue };
        let (own, carried) = (data.as_ptr_range(), whole.payload.as_ptr_range());
        assert!(own.start <= carried.start && carried.end <= own.end);
        assert!(whole.payload.len() <= whole.payload_bytes);
        assert!(whole.transport == Transport::Tcp || !(whole.syn || whole.fin || whole.rst));
        // A packet without its last bytes, as a capture has it; what is left may be no segment, but none of another flow.
        for length in (0..data.len()).step_by(1 + data.len() / 60) {
            if let Some(part) = segment(link, &data[..length]) {
                assert_eq!(headers(&part), headers(&whole), "{length} of {}", data.len());
                assert!(whole.payload.starts_with(part.payload), "{length} of {}", data.len());
            }
        }
    }
}

type Headers = (Transport, [std::net::SocketAddr; 2], u32, Option<u32>, [bool; 3]);

fn headers(segment: &Segment<'_>) -> Headers {
    let ends = [segment.source, segment.destination];
    (segment.transport, ends, segment.sequence, segment.acknowledged, [segment.syn, segment.fin, segment.rst])
}
