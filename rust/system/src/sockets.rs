//! What can be asked of a socket that rustix does not ask: names of any family, its network namespace, news by netlink.

use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

/// The longest `struct sockaddr`: a Unix socket's name (man 7 unix).
const LONGEST_ADDRESS: usize = 128;

type AskName = unsafe extern "C" fn(libc::c_int, *mut libc::sockaddr, *mut libc::socklen_t) -> libc::c_int;

/// Its own address, as the bytes of a `struct sockaddr`.
pub fn local_address(socket: impl AsFd) -> io::Result<Vec<u8>> {
    address(socket, libc::getsockname)
}

/// Its peer's address; ENOTCONN without one.
pub fn peer_address(socket: impl AsFd) -> io::Result<Vec<u8>> {
    address(socket, libc::getpeername)
}

fn address(socket: impl AsFd, ask: AskName) -> io::Result<Vec<u8>> {
    let mut room = [0_u64; LONGEST_ADDRESS / size_of::<u64>()]; // aligned as any address is
    let mut length = LONGEST_ADDRESS as libc::socklen_t;
    // SAFETY: both functions write at most `length` bytes there, and into `length` what the address has.
    let outcome = unsafe { ask(socket.as_fd().as_raw_fd(), room.as_mut_ptr().cast(), &mut length) };
    if outcome != 0 {
        return Err(io::Error::last_os_error());
    }
    let bytes = room.iter().flat_map(|word| word.to_ne_bytes());
    Ok(bytes.take((length as usize).min(LONGEST_ADDRESS)).collect())
}

/// A number that the socket tells of itself (`getsockopt`).
pub fn option(socket: impl AsFd, level: i32, name: i32) -> io::Result<i32> {
    let mut value: libc::c_int = 0;
    let mut length = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: at most `length` bytes are written to `value`, which is as large.
    let outcome =
        unsafe { libc::getsockopt(socket.as_fd().as_raw_fd(), level, name, (&raw mut value).cast(), &mut length) };
    if outcome == 0 {
        Ok(value)
    } else {
        Err(io::Error::last_os_error())
    }
}

/// The network namespace that a socket belongs to, whatever namespace its owner is in. Needs CAP_NET_ADMIN there.
pub fn network_namespace(socket: impl AsFd) -> io::Result<OwnedFd> {
    // SAFETY: the request takes no argument, and gives a descriptor that nobody else has.
    unsafe {
        let fd = libc::ioctl(socket.as_fd().as_raw_fd(), SIOCGSKNS as _);
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(OwnedFd::from_raw_fd(fd))
    }
}

/// What names its network namespace among those of this boot (`SO_NETNS_COOKIE`, Linux 5.14). Whoever has the socket may ask.
pub fn network_namespace_cookie(socket: impl AsFd) -> io::Result<u64> {
    let mut cookie: u64 = 0;
    let mut length = size_of::<u64>() as libc::socklen_t;
    // SAFETY: at most `length` bytes are written to `cookie`, which is as large.
    let outcome = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            SO_NETNS_COOKIE,
            (&raw mut cookie).cast(),
            &mut length,
        )
    };
    if outcome == 0 {
        Ok(cookie)
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Has a netlink socket hear what is told to a group (linux/netlink.h).
pub fn join_netlink_group(socket: impl AsFd, group: u32) -> io::Result<()> {
    // SAFETY: the option takes a number, whose address and size are given.
    let outcome = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_NETLINK,
            libc::NETLINK_ADD_MEMBERSHIP,
            (&raw const group).cast(),
            size_of::<u32>() as libc::socklen_t,
        )
    };
    if outcome == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Has a netlink socket go on after it had to drop something; what it dropped is counted all the same.
pub fn tell_no_overflow(socket: impl AsFd) -> io::Result<()> {
    let yes: libc::c_int = 1;
    // SAFETY: the option takes a number, whose address and size are given.
    let outcome = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_NETLINK,
            libc::NETLINK_NO_ENOBUFS,
            (&raw const yes).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if outcome == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// How much a socket has dropped for want of room since it was made; 0 where the kernel does not tell (before Linux 4.12).
pub fn dropped(socket: impl AsFd) -> u32 {
    const SO_MEMINFO: libc::c_int = 55;
    const DROPS: usize = 8;
    let mut numbers = [0_u32; DROPS + 1];
    let mut length = size_of_val(&numbers) as libc::socklen_t;
    // SAFETY: at most `length` bytes are written to `numbers`, which is as large. Of a failure nothing is written.
    unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            SO_MEMINFO,
            numbers.as_mut_ptr().cast(),
            &mut length,
        );
    }
    numbers[DROPS]
}

/// Whether two threads share one table of descriptors; an error where the kernel does not say.
pub fn same_descriptors(one: u32, other: u32) -> io::Result<bool> {
    const KCMP_FILES: libc::c_long = 2;
    // SAFETY: kcmp takes numbers only and changes nothing.
    let outcome = unsafe { libc::syscall(libc::SYS_kcmp, one, other, KCMP_FILES, 0, 0) };
    match outcome {
        0 => Ok(true),
        1.. => Ok(false),
        _ => Err(io::Error::last_os_error()),
    }
}

const SIOCGSKNS: u32 = 0x894c;
const SO_NETNS_COOKIE: i32 = 71;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::net::{TcpListener, UdpSocket};

    use super::*;

    #[test]
    fn addresses_are_the_kernels_bytes() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = socket.local_addr().unwrap().port().to_be_bytes();
        let address = local_address(&socket).unwrap();
        assert_eq!(address[..8], [2, 0, port[0], port[1], 127, 0, 0, 1]);
        assert_eq!(address.len(), 16);
        assert_eq!(peer_address(&socket).unwrap_err().raw_os_error(), Some(libc::ENOTCONN));
    }

    #[test]
    fn an_option_is_a_number() {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        assert_eq!(option(&socket, libc::SOL_SOCKET, libc::SO_PROTOCOL).unwrap(), libc::IPPROTO_TCP);
        assert!(option(&socket, libc::SOL_SOCKET, -1).is_err());
    }

    #[test]
    fn nothing_was_dropped_yet() {
        assert_eq!(dropped(UdpSocket::bind("127.0.0.1:0").unwrap()), 0);
    }

    #[test]
    fn a_thread_shares_its_descriptors_with_itself() {
        let pid = std::process::id();
        // Not where the kernel lacks kcmp, or forbids it.
        if let Ok(same) = same_descriptors(pid, pid) {
            assert!(same);
        }
    }
}
