//! Accepting connections, dialling a target for each, and relaying the two: what is asked for and what is known of it.
//!
//! Overload: at `connections_max` and when descriptors run out nothing is accepted; the backlog keeps the callers.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{self, AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use super::gate::House;
use super::{Finish, Progress};

/// What to forward where.
#[derive(Debug)]
pub struct Forward {
    /// Listening sockets, at most 256. They get O_NONBLOCK and, if TCP, TCP_NODELAY, which accepted sockets inherit.
    pub listeners: Vec<Arc<OwnedFd>>,
    /// Tried in order for each connection.
    pub targets: Vec<Target>,
    /// Open at the same time. Each takes two descriptors.
    pub connections_max: usize,
    /// For each target tried.
    pub connect_timeout: Duration,
    /// The listener's limits; none for a listener that has none.
    pub house: Option<House>,
}

/// Where to connect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    Tcp(SocketAddr),
    Unix(SocketAddrUnix),
}

/// What a forward did so far.
#[derive(Debug, Default)]
pub struct Counters {
    pub(super) accepted: AtomicU64,
    pub(super) active: AtomicU64,
    pub(super) failed: AtomicU64,
    pub(super) broken: AtomicU64,
    last_errno: AtomicI32,
    pub(super) progress: Arc<Progress>,
}

impl Counters {
    pub fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }

    /// Open now, those being dialled included.
    pub fn active(&self) -> u64 {
        self.active.load(Ordering::Relaxed)
    }

    /// Connections for which no target could be reached; their callers were reset.
    pub fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }

    /// Connections that a reset cut short; it was passed on.
    pub fn broken(&self) -> u64 {
        self.broken.load(Ordering::Relaxed)
    }

    /// Why the last accept or connect failed, if one did.
    pub fn last_error(&self) -> Option<Errno> {
        match self.last_errno.load(Ordering::Relaxed) {
            0 => None,
            number => Some(Errno::from_raw_os_error(number)),
        }
    }

    /// Bytes: A are the callers, B the targets.
    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    /// Keeps the reason of the last failure.
    pub(super) fn note(&self, errno: Errno) {
        self.last_errno.store(errno.raw_os_error(), Ordering::Relaxed);
    }
}

/// A forward on the background thread, as its submitter sees it.
#[derive(Debug)]
pub struct ForwardJob {
    pub(super) counters: Counters,
    pub(super) finish: Finish,
    news: AtomicBool,
}

impl ForwardJob {
    pub(super) fn new(notify: Arc<OwnedFd>) -> ForwardJob {
        ForwardJob { counters: Counters::default(), finish: Finish::new(notify), news: AtomicBool::new(false) }
    }

    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// True once it was stopped and its last connection is closed, or it could not start
    /// (`counters().last_error()` says why). 1 is added to the job's eventfd right after.
    pub fn done(&self) -> bool {
        self.finish.done()
    }

    /// Waits until it is done, or `patience` is over (false).
    pub fn wait(&self, patience: Duration) -> bool {
        self.finish.wait(patience)
    }

    /// True once after connections failed, at most every ten seconds; the job's eventfd tells when to ask.
    pub fn take_news(&self) -> bool {
        self.news.swap(false, Ordering::AcqRel)
    }

    /// Tells of a failure, unless the last one was told too recently.
    pub(super) fn tell(&self, told: &mut Option<Instant>) {
        let now = Instant::now();
        if told.is_none_or(|told| now.saturating_duration_since(told) >= NEWS_EVERY) {
            *told = Some(now);
            self.news.store(true, Ordering::Release);
            self.finish.notify();
        }
    }
}

/// The thread's half of a [`ForwardJob`]: dropping it ends the job.
#[derive(Debug)]
pub(super) struct ForwardCompletion(pub Arc<ForwardJob>);

impl Drop for ForwardCompletion {
    fn drop(&mut self) {
        self.0.counters.active.store(0, Ordering::Relaxed);
        self.0.finish.set();
    }
}

impl Target {
    pub(super) fn is_unix(&self) -> bool {
        matches!(self, Target::Unix(_))
    }

    pub(super) fn socket(&self) -> Result<OwnedFd, Errno> {
        let family = match self {
            Target::Tcp(SocketAddr::V4(_)) => AddressFamily::INET,
            Target::Tcp(SocketAddr::V6(_)) => AddressFamily::INET6,
            Target::Unix(_) => AddressFamily::UNIX,
        };
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket = net::socket_with(family, SocketType::STREAM, flags, None)?;
        if !self.is_unix() {
            net::sockopt::set_tcp_nodelay(&socket, true)?;
        }
        Ok(socket)
    }

    pub(super) fn connect(&self, socket: &OwnedFd) -> Result<(), Errno> {
        match self {
            Target::Tcp(address) => net::connect(socket, address),
            Target::Unix(address) => net::connect(socket, address),
        }
    }

    /// Whether the socket is connected to itself, which TCP does when the port dialled is free and gets picked as
    /// the local one: nobody listens there.
    pub(super) fn is_self(&self, socket: &OwnedFd) -> bool {
        let Target::Tcp(address) = self else {
            return false;
        };
        let local = net::getsockname(socket).and_then(SocketAddr::try_from);
        local.is_ok_and(|local| local.port() == address.port() && local.ip() == address.ip())
    }
}

/// Whoever logs what failed must not be made to do it at every caller's pace.
const NEWS_EVERY: Duration = Duration::from_secs(10);
