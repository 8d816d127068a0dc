//! The first bytes of each connection, for whoever asks what it is for: a thread reads packet rings and keeps what `uses` looks at.
//!
//! No byte of it leaves this process, and of most connections there are 127 of each side. One thread serves all interfaces of one network
//! namespace; it holds nobody's interpreter, and what comes too fast for it is dropped by the kernel, and counted.

use std::fs::File;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::event::{eventfd, poll, EventfdFlags, PollFd, PollFlags};
use socketkit_system::ring::{Link, Options, PacketSocket, Ring};
use socketkit_wire::dissect;
use socketkit_wire::uses::{segment, Segment, Transport, HELLO_BYTES};

mod flow;
mod flows;
mod initial;
mod names;

pub use flow::{Flow, Side, Sizes};
pub use flows::{End, Flows, Found};
pub use names::{Known, Names};

use crate::table::namespaces::OWN;
use crate::Errno;

/// What to listen to, and how much of it to keep.
#[derive(Debug)]
pub struct Order {
    /// None of them: nothing is listened to, packets come by `Collector::feed`.
    pub interfaces: Vec<Option<String>>,
    /// Another network namespace than ours.
    pub namespace: Option<File>,
    pub flows: usize,
    pub idle: Duration,
    /// Of each interface's packet ring.
    pub buffer_bytes: usize,
}

/// Runs until it is dropped.
#[derive(Debug)]
pub struct Collector {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    flows: Mutex<Flows>,
    names: Mutex<Names>,
    stopping: AtomicBool,
    waker: OwnedFd,
    packets: AtomicU64,
    dropped: AtomicU64,
    /// The errno of what ended it before its time; 0: nothing has.
    failure: AtomicU64,
}

/// What it has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    pub packets: u64,
    pub dropped: u64,
    pub flows: u64,
    pub pushed_out: u64,
    /// Messages that gave names, those of which a part was not read, and addresses that had to be forgotten.
    pub answers: u64,
    pub answers_cut: u64,
    pub names_pushed_out: u64,
}

impl Collector {
    /// EPERM without CAP_NET_RAW, and for another namespace without CAP_SYS_ADMIN; ENODEV for an interface that there is not.
    pub fn start(order: Order) -> io::Result<Collector> {
        let idle_ns = u64::try_from(order.idle.as_nanos()).unwrap_or(u64::MAX);
        let shared = Arc::new(Shared {
            flows: Mutex::new(Flows::new(order.flows, idle_ns)),
            names: Mutex::default(),
            stopping: AtomicBool::new(false),
            waker: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
            packets: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            failure: AtomicU64::new(0),
        });
        if order.interfaces.is_empty() {
            return Ok(Collector { shared, thread: None });
        }
        let (opened, outcome) = std::sync::mpsc::sync_channel(1);
        let work = Arc::clone(&shared);
        // The rings are opened by the thread that reads them: only a thread of its own may go into another namespace.
        let thread = std::thread::Builder::new().name("socketkit-first".into()).spawn(move || match rings(&order) {
            Ok(rings) => {
                let _ = opened.send(Ok(()));
                work.run(rings);
            }
            Err(failure) => drop(opened.send(Err(failure))),
        })?;
        let collector = Collector { shared, thread: Some(thread) };
        match outcome.recv() {
            Ok(outcome) => outcome.map(|()| collector),
            Err(_) => Err(Errno::IO.into()),
        }
    }

    /// Takes a packet from elsewhere: a file.
    pub fn feed(&self, link: Link, data: &[u8], now_ns: u64) {
        self.shared.packets.fetch_add(1, Ordering::Relaxed);
        if let Some(segment) = segment(dissected(link), data) {
            self.shared.put(&mut self.shared.flows(), &segment, now_ns);
        }
    }

    pub fn find(&self, transport: Transport, local: End, peer: Option<End>) -> Option<Found> {
        self.shared.flows().find(transport, local, peer)
    }

    /// Which names led to an address.
    pub fn resolved(&self, address: IpAddr) -> Option<Known> {
        self.shared.names().find(address)
    }

    pub fn counters(&self) -> Counters {
        let flows = self.shared.flows();
        let names = self.shared.names();
        Counters {
            packets: self.shared.packets.load(Ordering::Relaxed),
            dropped: self.shared.dropped.load(Ordering::Relaxed),
            flows: flows.len() as u64,
            pushed_out: flows.pushed_out,
            answers: names.answers,
            answers_cut: names.cut,
            names_pushed_out: names.pushed_out,
        }
    }

