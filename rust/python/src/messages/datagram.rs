//! `_core.Datagram`: a message, who sent it, and what the kernel knew of it.
//!
//! One is made for each message that comes. It is written against the C API, because all types of the bindings are known to the garbage
//! collector, which costs more than the rest of it; nothing that a datagram of ours holds can lead back to it.

use std::ffi::{c_char, c_int, c_void};
use std::ptr;

use pyo3::exceptions::{PyMemoryError, PyTypeError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyType};
use socketkit_engine::peers::Known;
use socketkit_system::messages::Local;

use super::run::Part;
use crate::slots::{attribute, guarded, make_type, slot};

pub enum Datagram {
    Alone { data: Py<PyBytes>, arrival: Arrival },
    Part(Part),
}

/// What is known of a datagram beside its bytes.
pub struct Arrival {
    pub peer: Py<PyAny>,
    pub local: Py<PyAny>,
    pub truncated: bool,
    pub ecn: u8,
    pub timestamp_ns: Option<u64>,
    /// `local` as the kernel has it, if it said so.
    pub came_to: Option<Local>,
    /// `peer` as the kernel has it, and the socket that heard it: to another, the same address may be written otherwise.
    pub came_from: Option<(u64, Known)>,
}

#[repr(C)]
struct Object {
    head: ffi::PyObject,
    datagram: Datagram,
}

impl Datagram {
    /// `object`, if it is one.
    pub fn of<'a>(object: &'a Bound<'_, PyAny>) -> Option<&'a Self> {
        let kind = python_type(object.py()).ok()?;
        // SAFETY: only `into_object` makes objects of this type, which nobody can derive from; `object` keeps it alive, and it is frozen.
        object.get_type_ptr().eq(&kind.as_type_ptr()).then(|| unsafe { of_object(object.as_ptr()) })
    }

    pub fn into_object(self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let kind = python_type(py)?.as_type_ptr();
        // SAFETY: the type is ours and ready; its memory comes from the interpreter's allocator in its basic size, and the datagram is
        // written before anyone can see it.
        unsafe {
            let memory: *mut ffi::PyObject = ffi::PyObject_Malloc(std::mem::size_of::<Object>()).cast();
            if memory.is_null() {
                return Err(PyMemoryError::new_err(()));
            }
            let object = ffi::PyObject_Init(memory, kind);
            ptr::addr_of_mut!((*object.cast::<Object>()).datagram).write(self);
            Ok(Bound::from_owned_ptr(py, object).unbind())
        }
    }

    pub fn data(&self, py: Python<'_>) -> Py<PyBytes> {
        match self {
            Datagram::Alone { data, .. } => data.clone_ref(py),
            Datagram::Part(part) => part.data(py),
        }
    }

    pub fn bytes(&self, py: Python<'_>) -> usize {
        match self {
            Datagram::Alone { data, .. } => data.as_bytes(py).len(),
            Datagram::Part(part) => part.bytes(),
        }
    }

    pub fn arrival(&self) -> &Arrival {
        match self {
            Datagram::Alone { arrival, .. } => arrival,
            Datagram::Part(part) => &part.run.arrival,
        }
    }

    /// The length of what it asked, if sending to its peer is an answer.
    pub fn asked(&self, py: Python<'_>) -> Option<usize> {
        self.arrival().came_from.is_some().then(|| self.bytes(py))
    }

    /// The same with only the first bytes of its data.
    pub fn cut(&self, py: Python<'_>, max_bytes: usize) -> Self {
        let data = self.data(py);
        let data = data.as_bytes(py).get(..max_bytes).unwrap_or(data.as_bytes(py));
        let arrival = Arrival { truncated: true, ..self.arrival().clone_ref(py) };
        Datagram::Alone { data: PyBytes::new(py, data).unbind(), arrival }
    }

