//! `_core.Stream`: the operations of one connection, and the lists of tasks that wait on it.
//!
//! Locks are held for a system call at most, never while Python code may run (an exception is made, an object dropped).

use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyBytes, PyDict};
use rustix::event::PollFlags;
use rustix::net::SocketAddrAny;
use socketkit_engine::admission::Place;
use socketkit_engine::guard::Guard;
use socketkit_engine::outbox::Chunk;
use socketkit_engine::reactor::{Interest, Readiness, Token};
use socketkit_engine::stream::{Carrier, Stream as Engine};
use socketkit_engine::Errno;

use crate::action::{Action, Attempt, Wait};
use crate::answers::{Answers, AnswersShared};
use crate::blocking::Watch;
use crate::bounds::{Bounds, Rules};
use crate::budget::Budget;
use crate::failure::{os_error, Failure};
use crate::listener::{Arrival, Listener};
use crate::operation::{self, OperationRef};
use crate::reactor::{Reactor, Tenant};
use crate::relay::RelayShared;
use crate::tls::Side;
use crate::waiters::Waiters;

mod closing;
mod guarding;
pub mod http;
pub mod lending;
mod receiving;
pub mod records;
mod securing;
mod sending;

pub use guarding::{Ending, Load};
use http::{Answer, Conversation};
pub use receiving::with_scratch;
use records::{Records, Wanted};
use sending::Piece;

/// A connected stream socket. `reactor` None: for blocking use.
#[pyclass(subclass, frozen, module = "socketkit._core")]
pub struct Stream {
    shared: Arc<StreamShared>,
    remote: OnceLock<SocketAddr>,
}

pub struct StreamShared {
    reactor: Option<Py<Reactor>>,
    rules: Arc<Rules>,
    state: Mutex<State>,
}

struct State {
    /// None once it is closed.
    engine: Option<Engine>,
    registration: Option<(Token, Interest)>,
    budget: Budget,
    /// How much the next receive is likely to get, if that is much (see `large`).
    room: usize,
    waiters: Waiters,
    closing: bool,
    /// Without a loop: when whoever closes it must give up sending what is queued.
    closes_until: Option<Instant>,
    aborted: bool,
    /// Who has it meanwhile.
    relayed: Option<Weak<RelayShared>>,
    /// He moves its bytes where it is, in its loop; and waits for what its peer sends.
    moved_here: bool,
    listening: bool,
    /// Who counts this connection as open, and under which name.
    counted_by: Option<(Py<Listener>, Place)>,
    guard: Guard,
    /// Whether the limits of time hold for it (not within one process).
    guarded: bool,
    /// The peer has sent nothing yet.
    unproven: bool,
    /// The application has received a whole message.
    messages: bool,
    /// How many records it has received and sent, if the stream carries records.
    received_records: u64,
    sent_records: u64,
    /// What HTTP/1.1 has to remember, once it is spoken.
    http: Option<Box<Conversation>>,
    /// Why a limit has ended it.
    cut: Option<Ending>,
    /// What the kernel kept for it when it was last asked.
    kernel_bytes: usize,
    /// The totals of a closed stream: (received, sent).
    totals: (u64, u64),
    /// What TLS had agreed on before it was closed.
    parted: Option<Agreed>,
}

/// (fingerprint of the peer's key, application protocol, cipher, key exchange, resumed).
type Agreed = (Option<String>, Option<String>, String, String, bool);

/// What is wanted of a stream.
pub enum Verb {
    Connected,
    Receive {
        max_bytes: usize,
    },
    Iterate,
    ReceiveExactly {
        count: usize,
    },
    ReceiveUntil {
        delimiter: Vec<u8>,
        max_bytes: usize,
        searched: bool,
    },
    ReceiveDescriptors {
        max_bytes: usize,
    },
    /// The handshake of TLS; the side is taken at its beginning.
    Secure {
        side: Option<Side>,
        name: String,
    },
    Send {
        data: Data,
    },
    SendDescriptors {
        data: Data,
        descriptors: Vec<OwnedFd>,
    },
    SendFile {
        file: Piece,
    },
    SendEof,
    /// `records`: the close record comes before the end.
    Close {
        records: bool,
    },
    ReceiveRecords {
        wanted: Wanted,
    },
    SendRecords {
        records: Records,
    },
    EndRecords,
    /// `template`: the scope without what the request says; `most`: the largest body.
    NextRequest {
        template: Py<PyDict>,
        most: u64,
        answers: Option<(Arc<AnswersShared>, Py<PyAny>)>,
    },
    HttpEvent {
        number: u64,
    },
    Answer {
        answer: Answer,
    },
}

