//! `socketkit._core`: the engine behind Python's calling convention.
//!
//! Python code awaits an `Operation`. Each operation is an attempt that is repeated whenever the reactor has news of its socket;
//! what it gives is made at the moment the waiting task runs, never before, so a cancelled wait holds nothing that could be lost.

mod action;
mod answers;
mod arrivals;
mod authority;
mod beneath;
mod births;
mod blocking;
mod bounds;
mod budget;
mod capture;
mod direct;
mod entering;
mod failure;
mod first_bytes;
mod forward;
mod http;
mod identity;
mod large;
mod listener;
mod messages;
mod operation;
mod reactor;
mod registry;
mod relay;
mod scan;
mod slots;
mod stream;
mod table;
mod threads;
mod tls;
mod waiters;

use pyo3::prelude::*;

#[pymodule]
fn _core(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add("Operation", operation::python_type(module.py())?)?;
    module.add("Direct", direct::python_type(module.py())?)?;
    module.add_function(wrap_pyfunction!(direct::direct, module)?)?;
    module.add_class::<reactor::Reactor>()?;
    module.add_class::<stream::Stream>()?;
    module.add_class::<messages::MessageSocket>()?;
    module.add("Datagram", messages::datagram_type(module.py())?)?;
    module.add_class::<listener::Listener>()?;
    module.add_class::<listener::Arrival>()?;
    module.add_class::<listener::MemoryPort>()?;
    module.add_class::<arrivals::Arrivals>()?;
    module.add_function(wrap_pyfunction!(arrivals::count_arrivals, module)?)?;
    module.add_class::<http::Exchange>()?;
    module.add_class::<answers::Answers>()?;
    module.add_function(wrap_pyfunction!(http::http_date, module)?)?;
    module.add_class::<bounds::Bounds>()?;
    module.add_class::<tls::ClientTls>()?;
    module.add_class::<tls::ServerTls>()?;
    module.add_class::<relay::Relay>()?;
    module.add_class::<forward::Forward>()?;
    module.add_class::<first_bytes::FirstBytes>()?;
    module.add_class::<first_bytes::FlowEvidence>()?;
    module.add_class::<capture::PacketRing>()?;
    module.add_class::<capture::Packet>()?;
    module.add_class::<capture::CaptureJob>()?;
    module.add_class::<table::SocketTable>()?;
    module.add_class::<table::SocketEntry>()?;
    module.add_class::<table::SocketRows>()?;
    module.add_class::<scan::Scanner>()?;
    module.add_class::<table::EndedSockets>()?;
    module.add_class::<births::Births>()?;
    module.add_function(wrap_pyfunction!(table::destroy_socket, module)?)?;
    module.add_function(wrap_pyfunction!(capture::attach_filter, module)?)?;
    module.add_function(wrap_pyfunction!(beneath::open_beneath, module)?)?;
    module.add_function(wrap_pyfunction!(blocking::block, module)?)?;
    module.add_function(wrap_pyfunction!(blocking::wait, module)?)?;
    module.add_function(wrap_pyfunction!(identity::fingerprint_text, module)?)?;
    module.add_function(wrap_pyfunction!(identity::fingerprint_bytes, module)?)?;
    module.add_function(wrap_pyfunction!(identity::certificate_fingerprint, module)?)?;
    module.add_function(wrap_pyfunction!(identity::make_identity, module)?)?;
    module.add_function(wrap_pyfunction!(authority::make_authority, module)?)?;
    module.add_function(wrap_pyfunction!(authority::issue_certificate, module)?)?;
    module.add_function(wrap_pyfunction!(identity::parse_authorized, module)?)?;
    Ok(())
}
