//! Who may have a place: how many connections a listener has, how many of them from one source, how fast they come, and who has to
//! go when a better one may be waiting. No clock and no socket in here: `now` is an argument.
//!
//! A place is unproven until the caller says that its peer did something that costs (a handshake, a first message). When there are too
//! many of those, the oldest goes: an honest peer needs a moment, an attacker stays. (2,000 idle callers against a pool of 512: to refuse the
//! newest served no honest peer, to evict the oldest all of them.)
//!
//! The bounds, whatever callers do: at most `connections` open if the owner asks `full` first; of one source at most
//! `source_connections`, and one above only when an eviction failed because its victim had just proved itself; unproven ones as many as
//! `victim` leaves. Everything is O(log n) but `worst_sources`.

use std::collections::{BTreeSet, HashMap};
use std::hash::{BuildHasherDefault, Hasher};
use std::net::IpAddr;
use std::time::{Duration, Instant};

mod counters;
mod source;
mod table;

pub use counters::{Counters, Event};

use crate::network::Network;
use source::Source;
use table::Table;

/// The bounds; a count of 0 is taken as 1.
#[derive(Debug, Clone)]
pub struct AdmissionLimits {
    pub connections: usize,
    pub unproven: usize,
    pub source_connections: usize,
    pub source_unproven: usize,
    pub source_rate_per_second: u32,
    pub source_burst: u32,
    pub penalty: Duration,
    pub penalty_most: Duration,
    pub penalty_active: Duration,
    pub penalty_sources: usize,
    /// Exempt from everything per source, not from the totals. A handful: each caller is looked up in one after the other.
    pub trusted: Vec<Network>,
}

/// Names one admitted connection; never used again.
pub type Place = u64;

/// Something by place. Places are our own rising numbers, which nobody can choose: hashing them with care would be a part of what an
/// accept costs.
pub type ByPlace<T> = HashMap<Place, T, BuildHasherDefault<PlaceHasher>>;

#[derive(Default)]
pub struct PlaceHasher(u64);

impl Hasher for PlaceHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0 << 8 | u64::from(*byte);
        }
    }

    fn write_u64(&mut self, place: u64) {
        // The table looks at the highest bits, too: spread by the golden ratio (Knuth, TAOCP 6.4).
        self.0 = place.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Admitted(Place),
    Refused(Refusal),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    Rate,
    Source,
    Penalty,
}

/// What a connection was cut for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offence {
    Handshake,
    FirstMessage,
    Idle,
    Slow,
    WriteStalled,
    Memory,
    /// What the application says: it did what no honest peer does.
    Abuse,
}

pub struct Admission {
    connections: usize,
    pool: usize,
    source_connections: usize,
    source_unproven: usize,
    trusted: Vec<Network>,
    next: Place,
    /// Each place with its source, if that is counted.
    places: ByPlace<Option<Source>>,
    /// Places are given in rising order: the first one is the oldest.
    unproven: BTreeSet<Place>,
    unproven_by_source: BTreeSet<(Source, Place)>,
    table: Table,
    counters: Counters,
}

impl Admission {
    pub fn new(limits: AdmissionLimits) -> Self {
        let connections = limits.connections.max(1);
        // Proven ones must find room beside a full pool. Whoever allows fewer than 64 connections counts his callers, and means
        // that each of them stays.
        let pool = if connections < SMALL { usize::MAX } else { limits.unproven.clamp(1, connections / 4 * 3) };
        Self {
            connections,
            pool,
            source_connections: limits.source_connections.max(1),
            source_unproven: limits.source_unproven.max(1),
            next: 0,
            places: ByPlace::default(),
            unproven: BTreeSet::new(),
            unproven_by_source: BTreeSet::new(),
            table: Table::new(&limits),
            trusted: limits.trusted,
            counters: Counters::default(),
        }
    }

    /// A place for who calls from `from` (None for Unix and memory, which have no source), or why not. Ask `full` before: a caller who
    /// is not accepted costs nothing and may wait in the backlog. Ask `victim` after.
    pub fn admit(&mut self, from: Option<IpAddr>, now: Instant) -> Verdict {
        let source = from.filter(|address| !self.trusts(*address)).map(Source::of);
        if let Some(Err(refusal)) = source.map(|source| self.table.admit(source, now)) {
            self.counters.add(refusal.event());
            return Verdict::Refused(refusal);
        }
        let place = self.next;
        self.next += 1;
        self.places.insert(place, source);
        self.unproven.insert(place);
        self.unproven_by_source.extend(source.map(|source| (source, place)));
        Verdict::Admitted(place)
    }

