//! `_core.Datagram`: a message, who sent it, and what the kernel knew of it.

use pyo3::prelude::*;
use pyo3::types::PyBytes;
use socketkit_system::messages::Local;

use socketkit_engine::peers::Known;

/// A message, who sent it, and what the kernel knew of it.
///
/// `data`, `peer` (an Endpoint; None for a sender without a name), `local` (the address that it came to), `truncated` (there was more of
/// it), `ecn` (the two bits of RFC 3168), `timestamp_ns` (when the kernel received it, in nanoseconds since 1970, or None). Made by
/// `Datagrams`; `Datagram(data, peer)` is one to send.
#[pyclass(frozen, module = "socketkit")]
pub struct Datagram {
    #[pyo3(get)]
    pub data: Py<PyBytes>,
    #[pyo3(get)]
    pub peer: Py<PyAny>,
    #[pyo3(get)]
    pub local: Py<PyAny>,
    #[pyo3(get)]
    truncated: bool,
    #[pyo3(get)]
    ecn: u8,
    timestamp_ns: u64,
    /// `local` as the kernel has it, if it said so.
    pub came_to: Option<Local>,
    /// `peer` as the kernel has it, and the socket that heard it: to another, the same address may be written otherwise.
    pub came_from: Option<(u64, Known)>,
}

#[pymethods]
impl Datagram {
    #[new]
    #[pyo3(signature = (data, peer, local=None, truncated=false, ecn=0, timestamp_ns=None))]
    fn new(
        py: Python<'_>,
        data: &Bound<'_, PyAny>,
        peer: Py<PyAny>,
        local: Option<Py<PyAny>>,
        truncated: bool,
        ecn: u8,
        timestamp_ns: Option<u64>,
    ) -> PyResult<Self> {
        let data = match data.cast::<PyBytes>() {
            Ok(bytes) => bytes.clone(),
            Err(_) => PyBytes::new(py, &pyo3::buffer::PyBuffer::<u8>::get(data)?.to_vec(py)?),
        };
        let local = local.unwrap_or_else(|| py.None());
        let timestamp_ns = timestamp_ns.unwrap_or(0);
        Ok(Self { data: data.unbind(), peer, local, truncated, ecn, timestamp_ns, came_to: None, came_from: None })
    }

    #[classattr]
    fn __match_args__() -> (&'static str, &'static str, &'static str, &'static str, &'static str, &'static str) {
        ("data", "peer", "local", "truncated", "ecn", "timestamp_ns")
    }

    /// When the kernel received it, in nanoseconds since 1970; None if it was not asked to note it.
    #[getter]
    fn timestamp_ns(&self) -> Option<u64> {
        self.arrived_ns()
    }

    fn __len__(&self, py: Python<'_>) -> usize {
        self.data.as_bytes(py).len()
    }

    fn __eq__(&self, py: Python<'_>, other: &Self) -> PyResult<bool> {
        Ok(self.data.as_bytes(py) == other.data.as_bytes(py)
            && self.peer.bind(py).eq(&other.peer)?
            && self.local.bind(py).eq(&other.local)?
            && (self.truncated, self.ecn, self.timestamp_ns) == (other.truncated, other.ecn, other.timestamp_ns))
    }

    fn __hash__(&self, py: Python<'_>) -> PyResult<isize> {
        (self.data.clone_ref(py), self.peer.clone_ref(py), self.timestamp_ns).into_pyobject(py)?.hash()
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let cut = if self.truncated { ", truncated" } else { "" };
        let bytes = self.data.as_bytes(py).len();
        Ok(format!("<Datagram of {bytes} bytes from {}{cut}>", self.peer.bind(py).str()?))
    }
}

/// What the engine found beside the bytes.
#[derive(Default)]
pub struct Notes {
    pub truncated: bool,
    pub ecn: u8,
    pub timestamp_ns: Option<u64>,
    pub came_to: Option<Local>,
    pub came_from: Option<(u64, Known)>,
}

impl Datagram {
    /// When the kernel received it, if it has noted that.
    pub fn arrived_ns(&self) -> Option<u64> {
        (self.timestamp_ns != 0).then_some(self.timestamp_ns)
    }

    /// The length of what it asked, if sending to its peer is an answer.
    pub fn asked(&self, py: Python<'_>) -> Option<usize> {
        self.came_from.is_some().then(|| self.data.as_bytes(py).len())
    }

    pub fn received(data: Py<PyBytes>, peer: Py<PyAny>, local: Py<PyAny>, notes: &Notes) -> Self {
        Self {
            data,
            peer,
            local,
            truncated: notes.truncated,
            ecn: notes.ecn,
            timestamp_ns: notes.timestamp_ns.unwrap_or(0),
            came_to: notes.came_to,
            came_from: notes.came_from.clone(),
        }
    }

    /// The object, which the garbage collector need not look at: nothing that it holds can lead back to it.
    pub fn into_object(self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let object = Py::new(py, self)?.into_any();
        // SAFETY: an object of a type that the collector knows (all are that pyo3 makes), alive, the interpreter attached.
        unsafe { pyo3::ffi::PyObject_GC_UnTrack(object.as_ptr().cast()) };
        Ok(object)
    }

    /// The same with only the first bytes of its data.
    pub fn cut(&self, py: Python<'_>, max_bytes: usize) -> Self {
        Self {
            data: PyBytes::new(py, &self.data.as_bytes(py)[..max_bytes]).unbind(),
            peer: self.peer.clone_ref(py),
            local: self.local.clone_ref(py),
            truncated: true,
            ecn: self.ecn,
            timestamp_ns: self.timestamp_ns,
            came_to: self.came_to,
            came_from: self.came_from.clone(),
        }
    }
}
