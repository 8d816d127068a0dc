//! What travels beside a message's bytes: control messages (man 3 cmsg).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// What the kernel says of a message that came.
#[derive(Default)]
pub struct Marks {
    pub local: Option<Local>,
    /// The two bits of explicit congestion notification (RFC 3168).
    pub ecn: u8,
    /// When the kernel saw it, since 1970.
    pub timestamp_ns: Option<u64>,
    /// It is several messages of this size, and a last one that may be shorter (UDP_GRO, man 7 udp).
    pub segment_bytes: Option<u16>,
    pub descriptors: Vec<OwnedFd>,
    /// There were more descriptors than room; the kernel has closed those.
    pub descriptors_lost: bool,
}

/// Which address a message was sent to, and by which interface it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Local {
    /// It may be a group's, or the one of all machines on a network.
    pub address: IpAddr,
    /// From where an answer leaves; unspecified: from the one that the kernel chooses.
    pub own: IpAddr,
    pub interface: u32,
}

impl Local {
    /// Where a message was sent to that one address of this machine, or a group, stands for.
    pub fn new(address: IpAddr, interface: u32) -> Self {
        let own = match (address.to_canonical().is_multicast(), address) {
            (false, _) => address,
            // A group sends nothing.
            (true, IpAddr::V4(_)) => Ipv4Addr::UNSPECIFIED.into(),
            (true, IpAddr::V6(address)) if address.is_multicast() => Ipv6Addr::UNSPECIFIED.into(),
            (true, IpAddr::V6(_)) => Ipv4Addr::UNSPECIFIED.to_ipv6_mapped().into(),
        };
        Self { address, own, interface }
    }
}

#[derive(Clone)]
#[repr(C, align(8))]
pub struct Control([u8; Control::BYTES]);

impl Default for Control {
    fn default() -> Self {
        Self([0; Self::BYTES])
    }
}

impl Control {
    /// Room for 253 descriptors, which is the most that one message carries (SCM_MAX_FD), and for the rest.
    pub const BYTES: usize = 1280;

    pub fn as_mut_ptr(&mut self) -> *mut libc::c_void {
        self.0.as_mut_ptr().cast()
    }

    /// Reads the `bytes` that the kernel wrote.
    pub fn read(&self, bytes: usize) -> Marks {
        let mut marks = Marks::default();
        let mut rest = &self.0[..bytes.min(Self::BYTES)];
        while let Some(first) = Piece::first(rest) {
            marks.note(&first);
            rest = first.rest;
        }
        marks
    }
}

/// A control message, and what follows it.
struct Piece<'a> {
    level: libc::c_int,
    kind: libc::c_int,
    value: &'a [u8],
    rest: &'a [u8],
}

impl<'a> Piece<'a> {
    fn first(rest: &'a [u8]) -> Option<Self> {
        // struct cmsghdr: a size_t and two ints, then the value, aligned to a size_t (include/linux/socket.h).
        let length = usize::from_ne_bytes(rest.get(..8)?.try_into().ok()?);
        let level = libc::c_int::from_ne_bytes(rest.get(8..12)?.try_into().ok()?);
        let kind = libc::c_int::from_ne_bytes(rest.get(12..16)?.try_into().ok()?);
        let value = rest.get(HEADER_BYTES..length)?;
        Some(Self { level, kind, value, rest: rest.get(aligned(length)..).unwrap_or_default() })
    }
}

impl Marks {
    fn note(&mut self, piece: &Piece<'_>) {
        let value = piece.value;
        match (piece.level, piece.kind) {
            (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                // struct in_pktinfo: interface, address to answer from, address in the header. The former is none on ping
                // sockets. On a socket of both versions it stands behind IPV6_PKTINFO, which has the latter only.
                let (Some(interface), Some(own), Some(address)) = (number(value), quad(value, 4), quad(value, 8))
                else {
                    return;
                };
                self.local = Some(Local { address: address.into(), own: own.into(), interface });
            }
            (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                let Some(address) = value.get(..16).and_then(|bytes| <[u8; 16]>::try_from(bytes).ok()) else { return };
                let Some(interface) = value.get(16..).and_then(number) else { return };
                self.local = Some(Local::new(Ipv6Addr::from(address).into(), interface));
            }
            // A byte from IPv4, an int from IPv6.
            (libc::IPPROTO_IP, libc::IP_TOS) => self.ecn = value.first().map_or(0, |byte| byte & 3),
            (libc::IPPROTO_IPV6, libc::IPV6_TCLASS) => self.ecn = number(value).map_or(0, |class| (class & 3) as u8),
            (libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS) => {
                let seconds = value.get(..8).and_then(|bytes| Some(u64::from_ne_bytes(bytes.try_into().ok()?)));
                let rest = value.get(8..16).and_then(|bytes| Some(u64::from_ne_bytes(bytes.try_into().ok()?)));
                self.timestamp_ns = seconds.zip(rest).map(|(seconds, rest)| seconds * 1_000_000_000 + rest);
            }
            (SOL_UDP, UDP_GRO) => self.segment_bytes = number(value).and_then(|bytes| u16::try_from(bytes).ok()),
            (libc::SOL_SOCKET, libc::SCM_RIGHTS) => {
                for bytes in value.chunks_exact(4) {
                    if let Some(fd) = number(bytes) {
                        // SAFETY: the kernel has just made this descriptor for us, and nobody else knows it.
                        self.descriptors.push(unsafe { OwnedFd::from_raw_fd(fd as i32) });
                    }
                }
            }
            _ => {}
        }
    }
}

