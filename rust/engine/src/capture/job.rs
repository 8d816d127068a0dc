//! The thread of one capture: from the ring into blocks, from the blocks into the file, until it is stopped or has enough.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::{eventfd, poll, EventfdFlags, PollFd, PollFlags, Timespec};
use socketkit_system::ring::{Frame, Ring};

use super::files::{Files, Rotation, Target};
use super::pcapng::Description;
use super::writer::{Writer, WRITE};
use super::{Failure, Progress, Shown};
use crate::Errno;

/// What to capture, and where to.
#[derive(Debug)]
pub struct Order {
    pub ring: Ring,
    pub target: Target,
    pub rotation: Rotation,
    pub description: Description,
    /// So many packets, then it is done.
    pub count: Option<u64>,
    /// Whether packets are kept to be shown (`Job::take_shown`).
    pub shown: bool,
}

/// A capture that runs. Dropping it stops it, and waits until the file is whole.
#[derive(Debug)]
pub struct Job {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    progress: Arc<Progress>,
    stopping: AtomicBool,
    done: AtomicBool,
    /// Wakes the thread.
    waker: OwnedFd,
    /// Readable when something is to be shown, and at the end.
    news: OwnedFd,
    shown: Mutex<Vec<Shown>>,
    failure: Mutex<Option<Failure>>,
}

impl Job {
    /// Opens the file, and starts.
    pub fn start(order: Order) -> io::Result<Job> {
        let files = Files::open(order.target, order.rotation)?;
        let shared = Arc::new(Shared {
            progress: Arc::default(),
            stopping: AtomicBool::new(false),
            done: AtomicBool::new(false),
            waker: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
            news: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
            shown: Mutex::default(),
            failure: Mutex::default(),
        });
        let writer = Writer::new(files, order.description, Arc::clone(&shared.progress))?;
        let left = order.count.unwrap_or(u64::MAX);
        let mut work = Work { ring: order.ring, writer, left, show: order.shown, shared: Arc::clone(&shared) };
        let thread = std::thread::Builder::new().name("socketkit-capture".into()).spawn(move || {
            let shared = Arc::clone(&work.shared);
            let ended = catch_unwind(AssertUnwindSafe(|| work.run()));
            let panicked = Failure { operation: "run", path: None, errno: Errno::IO };
            if let Err(failure) = ended.unwrap_or(Err(panicked)) {
                *lock(&shared.failure) = Some(failure);
            }
            // The ring's memory and the file are given back before anyone hears that it is over.
            drop(work);
            shared.done.store(true, Ordering::Release);
            notify(&shared.news);
        })?;
        Ok(Job { shared, thread: Some(thread) })
    }

    /// Has it end: what has come in until now is written, and the file is finished. It takes a moment; `done` tells.
    pub fn stop(&self) {
        self.shared.stopping.store(true, Ordering::Release);
        notify(&self.shared.waker);
    }

    pub fn done(&self) -> bool {
        self.shared.done.load(Ordering::Acquire)
    }

    /// Why it ended before its time.
    pub fn failure(&self) -> Option<Failure> {
        lock(&self.shared.failure).clone()
    }

    pub fn progress(&self) -> &Progress {
        &self.shared.progress
    }

    /// The packets that were kept to be shown since the last call.
    pub fn take_shown(&self) -> Vec<Shown> {
        let _ = rustix::io::read(&self.shared.news, &mut [0; 8]);
        if self.done() {
            notify(&self.shared.news);
        }
        std::mem::take(&mut *lock(&self.shared.shown))
    }
}

impl AsFd for Job {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.shared.news.as_fd()
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        self.stop();
        self.thread.take().map(JoinHandle::join);
    }
}

struct Work {
    ring: Ring,
    writer: Writer,
    left: u64,
    show: bool,
    shared: Arc<Shared>,
}

impl Work {
    fn run(&mut self) -> Result<(), Failure> {
        let received = self.receive();
        self.count();
        if matches!(received, Err(Failure { operation: WRITE, .. })) {
            return received;
        }
        let finished = self.writer.end().and_then(|()| self.flush());
        received.and(finished)
    }

    fn receive(&mut self) -> Result<(), Failure> {
        while self.left > 0 && !self.stopping() {
            self.take()?;
            if self.left > 0 {
                self.wait(None)?;
            }
        }
        if self.left > 0 {
            self.ring.freeze().map_err(|failure| receiving(&failure))?;
            // The block that the kernel was filling comes when its time is over.
            while self.left > 0 && self.wait(Some(self.ring.retire() + RETIRE_MARGIN))? {
                self.take()?;
            }
        }
        Ok(())
    }

