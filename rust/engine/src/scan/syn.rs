//! Half-open probes by raw sockets: our SYN goes out, the answer comes back, and this machine's kernel, which knows of no such
//! connection, resets it. No program on the target sees anything.
//!
//! No state is kept for a probe. Its sequence number is a keyed hash of where it goes (SipHash, the key is this scan's own) plus the
//! millisecond in which it was sent, modulo WRAP: what comes back with such a number answers a probe of ours, and says when that was
//! sent. Source ports are held by sockets that are bound to them, so that no program of this machine gets one meanwhile. Each round
//! has its own: where the answer to an earlier SYN was lost, the target still has half a connection for it, and another SYN on top of
//! that is reset (`tcp_check_req` in Linux), as if the port were closed.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{ipproto, socket_with, AddressFamily, Protocol, SocketFlags, SocketType};
use socketkit_system::filter::{self, keep, Instruction};
use socketkit_system::messages::{Batch, Name, Outgoing, AT_ONCE};
use socketkit_wire::probe::{self, Answer, Complaint, Quote, SYN_BYTES};

use super::job::Target;
use super::rounds::{Probe, Rounds, State, MOST_ROUNDS};
use crate::Errno;

pub struct Syn {
    families: Vec<Family>,
    routes: Vec<Route>,
    ports: Box<[u16]>,
    /// Places of ports, by port.
    places: HashMap<u16, u32>,
    by_address: HashMap<IpAddr, u32>,
    /// By round.
    source_ports: Vec<u16>,
    /// They are bound there, and never listen.
    _held: Vec<OwnedFd>,
    key: RandomState,
    batch: Batch,
    waiting: Vec<(Probe, [u8; SYN_BYTES])>,
}

/// The sockets of one family: answers, and ICMP errors.
struct Family {
    ipv4: bool,
    tcp: OwnedFd,
    icmp: OwnedFd,
}

struct Route {
    address: IpAddr,
    /// Of this machine's addresses, the one that packets to there come from; None: there is no way.
    source: Option<IpAddr>,
    name: Option<Name>,
}

impl Syn {
    /// EPERM without CAP_NET_RAW.
    pub fn open(targets: &[Target], ports: &[u16]) -> Result<Syn, Errno> {
        let (mut source_ports, mut held) = (Vec::new(), Vec::new());
        for _ in 0..MOST_ROUNDS {
            let (port, sockets) = hold_port()?;
            source_ports.push(port);
            held.extend(sockets);
        }
        let mut families = Vec::new();
        for ipv4 in [true, false] {
            if targets.iter().any(|target| target.address.is_ipv4() == ipv4) {
                families.push(Family::open(ipv4, &source_ports)?);
            }
        }
        let routes: Vec<Route> = targets.iter().map(Route::find).collect();
        Ok(Syn {
            families,
            by_address: (0..).zip(&routes).map(|(number, route)| (route.address, number)).collect(),
            routes,
            places: ports.iter().copied().zip(0..).collect(),
            ports: ports.into(),
            source_ports,
            _held: held,
            key: RandomState::new(),
            batch: Batch::new(RECEIVED_AT_ONCE, RECEIVED_BYTES)?,
            waiting: Vec::with_capacity(AT_ONCE),
        })
    }

    /// Takes targets to which there is no way out of the rounds.
    pub fn leave_out(&self, rounds: &mut Rounds) {
        for (number, route) in (0..).zip(&self.routes) {
            if route.source.is_none() {
                rounds.unreachable(number);
            }
        }
    }

