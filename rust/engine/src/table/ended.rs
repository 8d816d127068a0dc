//! Sockets that end, each with what it had counted until then: what the kernel tells to whoever listens for it, namespace by namespace.
//!
//! The kernel tells of TCP and UDP sockets, with their addresses and cookie; it has forgotten whose they were. TCP that this side
//! reset on purpose (SO_LINGER 0) has forgotten its peer and its counts, too.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::epoll;
use rustix::io::Errno;
use rustix::net::sockopt::{set_socket_recv_buffer_size, set_socket_recv_buffer_size_force};
use rustix::net::{recv, RecvFlags};
use socketkit_system::sockets::{dropped, join_netlink_group, tell_no_overflow};
use socketkit_wire::diag::{self, Inet, Message};

use super::namespaces::{self, Namespace};
use super::netlink;
use super::numbers::NumberSet;
use super::owners::{Owners, Processes};
use super::row::Row;
use super::rows::{ended_flow, inet_row};

/// Hears of sockets that end, in all namespaces or in that of the thread that made it.
#[derive(Debug)]
pub struct Ended {
    epoll: OwnedFd,
    ears: Vec<Ear>,
    everywhere: bool,
    looked: Instant,
    /// What namespaces lost that are gone by now.
    lost_before: u64,
    all_namespaces: bool,
}

/// A socket that hears of one namespace. It keeps that alive, so it goes with the last other thing that does.
#[derive(Debug)]
struct Ear {
    namespace: u64,
    name: String,
    socket: OwnedFd,
    /// Asks for listeners.
    asking: OwnedFd,
    lost: u64,
}

/// What was heard since the last time.
#[derive(Debug, Default)]
pub struct Heard {
    pub rows: Vec<Row>,
    /// The names of their namespaces by inode, "" for our own.
    pub namespaces: Vec<(u64, String)>,
}

impl Ended {
    /// What ends from now on is heard.
    pub fn new(everywhere: bool) -> io::Result<Ended> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let looked = Instant::now();
        let mut ended = Ended { epoll, ears: Vec::new(), everywhere, looked, lost_before: 0, all_namespaces: true };
        ended.listen()?;
        Ok(ended)
    }

    /// What was told since the last time, as much as is there but no more than a turn should take. Does not wait.
    pub fn read(&mut self) -> io::Result<Heard> {
        let now = Instant::now();
        if self.everywhere && now - self.looked >= BETWEEN_LOOKS {
            self.looked = now;
            self.listen()?;
        }
        let mut heard = Heard::default();
        let mut room = vec![MaybeUninit::uninit(); EVENT_BYTES];
        for ear in &mut self.ears {
            ear.read(&mut room, &mut heard.rows)?;
        }
        heard.namespaces = self.namespaces();
        Ok(heard)
    }

    /// Those that are heard, by inode: "" is our own.
    pub fn namespaces(&self) -> Vec<(u64, String)> {
        self.ears.iter().map(|ear| (ear.namespace, ear.name.clone())).collect()
    }

    /// How many the kernel could not tell of, because they were not read fast enough.
    pub fn lost(&self) -> u64 {
        self.lost_before + self.ears.iter().map(|ear| ear.lost).sum::<u64>()
    }

    /// Whether all namespaces could be heard.
    pub fn complete(&self) -> bool {
        self.all_namespaces
    }

    /// Listens in namespaces that are new, and no more in those that only this keeps alive.
    fn listen(&mut self) -> io::Result<()> {
        let Processes { namespaces, all } =
            if self.everywhere { Owners::default().list()? } else { Processes { all: true, ..Processes::default() } };
        let mut places = namespaces::known(namespaces)?;
        places.truncate(if self.everywhere { usize::MAX } else { 1 });
        self.all_namespaces = all;
        let there: NumberSet<u64> = places.iter().map(|place| place.inode).collect();
        let lost_before = &mut self.lost_before;
        self.ears.retain(|ear| {
            let stays = there.contains(&ear.namespace);
            *lost_before += if stays { 0 } else { ear.lost };
            stays
        });
        for place in &places {
            if self.ears.iter().any(|ear| ear.namespace == place.inode) {
                continue;
            }
            match place.visit(|| Ear::new(place)).and_then(|ear| ear) {
                Ok(ear) => {
                    epoll::add(&self.epoll, &ear.socket, epoll::EventData::new_u64(0), epoll::EventFlags::IN)?;
                    self.ears.push(ear);
                }
                Err(failure) if place.is_own() => return Err(failure),
                Err(failure) if failure.kind() == io::ErrorKind::NotFound => {}
                Err(_) => self.all_namespaces = false,
            }
        }
        Ok(())
    }
}

impl AsFd for Ended {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }
}

