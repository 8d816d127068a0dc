//! The thread of one scan. It sends what is due, takes in what comes, tells who is open, and ends when the rounds do.

use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::{eventfd, poll, EventfdFlags, PollFd, PollFlags, Timespec};

use super::connect::Connect;
use super::rounds::{Rounds, State};
use super::syn::Syn;
use crate::Errno;

/// An address to be scanned; `scope` is the interface of a link-local one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    pub address: IpAddr,
    pub scope: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Half-open, which needs CAP_NET_RAW.
    Syn,
    /// With at most so many sockets.
    Connect { sockets: usize },
}

/// What to scan. The targets, and the ports, are different ones.
#[derive(Clone, Debug)]
pub struct Order {
    pub targets: Vec<Target>,
    pub ports: Vec<u16>,
    pub method: Method,
    /// Probes per second: at first, and at most.
    pub start: f64,
    pub ceiling: f64,
    pub seed: u64,
}

/// A port that is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    pub target: u32,
    pub port: u16,
    pub rtt_us: u64,
}

/// How far it is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Progress {
    pub sent: u64,
    pub round: u32,
    /// Probes of this round, and how many of them are over.
    pub planned: usize,
    pub over: usize,
    /// Ports that have not answered.
    pub pending: usize,
    pub per_second: f64,
    pub loss: f64,
}

/// What is known at the end.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Target by target, port by port in their order.
    pub states: Vec<State>,
    pub unreachable: Vec<bool>,
}

/// A scan that runs. Dropping it stops it at once.
#[derive(Debug)]
pub struct Job {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    stopping: AtomicBool,
    done: AtomicBool,
    /// Wakes the thread.
    waker: OwnedFd,
    /// Readable when something was found, and at the end.
    news: OwnedFd,
    found: Mutex<Vec<Found>>,
    progress: Mutex<Progress>,
    outcome: Mutex<Outcome>,
    failure: Mutex<Option<Errno>>,
}

impl Job {
    /// Opens its sockets, and starts. EPERM where raw sockets are not permitted.
    pub fn start(order: &Order) -> Result<Job, Errno> {
        let mut rounds = Rounds::new(order.targets.len(), order.ports.len(), order.seed, order.start, order.ceiling);
        let driver = match order.method {
            Method::Syn => {
                let syn = Syn::open(&order.targets, &order.ports)?;
                syn.leave_out(&mut rounds);
                Driver::Syn(Box::new(syn))
            }
            Method::Connect { sockets } => {
                rounds.spare_open_ports(CONNECTED_AGAIN);
                Driver::Connect(Connect::open(&order.targets, &order.ports, sockets)?)
            }
        };
        let shared = Arc::new(Shared {
            stopping: AtomicBool::new(false),
            done: AtomicBool::new(false),
            waker: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
            news: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
            found: Mutex::default(),
            progress: Mutex::default(),
            outcome: Mutex::default(),
            failure: Mutex::default(),
        });
        let mut work = Work { driver, rounds, shared: Arc::clone(&shared), begun: Instant::now() };
        let thread = std::thread::Builder::new().name("socketkit-scan".into()).spawn(move || {
            let shared = Arc::clone(&work.shared);
            let ended = catch_unwind(AssertUnwindSafe(|| work.run()));
            *lock(&shared.failure) = ended.unwrap_or(Err(Errno::IO)).err();
            *lock(&shared.outcome) = work.outcome();
            work.tell();
            // The sockets are closed before anyone hears that it is over.
            drop(work);
            shared.done.store(true, Ordering::Release);
            notify(&shared.news);
        });
        let thread = thread.map_err(|failure| Errno::from_io_error(&failure).unwrap_or(Errno::AGAIN))?;
        Ok(Job { shared, thread: Some(thread) })
    }

    /// Has it end at once; `done` tells when.
    pub fn stop(&self) {
        self.shared.stopping.store(true, Ordering::Release);
        notify(&self.shared.waker);
    }

    pub fn done(&self) -> bool {
        self.shared.done.load(Ordering::Acquire)
    }

    /// What ended it before its time.
    pub fn failure(&self) -> Option<Errno> {
        *lock(&self.shared.failure)
    }

    pub fn progress(&self) -> Progress {
        *lock(&self.shared.progress)
    }

