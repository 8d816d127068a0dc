//! Two connected sockets.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::sockopt;
use socketkit_engine::relay::{run_pair, Operation, Side, Which};

use crate::support::*;

#[test]
fn small_messages_go_both_ways() {
    isolated(|bench| {
        for _ in 0..2 {
            let ((mut left, a), (mut right, b)) = (tcp(), unix());
            let job = bench.relay(a, b);
            for number in 0..1000u32 {
                left.write_all(&number.to_ne_bytes()).unwrap();
                assert_eq!(read_exactly(&mut right, 4), number.to_ne_bytes());
                right.write_all(&[7; 100]).unwrap();
                assert_eq!(read_exactly(&mut left, 100), [7; 100]);
            }
            eventually("counted", || (job.progress().a_to_b(), job.progress().b_to_a()) == (4000, 100_000));
            drop((left, right));
            let report = bench.report(&job);
            assert_eq!((report.a_to_b, report.b_to_a, report.failure), (4000, 100_000, None));
        }
    });
}

#[test]
fn half_close_is_kept_each_way() {
    isolated(|bench| {
        for swapped in [false, true] {
            let ((mut left, a), (mut right, b)) = (tcp(), tcp());
            let job = if swapped { bench.relay(b, a) } else { bench.relay(a, b) };
            left.write_all(b"question").unwrap();
            left.finish();
            assert_eq!(read_all(&mut right), b"question");
            assert!(!job.done());
            right.write_all(b"a long answer").unwrap();
            assert_eq!(read_exactly(&mut left, 13), b"a long answer");
            drop(right);
            assert_eq!(read_all(&mut left), b"");
            let report = bench.report(&job);
            assert!(report.failure.is_none(), "{report:?}");
            assert!(report.ended_a && report.ended_b && report.finished_a && report.finished_b);
            assert_eq!(report.a_to_b + report.b_to_a, 21);
        }
    });
}

#[test]
fn bulk_arrives_whole_by_splice_and_by_copy() {
    isolated(|bench| {
        let data = Arc::new(noise(50_000_000));
        for kind in 0..4 {
            let (far_a, a, far_b, b): (Box<dyn Duplex>, _, Box<dyn Duplex>, _) = match kind {
                0 => duplex(tcp(), tcp()),
                1 => duplex(unix(), tcp()),
                2 => duplex(tcp(), unix()),
                _ => {
                    let (ends_a, ends_b) = (tcp(), tcp());
                    sockopt::set_socket_send_buffer_size(&ends_b.1.fd, 4096).unwrap();
                    sockopt::set_socket_recv_buffer_size(&ends_b.0, 16384).unwrap();
                    duplex(ends_a, ends_b)
                }
            };
            // The slow pair gets a tenth: it takes as many system calls.
            let data = if kind == 3 { Arc::new(data[..5_000_000].to_vec()) } else { Arc::clone(&data) };
            let job = bench.relay(a, b);
            let sent = Arc::clone(&data);
            let sender = thread::spawn(move || {
                let mut far_a = far_a;
                far_a.write_all(&sent).unwrap();
                far_a.finish();
                far_a
            });
            let mut far_b = far_b;
            assert!(read_all(&mut far_b) == *data, "bytes differ in case {kind}");
            drop((sender.join().unwrap(), far_b));
            let report = bench.report(&job);
            assert_eq!((report.a_to_b, report.failure), (data.len() as u64, None));
        }
    });
}

