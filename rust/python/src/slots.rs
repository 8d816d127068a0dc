//! Tables for types that are written against the C API: their methods, attributes and slots.

use std::ffi::{c_int, c_void, CStr};
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};

use pyo3::exceptions::PyRuntimeError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyType;

/// A type whose instances have `size` bytes.
pub fn make_type(
    py: Python<'_>,
    name: &'static CStr,
    size: usize,
    flags: std::ffi::c_ulong,
    mut methods: Vec<ffi::PyMethodDef>,
    mut attributes: Vec<ffi::PyGetSetDef>,
    slots: &[ffi::PyType_Slot],
) -> PyResult<Py<PyType>> {
    // SAFETY: all-zero is the sentinel that ends each list.
    unsafe {
        methods.push(std::mem::zeroed());
        attributes.push(std::mem::zeroed());
    }
    // The interpreter keeps pointers into these for ever, so they are leaked on purpose, once per type.
    let (methods, attributes) = (Vec::leak(methods), Vec::leak(attributes));
    let mut slots = slots.to_vec();
    slots.push(slot(ffi::Py_tp_methods, methods.as_mut_ptr().cast()));
    slots.push(slot(ffi::Py_tp_getset, attributes.as_mut_ptr().cast()));
    slots.push(slot(0, ptr::null_mut()));
    let mut specification = ffi::PyType_Spec {
        name: name.as_ptr(),
        basicsize: size as c_int,
        itemsize: 0,
        flags: (flags | ffi::Py_TPFLAGS_DEFAULT) as _,
        slots: slots.as_mut_ptr(),
    };
    // SAFETY: the specification is complete, and what the type keeps of it outlives it.
    unsafe {
        let kind = ffi::PyType_FromSpec(&mut specification);
        Ok(Bound::from_owned_ptr_or_err(py, kind)?.cast_into::<PyType>()?.unbind())
    }
}

/// Of a type whose instances only our code makes.
pub const INTERNAL: std::ffi::c_ulong = ffi::Py_TPFLAGS_DISALLOW_INSTANTIATION | ffi::Py_TPFLAGS_IMMUTABLETYPE;

pub fn slot(id: c_int, function: *mut c_void) -> ffi::PyType_Slot {
    ffi::PyType_Slot { slot: id, pfunc: function }
}

pub fn one_argument(name: &'static CStr, function: ffi::PyCFunction) -> ffi::PyMethodDef {
    ffi::PyMethodDef {
        ml_name: name.as_ptr(),
        ml_meth: ffi::PyMethodDefPointer { PyCFunction: function },
        ml_flags: ffi::METH_O,
        ml_doc: ptr::null(),
    }
}

pub fn no_argument(name: &'static CStr, function: ffi::PyCFunction) -> ffi::PyMethodDef {
    ffi::PyMethodDef { ml_flags: ffi::METH_NOARGS, ..one_argument(name, function) }
}

pub fn variadic(name: &'static CStr, function: ffi::PyCFunction) -> ffi::PyMethodDef {
    ffi::PyMethodDef { ml_flags: ffi::METH_VARARGS, ..one_argument(name, function) }
}

pub fn fast(name: &'static CStr, function: ffi::PyCFunctionFastWithKeywords) -> ffi::PyMethodDef {
    ffi::PyMethodDef {
        ml_name: name.as_ptr(),
        ml_meth: ffi::PyMethodDefPointer { PyCFunctionFastWithKeywords: function },
        ml_flags: ffi::METH_FASTCALL | ffi::METH_KEYWORDS,
        ml_doc: ptr::null(),
    }
}

pub fn attribute(name: &'static CStr, get: ffi::getter, set: Option<ffi::setter>) -> ffi::PyGetSetDef {
    ffi::PyGetSetDef { name: name.as_ptr(), get: Some(get), set, doc: ptr::null(), closure: ptr::null_mut() }
}

/// Runs a slot's body: errors become Python's, a panic becomes one too instead of crossing into C.
pub fn guarded<R>(body: impl FnOnce(Python<'_>) -> PyResult<R>, failed: R) -> R {
    let caught = |py: Python<'_>| {
        let outcome = catch_unwind(AssertUnwindSafe(|| body(py)))
            .unwrap_or_else(|_| Err(PyRuntimeError::new_err("a bug in socketkit's engine: it panicked")));
        outcome.unwrap_or_else(|failure| {
            failure.restore(py);
            failed
        })
    };
    if RESUMING.load(Ordering::Relaxed) {
        // SAFETY: a slot is only called by a thread that holds the interpreter. The bindings count how often a thread has attached, so as
        // to know whether a dropped reference can be given back at once; the reactor, which is resuming, has been counted.
        return caught(unsafe { Python::assume_attached() });
    }
    Python::attach(caught)
}

/// Set while a reactor resumes tasks. Counting each slot's attachment again would be a tenth of a message's instructions. Should another
/// thread see it (the tasks gave the interpreter up), what it drops is given back a little later.
pub static RESUMING: AtomicBool = AtomicBool::new(false);
