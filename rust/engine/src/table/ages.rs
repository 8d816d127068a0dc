//! Between which bounds the age of a socket is, from when it was seen first and when it was not there yet.

use std::time::{Duration, Instant};

use super::numbers::NumberMap;
use super::row::Row;

/// What is remembered of sockets from one look to the next.
#[derive(Debug, Default)]
pub struct Ages {
    known: NumberMap<u64, Met>,
    last: Option<Instant>,
}

#[derive(Clone, Copy, Debug)]
struct Met {
    first: Instant,
    /// The look before that.
    absent: Option<Instant>,
    /// The look that found it last.
    last: Instant,
}

/// How old a socket is at least, and at most if that is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Age {
    pub least: Duration,
    pub most: Option<Duration>,
}

impl Ages {
    /// The age of each row. `complete`: a socket that is not among them does not exist.
    pub fn look(&mut self, rows: &[Row], now: Instant, complete: bool) -> Vec<Age> {
        let absent = self.last;
        self.known.reserve(rows.len().saturating_sub(self.known.len()));
        let known = &mut self.known;
        let ages = rows.iter().map(|row| {
            let Some(key) = key(row) else { return Age::default() };
            let met = known.entry(key).or_insert(Met { first: now, absent, last: now });
            met.last = now;
            Age { least: now - met.first, most: met.absent.map(|absent| now - absent) }
        });
        let ages = ages.collect();
        // An inode may mean another socket later.
        self.known.retain(|_, met| met.last == now);
        self.last = complete.then_some(now);
        ages
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn row(cookie: u64, inode: u64) -> Row {
        Row { cookie, inode, ..Row::default() }
    }

    #[test]
    fn ages_lie_between_looks() {
        let (mut ages, start) = (Ages::default(), Instant::now());
        let second = |number| start + Duration::from_secs(number);
        let first = ages.look(&[row(1, 0)], second(0), true);
        assert_eq!(first, [Age { least: Duration::ZERO, most: None }]);
        let later = ages.look(&[row(1, 0), row(0, 7)], second(2), true);
        assert_eq!(later[0], Age { least: Duration::from_secs(2), most: None });
        assert_eq!(later[1], Age { least: Duration::ZERO, most: Some(Duration::from_secs(2)) });
        let last = ages.look(&[row(0, 7), row(0, 0)], second(3), true);
        assert_eq!(last[0], Age { least: Duration::from_secs(1), most: Some(Duration::from_secs(3)) });
        assert_eq!(last[1], Age::default());
    }

    #[test]
    fn what_was_not_seen_may_have_been_hidden() {
        let (mut ages, start) = (Ages::default(), Instant::now());
        ages.look(&[], start, false);
        assert_eq!(ages.look(&[row(1, 0)], start + Duration::from_secs(1), true)[0].most, None);
    }
}
