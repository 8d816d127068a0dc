//! `dns`: what is read can be written and read again; a message that is cut gives the first of the same, and more behind it nothing else.

use std::net::IpAddr;

use socketkit_wire::dns::{answer, answers, Given, MOST_ADDRESSES};

pub fn check(data: &[u8]) {
    if let Some(told) = answer(data) {
        assert!(told.given.len() <= MOST_ADDRESSES);
        for given in &told.given {
            let again = answer(&written(given));
            assert_eq!(again.map(|again| (again.given, again.whole)), Some((vec![given.clone()], true)));
        }
        for cut in [data.len() / 3, data.len() / 2, data.len().saturating_sub(1)] {
            let shorter = answer(data.get(..cut).unwrap_or_default());
            assert!(shorter.is_none_or(|shorter| told.given.starts_with(&shorter.given)));
        }
        let framed = [&(data.len() as u16).to_be_bytes()[..], data].concat();
        if data.len() <= usize::from(u16::MAX) {
            assert_eq!(answers(&framed), Some(told.clone()));
            assert_eq!(
                answers(&[&framed[..], &framed].concat()).map(|both| both.given.len()),
                Some(2 * told.given.len())
            );
        }
    }
    // Of a stream nothing is promised but that it ends, and is no more than its messages.
    if let Some(told) = answers(data) {
        assert!(told.given.len() <= data.len());
    }
}

/// An answer that gives this alone.
fn written(given: &Given) -> Vec<u8> {
    let mut message = vec![0, 0, 0x84, 0, 0, 0, 0, 1, 0, 0, 0, 0];
    let mut label = Vec::new();
    let mut put = |label: &mut Vec<u8>| {
        if !label.is_empty() {
            message.push(label.len() as u8);
            message.append(label);
        }
    };
    let mut bytes = given.name.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'.' => put(&mut label),
            b'\\' => match bytes.next() {
                Some(digit @ b'0'..=b'9') => {
                    let rest: Vec<u8> = bytes.by_ref().take(2).collect();
                    let number =
                        [&[digit][..], &rest].concat().iter().fold(0, |sum, digit| sum * 10 + u32::from(digit - b'0'));
                    label.push(number as u8);
                }
                Some(byte) => label.push(byte),
                None => {}
            },
            byte => label.push(byte),
        }
    }
    put(&mut label);
    let (kind, data): (u8, Vec<u8>) = match given.address {
        IpAddr::V4(address) => (1, address.octets().to_vec()),
        IpAddr::V6(address) => (28, address.octets().to_vec()),
    };
    message.extend([0, 0, kind, 0, 1]);
    message.extend(given.seconds.to_be_bytes());
    message.extend((data.len() as u16).to_be_bytes());
    message.extend(data);
    message
}
