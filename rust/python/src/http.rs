//! What Python sees of HTTP/1.1: the scope of a request, the events of its body, and `_core.Exchange`, its `receive` and `send` (ASGI 3).
//!
//! How requests are read and answers written is `socketkit_wire::http1`'s; here they become objects, and events bytes.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use pyo3::exceptions::{PyRuntimeError, PyTypeError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PyString, PyTuple};
use socketkit_wire::http1::{answer, front, head, Answering, Front, Head, Refusal};

use crate::action::Action;
use crate::operation;
use crate::stream::http::{Answer, Opening};
use crate::stream::{Data, Stream, Verb};

/// One request and its answer.
#[pyclass(frozen, module = "socketkit._core")]
pub struct Exchange {
    stream: Py<Stream>,
    number: u64,
    /// He asks for a WebSocket, by the two fields that say so.
    #[pyo3(get)]
    offers_websocket: bool,
    state: Mutex<State>,
}

struct State {
    answering: Answering,
    sent_bytes: u64,
    /// What follows the bytes of a file that is being sent, and whether the answer ends there.
    behind_file: Option<(&'static [u8], bool)>,
}

#[pymethods]
impl Exchange {
    /// ASGI's `receive`: a piece of the request's body, or `http.disconnect`.
    fn receive<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let verb = Verb::HttpEvent { number: self.number };
        operation::new(py, Action::Stream(self.stream.clone_ref(py), verb))
    }

    /// ASGI's `send`.
    fn send<'py>(slf: &Bound<'py, Self>, event: &Bound<'py, PyDict>) -> PyResult<Bound<'py, PyAny>> {
        let py = event.py();
        let this = slf.get();
        let kind =
            event.get_item(intern!(py, "type"))?.ok_or_else(|| PyValueError::new_err("an event needs a type"))?;
        let kind = kind.cast::<PyString>()?.to_cow()?;
        match kind.as_ref() {
            "http.response.start" => {
                this.start(event)?;
                this.operation(py, Vec::new(), None, b"", false)
            }
            "http.response.body" => {
                let body = event.get_item(intern!(py, "body"))?.map(|body| Data::new(&body)).transpose()?;
                let more = event.get_item(intern!(py, "more_body"))?.map_or(Ok(false), |more| more.is_truthy())?;
                let length = body.as_ref().map_or(0, |body| body.bytes(py).len());
                let piece = {
                    let mut state = this.state();
                    if !state.answering.begun() && this.stream.get().shared().must_close() {
                        state.answering.close_after();
                    }
                    let piece = state.answering.piece(length, more, now()).map_err(fault)?;
                    if piece.body {
                        state.sent_bytes += length as u64;
                    }
                    piece
                };
                this.operation(py, piece.before, body.filter(|_| piece.body), piece.after, piece.last)
            }
            "http.response.zerocopysend" => {
                let sender = py.import(intern!(py, "socketkit.http.zero_copy"))?.getattr(intern!(py, "send_file"))?;
                sender.call1((&this.stream, slf, event))
            }
            other => Err(PyValueError::new_err(format!("{other:?} is no event that a server takes here"))),
        }
    }

