//! What tells the kinds of message sockets apart.

use std::os::fd::BorrowedFd;

use socketkit_system::messages::option;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Udp4,
    Udp6,
    UnixDatagram,
    UnixRecord,
    Sctp,
    Vsock,
    Icmp,
    /// ICMP by a raw socket: the IP header comes first, and is cut.
    Icmp4Raw,
    Raw,
    Ethernet,
}

impl Kind {
    pub fn named(name: &str) -> Option<Self> {
        Some(match name {
            "udp4" => Kind::Udp4,
            "udp6" => Kind::Udp6,
            "unix-datagram" => Kind::UnixDatagram,
            "unix-record" => Kind::UnixRecord,
            "sctp" => Kind::Sctp,
            "vsock" => Kind::Vsock,
            "icmp4" | "icmp6" | "icmp6-raw" => Kind::Icmp,
            "icmp4-raw" => Kind::Icmp4Raw,
            "raw4" | "raw6" => Kind::Raw,
            "ethernet" => Kind::Ethernet,
            _ => return None,
        })
    }

    pub fn is_udp(self) -> bool {
        matches!(self, Kind::Udp4 | Kind::Udp6)
    }

    pub fn is_unix(self) -> bool {
        matches!(self, Kind::UnixDatagram | Kind::UnixRecord)
    }

    /// Whether the peer can end it.
    pub fn ends(self) -> bool {
        matches!(self, Kind::UnixRecord | Kind::Sctp | Kind::Vsock)
    }

    /// Whether a message may have no bytes. SCTP has no such message (RFC 9260 §3.3.1), and vsock sends nothing for one.
    pub fn has_empty(self) -> bool {
        !matches!(self, Kind::Sctp | Kind::Vsock)
    }

    /// Whether the kernel gives a long message in parts, of which the last is marked as such (RFC 6458 §8.1.21).
    pub fn comes_in_parts(self) -> bool {
        self == Kind::Sctp
    }

    /// Whether who ends it ends what comes, too, and is not told of that (RFC 9260 §9.2; net/sctp/socket.c, sctp_poll).
    pub fn ends_both_ways(self) -> bool {
        self == Kind::Sctp
    }

    /// Whether the kernel may take a part of a message when it has no room for the whole, and not say so.
    pub fn may_be_cut(self) -> bool {
        self == Kind::Vsock
    }

    /// Whether a message may get lost after it was taken: nothing says so to its sender, who must not count on it.
    pub fn may_lose(self) -> bool {
        !self.is_unix() && !self.ends()
    }

    /// Whether anybody can write a false sender on it, so that answers may go to somebody who asked for nothing.
    pub fn is_forgeable(self) -> bool {
        self.is_udp()
    }

    /// The largest message that can be sent; the kernel may say less (the path's, the interface's).
    pub fn most_bytes(self, socket: BorrowedFd<'_>, record_bytes: usize) -> usize {
        match self {
            Kind::Udp4 => 65_507,
            Kind::Udp6 => 65_527,
            // What the kernel keeps beside the bytes (net/unix/af_unix.c, unix_dgram_sendmsg).
            Kind::UnixDatagram | Kind::UnixRecord => option(socket, libc::SOL_SOCKET, libc::SO_SNDBUF)
                .map_or(record_bytes, |bytes| usize::try_from(bytes).unwrap_or(0).saturating_sub(32)),
            // net/sctp/socket.c, sctp_sendmsg_to_asoc.
            Kind::Sctp => option(socket, libc::SOL_SOCKET, libc::SO_SNDBUF)
                .map_or(record_bytes, |bytes| usize::try_from(bytes).unwrap_or(0).min(record_bytes)),
            Kind::Vsock => record_bytes.min(VSOCK_BYTES),
            Kind::Icmp | Kind::Icmp4Raw | Kind::Raw | Kind::Ethernet => 65_535,
        }
    }

    /// How many messages one system call takes, and the room for each.
    pub fn room(self) -> (usize, usize) {
        if self.is_unix() || self.ends() {
            // More than any sender's buffer lets pass (KMALLOC_MAX_SIZE and 17 pages), so that no record is ever cut. It is an address
            // range; memory is what messages touch.
            (8, 6 << 20)
        } else {
            (64, 65_536)
        }
    }
}

/// What a peer has room for, unless it has changed that (net/vmw_vsock/af_vsock.c, VSOCK_DEFAULT_BUFFER_SIZE).
const VSOCK_BYTES: usize = 262_144;
