//! Whom a datagram socket knows: the endpoint of each peer (whatever the application calls one), made once, and what each may be answered.
//!
//! A source that has proved nothing gets no more bytes than it sent, nothing at all on ports where a forged question would be answered
//! again for ever (CVE-2024-2169): ours, and those of services below 1,024. On other ports such a loop is cut (`rounds`). Who was called
//! first has no such bound.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;

use socketkit_system::messages::Name;

use crate::rounds::Rounds;

pub struct Peers<E> {
    entries: Vec<Entry<E>>,
    by_name: HashMap<Box<[u8]>, usize, Folding>,
    /// By the identity of the endpoints that this table has given away; it holds them, so an identity is not used twice.
    by_endpoint: HashMap<usize, usize, Folding>,
    last: usize,
    hand: usize,
}

struct Entry<E> {
    name: Arc<Name>,
    /// What the application knows it by, and its identity.
    endpoint: Option<(E, usize)>,
    /// This side has sent before anything came.
    called: bool,
    /// The application says that the peer is who it seems.
    validated: bool,
    received_bytes: u64,
    answered_bytes: u64,
    rounds: Rounds,
    /// Since the hand came by last.
    used: bool,
}

/// An address in a table: found without a search as long as its place is its own.
#[derive(Clone)]
pub struct Known {
    pub name: Arc<Name>,
    place: usize,
}

impl Known {
    /// Of an address that is in no table yet.
    pub fn new(name: Name) -> Self {
        Self { name: Arc::new(name), place: usize::MAX }
    }
}

impl<E> Default for Peers<E> {
    fn default() -> Self {
        Self { entries: Vec::new(), by_name: HashMap::default(), by_endpoint: HashMap::default(), last: 0, hand: 0 }
    }
}

impl<E> Entry<E> {
    fn hear(&mut self, data: &[u8]) {
        self.received_bytes += data.len() as u64;
        if !self.called && !self.validated {
            self.rounds.hear(data, self.name.port());
        }
    }

    fn known(&self, place: usize) -> Known {
        Known { name: Arc::clone(&self.name), place }
    }
}

/// What was asked for may be sent, or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permission {
    Send,
    Withhold,
    /// Nothing of what goes there now: it may be one side of a loop.
    Break,
}

impl<E> Peers<E> {
    /// Notes that `data` came from `raw`; its endpoint, if it has one yet.
    pub fn heard(&mut self, raw: &[u8], data: &[u8]) -> Option<(&E, Known)> {
        let place = self.seek(raw)?;
        let entry = self.entries.get_mut(place)?;
        entry.used = true;
        entry.hear(data);
        entry.endpoint.as_ref().map(|(endpoint, _)| (endpoint, entry.known(place)))
    }

    /// Remembers `raw` under its endpoint, which nothing else is identical to as long as the table has it.
    pub fn learn(&mut self, raw: &[u8], endpoint: E, identity: usize, data: &[u8]) -> Option<Known> {
        let place = self.place(raw)?;
        self.by_endpoint.insert(identity, place);
        let entry = &mut self.entries[place];
        entry.hear(data);
        if let Some((_, before)) = entry.endpoint.replace((endpoint, identity)) {
            self.by_endpoint.remove(&before);
        }
        Some(self.entries[place].known(place))
    }

    /// The address of an endpoint that this table gave away.
    pub fn name_of(&self, identity: usize) -> Option<Known> {
        let place = *self.by_endpoint.get(&identity)?;
        self.entries.get(place).map(|entry| entry.known(place))
    }

    /// Whether `bytes` may go to that address, and notes it if so. `asked`: as an answer, to so many bytes.
    pub fn permit(
        &mut self,
        to: &Known,
        bytes: usize,
        asked: Option<usize>,
        ratio: f64,
        own_port: Option<u16>,
    ) -> Permission {
        let name = &*to.name;
        let place = match (self.place_of(to), asked) {
            (Some(place), _) => place,
            (None, None) => {
                // This side speaks first.
                if let Some(place) = self.place(name.bytes()) {
                    self.entries[place].called = true;
                }
                return Permission::Send;
            }
            (None, Some(question)) => {
                // It has called, and a flood of others has taken its place in the table since.
                let Some(place) = self.place(name.bytes()) else { return Permission::Withhold };
                self.entries[place].received_bytes = question as u64;
                place
            }
        };
        let entry = &mut self.entries[place];
        entry.used = true;
        if entry.called || entry.validated {
            return Permission::Send;
        }
        let port = name.port();
        let loops = port.is_some_and(|port| port < FIRST_FREE_PORT) || (port.is_some() && port == own_port);
        let after = entry.answered_bytes + bytes as u64;
        if loops || after as f64 > entry.received_bytes as f64 * ratio {
            return Permission::Withhold;
        }
        if entry.rounds.take_due() {
            return Permission::Break;
        }
        entry.answered_bytes = after;
        Permission::Send
    }

