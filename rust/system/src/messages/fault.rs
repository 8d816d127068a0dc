//! What went wrong with messages that were sent, as others on the way tell it (IP_RECVERR, man 7 ip).

use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::io::Errno;

use super::name::Name;

/// A message that did not arrive.
#[derive(Clone, Copy, Debug)]
pub struct Fault {
    pub errno: i32,
    pub origin: Origin,
    /// The type and code of the ICMP message.
    pub kind: u8,
    pub code: u8,
    /// For a message that was too large: what would have passed.
    pub mtu: u32,
    /// Where it was to go.
    pub to: Option<Name>,
    /// Who said so.
    pub offender: Option<Name>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// This machine.
    Local,
    Icmp,
    Icmp6,
    Other,
}

/// Takes what lies in the socket's error queue, at most `most` of it.
pub fn faults(socket: BorrowedFd<'_>, most: usize) -> Vec<Fault> {
    let mut found = Vec::new();
    while found.len() < most {
        match next(socket) {
            Ok(Some(fault)) => found.push(fault),
            Ok(None) => {}
            Err(_) => break,
        }
    }
    found
}

fn next(socket: BorrowedFd<'_>) -> Result<Option<Fault>, Errno> {
    let mut control = [0_u64; 64];
    // SAFETY: all-zero is a value of these C structures.
    let (mut name, mut header): (libc::sockaddr_storage, libc::msghdr) = unsafe { std::mem::zeroed() };
    // The message itself comes back, too; its beginning is of no use to us.
    let mut data = [0_u8; 1];
    let mut part = libc::iovec { iov_base: data.as_mut_ptr().cast(), iov_len: data.len() };
    header.msg_name = (&raw mut name).cast();
    header.msg_namelen = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
    header.msg_iov = &raw mut part;
    header.msg_iovlen = 1;
    header.msg_control = control.as_mut_ptr().cast();
    header.msg_controllen = size_of_val(&control);
    let flags = libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT;
    // SAFETY: the header describes memory of this function, with its true sizes.
    let got = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut header, flags) };
    if got < 0 {
        return Err(super::last_error());
    }
    let mut fault = None;
    // SAFETY: the macros walk the control messages that the kernel wrote, whose room and size the header has.
    unsafe {
        let mut message = libc::CMSG_FIRSTHDR(&raw const header);
        while let Some(current) = message.as_ref() {
            let ours = [(libc::IPPROTO_IP, libc::IP_RECVERR), (libc::IPPROTO_IPV6, libc::IPV6_RECVERR)]
                .contains(&(current.cmsg_level, current.cmsg_type));
            let value_bytes = current.cmsg_len.saturating_sub(libc::CMSG_LEN(0) as usize);
            if ours && value_bytes >= size_of::<libc::sock_extended_err>() {
                let start = libc::CMSG_DATA(message);
                let error = start.cast::<libc::sock_extended_err>().read_unaligned();
                // The offender's address follows (SO_EE_OFFENDER).
                let rest = std::slice::from_raw_parts(
                    start.add(size_of::<libc::sock_extended_err>()),
                    value_bytes - size_of::<libc::sock_extended_err>(),
                );
                let name_bytes = (header.msg_namelen as usize).min(size_of_val(&name));
                let to = std::slice::from_raw_parts((&raw const name).cast::<u8>(), name_bytes);
                fault = Some(Fault {
                    errno: error.ee_errno as i32,
                    origin: match error.ee_origin {
                        libc::SO_EE_ORIGIN_LOCAL => Origin::Local,
                        libc::SO_EE_ORIGIN_ICMP => Origin::Icmp,
                        libc::SO_EE_ORIGIN_ICMP6 => Origin::Icmp6,
                        _ => Origin::Other,
                    },
                    kind: error.ee_type,
                    code: error.ee_code,
                    mtu: if error.ee_errno == libc::EMSGSIZE as u32 { error.ee_info } else { 0 },
                    to: Name::new(to).filter(|name| !name.bytes().is_empty()),
                    offender: offender(rest),
                });
            }
            message = libc::CMSG_NXTHDR(&raw const header, message);
        }
    }
    Ok(fault)
}

/// The address behind an error; None where it says AF_UNSPEC.
fn offender(raw: &[u8]) -> Option<Name> {
    let family = i32::from(u16::from_ne_bytes(raw.get(..2)?.try_into().ok()?));
    let bytes = match family {
        libc::AF_INET => size_of::<libc::sockaddr_in>(),
        libc::AF_INET6 => size_of::<libc::sockaddr_in6>(),
        _ => return None,
    };
    Name::new(raw.get(..bytes)?)
}
