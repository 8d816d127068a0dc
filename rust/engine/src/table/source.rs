//! Which way the table is looked at: BPF iterators where the kernel lets us, else netlink and /proc.

use std::io;

use super::iterators::{Iterators, Unavailable};
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
pub enum Source {
    Bpf(Box<Iterators>),
    Netlink(Box<NetlinkTable>),
}

impl Source {
    /// The source, and why it is not BPF although nobody asked for netlink.
    pub fn open(wanted: Wanted, everywhere: bool) -> Result<(Source, Option<Unavailable>), Unavailable> {
        let netlink = || Source::Netlink(Box::new(NetlinkTable::new(everywhere)));
        if wanted == Wanted::Netlink {
            return Ok((netlink(), None));
        }
        match Iterators::load(everywhere) {
            Ok(iterators) => Ok((Source::Bpf(Box::new(iterators)), None)),
            Err(reason) if wanted == Wanted::Auto => Ok((netlink(), Some(reason))),
            Err(reason) => Err(reason),
        }
    }

    pub fn name(&self) -> &'static str {
        match self {
            Source::Bpf(_) => "bpf",
            Source::Netlink(_) => "netlink",
        }
    }

    pub fn refresh(&mut self) -> io::Result<Snapshot> {
        match self {
            Source::Bpf(iterators) => iterators.refresh(),
            Source::Netlink(table) => table.refresh(),
        }
    }
}
