//! What sock_diag says: no bytes make a parser read beyond them, and what follows a message changes nothing in it.

use socketkit_wire::diag::{inet, messages, packet, unix, vsock, Message, TcpInfo};
use socketkit_wire::proc_net;

pub fn check(data: &[u8]) {
    let all: Vec<Message<'_>> = messages(data).collect();
    // Each has a header of sixteen bytes.
    assert!(all.len() <= data.len() / 16);
    for cut in [data.len() / 3, data.len() / 2] {
        let some: Vec<Message<'_>> = messages(&data[..cut]).collect();
        assert_eq!(some[..], all[..some.len()]);
    }
    for message in &all {
        match message {
            Message::Socket { body, .. } => check_body(body),
            Message::Answer(_) | Message::Done | Message::Other => {}
        }
    }
    // Bytes that no kernel sent: bodies without a header.
    check_body(data);
    for line in data.split(|&byte| byte == b'\n') {
        if let Some(line) = proc_net::line(line) {
            assert!(matches!(line.id.family, 2 | 10));
        }
    }
}

fn check_body(body: &[u8]) {
    assert_eq!(inet(body).is_some(), body.len() >= 72);
    assert_eq!(unix(body).is_some(), body.len() >= 16);
    assert_eq!(packet(body).is_some(), body.len() >= 16);
    assert_eq!(vsock(body).is_some(), body.len() >= 32);
    if let Some(socket) = inet(body) {
        let information = TcpInfo(socket.information.unwrap_or_default());
        // A later kernel adds to the end, and what was there before stays.
        let longer = [information.0, &[0xff; 8]].concat();
        if let Some(sent) = information.sent_bytes() {
            assert_eq!(TcpInfo(&longer).sent_bytes(), Some(sent));
        }
        assert!(information.0.len() >= 72 || information.round_trip_us() == 0);
    }
    if let Some(socket) = unix(body) {
        assert!(socket.name.len() <= body.len());
    }
}
