//! Records of descriptors and of lists become rows: a socket is one row, however many descriptors lead to it.

use socketkit_wire::diag::SocketId;
use socketkit_wire::socket_records::{self, Addresses, Socket};

use super::numbers::NumberMap;
use super::row::{Address, Owner, Row};
use super::rows::{flow, local_address, packet_address, peer_address, vsock_address, Counts};

#[derive(Debug, Default)]
pub struct Gathered {
    rows: Vec<Row>,
    /// By cookie.
    places: NumberMap<u64, u32>,
    owners: Vec<(u32, Owner)>,
    /// So many rows are told of again, and better, if a descriptor leads to them.
    replaceable: usize,
    tick_ns: u64,
}

impl Gathered {
    /// `expected`: about how many rows there will be.
    pub fn new(tick_ns: u64, expected: usize) -> Gathered {
        let places = NumberMap::with_capacity_and_hasher(expected, Default::default());
        Gathered {
            tick_ns,
            places,
            rows: Vec::with_capacity(expected),
            owners: Vec::with_capacity(expected),
            ..Gathered::default()
        }
    }

    /// One more record; of a socket that has a row already, only its owner counts. True if it is the first owner of it.
    pub fn add(&mut self, socket: &Socket<'_>) -> bool {
        let next = self.rows.len() as u32;
        let place = *self.places.entry(socket.cookie).or_insert(next);
        match self.rows.get_mut(place as usize) {
            None => self.rows.push(row(socket, self.tick_ns)),
            Some(known) if (place as usize) < self.replaceable && known.owners.end == 0 => {
                *known = row(socket, self.tick_ns);
            }
            Some(_) => {}
        }
        let Some((pid, descriptor)) = socket.owner else { return false };
        self.owners.push((place, Owner { pid, descriptor }));
        // How many there are is counted at the end; that there is one, at once.
        self.rows.get_mut(place as usize).is_some_and(|row| std::mem::replace(&mut row.owners.end, 1) == 0)
    }

    /// What there is so far came from lists.
    pub fn replaceable(&mut self) {
        self.replaceable = self.rows.len();
    }

    pub fn has(&self, cookie: u64) -> bool {
        self.places.contains_key(&cookie)
    }

    /// Whether it was told of by a list, and no descriptor leads to it.
    pub fn unowned(&self, cookie: u64) -> bool {
        let row = self.places.get(&cookie).and_then(|&place| self.rows.get(place as usize));
        row.is_some_and(|row| row.owners.end == 0)
    }

    /// The rows, and the owners that they name.
    pub fn finish(mut self) -> (Vec<Row>, Vec<Owner>) {
        // Threads with descriptors of their own bear the number of their process: the same pair may come twice.
        self.owners.sort_unstable();
        self.owners.dedup();
        for row in &mut self.rows {
            row.owners = 0..0;
        }
        for (at, (place, _)) in self.owners.iter().enumerate() {
            if let Some(row) = self.rows.get_mut(*place as usize) {
                if row.owners.end == 0 {
                    row.owners.start = at as u32;
                }
                row.owners.end = at as u32 + 1;
            }
        }
        (self.rows, self.owners.into_iter().map(|(_, owner)| owner).collect())
    }
}

fn row(told: &Socket<'_>, tick_ns: u64) -> Row {
    let inet = matches!(told.addresses, Addresses::Inet { .. } | Addresses::Inet6 { .. });
    let (local, peer, unix_peer) = addresses(told);
    Row {
        family: told.family,
        kind: told.kind,
        protocol: protocol(told),
        state: told.state,
        local,
        peer,
        inode: told.inode,
        cookie: told.cookie,
        namespace: u64::from(told.namespace),
        interface: interface(told),
        // Before somebody accepts it the kernel does not know whose it is, and says 0.
        uid: told.uid.filter(|&uid| told.inode != 0 || uid != 0),
        receive_queue: told.receive_queue,
        send_queue: told.send_queue,
        flow: told
            .flow
            .filter(|_| told.state != SYN_RECEIVED)
            .map(|told_flow| flow(&counts(&told_flow, tick_ns), told.state)),
        reuse_address: inet.then_some(told.reuse_address),
        reuse_port: inet.then_some(told.reuse_port),
        only_ipv6: matches!(told.addresses, Addresses::Inet6 { .. }).then_some(told.only_ipv6),
        unix_peer,
        dropped: told.dropped,
        fileless: told.fileless,
        owners: 0..0,
    }
}

