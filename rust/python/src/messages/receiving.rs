//! Receiving: from the inbox, which is filled by one system call whenever it is empty and somebody asks.

use std::cell::Cell;
use std::os::fd::{AsFd, AsRawFd, IntoRawFd, OwnedFd};
use std::sync::{Arc, MutexGuard};

use pyo3::prelude::*;
use pyo3::types::PyBytes;
use rustix::io::Errno;
use socketkit_system::messages::{self, Batch, Message};

use super::datagram::{Arrival, Datagram};
use super::inbox::{listed, take, take_one, Beside, First, Item, Joined, One};
use super::naming::Acquaintances;
use super::run::Run;
use super::{Kind, MessageSocket, MessagesShared, State};
use crate::action::{Attempt, Wait};
use crate::failure::Failure;
use crate::operation::OperationRef;

/// What a receive asks for.
#[derive(Clone, Copy)]
pub enum Want {
    One { max_bytes: usize },
    Many { max_count: usize },
    Descriptors,
}

/// What an attempt found before it asked the kernel.
enum Found {
    First(First),
    Items(Vec<Item>),
    Ask(Arc<OwnedFd>),
}

impl MessagesShared {
    pub(super) fn receive(
        self: &Arc<Self>,
        subject: &Bound<'_, MessageSocket>,
        want: Want,
        me: &OperationRef,
    ) -> Result<Attempt, Failure> {
        let py = subject.py();
        loop {
            let socket = match self.look(py, want, me)? {
                Ok(Found::First(First::One(one))) => return self.deliver(py, want, one),
                Ok(Found::First(First::Part(part))) => return self.deliver(py, want, One::part(py, part)?),
                Ok(Found::Items(items)) => return many(py, items),
                Ok(Found::Ask(socket)) => socket,
                Err(wait) => return Ok(Attempt::Wait(wait)),
            };
            if let Some(items) = self.fill(subject, &socket, want)? {
                return many(py, items);
            }
        }
    }

    /// What the inbox has; else whether the kernel is worth asking.
    fn look(self: &Arc<Self>, py: Python<'_>, want: Want, me: &OperationRef) -> Result<Result<Found, Wait>, Failure> {
        let mut guard = self.state();
        let state = &mut *guard;
        if state.waiters.has_other_reader(me) {
            return Err(Failure::Busy);
        }
        let Some(socket) = state.socket.as_ref().filter(|_| !state.closing) else { return Err(Failure::Closed) };
        if state.inbox.is_empty() {
            let done = if let Some(fault) = state.faults.pop_front() {
                fault
            } else if state.ended {
                if state.reset {
                    Failure::Os(Errno::CONNRESET)
                } else {
                    Failure::End { have: 0 }
                }
            } else if !state.readable && !state.to_the_end {
                return self.wait_for_news(py, state, me).map(Err);
            } else if !state.budget.allows(self.turn(py)) {
                state.waiters.list_reader(py, me);
                return Ok(Err(Wait::NextTurn));
            } else {
                return Ok(Ok(Found::Ask(Arc::clone(socket))));
            };
            let reader = state.waiters.take_reader();
            drop(guard);
            drop(reader);
            return Err(done);
        }
        let (found, given) = if let Want::Many { max_count } = want {
            let items = take(&mut state.inbox, max_count);
            let given = Given::of(&items);
            (Found::Items(items), given)
        } else {
            let Some((first, bytes)) = take_one(&mut state.inbox) else { return Ok(Err(Wait::NextTurn)) };
            (Found::First(first), Given { messages: 1, bytes })
        };
        self.give(guard, given);
        Ok(Ok(found))
    }

    /// Notes what a receive gets, which is its end.
    fn give(&self, mut guard: MutexGuard<'_, State>, given: Given) {
        let state = &mut *guard;
        state.counters.received_messages += given.messages as u64;
        state.counters.received_bytes += given.bytes as u64;
        let first = std::mem::replace(&mut state.unproven, false);
        let reader = state.waiters.take_reader();
        drop(guard);
        drop(reader);
        self.tell_proven(first);
    }

    /// Lists a receive that must wait while its lock is held anyway; one that blocks its thread is not listed.
    fn wait_for_news(self: &Arc<Self>, py: Python<'_>, state: &mut State, me: &OperationRef) -> Result<Wait, Failure> {
        if self.reactor.is_none() {
            return Ok(Wait::Readable);
        }
        state.waiters.list_reader(py, me);
        self.watch(state).map_err(Failure::Os)?;
        Ok(Wait::Listed)
    }

