//! A packet socket's receive ring (TPACKET_V3): the kernel writes packets into blocks of shared memory, and hands over whole blocks.
//!
//! `PacketSocket` is open and hears nothing; `Ring::start` gives it filter and memory and only then has it listen: no packet comes
//! that has not passed the filter. `Ring::next_frame` lends one packet after the other, out of the shared memory itself; a block
//! goes back to the kernel when its last packet has been looked at. Whatever finds no room is dropped by the kernel, and counted.

use std::ffi::c_int;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::sockopt::socket_error;

use crate::filter::{self, Instruction};

mod frame;

pub use frame::{Direction, Frame, Link};

/// A packet socket that hears nothing yet.
#[derive(Debug)]
pub struct PacketSocket {
    socket: OwnedFd,
    interface: Option<u32>,
    link: Link,
    loopback: bool,
}

impl PacketSocket {
    /// On one interface, or on all. EPERM without CAP_NET_RAW, ENODEV for a name that there is not.
    pub fn open(interface: Option<&str>) -> io::Result<PacketSocket> {
        // Protocol 0: until it is bound, no packet is for it (man 7 packet).
        let cooked = packet_socket(libc::SOCK_DGRAM)?;
        let Some(name) = interface else {
            return Ok(PacketSocket { socket: cooked, interface: None, link: Link::Cooked, loopback: false });
        };
        let index = rustix::net::netdevice::name_to_index(&cooked, name)?;
        let hardware = hardware_type(&cooked, name)?;
        let loopback = hardware == libc::ARPHRD_LOOPBACK;
        // What else there is (tunnels, PPP) has headers of its own, or none: there the kernel takes them off.
        let (socket, link) = if loopback || hardware == libc::ARPHRD_ETHER {
            (packet_socket(libc::SOCK_RAW)?, Link::Ethernet)
        } else {
            (cooked, Link::Cooked)
        };
        Ok(PacketSocket { socket, interface: Some(index), link, loopback })
    }

    /// What packets begin with: a filter is written for that.
    pub fn link(&self) -> Link {
        self.link
    }
}

impl AsFd for PacketSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Of each packet at most so much is kept.
    pub snap_bytes: u32,
    /// Also what is for other machines.
    pub promiscuous: bool,
    /// Shared memory. The kernel may have less to give: then it is halved until it has.
    pub buffer_bytes: usize,
    /// A block that is not full is handed over after so long.
    pub retire_milliseconds: u32,
}

/// What the kernel says since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// That passed the filter, `dropped` ones included.
    pub packets: u64,
    /// For want of room.
    pub dropped: u64,
    /// How often all blocks were full.
    pub freezes: u64,
}

/// A socket that fills blocks. Readable when there are frames, or a failure.
#[derive(Debug)]
pub struct Ring {
    blocks: Blocks,
    socket: PacketSocket,
    snap_bytes: u32,
    retire: Duration,
    /// The block that is next, or is being read.
    block: usize,
    reading: Option<Reading>,
    counted: Statistics,
}

/// Where in a block that is ours: the next frame, and how many there are.
#[derive(Clone, Copy, Debug)]
struct Reading {
    offset: usize,
    left: u32,
}

impl Ring {
    /// Starts to receive. `program` decides on what (`filter`); without one it is everything.
    pub fn start(socket: PacketSocket, options: &Options, program: &[Instruction]) -> io::Result<Ring> {
        filter::attach(&socket, &limited(program, options.snap_bytes))?;
        set_option(&socket, libc::PACKET_VERSION, &(libc::tpacket_versions::TPACKET_V3 as c_int))?;
        let count = allot(&socket, options)?;
        let blocks = Blocks::map(&socket, count)?;
        if socket.loopback {
            // Each packet comes there twice, going out and coming in.
            set_option(&socket, libc::PACKET_IGNORE_OUTGOING, &1)?;
        }
        if let Some(index) = socket.interface.filter(|_| options.promiscuous) {
            let membership = libc::packet_mreq {
                mr_ifindex: index as c_int,
                mr_type: libc::PACKET_MR_PROMISC as u16,
                mr_alen: 0,
                mr_address: [0; 8],
            };
            // It ends with the socket.
            set_option(&socket, libc::PACKET_ADD_MEMBERSHIP, &membership)?;
        }
        bind(&socket)?;
        Ok(Ring {
            blocks,
            socket,
            snap_bytes: options.snap_bytes,
            retire: Duration::from_millis(u64::from(options.retire_milliseconds)),
            block: 0,
            reading: None,
            counted: Statistics::default(),
        })
    }

