//! Messages in batches: many of them received or sent by one system call (man 2 recvmmsg, sendmmsg), with what the kernel
//! knows of each (man 7 ip, ipv6, udp, socket, unix).
//!
//! One message's way in: the kernel's queue -> `Batch::receive`, into memory that is kept and reused -> `Batch::message`, a
//! view, or `Batch::take`, the memory itself. Its way out: the caller's bytes -> `Outgoing`; runs of equal messages to one
//! peer as one.

use std::marker::PhantomData;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::ptr::null_mut;

use rustix::io::Errno;

mod buffer;
mod control;
mod fault;
mod memory;
mod name;

use buffer::Buffer;
pub use buffer::Taken;
use control::{Control, Writer};
pub use control::{Local, Marks};
pub use fault::{faults, Fault, Origin};
pub use name::Name;

/// Room for a number of messages, reused for every call.
pub struct Batch {
    buffers: Box<[Buffer]>,
    slot_bytes: usize,
    names: Box<[libc::sockaddr_storage]>,
    controls: Box<[Control]>,
    parts: Box<[libc::iovec]>,
    headers: Box<[libc::mmsghdr]>,
}

// SAFETY: the pointers inside point into what the batch itself owns, on the heap or mapped, and are only followed by `&mut self`.
unsafe impl Send for Batch {}

/// A message in a batch.
pub struct Message<'a> {
    pub data: &'a [u8],
    /// Who sent it: a `struct sockaddr`; empty for a connected socket of some types, or a sender without a name.
    pub from: &'a [u8],
    /// There was more of it than room.
    pub truncated: bool,
    /// The end of a record (MSG_EOR), where the type says so.
    pub whole: bool,
    control: &'a Control,
    control_bytes: usize,
}

impl Batch {
    /// For up to `slots` messages of up to `slot_bytes` each. Memory is used as messages come, not before.
    pub fn new(slots: usize, slot_bytes: usize) -> Result<Self, Errno> {
        let buffers = (0..slots).map(|slot| Buffer::new(slot_bytes, slot)).collect::<Result<_, _>>()?;
        // SAFETY: all-zero is a value of each of these C structures.
        let (names, parts, headers) = unsafe {
            (
                vec![std::mem::zeroed::<libc::sockaddr_storage>(); slots].into_boxed_slice(),
                vec![std::mem::zeroed::<libc::iovec>(); slots].into_boxed_slice(),
                vec![std::mem::zeroed::<libc::mmsghdr>(); slots].into_boxed_slice(),
            )
        };
        let controls = vec![Control::default(); slots].into_boxed_slice();
        let mut batch = Self { buffers, slot_bytes, names, controls, parts, headers };
        for slot in 0..slots {
            // Boxed slices do not move when the batch does.
            let part = &mut batch.parts[slot];
            part.iov_base = batch.buffers[slot].start().cast();
            part.iov_len = slot_bytes;
            let header = &mut batch.headers[slot].msg_hdr;
            header.msg_name = (&raw mut batch.names[slot]).cast();
            header.msg_iov = part;
            header.msg_iovlen = 1;
            header.msg_control = batch.controls[slot].as_mut_ptr();
            batch.prepare(slot);
        }
        Ok(batch)
    }

    pub fn slots(&self) -> usize {
        self.headers.len()
    }

