#![allow(clippy::unwrap_used)]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use super::*;
use crate::admission::AdmissionLimits;
use crate::tls::tests::{client, key, server, Key};
use crate::tls::{Clients, Session};

const MARKS: WriteMarks = WriteMarks { high_bytes: 1000, low_bytes: 100 };

/// A lobby on loopback, whose loopback callers are strangers.
struct Inn {
    lobby: Lobby,
    port: u16,
    now: Instant,
    key: Key,
}

impl Inn {
    fn new(unproven: usize, tls: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let port = listener.local_addr().unwrap().port();
        let key = key();
        let house = House {
            carrier: Carrier::Tcp,
            marks: MARKS,
            tls: tls.then(|| server(&key, Clients::Asked)),
            handshake: Duration::from_secs(10),
            receive_buffer_bytes: 0,
            leaves_hellos: true,
        };
        let limits = AdmissionLimits {
            connections: 1000,
            unproven,
            source_connections: 1000,
            source_unproven: 1000,
            source_rate_per_second: 1000,
            source_burst: 1000,
            penalty: Duration::ZERO,
            penalty_most: Duration::ZERO,
            penalty_active: Duration::ZERO,
            penalty_sources: 10,
            trusted: Vec::new(),
        };
        let sources = vec![Source::Socket(Arc::new(listener.into()))];
        Self { lobby: Lobby::new(sources, house, Admission::new(limits)), port, now: Instant::now(), key }
    }

    fn call(&self) -> TcpStream {
        TcpStream::connect(("127.0.0.1", self.port)).unwrap()
    }

    /// Takes in whoever has called; who has arrived.
    fn take(&mut self) -> Vec<Arrival> {
        let mut arrived = Vec::new();
        for door in self.lobby.doors() {
            door.ready = true;
        }
        loop {
            match self.lobby.accept(self.now, &mut |_| true).unwrap() {
                Step::Arrived(arrival) => arrived.push(*arrival),
                Step::Newcomer(_) | Step::TurnedAway => {}
                _ => return arrived,
            }
        }
    }

    /// All newcomers are looked at.
    fn work(&mut self) {
        let places: Vec<_> = self.lobby.newcomers().map(|(place, _)| place).collect();
        for place in places {
            self.lobby.news(place, Readiness { readable: true, writable: true, to_the_end: false });
        }
        while self.lobby.work(self.now, 16) {}
    }

    fn waiting(&self) -> usize {
        self.lobby.newcomers().count()
    }

    fn hello(&self) -> Vec<u8> {
        let mut session = Session::client(&client(&self.key, None), "localhost").unwrap();
        let mut hello = Vec::new();
        session.open(&mut [], &mut |_| {}, &mut hello).unwrap();
        hello
    }
}

/// A whole handshake by the caller, until the inn has nothing more to say.
fn shake(inn: &mut Inn, caller: &mut TcpStream) {
    caller.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    let mut session = Session::client(&client(&inn.key, None), "localhost").unwrap();
    let mut said = Vec::new();
    session.open(&mut [], &mut |_| {}, &mut said).unwrap();
    let mut buffer = vec![0; 2 * crate::tls::BUFFER_BYTES];
    loop {
        caller.write_all(&std::mem::take(&mut said)).unwrap();
        inn.work();
        let rest = session.put_rest(&mut buffer);
        let Ok(count) = caller.read(&mut buffer[rest..]) else { break };
        session.open(&mut buffer[..rest + count], &mut |_| {}, &mut said).unwrap();
    }
    assert!(!session.handshaking());
}

#[test]
fn without_tls_a_caller_has_arrived() {
    let mut inn = Inn::new(100, false);
    let _callers: Vec<_> = (0..3).map(|_| inn.call()).collect();
    assert_eq!((inn.take().len(), inn.waiting()), (3, 0));
}

#[test]
fn a_stalled_hello_keeps_no_memory() {
    let mut inn = Inn::new(100, true);
    let mut caller = inn.call();
    let hello = inn.hello();
    caller.write_all(&hello[..hello.len() - 1]).unwrap();
    assert!(inn.take().is_empty());
    for _ in 0..3 {
        inn.work();
        let (_, stream) = inn.lobby.newcomers().next().unwrap();
        assert!(stream.session().is_none() && stream.queued_bytes() == 0 && stream.wire_bytes() == (0, 0));
    }
    caller.write_all(&hello[hello.len() - 1..]).unwrap();
    inn.work();
    let (_, stream) = inn.lobby.newcomers().next().unwrap();
    assert!(stream.session().is_some());
}

