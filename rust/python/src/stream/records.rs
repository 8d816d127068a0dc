//! Records over a stream (`socketkit_wire::records`): many out of one read, many into one write, each whole.
//!
//! Between two receives the inbox begins with a length, or with the close record, which stays there. So nothing but the inbox is kept,
//! and a cancelled receive has taken no part of a record.

use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList};
use socketkit_engine::outbox::Chunk;
use socketkit_engine::stream::{Received, Sent, Stream as Engine};
use socketkit_engine::tls::Session;
use socketkit_engine::Errno;
use socketkit_wire::records::{front, header, Front, RecordViolation, CLOSE, HEADER_BYTES, LONGEST_BYTES};

use super::receiving::{with_scratch, Hold};
use super::{Data, State, StreamShared, CHUNK_BYTES};
use crate::action::{Attempt, Wait};
use crate::failure::Failure;
use crate::operation::OperationRef;

/// How many records a receive gives.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    One,
    /// One, for `async for`.
    Next,
    /// All that are there, up to so many, in a list.
    Many(usize),
}

/// What one send takes.
pub enum Records {
    One(Data),
    Many(Vec<Data>),
}

impl StreamShared {
    pub(super) fn longest_record(&self) -> usize {
        self.rules.message_bytes.min(LONGEST_BYTES)
    }

    pub(super) fn receive_records(
        self: &Arc<Self>,
        py: Python<'_>,
        wanted: Wanted,
        me: &OperationRef,
    ) -> Result<Attempt, Failure> {
        let mut taken = Taken::new(wanted);
        with_scratch(CHUNK_BYTES, |scratch| {
            let (done, first) = {
                let mut state = self.state();
                let state = &mut *state;
                match self.collect(py, state, scratch, &mut taken, me) {
                    Ok(()) => {}
                    Err(Hold::Wait(Wait::Readable)) => return self.list_reader(py, state, me),
                    Err(Hold::Wait(wait)) => return Ok(Attempt::Wait(wait)),
                    Err(Hold::Failed(Failure::End { .. })) if wanted == Wanted::Next => {
                        return Err(Failure::StopIteration);
                    }
                    Err(Hold::Failed(failure)) => return Err(failure),
                }
                state.received_records += taken.count() as u64;
                (state.waiters.take_reader(), state.proves())
            };
            drop(done);
            self.tell_proven(first);
            taken.into_python(py).map(Attempt::Ready)
        })
    }

    /// Takes whole records, at least one: those that were read before, else what a read gives.
    fn collect(
        &self,
        py: Python<'_>,
        state: &mut State,
        scratch: &mut [u8],
        taken: &mut Taken,
        me: &OperationRef,
    ) -> Result<(), Hold> {
        let (engine, budget) = state.receiving(me)?;
        if !engine.readable() {
            return Err(Wait::Readable.into());
        }
        let turn = self.turn(py);
        if !budget.allows(turn) {
            return Err(Wait::NextTurn.into());
        }
        let most = self.longest_record();
        let (mut used, mut left) = taken.take(py, engine.inbox().bytes(), most);
        engine.inbox().consume(used);
        loop {
            if taken.count() > 0 {
                budget.spend(used);
                return Ok(());
            }
            let missing = match left {
                Left::Part { missing } => missing,
                Left::Close => return Err(ended(engine, scratch).into()),
                Left::Broken(violation) => return Err(Failure::Record(violation).into()),
            };
            if !budget.allows(turn) {
                return Err(Wait::NextTurn.into());
            }
            // A short rest moves in front of what comes behind it, so that most records are copied once; a long one stays where it is.
            let gathers = engine.inbox().len() < GATHERED_BYTES;
            let got = if gathers { engine.gather(scratch) } else { engine.fill_message(missing, scratch) };
            match got.map_err(Failure::Os)? {
                Received::Data(count) if gathers => {
                    budget.spend(count);
                    (used, left) = taken.take(py, &scratch[..count], most);
                    engine.inbox().push(&scratch[used..count]);
                }
                Received::Data(count) => {
                    budget.spend(count);
                    (used, left) = taken.take(py, engine.inbox().bytes(), most);
                    engine.inbox().consume(used);
                }
                Received::Blocked if self.must_come_again(Some(engine)) => return Err(Wait::NextTurn.into()),
                Received::Blocked => return Err(Wait::Readable.into()),
                Received::End => return Err(Failure::Unended { inside: !engine.inbox().is_empty() }.into()),
            }
        }
    }

