#![allow(clippy::unwrap_used)]
use super::*;
use std::os::fd::AsFd;

use rustix::net::{socketpair, AddressFamily, SocketFlags, SocketType};

const MARKS: WriteMarks = WriteMarks { high_bytes: 1000, low_bytes: 100 };

fn pair() -> (Stream, Stream) {
    let (a, b) = socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::NONBLOCK, None).unwrap();
    (Stream::new(a, Carrier::Unix, MARKS), Stream::new(b, Carrier::Unix, MARKS))
}

fn chunk(data: &[u8]) -> Chunk {
    Box::new(data.to_vec())
}

fn all_ready() -> Readiness {
    Readiness { readable: true, writable: true, to_the_end: false }
}

#[test]
fn a_reset_is_told_again_and_again() {
    let (mut ours, mut theirs) = pair();
    theirs.send(b"before", || chunk(b"before")).unwrap();
    ours.send(b"unread", || chunk(b"unread")).unwrap();
    drop(theirs);
    let mut into = [0; 100];
    assert_eq!(ours.receive(&mut into), Ok(Received::Data(6)));
    for _ in 0..3 {
        ours.ready(all_ready());
        assert_eq!(ours.receive(&mut into), Err(Errno::CONNRESET));
        assert!(ours.readable());
    }
}

#[test]
fn send_takes_all_or_nothing() {
    let (mut ours, mut theirs) = pair();
    let big = vec![5_u8; 3_000_000];
    assert_eq!(ours.send(&big, || chunk(&big)), Ok(Sent::Taken));
    assert!(!ours.flushed());
    assert_eq!(ours.send(b"x", || chunk(b"x")), Ok(Sent::Blocked));
    let mut scratch = vec![0; 65536];
    let mut received = 0;
    while received < big.len() {
        theirs.ready(all_ready());
        if let Received::Data(count) = theirs.receive(&mut scratch).unwrap() {
            received += count;
        }
        ours.ready(all_ready());
        ours.flush();
    }
    assert!(ours.has_room() && ours.flushed());
    assert_eq!(ours.sent_bytes(), 3_000_000);
    assert_eq!(theirs.receive(&mut scratch), Ok(Received::Blocked));
}

#[test]
fn a_short_read_blocks_until_news() {
    let (mut ours, mut theirs) = pair();
    let mut scratch = [0; 100];
    ours.send(b"one", || chunk(b"one")).unwrap();
    assert_eq!(theirs.receive(&mut scratch), Ok(Received::Data(3)));
    ours.send(b"two", || chunk(b"two")).unwrap();
    assert_eq!(theirs.receive(&mut scratch), Ok(Received::Blocked));
    theirs.ready(all_ready());
    assert_eq!(theirs.receive(&mut scratch), Ok(Received::Data(3)));
}

#[test]
fn the_end_comes_behind_what_is_queued() {
    let (mut ours, mut theirs) = pair();
    let big = vec![5_u8; 1_000_000];
    ours.send(&big, || chunk(&big)).unwrap();
    ours.finish_sending();
    let mut scratch = vec![0; 65536];
    let mut received = 0;
    loop {
        theirs.ready(all_ready());
        match theirs.receive(&mut scratch).unwrap() {
            Received::Data(count) => received += count,
            Received::End => break,
            Received::Blocked => {
                ours.ready(all_ready());
                ours.flush();
            }
        }
    }
    assert_eq!(received, big.len());
    assert_eq!(theirs.receive(&mut scratch), Ok(Received::End));
}

#[test]
fn an_end_announced_with_data_is_not_missed() {
    let (mut ours, mut theirs) = pair();
    ours.send(b"last", || chunk(b"last")).unwrap();
    drop(ours);
    theirs.ready(Readiness { readable: true, writable: true, to_the_end: true });
    let mut scratch = [0; 100];
    assert_eq!(theirs.receive(&mut scratch), Ok(Received::Data(4)));
    assert_eq!(theirs.receive(&mut scratch), Ok(Received::End));
}

#[test]
fn bytes_behind_descriptors_are_not_missed() {
    let (mut ours, mut theirs) = pair();
    let extra = rustix::event::eventfd(0, rustix::event::EventfdFlags::CLOEXEC).unwrap();
    ours.send_descriptors(b"with", &[extra.as_fd()], || chunk(b"with")).unwrap();
    ours.send(b"more", || chunk(b"more")).unwrap();
    let mut scratch = [0; 100];
    let (got, descriptors) = theirs.receive_descriptors(&mut scratch).unwrap();
    assert_eq!((got, descriptors.len()), (Received::Data(4), 1));
    assert_eq!(theirs.receive(&mut scratch), Ok(Received::Data(4)));
}