    /// What stands before `count` bytes of a file in the answer, and whether they belong into it at all (not for HEAD).
    fn begin_file<'py>(&self, py: Python<'py>, count: u64, more: bool) -> PyResult<(Bound<'py, PyAny>, bool)> {
        let length = usize::try_from(count).map_err(|_| PyValueError::new_err("a file cannot be so long"))?;
        let piece = {
            let mut state = self.state();
            if state.behind_file.is_some() {
                return Err(PyRuntimeError::new_err("another file is being sent"));
            }
            if !state.answering.begun() && self.stream.get().shared().must_close() {
                state.answering.close_after();
            }
            let piece = state.answering.piece(length, more, now()).map_err(fault)?;
            state.behind_file = Some((piece.after, piece.last));
            piece
        };
        Ok((self.operation(py, piece.before, None, b"", false)?, piece.body))
    }

    /// So many of them are out.
    fn count_file(&self, sent: u64) {
        self.state().sent_bytes += sent;
    }

    /// What stands behind them, now that all of them are out. Before that the answer has not ended.
    fn end_file<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let behind = self.state().behind_file.take();
        let (after, last) = behind.ok_or_else(|| PyRuntimeError::new_err("no file is being sent"))?;
        self.operation(py, Vec::new(), None, after, last)
    }

    /// The status that was said; 0 if none was.
    #[getter]
    fn status(&self) -> u16 {
        self.state().answering.status()
    }

    /// Of the body.
    #[getter]
    fn sent_bytes(&self) -> u64 {
        self.state().sent_bytes
    }

    /// Whether something of the answer was given out.
    #[getter]
    fn begun(&self) -> bool {
        self.state().answering.begun()
    }

    /// Whether the answer was given out whole.
    #[getter]
    fn ended(&self) -> bool {
        let state = self.state();
        state.answering.ended() && state.behind_file.is_none()
    }

    /// Whether the connection goes on behind it.
    #[getter]
    fn keep_alive(&self) -> bool {
        let state = self.state();
        state.answering.ended() && state.behind_file.is_none() && state.answering.keeps_alive()
    }

    /// Whether the application was told that the client has gone before his answer.
    #[getter]
    fn gone(&self) -> bool {
        self.stream.get().shared().told_gone()
    }

    /// What is wrong with the request's body: (status, words).
    #[getter]
    fn refusal(&self) -> Option<(u16, String)> {
        let (refusal, _) = self.stream.get().shared().body_state(self.number);
        refusal.map(|refusal| (refusal.status(), refusal.to_string()))
    }

    /// 101: from here on the connection speaks what the fields say, and `stream.receive` gives it.
    fn switch<'py>(&self, py: Python<'py>, headers: Vec<(PyBacked, PyBacked)>) -> PyResult<Bound<'py, PyAny>> {
        let mut before = Vec::new();
        answer::begin(&mut before, 101).map_err(fault)?;
        let mut said = answer::Said::default();
        for (name, value) in &headers {
            answer::field(&mut before, &mut said, name, value).map_err(fault)?;
        }
        before.extend_from_slice(b"connection: Upgrade\r\n\r\n");
        self.stream.get().shared().switched();
        self.operation(py, before, None, b"", true)
    }

    /// An answer of this side's own, instead of one that has not begun; the connection's last.
    fn answer<'py>(&self, py: Python<'py>, status: u16, text: &str) -> PyResult<Bound<'py, PyAny>> {
        let piece = {
            let mut state = self.state();
            if state.answering.begun() {
                return Err(PyRuntimeError::new_err("the answer has begun"));
            }
            state.answering = state.answering.anew();
            state.answering.close_after();
            state
                .answering
                .start(status, [(&b"content-type"[..], &b"text/plain; charset=utf-8"[..])])
                .map_err(fault)?;
            let piece = state.answering.piece(text.len(), false, now()).map_err(fault)?;
            state.sent_bytes = if piece.body { text.len() as u64 } else { 0 };
            piece
        };
        let body = piece.body.then(|| Data::Copy(text.as_bytes().to_vec()));
        self.operation(py, piece.before, body, piece.after, true)
    }
}

impl Exchange {
    fn start(&self, event: &Bound<'_, PyDict>) -> PyResult<()> {
        let py = event.py();
        let status =
            event.get_item(intern!(py, "status"))?.ok_or_else(|| PyValueError::new_err("an answer needs a status"))?;
        let status: u16 = status.extract()?;
        let headers = event.get_item(intern!(py, "headers"))?;
        // They are taken out of their objects first: iterating is Python code, and the lock is not held while that runs.
        let mut fields: Vec<(PyBacked, PyBacked)> = Vec::new();
        if let Some(headers) = headers {
            for pair in headers.try_iter()? {
                fields.push(two_of(&pair?)?);
            }
        }
        let mut state = self.state();
        state.answering.start(status, fields.iter().map(|(name, value)| (&**name, &**value))).map_err(fault)
    }

