//! The awaitable: what `stream.receive()` returns and a task waits on.
//!
//! It is a coroutine to whoever drives it (`send`, `throw`, `close`: so `create_task`, `gather` and `wait_for` take it) and, while
//! it waits, a future to the task that waits on it (`add_done_callback`, `cancel`, `result`). When its socket has news, the
//! reactor calls the task's own wake-up callback in the task's context, without a trip through the loop's queue; the task runs,
//! comes back into `send`, and only there the bytes are taken from the kernel. So a cancellation that arrives at any moment before
//! finds nothing taken.
//!
//! It is written against the C API, because only a type with an `am_send` slot resumes without raising StopIteration, and the
//! bindings have no word for that slot. `Direct` is the other one; everything in both runs with the interpreter attached.

use std::cell::{Cell, RefCell};
use std::ffi::{c_int, c_void};
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

use pyo3::exceptions::PyRuntimeError;
use pyo3::ffi;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyTuple, PyType};
use rustix::event::PollFlags;

use crate::action::{Action, Attempt, Wait};
use crate::blocking::Watch;
use crate::direct;
use crate::entering;
use crate::reactor::Reactor;
use crate::slots::{attribute, fast, guarded, make_type, no_argument, one_argument, slot, variadic, INTERNAL};

/// Where an operation stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Nobody has awaited it.
    New,
    /// It is on its socket's list.
    Waiting,
    /// There is news; the task has not run yet.
    Woken,
    /// The waiting task was cancelled; the task has not run yet.
    Cancelled,
    Done,
}

struct State {
    phase: Cell<Phase>,
    /// What it waits for, while it does.
    wait: Cell<Option<Wait>>,
    /// asyncio's mark that a future is being yielded by `await` (see `asyncio.Future.__await__`).
    yielded: Cell<bool>,
    wakeup: Cell<Option<Py<PyAny>>>,
    context: Cell<Option<Py<PyAny>>>,
    cancel_message: Cell<Option<Py<PyAny>>>,
    action: RefCell<Action>,
}

#[repr(C)]
struct Object {
    head: ffi::PyObject,
    state: State,
}

/// Memory of operations that are gone, for the next ones: one is made and dropped for every receive and every send.
struct Spare {
    places: [AtomicPtr<ffi::PyObject>; 4],
}

static SPARE: Spare = Spare { places: [const { AtomicPtr::new(ptr::null_mut()) }; 4] };

impl Spare {
    /// Memory, or null.
    fn take(&self) -> *mut ffi::PyObject {
        for place in &self.places {
            // Only threads that hold the interpreter get here, so nobody comes between the two.
            let memory = place.load(Ordering::Relaxed);
            if !memory.is_null() {
                place.store(ptr::null_mut(), Ordering::Relaxed);
                return memory;
            }
        }
        ptr::null_mut()
    }

    /// # Safety
    /// `memory` came from the interpreter's allocator, in the size of an operation, and nobody uses it.
    unsafe fn put(&self, memory: *mut ffi::PyObject) {
        for place in &self.places {
            if place.load(Ordering::Relaxed).is_null() {
                place.store(memory, Ordering::Relaxed);
                return;
            }
        }
        // SAFETY: the caller's promise.
        unsafe { ffi::PyObject_Free(memory.cast()) };
    }
}

/// A counted reference to an operation.
pub struct OperationRef(Py<PyAny>);

impl OperationRef {
    pub fn clone_ref(&self, py: Python<'_>) -> Self {
        Self(self.0.clone_ref(py))
    }

    pub fn is(&self, other: &Self) -> bool {
        self.0.is(&other.0)
    }

    /// Marks that there is news for it; true if it was waiting (and must now be resumed by the caller).
    pub fn notify(&self, _py: Python<'_>) -> bool {
        let phase = &self.state().phase;
        let waiting = phase.get() == Phase::Waiting;
        if waiting {
            phase.set(Phase::Woken);
        }
        waiting
    }

