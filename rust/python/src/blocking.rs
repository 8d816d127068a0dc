//! Operations for callers without a loop: try, wait in `poll`, try again, all in the caller's thread.
//!
//! A blocked operation stands on its connection's lists as a waiting task does, so a second receiver is refused and senders keep their
//! order among threads too. Whoever closes or aborts a connection makes its socket ready for those in `poll` (`Engine::cut_off`).

use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pyo3::exceptions::{PyRuntimeError, PyTimeoutError};
use pyo3::prelude::*;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;

use crate::action::{Action, Attempt, Wait};
use crate::failure::os_error;
use crate::operation::{self, OperationRef};

/// What a wait is for, as `poll` takes it.
#[derive(Default)]
pub struct Watch {
    pub sources: Vec<(Arc<dyn AsFd + Send + Sync>, PollFlags)>,
    /// When a new attempt is due even without news.
    pub until: Option<Instant>,
}

impl Watch {
    /// Nothing to wait for: a new attempt will tell.
    pub fn over() -> Self {
        Self { sources: Vec::new(), until: Some(Instant::now()) }
    }
}

/// Does `operation` and returns what awaiting it would give; TimeoutError after `seconds` (None: never), with nothing taken or sent.
/// Signals are handled while it waits.
///
/// A send returns when the kernel has everything, as no loop goes on behind the caller's back. When the time is over after the data was
/// taken, it returns all the same: the next call on this connection, or its close, sends the rest.
#[pyfunction]
#[pyo3(signature = (operation, seconds=None))]
pub fn block(py: Python<'_>, operation: &Bound<'_, PyAny>, seconds: Option<f64>) -> PyResult<Py<PyAny>> {
    let deadline = deadline(seconds);
    operation::with_action(operation, |action, me| {
        // Without this, whoever never has to wait would never notice that his time is over. Closing must always go on.
        if seconds.is_some_and(|seconds| seconds <= 0.0) && !action.closes() {
            return Err(late(action));
        }
        let outcome = attempt_until(py, action, me, deadline);
        action.dismiss(py, me);
        match outcome {
            Ok(value) if action.sends() => flush(py, action, deadline).map(|()| value),
            Err(_) if action.closes() => {
                // Nobody would go on with it.
                action.abort(py);
                outcome
            }
            _ => outcome,
        }
    })
}

/// Waits until one of `operations` may go on, which coroutines without a loop have yielded: its place among them; None once `seconds`
/// (None: no bound) have passed. Signals are handled while it waits.
#[pyfunction]
#[pyo3(signature = (operations, seconds=None))]
pub fn wait(py: Python<'_>, operations: Vec<Bound<'_, PyAny>>, seconds: Option<f64>) -> PyResult<Option<usize>> {
    let deadline = deadline(seconds);
    let mut watches = Vec::with_capacity(operations.len());
    for (place, operation) in operations.iter().enumerate() {
        match operation::watch(operation)? {
            Some(watch) => watches.push(watch),
            None => return Ok(Some(place)),
        }
    }
    let Some((place, news)) = first(py, &watches, deadline)? else { return Ok(None) };
    operation::note(&operations[place], &news);
    Ok(Some(place))
}

fn attempt_until(
    py: Python<'_>,
    action: &mut Action,
    me: &OperationRef,
    deadline: Option<Instant>,
) -> PyResult<Py<PyAny>> {
    let mut again = false;
    loop {
        let wait = match action.attempt(py, me)? {
            Attempt::Ready(value) => return Ok(value),
            Attempt::Wait(wait) => wait,
        };
        // There may always be news: a peer who sends single bytes, callers who never finish their handshakes.
        if again && deadline.is_some_and(|deadline| deadline <= Instant::now()) {
            return Err(late(action));
        }
        action.enlist(py, me, wait, again)?;
        again = true;
        match first(py, &[action.watch(wait)], deadline)? {
            Some((_, news)) => action.note(me, &news),
            None => return Err(late(action)),
        }
    }
}

/// Sees to it that what was taken leaves the process.
fn flush(py: Python<'_>, action: &Action, deadline: Option<Instant>) -> PyResult<()> {
    while action.unflushed() {
        match first(py, &[action.watch(Wait::Flushed)], deadline)? {
            Some((_, news)) => action.note_flushed(&news),
            None => return Ok(()),
        }
    }
    action.fate(py)
}

/// Polls for all of them without the interpreter: which may go on, and what `poll` says of its sources; None once `deadline` has passed.
fn first(py: Python<'_>, watches: &[Watch], deadline: Option<Instant>) -> PyResult<Option<(usize, Vec<PollFlags>)>> {
    let due = watches.iter().filter_map(|watch| watch.until).chain(deadline).min();
    let mut polled: Vec<_> = watches
        .iter()
        .flat_map(|watch| &watch.sources)
        .map(|(source, flags)| PollFd::from_borrowed_fd((**source).as_fd(), *flags))
        .collect();
    if polled.is_empty() && due.is_none() {
        return Err(PyRuntimeError::new_err("there is nothing to wait for"));
    }
    loop {
        let patience = due.map(|due| due.saturating_duration_since(Instant::now())).map(|left| Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(left.subsec_nanos()),
        });
        match py.detach(|| rustix::event::poll(&mut polled, patience.as_ref())) {
            Ok(_) => {}
            Err(Errno::INTR) => {
                py.check_signals()?;
                continue;
            }
            Err(failure) => return Err(os_error(failure)),
        }
        let now = Instant::now();
        let mut rest = polled.iter().map(PollFd::revents);
        for (place, watch) in watches.iter().enumerate() {
            let news: Vec<_> = rest.by_ref().take(watch.sources.len()).collect();
            if news.iter().any(|news| !news.is_empty()) || watch.until.is_some_and(|until| until <= now) {
                return Ok(Some((place, news)));
            }
        }
        if deadline.is_some_and(|deadline| deadline <= now) {
            return Ok(None);
        }
    }
}

/// Polls for one watch alone; None when its time came without news.
pub fn poll(py: Python<'_>, watch: Watch) -> PyResult<Option<Vec<PollFlags>>> {
    let news = first(py, &[watch], None)?.map(|(_, news)| news);
    Ok(news.filter(|news| news.iter().any(|news| !news.is_empty())))
}

pub fn deadline(seconds: Option<f64>) -> Option<Instant> {
    seconds
        .map(|seconds| Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(Duration::MAX))
        .and_then(|time| Instant::now().checked_add(time))
}

fn late(action: &Action) -> PyErr {
    PyTimeoutError::new_err(format!("{}: no answer in time", action.name()))
}
