//! Receiving: from the inbox, which is filled by one system call whenever it is empty and somebody asks.

use std::cell::Cell;
use std::collections::VecDeque;
use std::os::fd::{AsFd, AsRawFd, IntoRawFd, OwnedFd};
use std::sync::Arc;

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList};
use rustix::io::Errno;
use socketkit_system::messages::{self, faults, Batch, Fault, Local, Marks, Message, Name, Origin};

use super::datagram::{Arrival, Datagram};
use super::run::{Part, Parts, Run};
use super::{Kind, MessageSocket, MessagesShared, State};
use crate::action::{Attempt, Wait};
use crate::failure::Failure;
use crate::operation::OperationRef;
use socketkit_engine::peers::Known;

/// What a receive asks for.
#[derive(Clone, Copy)]
pub enum Want {
    One { max_bytes: usize },
    Many { max_count: usize },
    Descriptors,
}

/// What has come.
pub enum Item {
    One(One),
    /// Several, of which objects are made when they are asked for.
    Run(Parts),
}

/// A message, as the application will get it.
pub struct One {
    /// Bytes, or a Datagram.
    message: Py<PyAny>,
    bytes: usize,
    descriptors: Vec<OwnedFd>,
    descriptors_lost: bool,
}

/// The parts that have come of a message.
#[derive(Default)]
pub struct Joined {
    data: Vec<u8>,
    length: usize,
}

