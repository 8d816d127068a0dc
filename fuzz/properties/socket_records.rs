//! `socket_records`: what is read can be written and read again, in whatever pieces it comes, and only the last answer is an error.

use socketkit_wire::socket_records::{
    first, records, Addresses, Counts, Short, Socket, Told, MAX_RECORD_BYTES, VERSION,
};

pub fn check(data: &[u8]) {
    let mut whole = records(data);
    let told: Vec<_> = whole.by_ref().collect();
    assert!(told.iter().rev().skip(1).all(Result::is_ok));
    // What is left is the start of a record, or after an error nothing.
    assert!(data.ends_with(whole.rest()) && whole.rest().len() < MAX_RECORD_BYTES);
    for one in told.iter().flatten() {
        let written = written(one);
        assert_eq!(records(&written).collect::<Vec<_>>(), [Ok(*one)]);
        let (short, length) = first(&written).ok().flatten().unwrap_or((Short::Seen(0), 0));
        assert_eq!(length, written.len());
        match (one, short) {
            (Told::Socket(whole), Short::Socket(brief)) => {
                assert_eq!((whole.cookie, whole.inode, whole.owner), (brief.cookie, brief.inode, brief.owner));
                assert_eq!((whole.family, whole.kind, whole.state), (brief.family, brief.kind, brief.state));
                assert_eq!((whole.interface, whole.fileless), (brief.interface, brief.fileless));
            }
            (Told::Socket(_), _) | (_, Short::Socket(_)) => panic!("{one:?} is {short:?}"),
            _ => {}
        }
    }
    for cut in [data.len() / 3, data.len() / 2, data.len().saturating_sub(1)] {
        let (first, second) = data.split_at(cut);
        let mut start = records(first);
        let mut again: Vec<String> = start.by_ref().map(|one| format!("{one:?}")).collect();
        let joined = [start.rest(), second].concat();
        if !again.last().is_some_and(|last| last.starts_with("Err")) {
            again.extend(records(&joined).map(|one| format!("{one:?}")));
        }
        let expected: Vec<String> = told.iter().map(|one| format!("{one:?}")).collect();
        assert_eq!(again, expected);
    }
}

/// The record that says so: the layout of rust/bpf/table.bpf.c, written down once more.
fn written(told: &Told<'_>) -> Vec<u8> {
    let (class, cookie, rest) = match told {
        Told::Seen(cookie) => (0, *cookie, Vec::new()),
        Told::Thread { namespace, pid, thread } => (6, *namespace, [pid.to_le_bytes(), thread.to_le_bytes()].concat()),
        Told::Socket(socket) => (class(&socket.addresses), socket.cookie, body(socket)),
    };
    let size = (12 + rest.len()) as u16;
    [&size.to_le_bytes()[..], &[VERSION, class], &cookie.to_le_bytes(), &rest].concat()
}

fn body(socket: &Socket<'_>) -> Vec<u8> {
    let (pid, descriptor) = socket.owner.unwrap_or_default();
    let flags = [
        socket.reuse_address,
        socket.reuse_port,
        socket.only_ipv6,
        socket.dropped.is_some(),
        socket.flow.is_some(),
        socket.owner.is_some(),
        socket.uid.is_some(),
        socket.fileless,
        socket.listed,
        socket.begun,
    ];
    let flags = flags.iter().enumerate().map(|(bit, &set)| u16::from(set) << bit).sum::<u16>();
    let mut bytes = [&socket.namespace.to_le_bytes()[..], &socket.inode.to_le_bytes()].concat();
    for number in [socket.family, socket.protocol] {
        bytes.extend_from_slice(&number.to_le_bytes());
    }
    bytes.extend_from_slice(&[socket.kind as u8, socket.state]);
    bytes.extend_from_slice(&flags.to_le_bytes());
    let uid = socket.uid.unwrap_or_default();
    let dropped = socket.dropped.unwrap_or_default();
    for number in [pid, descriptor, uid, socket.interface, socket.receive_queue, socket.send_queue, dropped] {
        bytes.extend_from_slice(&number.to_le_bytes());
    }
    bytes.extend(socket.flow.iter().flat_map(counts));
    bytes.extend(addresses(&socket.addresses));
    bytes
}

fn counts(flow: &Counts) -> Vec<u8> {
    let large = [flow.received_bytes, flow.acknowledged_bytes, flow.sent_bytes, flow.sent_again_bytes];
    let small = [
        flow.received_segments,
        flow.sent_segments,
        flow.round_trip_us,
        flow.retransmits,
        flow.ticks_since_sent,
        flow.ticks_since_received,
        flow.ticks_since_answer,
    ];
    let large = large.iter().flat_map(|number| number.to_le_bytes());
    large.chain(small.iter().flat_map(|number| number.to_le_bytes())).collect()
}

fn class(addresses: &Addresses<'_>) -> u8 {
    match addresses {
        Addresses::Inet { .. } => 1,
        Addresses::Inet6 { .. } => 2,
        Addresses::Unix { .. } => 3,
        Addresses::Numbers { .. } => 4,
        Addresses::Unknown => 5,
    }
}

fn addresses(addresses: &Addresses<'_>) -> Vec<u8> {
    let ports = |local: u16, peer: u16| [local.to_le_bytes(), peer.to_le_bytes()].concat();
    match addresses {
        Addresses::Inet { local, peer } => [&ports(local.1, peer.1)[..], &local.0, &peer.0].concat(),
        Addresses::Inet6 { local, peer } => [&ports(local.1, peer.1)[..], &local.0, &peer.0].concat(),
        Addresses::Unix { local, peer, peer_inode } => {
            let lengths = ports(local.len() as u16, peer.len() as u16);
            let padded = |name: &[u8]| [name, &vec![0; 112 - name.len()]].concat();
            [&peer_inode.to_le_bytes()[..], &lengths, &padded(local), &padded(peer)].concat()
        }
        Addresses::Numbers { local, peer } => {
            local.iter().chain(peer).flat_map(|number| number.to_le_bytes()).collect()
        }
        Addresses::Unknown => Vec::new(),
    }
}
