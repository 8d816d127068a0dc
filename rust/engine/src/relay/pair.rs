//! Both directions of a pair, and how it ends.
//!
//! It is over when both directions delivered their end. If a side fails, nothing more goes to it, what it sent
//! before is still delivered to the other (for a bounded time), and the other gets no FIN.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Instant;

use rustix::event::epoll::EventFlags;
use rustix::io::Errno;
use rustix::net::{self, Shutdown};

use super::gate::{has_arrived, Flow, Guards, Seat};
use super::pump::{Kit, Pump, Stall};
use super::slots::Key;
use super::socket::{is_unix, Socket, Watch};
use super::turn::Timer;
use super::{Completion, Failure, Operation, Progress, Report, Side, Which};
use crate::guard::GuardLimits;

pub(super) struct Pair {
    pub owner: Owner,
    pub failure: Option<Failure>,
    /// In the ready queue.
    pub queued: bool,
    /// Of a caller who has to keep a listener's limits.
    pub seat: Option<Seat>,
    pub guards: Option<Box<Guards>>,
    /// Bounds the delivery after a failure.
    pub timer: Option<Timer>,
    a: Socket,
    b: Socket,
    a_to_b: Pump,
    b_to_a: Pump,
    finished_a: bool,
    finished_b: bool,
    progress: Arc<Progress>,
}

/// Who gets the report.
pub(super) enum Owner {
    Job(Completion),
    /// Nobody; the sockets are closed.
    Forward(Key),
    /// The one who runs the loop.
    Caller,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Waiting,
    /// Its share is used up; it goes on in the next turn.
    More,
    Over,
}

impl Pair {
    /// Two sockets of a caller, whatever their state.
    pub fn new(a: Side, b: Side, owner: Owner, progress: Arc<Progress>) -> Pair {
        for side in [&a, &b] {
            // splice() has no flag for it: one blocking socket would stop the whole thread.
            let _ = rustix::io::ioctl_fionbio(&side.fd, true);
        }
        let mut a_to_b = Pump::new(b.unsent, a.received, a.ended);
        let mut b_to_a = Pump::new(a.unsent, b.received, b.ended);
        // Nothing can be sent after a FIN, so nothing is read for it.
        (a_to_b.over, b_to_a.over) = (b.finished, a.finished);
        let (finished_a, finished_b) = (a.finished, b.finished);
        let (unix_a, unix_b) = (is_unix(&a.fd), is_unix(&b.fd));
        let (a, b) = (Socket::new(a.fd, unix_a), Socket::new(b.fd, unix_b));
        Pair { a_to_b, b_to_a, finished_a, finished_b, ..Pair::of_sockets(a, b, owner, progress) }
    }

    /// Two fresh connections.
    pub fn of_sockets(a: Socket, b: Socket, owner: Owner, progress: Arc<Progress>) -> Pair {
        Pair {
            owner,
            failure: None,
            queued: false,
            seat: None,
            guards: None,
            timer: None,
            a,
            b,
            a_to_b: Pump::new(Vec::new(), Vec::new(), false),
            b_to_a: Pump::new(Vec::new(), Vec::new(), false),
            finished_a: false,
            finished_b: false,
            progress,
        }
    }

    /// Has epoll watch both; an error is noted as the pair's failure.
    pub fn watch(&mut self, epoll: &OwnedFd, key: Key) {
        for which in [Which::A, Which::B] {
            let socket = self.socket(which);
            let watch = if socket.watches_writing() { Watch::Both } else { Watch::Reading };
            if let Err(errno) = socket.watch(epoll, key.token(which as u8), watch) {
                self.fail(which, Operation::Watch, errno);
                (self.a_to_b.over, self.b_to_a.over) = (true, true);
            }
        }
    }

    pub fn unwatch(&mut self, epoll: &OwnedFd) {
        for socket in [&mut self.a, &mut self.b] {
            // It may never have been watched, or be closed by its owner against the rules.
            let _ = socket.watch(epoll, 0, Watch::No);
        }
    }

    /// Takes over what epoll says about one side.
    pub fn note(&mut self, epoll: &OwnedFd, key: Key, part: u8, flags: EventFlags) {
        let which = if part == Which::A as u8 { Which::A } else { Which::B };
        let socket = self.socket(which);
        if socket.note(flags) {
            let _ = socket.watch(epoll, key.token(part), Watch::Reading);
        }
    }

    /// Moves what can be moved in one turn.
    pub fn step(&mut self, epoll: &OwnedFd, key: Key, kit: &mut Kit) -> Step {
        let more = self.run(Which::A, kit) | self.run(Which::B, kit) | self.check_errors();
        if self.a_to_b.over && self.b_to_a.over {
            return Step::Over;
        }
        for which in [Which::A, Which::B] {
            let socket = self.socket(which);
            if !socket.writable {
                if let Err(errno) = socket.watch(epoll, key.token(which as u8), Watch::Both) {
                    self.fail(which, Operation::Watch, errno);
                }
            }
        }
        if more {
            Step::More
        } else {
            Step::Waiting
        }
    }

    /// Whether there is something to do before the first event.
    pub fn has_work(&self) -> bool {
        let noted = self.a.readable || self.b.readable || self.failure.is_some();
        noted || self.a_to_b.has_work() || self.b_to_a.has_work() || self.a_to_b.over || self.b_to_a.over
    }

