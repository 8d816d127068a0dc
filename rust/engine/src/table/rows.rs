//! Rows out of what sock_diag and /proc say: one function for each shape.

use socketkit_wire::diag::{Inet, Packet, SocketId, TcpInfo, Unix, Vsock};
use socketkit_wire::proc_net::Line;

use super::row::{Address, Flow, Row};

/// `protocol`: the one that was asked for.
pub fn inet_row(told: &Inet<'_>, protocol: u8, namespace: u64) -> Row {
    let protocol = told.protocol.unwrap_or(protocol);
    let tcp = protocol == IPPROTO_TCP;
    let raw = !tcp && protocol != IPPROTO_UDP && protocol != IPPROTO_SCTP;
    let information =
        told.information.filter(|_| tcp && !matches!(told.state, LISTENING | SYN_RECEIVED | NEW_SYN_RECEIVED));
    Row {
        family: u16::from(told.id.family),
        kind: if tcp {
            SOCK_STREAM
        } else if protocol == IPPROTO_UDP {
            SOCK_DGRAM
        } else if raw {
            SOCK_RAW
        } else {
            SOCK_SEQPACKET
        },
        protocol: u16::from(protocol),
        state: told.state,
        local: local_address(&told.id, raw.then_some(protocol)),
        peer: peer_address(&told.id, raw),
        inode: u64::from(told.inode),
        cookie: told.id.cookie,
        namespace,
        interface: told.id.interface,
        // Without a descriptor the kernel has forgotten whose it was, and says 0.
        uid: (told.inode != 0 || told.uid != 0).then_some(told.uid),
        receive_queue: told.receive_queue,
        send_queue: told.send_queue,
        flow: information.map(|bytes| flow(&TcpInfo(bytes).into(), told.state)),
        only_ipv6: told.only_ipv6,
        dropped: told.dropped,
        ..Row::default()
    }
}

/// A raw socket, or a ping socket (`kind`: SOCK_RAW or SOCK_DGRAM).
pub fn line_row(line: &Line, kind: u16, namespace: u64) -> Row {
    let raw = kind == SOCK_RAW;
    let protocol = match (raw, line.id.family) {
        (true, _) => line.id.local_port,
        (false, AF_INET) => IPPROTO_ICMP,
        (false, _) => IPPROTO_ICMPV6,
    };
    Row {
        family: u16::from(line.id.family),
        kind,
        protocol,
        state: line.state,
        local: if raw { local_address(&line.id, Some(protocol as u8)) } else { socket_address(&line.id, true) },
        peer: peer_address(&line.id, true),
        inode: line.inode,
        namespace,
        uid: Some(line.uid),
        receive_queue: line.receive_queue,
        send_queue: line.send_queue,
        dropped: Some(line.dropped),
        ..Row::default()
    }
}

/// Its name is all that is told of a peer here: who that is, is found by its inode when all are there.
pub fn unix_row(told: &Unix<'_>, namespace: u64) -> Row {
    Row {
        family: AF_UNIX,
        kind: u16::from(told.kind),
        state: told.state,
        local: unix_address(told.name),
        inode: u64::from(told.inode),
        cookie: told.cookie,
        namespace,
        uid: told.uid,
        receive_queue: told.receive_queue,
        send_queue: told.send_queue,
        unix_peer: u64::from(told.peer),
        dropped: told.dropped,
        ..Row::default()
    }
}

pub fn packet_row(told: &Packet, namespace: u64) -> Row {
    Row {
        family: AF_PACKET,
        kind: u16::from(told.kind),
        protocol: told.protocol,
        state: CLOSED,
        local: packet_address(told.protocol, told.interface),
        inode: u64::from(told.inode),
        cookie: told.cookie,
        namespace,
        interface: told.interface,
        uid: told.uid,
        receive_queue: told.receive_queue,
        dropped: told.dropped,
        ..Row::default()
    }
}

pub fn vsock_row(told: &Vsock, namespace: u64) -> Row {
    Row {
        family: AF_VSOCK,
        kind: u16::from(told.kind),
        state: told.state,
        local: vsock_address(told.local),
        peer: vsock_address(told.peer),
        inode: u64::from(told.inode),
        cookie: told.cookie,
        namespace,
        ..Row::default()
    }
}