    /// Lets the waiting task run now. An error is one that must stop the loop.
    pub fn resume(&self, py: Python<'_>) -> PyResult<()> {
        let state = self.state();
        if state.phase.get() == Phase::Waiting {
            return Ok(()); // It was resumed meanwhile, and waits anew.
        }
        let (Some(wakeup), context) = (state.wakeup.take(), state.context.take()) else {
            return Ok(());
        };
        // The callback asks the future that it is given for its result, and asks an asyncio.Future a good deal faster than it asks us;
        // that of a wait that has ended is always None. Only a cancelled wait must speak for itself.
        let news = match state.phase.get() {
            Phase::Cancelled => self.0.bind(py),
            _ => resolved(py)?,
        };
        let Some(context) = context else {
            return wakeup.bind(py).call1((news,)).map(drop);
        };
        if !direct::is_one(py, &wakeup) {
            return entering::run_in(py, &context, &wakeup, news);
        }
        entering::within(py, &context, || direct::resume(py, &wakeup), &wakeup, news)
    }

    /// Whom to call, and in which context, when it has news; if it has, in the next turn.
    pub fn call_back(&self, py: Python<'_>, wakeup: Py<PyAny>, context: Option<Py<PyAny>>) {
        let state = self.state();
        state.yielded.set(false);
        state.wakeup.set(Some(wakeup));
        state.context.set(context);
        if matches!(state.phase.get(), Phase::Woken | Phase::Cancelled) {
            // The news came before anyone could be told.
            if let Some(reactor) = state.action.borrow().reactor(py) {
                Reactor::resume_later(reactor, self.clone_ref(py));
            }
        }
    }

    /// Takes it off its socket's list if it waits there; false if its waiter runs, or is about to.
    pub fn stop_waiting(&self, py: Python<'_>) -> bool {
        let state = self.state();
        if state.phase.get() != Phase::Waiting {
            return false;
        }
        state.phase.set(Phase::Cancelled);
        drop((state.wakeup.take(), state.context.take()));
        state.action.borrow_mut().dismiss(py, self);
        true
    }

    /// The event loop that it belongs to.
    pub fn host<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        match self.state().action.borrow().reactor(py) {
            Some(reactor) => reactor.get().host(py),
            None => Err(PyRuntimeError::new_err(
                "this connection belongs to socketkit.sync; open it with socketkit.connect to await it",
            )),
        }
    }

    fn state(&self) -> &State {
        // SAFETY: an OperationRef is only made of objects of our type (`new`, and `self` of its slots), which lives as long as the
        // reference; State is only shared, its fields are cells, and only the thread that holds the interpreter gets here.
        unsafe { state_of(self.0.as_ptr()) }
    }
}

