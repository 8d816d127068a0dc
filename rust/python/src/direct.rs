//! `_core.Direct`: a coroutine that its task starts and ends, and the reactor resumes in between.
//!
//! Each time a task waits and wakes, asyncio asks the awaited object half a dozen questions, makes a callback and calls it. Inside
//! `Direct` that happens once: the task waits on the `Direct`, and while the coroutine in it awaits one operation after the other, the
//! reactor steps the coroutine itself, with the task entered (`asyncio._enter_task`, made for this) and in the task's context, so
//! `current_task()` and context variables are what they always are. Whatever is not ours to handle (another future, the end, an
//! exception, a cancellation) is handed to the task, which asks for it through `send` and `throw` as of any coroutine.
//!
//! Like `Operation`, it needs the `am_send` slot and so the C API. Everything here runs with the interpreter attached.

use std::cell::{Cell, RefCell};
use std::ffi::{c_int, c_void};
use std::ptr;

use pyo3::exceptions::{PyRuntimeError, PyTypeError};
use pyo3::ffi;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyTuple, PyType};

use crate::entering;
use crate::operation::{self, OperationRef};
use crate::slots::{attribute, fast, guarded, make_type, no_argument, one_argument, slot, variadic, INTERNAL};

/// What the coroutine did while the task was not looking, kept until the task asks.
enum Outcome {
    Yielded(Py<PyAny>),
    Returned(Py<PyAny>),
    Raised(PyErr),
}

struct State {
    coroutine: RefCell<Option<Py<PyAny>>>,
    /// Who is told of the end: `ended(subject, exception or None)`, which says whether the exception is dealt with.
    ended: RefCell<Option<(Py<PyAny>, Py<PyAny>)>>,
    /// The task's side: what wakes it, in which context, and who it is.
    waiter: RefCell<Option<Waiter>>,
    /// The operation that the coroutine waits on.
    operation: Cell<Option<OperationRef>>,
    outcome: Cell<Option<Outcome>>,
    yielded: Cell<bool>,
    begun: Cell<bool>,
    /// The task was told to cancel at a moment when it will deliver that itself at its next step.
    cancel_wanted: Cell<bool>,
    /// The task's cancellation is on its way, and this is its message.
    cancelled: Cell<bool>,
    cancel_message: Cell<Option<Py<PyAny>>>,
}

struct Waiter {
    wakeup: Py<PyAny>,
    context: Option<Py<PyAny>>,
    task: Py<PyAny>,
    host: Py<PyAny>,
}

#[repr(C)]
struct Object {
    head: ffi::PyObject,
    state: State,
}

/// A `Direct` around `coroutine`, to be given to `create_task`. When the coroutine ends, `ended(subject, exception or None)` is called in
/// its task, a turn earlier than a callback of the task would be; if it returns true, the exception is dealt with and not the task's.
#[pyfunction]
pub fn direct<'py>(coroutine: &Bound<'py, PyAny>, ended: Py<PyAny>, subject: Py<PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let py = coroutine.py();
    // SAFETY: the check takes any object.
    if unsafe { ffi::PyIter_Check(coroutine.as_ptr()) } == 0 && !coroutine.hasattr(intern!(py, "send"))? {
        return Err(PyTypeError::new_err("not a coroutine"));
    }
    let kind = python_type(py)?.as_type_ptr();
    // SAFETY: the type is ours; GenericAlloc gives a zeroed, tracked object of its basic size. Nothing runs between it and the write of
    // the state that could start a collection.
    unsafe {
        let object = ffi::PyType_GenericAlloc(kind, 0);
        if object.is_null() {
            return Err(PyErr::fetch(py));
        }
        let state = State {
            coroutine: RefCell::new(Some(coroutine.clone().unbind())),
            ended: RefCell::new(Some((ended, subject))),
            waiter: RefCell::new(None),
            operation: Cell::new(None),
            outcome: Cell::new(None),
            yielded: Cell::new(false),
            begun: Cell::new(false),
            cancel_wanted: Cell::new(false),
            cancelled: Cell::new(false),
            cancel_message: Cell::new(None),
        };
        ptr::addr_of_mut!((*object.cast::<Object>()).state).write(state);
        Ok(Bound::from_owned_ptr(py, object))
    }
}

