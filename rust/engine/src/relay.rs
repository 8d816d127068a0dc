//! Bytes both ways between two connected stream sockets, without Python.
//!
//! A *pair* is two sockets; each of its two directions is a *pump*. Pairs run on one background thread
//! ([`Thread`], its own edge-triggered epoll) or on the calling thread ([`run_pair`]); both drive the same
//! loop. A [`Forward`] accepts connections, dials a target for each and relays the two.
//!
//! Rules:
//! - Half-close is kept: the end of A is passed to B once every byte of A is written, and B goes on sending.
//! - A reset is never disguised as an end: no FIN follows bytes that were cut short.
//! - Memory is bounded: a pump holds one buffer or one pipe, and does not read before that is delivered.
//! - Whoever stops a pair gets back every byte that was read and not delivered ([`Report`]).
//! - A side must not be read, written or relayed by anyone else meanwhile. Descriptors sent along with bytes
//!   over a Unix socket are dropped; the bytes arrive.
//! - `fork` without `exec` leaves the child without the thread: a job submitted there never ends.
//! - SIGPIPE must be ignored, as Python and Rust do: `splice` has no flag to suppress it.

mod accept;
mod dial;
mod forward;
mod gate;
mod pair;
mod pipes;
mod pump;
mod slots;
mod socket;
mod thread;
mod turn;

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::io::Errno;

pub use forward::{Counters, Forward, ForwardJob, Target};
pub use gate::{Gate, House};
use pair::{Owner, Pair};
pub use thread::Thread;
use turn::{unstarted, Turn};

/// One of the two sockets of a pair, and what its owner already did with it.
#[derive(Debug)]
pub struct Side {
    pub fd: Arc<OwnedFd>,
    /// Already read from this side; goes to the other one first.
    pub received: Vec<u8>,
    /// Already taken for this side; goes out before anything from the other one. Not counted as relayed.
    pub unsent: Vec<u8>,
    /// The end was already read from it.
    pub ended: bool,
    /// A FIN was already sent to it.
    pub finished: bool,
}

impl Side {
    /// A side that nobody has read from or written to yet.
    pub fn new(fd: Arc<OwnedFd>) -> Side {
        Side { fd, received: Vec::new(), unsent: Vec::new(), ended: false, finished: false }
    }
}

/// Which of the two sockets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    A,
    B,
}

/// What was being done when it failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Watching the socket: it is not one that epoll takes, it is relayed already, or descriptors ran out.
    Watch,
    Receive,
    Send,
    /// Passing the end on.
    Finish,
    /// The relay itself failed (a bug) or its thread ended; what it had in hand is lost.
    Engine,
}

/// Why a pair ended early.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{operation:?} on side {side:?}: {errno}")]
pub struct Failure {
    pub side: Which,
    pub operation: Operation,
    pub errno: Errno,
}

/// How a pair ended, and all it still held. Everything read is either delivered or in a leftover.
#[derive(Debug, Default)]
pub struct Report {
    pub a_to_b: u64,
    pub b_to_a: u64,
    pub failure: Option<Failure>,
    /// Taken for A (its `unsent`, then what was read from B) and not delivered.
    pub leftover_a: Vec<u8>,
    pub leftover_b: Vec<u8>,
    /// How many bytes at the start of `leftover_a` are what is left of A's `unsent`.
    pub unsent_a: usize,
    pub unsent_b: usize,
    /// The end was read from A.
    pub ended_a: bool,
    pub ended_b: bool,
    /// A FIN was sent to A.
    pub finished_a: bool,
    pub finished_b: bool,
}

/// Bytes delivered so far; may be read at any time.
#[derive(Debug, Default)]
pub struct Progress {
    a_to_b: AtomicU64,
    b_to_a: AtomicU64,
}

impl Progress {
    pub fn a_to_b(&self) -> u64 {
        self.a_to_b.load(Ordering::Relaxed)
    }

    pub fn b_to_a(&self) -> u64 {
        self.b_to_a.load(Ordering::Relaxed)
    }
}

/// A pair on the background thread, as its submitter sees it.
#[derive(Debug)]
pub struct Job {
    progress: Arc<Progress>,
    report: Mutex<Option<Report>>,
    finish: Finish,
}