    fn made(arguments: &Bound<'_, PyAny>, keywords: Option<&Bound<'_, PyAny>>) -> PyResult<Self> {
        let py = arguments.py();
        let [data, peer, local, truncated, ecn, timestamp_ns] = parsed(arguments, keywords)?;
        let (Some(data), Some(peer)) = (data, peer) else { return Err(PyTypeError::new_err("no data, or no peer")) };
        let data = match data.cast::<PyBytes>() {
            Ok(bytes) => bytes.clone(),
            Err(_) => PyBytes::new(py, &pyo3::buffer::PyBuffer::<u8>::get(&data)?.to_vec(py)?),
        };
        let timestamp_ns: Option<u64> = timestamp_ns.map_or(Ok(None), |given| given.extract())?;
        let arrival = Arrival {
            peer: peer.unbind(),
            local: local.map_or_else(|| py.None(), Bound::unbind),
            truncated: truncated.map_or(Ok(false), |given| given.extract())?,
            ecn: ecn.map_or(Ok(0), |given| given.extract())?,
            timestamp_ns: timestamp_ns.filter(|given| *given != 0),
            came_to: None,
            came_from: None,
        };
        Ok(Datagram::Alone { data: data.unbind(), arrival })
    }

    fn equals(&self, py: Python<'_>, other: &Self) -> PyResult<bool> {
        let (mine, its) = (self.arrival(), other.arrival());
        Ok(self.data(py).as_bytes(py) == other.data(py).as_bytes(py)
            && mine.peer.bind(py).eq(&its.peer)?
            && mine.local.bind(py).eq(&its.local)?
            && (mine.truncated, mine.ecn, mine.timestamp_ns) == (its.truncated, its.ecn, its.timestamp_ns))
    }

    fn text(&self, py: Python<'_>) -> PyResult<String> {
        let cut = if self.arrival().truncated { ", truncated" } else { "" };
        Ok(format!("<Datagram of {} bytes from {}{cut}>", self.bytes(py), self.arrival().peer.bind(py).str()?))
    }
}

impl Arrival {
    pub fn clone_ref(&self, py: Python<'_>) -> Self {
        Self {
            peer: self.peer.clone_ref(py),
            local: self.local.clone_ref(py),
            came_from: self.came_from.clone(),
            ..*self
        }
    }
}

pub fn python_type(py: Python<'_>) -> PyResult<&Bound<'_, PyType>> {
    static TYPE: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    let made = TYPE.get_or_try_init(py, || {
        let attributes = vec![
            attribute(c"data", get_data, None),
            attribute(c"peer", get_peer, None),
            attribute(c"local", get_local, None),
            attribute(c"truncated", get_truncated, None),
            attribute(c"ecn", get_ecn, None),
            attribute(c"timestamp_ns", get_timestamp_ns, None),
        ];
        let slots = [
            slot(ffi::Py_tp_doc, DOCUMENTATION.as_ptr().cast_mut().cast()),
            slot(ffi::Py_tp_new, slot_new as *const () as *mut c_void),
            slot(ffi::Py_tp_dealloc, slot_dealloc as *const () as *mut c_void),
            slot(ffi::Py_tp_richcompare, slot_compare as *const () as *mut c_void),
            slot(ffi::Py_tp_hash, slot_hash as *const () as *mut c_void),
            slot(ffi::Py_tp_repr, slot_repr as *const () as *mut c_void),
            slot(ffi::Py_mp_length, slot_length as *const () as *mut c_void),
        ];
        let size = std::mem::size_of::<Object>();
        let made = make_type(py, c"socketkit.Datagram", size, 0, Vec::new(), attributes, &slots)?;
        made.setattr(py, "__match_args__", ("data", "peer", "local", "truncated", "ecn", "timestamp_ns"))?;
        Ok::<_, PyErr>(made)
    })?;
    Ok(made.bind(py))
}

/// The arguments of `Datagram(...)`; those that were left out, or are None, are None.
fn parsed<'py>(
    arguments: &Bound<'py, PyAny>,
    keywords: Option<&Bound<'py, PyAny>>,
) -> PyResult<[Option<Bound<'py, PyAny>>; 6]> {
    const NAMES: [*const c_char; 7] = [
        c"data".as_ptr(),
        c"peer".as_ptr(),
        c"local".as_ptr(),
        c"truncated".as_ptr(),
        c"ecn".as_ptr(),
        c"timestamp_ns".as_ptr(),
        ptr::null(),
    ];
    let mut found = [ptr::null_mut::<ffi::PyObject>(); 6];
    let [data, peer, local, truncated, ecn, timestamp_ns] = &mut found;
    // SAFETY: a tuple and a dict or null, a format of six objects with as many places for them, and their names, ended by null.
    let parsed = unsafe {
        ffi::PyArg_ParseTupleAndKeywords(
            arguments.as_ptr(),
            keywords.map_or(ptr::null_mut(), |keywords| keywords.as_ptr()),
            c"OO|OOOO:Datagram".as_ptr(),
            NAMES.as_ptr().cast_mut().cast(),
            ptr::from_mut(data),
            ptr::from_mut(peer),
            ptr::from_mut(local),
            ptr::from_mut(truncated),
            ptr::from_mut(ecn),
            ptr::from_mut(timestamp_ns),
        )
    };
    if parsed == 0 {
        return Err(PyErr::fetch(arguments.py()));
    }
    // SAFETY: what was found is borrowed from the arguments.
    Ok(found.map(|object| unsafe { Bound::from_borrowed_ptr_or_opt(arguments.py(), object) }))
}