    fn operation<'py>(
        &self,
        py: Python<'py>,
        before: Vec<u8>,
        body: Option<Data>,
        after: &'static [u8],
        last: bool,
    ) -> PyResult<Bound<'py, PyAny>> {
        let answer = Answer { number: self.number, before, body, after, last };
        operation::new(py, Action::Stream(self.stream.clone_ref(py), Verb::Answer { answer }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub type PyBacked = pyo3::pybacked::PyBackedBytes;

fn two_of(pair: &Bound<'_, PyAny>) -> PyResult<(PyBacked, PyBacked)> {
    if let Ok(pair) = pair.cast::<PyTuple>() {
        if pair.len() == 2 {
            return Ok((pair.get_item(0)?.extract()?, pair.get_item(1)?.extract()?));
        }
    }
    if let Ok(pair) = pair.cast::<PyList>() {
        if pair.len() == 2 {
            return Ok((pair.get_item(0)?.extract()?, pair.get_item(1)?.extract()?));
        }
    }
    Err(PyTypeError::new_err("a header is a pair of bytes: (name, value)"))
}

pub fn fault(fault: answer::Fault) -> PyErr {
    match fault {
        answer::Fault::Status(_) | answer::Fault::Name(_) | answer::Fault::Value(_) | answer::Fault::Length => {
            PyValueError::new_err(fault.to_string())
        }
        _ => PyRuntimeError::new_err(fault.to_string()),
    }
}

/// This moment as HTTP writes it.
#[pyfunction]
pub fn http_date(py: Python<'_>) -> Bound<'_, PyBytes> {
    PyBytes::new(py, answer::date(now()).as_bytes())
}

pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// `(scope, exchange)` of the head in front of `bytes`, which was measured before.
pub fn request(
    stream: &Bound<'_, Stream>,
    template: &Py<PyDict>,
    bytes: &[u8],
    opening: Opening,
) -> PyResult<Py<PyAny>> {
    let py = stream.py();
    let mut fields = head::no_fields();
    let head = match front(bytes, &mut fields) {
        Ok(Front::Head(head)) => head,
        Ok(Front::Part) | Err(_) => return refused(py, Refusal::RequestLine),
    };
    let scope = scope(py, template, &head)?;
    let keep_alive = head.keep_alive && !opening.stopping;
    let exchange = Exchange {
        stream: stream.clone().unbind(),
        number: opening.number,
        offers_websocket: head.offers_websocket,
        state: Mutex::new(State {
            answering: Answering::new(head.method == "HEAD", head.minor, keep_alive),
            sent_bytes: 0,
            behind_file: None,
        }),
    };
    Ok((scope, exchange).into_pyobject(py)?.into_any().unbind())
}

fn scope<'py>(py: Python<'py>, template: &Py<PyDict>, head: &Head<'_, '_>) -> PyResult<Bound<'py, PyDict>> {
    let scope = template.bind(py).copy()?;
    let (path, query) = head.target.split_once('?').unwrap_or((head.target, ""));
    let version = if head.minor == 0 { intern!(py, "1.0") } else { intern!(py, "1.1") };
    scope.set_item(intern!(py, "http_version"), version)?;
    scope.set_item(intern!(py, "method"), method(py, head.method))?;
    scope.set_item(intern!(py, "path"), decoded(py, path))?;
    scope.set_item(intern!(py, "raw_path"), PyBytes::new(py, path.as_bytes()))?;
    scope.set_item(intern!(py, "query_string"), PyBytes::new(py, query.as_bytes()))?;
    let headers = PyList::empty(py);
    for field in head.fields {
        let name = PyBytes::new_with(py, field.name.len(), |into| {
            into.copy_from_slice(field.name.as_bytes());
            into.make_ascii_lowercase();
            Ok(())
        })?;
        headers.append((name, PyBytes::new(py, field.value)))?;
    }
    scope.set_item(intern!(py, "headers"), headers)?;
    Ok(scope)
}

fn method<'py>(py: Python<'py>, method: &str) -> Bound<'py, PyString> {
    match method {
        "GET" => intern!(py, "GET").clone(),
        "POST" => intern!(py, "POST").clone(),
        "HEAD" => intern!(py, "HEAD").clone(),
        other => PyString::new(py, other),
    }
}

/// A path with its percent signs resolved. What is no UTF-8 then is replaced: `raw_path` has it as it was.
fn decoded<'py>(py: Python<'py>, path: &str) -> Bound<'py, PyString> {
    if !path.contains('%') {
        return PyString::new(py, path);
    }
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let Some((&first, behind)) = rest.split_first() {
        match (first, behind) {
            (b'%', [high, low, behind @ ..]) if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                let digit = |byte: u8| char::from(byte).to_digit(16).unwrap_or(0) as u8;
                bytes.push(digit(*high) << 4 | digit(*low));
                rest = behind;
            }
            _ => {
                bytes.push(first);
                rest = behind;
            }
        }
    }
    PyString::new(py, &String::from_utf8_lossy(&bytes))
}

/// `(None, status, words)`
pub fn refused(py: Python<'_>, refusal: Refusal) -> PyResult<Py<PyAny>> {
    Ok((py.None(), refusal.status(), refusal.to_string()).into_pyobject(py)?.into_any().unbind())
}

pub fn body_event(py: Python<'_>, body: &[u8], more: bool) -> PyResult<Py<PyAny>> {
    let event = PyDict::new(py);
    event.set_item(intern!(py, "type"), intern!(py, "http.request"))?;
    event.set_item(intern!(py, "body"), PyBytes::new(py, body))?;
    event.set_item(intern!(py, "more_body"), more)?;
    Ok(event.into_any().unbind())
}

pub fn disconnect_event(py: Python<'_>) -> PyResult<Py<PyAny>> {
    let event = PyDict::new(py);
    event.set_item(intern!(py, "type"), intern!(py, "http.disconnect"))?;
    Ok(event.into_any().unbind())
}
