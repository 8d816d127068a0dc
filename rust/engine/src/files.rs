//! Files on their way out over TCP, sent by a thread of their own: neither Python nor the loop has a part in it until they are out.
//!
//! A loop that sends a large file itself has a turn for each megabyte, and whoever else it serves waits while the kernel gathers pages, or
//! reads them from a slow disk. So what the kernel does not take at once is handed to this thread ([`Thread`], its own edge-triggered
//! epoll), which gives each socket a piece in its turn.
//!
//! Rules:
//! - A socket whose file is sent here must not be sent to by anyone else meanwhile; receiving is free.
//! - Whoever takes the file back (`Sending::end`, or by dropping it) finds nothing sent any more once he has it.
//! - `fork` without `exec` leaves the child without the thread: what is handed over there is never sent.
//! - SIGPIPE must be ignored: `sendfile` has no flag for it.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use rustix::event::{epoll, poll, PollFd, PollFlags, Timespec};
use rustix::fs::sendfile;
use rustix::io::Errno;
use rustix::net::sockopt;
use socketkit_system::buffers;

pub use ahead::Ahead;

mod ahead;

/// The thread. It lives as long as the process.
pub struct Thread {
    shared: Arc<Shared>,
}

struct Shared {
    epoll: OwnedFd,
    next: AtomicU64,
    jobs: Mutex<HashMap<u64, Arc<Job>>>,
}

/// What is to be sent.
pub struct Part {
    pub file: Arc<OwnedFd>,
    pub offset: u64,
    /// At most so many bytes; less if the file ends before.
    pub count: u64,
}

/// A file that the thread sends. Dropped, it is not sent any further.
pub struct Sending {
    shared: Arc<Shared>,
    job: Arc<Job>,
}

struct Job {
    token: u64,
    sent: AtomicU64,
    over: AtomicBool,
    /// It is among those that have their turn.
    queued: AtomicBool,
    notify: Arc<OwnedFd>,
    /// None once it is over or was taken back.
    work: Mutex<Option<Work>>,
    ahead: Mutex<Ahead>,
}

struct Work {
    socket: Arc<OwnedFd>,
    part: Part,
}

enum Step {
    More,
    Full,
    Over,
}

impl Thread {
    pub fn start() -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let shared = Arc::new(Shared { epoll, next: AtomicU64::new(0), jobs: Mutex::default() });
        let theirs = Arc::clone(&shared);
        std::thread::Builder::new().name("socketkit-files".into()).spawn(move || theirs.run())?;
        Ok(Self { shared })
    }

    /// Sends `part` over `socket`; 1 is added to the eventfd `notify` when no more of it can be sent.
    pub fn send(&self, socket: Arc<OwnedFd>, part: Part, notify: Arc<OwnedFd>) -> Result<Sending, Errno> {
        let shared = Arc::clone(&self.shared);
        let token = shared.next.fetch_add(1, Ordering::Relaxed);
        let ahead = Mutex::new(Ahead::new(buffers::ahead_bytes(socket.as_fd()).unwrap_or(0)));
        let work = Mutex::new(Some(Work { socket: Arc::clone(&socket), part }));
        let (sent, over, queued) = (AtomicU64::new(0), AtomicBool::new(false), AtomicBool::new(false));
        let job = Arc::new(Job { token, sent, over, queued, notify, work, ahead });
        shared.jobs().insert(token, Arc::clone(&job));
        let sending = Sending { shared, job };
        // No segment is smaller than it could be only because a piece ends there (man 7 tcp).
        let _ = sockopt::set_tcp_cork(&socket, true);
        let flags = epoll::EventFlags::OUT | epoll::EventFlags::ET;
        epoll::add(&sending.shared.epoll, &socket, epoll::EventData::new_u64(token), flags)?;
        Ok(sending)
    }
}

impl Sending {
    /// Nothing more of it is sent from here on.
    pub fn end(&self) {
        self.job.finish(&self.shared);
    }

    /// Whether nothing more of it is sent: all of it was, the file has ended, or it failed. Who tries himself learns which.
    pub fn over(&self) -> bool {
        self.job.over.load(Ordering::Acquire)
    }

