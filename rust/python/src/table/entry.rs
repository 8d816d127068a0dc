//! `_core.SocketEntry`: a row that owns what the kernel said, and shares what belongs to the look that it came from.

use std::collections::hash_map::DefaultHasher;
use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError};

use pyo3::ffi;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString, PyTuple};
use socketkit_engine::table::ages::Age;
use socketkit_engine::table::row::{Address, Owners, Row};
use socketkit_engine::table::words;

/// What all entries of one look share.
pub struct Look {
    pub namespaces: Vec<(u64, String)>,
    pub interfaces: Vec<((u64, u32), String)>,
    pub all_owners: bool,
    /// Seconds since 1970.
    pub moment: f64,
    /// Asked for once a look.
    pub processes: Mutex<HashMap<u32, Py<PyAny>>>,
}

/// One row of the socket table: frozen, equal to the same socket at another look. None is what is not known.
///
/// `processes` is () when nobody holds it (time-wait, orphans, what waits to be accepted), and None when this user may not know.
/// Queues count bytes; of a listener `backlog` counts the connections that wait, of `backlog_limit` at most. Its age lies between
/// `youngest_seconds` and `oldest_seconds`. `exposure` says from where its address can be reached: "loopback", "machine" (Unix),
/// "network" (an interface's address), "everywhere".
#[pyclass(frozen, module = "socketkit._core")]
pub struct SocketEntry {
    row: Row,
    age: Age,
    owners: Owners,
    scheme: &'static str,
    /// Somebody must hold it whom this process cannot see.
    hidden: bool,
    look: Arc<Look>,
}

