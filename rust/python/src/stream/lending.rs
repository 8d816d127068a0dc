//! A stream in the relay's hands: what it gets, and what comes back. Under TLS it stays where it is, and the relay moves its bytes here.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Weak};

use pyo3::prelude::*;
use rustix::event::PollFlags;
use socketkit_engine::stream::Received;
use socketkit_engine::Errno;

use super::StreamShared;
use crate::failure::Failure;
use crate::relay::RelayShared;

/// A socket and what was done with it before.
pub struct Lent {
    pub fd: Arc<OwnedFd>,
    pub received: Vec<u8>,
    pub unsent: Vec<u8>,
    pub ended: bool,
    pub finished: bool,
}

/// What the relay did with it, and did not finish.
#[derive(Default)]
pub struct Returned {
    pub unsent: Vec<u8>,
    pub ended: bool,
    pub finished: bool,
    pub received_bytes: u64,
    pub sent_bytes: u64,
    pub broken: Option<Errno>,
}

/// A stream that may be relayed.
#[derive(Clone, Copy)]
pub struct Lendable {
    /// This side has ended its sending.
    pub finished: bool,
    /// It is under TLS: the relay thread moves what the kernel has, which is ciphertext.
    pub sealed: bool,
}

/// Whether a stream takes more.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Room {
    Some,
    None,
}

impl StreamShared {
    /// Whether it may be relayed now.
    pub fn lendable(&self) -> Result<Lendable, Failure> {
        let state = self.state();
        let engine = state.engine.as_ref().filter(|_| !state.closing).ok_or(Failure::Closed)?;
        // An end that is still on its way must go out behind what is queued, which the relay knows nothing of.
        let ending = engine.finished_sending() && !engine.flushed();
        if state.relayed.is_some() || !state.waiters.is_empty() || ending {
            return Err(Failure::Busy);
        }
        match engine.receive_failure().or(engine.send_failure()) {
            Some(failure) => Err(Failure::Os(failure)),
            None => Ok(Lendable { finished: engine.finished_sending(), sealed: engine.session().is_some() }),
        }
    }

    /// Lets `borrower` move its bytes where it is: until `take_back`, every other operation on it is refused.
    pub fn lend_here(self: &Arc<Self>, borrower: Weak<RelayShared>) -> Result<(), Errno> {
        let mut state = self.state();
        let state = &mut *state;
        state.relayed = Some(borrower);
        state.moved_here = true;
        self.watch(state)
    }

    /// The relay that moves its bytes here, if one does.
    pub fn moved_by(&self) -> Option<Arc<RelayShared>> {
        let state = self.state();
        state.relayed.as_ref().filter(|_| state.moved_here).and_then(Weak::upgrade)
    }

    /// Whether the relay thread has passed on something of a peer who counts as silent.
    pub fn heard_by_relay(self: &Arc<Self>) -> bool {
        let relay = {
            let state = self.state();
            let away = state.unproven && !state.moved_here;
            state.relayed.as_ref().filter(|_| away).and_then(Weak::upgrade)
        };
        relay.is_some_and(|relay| relay.has_heard(self))
    }

    /// Whether more may be put; the failure of one that can never be sent to again.
    pub fn room(&self) -> Result<Room, Errno> {
        let state = self.state();
        let engine = state.engine.as_ref().ok_or(Errno::PIPE)?;
        match engine.send_failure() {
            Some(failure) => Err(engine.receive_failure().unwrap_or(failure)),
            None if engine.has_room() => Ok(Room::Some),
            None => Ok(Room::None),
        }
    }

    /// Notes whether the relay waits for what its peer sends.
    pub fn listens(&self, listening: bool) {
        self.state().listening = listening;
    }

    /// What has arrived.
    pub fn pull(&self, into: &mut [u8]) -> Result<Received, Errno> {
        let (got, first) = {
            let mut state = self.state();
            let engine = state.engine.as_mut().ok_or(Errno::PIPE)?;
            let got = if engine.readable() { engine.receive(into)? } else { Received::Blocked };
            match got {
                Received::Data(_) => (got, state.proves()),
                Received::End => {
                    state.messages = true;
                    (got, false)
                }
                Received::Blocked => (got, false),
            }
        };
        self.tell_proven(first);
        Ok(got)
    }