    pub(super) fn send_records(
        self: &Arc<Self>,
        py: Python<'_>,
        records: &Records,
        me: &OperationRef,
    ) -> Result<Attempt, Failure> {
        let records = records.as_slice();
        let most = self.longest_record();
        let mut bytes = 0;
        for record in records {
            let length = record.bytes(py).len();
            if length > most {
                return Err(Failure::MessageTooLarge { length, most });
            }
            bytes += HEADER_BYTES + length;
        }
        let put = |engine: &mut Engine| with_scratch(WRITE_BYTES, |scratch| put(py, engine, records, scratch));
        let attempt = self.send_in_turn(py, bytes, me, put)?;
        if matches!(attempt, Attempt::Ready(_)) {
            self.state().sent_records += records.len() as u64;
        }
        Ok(attempt)
    }

    /// The close record goes out behind what is queued, then the end of the stream.
    pub(super) fn end_records(self: &Arc<Self>, py: Python<'_>) -> Result<Attempt, Failure> {
        {
            let mut state = self.state();
            if state.relayed.is_none() && !state.closing {
                if let Some(engine) = state.engine.as_mut() {
                    put_close(engine);
                }
            }
        }
        self.send_eof(py)
    }
}

/// Sends the close record if nothing was said yet about the end.
pub(super) fn put_close(engine: &mut Engine) {
    if !engine.finished_sending() && !engine.session().is_some_and(Session::handshaking) {
        engine.send_behind(&CLOSE, || Box::new(CLOSE));
    }
}

/// After the close record. What follows it is a violation; whatever else happens to the connection, its records have ended well.
fn ended(engine: &mut Engine, scratch: &mut [u8]) -> Failure {
    match engine.fill(scratch) {
        Ok(Received::Data(count)) => Failure::Record(RecordViolation::AfterClose(count)),
        _ => Failure::End { have: 0 },
    }
}

/// Writes records one behind the other: all of them, or nothing.
fn put(py: Python<'_>, engine: &mut Engine, records: &[Data], window: &mut [u8]) -> Result<Sent, Errno> {
    if !engine.has_room() {
        return Ok(Sent::Blocked);
    }
    let mut writer = Writer { engine, window, filled: 0, begun: false };
    for record in records {
        let payload = record.bytes(py);
        let Some(header) = header(payload.len()) else { return Err(Errno::MSGSIZE) };
        if !writer.fits(HEADER_BYTES) {
            writer.flush()?;
        }
        writer.copy(&header);
        let copied = writer.copy(payload);
        let rest = &payload[copied..];
        if rest.is_empty() {
            continue;
        }
        writer.flush()?;
        if writer.fits(rest.len()) {
            writer.copy(rest);
        } else {
            writer.write(rest, || record.chunk_behind(py, copied))?;
        }
    }
    writer.flush()?;
    Ok(Sent::Taken)
}

/// Collects what is short, so that many records go out in one system call, and under TLS in one of its records.
struct Writer<'a> {
    engine: &'a mut Engine,
    window: &'a mut [u8],
    filled: usize,
    begun: bool,
}

