//! `_core.PacketRing`, `_core.Packet`, `_core.CaptureJob`: packets as objects, or into files without becoming any.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyString};
use socketkit_engine::capture::{
    interface_name, Description, Direction, Frame, Instruction, Job, Link, Options, Order, PacketSocket, Ring,
    Rotation, Shown, Target,
};
use socketkit_engine::Errno;
use socketkit_system::filter;
use socketkit_wire::dissect::{self, dissect};

use crate::failure::os_error;
use crate::threads::without_signals;

/// One packet, as it was on the wire.
#[pyclass(frozen, module = "socketkit._core")]
pub struct Packet {
    /// Its bytes, as many as were captured.
    #[pyo3(get)]
    data: Py<PyBytes>,
    /// Since 1970, UTC.
    #[pyo3(get)]
    timestamp_ns: u64,
    /// How long it was.
    #[pyo3(get)]
    wire_bytes: u32,
    /// Where it was seen.
    #[pyo3(get)]
    interface: Py<PyString>,
    direction: Direction,
    link: Link,
}

#[pymethods]
impl Packet {
    /// "in", "out", "broadcast", "multicast", or "other": for another machine.
    #[getter]
    fn direction(&self) -> &'static str {
        word(self.direction)
    }

    /// How `data` begins: 1 Ethernet, 276 cooked (tcpdump.org/linktypes).
    #[getter]
    fn link_type(&self) -> u16 {
        self.link.number()
    }

    /// What it says, without when and where.
    fn summary(&self, py: Python<'_>) -> String {
        let mut line = String::with_capacity(120);
        self.put_summary(py, &mut line);
        line
    }

    fn __str__(&self, py: Python<'_>) -> PyResult<String> {
        // In columns of their own, as tcpdump has them.
        let direction = match self.direction {
            Direction::In => "In ",
            Direction::Out => "Out",
            Direction::Broadcast => "B  ",
            Direction::Multicast => "M  ",
            Direction::Other => "P  ",
        };
        let mut line = format!("{} {direction} ", self.interface.bind(py).to_cow()?);
        self.put_summary(py, &mut line);
        Ok(line)
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        Ok(format!("<Packet {}>", self.__str__(py)?))
    }
}

impl Packet {
    fn put_summary(&self, py: Python<'_>, line: &mut String) {
        let link = match self.link {
            Link::Ethernet => dissect::Link::Ethernet,
            Link::Cooked => dissect::Link::Cooked,
        };
        dissect(link, self.data.as_bytes(py), self.wire_bytes, line);
    }

    fn of_frame(py: Python<'_>, frame: &Frame<'_>, link: Link, scratch: &mut Vec<u8>, names: &mut Names) -> Packet {
        Packet {
            data: PyBytes::new(py, frame.bytes(scratch)).unbind(),
            timestamp_ns: frame.timestamp_ns,
            wire_bytes: frame.wire_bytes(),
            interface: names.of(py, frame.interface),
            direction: frame.direction(),
            link,
        }
    }

    fn of_shown(py: Python<'_>, shown: &Shown, link: Link, names: &mut Names) -> Packet {
        Packet {
            data: PyBytes::new(py, &shown.data).unbind(),
            timestamp_ns: shown.timestamp_ns,
            wire_bytes: shown.wire_bytes,
            interface: names.of(py, shown.interface),
            direction: shown.direction,
            link,
        }
    }
}

fn word(direction: Direction) -> &'static str {
    match direction {
        Direction::In => "in",
        Direction::Out => "out",
        Direction::Broadcast => "broadcast",
        Direction::Multicast => "multicast",
        Direction::Other => "other",
    }
}

/// The interfaces by their numbers, each looked up once.
#[derive(Default)]
struct Names(HashMap<u32, Py<PyString>>);

impl Names {
    fn of(&mut self, py: Python<'_>, index: u32) -> Py<PyString> {
        let known = self.0.entry(index).or_insert_with(|| {
            let name = interface_name(index).unwrap_or_else(|| format!("#{index}"));
            PyString::new(py, &name).unbind()
        });
        known.clone_ref(py)
    }
}

/// The packets of an interface, or of all (None). It hears from `start` on; the kernel keeps what is not taken, up to the buffer.
#[pyclass(frozen, module = "socketkit._core")]
pub struct PacketRing {
    state: Mutex<State>,
}

enum State {
    Opened(PacketSocket),
    Running(Box<Running>),
    Gone,
}

struct Running {
    ring: Ring,
    names: Names,
    scratch: Vec<u8>,
}

#[pymethods]
impl PacketRing {
    #[new]
    fn new(interface: Option<&str>) -> PyResult<Self> {
        Ok(PacketRing { state: Mutex::new(State::Opened(PacketSocket::open(interface).map_err(kernel_error)?)) })
    }

