//! `_core.MessageSocket`: the operations of one kernel socket that keeps message borders, and the lists of tasks that wait on it.
//!
//! One message's way in: the kernel's queue -> the thread's `Batch` (one system call for many) -> the inbox, which is filled only when
//! somebody asks and it is empty -> the task. Its way out: the kernel at once, or the outbox while that is full.
//!
//! Locks are held for a system call at most, never while Python code may run (an exception is made, an endpoint named).

use std::collections::VecDeque;
use std::os::fd::{AsFd, AsRawFd, IntoRawFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

use pyo3::exceptions::{PyResourceWarning, PyTypeError, PyValueError};
use pyo3::prelude::*;
use socketkit_engine::guard::Guard;
use socketkit_engine::peers::Peers;
use socketkit_engine::reactor::{Interest, Token};
use socketkit_system::messages::{self, Local, Name};

use crate::action::{Action, Attempt};
use crate::bounds::{Bounds, Rules};
use crate::budget::Budget;
use crate::failure::{os_error, Failure};
use crate::listener::{Arrival, Counted, Listener};
use crate::operation::{self, OperationRef};
use crate::reactor::Reactor;
use crate::stream::{at_least_one, duplicate, own, Data, Ending};
use crate::waiters::Waiters;

mod closing;
mod datagram;
mod faults;
mod guarding;
mod handing;
mod inbox;
mod kind;
mod naming;
mod news;
mod queued;
mod receiving;
mod run;
mod sending;
mod verbs;

pub use datagram::python_type as datagram_type;
pub use datagram::Datagram;
use inbox::{Item, Joined};
use kind::Kind;
use queued::{Gathering, Load, Queued};
use receiving::Want;
pub use verbs::MessageVerb;

/// A socket that keeps message borders. `reactor` None: for blocking use.
#[pyclass(subclass, frozen, module = "socketkit._core")]
pub struct MessageSocket {
    shared: Arc<MessagesShared>,
}

pub struct MessagesShared {
    /// No other socket of this process has it.
    id: u64,
    reactor: Option<Py<Reactor>>,
    rules: Arc<Rules>,
    kind: Kind,
    /// It gives bytes from one peer; else datagrams from any.
    connected: bool,
    most_bytes: usize,
    own_port: Option<u16>,
    peers: Mutex<Peers<Py<PyAny>>>,
    /// This side's endpoint, and those of the addresses at which it was called.
    own_endpoint: OnceLock<Py<PyAny>>,
    locals: Mutex<Vec<(Local, Py<PyAny>)>>,
    state: Mutex<State>,
}

struct State {
    /// None once it is closed.
    socket: Option<Arc<OwnedFd>>,
    registration: Option<(Token, Interest)>,
    budget: Budget,
    /// The kernel may have messages; errors.
    readable: bool,
    to_the_end: bool,
    /// The kernel may have room.
    writable: bool,
    /// The peer has ended it.
    ended: bool,
    /// The peer has cut it: that is told in place of the end.
    reset: bool,
    finished_sending: bool,
    /// The kernel does not tell of the end that this side has asked for: it must be asked.
    awaits_end: bool,
    inbox: VecDeque<Item>,
    joined: Joined,
    outbox: VecDeque<Queued>,
    /// What others on the way have told of messages to peers that were called.
    faults: VecDeque<Failure>,
    /// Why something that was taken did not get out, and to whom it was; told to who sends next.
    send_failure: Option<(rustix::io::Errno, Option<Name>)>,
    waiters: Waiters,
    closing: bool,
    closes_until: Option<Instant>,
    counted_by: Option<Counted>,
    guard: Guard,
    unproven: bool,
    cut: Option<Ending>,
    /// Runs of equal datagrams may go as one.
    segments: bool,
    counters: Counters,
}

/// What it did. `dropped` is the kernel's, as it stood when the socket was closed.
#[derive(Clone, Copy, Default)]
struct Counters {
    received_messages: u64,
    received_bytes: u64,
    sent_messages: u64,
    sent_bytes: u64,
    dropped: u64,
    withheld: u64,
    unsent: u64,
    unreachable: u64,
}

#[pymethods]
impl MessageSocket {
    /// Of an open descriptor, which it owns from here on, also when it raises; or of an arrival of `counted_by`.
    #[new]
    #[pyo3(signature = (source, reactor, bounds, kind, connected, counted_by=None))]
    fn new(
        source: &Bound<'_, PyAny>,
        reactor: Option<Py<Reactor>>,
        bounds: &Bound<'_, Bounds>,
        kind: &str,
        connected: bool,
        counted_by: Option<Py<Listener>>,
    ) -> PyResult<Self> {
        let rules = Arc::clone(bounds.get().rules());
        let (mut since, mut place) = (Instant::now(), None);
        let socket = match source.cast::<Arrival>() {
            Ok(arrival) => {
                let arrival =
                    arrival.get().take().ok_or_else(|| PyValueError::new_err("this arrival was used before"))?;
                (since, place) = (arrival.since, Some(arrival.place));
                Arc::clone(arrival.stream.fd())
            }
            Err(_) => Arc::new(own(source.extract()?)?),
        };
        let kind = Kind::named(kind).ok_or_else(|| PyValueError::new_err("no such kind of message socket"))?;
        if kind == Kind::UnixRecord {
            // An empty record has the time at which it came, an end has none.
            messages::set_option(socket.as_fd(), libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, 1).map_err(os_error)?;
        }
        let counted_by = counted_by.zip(place);
        let own_port = kind.is_udp().then(|| rustix::net::getsockname(&socket).ok()).flatten();
        let own_port = own_port.and_then(|name| std::net::SocketAddr::try_from(name).ok()).map(|name| name.port());
        let shared = Arc::new(MessagesShared {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            most_bytes: kind.most_bytes(socket.as_fd(), rules.message_bytes),
            reactor,
            rules,
            kind,
            connected,
            own_port,
            peers: Mutex::default(),
            own_endpoint: OnceLock::new(),
            locals: Mutex::default(),
            state: Mutex::new(State {
                socket: Some(socket),
                registration: None,
                budget: Budget::default(),
                readable: true,
                to_the_end: false,
                writable: true,
                ended: false,
                reset: false,
                finished_sending: false,
                awaits_end: false,
                inbox: VecDeque::new(),
                joined: Joined::default(),
                outbox: VecDeque::new(),
                faults: VecDeque::new(),
                send_failure: None,
                waiters: Waiters::default(),
                closing: false,
                closes_until: None,
                guard: Guard::new(counted_by.is_some(), since),
                unproven: counted_by.is_some(),
                counted_by,
                cut: None,
                segments: kind.is_udp(),
                counters: Counters::default(),
            }),
        });
        if let Some(reactor) = shared.reactor.as_ref().filter(|_| kind.ends()) {
            reactor.get().guard_messages(&shared).map_err(os_error)?;
        }
        Ok(Self { shared })
    }

    /// One message: of a connected socket its bytes, else a `Datagram`, cut to `max_bytes`.
    #[pyo3(signature = (max_bytes=65_535))]
    fn receive<'py>(slf: &Bound<'py, Self>, max_bytes: usize) -> PyResult<Bound<'py, PyAny>> {
        Self::operation(slf, MessageVerb::Receive(Want::One { max_bytes }))
    }

    #[pyo3(signature = (max_count=64))]
    fn receive_many<'py>(slf: &Bound<'py, Self>, max_count: usize) -> PyResult<Bound<'py, PyAny>> {
        Self::operation(slf, MessageVerb::Receive(Want::Many { max_count: at_least_one(max_count, "max_count")? }))
    }

    fn _receive_descriptors<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        Self::operation(slf, MessageVerb::ReceiveDescriptors)
    }

    fn send<'py>(slf: &Bound<'py, Self>, data: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let queued = Queued::new(slf, data, None, None)?;
        Self::operation(slf, MessageVerb::Send(Load::one(queued)))
    }

    fn _send_all<'py>(slf: &Bound<'py, Self>, messages: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let queued = messages.try_iter()?.map(|data| Queued::new(slf, &data?, None, None)).collect::<PyResult<_>>()?;
        Self::operation(slf, MessageVerb::Send(Load::Many(queued)))
    }

    fn _send_to<'py>(
        slf: &Bound<'py, Self>,
        data: &Bound<'py, PyAny>,
        to: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let name = naming::address(slf, to)?;
        let queued = Queued::new(slf, data, Some(name), None)?;
        Self::operation(slf, MessageVerb::Send(Load::one(queued)))
    }

    fn _send_all_to<'py>(
        slf: &Bound<'py, Self>,
        messages: &Bound<'py, PyAny>,
        to: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let name = naming::address(slf, to)?;
        let queued = messages
            .try_iter()?
            .map(|data| Queued::new(slf, &data?, Some(name.clone()), None))
            .collect::<PyResult<_>>()?;
        Self::operation(slf, MessageVerb::Send(Load::Many(queued)))
    }

    /// Each datagram to its peer, from where it says.
    fn _send_datagrams<'py>(slf: &Bound<'py, Self>, datagrams: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let mut gathering = Gathering::new(slf, datagrams.len().unwrap_or(0));
        for datagram in datagrams.try_iter()? {
            let datagram = datagram?;
            gathering.add(Datagram::of(&datagram).ok_or_else(|| PyTypeError::new_err(NO_DATAGRAM))?)?;
        }
        Self::operation(slf, MessageVerb::Send(Load::Many(gathering.finish()?)))
    }

    /// `data` to who sent `datagram`, from the address it came to.
    fn answer<'py>(
        slf: &Bound<'py, Self>,
        datagram: &Bound<'py, PyAny>,
        data: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let datagram = Datagram::of(datagram).ok_or_else(|| PyTypeError::new_err("answer() takes a Datagram"))?;
        let to = naming::sender(slf, datagram.arrival())?;
        let queued = Queued::new(slf, data, Some(to), naming::origin(slf, datagram.arrival())?)?;
        let queued = queued.answering(datagram.asked(slf.py()));
        Self::operation(slf, MessageVerb::Send(Load::one(queued)))
    }

    fn _send_descriptors<'py>(
        slf: &Bound<'py, Self>,
        data: &Bound<'py, PyAny>,
        descriptors: Vec<i32>,
    ) -> PyResult<Bound<'py, PyAny>> {
        // Duplicates: the caller may close his while this waits.
        let descriptors = descriptors.into_iter().map(duplicate).collect::<PyResult<_>>()?;
        Self::operation(slf, MessageVerb::SendDescriptors(Data::new(data)?, descriptors))
    }

    fn send_eof<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        Self::operation(slf, MessageVerb::SendEof)
    }

    fn aclose<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        Self::operation(slf, MessageVerb::Close)
    }

    /// Waits for the end of a connection attempt.
    fn _connected<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        slf.get().shared.state().writable = false;
        Self::operation(slf, MessageVerb::Connected)
    }

    fn __aiter__<'py>(slf: &Bound<'py, Self>) -> Bound<'py, Self> {
        slf.clone()
    }

    fn __anext__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        Self::operation(slf, MessageVerb::Iterate)
    }

    /// Begins what `aclose` does; whether nothing is left to wait for.
    fn _close_soon(slf: &Bound<'_, Self>) -> bool {
        matches!(slf.get().shared.close(slf.py()), Ok(Attempt::Ready(_)))
    }

    fn abort(slf: &Bound<'_, Self>) {
        slf.get().shared.abort(slf.py());
    }

    fn penalise(&self) {
        self.shared.accuse();
    }

    fn fileno(slf: &Bound<'_, Self>) -> PyResult<i32> {
        let fd = slf.get().shared.state().socket.as_ref().map(|socket| socket.as_raw_fd());
        fd.ok_or_else(|| Failure::Closed.into_exception(slf.as_any(), "fileno"))
    }

    #[getter]
    fn closed(&self) -> bool {
        let state = self.shared.state();
        state.socket.is_none() || state.closing
    }

    /// The largest message that `send` takes.
    #[getter]
    fn max_message_bytes(&self) -> usize {
        self.shared.most_bytes
    }

    /// How many messages the kernel lost because nobody received them in time.
    #[getter]
    fn dropped(&self) -> u64 {
        let state = self.shared.state();
        state.socket.as_ref().map_or(state.counters.dropped, |socket| messages::dropped(socket.as_fd()))
    }

    #[getter]
    fn received_messages(&self) -> u64 {
        self.shared.state().counters.received_messages
    }

    #[getter]
    fn received_bytes(&self) -> u64 {
        self.shared.state().counters.received_bytes
    }

    #[getter]
    fn sent_messages(&self) -> u64 {
        self.shared.state().counters.sent_messages
    }

    #[getter]
    fn sent_bytes(&self) -> u64 {
        self.shared.state().counters.sent_bytes
    }

    /// Answers that were not sent, because they would have gone to somebody who may not have asked.
    #[getter]
    fn withheld(&self) -> u64 {
        self.shared.state().counters.withheld
    }

    /// Messages that were lost before they left this machine: the queue of an interface was full.
    #[getter]
    fn unsent(&self) -> u64 {
        self.shared.state().counters.unsent
    }

    /// Messages to peers that had called first of which somebody on the way said that they did not arrive.
    #[getter]
    fn unreachable(&self) -> u64 {
        self.shared.state().counters.unreachable
    }

    /// `peer` has proved that it receives at its address: it may be answered without a bound.
    fn validate(slf: &Bound<'_, Self>, peer: &Bound<'_, PyAny>) -> PyResult<()> {
        let name = naming::address(slf, peer)?;
        slf.get().shared.peers().validate(&name.name);
        Ok(())
    }

    /// Gives the descriptor away; this object is closed afterwards.
    fn _detach(slf: &Bound<'_, Self>) -> PyResult<i32> {
        let socket = slf.get().shared.close_now(slf.py()).and_then(Arc::into_inner);
        socket.map(IntoRawFd::into_raw_fd).ok_or_else(|| Failure::Closed.into_exception(slf.as_any(), "detach"))
    }
}