    /// Lifts the bound: the peer has proved that it receives at its address.
    pub fn validate(&mut self, name: &Name) {
        if let Some(place) = self.place(name.bytes()) {
            self.entries[place].validated = true;
        }
    }

    pub fn was_called(&mut self, name: &Name) -> bool {
        self.find(name.bytes()).is_some_and(|entry| entry.called)
    }

    fn find(&mut self, raw: &[u8]) -> Option<&mut Entry<E>> {
        let place = self.seek(raw)?;
        self.entries.get_mut(place)
    }

    /// Where `raw` is.
    fn seek(&mut self, raw: &[u8]) -> Option<usize> {
        // Most often it is the same one again; or several take turns, and it is the one that first came after that.
        let is_at = |place: &usize| self.entries.get(*place).is_some_and(|entry| entry.name.is(raw));
        self.last = match [self.last, self.last + 1].into_iter().find(is_at) {
            Some(place) => place,
            None => *self.by_name.get(raw)?,
        };
        Some(self.last)
    }

    /// Where `known` is: most often still where it was found.
    fn place_of(&mut self, known: &Known) -> Option<usize> {
        if self.entries.get(known.place).is_some_and(|entry| Arc::ptr_eq(&entry.name, &known.name)) {
            return Some(known.place);
        }
        self.find(known.name.bytes())?;
        Some(self.last)
    }

    fn place(&mut self, raw: &[u8]) -> Option<usize> {
        if self.find(raw).is_some() {
            return Some(self.last);
        }
        let name = Arc::new(Name::new(raw)?);
        let entry = Entry {
            name,
            endpoint: None,
            called: false,
            validated: false,
            received_bytes: 0,
            answered_bytes: 0,
            rounds: Rounds::default(),
            used: true,
        };
        let place = if self.entries.len() < MOST_PEERS {
            self.entries.push(entry);
            self.entries.len() - 1
        } else {
            let place = self.choose();
            let before = std::mem::replace(&mut self.entries[place], entry);
            self.by_name.remove(before.name.bytes());
            if let Some((_, identity)) = &before.endpoint {
                self.by_endpoint.remove(identity);
            }
            place
        };
        self.by_name.insert(raw.into(), place);
        self.last = place;
        Some(place)
    }

    /// Whose place a new one gets: one that was not used since the hand came by, rather one that called than one that was called.
    fn choose(&mut self) -> usize {
        // Once round forgets who was used, so in the second round somebody is found, unless all of them were called.
        for looks in 0..3 * self.entries.len() {
            self.hand = (self.hand + 1) % self.entries.len();
            let entry = &mut self.entries[self.hand];
            if !std::mem::replace(&mut entry.used, false) && (!entry.called || looks >= 2 * self.entries.len()) {
                return self.hand;
            }
        }
        self.hand
    }
}

/// Hashes by multiplying halves that a random key has changed: who forges senders does not know which of them collide. The standard
/// library's takes 200 instructions for an address, and each datagram is looked up.
struct Folding(u64, u64);

impl Default for Folding {
    fn default() -> Self {
        let random = RandomState::new();
        Self(random.hash_one(1), random.hash_one(2) | 1)
    }
}

impl BuildHasher for Folding {
    type Hasher = Folded;

    fn build_hasher(&self) -> Folded {
        Folded { sum: self.0, key: self.1 }
    }
}

struct Folded {
    sum: u64,
    key: u64,
}

impl Hasher for Folded {
    fn write(&mut self, bytes: &[u8]) {
        for part in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..part.len()].copy_from_slice(part);
            self.write_u64(u64::from_ne_bytes(word));
        }
    }

    fn write_u64(&mut self, word: u64) {
        let product = u128::from(self.sum ^ word) * u128::from(self.key);
        self.sum = (product as u64 ^ (product >> 64) as u64).wrapping_add(self.key);
    }

    fn write_usize(&mut self, word: usize) {
        self.write_u64(word as u64);
    }

    fn finish(&self) -> u64 {
        self.sum
    }
}

