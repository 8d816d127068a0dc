//! `_core.Answers`: answers that are given without asking Python, and what was answered so, for whoever tells of requests.

use std::os::fd::BorrowedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use socketkit_engine::answers;

use crate::failure::os_error;
use crate::http::{fault, PyBacked};

/// Answers of HTTP/1.1 that are given without asking Python, for as long as each is valid.
#[pyclass(frozen, module = "socketkit._core")]
pub struct Answers {
    table: Arc<AnswersShared>,
}

pub struct AnswersShared {
    table: Mutex<answers::Answers>,
    /// What was answered since somebody asked, and as whose.
    hits: Mutex<Vec<(Py<PyAny>, answers::Hit)>>,
}

#[pymethods]
impl Answers {
    /// `folder`: a descriptor, which stays the caller's, of where the files of `put_file` are.
    #[new]
    #[pyo3(signature = (most_bytes, folder=None))]
    fn new(most_bytes: usize, folder: Option<i32>) -> PyResult<Self> {
        let folder = match folder {
            Some(folder) => Some(borrowed(folder)?.try_clone_to_owned()?),
            None => None,
        };
        let table = Mutex::new(answers::Answers::new(most_bytes, folder));
        Ok(Self { table: Arc::new(AnswersShared { table, hits: Mutex::default() }) })
    }

    /// Keeps the answer to GET and HEAD of `target`, path and query as they are sent; false where there is no room for it.
    fn put(
        &self,
        target: &[u8],
        status: u16,
        headers: Vec<(PyBacked, PyBacked)>,
        body: &[u8],
        valid_seconds: f64,
    ) -> PyResult<bool> {
        let fields = headers.iter().map(|(name, value)| (&**name, &**value));
        let head = answers::head_of(status, fields, body.len()).map_err(fault)?;
        let until =
            answers::valid_for(valid_seconds).ok_or_else(|| PyValueError::new_err("valid_seconds is no time"))?;
        Ok(self.table.table().put(target, status, head, body.to_vec(), until))
    }

    /// Keeps the open file, which is at `path` beneath the folder, as the answer for as long as it is the same there, to whoever
    /// calls this side `host`; false where there is no room for it, or it is too large.
    fn put_file(
        &self,
        host: &[u8],
        target: &[u8],
        headers: Vec<(PyBacked, PyBacked)>,
        file: i32,
        path: &[u8],
    ) -> PyResult<bool> {
        let file = answers::PreparedFile::new(borrowed(file)?, path).map_err(os_error)?;
        let fields = headers.iter().map(|(name, value)| (&**name, &**value));
        let head = answers::head_of(200, fields, file.size()).map_err(fault)?;
        Ok(self.table.table().put_file(host, target, head, file))
    }

    fn remove(&self, target: &[u8]) {
        self.table.table().remove(target);
    }

    fn clear(&self) {
        self.table.table().clear();
    }

    fn __len__(&self) -> usize {
        self.table.table().len()
    }

    #[getter]
    fn answered(&self) -> u64 {
        self.table.table().answered()
    }

    /// What was answered since the last call: (as whose it is told, method, target, status, sent bytes, version).
    #[allow(clippy::type_complexity)]
    fn take_hits<'py>(
        &self,
        py: Python<'py>,
    ) -> Vec<(Py<PyAny>, &'static str, Bound<'py, PyBytes>, u16, usize, &'static str)> {
        let taken = std::mem::take(&mut *self.table.kept());
        taken
            .into_iter()
            .map(|(whose, hit)| {
                let method = if hit.head_only { "HEAD" } else { "GET" };
                let version = if hit.minor == 0 { "1.0" } else { "1.1" };
                (whose, method, PyBytes::new(py, &hit.target), hit.status, hit.sent_bytes, version)
            })
            .collect()
    }
}

impl Answers {
    pub fn shared(&self) -> Arc<AnswersShared> {
        Arc::clone(&self.table)
    }
}

impl AnswersShared {
    pub fn table(&self) -> MutexGuard<'_, answers::Answers> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether so much is still to be told that nothing more may be answered here: a log has every request.
    pub fn is_full(&self) -> bool {
        self.kept().len() >= MOST_HITS
    }

    /// Keeps hits for whoever asks; those of None nobody asks for.
    pub fn tell(&self, py: Python<'_>, whose: &Py<PyAny>, hits: Vec<answers::Hit>) {
        if !whose.is_none(py) {
            self.kept().extend(hits.into_iter().map(|hit| (whose.clone_ref(py), hit)));
        }
    }

    fn kept(&self) -> MutexGuard<'_, Vec<(Py<PyAny>, answers::Hit)>> {
        self.hits.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How many hits are kept at least before somebody must ask for them.
const MOST_HITS: usize = 65_536;

fn borrowed<'a>(descriptor: i32) -> PyResult<BorrowedFd<'a>> {
    if descriptor < 0 {
        return Err(PyValueError::new_err("not a descriptor"));
    }
    // SAFETY: the number is borrowed for the one call, which fails if it names nothing.
    Ok(unsafe { BorrowedFd::borrow_raw(descriptor) })
}
