//! Answers to questions for names: which addresses a DNS message gives, and for which name (RFC 1035; mDNS and LLMNR write the same).
//!
//! Whoever can send a packet writes them. A name's references lead only backwards, each further than the one before, so there is no
//! ring; a name has 255 bytes at most, and what is too much for one message is left out. A message that was cut gives what was whole
//! in it, and says so.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What a message says of addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    pub given: Vec<Given>,
    /// All of it was read. What its writer had no room for does not count: whoever asked asks again over TCP.
    pub whole: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Given {
    pub address: IpAddr,
    /// What was asked for, whatever other names led from there to the address; without a question the one that has the address.
    /// In lower case, without the last dot; bytes that are no letters of a name as `\ddd`.
    pub name: String,
    /// So long it may be believed.
    pub seconds: u32,
}

/// The answer of a datagram; None for a question, and for what is no such message.
pub fn answer(message: &[u8]) -> Option<Answer> {
    let flags = be16(message, 2)?;
    let operation = flags >> 11 & 15;
    if flags & ANSWER == 0 || operation != 0 || message.len() < HEADER_BYTES {
        return None;
    }
    let count = |at| be16(message, at).map(usize::from);
    let questions = count(4)?;
    let records = count(6)?.checked_add(count(8)?)?.checked_add(count(10)?)?;
    if questions > MOST_QUESTIONS {
        return None;
    }
    let mut at = HEADER_BYTES;
    let mut asked = None;
    for _ in 0..questions {
        let (name, after) = name(message, at)?;
        be16(message, after)?;
        be16(message, after + 2)?;
        asked.get_or_insert(name);
        at = after + 4;
    }
    let mut answer = Answer { whole: records <= MOST_RECORDS, given: Vec::new() };
    for _ in 0..records.min(MOST_RECORDS) {
        let Some((record, after)) = record(message, at) else {
            answer.whole = false;
            break;
        };
        at = after;
        for address in record.addresses {
            let name = asked.as_ref().unwrap_or(&record.name).clone();
            answer.given.push(Given { address, name, seconds: record.seconds });
        }
        if answer.given.len() > MOST_ADDRESSES {
            answer.given.truncate(MOST_ADDRESSES);
            answer.whole = false;
            break;
        }
    }
    Some(answer)
}

/// The answers of a piece of a TCP stream that begins with one (RFC 1035 §4.2.2). What goes on in the next piece is not whole.
pub fn answers(mut piece: &[u8]) -> Option<Answer> {
    let mut all: Option<Answer> = None;
    while let Some(length) = be16(piece, 0).map(usize::from) {
        let behind = piece.get(2..)?;
        let Some((message, rest)) = behind.split_at_checked(length) else {
            let cut = answer(behind)?;
            let whole = all.get_or_insert_default();
            whole.given.extend(cut.given);
            whole.whole = false;
            break;
        };
        let Some(told) = answer(message) else { break };
        match &mut all {
            Some(whole) => {
                whole.given.extend(told.given);
                whole.whole &= told.whole;
            }
            None => all = Some(told),
        }
        piece = rest;
    }
    all
}

struct Record {
    name: String,
    seconds: u32,
    addresses: Vec<IpAddr>,
}

fn record(message: &[u8], at: usize) -> Option<(Record, usize)> {
    let (name, after) = name(message, at)?;
    let kind = be16(message, after)?;
    // The first bit is mDNS's: that it is the only one (RFC 6762 §10.2).
    let class = be16(message, after + 2)? & 0x7fff;
    let seconds = u32::from_be_bytes(*message.get(after + 4..)?.first_chunk()?);
    let length = usize::from(be16(message, after + 8)?);
    let end = after.checked_add(10)?.checked_add(length)?;
    let data = message.get(after + 10..end)?;
    let addresses = match (class, kind) {
        (INTERNET, A) => data.try_into().ok().map(|bytes: [u8; 4]| IpAddr::from(bytes)).into_iter().collect(),
        (INTERNET, AAAA) => data.try_into().ok().map(|bytes: [u8; 16]| IpAddr::from(bytes)).into_iter().collect(),
        (INTERNET, SVCB | HTTPS) => hints(data).unwrap_or_default(),
        _ => Vec::new(),
    };
    Some((Record { name, seconds, addresses }, end))
}

