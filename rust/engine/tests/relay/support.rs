//! Two ends of a connection for the test and for the relay, and a relay thread that must leave no descriptor.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{eventfd, poll, EventfdFlags, PollFd, PollFlags, Timespec};
use rustix::net::sockopt;
use socketkit_engine::relay::{Forward, ForwardJob, Job, Report, Side, Target, Thread};

/// The tests count the descriptors of the process.
static ALONE: Mutex<()> = Mutex::new(());
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A relay thread to test with.
pub struct Bench {
    pub thread: Option<Thread>,
    pub notify: Arc<OwnedFd>,
}

/// Runs a test alone in the process; when it is over, every descriptor must be closed.
pub fn isolated(test: impl FnOnce(&mut Bench)) {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let before = descriptors();
    let notify = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).unwrap());
    let mut bench = Bench { thread: Some(Thread::start().unwrap()), notify };
    test(&mut bench);
    drop(bench);
    assert_eq!(descriptors(), before, "descriptors leaked");
}

impl Bench {
    pub fn thread(&self) -> &Thread {
        self.thread.as_ref().unwrap()
    }

    pub fn relay(&self, a: Side, b: Side) -> Arc<Job> {
        self.thread().relay(a, b, Arc::clone(&self.notify))
    }

    pub fn report(&self, job: &Job) -> Report {
        self.wait(|| job.done());
        job.take_report().unwrap()
    }

    pub fn forward(
        &self,
        listener: impl Into<OwnedFd>,
        targets: Vec<Target>,
        connections_max: usize,
    ) -> Arc<ForwardJob> {
        let listeners = vec![Arc::new(listener.into())];
        let connect_timeout = Duration::from_secs(5);
        let forward = Forward { listeners, targets, connections_max, connect_timeout, house: None };
        self.thread().forward(forward, Arc::clone(&self.notify))
    }

    /// Waits on the eventfd, as the glue does.
    pub fn wait(&self, done: impl Fn() -> bool) {
        let end = Instant::now() + PATIENCE;
        while !done() {
            assert!(Instant::now() < end, "a job does not end");
            let tick = Timespec { tv_sec: 1, tv_nsec: 0 };
            let _ = poll(&mut [PollFd::new(&self.notify, PollFlags::IN)], Some(&tick));
            let _ = rustix::io::read(&self.notify, &mut [0; 8]);
        }
    }
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

pub fn eventually(what: &str, condition: impl Fn() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < end, "never: {what}");
        thread::sleep(Duration::from_millis(2));
    }
}

/// A connection: the far end for the test, the near end for the relay.
pub fn tcp() -> (TcpStream, Side) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let far = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    far.set_read_timeout(Some(PATIENCE)).unwrap();
    far.set_write_timeout(Some(PATIENCE)).unwrap();
    let near = listener.accept().unwrap().0;
    near.set_nodelay(true).unwrap();
    near.set_nonblocking(true).unwrap();
    (far, Side::new(Arc::new(near.into())))
}

pub fn unix() -> (UnixStream, Side) {
    let (far, near) = UnixStream::pair().unwrap();
    far.set_read_timeout(Some(PATIENCE)).unwrap();
    far.set_write_timeout(Some(PATIENCE)).unwrap();
    near.set_nonblocking(true).unwrap();
    (far, Side::new(Arc::new(near.into())))
}

pub fn read_exactly(stream: &mut impl Read, bytes: usize) -> Vec<u8> {
    let mut buffer = vec![0; bytes];
    stream.read_exact(&mut buffer).unwrap();
    buffer
}

pub fn read_all(stream: &mut impl Read) -> Vec<u8> {
    let mut all = Vec::new();
    stream.read_to_end(&mut all).unwrap();
    all
}

/// Bytes that differ at every place, so that a lost, doubled or moved one shows.
pub fn noise(bytes: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut noise = Vec::with_capacity(bytes + 8);
    while noise.len() < bytes {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        noise.extend_from_slice(&state.to_ne_bytes());
    }
    noise.truncate(bytes);
    noise
}

pub fn reset(stream: &TcpStream) {
    sockopt::set_socket_linger(stream, Some(Duration::ZERO)).unwrap();
}

pub fn tcp_small() -> (TcpStream, Side) {
    let ends = tcp();
    sockopt::set_socket_send_buffer_size(&ends.1.fd, 4096).unwrap();
    ends
}

pub trait Duplex: Read + Write + Send {
    fn finish(&self);
}

impl Duplex for TcpStream {
    fn finish(&self) {
        self.shutdown(Shutdown::Write).unwrap();
    }
}

impl Duplex for UnixStream {
    fn finish(&self) {
        self.shutdown(Shutdown::Write).unwrap();
    }
}

pub fn duplex(
    a: (impl Duplex + 'static, Side),
    b: (impl Duplex + 'static, Side),
) -> (Box<dyn Duplex>, Side, Box<dyn Duplex>, Side) {
    (Box::new(a.0), a.1, Box::new(b.0), b.1)
}

pub fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// An address where nobody listens.
pub fn refused() -> Target {
    Target::Tcp(listener().1)
}

pub fn client(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}
