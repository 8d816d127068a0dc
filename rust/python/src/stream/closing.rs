//! Ending: in good order and in time, or at once.

use std::os::fd::AsFd;
use std::sync::{Arc, Weak};
use std::time::Instant;

use pyo3::prelude::*;
use socketkit_engine::stream::Stream as Engine;
use socketkit_engine::Errno;

use super::receiving::with_scratch;
use super::records::put_close;
use super::{State, StreamShared, CHUNK_BYTES};
use crate::action::{Attempt, Wait};
use crate::failure::Failure;
use crate::listener::Listener;

impl StreamShared {
    /// `records`: with the close record before the end.
    pub(super) fn close(self: &Arc<Self>, py: Python<'_>, records: bool) -> Result<Attempt, Failure> {
        let mut relay = None;
        let others = {
            let mut state = self.state();
            let state = &mut *state;
            let Some(engine) = state.engine.as_mut() else {
                return Ok(Attempt::Ready(py.None()));
            };
            if std::mem::replace(&mut state.closing, true) {
                Vec::new()
            } else {
                if self.reactor.is_none() {
                    state.closes_until = Instant::now().checked_add(self.rules.close_patience);
                    if state.waiters.has_reader() {
                        engine.shut_receiving(); // It may be in another thread's `poll`.
                    }
                }
                engine.file_over();
                if records {
                    put_close(engine);
                }
                engine.end_sealed();
                engine.flush();
                relay = state.relayed.as_ref().and_then(Weak::upgrade);
                if relay.is_none() {
                    self.close_in_time(state).map_err(Failure::Os)?;
                }
                let mut others = state.waiters.take_stranded(py);
                others.retain(|other| other.notify(py));
                others
            }
        };
        if let Some(relay) = relay {
            relay.stop(py); // What it gives back is sent before the end.
        }
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

    /// Has what is queued sent before a closing stream is closed, or the stream reset when that takes too long.
    pub(super) fn close_in_time(self: &Arc<Self>, state: &mut State) -> Result<(), Errno> {
        let unsent = state.engine.as_ref().is_some_and(|engine| !engine.flushed() && engine.send_failure().is_none());
        if unsent {
            self.watch(state)?;
            if let (Some(reactor), Some((token, _))) = (&self.reactor, state.registration) {
                reactor.get().set_timer(self.rules.close_patience, token)?;
            }
        }
        Ok(())
    }

    /// Closes a closing stream if nothing is left to send.
    pub(super) fn close_if_flushed(&self, py: Python<'_>) -> bool {
        let done = {
            let state = self.state();
            match &state.engine {
                None => return true,
                Some(engine) => {
                    let sent = engine.flushed() || engine.send_failure().is_some();
                    state.closing && sent && state.relayed.is_none()
                }
            }
        };
        if done {
            if let Some(mut engine) = self.close_now(py) {
                with_scratch(CHUNK_BYTES, |scratch| engine.drain_before_close(scratch));
                engine.shut_for_others();
            }
        }
        done
    }

    pub fn abort(&self, py: Python<'_>) {
        let relay = self.state().relayed.take().and_then(|relay| relay.upgrade());
        let stranded = {
            let mut state = self.state();
            if let Some(engine) = state.engine.as_mut() {
                drop(engine.reset());
                state.aborted = true;
            }
            state.waiters.take_stranded(py)
        };
        if let Some(engine) = self.close_now(py) {
            // To the relay it would look like an end, to be passed on.
            if relay.is_none() {
                engine.cut_for_others();
            }
        }
        if let Some(relay) = relay {
            relay.stop(py);
        }
        for waiting in stranded {
            if waiting.notify(py) {
                self.resume_later(py, waiting);
            }
        }
    }

    /// Takes the socket out of everything; what comes back closes it when dropped.
    pub(super) fn close_now(&self, py: Python<'_>) -> Option<Engine> {
        let (engine, tenant, counted_by, flushers) = {
            let mut state = self.state();
            let engine = state.engine.take()?;
            state.totals = (engine.received_bytes(), engine.sent_bytes());
            state.parted = super::agreed(&engine);
            state.closing = true;
            let tenant = match (&self.reactor, state.registration.take()) {
                (Some(reactor), Some((token, _))) => reactor.get().deregister(token, engine.fd().as_fd()),
                _ => None,
            };
            (engine, tenant, state.counted_by.take(), state.waiters.take_flushers())
        };
        drop(tenant);
        for flusher in flushers {
            if flusher.notify(py) {
                self.resume_later(py, flusher);
            }
        }
        if let Some((listener, place)) = counted_by {
            Listener::released(listener.bind(py), place);
        }
        Some(engine)
    }
}