/// # Safety
/// `object` is a `Direct`, and stays one for as long as the caller uses its state.
unsafe fn state_of<'a>(object: *mut ffi::PyObject) -> &'a State {
    // SAFETY: the caller's promise. State is only shared, its fields are cells, and only the thread that holds the interpreter gets here.
    unsafe { &(*object.cast::<Object>()).state }
}

/// Lets the coroutine run until it waits or ends.
fn step(py: Python<'_>, state: &State) -> Outcome {
    let coroutine = match &*state.coroutine.borrow() {
        Some(coroutine) => coroutine.clone_ref(py).into_bound(py),
        None => return Outcome::Raised(PyRuntimeError::new_err("cannot reuse already awaited coroutine")),
    };
    let mut result = ptr::null_mut();
    // SAFETY: live objects, and a place for the result, which is an owned reference unless the call failed.
    unsafe {
        match ffi::PyIter_Send(coroutine.as_ptr(), ffi::Py_None(), &mut result) {
            ffi::PySendResult::PYGEN_NEXT => Outcome::Yielded(Bound::from_owned_ptr(py, result).unbind()),
            ffi::PySendResult::PYGEN_RETURN => Outcome::Returned(Bound::from_owned_ptr(py, result).unbind()),
            _ => Outcome::Raised(PyErr::fetch(py)),
        }
    }
}

/// Hands `outcome` to the task that asked.
fn answer(py: Python<'_>, me: *mut ffi::PyObject, state: &State, outcome: Outcome) -> PyResult<(bool, Py<PyAny>)> {
    match outcome {
        Outcome::Yielded(object) => match operation::waiting(object.bind(py)) {
            Some(operation) => {
                state.operation.set(Some(operation));
                state.yielded.set(true);
                // SAFETY: `me` is the live object whose state this is.
                Ok((true, unsafe { Bound::from_borrowed_ptr(py, me) }.unbind()))
            }
            None => Ok((true, object)),
        },
        Outcome::Returned(value) => {
            finish(py, state);
            tell_end(py, state, None)?;
            Ok((false, value))
        }
        Outcome::Raised(failure) => {
            finish(py, state);
            if tell_end(py, state, Some(&failure))? {
                return Ok((false, py.None()));
            }
            Err(failure)
        }
    }
}

fn tell_end(py: Python<'_>, state: &State, failure: Option<&PyErr>) -> PyResult<bool> {
    let Some((ended, subject)) = state.ended.borrow_mut().take() else { return Ok(false) };
    ended.bind(py).call1((subject, failure.map(|failure| failure.value(py))))?.is_truthy()
}

/// The coroutine is over: nothing is held any more.
fn finish(py: Python<'_>, state: &State) {
    let coroutine = state.coroutine.borrow_mut().take();
    let waiter = state.waiter.borrow_mut().take();
    drop((coroutine.map(|it| it.into_bound(py)), waiter));
}

/// The task steps.
fn task_step(py: Python<'_>, me: *mut ffi::PyObject, state: &State) -> PyResult<(bool, Py<PyAny>)> {
    state.begun.set(true);
    state.cancel_wanted.set(false);
    let outcome = state.outcome.take().unwrap_or_else(|| step(py, state));
    answer(py, me, state, outcome)
}

/// The reactor steps: the operation that the coroutine waits on has news.
fn reactor_step(py: Python<'_>, me: *mut ffi::PyObject, state: &State) -> PyResult<()> {
    state.operation.set(None);
    let (host, task) = match &*state.waiter.borrow() {
        Some(waiter) => (waiter.host.clone_ref(py).into_bound(py), waiter.task.clone_ref(py).into_bound(py)),
        None => return Ok(()),
    };
    if state.cancel_wanted.get() {
        return wake_task(py, state);
    }
    let outcome = entering::as_current(py, &host, &task, || step(py, state))?;
    if let Outcome::Yielded(object) = &outcome {
        if let Some(operation) = operation::waiting(object.bind(py)) {
            if !state.cancel_wanted.get() {
                wait_on(py, me, state, operation);
                return Ok(());
            }
        }
    }
    state.outcome.set(Some(outcome));
    wake_task(py, state)
}

