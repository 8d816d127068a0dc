//! `_core.Arrivals`: counts a bench's messages, a batch by one call.

use std::sync::{Mutex, MutexGuard, PoisonError};

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList};
use socketkit_wire::arrivals::{self, Header, DATA, MEASURED};

use crate::messages::Datagram;

/// The messages of one flow as its receiver counts them.
#[pyclass(frozen, module = "socketkit._core")]
#[derive(Default)]
pub struct Arrivals {
    counted: Mutex<Counted>,
}

#[derive(Default)]
struct Counted {
    measured: arrivals::Arrivals,
    bytes: u64,
    warm_up: u64,
}

#[pymethods]
impl Arrivals {
    #[new]
    fn new() -> Self {
        Self::default()
    }

    /// A message of so many bytes has come.
    #[pyo3(signature = (phase, number, sent_ns, arrived_ns, size, /))]
    fn note(&self, phase: u8, number: u64, sent_ns: u64, arrived_ns: u64, size: u64) {
        self.counted().note(phase, number, sent_ns, arrived_ns, size);
    }

    /// Counts those of `batch` that carry the header of a flow: strangers' messages, and late answers, have none.
    #[pyo3(signature = (batch, now_ns, /))]
    fn count(&self, batch: &Bound<'_, PyList>, now_ns: u64) -> PyResult<()> {
        for message in batch {
            let bytes = message.cast::<PyBytes>()?.as_bytes();
            if let Some(header) = Header::parse(bytes).filter(|header| header.kind == DATA) {
                self.counted().note(header.phase, header.number, header.sent_ns, now_ns, bytes.len() as u64);
            }
        }
        Ok(())
    }

    /// How many did not come, of `sent`, or of those before the latest that came.
    #[pyo3(signature = (sent=None))]
    fn lost(&self, sent: Option<u64>) -> u128 {
        self.counted().measured.lost(sent)
    }

    /// Different messages that came.
    #[getter]
    fn received(&self) -> u64 {
        self.counted().measured.received
    }

    /// The largest number that came, and one.
    #[getter]
    fn expected(&self) -> u128 {
        self.counted().measured.expected
    }

    /// Those that came behind a later one.
    #[getter]
    fn reordered(&self) -> u64 {
        self.counted().measured.reordered
    }

    #[getter]
    fn duplicates(&self) -> u64 {
        self.counted().measured.duplicates
    }

    #[getter]
    fn jitter_ns(&self) -> f64 {
        self.counted().measured.jitter_ns
    }

    /// Of all that count, copies too.
    #[getter]
    fn bytes(&self) -> u64 {
        self.counted().bytes
    }

    /// Messages that do not count.
    #[getter]
    fn warm_up(&self) -> u64 {
        self.counted().warm_up
    }
}

impl Arrivals {
    fn counted(&self) -> MutexGuard<'_, Counted> {
        self.counted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Counted {
    fn note(&mut self, phase: u8, number: u64, sent_ns: u64, arrived_ns: u64, size: u64) {
        if phase == MEASURED {
            self.measured.note(number, sent_ns, arrived_ns);
            self.bytes += size;
        } else {
            self.warm_up += 1;
        }
    }
}

/// Counts the datagrams of `batch` that belong to one of `flows`, by session and number; gives those that are no flow's and long enough
/// for something else. Who has not joined is not counted.
///
/// By the kernel's clock where it has stamped them: a batch is received at once, and did not come so.
#[pyfunction]
#[pyo3(signature = (batch, flows, now_ns, /))]
pub fn count_arrivals<'py>(
    batch: &Bound<'py, PyList>,
    flows: &Bound<'py, PyDict>,
    now_ns: u64,
) -> PyResult<Bound<'py, PyList>> {
    let py = batch.py();
    let others = PyList::empty(py);
    let mut latest: Option<(Place, Option<Bound<'py, Arrivals>>)> = None;
    for datagram in batch {
        let known = Datagram::of(&datagram).ok_or_else(|| PyTypeError::new_err("not a Datagram"))?;
        let data = known.data(py);
        let bytes = data.as_bytes(py);
        let Some(header) = Header::parse(bytes) else { continue };
        if header.kind != DATA {
            others.append(&datagram)?;
            continue;
        }
        let place: Place = (header.session, header.flow);
        let flow = match &latest {
            Some((known, flow)) if *known == place => flow,
            _ => {
                let found = flows.get_item(place)?.map(|flow| flow.cast_into::<Arrivals>()).transpose()?;
                &latest.insert((place, found)).1
            }
        };
        if let Some(flow) = flow {
            let arrived_ns = known.arrival().timestamp_ns.unwrap_or(now_ns);
            flow.get().counted().note(header.phase, header.number, header.sent_ns, arrived_ns, bytes.len() as u64);
        }
    }
    Ok(others)
}

/// A flow, as headers have it: its session and its number.
type Place = (u32, u16);
