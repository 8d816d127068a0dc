//! What is known of each source: its places, how fast it comes, what it has done.
//!
//! Every source with something open is known. Of those with nothing open `penalty_sources` are remembered; beyond that the one is
//! forgotten whose rate and penalty run out first, so that nobody gets rid of a penalty by calling from many other addresses: they
//! would have to be penalised longer. With a source its counters go. A source takes 72 bytes here and 16 in the order of forgetting,
//! about 13 MB with 65,536 of them (hash tables and trees are never quite full); nothing is freed while it is remembered.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use super::counters::{Counters, Event, Tally};
use super::source::Source;
use super::{AdmissionLimits, Refusal};

pub(super) struct Table {
    bounds: Bounds,
    /// Times are nanoseconds since this, the first call.
    start: Option<Instant>,
    /// SipHash with a random key: callers choose their addresses.
    known: HashMap<Source, State>,
    /// Those with nothing open, by when their state is spent.
    absent: BTreeSet<(u64, Source)>,
}

struct Bounds {
    open: u32,
    /// Between two callers at the rate, and how far ahead of it a source may be.
    interval: u64,
    burst: u64,
    penalty: u64,
    penalty_most: u64,
    penalty_active: u64,
    absent: usize,
}

#[derive(Default)]
struct State {
    open: u32,
    unproven: u32,
    /// When the token bucket is full again. That one number says it all (the generic cell rate algorithm of ITU-T I.371).
    full_at: u64,
    penalised_until: u64,
    tally: Tally,
}

impl Table {
    pub fn new(limits: &AdmissionLimits) -> Self {
        let interval = 1_000_000_000 / u64::from(limits.source_rate_per_second.max(1));
        // At least one each: then a source that nobody knows is never refused, and to refuse never needs memory.
        let bounds = Bounds {
            open: u32::try_from(limits.source_connections).unwrap_or(u32::MAX).max(1),
            interval,
            burst: interval * u64::from(limits.source_burst.max(1)),
            penalty: nanoseconds(limits.penalty),
            penalty_most: nanoseconds(limits.penalty_most),
            penalty_active: nanoseconds(limits.penalty_active),
            absent: limits.penalty_sources,
        };
        Self { bounds, start: None, known: HashMap::new(), absent: BTreeSet::new() }
    }

    /// One more place for `source`, unproven; or why not, counted.
    pub fn admit(&mut self, source: Source, now: Instant) -> Result<(), Refusal> {
        let now = self.since_start(now);
        let state = self.known.entry(source).or_default();
        let refusal = self.bounds.refusal(state, now);
        if let Some(refusal) = refusal {
            state.tally.add(refusal.event());
            return Err(refusal);
        }
        if state.open == 0 {
            self.absent.remove(&(state.spent_at(), source));
        }
        state.full_at = state.full_at.max(now) + self.bounds.interval;
        state.open += 1;
        state.unproven += 1;
        Ok(())
    }

    /// One of its unproven places is proven now.
    pub fn proven(&mut self, source: Source) {
        if let Some(state) = self.known.get_mut(&source) {
            state.unproven -= 1;
        }
    }

    /// One place less.
    pub fn released(&mut self, source: Source, unproven: bool) {
        let Some(state) = self.known.get_mut(&source) else {
            return;
        };
        state.open -= 1;
        state.unproven -= u32::from(unproven);
        if state.open > 0 {
            return;
        }
        self.absent.insert((state.spent_at(), source));
        if self.absent.len() > self.bounds.absent {
            if let Some((_, forgotten)) = self.absent.pop_first() {
                self.known.remove(&forgotten);
            }
        }
    }

    pub fn penalise(&mut self, source: Source, now: Instant) {
        let now = self.since_start(now);
        if let Some(state) = self.known.get_mut(&source) {
            let until = state.penalised_until.max(now).saturating_add(self.bounds.penalty);
            state.penalised_until = until.min(now.saturating_add(self.bounds.penalty_most));
        }
    }

    pub fn count(&mut self, source: Source, event: Event) {
        if let Some(state) = self.known.get_mut(&source) {
            state.tally.add(event);
        }
    }

    /// How many places it has, and how many of them unproven.
    pub fn places(&self, source: Source) -> (usize, usize) {
        self.known.get(&source).map_or((0, 0), |state| (state.open as usize, state.unproven as usize))
    }

    /// The `count` sources with the highest totals, the worst first. Looks at all of them: some milliseconds for 65,536.
    pub fn worst(&self, count: usize) -> Vec<(String, Counters)> {
        let counted = self.known.iter().filter(|(_, state)| state.tally.total() > 0);
        let mut worst: Vec<_> =
            counted.map(|(source, state)| (u64::MAX - state.tally.total(), *source, state.tally)).collect();
        let order = |row: &(u64, Source, Tally)| (row.0, row.1);
        if count < worst.len() {
            worst.select_nth_unstable_by_key(count, order);
            worst.truncate(count);
        }
        worst.sort_unstable_by_key(order);
        worst.into_iter().map(|(_, source, tally)| (source.to_string(), tally.into())).collect()
    }

    fn since_start(&mut self, now: Instant) -> u64 {
        nanoseconds(now.saturating_duration_since(*self.start.get_or_insert(now)))
    }

    #[cfg(test)]
    pub fn known_sources(&self) -> usize {
        self.known.len()
    }

    #[cfg(test)]
    pub fn check(&self, places: impl Iterator<Item = (Source, bool)>) {
        let mut expected: HashMap<Source, (u32, u32)> = HashMap::new();
        for (source, unproven) in places {
            let sums = expected.entry(source).or_default();
            *sums = (sums.0 + 1, sums.1 + u32::from(unproven));
        }
        for (source, state) in &self.known {
            assert_eq!(expected.remove(source).unwrap_or_default(), (state.open, state.unproven), "{source}");
            assert_eq!(self.absent.contains(&(state.spent_at(), *source)), state.open == 0, "{source}");
        }
        assert!(expected.is_empty());
        let absent = self.known.values().filter(|state| state.open == 0).count();
        assert_eq!(absent, self.absent.len());
        assert!(absent <= self.bounds.absent);
    }
}

impl Bounds {
    fn refusal(&self, state: &State, now: u64) -> Option<Refusal> {
        let penalty = state.penalised_until.saturating_sub(now);
        if penalty > 0 && penalty >= self.penalty_active {
            return Some(Refusal::Penalty);
        }
        if state.full_at.max(now) + self.interval - now > self.burst {
            return Some(Refusal::Rate);
        }
        // One above the bound stands for an unproven one that is about to go. If it turned out to be proven instead, there is one too
        // many, and the source must lose one before it gets another.
        let last = state.open == self.open && state.unproven > 0;
        (state.open >= self.open && !last).then_some(Refusal::Source)
    }
}

impl State {
    /// From when on it makes no difference whether the source is known. Does not change while nothing is open.
    fn spent_at(&self) -> u64 {
        self.full_at.max(self.penalised_until)
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_small() {
        assert_eq!(size_of::<(Source, State)>(), 80);
        // 65,536 absent ones and 10,000 open: a table of 2^17 places with a control byte each, a tree that is half full.
        let bytes = (1 << 17) * (size_of::<(Source, State)>() + 1) + 65_536 * 2 * size_of::<(u64, Source)>();
        assert!(bytes < 13_000_000, "{bytes}");
    }
}