    /// What packets begin with, which a filter must know: 1 Ethernet, 276 cooked (tcpdump.org/linktypes).
    #[getter]
    fn link_type(&self) -> PyResult<u16> {
        match &*self.state() {
            State::Opened(socket) => Ok(socket.link().number()),
            State::Running(running) => Ok(running.ring.link().number()),
            State::Gone => Err(closed()),
        }
    }

    /// Has the kernel queue what `program` lets through: (code, jump_true, jump_false, operand) each; none lets all through.
    fn start(
        &self,
        program: Vec<(u16, u8, u8, u32)>,
        snap_bytes: u32,
        promiscuous: bool,
        buffer_bytes: usize,
        retire_milliseconds: u32,
    ) -> PyResult<()> {
        let mut state = self.state();
        let socket = match std::mem::replace(&mut *state, State::Gone) {
            State::Opened(socket) => socket,
            other => {
                *state = other;
                return Err(PyRuntimeError::new_err("a ring is started once"));
            }
        };
        let options = Options { snap_bytes, promiscuous, buffer_bytes, retire_milliseconds };
        let ring = Ring::start(socket, &options, &instructions(program)).map_err(kernel_error)?;
        *state = State::Running(Box::new(Running { ring, names: Names::default(), scratch: Vec::new() }));
        Ok(())
    }

    /// Readable when there is something to take, or a failure.
    fn fileno(&self) -> PyResult<RawFd> {
        self.running(|running| Ok(running.ring.as_fd().as_raw_fd()))
    }

    /// At most so many packets of those that are there; empty if none is.
    fn take<'py>(&self, py: Python<'py>, max_count: usize) -> PyResult<Bound<'py, PyList>> {
        // The list is made without the lock: it may start the collection of garbage, and that may run anything.
        let packets = self.running(|running| {
            let link = running.ring.link();
            let mut packets = Vec::new();
            while packets.len() < max_count {
                let Some(frame) = running.ring.next_frame() else { break };
                let packet = Packet::of_frame(py, &frame, link, &mut running.scratch, &mut running.names);
                packets.push(Py::new(py, packet)?);
            }
            Ok(packets)
        })?;
        PyList::new(py, packets)
    }

    /// Lets nothing more in. What is there can still be taken, the last of it after the time that `start` was given.
    fn freeze(&self) -> PyResult<()> {
        self.running(|running| running.ring.freeze().map_err(kernel_error))
    }

    /// The error of the interface, told once: it went down, or away. 0: none.
    fn failure(&self) -> PyResult<i32> {
        self.running(|running| Ok(running.ring.failure().map_or(0, |failure| failure.raw_os_error())))
    }

    /// (packets that passed the filter, those of them that were dropped for want of room, how often the buffer was full)
    fn statistics(&self) -> PyResult<(u64, u64, u64)> {
        self.running(|running| {
            let counted = running.ring.statistics();
            Ok((counted.packets, counted.dropped, counted.freezes))
        })
    }

    /// Idempotent.
    fn close(&self) {
        let gone = std::mem::replace(&mut *self.state(), State::Gone);
        drop(gone);
    }
}

impl PacketRing {
    fn running<T>(&self, act: impl FnOnce(&mut Running) -> PyResult<T>) -> PyResult<T> {
        match &mut *self.state() {
            State::Running(running) => act(running),
            State::Opened(_) => Err(PyRuntimeError::new_err("this ring was not started")),
            State::Gone => Err(closed()),
        }
    }

