//! A server's side of HTTP/1.1 on a stream: the next head, pieces of the body, the answer, and whether anybody still wants it.
//!
//! What was read and not consumed stays in the inbox, as with every receive. The state here is where in a request's body the inbox begins.

use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::PyDict;
use socketkit_engine::stream::Received;
use socketkit_engine::tls::Fault;
use socketkit_engine::Errno;
use socketkit_wire::http1::{front, head, Body, Chunked, Front, Refusal, HEAD_BYTES};

use super::receiving::with_scratch;
use super::{State, StreamShared, CHUNK_BYTES};
use crate::action::{Attempt, Wait};
use crate::answers::AnswersShared;
use crate::failure::Failure;
use crate::http;
use crate::operation::OperationRef;

mod answering;
mod body;
mod prepared;

pub use answering::Answer;
use prepared::Served;

/// Where the conversation stands.
pub struct Conversation {
    reading: Reading,
    /// Which request it is: what belongs to an earlier one can do nothing any more.
    number: u64,
    /// The sender waits for `100 Continue`.
    wants_continue: bool,
    /// The application has been told where the body ends.
    told_end: bool,
    /// The answer is out.
    answered: bool,
    /// Something of it is out.
    answering: bool,
    /// Who receives only waits for the end.
    watching: bool,
    /// The application was told that the client has gone.
    gone: bool,
    /// It speaks something else by now.
    switched: bool,
    /// A request is waited for.
    expecting: bool,
    /// An answer from the table has made it a proven one, which the listener does not know yet.
    newly_proven: bool,
    /// The last answer was said to be that.
    over: bool,
    /// What is answered without asking, and as whose it is told.
    prepared: Option<(Arc<AnswersShared>, Py<PyAny>)>,
    /// No further request is wanted.
    stopping: bool,
    /// What is wrong with the body.
    refusal: Option<Refusal>,
    /// The inbox has the beginning of a head, looked at so far.
    looked: usize,
    /// How much of this body nobody wanted.
    discarded: u64,
}

/// What is to come of the body.
enum Reading {
    Over,
    Length(u64),
    Chunked(Chunked),
}

/// What a new head says about the rest.
pub struct Opening {
    pub number: u64,
    pub stopping: bool,
}

/// What was found where a head should be.
enum Found {
    /// In the first bytes of what was lent.
    Head(Measured),
    Refused(Refusal),
    /// The other side has ended, or nothing more is wanted.
    Nothing,
}

impl Conversation {
    fn new() -> Self {
        Self {
            reading: Reading::Over,
            number: 0,
            wants_continue: false,
            told_end: true,
            answered: true,
            answering: false,
            watching: false,
            gone: false,
            switched: false,
            expecting: false,
            newly_proven: false,
            over: false,
            prepared: None,
            stopping: false,
            refusal: None,
            looked: 0,
            discarded: 0,
        }
    }

    /// Whether who receives waits for something that a client should send.
    pub fn waits_for_client(&self) -> bool {
        !self.watching
    }

    /// Whether a request has begun, and is not whole.
    pub fn inside_body(&self) -> bool {
        !matches!(self.reading, Reading::Over)
    }

    /// Nothing of an answer is out, so one can still be given.
    pub fn can_be_told(&self) -> bool {
        !self.switched && (!self.answering || self.answered)
    }

    fn begin(&mut self, body: Body, most: u64, wants_continue: bool) {
        self.reading = match body {
            Body::Length(0) => Reading::Over,
            Body::Length(length) => Reading::Length(length),
            Body::Chunked => Reading::Chunked(Chunked::new(most)),
        };
        self.number += 1;
        self.wants_continue = wants_continue && self.inside_body();
        self.told_end = false;
        self.answered = false;
        self.answering = false;
        self.watching = false;
        self.looked = 0;
        self.discarded = 0;
    }
}

impl State {
    pub(super) fn conversation(&mut self) -> &mut Conversation {
        self.http.get_or_insert_with(|| Box::new(Conversation::new()))
    }
}

impl StreamShared {
    pub(super) fn next_request(
        self: &Arc<Self>,
        subject: &Bound<'_, super::Stream>,
        template: &Py<PyDict>,
        most: u64,
        answers: Option<&(Arc<AnswersShared>, Py<PyAny>)>,
        me: &OperationRef,
    ) -> Result<Attempt, Failure> {
        let attempt = self.request_or_wait(subject, template, most, answers, me);
        self.tell_newly_proven();
        attempt
    }

