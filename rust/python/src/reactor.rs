//! The engine's reactor as a guest in a host loop: one callback a turn, which resumes the tasks whose sockets have news.

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use pyo3::exceptions::PyRuntimeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyWeakrefMethods, PyWeakrefReference};
use socketkit_engine::admission::Place;
use socketkit_engine::linger::Linger;
use socketkit_engine::reactor::{self as engine, Event, Interest, Token};
use socketkit_engine::Errno;

use crate::failure::os_error;
use crate::forward::ForwardShared;
use crate::listener::ListenerShared;
use crate::messages::MessagesShared;
use crate::operation::OperationRef;
use crate::registry::Registry;
use crate::relay::RelayShared;
use crate::slots::RESUMING;
use crate::stream::{Load, StreamShared};

/// What there was for tasks in one look.
#[derive(Clone, Copy, PartialEq, Eq)]
enum News {
    None,
    Small,
    Bulk,
}

/// What a token stands for.
#[derive(Clone)]
pub enum Tenant {
    Stream(Arc<StreamShared>),
    Messages(Arc<MessagesShared>),
    Listener(Arc<ListenerShared>),
    /// A caller of that listener who has yet to prove himself.
    Newcomer(Arc<ListenerShared>, Place),
}

/// What other threads do for tasks of this loop. Weak: their streams hold the reactor.
pub enum Remote {
    Relay(Weak<RelayShared>),
    Forward(Weak<ForwardShared>),
    /// The thread for files.
    File(Weak<StreamShared>),
}

/// One per event loop. `fileno()` is readable when `poll()` has work: `loop.add_reader(reactor.fileno(), reactor.poll)`.
#[pyclass(frozen, module = "socketkit._core")]
pub struct Reactor {
    /// Weak: the loop holds the reactor (by its reader callback), not the other way round.
    host: Py<PyWeakrefReference>,
    turn: AtomicU64,
    /// Whether `_resume_pending` is on the host's list already.
    scheduled: AtomicBool,
    inner: Mutex<Inner>,
}

struct Inner {
    engine: engine::Reactor,
    tenants: Registry<Tenant>,
    remotes: Vec<Remote>,
    guarded: Vec<Weak<StreamShared>>,
    guarded_messages: Vec<Weak<MessagesShared>>,
    listeners: Vec<Weak<ListenerShared>>,
    /// Whether the timer of the next sweep is set.
    sweeps: bool,
    swept: u64,
    events: Vec<Event>,
    linger: Linger,
    /// Operations to resume in the next turn.
    pending: Vec<OperationRef>,
}

#[pymethods]
impl Reactor {
    #[new]
    fn new(host: &Bound<'_, PyAny>) -> PyResult<Self> {
        let inner = Inner {
            engine: engine::Reactor::new().map_err(os_error)?,
            tenants: Registry::default(),
            remotes: Vec::new(),
            guarded: Vec::new(),
            guarded_messages: Vec::new(),
            listeners: Vec::new(),
            sweeps: false,
            swept: 0,
            events: Vec::new(),
            linger: Linger::default(),
            pending: Vec::new(),
        };
        Ok(Self {
            host: PyWeakrefReference::new(host)?.unbind(),
            turn: AtomicU64::new(1),
            scheduled: AtomicBool::new(false),
            inner: Mutex::new(inner),
        })
    }

    /// The descriptor to wait on (an epoll of its own).
    fn fileno(&self) -> i32 {
        self.inner().engine.as_raw_fd()
    }

    /// Takes the news of one turn and resumes the tasks that waited for it; looks again while that pays (`Linger`), within bounds, so that
    /// the host's other callbacks have their turn. Only the host loop may call it.
    fn poll(slf: &Bound<'_, Self>) -> PyResult<()> {
        let begun = Instant::now();
        slf.get().turn.fetch_add(1, Ordering::Relaxed);
        let mut news = Self::take_news(slf, Duration::ZERO)?;
        for _ in 1..LOOKS {
            // Of bulk data a moment later there is more: looking at once would find a part of it, and pay for two.
            if news != News::Small || begun.elapsed() > POLL_TIME {
                break;
            }
            let patience = slf.get().inner().linger.patience();
            news = Self::take_news(slf, patience)?;
            if patience > Duration::ZERO {
                slf.get().inner().linger.note(news != News::None);
            }
        }
        Ok(())
    }