/// Bytes that nobody can change any more.
pub enum Data {
    Python(Py<PyBytes>),
    Copy(Vec<u8>),
}

#[pymethods]
impl Stream {
    /// Of an open descriptor, which it owns from here on, also when it raises; or of an arrival of `counted_by`.
    #[new]
    #[pyo3(signature = (source, reactor, unix, bounds, counted_by=None, connecting=false, guarded=true))]
    fn new(
        source: &Bound<'_, PyAny>,
        reactor: Option<Py<Reactor>>,
        unix: bool,
        bounds: &Bound<'_, Bounds>,
        counted_by: Option<Py<Listener>>,
        connecting: bool,
        guarded: bool,
    ) -> PyResult<Self> {
        let rules = Arc::clone(bounds.get().rules());
        let (mut since, mut remote, mut place) = (Instant::now(), None, None);
        let mut engine = match source.cast::<Arrival>() {
            Ok(arrival) => {
                let arrival =
                    arrival.get().take().ok_or_else(|| PyValueError::new_err("this arrival was used before"))?;
                (since, remote, place) = (arrival.since, arrival.from, Some(arrival.place));
                arrival.stream
            }
            Err(_) => {
                let carrier = if unix { Carrier::Unix } else { Carrier::Tcp };
                Engine::new(own(source.extract()?)?, carrier, rules.marks)
            }
        };
        if connecting {
            engine.connecting();
        }
        let counted_by = counted_by.zip(place);
        let state = State {
            engine: Some(engine),
            registration: None,
            budget: Budget::default(),
            room: 0,
            waiters: Waiters::default(),
            closing: false,
            closes_until: None,
            aborted: false,
            relayed: None,
            moved_here: false,
            listening: false,
            guard: Guard::new(counted_by.is_some(), since),
            guarded,
            unproven: counted_by.is_some(),
            messages: false,
            received_records: 0,
            sent_records: 0,
            http: None,
            cut: None,
            kernel_bytes: 0,
            counted_by,
            totals: (0, 0),
            parted: None,
        };
        let shared = Arc::new(StreamShared { reactor, rules, state: Mutex::new(state) });
        if let Some(reactor) = shared.reactor.as_ref().filter(|_| guarded) {
            reactor.get().guard(&shared).map_err(os_error)?;
        }
        let stream = Self { shared, remote: OnceLock::new() };
        stream.came_from(remote.as_ref());
        Ok(stream)
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

    /// Of a descriptor, from `offset` on, `count` bytes or up to its end; says how many that were.
    fn _send_file<'py>(
        slf: &Bound<'py, Self>,
        descriptor: i32,
        offset: u64,
        count: Option<u64>,
    ) -> PyResult<Bound<'py, PyAny>> {
        // A duplicate: the caller may close his while this waits.
        Self::operation(slf, Verb::SendFile { file: Piece::new(duplicate(descriptor)?, offset, count) })
    }

    fn send_eof<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        Self::operation(slf, Verb::SendEof)
    }

    fn aclose<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        Self::operation(slf, Verb::Close { records: false })
    }

    /// A record: see `socketkit.records`. EndOfStream at the close record.
    fn _receive_record<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        Self::operation(slf, Verb::ReceiveRecords { wanted: Wanted::One })
    }

    /// As `_receive_record`, for `async for`.
    fn _next_record<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        Self::operation(slf, Verb::ReceiveRecords { wanted: Wanted::Next })
    }

    /// A list of at least one record: those that are there, up to `max_count`.
    #[pyo3(signature = (max_count=64))]
    fn _receive_records<'py>(slf: &Bound<'py, Self>, max_count: usize) -> PyResult<Bound<'py, PyAny>> {
        let wanted = Wanted::Many(at_least_one(max_count, "max_count")?);
        Self::operation(slf, Verb::ReceiveRecords { wanted })
    }

    fn _send_record<'py>(slf: &Bound<'py, Self>, data: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        Self::operation(slf, Verb::SendRecords { records: Records::one(data)? })
    }

    /// All of them or none, and nobody's record between them.
    fn _send_records<'py>(slf: &Bound<'py, Self>, messages: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        Self::operation(slf, Verb::SendRecords { records: Records::many(messages)? })
    }

    /// Sends the close record, then what `send_eof` does.
    fn _end_records<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        Self::operation(slf, Verb::EndRecords)
    }

    /// Sends the close record, then what `aclose` does.
    fn _close_records<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        Self::operation(slf, Verb::Close { records: true })
    }

    /// Goes on under TLS: returns when the handshake is done.
    fn _secure<'py>(slf: &Bound<'py, Self>, side: Side, name: String) -> PyResult<Bound<'py, PyAny>> {
        Self::operation(slf, Verb::Secure { side: Some(side), name })
    }

    /// The next request of HTTP/1.1 whose body has at most `body_bytes`: (scope, Exchange); (None, status, words) where it is refused; None
    /// when there is none any more. `template` is the scope without what the request says. What `answers` has is answered, and not given;
    /// its hits are `told_as`.
    #[pyo3(signature = (template, body_bytes, answers=None, told_as=None))]
    fn _next_request<'py>(
        slf: &Bound<'py, Self>,
        template: Py<PyDict>,
        body_bytes: u64,
        answers: Option<&Bound<'py, Answers>>,
        told_as: Option<Py<PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let told_as = told_as.unwrap_or_else(|| slf.py().None());
        let answers = answers.map(|answers| (answers.get().shared(), told_as));
        Self::operation(slf, Verb::NextRequest { template, most: body_bytes, answers })
    }

    /// No further request is wanted: `_next_request` gives None, unless one has begun to come.
    fn _stop_requests(slf: &Bound<'_, Self>) {
        slf.get().shared.stop_requests(slf.py());
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
        matches!(slf.get().shared.close(slf.py(), false), Ok(Attempt::Ready(_)))
    }

    /// As `_close_soon`, of `_close_records`.
    fn _close_records_soon(slf: &Bound<'_, Self>) -> bool {
        matches!(slf.get().shared.close(slf.py(), true), Ok(Attempt::Ready(_)))
    }

    fn abort(slf: &Bound<'_, Self>) {
        slf.get().shared.abort(slf.py());
    }

    fn penalise(&self) {
        self.shared.accuse();
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

    /// What TLS has agreed on: (fingerprint of the peer's key, application protocol, cipher, key exchange, resumed); None without TLS, or
    /// before it is done.
    #[getter]
    fn _session(&self) -> Option<Agreed> {
        let state = self.shared.state();
        match &state.engine {
            Some(engine) => agreed(engine),
            None => state.parted.clone(),
        }
    }

    /// Why TLS or a limit has ended it, in words.
    #[getter]
    fn _fault(&self) -> Option<String> {
        let state = self.shared.state();
        match state.cut {
            Some(ending) => Some(format!("cut by limits.{}", ending.limit())),
            None => state.engine.as_ref()?.fault().map(ToString::to_string),
        }
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

    /// How many records were received and sent.
    #[getter]
    fn _records(&self) -> (u64, u64) {
        let state = self.shared.state();
        (state.received_records, state.sent_records)
    }

    /// The most that a record may have, either way.
    #[getter]
    fn _max_record_bytes(&self) -> usize {
        self.shared.longest_record()
    }

    /// Gives the descriptor away; this object is closed afterwards. Only for a connection that has not been used.
    fn _detach(slf: &Bound<'_, Self>) -> PyResult<i32> {
        let fd = slf.get().shared.close_now(slf.py()).and_then(Engine::into_fd);
        fd.map(IntoRawFd::into_raw_fd).ok_or_else(|| Failure::Closed.into_exception(slf.as_any(), "detach"))
    }
}

impl Stream {
    /// Notes the peer's address of an accepted connection.
    fn came_from(&self, address: Option<&SocketAddrAny>) {
        if let Some(Ok(address)) = address.map(|address| SocketAddr::try_from(address.clone())) {
            let _ = self.remote.set(address);
        }
    }

    pub fn shared(&self) -> &Arc<StreamShared> {
        &self.shared
    }

    pub fn operation<'py>(slf: &Bound<'py, Self>, verb: Verb) -> PyResult<Bound<'py, PyAny>> {
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
            Verb::Secure { side, name } => self.secure(side, name, me),
            Verb::Send { data } => self.send(py, data, me),
            Verb::SendDescriptors { data, descriptors } => self.send_descriptors(py, data, descriptors),
            Verb::SendFile { file } => self.send_file(py, file, me),
            Verb::SendEof => self.send_eof(py),
            Verb::Close { records } => self.close(py, *records),
            Verb::ReceiveRecords { wanted } => self.receive_records(py, *wanted, me),
            Verb::SendRecords { records } => self.send_records(py, records, me),
            Verb::EndRecords => self.end_records(py),
            Verb::Connected => self.connected(py),
            Verb::NextRequest { template, most, answers } => {
                self.next_request(subject, template, *most, answers.as_ref(), me)
            }
            Verb::HttpEvent { number } => self.http_event(py, *number, me),
            Verb::Answer { answer } => self.answer(py, answer, me),
        };
        attempt.map_err(|failure| self.reason(failure).into_exception(subject.as_any(), verb.word()))
    }

    fn connected(&self, py: Python<'_>) -> Result<Attempt, Failure> {
        let mut state = self.state();
        let engine = state.engine.as_mut().ok_or(Failure::Closed)?;
        match engine.connected().map_err(Failure::Os)? {
            Some(()) => Ok(Attempt::Ready(py.None())),
            None => Ok(Attempt::Wait(Wait::Flushed)),
        }
    }

    /// News from the reactor: what can be flushed is; whoever can go on is added to `woken`. Says whether it receives in bulk.
    pub fn on_ready(self: &Arc<Self>, py: Python<'_>, news: Readiness, woken: &mut Vec<OperationRef>) -> bool {
        let mut answered = false;
        let (sent, closing, bulk) = {
            let mut state = self.state();
            let state = &mut *state;
            let Some(engine) = state.engine.as_mut() else { return false };
            engine.ready(news);
            let sent = if news.writable { engine.flush() } else { Vec::new() };
            let failed = engine.send_failure().is_some();
            if engine.readable() {
                answered = self.answered_here(py, state);
                if !answered {
                    state.waiters.wake_reader(py, woken);
                }
            }
            let Some(engine) = state.engine.as_mut() else { return false };
            if engine.has_room() {
                state.waiters.wake_writer(py, woken);
            }
            if news.writable && (engine.flushed() || failed) {
                state.waiters.wake_flushers(py, woken);
            }
            if engine.carrier() == Carrier::Unix && !engine.wants_to_write() {
                // A Unix socket tells of room after every read of its peer (net/unix/af_unix.c, unix_write_space).
                let _ = self.set_interest(state, Interest::Read);
            }
            (sent, state.closing, state.room > 0)
        };
        drop(sent);
        if answered {
            self.tell_newly_proven();
        }
        if closing {
            self.close_if_flushed(py);
        }
        if let Some(relay) = self.moved_by() {
            relay.step(py);
        }
        bulk
    }

    /// The time for closing in good order is over.
    pub fn on_timer(&self, _woken: &mut Vec<OperationRef>) {
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
        {
            let mut state = self.state();
            let state = &mut *state;
            let first = state.waiters.first_writer().is_some_and(|first| first.is(me));
            if let Some(engine) = state.engine.as_mut().filter(|_| first) {
                engine.file_over();
            }
            state.waiters.dismiss(me);
        }
        self.let_next_writer(py);
    }

    pub fn forget_waiters(&self) {
        let waiters = std::mem::take(&mut self.state().waiters);
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
        let until = state.closes_until.into_iter().chain(state.due(&self.rules)).min();
        Watch { sources: vec![(Arc::clone(engine.fd()) as _, flags)], until }
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
        failure.map_or(Ok(()), |failure| Err(self.reason(failure).into_exception(subject.as_any(), "send")))
    }

    /// Lets the reactor tell of what this stream may wait for.
    fn watch(self: &Arc<Self>, state: &mut State) -> Result<(), Errno> {
        if state.relayed.is_some() && !state.moved_here {
            return Ok(());
        }
        let Some(engine) = &state.engine else { return Ok(()) };
        let wanted = if engine.wants_to_write() { Interest::ReadWrite } else { Interest::Read };
        match state.registration {
            None => {
                // A stream that has never had to wait is not registered: many short ones never are.
                let waiting = !state.waiters.is_empty() || state.moved_here;
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
            Verb::Secure { .. } => "Stream.start_tls",
            Verb::Send { .. } => "Stream.send",
            Verb::SendDescriptors { .. } => "Stream.send_fds",
            Verb::SendFile { .. } => "Stream.send_file",
            Verb::SendEof => "Stream.send_eof",
            Verb::Close { records: false } => "Stream.aclose",
            Verb::Close { records: true } => "Messages.aclose",
            Verb::ReceiveRecords { wanted: Wanted::One } => "Messages.receive",
            Verb::ReceiveRecords { wanted: Wanted::Next } => "Messages.__anext__",
            Verb::ReceiveRecords { wanted: Wanted::Many(_) } => "Messages.receive_many",
            Verb::SendRecords { records: Records::One(_) } => "Messages.send",
            Verb::SendRecords { records: Records::Many(_) } => "Messages.send_many",
            Verb::EndRecords => "Messages.send_eof",
            Verb::NextRequest { .. } => "Stream.next_request",
            Verb::HttpEvent { .. } => "Exchange.receive",
            Verb::Answer { .. } => "Exchange.send",
        }
    }

    /// The operation as an error names it.
    fn word(&self) -> &'static str {
        match self {
            Verb::Connected => "connect",
            Verb::Send { .. } | Verb::SendDescriptors { .. } | Verb::SendFile { .. } | Verb::SendEof => "send",
            Verb::SendRecords { .. } | Verb::EndRecords => "send",
            Verb::Close { .. } => "close",
            Verb::Secure { .. } => "start_tls",
            Verb::ReceiveExactly { .. } => "receive_exactly",
            Verb::ReceiveUntil { .. } => "receive_until",
            Verb::Receive { .. } | Verb::Iterate | Verb::ReceiveDescriptors { .. } => "receive",
            Verb::ReceiveRecords { .. } | Verb::NextRequest { .. } | Verb::HttpEvent { .. } => "receive",
            Verb::Answer { .. } => "send",
        }
    }

    pub fn sends(&self) -> bool {
        matches!(
            self,
            Verb::Answer { .. }
                | Verb::Send { .. }
                | Verb::SendDescriptors { .. }
                | Verb::SendFile { .. }
                | Verb::SendRecords { .. }
        )
    }
}