    /// The next request: (scope, exchange); a refusal, which is a number and words; or None where there is none any more.
    fn request_or_wait(
        self: &Arc<Self>,
        subject: &Bound<'_, super::Stream>,
        template: &Py<PyDict>,
        most: u64,
        answers: Option<&(Arc<AnswersShared>, Py<PyAny>)>,
        me: &OperationRef,
    ) -> Result<Attempt, Failure> {
        let py = subject.py();
        with_scratch(CHUNK_BYTES, |scratch| {
            let (found, opening, done, first) = {
                let mut state = self.state();
                let state = &mut *state;
                let conversation = state.conversation();
                conversation.watching = false;
                if let (None, Some((answers, told_as))) = (&conversation.prepared, answers) {
                    conversation.prepared = Some((Arc::clone(answers), told_as.clone_ref(py)));
                }
                conversation.expecting = false;
                if state.waiters.has_other_reader(me) {
                    return Err(Failure::Busy);
                }
                match self.serve_prepared(py, state, scratch) {
                    Served::All => {
                        state.conversation().expecting = true;
                        return self.list_reader(py, state, me);
                    }
                    Served::ItsShare => return Ok(Attempt::Wait(Wait::NextTurn)),
                    Served::NotThis => {}
                }
                let looked = match self.discard(py, state, scratch, me)? {
                    Ok(true) => self.look_for_head(py, state, scratch, me)?,
                    Ok(false) => Ok(Found::Nothing),
                    Err(wait) => Err(wait),
                };
                let mut found = match looked {
                    Ok(found) => found,
                    Err(Wait::Readable) => {
                        state.conversation().expecting = true;
                        return self.list_reader(py, state, me);
                    }
                    Err(wait) => return Ok(Attempt::Wait(wait)),
                };
                let mut opening = Opening { number: 0, stopping: false };
                let mut first = false;
                match &found {
                    Found::Head(measured) if matches!(measured.body, Body::Length(length) if length > most) => {
                        found = Found::Refused(Refusal::BodyTooLarge);
                    }
                    Found::Head(measured) => {
                        let conversation = state.conversation();
                        conversation.begin(measured.body, most, measured.expects_continue);
                        opening = Opening { number: conversation.number, stopping: conversation.stopping };
                        first = state.proves();
                    }
                    Found::Refused(_) | Found::Nothing => {}
                }
                (found, opening, state.waiters.take_reader(), first)
            };
            drop(done);
            self.tell_proven(first);
            match found {
                Found::Head(measured) => http::request(subject, template, &scratch[..measured.length], opening)
                    .map(Attempt::Ready)
                    .map_err(Failure::Python),
                Found::Refused(refusal) => http::refused(py, refusal).map(Attempt::Ready).map_err(Failure::Python),
                Found::Nothing => Ok(Attempt::Ready(py.None())),
            }
        })
    }

