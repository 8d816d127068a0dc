//! One epoll descriptor that another loop can wait on, and what became ready in it.
//!
//! It is edge-triggered: each readiness is told once, and whoever is told tries until the kernel says "not now".
//! Timers and wake-ups from other threads are descriptors in the same set, so one `wait` sees everything.

use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::epoll;
use rustix::event::{eventfd, EventfdFlags, Timespec};
use rustix::io::Errno;
use rustix::time::{
    timerfd_create, timerfd_settime, Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec as Time,
};

use crate::timers::Timers;

/// Names a registered socket: an index, and a generation so that an event for one that is gone reaches nobody.
pub type Token = u64;

/// What the kernel told about a socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Readiness {
    pub readable: bool,
    pub writable: bool,
    /// The end, an error or urgent data is queued: reading must go on until the kernel has no more.
    pub to_the_end: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    Socket(Token, Readiness),
    Timer(Token),
    /// Another thread wrote to `notifier()`.
    Notified,
}

pub struct Reactor {
    epoll: OwnedFd,
    timer: OwnedFd,
    timer_set_to: Option<Instant>,
    notifier: Arc<OwnedFd>,
    timers: Timers<Token>,
}

/// Which readiness a socket waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interest {
    Read,
    ReadWrite,
}

impl Reactor {
    pub fn new() -> Result<Self, Errno> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK)?;
        let notifier = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        epoll::add(&epoll, &timer, epoll::EventData::new_u64(TIMER), epoll::EventFlags::IN)?;
        epoll::add(&epoll, &notifier, epoll::EventData::new_u64(NOTIFIER), epoll::EventFlags::IN)?;
        Ok(Self { epoll, timer, timer_set_to: None, notifier: Arc::new(notifier), timers: Timers::default() })
    }

    /// Tells of `socket` from now on; what is ready already counts as news.
    pub fn register(&self, socket: BorrowedFd<'_>, token: Token, interest: Interest) -> Result<(), Errno> {
        epoll::add(&self.epoll, socket, epoll::EventData::new_u64(token), flags(interest))
    }

    pub fn change(&self, socket: BorrowedFd<'_>, token: Token, interest: Interest) -> Result<(), Errno> {
        epoll::modify(&self.epoll, socket, epoll::EventData::new_u64(token), flags(interest))
    }

    /// Tells nothing more of `socket`. Needed even before closing it: a duplicate may live on in another process.
    pub fn deregister(&self, socket: BorrowedFd<'_>) {
        // It fails only if the socket is not registered, which is what was wanted.
        let _ = epoll::delete(&self.epoll, socket);
    }

    /// A `Event::Timer(token)` comes once `at` is past.
    pub fn set_timer(&mut self, at: Instant, token: Token) -> Result<(), Errno> {
        self.timers.insert(at, token);
        self.arm()
    }

    /// Appends what happened to `into`, waiting at most `patience` (None: until something does).
    pub fn wait(&mut self, patience: Option<Duration>, into: &mut Vec<Event>) -> Result<(), Errno> {
        let patience =
            patience.map(|time| Timespec { tv_sec: time.as_secs() as i64, tv_nsec: i64::from(time.subsec_nanos()) });
        let mut space = [const { MaybeUninit::uninit() }; EVENTS];
        let events = match epoll::wait(&self.epoll, &mut space, patience.as_ref()) {
            Ok((events, _)) => events,
            Err(Errno::INTR) => return Ok(()),
            Err(failure) => return Err(failure),
        };
        let (mut timer_fired, mut notified) = (false, false);
        for event in events {
            match event.data.u64() {
                TIMER => timer_fired = true,
                NOTIFIER => notified = true,
                token => into.push(Event::Socket(token, readiness(event.flags))),
            }
        }
        if notified {
            acknowledge(self.notifier.as_fd());
            into.push(Event::Notified);
        }
        if timer_fired {
            acknowledge(self.timer.as_fd());
            self.timer_set_to = None;
            let now = Instant::now();
            while let Some(token) = self.timers.pop_due(now) {
                into.push(Event::Timer(token));
            }
            self.arm()?;
        }
        Ok(())
    }

    /// An eventfd: other threads write 1 (eight bytes) to it to be told of as `Event::Notified`.
    pub fn notifier(&self) -> Arc<OwnedFd> {
        Arc::clone(&self.notifier)
    }

    pub fn as_raw_fd(&self) -> RawFd {
        self.epoll.as_raw_fd()
    }

    fn arm(&mut self) -> Result<(), Errno> {
        let Some(next) = self.timers.next() else { return Ok(()) };
        if self.timer_set_to.is_some_and(|set| set <= next) {
            return Ok(());
        }
        // Zero would disarm it.
        let wait = next.saturating_duration_since(Instant::now()).max(Duration::from_nanos(1));
        let value = Time { tv_sec: wait.as_secs() as i64, tv_nsec: i64::from(wait.subsec_nanos()) };
        let once = Itimerspec { it_interval: Time { tv_sec: 0, tv_nsec: 0 }, it_value: value };
        timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &once)?;
        self.timer_set_to = Some(next);
        Ok(())
    }
}