    /// Ends the relaying here and now, with the account of it.
    pub fn report(&mut self) -> Report {
        Report {
            unsent_a: self.b_to_a.uncounted(),
            unsent_b: self.a_to_b.uncounted(),
            a_to_b: self.a_to_b.moved_bytes,
            b_to_a: self.b_to_a.moved_bytes,
            failure: self.failure,
            leftover_a: self.b_to_a.take_held(),
            leftover_b: self.a_to_b.take_held(),
            ended_a: self.a_to_b.ended,
            ended_b: self.b_to_a.ended,
            finished_a: self.finished_a,
            finished_b: self.finished_b,
        }
    }

    /// Whether A has sent anything, read or not.
    pub fn has_heard(&self) -> bool {
        self.a_to_b.read_bytes() > 0 || has_arrived(&self.a.fd)
    }

    /// Notes the first bytes of A.
    pub fn prove(&mut self) {
        if let Some(seat) = self.seat.as_mut().filter(|_| self.a_to_b.moved_bytes > 0) {
            seat.proves();
        }
    }

    /// Whether a limit says that it must end; counted.
    pub fn check(&mut self, limits: &GuardLimits, now: Instant) -> bool {
        let flow = |pump: &Pump| Flow {
            read: pump.read_bytes(),
            delivered: pump.moved_bytes,
            drained: pump.ended || pump.over,
        };
        let Some(guards) = &mut self.guards else { return false };
        match guards.check(&flow(&self.a_to_b), &flow(&self.b_to_a), limits, now) {
            None => false,
            Some((cut, callers_doing)) => {
                // A target that takes nothing is no fault of who called.
                if let Some(seat) = self.seat.as_ref().filter(|_| callers_doing) {
                    seat.offended(cut, now);
                }
                true
            }
        }
    }

    /// Makes the closing of both sides a reset, so that what was cut short does not look complete.
    /// (A Unix socket has no such thing: its peer sees an end.)
    pub fn reset(&self) {
        for socket in [&self.a, &self.b] {
            reset_on_close(&socket.fd);
        }
    }

    /// Runs the direction that starts at `from`; true if it wants another turn.
    fn run(&mut self, from: Which, kit: &mut Kit) -> bool {
        let failing = self.failure.is_some();
        let (pump, source, destination, moved) = match from {
            Which::A => (&mut self.a_to_b, &mut self.a, &mut self.b, &self.progress.a_to_b),
            Which::B => (&mut self.b_to_a, &mut self.b, &mut self.a, &self.progress.b_to_a),
        };
        if pump.over {
            return false;
        }
        match pump.run(source, destination, kit, moved, failing) {
            Ok(Stall::Blocked) => false,
            Ok(Stall::Budget) => true,
            Ok(Stall::Empty) => {
                pump.over = failing;
                false
            }
            Ok(Stall::Ended) => {
                pump.over = true;
                self.finish(from.other())
            }
            Err((Operation::Receive, errno)) => {
                pump.cut = true;
                self.fail(from, Operation::Receive, errno)
            }
            Err((operation, errno)) => self.fail(from.other(), operation, errno),
        }
    }

    /// Passes the end on to `to`.
    fn finish(&mut self, to: Which) -> bool {
        let last = self.a_to_b.over && self.b_to_a.over;
        if last && self.failure.is_none() && matches!(self.owner, Owner::Forward(_)) {
            return false; // The close that follows says it: one system call less for each connection.
        }
        match net::shutdown(&self.socket(to).fd, Shutdown::Write) {
            Ok(()) => {
                *self.finished(to) = true;
                false
            }
            // ENOTCONN: reset since.
            Err(errno) => self.fail(to, Operation::Finish, errno),
        }
    }

    /// Finds the reset of a side that is not being read any more.
    fn check_errors(&mut self) -> bool {
        let mut failed = false;
        for which in [Which::A, Which::B] {
            let unread = match which {
                Which::A => self.a_to_b.ended || self.a_to_b.over,
                Which::B => self.b_to_a.ended || self.b_to_a.over,
            };
            let socket = self.socket(which);
            if unread && socket.errored {
                if let Some(errno) = socket.take_error() {
                    failed |= self.fail(which, Operation::Receive, errno);
                }
            }
        }
        failed
    }

    /// Notes a failure: nothing more goes to that side, and what came from it is being finished.
    fn fail(&mut self, side: Which, operation: Operation, errno: Errno) -> bool {
        self.failure.get_or_insert(Failure { side, operation, errno });
        match side {
            Which::A => self.b_to_a.over = true,
            Which::B => self.a_to_b.over = true,
        }
        true
    }

    fn socket(&mut self, which: Which) -> &mut Socket {
        match which {
            Which::A => &mut self.a,
            Which::B => &mut self.b,
        }
    }

    fn finished(&mut self, which: Which) -> &mut bool {
        match which {
            Which::A => &mut self.finished_a,
            Which::B => &mut self.finished_b,
        }
    }
}

impl Which {
    fn other(self) -> Which {
        match self {
            Which::A => Which::B,
            Which::B => Which::A,
        }
    }
}

/// Has the close of a TCP socket send RST. What is still in its send queue goes with it.
pub(super) fn reset_on_close(fd: &OwnedFd) {
    let _ = net::sockopt::set_socket_linger(fd, Some(std::time::Duration::ZERO));
}