    /// The next packet, or None if there is none now. It must be done with before the one after it.
    pub fn next_frame(&mut self) -> Option<Frame<'_>> {
        loop {
            let reading = match self.reading {
                Some(reading) if reading.left > 0 => reading,
                Some(_) => {
                    self.blocks.release(self.block);
                    self.block = (self.block + 1) % self.blocks.count;
                    self.reading = None;
                    continue;
                }
                None => {
                    let block = self.blocks.handed_over(self.block)?;
                    let (left, offset) = frame::block_header(block);
                    self.reading = Some(Reading { offset, left });
                    continue;
                }
            };
            let block = self.blocks.handed_over(self.block)?;
            let (frame, next) = Frame::read(block, reading.offset, self.socket.link, self.snap_bytes);
            self.reading =
                Some(next.map_or(Reading { left: 0, ..reading }, |offset| Reading { offset, left: reading.left - 1 }));
            // On all interfaces the loopback's are seen twice.
            let twice =
                |frame: &Frame<'_>| frame.direction() == Direction::Out && frame.hardware == libc::ARPHRD_LOOPBACK;
            if frame.as_ref().is_some_and(|frame| !twice(frame)) {
                // Read once more, for the sake of its lifetime: a borrow that is given back only sometimes ends too late for the
                // loop (rust-lang/rust#54663).
                return Frame::read(
                    self.blocks.handed_over(self.block)?,
                    reading.offset,
                    self.socket.link,
                    self.snap_bytes,
                )
                .0;
            }
        }
    }

    /// Has nothing more come in. What is there already can still be read, the last of it when `retire` has passed.
    pub fn freeze(&self) -> io::Result<()> {
        filter::attach(&self.socket, &[filter::keep(0)])
    }

    /// After how long a block that is not full is handed over.
    pub fn retire(&self) -> Duration {
        self.retire
    }

    /// What ended it, if something has: the interface went down, or away (ENETDOWN). Told once.
    pub fn failure(&self) -> Option<Errno> {
        socket_error(&self.socket).map_or_else(Some, Result::err)
    }

    pub fn statistics(&mut self) -> Statistics {
        let mut news = libc::tpacket_stats_v3 { tp_packets: 0, tp_drops: 0, tp_freeze_q_cnt: 0 };
        let mut size = size_of_val(&news) as libc::socklen_t;
        // SAFETY: the option fills a tpacket_stats_v3, whose address and size are given. It counts from 0 again after each call.
        let outcome = unsafe {
            libc::getsockopt(
                self.socket.socket.as_raw_fd(),
                libc::SOL_PACKET,
                libc::PACKET_STATISTICS,
                (&raw mut news).cast(),
                &raw mut size,
            )
        };
        if outcome == 0 {
            self.counted.packets += u64::from(news.tp_packets);
            self.counted.dropped += u64::from(news.tp_drops);
            self.counted.freezes += u64::from(news.tp_freeze_q_cnt);
        }
        self.counted
    }

    pub fn link(&self) -> Link {
        self.socket.link
    }
}

impl AsFd for Ring {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// The name that an interface has now.
pub fn interface_name(index: u32) -> Option<String> {
    let mut name = [0_u8; libc::IF_NAMESIZE];
    // SAFETY: the function writes at most IF_NAMESIZE bytes, with a zero at the end, to the array that is given.
    let found = unsafe { libc::if_indextoname(index, name.as_mut_ptr().cast()) };
    let name = std::ffi::CStr::from_bytes_until_nul(&name).ok().filter(|_| !found.is_null())?;
    Some(name.to_string_lossy().into_owned())
}

/// The shared memory. A block belongs to the kernel or to us, as its status word says; it changes hands by that word alone.
#[derive(Debug)]
struct Blocks {
    memory: NonNull<u8>,
    count: usize,
}

// SAFETY: the mapping belongs to this value alone, which has no ties to a thread; the kernel does not care who reads.
unsafe impl Send for Blocks {}
// SAFETY: through a shared reference it is only read, and only blocks that the kernel has handed over and does not touch.
unsafe impl Sync for Blocks {}

impl Blocks {
    fn map(socket: &PacketSocket, count: usize) -> io::Result<Blocks> {
        // SAFETY: a new mapping at an address of the kernel's choice touches no memory that is in use.
        let memory = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                count * BLOCK_BYTES,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                socket.socket.as_raw_fd(),
                0,
            )
        };
        match NonNull::new(memory.cast::<u8>()) {
            Some(memory) if memory.as_ptr().cast() != libc::MAP_FAILED => Ok(Blocks { memory, count }),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// The block's bytes, if it is ours.
    fn handed_over(&self, number: usize) -> Option<&[u8]> {
        if self.status(number).load(Ordering::Acquire) & libc::TP_STATUS_USER == 0 {
            return None;
        }
        debug_assert!(number < self.count);
        // SAFETY: block `number` lies within the mapping, which lives as long as `self`. It is ours, so the kernel does not write
        // to it until `release`, which takes `&mut self`: this borrow has ended by then.
        Some(unsafe { std::slice::from_raw_parts(self.memory.as_ptr().add(number * BLOCK_BYTES), BLOCK_BYTES) })
    }

    fn release(&mut self, number: usize) {
        self.status(number).store(libc::TP_STATUS_KERNEL, Ordering::Release);
    }

    fn status(&self, number: usize) -> &AtomicU32 {
        debug_assert!(number < self.count);
        // SAFETY: the word lies within the mapping, aligned (blocks begin on pages), and lives as long as `self`. Kernel and user
        // change it by single stores.
        unsafe { AtomicU32::from_ptr(self.memory.as_ptr().add(number * BLOCK_BYTES + frame::STATUS_OFFSET).cast()) }
    }
}

impl Drop for Blocks {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, and nobody can hold a part of it any more.
        unsafe { libc::munmap(self.memory.as_ptr().cast(), self.count * BLOCK_BYTES) };
    }
}

