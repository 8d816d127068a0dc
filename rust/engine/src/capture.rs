//! Captures into files: a thread reads a packet ring, writes pcapng, and holds no one else's lock while it does.
//!
//! One thread is enough: the ring in front of it holds what comes while a write waits. What the kernel had to drop is counted.

use std::sync::atomic::{AtomicU64, Ordering};

mod files;
mod job;
mod pcapng;
mod writer;

pub use files::{Rotation, Target};
pub use job::{Job, Order};
pub use pcapng::Description;
pub use socketkit_system::filter::Instruction;
pub use socketkit_system::ring::{interface_name, Direction, Frame, Link, Options, PacketSocket, Ring, Statistics};

use crate::Errno;

/// How far a capture is. May be read at any time.
#[derive(Debug, Default)]
pub struct Progress {
    packets: AtomicU64,
    bytes: AtomicU64,
    written_bytes: AtomicU64,
    files: AtomicU64,
    received: AtomicU64,
    dropped: AtomicU64,
    unshown: AtomicU64,
}

macro_rules! readers {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        impl Progress {
            $($(#[$doc])* pub fn $name(&self) -> u64 {
                self.$name.load(Ordering::Relaxed)
            })*
        }
    };
}

readers! {
    /// Packets that are in the file.
    packets,
    /// What they were long on the wire.
    bytes,
    /// What the files are long.
    written_bytes,
    /// How many files were begun.
    files,
    /// What the kernel let through the filter, `dropped` included.
    received,
    /// What the kernel dropped for want of room.
    dropped,
    /// Packets that were written, but not kept to be shown: there were too many.
    unshown,
}

/// A packet that was kept to be shown.
#[derive(Clone, Debug)]
pub struct Shown {
    pub timestamp_ns: u64,
    pub interface: u32,
    pub direction: Direction,
    pub wire_bytes: u32,
    pub data: Box<[u8]>,
}

/// What ended a capture before its time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What failed: "receive", or "write" with the file.
    pub operation: &'static str,
    pub path: Option<String>,
    pub errno: Errno,
}
