//! Classic BPF programs on sockets: what the kernel drops before it is queued.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use rustix::net::{recv, RecvFlags};

/// One instruction of classic BPF, as `struct sock_filter` has it (linux/filter.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instruction {
    pub code: u16,
    pub jump_true: u8,
    pub jump_false: u8,
    pub operand: u32,
}

/// What a program returns to keep so many bytes of everything; 0 keeps nothing.
pub const fn keep(bytes: u32) -> Instruction {
    Instruction { code: BPF_RET_K, jump_true: 0, jump_false: 0, operand: bytes }
}

impl Instruction {
    /// The program's end that keeps a number of bytes which stands in it.
    pub fn keeps(&self) -> bool {
        self.code == BPF_RET_K && self.operand > 0
    }
}

/// Attaches a program in place of the one before. The kernel checks it: an invalid one is EINVAL.
///
/// What is queued already has not passed it. For a socket that hears nothing yet (made with protocol 0, and not bound), that is
/// nothing; for any other there is `attach_and_drain`.
pub fn attach(socket: impl AsFd, program: &[Instruction]) -> io::Result<()> {
    let Ok(length) = u16::try_from(program.len()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let mut instructions: Vec<libc::sock_filter> = program
        .iter()
        .map(|instruction| libc::sock_filter {
            code: instruction.code,
            jt: instruction.jump_true,
            jf: instruction.jump_false,
            k: instruction.operand,
        })
        .collect();
    let program = libc::sock_fprog { len: length, filter: instructions.as_mut_ptr() };
    // SAFETY: the option takes a sock_fprog, whose address and size are given; it points to `length` instructions, which live until
    // the call is over, and the kernel makes a copy of them.
    let outcome = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_FILTER,
            (&raw const program).cast(),
            size_of::<libc::sock_fprog>() as libc::socklen_t,
        )
    };
    if outcome == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Attaches a program to a socket that hears already, so that nothing is received that it does not let through.
///
/// Everything is dropped first, then what is queued is thrown away, and only then the program comes: the way of libpcap.
pub fn attach_and_drain(socket: impl AsFd, program: &[Instruction]) -> io::Result<()> {
    let socket = socket.as_fd();
    attach(socket, &[keep(0)])?;
    drain(socket)?;
    attach(socket, program)
}

fn drain(socket: BorrowedFd<'_>) -> io::Result<()> {
    loop {
        let mut byte = [0_u8; 1];
        match recv(socket, &mut byte[..], RecvFlags::DONTWAIT | RecvFlags::TRUNC) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::AGAIN) => return Ok(()),
            Err(failure) => return Err(failure.into()),
        }
    }
}

const BPF_RET_K: u16 = 0x06;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::net::UdpSocket;
    use std::time::Duration;

    use super::*;

    fn pair() -> (UdpSocket, UdpSocket) {
        let (a, b) = (UdpSocket::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
        a.connect(b.local_addr().unwrap()).unwrap();
        b.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        (a, b)
    }

    #[test]
    fn a_program_decides_what_is_queued() {
        let (sender, receiver) = pair();
        // The first byte of a datagram's data stands behind the UDP header's eight.
        let first_is_x = [
            Instruction { code: 0x30, jump_true: 0, jump_false: 0, operand: 8 },
            Instruction { code: 0x15, jump_true: 0, jump_false: 1, operand: u32::from(b'x') },
            keep(65_535),
            keep(0),
        ];
        attach(&receiver, &first_is_x).unwrap();
        sender.send(b"a").unwrap();
        sender.send(b"x").unwrap();
        let mut data = [0; 8];
        assert_eq!(receiver.recv(&mut data).unwrap(), 1);
        assert_eq!(data[0], b'x');
    }

    #[test]
    fn what_was_queued_before_the_program_is_not_received() {
        let (sender, receiver) = pair();
        sender.send(b"before").unwrap();
        attach_and_drain(&receiver, &[keep(65_535)]).unwrap();
        sender.send(b"behind").unwrap();
        let mut data = [0; 8];
        assert_eq!(receiver.recv(&mut data).unwrap(), 6);
        assert_eq!(&data[..6], b"behind");
    }

    #[test]
    fn what_the_kernel_does_not_take_is_an_error() {
        let (_, receiver) = pair();
        let no_end = [Instruction { code: 0x30, jump_true: 0, jump_false: 0, operand: 0 }];
        assert_eq!(attach(&receiver, &no_end).unwrap_err().raw_os_error(), Some(libc::EINVAL));
        assert_eq!(attach(&receiver, &[]).unwrap_err().raw_os_error(), Some(libc::EINVAL));
        let too_long = vec![keep(1); 70_000];
        assert!(attach(&receiver, &too_long).is_err());
    }

    #[test]
    fn ends_that_keep_are_told_from_others() {
        assert!(keep(1).keeps());
        assert!(!keep(0).keeps());
        assert!(!Instruction { code: 0x16, jump_true: 0, jump_false: 0, operand: 1 }.keeps());
    }
}
