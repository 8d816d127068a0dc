//! Where a message is received, and what becomes of it when the message is kept where it is.

use std::mem::ManuallyDrop;
use std::sync::{Mutex, PoisonError};

use rustix::io::Errno;

use super::memory::Memory;

/// Room for one message.
pub struct Buffer {
    memory: Memory,
    /// Where the room begins.
    start: usize,
}

impl Buffer {
    /// Room for `bytes`. Those of different `number` begin at different places of a page: the first bytes of all would else compete for
    /// the same lines of the processor's cache.
    pub fn new(bytes: usize, number: usize) -> Result<Self, Errno> {
        let start = number * CACHE_LINE % PAGE;
        Ok(Self { memory: Memory::new(bytes + PAGE)?, start })
    }

    /// One that was given back, or a new one.
    pub fn again(bytes: usize, number: usize) -> Result<Self, Errno> {
        let mut spare = spare();
        match spare.iter().rposition(|buffer| buffer.room() == bytes) {
            Some(place) => Ok(spare.swap_remove(place)),
            None => Self::new(bytes, number),
        }
    }

    pub fn start(&self) -> *mut u8 {
        self.memory.at(self.start)
    }

    /// Gives memory back that a message of `used` bytes has touched, if that was a large one.
    pub fn trim(&mut self, used: usize) {
        if used > KEPT_BYTES {
            self.memory.discard_from(KEPT_BYTES + PAGE);
        }
    }

    fn room(&self) -> usize {
        self.memory.bytes() - PAGE
    }
}

/// A message in the memory into which the kernel has written it; that is used again when this is dropped.
pub struct Taken {
    buffer: ManuallyDrop<Buffer>,
    length: usize,
}

impl Taken {
    /// The first `length` bytes of `buffer`, which the kernel has written (at most).
    pub(super) fn new(buffer: Buffer, length: usize) -> Self {
        let length = length.min(buffer.room());
        Self { buffer: ManuallyDrop::new(buffer), length }
    }

    pub fn bytes(&self) -> &[u8] {
        // SAFETY: that many bytes are there (they are zero if nothing was written), and nobody writes while this has the buffer.
        unsafe { std::slice::from_raw_parts(self.buffer.start(), self.length) }
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        // SAFETY: this is the end of it: nobody looks at the field again.
        let buffer = unsafe { ManuallyDrop::take(&mut self.buffer) };
        let mut spare = spare();
        if spare.len() < MOST_SPARE {
            spare.push(buffer);
        }
    }
}

fn spare() -> std::sync::MutexGuard<'static, Vec<Buffer>> {
    static SPARE: Mutex<Vec<Buffer>> = Mutex::new(Vec::new());
    SPARE.lock().unwrap_or_else(PoisonError::into_inner)
}

const CACHE_LINE: usize = 64;
const PAGE: usize = 4096;
/// Memory that a buffer keeps for the next message.
const KEPT_BYTES: usize = 65_536;
/// Of 64 KiB each.
const MOST_SPARE: usize = 16;
