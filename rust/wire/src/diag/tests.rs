#![allow(clippy::unwrap_used)]

use super::*;

/// What Linux 6.18 said, as `fuzz/corpus/diag` has it.
fn recorded(name: &str) -> Vec<u8> {
    std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/corpus/diag/").to_owned() + name).unwrap()
}

fn bodies(bytes: &[u8]) -> Vec<&[u8]> {
    let socket = |message| match message {
        Message::Socket { body, .. } => Some(body),
        _ => None,
    };
    messages(bytes).filter_map(socket).collect()
}

#[test]
fn nothing_is_no_message() {
    assert_eq!(messages(&[]).next(), None);
    assert_eq!(messages(&[16, 0, 0, 0, 20]).next(), None);
    // A length that is shorter than its own header would be read for ever.
    assert_eq!(messages(&[0; 64]).next(), None);
}

#[test]
fn a_dump_ends() {
    let bytes = recorded("tcp");
    assert_eq!(messages(&bytes).last(), Some(Message::Done));
    assert_eq!(messages(&bytes).filter(|message| *message == Message::Done).count(), 1);
}

#[test]
fn an_error_has_a_number() {
    let bytes = recorded("no-handler");
    // The kernel begins a dump, and only then finds that nobody answers.
    assert_eq!(messages(&bytes).next(), Some(Message::Answer(2)));
    let refused = [20_u32.to_ne_bytes(), [2, 0, 0, 0], [0; 4], [0; 4], (-1_i32).to_ne_bytes()].concat();
    assert_eq!(messages(&refused).next(), Some(Message::Answer(1)));
    let worst = [20_u32.to_ne_bytes(), [2, 0, 0, 0], [0; 4], [0; 4], i32::MIN.to_ne_bytes()].concat();
    assert_eq!(messages(&worst).next(), Some(Message::Answer(i32::MAX)));
}

#[test]
fn tcp_sockets_with_what_they_count() {
    let bytes = recorded("tcp");
    let sockets: Vec<_> = bodies(&bytes).into_iter().filter_map(inet).collect();
    let listener = sockets.iter().find(|socket| socket.state == 10).unwrap();
    assert_eq!((listener.id.family, &listener.id.local[..4], listener.send_queue), (2, &[127, 0, 0, 1][..], 5));
    assert_ne!((listener.inode, listener.id.cookie), (0, 0));
    assert_eq!(sockets.iter().filter(|socket| socket.state == 7).count(), 1, "bound, and not listening");
    let server =
        sockets.iter().find(|socket| socket.state == 1 && socket.id.local_port == listener.id.local_port).unwrap();
    let client = sockets.iter().find(|socket| socket.id.local_port == server.id.peer_port).unwrap();
    let (server, client) = (TcpInfo(server.information.unwrap()), TcpInfo(client.information.unwrap()));
    assert_eq!((server.received_bytes(), server.sent_bytes(), server.acknowledged_bytes()), (1000, Some(300), 300));
    // The SYN counts as a byte.
    assert_eq!((client.received_bytes(), client.sent_bytes(), client.acknowledged_bytes()), (300, Some(1000), 1001));
    assert_eq!((client.state(), client.retransmits(), client.sent_again_bytes()), (1, 0, 0));
    assert!(client.round_trip_us() > 0 && client.sent_segments() > 0 && client.received_segments() > 0);
}

#[test]
fn ipv6_sockets_and_their_only() {
    let bytes = recorded("udp6");
    let socket = inet(bodies(&bytes)[0]).unwrap();
    assert_eq!((socket.id.family, socket.id.local, socket.only_ipv6), (10, [0; 16], Some(false)));
    assert_eq!(socket.dropped, Some(0));
    let bytes = recorded("tcp6");
    let local = inet(bodies(&bytes)[0]).unwrap().id.local;
    assert_eq!(local, std::net::Ipv6Addr::LOCALHOST.octets());
}