/// What an attempt found before it asked the kernel.
enum Found {
    One(One),
    Part(Part),
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
                Ok(Found::One(one)) => return self.deliver(py, want, one),
                Ok(Found::Part(part)) => return self.deliver(py, want, One::part(py, part)?),
                Ok(Found::Items(items)) => {
                    let list = listed(py, items).map_err(Failure::Python)?;
                    return Ok(Attempt::Ready(list.into_any().unbind()));
                }
                Ok(Found::Ask(socket)) => socket,
                Err(wait) => return Ok(Attempt::Wait(wait)),
            };
            self.fill(subject, &socket, want)?;
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
        let (found, count, bytes) = if let Want::Many { max_count } = want {
            let items = take(&mut state.inbox, max_count);
            let (count, bytes) = (items.iter().map(Item::count).sum(), items.iter().map(Item::bytes).sum());
            (Found::Items(items), count, bytes)
        } else {
            let Some((found, bytes)) = take_one(&mut state.inbox) else { return Ok(Err(Wait::NextTurn)) };
            (found, 1, bytes)
        };
        state.counters.received_messages += count as u64;
        state.counters.received_bytes += bytes as u64;
        let first = std::mem::replace(&mut state.unproven, false);
        let reader = state.waiters.take_reader();
        drop(guard);
        drop(reader);
        self.tell_proven(first);
        Ok(Ok(found))
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
                let fds: Vec<i32> = item.descriptors.iter().map(AsRawFd::as_raw_fd).collect();
                let made = (item.message, fds, item.descriptors_lost).into_pyobject(py).map(Bound::into_any);
                if made.is_ok() {
                    // They are the caller's now.
                    for descriptor in item.descriptors {
                        let _ = descriptor.into_raw_fd();
                    }
                }
                made
            }
        };
        given.map(|given| Attempt::Ready(given.unbind())).map_err(Failure::Python)
    }

    /// Asks the kernel once.
    fn fill(self: &Arc<Self>, subject: &Bound<'_, MessageSocket>, socket: &OwnedFd, want: Want) -> Result<(), Failure> {
        let (slots, slot_bytes) = self.kind.room();
        let count = match want {
            Want::Many { max_count } => max_count.min(slots),
            Want::One { .. } | Want::Descriptors => slots,
        };
        with_batch(slots, slot_bytes, |batch| {
            let got = match batch.receive(socket.as_fd(), count, self.kind.is_unix()) {
                Ok(got) => got,
                Err(Errno::AGAIN) => return self.nothing_there(subject, socket),
                Err(Errno::INTR) => return Ok(()),
                Err(number) => return self.troubled(subject, socket, number),
            };
            let mut came = Vec::with_capacity(got);
            let (mut ended, mut trouble) = (false, None);
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
                    self.convert(subject, &message, &mut came).and_then(|joined| {
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
            let mut state = self.state();
            // What one system call brings is one attempt, however many ask for it.
            state.budget.spend(came.iter().map(Item::bytes).sum());
            state.ended |= ended;
            if got < count && !state.to_the_end && !self.kind.ends_both_ways() {
                state.readable = false;
            }
            state.inbox.extend(came);
            state.faults.extend(trouble);
            Ok(())
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

    /// The kernel had an error instead of messages: of an earlier message, told by somebody on the way, or of this socket.
    fn troubled(&self, subject: &Bound<'_, MessageSocket>, socket: &OwnedFd, number: Errno) -> Result<(), Failure> {
        if self.read_faults(subject, socket)? > 0 {
            return Ok(());
        }
        if self.kind.ends() && number == Errno::CONNRESET {
            // The kernel tells it once, and before what the peer had sent until then: that is still to be received.
            let mut state = self.state();
            state.ended |= std::mem::replace(&mut state.reset, true);
            return Ok(());
        }
        if is_passing(number) && !self.connected {
            self.state().counters.unreachable += 1;
            return Ok(());
        }
        let reader = self.state().waiters.take_reader();
        drop(reader);
        if is_passing(number) && !self.kind.ends() {
            return Err(Failure::Unreachable { number, to: None, words: String::new() });
        }
        Err(Failure::Os(number))
    }

    /// Takes what the error queue has: how much there was.
    pub(super) fn read_faults(&self, _subject: &Bound<'_, MessageSocket>, socket: &OwnedFd) -> Result<usize, Failure> {
        if self.kind.is_unix() || self.kind.ends() {
            return Ok(0);
        }
        Ok(self.take_faults(socket))
    }

    pub(super) fn take_faults(&self, socket: &OwnedFd) -> usize {
        let found = faults(socket.as_fd(), FAULTS_AT_ONCE);
        for fault in &found {
            self.note_fault(fault);
        }
        found.len()
    }

    fn note_fault(&self, fault: &Fault) {
        if fault.origin == Origin::Local {
            return; // The send that met it says so.
        }
        let told = self.connected || fault.to.as_ref().is_some_and(|to| self.peers().was_called(to));
        let mut state = self.state();
        if !told || state.faults.len() >= FAULTS_AT_ONCE {
            state.counters.unreachable += 1;
            return;
        }
        let failure = Failure::Unreachable {
            number: Errno::from_raw_os_error(fault.errno),
            to: fault.to.map(Box::new),
            words: words(fault),
        };
        state.faults.push_back(failure);
    }

    /// Makes of a message what the application gets. Of a long run that the kernel has joined, it says the size of its parts and what is
    /// known of them.
    fn convert(
        &self,
        subject: &Bound<'_, MessageSocket>,
        message: &Message<'_>,
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
            let mut descriptors = marks.descriptors;
            for part in parts(data, marks.segment_bytes) {
                into.push(Item::One(One {
                    message: PyBytes::new(py, part).into_any().unbind(),
                    bytes: part.len(),
                    descriptors: std::mem::take(&mut descriptors),
                    descriptors_lost: marks.descriptors_lost,
                }));
            }
            return Ok(None);
        }
        let arrival = self.arrival(subject, message, &marks, data.len()).map_err(Failure::Python)?;
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

    /// What is known of a datagram, or of several of `bytes` together that came as one.
    fn arrival(
        &self,
        subject: &Bound<'_, MessageSocket>,
        message: &Message<'_>,
        marks: &Marks,
        bytes: usize,
    ) -> PyResult<Arrival> {
        let (peer, came_from) = self.endpoint(subject, message.from, bytes)?;
        let local = match &marks.local {
            Some(local) => self.local_endpoint(subject, local)?,
            None => self.own_endpoint(subject)?,
        };
        Ok(Arrival {
            peer,
            local,
            truncated: message.truncated,
            ecn: marks.ecn,
            timestamp_ns: marks.timestamp_ns,
            came_to: marks.local,
            came_from: came_from.map(|known| (self.id, known)),
        })
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
        into.push(Item::One(One {
            message: PyBytes::new(py, data).into_any().unbind(),
            bytes: length,
            descriptors: Vec::new(),
            descriptors_lost: false,
        }));
        Ok(())
    }

    /// The endpoint of who sent `bytes`: made by Python once, then kept.
    fn endpoint(
        &self,
        subject: &Bound<'_, MessageSocket>,
        raw: &[u8],
        bytes: usize,
    ) -> PyResult<(Py<PyAny>, Option<Known>)> {
        let py = subject.py();
        if let Some((endpoint, known)) = self.peers().heard(raw, bytes) {
            return Ok((endpoint.clone_ref(py), Some(known)));
        }
        let made = subject.call_method1(intern!(py, "_named"), (PyBytes::new(py, raw),))?.unbind();
        let known = if made.is_none(py) {
            None
        } else {
            self.peers().learn(raw, made.clone_ref(py), made.as_ptr() as usize, bytes)
        };
        Ok((made, known))
    }

    fn local_endpoint(&self, subject: &Bound<'_, MessageSocket>, local: &Local) -> PyResult<Py<PyAny>> {
        let py = subject.py();
        let known = self.locals().iter().find(|(known, _)| known == local).map(|(_, endpoint)| endpoint.clone_ref(py));
        if let Some(known) = known {
            return Ok(known);
        }
        let address = local.address.to_string();
        let made = subject.call_method1(intern!(py, "_located"), (address, local.interface, self.own_port))?.unbind();
        let mut locals = self.locals();
        if locals.len() < MOST_LOCALS {
            locals.push((*local, made.clone_ref(py)));
        }
        Ok(made)
    }

    fn own_endpoint(&self, subject: &Bound<'_, MessageSocket>) -> PyResult<Py<PyAny>> {
        let py = subject.py();
        if let Some(known) = self.own_endpoint.get() {
            return Ok(known.clone_ref(py));
        }
        let made = subject.getattr(intern!(py, "local"))?.unbind();
        let _ = self.own_endpoint.set(made.clone_ref(py));
        Ok(made)
    }
}

impl One {
    fn alone(py: Python<'_>, data: &[u8], arrival: Arrival) -> Result<Self, Failure> {
        Self::of(py, data.len(), Datagram::Alone { data: PyBytes::new(py, data).unbind(), arrival })
    }

    fn part(py: Python<'_>, part: Part) -> Result<Self, Failure> {
        Self::of(py, part.bytes(), Datagram::Part(part))
    }

    fn of(py: Python<'_>, bytes: usize, datagram: Datagram) -> Result<Self, Failure> {
        let message = datagram.into_object(py).map_err(Failure::Python)?;
        Ok(Self { message, bytes, descriptors: Vec::new(), descriptors_lost: false })
    }
}

impl Item {
    fn count(&self) -> usize {
        match self {
            Item::One(_) => 1,
            Item::Run(parts) => parts.len(),
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Item::One(one) => one.bytes,
            Item::Run(parts) => parts.bytes(),
        }
    }
}

/// At most `max_count` messages. What came joined is not parted for a few more: it is sent as one again.
fn take(inbox: &mut VecDeque<Item>, max_count: usize) -> Vec<Item> {
    if let Some(Item::Run(parts)) = inbox.front_mut() {
        if let Some(rest) = parts.split_off(max_count) {
            inbox.insert(1, Item::Run(rest));
        }
    }
    let mut count = 0;
    let fits = inbox.iter().take_while(|item| {
        count += item.count();
        count <= max_count
    });
    let fits = fits.count();
    inbox.drain(..fits).collect()
}

/// One message, and its size.
fn take_one(inbox: &mut VecDeque<Item>) -> Option<(Found, usize)> {
    let Some(Item::Run(parts)) = inbox.front_mut() else {
        let Item::One(one) = inbox.pop_front()? else { return None };
        let bytes = one.bytes;
        return Some((Found::One(one), bytes));
    };
    let part = parts.next();
    if parts.len() == 0 {
        inbox.pop_front();
    }
    part.map(|part| {
        let bytes = part.bytes();
        (Found::Part(part), bytes)
    })
}

/// The messages as objects.
fn listed(py: Python<'_>, items: Vec<Item>) -> PyResult<Bound<'_, PyList>> {
    let mut messages = Vec::with_capacity(items.iter().map(Item::count).sum());
    for item in items {
        match item {
            Item::One(one) => messages.push(one.message),
            Item::Run(parts) => {
                for part in parts {
                    messages.push(Datagram::Part(part).into_object(py)?);
                }
            }
        }
    }
    PyList::new(py, messages)
}

/// An error that concerns a message that was sent, not the socket.
pub(super) fn is_passing(number: Errno) -> bool {
    matches!(
        number,
        Errno::CONNREFUSED
            | Errno::HOSTUNREACH
            | Errno::NETUNREACH
            | Errno::HOSTDOWN
            | Errno::PROTO
            | Errno::NOPROTOOPT
    )
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

/// "port unreachable, says 192.0.2.1"
fn words(fault: &Fault) -> String {
    let what = match (fault.origin, fault.kind, fault.code) {
        (Origin::Icmp, 3, 0) => "network unreachable",
        (Origin::Icmp, 3, 1) | (Origin::Icmp6, 1, 3) => "host unreachable",
        (Origin::Icmp, 3, 2) => "protocol unreachable",
        (Origin::Icmp, 3, 3) | (Origin::Icmp6, 1, 4) => "nobody listens on that port",
        (Origin::Icmp, 3, 4) | (Origin::Icmp6, 2, _) => "too large for a link on the way",
        (Origin::Icmp, 3, 9 | 10 | 13) | (Origin::Icmp6, 1, 1 | 5) => "administratively prohibited",
        (Origin::Icmp, 3, _) | (Origin::Icmp6, 1, _) => "unreachable",
        (Origin::Icmp, 11, _) | (Origin::Icmp6, 3, _) => "its hops were used up on the way",
        _ => "it was not delivered",
    };
    let mtu = if fault.mtu > 0 { format!(" (the path takes {} bytes)", fault.mtu) } else { String::new() };
    match fault.offender.as_ref().and_then(address) {
        Some(address) => format!("{what}{mtu}, says {address}"),
        None => format!("{what}{mtu}"),
    }
}

fn address(name: &Name) -> Option<std::net::IpAddr> {
    let raw = name.bytes();
    match raw.len() {
        16 => <[u8; 4]>::try_from(raw.get(4..8)?).ok().map(std::net::IpAddr::from),
        28 => <[u8; 16]>::try_from(raw.get(8..24)?).ok().map(|bytes| std::net::Ipv6Addr::from(bytes).to_canonical()),
        _ => None,
    }
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

const FAULTS_AT_ONCE: usize = 16;
const MOST_LOCALS: usize = 64;
