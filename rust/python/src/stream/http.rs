//! A server's side of HTTP/1.1 on a stream: the next head, pieces of the body, the answer, and whether anybody still wants it.
//!
//! What was read and not consumed stays in the inbox, as with every receive. The state here is where in a request's body the inbox begins.

use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::PyDict;
use socketkit_engine::answers::Look;
use socketkit_engine::stream::{Received, Sent, Stream as Engine};
use socketkit_engine::tls::Fault;
use socketkit_engine::Errno;
use socketkit_wire::http1::{front, head, Body, Chunked, Front, Refusal, HEAD_BYTES};

use super::receiving::with_scratch;
use super::{Data, State, StreamShared, CHUNK_BYTES};
use crate::action::{Attempt, Wait};
use crate::failure::Failure;
use crate::http::{self, AnswersShared};
use crate::operation::OperationRef;

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

/// A piece of an answer.
pub struct Answer {
    pub number: u64,
    pub before: Vec<u8>,
    pub body: Option<Data>,
    pub after: &'static [u8],
    pub last: bool,
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

    pub(super) fn tell_newly_proven(&self) {
        let first =
            self.state().http.as_mut().is_some_and(|conversation| std::mem::take(&mut conversation.newly_proven));
        self.tell_proven(first);
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

    /// For the reactor: whether all that has come is answered, and who waits for the next request need not hear of it.
    pub(super) fn answered_here(self: &Arc<Self>, py: Python<'_>, state: &mut State) -> bool {
        if !state.http.as_ref().is_some_and(|conversation| conversation.expecting && conversation.prepared.is_some()) {
            return false;
        }
        with_scratch(CHUNK_BYTES, |scratch| self.serve_prepared(py, state, scratch)) == Served::All
    }

    /// Answers what is in the table. What is for somebody else goes to the inbox.
    fn serve_prepared(self: &Arc<Self>, py: Python<'_>, state: &mut State, scratch: &mut [u8]) -> Served {
        let State { http, engine, closing, relayed, unproven, messages, .. } = state;
        let (Some(engine), Some(conversation)) = (engine.as_mut(), http.as_mut()) else { return Served::NotThis };
        let Some((answers, told_as)) = &conversation.prepared else { return Served::NotThis };
        if *closing || relayed.is_some() || !matches!(conversation.reading, Reading::Over) || conversation.over {
            return Served::NotThis;
        }
        let mut out = Vec::new();
        let mut hits = Vec::new();
        let mut served = Served::ItsShare;
        for _ in 0..PREPARED_PER_TURN {
            if !engine.has_room() || conversation.stopping {
                served = Served::NotThis;
                break;
            }
            let held = engine.inbox().len();
            let count = if held > 0 {
                let count = held.min(HEAD_BYTES);
                scratch[..count].copy_from_slice(&engine.inbox().bytes()[..count]);
                count
            } else {
                if !engine.may_read() {
                    let goes_on = !engine.received_end() && engine.readable_failure().is_none();
                    served = if goes_on { Served::All } else { Served::NotThis };
                    break;
                }
                match engine.receive(&mut scratch[..FIRST_READ]) {
                    Ok(Received::Data(count)) => count,
                    Ok(Received::Blocked) => {
                        served = if engine.left_unread() { Served::NotThis } else { Served::All };
                        break;
                    }
                    Ok(Received::End) | Err(_) => {
                        served = Served::NotThis; // it stays so, and whoever is woken finds it
                        break;
                    }
                }
            };
            out.clear();
            let look = answers.table().look(&scratch[..count], false, http::now(), &mut out);
            let Look::Answered { length, last, hit } = look else {
                if held == 0 {
                    engine.inbox().push(&scratch[..count]);
                }
                served = Served::NotThis;
                break;
            };
            if held > 0 {
                engine.inbox().consume(length);
            } else {
                engine.inbox().push(&scratch[length..count]);
            }
            if engine.send(&out, || Box::new(out.clone())) != Ok(Sent::Taken) {
                conversation.over = true;
                served = Served::NotThis;
                break;
            }
            hits.push(hit);
            conversation.over = last;
            if last {
                served = Served::NotThis;
                break;
            }
        }
        if hits.is_empty() {
            return served;
        }
        answers.tell(py, told_as, hits);
        conversation.newly_proven |= std::mem::replace(unproven, false);
        *messages = true;
        if self.watch(state).is_ok() {
            served
        } else {
            Served::NotThis
        }
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

    /// Throws away what the application did not want of the body; says whether there may be a next request, or what to wait for.
    fn discard(
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
    pub(super) fn http_event(
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

    pub(super) fn answer(
        self: &Arc<Self>,
        py: Python<'_>,
        answer: &Answer,
        me: &OperationRef,
    ) -> Result<Attempt, Failure> {
        let attempt = self.put_answer(py, answer, me);
        if attempt.is_err() {
            let mut state = self.state();
            let conversation = state.conversation();
            conversation.gone |= conversation.number == answer.number;
        }
        attempt
    }

    fn put_answer(self: &Arc<Self>, py: Python<'_>, answer: &Answer, me: &OperationRef) -> Result<Attempt, Failure> {
        if self.state().conversation().number != answer.number {
            return Err(Failure::Closed);
        }
        let body = answer.body.as_ref().map_or(&[][..], |body| body.bytes(py));
        let bytes = answer.before.len() + body.len() + answer.after.len();
        let attempt = if bytes == 0 {
            Attempt::Ready(py.None())
        } else if bytes <= JOINED_BYTES || body.is_empty() {
            self.send_in_turn(py, bytes, me, |engine| {
                with_scratch(bytes, |joined| {
                    let (before, rest) = joined.split_at_mut(answer.before.len().min(bytes));
                    before.copy_from_slice(&answer.before);
                    rest[..body.len()].copy_from_slice(body);
                    rest[body.len()..].copy_from_slice(answer.after);
                    engine.send(joined, || Box::new(joined.to_vec()))
                })
            })?
        } else {
            self.send_in_turn(py, bytes, me, |engine| {
                let before = &answer.before;
                if !before.is_empty() && engine.send(before, || Box::new(before.clone()))? == Sent::Blocked {
                    return Ok(Sent::Blocked);
                }
                let chunk = || answer.body.as_ref().map_or_else(|| Box::new(Vec::new()) as _, |body| body.chunk(py));
                if before.is_empty() {
                    if engine.send(body, chunk)? == Sent::Blocked {
                        return Ok(Sent::Blocked);
                    }
                } else {
                    engine.send_behind(body, chunk);
                }
                if !answer.after.is_empty() {
                    engine.send_behind(answer.after, || Box::new(answer.after));
                }
                Ok(Sent::Taken)
            })?
        };
        if matches!(attempt, Attempt::Ready(_)) {
            let watcher = {
                let mut state = self.state();
                let conversation = state.conversation();
                conversation.answering = true;
                conversation.answered = answer.last;
                let watched = answer.last && std::mem::take(&mut conversation.watching);
                if watched {
                    state.waiters.take_reader()
                } else {
                    None
                }
            };
            self.wake(py, watcher);
        }
        Ok(attempt)
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

    fn wake(&self, py: Python<'_>, operation: Option<OperationRef>) {
        if let Some(operation) = operation.filter(|operation| operation.notify(py)) {
            self.resume_later(py, operation);
        }
    }
}

/// What the table of prepared answers did.
#[derive(PartialEq)]
enum Served {
    /// All that has come is answered.
    All,
    /// So many that others come first.
    ItsShare,
    /// What comes next is for somebody else: a request, an end, a fault.
    NotThis,
}

enum Taken {
    Data { from: usize, count: usize },
    Wait(Wait),
    Refused,
    Ended,
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

/// How many prepared answers a connection gets in a turn before the others have theirs.
const PREPARED_PER_TURN: usize = 32;
const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";
/// What a client that is cut before he has an answer is told.
pub const TOO_SLOW: &[u8] = b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
/// How much is read for a head: a longer one, or what comes behind it, takes a second read.
const FIRST_READ: usize = 16 * 1024;
/// The most that one event gives of a body.
const BODY_BYTES: usize = 64 * 1024;
/// Up to here copying is cheaper than a second system call.
const JOINED_BYTES: usize = 16 * 1024;
/// So much of a body that nobody wanted is read for the sake of the next request.
const DISCARDED_BYTES: u64 = 256 * 1024;