    fn deliver(&self, py: Python<'_>, want: Want, item: One) -> Result<Attempt, Failure> {
        let given = match want {
            Want::Many { .. } | Want::One { max_bytes: usize::MAX } => return Ok(Attempt::Ready(item.message)),
            Want::One { max_bytes } => {
                if item.bytes > max_bytes && !self.connected {
                    let cut = Datagram::of(item.message.bind(py)).map(|datagram| datagram.cut(py, max_bytes));
                    cut.map_or(Ok(item.message), |cut| cut.into_object(py)).map(|given| given.into_bound(py))
                } else {
                    Ok(item.message.into_bound(py))
                }
            }
            Want::Descriptors => {
                let (descriptors, lost) = item.beside.map_or_else(Default::default, |it| (it.descriptors, it.lost));
                let fds: Vec<i32> = descriptors.iter().map(AsRawFd::as_raw_fd).collect();
                let made = (item.message, fds, lost).into_pyobject(py).map(Bound::into_any);
                if made.is_ok() {
                    // They are the caller's now.
                    for descriptor in descriptors {
                        let _ = descriptor.into_raw_fd();
                    }
                }
                made
            }
        };
        given.map(|given| Attempt::Ready(given.unbind())).map_err(Failure::Python)
    }

    /// Asks the kernel once. What came goes to the inbox, or is given back if it is just what is wanted.
    fn fill(
        self: &Arc<Self>,
        subject: &Bound<'_, MessageSocket>,
        socket: &OwnedFd,
        want: Want,
    ) -> Result<Option<Vec<Item>>, Failure> {
        let (slots, slot_bytes) = self.kind.room();
        let count = match want {
            Want::Many { max_count } => max_count.min(slots),
            Want::One { .. } | Want::Descriptors => slots,
        };
        with_batch(slots, slot_bytes, |batch| {
            let got = match batch.receive(socket.as_fd(), count, self.kind.is_unix()) {
                Ok(got) => got,
                Err(Errno::AGAIN) => return self.nothing_there(subject, socket).map(|()| None),
                Err(Errno::INTR) => return Ok(None),
                Err(number) => return self.troubled(subject, socket, number).map(|()| None),
            };
            let mut came = Vec::with_capacity(got);
            let (mut ended, mut trouble) = (false, None);
            let mut known = Acquaintances::new(self);
            for slot in 0..got {
                let message = batch.message(slot);
                let used = message.data.len();
                if ended || (used == 0 && self.kind.ends() && !message.is_marked()) {
                    ended = true;
                    continue;
                }
                // What came with it comes first; the others of the batch are not lost for it.
                let outcome = if self.kind.comes_in_parts() {
                    self.join(subject.py(), &message, &mut came)
                } else {
                    self.convert(subject, &message, &mut known, &mut came).and_then(|joined| {
                        let Some((segment_bytes, arrival)) = joined else { return Ok(()) };
                        let taken = batch.take(slot, used).map_err(Failure::Os)?;
                        came.push(Item::Run(Run::begin(subject.py(), taken, segment_bytes, arrival)));
                        Ok(())
                    })
                };
                trouble = outcome.err().or(trouble);
                if self.kind.is_unix() {
                    batch.trim(slot, used);
                }
            }
            drop(known);
            let mut guard = self.state();
            let state = &mut *guard;
            // What one system call brings is one attempt, however many ask for it.
            let brought = Given::of(&came);
            state.budget.spend(brought.bytes);
            state.ended |= ended;
            if got < count && !state.to_the_end && !self.kind.ends_both_ways() {
                state.readable = false;
            }
            state.faults.extend(trouble);
            let is_wanted = matches!(want, Want::Many { max_count } if brought.messages <= max_count);
            if is_wanted && !came.is_empty() && state.inbox.is_empty() {
                self.give(guard, brought);
                return Ok(Some(came));
            }
            state.inbox.extend(came);
            Ok(None)
        })
    }

    fn nothing_there(&self, subject: &Bound<'_, MessageSocket>, socket: &OwnedFd) -> Result<(), Failure> {
        let look = {
            let mut state = self.state();
            state.readable = false;
            if self.kind.ends_both_ways() && messages::has_lost_association(socket.as_fd()) {
                // Nobody else says so: neither that the end is reached that this side asked for, nor a reset that came
                // behind a message of the same batch.
                state.reset |= !state.awaits_end && !state.ended;
                state.ended = true;
            }
            state.ended |= state.reset;
            std::mem::replace(&mut state.to_the_end, false)
        };
        if look {
            self.read_faults(subject, socket)?;
        }
        Ok(())
    }