    /// Receives what is there, at most `count` messages, without waiting: how many. `Errno::AGAIN` if there are none.
    /// `descriptors`: they may come with messages. Packet sockets refuse the flag that this needs (net/packet/af_packet.c).
    pub fn receive(&mut self, socket: BorrowedFd<'_>, count: usize, descriptors: bool) -> Result<usize, Errno> {
        let flags = if descriptors { libc::MSG_DONTWAIT | libc::MSG_CMSG_CLOEXEC } else { libc::MSG_DONTWAIT };
        let count = count.min(self.slots());
        // SAFETY: the headers describe memory that the batch owns and nobody else uses meanwhile; `count` of them exist.
        let got = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                self.headers.as_mut_ptr(),
                count as libc::c_uint,
                flags as _,
                std::ptr::null_mut(),
            )
        };
        usize::try_from(got).map_err(|_| last_error())
    }

    /// The message in that slot of the last `receive`; each is looked at once, as it is made ready for the next call by that.
    pub fn message(&mut self, slot: usize) -> Message<'_> {
        let libc::mmsghdr { msg_len: length, msg_hdr: header } = &self.headers[slot];
        let (length, flags, control_bytes) = (*length as usize, header.msg_flags, header.msg_controllen);
        let name_bytes = (header.msg_namelen as usize).min(size_of::<libc::sockaddr_storage>());
        self.prepare(slot);
        // SAFETY: the kernel has written `length` bytes at most `slot_bytes` into this slot, and a name of at most its room.
        let (data, from) = unsafe {
            let name = (&raw const self.names[slot]).cast::<u8>();
            (
                std::slice::from_raw_parts(self.buffers[slot].start(), length.min(self.slot_bytes)),
                std::slice::from_raw_parts(name, name_bytes),
            )
        };
        Message {
            data,
            from,
            truncated: flags & libc::MSG_TRUNC != 0,
            whole: flags & libc::MSG_EOR != 0,
            control: &self.controls[slot],
            control_bytes,
        }
    }

    /// The memory of the message in that slot, which was `length` bytes long: the slot gets other memory.
    pub fn take(&mut self, slot: usize, length: usize) -> Result<Taken, Errno> {
        let mut buffer = Buffer::again(self.slot_bytes, slot)?;
        self.parts[slot].iov_base = buffer.start().cast();
        std::mem::swap(&mut self.buffers[slot], &mut buffer);
        Ok(Taken::new(buffer, length))
    }

    /// Gives memory back that large messages have used.
    pub fn trim(&mut self, slot: usize, used: usize) {
        self.buffers[slot].trim(used);
    }

    fn prepare(&mut self, slot: usize) {
        let header = &mut self.headers[slot].msg_hdr;
        header.msg_namelen = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
        header.msg_controllen = Control::BYTES as _;
    }
}

impl Message<'_> {
    /// What the kernel says of it. Descriptors that came with it are the caller's from here on.
    pub fn marks(&self) -> Marks {
        self.control.read(self.control_bytes)
    }

    /// Whether the kernel says anything of it.
    pub fn is_marked(&self) -> bool {
        self.control_bytes > 0
    }
}

/// Messages to be sent by one system call, at most `AT_ONCE`.
pub struct Outgoing<'a> {
    parts: Vec<libc::iovec>,
    headers: Vec<libc::mmsghdr>,
    /// Of those messages whose header has a length for it.
    controls: Vec<Writer>,
    borrowed: PhantomData<&'a [u8]>,
}

impl<'a> Outgoing<'a> {
    pub fn with_capacity(messages: usize) -> Self {
        let messages = messages.min(AT_ONCE);
        let (parts, headers) = (Vec::with_capacity(messages), Vec::with_capacity(messages));
        Self { parts, headers, controls: Vec::new(), borrowed: PhantomData }
    }

    pub fn is_full(&self) -> bool {
        self.headers.len() >= AT_ONCE
    }

    /// One more message, of several parts. `to`: None is the peer that the socket is connected to; `from`: from which of this machine's
    /// addresses. With `segment_bytes` it is several messages, all of this size but the last, which may be shorter (UDP_SEGMENT, man 7 udp).
    pub fn add(
        &mut self,
        parts: impl Iterator<Item = &'a [u8]>,
        to: Option<&'a Name>,
        from: Option<&Local>,
        segment_bytes: Option<u16>,
    ) {
        // SAFETY: all-zero is a value of this C structure.
        let mut whole: libc::mmsghdr = unsafe { std::mem::zeroed() };
        let header = &mut whole.msg_hdr;
        if let Some(name) = to {
            header.msg_name = name.bytes().as_ptr().cast_mut().cast();
            header.msg_namelen = name.bytes().len() as libc::socklen_t;
        }
        let before = self.parts.len();
        self.parts
            .extend(parts.map(|part| libc::iovec { iov_base: part.as_ptr().cast_mut().cast(), iov_len: part.len() }));
        header.msg_iovlen = (self.parts.len() - before) as _;
        if segment_bytes.is_some() || from.is_some() {
            let mut control = Writer::new();
            if let Some(bytes) = segment_bytes {
                control.segment(bytes);
            }
            if let Some(local) = from {
                control.leave_from(local);
            }
            (_, header.msg_controllen) = control.finish();
            self.controls.push(control);
        }
        self.headers.push(whole);
    }

    /// Sends without waiting; how many messages the kernel took. An error is that of the first.
    pub fn send(&mut self, socket: BorrowedFd<'_>) -> Result<usize, Errno> {
        // The addresses are put in now that nothing is added, and so nothing moves any more.
        let mut part = self.parts.as_mut_ptr();
        let mut controls = self.controls.iter_mut();
        for header in self.headers.iter_mut().map(|whole| &mut whole.msg_hdr) {
            header.msg_iov = part;
            // SAFETY: the parts of all messages lie one behind the other, and these are as many as this one has.
            part = unsafe { part.add(header.msg_iovlen) };
            if header.msg_controllen > 0 {
                (header.msg_control, header.msg_controllen) = controls.next().map_or((null_mut(), 0), Writer::finish);
            }
        }
        // SAFETY: the headers describe memory that lives as long as this does, and the kernel only reads it.
        let sent = unsafe {
            libc::sendmmsg(
                socket.as_raw_fd(),
                self.headers.as_mut_ptr(),
                self.headers.len() as libc::c_uint,
                (libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL) as _,
            )
        };
        usize::try_from(sent).map_err(|_| last_error())
    }
}

