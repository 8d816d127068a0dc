//! Sockets that no dump has, asked by way of a descriptor that leads to them: TCP sockets that are not bound, vsock and Bluetooth
//! where the kernel has no other way to tell.
//!
//! A descriptor is borrowed from its process for the length of some questions (`pidfd_getfd`, as a debugger may). Whoever may not
//! do that does not see these sockets, and is told so.

use std::cell::OnceCell;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;

use rustix::io::Errno;
use rustix::process::{pidfd_getfd, pidfd_open, Pid, PidfdFlags, PidfdGetfdFlags};
use socketkit_system::sockets::{local_address, network_namespace, network_namespace_cookie, option, peer_address};

use super::netlink;
use super::numbers::{NumberMap, NumberSet};
use super::owners::{Held, Place};
use super::row::{Address, Row};

/// What was learnt from one look.
#[derive(Debug, Default)]
pub struct Found {
    pub rows: Vec<Row>,
    /// Network namespaces that only a socket keeps alive.
    pub namespaces: Vec<(u64, Place, OwnedFd)>,
    /// Tables of descriptors that have changed since they were read.
    pub moved: Vec<Place>,
    /// Whether some could not be asked.
    pub denied: bool,
}

/// Sockets of families that are no rows (netlink, AF_ALG, XDP...), each with its namespace, so that they are asked once only.
#[derive(Debug, Default)]
pub struct Strangers(NumberMap<u64, u64>);

/// Asks sockets that somebody holds; `known`: the namespaces that are looked into, `home`: the one of this thread.
pub fn ask(outside: &[(Place, Held)], known: &NumberSet<u64>, home: u64, strangers: &mut Strangers) -> Found {
    let mut found = Found::default();
    let home = Home { namespace: home, cookie: OnceCell::new() };
    let mut process: Option<(Place, Option<OwnedFd>)> = None;
    let present: NumberSet<u64> = outside.iter().map(|(_, held)| held.inode).collect();
    strangers.0.retain(|inode, _| present.contains(inode));
    for (place, held) in outside {
        if strangers.0.get(&held.inode).is_some_and(|namespace| known.contains(namespace)) {
            continue;
        }
        if process.as_ref().is_none_or(|(opened, _)| opened != place) {
            process = Some((*place, open(*place)));
        }
        let Some((_, Some(process))) = &process else {
            found.denied = true;
            continue;
        };
        match pidfd_getfd(process, held.descriptor as i32, PidfdGetfdFlags::empty()) {
            Ok(socket) => look(socket, *place, *held, known, &home, strangers, &mut found),
            Err(Errno::BADF | Errno::SRCH) => found.moved.push(*place),
            Err(_) => found.denied = true,
        }
    }
    found.moved.sort_unstable();
    found.moved.dedup();
    found
}

fn open(place: Place) -> Option<OwnedFd> {
    let pid = Pid::from_raw(i32::try_from(place.thread).ok()?)?;
    let flags = if place.pid == place.thread { PidfdFlags::empty() } else { PIDFD_THREAD };
    pidfd_open(pid, flags).ok()
}

fn look(
    socket: OwnedFd,
    place: Place,
    held: Held,
    known: &NumberSet<u64>,
    home: &Home,
    strangers: &mut Strangers,
    found: &mut Found,
) {
    let file = File::from(socket);
    let Ok(facts) = file.metadata() else { return };
    if facts.ino() != held.inode {
        found.moved.push(place);
        return;
    }
    let Some(namespace) = namespace_of(&file, place, known, home, found) else {
        found.denied = true;
        return;
    };
    match row(&file, held.inode, namespace) {
        Some(row) => found.rows.push(Row { uid: Some(facts.uid()), ..row }),
        None => drop(strangers.0.insert(held.inode, namespace)),
    }
}

/// The namespace of a socket; one that is new goes into `found`. Who has no privilege there can tell his own from others.
fn namespace_of(file: &File, place: Place, known: &NumberSet<u64>, home: &Home, found: &mut Found) -> Option<u64> {
    let Ok(opened) = network_namespace(file) else {
        return home.has(file).then_some(home.namespace);
    };
    let inode = File::from(opened.try_clone().ok()?).metadata().ok()?.ino();
    if !known.contains(&inode) && !found.namespaces.iter().any(|(other, ..)| *other == inode) {
        found.namespaces.push((inode, place, opened));
    }
    Some(inode)
}

