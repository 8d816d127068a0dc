//! What the limits did, counted.

/// One thing that a limit does to a caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    RefusedRate,
    RefusedSource,
    RefusedPenalty,
    RefusedHandshake,
    Evicted,
    FirstMessage,
    Idle,
    Slow,
    WriteStalled,
    Memory,
    Abuse,
}

impl Event {
    /// As `server.stats` calls it.
    pub const fn name(self) -> &'static str {
        match self {
            Event::RefusedRate => "refused_rate",
            Event::RefusedSource => "refused_source",
            Event::RefusedPenalty => "refused_penalty",
            Event::RefusedHandshake => "refused_handshake",
            Event::Evicted => "evicted",
            Event::FirstMessage => "first_message",
            Event::Idle => "idle",
            Event::Slow => "slow",
            Event::WriteStalled => "write_stalled",
            Event::Memory => "memory",
            Event::Abuse => "abuse",
        }
    }
}

/// How often each event happened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters([u64; EVENTS.len()]);

impl Counters {
    pub fn of(&self, event: Event) -> u64 {
        self.0[event as usize]
    }

    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// Every event's name and number, in the order of `Event`.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        EVENTS.iter().map(|event| (event.name(), self.of(*event)))
    }

    pub(super) fn add(&mut self, event: Event) {
        self.0[event as usize] += 1;
    }
}

/// The same for one source of very many: half the size, and it stops at four billion.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Tally([u32; EVENTS.len()]);

impl Tally {
    pub fn add(&mut self, event: Event) {
        let count = &mut self.0[event as usize];
        *count = count.saturating_add(1);
    }

    pub fn total(&self) -> u64 {
        self.0.iter().copied().map(u64::from).sum()
    }
}

impl From<Tally> for Counters {
    fn from(tally: Tally) -> Self {
        Self(tally.0.map(u64::from))
    }
}

const EVENTS: [Event; 11] = [
    Event::RefusedRate,
    Event::RefusedSource,
    Event::RefusedPenalty,
    Event::RefusedHandshake,
    Event::Evicted,
    Event::FirstMessage,
    Event::Idle,
    Event::Slow,
    Event::WriteStalled,
    Event::Memory,
    Event::Abuse,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_has_its_own_place_and_name() {
        for (index, event) in EVENTS.iter().enumerate() {
            assert_eq!(*event as usize, index);
            let mut counters = Counters::default();
            counters.add(*event);
            assert_eq!((counters.of(*event), counters.total()), (1, 1));
            let counted: Vec<_> = counters.iter().filter(|(_, count)| *count == 1).collect();
            assert_eq!(counted, [(event.name(), 1)]);
        }
    }

    #[test]
    fn a_tally_stops_at_its_end() {
        let mut tally = Tally([u32::MAX; EVENTS.len()]);
        tally.add(Event::Idle);
        assert_eq!(Counters::from(tally).of(Event::Idle), u64::from(u32::MAX));
        assert_eq!(tally.total(), u64::from(u32::MAX) * EVENTS.len() as u64);
    }
}
