//! Receiving: what was read too early first, then the kernel; what a caller does not take stays for the next one.

use std::cell::RefCell;
use std::os::fd::IntoRawFd;
use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyTuple};
use socketkit_engine::stream::{Received, Stream as Engine};
use socketkit_engine::Errno;

use super::{State, StreamShared, CHUNK_BYTES};
use crate::action::{Attempt, Wait};
use crate::budget::Budget;
use crate::failure::Failure;
use crate::large;
use crate::operation::OperationRef;

impl StreamShared {
    pub(super) fn receive(
        self: &Arc<Self>,
        py: Python<'_>,
        max_bytes: usize,
        me: &OperationRef,
        iterating: bool,
    ) -> Result<Attempt, Failure> {
        with_scratch(max_bytes, |scratch| {
            let mut large = None;
            let (got, done, first) = {
                let mut state = self.state();
                let state = &mut *state;
                let room = state.room.min(scratch.len());
                let (engine, budget) = state.receiving(me)?;
                let got = if !engine.readable() {
                    Received::Blocked
                } else if !budget.allows(self.turn(py)) {
                    return Ok(Attempt::Wait(Wait::NextTurn));
                } else if room > 0 && engine.reads_plainly() && large::possible(py) {
                    let mut got = Received::Blocked;
                    large = large::received(py, room, |room| {
                        got = engine.receive_uninit(room)?;
                        Ok(if let Received::Data(count) = got { count } else { 0 })
                    })
                    .map_err(Failure::Os)?;
                    got
                } else {
                    engine.receive(scratch).map_err(Failure::Os)?
                };
                if let Received::Data(count) = got {
                    budget.spend(count);
                    let had = if large.is_some() { room } else { scratch.len() };
                    state.room = large::next_room(count, had, scratch.len());
                }
                if got == Received::Blocked {
                    if self.must_come_again(state.engine.as_ref()) {
                        return Ok(Attempt::Wait(Wait::NextTurn));
                    }
                    return self.list_reader(py, state, me);
                }
                // An end proves nothing: whoever says no word but that is as silent as before.
                let first = matches!(got, Received::Data(_)) && state.proves();
                (got, state.waiters.take_reader(), first)
            };
            drop(done);
            self.tell_proven(first);
            match got {
                Received::Data(count) => {
                    let data = large.unwrap_or_else(|| PyBytes::new(py, &scratch[..count]).into_any().unbind());
                    Ok(Attempt::Ready(data))
                }
                _ => Err(if iterating { Failure::StopIteration } else { Failure::End { have: 0 } }),
            }
        })
    }

    /// Lists a receive that must wait while its lock is held anyway; one that blocks its thread is not listed.
    pub(super) fn list_reader(
        self: &Arc<Self>,
        py: Python<'_>,
        state: &mut State,
        me: &OperationRef,
    ) -> Result<Attempt, Failure> {
        if self.reactor.is_none() {
            return Ok(Attempt::Wait(Wait::Readable));
        }
        state.waiters.list_reader(py, me);
        self.watch(state).map_err(Failure::Os)?;
        Ok(Attempt::Wait(Wait::Listed))
    }

    pub(super) fn receive_exactly(&self, py: Python<'_>, count: usize, me: &OperationRef) -> Result<Attempt, Failure> {
        // Who was called may have named the number; who calls knows what he asks for.
        if count > self.rules.message_bytes && self.state().counted_by.is_some() {
            return Err(Failure::TooLarge { count, limit: self.rules.message_bytes });
        }
        self.receive_buffered(py, me, |engine| {
            if engine.inbox().len() >= count {
                let taken = engine.inbox().bytes()[..count].to_vec();
                engine.inbox().consume(count);
                return Ok(Some(taken));
            }
            Ok(None)
        })
    }

    pub(super) fn receive_until(
        &self,
        py: Python<'_>,
        delimiter: &[u8],
        max_bytes: usize,
        searched: &mut bool,
        me: &OperationRef,
    ) -> Result<Attempt, Failure> {
        self.receive_buffered(py, me, |engine| {
            let found = engine.inbox().find_end(delimiter, *searched);
            *searched = true;
            match found {
                Some(end) if end <= max_bytes => {
                    let taken = engine.inbox().bytes()[..end].to_vec();
                    engine.inbox().consume(end);
                    Ok(Some(taken))
                }
                Some(_) => Err(Failure::TooLong { max_bytes }),
                None if engine.inbox().len() >= max_bytes => Err(Failure::TooLong { max_bytes }),
                None => Ok(None),
            }
        })
    }

