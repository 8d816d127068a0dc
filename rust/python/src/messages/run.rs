//! Datagrams that the kernel has joined (UDP_GRO), and that stay joined as long as nobody looks at their bytes.
//!
//! A run stays in the memory into which the kernel has written it. Each datagram is a `Part` of it, and gets bytes of its own when its
//! data is looked at; parts that are sent one behind the other, as they came, leave from where they are. The memory of a run is much
//! larger than one of its parts, which somebody may keep: so no more than the last `MOST_JOINED` runs of the process stay joined, and
//! what is left of an older one gets bytes of its own.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use pyo3::prelude::*;
use pyo3::types::PyBytes;
use socketkit_system::messages::Taken;

use super::datagram::Arrival;

pub struct Run {
    pub arrival: Arrival,
    bytes: usize,
    /// The size of each part but the last, which may be shorter.
    segment_bytes: usize,
    // Changed only by threads that hold the interpreter, so nobody comes between a look and a change.
    /// Parts that somebody may still look at, and those that have bytes of their own: a bit each.
    alive: AtomicU64,
    apart: AtomicU64,
    held: Mutex<Held>,
}

struct Held {
    /// None: all that are alive have bytes of their own.
    joined: Option<Arc<Taken>>,
    own: Vec<Option<Py<PyBytes>>>,
}

/// One datagram of a run.
pub struct Part {
    pub run: Arc<Run>,
    pub index: u8,
}

/// Those of a run that nobody has asked for yet.
pub struct Parts {
    run: Arc<Run>,
    next: u8,
    end: u8,
}

impl Run {
    /// Whether `bytes` that came in parts of `segment_bytes` are worth it.
    pub fn is_long(bytes: usize, segment_bytes: usize) -> bool {
        segment_bytes > 0 && (FEWEST_PARTS..=MOST_PARTS).contains(&bytes.div_ceil(segment_bytes))
    }

    /// Of what `is_long`.
    pub fn begin(py: Python<'_>, taken: Taken, segment_bytes: usize, arrival: Arrival) -> Parts {
        let bytes = taken.bytes().len();
        let count = bytes.div_ceil(segment_bytes.max(1)).min(MOST_PARTS);
        let run = Arc::new(Self {
            arrival,
            bytes,
            segment_bytes,
            alive: AtomicU64::new(u64::MAX >> (MOST_PARTS - count)),
            apart: AtomicU64::new(0),
            held: Mutex::new(Held { joined: Some(Arc::new(taken)), own: Vec::new() }),
        });
        if let Some(oldest) = join(&run) {
            oldest.divide(py);
        }
        Parts { run, next: 0, end: count as u8 }
    }

    /// Where those parts are in the run.
    pub fn range(&self, parts: Range<u8>) -> Range<usize> {
        let end = usize::from(parts.end) * self.segment_bytes;
        usize::from(parts.start) * self.segment_bytes..end.min(self.bytes)
    }

    pub fn segment_bytes(&self) -> usize {
        self.segment_bytes
    }

    /// All of its bytes, if they still are in one place.
    pub fn joined(&self) -> Option<Arc<Taken>> {
        self.held().joined.clone()
    }

    pub fn data(&self, py: Python<'_>, index: u8) -> Py<PyBytes> {
        let mut held = self.held();
        self.make(py, &mut held, index)
    }

    fn make(&self, py: Python<'_>, held: &mut Held, index: u8) -> Py<PyBytes> {
        if let Some(Some(made)) = held.own.get(usize::from(index)) {
            return made.clone_ref(py);
        }
        let range = self.range(index..index + 1);
        let data = held.joined.as_ref().and_then(|joined| joined.bytes().get(range)).unwrap_or_default();
        let made = PyBytes::new(py, data).unbind();
        if held.own.is_empty() {
            held.own.resize_with(MOST_PARTS, || None);
        }
        if let Some(place) = held.own.get_mut(usize::from(index)) {
            *place = Some(made.clone_ref(py));
        }
        self.apart.store(self.apart.load(Ordering::Relaxed) | 1 << index, Ordering::Relaxed);
        made
    }

    /// Each part gets bytes of its own, and the memory is free.
    fn divide(&self, py: Python<'_>) {
        let mut held = self.held();
        let alive = self.alive.load(Ordering::Relaxed);
        for index in (0..MOST_PARTS as u8).filter(|index| alive & 1 << index != 0) {
            drop(self.make(py, &mut held, index));
        }
        held.joined = None;
    }

    /// Nobody will look at those parts any more.
    fn leave(&self, parts: Range<u8>) {
        let mut alive = self.alive.load(Ordering::Relaxed);
        let apart = self.apart.load(Ordering::Relaxed);
        for index in parts {
            alive &= !(1 << index);
            if apart & 1 << index != 0 {
                let own = self.held().own.get_mut(usize::from(index)).and_then(Option::take);
                Python::attach(|_| drop(own));
            }
        }
        self.alive.store(alive, Ordering::Relaxed);
        if alive & !apart == 0 {
            self.held().joined = None;
        }
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Part {
    pub fn data(&self, py: Python<'_>) -> Py<PyBytes> {
        self.run.data(py, self.index)
    }

    pub fn bytes(&self) -> usize {
        self.run.range(self.index..self.index + 1).len()
    }

    /// Nothing of the run is used but by this.
    pub fn is_last(&self) -> bool {
        Arc::strong_count(&self.run) == 1
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        self.run.leave(self.index..self.index + 1);
    }
}

impl Parts {
    pub fn bytes(&self) -> usize {
        self.run.range(self.next..self.end).len()
    }

    /// Keeps the first `count`; the others, if there are any.
    pub fn split_off(&mut self, count: usize) -> Option<Self> {
        let end = u8::try_from(count).ok().map(|count| self.next.saturating_add(count))?;
        (end < self.end).then(|| Self {
            run: Arc::clone(&self.run),
            next: end,
            end: std::mem::replace(&mut self.end, end),
        })
    }
}

impl Iterator for Parts {
    type Item = Part;

    fn next(&mut self) -> Option<Part> {
        let index = self.next;
        (index < self.end).then(|| {
            self.next += 1;
            Part { run: Arc::clone(&self.run), index }
        })
    }
}

impl ExactSizeIterator for Parts {
    fn len(&self) -> usize {
        usize::from(self.end - self.next)
    }
}

impl Drop for Parts {
    fn drop(&mut self) {
        self.run.leave(self.next..self.end);
    }
}

/// Adds `run` to those that are joined; the oldest of them, if they are too many now.
fn join(run: &Arc<Run>) -> Option<Arc<Run>> {
    static JOINED: Mutex<VecDeque<Weak<Run>>> = Mutex::new(VecDeque::new());
    let mut joined = JOINED.lock().unwrap_or_else(PoisonError::into_inner);
    joined.retain(|run| run.strong_count() > 0);
    joined.push_back(Arc::downgrade(run));
    if joined.len() > MOST_JOINED {
        return joined.pop_front().and_then(|oldest| oldest.upgrade());
    }
    None
}

/// As many as one system call brings: 4 MB.
const MOST_JOINED: usize = 64;
/// The kernel joins no more (UDP_GRO_CNT_MAX), and `alive` has no more bits.
const MOST_PARTS: usize = 64;
/// Fewer cost as much apart.
const FEWEST_PARTS: usize = 8;
