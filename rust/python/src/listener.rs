//! `_core.Listener`: accepting, within a limit, and resting when the process is out of descriptors.

use std::collections::VecDeque;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, IntoRawFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use pyo3::exceptions::PyValueError;
use pyo3::intern;
use pyo3::prelude::*;
use rustix::event::{eventfd, EventfdFlags, PollFlags};
use rustix::net::{SocketAddrAny, SocketFlags, SocketType};
use socketkit_engine::listener::{self as engine, Accepted, Source};
use socketkit_engine::reactor::{Interest, Token};
use socketkit_engine::Errno;

use crate::action::{Action, Attempt, Wait};
use crate::blocking::Watch;
use crate::budget::Budget;
use crate::failure::{os_error, Failure};
use crate::forward::ForwardShared;
use crate::operation::{self, OperationRef};
use crate::reactor::{Reactor, Tenant};
use crate::stream::Stream;

/// Listening sockets that share one limit. `make(listener, fd, peer)` builds what `accept` gives; it owns `fd`.
#[pyclass(subclass, frozen, module = "socketkit._core")]
pub struct Listener {
    shared: Arc<ListenerShared>,
}

pub struct ListenerShared {
    reactor: Option<Py<Reactor>>,
    make: Py<PyAny>,
    limit: usize,
    state: Mutex<State>,
}

struct State {
    /// Empty once it is closed.
    doors: Vec<Door>,
    /// Which door is asked first next time, so that none is preferred.
    next: usize,
    acceptors: VecDeque<OperationRef>,
    budget: Budget,
    open: usize,
    accepted: u64,
    exhausted: u64,
    rests_until: Option<Instant>,
    relayed: bool,
    /// Who accepts meanwhile.
    lent_to: Weak<ForwardShared>,
    /// Wakes threads in `poll` when there is room for a connection again, or when it is closed. Made when the first one waits.
    bell: Option<Arc<OwnedFd>>,
}

struct Door {
    source: Arc<Source>,
    token: Option<Token>,
    ready: bool,
}

/// A listener inside the process: `Listener` accepts from it, `call` leaves a socket there.
#[pyclass(frozen, weakref, module = "socketkit._core")]
pub struct MemoryPort {
    port: Arc<engine::MemoryPort>,
}

#[pymethods]
impl MemoryPort {
    #[new]
    fn new(backlog: usize) -> PyResult<Self> {
        Ok(Self { port: engine::MemoryPort::new(backlog).map_err(os_error)? })
    }

    /// Connects: one end of a new socket pair goes to the listener, the descriptor of the other is returned and the caller's.
    fn call(&self) -> PyResult<i32> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let pair = rustix::net::socketpair(rustix::net::AddressFamily::UNIX, SocketType::STREAM, flags, None);
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
        limit: usize,
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
        let doors =
            sources.into_iter().map(|source| Door { source: Arc::new(source), token: None, ready: true }).collect();
        let state = State {
            doors,
            next: 0,
            acceptors: VecDeque::new(),
            budget: Budget::default(),
            open: 0,
            accepted: 0,
            exhausted: 0,
            rests_until: None,
            relayed: false,
            lent_to: Weak::new(),
            bell: None,
        };
        Ok(Self { shared: Arc::new(ListenerShared { reactor, make, limit: limit.max(1), state: Mutex::new(state) }) })
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
        self.shared.state().doors.is_empty()
    }

    /// How many accepted connections are open.
    #[getter]
    fn connections(&self) -> usize {
        self.shared.state().open
    }

    /// (accepted in all, times that it rested because the process was out of descriptors)
    #[getter]
    fn _counters(&self) -> (u64, u64) {
        let state = self.shared.state();
        (state.accepted, state.exhausted)
    }

    #[getter]
    fn _filenos(&self) -> Vec<i32> {
        self.shared.state().doors.iter().map(|door| door.source.as_fd().as_raw_fd()).collect()
    }
}

impl Listener {
    pub fn shared(&self) -> &Arc<ListenerShared> {
        &self.shared
    }

