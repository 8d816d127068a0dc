//! The accepting half of a forward, inside the loop.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{self, SocketFlags};

use super::dial::Call;
use super::forward::{Counters, Forward, ForwardCompletion, Target};
use super::pair::{reset_on_close, Owner, Pair};
use super::slots::Key;
use super::socket::is_unix;
use super::turn::{Entry, Timer, Turn};

/// A forward inside the loop.
pub(super) struct Forwarder {
    /// In the ready queue.
    pub queued: bool,
    pub forward: Forward,
    families: Vec<bool>,
    /// Listeners that may have a caller waiting.
    ready: VecDeque<u8>,
    pub active: usize,
    /// The socket for the next connection's first target. It is made before the connection is accepted, so that
    /// a caller is never taken out of the backlog without a descriptor to serve it.
    pub spare: Option<OwnedFd>,
    pause: Option<Timer>,
    pub stopping: bool,
    grace: Option<Timer>,
    completion: ForwardCompletion,
    told_failure: Option<Instant>,
}

impl Forwarder {
    /// An event on listener number `part`.
    pub fn note(&mut self, part: u8) {
        if !self.ready.contains(&part) {
            self.ready.push_back(part);
        }
    }

    fn may_accept(&self) -> bool {
        !self.stopping && self.pause.is_none() && !self.ready.is_empty() && self.active < self.forward.connections_max
    }

    pub fn counters(&self) -> &Counters {
        &self.completion.0.counters
    }

    /// Tells the submitter that something failed; the counters say what.
    pub fn tell_failure(&mut self) {
        self.completion.0.tell(&mut self.told_failure);
    }

    pub fn set_active(&mut self, active: usize) {
        self.active = active;
        self.counters().active.store(active as u64, Ordering::Relaxed);
    }

    /// Makes the spare socket if there is none; the error is one of a lack of descriptors or memory.
    fn prepare(&mut self) -> Result<(), Errno> {
        if self.spare.is_none() {
            self.spare = self.forward.targets.first().map(Target::socket).transpose()?;
        }
        Ok(())
    }
}

impl Turn {
    /// Starts accepting; a forward that cannot start is done at once.
    pub fn start_forward(&mut self, forward: Forward, completion: ForwardCompletion) {
        let Some(key) = self.slots.reserve() else {
            return completion.0.counters.note(Errno::NOMEM);
        };
        completion.0.finish.slot.store(key.to_u64(), Ordering::Relaxed);
        if let Err(errno) = self.watch_listeners(key, &forward) {
            completion.0.counters.note(errno);
            self.unwatch_listeners(&forward);
            self.slots.free(key);
            return;
        }
        let forwarder = Forwarder {
            queued: false,
            families: forward.listeners.iter().map(|listener| is_unix(listener)).collect(),
            forward,
            ready: VecDeque::new(),
            active: 0,
            spare: None,
            pause: None,
            stopping: false,
            grace: None,
            completion,
            told_failure: None,
        };
        self.slots.put(key, Entry::Forward(Box::new(forwarder)));
    }

    /// Stops accepting. Open connections have `grace` to end, then they are reset.
    pub fn stop_forward(&mut self, key: Key, grace: Duration) {
        self.with_forwarder(key, |turn, forwarder| {
            turn.unwatch_listeners(&forwarder.forward);
            turn.timers.cancel(forwarder.pause.take());
            turn.timers.cancel(forwarder.grace.take());
            forwarder.stopping = true;
            forwarder.spare = None;
            if grace.is_zero() {
                turn.abort_connections(key, forwarder);
            } else {
                forwarder.grace = Instant::now().checked_add(grace).map(|due| turn.timers.set(due, key));
            }
        });
    }

