//! One direction of a pair.
//!
//! A pump copies through the loop's buffer (two system calls a message, no descriptors) until bytes come in
//! bulk; then it splices through a pipe from the pool, and goes back when traffic gets small. It holds at most
//! one buffer or one pipe of undelivered bytes, and reads nothing before they are gone.

use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fd::AsFd;
use rustix::io::{retry_on_intr, Errno};
use rustix::pipe::SpliceFlags;

use super::pipes::{Pipe, Pipes};
use super::socket::Socket;
use super::Operation;

/// What the pumps of one loop share.
pub(super) struct Kit {
    buffer: Box<[u8]>,
    pipes: Pipes,
}

impl Kit {
    pub fn new() -> Kit {
        Kit { buffer: vec![0; BUFFER_BYTES].into_boxed_slice(), pipes: Pipes::default() }
    }

    /// Keeps no descriptors for later.
    pub fn close_pipes(&mut self) {
        self.pipes = Pipes::default();
    }
}

pub(super) struct Pump {
    /// The end was read from the source.
    pub ended: bool,
    /// No more is read: the source failed.
    pub cut: bool,
    /// Nothing more will be done here.
    pub over: bool,
    pub moved_bytes: u64,
    pending: Vec<u8>,
    pending_start: usize,
    /// Bytes at the start of `pending` that did not come from the source.
    uncounted: usize,
    pipe: Option<Pipe>,
    in_pipe: usize,
    mode: Mode,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// With the number of large reads in a row.
    Copy(u8),
    /// With the number of small reads in a row.
    Splice(u8),
    /// One of the two sockets does not splice.
    CopyOnly,
}

/// Why a pump stands still.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stall {
    /// Nothing to read now.
    Empty,
    /// The destination has no room.
    Blocked,
    /// Its share of this turn is used up.
    Budget,
    /// The end was read and everything before it is delivered.
    Ended,
}

impl Pump {
    /// A pump whose destination first gets `unsent`, then `received` (which came from the source).
    pub fn new(mut unsent: Vec<u8>, received: Vec<u8>, ended: bool) -> Pump {
        let uncounted = unsent.len();
        if unsent.is_empty() {
            unsent = received;
        } else {
            unsent.extend_from_slice(&received);
        }
        Pump {
            ended,
            cut: false,
            over: false,
            moved_bytes: 0,
            pending: unsent,
            pending_start: 0,
            uncounted,
            pipe: None,
            in_pipe: 0,
            mode: Mode::Copy(0),
        }
    }

    /// Moves bytes until something is in the way. With `failing` an end of the source is not believed:
    /// after a reset the kernel reports its error once, and then an end.
    pub fn run(
        &mut self,
        source: &mut Socket,
        destination: &mut Socket,
        kit: &mut Kit,
        moved: &AtomicU64,
        failing: bool,
    ) -> Result<Stall, (Operation, Errno)> {
        let mut budget = TURN_BYTES;
        loop {
            if !self.flush(destination, moved).map_err(|errno| (Operation::Send, errno))? {
                return Ok(Stall::Blocked);
            }
            if self.ended || self.cut || !source.readable {
                // An idle pump needs no pipe, and there are few.
                self.return_pipe(kit);
                return Ok(if self.ended { Stall::Ended } else { Stall::Empty });
            }
            if budget == 0 {
                return Ok(Stall::Budget);
            }
            match self.fill(source, destination, kit, moved)? {
                Some(0) => {
                    (self.ended, self.cut) = (!failing, failing);
                    source.drained();
                }
                Some(filled) => budget = budget.saturating_sub(filled),
                None => {}
            }
        }
    }

    pub fn has_work(&self) -> bool {
        self.ended || !self.pending.is_empty()
    }

    /// Bytes that came from the source.
    pub fn read_bytes(&self) -> u64 {
        let pending = self.pending.len() - self.pending_start - self.uncounted;
        self.moved_bytes + (pending + self.in_pipe) as u64
    }

    /// How many of the held bytes, at their start, did not come from the source.
    pub fn uncounted(&self) -> usize {
        self.uncounted
    }

    /// Takes out everything that was read and not delivered.
    pub fn take_held(&mut self) -> Vec<u8> {
        let mut held = std::mem::take(&mut self.pending);
        held.drain(..std::mem::take(&mut self.pending_start));
        self.empty_pipe(&mut held);
        held
    }

    /// Delivers what is held; false if the destination took only a part.
    fn flush(&mut self, destination: &mut Socket, moved: &AtomicU64) -> Result<bool, Errno> {
        if !self.pending.is_empty() {
            if !destination.writable {
                return Ok(false);
            }
            let sent = destination.send(&self.pending[self.pending_start..])?;
            self.pending_start += sent;
            let uncounted = self.uncounted.min(sent);
            self.uncounted -= uncounted;
            self.count(sent - uncounted, moved);
            if self.pending_start < self.pending.len() {
                return Ok(false);
            }
            (self.pending, self.pending_start) = (Vec::new(), 0);
        }
        while self.in_pipe > 0 {
            if !destination.writable {
                return Ok(false);
            }
            self.splice_out(destination, moved)?;
        }
        Ok(true)
    }