    pub fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.families.iter().flat_map(|family| [family.tcp.as_fd(), family.icmp.as_fd()])
    }

    /// Sends what is due. An error is one that more probes would meet, too.
    pub fn send(&mut self, rounds: &mut Rounds, now_us: u64) -> Result<(), Errno> {
        for _ in 0..rounds.due(now_us).min(AT_ONCE) {
            let Some(probe) = rounds.take(now_us) else { break };
            if let Some(packet) = self.packet(probe, rounds.round(), now_us) {
                self.waiting.push((probe, packet));
            }
        }
        let waiting = std::mem::take(&mut self.waiting);
        for family in &self.families {
            let probes: Vec<_> = waiting.iter().filter(|(probe, _)| self.is_ipv4(probe) == family.ipv4).collect();
            self.hand_over(family, &probes, rounds)?;
        }
        self.waiting = waiting;
        self.waiting.clear();
        Ok(())
    }

    /// Takes in what has come; the probes that were answered for the first time as open.
    pub fn receive(&mut self, rounds: &mut Rounds, now_us: u64, mut open: impl FnMut(u32, u16, u64)) {
        for number in 0..self.families.len() {
            for about_tcp in [true, false] {
                // Under load there is always more: what is due to be sent is looked at again.
                for _ in 0..BATCHES {
                    let Some(family) = self.families.get(number) else { return };
                    let socket = if about_tcp { &family.tcp } else { &family.icmp };
                    let ipv4 = family.ipv4;
                    let Ok(count) = self.batch.receive(socket.as_fd(), RECEIVED_AT_ONCE, false) else { break };
                    for slot in 0..count {
                        let message = self.batch.message(slot);
                        let read = read(message.data, message.from, ipv4, about_tcp);
                        if let Some(heard) = read {
                            self.hear(&heard, rounds, now_us, &mut open);
                        }
                    }
                    if count < RECEIVED_AT_ONCE {
                        break;
                    }
                }
            }
        }
    }

    fn hear(&self, heard: &Heard, rounds: &mut Rounds, now_us: u64, open: &mut impl FnMut(u32, u16, u64)) {
        let (address, port, to_port, sequence) = match heard {
            Heard::Segment(from, segment) => (*from, segment.port, segment.to_port, segment.sequence),
            Heard::Quote(quote) => (quote.destination, quote.port, quote.from_port, quote.sequence),
        };
        if !self.source_ports.contains(&to_port) {
            return;
        }
        let (Some(&target), Some(&place)) = (self.by_address.get(&address), self.places.get(&port)) else { return };
        let tag = sequence.wrapping_sub(self.cookie(address, port));
        let Some(sent_us) = sent_us(tag, now_us) else { return };
        match heard {
            Heard::Segment(_, segment) => {
                let state = if segment.answer == Answer::Accepted { State::Open } else { State::Closed };
                if rounds.answered(target, place, state, sent_us, now_us) && state == State::Open {
                    open(target, port, now_us.saturating_sub(sent_us));
                }
            }
            Heard::Quote(Quote { complaint: Complaint::Unreachable, .. }) => {
                rounds.unreachable(target);
            }
            Heard::Quote(_) => {
                rounds.answered(target, place, State::Prohibited, sent_us, now_us);
            }
        }
    }

    fn packet(&self, probe: Probe, round: u32, now_us: u64) -> Option<[u8; SYN_BYTES]> {
        let route = self.routes.get(probe.target as usize)?;
        let port = *self.ports.get(probe.port as usize)?;
        let source_port = *self.source_ports.get(round.saturating_sub(1) as usize)?;
        let sequence = self.cookie(route.address, port).wrapping_add((now_us / 1_000) as u32 % WRAP);
        probe::syn(route.source?, route.address, source_port, port, sequence)
    }

    fn cookie(&self, address: IpAddr, port: u16) -> u32 {
        self.key.hash_one((address, port)) as u32
    }

    fn is_ipv4(&self, probe: &Probe) -> bool {
        self.routes.get(probe.target as usize).is_some_and(|route| route.address.is_ipv4())
    }

    fn hand_over(
        &self,
        family: &Family,
        probes: &[&(Probe, [u8; SYN_BYTES])],
        rounds: &mut Rounds,
    ) -> Result<(), Errno> {
        let mut done = 0;
        while let Some((probe, _)) = probes.get(done) {
            let mut outgoing = Outgoing::with_capacity(probes.len() - done);
            for (probe, packet) in probes.iter().skip(done).take(AT_ONCE) {
                let to = self.routes.get(probe.target as usize).and_then(|route| route.name.as_ref());
                outgoing.add(std::iter::once(&packet[..]), to, None, None);
            }
            match outgoing.send(family.tcp.as_fd()) {
                Ok(count) => done += count.max(1),
                // No room now: it is tried again when the rate says so.
                Err(Errno::AGAIN | Errno::NOBUFS | Errno::NOMEM) => {
                    probes[done..].iter().for_each(|(probe, _)| rounds.unsent(*probe));
                    return Ok(());
                }
                Err(Errno::INTR) => {}
                Err(Errno::HOSTUNREACH | Errno::NETUNREACH | Errno::INVAL | Errno::ACCESS | Errno::ADDRNOTAVAIL) => {
                    rounds.unreachable(probe.target);
                    done += 1;
                }
                Err(failure) => return Err(failure),
            }
        }
        Ok(())
    }
}