#[test]
fn who_has_proved_himself_arrives() {
    let mut inn = Inn::new(100, true);
    let mut caller = inn.call();
    inn.take();
    shake(&mut inn, &mut caller);
    assert!(inn.lobby.has_arrivals());
    let arrived = inn.take();
    assert_eq!((arrived.len(), inn.waiting()), (1, 0));
    assert!(arrived[0].stream.session().is_some_and(|session| !session.handshaking()));
}

#[test]
fn what_is_no_hello_is_an_offence_and_a_hang_up_is_none() {
    let mut inn = Inn::new(100, true);
    let (mut wrong, gone) = (inn.call(), inn.call());
    wrong.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    inn.take();
    drop(gone);
    inn.work();
    assert_eq!(inn.waiting(), 0);
    assert_eq!(refused(&inn), 1);
    assert_eq!((inn.lobby.seen().open(), inn.lobby.seen().unproven()), (0, 0));
}

#[test]
fn whoever_stays_too_long_goes_in_the_order_of_coming() {
    let mut inn = Inn::new(100, true);
    let mut first = inn.call();
    inn.take();
    inn.now += Duration::from_secs(6);
    let _second = inn.call();
    inn.take();
    assert_eq!(inn.lobby.due(), inn.now.checked_add(Duration::from_secs(4)));
    inn.now += Duration::from_secs(4);
    inn.lobby.expire(inn.now);
    assert_eq!((inn.waiting(), refused(&inn)), (1, 1));
    assert_eq!(first.read(&mut [0; 10]).unwrap(), 0, "the first one is told");
    inn.now += Duration::from_secs(6);
    inn.lobby.expire(inn.now);
    assert_eq!((inn.waiting(), refused(&inn), inn.lobby.due()), (0, 2, None));
}

#[test]
fn the_oldest_makes_room_for_the_newest() {
    let mut inn = Inn::new(2, true);
    let mut callers = Vec::new();
    for _ in 0..4 {
        callers.push(inn.call());
        inn.take();
    }
    assert_eq!(inn.waiting(), 2);
    for (number, caller) in callers.iter_mut().enumerate() {
        caller.set_nonblocking(true).unwrap();
        let outcome = caller.read(&mut [0; 10]).unwrap_err().kind();
        let reset = outcome == std::io::ErrorKind::ConnectionReset;
        assert_eq!(reset, number < 2, "{number}: {outcome}");
    }
}

#[test]
fn nobody_is_accepted_while_too_many_wait_to_be_taken() {
    let mut inn = Inn::new(1000, true);
    let mut callers: Vec<_> = (0..ARRIVALS).map(|_| inn.call()).collect();
    inn.take();
    for caller in &mut callers {
        shake(&mut inn, caller);
    }
    let _late = inn.call();
    for door in inn.lobby.doors() {
        door.ready = true;
    }
    assert_eq!((inn.lobby.arrivals.len(), inn.waiting()), (ARRIVALS, 0));
    let first = inn.lobby.accept(inn.now, &mut |_| true).unwrap();
    assert!(matches!(first, Step::Arrived(_)));
    assert_eq!(inn.lobby.arrivals.len(), ARRIVALS - 1);
}

#[test]
fn shut_lets_everybody_go() {
    let mut inn = Inn::new(100, true);
    let (mut arrived, mut stalled) = (inn.call(), inn.call());
    inn.take();
    shake(&mut inn, &mut arrived);
    assert_eq!(inn.lobby.shut().len(), 1);
    assert_eq!((inn.lobby.seen().open(), inn.lobby.seen().unproven(), inn.waiting()), (0, 0, 0));
    assert!(!inn.lobby.has_arrivals() && inn.lobby.due().is_none());
    assert_eq!(stalled.read(&mut [0; 10]).unwrap_or(0), 0);
    assert!(arrived.read(&mut [0; 10]).is_err(), "it is reset");
}

fn refused(inn: &Inn) -> u64 {
    let counters = inn.lobby.seen().counters();
    let found = counters.iter().find(|(name, _)| *name == "refused_handshake").map(|(_, count)| count);
    found.unwrap()
}
