//! The engine's threads as Python's processes have them: without signals, and those of which there is one, one for each process.

use std::io;
use std::process::id;
use std::sync::{Arc, Mutex, PoisonError};

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::MutexExt;
use socketkit_engine::{files, relay};

/// A thread of a process, started when it is first needed.
struct OneOfProcess<T>(Mutex<Option<(u32, Arc<T>)>>);

impl<T> OneOfProcess<T> {
    const fn new() -> Self {
        Self(Mutex::new(None))
    }

    fn get(&self, py: Python<'_>, start: impl FnOnce() -> io::Result<T>) -> PyResult<Arc<T>> {
        // Starting it runs Python, which may let another thread go on: that must not wait here with the interpreter in its hands.
        let mut kept = self.0.lock_py_attached(py).unwrap_or_else(PoisonError::into_inner);
        if let Some((_, thread)) = kept.as_ref().filter(|(owner, _)| *owner == id()) {
            return Ok(Arc::clone(thread));
        }
        let thread = Arc::new(without_signals(py, start)?);
        if let Some((_, gone)) = kept.replace((id(), Arc::clone(&thread))) {
            // It stayed in the parent when this process was forked: there is nobody to be joined.
            std::mem::forget(gone);
        }
        Ok(thread)
    }
}

pub fn for_relays(py: Python<'_>) -> PyResult<Arc<relay::Thread>> {
    static THREAD: OneOfProcess<relay::Thread> = OneOfProcess::new();
    THREAD.get(py, relay::Thread::start)
}

pub fn for_files(py: Python<'_>) -> PyResult<Arc<files::Thread>> {
    static THREAD: OneOfProcess<files::Thread> = OneOfProcess::new();
    THREAD.get(py, files::Thread::start)
}

/// Starts a thread that is sent no signal: one delivered there would leave the interpreter's main thread asleep.
pub fn without_signals<T>(py: Python<'_>, start: impl FnOnce() -> io::Result<T>) -> PyResult<T> {
    let signal = py.import(intern!(py, "signal"))?;
    let all = signal.call_method0(intern!(py, "valid_signals"))?;
    let mask = intern!(py, "pthread_sigmask");
    let before = signal.call_method1(mask, (signal.getattr(intern!(py, "SIG_BLOCK"))?, all))?;
    let started = start();
    signal.call_method1(mask, (signal.getattr(intern!(py, "SIG_SETMASK"))?, before))?;
    Ok(started?)
}
