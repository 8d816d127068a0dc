//! The process's one thread for files, started when it is first needed.

use std::sync::{Arc, Mutex, PoisonError};

use pyo3::prelude::*;
use socketkit_engine::files::Thread;

use crate::relay::without_signals;

pub fn thread(py: Python<'_>) -> PyResult<Arc<Thread>> {
    static THREAD: Mutex<Option<(u32, Arc<Thread>)>> = Mutex::new(None);
    let mut kept = THREAD.lock().unwrap_or_else(PoisonError::into_inner);
    let process = std::process::id();
    if let Some((_, thread)) = kept.as_ref().filter(|(owner, _)| *owner == process) {
        return Ok(Arc::clone(thread));
    }
    let thread = Arc::new(without_signals(py, Thread::start)?);
    // After a fork the parent's has stayed there.
    *kept = Some((process, Arc::clone(&thread)));
    Ok(thread)
}