/// A new operation, not begun.
pub fn new(py: Python<'_>, action: Action) -> PyResult<Bound<'_, PyAny>> {
    let kind = python_type(py)?.as_type_ptr();
    // SAFETY: the type is ours and ready; its memory comes from the interpreter's allocator, or from an operation before, in its basic
    // size, and the state is written before anyone can see it.
    unsafe {
        let memory = match SPARE.take() {
            memory if memory.is_null() => ffi::PyObject_Malloc(std::mem::size_of::<Object>()).cast(),
            memory => memory,
        };
        if memory.is_null() {
            return Err(pyo3::exceptions::PyMemoryError::new_err(()));
        }
        let object = ffi::PyObject_Init(memory, kind);
        let state = State {
            phase: Cell::new(Phase::New),
            wait: Cell::new(None),
            yielded: Cell::new(false),
            wakeup: Cell::new(None),
            context: Cell::new(None),
            cancel_message: Cell::new(None),
            action: RefCell::new(action),
        };
        ptr::addr_of_mut!((*object.cast::<Object>()).state).write(state);
        Ok(Bound::from_owned_ptr(py, object))
    }
}

/// Runs `drive` with the operation's action, for a caller that blocks instead of awaiting.
pub fn with_action<R>(
    operation: &Bound<'_, PyAny>,
    drive: impl FnOnce(&mut Action, &OperationRef) -> PyResult<R>,
) -> PyResult<R> {
    let me = of_our_type(operation)?;
    let state = me.state();
    if state.phase.replace(Phase::Done) != Phase::New {
        return Err(PyRuntimeError::new_err("this operation was awaited before"));
    }
    let result = drive(&mut state.action.borrow_mut(), &me);
    result
}

/// What a waiting operation of a connection without a loop waits for; None if it may go on now.
pub fn watch(operation: &Bound<'_, PyAny>) -> PyResult<Option<Watch>> {
    let me = of_our_type(operation)?;
    let state = me.state();
    if state.action.borrow().reactor(operation.py()).is_some() {
        return Err(PyRuntimeError::new_err("this connection belongs to an event loop: await it there"));
    }
    let wait = state.wait.get().filter(|_| state.phase.get() == Phase::Waiting);
    Ok(wait.map(|wait| state.action.borrow().watch(wait)))
}

/// Hands it what `poll` said of its `watch`.
pub fn note(operation: &Bound<'_, PyAny>, news: &[PollFlags]) {
    if let Ok(me) = of_our_type(operation) {
        me.state().action.borrow().note(&me, news);
    }
}

fn of_our_type(object: &Bound<'_, PyAny>) -> PyResult<OperationRef> {
    if !object.get_type().is(python_type(object.py())?) {
        return Err(pyo3::exceptions::PyTypeError::new_err("not an operation of socketkit"));
    }
    Ok(OperationRef(object.clone().unbind()))
}

/// A future that is done, and belongs to no loop.
pub fn resolved(py: Python<'_>) -> PyResult<&Bound<'_, PyAny>> {
    static RESOLVED: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let made = RESOLVED.get_or_try_init(py, || {
        let keywords = pyo3::types::PyDict::new(py);
        keywords.set_item("loop", Py::new(py, NoLoop)?)?;
        let future = py.import("asyncio")?.getattr("Future")?.call((), Some(&keywords))?;
        future.call_method1("set_result", (py.None(),))?;
        Ok::<_, PyErr>(future.unbind())
    })?;
    Ok(made.bind(py))
}

#[pyclass(frozen)]
struct NoLoop;

#[pymethods]
impl NoLoop {
    fn get_debug(&self) -> bool {
        false
    }
}

/// `object` as an operation that waits, or has just been woken; None if it is anything else.
pub fn waiting(object: &Bound<'_, PyAny>) -> Option<OperationRef> {
    let kind = python_type(object.py()).ok()?;
    if !object.get_type().is(kind) {
        return None;
    }
    let operation = OperationRef(object.clone().unbind());
    let waits = matches!(operation.state().phase.get(), Phase::Waiting | Phase::Woken);
    (waits && operation.state().action.borrow().reactor(object.py()).is_some()).then_some(operation)
}

enum Step {
    Yield,
    Return(Py<PyAny>),
}

fn advance(py: Python<'_>, me: &OperationRef) -> PyResult<Step> {
    let state = me.state();
    match state.phase.get() {
        Phase::New | Phase::Waiting | Phase::Woken => {}
        Phase::Cancelled => {
            state.phase.set(Phase::Done);
            return Err(cancelled_error(py, state.cancel_message.take()));
        }
        Phase::Done => return Err(PyRuntimeError::new_err("this operation was awaited before")),
    }
    let mut action = state.action.borrow_mut();
    let woken_before = state.phase.replace(Phase::Done) != Phase::New;
    match action.attempt(py, me) {
        Ok(Attempt::Ready(value)) => Ok(Step::Return(value)),
        Err(failure) => {
            action.dismiss(py, me);
            Err(failure)
        }
        Ok(Attempt::Wait(wait)) => {
            state.phase.set(Phase::Waiting);
            state.wait.set(Some(wait));
            if let Err(failure) = action.enlist(py, me, wait, woken_before) {
                state.phase.set(Phase::Done);
                action.dismiss(py, me);
                return Err(failure);
            }
            state.yielded.set(true);
            Ok(Step::Yield)
        }
    }
}

/// The waiter goes away without taking anything.
fn abandon(py: Python<'_>, me: &OperationRef) {
    let state = me.state();
    let phase = state.phase.replace(Phase::Done);
    state.wakeup.take();
    state.context.take();
    if matches!(phase, Phase::Waiting | Phase::Woken) {
        state.action.borrow_mut().dismiss(py, me);
    }
}

fn cancel(py: Python<'_>, me: &OperationRef, message: Option<Py<PyAny>>) -> PyResult<bool> {
    let state = me.state();
    if state.phase.get() != Phase::Waiting {
        // The task is about to run: it delivers its own cancellation when it does.
        return Ok(false);
    }
    let host = match state.action.borrow().reactor(py) {
        Some(reactor) => reactor.get().host(py)?,
        None => return Ok(false),
    };
    state.phase.set(Phase::Cancelled);
    state.cancel_message.set(message);
    state.action.borrow_mut().dismiss(py, me);
    if let (Some(wakeup), context) = (state.wakeup.take(), state.context.take()) {
        call_soon(py, &host, &wakeup, me.0.bind(py), context.as_ref())?;
    }
    Ok(true)
}

/// `host.call_soon(callback, argument, context=context)`
pub fn call_soon(
    py: Python<'_>,
    host: &Bound<'_, PyAny>,
    callback: &Py<PyAny>,
    argument: &Bound<'_, PyAny>,
    context: Option<&Py<PyAny>>,
) -> PyResult<()> {
    let keywords = pyo3::types::PyDict::new(py);
    keywords.set_item(intern!(py, "context"), context)?;
    host.call_method(intern!(py, "call_soon"), (callback, argument), Some(&keywords)).map(drop)
}

pub fn cancelled_error(py: Python<'_>, message: Option<Py<PyAny>>) -> PyErr {
    static CANCELLED: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    let kind = CANCELLED.get_or_try_init(py, || {
        Ok::<_, PyErr>(py.import("asyncio")?.getattr("CancelledError")?.cast_into::<PyType>()?.unbind())
    });
    let made = kind.and_then(|kind| match message {
        Some(message) => kind.bind(py).call1((message,)),
        None => kind.bind(py).call0(),
    });
    made.map_or_else(|failure| failure, PyErr::from_value)
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
            one_argument(c"remove_done_callback", method_remove_done_callback),
            fast(c"cancel", method_cancel),
        ];
        let attributes = vec![
            attribute(c"_asyncio_future_blocking", get_blocking, Some(set_blocking)),
            // Not get_loop(): asyncio takes either (asyncio.futures._get_loop), and an attribute costs it no call.
            attribute(c"_loop", get_loop, None),
            attribute(c"__name__", get_name, None),
            attribute(c"__qualname__", get_name, None),
        ];
        let slots = [
            slot(ffi::Py_tp_dealloc, slot_dealloc as *const () as *mut c_void),
            slot(ffi::Py_tp_iter, slot_self as *const () as *mut c_void),
            slot(ffi::Py_tp_iternext, slot_next as *const () as *mut c_void),
            slot(ffi::Py_am_await, slot_self as *const () as *mut c_void),
            slot(ffi::Py_am_send, slot_send as *const () as *mut c_void),
        ];
        make_type(
            py,
            c"socketkit._core.Operation",
            std::mem::size_of::<Object>(),
            INTERNAL,
            methods,
            attributes,
            &slots,
        )
    })?;
    Ok(made.bind(py))
}

