#![allow(clippy::unwrap_used)]
use std::sync::Arc;

use rustix::net::{socketpair, AddressFamily, SocketFlags, SocketType};

use super::*;
use crate::stream::{Carrier, WriteMarks};
use crate::tls::tests::{client, in_fragments, key, server, with_tickets};
use crate::tls::Clients;

const MARKS: WriteMarks = WriteMarks { high_bytes: 1000, low_bytes: 100 };

fn pair() -> (Stream, Stream) {
    let (a, b) = socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::NONBLOCK, None).unwrap();
    (Stream::new(a, Carrier::Unix, MARKS), Stream::new(b, Carrier::Unix, MARKS))
}

fn news(stream: &mut Stream) {
    stream.ready(crate::reactor::Readiness { readable: true, writable: true, to_the_end: false });
    drop(stream.flush());
}

fn shake(ours: &mut Stream, theirs: &mut Stream) {
    for _ in 0..100 {
        news(ours);
        news(theirs);
        let both = (ours.shake().unwrap(), theirs.shake().unwrap());
        if both == (Shaken::Done, Shaken::Done) {
            return;
        }
    }
    panic!("no end of the handshake");
}

#[test]
fn tickets_without_end_are_a_fault_in_bounded_memory() {
    let yours = key();
    let (mut ours, mut theirs) = pair();
    let server = with_tickets(&server(&yours, Clients::Unasked), 8000);
    ours.start_tls(Session::client(&client(&yours, None), "localhost").unwrap()).unwrap();
    theirs.start_tls(Session::server(&server).unwrap()).unwrap();
    shake(&mut ours, &mut theirs);
    let mut into = [0; 100];
    while let Ok(got) = ours.receive(&mut into) {
        assert_eq!(got, Received::Blocked);
        assert!(ours.queued_bytes() < 256 * 1024);
        news(&mut theirs);
        news(&mut ours);
    }
    assert!(matches!(ours.fault(), Some(Fault::Violation(_))), "{:?}", ours.fault());
}

#[test]
fn plaintext_behind_a_message_in_parts_is_whole() {
    let yours = key();
    let (mut ours, mut theirs) = pair();
    let server = in_fragments(&server(&yours, Clients::Unasked), 64);
    ours.start_tls(Session::client(&client(&yours, None), "localhost").unwrap()).unwrap();
    theirs.start_tls(Session::server(&server).unwrap()).unwrap();
    shake(&mut ours, &mut theirs);
    theirs.send(&[5; 1000], || Box::new(Vec::new())).unwrap();
    theirs.finish_sending();
    news(&mut ours);
    let mut got = Vec::new();
    loop {
        let mut into = [0; 300];
        match ours.receive(&mut into).unwrap() {
            Received::Data(count) => got.extend_from_slice(&into[..count]),
            Received::End => break,
            Received::Blocked => news(&mut ours),
        }
    }
    assert_eq!(got, [5; 1000]);
    assert_eq!((ours.received_bytes(), theirs.sent_bytes()), (1000, 1000));
}

#[test]
fn an_end_without_notice_is_told_after_what_came() {
    let yours = key();
    let (mut ours, mut theirs) = pair();
    ours.start_tls(Session::client(&client(&yours, None), "localhost").unwrap()).unwrap();
    theirs.start_tls(Session::server(&server(&yours, Clients::Unasked)).unwrap()).unwrap();
    shake(&mut ours, &mut theirs);
    theirs.send(b"last", || Box::new(Vec::new())).unwrap();
    let fd = Arc::clone(theirs.fd());
    rustix::net::shutdown(&fd, rustix::net::Shutdown::Write).unwrap();
    let mut into = [0; 300];
    news(&mut ours);
    assert_eq!(ours.receive(&mut into), Ok(Received::Data(4)));
    for _ in 0..2 {
        news(&mut ours);
        assert_eq!(ours.receive(&mut into), Err(Errno::PROTO));
        assert!(matches!(ours.fault(), Some(Fault::Truncated)));
    }
}
