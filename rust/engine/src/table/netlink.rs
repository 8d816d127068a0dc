//! The sockets of the network namespace that the calling thread is in, by sock_diag.
//!
//! Raw sockets are read from /proc where the kernel was built without their part of sock_diag, ping sockets always: they have none.

use std::fs;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{
    bind, netlink, recv, send, socket_with, AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType,
};
use socketkit_wire::diag::{self, Message};
use socketkit_wire::proc_net;

use super::row::Row;
use super::rows::{inet_row, line_row, packet_row, unix_row, vsock_row};

/// What this kernel has no answer for. Asking loads a module where there is one, which is not done again.
#[derive(Debug, Default)]
pub struct Absent(AtomicU32);

/// All sockets of the namespace, those of `namespace` in their rows.
pub fn sockets(namespace: u64, absent: &Absent) -> io::Result<Vec<Row>> {
    let socket = open()?;
    let protocols = fs::read_to_string("/proc/thread-self/net/protocols").unwrap_or_default();
    let there = |name: &str| protocols.lines().any(|line| line.split_ascii_whitespace().next() == Some(name));
    let mut room = vec![MaybeUninit::uninit(); PIECE_BYTES];
    let mut rows = Vec::new();
    let counts = Counts::read();
    for (part, protocol, name) in INET {
        if !there(name) {
            continue;
        }
        for family in [AF_INET, AF_INET6] {
            if counts.none(name, family) {
                continue;
            }
            let answered = absent.ask(part, || {
                let request = diag::inet_request(family, protocol, diag::EVERY_STATE);
                dump(&socket, &request, &mut room, |body| {
                    rows.extend(diag::inet(body).map(|told| inet_row(&told, protocol, namespace)));
                })
            })?;
            if part == Part::Raw && !answered {
                lines(if family == AF_INET { "raw" } else { "raw6" }, SOCK_RAW, namespace, &mut rows);
            }
        }
    }
    absent.ask(Part::Unix, || {
        dump(&socket, &diag::unix_request(), &mut room, |body| {
            rows.extend(diag::unix(body).map(|told| unix_row(&told, namespace)));
        })
    })?;
    absent.ask(Part::Packet, || {
        dump(&socket, &diag::packet_request(), &mut room, |body| {
            rows.extend(diag::packet(body).map(|told| packet_row(&told, namespace)));
        })
    })?;
    if there("AF_VSOCK") {
        absent.ask(Part::Vsock, || {
            dump(&socket, &diag::vsock_request(), &mut room, |body| {
                rows.extend(diag::vsock(body).map(|told| vsock_row(&told, namespace)));
            })
        })?;
    }
    for name in ["icmp", "icmp6"] {
        lines(name, SOCK_DGRAM, namespace, &mut rows);
    }
    Ok(rows)
}

impl Absent {
    /// Whether there was an answer.
    fn ask(&self, part: Part, ask: impl FnOnce() -> Result<(), Errno>) -> io::Result<bool> {
        let bit = 1 << part as u32;
        if self.0.load(Ordering::Relaxed) & bit != 0 {
            return Ok(false);
        }
        match ask() {
            Ok(()) => Ok(true),
            // ENOENT: no handler. EINVAL: raw sockets before Linux 4.20, and kernels that lack a family.
            Err(Errno::NOENT | Errno::INVAL | Errno::OPNOTSUPP) => {
                self.0.fetch_or(bit, Ordering::Relaxed);
                Ok(false)
            }
            Err(failure) => Err(failure.into()),
        }
    }
}

/// The parts of sock_diag, which a kernel may have or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Tcp,
    Udp,
    Sctp,
    Raw,
    Unix,
    Packet,
    Vsock,
}

/// How many sockets of each protocol this namespace has (/proc/net/sockstat).
///
/// The kernel has one table of TCP connections for all namespaces, and walks through it whole for each that asks: some ten
/// milliseconds, which a namespace without any is spared.
struct Counts(String);

impl Counts {
    fn read() -> Counts {
        let file = |name| fs::read_to_string(format!("/proc/thread-self/net/{name}")).unwrap_or_default();
        Counts(file("sockstat") + &file("sockstat6"))
    }

