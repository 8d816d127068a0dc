//! `_core.FirstBytes`, `_core.FlowEvidence`: what connections began with, collected by a thread that never holds the interpreter.

use std::collections::HashMap;
use std::fs::File;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use socketkit_engine::capture::Link;
use socketkit_engine::first_bytes::{Collector, Found, Order, Side};
use socketkit_engine::Errno;
use socketkit_wire::uses::{tls::Facts, Encrypted, Transport, Verdict};

use crate::failure::os_error;
use crate::threads::without_signals;

type Address = (String, u16);

/// Collects the first bytes of each flow.
#[pyclass(frozen, module = "socketkit._core")]
pub struct FirstBytes {
    collector: Mutex<Option<Collector>>,
}

#[pymethods]
impl FirstBytes {
    /// None among the interfaces: all of them. No interface at all: it listens to nothing, and is fed. `namespace`: a file of another
    /// network namespace (/proc/PID/ns/net). `buffer_bytes`: of each interface's packet ring.
    #[new]
    #[pyo3(signature = (interfaces, *, namespace=None, flows=65_536, idle_seconds=600.0, buffer_bytes=8_388_608))]
    fn new(
        py: Python<'_>,
        interfaces: Vec<Option<String>>,
        namespace: Option<PathBuf>,
        flows: usize,
        idle_seconds: f64,
        buffer_bytes: usize,
    ) -> PyResult<Self> {
        let idle =
            Duration::try_from_secs_f64(idle_seconds).map_err(|_| PyValueError::new_err("idle_seconds is no time"))?;
        let opened = without_signals(py, || {
            Ok(namespace
                .map(File::open)
                .transpose()
                .and_then(|namespace| Collector::start(Order { interfaces, namespace, flows, idle, buffer_bytes })))
        })?;
        let collector = opened.map_err(|failure| os_error(Errno::from_io_error(&failure).unwrap_or(Errno::INVAL)))?;
        Ok(FirstBytes { collector: Mutex::new(Some(collector)) })
    }

    /// What is known of a flow: `local` and `peer` as (address, port), in either order of who began it. Without a peer: the last
    /// flow of that port. None: nothing was seen of it.
    #[pyo3(signature = (transport, local, peer=None))]
    fn lookup(&self, transport: &str, local: Address, peer: Option<Address>) -> PyResult<Option<FlowEvidence>> {
        let transport = match transport {
            "tcp" => Transport::Tcp,
            "udp" => Transport::Udp,
            _ => return Err(PyValueError::new_err("the transport is tcp or udp")),
        };
        let (local, peer) = (end(local)?, peer.map(end).transpose()?);
        Ok(self.open(|collector| collector.find(transport, local, peer))?.map(FlowEvidence::new))
    }

    /// Takes a packet that came from elsewhere, a capture file. `link_type`: 1 Ethernet, 276 cooked (tcpdump.org/linktypes).
    fn feed(&self, link_type: u16, data: &[u8], timestamp_ns: u64) -> PyResult<()> {
        let link = match link_type {
            1 => Link::Ethernet,
            276 => Link::Cooked,
            _ => return Err(PyValueError::new_err("the link type is 1 or 276")),
        };
        self.open(|collector| collector.feed(link, data, timestamp_ns))
    }

    /// The last names that led to an address, when that was told (nanoseconds since 1970), and for how many seconds it holds; None:
    /// none was seen to.
    fn resolved(&self, address: &str) -> PyResult<Option<(Vec<String>, u64, u32)>> {
        let (address, _) = end((address.to_owned(), 0))?;
        let known = self.open(|collector| collector.resolved(address))?;
        Ok(known.map(|known| (known.names, known.at_ns, known.seconds)))
    }

    /// By name: packets, dropped, flows, pushed_out (flows that had to go before their time); answers to questions for names,
    /// answers_cut (not read to their end), names_pushed_out (addresses that had to be forgotten).
    fn counters(&self) -> PyResult<HashMap<&'static str, u64>> {
        self.open(|collector| {
            let counted = collector.counters();
            HashMap::from([
                ("packets", counted.packets),
                ("dropped", counted.dropped),
                ("flows", counted.flows),
                ("pushed_out", counted.pushed_out),
                ("answers", counted.answers),
                ("answers_cut", counted.answers_cut),
                ("names_pushed_out", counted.names_pushed_out),
            ])
        })
    }

    /// The errno of an interface that went down or away. 0: none has.
    fn failure(&self) -> PyResult<i32> {
        self.open(|collector| collector.failure().map_or(0, Errno::raw_os_error))
    }

    /// Stops it; what it knew is gone. Idempotent.
    fn close(&self, py: Python<'_>) {
        let collector = self.collector().take();
        py.detach(|| drop(collector));
    }
}

impl FirstBytes {
    fn open<T>(&self, ask: impl FnOnce(&Collector) -> T) -> PyResult<T> {
        let gone = || PyValueError::new_err("these first bytes are closed");
        self.collector().as_ref().map(ask).ok_or_else(gone)
    }