#[pymethods]
impl SocketEntry {
    #[getter]
    fn scheme<'py>(&self, py: Python<'py>) -> Bound<'py, PyString> {
        PyString::intern(py, self.scheme)
    }

    #[getter]
    fn state<'py>(&self, py: Python<'py>) -> Bound<'py, PyString> {
        PyString::intern(py, words::state(&self.row))
    }

    #[getter]
    fn exposure<'py>(&self, py: Python<'py>) -> Bound<'py, PyString> {
        PyString::intern(py, words::exposure(&self.row))
    }

    #[getter]
    fn local<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.endpoint(py, &self.row.local)
    }

    #[getter]
    fn peer<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.endpoint(py, &self.row.peer)
    }

    #[getter]
    fn inode(&self) -> u64 {
        self.row.inode
    }

    #[getter]
    fn cookie(&self) -> u64 {
        self.row.cookie
    }

    #[getter]
    fn namespace(&self) -> u64 {
        self.row.namespace
    }

    #[getter]
    fn namespace_name(&self) -> &str {
        let found = self.look.namespaces.iter().find(|(inode, _)| *inode == self.row.namespace);
        found.map_or("", |(_, name)| name)
    }

    #[getter]
    fn uid(&self) -> Option<u32> {
        self.row.uid
    }

    #[getter]
    fn user<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let Some(uid) = self.row.uid else { return Ok(None) };
        processes_module(py)?.getattr(intern!(py, "user_name"))?.call1((uid,)).map(Some)
    }

    /// None: not permitted to know.
    #[getter]
    fn processes<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyTuple>>> {
        let owners = self.owners.all();
        let possible = self.row.inode != 0 && !self.row.fileless;
        if owners.is_empty() && possible && (!self.look.all_owners || self.hidden) {
            return Ok(None);
        }
        let mut found: Vec<Bound<'py, PyAny>> = Vec::with_capacity(1);
        let mut last = None;
        for owner in owners.iter().filter(|owner| last.replace(owner.pid) != Some(owner.pid)) {
            found.push(self.look.process(py, owner.pid)?);
        }
        PyTuple::new(py, found).map(Some)
    }

    /// (process id, descriptor) of each that leads to it and is known.
    #[getter]
    fn descriptors<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        PyTuple::new(py, self.owners.all().iter().map(|owner| (owner.pid, owner.descriptor)))
    }

    #[getter]
    fn receive_queue(&self) -> u32 {
        if words::listening(&self.row) {
            0
        } else {
            self.row.receive_queue
        }
    }

    #[getter]
    fn send_queue(&self) -> u32 {
        if words::listening(&self.row) {
            0
        } else {
            self.row.send_queue
        }
    }

    #[getter]
    fn backlog(&self) -> Option<u32> {
        words::listening(&self.row).then_some(self.row.receive_queue)
    }

    #[getter]
    fn backlog_limit(&self) -> Option<u32> {
        words::listening(&self.row).then_some(self.row.send_queue)
    }

    #[getter]
    fn received_bytes(&self) -> Option<u64> {
        self.row.flow.map(|flow| flow.received_bytes)
    }

    #[getter]
    fn sent_bytes(&self) -> Option<u64> {
        self.row.flow.map(|flow| flow.sent_bytes)
    }

    #[getter]
    fn retransmits(&self) -> Option<u32> {
        self.row.flow.map(|flow| flow.retransmits)
    }

    #[getter]
    fn round_trip_ms(&self) -> Option<f64> {
        self.row.flow.filter(|flow| flow.round_trip_us > 0).map(|flow| f64::from(flow.round_trip_us) / 1e3)
    }

    #[getter]
    fn quiet_seconds(&self) -> Option<f64> {
        self.row.flow.filter(|flow| flow.quiet_ms != u32::MAX).map(|flow| f64::from(flow.quiet_ms) / 1e3)
    }

    #[getter]
    fn dropped(&self) -> Option<u32> {
        self.row.dropped
    }

    /// At most so old: as its oldest owner, and younger than the look that did not find it.
    #[getter]
    fn oldest_seconds(&self, py: Python<'_>) -> PyResult<Option<f64>> {
        let mut bound = self.age.most.map(|most| most.as_secs_f64());
        let mut owned: Option<f64> = None;
        for owner in self.owners.all() {
            let started: Option<f64> = self.look.process(py, owner.pid)?.getattr(intern!(py, "started"))?.extract()?;
            let Some(started) = started else { return Ok(bound) };
            owned = Some(owned.map_or(started, |oldest| oldest.min(started)));
        }
        if let Some(started) = owned {
            let age = (self.look.moment - started).max(0.0);
            bound = Some(bound.map_or(age, |bound| bound.min(age)));
        }
        Ok(bound)
    }

    /// At least so old.
    #[getter]
    fn youngest_seconds(&self) -> Option<f64> {
        let seen = self.row.flow.map_or(0.0, |flow| f64::from(flow.seen_ms) / 1e3).max(self.age.least.as_secs_f64());
        (seen > 0.0).then_some(seen)
    }

    #[getter]
    fn interface(&self) -> Option<&str> {
        self.look.interface(&self.row)
    }

    #[getter]
    fn reuse_address(&self) -> Option<bool> {
        self.row.reuse_address
    }

    #[getter]
    fn reuse_port(&self) -> Option<bool> {
        self.row.reuse_port
    }

    #[getter]
    fn only_ipv6(&self) -> Option<bool> {
        self.row.only_ipv6
    }

    #[getter]
    fn unix_peer(&self) -> u64 {
        self.row.unix_peer
    }

    /// This, with the addresses of the same socket at another time where it had none: a look may meet it before it has any.
    fn with_addresses_of<'py>(&self, py: Python<'py>, other: &SocketEntry) -> PyResult<Bound<'py, SocketEntry>> {
        let mut row = self.row.clone();
        for (ours, theirs) in [(&mut row.local, &other.row.local), (&mut row.peer, &other.row.peer)] {
            if ours.as_bytes().is_empty() {
                *ours = theirs.clone();
            }
        }
        SocketEntry::make(py, row, self.age, self.owners.clone(), self.scheme, &self.look)
    }

    fn __eq__(&self, other: &Bound<'_, PyAny>) -> bool {
        other.cast::<SocketEntry>().is_ok_and(|other| self.identity() == other.get().identity())
    }

    fn __hash__(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.identity().hash(&mut hasher);
        hasher.finish()
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let ends = [self.local(py)?, self.peer(py)?];
        let [local, peer] = ends.map(|end| if end.is_none() { "-".to_owned() } else { end.to_string() });
        Ok(format!("<SocketEntry {} {} {local} {peer}>", self.scheme, words::state(&self.row)))
    }
}

