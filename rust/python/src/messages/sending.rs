//! Sending: all of what one call brings or nothing, in the order of the askers.

use std::net::IpAddr;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use pyo3::exceptions::PyValueError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use rustix::event::{poll, PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use socketkit_system::messages::{self, Local, Name, Outgoing, Taken, MOST_SEGMENTS};

use super::datagram::{Arrival, Datagram};
use super::receiving::is_passing;
use super::run::{Part, Run};
use super::{MessageSocket, MessagesShared, State};
use crate::action::{Attempt, Wait};
use crate::failure::Failure;
use crate::operation::OperationRef;
use crate::stream::Data;
use socketkit_engine::peers::{Known, Permission};

/// A message that is to be sent, or several of equal size to one peer that lie one behind the other.
pub struct Queued {
    data: Content,
    length: usize,
    /// Of each of several; the last may be shorter.
    segment_bytes: Option<u16>,
    /// How many of several are sent.
    gone: usize,
    /// None: to the peer that the socket is connected to.
    to: Option<Known>,
    from: Option<Local>,
    /// It is an answer, to so many bytes; of several, that is the first's.
    asked: Option<usize>,
}

/// Bytes that nobody changes.
enum Content {
    Own(Data),
    /// Where they came.
    Run(Arc<Taken>, Range<usize>),
}

/// What one call brings.
pub enum Load {
    /// `permitted`: it was asked before whether this may go to its peer.
    One {
        message: Queued,
        permitted: bool,
    },
    Many(Vec<Queued>),
}

impl Load {
    pub fn one(message: Queued) -> Self {
        Load::One { message, permitted: false }
    }

    fn messages(&mut self) -> &mut [Queued] {
        match self {
            Load::One { message, .. } => std::slice::from_mut(message),
            Load::Many(messages) => messages,
        }
    }
}

impl Queued {
    pub fn new(
        socket: &Bound<'_, MessageSocket>,
        data: &Bound<'_, PyAny>,
        to: Option<Known>,
        from: Option<Local>,
    ) -> PyResult<Self> {
        Self::alone(socket, Data::new(data)?, to, from)
    }

    pub fn answering(self, asked: Option<usize>) -> Self {
        Self { asked, ..self }
    }

    /// `datagram` to its peer.
    fn of(socket: &Bound<'_, MessageSocket>, datagram: &Datagram) -> PyResult<Self> {
        let (py, arrival) = (socket.py(), datagram.arrival());
        let (to, from) = (sender(socket, arrival)?, origin(socket, arrival)?);
        let queued = Self::alone(socket, Data::Python(datagram.data(py)), Some(to), from)?;
        Ok(queued.answering(datagram.asked(py)))
    }

    fn alone(socket: &Bound<'_, MessageSocket>, data: Data, to: Option<Known>, from: Option<Local>) -> PyResult<Self> {
        let (length, most) = (data.bytes(socket.py()).len(), socket.get().shared.most_bytes);
        if length == 0 && !socket.get().shared.kind.has_empty() {
            return Err(Failure::Empty.into_exception(socket.as_any(), "send"));
        }
        if length > most {
            return Err(Failure::Oversize { bytes: length, most }.into_exception(socket.as_any(), "send"));
        }
        Ok(Self { data: Content::Own(data), length, segment_bytes: None, gone: 0, to, from, asked: None })
    }

    /// What is not sent yet.
    fn bytes<'a>(&'a self, py: Python<'a>) -> &'a [u8] {
        self.data.bytes(py).get(self.length - self.left()..).unwrap_or_default()
    }

    /// How many bytes that is.
    fn left(&self) -> usize {
        self.length - self.gone * self.segment_bytes.map_or(0, usize::from)
    }

    /// How many messages that is.
    fn count(&self) -> usize {
        self.segment_bytes.map_or(1, |size| self.left().div_ceil(usize::from(size)))
    }

    fn name(&self) -> Option<&Name> {
        self.to.as_ref().map(|to| &*to.name)
    }

    /// Several, each by itself.
    fn divided(self, py: Python<'_>) -> Vec<Self> {
        if self.segment_bytes.is_none() {
            return vec![self];
        }
        let one = |part: &[u8]| Self {
            data: Content::Own(Data::Copy(part.to_vec())),
            length: part.len(),
            segment_bytes: None,
            gone: 0,
            to: self.to.clone(),
            from: self.from,
            asked: self.asked.map(|_| part.len()),
        };
        self.apart(py).map(one).collect()
    }

    /// The bytes of each message.
    fn apart<'a>(&'a self, py: Python<'a>) -> impl Iterator<Item = &'a [u8]> {
        let (bytes, size) = (self.bytes(py), self.segment_bytes.map(usize::from));
        let alone = size.is_none().then_some(bytes);
        let several = size.map(|size| bytes.chunks(size)).into_iter().flatten();
        alone.into_iter().chain(several)
    }
}

impl Content {
    fn bytes<'a>(&'a self, py: Python<'a>) -> &'a [u8] {
        match self {
            Content::Own(data) => data.bytes(py),
            Content::Run(taken, range) => taken.bytes().get(range.clone()).unwrap_or_default(),
        }
    }
}

/// Collects datagrams to be sent to their peers, and finds those that came as a run and leave as one.
pub struct Gathering<'a, 'py> {
    socket: &'a Bound<'py, MessageSocket>,
    queued: Vec<Queued>,
    open: Option<(Arc<Run>, Range<u8>)>,
}

impl<'a, 'py> Gathering<'a, 'py> {
    pub fn new(socket: &'a Bound<'py, MessageSocket>, expected: usize) -> Self {
        Self { socket, queued: Vec::with_capacity(expected.min(messages::AT_ONCE)), open: None }
    }

    pub fn add(&mut self, datagram: &Datagram) -> PyResult<()> {
        let Datagram::Part(Part { run, index }) = datagram else {
            self.close()?;
            self.queued.push(Queued::of(self.socket, datagram)?);
            return Ok(());
        };
        match &mut self.open {
            Some((open, parts)) if Arc::ptr_eq(open, run) && parts.end == *index => parts.end += 1,
            _ => {
                self.close()?;
                self.open = Some((Arc::clone(run), *index..*index + 1));
            }
        }
        Ok(())
    }

    pub fn finish(mut self) -> PyResult<Vec<Queued>> {
        self.close()?;
        Ok(self.queued)
    }

    fn close(&mut self) -> PyResult<()> {
        let Some((run, parts)) = self.open.take() else { return Ok(()) };
        let (to, from) = (sender(self.socket, &run.arrival)?, origin(self.socket, &run.arrival)?);
        let range = run.range(parts.clone());
        let segment_bytes = run.segment_bytes();
        let several = parts.len() > 1 && segment_bytes <= LARGEST_SEGMENT && range.len() <= LARGEST_RUN;
        if let (true, Some(joined)) = (several, run.joined()) {
            let asked = run.arrival.came_from.is_some().then_some(segment_bytes);
            let length = range.len();
            // What waits to be sent must not hold much more memory than it needs.
            let data = if 2 * length >= joined.bytes().len() {
                Content::Run(joined, range)
            } else {
                Content::Own(Data::Copy(joined.bytes().get(range).unwrap_or_default().to_vec()))
            };
            let segment_bytes = u16::try_from(segment_bytes).ok();
            self.queued.push(Queued { data, length, segment_bytes, gone: 0, to: Some(to), from, asked });
            return Ok(());
        }
        for index in parts {
            let data = Data::Python(run.data(self.socket.py(), index));
            let queued = Queued::alone(self.socket, data, Some(to.clone()), from)?;
            let asked = run.arrival.came_from.is_some().then(|| run.range(index..index + 1).len());
            self.queued.push(queued.answering(asked));
        }
        Ok(())
    }
}

/// `to` as the kernel has it: an endpoint that came with a datagram, or what Python makes of it.
pub fn address(socket: &Bound<'_, MessageSocket>, to: &Bound<'_, PyAny>) -> PyResult<Known> {
    if let Some(name) = socket.get().shared.peers().name_of(to.as_ptr() as usize) {
        return Ok(name);
    }
    let raw = socket.call_method1(intern!(socket.py(), "_addressed"), (to,))?;
    let name = Name::new(raw.cast::<PyBytes>()?.as_bytes());
    Ok(Known::new(name.ok_or_else(|| PyValueError::new_err("this address is longer than any"))?))
}

/// The address of who sent a datagram, which knows it if it came by this socket.
pub fn sender(socket: &Bound<'_, MessageSocket>, arrival: &Arrival) -> PyResult<Known> {
    match &arrival.came_from {
        Some((id, known)) if *id == socket.get().shared.id => Ok(known.clone()),
        _ => address(socket, arrival.peer.bind(socket.py())),
    }
}

/// From where an answer to a datagram must leave: its asker expects it from the address that he has asked.
pub fn origin(socket: &Bound<'_, MessageSocket>, arrival: &Arrival) -> PyResult<Option<Local>> {
    let local = arrival.local.bind(socket.py());
    if arrival.came_to.is_some() || local.is_none() {
        return Ok(arrival.came_to);
    }
    let own = socket.get().shared.own_endpoint.get();
    if own.is_some_and(|own| own.is(local)) {
        return Ok(None);
    }
    // Taken by the application from another datagram: what was sent to a group, or to all, is not answered from there.
    let heard = socket.get().shared.locals().iter().find(|(_, known)| known.is(local)).map(|(heard, _)| *heard);
    if heard.is_some() {
        return Ok(heard);
    }
    // Written by the application itself.
    let name = address(socket, local)?;
    Ok(place_of(&name.name))
}

fn place_of(name: &Name) -> Option<Local> {
    let raw = name.bytes();
    let address = match raw.len() {
        16 => IpAddr::from(<[u8; 4]>::try_from(raw.get(4..8)?).ok()?),
        28 => IpAddr::from(<[u8; 16]>::try_from(raw.get(8..24)?).ok()?),
        _ => return None,
    };
    let interface = raw.get(24..28).and_then(|bytes| Some(u32::from_ne_bytes(bytes.try_into().ok()?))).unwrap_or(0);
    (!address.is_unspecified()).then(|| Local::new(address, interface))
}

impl MessagesShared {
    pub(super) fn send(
        self: &Arc<Self>,
        subject: &Bound<'_, MessageSocket>,
        load: &mut Load,
        me: &OperationRef,
    ) -> Result<Attempt, Failure> {
        let py = subject.py();
        let mut guard = self.state();
        let state = &mut *guard;
        let behind = state.waiters.is_behind(me);
        let Some(socket) = state.socket.as_ref().filter(|_| !state.closing && !state.finished_sending) else {
            return Err(Failure::Closed);
        };
        let socket = Arc::clone(socket);
        if behind || !state.outbox.is_empty() || (!state.writable && self.reactor.is_some()) {
            return Ok(Attempt::Wait(Wait::Room));
        }
        if !state.budget.allows(self.turn(py)) {
            state.waiters.list_first_writer(py, me);
            return Ok(Attempt::Wait(Wait::NextTurn));
        }
        if let Some(failure) = state.send_failure.take() {
            state.waiters.first_writer_done();
            drop(guard);
            self.let_next_writer(py);
            return Err(lost(failure));
        }
        let withheld = self.kind.is_forgeable() && !self.connected && self.withhold(py, state, load);
        let count = load.messages().iter().map(|queued| queued.count()).sum();
        let handed = load.messages().len();
        let before = state.counters.sent_messages;
        let (taken, outcome) = self.hand_over(py, &socket, state, load.messages());
        let sent = (state.counters.sent_messages - before) as usize;
        let out = match (outcome, load) {
            (Ok(()), _) if taken == handed => Ok(()),
            // Nothing of it was taken, so its sender may still change his mind.
            (Ok(()), Load::One { permitted, .. }) => {
                *permitted = true;
                state.writable = false;
                return Ok(Attempt::Wait(Wait::Room));
            }
            (Ok(()), Load::Many(messages)) => {
                state.writable = false;
                state.outbox.extend(messages.drain(taken..));
                Ok(())
            }
            (Err(number), load) => Err((number, load)),
        };
        state.waiters.first_writer_done();
        let others_wait = state.waiters.has_writer();
        let watched = if state.outbox.is_empty() { Ok(()) } else { self.watch(state) };
        drop(guard);
        if others_wait {
            self.let_next_writer(py);
        }
        watched.map_err(Failure::Os)?;
        if withheld {
            subject.call_method0(intern!(py, "_withheld")).map_err(Failure::Python)?;
        }
        match out {
            Ok(()) => Ok(Attempt::Ready(py.None())),
            Err((number, load)) => Err(self.refusal(py, &socket, number, load.messages().get(taken), (sent, count))),
        }
    }

    pub(super) fn send_descriptors(
        self: &Arc<Self>,
        py: Python<'_>,
        data: &Data,
        descriptors: &[OwnedFd],
    ) -> Result<Attempt, Failure> {
        let borrowed: Vec<BorrowedFd<'_>> = descriptors.iter().map(AsFd::as_fd).collect();
        let mut state = self.state();
        let state = &mut *state;
        let Some(socket) = state.socket.as_ref().filter(|_| !state.closing && !state.finished_sending) else {
            return Err(Failure::Closed);
        };
        if !state.outbox.is_empty() {
            return Ok(Attempt::Wait(Wait::Flushed));
        }
        match messages::send_one(socket.as_fd(), data.bytes(py), None, None, &borrowed) {
            Ok(()) => {
                state.counters.sent_messages += 1;
                state.counters.sent_bytes += data.bytes(py).len() as u64;
                Ok(Attempt::Ready(py.None()))
            }
            Err(Errno::AGAIN) => {
                state.writable = false;
                Ok(Attempt::Wait(Wait::Flushed))
            }
            Err(number) => Err(Failure::Os(number)),
        }
    }

    pub(super) fn send_eof(self: &Arc<Self>, py: Python<'_>) -> Result<Attempt, Failure> {
        let mut state = self.state();
        let state = &mut *state;
        let socket = state.socket.as_ref().filter(|_| !state.closing).ok_or(Failure::Closed)?;
        if !self.kind.ends() {
            return Err(Failure::Endless);
        }
        if !state.outbox.is_empty() {
            return Ok(Attempt::Wait(Wait::Flushed));
        }
        if !std::mem::replace(&mut state.finished_sending, true) {
            rustix::net::shutdown(socket, rustix::net::Shutdown::Write).map_err(Failure::Os)?;
            state.awaits_end = self.kind.ends_both_ways();
        }
        Ok(Attempt::Ready(py.None()))
    }

    /// Sends what waits in the outbox; what was sent comes back, to be dropped without the lock.
    pub(super) fn flush(&self, py: Python<'_>, state: &mut State) -> Vec<Queued> {
        if state.outbox.is_empty() {
            return Vec::new();
        }
        let Some(socket) = state.socket.clone() else { return Vec::new() };
        let mut queued: Vec<Queued> = state.outbox.drain(..).collect();
        let (mut gone, mut patience) = (0, RETRIES);
        while gone < queued.len() {
            let (taken, outcome) = self.hand_over(py, &socket, state, &mut queued[gone..]);
            gone += taken;
            let Err(number) = outcome else { break };
            // Their sender has been told that they are taken; who sends next is told that they are lost.
            let to = queued[gone].to.as_ref().map(|to| *to.name);
            state.send_failure.get_or_insert((number, to));
            if self.kind.ends() {
                gone = queued.len();
            } else if self.connected && is_passing(number) && patience > 0 {
                patience -= 1; // It was about an earlier message.
            } else {
                gone += advance(&mut queued[gone..], 1); // It is about this one: the others may get there.
            }
        }
        let rest = queued.split_off(gone);
        state.writable = rest.is_empty();
        state.outbox.extend(rest);
        queued
    }

    /// Gives the kernel what it takes of `queued`: how many of them it took wholly, and why no more (Ok: it has no room).
    fn hand_over(
        &self,
        py: Python<'_>,
        socket: &OwnedFd,
        state: &mut State,
        queued: &mut [Queued],
    ) -> (usize, Result<(), Errno>) {
        let mut taken = 0;
        let mut patience = RETRIES;
        while taken < queued.len() {
            let (number, run) = match self.hand_over_some(py, socket, state.segments, &queued[taken..]) {
                Ok((sent, bytes)) => {
                    taken += advance(&mut queued[taken..], sent);
                    state.counters.sent_messages += sent as u64;
                    state.counters.sent_bytes += bytes as u64;
                    state.budget.spend_message(bytes);
                    continue;
                }
                Err(refused) => refused,
            };
            state.budget.spend_message(0);
            match number {
                Errno::AGAIN => return (taken, Ok(())),
                Errno::INTR => {}
                // This path, or this kernel, knows no runs: one by one from now on.
                Errno::IO | Errno::INVAL | Errno::MSGSIZE if state.segments => state.segments = false,
                // The queue of an interface was full, and it is lost there (IP_RECVERR makes the kernel say so). No wait
                // would end: the socket has room, and the queue may be full of what others send.
                Errno::NOBUFS if self.kind.may_lose() => {
                    state.counters.unsent += run as u64;
                    taken += advance(&mut queued[taken..], run);
                }
                // What others told of an earlier message: it was not about this one (man 7 ip, IP_RECVERR).
                number if is_passing(number) && patience > 0 && !self.connected => patience -= 1,
                number => {
                    // Told once: the next receive would take it for an end.
                    state.reset |= self.kind.ends() && number == Errno::CONNRESET;
                    return (taken, Err(number));
                }
            }
        }
        (taken, Ok(()))
    }

    /// One system call: how many messages and bytes the kernel took; else why not, and how many the first was made of.
    fn hand_over_some(
        &self,
        py: Python<'_>,
        socket: &OwnedFd,
        segments: bool,
        queued: &[Queued],
    ) -> Result<(usize, usize), (Errno, usize)> {
        let refused = |number| (number, 1);
        if let (Some(first), true) = (queued.first(), self.kind.may_be_cut()) {
            return send_uncut(socket, first.bytes(py)).map(|()| (1, first.length)).map_err(refused);
        }
        if let [only @ Queued { segment_bytes: None, .. }] = queued {
            let sent = messages::send_one(socket.as_fd(), only.bytes(py), only.name(), only.from.as_ref(), &[]);
            return sent.map(|()| (1, only.length)).map_err(refused);
        }
        send_several(py, socket, segments, queued)
    }

    /// Takes out what must not be sent: answers to somebody who may not have asked. Says whether there were any.
    fn withhold(&self, py: Python<'_>, state: &mut State, load: &mut Load) -> bool {
        let mut peers = self.peers();
        let mut may_go = |queued: &Queued| {
            let Some(to) = &queued.to else { return true };
            peers.permit(to, queued.length, queued.asked, self.rules.answer_ratio, self.own_port) == Permission::Send
        };
        let withheld = match load {
            Load::One { permitted: true, .. } => 0,
            Load::One { message, .. } if may_go(message) => 0,
            Load::One { .. } => {
                *load = Load::Many(Vec::new());
                1
            }
            Load::Many(messages) => {
                let Some(first) = messages.iter().position(|queued| !may_go(queued)) else { return false };
                let mut withheld = 0;
                for queued in messages.split_off(first) {
                    if may_go(&queued) {
                        messages.push(queued);
                        continue;
                    }
                    // If all of a run may go, then each of it; else it is decided for each.
                    for one in queued.divided(py) {
                        if may_go(&one) {
                            messages.push(one);
                        } else {
                            withheld += 1;
                        }
                    }
                }
                withheld
            }
        };
        state.counters.withheld += withheld as u64;
        withheld > 0
    }

    /// Why a message could not be sent.
    fn refusal(
        &self,
        py: Python<'_>,
        socket: &OwnedFd,
        number: Errno,
        failed: Option<&Queued>,
        (sent, count): (usize, usize),
    ) -> Failure {
        let to = failed.and_then(|queued| queued.to.as_ref().map(|to| *to.name)).map(Box::new);
        if number == Errno::MSGSIZE {
            let bytes = failed.and_then(|queued| queued.apart(py).next()).map_or(0, <[u8]>::len);
            let found = messages::faults(socket.as_fd(), 4);
            let mtu = found.iter().map(|fault| fault.mtu).find(|mtu| *mtu > 0);
            return Failure::Oversize { bytes, most: mtu.map_or(0, |mtu| mtu as usize) };
        }
        let words = if count > 1 { format!("after {sent} of {count} messages") } else { String::new() };
        if is_passing(number) {
            // What was told of an earlier message of a connected socket; the queue knows by whom.
            self.take_faults(socket);
            let told = self.state().faults.pop_front();
            return told.unwrap_or(Failure::Unreachable { number, to, words });
        }
        match to {
            Some(_) => Failure::Unreachable { number, to, words },
            None => Failure::Os(number),
        }
    }

    /// After a writer is done (or gone): the next one may go on if there is room.
    pub(super) fn let_next_writer(&self, py: Python<'_>) {
        let next = {
            let state = self.state();
            if state.socket.is_some() && (!state.outbox.is_empty() || !state.writable) {
                return;
            }
            state.waiters.next_writer(py)
        };
        if let Some(next) = next.filter(|next| next.notify(py)) {
            self.resume_later(py, next);
        }
    }
}

/// Where the kernel may take a part of a message (net/vmw_vsock/af_vsock.c, vsock_connectible_sendmsg): without any room it takes
/// nothing, and that can be asked. Else what it says is "not now", and what is sent next would be joined to the part: that
/// must not happen, and the connection is over.
fn send_uncut(socket: &OwnedFd, data: &[u8]) -> Result<(), Errno> {
    let mut look = [PollFd::new(socket, PollFlags::OUT)];
    poll(&mut look, Some(&Timespec::default()))?;
    if look.iter().all(|look| look.revents().is_empty()) {
        return Err(Errno::AGAIN);
    }
    match messages::send_one(socket.as_fd(), data, None, None, &[]) {
        Err(Errno::AGAIN) => {
            let _ = rustix::net::shutdown(socket, rustix::net::Shutdown::Both);
            Err(Errno::NOBUFS)
        }
        outcome => outcome,
    }
}

/// Several by one system call, as `hand_over_some` tells of it.
fn send_several(
    py: Python<'_>,
    socket: &OwnedFd,
    segments: bool,
    queued: &[Queued],
) -> Result<(usize, usize), (Errno, usize)> {
    let mut outgoing = Outgoing::with_capacity(queued.len());
    // Of each that goes to the kernel as one: how many messages and bytes it is.
    let mut sizes = Vec::with_capacity(queued.len().min(messages::AT_ONCE));
    let mut rest = queued;
    while let Some(first) = rest.first().filter(|_| !outgoing.is_full()) {
        let (to, from) = (first.name(), first.from.as_ref());
        let together = match first.segment_bytes {
            None if segments => run(rest),
            None => 1,
            Some(_) if segments => {
                let count = first.count();
                let segment_bytes = first.segment_bytes.filter(|_| count > 1);
                outgoing.add(std::iter::once(first.bytes(py)), to, from, segment_bytes);
                sizes.push((count, first.left()));
                rest = &rest[1..];
                continue;
            }
            Some(_) => {
                for part in first.apart(py) {
                    if outgoing.is_full() {
                        break;
                    }
                    outgoing.add(std::iter::once(part), to, from, None);
                    sizes.push((1, part.len()));
                }
                rest = &rest[1..];
                continue;
            }
        };
        let (run, others) = rest.split_at(together);
        let segment_bytes = if together > 1 { u16::try_from(first.length).ok() } else { None };
        outgoing.add(run.iter().map(|queued| queued.bytes(py)), to, from, segment_bytes);
        sizes.push((together, run.iter().map(Queued::left).sum()));
        rest = others;
    }
    match outgoing.send(socket.as_fd()) {
        Ok(sent) => Ok(sizes.iter().take(sent).fold((0, 0), |sum, size| (sum.0 + size.0, sum.1 + size.1))),
        Err(number) => Err((number, sizes.first().map_or(1, |(messages, _)| *messages))),
    }
}

/// Notes that the first `messages` of `queued` are gone: how many of `queued` are gone wholly.
fn advance(queued: &mut [Queued], mut messages: usize) -> usize {
    for (place, first) in queued.iter_mut().enumerate() {
        let count = first.count();
        if messages < count {
            first.gone += messages;
            return place;
        }
        messages -= count;
    }
    queued.len()
}

/// What is told of a message that was taken and then refused by the kernel.
pub fn lost((number, to): (Errno, Option<Name>)) -> Failure {
    match to {
        Some(to) => {
            Failure::Unreachable { number, to: Some(Box::new(to)), words: "after it had waited for room".to_owned() }
        }
        None if is_passing(number) => Failure::Unreachable { number, to: None, words: String::new() },
        None => Failure::Os(number),
    }
}

/// How many of the first messages can go as one: equal in size but for a shorter last one, to one peer, in one packet's length.
fn run(queued: &[Queued]) -> usize {
    let Some(first) = queued.first() else { return 1 };
    let size = first.length;
    if size == 0 || size > LARGEST_SEGMENT {
        return 1;
    }
    let most = MOST_SEGMENTS.min(LARGEST_RUN / size).min(queued.len());
    for (place, next) in queued.iter().enumerate().take(most).skip(1) {
        let bytes = next.length;
        let same_peer = match (&first.to, &next.to) {
            (Some(a), Some(b)) => Arc::ptr_eq(&a.name, &b.name) || a.name == b.name,
            (None, None) => true,
            _ => false,
        };
        if !same_peer || next.from != first.from || next.segment_bytes.is_some() || bytes > size || bytes == 0 {
            return place;
        }
        if bytes < size {
            return place + 1;
        }
    }
    most.max(1)
}

/// Ends the reference to a peer's error after so many sends: it may have a new one for each.
const RETRIES: usize = 8;
/// An IPv4 packet's length without the headers.
const LARGEST_RUN: usize = 65_507;
/// Larger ones would need more than an Ethernet frame each, and the kernel refuses to cut them.
const LARGEST_SEGMENT: usize = 1472;