impl Family {
    fn open(ipv4: bool, source_ports: &[u16]) -> Result<Family, Errno> {
        let (family, icmp_protocol) =
            if ipv4 { (AddressFamily::INET, ipproto::ICMP) } else { (AddressFamily::INET6, ipproto::ICMPV6) };
        let tcp = raw_socket(family, ipproto::TCP)?;
        let icmp = raw_socket(family, icmp_protocol)?;
        attach(&tcp, &answers_to(source_ports, ipv4))?;
        attach(&icmp, &unreachable_messages(ipv4))?;
        for socket in [&tcp, &icmp] {
            // As much as root may have, else as much as anybody may.
            if rustix::net::sockopt::set_socket_recv_buffer_size_force(socket, BUFFER_BYTES).is_err() {
                rustix::net::sockopt::set_socket_recv_buffer_size(socket, BUFFER_BYTES)?;
            }
        }
        Ok(Family { ipv4, tcp, icmp })
    }
}

impl Route {
    /// By asking a datagram socket, which sends nothing.
    fn find(target: &Target) -> Route {
        let route = Route { address: target.address, source: None, name: name(target) };
        let family = if target.address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let to = match target.address {
            IpAddr::V4(address) => SocketAddr::new(address.into(), 9),
            IpAddr::V6(address) => std::net::SocketAddrV6::new(address, 9, 0, target.scope).into(),
        };
        let source = socket_with(family, SocketType::DGRAM, SocketFlags::CLOEXEC, None).and_then(|socket| {
            rustix::net::connect(&socket, &to)?;
            SocketAddr::try_from(rustix::net::getsockname(&socket)?)
        });
        Route { source: source.ok().map(|source| source.ip()), ..route }
    }
}

enum Heard {
    Segment(IpAddr, probe::Segment),
    Quote(Quote),
}

/// IPv4's raw sockets give the IP header, those of IPv6 do not.
fn read(data: &[u8], from: &[u8], ipv4: bool, about_tcp: bool) -> Option<Heard> {
    let (source, payload) = if ipv4 {
        let packet = probe::ipv4(data)?;
        (packet.source, packet.payload)
    } else {
        (Ipv6Addr::from(*from.get(8..)?.first_chunk::<16>()?).into(), data)
    };
    match (about_tcp, ipv4) {
        (true, _) => Some(Heard::Segment(source, probe::segment(payload)?)),
        (false, true) => Some(Heard::Quote(probe::icmp4(payload)?)),
        (false, false) => Some(Heard::Quote(probe::icmp6(payload)?)),
    }
}

/// When the probe with that number was sent; None if none of ours can have it.
fn sent_us(tag: u32, now_us: u64) -> Option<u64> {
    let now_ms = now_us / 1_000;
    let age_ms = (now_ms as u32 % WRAP + WRAP).checked_sub(tag).filter(|_| tag < WRAP)? % WRAP;
    now_ms.checked_sub(u64::from(age_ms)).map(|sent_ms| sent_ms * 1_000)
}

fn name(target: &Target) -> Option<Name> {
    let mut raw = Vec::with_capacity(28);
    match target.address {
        IpAddr::V4(address) => {
            raw.extend(AddressFamily::INET.as_raw().to_ne_bytes());
            raw.extend([0; 2]);
            raw.extend(address.octets());
            raw.extend([0; 8]);
        }
        IpAddr::V6(address) => {
            raw.extend(AddressFamily::INET6.as_raw().to_ne_bytes());
            raw.extend([0; 6]);
            raw.extend(address.octets());
            raw.extend(target.scope.to_ne_bytes());
        }
    }
    Name::new(&raw)
}