/// # Safety
/// `object` is an operation, and stays one for as long as the caller uses its state.
unsafe fn state_of<'a>(object: *mut ffi::PyObject) -> &'a State {
    // SAFETY: the caller's promise; see `OperationRef::state` for the sharing.
    unsafe { &(*object.cast::<Object>()).state }
}

/// # Safety
/// `object` is an operation, borrowed from the caller.
unsafe fn borrowed(py: Python<'_>, object: *mut ffi::PyObject) -> OperationRef {
    // SAFETY: the caller's promise; the reference is counted.
    OperationRef(unsafe { Bound::from_borrowed_ptr(py, object) }.unbind())
}

fn none(py: Python<'_>) -> *mut ffi::PyObject {
    py.None().into_ptr()
}

/// What `add_done_callback(callback, *, context=None)` was given.
///
/// # Safety
/// `arguments` has `count` live objects, and then as many as `names` (null or a tuple) has.
pub unsafe fn callback(
    py: Python<'_>,
    arguments: *const *mut ffi::PyObject,
    count: ffi::Py_ssize_t,
    names: *mut ffi::PyObject,
) -> PyResult<(Py<PyAny>, Option<Py<PyAny>>)> {
    if count != 1 {
        return Err(pyo3::exceptions::PyTypeError::new_err("add_done_callback(callback, *, context=None)"));
    }
    // SAFETY: the caller's promise.
    unsafe {
        let context = if names.is_null() { ptr::null_mut() } else { *arguments.add(1) };
        let context = Bound::from_borrowed_ptr_or_opt(py, context).filter(|context| !context.is_none());
        Ok((Bound::from_borrowed_ptr(py, *arguments).unbind(), context.map(Bound::unbind)))
    }
}