impl Writer<'_> {
    fn fits(&self, bytes: usize) -> bool {
        bytes <= self.window.len() - self.filled
    }

    /// Takes as much of `data` as there is room for; says how much that is.
    fn copy(&mut self, data: &[u8]) -> usize {
        let room = &mut self.window[self.filled..];
        let count = data.len().min(room.len());
        room[..count].copy_from_slice(&data[..count]);
        self.filled += count;
        count
    }

    fn flush(&mut self) -> Result<(), Errno> {
        let filled = std::mem::take(&mut self.filled);
        write(self.engine, &mut self.begun, &self.window[..filled], || Box::new(self.window[..filled].to_vec()))
    }

    fn write(&mut self, data: &[u8], keep: impl FnOnce() -> Chunk) -> Result<(), Errno> {
        write(self.engine, &mut self.begun, data, keep)
    }
}

/// The first write may fail, with nothing sent; once a part is gone the records were taken, and a failure belongs to the next ones.
fn write(engine: &mut Engine, begun: &mut bool, data: &[u8], keep: impl FnOnce() -> Chunk) -> Result<(), Errno> {
    if data.is_empty() {
        return Ok(());
    }
    if std::mem::replace(begun, true) {
        engine.send_behind(data, keep);
        return Ok(());
    }
    engine.send(data, keep).map(drop)
}

/// What comes behind the whole records.
enum Left {
    Part { missing: usize },
    Close,
    Broken(RecordViolation),
}

/// The records of one receive, as Python gets them.
enum Taken {
    One(Option<Py<PyBytes>>),
    Many(Vec<Py<PyBytes>>, usize),
}

impl Taken {
    fn new(wanted: Wanted) -> Self {
        match wanted {
            Wanted::One | Wanted::Next => Taken::One(None),
            Wanted::Many(most) => Taken::Many(Vec::new(), most),
        }
    }

    fn count(&self) -> usize {
        match self {
            Taken::One(one) => usize::from(one.is_some()),
            Taken::Many(many, _) => many.len(),
        }
    }

    /// Takes the whole records at the front of `bytes`: how many bytes they are, and what comes behind them.
    fn take(&mut self, py: Python<'_>, bytes: &[u8], most: usize) -> (usize, Left) {
        let mut used = 0;
        loop {
            let payload = match front(&bytes[used..], most) {
                Ok(Front::Record(payload)) => payload,
                Ok(Front::Part { missing }) => return (used, Left::Part { missing }),
                Ok(Front::Close) => return (used, Left::Close),
                Err(violation) => return (used, Left::Broken(violation)),
            };
            used += HEADER_BYTES + payload.len();
            let record = PyBytes::new(py, payload).unbind();
            let full = match self {
                Taken::One(one) => {
                    *one = Some(record);
                    true
                }
                Taken::Many(many, most) => {
                    many.push(record);
                    many.len() >= *most
                }
            };
            if full {
                return (used, Left::Part { missing: 0 });
            }
        }
    }

    fn into_python(self, py: Python<'_>) -> Result<Py<PyAny>, Failure> {
        match self {
            Taken::One(one) => one.map(Py::into_any).ok_or(Failure::Os(Errno::NOMEM)),
            Taken::Many(many, _) => {
                PyList::new(py, many).map(|list| list.into_any().unbind()).map_err(|_| Failure::Os(Errno::NOMEM))
            }
        }
    }
}

impl Records {
    pub fn one(data: &Bound<'_, PyAny>) -> PyResult<Self> {
        Ok(Records::One(Data::new(data)?))
    }

    pub fn many(data: &Bound<'_, PyAny>) -> PyResult<Self> {
        let mut records = Vec::with_capacity(data.len().unwrap_or(0));
        for record in data.try_iter()? {
            records.push(Data::new(&record?)?);
        }
        Ok(Records::Many(records))
    }

    fn as_slice(&self) -> &[Data] {
        match self {
            Records::One(one) => std::slice::from_ref(one),
            Records::Many(many) => many,
        }
    }
}

/// A short rest of a record is worth a copy, so that one read gives its end and many behind it.
const GATHERED_BYTES: usize = 32 * 1024;
/// What is collected for one write; under TLS four of its records.
const WRITE_BYTES: usize = 64 * 1024;
