//! The sockets of one look: rows that are made (netlink), or what the kernel's programs told, of which a row is made when it is asked for.

use std::ops::Range;
use std::time::Instant;

use super::ages::{Age, Ages, Seen};
use super::gathered::{Size, Told};
use super::row::{Owner, Owners, Row};
use super::words;

#[derive(Clone, Debug, Default)]
pub struct Sockets {
    kept: Kept,
    /// When that was, on the clock of the table.
    now: u64,
}

#[derive(Clone, Debug)]
enum Kept {
    Made(Made),
    Told(Told),
}

impl Default for Kept {
    fn default() -> Kept {
        Kept::Made(Made::default())
    }
}

/// Rows as a source made them; sockets that no address opens are none.
#[derive(Clone, Debug, Default)]
struct Made {
    rows: Vec<Row>,
    /// Of each row, where in `owners` its own are.
    ranges: Vec<Range<u32>>,
    owners: Vec<Owner>,
    seen: Vec<Seen>,
}

impl Sockets {
    pub fn told(told: Told, now: u64) -> Sockets {
        Sockets { kept: Kept::Told(told), now }
    }

    /// `ranges`: of each row, where in `owners` its own are; empty if nothing is known of that.
    pub fn made(rows: Vec<Row>, mut ranges: Vec<Range<u32>>, owners: Vec<Owner>) -> Sockets {
        ranges.resize(rows.len(), 0..0);
        let mut made = Made { rows, ranges, owners, seen: Vec::new() };
        if !made.rows.iter().all(|row| words::scheme(row).is_some()) {
            let pairs = made.rows.into_iter().zip(made.ranges);
            (made.rows, made.ranges) = pairs.filter(|(row, _)| words::scheme(row).is_some()).unzip();
        }
        Sockets { kept: Kept::Made(made), now: 0 }
    }

    /// How old each is, is known from looks before. `complete`: what is not among them does not exist.
    pub fn date(&mut self, ages: &mut Ages, now: Instant, complete: bool) {
        if let Kept::Made(made) = &mut self.kept {
            made.seen = ages.look(&made.rows, now, complete);
            self.now = ages.now();
        }
    }

    pub fn len(&self) -> usize {
        match &self.kept {
            Kept::Made(made) => made.rows.len(),
            Kept::Told(told) => told.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn row(&self, at: usize) -> Option<Row> {
        match &self.kept {
            Kept::Made(made) => made.rows.get(at).cloned(),
            Kept::Told(told) => told.row(at),
        }
    }

    pub fn owners(&self, at: usize) -> Owners {
        match &self.kept {
            Kept::Made(made) => made.owners(at).iter().copied().collect(),
            Kept::Told(told) => told.owners(at),
        }
    }

    pub fn age(&self, at: usize) -> Age {
        let seen = match &self.kept {
            Kept::Made(made) => made.seen.get(at).copied(),
            Kept::Told(told) => told.seen(at),
        };
        seen.unwrap_or(Seen::NEVER).age(self.now)
    }

    /// Cookie and inode.
    pub fn numbers(&self, at: usize) -> Option<(u64, u64)> {
        match &self.kept {
            Kept::Made(made) => made.rows.get(at).map(|row| (row.cookie, row.inode)),
            Kept::Told(told) => told.numbers(at),
        }
    }

    /// Whether somebody must hold one of them, and nobody is seen to.
    pub fn hidden(&self) -> bool {
        match &self.kept {
            Kept::Made(made) => made.rows.iter().enumerate().any(|(at, row)| row.hidden(!made.owners(at).is_empty())),
            Kept::Told(told) => told.hidden(),
        }
    }

    /// How much the kernel's programs told.
    pub fn size(&self) -> Size {
        match &self.kept {
            Kept::Made(_) => Size::default(),
            Kept::Told(told) => told.size(),
        }
    }
}

impl Made {
    fn owners(&self, at: usize) -> &[Owner] {
        let range = self.ranges.get(at).cloned().unwrap_or_default();
        self.owners.get(range.start as usize..range.end as usize).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_address_opens_is_no_row_and_the_others_keep_their_owners() {
        let tcp = |cookie| Row { family: 2, kind: 1, protocol: 6, cookie, inode: cookie, ..Row::default() };
        let owner = |pid| Owner { pid, descriptor: 3 };
        let rows = vec![tcp(1), Row { family: 16, cookie: 2, ..Row::default() }, tcp(3)];
        let mut sockets = Sockets::made(rows, vec![0..1, 1..2, 2..4], vec![owner(1), owner(2), owner(3), owner(4)]);
        assert_eq!(sockets.len(), 2);
        assert_eq!(sockets.owners(0).all(), [owner(1)]);
        assert_eq!(sockets.owners(1).all(), [owner(3), owner(4)]);
        assert_eq!((sockets.numbers(1), sockets.numbers(2)), (Some((3, 3)), None));
        assert_eq!(sockets.row(1), Some(tcp(3)));
        sockets.date(&mut Ages::default(), Instant::now(), true);
        assert_eq!(sockets.age(0), Age::default());
    }
}