/// The reactor resumes us, not the task, when `operation` has news.
fn wait_on(py: Python<'_>, me: *mut ffi::PyObject, state: &State, operation: OperationRef) {
    let context = state.waiter.borrow().as_ref().and_then(|waiter| waiter.context.as_ref().map(|it| it.clone_ref(py)));
    // SAFETY: `me` is the live object whose state this is.
    let callback = unsafe { Bound::from_borrowed_ptr(py, me) }.unbind();
    operation.call_back(py, callback, context);
    state.operation.set(Some(operation));
}

/// Lets the task step now; its context is entered already.
fn wake_task(py: Python<'_>, state: &State) -> PyResult<()> {
    let wakeup = match &*state.waiter.borrow() {
        Some(waiter) => waiter.wakeup.clone_ref(py).into_bound(py),
        None => return Ok(()),
    };
    wakeup.call1((operation::resolved(py)?,)).map(drop)
}

/// The task begins to wait on us; told once per wait, and most waits go on for many operations.
fn begin_wait(
    py: Python<'_>,
    me: *mut ffi::PyObject,
    state: &State,
    wakeup: Bound<'_, PyAny>,
    context: Option<Py<PyAny>>,
) -> PyResult<()> {
    let Some(operation) = state.operation.take() else {
        return Err(PyRuntimeError::new_err("nothing to wait for"));
    };
    // Tasks of C and of Python both give a bound callable.
    let task = wakeup.getattr(intern!(py, "__self__"))?.unbind();
    let host = operation.host(py)?.unbind();
    let waiter = Waiter { wakeup: wakeup.unbind(), context, task, host };
    let before = state.waiter.borrow_mut().replace(waiter);
    drop(before);
    wait_on(py, me, state, operation);
    Ok(())
}

fn cancel(py: Python<'_>, me: *mut ffi::PyObject, state: &State, message: Option<Py<PyAny>>) -> PyResult<bool> {
    let waiting = match state.operation.take() {
        Some(operation) => {
            let stopped = operation.stop_waiting(py);
            state.operation.set(Some(operation));
            stopped
        }
        None => false,
    };
    if !waiting {
        // It runs, or is about to: the task remembers (asyncio.Task.cancel), and must be given the chance to deliver.
        state.cancel_wanted.set(true);
        return Ok(false);
    }
    state.cancelled.set(true);
    state.cancel_message.set(message);
    if let Some(waiter) = &*state.waiter.borrow() {
        // SAFETY: `me` is the live object whose state this is.
        let me = unsafe { Bound::from_borrowed_ptr(py, me) };
        operation::call_soon(py, waiter.host.bind(py), &waiter.wakeup, &me, waiter.context.as_ref())?;
    }
    Ok(true)
}

fn throw(py: Python<'_>, me: *mut ffi::PyObject, state: &State, exception: PyErr) -> PyResult<(bool, Py<PyAny>)> {
    state.begun.set(true);
    state.cancel_wanted.set(false);
    state.cancelled.set(false);
    let operation = state.operation.take();
    drop(operation);
    match state.outcome.take() {
        // It ended before the cancellation could be delivered: asyncio lets the exception win, and the cancellation over a result.
        Some(Outcome::Raised(failure)) => return answer(py, me, state, Outcome::Raised(failure)),
        Some(Outcome::Returned(_)) => return answer(py, me, state, Outcome::Raised(exception)),
        // What it waits on now must be cancelled, as the task does with what it sees yielded.
        Some(Outcome::Yielded(awaited)) if operation::waiting(awaited.bind(py)).is_none() && !awaited.is_none(py) => {
            awaited.bind(py).call_method0(intern!(py, "cancel"))?;
            return Ok((true, awaited));
        }
        Some(Outcome::Yielded(_)) | None => {}
    }
    let coroutine = match &*state.coroutine.borrow() {
        Some(coroutine) => coroutine.clone_ref(py).into_bound(py),
        None => return Err(exception),
    };
    let outcome = match coroutine.call_method1(intern!(py, "throw"), (exception.into_value(py),)) {
        Ok(object) => Outcome::Yielded(object.unbind()),
        Err(stop) if stop.is_instance_of::<pyo3::exceptions::PyStopIteration>(py) => {
            Outcome::Returned(stop.value(py).getattr(intern!(py, "value"))?.unbind())
        }
        Err(failure) => Outcome::Raised(failure),
    };
    answer(py, me, state, outcome)
}