    fn collector(&self) -> MutexGuard<'_, Option<Collector>> {
        self.collector.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for FirstBytes {
    fn drop(&mut self) {
        Python::attach(|py| self.close(py));
    }
}

fn end((host, port): Address) -> PyResult<(IpAddr, u16)> {
    let address = host.split('%').next().unwrap_or_default();
    let address = address.parse().map_err(|_| PyValueError::new_err(format!("{host:?} is no IP address")))?;
    Ok((address, port))
}

/// What was seen of one flow, and what that says. A copy: it does not change any more.
#[pyclass(frozen, module = "socketkit._core")]
pub struct FlowEvidence {
    found: Found,
    verdict: Option<Verdict>,
    facts: Option<Facts>,
}

impl FlowEvidence {
    fn new(found: Found) -> FlowEvidence {
        let ports = found.ends.map(|(_, port)| port);
        FlowEvidence { verdict: found.flow.verdict(ports), facts: found.flow.facts(), found }
    }

    fn sides(&self) -> (&Side, &Side) {
        let [first, second] = &self.found.flow.sides;
        if self.found.local == 0 {
            (first, second)
        } else {
            (second, first)
        }
    }
}

#[pymethods]
impl FlowEvidence {
    /// "tcp" or "udp".
    #[getter]
    fn transport(&self) -> &'static str {
        match self.found.flow.transport {
            Transport::Tcp => "tcp",
            Transport::Udp => "udp",
        }
    }

    /// The side that began comes first, as far as that was seen: (address, port) each.
    #[getter]
    fn ends(&self) -> (Address, Address) {
        let [first, second] = self.found.ends.map(|(address, port)| (address.to_string(), port));
        (first, second)
    }

    /// The local end began it.
    #[getter]
    fn local_began(&self) -> bool {
        self.found.local == 0
    }

    /// Its start was seen; of UDP, which has none, always.
    #[getter]
    fn started(&self) -> bool {
        self.found.flow.started
    }

    /// TCP: it is over.
    #[getter]
    fn ended(&self) -> bool {
        self.found.flow.ended
    }

    /// The protocol that its bytes are; None if no recogniser knows them, or the start was not seen.
    #[getter]
    fn protocol(&self) -> Option<&'static str> {
        self.verdict.map(|verdict| verdict.row.protocol)
    }

    /// What that is used for.
    #[getter]
    fn purpose(&self) -> Option<&'static str> {
        self.verdict.map(|verdict| verdict.row.purpose)
    }

    /// How sure the bytes are, 0 to 1.
    #[getter]
    fn confidence(&self) -> f64 {
        self.verdict.map_or(0.0, |verdict| f64::from(verdict.sure) / 100.0)
    }

    /// "yes", "no", "random-looking" or "unknown".
    #[getter]
    fn encrypted(&self) -> &'static str {
        self.verdict.map_or_else(|| self.found.flow.randomness(), |verdict| verdict.encrypted).word()
    }

    /// It began in the clear and went over to TLS.
    #[getter]
    fn upgraded(&self) -> bool {
        self.verdict.is_some_and(|verdict| verdict.upgraded)
    }

    /// What of it looks random: of a connection whose start was not seen, a piece of its middle.
    #[getter]
    fn looks_random(&self) -> bool {
        self.found.flow.randomness() == Encrypted::RandomLooking
    }

    /// The version of TLS that was chosen, or the highest that was offered; None if there is none.
    #[getter]
    fn tls_version(&self) -> Option<&'static str> {
        self.facts.as_ref().map(Facts::version_name).filter(|name| *name != "TLS")
    }

    /// The name that the client asked for (SNI).
    #[getter]
    fn server_name(&self) -> Option<&str> {
        self.facts.as_ref().and_then(|facts| facts.name.as_deref())
    }

    /// What is spoken inside (ALPN): the server's choice where it can be seen, else what the client would like.
    #[getter]
    fn alpn(&self) -> Vec<String> {
        self.facts.as_ref().map(|facts| facts.inside.clone()).unwrap_or_default()
    }

    /// The name is sealed; `server_name` is the one that hides it.
    #[getter]
    fn name_hidden(&self) -> bool {
        self.facts.as_ref().is_some_and(|facts| facts.hidden)
    }

    /// The first bytes that the local end sent, and those that it received.
    #[getter]
    fn sent<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.sides().0.bytes)
    }

    #[getter]
    fn received<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.sides().1.bytes)
    }

    /// Packets with a payload that were sent, and received.
    #[getter]
    fn packets(&self) -> (u64, u64) {
        let (local, peer) = self.sides();
        (local.packets, peer.packets)
    }

    /// Bytes of payload that were sent, and received.
    #[getter]
    fn payload_bytes(&self) -> (u64, u64) {
        let (local, peer) = self.sides();
        (local.payload_bytes, peer.payload_bytes)
    }

    /// How many payloads were below 64, 128, 256, 512, 1,024, 1,500 bytes, and longer: sent, and received.
    #[getter]
    fn sizes(&self) -> (Vec<u32>, Vec<u32>) {
        let (local, peer) = self.sides();
        (local.sizes.to_vec(), peer.sizes.to_vec())
    }

    /// From the first to the last packet that was seen.
    #[getter]
    fn seconds(&self) -> f64 {
        let flow = &self.found.flow;
        flow.last_ns.saturating_sub(flow.first_ns) as f64 / 1e9
    }

    fn __repr__(&self) -> String {
        let [(first, first_port), (second, second_port)] = self.found.ends;
        let what = self.protocol().unwrap_or("?");
        format!("<FlowEvidence {} {first} {first_port} > {second} {second_port} {what}>", self.transport())
    }
}