/// Addresses to begin with, of a service (RFC 9460 §7.3): behind the priority and a target's name that is never shortened.
fn hints(data: &[u8]) -> Option<Vec<IpAddr>> {
    let mut at = 2;
    loop {
        let length = usize::from(*data.get(at)?);
        at += 1 + length;
        if length == 0 {
            break;
        }
    }
    let mut found = Vec::new();
    while let Some(key) = be16(data, at) {
        let length = usize::from(be16(data, at + 2)?);
        let value = data.get(at + 4..at + 4 + length)?;
        match key {
            4 => found.extend(
                value
                    .chunks_exact(4)
                    .filter_map(|part| part.first_chunk::<4>())
                    .map(|part| IpAddr::V4(Ipv4Addr::from(*part))),
            ),
            6 => found.extend(
                value
                    .chunks_exact(16)
                    .filter_map(|part| part.first_chunk::<16>())
                    .map(|part| IpAddr::V6(Ipv6Addr::from(*part))),
            ),
            _ => {}
        }
        at += 4 + length;
    }
    Some(found)
}

/// The name that begins there, and where what follows it begins.
fn name(message: &[u8], start: usize) -> Option<(String, usize)> {
    let mut text = String::new();
    let (mut at, mut from, mut bytes) = (start, start, 0);
    let mut after = None;
    loop {
        match *message.get(at)? {
            0 => return Some((text, after.unwrap_or(at + 1))),
            length @ 1..=63 => {
                let label = message.get(at + 1..at + 1 + usize::from(length))?;
                bytes += 1 + label.len();
                if bytes > LONGEST_NAME {
                    return None;
                }
                if !text.is_empty() {
                    text.push('.');
                }
                label.iter().for_each(|byte| write(&mut text, *byte));
                at += 1 + label.len();
            }
            0xc0.. => {
                let to = usize::from(be16(message, at)? & 0x3fff);
                // Only to what stands before this part of the name: so it ends.
                if to >= from {
                    return None;
                }
                after.get_or_insert(at + 2);
                (at, from) = (to, to);
            }
            _ => return None,
        }
    }
}

fn write(text: &mut String, byte: u8) {
    match byte {
        b'.' | b'\\' => text.extend(['\\', char::from(byte)]),
        b'!'..=b'~' => text.push(char::from(byte.to_ascii_lowercase())),
        _ => {
            text.push('\\');
            for part in [byte / 100, byte / 10 % 10, byte % 10] {
                text.push(char::from(b'0' + part));
            }
        }
    }
}

fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

