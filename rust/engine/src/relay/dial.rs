//! The dialling half of a forward, inside the loop: targets in order, each with its time.

use std::os::fd::OwnedFd;
use std::sync::atomic::Ordering;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net;

use super::accept::Forwarder;
use super::gate::{Guards, Seat};
use super::pair::{reset_on_close, Owner, Pair};
use super::slots::Key;
use super::socket::{Socket, READING};
use super::turn::{Entry, Timer, Turn};
use super::Which;

/// An accepted connection that looks for its target.
pub(super) struct Call {
    pub caller: OwnedFd,
    pub unix: bool,
    /// Its place, if there was one left.
    pub key: Option<Key>,
    pub seat: Option<Seat>,
}

/// A connection whose target is being dialled.
pub(super) struct Dial {
    pub forward: Key,
    pub caller: OwnedFd,
    caller_unix: bool,
    pub seat: Option<Seat>,
    target: usize,
    /// None while a Unix listener's backlog is full: it is tried again at the timer.
    socket: Option<OwnedFd>,
    pub timer: Option<Timer>,
    deadline: Instant,
}

impl Turn {
    /// An event on the socket that is connecting.
    pub fn dialled(&mut self, key: Key, flags: EventFlags) {
        let Some(Entry::Dial(dial)) = self.slots.get(key) else {
            return;
        };
        let Some(socket) = &dial.socket else { return };
        let failed = flags.intersects(EventFlags::ERR | EventFlags::HUP);
        let error = if failed { net::sockopt::socket_error(socket).and_then(|error| error).err() } else { None };
        if let Some(errno) = error {
            return self.dial_next(key, errno);
        }
        if !flags.contains(EventFlags::OUT) {
            return;
        }
        let Some(Entry::Dial(mut dial)) = self.slots.take(key) else {
            return;
        };
        self.timers.cancel(dial.timer.take());
        let Some(socket) = dial.socket.take() else { return };
        self.with_forwarder(dial.forward, |turn, forwarder| {
            let target = &forwarder.forward.targets[dial.target];
            let call = Call { caller: dial.caller, unix: dial.caller_unix, key: Some(key), seat: dial.seat };
            if target.is_self(&socket) {
                drop(socket);
                forwarder.counters().note(Errno::CONNREFUSED);
                return turn.dial(dial.forward, forwarder, call, dial.target + 1);
            }
            let mut socket = Socket::watched(Arc::new(socket), target.is_unix());
            socket.note(flags);
            turn.connected(dial.forward, forwarder, call, socket);
        });
    }

    pub fn dial_timer(&mut self, key: Key, now: Instant) {
        let Some(Entry::Dial(dial)) = self.slots.get(key) else {
            return;
        };
        dial.timer = None;
        if dial.socket.is_some() || now >= dial.deadline {
            return self.dial_next(key, Errno::TIMEDOUT);
        }
        let (forward, target, deadline) = (dial.forward, dial.target, dial.deadline);
        let Some(Entry::Dial(dial)) = self.slots.take(key) else {
            return;
        };
        self.with_forwarder(forward, |turn, forwarder| {
            let call = Call { caller: dial.caller, unix: dial.caller_unix, key: Some(key), seat: dial.seat };
            if let Some(call) = turn.dial_until(forward, forwarder, call, target, deadline) {
                turn.dial(forward, forwarder, call, target + 1);
            }
        });
    }

    /// Gives the target up and goes on to the next one.
    fn dial_next(&mut self, key: Key, errno: Errno) {
        let Some(Entry::Dial(mut dial)) = self.slots.take(key) else {
            return;
        };
        self.timers.cancel(dial.timer.take());
        dial.socket = None;
        self.with_forwarder(dial.forward, |turn, forwarder| {
            forwarder.counters().note(errno);
            let call = Call { caller: dial.caller, unix: dial.caller_unix, key: Some(key), seat: dial.seat };
            turn.dial(dial.forward, forwarder, call, dial.target + 1);
        });
    }

    /// Dials the targets from number `first` on, for as long as they fail at once.
    pub fn dial(&mut self, forward: Key, forwarder: &mut Forwarder, mut call: Call, first: usize) {
        for target in first..forwarder.forward.targets.len() {
            let deadline = Instant::now() + forwarder.forward.connect_timeout.min(CONNECT_LONGEST);
            match self.dial_until(forward, forwarder, call, target, deadline) {
                None => return,
                Some(back) => call = back,
            }
        }
        forwarder.counters().failed.fetch_add(1, Ordering::Relaxed);
        forwarder.tell_failure();
        forwarder.left(call.seat.take());
        reset_on_close(&call.caller);
        call.key.map(|key| self.slots.free(key));
    }

    /// Dials one target; gives the call back if that failed at once.
    fn dial_until(
        &mut self,
        forward: Key,
        forwarder: &mut Forwarder,
        call: Call,
        number: usize,
        deadline: Instant,
    ) -> Option<Call> {
        let target = &forwarder.forward.targets[number];
        let spare = if number == 0 { forwarder.spare.take() } else { None };
        let socket = match spare.map_or_else(|| target.socket(), Ok) {
            Ok(socket) => socket,
            Err(errno) => {
                forwarder.counters().note(errno);
                return Some(call);
            }
        };
        let (socket, due) = match target.connect(&socket) {
            Ok(()) => {
                let socket = Socket::new(Arc::new(socket), target.is_unix());
                self.connected(forward, forwarder, call, socket);
                return None;
            }
            Err(Errno::INPROGRESS) => (Some(socket), deadline),
            Err(Errno::AGAIN) if target.is_unix() => (None, deadline.min(Instant::now() + UNIX_RETRY)),
            Err(errno) => {
                forwarder.counters().note(errno);
                return Some(call);
            }
        };
        let Some(key) = call.key.or_else(|| self.slots.reserve()) else {
            forwarder.counters().note(Errno::NOMEM);
            return Some(call);
        };
        if let Some(socket) = &socket {
            let data = EventData::new_u64(key.token(Which::B as u8));
            if let Err(errno) = epoll::add(&self.epoll, socket, data, READING | EventFlags::OUT) {
                forwarder.counters().note(errno);
                return Some(Call { key: Some(key), ..call });
            }
        }
        let timer = Some(self.timers.set(due, key));
        let Call { caller, unix: caller_unix, seat, .. } = call;
        let dial = Dial { forward, caller, caller_unix, seat, target: number, socket, timer, deadline };
        self.slots.put(key, Entry::Dial(Box::new(dial)));
        None
    }

    fn connected(&mut self, forward: Key, forwarder: &mut Forwarder, call: Call, target: Socket) {
        let caller = Socket::new(Arc::new(call.caller), call.unix);
        let progress = Arc::clone(&forwarder.counters().progress);
        let mut pair = Pair::of_sockets(caller, target, Owner::Forward(forward), progress);
        pair.guards = call.seat.as_ref().map(|seat| Box::new(Guards::new(seat.since)));
        pair.seat = call.seat;
        match call.key.or_else(|| self.slots.reserve()) {
            Some(key) => self.start_at(key, pair),
            None => {
                pair.reset();
                forwarder.left(pair.seat.take());
            }
        }
    }
}

const UNIX_RETRY: Duration = Duration::from_millis(10);
/// Keeps the sum of now and a timeout inside what the clock can say.
const CONNECT_LONGEST: Duration = Duration::from_secs(3600);