/// Whether `callback` is a `Direct`.
pub fn is_one(py: Python<'_>, callback: &Py<PyAny>) -> bool {
    // SAFETY: a live object.
    python_type(py).is_ok_and(|kind| ptr::eq(unsafe { ffi::Py_TYPE(callback.as_ptr()) }, kind.as_type_ptr()))
}

/// What calling `callback`, a `Direct`, does: the operation that it waits on has news.
pub fn resume(py: Python<'_>, callback: &Py<PyAny>) -> PyResult<()> {
    if !is_one(py, callback) {
        return Err(PyTypeError::new_err("not a Direct"));
    }
    // SAFETY: its type is ours, and so is its layout; the caller holds a reference.
    reactor_step(py, callback.as_ptr(), unsafe { state_of(callback.as_ptr()) })
}

pub fn python_type(py: Python<'_>) -> PyResult<&Bound<'_, PyType>> {
    static TYPE: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    let made = TYPE.get_or_try_init(py, || {
        let methods = vec![
            one_argument(c"send", method_send),
            variadic(c"throw", method_throw),
            no_argument(c"close", method_close),
            no_argument(c"result", method_result),
            fast(c"add_done_callback", method_add_done_callback),
            fast(c"cancel", method_cancel),
        ];
        let attributes = vec![
            attribute(c"_asyncio_future_blocking", get_blocking, Some(set_blocking)),
            attribute(c"_loop", get_loop, None),
            attribute(c"__name__", get_name, None),
            attribute(c"__qualname__", get_qualname, None),
            attribute(c"cr_frame", get_frame, None),
            attribute(c"cr_code", get_code, None),
            attribute(c"cr_await", get_awaited, None),
            attribute(c"cr_running", get_running, None),
        ];
        let slots = [
            slot(ffi::Py_tp_dealloc, slot_dealloc as *const () as *mut c_void),
            slot(ffi::Py_tp_traverse, slot_traverse as *const () as *mut c_void),
            slot(ffi::Py_tp_clear, slot_clear as *const () as *mut c_void),
            slot(ffi::Py_tp_call, slot_call as *const () as *mut c_void),
            slot(ffi::Py_tp_iter, slot_self as *const () as *mut c_void),
            slot(ffi::Py_tp_iternext, slot_next as *const () as *mut c_void),
            slot(ffi::Py_am_await, slot_self as *const () as *mut c_void),
            slot(ffi::Py_am_send, slot_send as *const () as *mut c_void),
        ];
        let flags = INTERNAL | ffi::Py_TPFLAGS_HAVE_GC;
        make_type(py, c"socketkit._core.Direct", std::mem::size_of::<Object>(), flags, methods, attributes, &slots)
    })?;
    Ok(made.bind(py))
}

unsafe extern "C" fn slot_self(object: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: the interpreter passes a live object; a new reference is what it expects.
    unsafe { ffi::Py_IncRef(object) };
    object
}

unsafe extern "C" fn slot_send(
    object: *mut ffi::PyObject,
    _value: *mut ffi::PyObject,
    result: *mut *mut ffi::PyObject,
) -> ffi::PySendResult {
    guarded(
        |py| {
            // SAFETY: the interpreter passes a live object, and a place for the result.
            unsafe {
                let (goes_on, value) = task_step(py, object, state_of(object))?;
                *result = value.into_ptr();
                Ok(if goes_on { ffi::PySendResult::PYGEN_NEXT } else { ffi::PySendResult::PYGEN_RETURN })
            }
        },
        ffi::PySendResult::PYGEN_ERROR,
    )
}

fn as_iterator((goes_on, value): (bool, Py<PyAny>)) -> PyResult<*mut ffi::PyObject> {
    if goes_on {
        return Ok(value.into_ptr());
    }
    Err(pyo3::exceptions::PyStopIteration::new_err((value,)))
}

unsafe extern "C" fn slot_next(object: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: the interpreter passes a live object.
    guarded(|py| as_iterator(task_step(py, object, unsafe { state_of(object) })?), ptr::null_mut())
}

unsafe extern "C" fn method_send(object: *mut ffi::PyObject, _value: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: as in slot_next.
    unsafe { slot_next(object) }
}

unsafe extern "C" fn slot_call(
    object: *mut ffi::PyObject,
    _arguments: *mut ffi::PyObject,
    _keywords: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    guarded(
        |py| {
            // SAFETY: as in slot_next.
            reactor_step(py, object, unsafe { state_of(object) })?;
            Ok(py.None().into_ptr())
        },
        ptr::null_mut(),
    )
}

unsafe extern "C" fn method_throw(object: *mut ffi::PyObject, arguments: *mut ffi::PyObject) -> *mut ffi::PyObject {
    guarded(
        |py| {
            // SAFETY: the interpreter passes a live object and a tuple.
            let (state, arguments) =
                unsafe { (state_of(object), Bound::from_borrowed_ptr(py, arguments).cast_into::<PyTuple>()?) };
            let exception = operation::thrown(&arguments)?;
            as_iterator(throw(py, object, state, exception)?)
        },
        ptr::null_mut(),
    )
}

unsafe extern "C" fn method_close(object: *mut ffi::PyObject, _: *mut ffi::PyObject) -> *mut ffi::PyObject {
    guarded(
        |py| {
            // SAFETY: as in slot_next.
            let state = unsafe { state_of(object) };
            state.begun.set(true);
            let coroutine = state.coroutine.borrow_mut().take();
            finish(py, state);
            if let Some(coroutine) = coroutine {
                coroutine.bind(py).call_method0(intern!(py, "close"))?;
            }
            Ok(py.None().into_ptr())
        },
        ptr::null_mut(),
    )
}

unsafe extern "C" fn method_result(object: *mut ffi::PyObject, _: *mut ffi::PyObject) -> *mut ffi::PyObject {
    guarded(
        |py| {
            // SAFETY: as in slot_next.
            let state = unsafe { state_of(object) };
            if state.cancelled.get() {
                return Err(operation::cancelled_error(py, state.cancel_message.take()));
            }
            Ok(py.None().into_ptr())
        },
        ptr::null_mut(),
    )
}

unsafe extern "C" fn method_add_done_callback(
    object: *mut ffi::PyObject,
    arguments: *const *mut ffi::PyObject,
    count: ffi::Py_ssize_t,
    names: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    guarded(
        |py| {
            // SAFETY: the interpreter passes a live object and the arguments as operation::callback wants them.
            let (state, (wakeup, context)) =
                unsafe { (state_of(object), operation::callback(py, arguments, count, names)?) };
            begin_wait(py, object, state, wakeup.into_bound(py), context)?;
            Ok(py.None().into_ptr())
        },
        ptr::null_mut(),
    )
}

unsafe extern "C" fn method_cancel(
    object: *mut ffi::PyObject,
    arguments: *const *mut ffi::PyObject,
    count: ffi::Py_ssize_t,
    names: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    guarded(
        |py| {
            // SAFETY: as in method_add_done_callback: the one argument is the message, by position or by name.
            let (state, message) = unsafe { (state_of(object), operation::message(py, arguments, count, names)) };
            let done = cancel(py, object, state, message)?;
            Ok(pyo3::types::PyBool::new(py, done).to_owned().into_any().into_ptr())
        },
        ptr::null_mut(),
    )
}

unsafe extern "C" fn get_blocking(object: *mut ffi::PyObject, _: *mut c_void) -> *mut ffi::PyObject {
    // SAFETY: the interpreter passes a live object; nothing here can panic or run Python code.
    unsafe {
        let state = state_of(object);
        // None says "not a future": create_task() must take it for a coroutine.
        let answer = match (state.begun.get(), state.yielded.get()) {
            (false, _) => ffi::Py_None(),
            (_, true) => ffi::Py_True(),
            (_, false) => ffi::Py_False(),
        };
        ffi::Py_IncRef(answer);
        answer
    }
}

unsafe extern "C" fn set_blocking(object: *mut ffi::PyObject, value: *mut ffi::PyObject, _: *mut c_void) -> c_int {
    // SAFETY: as in get_blocking; a null value is a deletion, which says "no".
    unsafe {
        let yielded = if value.is_null() { 0 } else { ffi::PyObject_IsTrue(value) };
        state_of(object).yielded.set(yielded == 1);
        yielded.min(0)
    }
}

unsafe extern "C" fn get_loop(object: *mut ffi::PyObject, _: *mut c_void) -> *mut ffi::PyObject {
    guarded(
        |py| {
            // SAFETY: as in slot_next.
            let state = unsafe { state_of(object) };
            let operation = state.operation.take();
            let host = operation.as_ref().map(|operation| operation.host(py).map(Bound::into_ptr));
            state.operation.set(operation);
            host.unwrap_or_else(|| Err(PyRuntimeError::new_err("nothing to wait for")))
        },
        ptr::null_mut(),
    )
}

/// An attribute of the coroutine inside, for those who print tasks and their stacks.
fn inner(object: *mut ffi::PyObject, name: &str) -> *mut ffi::PyObject {
    guarded(
        |py| {
            // SAFETY: only called by the getters, with the live object that the interpreter passes.
            let coroutine =
                unsafe { state_of(object) }.coroutine.borrow().as_ref().map(|coroutine| coroutine.clone_ref(py));
            match coroutine {
                Some(coroutine) => Ok(coroutine.bind(py).getattr(name)?.into_ptr()),
                None if name.starts_with('_') => Ok(pyo3::types::PyString::new(py, "Direct").into_any().into_ptr()),
                None => Ok(py.None().into_ptr()),
            }
        },
        ptr::null_mut(),
    )
}

unsafe extern "C" fn get_name(object: *mut ffi::PyObject, _: *mut c_void) -> *mut ffi::PyObject {
    inner(object, "__name__")
}

unsafe extern "C" fn get_qualname(object: *mut ffi::PyObject, _: *mut c_void) -> *mut ffi::PyObject {
    inner(object, "__qualname__")
}

unsafe extern "C" fn get_frame(object: *mut ffi::PyObject, _: *mut c_void) -> *mut ffi::PyObject {
    inner(object, "cr_frame")
}

unsafe extern "C" fn get_code(object: *mut ffi::PyObject, _: *mut c_void) -> *mut ffi::PyObject {
    inner(object, "cr_code")
}

unsafe extern "C" fn get_awaited(object: *mut ffi::PyObject, _: *mut c_void) -> *mut ffi::PyObject {
    inner(object, "cr_await")
}

unsafe extern "C" fn get_running(object: *mut ffi::PyObject, _: *mut c_void) -> *mut ffi::PyObject {
    inner(object, "cr_running")
}

unsafe extern "C" fn slot_traverse(object: *mut ffi::PyObject, visit: ffi::visitproc, argument: *mut c_void) -> c_int {
    // SAFETY: the collector passes a live object and its own visitor; the borrows cannot fail, since no code of ours is running.
    unsafe {
        let state = state_of(object);
        let visit_one = |it: &Py<PyAny>| visit(it.as_ptr(), argument);
        if let Some(coroutine) = state.coroutine.try_borrow().ok().as_deref().and_then(Option::as_ref) {
            let stop = visit_one(coroutine);
            if stop != 0 {
                return stop;
            }
        }
        if let Some((ended, subject)) = state.ended.try_borrow().ok().as_deref().and_then(Option::as_ref) {
            for it in [ended, subject] {
                let stop = visit_one(it);
                if stop != 0 {
                    return stop;
                }
            }
        }
        if let Some(waiter) = state.waiter.try_borrow().ok().as_deref().and_then(Option::as_ref) {
            for it in [Some(&waiter.wakeup), waiter.context.as_ref(), Some(&waiter.task), Some(&waiter.host)]
                .into_iter()
                .flatten()
            {
                let stop = visit_one(it);
                if stop != 0 {
                    return stop;
                }
            }
        }
        visit(ffi::Py_TYPE(object).cast(), argument)
    }
}

unsafe extern "C" fn slot_clear(object: *mut ffi::PyObject) -> c_int {
    Python::attach(|py| {
        // SAFETY: the collector passes a live object.
        let state = unsafe { state_of(object) };
        finish(py, state);
        let ended = state.ended.borrow_mut().take();
        drop(ended);
    });
    0
}

unsafe extern "C" fn slot_dealloc(object: *mut ffi::PyObject) {
    Python::attach(|_| {
        // SAFETY: the interpreter gives the object up: nobody else refers to it. Its state is dropped once, its memory freed as memory of
        // a collected type is, and the type's reference, which every instance of a heap type holds, given back.
        unsafe {
            ffi::PyObject_GC_UnTrack(object.cast());
            ptr::drop_in_place(ptr::addr_of_mut!((*object.cast::<Object>()).state));
            let kind = ffi::Py_TYPE(object);
            ffi::PyObject_GC_Del(object.cast());
            ffi::Py_DecRef(kind.cast());
        }
    });
}
