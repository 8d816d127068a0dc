//! Against the kernel, over loopback.
#![allow(clippy::unwrap_used)]

use std::net::UdpSocket;
use std::os::fd::AsFd;
use std::os::unix::net::UnixDatagram;

use super::*;

fn name(address: std::net::SocketAddr) -> Name {
    let std::net::SocketAddr::V4(v4) = address else { panic!("IPv4 only") };
    let mut raw = vec![libc::AF_INET as u8, 0];
    raw.extend(v4.port().to_be_bytes());
    raw.extend(v4.ip().octets());
    raw.extend([0; 8]);
    Name::new(&raw).unwrap()
}

fn pair() -> (UdpSocket, UdpSocket) {
    let (a, b) = (UdpSocket::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
    (a, b)
}

#[test]
fn many_go_and_come_in_one_call_with_their_sender() {
    let (a, b) = pair();
    let to = name(b.local_addr().unwrap());
    let messages: Vec<Vec<u8>> = (0..5_u8).map(|number| vec![number; usize::from(number) * 100]).collect();
    let from = Local::new([127, 0, 0, 1].into(), 0);
    let mut outgoing = Outgoing::with_capacity(1);
    for (number, message) in messages.iter().enumerate() {
        let from = (number % 2 == 1).then_some(&from);
        outgoing.add([message.as_slice()].into_iter(), Some(&to), from, None);
    }
    assert_eq!(outgoing.send(a.as_fd()), Ok(5));
    let mut batch = Batch::new(8, 65_536).unwrap();
    assert_eq!(batch.receive(b.as_fd(), 8, true), Ok(5));
    for (slot, sent) in messages.iter().enumerate() {
        let message = batch.message(slot);
        assert_eq!(message.data, sent.as_slice());
        assert_eq!(message.from, name(a.local_addr().unwrap()).bytes());
        assert!(!message.truncated && !message.is_marked());
    }
    assert_eq!(batch.receive(b.as_fd(), 8, true), Err(Errno::AGAIN));
}

#[test]
fn a_cut_one_says_so() {
    let (a, b) = pair();
    a.send_to(&[7; 100], b.local_addr().unwrap()).unwrap();
    let mut batch = Batch::new(1, 50).unwrap();
    assert_eq!(batch.receive(b.as_fd(), 1, true), Ok(1));
    let message = batch.message(0);
    assert!(message.truncated && message.data == [7; 50]);
}

#[test]
fn a_run_of_equal_ones_is_one_call_and_arrives_as_many() {
    let (a, b) = pair();
    let to = name(b.local_addr().unwrap());
    let parts = [[1_u8; 700].as_slice(), &[2; 700], &[3; 10]];
    let mut run = Outgoing::with_capacity(1);
    run.add(parts.into_iter(), Some(&to), None, Some(700));
    assert_eq!(run.send(a.as_fd()), Ok(1));
    let mut batch = Batch::new(4, 65_536).unwrap();
    assert_eq!(batch.receive(b.as_fd(), 4, true), Ok(3));
    assert_eq!([0, 1, 2].map(|slot| batch.message(slot).data.len()), [700, 700, 10]);
}

#[test]
fn what_is_taken_stays_as_it_is() {
    let (a, b) = pair();
    let mut batch = Batch::new(2, 1000).unwrap();
    let mut taken = Vec::new();
    for round in 0..40_u8 {
        a.send_to(&[round; 100], b.local_addr().unwrap()).unwrap();
        assert_eq!(batch.receive(b.as_fd(), 2, true), Ok(1));
        let length = batch.message(0).data.len();
        taken.push(batch.take(0, length).unwrap());
        if round % 2 == 1 {
            taken.remove(0); // whose memory is used again
        }
    }
    let kept: Vec<&[u8]> = taken.iter().map(Taken::bytes).collect();
    assert_eq!(kept, (20..40).map(|round| [round; 100]).collect::<Vec<_>>());
}

#[test]
fn what_the_kernel_knows_comes_with_it() {
    let (a, b) = pair();
    for (level, option) in [
        (libc::IPPROTO_IP, libc::IP_PKTINFO),
        (libc::IPPROTO_IP, libc::IP_RECVTOS),
        (libc::SOL_SOCKET, libc::SO_TIMESTAMPNS),
    ] {
        let one: libc::c_int = 1;
        // SAFETY: an int option of a live socket.
        let set = unsafe { libc::setsockopt(b.as_raw_fd(), level, option, (&raw const one).cast(), 4) };
        assert_eq!(set, 0);
    }
    a.send_to(b"x", b.local_addr().unwrap()).unwrap();
    let mut batch = Batch::new(1, 100).unwrap();
    batch.receive(b.as_fd(), 1, true).unwrap();
    let marks = batch.message(0).marks();
    assert_eq!(marks.local.map(|local| local.address.to_string()).as_deref(), Some("127.0.0.1"));
    assert!(marks.timestamp_ns.unwrap() > 1_700_000_000_000_000_000);
    assert_eq!(marks.ecn, 0);
}

#[test]
fn what_was_sent_to_a_group_is_answered_from_ones_own_address() {
    for (sent_to, own) in [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8::1", "2001:db8::1"),
        ("fe80::1", "fe80::1"),
        ("239.1.2.3", "0.0.0.0"),
        ("ff15::1", "::"),
        ("::ffff:239.1.2.3", "::ffff:0.0.0.0"),
    ] {
        let local = Local::new(sent_to.parse().unwrap(), 3);
        assert_eq!((local.address.to_string().as_str(), local.own.to_string().as_str()), (sent_to, own));
    }
}

#[test]
fn descriptors_travel_with_a_unix_message() {
    let (a, b) = UnixDatagram::pair().unwrap();
    send_one(a.as_fd(), b"look", None, None, &[a.as_fd(), b.as_fd()]).unwrap();
    let mut batch = Batch::new(2, 4096).unwrap();
    assert_eq!(batch.receive(b.as_fd(), 2, true), Ok(1));
    let message = batch.message(0);
    assert_eq!(message.data, b"look");
    assert_eq!(message.marks().descriptors.len(), 2);
}

#[test]
fn an_unreachable_port_is_told_with_who_was_meant() {
    let (a, b) = pair();
    let gone = b.local_addr().unwrap();
    drop(b);
    let one: libc::c_int = 1;
    // SAFETY: an int option of a live socket.
    unsafe { libc::setsockopt(a.as_raw_fd(), libc::IPPROTO_IP, libc::IP_RECVERR, (&raw const one).cast(), 4) };
    send_one(a.as_fd(), b"anybody?", Some(&name(gone)), None, &[]).unwrap();
    let found = faults(a.as_fd(), 8);
    assert_eq!(found.len(), 1);
    assert_eq!(
        (found[0].errno, found[0].origin, found[0].kind, found[0].code),
        (libc::ECONNREFUSED, Origin::Icmp, 3, 3)
    );
    assert_eq!(found[0].to.unwrap(), name(gone));
    assert!(faults(a.as_fd(), 8).is_empty());
}

#[test]
fn losses_are_counted() {
    let (a, b) = pair();
    let size: libc::c_int = 2048;
    // SAFETY: an int option of a live socket.
    unsafe { libc::setsockopt(b.as_raw_fd(), libc::SOL_SOCKET, libc::SO_RCVBUF, (&raw const size).cast(), 4) };
    for _ in 0..100 {
        a.send_to(&[0; 500], b.local_addr().unwrap()).unwrap();
    }
    let mut batch = Batch::new(64, 1000).unwrap();
    let mut got = 0;
    while let Ok(count) = batch.receive(b.as_fd(), 64, true) {
        got += count;
        (0..count).for_each(|slot| assert_eq!(batch.message(slot).data.len(), 500));
    }
    assert_eq!(dropped(b.as_fd()) + got as u64, 100);
}