/// A flood of forged senders costs some megabytes at most.
const MOST_PEERS: usize = 16_384;
const FIRST_FREE_PORT: u16 = 1024;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn name(port: u16, host: u32) -> Name {
        let mut raw = vec![2, 0];
        raw.extend(port.to_be_bytes());
        raw.extend(host.to_be_bytes());
        raw.extend([0; 8]);
        Name::new(&raw).unwrap()
    }

    fn known(name: &Name) -> Known {
        Known::new(*name)
    }

    fn call(peers: &mut Peers<()>, name: &Name, bytes: u64) {
        let place = peers.place(name.bytes()).unwrap();
        peers.entries[place].received_bytes += bytes;
    }

    #[test]
    fn who_called_gets_what_it_sent_and_no_byte_more() {
        let (mut peers, caller) = (Peers::<()>::default(), name(5000, 1));
        call(&mut peers, &caller, 100);
        assert_eq!(peers.permit(&known(&caller), 60, None, 1.0, None), Permission::Send);
        assert_eq!(peers.permit(&known(&caller), 41, None, 1.0, None), Permission::Withhold);
        assert_eq!(peers.permit(&known(&caller), 40, None, 1.0, None), Permission::Send);
        call(&mut peers, &caller, 10);
        assert_eq!(peers.permit(&known(&caller), 11, None, 1.0, None), Permission::Withhold);
        peers.validate(&caller);
        assert_eq!(peers.permit(&known(&caller), 1_000_000, None, 1.0, None), Permission::Send);
    }

    #[test]
    fn who_was_called_first_has_no_bound() {
        let (mut peers, called) = (Peers::<()>::default(), name(53, 1));
        assert_eq!(peers.permit(&known(&called), 1000, None, 1.0, Some(53)), Permission::Send);
        call(&mut peers, &called, 1);
        assert_eq!(peers.permit(&known(&called), 1000, None, 1.0, Some(53)), Permission::Send);
        assert!(peers.was_called(&called));
    }

    #[test]
    fn low_ports_and_our_own_are_not_answered() {
        let mut peers = Peers::<()>::default();
        for (port, answer) in [(1023, Permission::Withhold), (1024, Permission::Send), (7000, Permission::Withhold)] {
            call(&mut peers, &name(port, 1), 100);
            assert_eq!(peers.permit(&known(&name(port, 1)), 1, None, 1.0, Some(7000)), answer, "{port}");
        }
    }

    #[test]
    fn services_that_answer_each_other_do_not_go_on_for_ever() {
        let (mut peers, service, called) = (Peers::<()>::default(), name(7000, 1), name(7000, 2));
        peers.permit(&known(&called), 5, None, 1.0, None);
        peers.learn(service.bytes(), (), 1, b"hello");
        peers.learn(called.bytes(), (), 2, b"hello");
        let mut answers = |peer: &Name| {
            let answered = |_: &u32| {
                peers.heard(peer.bytes(), b"hello");
                peers.permit(&known(peer), 5, Some(5), 1.0, None) == Permission::Send
            };
            (0..10_000).take_while(answered).count()
        };
        assert_eq!(answers(&service), 998, "the first was not answered, and the 1,000th is not");
        assert_eq!(answers(&called), 10_000);
    }

    #[test]
    fn an_answer_to_who_was_forgotten_is_bounded() {
        let (mut peers, asker) = (Peers::<()>::default(), name(5000, 1));
        assert_eq!(peers.permit(&known(&asker), 11, Some(10), 1.0, None), Permission::Withhold);
        assert_eq!(peers.permit(&known(&asker), 10, Some(10), 1.0, None), Permission::Send);
        assert_eq!(peers.permit(&known(&asker), 1, Some(10), 1.0, None), Permission::Withhold);
        assert!(!peers.was_called(&asker));
    }

    #[test]
    fn the_table_is_bounded_and_keeps_who_was_called() {
        let mut peers = Peers::<()>::default();
        peers.permit(&known(&name(9000, 1)), 10, None, 1.0, None);
        for host in 0..3 * MOST_PEERS as u32 {
            call(&mut peers, &name(2000, host), 1);
        }
        assert_eq!(peers.entries.len(), MOST_PEERS);
        assert_eq!(peers.by_name.len(), MOST_PEERS);
        assert!(peers.was_called(&name(9000, 1)));
        assert_eq!(
            peers.permit(&known(&name(2000, 3 * MOST_PEERS as u32 - 1)), 2, None, 1.0, None),
            Permission::Withhold
        );
    }
}