#[test]
fn a_socket_that_ended() {
    let bytes = recorded("ended");
    let socket = inet(bodies(&bytes)[0]).unwrap();
    assert_eq!((socket.protocol, socket.state, socket.inode), (Some(6), 7, 0));
    assert_ne!(socket.id.cookie, 0);
    assert_eq!(TcpInfo(socket.information.unwrap()).sent_bytes(), Some(1000));
}

#[test]
fn unix_sockets_with_name_and_peer() {
    let bytes = recorded("unix");
    let sockets: Vec<_> = bodies(&bytes).into_iter().filter_map(unix).collect();
    let listener = sockets.iter().find(|socket| socket.state == 10).unwrap();
    assert_eq!((listener.name, listener.send_queue, listener.receive_queue), (&b"\0socketkit-recorded"[..], 3, 1));
    assert_eq!(listener.uid, Some(0));
    let pair: Vec<_> = sockets.iter().filter(|socket| socket.kind == 5).collect();
    assert_eq!((pair[0].peer, pair[1].peer), (pair[1].inode, pair[0].inode));
}

#[test]
fn packet_sockets_with_their_interface() {
    let bytes = recorded("packet");
    let socket = packet(bodies(&bytes)[0]).unwrap();
    assert_eq!((socket.kind, socket.protocol, socket.interface), (3, 0x88cc, 1));
    assert_ne!(socket.inode, 0);
}

#[test]
fn vsock_sockets() {
    let bytes = recorded("vsock");
    let socket = vsock(bodies(&bytes)[0]).unwrap();
    assert_eq!((socket.kind, socket.state, socket.inode), (1, 1, 4711));
    assert_eq!((socket.local, socket.peer, socket.cookie), ((3, 1024), (2, 5000), 1 << 32 | 7));
}

#[test]
fn what_is_cut_short_is_less() {
    for name in ["tcp", "unix", "packet", "vsock"] {
        let bytes = recorded(name);
        let all = bodies(&bytes).len();
        for end in 0..bytes.len() {
            assert!(bodies(&bytes[..end]).len() <= all);
            for body in bodies(&bytes) {
                let body = &body[..end.min(body.len())];
                assert!(
                    body.len() >= 16 || (unix(body), packet(body), vsock(body), inet(body)) == (None, None, None, None)
                );
            }
        }
    }
}

#[test]
fn an_old_kernel_tells_less() {
    let bytes = recorded("tcp");
    let socket = bodies(&bytes).into_iter().filter_map(inet).find(|socket| socket.state == 1).unwrap();
    let short = TcpInfo(&socket.information.unwrap()[..104]); // Linux 3.x
    assert_eq!((short.sent_bytes(), short.received_bytes(), short.sent_segments()), (None, 0, 0));
    assert!(short.round_trip_us() > 0);
    assert_eq!(TcpInfo(&[]).state(), 0);
}

#[test]
fn requests_have_their_length() {
    let id = SocketId { family: 2, local_port: 0x1234, cookie: 0x5_0000_0006, ..SocketId::default() };
    let requests =
        [inet_request(2, 6, EVERY_STATE), unix_request(), packet_request(), vsock_request(), id.destroy_request(6)];
    for (request, bytes) in requests.iter().zip([72, 40, 36, 40, 72]) {
        assert_eq!((request.len(), u32_at(request, 0)), (bytes, Some(bytes as u32)));
    }
    let destroy = &requests[4];
    assert_eq!((u16_at(destroy, 4), destroy[16], destroy[17]), (Some(SOCK_DESTROY), 2, 6));
    assert_eq!((&destroy[24..26], cookie_at(destroy, 64)), (&[0x12, 0x34][..], Some(0x5_0000_0006)));
    // Without a cookie any socket of this address is meant.
    assert_eq!(cookie_at(&SocketId::default().destroy_request(6), 64), Some(u64::MAX));
}
