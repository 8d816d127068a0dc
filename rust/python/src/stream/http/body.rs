//! A request's body: given when it is asked for, thrown away when it is not, and behind it the client's end.

use std::sync::Arc;

use pyo3::prelude::*;
use socketkit_engine::stream::{Received, Stream as Engine};
use socketkit_wire::http1::HEAD_BYTES;

use super::{Reading, DISCARDED_BYTES};
use crate::action::{Attempt, Wait};
use crate::failure::Failure;
use crate::http;
use crate::operation::OperationRef;
use crate::stream::receiving::with_scratch;
use crate::stream::{State, StreamShared};

impl StreamShared {
    /// Throws away what the application did not want of the body; says whether there may be a next request, or what to wait for.
    pub(super) fn discard(
        &self,
        py: Python<'_>,
        state: &mut State,
        scratch: &mut [u8],
        me: &OperationRef,
    ) -> Result<Result<bool, Wait>, Failure> {
        while state.conversation().inside_body() {
            match self.take_body(py, state, scratch, me)? {
                Taken::Data { count, .. } => {
                    let conversation = state.conversation();
                    conversation.discarded += count as u64;
                    if conversation.discarded > DISCARDED_BYTES {
                        return Ok(Ok(false));
                    }
                }
                Taken::Wait(wait) => return Ok(Err(wait)),
                Taken::Refused | Taken::Ended => return Ok(Ok(false)),
            }
        }
        Ok(Ok(true))
    }

    /// What `receive()` of ASGI gives: a piece of the body, or, behind the last, that the client has gone (or has his answer).
    pub(in crate::stream) fn http_event(
        self: &Arc<Self>,
        py: Python<'_>,
        number: u64,
        me: &OperationRef,
    ) -> Result<Attempt, Failure> {
        with_scratch(BODY_BYTES, |scratch| {
            let (event, done) = {
                let mut state = self.state();
                let state = &mut *state;
                let conversation = state.conversation();
                if conversation.number != number || conversation.answered || conversation.refusal.is_some() {
                    state.waiters.dismiss(me);
                    (None, None)
                } else if conversation.told_end {
                    match self.watch_for_end(py, state, scratch, me) {
                        Ok(true) => (None, state.waiters.take_reader()),
                        Ok(false) => {
                            state.conversation().watching = true;
                            return self.list_reader(py, state, me);
                        }
                        Err(Failure::Busy) => return Err(Failure::Busy),
                        Err(_) => (None, None),
                    }
                } else {
                    if std::mem::take(&mut conversation.wants_continue) && !conversation.answering {
                        if let Some(engine) = state.engine.as_mut() {
                            engine.send_behind(CONTINUE, || Box::new(CONTINUE));
                        }
                        self.watch(state).map_err(Failure::Os)?;
                    }
                    if state.conversation().inside_body() {
                        match self.take_body(py, state, scratch, me) {
                            Ok(Taken::Data { from, count }) => {
                                let more = state.conversation().inside_body();
                                state.conversation().told_end = !more;
                                (Some((from, count, more)), state.waiters.take_reader())
                            }
                            Ok(Taken::Wait(Wait::Readable)) => return self.list_reader(py, state, me),
                            Ok(Taken::Wait(wait)) => return Ok(Attempt::Wait(wait)),
                            Err(Failure::Busy) => return Err(Failure::Busy),
                            Ok(Taken::Refused | Taken::Ended) | Err(_) => (None, state.waiters.take_reader()),
                        }
                    } else {
                        state.conversation().told_end = true;
                        (Some((0, 0, false)), None)
                    }
                }
            };
            drop(done);
            if event.is_none() {
                let mut state = self.state();
                let conversation = state.conversation();
                conversation.gone |= conversation.number == number && !conversation.answered;
            }
            let made = match event {
                Some((from, count, more)) => http::body_event(py, &scratch[from..from + count], more),
                None => http::disconnect_event(py),
            };
            made.map(Attempt::Ready).map_err(Failure::Python)
        })
    }

