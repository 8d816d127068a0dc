//! `_core.Stream`: the operations of one connection, and the lists of tasks that wait on it.
//!
//! Locks are held for a system call at most, never while Python code may run (an exception is made, an object dropped).

use std::cell::RefCell;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyBytes, PyTuple};
use rustix::event::PollFlags;
use rustix::net::SocketAddrAny;
use socketkit_engine::outbox::Chunk;
use socketkit_engine::reactor::{Interest, Readiness, Token};
use socketkit_engine::stream::{Carrier, Received, Sent, Stream as Engine, WriteMarks};
use socketkit_engine::Errno;

use crate::action::{Action, Attempt, Wait};
use crate::blocking::Watch;
use crate::budget::Budget;
use crate::failure::{os_error, Failure};
use crate::large;
use crate::listener::Listener;
use crate::operation::{self, OperationRef};
use crate::reactor::{Reactor, Tenant};
use crate::relay::RelayShared;

pub mod lending;

/// A connected stream socket. `reactor` None: for blocking use.
#[pyclass(subclass, frozen, module = "socketkit._core")]
pub struct Stream {
    shared: Arc<StreamShared>,
    remote: OnceLock<SocketAddr>,
}

pub struct StreamShared {
    reactor: Option<Py<Reactor>>,
    close_patience: Duration,
    state: Mutex<State>,
}

struct State {
    /// None once it is closed.
    engine: Option<Engine>,
    registration: Option<(Token, Interest)>,
    budget: Budget,
    /// How much the next receive is likely to get, if that is much (see `large`).
    room: usize,
    /// The one that receives, from its first wait until it is done.
    reader: Option<OperationRef>,
    /// Those that wait for room, first come first served.
    writers: VecDeque<OperationRef>,
    /// Those that wait for everything to be sent, or for the connection.
    flushers: Vec<OperationRef>,
    closing: bool,
    /// Without a loop: when whoever closes it must give up sending what is queued.
    closes_until: Option<Instant>,
    aborted: bool,
    /// Who has it meanwhile.
    relayed: Option<Weak<RelayShared>>,
    /// Who counts this connection as open.
    counted_by: Option<Py<Listener>>,
    /// The totals of a closed stream: (received, sent).
    totals: (u64, u64),
}

/// What is wanted of a stream.
pub enum Verb {
    Connected,
    Receive { max_bytes: usize },
    Iterate,
    ReceiveExactly { count: usize },
    ReceiveUntil { delimiter: Vec<u8>, max_bytes: usize, searched: bool },
    ReceiveDescriptors { max_bytes: usize },
    Send { data: Data },
    SendDescriptors { data: Data, descriptors: Vec<OwnedFd> },
    SendEof,
    Close,
}

/// Bytes that nobody can change any more.
pub enum Data {
    Python(Py<PyBytes>),
    Copy(Vec<u8>),
}

#[pymethods]
impl Stream {
    /// Owns the descriptor `fd` from here on, also when it raises.
    #[new]
    #[pyo3(signature = (fd, reactor, unix, high_bytes, low_bytes, close_seconds, counted_by=None, connecting=false))]
    #[allow(clippy::too_many_arguments, reason = "called by position from two places, once per connection")]
    fn new(
        fd: i32,
        reactor: Option<Py<Reactor>>,
        unix: bool,
        high_bytes: usize,
        low_bytes: usize,
        close_seconds: f64,
        counted_by: Option<Py<Listener>>,
        connecting: bool,
    ) -> PyResult<Self> {
        let fd = own(fd)?;
        let carrier = if unix { Carrier::Unix } else { Carrier::Tcp };
        let mut engine = Engine::new(fd, carrier, WriteMarks { high_bytes, low_bytes });
        if connecting {
            engine.connecting();
        }
        let state = State {
            engine: Some(engine),
            registration: None,
            budget: Budget::default(),
            room: 0,
            reader: None,
            writers: VecDeque::new(),
            flushers: Vec::new(),
            closing: false,
            closes_until: None,
            aborted: false,
            relayed: None,
            counted_by,
            totals: (0, 0),
        };
        let close_patience = Duration::try_from_secs_f64(close_seconds)
            .map_err(|_| PyValueError::new_err("close_seconds must be finite and not negative"))?;
        let shared = Arc::new(StreamShared { reactor, close_patience, state: Mutex::new(state) });
        Ok(Self { shared, remote: OnceLock::new() })
    }

