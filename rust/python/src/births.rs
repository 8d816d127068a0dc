//! `_core.Births`: whose each TCP and UDP socket is, told when it begins and when it is closed.

use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::sync::{Mutex, MutexGuard, PoisonError};

use pyo3::exceptions::{PyPermissionError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyList, PyString, PyTuple};
use socketkit_engine::births::Births as Heard;
use socketkit_engine::Errno;
use socketkit_wire::birth_records::{Birth, Kind};

use crate::failure::os_error;

/// BPF programs that note whose a socket is, and what they have noted.
#[pyclass(frozen, module = "socketkit._core")]
pub struct Births {
    /// None: closed.
    heard: Mutex<Option<Heard>>,
}

#[pymethods]
impl Births {
    #[new]
    fn new(py: Python<'_>) -> PyResult<Self> {
        let heard = py.detach(Heard::load);
        let heard = heard.map_err(|reason| PyPermissionError::new_err(reason.to_string()))?;
        Ok(Births { heard: Mutex::new(Some(heard)) })
    }

    /// Readable when something was noted.
    fn fileno(&self) -> PyResult<RawFd> {
        self.heard().as_ref().map(|heard| heard.as_fd().as_raw_fd()).ok_or_else(closed)
    }

    /// What was noted since the last call; does not wait.
    fn read<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let told = py.detach(|| self.heard().as_mut().map(Heard::read)).ok_or_else(closed)?;
        let told = told.map_err(|failure| os_error(Errno::from_io_error(&failure).unwrap_or(Errno::BADMSG)))?;
        let told = told.iter().map(|birth| record(py, birth)).collect::<PyResult<Vec<_>>>()?;
        PyList::new(py, told)
    }

    /// How many found no room, because they were not read in time.
    #[getter]
    fn lost(&self, py: Python<'_>) -> PyResult<u64> {
        py.detach(|| self.heard().as_ref().map(Heard::lost)).ok_or_else(closed)
    }

    /// What this machine has no place to note: of "opened" and "closed".
    #[getter]
    fn unheard<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        let unheard = self.heard().as_ref().map(|heard| heard.unheard().to_vec()).ok_or_else(closed)?;
        PyTuple::new(py, unheard)
    }

    /// Takes the programs out of the kernel; idempotent.
    fn close(&self, py: Python<'_>) {
        py.detach(|| *self.heard() = None);
    }
}

impl Births {
    fn heard(&self) -> MutexGuard<'_, Option<Heard>> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// (cookie, kind, pid, start in nanoseconds since the machine's, uid, control group, name, the port that is called)
fn record<'py>(py: Python<'py>, birth: &Birth) -> PyResult<Bound<'py, PyTuple>> {
    let kind = match birth.kind {
        Kind::Connected => intern!(py, "connected"),
        Kind::Opened => intern!(py, "opened"),
        Kind::Closed => intern!(py, "closed"),
    };
    let name = PyString::new(py, &String::from_utf8_lossy(birth.name()));
    let numbers = (birth.cookie, kind, birth.pid, birth.started_ns, birth.uid, birth.cgroup, name, birth.peer_port);
    numbers.into_pyobject(py)
}

fn closed() -> PyErr {
    PyValueError::new_err("this is closed: it hears of no more births")
}
