//! `_core.Forward`: a listener's connections, each relayed by the engine to a new one.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyTuple};
use rustix::event::{eventfd, EventfdFlags, PollFlags};
use rustix::net::SocketAddrUnix;
use socketkit_engine::admission::Admission;
use socketkit_engine::relay::{Counters, Forward as Order, ForwardJob, Gate, House, Target, Thread};

use crate::action::{Action, Attempt, Wait};
use crate::blocking::Watch;
use crate::failure::os_error;
use crate::listener::{Listener, ListenerShared};
use crate::operation::{self, OperationRef};
use crate::reactor::{Reactor, Remote};
use crate::relay::HALT_LONGEST;
use crate::threads;

/// Accepts in place of the listener's owner, from its making until it is stopped.
#[pyclass(frozen, module = "socketkit._core")]
pub struct Forward {
    shared: Arc<ForwardShared>,
    /// It stays open for as long as this is in use.
    _listener: Py<Listener>,
}

pub struct ForwardShared {
    reactor: Option<Py<Reactor>>,
    listener: Arc<ListenerShared>,
    thread: Arc<Thread>,
    job: Arc<ForwardJob>,
    notify: Arc<OwnedFd>,
    grace: Duration,
    news: AtomicBool,
    waiting: Mutex<Vec<OperationRef>>,
}

#[pymethods]
impl Forward {
    /// `targets` are tried in order: (host, port[, flow, scope]) with a numeric host, or the bytes of a Unix address.
    #[new]
    fn new(
        listener: Bound<'_, Listener>,
        targets: Vec<Bound<'_, PyAny>>,
        connections: usize,
        connect_seconds: f64,
        grace_seconds: f64,
    ) -> PyResult<Self> {
        let py = listener.py();
        let order = Order {
            targets: targets.iter().map(target).collect::<PyResult<_>>()?,
            connections_max: connections.max(1),
            connect_timeout: seconds(connect_seconds)?,
            listeners: Vec::new(),
            house: None,
        };
        let grace = seconds(grace_seconds)?;
        let thread = threads::for_relays(py)?;
        let shared = Arc::clone(listener.get().shared());
        let reactor = shared.reactor(py).map(|reactor| reactor.clone().unbind());
        let notify = match &reactor {
            Some(reactor) => reactor.get().notifier(),
            None => Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).map_err(os_error)?),
        };
        let listeners = shared.lend().map_err(|failure| failure.into_exception(listener.as_any(), "relay"))?;
        let house = House { gate: Arc::new(Counting(Arc::clone(&shared))), guard: shared.guard_limits() };
        let job = thread.forward(Order { listeners, house: Some(house), ..order }, Arc::clone(&notify));
        let made = Arc::new(ForwardShared {
            reactor,
            listener: Arc::clone(&shared),
            thread,
            job,
            notify,
            grace,
            news: AtomicBool::new(false),
            waiting: Mutex::default(),
        });
        shared.lent_to(&made);
        if let Some(reactor) = &made.reactor {
            reactor.get().watch_remote(Remote::Forward(Arc::downgrade(&made)));
        }
        Ok(Self { shared: made, _listener: listener.unbind() })
    }

    /// Waits for news: true if something failed (told at most every ten seconds), false once it is over.
    fn news<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        operation::new(slf.py(), Action::Forward(slf.clone().unbind()))
    }

    /// Stops accepting; what is open has `grace_seconds` to end, then it is reset.
    fn stop(&self, grace_seconds: f64) -> PyResult<()> {
        self.shared.stop(seconds(grace_seconds)?);
        Ok(())
    }

    /// Ends it now: every connection is reset when this returns.
    fn halt(&self, py: Python<'_>) {
        self.shared.halt(py);
    }

    #[getter]
    fn accepted(&self) -> u64 {
        self.counters().accepted()
    }

    #[getter]
    fn connections(&self) -> u64 {
        self.counters().active()
    }

    #[getter]
    fn failed(&self) -> u64 {
        self.counters().failed()
    }

    #[getter]
    fn broken(&self) -> u64 {
        self.counters().broken()
    }

    #[getter]
    fn a_to_b_bytes(&self) -> u64 {
        self.counters().progress().a_to_b()
    }

    #[getter]
    fn b_to_a_bytes(&self) -> u64 {
        self.counters().progress().b_to_a()
    }

    /// The kernel's number of the last failure.
    #[getter]
    fn last_errno(&self) -> Option<i32> {
        self.counters().last_error().map(|failure| failure.raw_os_error())
    }
}

/// The listener whose limits the relay thread keeps in its place.
struct Counting(Arc<ListenerShared>);