    /// What was found since the last call.
    pub fn take_found(&self) -> Vec<Found> {
        let _ = rustix::io::read(&self.shared.news, &mut [0; 8]);
        if self.done() {
            notify(&self.shared.news);
        }
        std::mem::take(&mut *lock(&self.shared.found))
    }

    /// Empty until it is done.
    pub fn outcome(&self) -> Outcome {
        lock(&self.shared.outcome).clone()
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

enum Driver {
    Syn(Box<Syn>),
    Connect(Connect),
}

struct Work {
    driver: Driver,
    rounds: Rounds,
    shared: Arc<Shared>,
    begun: Instant,
}

impl Work {
    fn run(&mut self) -> Result<(), Errno> {
        let mut told_us = 0;
        while !self.rounds.finished() && !self.shared.stopping.load(Ordering::Acquire) {
            let now_us = self.now_us();
            let mut found = Vec::new();
            let open = |target, port, rtt_us| found.push(Found { target, port, rtt_us });
            match &mut self.driver {
                Driver::Syn(syn) => {
                    syn.receive(&mut self.rounds, now_us, open);
                    syn.send(&mut self.rounds, self.begun.elapsed().as_micros() as u64)?;
                }
                Driver::Connect(connect) => {
                    connect.receive(&mut self.rounds, now_us, open);
                    let open = |target, port, rtt_us| found.push(Found { target, port, rtt_us });
                    connect.send(&mut self.rounds, self.begun.elapsed().as_micros() as u64, open)?;
                }
            }
            if !found.is_empty() {
                lock(&self.shared.found).append(&mut found);
                notify(&self.shared.news);
            }
            if now_us >= told_us + TELL_US {
                told_us = now_us;
                self.tell();
            }
            if !self.rounds.finished() {
                self.wait()?;
            }
        }
        Ok(())
    }

    fn tell(&self) {
        let (planned, over) = self.rounds.progress();
        *lock(&self.shared.progress) = Progress {
            sent: self.rounds.sent(),
            round: self.rounds.round(),
            planned,
            over,
            pending: self.rounds.pending(),
            per_second: self.rounds.rate().per_second(),
            loss: self.rounds.loss(),
        };
    }

    /// Until something is due, or has come. While sending goes on, what comes is looked at when the next probes are due: else each
    /// answer would cost a turn.
    fn wait(&self) -> Result<(), Errno> {
        let now_us = self.now_us();
        let mut next_us = self.rounds.next_us();
        let mut events = vec![PollFd::new(&self.shared.waker, PollFlags::IN)];
        // An end of a connect is what gives its socket back.
        if next_us > now_us + SOON_US || matches!(self.driver, Driver::Connect(_)) {
            match &self.driver {
                Driver::Syn(syn) => {
                    events.extend(syn.descriptors().map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)))
                }
                Driver::Connect(connect) => {
                    events.extend(connect.descriptors().map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)));
                }
            }
        }
        if let Driver::Connect(connect) = &self.driver {
            next_us = match connect.next_us(&self.rounds) {
                // All sockets are in use: only an end of one of them helps.
                Some(ends_us) if next_us <= now_us => ends_us.min(now_us + SOON_US),
                Some(ends_us) => next_us.min(ends_us),
                None => next_us,
            };
        }
        let wait_us = next_us.saturating_sub(now_us).min(LONGEST_US);
        let timeout = Timespec { tv_sec: 0, tv_nsec: (wait_us * 1_000) as _ };
        match poll(&mut events, Some(&timeout)) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(failure) => Err(failure),
        }
    }

    fn outcome(&self) -> Outcome {
        let states = self.rounds.states().to_vec();
        let unreachable = (0..self.rounds.targets()).map(|target| self.rounds.is_unreachable(target)).collect();
        Outcome { states, unreachable }
    }

    fn now_us(&self) -> u64 {
        self.begun.elapsed().as_micros() as u64
    }
}

fn notify(eventfd: &OwnedFd) {
    // EAGAIN: the counter is full, so nobody has to be woken.
    let _ = rustix::io::write(eventfd, &1u64.to_ne_bytes());
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Besides the connect that finds a port open.
const CONNECTED_AGAIN: u32 = 3;
const TELL_US: u64 = 20_000;
const SOON_US: u64 = 1_000;
const LONGEST_US: u64 = Duration::from_millis(500).as_micros() as u64;
