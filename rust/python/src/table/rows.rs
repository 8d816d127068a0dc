//! `_core.SocketRows`: the rows of one look, made into entries when they are looked at. Most looks are for a few of them, and a
//! hundred thousand objects cost as much as it takes to ask the kernel.

use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use pyo3::exceptions::{PyIndexError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyList, PySlice};
use socketkit_engine::table::row::Snapshot;
use socketkit_engine::table::sockets::Sockets;
use socketkit_engine::table::words;

use super::entry::{Look, SocketEntry};

/// The sockets of one look, as a sequence: an entry is made each time it is asked for, and keeps none of the others in memory.
#[pyclass(frozen, sequence, module = "socketkit._core")]
pub struct SocketRows {
    sockets: Sockets,
    look: Arc<Look>,
}

impl SocketRows {
    pub fn new(snapshot: Snapshot) -> SocketRows {
        let look = Arc::new(Look {
            namespaces: snapshot.namespaces,
            interfaces: snapshot.interfaces,
            all_owners: snapshot.all_owners,
            moment: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64()),
            processes: Mutex::default(),
        });
        SocketRows { sockets: snapshot.sockets, look }
    }

    /// All of them now.
    pub fn list<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        self.some(py, 0..self.sockets.len())
    }

    fn some<'py>(&self, py: Python<'py>, places: impl Iterator<Item = usize>) -> PyResult<Bound<'py, PyList>> {
        let found = PyList::empty(py);
        for place in places {
            if let Some(entry) = self.entry(py, place)? {
                found.append(entry)?;
            }
        }
        Ok(found)
    }

    fn entry<'py>(&self, py: Python<'py>, place: usize) -> PyResult<Option<Bound<'py, SocketEntry>>> {
        let Some(row) = self.sockets.row(place) else { return Ok(None) };
        let Some(scheme) = words::scheme(&row) else { return Ok(None) };
        let (owners, age) = (self.sockets.owners(place), self.sockets.age(place));
        SocketEntry::make(py, row, age, owners, scheme, &self.look).map(Some)
    }

    fn place(&self, value: &Bound<'_, PyAny>, from: usize) -> Option<usize> {
        let wanted = value.cast::<SocketEntry>().ok()?;
        (from..self.sockets.len()).find(|&place| self.has_at(place, wanted.get()))
    }

    fn has_at(&self, place: usize, wanted: &SocketEntry) -> bool {
        self.sockets.numbers(place).is_some_and(|(cookie, inode)| wanted.is(cookie, inode))
    }
}

#[pymethods]
impl SocketRows {
    fn __len__(&self) -> usize {
        self.sockets.len()
    }

    fn __getitem__<'py>(&self, py: Python<'py>, wanted: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let length = self.sockets.len() as isize;
        if let Ok(slice) = wanted.cast::<PySlice>() {
            let at = slice.indices(length)?;
            let places = (0..at.slicelength).map(|number| (at.start + number as isize * at.step) as usize);
            return self.some(py, places).map(Bound::into_any);
        }
        let Ok(index) = wanted.extract::<isize>() else {
            return Err(PyTypeError::new_err("an index is a number or a slice"));
        };
        let place = if index < 0 { index + length } else { index };
        let entry = usize::try_from(place).ok().map(|place| self.entry(py, place)).transpose()?.flatten();
        entry.map(Bound::into_any).ok_or_else(|| PyIndexError::new_err("there are not so many sockets"))
    }

    fn __iter__(me: Bound<'_, Self>) -> SocketRowsIterator {
        SocketRowsIterator { next: 0.into(), step: 1, rows: me.unbind() }
    }

    fn __reversed__(me: Bound<'_, Self>) -> SocketRowsIterator {
        let last = me.get().sockets.len() as isize - 1;
        SocketRowsIterator { next: last.into(), step: -1, rows: me.unbind() }
    }

    fn __contains__(&self, value: &Bound<'_, PyAny>) -> bool {
        self.place(value, 0).is_some()
    }

    #[pyo3(signature = (value, start=0, stop=isize::MAX, /))]
    fn index(&self, value: &Bound<'_, PyAny>, start: isize, stop: isize) -> PyResult<usize> {
        let length = self.sockets.len() as isize;
        let bound = |at: isize| (if at < 0 { at + length } else { at }).clamp(0, length) as usize;
        let found = self.place(value, bound(start)).filter(|place| *place < bound(stop));
        found.ok_or_else(|| PyValueError::new_err("this socket is not among them"))
    }

    fn count(&self, value: &Bound<'_, PyAny>) -> usize {
        let Ok(wanted) = value.cast::<SocketEntry>() else { return 0 };
        (0..self.sockets.len()).filter(|&place| self.has_at(place, wanted.get())).count()
    }

    fn __repr__(&self) -> String {
        format!("<SocketRows of {} sockets>", self.sockets.len())
    }
}

/// Goes through them from one end to the other.
#[pyclass(frozen, module = "socketkit._core")]
pub struct SocketRowsIterator {
    rows: Py<SocketRows>,
    next: std::sync::atomic::AtomicIsize,
    step: isize,
}

#[pymethods]
impl SocketRowsIterator {
    fn __iter__(me: Bound<'_, Self>) -> Bound<'_, Self> {
        me
    }

    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, SocketEntry>>> {
        let place = self.next.fetch_add(self.step, std::sync::atomic::Ordering::Relaxed);
        usize::try_from(place).ok().map_or(Ok(None), |place| self.rows.get().entry(py, place))
    }

    fn __length_hint__(&self) -> usize {
        let next = self.next.load(std::sync::atomic::Ordering::Relaxed);
        let length = self.rows.get().sockets.len() as isize;
        (if self.step > 0 { length - next } else { next + 1 }).clamp(0, length) as usize
    }
}