    /// What ended it before its time: an interface that went away.
    pub fn failure(&self) -> Option<Errno> {
        let number = i32::try_from(self.shared.failure.load(Ordering::Acquire)).unwrap_or_default();
        (number != 0).then(|| Errno::from_raw_os_error(number))
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::Release);
        // EAGAIN: the counter is full, so nobody has to be woken.
        let _ = rustix::io::write(&self.shared.waker, &1u64.to_ne_bytes());
        self.thread.take().map(JoinHandle::join);
    }
}

impl Shared {
    fn run(&self, mut rings: Vec<Ring>) {
        let mut scratch = Vec::new();
        while !self.stopping.load(Ordering::Acquire) {
            for ring in &mut rings {
                while self.take(ring, &mut scratch) && !self.stopping.load(Ordering::Acquire) {}
            }
            let dropped = rings.iter_mut().map(|ring| ring.statistics().dropped).sum();
            self.dropped.store(dropped, Ordering::Relaxed);
            // One that is gone has nothing more to say; the others go on.
            rings.retain(|ring| match ring.failure() {
                None => true,
                Some(failure) => {
                    self.failure.store(failure.raw_os_error().unsigned_abs().into(), Ordering::Release);
                    // It came up and down again: it is the same ring, and hears again.
                    failure == Errno::NETDOWN
                }
            });
            let mut events: Vec<_> = rings.iter().map(|ring| PollFd::new(ring, PollFlags::IN)).collect();
            events.push(PollFd::new(&self.waker, PollFlags::IN));
            if !matches!(poll(&mut events, None), Ok(_) | Err(Errno::INTR)) {
                return;
            }
        }
    }

    /// Takes some of what is there, under one lock; whether there may be more.
    fn take(&self, ring: &mut Ring, scratch: &mut Vec<u8>) -> bool {
        let link = dissected(ring.link());
        let mut flows = self.flows();
        for count in 0..BATCH {
            let Some(frame) = ring.next_frame() else {
                self.packets.fetch_add(count, Ordering::Relaxed);
                return false;
            };
            if let Some(segment) = segment(link, frame.bytes(scratch)) {
                self.put(&mut flows, &segment, frame.timestamp_ns);
            }
        }
        self.packets.fetch_add(BATCH, Ordering::Relaxed);
        true
    }

    fn put(&self, flows: &mut Flows, segment: &Segment<'_>, now_ns: u64) {
        flows.take(segment, now_ns);
        if names::may_answer(segment) {
            self.names().take(segment, now_ns, || flows.asked(segment));
        }
    }

    fn flows(&self) -> MutexGuard<'_, Flows> {
        self.flows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Locked after the flows, where both are.
    fn names(&self) -> MutexGuard<'_, Names> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn rings(order: &Order) -> io::Result<Vec<Ring>> {
    let Some(namespace) = &order.namespace else { return start(order) };
    let network = Some(rustix::thread::LinkNameSpaceType::Network);
    let own = File::open(OWN)?;
    rustix::thread::move_into_link_name_space(namespace.as_fd(), network)?;
    let rings = start(order);
    // A thread that stayed would be one more that lives in it, whoever else has left.
    rustix::thread::move_into_link_name_space(own.as_fd(), network)?;
    rings
}

fn start(order: &Order) -> io::Result<Vec<Ring>> {
    let options = Options {
        snap_bytes: SNAP_BYTES,
        promiscuous: false,
        buffer_bytes: order.buffer_bytes,
        retire_milliseconds: RETIRE_MILLISECONDS,
    };
    order.interfaces.iter().map(|name| Ring::start(PacketSocket::open(name.as_deref())?, &options, &[])).collect()
}

fn dissected(link: Link) -> dissect::Link {
    match link {
        Link::Ethernet => dissect::Link::Ethernet,
        Link::Cooked => dissect::Link::Cooked,
    }
}

/// A hello, behind the longest headers.
const SNAP_BYTES: u32 = HELLO_BYTES as u32 + 160;
/// How long a start may take to be known.
const RETIRE_MILLISECONDS: u32 = 50;
const BATCH: u64 = 256;

#[cfg(test)]
mod tests;