    /// Takes a head out of what has come into `scratch`. What follows it stays in, or goes to, the inbox.
    fn look_for_head(
        &self,
        py: Python<'_>,
        state: &mut State,
        scratch: &mut [u8],
        me: &OperationRef,
    ) -> Result<Result<Found, Wait>, Failure> {
        let turn = self.turn(py);
        loop {
            let (stopping, over) = (state.conversation().stopping, state.conversation().over);
            let looked = state.conversation().looked;
            let (engine, budget) = state.receiving(me)?;
            let held = engine.inbox().len();
            if held > looked {
                let count = held.min(HEAD_BYTES);
                scratch[..count].copy_from_slice(&engine.inbox().bytes()[..count]);
                // A head that drips in is not parsed for each drop: only a line's end changes what is known of it.
                let news = scratch.get(looked.min(count)..count).unwrap_or_default();
                if looked == 0 || held >= HEAD_BYTES || news.contains(&b'\n') {
                    match measure(&scratch[..count]) {
                        Ok(Some(measured)) => {
                            engine.inbox().consume(measured.length);
                            return Ok(Ok(Found::Head(measured)));
                        }
                        Ok(None) => {}
                        Err(refusal) => return Ok(Ok(Found::Refused(refusal))),
                    }
                }
                state.conversation().looked = held;
                continue;
            }
            if over {
                return Ok(Ok(Found::Nothing));
            }
            if held == 0 && stopping {
                return Ok(Ok(Found::Nothing));
            }
            if !engine.readable() && !engine.received_end() {
                return Ok(Err(Wait::Readable));
            }
            if !budget.allows(turn) {
                return Ok(Err(Wait::NextTurn));
            }
            // Most heads come whole, alone, and before anything else: they never see the inbox.
            let got = if held == 0 { engine.receive(&mut scratch[..FIRST_READ]) } else { engine.fill(scratch) };
            match got {
                Ok(Received::Data(count)) if held == 0 => {
                    budget.spend(count);
                    match measure(&scratch[..count.min(HEAD_BYTES)]) {
                        Ok(Some(measured)) => {
                            engine.inbox().push(&scratch[measured.length..count]);
                            return Ok(Ok(Found::Head(measured)));
                        }
                        Ok(None) => {
                            engine.inbox().push(&scratch[..count]);
                            state.conversation().looked = count;
                        }
                        Err(refusal) => return Ok(Ok(Found::Refused(refusal))),
                    }
                }
                Ok(Received::Data(count)) => budget.spend(count),
                Ok(Received::Blocked) if self.must_come_again(Some(engine)) => return Ok(Err(Wait::NextTurn)),
                Ok(Received::Blocked) => return Ok(Err(Wait::Readable)),
                // Inside a head nothing is asked yet, and there is nobody to answer.
                Ok(Received::End) => return Ok(Ok(Found::Nothing)),
                // Between two requests every end is one.
                Err(Errno::CONNRESET | Errno::PIPE) if held == 0 => return Ok(Ok(Found::Nothing)),
                // Most clients leave without TLS's goodbye, and a request says itself where it ends (RFC 9112 §9.8).
                Err(Errno::PROTO) if held == 0 && matches!(engine.fault(), Some(Fault::Truncated)) => {
                    return Ok(Ok(Found::Nothing));
                }
                Err(number) => return Err(Failure::Os(number)),
            }
        }
    }

    /// No further request is wanted: a wait for one ends, unless one has begun to come.
    pub fn stop_requests(&self, py: Python<'_>) {
        let waiting = {
            let mut state = self.state();
            let conversation = state.conversation();
            conversation.stopping = true;
            let idle = conversation.answered && !conversation.watching;
            let mut waiting = Vec::new();
            if idle && state.engine.as_mut().is_some_and(|engine| engine.inbox().is_empty()) {
                state.waiters.wake_reader(py, &mut waiting);
            }
            waiting
        };
        for operation in waiting {
            self.resume_later(py, operation);
        }
    }

    /// What is wrong with the body of the request `number`, and whether all of it has come.
    pub fn body_state(&self, number: u64) -> (Option<Refusal>, bool) {
        let mut state = self.state();
        let conversation = state.conversation();
        if conversation.number != number {
            return (None, false);
        }
        (conversation.refusal, !conversation.inside_body())
    }

    /// HTTP is over on this connection.
    pub fn switched(&self) {
        self.state().conversation().switched = true;
    }

    /// Whether the application was told that the client has gone.
    pub fn told_gone(&self) -> bool {
        self.state().conversation().gone
    }

    /// Whether the answer to the request that runs is the last because of what is left of its body, or of a stop.
    pub fn must_close(&self) -> bool {
        let mut state = self.state();
        let conversation = state.conversation();
        let long = matches!(conversation.reading, Reading::Length(left) if left > DISCARDED_BYTES);
        conversation.stopping || conversation.wants_continue || long || conversation.refusal.is_some()
    }
}

/// What must be known of a head before anything is made of it.
struct Measured {
    length: usize,
    body: Body,
    expects_continue: bool,
}

/// Measures the head in front of `bytes`; None if it is not whole.
fn measure(bytes: &[u8]) -> Result<Option<Measured>, Refusal> {
    Ok(match front(bytes, &mut head::no_fields())? {
        Front::Head(head) => {
            Some(Measured { length: head.length, body: head.body, expects_continue: head.expects_continue })
        }
        Front::Part => None,
    })
}

/// What a client that is cut before he has an answer is told.
pub const TOO_SLOW: &[u8] = b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
/// How much is read for a head: a longer one, or what comes behind it, takes a second read.
const FIRST_READ: usize = 16 * 1024;
/// So much of a body that nobody wanted is read for the sake of the next request.
const DISCARDED_BYTES: u64 = 256 * 1024;
