//! `_core.open_beneath`: files by paths that strangers chose.

use std::os::fd::{BorrowedFd, IntoRawFd};

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::failure::os_error;

/// A new descriptor, which is the caller's to close. OSError: EXDEV if the path leads out of the folder.
#[pyfunction]
pub fn open_beneath(folder: i32, path: &[u8]) -> PyResult<i32> {
    if folder < 0 {
        return Err(PyValueError::new_err("not a descriptor"));
    }
    if path.contains(&0) {
        return Err(PyValueError::new_err("a path has no zero byte"));
    }
    // SAFETY: the number is borrowed for the one call, which fails if it names nothing.
    let folder = unsafe { BorrowedFd::borrow_raw(folder) };
    socketkit_engine::beneath::open_beneath(folder, path).map(IntoRawFd::into_raw_fd).map_err(os_error)
}