/// What TCP counts, without the SYN and the FIN, which it counts as bytes.
pub fn flow(told: &Counts, state: u8) -> Flow {
    // What was sent as data is the most that can have been acknowledged of it.
    let data = told.sent_bytes.map(|sent| sent.saturating_sub(told.sent_again_bytes));
    let ended = matches!(state, CLOSE_WAIT | LAST_ACK | CLOSING);
    let sent_bytes = data.map_or(told.acknowledged_bytes, |data| told.acknowledged_bytes.min(data));
    let received_bytes = told.received_bytes.saturating_sub(u64::from(ended));
    let moved = [(data.unwrap_or(sent_bytes) > 0, told.since_sent_ms), (received_bytes > 0, told.since_received_ms)];
    let seen_ms = told.since_sent_ms.max(if received_bytes > 0 { told.since_received_ms } else { 0 });
    Flow {
        received_bytes,
        sent_bytes,
        received_segments: told.received_segments,
        sent_segments: told.sent_segments,
        round_trip_us: told.round_trip_us,
        retransmits: told.retransmits,
        quiet_ms: moved.iter().filter(|(any, _)| *any).map(|&(_, ms)| ms).min().unwrap_or(u32::MAX),
        // The clock of data sent begins when the connection stands; that of data received before there were any.
        seen_ms: if state == SYN_SENT { 0 } else { seen_ms },
    }
}

/// What a source tells of a TCP connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// With one for the SYN and one for the FIN, once they were acknowledged.
    pub acknowledged_bytes: u64,
    /// With one for the FIN.
    pub received_bytes: u64,
    /// Data alone, those that were sent again included; None = not told.
    pub sent_bytes: Option<u64>,
    pub sent_again_bytes: u64,
    pub received_segments: u32,
    pub sent_segments: u32,
    pub round_trip_us: u32,
    pub retransmits: u32,
    pub since_sent_ms: u32,
    pub since_received_ms: u32,
}

impl From<TcpInfo<'_>> for Counts {
    fn from(told: TcpInfo<'_>) -> Counts {
        Counts {
            acknowledged_bytes: told.acknowledged_bytes(),
            received_bytes: told.received_bytes(),
            sent_bytes: told.sent_bytes(),
            sent_again_bytes: told.sent_again_bytes(),
            received_segments: told.received_segments(),
            sent_segments: told.sent_segments(),
            round_trip_us: told.round_trip_us(),
            retransmits: told.retransmits(),
            since_sent_ms: told.last_data_sent_ms(),
            since_received_ms: told.last_data_received_ms(),
        }
    }
}

/// What TCP had counted of a connection that ended. The kernel has forgotten how it ended by then, but not what it acknowledged: of
/// the SYN and the FIN, which count as bytes, both were acknowledged (it connected, and ended in order), or one. That was the FIN
/// if it was `accepted`, which is asked only then. Where ours was acknowledged, the peer's was received:
/// but for a connection that was closed here first, of which the kernel keeps no more than its FIN_WAIT2. It tells of that end before
/// the peer's has come, in the same words, and a byte too few is counted.
pub fn ended_flow(information: TcpInfo<'_>, accepted: impl FnOnce() -> bool) -> Flow {
    let mut flow = flow(&information.into(), CLOSED);
    let beyond_data = information.acknowledged_bytes() - flow.sent_bytes;
    let in_order = beyond_data > 1 || (beyond_data == 1 && accepted());
    flow.received_bytes = flow.received_bytes.saturating_sub(u64::from(in_order));
    flow
}

/// None for a socket that is bound to nothing. A raw socket has its protocol where others have the port, as its own name has.
pub fn local_address(id: &SocketId, raw: Option<u8>) -> Address {
    match raw {
        Some(protocol) => socket_address(&SocketId { local_port: u16::from(protocol), ..*id }, true),
        None => socket_address(id, id.local_port != 0 || id.local != [0; 16]),
    }
}

pub fn peer_address(id: &SocketId, portless: bool) -> Address {
    let port = if portless { 0 } else { id.peer_port };
    let peer = SocketId { local: id.peer, local_port: port, ..*id };
    socket_address(&peer, port != 0 || id.peer != [0; 16])
}

/// `struct sockaddr_in` or `sockaddr_in6` of the local half.
fn socket_address(id: &SocketId, there: bool) -> Address {
    let mut bytes = [0; 28];
    let (family, port) = (u16::from(id.family).to_ne_bytes(), id.local_port.to_be_bytes());
    let length = match id.family {
        _ if !there => 0,
        AF_INET => {
            fill(&mut bytes, &[&family, &port, id.local.first_chunk::<4>().unwrap_or(&[0; 4])]);
            16
        }
        _ => {
            // A link-local address means nothing without its interface, to which such a socket is bound.
            let scope = if id.local.starts_with(&[0xfe, 0x80]) { id.interface } else { 0 };
            fill(&mut bytes, &[&family, &port, &[0; 4], &id.local, &scope.to_ne_bytes()]);
            28
        }
    };
    Address::from_bytes(bytes.get(..length).unwrap_or_default())
}

