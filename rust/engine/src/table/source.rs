//! Which way the table is looked at: BPF iterators where the kernel lets us and where it pays, else netlink and /proc.
//!
//! To load the programs takes as long as it takes netlink to tell of some twenty thousand sockets; each look is cheaper by BPF from
//! then on. So a table of few sockets begins with netlink, and changes over when its looks have cost what loading costs: it never
//! spends more than twice what the better choice would have.

use std::io;
use std::time::{Duration, Instant};

use super::ages::Ages;
use super::iterators::{self, Iterators, Unavailable};
use super::present::Present;
use super::row::Snapshot;
use super::NetlinkTable;

/// What the caller asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    Auto,
    Bpf,
    Netlink,
}

/// The table in one of the ways; each keeps what makes its next look cheap.
#[derive(Debug)]
pub struct Source {
    way: Way,
    ages: Ages,
    everywhere: bool,
    /// What the looks have taken so far; None where the way is settled.
    spent: Option<Duration>,
    why: Option<Unavailable>,
}

#[derive(Debug)]
enum Way {
    Bpf(Box<Iterators>),
    Netlink(Box<NetlinkTable>),
}

impl Source {
    pub fn open(wanted: Wanted, everywhere: bool) -> Result<Source, Unavailable> {
        let netlink = Way::Netlink(Box::new(NetlinkTable::new(everywhere)));
        let mut source = Source { way: netlink, ages: Ages::default(), everywhere, spent: None, why: None };
        match wanted {
            Wanted::Netlink => {}
            Wanted::Bpf => source.way = Way::Bpf(Box::new(Iterators::load(everywhere)?)),
            Wanted::Auto if !iterators::permitted() => source.why = Some(Unavailable::NotPermitted),
            Wanted::Auto if Present::here().all() > MANY => source.change(),
            Wanted::Auto => source.spent = Some(Duration::ZERO),
        }
        Ok(source)
    }

    pub fn name(&self) -> &'static str {
        match self.way {
            Way::Bpf(_) => "bpf",
            Way::Netlink(_) => "netlink",
        }
    }

    /// Why it is not BPF although that would be better.
    pub fn why(&self) -> Option<&Unavailable> {
        self.why.as_ref()
    }

    pub fn refresh(&mut self) -> io::Result<Snapshot> {
        if self.spent.is_some_and(|spent| spent > LOADING) {
            self.change();
        }
        let begun = Instant::now();
        let snapshot = match &mut self.way {
            Way::Bpf(iterators) => iterators.refresh(&mut self.ages),
            Way::Netlink(table) => table.refresh().map(|mut snapshot| {
                snapshot.sockets.date(&mut self.ages, Instant::now(), snapshot.all_namespaces);
                snapshot
            }),
        };
        if let Some(spent) = &mut self.spent {
            *spent += begun.elapsed();
        }
        snapshot
    }

    /// To BPF, if that is possible; tried once.
    fn change(&mut self) {
        self.spent = None;
        match Iterators::load(self.everywhere) {
            Ok(iterators) => self.way = Way::Bpf(Box::new(iterators)),
            Err(reason) => self.why = Some(reason),
        }
    }
}

/// What it takes to load the programs (measured: 0.11 s alone, up to 0.2 s beside others that work).
const LOADING: Duration = Duration::from_millis(150);
/// TCP and UDP sockets of our namespace. So many, one look costs the same in both ways, the loading included: with 30,000 netlink
/// and /proc took 235 ms and BPF 271, with 40,000 they took 317 and 285.
const MANY: u64 = 35_000;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn what_was_asked_for_stays() {
        let mut source = Source::open(Wanted::Netlink, false).unwrap();
        assert_eq!((source.name(), source.why(), source.spent), ("netlink", None, None));
        source.refresh().unwrap();
        assert_eq!((source.name(), source.spent), ("netlink", None));
    }

    #[test]
    fn it_changes_over_when_its_looks_have_cost_what_loading_costs() {
        let mut source = Source::open(Wanted::Auto, false).unwrap();
        source.spent = Some(LOADING);
        source.refresh().unwrap();
        assert_eq!(source.name(), "netlink");
        assert!(source.spent > Some(LOADING));
        source.refresh().unwrap();
        // Tried once, be it possible here or not.
        assert_eq!(source.spent, None);
        assert_eq!(source.name() == "netlink", source.why().is_some());
    }
}
