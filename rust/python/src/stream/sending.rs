//! Sending: all of it or nothing, in the order of the askers.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use pyo3::prelude::*;
use socketkit_engine::files::{Part, Thread};
use socketkit_engine::reactor::Interest;
use socketkit_engine::stream::{FileFailure, FileSent, Sent, Stream as Engine};
use socketkit_engine::tls::Session;
use socketkit_engine::Errno;

use super::{Data, State, StreamShared};
use crate::action::{Attempt, Wait};
use crate::budget::Budget;
use crate::failure::{os_error, Failure};
use crate::operation::OperationRef;
use crate::reactor::Remote;
use crate::threads;

impl StreamShared {
    pub(super) fn send(self: &Arc<Self>, py: Python<'_>, data: &Data, me: &OperationRef) -> Result<Attempt, Failure> {
        let bytes = data.bytes(py);
        self.send_in_turn(py, bytes.len(), me, |engine| engine.send(bytes, || data.chunk(py)))
    }

    /// Sends by `put`, which takes all or nothing of `bytes` bytes, when it is this one's turn.
    pub(super) fn send_in_turn(
        self: &Arc<Self>,
        py: Python<'_>,
        bytes: usize,
        me: &OperationRef,
        put: impl FnOnce(&mut Engine) -> Result<Sent, Errno>,
    ) -> Result<Attempt, Failure> {
        let (outcome, others_wait) = {
            let mut state = self.state();
            let state = &mut *state;
            let behind = state.waiters.is_behind(me);
            let (engine, budget) = state.sending()?;
            if behind {
                return Ok(Attempt::Wait(Wait::Room));
            }
            if !budget.allows(self.turn(py)) {
                state.waiters.list_first_writer(py, me);
                return Ok(Attempt::Wait(Wait::NextTurn));
            }
            let outcome = put(engine);
            if outcome != Ok(Sent::Blocked) {
                budget.spend(bytes);
                state.waiters.first_writer_done();
            }
            if outcome.is_ok() {
                self.watch(state).map_err(Failure::Os)?;
            }
            (outcome, state.waiters.has_writer())
        };
        if others_wait && outcome != Ok(Sent::Blocked) {
            self.let_next_writer(py);
        }
        match outcome {
            Ok(Sent::Blocked) => Ok(Attempt::Wait(Wait::Room)),
            Ok(Sent::Taken) => Ok(Attempt::Ready(py.None())),
            Err(number) => Err(Failure::Os(number)),
        }
    }

    pub(super) fn send_descriptors(
        self: &Arc<Self>,
        py: Python<'_>,
        data: &Data,
        descriptors: &[OwnedFd],
    ) -> Result<Attempt, Failure> {
        let borrowed: Vec<BorrowedFd<'_>> = descriptors.iter().map(AsFd::as_fd).collect();
        let outcome = {
            let mut state = self.state();
            let outcome = state.sending()?.0.send_descriptors(data.bytes(py), &borrowed, || data.chunk(py));
            self.watch(&mut state).map_err(Failure::Os)?;
            outcome
        };
        match outcome.map_err(Failure::Os)? {
            Sent::Blocked => Ok(Attempt::Wait(Wait::Flushed)),
            Sent::Taken => Ok(Attempt::Ready(py.None())),
        }
    }

    pub(super) fn send_eof(self: &Arc<Self>, py: Python<'_>) -> Result<Attempt, Failure> {
        let (flushed, stopped) = {
            let mut state = self.state();
            let state = &mut *state;
            if state.relayed.is_some() {
                return Err(Failure::Busy);
            }
            let engine = state.engine.as_mut().filter(|_| !state.closing).ok_or(Failure::Closed)?;
            let stopped = engine.sends_elsewhere();
            engine.finish_sending();
            if let Some(number) = engine.send_failure() {
                return Err(Failure::Os(number));
            }
            let flushed = engine.flushed();
            if !flushed {
                self.watch(state).map_err(Failure::Os)?;
            }
            (flushed, stopped)
        };
        if stopped {
            self.let_next_writer(py); // Its file goes no further, which it must be told.
        }
        Ok(if flushed { Attempt::Ready(py.None()) } else { Attempt::Wait(Wait::Flushed) })
    }

