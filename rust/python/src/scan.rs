//! `_core.Scanner`: a port scan, by a thread that never holds the interpreter.

use std::collections::HashMap;
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::sync::{Mutex, MutexGuard, PoisonError};

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use socketkit_engine::scan::{Job, Method, Order, State, Target, MOST_PROBES};

use crate::failure::os_error;
use crate::threads::without_signals;

/// One method, one set of ports, many addresses.
#[pyclass(frozen, module = "socketkit._core")]
pub struct Scanner {
    job: Mutex<Option<Job>>,
    ports: usize,
}

/// What is known of the ports of one address: how many are in which state, and of each its `State` as a byte.
type Known = (Py<PyBytes>, bool);

#[pymethods]
impl Scanner {
    /// Starts. `targets` are (address, interface); `sockets` None: half-open, EPERM without CAP_NET_RAW.
    #[new]
    #[pyo3(signature = (targets, ports, *, sockets, start, ceiling, seed))]
    fn new(
        py: Python<'_>,
        targets: Vec<(IpAddr, u32)>,
        ports: Vec<u16>,
        sockets: Option<usize>,
        start: f64,
        ceiling: f64,
        seed: u64,
    ) -> PyResult<Self> {
        if targets.len().saturating_mul(ports.len()) > MOST_PROBES {
            return Err(PyValueError::new_err("too many probes for one scan"));
        }
        if !(start > 0.0 && ceiling > 0.0 && ceiling.is_finite()) {
            return Err(PyValueError::new_err("a rate is more than nothing"));
        }
        let count = ports.len();
        let order = Order {
            targets: targets.into_iter().map(|(address, scope)| Target { address, scope }).collect(),
            ports,
            method: sockets.map_or(Method::Syn, |sockets| Method::Connect { sockets }),
            start,
            ceiling,
            seed,
        };
        let job = without_signals(py, || Ok(Job::start(&order)))?.map_err(os_error)?;
        Ok(Scanner { job: Mutex::new(Some(job)), ports: count })
    }

    /// Readable when something was found, and at the end.
    fn fileno(&self) -> PyResult<RawFd> {
        self.running(|job| job.as_fd().as_raw_fd())
    }

    #[getter]
    fn done(&self) -> PyResult<bool> {
        self.running(Job::done)
    }

    /// The error number of what ended it before its time; 0: none.
    fn failure(&self) -> PyResult<i32> {
        self.running(|job| job.failure().map_or(0, |failure| failure.raw_os_error()))
    }

    /// (target, port, round trip in microseconds) of each port that was found open since the last call.
    fn take_found(&self) -> PyResult<Vec<(u32, u16, u64)>> {
        self.running(|job| job.take_found().iter().map(|found| (found.target, found.port, found.rtt_us)).collect())
    }

    /// By name: sent, round, planned, over, pending, per_second, loss.
    fn progress(&self) -> PyResult<HashMap<&'static str, f64>> {
        self.running(|job| {
            let progress = job.progress();
            HashMap::from([
                ("sent", progress.sent as f64),
                ("round", f64::from(progress.round)),
                ("planned", progress.planned as f64),
                ("over", progress.over as f64),
                ("pending", progress.pending as f64),
                ("per_second", progress.per_second),
                ("loss", progress.loss),
            ])
        })
    }

    /// For each target: a byte for each port in their order (0 silent, 1 open, 2 closed, 3 prohibited), and whether it could not be
    /// reached. Empty until it is done.
    fn outcome(&self, py: Python<'_>) -> PyResult<Vec<Known>> {
        let outcome = self.running(Job::outcome)?;
        let states: Vec<u8> = outcome.states.iter().map(|state: &State| *state as u8).collect();
        let known = states.chunks(self.ports.max(1)).zip(outcome.unreachable);
        Ok(known.map(|(states, unreachable)| (PyBytes::new(py, states).unbind(), unreachable)).collect())
    }

    /// Stops it at once, and waits for its end. Idempotent.
    fn close(&self, py: Python<'_>) {
        let job = self.job().take();
        py.detach(|| drop(job));
    }
}

impl Scanner {
    fn running<T>(&self, ask: impl FnOnce(&Job) -> T) -> PyResult<T> {
        self.job().as_ref().map(ask).ok_or_else(|| PyValueError::new_err("this scan is closed"))
    }

    fn job(&self) -> MutexGuard<'_, Option<Job>> {
        self.job.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Scanner {
    fn drop(&mut self) {
        Python::attach(|py| self.close(py));
    }
}
