//! Sending: all of what one call brings or nothing, in the order of the askers.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use pyo3::intern;
use pyo3::prelude::*;
use rustix::io::Errno;
use socketkit_engine::peers::Permission;
use socketkit_system::messages::{self, Name};

use super::faults::is_passing;
use super::queued::{Load, Queued};
use super::{MessageSocket, MessagesShared, State};
use crate::action::{Attempt, Wait};
use crate::failure::Failure;
use crate::operation::OperationRef;
use crate::stream::Data;

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
        let out = match (outcome, &mut *load) {
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
            (Err(number), _) => Err(number),
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
            Ok(()) => {
                load.release(py);
                Ok(Attempt::Ready(py.None()))
            }
            Err(number) => Err(self.refusal(py, &socket, number, load.messages().get(taken), (sent, count))),
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

    /// Takes out what must not be sent: answers to somebody who may not have asked. Says whether there were any.
    fn withhold(&self, py: Python<'_>, state: &mut State, load: &mut Load) -> bool {
        let mut peers = self.peers();
        let mut permit = |queued: &Queued| {
            let Some(to) = &queued.to else { return Permission::Send };
            peers.permit(to, queued.length, queued.asked, self.rules.answer_ratio, self.own_port)
        };
        let withheld = match load {
            Load::One { permitted: true, .. } => 0,
            Load::One { message, .. } if permit(message) == Permission::Send => 0,
            Load::One { .. } => {
                *load = Load::Many(Vec::new());
                1
            }
            Load::Many(messages) => {
                let refused = |(place, queued)| match permit(queued) {
                    Permission::Send => None,
                    refusal => Some((place, refusal)),
                };
                let Some((first, refusal)) = messages.iter().enumerate().find_map(refused) else { return false };
                let (mut withheld, mut refusal) = (0, Some(refusal));
                for queued in messages.split_off(first) {
                    match refusal.take().unwrap_or_else(|| permit(&queued)) {
                        Permission::Send => messages.push(queued),
                        Permission::Break => withheld += queued.count(),
                        // If all of a run may go, then each of it; else it is decided for each.
                        Permission::Withhold => {
                            for one in queued.divided(py) {
                                if permit(&one) == Permission::Send {
                                    messages.push(one);
                                } else {
                                    withheld += 1;
                                }
                            }
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