impl Gate for Counting {
    fn admission(&self, act: &mut dyn FnMut(&mut Admission)) {
        self.0.with_admission(act);
    }

    fn accepted(&self) {
        self.0.count_accepted();
    }
}

impl fmt::Debug for Counting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Counting")
    }
}

impl Forward {
    pub fn shared(&self) -> &Arc<ForwardShared> {
        &self.shared
    }

    fn counters(&self) -> &Counters {
        self.shared.job.counters()
    }
}

impl Drop for Forward {
    fn drop(&mut self) {
        Python::attach(|py| self.shared.halt(py));
    }
}

impl ForwardShared {
    pub fn reactor<'py>(&self, py: Python<'py>) -> Option<&Bound<'py, Reactor>> {
        self.reactor.as_ref().map(|reactor| reactor.bind(py))
    }

    pub fn attempt(&self, py: Python<'_>) -> PyResult<Attempt> {
        self.look();
        if self.job.done() {
            return Ok(Attempt::Ready(false.into_pyobject(py)?.to_owned().into_any().unbind()));
        }
        if self.news.swap(false, Ordering::Relaxed) {
            return Ok(Attempt::Ready(true.into_pyobject(py)?.to_owned().into_any().unbind()));
        }
        Ok(Attempt::Wait(Wait::Reported))
    }

    pub fn enlist(&self, py: Python<'_>, me: &OperationRef) {
        self.waiting().push(me.clone_ref(py));
    }

    pub fn dismiss(&self, me: &OperationRef) {
        self.waiting().retain(|waiting| !waiting.is(me));
    }

    pub fn forget_waiters(&self) {
        let waiting = std::mem::take(&mut *self.waiting());
        drop(waiting);
    }

    /// For a thread that blocks: what `poll` must tell of.
    pub fn poll_for(&self) -> Watch {
        Watch { sources: vec![(Arc::clone(&self.notify) as _, PollFlags::IN)], until: None }
    }

    pub fn note(&self, me: &OperationRef) {
        let _ = rustix::io::read(&*self.notify, &mut [0_u8; 8]);
        self.dismiss(me);
    }

    /// News from the relay thread, perhaps of this one; true if it is over.
    pub fn on_news(&self, py: Python<'_>, woken: &mut Vec<OperationRef>) -> bool {
        self.look();
        let done = self.job.done();
        if done || self.news.load(Ordering::Relaxed) {
            let waiting = std::mem::take(&mut *self.waiting());
            woken.extend(waiting.into_iter().filter(|waiting| waiting.notify(py)));
        }
        done
    }

    /// The listener was closed: what it accepted may end in its own time, within bounds.
    pub fn stop_in_grace(&self) {
        self.stop(self.grace);
    }

    fn stop(&self, grace: Duration) {
        self.thread.stop_forward(&self.job, grace);
    }

    fn halt(&self, py: Python<'_>) {
        if !self.job.done() {
            self.stop(Duration::ZERO);
            py.detach(|| self.job.wait(HALT_LONGEST));
        }
        self.listener.take_back();
    }

    fn look(&self) {
        if self.job.take_news() {
            self.news.store(true, Ordering::Relaxed);
        }
        if self.job.done() {
            self.listener.take_back();
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Vec<OperationRef>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn target(address: &Bound<'_, PyAny>) -> PyResult<Target> {
    if let Ok(name) = address.cast::<PyBytes>() {
        let name = match name.as_bytes().split_first() {
            Some((0, name)) => SocketAddrUnix::new_abstract_name(name),
            _ => SocketAddrUnix::new(name.as_bytes()),
        };
        return name.map(Target::Unix).map_err(os_error);
    }
    let address = address.cast::<PyTuple>()?;
    let (host, port): (String, u16) = (address.get_item(0)?.extract()?, address.get_item(1)?.extract()?);
    let number = |index| address.get_item(index).and_then(|number| number.extract::<u32>()).unwrap_or(0);
    // A zone is said by the scope.
    let host = host.split('%').next().unwrap_or_default();
    match host.parse::<IpAddr>() {
        Ok(IpAddr::V6(host)) => Ok(Target::Tcp(v6(host, port, number(2), number(3)))),
        Ok(host) => Ok(Target::Tcp(SocketAddr::new(host, port))),
        Err(_) => Err(PyValueError::new_err("a target's host must be an IP address")),
    }
}

fn v6(host: Ipv6Addr, port: u16, flow: u32, scope: u32) -> SocketAddr {
    SocketAddrV6::new(host, port, flow, scope).into()
}

fn seconds(seconds: f64) -> PyResult<Duration> {
    Duration::try_from_secs_f64(seconds).map_err(|_| PyValueError::new_err("seconds must be finite and not negative"))
}