/// A port that no other socket of this machine has, for either family.
fn hold_port() -> Result<(u16, Vec<OwnedFd>), Errno> {
    let tcp = |family| socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None);
    for _ in 0..PORT_ATTEMPTS {
        let ipv4 = tcp(AddressFamily::INET)?;
        rustix::net::bind(&ipv4, &SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)))?;
        let port = SocketAddr::try_from(rustix::net::getsockname(&ipv4)?)?.port();
        let Ok(ipv6) = tcp(AddressFamily::INET6) else {
            return Ok((port, vec![ipv4]));
        };
        rustix::net::sockopt::set_ipv6_v6only(&ipv6, true)?;
        match rustix::net::bind(&ipv6, &SocketAddr::from((Ipv6Addr::UNSPECIFIED, port))) {
            Ok(()) => return Ok((port, vec![ipv4, ipv6])),
            Err(Errno::ADDRINUSE) => {}
            // This machine has no IPv6.
            Err(_) => return Ok((port, vec![ipv4])),
        }
    }
    Err(Errno::ADDRINUSE)
}

fn raw_socket(family: AddressFamily, protocol: Protocol) -> Result<OwnedFd, Errno> {
    socket_with(family, SocketType::RAW, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, Some(protocol))
}

fn attach(socket: &OwnedFd, program: &[Instruction]) -> Result<(), Errno> {
    filter::attach_and_drain(socket, program).map_err(|failure| Errno::from_io_error(&failure).unwrap_or(Errno::INVAL))
}

/// The segments of other connections never leave the kernel.
fn answers_to(ports: &[u16], ipv4: bool) -> Vec<Instruction> {
    let mut program = if ipv4 {
        vec![instruction(HEADER_LENGTH, 0, 0, 0), instruction(HALF_BEHIND_HEADER, 0, 0, 2)]
    } else {
        vec![instruction(HALF, 0, 0, 2)]
    };
    // Each jumps over those that follow, and over the end that keeps nothing.
    let behind = (1..=ports.len() as u8).rev();
    program
        .extend(ports.iter().zip(behind).map(|(port, behind)| instruction(JUMP_IF_EQUAL, behind, 0, (*port).into())));
    program.extend([keep(0), keep(KEPT)]);
    program
}

fn unreachable_messages(ipv4: bool) -> Vec<Instruction> {
    if ipv4 {
        let kind = instruction(JUMP_IF_EQUAL, 0, 1, 3);
        vec![instruction(HEADER_LENGTH, 0, 0, 0), instruction(BYTE_BEHIND_HEADER, 0, 0, 0), kind, keep(KEPT), keep(0)]
    } else {
        vec![instruction(BYTE, 0, 0, 0), instruction(JUMP_IF_EQUAL, 0, 1, 1), keep(KEPT), keep(0)]
    }
}

fn instruction(code: u16, jump_true: u8, jump_false: u8, operand: u32) -> Instruction {
    Instruction { code, jump_true, jump_false, operand }
}

// linux/bpf_common.h, linux/filter.h
const HEADER_LENGTH: u16 = 0xb1;
const HALF_BEHIND_HEADER: u16 = 0x48;
const BYTE_BEHIND_HEADER: u16 = 0x50;
const HALF: u16 = 0x28;
const BYTE: u16 = 0x30;
const JUMP_IF_EQUAL: u16 = 0x15;
/// Of a packet, what is looked at: an ICMP error with the headers that it quotes.
const KEPT: u32 = 160;
const RECEIVED_BYTES: usize = 192;
const RECEIVED_AT_ONCE: usize = 256;
const BATCHES: usize = 8;
const BUFFER_BYTES: usize = 16 << 20;
/// Milliseconds; nothing is waited for so long.
const WRAP: u32 = 4_096;
const PORT_ATTEMPTS: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_says_when_it_was_sent() {
        for now_ms in [0_u64, 1, 4_095, 4_096, 123_456_789] {
            for age_ms in [0_u64, 1, 100, 4_095] {
                let Some(sent_ms) = now_ms.checked_sub(age_ms) else { continue };
                let tag = sent_ms as u32 % WRAP;
                assert_eq!(sent_us(tag, now_ms * 1_000 + 999), Some(sent_ms * 1_000));
            }
        }
        assert_eq!(sent_us(WRAP, 10_000_000), None);
        assert_eq!(sent_us(5, 4_000), None);
    }
}