    /// Whether it is certain that there are none. What waits in a listener's queue counts with that, TIME_WAIT for both families.
    fn none(&self, protocol: &str, family: u8) -> bool {
        let name = if family == AF_INET { protocol.to_owned() } else { format!("{protocol}6") };
        let waits = self.count("TCP", "tw").unwrap_or(1);
        self.count(&name, "inuse") == Some(0) && (protocol != "TCP" || waits == 0)
    }

    /// `TCP: inuse 5 orphan 0 tw 2 alloc 8 mem 3`
    fn count(&self, protocol: &str, what: &str) -> Option<u64> {
        let found = |line: &str| {
            let (name, counts) = line.split_once(':')?;
            let mut words = counts.split_ascii_whitespace();
            (name == protocol).then(|| words.find(|word| *word == what).and_then(|_| words.next()?.parse().ok()))?
        };
        self.0.lines().find_map(found)
    }
}

/// A socket to ask with; it asks the namespace that it was opened in.
pub fn open() -> io::Result<OwnedFd> {
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, Some(netlink::SOCK_DIAG))?;
    bind(&socket, &SocketAddrNetlink::new(0, 0))?;
    Ok(socket)
}

/// One request, and `each` for every socket that answers it.
pub fn dump(
    socket: &OwnedFd,
    request: &[u8],
    room: &mut [MaybeUninit<u8>],
    mut each: impl FnMut(&[u8]),
) -> Result<(), Errno> {
    send(socket, request, SendFlags::empty())?;
    loop {
        let piece = match recv(socket, &mut *room, RecvFlags::TRUNC) {
            // The kernel makes no piece that is larger; if it did, what is missing would not be noticed.
            Ok(((piece, _), length)) if length > piece.len() => return Err(Errno::MSGSIZE),
            Ok(((piece, _), _)) => piece,
            Err(Errno::INTR) => continue,
            Err(failure) => return Err(failure),
        };
        for message in diag::messages(piece) {
            match message {
                Message::Socket { body, .. } => each(body),
                Message::Done | Message::Answer(0) => return Ok(()),
                Message::Answer(number) => return Err(Errno::from_raw_os_error(number)),
                Message::Other => {}
            }
        }
    }
}

fn lines(name: &str, kind: u16, namespace: u64, rows: &mut Vec<Row>) {
    // Without the file there is none of them: no IPv6, or no ping sockets.
    let text = fs::read(format!("/proc/thread-self/net/{name}")).unwrap_or_default();
    let found = text.split(|&byte| byte == b'\n').filter_map(proc_net::line);
    rows.extend(found.map(|line| line_row(&line, kind, namespace)));
}

/// Pieces of a dump have 32 KiB (`netlink_dump`), and those of later kernels may have more.
pub const PIECE_BYTES: usize = 256 * 1024;

const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
const SOCK_DGRAM: u16 = 2;
const SOCK_RAW: u16 = 3;
/// IPPROTO_*, and their names in /proc/net/protocols: what is not there has no sockets.
const INET: [(Part, u8, &str); 4] =
    [(Part::Tcp, 6, "TCP"), (Part::Udp, 17, "UDP"), (Part::Sctp, 132, "SCTP"), (Part::Raw, 255, "RAW")];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_sockets_is_known() {
        let text = "sockets: used 9\nTCP: inuse 0 orphan 0 tw 1 alloc 8 mem 3\nUDP: inuse 0 mem 0\nTCP6: inuse 2\nUDP6: inuse 0\n";
        let counts = Counts(text.to_owned());
        assert!(!counts.none("TCP", AF_INET), "one is in TIME_WAIT");
        assert!(!counts.none("TCP", AF_INET6) && counts.none("UDP", AF_INET) && counts.none("UDP", AF_INET6));
        assert!(!counts.none("SCTP", AF_INET), "not told");
        let counts = Counts(text.replace("tw 1", "tw 0"));
        assert!(counts.none("TCP", AF_INET) && !counts.none("TCP", AF_INET6));
        assert!(!Counts(String::new()).none("TCP", AF_INET));
    }
}
