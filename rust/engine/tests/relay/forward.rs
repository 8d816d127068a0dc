//! Accepting, dialling and relaying.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{sockopt, AddressFamily, SocketAddrUnix, SocketType};
use rustix::process::{getrlimit, setrlimit, Resource, Rlimit};
use socketkit_engine::relay::{Forward, Target};

use crate::support::*;

/// Echoes `connections` connections, a thread each, then ends.
fn echo(connections: usize) -> (Target, thread::JoinHandle<()>) {
    let (listener, address) = listener();
    let server = thread::spawn(move || {
        let threads: Vec<_> = (0..connections)
            .map(|_| {
                let mut stream = listener.accept().unwrap().0;
                thread::spawn(move || {
                    let data = read_all(&mut stream);
                    stream.write_all(&data).unwrap();
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
    (Target::Tcp(address), server)
}

#[test]
fn two_hundred_connections_are_forwarded() {
    isolated(|bench| {
        let (listener, address) = listener();
        let (target, server) = echo(200);
        let job = bench.forward(listener, vec![target], 1000);
        let clients: Vec<_> = (0..200u32).map(|number| (number, client(address))).collect();
        for (number, stream) in &clients {
            (&*stream).write_all(&number.to_ne_bytes()).unwrap();
            stream.finish();
        }
        for (number, mut stream) in clients {
            assert_eq!(read_all(&mut stream), number.to_ne_bytes());
        }
        server.join().unwrap();
        eventually("all closed", || job.counters().active() == 0);
        let counters = job.counters();
        assert_eq!((counters.accepted(), counters.failed(), counters.broken()), (200, 0, 0));
        assert_eq!((counters.progress().a_to_b(), counters.progress().b_to_a()), (800, 800));
        assert!(!job.done());
        bench.thread().stop_forward(&job, Duration::ZERO);
        bench.wait(|| job.done());
    });
}

#[test]
fn accepted_sockets_do_not_wait_for_nagle() {
    isolated(|_| {
        let (listener, address) = listener();
        sockopt::set_tcp_nodelay(&listener, true).unwrap();
        let client = client(address);
        assert!(sockopt::tcp_nodelay(listener.accept().unwrap().0).unwrap());
        drop((listener, client));
    });
}

#[test]
fn the_next_target_is_tried_and_unix_is_one() {
    isolated(|bench| {
        let name =
            SocketAddrUnix::new_abstract_name(format!("socketkit-relay-{}", std::process::id()).as_bytes()).unwrap();
        let unix = std::os::unix::net::SocketAddr::from_abstract_name(name.abstract_name().unwrap()).unwrap();
        let server = UnixListener::bind_addr(&unix).unwrap();
        let (listener, address) = listener();
        let gone = Target::Unix(SocketAddrUnix::new("/nonexistent/socket").unwrap());
        let job = bench.forward(listener, vec![refused(), gone, Target::Unix(name)], 10);
        let mut client = client(address);
        client.write_all(b"hello").unwrap();
        let mut accepted = server.accept().unwrap().0;
        assert_eq!(read_exactly(&mut accepted, 5), b"hello");
        drop(accepted);
        assert_eq!(read_all(&mut client), b"");
        drop(client);
        assert_eq!((job.counters().failed(), job.counters().last_error()), (0, Some(Errno::NOENT)));
        bench.thread().stop_forward(&job, PATIENCE);
        bench.wait(|| job.done());
    });
}

#[test]
fn callers_are_reset_when_every_target_refuses() {
    isolated(|bench| {
        let (listener, address) = listener();
        let job = bench.forward(listener, vec![refused(), refused()], 10);
        for _ in 0..20 {
            assert_eq!(client(address).read(&mut [0; 1]).unwrap_err().kind(), ErrorKind::ConnectionReset);
        }
        assert_eq!((job.counters().accepted(), job.counters().failed(), job.counters().active()), (20, 20, 0));
        assert_eq!(job.counters().last_error(), Some(Errno::CONNREFUSED));
        bench.thread().stop_forward(&job, Duration::ZERO);
        bench.wait(|| job.done());
    });
}

#[test]
fn a_target_that_does_not_answer_is_given_up() {
    isolated(|bench| {
        let (full, target) = listener();
        rustix::net::listen(&full, 0).unwrap();
        // One connection fills the backlog; the kernel drops further SYNs.
        let _filling: Vec<TcpStream> =
            (0..4).map_while(|_| TcpStream::connect_timeout(&target, Duration::from_millis(50)).ok()).collect();
        let (listener, address) = listener();
        let (next, server) = echo(1);
        let forward = Forward {
            listeners: vec![Arc::new(listener.into())],
            targets: vec![Target::Tcp(target), next],
            connections_max: 10,
            connect_timeout: Duration::from_millis(60),
            house: None,
        };
        let job = bench.thread().forward(forward, Arc::clone(&bench.notify));
        let mut client = client(address);
        client.write_all(b"patience").unwrap();
        client.finish();
        assert_eq!(read_all(&mut client), b"patience");
        server.join().unwrap();
        assert_eq!(job.counters().last_error(), Some(Errno::TIMEDOUT));
        bench.thread().stop_forward(&job, PATIENCE);
        bench.wait(|| job.done());
    });
}

#[test]
fn no_more_connections_than_allowed() {
    isolated(|bench| {
        let ((listener, address), (target, target_address)) = (listener(), listener());
        let job = bench.forward(listener, vec![Target::Tcp(target_address)], 3);
        let clients: Vec<_> = (0..4).map(|_| client(address)).collect();
        let accepted: Vec<_> = (0..3).map(|_| target.accept().unwrap().0).collect();
        thread::sleep(Duration::from_millis(50));
        assert_eq!((job.counters().accepted(), job.counters().active()), (3, 3));
        target.set_nonblocking(true).unwrap();
        assert!(target.accept().is_err());
        // One ends, and the fourth gets its turn.
        target.set_nonblocking(false).unwrap();
        drop((accepted, clients.into_iter().next()));
        target.accept().unwrap();
        assert_eq!(job.counters().accepted(), 4);
        bench.thread().stop_forward(&job, Duration::ZERO);
        bench.wait(|| job.done());
    });
}

#[test]
fn a_reset_is_passed_on() {
    isolated(|bench| {
        let ((listener, address), (target, target_address)) = (listener(), listener());
        let job = bench.forward(listener, vec![Target::Tcp(target_address)], 10);
        for from_target in [false, true] {
            let mut far = client(address);
            far.write_all(b"x").unwrap();
            let mut near = target.accept().unwrap().0;
            read_exactly(&mut near, 1);
            let (cut, mut other) = if from_target { (near, far) } else { (far, near) };
            other.set_read_timeout(Some(PATIENCE)).unwrap();
            reset(&cut);
            drop(cut);
            assert_eq!(other.read(&mut [0; 1]).unwrap_err().kind(), ErrorKind::ConnectionReset);
        }
        eventually("closed", || job.counters().active() == 0);
        assert_eq!(job.counters().broken(), 2);
        bench.thread().stop_forward(&job, Duration::ZERO);
        bench.wait(|| job.done());
    });
}

#[test]
fn stopping_a_forward_gives_grace_and_then_ends() {
    isolated(|bench| {
        let ((listener, address), (target, target_address)) = (listener(), listener());
        let job = bench.forward(listener, vec![Target::Tcp(target_address)], 10);
        let (mut quick, mut slow) = (client(address), client(address));
        let mut accepted: Vec<_> = (0..2).map(|_| target.accept().unwrap().0).collect();
        eventually("both open", || job.counters().active() == 2);
        let start = Instant::now();
        bench.thread().stop_forward(&job, Duration::from_millis(200));
        quick.write_all(b"still served").unwrap();
        quick.finish();
        let mut served = None;
        for stream in &mut accepted {
            stream.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
            if stream.read(&mut [0; 64]).is_ok_and(|bytes| bytes == 12) {
                served = Some(stream);
            }
        }
        served.unwrap().finish();
        assert_eq!(read_all(&mut quick), b"");
        assert!(!job.done());
        bench.wait(|| job.done());
        assert!(start.elapsed() >= Duration::from_millis(200));
        assert_eq!(slow.read(&mut [0; 1]).unwrap_err().kind(), ErrorKind::ConnectionReset);
        assert!(TcpStream::connect(address).is_err());
    });
}

#[test]
fn a_forward_that_cannot_start_is_done_at_once() {
    isolated(|bench| {
        let job = bench.forward(TcpListener::bind("127.0.0.1:0").unwrap(), vec![], 10);
        bench.wait(|| job.done());
        assert_eq!(job.counters().last_error(), Some(Errno::DESTADDRREQ));
        let file = std::fs::File::open("/dev/null").unwrap();
        let job = bench.forward(file, vec![refused()], 10);
        bench.wait(|| job.done());
        assert!(job.counters().last_error().is_some());
    });
}

#[test]
fn out_of_descriptors_the_backlog_keeps_the_callers() {
    isolated(|bench| {
        let ((listener, address), (target, target_address)) = (listener(), listener());
        let job = bench.forward(listener, vec![Target::Tcp(target_address)], 10);
        let client = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        let old = getrlimit(Resource::Nofile);
        // Descriptors are given from the lowest free number on: none below the limit is left.
        let lowest_free = std::fs::File::open("/dev/null").unwrap().as_raw_fd();
        setrlimit(Resource::Nofile, Rlimit { current: Some(lowest_free as u64), maximum: old.maximum }).unwrap();
        rustix::net::connect(&client, &address).unwrap();
        let seen = (0..2000).any(|_| {
            thread::sleep(Duration::from_millis(1));
            job.counters().last_error().is_some()
        });
        setrlimit(Resource::Nofile, old).unwrap();
        assert!(seen && job.counters().accepted() == 0);
        assert_eq!(job.counters().last_error(), Some(Errno::MFILE));
        let mut client = TcpStream::from(client);
        client.write_all(b"late").unwrap();
        assert_eq!(read_exactly(&mut target.accept().unwrap().0, 4), b"late");
        bench.thread().stop_forward(&job, Duration::ZERO);
        bench.wait(|| job.done());
    });
}