    /// Resumes the tasks whose turn was put off. Not part of `poll`: each call of that would see to it that there is one more in the
    /// next turn, and every turn would be longer than the one before.
    fn _resume_pending(slf: &Bound<'_, Self>) -> PyResult<()> {
        let this = slf.get();
        this.scheduled.store(false, Ordering::Relaxed);
        this.turn.fetch_add(1, Ordering::Relaxed);
        let pending = std::mem::take(&mut this.inner().pending);
        Self::resume_all(slf, pending)
    }
}

impl Reactor {
    pub fn turn(&self) -> u64 {
        self.turn.load(Ordering::Relaxed)
    }

    /// The host loop, or an error if it is gone.
    pub fn host<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.host.bind(py).upgrade().ok_or_else(|| PyRuntimeError::new_err("the event loop of this connection is gone"))
    }

    /// Takes what news there is, looking for it for at most `patience`; says what there was for tasks.
    fn take_news(slf: &Bound<'_, Self>, patience: Duration) -> PyResult<News> {
        let this = slf.get();
        let (mut woken, collected) = (Vec::new(), this.collect(patience)?);
        if collected.notified {
            this.look_at_remotes(slf.py(), &mut woken);
        }
        if collected.sweep {
            this.sweep(slf.py())?;
        }
        let mut bulk = false;
        let mut stirring: Vec<Arc<ListenerShared>> = Vec::new();
        for (tenant, event) in collected.news {
            match (tenant, event) {
                (Tenant::Newcomer(listener, place), Event::Socket(_, news)) => {
                    listener.on_newcomer(place, news);
                    if !stirring.iter().any(|known| Arc::ptr_eq(known, &listener)) {
                        stirring.push(listener);
                    }
                }
                (Tenant::Newcomer(_, _), _) => {}
                (Tenant::Stream(stream), Event::Socket(_, news)) => bulk |= stream.on_ready(slf.py(), news, &mut woken),
                (Tenant::Stream(stream), _) => stream.on_timer(&mut woken),
                (Tenant::Messages(socket), Event::Socket(_, news)) => socket.on_ready(slf.py(), news, &mut woken),
                (Tenant::Messages(socket), _) => socket.on_timer(),
                (Tenant::Listener(listener), Event::Socket(token, _)) => listener.on_ready(token, &mut woken),
                (Tenant::Listener(listener), _) => listener.on_timer(&mut woken),
            }
        }
        for listener in stirring {
            listener.settle(slf.py(), &mut woken);
        }
        let news = match (woken.is_empty(), bulk) {
            (true, _) => News::None,
            (false, false) => News::Small,
            (false, true) => News::Bulk,
        };
        Self::resume_all(slf, woken)?;
        Ok(news)
    }

    fn resume_all(slf: &Bound<'_, Self>, woken: Vec<OperationRef>) -> PyResult<()> {
        let mut woken = woken.into_iter();
        while let Some(operation) = woken.next() {
            RESUMING.store(true, Ordering::Relaxed);
            let resumed = operation.resume(slf.py());
            RESUMING.store(false, Ordering::Relaxed);
            if let Err(stop) = resumed {
                // KeyboardInterrupt or SystemExit: the loop stops here, but the others' news must not be lost.
                slf.get().inner().pending.extend(woken);
                slf.get().schedule(slf);
                return Err(stop);
            }
        }
        Ok(())
    }

    /// Resumes `operation` in the next turn, which comes even if no socket has news.
    pub fn resume_later(slf: &Bound<'_, Self>, operation: OperationRef) {
        slf.get().inner().pending.push(operation);
        slf.get().schedule(slf);
    }

    pub fn register(
        &self,
        tenant: Tenant,
        socket: std::os::fd::BorrowedFd<'_>,
        interest: Interest,
    ) -> Result<Token, Errno> {
        let mut inner = self.inner();
        let token = inner.tenants.insert(tenant);
        match inner.engine.register(socket, token, interest) {
            Ok(()) => Ok(token),
            Err(failure) => {
                inner.tenants.remove(token);
                Err(failure)
            }
        }
    }

    pub fn change(&self, token: Token, socket: std::os::fd::BorrowedFd<'_>, interest: Interest) -> Result<(), Errno> {
        self.inner().engine.change(socket, token, interest)
    }

    /// Gives the tenant back so that it is dropped outside the lock.
    #[must_use]
    pub fn deregister(&self, token: Token, socket: std::os::fd::BorrowedFd<'_>) -> Option<Tenant> {
        let mut inner = self.inner();
        inner.engine.deregister(socket);
        inner.tenants.remove(token)
    }

    /// Forgets a socket that is closed already.
    pub fn forget(&self, token: Token) {
        let tenant = self.inner().tenants.remove(token);
        drop(tenant);
    }

    /// Looks after `stream` from now on.
    pub fn guard(&self, stream: &Arc<StreamShared>) -> Result<(), Errno> {
        let mut inner = self.inner();
        inner.guarded.push(Arc::downgrade(stream));
        inner.arm_sweep()
    }

    pub fn guard_messages(&self, socket: &Arc<MessagesShared>) -> Result<(), Errno> {
        let mut inner = self.inner();
        inner.guarded_messages.push(Arc::downgrade(socket));
        inner.arm_sweep()
    }

    pub fn guard_listener(&self, listener: &Arc<ListenerShared>) -> Result<(), Errno> {
        let mut inner = self.inner();
        inner.listeners.push(Arc::downgrade(listener));
        inner.arm_sweep()
    }

    /// Twice a second: cuts the connections that have met a limit of time or are too many for the memory, and forgets those that are gone.
    fn sweep(&self, py: Python<'_>) -> PyResult<()> {
        let now = Instant::now();
        let (mut guarded, mut listeners, sweep) = {
            let mut inner = self.inner();
            inner.sweeps = false;
            inner.swept += 1;
            (std::mem::take(&mut inner.guarded), std::mem::take(&mut inner.listeners), inner.swept)
        };
        let mut sockets = std::mem::take(&mut self.inner().guarded_messages);
        sockets.retain(|socket| socket.upgrade().is_some_and(|socket| socket.sweep(py, now)));
        let mut load = Load::new(sweep);
        guarded.retain(|stream| stream.upgrade().is_some_and(|stream| stream.sweep(py, now, &mut load)));
        load.shed(py);
        let paused = load.heavy();
        let mut told = Vec::new();
        listeners.retain(|listener| {
            let Some(listener) = listener.upgrade().filter(|listener| !listener.is_closed()) else { return false };
            if paused {
                listener.pause(now);
            }
            if listener.sweep(now) {
                told.push(listener);
            }
            true
        });
        let mut inner = self.inner();
        // Others may have come meanwhile.
        inner.guarded.append(&mut guarded);
        inner.listeners.append(&mut listeners);
        inner.guarded_messages.append(&mut sockets);
        let armed = inner.arm_sweep().map_err(os_error);
        drop(inner);
        for listener in told {
            listener.tell(py);
        }
        armed
    }

    pub fn set_timer(&self, after: Duration, token: Token) -> Result<(), Errno> {
        self.inner().engine.set_timer(Instant::now() + after, token)
    }

    /// What other threads write 1 (eight bytes) to when a remote has news.
    pub fn notifier(&self) -> Arc<OwnedFd> {
        self.inner().engine.notifier()
    }

    /// Asks `remote` for its news whenever the notifier says so, until it is over.
    pub fn watch_remote(&self, remote: Remote) {
        self.inner().remotes.push(remote);
    }

    fn look_at_remotes(&self, py: Python<'_>, woken: &mut Vec<OperationRef>) {
        let mut remotes = std::mem::take(&mut self.inner().remotes);
        remotes.retain(|remote| match remote {
            Remote::Relay(relay) => relay.upgrade().is_some_and(|relay| !relay.on_news(py, woken)),
            Remote::Forward(forward) => forward.upgrade().is_some_and(|forward| !forward.on_news(py, woken)),
            Remote::File(stream) => stream.upgrade().is_some_and(|stream| !stream.on_file_news(py, woken)),
        });
        // Others may have come meanwhile.
        self.inner().remotes.append(&mut remotes);
    }

    fn collect(&self, patience: Duration) -> PyResult<Collected> {
        let begun = Instant::now();
        let mut inner = self.inner();
        let inner = &mut *inner;
        inner.events.clear();
        loop {
            inner.engine.wait(Some(Duration::ZERO), &mut inner.events).map_err(os_error)?;
            if !inner.events.is_empty() || patience == Duration::ZERO || begun.elapsed() > patience {
                break;
            }
        }
        let notified = inner.events.contains(&Event::Notified);
        let sweep = inner.events.contains(&Event::Timer(SWEEP));
        let news = inner
            .events
            .iter()
            .filter_map(|event| match event {
                Event::Socket(token, _) | Event::Timer(token) => Some((inner.tenants.find(*token)?.clone(), *event)),
                Event::Notified => None,
            })
            .collect();
        Ok(Collected { news, notified, sweep })
    }

    fn schedule(&self, slf: &Bound<'_, Self>) {
        if self.scheduled.swap(true, Ordering::Relaxed) {
            return;
        }
        let py = slf.py();
        let called = self.host(py).and_then(|host| {
            host.call_method1(intern!(py, "call_soon"), (slf.getattr(intern!(py, "_resume_pending"))?,))
        });
        if called.is_err() {
            // The loop is closed: nobody is left to be resumed.
            self.scheduled.store(false, Ordering::Relaxed);
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What one look has found: the sockets' news, whether the notifier spoke, whether a sweep is due.
struct Collected {
    news: Vec<(Tenant, Event)>,
    notified: bool,
    sweep: bool,
}

impl Inner {
    fn arm_sweep(&mut self) -> Result<(), Errno> {
        if self.sweeps || (self.guarded.is_empty() && self.guarded_messages.is_empty() && self.listeners.is_empty()) {
            return Ok(());
        }
        self.engine.set_timer(Instant::now() + SWEEP_PAUSE, SWEEP)?;
        self.sweeps = true;
        Ok(())
    }
}

impl Drop for Reactor {
    fn drop(&mut self) {
        // Waiting operations and their tasks hold each other through the tenants; without a loop they wait for nothing.
        let remotes = std::mem::take(&mut self.inner().remotes);
        for remote in &remotes {
            match remote {
                Remote::Relay(relay) => drop(relay.upgrade().map(|relay| relay.forget_waiters())),
                Remote::Forward(forward) => drop(forward.upgrade().map(|forward| forward.forget_waiters())),
                Remote::File(stream) => drop(stream.upgrade().map(|stream| stream.forget_waiters())),
            }
        }
        let tenants = self.inner().tenants.drain();
        for tenant in &tenants {
            match tenant {
                Tenant::Stream(stream) => stream.forget_waiters(),
                Tenant::Messages(socket) => socket.forget_waiters(),
                Tenant::Listener(listener) | Tenant::Newcomer(listener, _) => listener.forget_waiters(),
            }
        }
    }
}

/// How often one `poll` looks for news at most, and for how long it goes on looking.
const LOOKS: usize = 16;
const POLL_TIME: Duration = Duration::from_millis(1);
const SWEEP_PAUSE: Duration = Duration::from_millis(500);
/// No socket's token: those have the highest bit clear, and the engine's own are the last two numbers.
const SWEEP: Token = 1 << 63;