    /// Takes what is there; under load there is always more, so a stop is looked for.
    fn take(&mut self) -> Result<(), Failure> {
        let mut frozen = self.stopping();
        while self.left > 0 {
            let Some(frame) = self.ring.next_frame() else {
                break;
            };
            self.writer.put(&frame, |file| room(file, &self.shared))?;
            self.left -= 1;
            if self.show {
                show(&frame, &self.shared);
            }
            if self.writer.full() {
                self.flush()?;
                self.count();
                if !frozen && self.stopping() {
                    self.ring.freeze().map_err(|failure| receiving(&failure))?;
                    frozen = true;
                }
            }
        }
        self.flush()?;
        self.count();
        match self.ring.failure() {
            None => Ok(()),
            Some(failure) => Err(receiving(&failure.into())),
        }
    }

    fn flush(&mut self) -> Result<(), Failure> {
        self.writer.flush(|file| room(file, &self.shared))
    }

    /// Until there is something, or the time is over (false), or somebody wants it to end.
    fn wait(&self, longest: Option<Duration>) -> Result<bool, Failure> {
        let timeout = longest.map(timespec);
        let mut events = [PollFd::new(&self.ring, PollFlags::IN), PollFd::new(&self.shared.waker, PollFlags::IN)];
        // At the end nobody has to wake it any more.
        let watched = if longest.is_some() { &mut events[..1] } else { &mut events[..] };
        match poll(watched, timeout.as_ref()) {
            Ok(ready) => Ok(ready > 0),
            Err(Errno::INTR) => Ok(true),
            Err(failure) => Err(receiving(&failure.into())),
        }
    }

    fn count(&mut self) {
        let counted = self.ring.statistics();
        self.writer.counted = counted;
        self.shared.progress.received.store(counted.packets, Ordering::Relaxed);
        self.shared.progress.dropped.store(counted.dropped, Ordering::Relaxed);
    }

    fn stopping(&self) -> bool {
        self.shared.stopping.load(Ordering::Acquire)
    }
}

/// Waits until a descriptor takes more. One whose reader has stopped reading does not hold up the end for long.
fn room(file: &File, shared: &Shared) -> io::Result<()> {
    let deadline = Instant::now() + STOP_LONGEST;
    loop {
        let stopping = shared.stopping.load(Ordering::Acquire);
        let mut events = [PollFd::new(file, PollFlags::OUT), PollFd::new(&shared.waker, PollFlags::IN)];
        let (watched, timeout) = if stopping {
            (&mut events[..1], Some(timespec(deadline.saturating_duration_since(Instant::now()))))
        } else {
            (&mut events[..], None)
        };
        match poll(watched, timeout.as_ref()) {
            Ok(0) => return Err(Errno::TIMEDOUT.into()),
            Ok(_) if !events[0].revents().is_empty() => return Ok(()),
            Ok(_) | Err(Errno::INTR) => {}
            Err(failure) => return Err(failure.into()),
        }
    }
}

/// Keeps a packet to be shown, unless whoever shows them is behind: the file does not wait for a terminal.
fn show(frame: &Frame<'_>, shared: &Shared) {
    let mut shown = lock(&shared.shown);
    if shown.len() >= SHOWN_MOST {
        shared.progress.unshown.fetch_add(1, Ordering::Relaxed);
        return;
    }
    let mut scratch = Vec::new();
    let bytes = frame.bytes(&mut scratch);
    shown.push(Shown {
        timestamp_ns: frame.timestamp_ns,
        interface: frame.interface,
        direction: frame.direction(),
        wire_bytes: frame.wire_bytes(),
        data: bytes[..bytes.len().min(SHOWN_BYTES)].into(),
    });
    if shown.len() == 1 {
        notify(&shared.news);
    }
}

fn receiving(failure: &io::Error) -> Failure {
    Failure { operation: "receive", path: None, errno: errno(failure) }
}

pub(super) fn errno(failure: &io::Error) -> Errno {
    failure.raw_os_error().map_or(Errno::IO, Errno::from_raw_os_error)
}

fn notify(eventfd: &OwnedFd) {
    // EAGAIN: the counter is full, so nobody has to be woken.
    let _ = rustix::io::write(eventfd, &1u64.to_ne_bytes());
}

fn timespec(duration: Duration) -> Timespec {
    Timespec { tv_sec: duration.as_secs() as i64, tv_nsec: duration.subsec_nanos().into() }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The kernel's timer may be late.
const RETIRE_MARGIN: Duration = Duration::from_millis(20);
const STOP_LONGEST: Duration = Duration::from_secs(1);
const SHOWN_MOST: usize = 2_000;
/// Of a packet, what the line about it is made from.
const SHOWN_BYTES: usize = 512;