/// # Safety
/// `object` is a datagram, and stays one for as long as the caller uses it.
unsafe fn of_object<'a>(object: *mut ffi::PyObject) -> &'a Datagram {
    // SAFETY: the caller's promise.
    unsafe { &(*object.cast::<Object>()).datagram }
}

/// Runs a slot's body with the datagram.
///
/// # Safety
/// `object` is a datagram that the interpreter keeps alive meanwhile.
unsafe fn with<R>(object: *mut ffi::PyObject, failed: R, body: impl FnOnce(Python<'_>, &Datagram) -> PyResult<R>) -> R {
    // SAFETY: the caller's promise.
    guarded(|py| body(py, unsafe { of_object(object) }), failed)
}

unsafe extern "C" fn slot_new(
    _: *mut ffi::PyTypeObject,
    arguments: *mut ffi::PyObject,
    keywords: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    guarded(
        |py| {
            // SAFETY: the interpreter passes a tuple, and a dict or null.
            let (arguments, keywords) =
                unsafe { (Bound::from_borrowed_ptr(py, arguments), Bound::from_borrowed_ptr_or_opt(py, keywords)) };
            Ok(Datagram::made(&arguments, keywords.as_ref())?.into_object(py)?.into_ptr())
        },
        ptr::null_mut(),
    )
}

unsafe extern "C" fn slot_dealloc(object: *mut ffi::PyObject) {
    // SAFETY: the interpreter gives the object up: nobody else refers to it. Its datagram is dropped once, its memory freed by its type,
    // and the type's reference, which every instance of a heap type holds, given back.
    unsafe {
        match ptr::addr_of_mut!((*object.cast::<Object>()).datagram).read() {
            // The objects that it holds are given back by hand: the bindings would ask thrice whether this thread has the interpreter.
            Datagram::Alone { data, arrival } => {
                let py = Python::assume_attached();
                data.drop_ref(py);
                arrival.peer.drop_ref(py);
                arrival.local.drop_ref(py);
            }
            Datagram::Part(part) if !part.is_last() => drop(part),
            Datagram::Part(part) => Python::attach(|_| drop(part)),
        }
        let kind = ffi::Py_TYPE(object);
        ffi::PyObject_Free(object.cast());
        ffi::Py_DecRef(kind.cast());
    }
}

unsafe extern "C" fn slot_compare(
    object: *mut ffi::PyObject,
    other: *mut ffi::PyObject,
    operation: c_int,
) -> *mut ffi::PyObject {
    let compare = |py: Python<'_>, datagram: &Datagram| {
        // SAFETY: the interpreter passes a live object.
        let other = unsafe { Bound::from_borrowed_ptr(py, other) };
        let wanted = match (operation, Datagram::of(&other)) {
            (ffi::Py_EQ, Some(other)) => datagram.equals(py, other)?,
            (ffi::Py_NE, Some(other)) => !datagram.equals(py, other)?,
            _ => return Ok(py.NotImplemented().into_ptr()),
        };
        Ok(pyo3::types::PyBool::new(py, wanted).to_owned().into_any().into_ptr())
    };
    // SAFETY: the interpreter passes a live datagram.
    unsafe { with(object, ptr::null_mut(), compare) }
}

