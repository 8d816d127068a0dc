//! Records over a stream: what is read was written so, however it is cut, and no length promises more than is allowed.

use socketkit_wire::records::{front, header, Front, RecordViolation, CLOSE, HEADER_BYTES, LONGEST_BYTES};

pub fn check(data: &[u8]) {
    check_front(data, LONGEST_BYTES);
    // The first two bytes are the bound for the rest.
    if let Some((bound, rest)) = data.split_first_chunk() {
        let most = usize::from(u16::from_be_bytes(*bound));
        check_front(rest, most);
        check_stream(rest, most);
    }
}

/// What stands in front of some bytes does not depend on what comes behind it, and a part becomes whole with what is missing.
fn check_front(bytes: &[u8], most: usize) {
    match front(bytes, most) {
        Ok(Front::Record(payload)) => {
            assert!(payload.len() <= most);
            let taken = HEADER_BYTES + payload.len();
            assert_eq!(header(payload.len()).unwrap()[..], bytes[..HEADER_BYTES]);
            assert_eq!(payload, &bytes[HEADER_BYTES..taken]);
            assert_eq!(front(&bytes[..taken], most), Ok(Front::Record(payload)));
            assert_eq!(front(&bytes[..taken - 1], most), Ok(Front::Part { missing: 1 }));
        }
        Ok(Front::Part { missing }) => {
            assert!(missing >= 1 && missing <= most.max(HEADER_BYTES));
            if missing <= 1 << 16 {
                let more = [bytes, &vec![0; missing][..]].concat();
                // A length that is whole now may be refused now, or ask for its payload.
                match front(&more, most) {
                    Ok(Front::Record(payload)) => assert_eq!(HEADER_BYTES + payload.len(), more.len()),
                    Ok(Front::Part { .. }) | Err(_) => assert!(bytes.len() < HEADER_BYTES),
                    Ok(Front::Close) => panic!("a close record out of zeros"),
                }
            }
        }
        Ok(Front::Close) => assert_eq!(bytes, CLOSE),
        Err(RecordViolation::AfterClose(count)) => {
            assert_eq!((&bytes[..HEADER_BYTES], bytes.len()), (&CLOSE[..], HEADER_BYTES + count));
        }
        Err(RecordViolation::TooLong { length, most: told }) => assert!(length > most && told == most),
        Err(RecordViolation::Reserved(length)) => assert!(header(length as usize).is_none() && bytes[0] >= 0x80),
    }
}

/// Read in pieces it is the same as at once, and what was read, written again, are the bytes that were read.
fn check_stream(bytes: &[u8], most: usize) {
    let whole = read(bytes, most);
    let mut arrived = 0;
    let mut records = Vec::new();
    let mut start = 0;
    while arrived < bytes.len() {
        arrived += 1 + usize::from(bytes[arrived]) % 7;
        let there = &bytes[..arrived.min(bytes.len())];
        while let Ok(Front::Record(payload)) = front(&there[start..], most) {
            records.push(payload);
            start += HEADER_BYTES + payload.len();
        }
    }
    assert_eq!((records, start), whole);
    let mut written = Vec::new();
    for payload in &whole.0 {
        written.extend_from_slice(&header(payload.len()).unwrap());
        written.extend_from_slice(payload);
    }
    assert_eq!(written, bytes[..whole.1]);
}

fn read(bytes: &[u8], most: usize) -> (Vec<&[u8]>, usize) {
    let mut records = Vec::new();
    let mut used = 0;
    while let Ok(Front::Record(payload)) = front(&bytes[used..], most) {
        records.push(payload);
        used += HEADER_BYTES + payload.len();
    }
    (records, used)
}