    /// Accepts a turn's share of callers.
    pub fn accept(&mut self, key: Key) {
        self.with_forwarder(key, |turn, forwarder| {
            forwarder.queued = false;
            for _ in 0..ACCEPTS_PER_TURN {
                if !forwarder.may_accept() {
                    return;
                }
                let Some(&number) = forwarder.ready.front() else { return };
                let accepted = forwarder.prepare().and_then(|()| {
                    let listener = &forwarder.forward.listeners[usize::from(number)];
                    net::accept_with(listener, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC)
                });
                match accepted {
                    Ok(caller) => {
                        forwarder.counters().accepted.fetch_add(1, Ordering::Relaxed);
                        forwarder.set_active(forwarder.active + 1);
                        let unix = forwarder.families[usize::from(number)];
                        turn.dial(key, forwarder, Call { caller, unix, key: None }, 0);
                    }
                    Err(Errno::AGAIN) => drop(forwarder.ready.pop_front()),
                    // The caller is gone already: man 2 accept has these be tried again.
                    Err(Errno::CONNABORTED | Errno::INTR | Errno::PROTO | Errno::NETDOWN | Errno::HOSTUNREACH) => {}
                    Err(errno @ (Errno::INVAL | Errno::BADF | Errno::NOTSOCK | Errno::OPNOTSUPP)) => {
                        // Shut down by its owner: it never has a caller again.
                        forwarder.counters().note(errno);
                        forwarder.ready.pop_front();
                    }
                    Err(errno) => {
                        // Out of descriptors or memory: accept() would spin.
                        forwarder.counters().note(errno);
                        forwarder.tell_failure();
                        forwarder.pause = Some(turn.timers.set(Instant::now() + ACCEPT_RETRY, key));
                    }
                }
            }
        });
    }

    pub fn forward_timer(&mut self, key: Key, now: Instant) {
        self.with_forwarder(key, |turn, forwarder| {
            if forwarder.pause.is_some_and(|timer| timer.due() <= now) {
                forwarder.pause = None;
            }
            if forwarder.grace.is_some_and(|timer| timer.due() <= now) {
                forwarder.grace = None;
                turn.abort_connections(key, forwarder);
            }
        });
    }

    /// Closes the two sockets of a connection that is over.
    pub fn end_connection(&mut self, forward: Key, pair: Pair) {
        self.with_forwarder(forward, |_, forwarder| {
            if pair.failure.is_some() {
                forwarder.counters().broken.fetch_add(1, Ordering::Relaxed);
                pair.reset();
            }
            drop(pair);
            forwarder.set_active(forwarder.active - 1);
        });
    }

    /// Resets every connection of a forward.
    fn abort_connections(&mut self, forward: Key, forwarder: &mut Forwarder) {
        let of_forward = |entry: &Entry| match entry {
            Entry::Pair(pair) => matches!(pair.owner, Owner::Forward(key) if key == forward),
            Entry::Dial(dial) => dial.forward == forward,
            Entry::Forward(_) => false,
        };
        let keys: Vec<Key> = self.slots.entries().filter(|(_, entry)| of_forward(entry)).map(|(key, _)| key).collect();
        for key in keys {
            match self.slots.free(key) {
                Some(Entry::Pair(mut pair)) => {
                    self.timers.cancel(pair.timer.take());
                    pair.reset();
                }
                Some(Entry::Dial(mut dial)) => {
                    self.timers.cancel(dial.timer.take());
                    reset_on_close(&dial.caller);
                }
                _ => {}
            }
        }
        forwarder.set_active(0);
    }

    /// Lends out a forward; afterwards it goes on accepting if it may, or ends if that was its last connection.
    pub fn with_forwarder(&mut self, key: Key, act: impl FnOnce(&mut Turn, &mut Forwarder)) {
        if !matches!(self.slots.get(key), Some(Entry::Forward(_))) {
            return;
        }
        let Some(Entry::Forward(mut forwarder)) = self.slots.take(key) else {
            return;
        };
        act(self, &mut forwarder);
        if forwarder.stopping && forwarder.active == 0 {
            self.timers.cancel(forwarder.grace.take());
            self.slots.free(key);
            return; // Dropping its completion ends the job.
        }
        let accepts = forwarder.may_accept();
        self.slots.put(key, Entry::Forward(forwarder));
        if accepts {
            self.queue(key);
        }
    }

    fn watch_listeners(&mut self, key: Key, forward: &Forward) -> Result<(), Errno> {
        if forward.targets.is_empty() {
            return Err(Errno::DESTADDRREQ);
        }
        for (number, listener) in forward.listeners.iter().enumerate() {
            let part = u8::try_from(number).map_err(|_| Errno::INVAL)?;
            rustix::io::ioctl_fionbio(listener, true)?;
            // Refused by a Unix socket, which has no Nagle to turn off.
            let _ = net::sockopt::set_tcp_nodelay(listener, true);
            epoll::add(&self.epoll, listener, EventData::new_u64(key.token(part)), EventFlags::IN | EventFlags::ET)?;
        }
        Ok(())
    }

    fn unwatch_listeners(&mut self, forward: &Forward) {
        for listener in &forward.listeners {
            let _ = epoll::delete(&self.epoll, listener);
        }
    }
}

const ACCEPTS_PER_TURN: usize = 64;
const ACCEPT_RETRY: Duration = Duration::from_millis(100);
