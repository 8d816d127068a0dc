//! `_core.Listener`: accepting, within limits, and resting when the process is out of descriptors. Who comes in is the lobby's business
//! (`socketkit_engine::lobby`); here are the tasks that wait for it, and the way to the connections that must be cut.

use std::collections::VecDeque;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, IntoRawFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

use pyo3::exceptions::PyValueError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyWeakrefMethods, PyWeakrefReference};
use rustix::event::{eventfd, EventfdFlags, PollFlags};
use rustix::net::{SocketFlags, SocketType};
use socketkit_engine::admission::{Admission, ByPlace, Offence, Place};
use socketkit_engine::guard::GuardLimits;
use socketkit_engine::listener::{self as engine, Source};
use socketkit_engine::lobby::{self, House, Lobby, Step};
use socketkit_engine::reactor::{Interest, Readiness, Token};
use socketkit_engine::stream::Carrier;
use socketkit_engine::Errno;

use crate::action::{Action, Attempt, Wait};
use crate::blocking::Watch;
use crate::bounds::{Bounds, Rules};
use crate::budget::Budget;
use crate::failure::{os_error, Failure};
use crate::forward::ForwardShared;
use crate::messages::{MessageSocket, MessagesShared};
use crate::operation::{self, OperationRef};
use crate::reactor::{Reactor, Tenant};
use crate::stream::{Stream, StreamShared};
use crate::tls::ServerTls;
use socketkit_system::buffers;

/// Listening sockets that share their limits. `make(listener, arrival)` builds what `accept` gives.
#[pyclass(subclass, frozen, module = "socketkit._core")]
pub struct Listener {
    shared: Arc<ListenerShared>,
}

pub struct ListenerShared {
    reactor: Option<Py<Reactor>>,
    make: Py<PyAny>,
    rules: Arc<Rules>,
    /// Known from the first accept on; weak, as the object holds this.
    subject: OnceLock<Py<PyWeakrefReference>>,
    state: Mutex<State>,
}

struct State {
    /// Without doors once it is closed.
    lobby: Lobby,
    /// The connections that the application has, by their places.
    held: ByPlace<Held>,
    acceptors: VecDeque<OperationRef>,
    budget: Budget,
    accepted: u64,
    exhausted: u64,
    rests_until: Option<Instant>,
    /// What the limits had done when the log was last told, and when that was.
    told: (u64, Option<Instant>),
    relayed: bool,
    /// Who accepts meanwhile.
    lent_to: Weak<ForwardShared>,
    /// Wakes threads in `poll` when there is room for a connection again, or when it is closed. Made when the first one waits.
    bell: Option<Arc<OwnedFd>>,
}

/// A connection that a listener counts, in the application's hands.
enum Held {
    Stream(Weak<StreamShared>),
    Messages(Weak<MessagesShared>),
}

/// Who counts a connection as open, and under which name.
pub type Counted = (Py<Listener>, Place);

/// One that has to go for a newer one.
enum Evicted {
    Stream(Arc<StreamShared>),
    Messages(Arc<MessagesShared>),
}

/// Who has come in, on his way to the `Stream` that `make` makes of him.
#[pyclass(frozen, module = "socketkit._core")]
pub struct Arrival {
    inner: Mutex<Option<Box<lobby::Arrival>>>,
}

impl Arrival {
    pub fn take(&self) -> Option<Box<lobby::Arrival>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// A listener inside the process: `Listener` accepts from it, `call` leaves a socket there.
#[pyclass(frozen, weakref, module = "socketkit._core")]
pub struct MemoryPort {
    port: Arc<engine::MemoryPort>,
    records: bool,
}

#[pymethods]
impl MemoryPort {
    #[new]
    #[pyo3(signature = (backlog, records=false))]
    fn new(backlog: usize, records: bool) -> PyResult<Self> {
        Ok(Self { port: engine::MemoryPort::new(backlog).map_err(os_error)?, records })
    }

    /// Whether connections to it keep message borders.
    #[getter]
    fn records(&self) -> bool {
        self.records
    }