impl SocketEntry {
    pub fn make<'py>(
        py: Python<'py>,
        row: Row,
        age: Age,
        owners: Owners,
        scheme: &'static str,
        look: &Arc<Look>,
    ) -> PyResult<Bound<'py, SocketEntry>> {
        let hidden = row.hidden(!owners.all().is_empty());
        let made = Bound::new(py, SocketEntry { row, age, owners, scheme, hidden, look: Arc::clone(look) })?;
        // SAFETY: it is an object of a type of ours, just made, and the interpreter's lock is held. The collector is for cycles:
        // an entry leads to processes and to its type only, and these to no entry. It would look through all of them again and
        // again, for half of the time that a table of a hundred thousand takes. Untracked twice, as its end does, is no harm.
        unsafe { ffi::PyObject_GC_UnTrack(made.as_ptr().cast()) };
        Ok(made)
    }

    pub fn row(&self) -> &Row {
        &self.row
    }

    /// Whether it is the socket with this cookie and this inode, be it of another look.
    pub fn is(&self, cookie: u64, inode: u64) -> bool {
        identity(cookie, inode).is_some_and(|identity| self.identity() == identity)
    }

    fn endpoint<'py>(&self, py: Python<'py>, address: &Address) -> PyResult<Bound<'py, PyAny>> {
        let raw = address.as_bytes();
        if raw.is_empty() {
            return Ok(py.None().into_bound(py));
        }
        let make = py.import(intern!(py, "socketkit.inspect.table"))?.getattr(intern!(py, "endpoint_of"))?;
        let row = &self.row;
        let interface = self.look.interface(row).unwrap_or_default();
        make.call1((self.scheme(py), PyBytes::new(py, raw), row.protocol, row.only_ipv6.unwrap_or(false), interface))
    }

    fn identity(&self) -> (u64, u64, usize) {
        identity(self.row.cookie, self.row.inode).unwrap_or((0, 0, std::ptr::from_ref(self) as usize))
    }
}

/// What makes it the same socket at another look; None of what has no number.
fn identity(cookie: u64, inode: u64) -> Option<(u64, u64, usize)> {
    match (cookie, inode) {
        (0, 0) => None,
        (0, inode) => Some((0, inode, 0)),
        (cookie, _) => Some((cookie, 0, 0)),
    }
}

impl Look {
    fn interface(&self, row: &Row) -> Option<&str> {
        let key = (row.namespace, row.interface);
        self.interfaces.iter().find(|(interface, _)| *interface == key).map(|(_, name)| name.as_str())
    }

    fn process<'py>(&self, py: Python<'py>, pid: u32) -> PyResult<Bound<'py, PyAny>> {
        let known = |look: &Look| {
            let processes = look.processes.lock().unwrap_or_else(PoisonError::into_inner);
            processes.get(&pid).map(|process| process.bind(py).clone())
        };
        if let Some(process) = known(self) {
            return Ok(process);
        }
        // Python runs meanwhile: the lock is not held.
        let process = processes_module(py)?.getattr(intern!(py, "process"))?.call1((pid,))?;
        let mut processes = self.processes.lock().unwrap_or_else(PoisonError::into_inner);
        processes.insert(pid, process.clone().unbind());
        Ok(process)
    }
}

fn processes_module(py: Python<'_>) -> PyResult<Bound<'_, PyModule>> {
    py.import(intern!(py, "socketkit.inspect.processes"))
}
