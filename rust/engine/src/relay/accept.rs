//! The accepting half of a forward, inside the loop.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{self, SocketAddrAny, SocketFlags};

use crate::admission::{Place, Refusal, Verdict};

use super::dial::Call;
use super::forward::{Counters, Forward, ForwardCompletion, Target};
use super::gate::{has_arrived, Seat};
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
    /// When the pairs are looked after.
    sweep: Option<Timer>,
    /// Where the callers are who have a seat.
    seats: HashMap<Place, Key>,
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

    /// One connection less.
    pub fn left(&mut self, seat: Option<Seat>) {
        if let Some(seat) = seat {
            self.seats.remove(&seat.place);
        }
        self.set_active(self.active - 1);
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
            sweep: None,
            seats: HashMap::new(),
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
                if forwarder.forward.house.as_ref().is_some_and(|house| house.ask(|seats| seats.full()) == Some(true)) {
                    // Of others than those here; who knows when they leave.
                    forwarder.pause = Some(turn.timers.set(Instant::now() + ACCEPT_RETRY, key));
                    return;
                }
                let accepted = forwarder.prepare().and_then(|()| {
                    let listener = &forwarder.forward.listeners[usize::from(number)];
                    net::acceptfrom_with(listener, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC)
                });
                match accepted {
                    Ok((caller, from)) => {
                        let place = turn.slots.reserve();
                        let Ok(seat) = turn.seat(forwarder, from, place) else {
                            reset_on_close(&caller);
                            place.map(|place| turn.slots.free(place));
                            continue;
                        };
                        if seat.is_some() && forwarder.sweep.is_none() {
                            forwarder.sweep = Some(turn.timers.set(Instant::now() + SWEEP_EVERY, key));
                        }
                        forwarder.counters().accepted.fetch_add(1, Ordering::Relaxed);
                        forwarder.set_active(forwarder.active + 1);
                        let unix = forwarder.families[usize::from(number)];
                        turn.dial(key, forwarder, Call { caller, unix, key: place, seat }, 0);
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
                        // Whoever stays longest without a word makes room for the next.
                        let house = forwarder.forward.house.as_ref();
                        let oldest = house.and_then(|house| house.ask(|seats| seats.oldest_unproven()).flatten());
                        if oldest.is_some_and(|oldest| turn.evict(forwarder, oldest)) {
                            continue;
                        }
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
            if forwarder.sweep.is_some_and(|timer| timer.due() <= now) {
                turn.sweep(key, forwarder, now);
                let more = forwarder.active > 0;
                forwarder.sweep = more.then(|| turn.timers.set(now + SWEEP_EVERY, key));
            }
        });
    }

    /// Closes the two sockets of a connection that is over.
    pub fn end_connection(&mut self, forward: Key, mut pair: Pair) {
        self.with_forwarder(forward, |_, forwarder| {
            if pair.failure.is_some() {
                forwarder.counters().broken.fetch_add(1, Ordering::Relaxed);
                pair.reset();
            }
            let seat = pair.seat.take();
            drop(pair);
            forwarder.left(seat);
        });
    }

    /// A seat for who called, if the listener has limits; an error if they turn him away.
    fn seat(
        &mut self,
        forwarder: &mut Forwarder,
        from: Option<SocketAddrAny>,
        key: Option<Key>,
    ) -> Result<Option<Seat>, Refusal> {
        let Some(house) = forwarder.forward.house.clone() else { return Ok(None) };
        let now = Instant::now();
        let from = from.and_then(|from| SocketAddr::try_from(from).ok()).map(|from| from.ip());
        let place = match house.ask(|seats| seats.admit(from, now)) {
            Some(Verdict::Admitted(place)) => place,
            Some(Verdict::Refused(why)) => return Err(why),
            None => return Ok(None),
        };
        let seat = Seat::new(&house, place, now);
        key.map(|key| forwarder.seats.insert(place, key));
        // Each answer changes the question; a bound all the same.
        for _ in 0..EVICTIONS {
            let Some(victim) = house.ask(|seats| seats.victim(place)).flatten() else { break };
            self.evict(forwarder, victim);
        }
        Ok(Some(seat))
    }

    /// Resets the connection that has `victim`; false if its peer has sent something, or it is not one of these (its owner accepted it
    /// himself before).
    fn evict(&mut self, forwarder: &mut Forwarder, victim: Place) -> bool {
        let silent = |entry: &mut Entry| match entry {
            Entry::Pair(pair) => !pair.has_heard(),
            Entry::Dial(dial) => !has_arrived(&dial.caller),
            Entry::Forward(_) => false,
        };
        let key = forwarder.seats.get(&victim).copied();
        let Some(key) = key.filter(|key| self.slots.get(*key).is_some_and(silent)) else {
            if let Some(house) = &forwarder.forward.house {
                house.ask(|seats| seats.proven(victim));
            }
            return false;
        };
        let seat = self.discard(key);
        if let Some(seat) = &seat {
            seat.evicted();
        }
        forwarder.left(seat);
        true
    }

    /// Ends the pairs whose time is over.
    fn sweep(&mut self, forward: Key, forwarder: &mut Forwarder, now: Instant) {
        let Some(house) = forwarder.forward.house.clone() else { return };
        let mut over = Vec::new();
        for (key, entry) in self.slots.entries_mut() {
            if let Entry::Pair(pair) = entry {
                if matches!(pair.owner, Owner::Forward(owner) if owner == forward) && pair.check(&house.guard, now) {
                    over.push(key);
                }
            }
        }
        for key in over {
            forwarder.counters().broken.fetch_add(1, Ordering::Relaxed);
            let seat = self.discard(key);
            forwarder.left(seat);
        }
    }

    /// Resets a connection; its seat is to be left.
    fn discard(&mut self, key: Key) -> Option<Seat> {
        match self.slots.free(key) {
            Some(Entry::Pair(mut pair)) => {
                self.timers.cancel(pair.timer.take());
                pair.reset();
                pair.seat.take()
            }
            Some(Entry::Dial(mut dial)) => {
                self.timers.cancel(dial.timer.take());
                reset_on_close(&dial.caller);
                dial.seat.take()
            }
            _ => None,
        }
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
            drop(self.discard(key));
        }
        forwarder.seats.clear();
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
            self.timers.cancel(forwarder.sweep.take());
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
/// How many one caller may push out.
const EVICTIONS: usize = 4;
/// How often pairs are looked after.
const SWEEP_EVERY: Duration = Duration::from_millis(500);
const ACCEPT_RETRY: Duration = Duration::from_millis(100);