    pub fn sent_bytes(&self) -> u64 {
        self.job.sent.load(Ordering::Acquire)
    }

    /// How much of it the kernel takes ahead of the network.
    pub fn ahead(&self) -> Ahead {
        *lock(&self.job.ahead)
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        self.end();
    }
}

impl Job {
    /// Gives the kernel what it takes of the next piece.
    fn go(&self, shared: &Shared) -> Step {
        let mut work = lock(&self.work);
        let Some(Work { socket, part }) = &mut *work else { return Step::Over };
        let mut room = PIECE_BYTES;
        while room > 0 && part.count > 0 {
            let most = usize::try_from(part.count).unwrap_or(usize::MAX).min(room);
            match sendfile(&*socket, &part.file, Some(&mut part.offset), most) {
                Ok(0) => break,
                Ok(sent) => {
                    part.count -= sent as u64;
                    room -= sent;
                    let total = self.sent.fetch_add(sent as u64, Ordering::AcqRel) + sent as u64;
                    if sent < most && !self.has_room(socket.as_fd(), total) {
                        return Step::Full;
                    }
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    self.has_room(socket.as_fd(), self.sent.load(Ordering::Acquire));
                    return Step::Full;
                }
                Err(_) => break,
            }
        }
        if room == 0 && part.count > 0 {
            return Step::More;
        }
        drop(work);
        self.finish(shared);
        let _ = rustix::io::write(&*self.notify, &1_u64.to_ne_bytes());
        Step::Over
    }

    /// The kernel took less than it was offered, or the file has no more: whether more is worth a try. Asking costs less than trying, which
    /// would find the little that the peer has taken meanwhile; and a kernel that was asked tells when there is a good deal of room.
    fn has_room(&self, socket: BorrowedFd<'_>, total: u64) -> bool {
        if writable(socket) {
            return true;
        }
        match lock(&self.ahead).full(Instant::now(), total) {
            Some(bound) => buffers::set_ahead_bytes(socket, bound) && writable(socket),
            None => false,
        }
    }

    fn finish(&self, shared: &Shared) {
        let Some(work) = lock(&self.work).take() else { return };
        let socket = work.socket.as_fd();
        if let Some(limit) = lock(&self.ahead).over() {
            buffers::set_ahead_bytes(socket, limit);
        }
        let _ = sockopt::set_tcp_cork(socket, false);
        // It fails only if it was not registered.
        let _ = epoll::delete(&shared.epoll, socket);
        shared.jobs().remove(&self.token);
        self.over.store(true, Ordering::Release);
    }
}

impl Shared {
    fn run(&self) {
        let mut ready: VecDeque<Arc<Job>> = VecDeque::new();
        let mut space = [const { MaybeUninit::uninit() }; EVENTS];
        let none = Timespec::default();
        loop {
            let patience = (!ready.is_empty()).then_some(&none);
            let events = match epoll::wait(&self.epoll, &mut space, patience) {
                Ok((events, _)) => events,
                Err(_) => continue,
            };
            for event in events {
                let told = self.jobs().get(&event.data.u64()).map(Arc::clone);
                ready.extend(told.filter(|job| !job.queued.swap(true, Ordering::Relaxed)));
            }
            let Some(job) = ready.pop_front() else { continue };
            match job.go(self) {
                Step::More => ready.push_back(job),
                Step::Full | Step::Over => job.queued.store(false, Ordering::Relaxed),
            }
        }
    }

    fn jobs(&self) -> MutexGuard<'_, HashMap<u64, Arc<Job>>> {
        lock(&self.jobs)
    }
}

fn writable(socket: BorrowedFd<'_>) -> bool {
    let mut asked = [PollFd::from_borrowed_fd(socket, PollFlags::OUT)];
    // An error counts as room: the next attempt tells.
    poll(&mut asked, Some(&Timespec::default())) != Ok(0)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What one file has in its turn.
const PIECE_BYTES: usize = 2 << 20;
const EVENTS: usize = 64;

#[cfg(test)]
mod tests;
