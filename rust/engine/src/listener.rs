//! One listening socket: what it accepts, how many of them may live, and why it rests.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::event::{eventfd, EventfdFlags};
use rustix::io::Errno;
use rustix::net::{acceptfrom_with, SocketAddrAny, SocketFlags};

pub enum Accepted {
    Stream(OwnedFd, Option<SocketAddrAny>),
    Blocked,
    /// The process or the machine is out of descriptors or memory: worth a try later, the backlog keeps the callers.
    Exhausted(Errno),
}

/// Where accepted sockets come from.
pub enum Source {
    Socket(Arc<OwnedFd>),
    Memory(Arc<MemoryPort>),
}

impl Source {
    /// Takes one caller off the queue.
    pub fn accept(&self) -> Result<Accepted, Errno> {
        match self {
            Source::Socket(fd) => accept(fd),
            Source::Memory(port) => Ok(port.accept().map_or(Accepted::Blocked, |fd| Accepted::Stream(fd, None))),
        }
    }

    /// Later callers are refused. A socket needs no word: it is closed with its last owner, and an inherited one may have another
    /// process for that, which goes on listening (so no shutdown).
    pub fn shut(&self) {
        if let Source::Memory(port) = self {
            port.close();
        }
    }
}

impl AsFd for Source {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Source::Socket(fd) => fd.as_fd(),
            Source::Memory(port) => port.news.as_fd(),
        }
    }
}

/// A listener inside the process: callers leave one end of a socket pair here.
pub struct MemoryPort {
    news: OwnedFd,
    backlog: usize,
    waiting: Mutex<Queue>,
}

#[derive(Default)]
struct Queue {
    sockets: VecDeque<OwnedFd>,
    closed: bool,
}

impl MemoryPort {
    pub fn new(backlog: usize) -> Result<Arc<Self>, Errno> {
        let news = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Arc::new(Self { news, backlog, waiting: Mutex::default() }))
    }

    /// Queues `socket` for the listener; refused when nobody listens any more or the backlog is full.
    pub fn call(&self, socket: OwnedFd) -> Result<(), Errno> {
        let mut queue = self.queue();
        if queue.closed || queue.sockets.len() >= self.backlog {
            return Err(Errno::CONNREFUSED);
        }
        queue.sockets.push_back(socket);
        self.tell();
        Ok(())
    }

    fn accept(&self) -> Option<OwnedFd> {
        let mut queue = self.queue();
        let socket = queue.sockets.pop_front();
        if queue.sockets.is_empty() && !queue.closed {
            let _ = rustix::io::read(&self.news, &mut [0_u8; 8]);
        }
        socket
    }

    fn close(&self) {
        let mut queue = self.queue();
        queue.closed = true;
        queue.sockets.clear();
        self.tell();
    }

    fn tell(&self) {
        let _ = rustix::io::write(&self.news, &1_u64.to_ne_bytes());
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn accept(fd: &OwnedFd) -> Result<Accepted, Errno> {
    loop {
        match acceptfrom_with(fd, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC) {
            Ok((socket, peer)) => return Ok(Accepted::Stream(socket, peer)),
            Err(Errno::AGAIN) => return Ok(Accepted::Blocked),
            // man 2 accept: errors of the connection that was to be accepted are the caller's, and the next one may be fine.
            Err(
                Errno::INTR
                | Errno::CONNABORTED
                | Errno::NETDOWN
                | Errno::PROTO
                | Errno::NOPROTOOPT
                | Errno::HOSTDOWN
                | Errno::NONET
                | Errno::HOSTUNREACH
                | Errno::OPNOTSUPP
                | Errno::NETUNREACH
                | Errno::PERM,
            ) => {}
            Err(why @ (Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM)) => {
                return Ok(Accepted::Exhausted(why))
            }
            Err(failure) => return Err(failure),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use rustix::net::{socketpair, AddressFamily, SocketType};

    fn socket() -> OwnedFd {
        socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::NONBLOCK, None).unwrap().0
    }

    #[test]
    fn a_memory_port_keeps_its_backlog_and_no_more() {
        let port = MemoryPort::new(2).unwrap();
        let source = Source::Memory(Arc::clone(&port));
        assert!(matches!(source.accept(), Ok(Accepted::Blocked)));
        port.call(socket()).unwrap();
        port.call(socket()).unwrap();
        assert_eq!(port.call(socket()), Err(Errno::CONNREFUSED));
        assert!(matches!(source.accept(), Ok(Accepted::Stream(_, None))));
        assert!(matches!(source.accept(), Ok(Accepted::Stream(_, None))));
        assert!(matches!(source.accept(), Ok(Accepted::Blocked)));
        source.shut();
        assert_eq!(port.call(socket()), Err(Errno::CONNREFUSED));
    }
}
