//! The kernel's buffers of a socket.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::OnceLock;

use rustix::net::{socket, AddressFamily, SocketType};

/// Whether a buffer whose size was set can be left to the kernel again (SO_BUF_LOCK, Linux 5.16).
pub fn can_unlock_buffers() -> bool {
    static CAN: OnceLock<bool> = OnceLock::new();
    *CAN.get_or_init(|| {
        let probe = socket(AddressFamily::INET, SocketType::STREAM, None)
            .or_else(|_| socket(AddressFamily::INET6, SocketType::STREAM, None));
        probe.is_ok_and(|probe| unlock_buffers(probe.as_fd()))
    })
}

/// Lets the kernel size the socket's buffers again.
pub fn unlock_buffers(socket: BorrowedFd<'_>) -> bool {
    let none: libc::c_int = 0;
    // SAFETY: the option takes an int, whose address and size are given; the kernel only reads it.
    let outcome = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            SO_BUF_LOCK,
            (&raw const none).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    outcome == 0
}

/// What the kernel keeps for the socket: received and not read, sent and not acknowledged (SO_MEMINFO, man 7 sock_diag).
pub fn memory_bytes(socket: BorrowedFd<'_>) -> usize {
    let mut words = [0_u32; SK_MEMINFO_VARS];
    let mut size = size_of_val(&words) as libc::socklen_t;
    // SAFETY: the option fills an array of u32, whose address and size in bytes are given.
    let outcome = unsafe {
        libc::getsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, SO_MEMINFO, words.as_mut_ptr().cast(), &raw mut size)
    };
    if outcome == 0 {
        words[SK_MEMINFO_RMEM_ALLOC] as usize + words[SK_MEMINFO_WMEM_QUEUED] as usize
    } else {
        0
    }
}

/// What the kernel takes of a TCP connection ahead of the network (TCP_NOTSENT_LOWAT, man 7 tcp); 0: as the machine's setting says. None: it is
/// none.
pub fn ahead_bytes(socket: BorrowedFd<'_>) -> Option<u32> {
    let mut bytes = 0_u32;
    let mut size = size_of_val(&bytes) as libc::socklen_t;
    // SAFETY: the option fills a u32, whose address and size are given.
    let outcome = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_NOTSENT_LOWAT,
            (&raw mut bytes).cast(),
            &raw mut size,
        )
    };
    (outcome == 0).then_some(bytes)
}

/// Sets that; whether it could be.
pub fn set_ahead_bytes(socket: BorrowedFd<'_>, bytes: u32) -> bool {
    // SAFETY: the option takes a u32, whose address and size are given; the kernel only reads it.
    let outcome = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_NOTSENT_LOWAT,
            (&raw const bytes).cast(),
            size_of::<u32>() as libc::socklen_t,
        )
    };
    outcome == 0
}

/// What a TCP connection has of what was sent and the network has not had (SIOCOUTQNSD, man 7 tcp); 0 if it is none.
pub fn not_sent_bytes(socket: BorrowedFd<'_>) -> usize {
    let mut bytes: libc::c_int = 0;
    // SAFETY: the request fills an int, whose address is given.
    let outcome = unsafe { libc::ioctl(socket.as_raw_fd(), SIOCOUTQNSD as _, &raw mut bytes) };
    if outcome == 0 {
        usize::try_from(bytes).unwrap_or(0)
    } else {
        0
    }
}

const SIOCOUTQNSD: libc::c_ulong = 0x894B;
const SO_MEMINFO: libc::c_int = 55;
const SK_MEMINFO_VARS: usize = 9;
const SK_MEMINFO_RMEM_ALLOC: usize = 0;
const SK_MEMINFO_WMEM_QUEUED: usize = 5;
const SO_BUF_LOCK: libc::c_int = 72;
