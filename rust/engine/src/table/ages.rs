//! Which sockets were there at the last look, and between which bounds the age of each is: from when it was seen first and when it
//! was not there yet.
//!
//! One look tells of nearly the same sockets as the last one, and in the same order. So the socket that followed then is tried
//! first: of a hundred thousand that stayed none is looked up by its number, which would miss the processor's cache each time.

use std::time::{Duration, Instant};

use super::numbers::NumberMap;
use super::row::Row;

/// What is remembered of sockets from one look to the next.
#[derive(Debug)]
pub struct Ages {
    slots: Vec<Slot>,
    free: Vec<u32>,
    /// Where the slot of each number is.
    places: NumberMap<u64, u32>,
    /// The slots in the order in which the last look told of them, and this one.
    last: Vec<u32>,
    order: Vec<u32>,
    /// Where in `last` this look should go on.
    next: usize,
    /// The number of this look.
    look: u32,
    /// So many of the slots were met at this look.
    met: usize,
    /// Times are counted from here.
    start: Instant,
    now: u64,
    /// The last look that was complete, and nothing since was not.
    complete: u64,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    key: u64,
    seen: Seen,
    /// At which look it was there last, where in the order of that, and in which row.
    look: u32,
    at: u32,
    row: u32,
}

/// When it was seen first, and the look before that, if there was one; in nanoseconds of the table's own clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    first: u64,
    absent: u64,
}

/// How old a socket is at least, and at most if that is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Age {
    pub least: Duration,
    pub most: Option<Duration>,
}

/// A socket that a look told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Met {
    /// The row that it was given when this look told of it first.
    pub row: u32,
    /// This is the first time.
    pub new: bool,
    pub seen: Seen,
}

impl Default for Ages {
    fn default() -> Ages {
        Ages {
            slots: Vec::new(),
            free: Vec::new(),
            places: NumberMap::default(),
            last: Vec::new(),
            order: Vec::new(),
            next: 0,
            look: 0,
            met: 0,
            start: Instant::now(),
            now: 0,
            complete: NEVER,
        }
    }
}

impl Ages {
    /// A look begins.
    pub fn begin(&mut self, now: Instant) {
        // Clocks count in nanoseconds: two looks are never at once.
        self.now = nanoseconds(now.saturating_duration_since(self.start)).max(self.now + 1);
        self.look = self.look.wrapping_add(1);
        self.order.clear();
        self.next = 0;
        self.met = 0;
    }

    /// The look tells of this socket: one with a number that belongs to no other.
    pub fn meet(&mut self, key: u64, row: u32) -> Met {
        let place = self.place(key);
        let at = self.order.len() as u32;
        self.order.push(place);
        let look = self.look;
        let Some(slot) = self.slots.get_mut(place as usize) else {
            // Every place leads to a slot.
            return Met { row, new: true, seen: Seen::NEVER };
        };
        let new = slot.look != look;
        if new {
            (slot.look, slot.at, slot.row) = (look, at, row);
            self.met += 1;
        }
        Met { row: slot.row, new, seen: slot.seen }
    }

    /// The row of what this look told of.
    pub fn row(&self, key: u64) -> Option<u32> {
        let slot = self.slots.get(*self.places.get(&key)? as usize)?;
        (slot.look == self.look).then_some(slot.row)
    }

    /// The look told of all that it will tell of. `complete`: what it did not tell of does not exist.
    pub fn end(&mut self, complete: bool) {
        if self.met < self.places.len() {
            let (look, slots, free) = (self.look, &self.slots, &mut self.free);
            // An inode may mean another socket later.
            self.places.retain(|_, place| {
                let stays = slots.get(*place as usize).is_some_and(|slot| slot.look == look);
                if !stays {
                    free.push(*place);
                }
                stays
            });
        }
        std::mem::swap(&mut self.last, &mut self.order);
        self.complete = if complete { self.now } else { NEVER };
    }

    /// A whole look; when each row was seen.
    pub fn look(&mut self, rows: &[Row], now: Instant, complete: bool) -> Vec<Seen> {
        self.begin(now);
        let seen = rows.iter().enumerate().map(|(row, told)| match key(told) {
            Some(key) => self.meet(key, row as u32).seen,
            None => Seen::NEVER,
        });
        let seen = seen.collect();
        self.end(complete);
        seen
    }

    /// When this look is.
    pub fn now(&self) -> u64 {
        self.now
    }

    /// The slot of this number; a new one if there was none.
    fn place(&mut self, key: u64) -> u32 {
        if let Some(&place) = self.last.get(self.next) {
            if self.slots.get(place as usize).is_some_and(|slot| slot.key == key) {
                self.next += 1;
                return place;
            }
        }
        if let Some(&place) = self.places.get(&key) {
            if let Some(slot) = self.slots.get(place as usize).filter(|slot| slot.look.wrapping_add(1) == self.look) {
                // It goes on from there.
                self.next = slot.at as usize + 1;
            }
            return place;
        }
        let seen = Seen { first: self.now, absent: self.complete };
        let slot = Slot { key, seen, look: self.look.wrapping_sub(1), at: u32::MAX, row: 0 };
        let place = match self.free.pop() {
            Some(place) => place,
            None => {
                self.slots.push(slot);
                self.slots.len() as u32 - 1
            }
        };
        if let Some(free) = self.slots.get_mut(place as usize) {
            *free = slot;
        }
        self.places.insert(key, place);
        place
    }
}

