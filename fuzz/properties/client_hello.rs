//! `client_hello`: each start of a stream gives the answer that the rest of it confirms.

use socketkit_wire::hello::{client_hello, Hello, MAX_HELLO_BYTES};

pub fn check(data: &[u8]) {
    let answer = client_hello(data);
    let complete = end_of_message(data).map(|bytes| Hello::Complete { bytes });
    assert_eq!(complete, Some(answer).filter(|answer| matches!(answer, Hello::Complete { .. })));
    let whole = match answer {
        Hello::Complete { bytes } => {
            assert!(bytes <= data.len() && bytes <= MAX_HELLO_BYTES);
            assert_eq!(client_hello(&data[..bytes]), answer);
            bytes
        }
        Hello::Incomplete => {
            assert!(data.len() < MAX_HELLO_BYTES);
            data.len()
        }
        Hello::Refused(_) => data.len(),
    };
    check_shorter(&data[..whole], matches!(answer, Hello::Refused(_)));
    if answer != Hello::Incomplete {
        check_longer(data, answer);
    }
}

/// Every start of what is not refused is incomplete; in what is refused, the refusal stays from its first byte on.
fn check_shorter(data: &[u8], may_be_refused: bool) {
    let mut refused = false;
    for length in lengths_below(data.len()) {
        match client_hello(&data[..length]) {
            Hello::Incomplete => assert!(!refused, "no longer refused at {length}"),
            Hello::Refused(_) => refused = true,
            Hello::Complete { bytes } => panic!("complete with {bytes} bytes, but not with more"),
        }
    }
    assert!(may_be_refused || !refused);
}

/// All of them, or of long data a part that holds both ends.
fn lengths_below(end: usize) -> impl Iterator<Item = usize> {
    (0..end).filter(move |length| *length < 128 || end - length < 32 || length % 257 == 0)
}

fn check_longer(data: &[u8], answer: Hello) {
    for more in [&b"\0"[..], b"\xff\xff\xff\xff\xff\xff", b"\x16\x03\x01\0\x01\x01", data] {
        let longer = client_hello(&[data, more].concat());
        match answer {
            Hello::Refused(_) => assert!(matches!(longer, Hello::Refused(_))), // its reason may be more precise
            _ => assert_eq!(longer, answer),
        }
    }
}

/// The same question, answered by putting the message together.
fn end_of_message(data: &[u8]) -> Option<usize> {
    let (mut message, mut rest) = (Vec::new(), data);
    while let [22, 3, _, high, low, behind @ ..] = rest {
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        let payload = behind.get(..length).filter(|_| (1..=16_384).contains(&length))?;
        message.extend_from_slice(payload);
        rest = &behind[length..];
        let end = data.len() - rest.len();
        if let [1, a, b, c, body @ ..] = &message[..] {
            let body_bytes = u32::from_be_bytes([0, *a, *b, *c]) as usize;
            if body.len() >= body_bytes {
                let fits = body.len() == body_bytes && body_bytes >= 41 && body[0] == 3;
                return (fits && end <= MAX_HELLO_BYTES).then_some(end);
            }
        }
    }
    None
}