    /// Sends `data`; only while there is room.
    pub fn put(self: &Arc<Self>, data: &[u8]) -> Result<(), Errno> {
        let mut state = self.state();
        let state = &mut *state;
        let engine = state.engine.as_mut().ok_or(Errno::PIPE)?;
        engine.send(data, || Box::new(data.to_vec()))?;
        // Whom the other side speaks to is served, whether it waits for an answer or not.
        state.messages = true;
        self.watch(state)
    }

    /// Nothing more will be sent to it. False if it could not be told, as it has gone: nothing that it was sent is lost by that, and what
    /// it sent before may be there still.
    pub fn end(self: &Arc<Self>) -> Result<bool, Errno> {
        let mut state = self.state();
        let state = &mut *state;
        let engine = state.engine.as_mut().ok_or(Errno::PIPE)?;
        engine.finish_sending();
        let told = engine.send_failure().is_none();
        self.watch(state).map(|()| told)
    }

    /// Whether the kernel has everything that was put.
    pub fn sent_all(&self) -> Result<bool, Errno> {
        let state = self.state();
        let engine = state.engine.as_ref().ok_or(Errno::PIPE)?;
        engine.send_failure().map_or_else(|| Ok(engine.flushed()), Err)
    }

    pub fn queued_to_send(&self) -> u64 {
        self.state().engine.as_ref().map_or(0, |engine| engine.unsent_bytes() as u64)
    }

    /// The failure of a stream whose end was received and that is not read any more.
    pub fn lost(&self) -> Option<Errno> {
        let state = self.state();
        let engine = state.engine.as_ref()?;
        rustix::net::sockopt::socket_error(engine.fd()).ok()?.err()
    }

    /// For a thread that moves alone: its socket, and what `poll` must tell of, if anything (an end that is known would be told for ever).
    pub fn poll_for_moving(&self) -> Option<(Arc<OwnedFd>, PollFlags)> {
        let state = self.state();
        let engine = state.engine.as_ref()?;
        let mut flags = PollFlags::empty();
        flags.set(PollFlags::IN, state.listening && !engine.received_end());
        flags.set(PollFlags::OUT, !engine.flushed());
        (!flags.is_empty()).then(|| (Arc::clone(engine.fd()), flags))
    }

    /// Hands it to `borrower`: until `take_back`, every operation on it is refused. What was received and not taken goes along only
    /// if `with_received`.
    pub fn lend(&self, borrower: Weak<RelayShared>, with_received: bool) -> Option<Lent> {
        let mut state = self.state();
        let state = &mut *state;
        let engine = state.engine.as_mut()?;
        let (received, unsent) = engine.take_queues();
        if !with_received {
            engine.inbox().push(&received);
        }
        let lent = Lent {
            fd: Arc::clone(engine.fd()),
            received: if with_received { received } else { Vec::new() },
            unsent,
            ended: engine.received_end(),
            finished: engine.finished_sending(),
        };
        if let (Some(reactor), Some((token, _))) = (&self.reactor, state.registration.take()) {
            // The tenant is this stream, which its caller holds: nothing is dropped under the lock.
            drop(reactor.get().deregister(token, lent.fd.as_fd()));
        }
        state.relayed = Some(borrower);
        Some(lent)
    }

    /// False if it was closed meanwhile.
    pub fn take_back(self: &Arc<Self>, py: Python<'_>, returned: Returned) -> bool {
        let closing = {
            let mut state = self.state();
            let state = &mut *state;
            state.relayed = None;
            state.moved_here = false;
            state.listening = false;
            let Some(engine) = state.engine.as_mut() else { return false };
            if let Some(failure) = returned.broken {
                engine.broken(failure);
            }
            engine.restore(
                returned.unsent,
                returned.ended,
                returned.finished,
                returned.received_bytes,
                returned.sent_bytes,
            );
            // Without a registration what is left goes out with the next operation.
            let _ = if state.closing { self.close_in_time(state) } else { self.watch(state) };
            state.closing
        };
        if closing {
            self.close_if_flushed(py);
        }
        !closing
    }
}
