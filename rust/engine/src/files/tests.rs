#![allow(clippy::unwrap_used)]
use std::fs::File;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use rustix::event::{eventfd, EventfdFlags};

use super::*;

const LIMIT: u32 = 131_072;
const LENGTH: usize = 30_000_000;

/// A connection whose one end is sent over, and a descriptor that tells of it.
struct Line {
    ours: Arc<OwnedFd>,
    theirs: TcpStream,
    notify: Arc<OwnedFd>,
}

impl Line {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let theirs = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let ours = listener.accept().unwrap().0;
        ours.set_nonblocking(true).unwrap();
        theirs.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        assert!(buffers::set_ahead_bytes(ours.as_fd(), LIMIT));
        let notify = Arc::new(eventfd(0, EventfdFlags::CLOEXEC).unwrap());
        Self { ours: Arc::new(ours.into()), theirs, notify }
    }

    fn sends(&self, thread: &Thread, part: Part) -> Sending {
        thread.send(Arc::clone(&self.ours), part, Arc::clone(&self.notify)).unwrap()
    }

    fn told(&self) {
        let mut asked = [PollFd::new(&self.notify, PollFlags::IN)];
        assert_eq!(poll(&mut asked, Some(&Timespec { tv_sec: 20, tv_nsec: 0 })), Ok(1));
    }

    fn is_as_before(&self) {
        assert_eq!(buffers::ahead_bytes(self.ours.as_fd()), Some(LIMIT));
        assert_eq!(sockopt::tcp_cork(&self.ours), Ok(false));
    }
}

fn content() -> Vec<u8> {
    (0..LENGTH).map(|n| (n % 251) as u8).collect()
}

fn file(content: &[u8]) -> Part {
    let made = rustix::fs::memfd_create("content", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
    let mut file = File::from(made);
    file.write_all(content).unwrap();
    Part { file: Arc::new(file.into()), offset: 0, count: content.len() as u64 }
}

#[test]
fn a_part_of_a_file_arrives_whole_and_in_order() {
    let (thread, content, mut line) = (Thread::start().unwrap(), content(), Line::new());
    let sending = line.sends(&thread, Part { offset: 7, count: LENGTH as u64 - 10, ..file(&content) });
    let mut got = vec![0; LENGTH - 10];
    line.theirs.read_exact(&mut got).unwrap();
    assert!(got == content[7..LENGTH - 3]);
    line.told();
    assert!(sending.over());
    assert_eq!(sending.sent_bytes(), got.len() as u64);
    line.is_as_before();
}

#[test]
fn nothing_is_sent_of_what_was_taken_back() {
    let (thread, content, mut line) = (Thread::start().unwrap(), content(), Line::new());
    let sending = line.sends(&thread, file(&content));
    let mut got = vec![0; LENGTH / 2];
    line.theirs.read_exact(&mut got).unwrap();
    sending.end();
    let sent = sending.sent_bytes() as usize;
    line.is_as_before();
    rustix::net::shutdown(&line.ours, rustix::net::Shutdown::Write).unwrap();
    line.theirs.read_to_end(&mut got).unwrap();
    assert_eq!(got.len(), sent);
    assert!(got == content[..sent]);
    assert_eq!(Arc::strong_count(&line.ours), 1);
}

#[test]
fn one_that_does_not_read_costs_what_he_did_and_keeps_nobody_waiting() {
    let (thread, content) = (Thread::start().unwrap(), content());
    let (idle, mut busy) = (Line::new(), [Line::new(), Line::new()]);
    let waiting = idle.sends(&thread, file(&content));
    let sending: Vec<_> = busy.iter().map(|line| line.sends(&thread, file(&content))).collect();
    for line in &mut busy {
        let mut got = vec![0; LENGTH];
        line.theirs.read_exact(&mut got).unwrap();
        assert!(got == content);
        line.told();
    }
    assert!(sending.iter().all(Sending::over));
    assert!(!waiting.over());
    assert_eq!(buffers::ahead_bytes(idle.ours.as_fd()), Some(LIMIT));
    drop(waiting);
    idle.is_as_before();
}

#[test]
fn the_end_of_the_file_and_of_the_connection_are_told() {
    let (thread, content) = (Thread::start().unwrap(), content());
    let (mut short, broken) = (Line::new(), Line::new());
    let sending = short.sends(&thread, Part { count: u64::MAX, ..file(&content) });
    let cut = broken.sends(&thread, file(&content));
    broken.theirs.shutdown(std::net::Shutdown::Both).unwrap();
    broken.told();
    assert!(cut.over());
    short.theirs.read_exact(&mut vec![0; LENGTH]).unwrap();
    short.told();
    assert!(sending.over());
    assert_eq!(sending.sent_bytes(), LENGTH as u64);
}