/// The network namespace of this thread.
struct Home {
    namespace: u64,
    cookie: OnceCell<Option<u64>>,
}

impl Home {
    fn has(&self, socket: &File) -> bool {
        let asked = || network_namespace_cookie(netlink::open().ok()?).ok();
        let cookie = *self.cookie.get_or_init(asked);
        cookie.is_some() && network_namespace_cookie(socket).ok() == cookie
    }
}

fn row(socket: &impl AsFd, inode: u64, namespace: u64) -> Option<Row> {
    let ask = |name| option(socket, SOL_SOCKET, name).ok();
    let flag = |level, name| option(socket, level, name).ok().map(|value| value != 0);
    let family = u16::try_from(ask(SO_DOMAIN)?).ok()?;
    if !matches!(family, AF_UNIX | AF_INET | AF_INET6 | AF_PACKET | AF_BLUETOOTH | AF_VSOCK) {
        return None;
    }
    let local = local_address(socket).unwrap_or_default();
    let peer = peer_address(socket).unwrap_or_default();
    let listening = ask(SO_ACCEPTCONN) == Some(1);
    let state = match (listening, peer.is_empty()) {
        (true, _) => LISTENING,
        (false, false) => ESTABLISHED,
        (false, true) => CLOSED,
    };
    Some(Row {
        family,
        kind: u16::try_from(ask(SO_TYPE)?).ok()?,
        protocol: ask(SO_PROTOCOL).and_then(|protocol| u16::try_from(protocol).ok()).unwrap_or_default(),
        state,
        local: if unbound(family, &local) { Address::None } else { Address::from_bytes(&local) },
        peer: Address::from_bytes(&peer),
        inode,
        cookie: cookie(socket),
        namespace,
        interface: ask(SO_BINDTOIFINDEX).and_then(|index| u32::try_from(index).ok()).unwrap_or_default(),
        reuse_address: flag(SOL_SOCKET, SO_REUSEADDR),
        reuse_port: flag(SOL_SOCKET, SO_REUSEPORT),
        only_ipv6: if family == AF_INET6 { flag(IPPROTO_IPV6, IPV6_V6ONLY) } else { None },
        ..Row::default()
    })
}

/// An address of zeros is that of an IP socket which is bound to nothing; a Unix socket without a name has its family alone.
fn unbound(family: u16, address: &[u8]) -> bool {
    let rest = address.get(2..).unwrap_or_default();
    match family {
        AF_INET | AF_INET6 => rest.iter().all(|&byte| byte == 0),
        AF_UNIX => rest.is_empty(),
        _ => false,
    }
}

fn cookie(socket: &impl AsFd) -> u64 {
    rustix::net::sockopt::socket_cookie(socket).unwrap_or_default()
}

/// Linux 6.9; before it, threads with descriptors of their own cannot be asked.
const PIDFD_THREAD: PidfdFlags = PidfdFlags::from_bits_retain(0o200);

const AF_UNIX: u16 = 1;
const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;
const AF_PACKET: u16 = 17;
const AF_BLUETOOTH: u16 = 31;
const AF_VSOCK: u16 = 40;
const SOL_SOCKET: i32 = 1;
const SO_REUSEADDR: i32 = 2;
const SO_TYPE: i32 = 3;
const SO_REUSEPORT: i32 = 15;
const SO_ACCEPTCONN: i32 = 30;
const SO_PROTOCOL: i32 = 38;
const SO_DOMAIN: i32 = 39;
const SO_BINDTOIFINDEX: i32 = 62;
const IPPROTO_IPV6: i32 = 41;
const IPV6_V6ONLY: i32 = 26;