#[test]
fn both_ways_at_once_with_large_amounts() {
    isolated(|bench| {
        let data = Arc::new(noise(8_000_000));
        let ((left, a), (right, b)) = (tcp(), tcp());
        let job = bench.relay(a, b);
        let threads: Vec<_> = [(left.try_clone().unwrap(), left), (right.try_clone().unwrap(), right)]
            .into_iter()
            .map(|(mut writer, mut reader)| {
                let (sent, expected) = (Arc::clone(&data), Arc::clone(&data));
                let writing = thread::spawn(move || {
                    writer.write_all(&sent).unwrap();
                    writer.finish();
                });
                thread::spawn(move || {
                    assert!(read_all(&mut reader) == *expected);
                    writing.join().unwrap();
                })
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
        let report = bench.report(&job);
        assert_eq!((report.a_to_b, report.b_to_a, report.failure), (8_000_000, 8_000_000, None));
    });
}

#[test]
fn bytes_already_in_hand_go_first() {
    isolated(|bench| {
        let ((mut left, mut a), (mut right, mut b)) = (tcp(), unix());
        a.received = b"from a, ".to_vec();
        a.unsent = b"to a, ".to_vec();
        b.received = b"from b, ".to_vec();
        b.unsent = b"to b, ".to_vec();
        left.write_all(b"more").unwrap();
        right.write_all(b"more").unwrap();
        left.finish();
        right.finish();
        let job = bench.relay(a, b);
        assert_eq!(read_all(&mut right), b"to b, from a, more");
        assert_eq!(read_all(&mut left), b"to a, from b, more");
        let report = bench.report(&job);
        assert_eq!((report.a_to_b, report.b_to_a), (12, 12));
    });
}

#[test]
fn ends_and_fins_of_before_are_respected() {
    isolated(|bench| {
        let ((mut left, mut a), (mut right, mut b)) = (tcp(), tcp());
        a.ended = true;
        a.received = b"last words".to_vec();
        b.received = b"too late".to_vec();
        a.finished = true;
        b.finished = false;
        let job = bench.relay(a, b);
        assert_eq!(read_all(&mut right), b"last words");
        let report = bench.report(&job);
        assert_eq!(report.leftover_a, b"too late");
        assert!(report.ended_a && report.finished_b && !report.ended_b && report.finished_a);
        left.write_all(b"x").unwrap();
        right.write_all(b"x").unwrap();
    });
}

#[test]
fn stopping_loses_no_byte() {
    isolated(|bench| {
        for (round, wait) in [0u64, 1, 3, 10, 30, 60].into_iter().enumerate() {
            let ((mut left, a), (mut right, b)) = if round % 2 == 0 { (tcp(), tcp()) } else { (tcp(), tcp_small()) };
            let (near_a, near_b) = (Arc::clone(&a.fd), Arc::clone(&b.fd));
            let data = Arc::new(noise(6_000_000));
            let job = bench.relay(a, b);
            let sent = Arc::clone(&data);
            let sender = thread::spawn(move || {
                left.set_nonblocking(true).unwrap();
                let end = Instant::now() + Duration::from_millis(wait + 20);
                let mut total = 0;
                while Instant::now() < end && total < sent.len() {
                    match left.write(&sent[total..(total + 100_000).min(sent.len())]) {
                        Ok(written) => total += written,
                        Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
                    }
                }
                left.finish();
                (left, total)
            });
            // Reads a little, so that the stop comes with the pump blocked or not.
            let mut got = vec![0; 200_000];
            right.read_exact(&mut got).unwrap();
            thread::sleep(Duration::from_millis(wait));
            bench.thread().stop(&job);
            let report = bench.report(&job);
            assert!(report.failure.is_none());
            let (left, total) = sender.join().unwrap();
            // What the report says is not delivered follows, then what is still unread at A.
            let reader = thread::spawn(move || {
                got.extend(read_all(&mut right));
                got
            });
            rustix::io::ioctl_fionbio(&near_a, false).unwrap();
            rustix::io::ioctl_fionbio(&near_b, false).unwrap();
            sockopt::set_socket_send_buffer_size(&near_b, 1 << 20).unwrap();
            let mut near_b = TcpStream::from(near_b.try_clone().unwrap());
            near_b.write_all(&report.leftover_b).unwrap();
            let rest = read_all(&mut TcpStream::from(near_a.try_clone().unwrap()));
            near_b.write_all(&rest).unwrap();
            near_b.finish();
            let got = reader.join().unwrap();
            assert!(got == data[..total], "round {round}: {} of {total}", got.len());
            assert_eq!(report.a_to_b as usize + report.leftover_b.len() + rest.len(), total);
            drop(left);
        }
    });
}

#[test]
fn stopping_an_idle_pair_or_a_done_one_is_fine() {
    isolated(|bench| {
        let ((mut left, a), (right, b)) = (tcp(), unix());
        let (near_a, near_b) = (Arc::clone(&a.fd), Arc::clone(&b.fd));
        let job = bench.relay(a, b);
        bench.thread().stop(&job);
        bench.thread().stop(&job);
        let report = bench.report(&job);
        assert!(!report.ended_a && !report.finished_a && report.failure.is_none());
        bench.thread().stop(&job);
        // The sockets can be relayed again.
        let again = bench.relay(Side::new(near_a), Side::new(near_b));
        left.write_all(b"x").unwrap();
        drop((left, right));
        let report = bench.report(&again);
        assert!(job.take_report().is_none());
        assert!(report.ended_a || report.failure.is_some());
    });
}

#[test]
fn a_socket_cannot_be_in_two_pairs() {
    isolated(|bench| {
        let ((left, a), (right, b), (other, mut c)) = (tcp(), tcp(), tcp());
        let twice = Side::new(Arc::clone(&a.fd));
        let job = bench.relay(a, b);
        c.received = b"kept".to_vec();
        let second = bench.relay(c, twice);
        let report = bench.report(&second);
        let failure = report.failure.unwrap();
        assert_eq!((failure.side, failure.operation, failure.errno), (Which::B, Operation::Watch, Errno::EXIST));
        assert_eq!(report.leftover_b, b"kept");
        drop((left, right, other));
        assert!(bench.report(&job).failure.is_none());
    });
}

#[test]
fn a_reset_is_reported_and_what_came_before_it_delivered() {
    isolated(|bench| {
        for bytes in [10, 3_000_000] {
            let ((mut left, a), (mut right, b)) = (tcp(), tcp());
            let near_b = Arc::clone(&b.fd);
            let job = bench.relay(a, b);
            let data = noise(bytes);
            let expected = data.clone();
            let reader = thread::spawn(move || (read_exactly(&mut right, bytes) == expected, right));
            left.write_all(&data).unwrap();
            // A reset takes what is in the sender's queue with it.
            eventually("delivered", || job.progress().a_to_b() == bytes as u64);
            reset(&left);
            drop(left);
            let report = bench.report(&job);
            let failure = report.failure.unwrap();
            assert_eq!((failure.side, failure.errno), (Which::A, Errno::CONNRESET));
            assert!(!report.finished_b && !report.ended_a);
            let (whole, mut right) = reader.join().unwrap();
            assert!(whole);
            // No FIN: B is still open.
            right.set_nonblocking(true).unwrap();
            assert_eq!(right.read(&mut [0; 1]).unwrap_err().kind(), ErrorKind::WouldBlock);
            drop(near_b);
        }
    });
}

#[test]
fn a_reset_after_an_end_is_noticed() {
    isolated(|bench| {
        let ((left, a), (mut right, b)) = (tcp(), tcp());
        let job = bench.relay(a, b);
        left.finish();
        assert_eq!(read_all(&mut right), b"");
        reset(&left);
        drop(left);
        let failure = bench.report(&job).failure.unwrap();
        assert_eq!(failure.side, Which::A);
    });
}

#[test]
fn a_send_to_a_reset_side_keeps_the_bytes() {
    isolated(|bench| {
        let ((left, a), (mut right, b)) = (unix(), tcp());
        drop(left);
        let job = bench.relay(a, b);
        right.write_all(b"unwanted").unwrap();
        let report = bench.report(&job);
        let failure = report.failure.unwrap();
        assert_eq!((failure.side, failure.operation, failure.errno), (Which::A, Operation::Send, Errno::PIPE));
        assert_eq!(report.leftover_a, b"unwanted");
    });
}

#[test]
fn a_peer_that_never_reads_holds_one_buffer() {
    isolated(|bench| {
        let ((mut left, a), (right, b)) = (tcp(), tcp());
        let job = bench.relay(a, b);
        left.set_nonblocking(true).unwrap();
        let block = vec![1; 65536];
        let (mut sent, mut quiet) = (0, Instant::now());
        while quiet.elapsed() < Duration::from_millis(300) {
            match left.write(&block) {
                Ok(written) => (sent, quiet) = (sent + written, Instant::now()),
                Err(_) => thread::sleep(Duration::from_millis(1)),
            }
            assert!(sent < 64 << 20, "nothing stops the sender");
        }
        bench.thread().stop(&job);
        let report = bench.report(&job);
        assert!(!report.leftover_b.is_empty());
        assert!(report.leftover_b.len() <= 512 * 1024, "{}", report.leftover_b.len());
        drop(right);
    });
}

#[test]
fn urgent_data_does_not_hide_what_follows() {
    isolated(|bench| {
        let ((mut left, a), (mut right, b)) = (tcp(), tcp());
        left.write_all(b"before").unwrap();
        rustix::net::send(&left, b"!", rustix::net::SendFlags::OOB).unwrap();
        left.write_all(b"after").unwrap();
        let job = bench.relay(a, b);
        assert_eq!(read_exactly(&mut right, 11), b"beforeafter");
        drop((left, right));
        bench.report(&job);
    });
}

#[test]
fn descriptors_sent_along_do_not_stop_the_bytes() {
    use rustix::net::{sendmsg, SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
    isolated(|bench| {
        let ((mut left, a), (mut right, b)) = (unix(), tcp());
        let file = std::fs::File::open("/dev/null").unwrap();
        let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let fds = [std::os::fd::AsFd::as_fd(&file)];
        assert!(control.push(SendAncillaryMessage::ScmRights(&fds)));
        sendmsg(&left, &[std::io::IoSlice::new(b"with")], &mut control, SendFlags::empty()).unwrap();
        left.write_all(b"without").unwrap();
        let job = bench.relay(a, b);
        assert_eq!(read_exactly(&mut right, 11), b"withwithout");
        drop((left, right, file));
        bench.report(&job);
    });
}

#[test]
fn one_loud_pair_does_not_starve_the_others() {
    isolated(|bench| {
        let ((mut loud, a), (mut sink, b)) = (tcp(), tcp());
        let job = bench.relay(a, b);
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let writer = thread::spawn(move || {
            let block = vec![0; 1 << 20];
            while !stopped.load(Ordering::Relaxed) {
                loud.write_all(&block).unwrap();
            }
        });
        let reader = thread::spawn(move || {
            let mut block = vec![0; 1 << 20];
            while sink.read(&mut block).unwrap() > 0 {}
        });
        let ((mut left, a), (mut right, b)) = (tcp(), tcp());
        let quiet = bench.relay(a, b);
        let start = Instant::now();
        for _ in 0..50 {
            left.write_all(b"x").unwrap();
            read_exactly(&mut right, 1);
        }
        assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
        stop.store(true, Ordering::Relaxed);
        writer.join().unwrap();
        reader.join().unwrap();
        drop((left, right));
        bench.report(&quiet);
        bench.report(&job);
    });
}

#[test]
fn dropping_the_thread_ends_its_jobs() {
    isolated(|bench| {
        let ((left, a), (right, b)) = (tcp(), tcp());
        let job = bench.relay(a, b);
        let forward = bench.forward(TcpListener::bind("127.0.0.1:0").unwrap(), vec![refused()], 10);
        bench.thread = None;
        assert!(job.done() && forward.done());
        let report = job.take_report().unwrap();
        assert!(report.failure.is_none() && !report.ended_a);
        drop((left, right, job, forward));
    });
}

#[test]
fn the_calling_thread_can_relay_too() {
    isolated(|_| {
        let ((mut left, a), (mut right, b)) = (tcp(), unix());
        let writer = thread::spawn(move || {
            left.write_all(b"ping").unwrap();
            left.finish();
            read_all(&mut left)
        });
        let answer = thread::spawn(move || {
            assert_eq!(read_all(&mut right), b"ping");
            right.write_all(b"pong").unwrap();
        });
        let report = run_pair(a, b, &Arc::default(), Some(Instant::now() + PATIENCE), &mut || false);
        assert_eq!((report.a_to_b, report.b_to_a, report.failure), (4, 4, None));
        answer.join().unwrap();
        assert_eq!(writer.join().unwrap(), b"pong");
    });
}

#[test]
fn a_blocking_relay_ends_at_its_deadline_and_on_request() {
    isolated(|_| {
        let ((mut left, a), (right, mut b)) = (tcp(), tcp());
        b.received = vec![7; 100];
        let (near_a, near_b) = (Arc::clone(&a.fd), Arc::clone(&b.fd));
        let start = Instant::now();
        let report = run_pair(a, b, &Arc::default(), Some(start + Duration::from_millis(50)), &mut || false);
        assert!((50..150).contains(&start.elapsed().as_millis()), "{:?}", start.elapsed());
        assert_eq!((report.b_to_a, report.ended_a), (100, false));
        assert_eq!(read_exactly(&mut left, 100), [7; 100]);
        let mut asked = 0;
        let start = Instant::now();
        run_pair(Side::new(near_a), Side::new(near_b), &Arc::default(), None, &mut || {
            asked += 1;
            asked == 2
        });
        assert!(start.elapsed() < Duration::from_millis(500));
        drop((left, right));
    });
}
