//! What stands between packets and files: whole blocks are put together, and written when they are enough.

use std::fs::File;
use std::io;
use std::sync::atomic::Ordering;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use socketkit_system::ring::{Frame, Statistics};

use super::files::Files;
use super::job::errno;
use super::pcapng::{Blocks, Description, PACKET_OVERHEAD_BYTES, STATISTICS_BYTES};
use super::{Failure, Progress};

pub const WRITE: &str = "write";

/// Packets into files. `wait`: as `Files::write` has it.
pub struct Writer {
    /// What the kernel says by now.
    pub counted: Statistics,
    files: Files,
    blocks: Blocks,
    description: Description,
    progress: Arc<Progress>,
    /// Packets in the blocks that wait, and in this file; and how long those that wait were on the wire.
    waiting: u64,
    in_file: u64,
    waiting_bytes: u64,
}

impl Writer {
    pub fn new(files: Files, description: Description, progress: Arc<Progress>) -> io::Result<Writer> {
        progress.files.store(files.number(), Ordering::Relaxed);
        Ok(Writer {
            counted: Statistics::default(),
            files,
            blocks: Blocks::start(&description, now_ns())?,
            description,
            progress,
            waiting: 0,
            in_file: 0,
            waiting_bytes: 0,
        })
    }

    /// Takes a packet; before it, the next file is begun if it would not go into this one.
    pub fn put(&mut self, frame: &Frame<'_>, wait: impl FnMut(&File) -> io::Result<()>) -> Result<(), Failure> {
        let more = frame.captured_bytes() + PACKET_OVERHEAD_BYTES + STATISTICS_BYTES;
        // A file has one packet at least, however little it may hold.
        if self.in_file > 0 && self.files.is_full(self.blocks.bytes().len(), more) {
            self.turn(wait)?;
        }
        self.blocks.packet(frame).map_err(|failure| self.failed(&failure))?;
        self.waiting += 1;
        self.in_file += 1;
        self.waiting_bytes += u64::from(frame.wire_bytes());
        Ok(())
    }

    /// Whether it is time to flush.
    pub fn full(&self) -> bool {
        self.blocks.full()
    }

    pub fn flush(&mut self, wait: impl FnMut(&File) -> io::Result<()>) -> Result<(), Failure> {
        if self.blocks.bytes().is_empty() {
            return Ok(());
        }
        self.files.write(self.blocks.bytes(), wait).map_err(|failure| self.failed(&failure))?;
        // Counted only now: what is said to be captured is in the file.
        self.progress.packets.fetch_add(self.waiting, Ordering::Relaxed);
        self.progress.bytes.fetch_add(self.waiting_bytes, Ordering::Relaxed);
        self.progress.written_bytes.fetch_add(self.blocks.bytes().len() as u64, Ordering::Relaxed);
        (self.waiting, self.waiting_bytes) = (0, 0);
        self.blocks.clear();
        Ok(())
    }

    /// Puts the end of the file behind the packets; it is written with the next flush.
    pub fn end(&mut self) -> Result<(), Failure> {
        self.blocks.end(now_ns(), self.counted).map_err(|failure| self.failed(&failure))
    }

    /// Ends this file and begins the next.
    fn turn(&mut self, wait: impl FnMut(&File) -> io::Result<()>) -> Result<(), Failure> {
        self.end()?;
        self.flush(wait)?;
        self.files.next().map_err(|failure| self.failed(&failure))?;
        self.blocks = Blocks::start(&self.description, now_ns()).map_err(|failure| self.failed(&failure))?;
        self.in_file = 0;
        self.progress.files.store(self.files.number(), Ordering::Relaxed);
        Ok(())
    }

    fn failed(&self, failure: &io::Error) -> Failure {
        Failure { operation: WRITE, path: self.files.path(), errno: errno(failure) }
    }
}

fn now_ns() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_nanos() as u64)
}
