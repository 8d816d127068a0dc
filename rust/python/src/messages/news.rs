//! Who waits for what, and the news of it: from the reactor, or from `poll` in a thread that blocks.

use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pyo3::prelude::*;
use rustix::event::PollFlags;
use socketkit_engine::reactor::{Interest, Readiness};

use super::kind::Kind;
use super::{sending, MessageSocket, MessagesShared, State};
use crate::action::{Attempt, Wait};
use crate::blocking::Watch;
use crate::failure::{os_error, Failure};
use crate::operation::OperationRef;
use crate::reactor::Tenant;

impl MessagesShared {
    pub(super) fn connected(&self, py: Python<'_>) -> Result<Attempt, Failure> {
        let mut state = self.state();
        let state = &mut *state;
        let socket = state.socket.as_ref().ok_or(Failure::Closed)?;
        if !state.writable {
            return Ok(Attempt::Wait(Wait::Flushed));
        }
        match rustix::net::sockopt::socket_error(socket).map_err(Failure::Os)? {
            Ok(()) => Ok(Attempt::Ready(py.None())),
            Err(number) => Err(Failure::Os(number)),
        }
    }

    /// News from the reactor: what can be flushed is; whoever can go on is added to `woken`.
    pub fn on_ready(self: &Arc<Self>, py: Python<'_>, news: Readiness, woken: &mut Vec<OperationRef>) {
        let closing = {
            let mut state = self.state();
            let state = &mut *state;
            if state.socket.is_none() {
                return;
            }
            state.hear(news);
            let flushed = if state.writable { self.flush(py, state) } else { Vec::new() };
            drop(flushed);
            if state.readable || state.to_the_end {
                state.waiters.wake_reader(py, woken);
            }
            if state.writable && state.outbox.is_empty() {
                state.waiters.wake_writer(py, woken);
                state.waiters.wake_flushers(py, woken);
            }
            let wanted = state.interest();
            if wanted == Interest::Read {
                let _ = self.set_interest(state, Interest::Read);
            }
            state.closing
        };
        if closing {
            self.close_if_flushed(py);
        }
    }

    /// The time for closing in good order is over.
    pub fn on_timer(&self) {
        if self.state().closing {
            Python::attach(|py| self.abort(py));
        }
    }

    pub fn enlist(self: &Arc<Self>, py: Python<'_>, me: &OperationRef, wait: Wait, again: bool) -> PyResult<()> {
        let mut state = self.state();
        state.waiters.enlist(py, me, wait, again);
        self.watch(&mut state).map_err(os_error)
    }

    pub fn dismiss(&self, py: Python<'_>, me: &OperationRef) {
        self.state().waiters.dismiss(me);
        self.let_next_writer(py);
    }

    pub fn forget_waiters(&self) {
        let waiters = std::mem::take(&mut self.state().waiters);
        drop(waiters);
    }

    /// For a thread that blocks: what `poll` must tell of.
    pub fn poll_for(&self, wait: Wait) -> Watch {
        let state = self.state();
        let Some(socket) = state.socket.as_ref() else { return Watch::over() };
        let mut flags = if wait == Wait::Readable { PollFlags::IN } else { PollFlags::OUT };
        if !state.outbox.is_empty() {
            flags |= PollFlags::OUT;
        }
        // SCTP tells of room while it has none for a message (net/sctp/socket.c: sctp_writeable looks at less than
        // sctp_wspace does): asking would be a busy loop.
        let again = self.kind == Kind::Sctp && (flags.contains(PollFlags::OUT) || state.awaits_end);
        if again {
            flags.remove(PollFlags::OUT);
        }
        let again = again.then(|| Instant::now() + ASK_AGAIN);
        let until = state.closes_until.into_iter().chain(state.due(&self.rules)).chain(again).min();
        Watch { sources: vec![(Arc::clone(socket) as _, flags)], until }
    }

    /// What `poll` said, in the reactor's words; `me` is no longer only waiting for it.
    pub fn note(&self, me: Option<&OperationRef>, news: &[PollFlags]) {
        let mut guard = self.state();
        let state = &mut *guard;
        if let Some(me) = me {
            state.waiters.dismiss_flusher(me);
        }
        if let Some(ending) = state.check_alone(&self.rules) {
            let offence = state.offence(ending);
            drop(guard);
            if let Some((listener, place, offence)) = offence {
                listener.offended(place, offence);
            }
            return;
        }
        state.readable |= state.awaits_end;
        let Some(news) = news.first() else { return };
        let broken = news.intersects(PollFlags::HUP | PollFlags::ERR);
        state.hear(Readiness {
            readable: broken || news.contains(PollFlags::IN),
            writable: broken || news.contains(PollFlags::OUT),
            to_the_end: broken,
        });
        let sent = if state.writable { Python::attach(|py| self.flush(py, state)) } else { Vec::new() };
        drop(guard);
        drop(sent);
    }

    pub fn unflushed(&self) -> bool {
        let state = self.state();
        state.socket.is_some() && !state.outbox.is_empty()
    }

    /// After a send that blocked: whether what it took got out.
    pub fn fate(&self, subject: &Bound<'_, MessageSocket>) -> PyResult<()> {
        let failure = {
            let mut state = self.state();
            match &state.socket {
                Some(_) => state.send_failure.take().map(sending::lost),
                None => (!state.outbox.is_empty()).then_some(Failure::Closed),
            }
        };
        failure.map_or(Ok(()), |failure| Err(self.reason(failure).into_exception(subject.as_any(), "send")))
    }

    /// Lets the reactor tell of what this socket may wait for.
    pub(super) fn watch(self: &Arc<Self>, state: &mut State) -> Result<(), rustix::io::Errno> {
        let wanted = state.interest();
        let Some(socket) = &state.socket else { return Ok(()) };
        match state.registration {
            None => {
                if let Some(reactor) = &self.reactor {
                    let tenant = Tenant::Messages(Arc::clone(self));
                    state.registration = Some((reactor.get().register(tenant, socket.as_fd(), wanted)?, wanted));
                }
                Ok(())
            }
            Some((_, Interest::Read)) if wanted == Interest::ReadWrite => self.set_interest(state, wanted),
            Some(_) => Ok(()),
        }
    }

    pub(super) fn set_interest(&self, state: &mut State, interest: Interest) -> Result<(), rustix::io::Errno> {
        if let (Some(reactor), Some(socket), Some((token, now))) =
            (&self.reactor, &state.socket, &mut state.registration)
        {
            if *now != interest {
                reactor.get().change(*token, socket.as_fd(), interest)?;
                *now = interest;
            }
        }
        Ok(())
    }
}

impl State {
    pub(super) fn hear(&mut self, news: Readiness) {
        self.readable |= news.readable || self.awaits_end;
        self.writable |= news.writable;
        self.to_the_end |= news.to_the_end;
    }

    /// Only who waits for room is told of it: a socket that sends has room again after every message.
    pub(super) fn interest(&self) -> Interest {
        let waits = !self.outbox.is_empty() || self.waiters.want_room();
        if (waits && !self.writable) || self.awaits_end {
            Interest::ReadWrite
        } else {
            Interest::Read
        }
    }
}

/// Where nobody says when there is room.
const ASK_AGAIN: Duration = Duration::from_millis(5);
