//! Probes by connects that do not wait: for users who may open no raw sockets. The target's programs see a connection that is
//! reset at once.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::epoll;
use rustix::net::{socket_with, sockopt, AddressFamily, SocketFlags, SocketType};

use super::job::Target;
use super::rounds::{Probe, Rounds, State};
use crate::Errno;

pub struct Connect {
    epoll: OwnedFd,
    targets: Box<[Target]>,
    ports: Box<[u16]>,
    attempts: Vec<Option<Attempt>>,
    /// Slots of `attempts` that are free.
    free: Vec<usize>,
    /// In the order in which they were begun: slot, and which use of it.
    underway: VecDeque<(usize, u64)>,
    begun: u64,
}

struct Attempt {
    socket: OwnedFd,
    probe: Probe,
    begun_us: u64,
    number: u64,
}

impl Connect {
    /// With so many sockets at once.
    pub fn open(targets: &[Target], ports: &[u16], most: usize) -> Result<Connect, Errno> {
        let most = most.max(1);
        Ok(Connect {
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            targets: targets.into(),
            ports: ports.into(),
            attempts: (0..most).map(|_| None).collect(),
            free: (0..most).collect(),
            underway: VecDeque::new(),
            begun: 0,
        })
    }

    pub fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        std::iter::once(self.epoll.as_fd())
    }

    /// When the oldest attempt is given up.
    pub fn next_us(&self, rounds: &Rounds) -> Option<u64> {
        let (slot, _) = self.underway.front()?;
        let attempt = self.attempts.get(*slot)?.as_ref();
        Some(attempt.map_or(0, |attempt| attempt.begun_us + rounds.rate().settle_us()))
    }

    /// Begins what is due, as far as there are sockets.
    pub fn send(&mut self, rounds: &mut Rounds, now_us: u64, mut open: impl FnMut(u32, u16, u64)) -> Result<(), Errno> {
        for _ in 0..rounds.due(now_us).min(self.free.len()) {
            let Some(probe) = rounds.take(now_us) else { break };
            let Some(address) = self.address(probe) else { continue };
            match begin(&address) {
                Ok((socket, outcome)) => match outcome {
                    Err(Errno::INPROGRESS) => self.wait_for(socket, probe, now_us)?,
                    outcome => self.end(&socket, probe, now_us, outcome, rounds, now_us, &mut open),
                },
                // No room now: it is tried again when the rate says so.
                Err(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM) => {
                    rounds.unsent(probe);
                    break;
                }
                Err(failure) => return Err(failure),
            }
        }
        Ok(())
    }

    pub fn receive(&mut self, rounds: &mut Rounds, now_us: u64, mut open: impl FnMut(u32, u16, u64)) {
        let mut events: Vec<epoll::Event> = Vec::with_capacity(EVENTS);
        loop {
            events.clear();
            let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
            let room = rustix::buffer::spare_capacity(&mut events);
            let count = epoll::wait(&self.epoll, room, Some(&now)).unwrap_or(0);
            for event in &events {
                let slot = event.data.u64() as usize;
                let Some(attempt) = self.attempts.get_mut(slot).and_then(Option::take) else { continue };
                self.free.push(slot);
                let outcome = sockopt::socket_error(&attempt.socket).unwrap_or_else(Err);
                self.end(&attempt.socket, attempt.probe, attempt.begun_us, outcome, rounds, now_us, &mut open);
            }
            if count < EVENTS {
                break;
            }
        }
        self.give_up(rounds, now_us, &mut open);
    }

    fn give_up(&mut self, rounds: &mut Rounds, now_us: u64, open: &mut impl FnMut(u32, u16, u64)) {
        let oldest_us = now_us.saturating_sub(rounds.rate().settle_us());
        while let Some(&(slot, number)) = self.underway.front() {
            let Some(room) = self.attempts.get_mut(slot) else { break };
            match room.take_if(|attempt| attempt.number == number) {
                Some(attempt) if attempt.begun_us > oldest_us => {
                    *room = Some(attempt);
                    break;
                }
                Some(attempt) => {
                    self.free.push(slot);
                    // An ICMP error that came while connect() still ran did not end it: it is a soft one (tcp_v4_err).
                    if let Ok(Err(failure)) = sockopt::socket_error(&attempt.socket) {
                        self.end(&attempt.socket, attempt.probe, attempt.begun_us, Err(failure), rounds, now_us, open);
                    }
                }
                None => {}
            }
            self.underway.pop_front();
        }
    }

    fn wait_for(&mut self, socket: OwnedFd, probe: Probe, now_us: u64) -> Result<(), Errno> {
        let Some(slot) = self.free.pop() else { return Ok(()) };
        let data = epoll::EventData::new_u64(slot as u64);
        epoll::add(&self.epoll, &socket, data, epoll::EventFlags::OUT | epoll::EventFlags::ONESHOT)?;
        self.begun += 1;
        self.underway.push_back((slot, self.begun));
        if let Some(room) = self.attempts.get_mut(slot) {
            *room = Some(Attempt { socket, probe, begun_us: now_us, number: self.begun });
        }
        Ok(())
    }

    #[allow(clippy::too_many_arguments)]
    fn end(
        &self,
        socket: &OwnedFd,
        probe: Probe,
        begun_us: u64,
        outcome: Result<(), Errno>,
        rounds: &mut Rounds,
        now_us: u64,
        open: &mut impl FnMut(u32, u16, u64),
    ) {
        let state = match outcome {
            Ok(()) if is_joined_to_itself(socket) => State::Closed,
            Ok(()) => State::Open,
            Err(Errno::CONNREFUSED | Errno::CONNRESET) => State::Closed,
            Err(Errno::NETUNREACH | Errno::INVAL | Errno::ADDRNOTAVAIL) => {
                rounds.unreachable(probe.target);
                return;
            }
            // What an ICMP error says arrives so, and a host that cannot be found; of the latter, all ports say it.
            Err(Errno::HOSTUNREACH | Errno::ACCESS | Errno::PERM) => State::Prohibited,
            Err(_) => return,
        };
        let sent_us = begun_us / 1_000 * 1_000;
        if rounds.answered(probe.target, probe.port, state, sent_us, now_us) && state == State::Open {
            if let Some(port) = self.ports.get(probe.port as usize) {
                open(probe.target, *port, now_us.saturating_sub(begun_us));
            }
        }
    }

    fn address(&self, probe: Probe) -> Option<SocketAddr> {
        let target = self.targets.get(probe.target as usize)?;
        let port = *self.ports.get(probe.port as usize)?;
        Some(match target.address {
            IpAddr::V4(address) => SocketAddr::new(address.into(), port),
            IpAddr::V6(address) => SocketAddrV6::new(address, port, 0, target.scope).into(),
        })
    }
}

fn begin(address: &SocketAddr) -> Result<(OwnedFd, Result<(), Errno>), Errno> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)?;
    // Closing it resets: no connection of ours is left behind, here (TIME_WAIT) or there.
    sockopt::set_socket_linger(&socket, Some(std::time::Duration::ZERO))?;
    let outcome = rustix::net::connect(&socket, address);
    Ok((socket, outcome))
}

/// On this machine a connect may meet its own source port, and TCP then joins a socket to itself (RFC 9293 §3.5, figure 7).
fn is_joined_to_itself(socket: &OwnedFd) -> bool {
    let (local, peer) = (rustix::net::getsockname(socket), rustix::net::getpeername(socket));
    matches!((local, peer), (Ok(local), Ok(Some(peer))) if local == peer)
}

const EVENTS: usize = 256;
