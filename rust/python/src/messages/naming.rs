//! Who is meant: the endpoints that Python knows and the addresses that the kernel knows, either way. Each is made once, then kept.

use std::net::IpAddr;
use std::sync::MutexGuard;

use pyo3::exceptions::PyValueError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use socketkit_engine::peers::{Known, Peers};
use socketkit_system::messages::{Local, Marks, Message, Name};

use super::datagram::Arrival;
use super::{MessageSocket, MessagesShared};

/// `to` as the kernel has it: an endpoint that came with a datagram, or what Python makes of it.
pub fn address(socket: &Bound<'_, MessageSocket>, to: &Bound<'_, PyAny>) -> PyResult<Known> {
    if let Some(name) = socket.get().shared.peers().name_of(to.as_ptr() as usize) {
        return Ok(name);
    }
    let raw = socket.call_method1(intern!(socket.py(), "_addressed"), (to,))?;
    let name = Name::new(raw.cast::<PyBytes>()?.as_bytes());
    Ok(Known::new(name.ok_or_else(|| PyValueError::new_err("this address is longer than any"))?))
}

/// The address of who sent a datagram, which knows it if it came by this socket.
pub fn sender(socket: &Bound<'_, MessageSocket>, arrival: &Arrival) -> PyResult<Known> {
    match &arrival.came_from {
        Some((id, known)) if *id == socket.get().shared.id => Ok(known.clone()),
        _ => address(socket, arrival.peer.bind(socket.py())),
    }
}

/// From where an answer to a datagram must leave: its asker expects it from the address that he has asked.
pub fn origin(socket: &Bound<'_, MessageSocket>, arrival: &Arrival) -> PyResult<Option<Local>> {
    let local = arrival.local.bind(socket.py());
    if arrival.came_to.is_some() || local.is_none() {
        return Ok(arrival.came_to);
    }
    let own = socket.get().shared.own_endpoint.get();
    if own.is_some_and(|own| own.is(local)) {
        return Ok(None);
    }
    // Taken by the application from another datagram: what was sent to a group, or to all, is not answered from there.
    let heard = socket.get().shared.locals().iter().find(|(_, known)| known.is(local)).map(|(heard, _)| *heard);
    if heard.is_some() {
        return Ok(heard);
    }
    // Written by the application itself.
    let name = address(socket, local)?;
    Ok(place_of(&name.name))
}

/// Who has sent the datagrams of a batch. The table of peers is locked once for all of it, but not while Python code runs.
pub struct Acquaintances<'a> {
    shared: &'a MessagesShared,
    peers: Option<MutexGuard<'a, Peers<Py<PyAny>>>>,
}

impl<'a> Acquaintances<'a> {
    pub(super) fn new(shared: &'a MessagesShared) -> Self {
        Self { shared, peers: None }
    }

    /// What is known of a datagram, or of several that came as one.
    pub(super) fn arrival(
        &mut self,
        subject: &Bound<'_, MessageSocket>,
        message: &Message<'_>,
        marks: &Marks,
        data: &[u8],
    ) -> PyResult<Arrival> {
        let (peer, came_from) = self.endpoint(subject, message.from, data)?;
        let local = match &marks.local {
            Some(local) => self.shared.known_local(subject.py(), local),
            None => self.shared.own_endpoint.get().map(|own| own.clone_ref(subject.py())),
        };
        let local = match local {
            Some(local) => local,
            None => {
                self.peers = None;
                self.shared.name_local(subject, marks.local.as_ref())?
            }
        };
        Ok(Arrival {
            peer,
            local,
            truncated: message.truncated,
            ecn: marks.ecn,
            timestamp_ns: marks.timestamp_ns,
            came_to: marks.local,
            came_from: came_from.map(|known| (self.shared.id, known)),
        })
    }

    /// The endpoint of who sent `data`: made by Python once, then kept.
    fn endpoint(
        &mut self,
        subject: &Bound<'_, MessageSocket>,
        raw: &[u8],
        data: &[u8],
    ) -> PyResult<(Py<PyAny>, Option<Known>)> {
        let (py, shared) = (subject.py(), self.shared);
        if let Some((endpoint, known)) = self.peers.get_or_insert_with(|| shared.peers()).heard(raw, data) {
            return Ok((endpoint.clone_ref(py), Some(known)));
        }
        self.peers = None;
        let made = subject.call_method1(intern!(py, "_named"), (PyBytes::new(py, raw),))?.unbind();
        let known = if made.is_none(py) {
            None
        } else {
            shared.peers().learn(raw, made.clone_ref(py), made.as_ptr() as usize, data)
        };
        Ok((made, known))
    }
}

impl MessagesShared {
    fn known_local(&self, py: Python<'_>, local: &Local) -> Option<Py<PyAny>> {
        self.locals().iter().find(|(known, _)| known == local).map(|(_, endpoint)| endpoint.clone_ref(py))
    }

    /// The endpoint of an address of this machine, or the socket's own, made by Python.
    fn name_local(&self, subject: &Bound<'_, MessageSocket>, local: Option<&Local>) -> PyResult<Py<PyAny>> {
        let py = subject.py();
        let Some(local) = local else {
            let made = subject.getattr(intern!(py, "local"))?.unbind();
            let _ = self.own_endpoint.set(made.clone_ref(py));
            return Ok(made);
        };
        let address = local.address.to_string();
        let made = subject.call_method1(intern!(py, "_located"), (address, local.interface, self.own_port))?.unbind();
        let mut locals = self.locals();
        if locals.len() < MOST_LOCALS {
            locals.push((*local, made.clone_ref(py)));
        }
        Ok(made)
    }
}

fn place_of(name: &Name) -> Option<Local> {
    let raw = name.bytes();
    let address = match raw.len() {
        16 => IpAddr::from(<[u8; 4]>::try_from(raw.get(4..8)?).ok()?),
        28 => IpAddr::from(<[u8; 16]>::try_from(raw.get(8..24)?).ok()?),
        _ => return None,
    };
    let interface = raw.get(24..28).and_then(|bytes| Some(u32::from_ne_bytes(bytes.try_into().ok()?))).unwrap_or(0);
    (!address.is_unspecified()).then(|| Local::new(address, interface))
}

const MOST_LOCALS: usize = 64;