impl MessageSocket {
    pub fn shared(&self) -> &Arc<MessagesShared> {
        &self.shared
    }

    fn operation<'py>(slf: &Bound<'py, Self>, verb: MessageVerb) -> PyResult<Bound<'py, PyAny>> {
        operation::new(slf.py(), Action::Messages(slf.clone().unbind(), verb))
    }
}

impl Drop for MessageSocket {
    fn drop(&mut self) {
        // Nobody can wait on it any more: a waiting operation would hold it. While closing, the engine finishes alone.
        Python::attach(|py| {
            let unfinished = {
                let state = self.shared.state();
                state.socket.is_some() && !state.closing
            };
            if !unfinished {
                return;
            }
            // It may be dropped while an exception is on its way.
            let pending = PyErr::take(py);
            let text = match self.shared.reactor {
                Some(_) => c"a message socket was dropped without aclose(): it is closed at once",
                None => c"a message socket was dropped without close(): it is closed at once",
            };
            if let Err(failure) = PyErr::warn(py, &py.get_type::<PyResourceWarning>(), text, 1) {
                failure.write_unraisable(py, None);
            }
            self.shared.abort(py);
            if let Some(pending) = pending {
                pending.restore(py);
            }
        });
    }
}

impl MessagesShared {
    pub fn reactor<'py>(&self, py: Python<'py>) -> Option<&Bound<'py, Reactor>> {
        self.reactor.as_ref().map(|reactor| reactor.bind(py))
    }

    fn resume_later(&self, py: Python<'_>, operation: OperationRef) {
        if let Some(reactor) = self.reactor(py) {
            Reactor::resume_later(reactor, operation);
        }
    }

    fn turn(&self, py: Python<'_>) -> u64 {
        self.reactor(py).map_or(0, |reactor| reactor.get().turn())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn peers(&self) -> MutexGuard<'_, Peers<Py<PyAny>>> {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn locals(&self) -> MutexGuard<'_, Vec<(Local, Py<PyAny>)>> {
        self.locals.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

static NEXT_ID: AtomicU64 = AtomicU64::new(0);
const NO_DATAGRAM: &str = "send_many() takes Datagrams, or messages and `to`";
