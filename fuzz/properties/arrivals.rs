//! Numbered messages: a header is what its bytes say, and whatever numbers come, each message is counted once and costs a gap at most.

use socketkit_wire::arrivals::{Arrivals, Header};

pub fn check(data: &[u8]) {
    check_header(data);
    // Steps of nine bytes: how far the number is from the one before, and which way; the times are made of them.
    let mut arrivals = Arrivals::default();
    let (mut number, mut noted) = (0_u64, 0);
    for step in data.chunks_exact(9) {
        let far = u64::from_be_bytes(step[1..].try_into().unwrap()) >> (step[0] & 63);
        number = if step[0] & 64 == 0 { number.wrapping_add(far) } else { number.wrapping_sub(far) };
        arrivals.note(number, far, number);
        noted += 1;
        assert_eq!(arrivals.received + arrivals.duplicates, noted);
        assert!(arrivals.expected > u128::from(number));
        assert!(arrivals.reordered < arrivals.received);
        assert_eq!(arrivals.lost(None) + u128::from(arrivals.received), arrivals.expected);
        assert!(arrivals.lost(Some(u64::MAX)) >= arrivals.lost(None));
        assert!(arrivals.jitter_ns.is_finite() && arrivals.jitter_ns >= 0.0);
        let mut again = arrivals.clone();
        again.note(number, 0, 0);
        assert_eq!((again.duplicates, again.received), (arrivals.duplicates + 1, arrivals.received), "a copy is one");
    }
}

fn check_header(data: &[u8]) {
    let Some(header) = Header::parse(data) else {
        assert!(data.len() < 24);
        return;
    };
    let written = [
        &[header.kind, header.phase][..],
        &header.flow.to_be_bytes(),
        &header.session.to_be_bytes(),
        &header.number.to_be_bytes(),
        &header.sent_ns.to_be_bytes(),
    ]
    .concat();
    assert_eq!(written, data[..24]);
}