const HEADER_BYTES: usize = 12;
const ANSWER: u16 = 0x8000;
const INTERNET: u16 = 1;
const A: u16 = 1;
const AAAA: u16 = 28;
const SVCB: u16 = 64;
const HTTPS: u16 = 65;
const LONGEST_NAME: usize = 254;
const MOST_QUESTIONS: usize = 8;
const MOST_RECORDS: usize = 512;
pub const MOST_ADDRESSES: usize = 256;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// `www.Example.com` leads to `cdn.example`, and that to two addresses.
    fn example() -> Vec<u8> {
        let mut message = vec![0x12, 0x34, 0x81, 0x80, 0, 1, 0, 3, 0, 0, 0, 0];
        message.extend(b"\x03www\x07Example\x03com\0\0\x01\0\x01");
        message.extend(b"\xc0\x0c\0\x05\0\x01\0\0\0\x3c\0\x0d\x03cdn\x07example\0");
        message.extend(b"\x03cdn\x07example\0\0\x01\0\x01\0\0\0\x1e\0\x04\xc0\0\x02\x01");
        message.extend(b"\xc0\x2d\0\x1c\0\x01\0\0\0\x1e\0\x10\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01");
        message
    }

    fn given(address: &str, name: &str, seconds: u32) -> Given {
        Given { address: address.parse().unwrap(), name: name.to_owned(), seconds }
    }

    #[test]
    fn addresses_have_the_name_that_was_asked_for() {
        let told = answer(&example()).unwrap();
        assert!(told.whole);
        assert_eq!(
            told.given,
            [given("192.0.2.1", "www.example.com", 30), given("2001:db8::1", "www.example.com", 30)]
        );
    }

    #[test]
    fn each_shorter_message_gives_the_first_of_them_and_is_not_whole() {
        let message = example();
        let all = answer(&message).unwrap().given;
        for length in 0..message.len() {
            if let Some(told) = answer(&message[..length]) {
                assert!(!told.whole && all.starts_with(&told.given));
            }
        }
        let mut without_room = message;
        without_room[2] |= 2;
        assert!(answer(&without_room).unwrap().whole);
    }

    #[test]
    fn a_question_is_no_answer() {
        let mut message = example();
        message[2] &= 0x7f;
        assert_eq!(answer(&message), None);
    }

    #[test]
    fn a_name_that_leads_to_itself_or_forward_is_none() {
        for reference in [[0xc0, 12], [0xc0, 13], [0xc0, 200], [0xff, 0xff]] {
            let message = [
                &[0, 0, 0x84, 0, 0, 0, 0, 1, 0, 0, 0, 0][..],
                &reference,
                b"\0\x01\0\x01\0\0\0\0\0\x04\x01\x02\x03\x04",
            ];
            assert_eq!(answer(&message.concat()), Some(Answer::default()));
        }
    }

    #[test]
    fn a_name_is_of_255_bytes_at_the_most() {
        let message = |labels: usize, last: usize| {
            let mut message = vec![0, 0, 0x84, 0, 0, 0, 0, 1, 0, 0, 0, 0];
            for length in [vec![63; labels], vec![last]].concat() {
                message.push(length as u8);
                message.extend(vec![b'a'; length]);
            }
            message.extend(b"\0\0\x01\0\x01\0\0\0\0\0\x04\x01\x02\x03\x04");
            answer(&message).unwrap()
        };
        assert_eq!(message(3, 61).given.len(), 1);
        assert_eq!(message(3, 62), Answer::default());
    }

    #[test]
    fn a_record_without_a_question_has_its_own_name() {
        let message = [
            &[0, 0, 0x84, 0, 0, 0, 0, 1, 0, 0, 0, 0][..],
            b"\x07m\xc3\xbc.\\ B\x05local\0\0\x01\x80\x01\0\0\0\x78\0\x04\x0a\0\0\x01",
        ];
        let told = answer(&message.concat()).unwrap();
        assert_eq!(told.given, [given("10.0.0.1", r"m\195\188\.\\\032b.local", 120)]);
    }

    #[test]
    fn hints_of_a_service_are_addresses_too() {
        let data = b"\0\x01\0\0\x01\0\x03\x02h2\0\x04\0\x08\xc0\0\x02\x05\xc0\0\x02\x06\0\x06\0\x10\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x05";
        let message = [
            &[0, 0, 0x84, 0, 0, 0, 0, 1, 0, 0, 0, 0][..],
            b"\x01a\0\0\x41\0\x01\0\0\0\x05",
            &(data.len() as u16).to_be_bytes(),
            data,
        ];
        let told = answer(&message.concat()).unwrap();
        let addresses: Vec<String> = told.given.iter().map(|given| given.address.to_string()).collect();
        assert_eq!(addresses, ["192.0.2.5", "192.0.2.6", "2001:db8::5"]);
    }

    #[test]
    fn a_stream_has_one_behind_the_other() {
        let message = example();
        let framed = [&(message.len() as u16).to_be_bytes()[..], &message].concat();
        let told = answers(&[&framed[..], &framed].concat()).unwrap();
        assert_eq!((told.given.len(), told.whole), (4, true));
        let told = answers(&[&framed[..], &framed[..framed.len() - 3]].concat()).unwrap();
        assert_eq!((told.given.len(), told.whole), (3, false));
        assert_eq!(answers(&[0]), None);
    }

    #[test]
    fn one_message_gives_no_more_than_so_many() {
        let mut message = vec![0, 0, 0x84, 0, 0, 0, 2, 0, 0, 0, 0, 0];
        for _ in 0..512 {
            message.extend(b"\x01a\0\0\x01\0\x01\0\0\0\0\0\x04\x01\x02\x03\x04");
        }
        let told = answer(&message).unwrap();
        assert_eq!((told.given.len(), told.whole), (MOST_ADDRESSES, false));
    }
}