/// The one argument of `cancel(msg=None)`, by position or by name.
///
/// # Safety
/// As of `callback`.
pub unsafe fn message(
    py: Python<'_>,
    arguments: *const *mut ffi::PyObject,
    count: ffi::Py_ssize_t,
    names: *mut ffi::PyObject,
) -> Option<Py<PyAny>> {
    let given = if count == 0 && names.is_null() {
        ptr::null_mut()
    } else {
        // SAFETY: the caller's promise.
        unsafe { *arguments }
    };
    // SAFETY: null, or one of the live arguments.
    let given = unsafe { Bound::from_borrowed_ptr_or_opt(py, given) };
    given.filter(|message| !message.is_none()).map(Bound::unbind)
}

/// The exception of `throw(exception)` or, in its old form, `throw(type, value, traceback)`.
pub fn thrown(arguments: &Bound<'_, PyTuple>) -> PyResult<PyErr> {
    let mut exception = arguments.get_item(0)?;
    if let Ok(value) = arguments.get_item(1) {
        if !value.is_none() {
            exception = if value.is_instance(&exception)? { value } else { exception.call1((value,))? };
        }
    }
    if exception.is_instance_of::<PyType>() {
        exception = exception.call0()?;
    }
    Ok(PyErr::from_value(exception))
}

unsafe extern "C" fn slot_self(object: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: the interpreter passes a live operation; a new reference is what it expects.
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
            // SAFETY: the interpreter passes a live operation, and a place for the result.
            unsafe {
                let me = borrowed(py, object);
                match advance(py, &me)? {
                    Step::Yield => {
                        *result = me.0.into_ptr();
                        Ok(ffi::PySendResult::PYGEN_NEXT)
                    }
                    Step::Return(value) => {
                        *result = value.into_ptr();
                        Ok(ffi::PySendResult::PYGEN_RETURN)
                    }
                }
            }
        },
        ffi::PySendResult::PYGEN_ERROR,
    )
}

fn step_as_iterator(py: Python<'_>, me: OperationRef) -> PyResult<*mut ffi::PyObject> {
    match advance(py, &me)? {
        Step::Yield => Ok(me.0.into_ptr()),
        Step::Return(value) => Err(pyo3::exceptions::PyStopIteration::new_err((value,))),
    }
}

unsafe extern "C" fn slot_next(object: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: the interpreter passes a live operation.
    guarded(|py| step_as_iterator(py, unsafe { borrowed(py, object) }), ptr::null_mut())
}

unsafe extern "C" fn method_send(object: *mut ffi::PyObject, _value: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: as in slot_next.
    guarded(|py| step_as_iterator(py, unsafe { borrowed(py, object) }), ptr::null_mut())
}

unsafe extern "C" fn method_throw(object: *mut ffi::PyObject, arguments: *mut ffi::PyObject) -> *mut ffi::PyObject {
    guarded(
        |py| {
            // SAFETY: the interpreter passes a live operation and a tuple.
            let (me, arguments) =
                unsafe { (borrowed(py, object), Bound::from_borrowed_ptr(py, arguments).cast_into::<PyTuple>()?) };
            abandon(py, &me);
            Err(thrown(&arguments)?)
        },
        ptr::null_mut(),
    )
}

unsafe extern "C" fn method_close(object: *mut ffi::PyObject, _: *mut ffi::PyObject) -> *mut ffi::PyObject {
    guarded(
        |py| {
            // SAFETY: as in slot_next.
            abandon(py, &unsafe { borrowed(py, object) });
            Ok(none(py))
        },
        ptr::null_mut(),
    )
}