    /// Fills the inbox until `take` finds what it wants there. What it does not take stays for the next receive, whatever its kind.
    fn receive_buffered(
        &self,
        py: Python<'_>,
        me: &OperationRef,
        mut take: impl FnMut(&mut Engine) -> Result<Option<Vec<u8>>, Failure>,
    ) -> Result<Attempt, Failure> {
        let taken = with_scratch(CHUNK_BYTES, |scratch| -> Result<Result<Vec<u8>, Failure>, Hold> {
            let mut state = self.state();
            let (engine, budget) = state.receiving(me)?;
            loop {
                match take(engine) {
                    Ok(Some(taken)) => return Ok(Ok(taken)),
                    Ok(None) => {}
                    Err(failure) => return Ok(Err(failure)),
                }
                if !budget.allows(self.turn(py)) {
                    return Err(Wait::NextTurn.into());
                }
                match engine.fill(scratch) {
                    Ok(Received::Data(count)) => budget.spend(count),
                    Ok(Received::Blocked) if self.must_come_again(Some(engine)) => return Err(Wait::NextTurn.into()),
                    Ok(Received::Blocked) => return Err(Wait::Readable.into()),
                    Ok(Received::End) => return Ok(Err(Failure::End { have: engine.inbox().len() })),
                    Err(number) => return Ok(Err(Failure::Os(number))),
                }
            }
        });
        match taken {
            Ok(outcome) => {
                self.finished_receiving(outcome.is_ok());
                outcome.map(|taken| Attempt::Ready(PyBytes::new(py, &taken).into_any().unbind()))
            }
            Err(Hold::Wait(wait)) => Ok(Attempt::Wait(wait)),
            Err(Hold::Failed(failure)) => Err(failure),
        }
    }

    pub(super) fn receive_descriptors(
        &self,
        py: Python<'_>,
        max_bytes: usize,
        me: &OperationRef,
    ) -> Result<Attempt, Failure> {
        with_scratch(max_bytes, |scratch| {
            let (got, descriptors) = {
                let mut state = self.state();
                let (engine, _) = state.receiving(me)?;
                if !engine.readable() {
                    return Ok(Attempt::Wait(Wait::Readable));
                }
                engine.receive_descriptors(scratch).map_err(Failure::Os)?
            };
            match got {
                Received::Blocked => Ok(Attempt::Wait(Wait::Readable)),
                Received::Data(count) => {
                    self.finished_receiving(true);
                    let numbers: Vec<i32> = descriptors.into_iter().map(IntoRawFd::into_raw_fd).collect();
                    let data = PyBytes::new(py, &scratch[..count]);
                    let pair =
                        (data, numbers).into_pyobject(py).map(|pair: Bound<'_, PyTuple>| pair.into_any().unbind());
                    pair.map(Attempt::Ready).map_err(|_| Failure::Os(Errno::NOMEM))
                }
                Received::End => {
                    self.finished_receiving(false);
                    Err(Failure::End { have: 0 })
                }
            }
        })
    }

    /// Whether a receive that was blocked is worth a try in the next turn. A thread asks `poll` anyway.
    pub(super) fn must_come_again(&self, engine: Option<&Engine>) -> bool {
        self.reactor.is_some() && engine.is_some_and(Engine::left_unread)
    }

    fn finished_receiving(&self, whole: bool) {
        let (reader, first) = {
            let mut state = self.state();
            (state.waiters.take_reader(), whole && state.proves())
        };
        drop(reader);
        self.tell_proven(first);
    }
}

impl State {
    pub(super) fn receiving(&mut self, me: &OperationRef) -> Result<(&mut Engine, &mut Budget), Failure> {
        if self.relayed.is_some() || self.waiters.has_other_reader(me) {
            return Err(Failure::Busy);
        }
        let engine = self.engine.as_mut().filter(|_| !self.closing).ok_or(Failure::Closed)?;
        Ok((engine, &mut self.budget))
    }
}

/// Why an attempt does not end now.
pub(super) enum Hold {
    Wait(Wait),
    Failed(Failure),
}

impl From<Wait> for Hold {
    fn from(wait: Wait) -> Self {
        Hold::Wait(wait)
    }
}

impl From<Failure> for Hold {
    fn from(failure: Failure) -> Self {
        Hold::Failed(failure)
    }
}

/// Lends this thread's buffer: it is warm, and a fresh one of this size would be paid for in page faults at each call.
pub fn with_scratch<R>(length: usize, body: impl FnOnce(&mut [u8]) -> R) -> R {
    thread_local! {
        static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    }
    let length = length.min(CHUNK_BYTES);
    SCRATCH.with(|scratch| match scratch.try_borrow_mut() {
        Ok(mut scratch) => {
            if scratch.is_empty() {
                scratch.resize(CHUNK_BYTES, 0);
            }
            body(&mut scratch[..length])
        }
        Err(_) => body(&mut vec![0; length]),
    })
}