impl Ear {
    fn new(place: &Namespace) -> io::Result<Ear> {
        let socket = netlink::open()?;
        // More than the limit for all takes CAP_NET_ADMIN; without it there is what everybody may have.
        if set_socket_recv_buffer_size_force(&socket, WAITING_BYTES).is_err() {
            set_socket_recv_buffer_size(&socket, WAITING_BYTES)?;
        }
        tell_no_overflow(&socket)?;
        for group in GROUPS {
            join_netlink_group(&socket, group)?;
        }
        Ok(Ear { namespace: place.inode, name: place.name.clone(), socket, asking: netlink::open()?, lost: 0 })
    }

    fn read(&mut self, room: &mut [MaybeUninit<u8>], rows: &mut Vec<Row>) -> io::Result<()> {
        let mut listeners: Option<NumberSet<u32>> = None;
        for _ in 0..MOST_EVENTS {
            let piece = match recv(&self.socket, &mut *room, RecvFlags::DONTWAIT) {
                Ok(((piece, _), _)) => piece,
                Err(Errno::AGAIN) => break,
                Err(Errno::INTR | Errno::NOBUFS) => continue,
                Err(failure) => return Err(failure.into()),
            };
            let asking = &self.asking;
            add(piece, self.namespace, rows, |port| listeners.get_or_insert_with(|| listening(asking)).contains(&port));
        }
        self.lost = u64::from(dropped(&self.socket));
        Ok(())
    }
}

/// The sockets that a piece tells of. `listened`: whether connections to a port are accepted, which is asked only where it matters.
fn add(piece: &[u8], namespace: u64, rows: &mut Vec<Row>, mut listened: impl FnMut(u32) -> bool) {
    for message in diag::messages(piece) {
        let Message::Socket { body, .. } = message else { continue };
        let Some(told) = diag::inet(body) else { continue };
        let mut row = inet_row(&told, told.protocol.unwrap_or_default(), namespace);
        row.flow = told
            .information
            .filter(|_| row.protocol == IPPROTO_TCP)
            .map(|information| ended_flow(diag::TcpInfo(information), || listened(local(&told))));
        rows.push(row);
    }
}

/// The ports of all TCP listeners of a namespace.
fn listening(asking: &OwnedFd) -> NumberSet<u32> {
    let mut found = NumberSet::default();
    let mut room = vec![MaybeUninit::uninit(); netlink::PIECE_BYTES];
    for family in [AF_INET, AF_INET6] {
        let request = diag::inet_request(family, IPPROTO_TCP as u8, diag::LISTENING_ONLY);
        // What cannot be asked is not there: then a count may have the end in it as a byte.
        let _ =
            netlink::dump(asking, &request, &mut room, |body| found.extend(diag::inet(body).map(|told| local(&told))));
    }
    found
}

/// The port: one listener serves both families mostly, and no two mean different things by one port.
fn local(told: &Inet<'_>) -> u32 {
    u32::from(told.id.local_port)
}

/// A namespace that begins is heard so much later at the most.
const BETWEEN_LOOKS: Duration = Duration::from_secs(1);
/// What may wait to be read: some ten thousand sockets' ends.
const WAITING_BYTES: usize = 32 * 1024 * 1024;
/// One socket's end has some 400 bytes.
const EVENT_BYTES: usize = 16 * 1024;
/// Of one namespace in one turn.
const MOST_EVENTS: usize = 16_384;
/// SKNLGRP_INET_TCP_DESTROY to SKNLGRP_INET6_UDP_DESTROY (linux/sock_diag.h).
const GROUPS: [u32; 4] = [1, 2, 3, 4];
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
const IPPROTO_TCP: u16 = 6;

#[cfg(test)]
mod tests {
    use super::*;

    /// What the kernel told of a connection that ended, as the fuzzer's corpus has it.
    const ENDED: &[u8] = include_bytes!("../../../../fuzz/corpus/diag/ended");

    #[test]
    fn what_ended_is_told_with_its_counts() {
        let mut rows = Vec::new();
        add(ENDED, 7, &mut rows, |_| true);
        assert!(!rows.is_empty());
        for row in &rows {
            assert_eq!((row.namespace, row.kind, row.protocol), (7, 1, IPPROTO_TCP));
            assert!(row.flow.is_some() && row.cookie != 0 && !row.local.as_bytes().is_empty(), "{row:?}");
        }
    }

    #[test]
    fn what_is_cut_short_tells_of_nothing_wrong() {
        let mut whole = Vec::new();
        add(ENDED, 7, &mut whole, |_| true);
        for cut in 0..ENDED.len() {
            let mut rows = Vec::new();
            add(ENDED.get(..cut).unwrap_or_default(), 7, &mut rows, |_| true);
            assert!(rows.len() <= whole.len() && whole.starts_with(&rows), "cut at {cut}");
        }
    }
}