const ESTABLISHED: u8 = 1;
const CLOSED: u8 = 7;
const LISTENING: u8 = 10;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::net::{TcpListener, UdpSocket};
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixDatagram;

    use super::*;

    #[test]
    fn zeros_are_the_address_of_what_is_bound_to_nothing() {
        assert!(
            unbound(AF_INET, &[2, 0, 0, 0, 0, 0, 0, 0])
                && unbound(AF_INET6, &[10, 0, 0, 0])
                && unbound(AF_UNIX, &[1, 0])
        );
        assert!(!unbound(AF_INET, &[2, 0, 0, 80, 0, 0, 0, 0]) && !unbound(AF_UNIX, &[1, 0, 0]));
        assert!(!unbound(AF_VSOCK, &[40, 0, 0, 0]), "there zeros are an address");
    }

    #[test]
    fn a_socket_tells_of_itself() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let told = row(&listener, 5, 7).unwrap();
        let port = listener.local_addr().unwrap().port().to_be_bytes();
        assert_eq!((told.family, told.kind, told.protocol, told.state), (AF_INET, 1, 6, LISTENING));
        assert_eq!(told.local.as_bytes().get(..8), Some(&[2, 0, port[0], port[1], 127, 0, 0, 1][..]));
        assert_eq!((told.peer, told.inode, told.namespace), (Address::None, 5, 7));
        assert!(told.cookie != 0);
        let datagrams = UdpSocket::bind("127.0.0.1:0").unwrap();
        datagrams.connect(datagrams.local_addr().unwrap()).unwrap();
        assert_eq!(row(&datagrams, 5, 7).unwrap().state, ESTABLISHED);
        let unnamed = row(&UnixDatagram::unbound().unwrap(), 5, 7).unwrap();
        assert_eq!((unnamed.state, unnamed.local), (CLOSED, Address::None));
        assert_eq!(row(&File::open("/").unwrap(), 5, 7), None, "what is no socket");
    }

    #[test]
    fn what_is_at_home_is_told_without_privilege() {
        let home = Home { namespace: 7, cookie: OnceCell::new() };
        let socket = File::from(OwnedFd::from(UdpSocket::bind("127.0.0.1:0").unwrap()));
        assert_eq!(home.has(&socket), network_namespace_cookie(&socket).is_ok());
        assert!(!home.has(&File::open("/").unwrap()), "what is no socket");
        let elsewhere = Home { namespace: 7, cookie: OnceCell::from(Some(u64::MAX)) };
        assert!(!elsewhere.has(&socket));
    }

    #[test]
    fn what_leads_elsewhere_by_now_has_moved() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let pid = std::process::id();
        let place = Place { pid, thread: pid };
        let inode = File::from(OwnedFd::from(socket.try_clone().unwrap())).metadata().unwrap().ino();
        let ask_for = |inode, descriptor: i32| {
            let held = Held { inode, descriptor: descriptor as u32 };
            ask(&[(place, held)], &NumberSet::default(), 7, &mut Strangers::default())
        };
        let found = ask_for(inode, socket.as_raw_fd());
        // Some sandboxes forbid to borrow a descriptor; then it is said.
        if !found.denied {
            assert_eq!(found.rows.iter().map(|row| row.inode).collect::<Vec<_>>(), [inode]);
            assert_eq!(ask_for(inode + 1, socket.as_raw_fd()).moved, [place]);
            assert_eq!(ask_for(inode, i32::MAX).moved, [place]);
        }
        let nobody = Place { pid: u32::MAX, thread: u32::MAX };
        let held = Held { inode, descriptor: 3 };
        assert!(ask(&[(nobody, held)], &NumberSet::default(), 7, &mut Strangers::default()).denied);
    }

    #[test]
    fn strangers_are_asked_once_and_forgotten_when_they_end() {
        let place = Place { pid: u32::MAX, thread: u32::MAX };
        let held = Held { inode: 5, descriptor: 3 };
        let mut strangers = Strangers(NumberMap::from_iter([(5, 7), (6, 7)]));
        let known = NumberSet::from_iter([7]);
        assert!(!ask(&[(place, held)], &known, 7, &mut strangers).denied, "nobody is asked");
        assert!(strangers.0.contains_key(&5) && !strangers.0.contains_key(&6));
    }
}
