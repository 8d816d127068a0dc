//! Exceptions. Their classes and their words are Python's (`socketkit.connection.failure`); here is only what happened.

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyBytes;
use socketkit_engine::tls::Fault;
use socketkit_engine::Errno;
use socketkit_system::messages::Name;
use socketkit_wire::records::RecordViolation;

use crate::stream::Ending;

/// What went wrong in an operation, before it has words.
pub enum Failure {
    /// The stream ended; how many of the wanted bytes are there.
    End {
        have: usize,
    },
    /// This side closed it, or its sending half.
    Closed,
    /// Another task receives, or the engine relays.
    Busy,
    /// The delimiter did not come within this many bytes.
    TooLong {
        max_bytes: usize,
    },
    /// More bytes were asked for than a message may have.
    TooLarge {
        count: usize,
        limit: usize,
    },
    /// The peer breaks the protocol of records.
    Record(RecordViolation),
    /// The stream ended without a close record, or inside a record.
    Unended {
        inside: bool,
    },
    /// A message is longer than what can be sent.
    MessageTooLarge {
        length: usize,
        most: usize,
    },
    /// A limit has ended the connection.
    Cut(Ending),
    Tls(Fault),
    /// A message that is larger than may be sent; 0: nobody said how large.
    Oversize {
        bytes: usize,
        most: usize,
    },
    /// A message was not delivered: to whom it was to go, and what others said of it.
    Unreachable {
        number: Errno,
        to: Option<Box<Name>>,
        words: String,
    },
    /// This type of socket knows no end.
    Endless,
    /// This type of socket knows no messages without bytes.
    Empty,
    Python(PyErr),
    Os(Errno),
    /// `async for` is over.
    StopIteration,
}

impl Failure {
    /// The exception to raise for `operation` on `subject` (a stream or a listener).
    pub fn into_exception(self, subject: &Bound<'_, PyAny>, operation: &str) -> PyErr {
        let (mut words, mut place) = (String::new(), None);
        let (kind, detail) = match self {
            Failure::StopIteration => return pyo3::exceptions::PyStopAsyncIteration::new_err(()),
            Failure::TooLarge { count, limit } => {
                words = count.to_string();
                ("too large", limit as i64)
            }
            Failure::Record(violation) => {
                words = match violation {
                    RecordViolation::TooLong { length, most } => {
                        format!("a record of {length} bytes, and limits.message_bytes is {most}")
                    }
                    other => other.to_string(),
                };
                ("violation", i64::from(Errno::PROTO.raw_os_error()))
            }
            Failure::Unended { inside } => {
                words.push_str(if inside { "inside a record" } else { "without a close record" });
                ("unended", i64::from(Errno::PROTO.raw_os_error()))
            }
            Failure::MessageTooLarge { length, most } => {
                words = length.to_string();
                ("message too large", most as i64)
            }
            Failure::Cut(ending) => {
                words.push_str(ending.limit());
                ("cut", i64::from(Errno::TIMEDOUT.raw_os_error()))
            }
            Failure::Tls(fault) => {
                let kind = match &fault {
                    Fault::Untrusted(rejected) => {
                        let presented = rejected.presented.map_or_else(String::new, |key| key.to_string());
                        words = format!("{presented} ");
                        "untrusted"
                    }
                    Fault::Violation(_) | Fault::NotTls(_) => "violation",
                    Fault::Truncated | Fault::Refused(_) | Fault::Local(_) => "tls",
                };
                words.push_str(&fault.to_string());
                (kind, i64::from(Errno::PROTO.raw_os_error()))
            }
            Failure::Python(failure) => return failure,
            Failure::Oversize { bytes, most } => {
                words = bytes.to_string();
                ("oversize", most as i64)
            }
            Failure::Unreachable { number, to, words: said } => {
                words = said;
                place = to;
                ("unreachable", i64::from(number.raw_os_error()))
            }
            Failure::Endless => ("endless", 0),
            Failure::Empty => ("empty", 0),
            Failure::End { have } => ("end", have as i64),
            Failure::Closed => ("closed", 0),
            Failure::Busy => ("busy", 0),
            Failure::TooLong { max_bytes } => ("too long", max_bytes as i64),
            Failure::Os(number) => ("os", i64::from(number.raw_os_error())),
        };
        let place = place.map(|name| PyBytes::new(subject.py(), name.bytes()));
        match maker(subject.py()).and_then(|make| make.call1((kind, subject, operation, detail, words, place))) {
            Ok(exception) => PyErr::from_value(exception),
            Err(instead) => instead,
        }
    }
}

/// A bare OSError with the kernel's number, which `std::io::Error` would lose on its way to Python.
pub fn os_error(number: Errno) -> PyErr {
    pyo3::exceptions::PyOSError::new_err((number.raw_os_error(), std::io::Error::from(number).to_string()))
}

fn maker(py: Python<'_>) -> PyResult<&Bound<'_, PyAny>> {
    static MAKER: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let maker = MAKER.get_or_try_init(py, || {
        py.import("socketkit.connection")?.getattr(intern!(py, "failure")).map(Bound::unbind)
    })?;
    Ok(maker.bind(py))
}