impl Job {
    fn new(notify: Arc<OwnedFd>) -> Job {
        Job { progress: Arc::default(), report: Mutex::default(), finish: Finish::new(notify) }
    }

    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    /// True once the report is there; 1 is added to the job's eventfd right after.
    pub fn done(&self) -> bool {
        self.finish.done()
    }

    /// Waits until it is done, or `patience` is over (false).
    pub fn wait(&self, patience: Duration) -> bool {
        self.finish.wait(patience)
    }

    /// Gives the report, once.
    pub fn take_report(&self) -> Option<Report> {
        self.report.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// The thread's half of a [`Job`]: dropping it unreported (a panic, the thread's end) fails the job, so
/// that nobody waits for ever.
#[derive(Debug)]
struct Completion(Arc<Job>);

impl Completion {
    fn report(&self, report: Report) {
        *self.0.report.lock().unwrap_or_else(PoisonError::into_inner) = Some(report);
        self.0.finish.set();
    }
}

impl Drop for Completion {
    fn drop(&mut self) {
        if !self.0.done() {
            let failure = Failure { side: Which::A, operation: Operation::Engine, errno: Errno::CANCELED };
            self.report(Report {
                a_to_b: self.0.progress.a_to_b(),
                b_to_a: self.0.progress.b_to_a(),
                failure: Some(failure),
                ..Report::default()
            });
        }
    }
}

/// The end of a job, seen from both threads.
#[derive(Debug)]
struct Finish {
    done: AtomicBool,
    /// For those that wait in their thread.
    waiters: (Mutex<()>, Condvar),
    notify: Arc<OwnedFd>,
    /// Where the thread keeps the job; only the thread uses it.
    slot: AtomicU64,
}

impl Finish {
    fn new(notify: Arc<OwnedFd>) -> Finish {
        Finish { done: AtomicBool::new(false), waiters: Default::default(), notify, slot: AtomicU64::new(u64::MAX) }
    }

    fn done(&self) -> bool {
        self.done.load(Ordering::Acquire)
    }

    fn set(&self) {
        let (lock, condition) = &self.waiters;
        // Under the lock, so that nobody misses it between his look and his wait.
        let locked = lock.lock().unwrap_or_else(PoisonError::into_inner);
        self.done.store(true, Ordering::Release);
        drop(locked);
        condition.notify_all();
        self.notify();
    }

    fn wait(&self, patience: Duration) -> bool {
        let (lock, condition) = &self.waiters;
        let locked = lock.lock().unwrap_or_else(PoisonError::into_inner);
        drop(condition.wait_timeout_while(locked, patience, |()| !self.done()));
        self.done()
    }

    fn notify(&self) {
        // EAGAIN: the counter is full, so its reader is going to wake anyway.
        let _ = rustix::io::write(&self.notify, &1u64.to_ne_bytes());
    }
}

/// Relays on the calling thread until both sides ended, one failed, `deadline` passed or `stop` says true.
///
/// `stop` is asked at least every 100 ms, and at once when a signal interrupts the wait.
/// What was not delivered is in the report; the sockets stay open and stay the caller's.
pub fn run_pair(
    a: Side,
    b: Side,
    progress: &Arc<Progress>,
    deadline: Option<Instant>,
    stop: &mut dyn FnMut() -> bool,
) -> Report {
    let mut turn = match Turn::new() {
        Ok(turn) => turn,
        Err(errno) => return unstarted(a, b, Failure { side: Which::A, operation: Operation::Watch, errno }),
    };
    let Some(key) = turn.start(Pair::new(a, b, Owner::Caller, Arc::clone(progress))) else {
        return Report::default(); // Unreachable: a new loop has places.
    };
    let mut asked = Instant::now();
    loop {
        if let Some(report) = turn.report.take() {
            return report;
        }
        let now = Instant::now();
        let late = deadline.is_some_and(|deadline| deadline <= now);
        let ask = now.saturating_duration_since(asked) >= STOP_CHECK;
        if late || (ask && stop()) {
            turn.stop(key);
            continue;
        }
        asked = if ask { now } else { asked };
        let wait = deadline.map_or(STOP_CHECK, |deadline| STOP_CHECK.min(deadline - now));
        match turn.run(Some(wait)) {
            Ok(turned) if turned.interrupted && stop() => turn.stop(key),
            Ok(_) => {}
            Err(_) => turn.stop(key),
        }
    }
}

/// How often a blocking relay asks whether to stop.
const STOP_CHECK: Duration = Duration::from_millis(100);