impl Data {
    pub fn new(data: &Bound<'_, PyAny>) -> PyResult<Self> {
        if let Ok(bytes) = data.cast::<PyBytes>() {
            return Ok(Data::Python(bytes.clone().unbind()));
        }
        if let Ok(array) = data.cast::<PyByteArray>() {
            return Ok(Data::Copy(array.to_vec()));
        }
        Ok(Data::Copy(pyo3::buffer::PyBuffer::<u8>::get(data)?.to_vec(data.py())?))
    }

    pub fn bytes<'a>(&'a self, py: Python<'a>) -> &'a [u8] {
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

    /// Its bytes without the first `count`.
    fn chunk_behind(&self, py: Python<'_>, count: usize) -> Chunk {
        Box::new(Behind { chunk: self.chunk(py), count })
    }
}

struct Behind {
    chunk: Chunk,
    count: usize,
}

impl AsRef<[u8]> for Behind {
    fn as_ref(&self) -> &[u8] {
        &(*self.chunk).as_ref()[self.count..]
    }
}

fn agreed(engine: &Engine) -> Option<Agreed> {
    let session = engine.session().filter(|session| !session.handshaking())?;
    let protocol = session.protocol().map(|name| String::from_utf8_lossy(name).into_owned());
    let (cipher, exchange) = session.ciphers().unwrap_or_default();
    Some((session.fingerprint().map(|key| key.to_string()), protocol, cipher, exchange, session.resumed()))
}

pub fn at_least_one(number: usize, what: &str) -> PyResult<usize> {
    if number == 0 {
        return Err(PyValueError::new_err(format!("{what} must be at least 1")));
    }
    Ok(number)
}

pub fn own(fd: i32) -> PyResult<OwnedFd> {
    if fd < 0 {
        return Err(PyValueError::new_err("not a descriptor"));
    }
    // SAFETY: the caller gives the descriptor away (it comes from socket.detach() or from accept), so nobody else closes it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

pub fn duplicate(fd: i32) -> PyResult<OwnedFd> {
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