#[test]
fn descriptors_survive_being_read_into_the_inbox() {
    let (mut ours, mut theirs) = pair();
    let extra = rustix::event::eventfd(0, rustix::event::EventfdFlags::CLOEXEC).unwrap();
    ours.send_descriptors(b"with", &[extra.as_fd()], || chunk(b"with")).unwrap();
    let mut scratch = [0; 100];
    assert_eq!(theirs.fill(&mut scratch), Ok(Received::Data(4)));
    let (got, descriptors) = theirs.receive_descriptors(&mut scratch).unwrap();
    assert_eq!((got, descriptors.len()), (Received::Data(4), 1));
}

#[test]
fn a_vanished_peer_fails_the_send_and_keeps_what_came() {
    let (mut ours, mut theirs) = pair();
    theirs.send(b"bye", || chunk(b"bye")).unwrap();
    drop(theirs);
    assert_eq!(ours.send(b"x", || chunk(b"x")), Err(Errno::PIPE));
    let mut scratch = [0; 100];
    assert_eq!(ours.receive(&mut scratch), Ok(Received::Data(3)));
}

/// Over TCP: there what is read goes straight to where it stays.
fn tcp_pair() -> (Stream, Stream) {
    let door = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let ours = std::net::TcpStream::connect(door.local_addr().unwrap()).unwrap();
    let (theirs, _) = door.accept().unwrap();
    let stream = |socket: std::net::TcpStream| {
        socket.set_nonblocking(true).unwrap();
        Stream::new(socket.into(), Carrier::Tcp, MARKS)
    };
    (stream(ours), stream(theirs))
}

#[test]
fn gather_puts_what_was_read_before_in_front() {
    for (mut ours, mut theirs) in [pair(), tcp_pair()] {
        let mut into = [0; 100];
        assert_eq!(ours.gather(&mut into), Ok(Received::Blocked));
        assert_eq!(ours.gather(&mut into), Ok(Received::Blocked), "without asking the kernel");
        ours.inbox().push(b"early ");
        theirs.send(b"late", || chunk(b"late")).unwrap();
        ours.ready(all_ready());
        assert_eq!(ours.gather(&mut into), Ok(Received::Data(10)));
        assert_eq!(&into[..10], b"early late");
        assert!(ours.inbox().is_empty());
        ours.inbox().push(b"kept");
        assert_eq!(ours.gather(&mut into), Ok(Received::Blocked));
        theirs.finish_sending();
        ours.ready(all_ready());
        assert_eq!(ours.gather(&mut into), Ok(Received::End));
        assert_eq!(ours.inbox().bytes(), b"kept");
    }
}

#[test]
fn a_long_message_is_read_to_where_it_stays() {
    for (mut ours, mut theirs) in [pair(), tcp_pair()] {
        let long = vec![7; 100_000];
        let mut scratch = [0; 4096];
        ours.inbox().push(&long[..10]);
        theirs.send(&long[10..], || chunk(&long[10..])).unwrap();
        while ours.inbox().len() < long.len() {
            drop(theirs.flush());
            ours.ready(all_ready());
            theirs.ready(all_ready());
            let missing = long.len() - ours.inbox().len();
            assert_ne!(ours.fill_message(missing, &mut scratch), Ok(Received::End));
        }
        assert_eq!(ours.inbox().bytes(), long);
    }
}

#[test]
fn what_belongs_behind_waits_for_no_room() {
    let (mut ours, mut theirs) = pair();
    let big = vec![5_u8; 3_000_000];
    assert_eq!(ours.send(&big, || chunk(&big)), Ok(Sent::Taken));
    ours.send_behind(b"last", || chunk(b"last"));
    assert!(!ours.has_room());
    assert_eq!(ours.send(b"x", || chunk(b"x")), Ok(Sent::Blocked));
    ours.finish_sending();
    let mut scratch = vec![0; 65536];
    let mut received = Vec::new();
    loop {
        ours.ready(all_ready());
        drop(ours.flush());
        theirs.ready(all_ready());
        match theirs.receive(&mut scratch).unwrap() {
            Received::Data(count) => received.extend_from_slice(&scratch[..count]),
            Received::End => break,
            Received::Blocked => {}
        }
    }
    assert_eq!((received.len(), &received[big.len()..]), (big.len() + 4, b"last".as_slice()));
    ours.send_behind(b"too late", || chunk(b"too late"));
    assert_ne!(ours.send_failure(), None);
}