    /// It has proved itself. Idempotent; unknown places are ignored, here and below.
    pub fn proven(&mut self, place: Place) {
        if !self.unproven.remove(&place) {
            return;
        }
        if let Some(source) = self.source(place) {
            self.unproven_by_source.remove(&(source, place));
            self.table.proven(source);
        }
    }

    /// It had to go for somebody else; counted, and released.
    pub fn evicted(&mut self, place: Place) {
        self.count(place, Event::Evicted);
        self.released(place);
    }

    /// It is cut for `why`; counted. What costs us more than a place adds a penalty to its source. To be released after.
    pub fn offended(&mut self, place: Place, why: Offence, now: Instant) {
        self.count(place, why.event());
        if let Some(source) = self.source(place).filter(|_| why.penalised()) {
            self.table.penalise(source, now);
        }
    }

    /// It is closed.
    pub fn released(&mut self, place: Place) {
        let Some(source) = self.places.remove(&place) else {
            return;
        };
        let unproven = self.unproven.remove(&place);
        if let Some(source) = source {
            self.unproven_by_source.remove(&(source, place));
            self.table.released(source, unproven);
        }
    }

    /// Whether there are as many as there may be: accept nobody then.
    pub fn full(&self) -> bool {
        self.places.len() >= self.connections
    }

    /// Who must go because `newest` came, if anybody: the oldest unproven of the same source if that has too many, else the oldest
    /// unproven of all if those are too many; never `newest` itself. Evict it (`evicted`), or find that it has proved itself in the
    /// meantime (`proven`), and ask again: each answer makes the next one smaller.
    pub fn victim(&self, newest: Place) -> Option<Place> {
        if let Some(source) = self.source(newest) {
            let (open, unproven) = self.table.places(source);
            if open > self.source_connections || unproven > self.source_unproven {
                let of_source = self.unproven_by_source.range((source, Place::MIN)..=(source, Place::MAX));
                let oldest = of_source.map(|(_, place)| *place).find(|place| *place != newest);
                if oldest.is_some() {
                    return oldest;
                }
            }
        }
        if self.unproven.len() <= self.pool {
            return None;
        }
        self.unproven.iter().copied().find(|place| *place != newest)
    }

    /// Who may go when descriptors have run out.
    pub fn oldest_unproven(&self) -> Option<Place> {
        self.unproven.first().copied()
    }

    pub fn open(&self) -> usize {
        self.places.len()
    }

    pub fn unproven(&self) -> usize {
        self.unproven.len()
    }

    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// The `count` sources to which the limits did most, as text (`192.0.2.7`, `2001:db8::/56`), the worst first. Looks at every source
    /// that is known: for a person who asks, not for every turn.
    pub fn worst_sources(&self, count: usize) -> Vec<(String, Counters)> {
        self.table.worst(count)
    }

    fn trusts(&self, address: IpAddr) -> bool {
        self.trusted.iter().any(|network| network.contains(address))
    }

    fn source(&self, place: Place) -> Option<Source> {
        self.places.get(&place).copied().flatten()
    }

    fn count(&mut self, place: Place, event: Event) {
        if let Some(source) = self.places.get(&place) {
            self.counters.add(event);
            if let Some(source) = *source {
                self.table.count(source, event);
            }
        }
    }
}

impl Refusal {
    const fn event(self) -> Event {
        match self {
            Refusal::Rate => Event::RefusedRate,
            Refusal::Source => Event::RefusedSource,
            Refusal::Penalty => Event::RefusedPenalty,
        }
    }
}

impl Offence {
    const fn event(self) -> Event {
        match self {
            Offence::Handshake => Event::RefusedHandshake,
            Offence::FirstMessage => Event::FirstMessage,
            Offence::Idle => Event::Idle,
            Offence::Slow => Event::Slow,
            Offence::WriteStalled => Event::WriteStalled,
            Offence::Memory => Event::Memory,
            Offence::Abuse => Event::Abuse,
        }
    }

    /// Honest peers are idle too, and memory runs out for others' deeds.
    const fn penalised(self) -> bool {
        !matches!(self, Offence::Idle | Offence::Memory)
    }
}

/// With fewer connections than this the pool of unproven ones evicts nobody.
const SMALL: usize = 64;

#[cfg(test)]
mod tests;
