//! A bounded pool of pipes for splicing: descriptors and pinned memory are finite, so a pump that gets no
//! pipe copies instead.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::io::Errno;
use rustix::pipe::{fcntl_setpipe_size, pipe_with, PipeFlags};

pub(super) struct Pipe {
    pub source: OwnedFd,
    pub sink: OwnedFd,
    pub capacity_bytes: usize,
    /// Counts the pipes alive, wherever they end.
    _alive: Arc<()>,
}

#[derive(Default)]
pub(super) struct Pipes {
    idle: Vec<Pipe>,
    alive: Arc<()>,
}

impl Pipes {
    /// An empty pipe, unless too many are in use or the system gives none.
    pub fn take(&mut self) -> Option<Pipe> {
        if let Some(pipe) = self.idle.pop() {
            return Some(pipe);
        }
        if Arc::strong_count(&self.alive) > PIPES_MAX {
            return None;
        }
        Pipe::new(Arc::clone(&self.alive)).ok()
    }

    /// Takes back a pipe, which must be empty.
    pub fn put(&mut self, pipe: Pipe) {
        if self.idle.len() < IDLE_PIPES_MAX {
            self.idle.push(pipe);
        }
    }
}

impl Pipe {
    fn new(alive: Arc<()>) -> Result<Pipe, Errno> {
        let (source, sink) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        // Refused beyond the user's share of pipe memory (man 7 pipe): the default size works as well.
        let capacity_bytes = fcntl_setpipe_size(&sink, PIPE_BYTES).unwrap_or(DEFAULT_PIPE_BYTES);
        Ok(Pipe { source, sink, capacity_bytes, _alive: alive })
    }
}

const PIPES_MAX: usize = 64;
const IDLE_PIPES_MAX: usize = 8;
const PIPE_BYTES: usize = 512 * 1024;
const DEFAULT_PIPE_BYTES: usize = 64 * 1024;