    /// Sends in pieces; nobody else's data comes between them, since it keeps the first place among the senders until its end. What the
    /// kernel does not take of a large file at once is the thread's for files, and the task is resumed at the end.
    pub(super) fn send_file(
        self: &Arc<Self>,
        py: Python<'_>,
        file: &mut Piece,
        me: &OperationRef,
    ) -> Result<Attempt, Failure> {
        let thread =
            if file.left >= HAND_OVER_BYTES && self.reactor.is_some() { threads::for_files(py).ok() } else { None };
        let (outcome, others_wait) = {
            let mut state = self.state();
            let state = &mut *state;
            let behind = state.waiters.is_behind(me);
            let turn = self.turn(py);
            let (engine, budget) = state.sending()?;
            if behind {
                return Ok(Attempt::Wait(Wait::Room));
            }
            let outcome = loop {
                if file.left == 0 {
                    break Ok(());
                }
                if !budget.allows(turn) {
                    state.waiters.list_first_writer(py, me);
                    return Ok(Attempt::Wait(Wait::NextTurn));
                }
                let most = usize::try_from(file.left).unwrap_or(usize::MAX).min(PIECE_BYTES);
                match engine.send_file(file.descriptor.as_fd(), file.offset, most) {
                    Ok(FileSent::Part(count)) => {
                        budget.spend(count);
                        file.advance(count as u64);
                    }
                    Ok(FileSent::End) => break Ok(()),
                    Ok(FileSent::Blocked) => {
                        if thread.is_some_and(|thread| self.hand_over(py, &thread, engine, file)) {
                            self.set_interest(state, Interest::Read).map_err(Failure::Os)?;
                        } else {
                            self.watch(state).map_err(Failure::Os)?;
                        }
                        return Ok(Attempt::Wait(Wait::Room));
                    }
                    Err(failure) => break Err(failure),
                }
            };
            engine.file_over();
            state.waiters.first_writer_done();
            self.watch(state).map_err(Failure::Os)?;
            (outcome, state.waiters.has_writer())
        };
        if others_wait {
            self.let_next_writer(py);
        }
        match outcome {
            Ok(()) => {
                Ok(Attempt::Ready(file.sent.into_pyobject(py).map_err(|never| match never {})?.into_any().unbind()))
            }
            Err(FileFailure::Socket(number)) => Err(Failure::Os(number)),
            Err(FileFailure::File(number)) => Err(Failure::Python(os_error(number))),
        }
    }

    fn hand_over(self: &Arc<Self>, py: Python<'_>, thread: &Thread, engine: &mut Engine, file: &Piece) -> bool {
        let Some(reactor) = self.reactor(py).filter(|_| file.left >= HAND_OVER_BYTES).map(Bound::get) else {
            return false;
        };
        let part = Part { file: Arc::clone(&file.descriptor), offset: file.offset, count: file.left };
        let handed = engine.hand_over(thread, part, reactor.notifier());
        if handed {
            reactor.watch_remote(Remote::File(Arc::downgrade(self)));
        }
        handed
    }

    /// The thread for files has news: whether none of it concerns this one any more. Who is to go on is added to `woken`.
    pub fn on_file_news(&self, py: Python<'_>, woken: &mut Vec<OperationRef>) -> bool {
        let state = self.state();
        let Some(engine) = state.engine.as_ref().filter(|engine| engine.sends_elsewhere()) else { return true };
        if engine.file_back() {
            state.waiters.wake_writer(py, woken);
        }
        engine.file_back()
    }

    /// After a writer is done (or gone): the next one may go on if there is room.
    pub(super) fn let_next_writer(&self, py: Python<'_>) {
        let next = {
            let state = self.state();
            if !state.engine.as_ref().is_none_or(Engine::has_room) {
                return;
            }
            state.waiters.next_writer(py)
        };
        if let Some(next) = next.filter(|next| next.notify(py)) {
            self.resume_later(py, next);
        }
    }
}

/// What of a file is to be sent.
pub struct Piece {
    descriptor: Arc<OwnedFd>,
    offset: u64,
    left: u64,
    sent: u64,
}

impl Piece {
    /// Without a count: up to its end, wherever that is by then.
    pub fn new(descriptor: OwnedFd, offset: u64, count: Option<u64>) -> Piece {
        Piece { descriptor: Arc::new(descriptor), offset, left: count.unwrap_or(u64::MAX), sent: 0 }
    }

    fn advance(&mut self, count: u64) {
        self.offset += count;
        self.left = self.left.saturating_sub(count);
        self.sent += count;
    }
}

/// Of a file in one attempt; a turn's budget ends it sooner.
const PIECE_BYTES: usize = 1 << 20;
/// Less than this is sooner sent than handed over.
const HAND_OVER_BYTES: u64 = 1 << 20;

impl State {
    pub(super) fn sending(&mut self) -> Result<(&mut Engine, &mut Budget), Failure> {
        if self.relayed.is_some() {
            return Err(Failure::Busy);
        }
        let engine = self.engine.as_mut().filter(|_| !self.closing).ok_or(Failure::Closed)?;
        if engine.finished_sending() {
            return Err(Failure::Closed);
        }
        if engine.session().is_some_and(Session::handshaking) {
            return Err(Failure::Busy);
        }
        Ok((engine, &mut self.budget))
    }
}