    /// Connects: one end of a new socket pair goes to the listener, the descriptor of the other is returned and the caller's.
    fn call(&self) -> PyResult<i32> {
        let kind = if self.records { SocketType::SEQPACKET } else { SocketType::STREAM };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let pair = rustix::net::socketpair(rustix::net::AddressFamily::UNIX, kind, flags, None);
        let (ours, theirs) = pair.map_err(os_error)?;
        self.port.call(theirs).map_err(os_error)?;
        Ok(ours.into_raw_fd())
    }
}

#[pymethods]
impl Listener {
    /// Owns the descriptors `fds` from here on, also when it raises.
    #[new]
    fn new(
        fds: Vec<i32>,
        port: Option<&Bound<'_, MemoryPort>>,
        reactor: Option<Py<Reactor>>,
        bounds: &Bound<'_, Bounds>,
        unix: bool,
        tls: Option<&Bound<'_, ServerTls>>,
        make: Py<PyAny>,
    ) -> PyResult<Self> {
        let mut sources = Vec::new();
        for fd in fds {
            if fd < 0 {
                return Err(PyValueError::new_err("not a descriptor"));
            }
            // SAFETY: the caller gives the descriptors away (they come from socket.detach()).
            sources.push(Source::Socket(Arc::new(unsafe { OwnedFd::from_raw_fd(fd) })));
        }
        sources.extend(port.map(|port| Source::Memory(Arc::clone(&port.get().port))));
        let rules = Arc::clone(bounds.get().rules());
        let house = House {
            carrier: if unix { Carrier::Unix } else { Carrier::Tcp },
            marks: rules.marks,
            tls: tls.map(|tls| tls.get().configuration().clone()),
            handshake: rules.first_message,
            // Locked, a buffer never grows again: only where the lock can be taken off.
            receive_buffer_bytes: if buffers::can_unlock_buffers() { rules.receive_buffer_bytes } else { 0 },
            leaves_hellos: reactor.is_some(),
        };
        let state = State {
            lobby: Lobby::new(sources, house, Admission::new(rules.admission.clone())),
            held: ByPlace::default(),
            acceptors: VecDeque::new(),
            budget: Budget::default(),
            accepted: 0,
            exhausted: 0,
            rests_until: None,
            told: (0, None),
            relayed: false,
            lent_to: Weak::new(),
            bell: None,
        };
        let shared =
            Arc::new(ListenerShared { reactor, make, rules, subject: OnceLock::new(), state: Mutex::new(state) });
        if let Some(reactor) = &shared.reactor {
            if tls.is_some() {
                shared.watch_doors(&mut shared.state().lobby).map_err(os_error)?;
            }
            reactor.get().guard_listener(&shared).map_err(os_error)?;
        }
        Ok(Self { shared })
    }

    fn accept<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        operation::new(slf.py(), Action::Accept(slf.clone().unbind(), false))
    }

    fn __aiter__<'py>(slf: &Bound<'py, Self>) -> Bound<'py, Self> {
        slf.clone()
    }

    fn __anext__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        operation::new(slf.py(), Action::Accept(slf.clone().unbind(), true))
    }

    /// Stops listening at once; whoever waits in `accept` gets ClosedConnection. Accepted connections live on.
    fn shut(slf: &Bound<'_, Self>) {
        slf.get().shared.shut(slf.py());
    }

    #[getter]
    fn closed(&self) -> bool {
        self.shared.state().closed()
    }

    /// How many accepted connections are open.
    #[getter]
    fn connections(&self) -> usize {
        self.shared.state().lobby.seen().open()
    }

    /// What it did: connections accepted, times that it rested because the process was out of descriptors, and what each limit did, in all
    /// and to the sources that met them most.
    #[getter]
    fn _counters<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let counters = PyDict::new(py);
        let state = self.shared.state();
        let admission = state.lobby.seen();
        counters.set_item("connections", admission.open())?;
        counters.set_item("accepted", state.accepted)?;
        counters.set_item("exhausted", state.exhausted)?;
        counters.set_item("unproven", admission.unproven())?;
        for (name, count) in admission.counters().iter() {
            counters.set_item(name, count)?;
        }
        let worst = PyDict::new(py);
        for (source, counts) in admission.worst_sources(WORST_SOURCES) {
            let told = PyDict::new(py);
            for (name, count) in counts.iter().filter(|(_, count)| *count > 0) {
                told.set_item(name, count)?;
            }
            worst.set_item(source, told)?;
        }
        counters.set_item("sources", worst)?;
        Ok(counters)
    }

    #[getter]
    fn _filenos(&self) -> Vec<i32> {
        self.shared.state().lobby.doors().iter().map(|door| door.source.as_fd().as_raw_fd()).collect()
    }
}