fn addresses(told: &Socket<'_>) -> (Address, Address, u64) {
    match told.addresses {
        Addresses::Inet { local, peer } => inet(told, (widened(local.0), local.1), (widened(peer.0), peer.1)),
        Addresses::Inet6 { local, peer } => inet(told, local, peer),
        Addresses::Unix { local, peer, peer_inode } => {
            // A name that is its family alone is none.
            let named = |name: &[u8]| if name.len() > 2 { Address::from_bytes(name) } else { Address::None };
            (named(local), named(peer), peer_inode)
        }
        Addresses::Numbers { local: [interface, protocol], .. } if told.family == AF_PACKET => {
            (packet_address(protocol as u16, interface), Address::None, 0)
        }
        Addresses::Numbers { local: [cid, port], peer: [peer_cid, peer_port] } => {
            (vsock_address((cid, port)), vsock_address((peer_cid, peer_port)), 0)
        }
        Addresses::Unknown => (Address::None, Address::None, 0),
    }
}

fn inet(told: &Socket<'_>, local: ([u8; 16], u16), peer: ([u8; 16], u16)) -> (Address, Address, u64) {
    let id = SocketId {
        family: told.family as u8,
        local_port: local.1,
        peer_port: peer.1,
        local: local.0,
        peer: peer.0,
        interface: told.interface,
        cookie: told.cookie,
    };
    let raw = told.kind == SOCK_RAW;
    let ping = told.kind == SOCK_DGRAM && matches!(told.protocol, IPPROTO_ICMP | IPPROTO_ICMPV6);
    (local_address(&id, raw.then_some(told.protocol as u8)), peer_address(&id, raw || ping), 0)
}

/// As others tell of them: of a packet socket its EtherType, of a Unix socket nothing.
fn protocol(told: &Socket<'_>) -> u16 {
    match told.addresses {
        Addresses::Numbers { local: [_, protocol], .. } if told.family == AF_PACKET => protocol as u16,
        Addresses::Unix { .. } => 0,
        _ => told.protocol,
    }
}

fn interface(told: &Socket<'_>) -> u32 {
    match told.addresses {
        Addresses::Numbers { local: [interface, _], .. } if told.family == AF_PACKET => interface,
        _ => told.interface,
    }
}

fn widened(address: [u8; 4]) -> [u8; 16] {
    let [a, b, c, d] = address;
    [a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
}

fn counts(told: &socket_records::Counts, tick_ns: u64) -> Counts {
    let ms = |ticks: u32| u32::try_from(u64::from(ticks).saturating_mul(tick_ns) / 1_000_000).unwrap_or(u32::MAX);
    Counts {
        acknowledged_bytes: told.acknowledged_bytes,
        received_bytes: told.received_bytes,
        sent_bytes: Some(told.sent_bytes),
        sent_again_bytes: told.sent_again_bytes,
        received_segments: told.received_segments,
        sent_segments: told.sent_segments,
        round_trip_us: told.round_trip_us,
        retransmits: told.retransmits,
        since_sent_ms: ms(told.ticks_since_sent),
        since_received_ms: ms(told.ticks_since_received),
    }
}

const AF_PACKET: u16 = 17;
const SOCK_DGRAM: u16 = 2;
const SOCK_RAW: u16 = 3;
const IPPROTO_ICMP: u16 = 1;
const IPPROTO_ICMPV6: u16 = 58;
const SYN_RECEIVED: u8 = 3;
