#![allow(clippy::unwrap_used)]

use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};

use rustix::net::sockopt::socket_cookie;
use socketkit_wire::birth_records::Kind;

use super::*;

/// What was noted of these sockets; None where BPF is not permitted or not possible here.
fn noted(sockets: impl FnOnce() -> Vec<u64>) -> Option<(Vec<Birth>, Vec<u64>)> {
    let mut births = Births::load().ok().filter(|births| births.unheard().is_empty())?;
    let cookies = sockets();
    let mut heard = Vec::new();
    loop {
        let more = births.read().unwrap();
        if more.is_empty() {
            break;
        }
        heard.extend(more);
    }
    assert_eq!(births.lost(), 0);
    heard.retain(|birth| cookies.contains(&birth.cookie));
    Some((heard, cookies))
}

#[test]
fn both_ends_of_a_connection_have_their_owner() {
    let told = noted(|| {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (server, _) = listener.accept().unwrap();
        vec![socket_cookie(&listener).unwrap(), socket_cookie(&client).unwrap(), socket_cookie(&server).unwrap()]
    });
    let Some((heard, cookies)) = told else { return };
    let kinds = |at: usize| {
        let of = heard.iter().filter(|birth| cookies.get(at) == Some(&birth.cookie));
        of.map(|birth| birth.kind).collect::<Vec<_>>()
    };
    assert_eq!(
        [kinds(0), kinds(1), kinds(2)],
        [vec![Kind::Closed], vec![Kind::Connected, Kind::Closed], vec![Kind::Closed]]
    );
    for birth in &heard {
        assert_eq!(birth.pid, Some(std::process::id()));
        assert_eq!(birth.uid, rustix::process::getuid().as_raw());
        assert!(!birth.name().is_empty() && birth.started_ns > 0);
    }
}

#[test]
fn a_connection_that_was_refused_has_one_too() {
    let mut called = None;
    let told = noted(|| {
        let socket =
            rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::STREAM, None).unwrap();
        let place = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
        called = Some(place.port());
        rustix::net::connect(&socket, &place).unwrap_err();
        vec![socket_cookie(&socket).unwrap()]
    });
    let Some((heard, _)) = told else { return };
    // The socket itself has forgotten the port by its end.
    let ports = heard.iter().map(|birth| (birth.kind, birth.peer_port)).collect::<Vec<_>>();
    assert_eq!(ports, [(Kind::Connected, called), (Kind::Closed, None)]);
}

#[test]
fn a_datagram_socket_has_one_as_soon_as_it_is_open() {
    let told = noted(|| vec![socket_cookie(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap()).unwrap()]);
    let Some((heard, _)) = told else { return };
    assert_eq!(heard.iter().map(|birth| birth.kind).collect::<Vec<_>>(), [Kind::Opened]);
    assert_eq!(heard.first().and_then(|birth| birth.pid), Some(std::process::id()));
}

#[test]
fn the_hierarchy_is_where_it_is_mounted() {
    let mounts = "proc /proc proc rw 0 0\ncgroup /sys/fs/cgroup/cpu cgroup rw,cpu 0 0\ncgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n";
    assert_eq!(hierarchy(mounts), Some("/sys/fs/cgroup/unified"));
    assert_eq!(hierarchy("proc /proc proc rw 0 0\n\nnone"), None);
}
