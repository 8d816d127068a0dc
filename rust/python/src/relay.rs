//! `_core.Relay`: two streams in the engine's hands, from `start` until both have ended, one has failed, or it is stopped.
//!
//! Streams of a loop are relayed by the relay thread, blocking ones by the thread that waits, and those under TLS where they are
//! (`moving`). While it goes on, nobody else may use
//! them; afterwards they are as if their owner had moved the bytes himself: what was read and not delivered waits to be sent.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use pyo3::exceptions::{PyRuntimeError, PyTimeoutError, PyValueError};
use pyo3::prelude::*;
use socketkit_engine::relay::{run_pair, Job, Operation, Progress, Report, Side, Thread, Which};
use socketkit_engine::Errno;

use crate::action::{Action, Attempt, Wait};
use crate::blocking;
use crate::failure::Failure;
use crate::operation::{self, OperationRef};
use crate::reactor::{Reactor, Remote};
use crate::stream::lending::{Lendable, Lent, Returned};
use crate::stream::{Stream, StreamShared};
use crate::threads;

mod moving;

use moving::Mover;

/// Bytes both ways between two streams of one loop, or of none.
#[pyclass(frozen, module = "socketkit._core")]
pub struct Relay {
    a: Py<Stream>,
    b: Py<Stream>,
    shared: Arc<RelayShared>,
}

pub struct RelayShared {
    a: Arc<StreamShared>,
    b: Arc<StreamShared>,
    stage: Mutex<Stage>,
    /// Asks the thread that relays here to stop.
    halted: AtomicBool,
    waiting: Mutex<Vec<OperationRef>>,
}

enum Stage {
    New,
    Running(Running),
    /// Where the streams are.
    Moving(Mover),
    /// The account is being made.
    Settling,
    Over(Outcome),
}

struct Running {
    work: Work,
    a: Handed,
    b: Handed,
}

enum Work {
    Thread(Arc<Thread>, Arc<Job>),
    /// In the thread that waits for it; the sides are gone while it does.
    Here(Option<Box<(Side, Side)>>, Arc<Progress>),
}

/// What the engine got of one side: sizes of its queues, and whether nothing can be sent to it.
#[derive(Clone, Copy)]
struct Handed {
    received: usize,
    unsent: usize,
    finished: bool,
}

#[derive(Clone, Copy)]
struct Outcome {
    a_to_b: u64,
    b_to_a: u64,
    end: End,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Done,
    Stopped,
    /// A side was closed or aborted by its owner.
    Closed(Which),
    /// A side was reset or lost.
    Broken(Which, Errno),
    /// It could not be relayed; both are as they were.
    Refused(Which, Errno),
    /// The relay itself failed, with what it had in hand.
    Lost,
}

#[pymethods]
impl Relay {
    #[new]
    fn new(a: Bound<'_, Stream>, b: Bound<'_, Stream>) -> PyResult<Self> {
        let py = a.py();
        let (first, second) = (Arc::clone(a.get().shared()), Arc::clone(b.get().shared()));
        if a.is(&b) {
            return Err(PyValueError::new_err("a connection cannot be relayed to itself"));
        }
        let same_loop = match (first.reactor(py), second.reactor(py)) {
            (Some(one), Some(other)) => one.is(other),
            (one, other) => one.is_none() && other.is_none(),
        };
        if !same_loop {
            return Err(PyValueError::new_err("the two connections belong to different event loops"));
        }
        let shared = RelayShared {
            a: first,
            b: second,
            stage: Mutex::new(Stage::New),
            halted: AtomicBool::new(false),
            waiting: Mutex::default(),
        };
        Ok(Self { a: a.unbind(), b: b.unbind(), shared: Arc::new(shared) })
    }

