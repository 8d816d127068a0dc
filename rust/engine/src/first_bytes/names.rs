//! Which names led to an address: answers to questions for names, as they pass (DNS, mDNS, LLMNR). At most so many addresses are
//! known; those that nobody told of for the longest time go first.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use socketkit_wire::dns::{answer, answers, Answer};
use socketkit_wire::uses::{Segment, Transport};

/// What led to an address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// The last ones, the latest last.
    pub names: Vec<String>,
    /// When it was told last.
    pub at_ns: u64,
    /// So long it may be believed from then on.
    pub seconds: u32,
    /// Its place in the order.
    turn: u64,
}

#[derive(Debug, Default)]
pub struct Names {
    by_address: HashMap<IpAddr, Known>,
    /// The longest silent one first.
    order: BTreeMap<u64, IpAddr>,
    turns: u64,
    pub answers: u64,
    /// Those of which a part was not read: it was longer than what is looked at, or did not come in one piece.
    pub cut: u64,
    /// Addresses that had to go before their time.
    pub pushed_out: u64,
}

impl Names {
    /// Takes a packet if it is an answer. One from a server counts only if `asked`: somebody here had sent something there before.
    pub fn take(&mut self, segment: &Segment<'_>, now_ns: u64, asked: impl FnOnce() -> bool) {
        let Some(told) = told(segment, asked) else { return };
        self.answers += 1;
        self.cut += u64::from(!told.whole);
        for given in told.given {
            let address = given.address.to_canonical();
            self.turns += 1;
            let known = self.by_address.entry(address).or_default();
            self.order.remove(&known.turn);
            self.order.insert(self.turns, address);
            known.names.retain(|name| *name != given.name);
            if known.names.len() >= MOST_NAMES {
                known.names.remove(0);
            }
            known.names.push(given.name);
            (known.at_ns, known.seconds, known.turn) = (now_ns, given.seconds, self.turns);
        }
        while self.by_address.len() > MOST_ADDRESSES {
            let Some((_, address)) = self.order.pop_first() else { break };
            self.by_address.remove(&address);
            self.pushed_out += 1;
        }
    }

    pub fn find(&self, address: IpAddr) -> Option<Known> {
        self.by_address.get(&address.to_canonical()).cloned()
    }
}

/// Whether a packet may be an answer at all.
pub fn may_answer(segment: &Segment<'_>) -> bool {
    !segment.payload.is_empty() && matches!(segment.source.port(), DNS | MULTICAST_DNS | LOCAL_NAMES)
}

fn told(segment: &Segment<'_>, asked: impl FnOnce() -> bool) -> Option<Answer> {
    match (segment.transport, segment.source.port()) {
        (Transport::Udp, DNS) => answer(segment.payload).filter(|_| asked()),
        (Transport::Tcp, DNS) => answers(segment.payload).filter(|_| asked()),
        // The question went to a group, so the one who answers was never asked himself.
        (Transport::Udp, MULTICAST_DNS | LOCAL_NAMES) => answer(segment.payload),
        _ => None,
    }
}

const DNS: u16 = 53;
const MULTICAST_DNS: u16 = 5353;
const LOCAL_NAMES: u16 = 5355;
/// Of one address.
const MOST_NAMES: usize = 4;
pub const MOST_ADDRESSES: usize = 16_384;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// An answer that gives `address` for `name.`, one label.
    fn message(name: &str, address: [u8; 4]) -> Vec<u8> {
        let mut message = vec![0, 7, 0x81, 0x80, 0, 0, 0, 1, 0, 0, 0, 0, name.len() as u8];
        message.extend(name.as_bytes());
        message.extend(b"\0\0\x01\0\x01\0\0\0\x3c\0\x04");
        message.extend(address);
        message
    }

    fn segment(payload: &[u8], port: u16) -> Segment<'_> {
        Segment {
            transport: Transport::Udp,
            source: ([192, 0, 2, 53], port).into(),
            destination: ([192, 0, 2, 1], 40_000).into(),
            payload,
            payload_bytes: payload.len(),
            sequence: 0,
            acknowledged: None,
            syn: false,
            fin: false,
            rst: false,
        }
    }

    #[test]
    fn the_last_names_of_an_address_are_known() {
        let mut names = Names::default();
        for (at, name) in ["a", "b", "c", "a", "d", "e"].into_iter().enumerate() {
            names.take(&segment(&message(name, [1, 2, 3, 4]), 53), at as u64, || true);
        }
        let known = names.find([1, 2, 3, 4].into()).unwrap();
        assert_eq!((known.names.join(" ").as_str(), known.at_ns, known.seconds), ("c a d e", 5, 60));
        assert_eq!(names.find("::ffff:1.2.3.4".parse().unwrap()), Some(known));
        assert_eq!((names.answers, names.cut, names.order.len()), (6, 0, 1));
    }

    #[test]
    fn a_server_that_nobody_asked_says_nothing() {
        let mut names = Names::default();
        names.take(&segment(&message("a", [1, 2, 3, 4]), 53), 0, || false);
        names.take(&segment(&message("a", [1, 2, 3, 4]), 54), 0, || true);
        assert_eq!((names.answers, names.find([1, 2, 3, 4].into())), (0, None));
        names.take(&segment(&message("a", [1, 2, 3, 4]), 5353), 0, || false);
        assert_eq!(names.answers, 1);
    }

    #[test]
    fn the_longest_silent_addresses_make_room() {
        let mut names = Names::default();
        for number in 0..MOST_ADDRESSES as u32 + 2 {
            names.take(&segment(&message("a", number.to_be_bytes()), 53), 0, || true);
            // The first one is told of again and again.
            names.take(&segment(&message("a", [0; 4]), 53), 0, || true);
        }
        assert_eq!((names.pushed_out, names.by_address.len(), names.order.len()), (2, MOST_ADDRESSES, MOST_ADDRESSES));
        assert!(names.find([0; 4].into()).is_some());
        assert_eq!(names.find([0, 0, 0, 1].into()), None);
    }
}
