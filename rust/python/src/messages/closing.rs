//! Ending: what waits is sent, in time; or at once.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Instant;

use pyo3::prelude::*;

use super::{MessagesShared, State};
use crate::action::{Attempt, Wait};
use crate::failure::Failure;
use crate::listener::Listener;

impl MessagesShared {
    pub(super) fn close(self: &Arc<Self>, py: Python<'_>) -> Result<Attempt, Failure> {
        let (others, sent) = {
            let mut state = self.state();
            let state = &mut *state;
            if state.socket.is_none() {
                return Ok(Attempt::Ready(py.None()));
            }
            if std::mem::replace(&mut state.closing, true) {
                (Vec::new(), Vec::new())
            } else {
                if self.reactor.is_none() {
                    state.closes_until = Instant::now().checked_add(self.rules.close_patience);
                }
                let sent = self.flush(py, state);
                self.wake_pollers(state);
                if !state.outbox.is_empty() {
                    self.watch(state).map_err(Failure::Os)?;
                    if let (Some(reactor), Some((token, _))) = (&self.reactor, state.registration) {
                        reactor.get().set_timer(self.rules.close_patience, token).map_err(Failure::Os)?;
                    }
                }
                let mut others = state.waiters.take_stranded(py);
                others.retain(|other| other.notify(py));
                (others, sent)
            }
        };
        drop(sent);
        for other in others {
            self.resume_later(py, other);
        }
        if self.close_if_flushed(py) {
            return Ok(Attempt::Ready(py.None()));
        }
        if self.state().closes_until.is_some_and(|until| until <= Instant::now()) {
            self.abort(py);
            return Ok(Attempt::Ready(py.None()));
        }
        Ok(Attempt::Wait(Wait::Flushed))
    }

    /// Closes a closing socket if nothing is left to send.
    pub(super) fn close_if_flushed(&self, py: Python<'_>) -> bool {
        let done = {
            let state = self.state();
            if state.socket.is_none() {
                return true;
            }
            state.closing && state.outbox.is_empty()
        };
        if done {
            drop(self.close_now(py));
        }
        done
    }

    pub fn abort(&self, py: Python<'_>) {
        let waiting = {
            let mut state = self.state();
            self.wake_pollers(&state);
            state.waiters.take_stranded(py)
        };
        drop(self.close_now(py));
        for waiting in waiting {
            if waiting.notify(py) {
                self.resume_later(py, waiting);
            }
        }
    }

    /// Takes the socket out of everything; it is closed when what comes back is dropped.
    pub(super) fn close_now(&self, py: Python<'_>) -> Option<Arc<OwnedFd>> {
        let (socket, tenant, counted_by, flushers, kept) = {
            let mut state = self.state();
            let socket = state.socket.take()?;
            state.counters.dropped = socketkit_system::messages::dropped(socket.as_fd());
            state.closing = true;
            let tenant = match (&self.reactor, state.registration.take()) {
                (Some(reactor), Some((token, _))) => reactor.get().deregister(token, socket.as_fd()),
                _ => None,
            };
            let kept = std::mem::take(&mut state.inbox);
            (socket, tenant, state.counted_by.take(), state.waiters.take_flushers(), kept)
        };
        drop((tenant, kept));
        for flusher in flushers {
            if flusher.notify(py) {
                self.resume_later(py, flusher);
            }
        }
        if let Some((listener, place)) = counted_by {
            Listener::released(listener.bind(py), place);
        }
        Some(socket)
    }

    /// A thread may be in `poll` for it, which closing does not end. Only if one is, and only the receiving half: other processes may
    /// have the same socket.
    fn wake_pollers(&self, state: &State) {
        if let (None, Some(socket), false) = (&self.reactor, &state.socket, state.waiters.is_empty()) {
            let _ = rustix::net::shutdown(socket, rustix::net::Shutdown::Read);
        }
    }
}