    /// Takes both streams. Blocking ones are relayed by `run`.
    fn start(&self, py: Python<'_>) -> PyResult<()> {
        if !matches!(*self.shared.stage(), Stage::New) {
            return Err(PyRuntimeError::new_err("a relay is used once"));
        }
        let (a, b) = (self.lendable(py, &self.a, &self.b)?, self.lendable(py, &self.b, &self.a)?);
        let (finished_a, finished_b) = (a.finished, b.finished);
        if a.sealed || b.sealed {
            return self.shared.start_moving(py, finished_a, finished_b);
        }
        let thread = if self.shared.a.reactor(py).is_some() { Some(threads::for_relays(py)?) } else { None };
        // What came from one is kept for its owner if nothing can be sent to the other.
        let lent_a = self.shared.a.lend(Arc::downgrade(&self.shared), !finished_b);
        let lent_b = self.shared.b.lend(Arc::downgrade(&self.shared), !finished_a);
        let (Some(lent_a), Some(lent_b)) = (lent_a, lent_b) else {
            return Err(PyRuntimeError::new_err("the interpreter let another thread close the connection"));
        };
        let ((a, handed_a), (b, handed_b)) = (side(lent_a), side(lent_b));
        let work = match (thread, self.shared.a.reactor(py)) {
            (Some(thread), Some(reactor)) => {
                let job = thread.relay(a, b, reactor.get().notifier());
                reactor.get().watch_remote(Remote::Relay(Arc::downgrade(&self.shared)));
                Work::Thread(thread, job)
            }
            _ => Work::Here(Some(Box::new((a, b))), Arc::default()),
        };
        *self.shared.stage() = Stage::Running(Running { work, a: handed_a, b: handed_b });
        Ok(())
    }

    /// Waits until it is over: (a_to_b_bytes, b_to_a_bytes, how, side, errno). Cancelled, it goes on.
    fn ended<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        operation::new(slf.py(), Action::Relay(slf.clone().unbind()))
    }

    /// Relays blocking streams in this thread, in no more than `seconds`: what `ended` gives, or TimeoutError with both streams usable.
    #[pyo3(signature = (seconds=None))]
    fn run(&self, py: Python<'_>, seconds: Option<f64>) -> PyResult<Py<PyAny>> {
        if !self.shared.run(py, blocking::deadline(seconds))? {
            return Err(PyTimeoutError::new_err("relay: no end in time"));
        }
        match &*self.shared.stage() {
            Stage::Over(outcome) => outcome.into_tuple(py),
            _ => Err(PyRuntimeError::new_err("a relay is used once")),
        }
    }

    /// Has it end soon.
    fn stop(&self, py: Python<'_>) {
        self.shared.stop(py);
    }

    /// Ends it now: the streams are their owner's again when this returns.
    fn halt(&self, py: Python<'_>) {
        self.shared.halt(py);
    }

    #[getter]
    fn a_to_b_bytes(&self) -> u64 {
        self.shared.moved(|(a_to_b, _)| a_to_b)
    }

    #[getter]
    fn b_to_a_bytes(&self) -> u64 {
        self.shared.moved(|(_, b_to_a)| b_to_a)
    }
}

impl Relay {
    pub fn shared(&self) -> &Arc<RelayShared> {
        &self.shared
    }

    /// Whether one stream may be lent. If it is broken already, that is passed on to the other.
    fn lendable(&self, py: Python<'_>, stream: &Py<Stream>, other: &Py<Stream>) -> PyResult<Lendable> {
        stream.get().shared().lendable().map_err(|failure| {
            if matches!(failure, Failure::Os(_)) {
                other.get().shared().abort(py);
            }
            failure.into_exception(stream.bind(py).as_any(), "relay")
        })
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        Python::attach(|py| self.shared.halt(py));
    }
}

