//! `probe`: what is taken for an answer has the numbers that stand in it, and what is behind it changes nothing.

use std::net::IpAddr;

use socketkit_wire::probe::{icmp4, icmp6, ipv4, segment, syn, Answer};

pub fn check(data: &[u8]) {
    let longer = [data, &[0xa5; 32]].concat();
    if let Some(packet) = ipv4(data) {
        assert!(packet.payload.len() + 20 <= data.len() && data.ends_with(packet.payload));
    }
    if let Some(found) = segment(data) {
        assert_eq!(segment(&longer), Some(found));
        assert_eq!((found.port.to_be_bytes(), found.to_port.to_be_bytes()), ([data[0], data[1]], [data[2], data[3]]));
        assert_eq!(found.answer == Answer::Reset, data[13] & 4 != 0);
        // It has the number of a SYN: its answer, written as such, is one.
        let again =
            syn(IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2]), found.to_port, found.port, found.sequence);
        let again = again.unwrap();
        assert_eq!(again[4..8], found.sequence.to_be_bytes());
        assert_eq!(segment(&again), None);
    }
    for read in [icmp4, icmp6] {
        if let Some(quote) = read(data) {
            assert_eq!(read(&longer), Some(quote));
            assert!(data.windows(8).any(|window| {
                window[..2] == quote.from_port.to_be_bytes()
                    && window[2..4] == quote.port.to_be_bytes()
                    && window[4..] == quote.sequence.to_be_bytes()
            }));
        }
    }
    assert!(icmp4(data).is_none_or(|quote| quote.destination.is_ipv4()));
    assert!(icmp6(data).is_none_or(|quote| quote.destination.is_ipv6()));
}