    fn hand_over(&self) -> PyResult<Ring> {
        let mut state = self.state();
        match std::mem::replace(&mut *state, State::Gone) {
            State::Running(running) => Ok(running.ring),
            other => {
                *state = other;
                Err(PyRuntimeError::new_err("only a ring that runs can be written to files"))
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A ring's packets on their way into files, by a thread that never holds the interpreter. It owns the ring from here on.
#[pyclass(frozen, module = "socketkit._core")]
pub struct CaptureJob {
    job: Mutex<Option<Job>>,
    link: Link,
    names: Mutex<Names>,
}

#[pymethods]
impl CaptureJob {
    /// `target`: a path, or a descriptor that is the job's from here on.
    #[new]
    #[pyo3(signature = (ring, target, *, interface, expression, snap_bytes, rotate_bytes=None, rotate_seconds=None, files=None, count=None, shown=false))]
    #[allow(clippy::too_many_arguments)]
    fn new(
        py: Python<'_>,
        ring: &PacketRing,
        target: TargetArgument,
        interface: String,
        expression: String,
        snap_bytes: u32,
        rotate_bytes: Option<u64>,
        rotate_seconds: Option<f64>,
        files: Option<usize>,
        count: Option<u64>,
        shown: bool,
    ) -> PyResult<Self> {
        let target = target.into_target();
        let every = match rotate_seconds.map(Duration::try_from_secs_f64).transpose() {
            Ok(every) => every,
            Err(_) => return Err(PyValueError::new_err("rotate_seconds is no time")),
        };
        let ring = ring.hand_over()?;
        let link = ring.link();
        let order = Order {
            ring,
            target,
            rotation: Rotation { bytes: rotate_bytes, every, files },
            description: Description { interface, filter: expression, snap_bytes, link },
            count,
            shown,
        };
        let job = without_signals(py, || Ok(Job::start(order)))?.map_err(kernel_error)?;
        Ok(CaptureJob { job: Mutex::new(Some(job)), link, names: Mutex::default() })
    }

    /// Readable when there are packets to be shown, and at the end.
    fn fileno(&self) -> PyResult<RawFd> {
        self.running(|job| job.as_fd().as_raw_fd())
    }

    /// Has it end soon; what has come in until now is written.
    fn stop(&self) -> PyResult<()> {
        self.running(Job::stop)
    }

    #[getter]
    fn done(&self) -> PyResult<bool> {
        self.running(Job::done)
    }

    /// (operation, path, errno) of what ended it before its time.
    fn failure(&self) -> PyResult<Option<(&'static str, Option<String>, i32)>> {
        self.running(|job| job.failure().map(|failure| (failure.operation, failure.path, failure.errno.raw_os_error())))
    }

    /// Packets that were kept to be shown since the last call, each cut to what its line is made from.
    fn take_shown<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let shown = self.running(Job::take_shown)?;
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        let packets: PyResult<Vec<_>> =
            shown.iter().map(|shown| Py::new(py, Packet::of_shown(py, shown, self.link, &mut names))).collect();
        PyList::new(py, packets?)
    }

    /// By name: packets, wire_bytes, written_bytes, files, received, dropped, unshown.
    fn counters(&self) -> PyResult<HashMap<&'static str, u64>> {
        self.running(|job| {
            let progress = job.progress();
            HashMap::from([
                ("packets", progress.packets()),
                ("wire_bytes", progress.bytes()),
                ("written_bytes", progress.written_bytes()),
                ("files", progress.files()),
                ("received", progress.received()),
                ("dropped", progress.dropped()),
                ("unshown", progress.unshown()),
            ])
        })
    }

    /// Stops it and waits for its end. Idempotent.
    fn close(&self, py: Python<'_>) {
        let job = self.job().take();
        py.detach(|| drop(job));
    }
}

impl CaptureJob {
    fn running<T>(&self, ask: impl FnOnce(&Job) -> T) -> PyResult<T> {
        self.job().as_ref().map(ask).ok_or_else(closed)
    }

    fn job(&self) -> MutexGuard<'_, Option<Job>> {
        self.job.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for CaptureJob {
    fn drop(&mut self) {
        Python::attach(|py| self.close(py));
    }
}

#[derive(FromPyObject)]
enum TargetArgument {
    Descriptor(RawFd),
    Path(PathBuf),
}

impl TargetArgument {
    fn into_target(self) -> Target {
        match self {
            // SAFETY: the caller gives the descriptor away with this call (`_core.pyi`).
            TargetArgument::Descriptor(fd) => Target::Descriptor(File::from(unsafe { OwnedFd::from_raw_fd(fd) })),
            TargetArgument::Path(path) => Target::Path(path),
        }
    }
}

/// Attaches a filter to a socket (`PacketRing.start`). `drain`: it hears already, and what it has queued is thrown away.
#[pyfunction]
#[pyo3(signature = (fd, program, *, drain=false))]
pub fn attach_filter(fd: RawFd, program: Vec<(u16, u8, u8, u32)>, drain: bool) -> PyResult<()> {
    if fd < 0 {
        return Err(PyValueError::new_err("this socket is closed"));
    }
    // SAFETY: the caller keeps the descriptor open until this returns; it is not -1.
    let socket = unsafe { BorrowedFd::borrow_raw(fd) };
    let program = instructions(program);
    let attached = if drain { filter::attach_and_drain(socket, &program) } else { filter::attach(socket, &program) };
    attached.map_err(kernel_error)
}

fn instructions(program: Vec<(u16, u8, u8, u32)>) -> Vec<Instruction> {
    program
        .into_iter()
        .map(|(code, jump_true, jump_false, operand)| Instruction { code, jump_true, jump_false, operand })
        .collect()
}

/// With its number: Python words it.
fn kernel_error(failure: io::Error) -> PyErr {
    os_error(Errno::from_io_error(&failure).unwrap_or(Errno::INVAL))
}

fn closed() -> PyErr {
    PyValueError::new_err("this capture is closed")
}