/// Sends one message without waiting, with descriptors that the peer gets (Unix only).
pub fn send_one(
    socket: BorrowedFd<'_>,
    data: &[u8],
    to: Option<&Name>,
    from: Option<&Local>,
    descriptors: &[BorrowedFd<'_>],
) -> Result<(), Errno> {
    let mut control = Writer::new();
    if let Some(local) = from {
        control.leave_from(local);
    }
    if !descriptors.is_empty() {
        control.descriptors(descriptors);
    }
    let mut part = libc::iovec { iov_base: data.as_ptr().cast_mut().cast(), iov_len: data.len() };
    // SAFETY: all-zero is a value of this C structure.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    if let Some(name) = to {
        header.msg_name = name.bytes().as_ptr().cast_mut().cast();
        header.msg_namelen = name.bytes().len() as libc::socklen_t;
    }
    header.msg_iov = &raw mut part;
    header.msg_iovlen = 1;
    (header.msg_control, header.msg_controllen) = control.finish();
    // SAFETY: the header describes memory that lives until the end of this function, and the kernel only reads it.
    let sent = unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const header, libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL) };
    if sent < 0 {
        return Err(last_error());
    }
    Ok(())
}

/// What the kernel lost for want of room since the socket was made (SO_MEMINFO, man 7 sock_diag).
pub fn dropped(socket: BorrowedFd<'_>) -> u64 {
    let mut words = [0_u32; SK_MEMINFO_VARS];
    let mut size = size_of_val(&words) as libc::socklen_t;
    // SAFETY: the option fills an array of u32, whose address and size in bytes are given.
    let outcome = unsafe {
        libc::getsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, SO_MEMINFO, words.as_mut_ptr().cast(), &raw mut size)
    };
    if outcome == 0 {
        u64::from(words[SK_MEMINFO_DROPS])
    } else {
        0
    }
}

/// An option whose value is an int; None if the socket has no such option.
pub fn option(socket: BorrowedFd<'_>, level: i32, name: i32) -> Option<i32> {
    let mut value: libc::c_int = 0;
    let mut size = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `size` bytes to an int.
    let outcome = unsafe { libc::getsockopt(socket.as_raw_fd(), level, name, (&raw mut value).cast(), &raw mut size) };
    (outcome == 0).then_some(value)
}

/// Whether an SCTP socket that was connected no longer is (SCTP_STATUS, RFC 6458 §8.2.1): its names outlive the association.
pub fn has_lost_association(socket: BorrowedFd<'_>) -> bool {
    // A `struct sctp_status` has 176 bytes.
    let mut status = [0_u64; 32];
    let mut size = size_of_val(&status) as libc::socklen_t;
    // SAFETY: the kernel writes at most `size` bytes to the array.
    let outcome = unsafe {
        libc::getsockopt(socket.as_raw_fd(), libc::IPPROTO_SCTP, SCTP_STATUS, status.as_mut_ptr().cast(), &raw mut size)
    };
    outcome < 0 && last_error() == Errno::INVAL
}

/// Sets an option whose value is an int.
pub fn set_option(socket: BorrowedFd<'_>, level: i32, name: i32, value: i32) -> Result<(), Errno> {
    let size = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the kernel reads an int, whose address and size are given.
    let outcome = unsafe { libc::setsockopt(socket.as_raw_fd(), level, name, (&raw const value).cast(), size) };
    if outcome == 0 {
        Ok(())
    } else {
        Err(last_error())
    }
}

fn last_error() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)
}

/// Descriptors that came with a message.
pub type Descriptors = Vec<OwnedFd>;

/// How many messages one system call hands over at most.
pub const AT_ONCE: usize = 64;
/// How many parts one message has at most (UDP_MAX_SEGMENTS is 64 before Linux 6.2).
pub const MOST_SEGMENTS: usize = 64;
const SO_MEMINFO: libc::c_int = 55;
const SCTP_STATUS: libc::c_int = 14;
const SK_MEMINFO_VARS: usize = 9;
const SK_MEMINFO_DROPS: usize = 8;

#[cfg(test)]
mod tests;