    #[pyo3(signature = (max_bytes=262_144))]
    fn receive<'py>(slf: &Bound<'py, Self>, max_bytes: usize) -> PyResult<Bound<'py, PyAny>> {
        Self::operation(slf, Verb::Receive { max_bytes: at_least_one(max_bytes, "max_bytes")? })
    }

    fn receive_exactly<'py>(slf: &Bound<'py, Self>, count: usize) -> PyResult<Bound<'py, PyAny>> {
        Self::operation(slf, Verb::ReceiveExactly { count })
    }

    #[pyo3(signature = (delimiter, *, max_bytes=65_536))]
    fn receive_until<'py>(slf: &Bound<'py, Self>, delimiter: &[u8], max_bytes: usize) -> PyResult<Bound<'py, PyAny>> {
        at_least_one(delimiter.len(), "the delimiter's length")?;
        let delimiter = delimiter.to_vec();
        Self::operation(slf, Verb::ReceiveUntil { delimiter, max_bytes, searched: false })
    }

    #[pyo3(signature = (max_bytes=65_536))]
    fn _receive_descriptors<'py>(slf: &Bound<'py, Self>, max_bytes: usize) -> PyResult<Bound<'py, PyAny>> {
        Self::operation(slf, Verb::ReceiveDescriptors { max_bytes: at_least_one(max_bytes, "max_bytes")? })
    }

    /// `item` is what anyio calls the argument, and some of its users write the name.
    #[pyo3(signature = (data=None, *, item=None))]
    fn send<'py>(
        slf: &Bound<'py, Self>,
        data: Option<&Bound<'py, PyAny>>,
        item: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let data = data.or(item).ok_or_else(|| PyTypeError::new_err("send() needs the bytes to send"))?;
        Self::operation(slf, Verb::Send { data: Data::new(data)? })
    }

    fn _send_descriptors<'py>(
        slf: &Bound<'py, Self>,
        data: &Bound<'py, PyAny>,
        descriptors: Vec<i32>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let data = Data::new(data)?;
        at_least_one(data.bytes(slf.py()).len(), "the data's length")?;
        // Duplicates: the caller may close his while this waits.
        let descriptors = descriptors.into_iter().map(duplicate).collect::<PyResult<_>>()?;
        Self::operation(slf, Verb::SendDescriptors { data, descriptors })
    }

    fn send_eof<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        Self::operation(slf, Verb::SendEof)
    }

    fn aclose<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        Self::operation(slf, Verb::Close)
    }

    /// Waits for the end of the connection attempt that `connecting` announced.
    fn _connected<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        Self::operation(slf, Verb::Connected)
    }

    fn __aiter__<'py>(slf: &Bound<'py, Self>) -> Bound<'py, Self> {
        slf.clone()
    }

    fn __anext__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        Self::operation(slf, Verb::Iterate)
    }

    /// Begins what `aclose` does; whether nothing is left to wait for.
    fn _close_soon(slf: &Bound<'_, Self>) -> bool {
        matches!(slf.get().shared.close(slf.py()), Ok(Attempt::Ready(_)))
    }

    fn abort(slf: &Bound<'_, Self>) {
        slf.get().shared.abort(slf.py());
    }

    fn fileno(slf: &Bound<'_, Self>) -> PyResult<i32> {
        let fd = slf.get().shared.state().engine.as_ref().map(|engine| engine.fd().as_raw_fd());
        fd.ok_or_else(|| Failure::Closed.into_exception(slf.as_any(), "fileno"))
    }

    #[getter]
    fn closed(&self) -> bool {
        let state = self.shared.state();
        state.engine.is_none() || state.closing
    }

    /// Where an accepted TCP connection came from, as Python's `socket` writes it; kept from the accept, since a connection that has been
    /// reset cannot be asked any more.
    #[getter]
    fn _remote(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        let made = match self.remote.get() {
            Some(SocketAddr::V4(v4)) => (v4.ip().to_string(), v4.port()).into_pyobject(py)?.into_any(),
            Some(SocketAddr::V6(v6)) => {
                (v6.ip().to_string(), v6.port(), v6.flowinfo(), v6.scope_id()).into_pyobject(py)?.into_any()
            }
            None => return Ok(None),
        };
        Ok(Some(made.unbind()))
    }

    #[getter]
    fn received_bytes(&self) -> u64 {
        let state = self.shared.state();
        state.engine.as_ref().map_or(state.totals.0, Engine::received_bytes)
    }

    #[getter]
    fn sent_bytes(&self) -> u64 {
        let state = self.shared.state();
        state.engine.as_ref().map_or(state.totals.1, Engine::sent_bytes)
    }

    /// Gives the descriptor away; this object is closed afterwards. Only for a connection that has not been used.
    fn _detach(slf: &Bound<'_, Self>) -> PyResult<i32> {
        let fd = slf.get().shared.close_now(slf.py()).and_then(Engine::into_fd);
        fd.map(IntoRawFd::into_raw_fd).ok_or_else(|| Failure::Closed.into_exception(slf.as_any(), "detach"))
    }
}