unsafe extern "C" fn slot_hash(object: *mut ffi::PyObject) -> ffi::Py_hash_t {
    let hash = |py: Python<'_>, datagram: &Datagram| {
        let Arrival { peer, timestamp_ns, .. } = datagram.arrival();
        (datagram.data(py), peer.clone_ref(py), *timestamp_ns).into_pyobject(py)?.hash()
    };
    // SAFETY: the interpreter passes a live datagram.
    unsafe { with(object, -1, hash) }
}

unsafe extern "C" fn slot_repr(object: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: the interpreter passes a live datagram.
    unsafe { with(object, ptr::null_mut(), |py, datagram| Ok(datagram.text(py)?.into_pyobject(py)?.into_ptr())) }
}

unsafe extern "C" fn slot_length(object: *mut ffi::PyObject) -> ffi::Py_ssize_t {
    // SAFETY: the interpreter passes a live datagram.
    unsafe { with(object, -1, |py, datagram| Ok(datagram.bytes(py) as ffi::Py_ssize_t)) }
}

unsafe extern "C" fn get_data(object: *mut ffi::PyObject, _: *mut c_void) -> *mut ffi::PyObject {
    // SAFETY: the interpreter passes a live datagram.
    unsafe {
        match of_object(object) {
            Datagram::Alone { data, .. } => another(data.as_ptr()),
            Datagram::Part(_) => with(object, ptr::null_mut(), |py, datagram| Ok(datagram.data(py).into_ptr())),
        }
    }
}

unsafe extern "C" fn get_peer(object: *mut ffi::PyObject, _: *mut c_void) -> *mut ffi::PyObject {
    // SAFETY: the interpreter passes a live datagram, which keeps what it holds alive.
    unsafe { another(of_object(object).arrival().peer.as_ptr()) }
}

unsafe extern "C" fn get_local(object: *mut ffi::PyObject, _: *mut c_void) -> *mut ffi::PyObject {
    // SAFETY: as in get_peer.
    unsafe { another(of_object(object).arrival().local.as_ptr()) }
}

/// A new reference.
///
/// # Safety
/// `object` is alive, and this thread holds the interpreter.
unsafe fn another(object: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: the caller's promise.
    unsafe { ffi::Py_IncRef(object) };
    object
}

unsafe extern "C" fn get_truncated(object: *mut ffi::PyObject, _: *mut c_void) -> *mut ffi::PyObject {
    let get = |py: Python<'_>, datagram: &Datagram| {
        Ok(pyo3::types::PyBool::new(py, datagram.arrival().truncated).to_owned().into_any().into_ptr())
    };
    // SAFETY: the interpreter passes a live datagram.
    unsafe { with(object, ptr::null_mut(), get) }
}

unsafe extern "C" fn get_ecn(object: *mut ffi::PyObject, _: *mut c_void) -> *mut ffi::PyObject {
    // SAFETY: the interpreter passes a live datagram.
    unsafe { with(object, ptr::null_mut(), |py, datagram| Ok(datagram.arrival().ecn.into_pyobject(py)?.into_ptr())) }
}

unsafe extern "C" fn get_timestamp_ns(object: *mut ffi::PyObject, _: *mut c_void) -> *mut ffi::PyObject {
    let get = |py: Python<'_>, datagram: &Datagram| Ok(datagram.arrival().timestamp_ns.into_pyobject(py)?.into_ptr());
    // SAFETY: the interpreter passes a live datagram.
    unsafe { with(object, ptr::null_mut(), get) }
}

/// With its signature, as the interpreter wants it.
const DOCUMENTATION: &std::ffi::CStr = c"\
Datagram(data, peer, local=None, truncated=False, ecn=0, timestamp_ns=None)
--

A message, who sent it, and what the kernel knew of it.

`data`, `peer` (an Endpoint; None for a sender without a name), `local` (the address that it came to), `truncated` (there was more of
it), `ecn` (the two bits of RFC 3168), `timestamp_ns` (when the kernel received it, in nanoseconds since 1970, or None). Made by
`Datagrams`; `Datagram(data, peer)` is one to send.";