/// Control messages to send.
#[repr(C, align(8))]
pub struct Writer {
    room: [u8; Writer::BYTES],
    used: usize,
    /// Beyond what fits: descriptors, which are rarely sent.
    large: Vec<u64>,
}

impl Writer {
    const BYTES: usize = 72;

    pub const fn new() -> Self {
        Self { room: [0; Self::BYTES], used: 0, large: Vec::new() }
    }

    /// Each `bytes` of it are a datagram.
    pub fn segment(&mut self, bytes: u16) {
        self.put(SOL_UDP, UDP_SEGMENT, &bytes.to_ne_bytes());
    }

    /// It leaves from that address.
    pub fn leave_from(&mut self, local: &Local) {
        match local.own {
            IpAddr::V4(address) => {
                // No interface: the routing table chooses it, as for any packet from that address.
                let mut value = [0; 12];
                value[4..8].copy_from_slice(&address.octets());
                self.put(libc::IPPROTO_IP, libc::IP_PKTINFO, &value);
            }
            IpAddr::V6(address) => {
                // A link-local address means something on its link only, and where the kernel chooses one it is of that link.
                let link = address.is_unicast_link_local() || address.is_unspecified();
                let interface = if link { local.interface } else { 0 };
                let mut value = [0; 20];
                value[..16].copy_from_slice(&address.octets());
                value[16..].copy_from_slice(&interface.to_ne_bytes());
                self.put(libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, &value);
            }
        }
    }

    pub fn descriptors(&mut self, descriptors: &[BorrowedFd<'_>]) {
        let value: Vec<u8> = descriptors.iter().flat_map(|fd| fd.as_raw_fd().to_ne_bytes()).collect();
        let mut message = header(libc::SOL_SOCKET, libc::SCM_RIGHTS, value.len()).to_vec();
        message.extend(value);
        message.resize(aligned(message.len()), 0);
        self.large = message
            .chunks_exact(8)
            .map(|word| {
                let mut bytes = [0; 8];
                bytes.copy_from_slice(word);
                u64::from_ne_bytes(bytes)
            })
            .collect();
    }

    /// Where they are, and how many bytes; null if there are none.
    #[allow(clippy::type_complexity, reason = "the two fields of a msghdr")]
    pub fn finish(&mut self) -> (*mut libc::c_void, usize) {
        if !self.large.is_empty() {
            return (self.large.as_mut_ptr().cast(), self.large.len() * 8);
        }
        if self.used == 0 {
            return (std::ptr::null_mut(), 0);
        }
        (self.room.as_mut_ptr().cast(), self.used)
    }

    fn put(&mut self, level: libc::c_int, kind: libc::c_int, value: &[u8]) {
        let end = self.used + HEADER_BYTES + value.len();
        if aligned(end) > Self::BYTES {
            return; // A segment's size and an address are all that is ever put, and there is room for both.
        }
        self.room[self.used..self.used + HEADER_BYTES].copy_from_slice(&header(level, kind, value.len()));
        self.room[self.used + HEADER_BYTES..end].copy_from_slice(value);
        self.used = aligned(end);
    }
}

fn header(level: libc::c_int, kind: libc::c_int, value_bytes: usize) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    header[..8].copy_from_slice(&(HEADER_BYTES + value_bytes).to_ne_bytes());
    header[8..12].copy_from_slice(&level.to_ne_bytes());
    header[12..].copy_from_slice(&kind.to_ne_bytes());
    header
}

fn aligned(bytes: usize) -> usize {
    bytes.next_multiple_of(size_of::<usize>())
}

fn number(value: &[u8]) -> Option<u32> {
    Some(u32::from_ne_bytes(value.get(..4)?.try_into().ok()?))
}

fn quad(value: &[u8], at: usize) -> Option<[u8; 4]> {
    value.get(at..at + 4)?.try_into().ok()
}

const HEADER_BYTES: usize = 16;
const SOL_UDP: libc::c_int = 17;
const UDP_SEGMENT: libc::c_int = 103;
const UDP_GRO: libc::c_int = 104;

// struct cmsghdr as it is read and written here has the size of a 64-bit system.
const _: () = assert!(size_of::<libc::cmsghdr>() == HEADER_BYTES);