    /// One of its connections has closed.
    pub fn released(slf: &Bound<'_, Self>) {
        let shared = &slf.get().shared;
        let next = {
            let mut state = shared.state();
            state.open = state.open.saturating_sub(1);
            ring(state.bell.as_ref());
            if state.open + 1 == shared.limit {
                state.acceptors.pop_front()
            } else {
                None
            }
        };
        shared.resume_later(slf.py(), next);
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

    pub fn attempt(&self, subject: &Bound<'_, Listener>, iterating: bool) -> PyResult<Attempt> {
        let py = subject.py();
        let outcome = self.try_accept(py);
        match outcome {
            Ok(Ok((fd, peer))) => {
                let made = self.make.bind(py).call1((subject, fd.into_raw_fd()));
                match &made {
                    Ok(made) => made.cast::<Stream>()?.get().came_from(peer.as_ref()),
                    Err(_) => Listener::released(subject),
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

    /// A caller, or what to wait for.
    #[allow(clippy::type_complexity, reason = "a caller or a wait, said once")]
    fn try_accept(&self, py: Python<'_>) -> Result<Result<(OwnedFd, Option<SocketAddrAny>), Wait>, Failure> {
        let mut state = self.state();
        let state = &mut *state;
        if state.doors.is_empty() {
            return Err(Failure::Closed);
        }
        if state.relayed {
            return Err(Failure::Busy);
        }
        let rests = state.rests_until.is_some_and(|until| Instant::now() < until);
        if state.open >= self.limit || rests {
            return Ok(Err(Wait::Caller));
        }
        state.rests_until = None;
        if !state.budget.allows(self.reactor(py).map_or(0, |reactor| reactor.get().turn())) {
            return Ok(Err(Wait::NextTurn));
        }
        for step in 0..state.doors.len() {
            let index = (state.next + step) % state.doors.len();
            let door = &mut state.doors[index];
            if !door.ready {
                continue;
            }
            match door.source.accept().map_err(Failure::Os)? {
                Accepted::Stream(fd, peer) => {
                    state.next = index + 1;
                    state.open += 1;
                    state.accepted += 1;
                    state.budget.spend(0);
                    return Ok(Ok((fd, peer)));
                }
                Accepted::Blocked => door.ready = false,
                Accepted::Exhausted(why) => return Err(Failure::Os(why)),
            }
        }
        Ok(Err(Wait::Caller))
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
        for door in &mut state.doors {
            if door.token.is_none() {
                let tenant = Tenant::Listener(Arc::clone(self));
                let registered = reactor.get().register(tenant, door.source.as_fd(), Interest::Read);
                door.token = Some(registered.map_err(os_error)?);
            }
        }
        let token = state.doors.first().and_then(|door| door.token);
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

    pub fn on_ready(&self, token: Token, woken: &mut Vec<OperationRef>) {
        let next = {
            let mut state = self.state();
            if let Some(door) = state.doors.iter_mut().find(|door| door.token == Some(token)) {
                door.ready = true;
            }
            if state.rests_until.is_some() || state.open >= self.limit {
                None
            } else {
                state.acceptors.pop_front()
            }
        };
        Python::attach(|py| woken.extend(next.filter(|next| next.notify(py))));
    }

    pub fn on_timer(&self, woken: &mut Vec<OperationRef>) {
        let next = {
            let mut state = self.state();
            for door in &mut state.doors {
                door.ready = true;
            }
            state.acceptors.pop_front()
        };
        Python::attach(|py| woken.extend(next.filter(|next| next.notify(py))));
    }

    /// For a thread that blocks: what `poll` must tell of.
    pub fn poll_for(&self) -> Watch {
        let mut state = self.state();
        let state = &mut *state;
        if state.doors.is_empty() {
            return Watch::over();
        }
        let full = state.open >= self.limit;
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
        for door in &mut state.doors {
            door.ready = true;
            if !full && state.rests_until.is_none() {
                watch.sources.push((Arc::clone(&door.source) as _, PollFlags::IN));
            }
        }
        watch
    }

    /// `me` is about to try again.
    pub fn note(&self, me: &OperationRef) {
        self.state().acceptors.retain(|acceptor| !acceptor.is(me));
    }

    /// Gives its sockets to somebody who accepts in its place, until `take_back`.
    pub fn lend(&self) -> Result<Vec<Arc<OwnedFd>>, Failure> {
        let mut state = self.state();
        if state.doors.is_empty() {
            return Err(Failure::Closed);
        }
        if state.relayed || !state.acceptors.is_empty() {
            return Err(Failure::Busy);
        }
        let sockets = state.doors.iter().map(|door| match &*door.source {
            Source::Socket(socket) => Ok(Arc::clone(socket)),
            Source::Memory(_) => Err(Failure::Os(Errno::OPNOTSUPP)),
        });
        let sockets = sockets.collect::<Result<Vec<_>, _>>()?;
        for door in &mut state.doors {
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
        for door in &mut state.doors {
            door.ready = true;
        }
    }

    fn shut(&self, py: Python<'_>) {
        let (doors, acceptors, lent_to) = {
            let mut state = self.state();
            ring(state.bell.take().as_ref());
            let lent_to = state.lent_to.upgrade();
            (std::mem::take(&mut state.doors), std::mem::take(&mut state.acceptors), lent_to)
        };
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
        let ready = state.doors.iter().any(|door| door.ready) && state.open < self.limit && state.rests_until.is_none();
        if ready {
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

fn ring(bell: Option<&Arc<OwnedFd>>) {
    if let Some(bell) = bell {
        let _ = rustix::io::write(bell, &1_u64.to_ne_bytes());
    }
}

fn is_exhaustion(number: Errno) -> bool {
    matches!(number, Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM)
}

const REST: Duration = Duration::from_millis(100);