impl Stream {
    /// Notes the peer's address of an accepted connection.
    pub fn came_from(&self, address: Option<&SocketAddrAny>) {
        if let Some(Ok(address)) = address.map(|address| SocketAddr::try_from(address.clone())) {
            let _ = self.remote.set(address);
        }
    }

    pub fn shared(&self) -> &Arc<StreamShared> {
        &self.shared
    }

    fn operation<'py>(slf: &Bound<'py, Self>, verb: Verb) -> PyResult<Bound<'py, PyAny>> {
        operation::new(slf.py(), Action::Stream(slf.clone().unbind(), verb))
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        // Nobody can wait on it any more: a waiting operation would hold it. While closing, the engine finishes alone.
        Python::attach(|py| {
            let unfinished = {
                let state = self.shared.state();
                state.engine.is_some() && !state.closing
            };
            if unfinished {
                // It may be dropped while an exception is on its way.
                let pending = PyErr::take(py);
                let category = py.get_type::<pyo3::exceptions::PyResourceWarning>();
                let text = match self.shared.reactor {
                    Some(_) => c"a connection was dropped without aclose(): it is reset",
                    None => c"a connection was dropped without close(): it is reset",
                };
                if let Err(failure) = PyErr::warn(py, &category, text, 1) {
                    failure.write_unraisable(py, None);
                }
                self.shared.abort(py);
                if let Some(pending) = pending {
                    pending.restore(py);
                }
            }
        });
    }
}