/// Reads an eventfd or a timerfd back to "nothing happened".
fn acknowledge(counter: BorrowedFd<'_>) {
    let mut count = [0_u8; 8];
    let _ = rustix::io::read(counter, &mut count);
}

fn flags(interest: Interest) -> epoll::EventFlags {
    let read = epoll::EventFlags::IN | epoll::EventFlags::RDHUP | epoll::EventFlags::PRI | epoll::EventFlags::ET;
    match interest {
        Interest::Read => read,
        Interest::ReadWrite => read | epoll::EventFlags::OUT,
    }
}

fn readiness(flags: epoll::EventFlags) -> Readiness {
    let broken = flags.intersects(epoll::EventFlags::HUP | epoll::EventFlags::ERR);
    let to_the_end = broken || flags.intersects(epoll::EventFlags::RDHUP | epoll::EventFlags::PRI);
    Readiness {
        readable: to_the_end || flags.contains(epoll::EventFlags::IN),
        writable: broken || flags.contains(epoll::EventFlags::OUT),
        to_the_end,
    }
}

const TIMER: u64 = u64::MAX;
const NOTIFIER: u64 = u64::MAX - 1;
/// Events taken per turn: more stay in the kernel's list, and the loop comes back for them after its other callbacks.
const EVENTS: usize = 512;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use rustix::net::{socketpair, AddressFamily, SocketFlags, SocketType};

    fn pair() -> (OwnedFd, OwnedFd) {
        socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::NONBLOCK, None).unwrap()
    }

    #[test]
    fn tells_each_readiness_once() {
        let mut reactor = Reactor::new().unwrap();
        let (ours, theirs) = pair();
        reactor.register(ours.as_fd(), 7, Interest::Read).unwrap();
        let mut events = Vec::new();
        reactor.wait(Some(Duration::ZERO), &mut events).unwrap();
        assert_eq!(events, []);
        rustix::io::write(&theirs, b"x").unwrap();
        reactor.wait(Some(Duration::ZERO), &mut events).unwrap();
        assert_eq!(events, [Event::Socket(7, Readiness { readable: true, writable: false, to_the_end: false })]);
        events.clear();
        reactor.wait(Some(Duration::ZERO), &mut events).unwrap();
        assert_eq!(events, []);
        drop(theirs);
        reactor.wait(Some(Duration::ZERO), &mut events).unwrap();
        assert_eq!(events, [Event::Socket(7, Readiness { readable: true, writable: true, to_the_end: true })]);
    }

    #[test]
    fn timers_come_in_order_and_once() {
        let mut reactor = Reactor::new().unwrap();
        let now = Instant::now();
        reactor.set_timer(now + Duration::from_millis(2), 2).unwrap();
        reactor.set_timer(now + Duration::from_millis(1), 1).unwrap();
        let mut events = Vec::new();
        while events.len() < 2 {
            reactor.wait(Some(Duration::from_secs(5)), &mut events).unwrap();
            assert!(now.elapsed() < Duration::from_secs(5));
        }
        assert_eq!(events, [Event::Timer(1), Event::Timer(2)]);
        events.clear();
        reactor.wait(Some(Duration::from_millis(5)), &mut events).unwrap();
        assert_eq!(events, []);
    }

    #[test]
    fn another_thread_can_wake_it() {
        let mut reactor = Reactor::new().unwrap();
        let notifier = reactor.notifier();
        let thread = std::thread::spawn(move || rustix::io::write(&*notifier, &1_u64.to_ne_bytes()).unwrap());
        let mut events = Vec::new();
        reactor.wait(Some(Duration::from_secs(5)), &mut events).unwrap();
        thread.join().unwrap();
        assert_eq!(events, [Event::Notified]);
    }

    #[test]
    fn nothing_is_told_of_a_socket_that_left() {
        let mut reactor = Reactor::new().unwrap();
        let (ours, theirs) = pair();
        reactor.register(ours.as_fd(), 7, Interest::ReadWrite).unwrap();
        reactor.deregister(ours.as_fd());
        rustix::io::write(&theirs, b"x").unwrap();
        let mut events = Vec::new();
        reactor.wait(Some(Duration::ZERO), &mut events).unwrap();
        assert_eq!(events, []);
    }
}