impl RelayShared {
    pub fn reactor<'py>(&self, py: Python<'py>) -> Option<&Bound<'py, Reactor>> {
        self.a.reactor(py)
    }

    pub fn attempt(&self, py: Python<'_>) -> PyResult<Attempt> {
        match &*self.stage() {
            Stage::New | Stage::Running(Running { work: Work::Here(..), .. }) => {
                Err(PyRuntimeError::new_err("this relay was not started, or blocks: use run"))
            }
            Stage::Moving(_) if self.a.reactor(py).is_none() => {
                Err(PyRuntimeError::new_err("this relay blocks: use run"))
            }
            Stage::Running(_) | Stage::Moving(_) | Stage::Settling => Ok(Attempt::Wait(Wait::Reported)),
            Stage::Over(outcome) => Ok(Attempt::Ready(outcome.into_tuple(py)?)),
        }
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

    /// Relays in this thread, without the interpreter, until the end or `deadline` (false).
    fn run(&self, py: Python<'_>, deadline: Option<Instant>) -> PyResult<bool> {
        if matches!(*self.stage(), Stage::Moving(_)) {
            return self.move_alone(py, deadline);
        }
        let taken = match &mut *self.stage() {
            Stage::Running(Running { work: Work::Here(sides, progress), .. }) => {
                sides.take().map(|sides| (sides, Arc::clone(progress)))
            }
            _ => None,
        };
        let Some((sides, progress)) = taken else {
            return Err(PyRuntimeError::new_err("this relay is not one to be run here"));
        };
        let mut signalled = None;
        let report = py.detach(|| {
            let mut stop = || {
                if self.halted.load(Ordering::Relaxed) {
                    return true;
                }
                signalled = Python::attach(|py| py.check_signals()).err();
                signalled.is_some()
            };
            run_pair(sides.0, sides.1, &progress, deadline, &mut stop)
        });
        self.settle(py, Some(report));
        match signalled {
            Some(signalled) => Err(signalled),
            None => Ok(!matches!(*self.stage(), Stage::Over(Outcome { end: End::Stopped, .. }))),
        }
    }

    /// News from the relay thread; true if it is over.
    pub fn on_news(&self, py: Python<'_>, woken: &mut Vec<OperationRef>) -> bool {
        if matches!(*self.stage(), Stage::Moving(_)) {
            self.look(py);
            return false;
        }
        let report = match &*self.stage() {
            Stage::Running(Running { work: Work::Thread(_, job), .. }) if !job.done() => return false,
            Stage::Running(Running { work: Work::Thread(_, job), .. }) => job.take_report(),
            _ => None,
        };
        if let Some(report) = report {
            self.settle(py, Some(report));
        }
        let waiting = std::mem::take(&mut *self.waiting());
        woken.extend(waiting.into_iter().filter(|waiting| waiting.notify(py)));
        true
    }

    pub fn stop(&self, py: Python<'_>) {
        self.halted.store(true, Ordering::Relaxed);
        if matches!(*self.stage(), Stage::Moving(_)) {
            return self.settle_here(py);
        }
        if let Stage::Running(Running { work: Work::Thread(thread, job), .. }) = &*self.stage() {
            thread.stop(job);
        }
    }

    fn halt(&self, py: Python<'_>) {
        self.stop(py);
        enum Waited {
            Thread(Arc<Job>),
            Here(Box<(Side, Side)>, Arc<Progress>),
        }
        let waited = match &mut *self.stage() {
            Stage::Running(Running { work: Work::Thread(_, job), .. }) => Waited::Thread(Arc::clone(job)),
            Stage::Running(Running { work: Work::Here(sides, progress), .. }) => match sides.take() {
                Some(sides) => Waited::Here(sides, Arc::clone(progress)),
                // Another thread is at it; it stops and settles.
                None => return,
            },
            _ => return,
        };
        let report = match waited {
            Waited::Thread(job) => {
                py.detach(|| job.wait(HALT_LONGEST));
                job.take_report()
            }
            Waited::Here(sides, progress) => {
                Some(run_pair(sides.0, sides.1, &progress, Some(Instant::now()), &mut || true))
            }
        };
        self.settle(py, report);
        self.wake(py);
    }

    fn wake(&self, py: Python<'_>) {
        let waiting = std::mem::take(&mut *self.waiting());
        if let Some(reactor) = self.reactor(py) {
            for operation in waiting.into_iter().filter(|waiting| waiting.notify(py)) {
                Reactor::resume_later(reactor, operation);
            }
        }
    }

    /// Gives both streams back with what the report says. Without one, the engine has not answered: both are lost.
    fn settle(&self, py: Python<'_>, report: Option<Report>) {
        let running = match std::mem::replace(&mut *self.stage(), Stage::Settling) {
            Stage::Running(running) => running,
            other => {
                *self.stage() = other;
                return;
            }
        };
        let lost = report.is_none();
        let report = report.unwrap_or_default();
        let mut end = end_of(&report, &running, lost);
        let broken = |which| match end {
            End::Broken(side, failure) if side == which => Some(failure),
            _ => None,
        };
        // What was read from B and is not A's own is counted where it was read.
        let read_b = report.b_to_a as usize + report.leftover_a.len() - report.unsent_a.min(report.leftover_a.len());
        let read_a = report.a_to_b as usize + report.leftover_b.len() - report.unsent_b.min(report.leftover_b.len());
        let (received_b, received_a) =
            (read_b.saturating_sub(running.b.received), read_a.saturating_sub(running.a.received));
        let alive_a = self.a.take_back(
            py,
            Returned {
                sent_bytes: (running.a.unsent - report.unsent_a.min(running.a.unsent)) as u64 + report.b_to_a,
                received_bytes: received_a as u64,
                unsent: report.leftover_a,
                ended: report.ended_a,
                finished: report.finished_a,
                broken: broken(Which::A),
            },
        );
        let alive_b = self.b.take_back(
            py,
            Returned {
                sent_bytes: (running.b.unsent - report.unsent_b.min(running.b.unsent)) as u64 + report.a_to_b,
                received_bytes: received_b as u64,
                unsent: report.leftover_b,
                ended: report.ended_b,
                finished: report.finished_b,
                broken: broken(Which::B),
            },
        );
        if matches!(end, End::Stopped | End::Refused(..)) && !(alive_a && alive_b) {
            end = End::Closed(if alive_a { Which::B } else { Which::A });
        }
        self.cut(py, end);
        *self.stage() = Stage::Over(Outcome { a_to_b: report.a_to_b, b_to_a: report.b_to_a, end });
    }

    /// A stream that was cut short must not look whole to the other peer.
    fn cut(&self, py: Python<'_>, end: End) {
        let (cut_a, cut_b) = match end {
            End::Done | End::Stopped | End::Refused(..) => (false, false),
            End::Closed(Which::A) | End::Broken(Which::A, _) => (false, true),
            End::Closed(Which::B) | End::Broken(Which::B, _) => (true, false),
            End::Lost => (true, true),
        };
        if cut_a {
            self.a.abort(py);
        }
        if cut_b {
            self.b.abort(py);
        }
    }

    /// Whether anything of `side` was passed on.
    pub fn has_heard(&self, side: &Arc<StreamShared>) -> bool {
        self.moved(|(a_to_b, b_to_a)| if Arc::ptr_eq(side, &self.a) { a_to_b } else { b_to_a }) > 0
    }

    fn moved(&self, of: impl Fn((u64, u64)) -> u64) -> u64 {
        let both = |progress: &Progress| (progress.a_to_b(), progress.b_to_a());
        of(match &mut *self.stage() {
            Stage::New | Stage::Settling => (0, 0),
            Stage::Running(Running { work: Work::Thread(_, job), .. }) => both(job.progress()),
            Stage::Running(Running { work: Work::Here(_, progress), .. }) => both(progress),
            Stage::Moving(mover) => mover.delivered(&self.a, &self.b),
            Stage::Over(outcome) => (outcome.a_to_b, outcome.b_to_a),
        })
    }

    fn stage(&self) -> MutexGuard<'_, Stage> {
        self.stage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn waiting(&self) -> MutexGuard<'_, Vec<OperationRef>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Outcome {
    fn into_tuple(self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let (how, side, failure) = match self.end {
            End::Done => ("done", None, None),
            End::Stopped => ("stopped", None, None),
            End::Closed(side) => ("closed", Some(side), None),
            End::Broken(side, failure) => ("broken", Some(side), Some(failure)),
            End::Refused(side, failure) => ("refused", Some(side), Some(failure)),
            End::Lost => ("lost", None, None),
        };
        let side = side.map(|side| if side == Which::A { "a" } else { "b" });
        let failure = failure.map_or(0, Errno::raw_os_error);
        Ok((self.a_to_b, self.b_to_a, how, side, failure).into_pyobject(py)?.into_any().unbind())
    }
}

fn end_of(report: &Report, running: &Running, lost: bool) -> End {
    if lost {
        return End::Lost;
    }
    match report.failure {
        Some(failure) if failure.operation == Operation::Engine => return End::Lost,
        Some(failure) if failure.operation == Operation::Watch => return End::Refused(failure.side, failure.errno),
        Some(failure) => return End::Broken(failure.side, failure.errno),
        None => {}
    }
    let a_to_b = running.b.finished || (report.ended_a && report.finished_b);
    let b_to_a = running.a.finished || (report.ended_b && report.finished_a);
    if a_to_b && b_to_a {
        End::Done
    } else {
        End::Stopped
    }
}

fn side(lent: Lent) -> (Side, Handed) {
    let handed = Handed { received: lent.received.len(), unsent: lent.unsent.len(), finished: lent.finished };
    let Lent { fd, received, unsent, ended, finished } = lent;
    (Side { fd, received, unsent, ended, finished }, handed)
}

/// A stopped job reports within a turn of the relay thread; longer than this, and the thread is stuck.
pub const HALT_LONGEST: Duration = Duration::from_secs(2);
