//! Entering a task and its context from outside, as the loop does when it runs a task's callback.
//!
//! Both are done once per message, so both have a fast way where the interpreter offers one, and the documented way where not.

use std::ffi::{c_int, CStr};
use std::ptr;

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyDict;

/// Runs `body` in `context`, which is `callable`'s too: `context.run(callable, argument)` when the interpreter hides how to enter.
pub fn within(
    py: Python<'_>,
    context: &Py<PyAny>,
    body: impl FnOnce() -> PyResult<()>,
    callable: &Py<PyAny>,
    argument: &Bound<'_, PyAny>,
) -> PyResult<()> {
    let Some(functions) = context_functions(py) else {
        return run_in(py, context, callable, argument);
    };
    // SAFETY: PyContext_Enter and PyContext_Exit take a live contextvars.Context (the task gave it) and return 0 or set an exception.
    unsafe {
        if (functions.enter)(context.as_ptr()) != 0 {
            return Err(PyErr::fetch(py));
        }
        let outcome = body();
        if (functions.exit)(context.as_ptr()) != 0 {
            return Err(PyErr::fetch(py));
        }
        outcome
    }
}

/// `context.run(callable, argument)`
pub fn run_in(py: Python<'_>, context: &Py<PyAny>, callable: &Py<PyAny>, argument: &Bound<'_, PyAny>) -> PyResult<()> {
    // SAFETY: live objects and the null that ends the list; a null result is an exception.
    unsafe {
        let returned = ffi::PyObject_CallMethodObjArgs(
            context.as_ptr(),
            pyo3::intern!(py, "run").as_ptr(),
            callable.as_ptr(),
            argument.as_ptr(),
            ptr::null_mut::<ffi::PyObject>(),
        );
        Bound::from_owned_ptr_or_err(py, returned).map(drop)
    }
}

/// Makes `task` the current one of `host` while `body` runs (asyncio's `_enter_task` and `_leave_task`, for task implementations).
pub fn as_current<R>(
    py: Python<'_>,
    host: &Bound<'_, PyAny>,
    task: &Bound<'_, PyAny>,
    body: impl FnOnce() -> R,
) -> PyResult<R> {
    let functions = task_functions(py)?;
    if let Some(current) = &functions.current {
        let current = current.bind(py);
        // Not empty: another thread's loop runs a task, or this one does, which the functions tell apart.
        if current.is_empty() {
            current.set_item(host, task)?;
            let outcome = body();
            current.del_item(host)?;
            return Ok(outcome);
        }
    }
    call(py, &functions.enter, host, task)?;
    let outcome = body();
    call(py, &functions.leave, host, task)?;
    Ok(outcome)
}

type Enter = unsafe extern "C" fn(*mut ffi::PyObject) -> c_int;
/// A function of unknown type.
pub type Found = ptr::NonNull<std::ffi::c_void>;

struct ContextFunctions {
    enter: Enter,
    exit: Enter,
}

/// They are public and as old as contexts, but not of the limited API: looked up, not linked.
fn context_functions(py: Python<'_>) -> Option<&ContextFunctions> {
    static FUNCTIONS: PyOnceLock<Option<ContextFunctions>> = PyOnceLock::new();
    let find = || {
        let (enter, exit) = (symbol(c"PyContext_Enter")?, symbol(c"PyContext_Exit")?);
        // SAFETY: these are the types of the two in CPython's documentation (C API, Context Variables Objects).
        unsafe {
            let [enter, exit] = [enter, exit].map(|function| std::mem::transmute::<Found, Enter>(function));
            Some(ContextFunctions { enter, exit })
        }
    };
    FUNCTIONS.get_or_init(py, find).as_ref()
}

/// A function that the process has loaded, by name.
pub fn symbol(name: &CStr) -> Option<Found> {
    // SAFETY: a terminated name, looked up in what the process has loaded.
    ptr::NonNull::new(unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) })
}

struct TaskFunctions {
    enter: Py<PyAny>,
    leave: Py<PyAny>,
    /// Where they note it, up to Python 3.13: the dict itself costs a third of the calls.
    current: Option<Py<PyDict>>,
}

fn task_functions(py: Python<'_>) -> PyResult<&TaskFunctions> {
    static FUNCTIONS: PyOnceLock<TaskFunctions> = PyOnceLock::new();
    FUNCTIONS.get_or_try_init(py, || {
        let tasks = py.import("asyncio.tasks")?;
        let current = if py.version_info() < (3, 14) {
            tasks.getattr("_current_tasks").ok().and_then(|it| it.cast_into_exact::<PyDict>().ok())
        } else {
            None
        };
        Ok(TaskFunctions {
            enter: tasks.getattr("_enter_task")?.unbind(),
            leave: tasks.getattr("_leave_task")?.unbind(),
            current: current.map(Bound::unbind),
        })
    })
}

fn call(py: Python<'_>, function: &Py<PyAny>, host: &Bound<'_, PyAny>, task: &Bound<'_, PyAny>) -> PyResult<()> {
    // SAFETY: as in run_in.
    unsafe {
        let null = ptr::null_mut::<ffi::PyObject>();
        let returned = ffi::PyObject_CallFunctionObjArgs(function.as_ptr(), host.as_ptr(), task.as_ptr(), null);
        Bound::from_owned_ptr_or_err(py, returned).map(drop)
    }
}