impl Held {
    fn of(made: &Bound<'_, PyAny>) -> PyResult<Self> {
        if let Ok(stream) = made.cast::<Stream>() {
            return Ok(Held::Stream(Arc::downgrade(stream.get().shared())));
        }
        Ok(Held::Messages(Arc::downgrade(made.cast::<MessageSocket>()?.get().shared())))
    }

    fn evictable(&self) -> Option<Evicted> {
        match self {
            Held::Stream(stream) => stream.upgrade().map(Evicted::Stream),
            Held::Messages(socket) => socket.upgrade().map(Evicted::Messages),
        }
    }
}

impl Evicted {
    fn has_arrived(&self) -> bool {
        match self {
            Evicted::Stream(stream) => stream.has_arrived(),
            Evicted::Messages(socket) => socket.has_arrived(),
        }
    }

    fn evict(&self, py: Python<'_>) {
        match self {
            Evicted::Stream(stream) => stream.evict(py),
            Evicted::Messages(socket) => socket.evict(py),
        }
    }
}

impl Listener {
    pub fn shared(&self) -> &Arc<ListenerShared> {
        &self.shared
    }

    /// The connection that had `place` has closed.
    pub fn released(slf: &Bound<'_, Self>, place: Place) {
        let shared = &slf.get().shared;
        let next = {
            let mut state = shared.state();
            let full = state.lobby.seen().full();
            state.lobby.admission().released(place);
            state.held.remove(&place);
            ring(state.bell.as_ref());
            if !full {
                return;
            }
            state.acceptors.pop_front()
        };
        match next {
            Some(next) => shared.resume_later(slf.py(), Some(next)),
            None => shared.go_on(slf.py()),
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        Python::attach(|py| self.shared.shut(py));
    }
}

impl ListenerShared {
    pub fn reactor<'py>(&self, py: Python<'py>) -> Option<&Bound<'py, Reactor>> {
        self.reactor.as_ref().map(|reactor| reactor.bind(py))
    }

    pub fn attempt(self: &Arc<Self>, subject: &Bound<'_, Listener>, iterating: bool) -> PyResult<Attempt> {
        let py = subject.py();
        if self.subject.get().is_none() {
            let _ = self.subject.set(PyWeakrefReference::new(subject)?.unbind());
        }
        let mut evicted = Vec::new();
        let outcome = self.try_accept(py, &mut evicted);
        for stream in evicted {
            stream.evict(py);
        }
        match outcome {
            Ok(Ok(arrival)) => {
                let place = arrival.place;
                if let (Some(reactor), Some(token)) = (&self.reactor, arrival.token) {
                    drop(reactor.get().deregister(token, arrival.stream.fd().as_fd()));
                }
                if arrival.stream.session().is_some() && self.rules.receive_buffer_bytes > 0 {
                    buffers::unlock_buffers(arrival.stream.fd().as_fd());
                }
                let arrival = Bound::new(py, Arrival { inner: Mutex::new(Some(arrival)) })?;
                let made = self.make.bind(py).call1((subject, arrival));
                match &made {
                    Ok(made) => {
                        let held = Held::of(made)?;
                        self.state().held.insert(place, held);
                    }
                    Err(_) => Listener::released(subject, place),
                }
                let next = self.next_if_ready();
                self.resume_later(py, next);
                made.map(|made| Attempt::Ready(made.unbind()))
            }
            Ok(Err(wait)) => Ok(Attempt::Wait(wait)),
            Err(Failure::Os(number)) if is_exhaustion(number) => {
                self.rest(subject, number)?;
                Ok(Attempt::Wait(Wait::Caller))
            }
            Err(Failure::Closed) if iterating => Err(Failure::StopIteration.into_exception(subject.as_any(), "accept")),
            Err(failure) => Err(failure.into_exception(subject.as_any(), "accept")),
        }
    }

    /// Somebody who has come in, or what to wait for. `evicted` gets the connections that had to go for newer ones.
    #[allow(clippy::type_complexity, reason = "an arrival or a wait, said once")]
    fn try_accept(
        self: &Arc<Self>,
        py: Python<'_>,
        evicted: &mut Vec<Evicted>,
    ) -> Result<Result<Box<lobby::Arrival>, Wait>, Failure> {
        let mut state = self.state();
        if state.closed() {
            return Err(Failure::Closed);
        }
        if state.relayed {
            return Err(Failure::Busy);
        }
        self.let_in(py, &mut state, evicted, true)
    }

    /// Lets callers in until one has arrived (to `take`), or there is nothing more to do now.
    #[allow(clippy::type_complexity, reason = "an arrival or a wait, said once")]
    fn let_in(
        self: &Arc<Self>,
        py: Python<'_>,
        state: &mut State,
        evicted: &mut Vec<Evicted>,
        take: bool,
    ) -> Result<Result<Box<lobby::Arrival>, Wait>, Failure> {
        let now = Instant::now();
        if state.rests_until.is_some_and(|until| now < until) {
            return Ok(Err(Wait::Caller));
        }
        state.rests_until = None;
        let turn = self.reactor(py).map_or(0, |reactor| reactor.get().turn());
        let held = &mut state.held;
        let mut evict = |place: Place| match held.get(&place).and_then(Held::evictable) {
            Some(connection) if connection.has_arrived() => false,
            connection => {
                held.remove(&place);
                evicted.extend(connection);
                true
            }
        };
        let mut worked = false;
        loop {
            if !state.budget.allows(turn) {
                return Ok(Err(Wait::NextTurn));
            }
            let lobby = &mut state.lobby;
            let step = if take { lobby.accept(now, &mut evict) } else { lobby.let_in(now, &mut evict) };
            match step.map_err(Failure::Os)? {
                Step::Arrived(arrival) => {
                    state.accepted += 1;
                    state.budget.spend(0);
                    return Ok(Ok(arrival));
                }
                Step::Newcomer(place) => {
                    state.budget.spend(0);
                    self.watch_newcomer(&mut state.lobby, place).map_err(Failure::Os)?;
                }
                Step::TurnedAway => state.budget.spend(0),
                Step::Exhausted(why) => return Err(Failure::Os(why)),
                Step::Blocked | Step::Full if worked => return Ok(Err(Wait::Caller)),
                Step::Blocked | Step::Full => {
                    worked = true;
                    self.work(&mut state.lobby, now);
                }
            }
        }
    }

    /// Under TLS callers shake hands whether somebody accepts or not: whoever connects waits for that.
    fn go_on(self: &Arc<Self>, py: Python<'_>) {
        let mut evicted = Vec::new();
        {
            let mut state = self.state();
            if !state.lobby.sealed() || state.closed() {
                return;
            }
            let again = match self.let_in(py, &mut state, &mut evicted, false) {
                Ok(Err(Wait::NextTurn)) => Some(Duration::ZERO),
                Err(Failure::Os(number)) if is_exhaustion(number) => {
                    state.rests_until = Some(Instant::now() + REST);
                    state.exhausted += 1;
                    Some(REST)
                }
                _ => None,
            };
            let token = state.lobby.doors().first().and_then(|door| door.token);
            if let (Some(reactor), Some(token), Some(again)) = (&self.reactor, token, again) {
                let _ = reactor.get().set_timer(again, token);
            }
        }
        for stream in evicted {
            stream.evict(py);
        }
    }

    fn watch_doors(self: &Arc<Self>, lobby: &mut Lobby) -> Result<(), Errno> {
        let Some(reactor) = &self.reactor else { return Ok(()) };
        for door in lobby.doors().iter_mut().filter(|door| door.token.is_none()) {
            let tenant = Tenant::Listener(Arc::clone(self));
            door.token = Some(reactor.get().register(tenant, door.source.as_fd(), Interest::Read)?);
        }
        Ok(())
    }

    /// Goes on with handshakes, a bounded number; for the rest the next turn comes soon.
    fn work(&self, lobby: &mut Lobby, now: Instant) {
        lobby.expire(now);
        let more = lobby.work(now, HANDSHAKES);
        let Some(reactor) = &self.reactor else { return };
        for token in lobby.departed() {
            reactor.get().forget(token);
        }
        let token = lobby.doors().first().and_then(|door| door.token);
        if let (true, Some(token)) = (more, token) {
            // Without it they would wait for other news, a moment or longer.
            let _ = reactor.get().set_timer(Duration::ZERO, token);
        }
    }

    fn watch_newcomer(self: &Arc<Self>, lobby: &mut Lobby, place: Place) -> Result<(), Errno> {
        let (Some(reactor), Some(stream)) = (&self.reactor, lobby.newcomer(place)) else { return Ok(()) };
        let tenant = Tenant::Newcomer(Arc::clone(self), place);
        let token = reactor.get().register(tenant, stream.fd().as_fd(), Interest::Read)?;
        lobby.watched(place, token);
        Ok(())
    }

    /// News of a newcomer's socket; `settle` draws the conclusions.
    pub fn on_newcomer(&self, place: Place, news: Readiness) {
        self.state().lobby.news(place, news);
    }

    /// After news of newcomers: handshakes go on, and who has proved himself is handed to the next who accepts.
    pub fn settle(&self, py: Python<'_>, woken: &mut Vec<OperationRef>) {
        let next = {
            let mut state = self.state();
            self.work(&mut state.lobby, Instant::now());
            if state.lobby.has_arrivals() {
                state.acceptors.pop_front()
            } else {
                None
            }
        };
        woken.extend(next.filter(|next| next.notify(py)));
    }

    /// A peer has sent something: it is not among those who must go first any more.
    pub fn proven(&self, place: Place) {
        self.state().lobby.admission().proven(place);
    }

    pub fn offended(&self, place: Place, why: Offence) {
        self.state().lobby.admission().offended(place, why, Instant::now());
    }

    /// Looks after those who have no tasks yet, twice a second; says whether the log should be told what the limits did.
    pub fn sweep(&self, now: Instant) -> bool {
        let mut state = self.state();
        let state = &mut *state;
        self.work(&mut state.lobby, now);
        let acts = state.lobby.seen().counters().total();
        let (told, at) = state.told;
        let due = acts > told && at.is_none_or(|at| now.saturating_duration_since(at) >= LOG_PAUSE);
        if due {
            state.told = (acts, Some(now));
        }
        due
    }

    /// Has the log told what the limits did.
    pub fn tell(&self, py: Python<'_>) {
        let listener = self.subject.get().and_then(|subject| subject.bind(py).upgrade());
        if let Some(Err(failure)) = listener.map(|listener| listener.call_method0(intern!(py, "_tell_limits"))) {
            failure.write_unraisable(py, None);
        }
    }

    /// Accepts nobody for a moment: too much memory is in use.
    pub fn pause(&self, now: Instant) {
        self.state().rests_until = Some(now + REST);
    }

    pub fn is_closed(&self) -> bool {
        self.state().closed()
    }

    /// Out of descriptors: accepting would spin. The backlog keeps the callers until some are free.
    fn rest(&self, subject: &Bound<'_, Listener>, why: Errno) -> PyResult<()> {
        {
            let mut state = self.state();
            state.rests_until = Some(Instant::now() + REST);
            state.exhausted += 1;
        }
        subject.call_method1(intern!(subject.py(), "_exhausted"), (why.raw_os_error(),))?;
        Ok(())
    }

    pub fn enlist(self: &Arc<Self>, py: Python<'_>, me: &OperationRef, again: bool) -> PyResult<()> {
        let mut state = self.state();
        let state = &mut *state;
        if again {
            state.acceptors.push_front(me.clone_ref(py));
        } else {
            state.acceptors.push_back(me.clone_ref(py));
        }
        let Some(reactor) = &self.reactor else { return Ok(()) };
        self.watch_doors(&mut state.lobby).map_err(os_error)?;
        let token = state.lobby.doors().first().and_then(|door| door.token);
        if let (Some(until), Some(token)) = (state.rests_until, token) {
            let rest = until.saturating_duration_since(Instant::now());
            reactor.get().set_timer(rest, token).map_err(os_error)?;
        }
        Ok(())
    }

    pub fn dismiss(&self, py: Python<'_>, me: &OperationRef) {
        self.state().acceptors.retain(|acceptor| !acceptor.is(me));
        // It may have been woken for a caller that the next one must take.
        let next = self.next_if_ready();
        self.resume_later(py, next);
    }

    pub fn forget_waiters(&self) {
        let acceptors = std::mem::take(&mut self.state().acceptors);
        drop(acceptors);
    }

    pub fn on_ready(self: &Arc<Self>, token: Token, woken: &mut Vec<OperationRef>) {
        let next = {
            let mut state = self.state();
            if let Some(door) = state.lobby.doors().iter_mut().find(|door| door.token == Some(token)) {
                door.ready = true;
            }
            if state.rests_until.is_some() || !state.lobby.promising() {
                None
            } else {
                state.acceptors.pop_front()
            }
        };
        Python::attach(|py| match next {
            Some(next) => woken.extend(Some(next).filter(|next| next.notify(py))),
            None => self.go_on(py),
        });
    }

    pub fn on_timer(self: &Arc<Self>, woken: &mut Vec<OperationRef>) {
        let next = {
            let mut state = self.state();
            for door in state.lobby.doors() {
                door.ready = true;
            }
            state.acceptors.pop_front()
        };
        Python::attach(|py| match next {
            Some(next) => woken.extend(Some(next).filter(|next| next.notify(py))),
            None => self.go_on(py),
        });
    }

    /// For a thread that blocks: what `poll` must tell of.
    pub fn poll_for(&self) -> Watch {
        let mut state = self.state();
        let state = &mut *state;
        if state.closed() {
            return Watch::over();
        }
        let full = state.lobby.seen().full();
        let mut watch = Watch { sources: Vec::new(), until: state.rests_until };
        if state.bell.is_none() {
            state.bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).ok().map(Arc::new);
        }
        match &state.bell {
            Some(bell) => {
                // Whoever rang it before did so for what the last attempt has seen.
                let _ = rustix::io::read(bell, &mut [0_u8; 8]);
                watch.sources.push((Arc::clone(bell) as _, PollFlags::IN));
            }
            None => watch.until = watch.until.or(Some(Instant::now() + REST)), // Out of descriptors: look from time to time.
        }
        for door in state.lobby.doors() {
            door.ready = true;
            if !full && state.rests_until.is_none() {
                watch.sources.push((Arc::clone(&door.source) as _, PollFlags::IN));
            }
        }
        watch
            .sources
            .extend(state.lobby.newcomers().map(|(_, newcomer)| (Arc::clone(newcomer.fd()) as _, PollFlags::IN)));
        watch.until = watch.until.into_iter().chain(state.lobby.due()).min();
        watch
    }

    /// `me` is about to try again, after `poll` spoke of the sources of the watch.
    pub fn note(&self, me: &OperationRef, news: &[PollFlags]) {
        let mut state = self.state();
        state.acceptors.retain(|acceptor| !acceptor.is(me));
        // The newcomers' are the last of the sources.
        let places: Vec<Place> = state.lobby.newcomers().map(|(place, _)| place).collect();
        for (place, flags) in places.iter().rev().zip(news.iter().rev()).filter(|(_, flags)| !flags.is_empty()) {
            let to_the_end = flags.intersects(PollFlags::HUP | PollFlags::ERR);
            state.lobby.news(*place, Readiness { readable: true, writable: true, to_the_end });
        }
    }

    /// For who accepts in its place: the same admission, counted in the same place.
    pub fn with_admission(&self, act: &mut dyn FnMut(&mut Admission)) {
        act(self.state().lobby.admission());
    }

    pub fn count_accepted(&self) {
        self.state().accepted += 1;
    }

    pub fn guard_limits(&self) -> GuardLimits {
        self.rules.guard
    }

    /// Gives its sockets to somebody who accepts in its place, until `take_back`.
    pub fn lend(&self) -> Result<Vec<Arc<OwnedFd>>, Failure> {
        let mut state = self.state();
        if state.closed() {
            return Err(Failure::Closed);
        }
        if state.relayed || !state.acceptors.is_empty() {
            return Err(Failure::Busy);
        }
        if state.lobby.sealed() {
            return Err(Failure::Os(Errno::OPNOTSUPP)); // His callers would be let in without a handshake.
        }
        let sockets = state.lobby.doors().iter().map(|door| match &*door.source {
            Source::Socket(socket) => Ok(Arc::clone(socket)),
            Source::Memory(_) => Err(Failure::Os(Errno::OPNOTSUPP)),
        });
        let sockets = sockets.collect::<Result<Vec<_>, _>>()?;
        for door in state.lobby.doors() {
            // Each caller would wake the loop for nothing. The tenant is this listener, which its caller holds.
            if let (Some(reactor), Some(token)) = (&self.reactor, door.token.take()) {
                drop(reactor.get().deregister(token, door.source.as_fd()));
            }
        }
        state.relayed = true;
        Ok(sockets)
    }

    /// Whom to tell when it is closed.
    pub fn lent_to(&self, forward: &Arc<ForwardShared>) {
        self.state().lent_to = Arc::downgrade(forward);
    }

    pub fn take_back(&self) {
        let mut state = self.state();
        state.relayed = false;
        state.lent_to = Weak::new();
        for door in state.lobby.doors() {
            door.ready = true;
        }
    }

    fn shut(&self, py: Python<'_>) {
        let (doors, departed, acceptors, lent_to) = {
            let mut state = self.state();
            ring(state.bell.take().as_ref());
            let lent_to = state.lent_to.upgrade();
            let doors = state.lobby.shut();
            (doors, state.lobby.departed(), std::mem::take(&mut state.acceptors), lent_to)
        };
        if let Some(reactor) = &self.reactor {
            for token in departed {
                reactor.get().forget(token);
            }
        }
        if let Some(forward) = lent_to {
            forward.stop_in_grace();
        }
        for door in &doors {
            if let (Some(reactor), Some(token)) = (&self.reactor, door.token) {
                drop(reactor.get().deregister(token, door.source.as_fd()));
            }
            door.source.shut();
        }
        for acceptor in acceptors {
            self.resume_later(py, Some(acceptor));
        }
    }

    /// The first acceptor, if one more accept may succeed.
    fn next_if_ready(&self) -> Option<OperationRef> {
        let mut state = self.state();
        if state.lobby.promising() && state.rests_until.is_none() {
            state.acceptors.pop_front()
        } else {
            None
        }
    }

    fn resume_later(&self, py: Python<'_>, operation: Option<OperationRef>) {
        if let (Some(reactor), Some(operation)) = (self.reactor(py), operation.filter(|operation| operation.notify(py)))
        {
            Reactor::resume_later(reactor, operation);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn closed(&mut self) -> bool {
        self.lobby.doors().is_empty()
    }
}

fn ring(bell: Option<&Arc<OwnedFd>>) {
    if let Some(bell) = bell {
        let _ = rustix::io::write(bell, &1_u64.to_ne_bytes());
    }
}

fn is_exhaustion(number: Errno) -> bool {
    matches!(number, Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM)
}

const REST: Duration = Duration::from_millis(100);
/// How many handshakes are driven per turn of the loop: some milliseconds of it.
const HANDSHAKES: usize = 16;
const LOG_PAUSE: Duration = Duration::from_secs(10);
const WORST_SOURCES: usize = 16;
