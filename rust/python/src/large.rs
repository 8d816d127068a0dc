//! Receiving much at once: straight into the bytes object that the caller gets, not by way of a buffer.

use std::ffi::c_int;
use std::mem::MaybeUninit;
use std::ptr;

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use socketkit_engine::Errno;

use crate::entering::{symbol, Found};

/// Room in a bytes object that nobody else has yet, filled by `read`, which says how much it wrote. None if it wrote nothing.
pub fn received(
    py: Python<'_>,
    capacity: usize,
    read: impl FnOnce(&mut [MaybeUninit<u8>]) -> Result<usize, Errno>,
) -> Result<Option<Py<PyAny>>, Errno> {
    let Some(resize) = resize(py) else { return Err(Errno::NOSYS) };
    // SAFETY: a null source asks for room with any content (C API, PyBytes_FromStringAndSize), and until it is shared it may be written
    // through PyBytes_AsString and resized.
    unsafe {
        let mut object = ffi::PyBytes_FromStringAndSize(ptr::null(), capacity as ffi::Py_ssize_t);
        if object.is_null() {
            ffi::PyErr_Clear();
            return Err(Errno::NOMEM);
        }
        let start = ffi::PyBytes_AsString(object).cast::<MaybeUninit<u8>>();
        let count = match read(std::slice::from_raw_parts_mut(start, capacity)) {
            Ok(count) => count.min(capacity),
            Err(failure) => {
                ffi::Py_DecRef(object);
                return Err(failure);
            }
        };
        if count == 0 {
            ffi::Py_DecRef(object);
            return Ok(None);
        }
        if count < capacity && resize(&mut object, count as ffi::Py_ssize_t) != 0 {
            ffi::PyErr_Clear();
            return Err(Errno::NOMEM);
        }
        Ok(Some(Bound::from_owned_ptr(py, object).unbind()))
    }
}

/// Whether `received` can be used at all.
pub fn possible(py: Python<'_>) -> bool {
    resize(py).is_some()
}

type Resize = unsafe extern "C" fn(*mut *mut ffi::PyObject, ffi::Py_ssize_t) -> c_int;

/// `_PyBytes_Resize` is documented for just this, but not of the limited API: looked up, not linked.
fn resize(py: Python<'_>) -> Option<Resize> {
    static FUNCTION: PyOnceLock<Option<Resize>> = PyOnceLock::new();
    *FUNCTION.get_or_init(py, || {
        let found = symbol(c"_PyBytes_Resize")?;
        // SAFETY: this is its type in CPython's documentation (C API, Bytes Objects).
        Some(unsafe { std::mem::transmute::<Found, Resize>(found) })
    })
}

/// How much room the next receive is given, after one that got `count` bytes into room for `capacity`; 0: it is not worth while.
pub fn next_room(count: usize, capacity: usize, most: usize) -> usize {
    if count < WORTH_WHILE {
        0
    } else if count == capacity {
        (2 * count).min(most)
    } else {
        // A little more than before, so that a short read tells that there is no more.
        (count + count / 4).min(most)
    }
}

/// Below this a copy costs less than the bookkeeping.
const WORTH_WHILE: usize = 32 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_follows_what_comes() {
        assert_eq!(next_room(100, 262_144, 262_144), 0);
        assert_eq!(next_room(65_536, 262_144, 262_144), 81_920);
        assert_eq!(next_room(65_536, 65_536, 262_144), 131_072);
        assert_eq!(next_room(262_144, 262_144, 262_144), 262_144);
    }
}