    /// Makes of a message what the application gets. Of a long run that the kernel has joined, it says the size of its parts and what is
    /// known of them.
    fn convert(
        &self,
        subject: &Bound<'_, MessageSocket>,
        message: &Message<'_>,
        known: &mut Acquaintances<'_>,
        into: &mut Vec<Item>,
    ) -> Result<Option<(usize, Arrival)>, Failure> {
        let py = subject.py();
        let marks = if message.is_marked() { message.marks() } else { Default::default() };
        let data = match self.kind {
            Kind::Icmp4Raw => behind_header(message.data),
            _ => message.data,
        };
        if self.kind.ends() && data.len() > self.rules.message_bytes {
            return Err(Failure::TooLarge { count: data.len(), limit: self.rules.message_bytes });
        }
        if self.connected {
            let has_beside = marks.descriptors_lost || !marks.descriptors.is_empty();
            let mut beside =
                has_beside.then(|| Box::new(Beside { descriptors: marks.descriptors, lost: marks.descriptors_lost }));
            for part in parts(data, marks.segment_bytes) {
                let message = PyBytes::new(py, part).into_any().unbind();
                into.push(Item::One(One { message, bytes: part.len(), beside: beside.take() }));
            }
            return Ok(None);
        }
        let arrival = known.arrival(subject, message, &marks, data).map_err(Failure::Python)?;
        let Some(segment_bytes) = marks.segment_bytes.map(usize::from).filter(|size| *size < data.len()) else {
            into.push(Item::One(One::alone(py, data, arrival)?));
            return Ok(None);
        };
        if Run::is_long(data.len(), segment_bytes) {
            return Ok(Some((segment_bytes, arrival)));
        }
        for part in parts(data, marks.segment_bytes) {
            into.push(Item::One(One::alone(py, part, arrival.clone_ref(py))?));
        }
        Ok(None)
    }

    /// Puts a message together that comes in parts. Of one that is longer than allowed nothing is kept.
    fn join(&self, py: Python<'_>, part: &Message<'_>, into: &mut Vec<Item>) -> Result<(), Failure> {
        let limit = self.rules.message_bytes;
        let mut state = self.state();
        let joined = &mut state.joined;
        joined.length = joined.length.saturating_add(part.data.len());
        if joined.length > limit {
            joined.data = Vec::new();
        } else if joined.length > part.data.len() || !part.whole {
            joined.data.extend_from_slice(part.data);
        }
        if !part.whole {
            return Ok(());
        }
        let Joined { data, length } = std::mem::take(joined);
        drop(state);
        if length > limit {
            return Err(Failure::TooLarge { count: length, limit });
        }
        let data = if data.is_empty() { part.data } else { &data };
        into.push(Item::One(One { message: PyBytes::new(py, data).into_any().unbind(), bytes: length, beside: None }));
        Ok(())
    }
}

/// How much a receive gets.
struct Given {
    messages: usize,
    bytes: usize,
}

impl Given {
    fn of(items: &[Item]) -> Self {
        let add =
            |sum: Self, item: &Item| Self { messages: sum.messages + item.count(), bytes: sum.bytes + item.bytes() };
        items.iter().fold(Self { messages: 0, bytes: 0 }, add)
    }
}

fn many(py: Python<'_>, items: Vec<Item>) -> Result<Attempt, Failure> {
    let list = listed(py, items).map_err(Failure::Python)?;
    Ok(Attempt::Ready(list.into_any().unbind()))
}

/// A run of datagrams that the kernel has joined, one by one; an empty message is one, too.
fn parts(data: &[u8], segment_bytes: Option<u16>) -> impl Iterator<Item = &[u8]> {
    let size = segment_bytes.map_or(data.len(), usize::from).max(1);
    let alone = data.is_empty().then_some(data);
    alone.into_iter().chain(data.chunks(size))
}

/// An IPv4 packet without its header.
fn behind_header(packet: &[u8]) -> &[u8] {
    let header = packet.first().map_or(0, |first| usize::from(first & 15) * 4);
    packet.get(header..).unwrap_or_default()
}

/// Memory for messages of this thread. Naming an endpoint may run any code, this function too: then it works with a new one.
fn with_batch<R>(
    slots: usize,
    slot_bytes: usize,
    use_it: impl FnOnce(&mut Batch) -> Result<R, Failure>,
) -> Result<R, Failure> {
    thread_local! {
        static SMALL: Cell<Option<Box<Batch>>> = const { Cell::new(None) };
        static LARGE: Cell<Option<Box<Batch>>> = const { Cell::new(None) };
    }
    let place = if slot_bytes > 65_536 { &LARGE } else { &SMALL };
    let mut batch = match place.with(Cell::take) {
        Some(batch) => batch,
        None => Box::new(Batch::new(slots, slot_bytes).map_err(Failure::Os)?),
    };
    let result = use_it(&mut batch);
    place.with(|place| place.set(Some(batch)));
    result
}