unsafe extern "C" fn method_result(object: *mut ffi::PyObject, _: *mut ffi::PyObject) -> *mut ffi::PyObject {
    guarded(
        |py| {
            // SAFETY: as in slot_next.
            let me = unsafe { borrowed(py, object) };
            let state = me.state();
            if state.phase.get() == Phase::Cancelled {
                return Err(cancelled_error(py, state.cancel_message.take()));
            }
            Ok(none(py))
        },
        ptr::null_mut(),
    )
}

unsafe extern "C" fn get_loop(object: *mut ffi::PyObject, _: *mut c_void) -> *mut ffi::PyObject {
    // Without a loop it says None, which is not the task's either: the task gets a RuntimeError. Raising it here would leave the task
    // without an answer for ever.
    // SAFETY: as in slot_next.
    guarded(
        |py| Ok(unsafe { borrowed(py, object) }.host(py).map_or_else(|_| none(py), Bound::into_ptr)),
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
            // SAFETY: the interpreter passes a live operation and the arguments as `callback` wants them.
            let (me, (wakeup, context)) = unsafe { (borrowed(py, object), callback(py, arguments, count, names)?) };
            me.call_back(py, wakeup, context);
            Ok(none(py))
        },
        ptr::null_mut(),
    )
}

unsafe extern "C" fn method_remove_done_callback(
    object: *mut ffi::PyObject,
    _: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    guarded(
        |py| {
            // SAFETY: as in slot_next.
            let me = unsafe { borrowed(py, object) };
            let had = me.state().wakeup.take().is_some();
            Ok(usize::from(had).into_pyobject(py)?.into_ptr())
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
            // SAFETY: as in method_add_done_callback.
            let (me, message) = unsafe { (borrowed(py, object), message(py, arguments, count, names)) };
            let done = cancel(py, &me, message)?;
            Ok(pyo3::types::PyBool::new(py, done).to_owned().into_any().into_ptr())
        },
        ptr::null_mut(),
    )
}

unsafe extern "C" fn get_blocking(object: *mut ffi::PyObject, _: *mut c_void) -> *mut ffi::PyObject {
    // SAFETY: the interpreter passes a live operation; nothing here can panic or run Python code.
    unsafe {
        let state = state_of(object);
        // None says "not a future": asyncio.isfuture() must call it a coroutine until it is one that waits.
        let answer = match (state.phase.get(), state.yielded.get()) {
            (Phase::New, _) => ffi::Py_None(),
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

unsafe extern "C" fn get_name(object: *mut ffi::PyObject, _: *mut c_void) -> *mut ffi::PyObject {
    guarded(
        |py| {
            // SAFETY: as in slot_next.
            let me = unsafe { borrowed(py, object) };
            let action = me.state().action.borrow();
            Ok(pyo3::types::PyString::new(py, action.name()).into_any().into_ptr())
        },
        ptr::null_mut(),
    )
}

unsafe extern "C" fn slot_dealloc(object: *mut ffi::PyObject) {
    Python::attach(|py| {
        // SAFETY: the interpreter gives the object up: nobody else refers to it. Its state is dropped once, its memory freed by its
        // type, and the type's reference, which every instance of a heap type holds, given back.
        unsafe {
            let state = ptr::addr_of_mut!((*object.cast::<Object>()).state);
            if (*state).phase.get() == Phase::New {
                warn_never_awaited(py, (*state).action.borrow().name());
            }
            ptr::drop_in_place(state);
            let kind = ffi::Py_TYPE(object);
            SPARE.put(object);
            ffi::Py_DecRef(kind.cast());
        }
    });
}

fn warn_never_awaited(py: Python<'_>, name: &str) {
    let pending = PyErr::take(py);
    let category = py.get_type::<pyo3::exceptions::PyRuntimeWarning>();
    let text = std::ffi::CString::new(format!("'{name}' was never awaited, so it did nothing")).unwrap_or_default();
    if let Err(failure) = PyErr::warn(py, &category, &text, 1) {
        failure.write_unraisable(py, None);
    }
    if let Some(pending) = pending {
        pending.restore(py);
    }
}