pub fn unix_address(name: &[u8]) -> Address {
    if name.is_empty() {
        return Address::None;
    }
    Address::from_bytes(&[&AF_UNIX.to_ne_bytes()[..], name].concat())
}

/// `struct sockaddr_ll`
pub fn packet_address(protocol: u16, interface: u32) -> Address {
    let mut bytes = [0; 20];
    fill(&mut bytes, &[&AF_PACKET.to_ne_bytes()[..], &protocol.to_be_bytes(), &interface.to_ne_bytes()]);
    Address::from_bytes(&bytes)
}

/// `struct sockaddr_vm`; None for no peer.
pub fn vsock_address((cid, port): (u32, u32)) -> Address {
    if (cid, port) == (u32::MAX, u32::MAX) {
        return Address::None;
    }
    let mut bytes = [0; 16];
    fill(&mut bytes, &[&AF_VSOCK.to_ne_bytes(), &[0; 2], &port.to_ne_bytes(), &cid.to_ne_bytes()]);
    Address::from_bytes(&bytes)
}

fn fill(room: &mut [u8], parts: &[&[u8]]) {
    for (room, byte) in room.iter_mut().zip(parts.iter().copied().flatten()) {
        *room = *byte;
    }
}

const AF_UNIX: u16 = 1;
const AF_INET: u8 = 2;
const AF_PACKET: u16 = 17;
const AF_VSOCK: u16 = 40;
const SOCK_STREAM: u16 = 1;
const SOCK_DGRAM: u16 = 2;
const SOCK_RAW: u16 = 3;
const SOCK_SEQPACKET: u16 = 5;
const IPPROTO_ICMP: u16 = 1;
const IPPROTO_TCP: u8 = 6;
const IPPROTO_UDP: u8 = 17;
const IPPROTO_ICMPV6: u16 = 58;
const IPPROTO_SCTP: u8 = 132;

const SYN_SENT: u8 = 2;
const SYN_RECEIVED: u8 = 3;
const CLOSED: u8 = 7;
const CLOSE_WAIT: u8 = 8;
const LAST_ACK: u8 = 9;
const LISTENING: u8 = 10;
const CLOSING: u8 = 11;
const NEW_SYN_RECEIVED: u8 = 12;

#[cfg(test)]
mod tests {
    use super::*;

    fn information(acknowledged: u64, received: u64, sent: u64, again: u64) -> Vec<u8> {
        let mut bytes = vec![0; 216];
        for (at, number) in [(120, acknowledged), (128, received), (200, sent), (208, again)] {
            fill(&mut bytes[at..], &[&number.to_ne_bytes()]);
        }
        bytes
    }

    #[test]
    fn syn_and_fin_are_no_bytes() {
        let counted = information(1001, 301, 1500, 500);
        let alive = flow(&Counts::from(TcpInfo(&counted)), 1);
        assert_eq!((alive.sent_bytes, alive.received_bytes), (1000, 301));
        assert_eq!(flow(&Counts::from(TcpInfo(&counted)), CLOSE_WAIT).received_bytes, 300);
        assert_eq!(
            flow(&Counts::from(TcpInfo(&information(400, 0, 1000, 0))), 1).sent_bytes,
            400,
            "not acknowledged yet"
        );
    }

    #[test]
    fn what_ended_in_order_received_a_fin() {
        let received = |acknowledged, accepted: bool| {
            ended_flow(TcpInfo(&information(acknowledged, 301, 1000, 0)), || accepted).received_bytes
        };
        assert_eq!(received(1002, false), 300, "it connected, and both ended");
        assert_eq!(received(1001, true), 300, "it was accepted, and both ended");
        assert_eq!(received(1001, false), 301, "it connected, and was reset");
        assert_eq!(received(1000, true), 301, "it was accepted, and was reset");
    }

    #[test]
    fn one_that_moved_nothing_was_never_quiet() {
        assert_eq!(flow(&Counts::from(TcpInfo(&information(1, 0, 0, 0))), 1).quiet_ms, u32::MAX);
    }

    #[test]
    fn unbound_and_unconnected_have_no_address() {
        let id = SocketId { family: AF_INET, ..SocketId::default() };
        assert_eq!((local_address(&id, None), peer_address(&id, false)), (Address::None, Address::None));
        let raw = local_address(&id, Some(1));
        assert_eq!(raw.as_bytes().get(..8), Some(&[2, 0, 0, 1, 0, 0, 0, 0][..]), "its protocol stands for the port");
    }
}