    /// Takes a piece of the body into `scratch`.
    fn take_body(
        &self,
        py: Python<'_>,
        state: &mut State,
        scratch: &mut [u8],
        me: &OperationRef,
    ) -> Result<Taken, Failure> {
        let turn = self.turn(py);
        let State { http, engine, budget, waiters, closing, relayed, .. } = state;
        if relayed.is_some() || waiters.has_other_reader(me) {
            return Err(Failure::Busy);
        }
        let (Some(engine), Some(conversation)) = (engine.as_mut().filter(|_| !*closing), http.as_mut()) else {
            return Err(Failure::Closed);
        };
        if !budget.allows(turn) {
            return Ok(Taken::Wait(Wait::NextTurn));
        }
        if let Reading::Length(left) = &mut conversation.reading {
            let room = usize::try_from(*left).unwrap_or(usize::MAX).min(scratch.len());
            let count = match self.receive_some(engine, &mut scratch[..room])? {
                Ok(count) => count,
                Err(taken) => return Ok(taken),
            };
            budget.spend(count);
            *left -= count as u64;
            if *left == 0 {
                conversation.reading = Reading::Over;
            }
            return Ok(Taken::Data { from: 0, count });
        }
        let Reading::Chunked(chunked) = &mut conversation.reading else {
            return Ok(Taken::Data { from: 0, count: 0 });
        };
        loop {
            let count = match self.receive_some(engine, scratch)? {
                Ok(count) => count,
                Err(taken) => return Ok(taken),
            };
            budget.spend(count);
            let (used, from, length, ended) = match chunked.decode(&scratch[..count]) {
                Ok(decoded) => {
                    let length = decoded.data.len();
                    let from = decoded.data.as_ptr() as usize - scratch.as_ptr() as usize;
                    (decoded.used, if length == 0 { 0 } else { from }, length, decoded.ended)
                }
                Err(refusal) => {
                    conversation.refusal = Some(refusal);
                    return Ok(Taken::Refused);
                }
            };
            if used < count {
                engine.inbox().put_back(&scratch[used..count]);
            }
            if ended {
                conversation.reading = Reading::Over;
                return Ok(Taken::Data { from, count: length });
            }
            if length > 0 {
                return Ok(Taken::Data { from, count: length });
            }
        }
    }

    fn receive_some(&self, engine: &mut Engine, scratch: &mut [u8]) -> Result<Result<usize, Taken>, Failure> {
        if !engine.readable() {
            return Ok(Err(Taken::Wait(Wait::Readable)));
        }
        Ok(match engine.receive(scratch).map_err(Failure::Os)? {
            Received::Data(count) => Ok(count),
            Received::Blocked if self.must_come_again(Some(engine)) => Err(Taken::Wait(Wait::NextTurn)),
            Received::Blocked => Err(Taken::Wait(Wait::Readable)),
            Received::End => Err(Taken::Ended),
        })
    }

    /// Whether the client has gone. What else he sends meanwhile is kept, a bounded part of it.
    fn watch_for_end(
        &self,
        py: Python<'_>,
        state: &mut State,
        scratch: &mut [u8],
        me: &OperationRef,
    ) -> Result<bool, Failure> {
        let turn = self.turn(py);
        let (engine, budget) = state.receiving(me)?;
        loop {
            if engine.received_end() {
                return Ok(true);
            }
            if engine.inbox().len() >= HEAD_BYTES {
                return Ok(engine.saw_end());
            }
            if !engine.may_read() || !budget.allows(turn) {
                return Ok(false);
            }
            match engine.fill(scratch).map_err(Failure::Os)? {
                Received::Data(count) => budget.spend(count),
                Received::Blocked => return Ok(false),
                Received::End => return Ok(true),
            }
        }
    }
}

enum Taken {
    Data { from: usize, count: usize },
    Wait(Wait),
    Refused,
    Ended,
}

const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";
/// The most that one event gives of a body.
const BODY_BYTES: usize = 64 * 1024;