impl Seen {
    /// What has no number cannot be known again.
    pub const NEVER: Seen = Seen { first: NEVER, absent: NEVER };

    /// How old that is at a moment of the same table.
    pub fn age(self, now: u64) -> Age {
        let since = |then: u64| (then != NEVER).then(|| Duration::from_nanos(now.saturating_sub(then)));
        Age { least: since(self.first).unwrap_or_default(), most: since(self.absent) }
    }
}

/// A cookie belongs to one socket for ever, an inode as long as it lives; the highest bit keeps them apart.
fn key(row: &Row) -> Option<u64> {
    match (row.cookie, row.inode) {
        (0, 0) => None,
        (0, inode) => Some(inode | 1 << 63),
        (cookie, _) => Some(cookie),
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(NEVER - 1)
}

const NEVER: u64 = u64::MAX;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn row(cookie: u64, inode: u64) -> Row {
        Row { cookie, inode, ..Row::default() }
    }

    fn ages(ages: &mut Ages, rows: &[Row], now: Instant, complete: bool) -> Vec<Age> {
        let seen = ages.look(rows, now, complete);
        seen.into_iter().map(|seen| seen.age(ages.now())).collect()
    }

    #[test]
    fn ages_lie_between_looks() {
        let mut known = Ages::default();
        let start = known.start;
        let second = |number| start + Duration::from_secs(number);
        let first = ages(&mut known, &[row(1, 0)], second(1), true);
        assert_eq!(first, [Age { least: Duration::ZERO, most: None }]);
        let later = ages(&mut known, &[row(1, 0), row(0, 7)], second(3), true);
        assert_eq!(later[0], Age { least: Duration::from_secs(2), most: None });
        assert_eq!(later[1], Age { least: Duration::ZERO, most: Some(Duration::from_secs(2)) });
        let last = ages(&mut known, &[row(0, 7), row(0, 0)], second(4), true);
        assert_eq!(last[0], Age { least: Duration::from_secs(1), most: Some(Duration::from_secs(3)) });
        assert_eq!(last[1], Age::default());
    }

    #[test]
    fn what_was_not_seen_may_have_been_hidden() {
        let mut known = Ages::default();
        let start = known.start;
        ages(&mut known, &[], start, false);
        assert_eq!(ages(&mut known, &[row(1, 0)], start + Duration::from_secs(1), true)[0].most, None);
    }

    #[test]
    fn what_ended_is_forgotten() {
        let mut known = Ages::default();
        let second = |number| known.start + Duration::from_secs(number);
        let times = [second(1), second(2), second(3)];
        ages(&mut known, &[row(1, 0), row(2, 0)], times[0], true);
        ages(&mut known, &[row(2, 0)], times[1], true);
        assert_eq!((known.places.len(), known.free.len()), (1, 1));
        let again = ages(&mut known, &[row(2, 0), row(1, 0)], times[2], true);
        assert_eq!(again[0].least, Duration::from_secs(2));
        assert_eq!(again[1], Age { least: Duration::ZERO, most: Some(Duration::from_secs(1)) });
        assert_eq!((known.slots.len(), known.free.len()), (2, 0), "its place is taken again");
    }

    /// Whatever the order: each number has one row at a look, and what is told of twice is new once.
    #[test]
    fn order_decides_nothing() {
        let mut known = Ages::default();
        let mut state = 1_u64;
        let mut below = |most: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % most
        };
        let mut before: Vec<u64> = Vec::new();
        for look in 1..200 {
            known.begin(known.start + Duration::from_secs(look));
            let mut told: Vec<u64> = before.iter().copied().filter(|_| below(8) > 0).collect();
            for _ in 0..below(6) {
                let key = below(60) + 1;
                told.insert(below(told.len() as u64 + 1) as usize, key);
            }
            let mut rows: Vec<u64> = Vec::new();
            for &key in &told {
                let met = known.meet(key, rows.len() as u32);
                assert_eq!(met.new, !rows.contains(&key));
                if met.new {
                    assert_eq!(
                        met.seen.first == known.now,
                        !before.contains(&key),
                        "{key} in {told:?} after {before:?}"
                    );
                    rows.push(key);
                }
                assert_eq!(rows[met.row as usize], key);
                assert_eq!(known.row(key), Some(met.row));
            }
            known.end(true);
            assert_eq!(known.places.len(), rows.len());
            assert_eq!(known.slots.len(), known.places.len() + known.free.len());
            before = told;
        }
    }

    #[test]
    fn a_look_that_failed_spoils_none() {
        let mut known = Ages::default();
        let second = |number| known.start + Duration::from_secs(number);
        let times = [second(1), second(2), second(3)];
        ages(&mut known, &[row(1, 0), row(2, 0)], times[0], true);
        known.begin(times[1]);
        known.meet(2, 0);
        known.meet(3, 1);
        let later = ages(&mut known, &[row(2, 0), row(1, 0)], times[2], true);
        assert_eq!(later.iter().map(|age| age.least).collect::<Vec<_>>(), [Duration::from_secs(2); 2]);
        assert_eq!(known.places.len(), 2);
    }
}