impl StreamShared {
    pub fn reactor<'py>(&self, py: Python<'py>) -> Option<&Bound<'py, Reactor>> {
        self.reactor.as_ref().map(|reactor| reactor.bind(py))
    }

    pub fn attempt(
        self: &Arc<Self>,
        subject: &Bound<'_, Stream>,
        verb: &mut Verb,
        me: &OperationRef,
    ) -> PyResult<Attempt> {
        let py = subject.py();
        let attempt = match verb {
            Verb::Receive { max_bytes } => self.receive(py, *max_bytes, me, false),
            Verb::Iterate => self.receive(py, CHUNK_BYTES, me, true),
            Verb::ReceiveExactly { count } => self.receive_exactly(py, *count, me),
            Verb::ReceiveUntil { delimiter, max_bytes, searched } => {
                self.receive_until(py, delimiter, *max_bytes, searched, me)
            }
            Verb::ReceiveDescriptors { max_bytes } => self.receive_descriptors(py, *max_bytes, me),
            Verb::Send { data } => self.send(py, data, me),
            Verb::SendDescriptors { data, descriptors } => self.send_descriptors(py, data, descriptors),
            Verb::SendEof => self.send_eof(py),
            Verb::Close => self.close(py),
            Verb::Connected => self.connected(py),
        };
        attempt.map_err(|failure| failure.into_exception(subject.as_any(), verb.word()))
    }

    fn receive(
        self: &Arc<Self>,
        py: Python<'_>,
        max_bytes: usize,
        me: &OperationRef,
        iterating: bool,
    ) -> Result<Attempt, Failure> {
        with_scratch(max_bytes, |scratch| {
            let mut large = None;
            let (got, done) = {
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
                    return self.list_reader(py, state, me);
                }
                (got, state.reader.take())
            };
            drop(done);
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
    fn list_reader(self: &Arc<Self>, py: Python<'_>, state: &mut State, me: &OperationRef) -> Result<Attempt, Failure> {
        if self.reactor.is_none() {
            return Ok(Attempt::Wait(Wait::Readable));
        }
        if state.reader.is_none() {
            state.reader = Some(me.clone_ref(py));
        }
        self.watch(state).map_err(Failure::Os)?;
        Ok(Attempt::Wait(Wait::Listed))
    }

    fn receive_exactly(&self, py: Python<'_>, count: usize, me: &OperationRef) -> Result<Attempt, Failure> {
        self.receive_buffered(py, me, |engine| {
            if engine.inbox().len() >= count {
                let taken = engine.inbox().bytes()[..count].to_vec();
                engine.inbox().consume(count);
                return Ok(Some(taken));
            }
            Ok(None)
        })
    }

    fn receive_until(
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
                    Ok(Received::Blocked) => return Err(Wait::Readable.into()),
                    Ok(Received::End) => return Ok(Err(Failure::End { have: engine.inbox().len() })),
                    Err(number) => return Ok(Err(Failure::Os(number))),
                }
            }
        });
        match taken {
            Ok(outcome) => {
                self.finished_receiving();
                outcome.map(|taken| Attempt::Ready(PyBytes::new(py, &taken).into_any().unbind()))
            }
            Err(Hold::Wait(wait)) => Ok(Attempt::Wait(wait)),
            Err(Hold::Failed(failure)) => Err(failure),
        }
    }

    fn receive_descriptors(&self, py: Python<'_>, max_bytes: usize, me: &OperationRef) -> Result<Attempt, Failure> {
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
                    self.finished_receiving();
                    let numbers: Vec<i32> = descriptors.into_iter().map(IntoRawFd::into_raw_fd).collect();
                    let data = PyBytes::new(py, &scratch[..count]);
                    let pair =
                        (data, numbers).into_pyobject(py).map(|pair: Bound<'_, PyTuple>| pair.into_any().unbind());
                    pair.map(Attempt::Ready).map_err(|_| Failure::Os(Errno::NOMEM))
                }
                Received::End => {
                    self.finished_receiving();
                    Err(Failure::End { have: 0 })
                }
            }
        })
    }

    fn send(self: &Arc<Self>, py: Python<'_>, data: &Data, me: &OperationRef) -> Result<Attempt, Failure> {
        let bytes = data.bytes(py);
        let (outcome, others_wait) = {
            let mut state = self.state();
            let state = &mut *state;
            // Whoever waits already comes first, also when there is room: else one that keeps sending could keep him waiting for ever.
            let behind = state.writers.front().is_some_and(|first| !first.is(me));
            let (engine, budget) = state.sending()?;
            if behind {
                return Ok(Attempt::Wait(Wait::Room));
            }
            if !budget.allows(self.turn(py)) {
                if state.writers.is_empty() {
                    state.writers.push_back(me.clone_ref(py));
                }
                return Ok(Attempt::Wait(Wait::NextTurn));
            }
            let outcome = engine.send(bytes, || data.chunk(py));
            if outcome != Ok(Sent::Blocked) {
                budget.spend(bytes.len());
                state.writers.pop_front();
            }
            if outcome.is_ok() {
                self.watch(state).map_err(Failure::Os)?;
            }
            (outcome, !state.writers.is_empty())
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

    fn send_descriptors(
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

    fn send_eof(self: &Arc<Self>, py: Python<'_>) -> Result<Attempt, Failure> {
        let mut state = self.state();
        let state = &mut *state;
        if state.relayed.is_some() {
            return Err(Failure::Busy);
        }
        let engine = state.engine.as_mut().filter(|_| !state.closing).ok_or(Failure::Closed)?;
        engine.finish_sending();
        if let Some(number) = engine.send_failure() {
            return Err(Failure::Os(number));
        }
        if engine.flushed() {
            return Ok(Attempt::Ready(py.None()));
        }
        self.watch(state).map_err(Failure::Os)?;
        Ok(Attempt::Wait(Wait::Flushed))
    }

    fn close(self: &Arc<Self>, py: Python<'_>) -> Result<Attempt, Failure> {
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
                    state.closes_until = Instant::now().checked_add(self.close_patience);
                    if state.reader.is_some() {
                        engine.shut_receiving(); // It may be in another thread's `poll`.
                    }
                }
                engine.flush();
                relay = state.relayed.as_ref().and_then(Weak::upgrade);
                if relay.is_none() {
                    self.close_in_time(state).map_err(Failure::Os)?;
                }
                let waiting = state.reader.iter().chain(&state.writers);
                let mut others: Vec<_> = waiting.map(|other| other.clone_ref(py)).collect();
                state.writers.clear();
                others.retain(|other| other.notify(py));
                others
            }
        };
        if let Some(relay) = relay {
            relay.stop(); // What it gives back is sent before the end.
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

    fn connected(&self, py: Python<'_>) -> Result<Attempt, Failure> {
        let mut state = self.state();
        let engine = state.engine.as_mut().ok_or(Failure::Closed)?;
        match engine.connected().map_err(Failure::Os)? {
            Some(()) => Ok(Attempt::Ready(py.None())),
            None => Ok(Attempt::Wait(Wait::Flushed)),
        }
    }

    /// Has what is queued sent before a closing stream is closed, or the stream reset when that takes too long.
    fn close_in_time(self: &Arc<Self>, state: &mut State) -> Result<(), Errno> {
        let unsent = state.engine.as_ref().is_some_and(|engine| !engine.flushed() && engine.send_failure().is_none());
        if unsent {
            self.watch(state)?;
            if let (Some(reactor), Some((token, _))) = (&self.reactor, state.registration) {
                reactor.get().set_timer(self.close_patience, token)?;
            }
        }
        Ok(())
    }

    /// Closes a closing stream if nothing is left to send.
    fn close_if_flushed(&self, py: Python<'_>) -> bool {
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
        let (reader, writers) = {
            let mut state = self.state();
            if let Some(engine) = state.engine.as_mut() {
                drop(engine.reset());
                state.aborted = true;
            }
            (state.reader.as_ref().map(|reader| reader.clone_ref(py)), std::mem::take(&mut state.writers))
        };
        if let Some(engine) = self.close_now(py) {
            // To the relay it would look like an end, to be passed on.
            if relay.is_none() {
                engine.cut_for_others();
            }
        }
        if let Some(relay) = relay {
            relay.stop();
        }
        for waiting in reader.into_iter().chain(writers) {
            if waiting.notify(py) {
                self.resume_later(py, waiting);
            }
        }
    }

    /// Takes the socket out of everything; what comes back closes it when dropped.
    fn close_now(&self, py: Python<'_>) -> Option<Engine> {
        let (engine, tenant, counted_by, flushers) = {
            let mut state = self.state();
            let engine = state.engine.take()?;
            state.totals = (engine.received_bytes(), engine.sent_bytes());
            state.closing = true;
            let tenant = match (&self.reactor, state.registration.take()) {
                (Some(reactor), Some((token, _))) => reactor.get().deregister(token, engine.fd().as_fd()),
                _ => None,
            };
            (engine, tenant, state.counted_by.take(), std::mem::take(&mut state.flushers))
        };
        drop(tenant);
        for flusher in flushers {
            if flusher.notify(py) {
                self.resume_later(py, flusher);
            }
        }
        if let Some(listener) = counted_by {
            Listener::released(listener.bind(py));
        }
        Some(engine)
    }

    /// News from the reactor: what can be flushed is; whoever can go on is added to `woken`.
    pub fn on_ready(self: &Arc<Self>, py: Python<'_>, news: Readiness, woken: &mut Vec<OperationRef>) {
        {
            let sent;
            let closing = {
                let mut state = self.state();
                let state = &mut *state;
                let Some(engine) = state.engine.as_mut() else { return };
                engine.ready(news);
                sent = if news.writable { engine.flush() } else { Vec::new() };
                let failed = engine.send_failure().is_some();
                if engine.readable() {
                    wake(py, state.reader.as_ref(), woken);
                }
                if engine.has_room() {
                    wake(py, state.writers.front(), woken);
                }
                if news.writable && (engine.flushed() || failed) {
                    for flusher in state.flushers.drain(..) {
                        wake(py, Some(&flusher), woken);
                    }
                }
                if engine.carrier() == Carrier::Unix && !engine.wants_to_write() {
                    // A Unix socket tells of room after every read of its peer (net/unix/af_unix.c, unix_write_space).
                    let _ = self.set_interest(state, Interest::Read);
                }
                state.closing
            };
            drop(sent);
            if closing {
                self.close_if_flushed(py);
            }
        }
    }

    /// The time for closing in good order is over.
    pub fn on_timer(&self, _woken: &mut Vec<OperationRef>) {
        if self.state().closing {
            Python::attach(|py| self.abort(py));
        }
    }

    pub fn enlist(self: &Arc<Self>, py: Python<'_>, me: &OperationRef, wait: Wait, again: bool) -> PyResult<()> {
        let mut state = self.state();
        match wait {
            Wait::Readable => state.reader = Some(me.clone_ref(py)),
            // It keeps its place until it has sent.
            Wait::Room if again && state.writers.iter().any(|writer| writer.is(me)) => {}
            Wait::Room => state.writers.push_back(me.clone_ref(py)),
            Wait::Listed => {}
            Wait::Flushed | Wait::Caller | Wait::Reported | Wait::NextTurn => state.flushers.push(me.clone_ref(py)),
        }
        self.watch(&mut state).map_err(os_error)
    }

    pub fn dismiss(&self, py: Python<'_>, me: &OperationRef) {
        {
            let mut state = self.state();
            let state = &mut *state;
            if state.reader.as_ref().is_some_and(|reader| reader.is(me)) {
                state.reader = None;
            }
            state.writers.retain(|writer| !writer.is(me));
            state.flushers.retain(|flusher| !flusher.is(me));
        }
        self.let_next_writer(py);
    }

    pub fn forget_waiters(&self) {
        let waiters = {
            let mut state = self.state();
            (state.reader.take(), std::mem::take(&mut state.writers), std::mem::take(&mut state.flushers))
        };
        drop(waiters);
    }

    /// For a thread that blocks: what `poll` must tell of.
    pub fn poll_for(&self, wait: Wait) -> Watch {
        let state = self.state();
        if state.relayed.is_some() {
            // Only its closing waits then, for a relay in another thread that was asked to stop.
            return Watch { sources: Vec::new(), until: Some(Instant::now() + RELAY_CHECK) };
        }
        let Some(engine) = state.engine.as_ref() else { return Watch::over() };
        let mut flags = if wait == Wait::Readable { PollFlags::IN } else { PollFlags::OUT };
        if !engine.flushed() {
            flags |= PollFlags::OUT;
        }
        Watch { sources: vec![(Arc::clone(engine.fd()) as _, flags)], until: state.closes_until }
    }

    /// What `poll` said, in the reactor's words; `me` is no longer only waiting for it.
    pub fn note(&self, me: Option<&OperationRef>, news: &[PollFlags]) {
        let mut guard = self.state();
        let state = &mut *guard;
        if let Some(me) = me {
            state.flushers.retain(|flusher| !flusher.is(me));
        }
        let (Some(engine), Some(news)) = (state.engine.as_mut(), news.first()) else { return };
        let broken = news.intersects(PollFlags::HUP | PollFlags::ERR);
        engine.ready(Readiness {
            readable: broken || news.contains(PollFlags::IN),
            writable: broken || news.contains(PollFlags::OUT),
            to_the_end: broken,
        });
        let sent = engine.flush();
        drop(guard);
        drop(sent);
    }

    pub fn unflushed(&self) -> bool {
        let state = self.state();
        state.engine.as_ref().is_some_and(|engine| !engine.flushed() && engine.send_failure().is_none())
    }

    /// After a send that blocked: whether what it took got out.
    pub fn fate(&self, subject: &Bound<'_, Stream>) -> PyResult<()> {
        let failure = {
            let state = self.state();
            match &state.engine {
                Some(engine) => engine.send_failure().map(Failure::Os),
                None => state.aborted.then_some(Failure::Closed),
            }
        };
        failure.map_or(Ok(()), |failure| Err(failure.into_exception(subject.as_any(), "send")))
    }

    /// Lets the reactor tell of what this stream may wait for.
    fn watch(self: &Arc<Self>, state: &mut State) -> Result<(), Errno> {
        if state.relayed.is_some() {
            return Ok(());
        }
        let Some(engine) = &state.engine else { return Ok(()) };
        let wanted = if engine.wants_to_write() { Interest::ReadWrite } else { Interest::Read };
        match state.registration {
            None => {
                // A stream that has never had to wait is not registered: many short ones never are.
                let waiting = state.reader.is_some() || !state.writers.is_empty() || !state.flushers.is_empty();
                if let Some(reactor) = self.reactor.as_ref().filter(|_| waiting || wanted == Interest::ReadWrite) {
                    let token =
                        reactor.get().register(Tenant::Stream(Arc::clone(self)), engine.fd().as_fd(), wanted)?;
                    state.registration = Some((token, wanted));
                }
                Ok(())
            }
            Some((_, Interest::Read)) if wanted == Interest::ReadWrite => self.set_interest(state, wanted),
            Some(_) => Ok(()),
        }
    }

    fn set_interest(&self, state: &mut State, interest: Interest) -> Result<(), Errno> {
        if let (Some(reactor), Some(engine), Some((token, now))) =
            (&self.reactor, &state.engine, &mut state.registration)
        {
            if *now != interest {
                reactor.get().change(*token, engine.fd().as_fd(), interest)?;
                *now = interest;
            }
        }
        Ok(())
    }

    fn finished_receiving(&self) {
        let reader = self.state().reader.take();
        drop(reader);
    }

    /// After a writer is done (or gone): the next one may go on if there is room.
    fn let_next_writer(&self, py: Python<'_>) {
        let next = {
            let state = self.state();
            if !state.engine.as_ref().is_none_or(Engine::has_room) {
                return;
            }
            state.writers.front().map(|next| next.clone_ref(py))
        };
        if let Some(next) = next.filter(|next| next.notify(py)) {
            self.resume_later(py, next);
        }
    }

    fn resume_later(&self, py: Python<'_>, operation: OperationRef) {
        if let Some(reactor) = self.reactor(py) {
            Reactor::resume_later(reactor, operation);
        }
    }

    fn turn(&self, py: Python<'_>) -> u64 {
        self.reactor(py).map_or(NO_TURNS, |reactor| reactor.get().turn())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Verb {
    pub fn name(&self) -> &'static str {
        match self {
            Verb::Connected => "Stream.connected",
            Verb::Receive { .. } => "Stream.receive",
            Verb::Iterate => "Stream.__anext__",
            Verb::ReceiveExactly { .. } => "Stream.receive_exactly",
            Verb::ReceiveUntil { .. } => "Stream.receive_until",
            Verb::ReceiveDescriptors { .. } => "Stream.receive_fds",
            Verb::Send { .. } => "Stream.send",
            Verb::SendDescriptors { .. } => "Stream.send_fds",
            Verb::SendEof => "Stream.send_eof",
            Verb::Close => "Stream.aclose",
        }
    }

    /// The operation as an error names it.
    fn word(&self) -> &'static str {
        match self {
            Verb::Connected => "connect",
            Verb::Send { .. } | Verb::SendDescriptors { .. } | Verb::SendEof => "send",
            Verb::Close => "close",
            _ => "receive",
        }
    }

    pub fn sends(&self) -> bool {
        matches!(self, Verb::Send { .. } | Verb::SendDescriptors { .. })
    }
}

impl Data {
    fn new(data: &Bound<'_, PyAny>) -> PyResult<Self> {
        if let Ok(bytes) = data.cast::<PyBytes>() {
            return Ok(Data::Python(bytes.clone().unbind()));
        }
        if let Ok(array) = data.cast::<PyByteArray>() {
            return Ok(Data::Copy(array.to_vec()));
        }
        Ok(Data::Copy(pyo3::buffer::PyBuffer::<u8>::get(data)?.to_vec(data.py())?))
    }

    fn bytes<'a>(&'a self, py: Python<'a>) -> &'a [u8] {
        match self {
            Data::Python(bytes) => bytes.as_bytes(py),
            Data::Copy(bytes) => bytes,
        }
    }

    fn chunk(&self, py: Python<'_>) -> Chunk {
        match self {
            Data::Python(bytes) => Box::new(pyo3::pybacked::PyBackedBytes::from(bytes.bind(py).clone())),
            Data::Copy(bytes) => Box::new(bytes.clone()),
        }
    }
}

/// Why an attempt does not end now.
enum Hold {
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

impl State {
    fn receiving(&mut self, me: &OperationRef) -> Result<(&mut Engine, &mut Budget), Failure> {
        if self.relayed.is_some() || self.reader.as_ref().is_some_and(|reader| !reader.is(me)) {
            return Err(Failure::Busy);
        }
        let engine = self.engine.as_mut().filter(|_| !self.closing).ok_or(Failure::Closed)?;
        Ok((engine, &mut self.budget))
    }

    fn sending(&mut self) -> Result<(&mut Engine, &mut Budget), Failure> {
        if self.relayed.is_some() {
            return Err(Failure::Busy);
        }
        let engine = self.engine.as_mut().filter(|_| !self.closing).ok_or(Failure::Closed)?;
        if engine.finished_sending() {
            return Err(Failure::Closed);
        }
        Ok((engine, &mut self.budget))
    }
}

fn wake(py: Python<'_>, waiting: Option<&OperationRef>, woken: &mut Vec<OperationRef>) {
    if let Some(operation) = waiting.filter(|operation| operation.notify(py)) {
        woken.push(operation.clone_ref(py));
    }
}

/// Lends this thread's buffer: it is warm, and a fresh one of this size would be paid for in page faults at each call.
fn with_scratch<R>(length: usize, body: impl FnOnce(&mut [u8]) -> R) -> R {
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

fn at_least_one(number: usize, what: &str) -> PyResult<usize> {
    if number == 0 {
        return Err(PyValueError::new_err(format!("{what} must be at least 1")));
    }
    Ok(number)
}

fn own(fd: i32) -> PyResult<OwnedFd> {
    if fd < 0 {
        return Err(PyValueError::new_err("not a descriptor"));
    }
    // SAFETY: the caller gives the descriptor away (it comes from socket.detach() or from accept), so nobody else closes it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn duplicate(fd: i32) -> PyResult<OwnedFd> {
    if fd < 0 {
        return Err(PyValueError::new_err("not a descriptor"));
    }
    // SAFETY: the number is borrowed for the one system call, which fails if it names nothing.
    let borrowed = unsafe { BorrowedFd::borrow_raw(fd) };
    rustix::io::fcntl_dupfd_cloexec(borrowed, 0).map_err(os_error)
}

/// The most that one receive gives. Larger reads cost no more system calls per byte and wait longer for their turn.
const CHUNK_BYTES: usize = 262_144;
/// How often a blocking close looks whether the relay has stopped.
const RELAY_CHECK: Duration = Duration::from_millis(10);
/// Without a loop there are no turns, and no budget.
const NO_TURNS: u64 = 0;