    fn splice_out(&mut self, destination: &mut Socket, moved: &AtomicU64) -> Result<(), Errno> {
        let Some(pipe) = &self.pipe else {
            return Err(Errno::PIPE);
        };
        // Never more than the pipe holds: older kernels take the excess for MSG_MORE and hold the last segment back.
        match splice(&pipe.source, &destination.fd, self.in_pipe) {
            Ok(0) => Err(Errno::PIPE),
            Ok(sent) => {
                self.in_pipe -= sent;
                self.count(sent, moved);
                Ok(())
            }
            Err(Errno::AGAIN) => {
                destination.writable = false;
                Ok(())
            }
            Err(Errno::INVAL) => {
                let mut held = Vec::new();
                self.empty_pipe(&mut held);
                self.mode = Mode::CopyOnly;
                (self.pending, self.pending_start) = (held, 0);
                let sent = destination.send(&self.pending)?;
                self.pending_start = sent;
                self.count(sent, moved);
                if sent == self.pending.len() {
                    (self.pending, self.pending_start) = (Vec::new(), 0);
                }
                Ok(())
            }
            Err(errno) => Err(errno),
        }
    }

    /// Reads once; 0 is the end, None is nothing yet. Only called when nothing is held.
    fn fill(
        &mut self,
        source: &mut Socket,
        destination: &mut Socket,
        kit: &mut Kit,
        moved: &AtomicU64,
    ) -> Result<Option<usize>, (Operation, Errno)> {
        if let Mode::Splice(small) = self.mode {
            if self.pipe.is_none() {
                self.pipe = kit.pipes.take();
            }
            if self.pipe.is_some() {
                return self.splice_in(source, kit, small).map_err(|errno| (Operation::Receive, errno));
            }
            self.mode = Mode::Copy(0);
        }
        let Some(received) = source.receive(&mut kit.buffer).map_err(|errno| (Operation::Receive, errno))? else {
            return Ok(None);
        };
        if let Mode::Copy(large) = self.mode {
            self.mode = match large + 1 {
                _ if received < LARGE_BYTES => Mode::Copy(0),
                LARGE_READS => Mode::Splice(0),
                more => Mode::Copy(more),
            };
        }
        if received == 0 {
            return Ok(Some(0));
        }
        let bytes = &kit.buffer[..received];
        let sent = if !destination.writable { Ok(0) } else { destination.send(bytes) };
        let taken = *sent.as_ref().unwrap_or(&0);
        if taken < received {
            self.pending = bytes[taken..].to_vec();
        }
        self.count(taken, moved);
        sent.map(|_| Some(received)).map_err(|errno| (Operation::Send, errno))
    }

    fn splice_in(&mut self, source: &mut Socket, kit: &mut Kit, small: u8) -> Result<Option<usize>, Errno> {
        let Some(pipe) = &self.pipe else {
            return Ok(None);
        };
        match splice(&source.fd, &pipe.sink, pipe.capacity_bytes) {
            Ok(received) => {
                self.in_pipe = received;
                self.mode = match small + 1 {
                    _ if received >= SMALL_BYTES => Mode::Splice(0),
                    SMALL_READS => Mode::Copy(0),
                    more => Mode::Splice(more),
                };
                Ok(Some(received))
            }
            // The pipe is empty, so it is the socket that says it.
            Err(Errno::AGAIN) => {
                source.drained();
                Ok(None)
            }
            Err(Errno::INVAL) => {
                self.mode = Mode::CopyOnly;
                self.return_pipe(kit);
                Ok(None)
            }
            Err(errno) => Err(errno),
        }
    }

    /// Gives the pipe back, which must be empty.
    fn return_pipe(&mut self, kit: &mut Kit) {
        if let Some(pipe) = self.pipe.take() {
            kit.pipes.put(pipe);
        }
    }

    fn empty_pipe(&mut self, held: &mut Vec<u8>) {
        let Some(pipe) = self.pipe.take() else {
            return;
        };
        let start = held.len();
        held.resize(start + self.in_pipe, 0);
        let mut end = start;
        while end < held.len() {
            match rustix::io::read(&pipe.source, &mut held[end..]) {
                Ok(0) | Err(_) => break,
                Ok(read) => end += read,
            }
        }
        held.truncate(end);
        self.in_pipe = 0;
    }

    fn count(&mut self, bytes: usize, moved: &AtomicU64) {
        self.moved_bytes += bytes as u64;
        moved.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

fn splice(source: impl AsFd, sink: impl AsFd, bytes: usize) -> Result<usize, Errno> {
    retry_on_intr(|| rustix::pipe::splice(&source, None, &sink, None, bytes, SPLICE_FLAGS))
}

/// Also the most a blocked copying pump holds. Not tuned: bulk goes through the pipes.
const BUFFER_BYTES: usize = 128 * 1024;
/// What one direction may move before the others have their turn.
const TURN_BYTES: usize = 1024 * 1024;
const LARGE_BYTES: usize = 32 * 1024;
const LARGE_READS: u8 = 8;
const SMALL_BYTES: usize = 16 * 1024;
const SMALL_READS: u8 = 8;
const SPLICE_FLAGS: SpliceFlags = SpliceFlags::NONBLOCK.union(SpliceFlags::MOVE);
