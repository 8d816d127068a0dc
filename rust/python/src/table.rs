//! `_core.SocketTable`, `_core.SocketRows`, `_core.SocketEntry`, `_core.EndedSockets`: the socket table as objects that cost little until they are
//! looked at. Endpoints, users and processes are made by Python when they are asked for.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::sync::{Mutex, MutexGuard, PoisonError};

use pyo3::exceptions::{PyPermissionError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyList;
use socketkit_engine::table::destroy;
use socketkit_engine::table::ended::Ended;
use socketkit_engine::table::row::Snapshot;
use socketkit_engine::table::sockets::Sockets;
use socketkit_engine::table::source::{Source, Wanted};
use socketkit_engine::Errno;

use crate::failure::os_error;

mod entry;
mod rows;

pub use entry::SocketEntry;
pub use rows::SocketRows;

/// The table, and what makes the next look at it cheap.
#[pyclass(frozen, module = "socketkit._core")]
pub struct SocketTable {
    state: Mutex<Looks>,
}

struct Looks {
    table: Source,
    complete: bool,
}

#[pymethods]
impl SocketTable {
    #[new]
    #[pyo3(signature = (*, namespaces="all", source="auto"))]
    fn new(py: Python<'_>, namespaces: &str, source: &str) -> PyResult<Self> {
        let everywhere = everywhere(namespaces)?;
        let wanted = match source {
            "auto" => Wanted::Auto,
            "bpf" => Wanted::Bpf,
            "netlink" => Wanted::Netlink,
            other => {
                let text = format!("source is \"auto\", \"bpf\" or \"netlink\", not {other:?}");
                return Err(PyValueError::new_err(text));
            }
        };
        let table = py.detach(|| Source::open(wanted, everywhere)).map_err(|reason| {
            PyPermissionError::new_err(format!("{reason}; source=\"netlink\" asks in another way"))
        })?;
        let looks = Looks { table, complete: false };
        Ok(SocketTable { state: Mutex::new(looks) })
    }

    /// Where it looked at the last refresh: "bpf" or "netlink".
    #[getter]
    fn source(&self, py: Python<'_>) -> &'static str {
        self.looks(py, |looks| looks.table.name())
    }

    /// Why it is not the better source; "" if it is.
    #[getter]
    fn why(&self, py: Python<'_>) -> String {
        self.looks(py, |looks| looks.table.why().map(ToString::to_string).unwrap_or_default())
    }

    /// Whether every process and every namespace could be looked into at the last refresh, and no socket has a holder unseen.
    #[getter]
    fn complete(&self, py: Python<'_>) -> bool {
        self.looks(py, |looks| looks.complete)
    }

    /// All sockets now.
    fn refresh(&self, py: Python<'_>) -> PyResult<SocketRows> {
        let looked = py.detach(|| {
            let mut looks = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            let snapshot = looks.table.refresh()?;
            looks.complete = snapshot.complete();
            Ok(SocketRows::new(snapshot))
        });
        looked.map_err(|failure: io::Error| kernel_error(&failure))
    }
}

impl SocketTable {
    /// Another thread may be at a look: this waits for its end, and other threads of Python go on meanwhile.
    fn looks<T: Send>(&self, py: Python<'_>, tell: impl FnOnce(&Looks) -> T + Send) -> T {
        py.detach(|| tell(&self.state.lock().unwrap_or_else(PoisonError::into_inner)))
    }
}

/// Sockets that end, with their final counts.
#[pyclass(frozen, module = "socketkit._core")]
pub struct EndedSockets {
    /// None: closed.
    ended: Mutex<Option<Ended>>,
}

#[pymethods]
impl EndedSockets {
    #[new]
    #[pyo3(signature = (*, namespaces="all"))]
    fn new(py: Python<'_>, namespaces: &str) -> PyResult<Self> {
        let everywhere = everywhere(namespaces)?;
        let ended = py.detach(|| Ended::new(everywhere)).map_err(|failure| kernel_error(&failure))?;
        Ok(EndedSockets { ended: Mutex::new(Some(ended)) })
    }

    /// Readable when a socket has ended.
    fn fileno(&self) -> PyResult<RawFd> {
        self.ended().as_ref().map(|ended| ended.as_fd().as_raw_fd()).ok_or_else(closed)
    }

    /// Those that have ended since the last call; does not wait.
    fn read<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let heard = py.detach(|| self.ended().as_mut().map(Ended::read));
        let heard = heard.ok_or_else(closed)?.map_err(|failure| kernel_error(&failure))?;
        // Nothing is known of their owners and ages.
        let sockets = Sockets::made(heard.rows, Vec::new(), Vec::new());
        let snapshot = Snapshot { sockets, namespaces: heard.namespaces, all_owners: true, ..Snapshot::default() };
        SocketRows::new(snapshot).list(py)
    }

    /// How many the kernel could not tell of, because they were not read in time.
    #[getter]
    fn lost(&self) -> PyResult<u64> {
        self.ended().as_ref().map(Ended::lost).ok_or_else(closed)
    }

    /// Whether every network namespace is heard.
    #[getter]
    fn complete(&self) -> PyResult<bool> {
        self.ended().as_ref().map(Ended::complete).ok_or_else(closed)
    }

    /// Those that are heard, by inode: "" is our own, else its name in /run/netns, or "pid 123" who is in it.
    #[getter]
    fn namespaces(&self) -> PyResult<HashMap<u64, String>> {
        self.ended().as_ref().map(|ended| ended.namespaces().into_iter().collect()).ok_or_else(closed)
    }

    /// Idempotent.
    fn close(&self) {
        *self.ended() = None;
    }
}

impl EndedSockets {
    fn ended(&self) -> MutexGuard<'_, Option<Ended>> {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Has the kernel end a socket (`SOCK_DESTROY`).
#[pyfunction]
pub fn destroy_socket(py: Python<'_>, entry: &SocketEntry) -> PyResult<()> {
    py.detach(|| destroy::destroy(entry.row())).map_err(|failure| kernel_error(&failure))
}

fn everywhere(namespaces: &str) -> PyResult<bool> {
    match namespaces {
        "all" => Ok(true),
        "own" => Ok(false),
        other => Err(PyValueError::new_err(format!("namespaces is \"all\" or \"own\", not {other:?}"))),
    }
}

fn closed() -> PyErr {
    PyValueError::new_err("this is closed: it hears of no more sockets")
}

/// With its number: Python words it.
fn kernel_error(failure: &io::Error) -> PyErr {
    os_error(Errno::from_io_error(failure).unwrap_or(Errno::INVAL))
}