/// The program, with its numbers of bytes to keep replaced by the one wanted: what it lets through is its matter, how much of it not.
fn limited(program: &[Instruction], snap_bytes: u32) -> Vec<Instruction> {
    if program.is_empty() {
        return vec![filter::keep(snap_bytes)];
    }
    let limit = |instruction: &Instruction| if instruction.keeps() { filter::keep(snap_bytes) } else { *instruction };
    program.iter().map(limit).collect()
}

/// Asks for the ring's memory; the number of blocks that the kernel gives.
fn allot(socket: &PacketSocket, options: &Options) -> io::Result<usize> {
    let mut count = (options.buffer_bytes / BLOCK_BYTES).clamp(BLOCKS_LEAST, BLOCKS_MOST);
    loop {
        let request = libc::tpacket_req3 {
            tp_block_size: BLOCK_BYTES as u32,
            tp_block_nr: count as u32,
            // Frames are as long as their packets here; this only has to fit.
            tp_frame_size: FRAME_BYTES as u32,
            tp_frame_nr: (BLOCK_BYTES / FRAME_BYTES * count) as u32,
            tp_retire_blk_tov: options.retire_milliseconds,
            tp_sizeof_priv: 0,
            tp_feature_req_word: 0,
        };
        match set_option(socket, libc::PACKET_RX_RING, &request) {
            Ok(()) => return Ok(count),
            Err(failure) if failure.raw_os_error() == Some(libc::ENOMEM) && count > BLOCKS_LEAST => {
                count = (count / 2).max(BLOCKS_LEAST);
            }
            Err(failure) => return Err(failure),
        }
    }
}

fn packet_socket(kind: c_int) -> io::Result<OwnedFd> {
    use rustix::net::{socket_with, AddressFamily, SocketFlags, SocketType};
    let kind = SocketType::from_raw(kind as u32);
    Ok(socket_with(AddressFamily::PACKET, kind, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)?)
}

fn hardware_type(socket: &OwnedFd, name: &str) -> io::Result<u16> {
    // SAFETY: zeroes are a valid ifreq: integers and arrays of them.
    let mut request: libc::ifreq = unsafe { MaybeUninit::zeroed().assume_init() };
    if name.len() >= request.ifr_name.len() {
        return Err(Errno::NODEV.into());
    }
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    // SAFETY: SIOCGIFHWADDR reads the name and fills the address of the ifreq that is given.
    if unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFHWADDR as _, &raw mut request) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call has filled this member of the union.
    Ok(unsafe { request.ifr_ifru.ifru_hwaddr.sa_family })
}

fn bind(socket: &PacketSocket) -> io::Result<()> {
    let address = libc::sockaddr_ll {
        sll_family: libc::AF_PACKET as u16,
        sll_protocol: (libc::ETH_P_ALL as u16).to_be(),
        sll_ifindex: socket.interface.unwrap_or(0) as c_int,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    // SAFETY: the address is a sockaddr_ll, whose address and size are given; the kernel only reads it.
    let outcome = unsafe {
        libc::bind(
            socket.socket.as_raw_fd(),
            (&raw const address).cast(),
            size_of::<libc::sockaddr_ll>() as libc::socklen_t,
        )
    };
    if outcome == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// An option of packet sockets. Only called with the type that each option takes: all of them are plain data.
fn set_option<T: Copy>(socket: &PacketSocket, option: c_int, value: &T) -> io::Result<()> {
    // SAFETY: the value's address and size are given; the kernel only reads it.
    let outcome = unsafe {
        libc::setsockopt(
            socket.socket.as_raw_fd(),
            libc::SOL_PACKET,
            option,
            (&raw const *value).cast(),
            size_of::<T>() as libc::socklen_t,
        )
    };
    if outcome == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Above the largest packet (65,536 bytes and headers, where segments are joined), so that four fit and none is cut.
const BLOCK_BYTES: usize = 262_144;
const BLOCKS_LEAST: usize = 4;
const BLOCKS_MOST: usize = 4_096;
const FRAME_BYTES: usize = 2_048;
