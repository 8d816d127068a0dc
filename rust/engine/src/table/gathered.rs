//! Records of descriptors and of lists, gathered: a socket is one row, however many descriptors lead to it.
//!
//! The records stay as the kernel wrote them, and a row is made of one when somebody asks for it: most looks are for a few of them.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;

use rustix::buffer::spare_capacity;
use rustix::io::{read, Errno};
use socketkit_wire::diag::SocketId;
use socketkit_wire::socket_records::{self, first, Addresses, Brief, Short, Socket};

use super::ages::{Ages, Seen};
use super::numbers::{NumberMap, NumberSet};
use super::row::{Address, Owner, Owners, Row};
use super::rows::{flow, local_address, packet_address, peer_address, vsock_address, Counts};
use super::sockets::Sockets;
use super::words;

/// What is there so far.
#[derive(Debug)]
pub struct Gathered<'a> {
    ages: &'a mut Ages,
    told: Told,
    /// Rows that were told of by lists alone.
    unowned: Vec<u32>,
    /// Rows that may name an interface.
    bound: Vec<u32>,
    /// The namespaces of the rows, each with the first process that has a descriptor there.
    namespaces: BTreeMap<u32, Option<u32>>,
    namespace: Option<u32>,
}

/// The sockets of one look in the kernel's own words.
#[derive(Clone, Debug, Default)]
pub struct Told {
    /// Records, one behind the other.
    bytes: Vec<u8>,
    /// Where the record of each row begins.
    starts: Vec<usize>,
    /// What was told of in another way; behind all others.
    others: Vec<Row>,
    seen: Vec<Seen>,
    /// All owners of the rows that have several; by row, and in order.
    owners: Vec<(u32, Owner)>,
    /// Whether somebody must hold one of them, and nobody is seen to.
    hidden: bool,
    tick_ns: u64,
}

impl<'a> Gathered<'a> {
    /// `before`: what the last look told, as far as that is known.
    pub fn new(tick_ns: u64, before: Size, ages: &'a mut Ages) -> Gathered<'a> {
        let rows = before.rows + before.rows / 16;
        let told = Told {
            bytes: Vec::with_capacity(before.bytes + before.bytes / 16 + PIECE_BYTES),
            starts: Vec::with_capacity(rows),
            seen: Vec::with_capacity(rows),
            tick_ns,
            ..Told::default()
        };
        Gathered { ages, told, unowned: Vec::new(), bound: Vec::new(), namespaces: BTreeMap::new(), namespace: None }
    }

    /// Reads records to their end. Those of sockets that `wanted` says so of are added, and `added` hears of each that has its
    /// first owner by that.
    pub fn read(
        &mut self,
        file: &File,
        mut wanted: impl FnMut(&Short) -> bool,
        mut added: impl FnMut(&Brief),
    ) -> io::Result<()> {
        let start = self.told.bytes.len();
        let mut end = start;
        loop {
            self.told.bytes.reserve(PIECE_BYTES);
            match read(file, spare_capacity(&mut self.told.bytes)) {
                Ok(0) => break,
                Ok(_) => end = self.digest(end, &mut wanted, &mut added)?,
                // The iterator looked at a million of what it does not show, and stays where it is.
                Err(Errno::INTR | Errno::AGAIN) => {}
                Err(failure) => return Err(failure.into()),
            }
        }
        if self.told.bytes.len() == end {
            Ok(())
        } else {
            Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the kernel's last record is not whole"))
        }
    }

    /// Looks through what was read behind `from`. Only what is new stays, and the start of a record that is not there whole; where
    /// that begins is the answer.
    fn digest(
        &mut self,
        from: usize,
        wanted: &mut impl FnMut(&Short) -> bool,
        added: &mut impl FnMut(&Brief),
    ) -> io::Result<usize> {
        let (mut at, mut end) = (from, from);
        loop {
            let rest = self.told.bytes.get(at..).unwrap_or_default();
            let told = first(rest).map_err(|malformed| io::Error::new(io::ErrorKind::InvalidData, malformed))?;
            let Some((short, length)) = told else { break };
            let add = wanted(&short);
            if let (Short::Socket(brief), true) = (short, add) {
                let answer = self.add(&brief, end);
                if answer.owned {
                    added(&brief);
                }
                if answer.kept {
                    if at != end {
                        self.told.bytes.copy_within(at..at + length, end);
                    }
                    end += length;
                }
            }
            at += length;
        }
        if at != end {
            let rest = self.told.bytes.len() - at;
            self.told.bytes.copy_within(at.., end);
            self.told.bytes.truncate(end + rest);
        }
        Ok(end)
    }

    /// One more record, which will begin at `start` if it is kept; of a socket that has a row already, only its owner counts.
    fn add(&mut self, socket: &Brief, start: usize) -> Added {
        // Sockets of families that no address opens are no rows.
        if words::scheme_of(socket.family, socket.kind, socket.protocol).is_none() {
            return Added { kept: false, owned: false };
        }
        let met = self.ages.meet(socket.cookie, self.told.starts.len() as u32);
        let owner = socket.owner.map(|(pid, descriptor)| Owner { pid, descriptor });
        if self.namespace != Some(socket.namespace) {
            self.namespace = Some(socket.namespace);
            self.namespaces.entry(socket.namespace).or_insert(owner.map(|owner| owner.pid));
        }
        if met.new {
            if owner.is_none() {
                self.unowned.push(met.row);
            }
            // A packet socket names it in its address.
            if socket.interface != 0 || socket.family == AF_PACKET {
                self.bound.push(met.row);
            }
            self.told.starts.push(start);
            self.told.seen.push(met.seen);
            return Added { kept: true, owned: owner.is_some() };
        }
        let Some(owner) = owner else { return Added { kept: false, owned: false } };
        match self.told.brief(met.row as usize).and_then(|known| known.owner) {
            // What a list told of is told of better by a descriptor.
            None => {
                if let Some(known) = self.told.starts.get_mut(met.row as usize) {
                    *known = start;
                }
                Added { kept: true, owned: true }
            }
            Some((pid, descriptor)) => {
                if owner != (Owner { pid, descriptor }) {
                    self.told.owners.push((met.row, owner));
                }
                Added { kept: false, owned: false }
            }
        }
    }

    /// What another source told, in the end: rows that no descriptor leads to. What is known already is known better.
    pub fn add_others(&mut self, rows: Vec<Row>) {
        for row in rows {
            let met = self.ages.meet(row.cookie, self.told.len() as u32);
            if met.new {
                let namespace = u32::try_from(row.namespace).unwrap_or_default();
                self.namespaces.entry(namespace).or_insert(None);
                self.bound.extend((row.interface != 0).then_some(met.row));
                self.told.seen.push(met.seen);
                self.told.others.push(row);
            }
        }
    }

    /// Whether there is a row of this cookie.
    pub fn has(&self, cookie: u64) -> bool {
        self.ages.row(cookie).is_some()
    }

    /// Whether it was told of by a list, and no descriptor leads to it.
    pub fn unowned(&self, cookie: u64) -> bool {
        let known = self.ages.row(cookie).and_then(|row| self.told.brief(row as usize));
        known.is_some_and(|known| known.owner.is_none())
    }

    /// All of it. `complete`: what was not told of does not exist.
    pub fn finish(mut self, complete: bool) -> Harvest {
        self.ages.end(complete);
        let told = &mut self.told;
        let firsts: Vec<(u32, Owner)> =
            told.owners.iter().filter_map(|&(row, _)| Some((row, told.owner(row)?))).collect();
        told.owners.extend(firsts);
        // Threads with descriptors of their own bear the number of their process: the same pair may come twice.
        told.owners.sort_unstable();
        told.owners.dedup();
        let hidden = |row: &u32| told.brief(*row as usize).is_some_and(|known| known.owner.is_none() && held(&known));
        told.hidden = self.unowned.iter().any(hidden);
        let mut bound: NumberMap<u64, NumberSet<u32>> = NumberMap::default();
        let rows = self.bound.iter().filter_map(|&at| self.told.row(at as usize));
        for row in rows.filter(|row| row.interface != 0) {
            bound.entry(row.namespace).or_default().insert(row.interface);
        }
        let now = self.ages.now();
        Harvest { sockets: Sockets::told(self.told, now), bound, namespaces: self.namespaces }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Added {
    /// The record is needed.
    kept: bool,
    /// The socket has its first owner by it.
    owned: bool,
}

/// How much a look told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Size {
    pub rows: usize,
    pub bytes: usize,
}

/// What a look gave.
#[derive(Debug)]
pub struct Harvest {
    pub sockets: Sockets,
    /// The interfaces that rows name, by namespace.
    pub bound: NumberMap<u64, NumberSet<u32>>,
    /// The namespaces of the rows, each with the first process that has a descriptor there.
    pub namespaces: BTreeMap<u32, Option<u32>>,
}

impl Told {
    pub fn len(&self) -> usize {
        self.starts.len() + self.others.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn size(&self) -> Size {
        Size { rows: self.starts.len(), bytes: self.bytes.len() }
    }

    pub fn row(&self, at: usize) -> Option<Row> {
        if let Some(other) = self.other(at) {
            return Some(other.clone());
        }
        let (_, length) = self.first(at)?;
        let start = *self.starts.get(at)?;
        let socket = socket_records::socket(self.bytes.get(start..start + length)?)?;
        Some(row(&socket, self.tick_ns))
    }

    pub fn owners(&self, at: usize) -> Owners {
        let several = self.owners.partition_point(|(row, _)| (*row as usize) < at);
        let owners = self.owners.get(several..).unwrap_or_default();
        let count = owners.iter().take_while(|(row, _)| *row as usize == at).count();
        if count > 0 {
            return owners.iter().take(count).map(|(_, owner)| *owner).collect();
        }
        self.owner(at as u32).into_iter().collect()
    }

    pub fn seen(&self, at: usize) -> Option<Seen> {
        self.seen.get(at).copied()
    }

    pub fn hidden(&self) -> bool {
        self.hidden
    }

    /// Cookie and inode.
    pub fn numbers(&self, at: usize) -> Option<(u64, u64)> {
        match self.other(at) {
            Some(other) => Some((other.cookie, other.inode)),
            None => self.brief(at).map(|known| (known.cookie, known.inode)),
        }
    }

    fn other(&self, at: usize) -> Option<&Row> {
        self.others.get(at.checked_sub(self.starts.len())?)
    }

    fn owner(&self, row: u32) -> Option<Owner> {
        let (pid, descriptor) = self.brief(row as usize)?.owner?;
        Some(Owner { pid, descriptor })
    }

    fn brief(&self, at: usize) -> Option<Brief> {
        match self.first(at)? {
            (Short::Socket(brief), _) => Some(brief),
            _ => None,
        }
    }

    fn first(&self, at: usize) -> Option<(Short, usize)> {
        first(self.bytes.get(*self.starts.get(at)?..)?).ok()?
    }
}

/// Somebody must hold it.
fn held(known: &Brief) -> bool {
    Row { inode: known.inode, fileless: known.fileless, state: known.state, ..Row::default() }.hidden(false)
}

fn row(told: &Socket<'_>, tick_ns: u64) -> Row {
    let six = matches!(told.addresses, Addresses::Inet6 { .. });
    let inet = six || matches!(told.addresses, Addresses::Inet { .. });
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
        // What is only the remains of a socket, or not one yet, shares nothing.
        reuse_address: (inet && told.dropped.is_some()).then_some(told.reuse_address),
        reuse_port: (inet && told.dropped.is_some()).then_some(told.reuse_port),
        only_ipv6: (six && told.dropped.is_some()).then_some(told.only_ipv6),
        unix_peer,
        dropped: told.dropped,
        fileless: told.fileless,
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

/// So much room there is for each read: the kernel fills 32 KiB at a time where its pages have 4 KiB, and sixteen times as much where
/// they have 64 KiB.
const PIECE_BYTES: usize = 64 * 1024;

const AF_PACKET: u16 = 17;
const SOCK_DGRAM: u16 = 2;
const SOCK_RAW: u16 = 3;
const IPPROTO_ICMP: u16 = 1;
const IPPROTO_ICMPV6: u16 = 58;
const SYN_RECEIVED: u8 = 3;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::io::Write;
    use std::time::Instant;

    use socketkit_wire::socket_records::VERSION;

    use super::*;

    /// The record of a TCP listener on IPv4: the layout of rust/bpf/table.bpf.c, written down once more.
    fn record(cookie: u64, owner: Option<(u32, u32)>) -> Vec<u8> {
        let (pid, descriptor) = owner.unwrap_or_default();
        let flags: u16 = 8 | 64 | if owner.is_some() { 32 } else { 0 };
        let mut bytes = [&72_u16.to_le_bytes()[..], &[VERSION, 1], &cookie.to_le_bytes()].concat();
        bytes.extend(4026531840_u32.to_le_bytes());
        bytes.extend((cookie + 1000).to_le_bytes());
        for number in [2, 6] {
            bytes.extend(u16::to_le_bytes(number));
        }
        bytes.extend([1, 10]);
        bytes.extend(flags.to_le_bytes());
        for number in [pid, descriptor, 0, cookie as u32 % 3, 0, 128, 0] {
            bytes.extend(number.to_le_bytes());
        }
        bytes.extend([0x50, 0, 0, 0, 127, 0, 0, 1, 0, 0, 0, 0]);
        bytes
    }

    fn seen(cookie: u64) -> Vec<u8> {
        [&12_u16.to_le_bytes()[..], &[VERSION, 0], &cookie.to_le_bytes()].concat()
    }

    fn begun(ages: &mut Ages) -> Gathered<'_> {
        ages.begin(Instant::now());
        Gathered::new(4_000_000, Size::default(), ages)
    }

    /// Has `told` digested as if the kernel gave it in pieces of that size; the cookies of those that got their first owner.
    fn told(gathered: &mut Gathered<'_>, told: &[Vec<u8>], piece: usize) -> Vec<u64> {
        let mut end = gathered.told.bytes.len();
        let mut owned = Vec::new();
        for piece in told.concat().chunks(piece) {
            gathered.told.bytes.extend_from_slice(piece);
            let added = &mut |brief: &Brief| owned.push(brief.cookie);
            end = gathered.digest(end, &mut |short| matches!(short, Short::Socket(_)), added).unwrap();
        }
        assert_eq!(gathered.told.bytes.len(), end, "nothing is left of whole records");
        owned
    }

    fn owner(pid: u32, descriptor: u32) -> Owner {
        Owner { pid, descriptor }
    }

    #[test]
    fn a_socket_is_one_row_in_whatever_pieces_it_is_told() {
        let records = [
            record(1, Some((7, 3))),
            seen(9),
            record(2, Some((7, 4))),
            record(1, Some((8, 3))),
            record(3, Some((9, 9))),
        ];
        for piece in [1, 5, 71, 72, 73, 100, 4096] {
            let mut ages = Ages::default();
            let mut gathered = begun(&mut ages);
            assert_eq!(told(&mut gathered, &records, piece), [1, 2, 3]);
            assert_eq!(gathered.told.bytes.len(), 3 * 72, "what tells nothing new takes no room");
            assert!(gathered.has(2) && !gathered.has(9));
            let harvest = gathered.finish(true);
            let sockets = harvest.sockets;
            assert_eq!(sockets.len(), 3);
            assert_eq!(sockets.owners(0).all(), [owner(7, 3), owner(8, 3)]);
            assert_eq!((sockets.owners(1).all(), sockets.owners(2).all()), (&[owner(7, 4)][..], &[owner(9, 9)][..]));
            let row = sockets.row(2).unwrap();
            assert_eq!((row.cookie, row.inode, row.send_queue), (3, 1003, 128));
            assert_eq!(row.local.as_bytes().get(..8), Some(&[2, 0, 0, 80, 127, 0, 0, 1][..]));
            assert_eq!((sockets.numbers(0), sockets.numbers(3)), (Some((1, 1001)), None));
            let bound = harvest.bound.get(&4026531840).unwrap();
            assert_eq!((bound.len(), bound.contains(&1), bound.contains(&2)), (2, true, true));
            assert_eq!(harvest.namespaces.get(&4026531840), Some(&Some(7)));
            assert!(!sockets.hidden());
        }
    }

    #[test]
    fn what_a_list_told_of_is_told_of_again_by_its_descriptor() {
        let mut ages = Ages::default();
        let mut gathered = begun(&mut ages);
        assert_eq!(told(&mut gathered, &[record(1, None), record(2, None)], 4096), []);
        assert!(gathered.unowned(1) && gathered.unowned(2) && !gathered.unowned(3));
        assert_eq!(told(&mut gathered, &[record(2, Some((7, 3))), record(2, Some((7, 5)))], 4096), [2]);
        // A second walk through the descriptors tells of the same owners.
        assert_eq!(told(&mut gathered, &[record(2, Some((7, 3))), record(2, Some((7, 5)))], 4096), []);
        assert!(gathered.unowned(1) && !gathered.unowned(2));
        let sockets = gathered.finish(true).sockets;
        assert_eq!(sockets.len(), 2);
        assert_eq!(sockets.owners(0).all(), []);
        assert_eq!(sockets.owners(1).all(), [owner(7, 3), owner(7, 5)]);
        assert!(sockets.hidden(), "somebody must hold the first");
    }

    #[test]
    fn what_another_source_tells_of_stands_behind_all_others() {
        let mut ages = Ages::default();
        let mut gathered = begun(&mut ages);
        told(&mut gathered, &[record(1, Some((7, 3)))], 4096);
        let left = |cookie| Row { family: 2, kind: 1, protocol: 6, state: 6, cookie, ..Row::default() };
        gathered.add_others(vec![left(1), left(2), left(2), Row { namespace: 5, interface: 4, ..left(3) }]);
        let harvest = gathered.finish(true);
        let sockets = harvest.sockets;
        assert_eq!(sockets.len(), 3);
        let told: Vec<_> = (0..4).map(|at| sockets.numbers(at)).collect();
        assert_eq!(told, [Some((1, 1001)), Some((2, 0)), Some((3, 0)), None]);
        assert_eq!((sockets.row(1), sockets.row(3)), (Some(left(2)), None));
        assert_eq!(sockets.owners(1).all(), []);
        assert!(harvest.bound.get(&5).is_some_and(|interfaces| interfaces.contains(&4)));
    }

    #[test]
    fn threads_that_bear_one_number_are_one_owner() {
        let mut ages = Ages::default();
        let mut gathered = begun(&mut ages);
        told(&mut gathered, &[record(1, Some((7, 3))), record(1, Some((7, 3))), record(1, Some((7, 3)))], 4096);
        assert_eq!(gathered.finish(true).sockets.owners(0).all(), [owner(7, 3)]);
    }

    #[test]
    fn what_no_address_opens_is_no_row() {
        let mut netlink = record(1, Some((7, 3)));
        netlink[24] = 16;
        let mut ages = Ages::default();
        let mut gathered = begun(&mut ages);
        assert_eq!(told(&mut gathered, &[netlink, record(2, Some((7, 4)))], 4096), [2]);
        assert_eq!(gathered.finish(true).sockets.len(), 1);
    }

    #[test]
    fn a_record_that_is_not_whole_is_an_error() {
        let file = |bytes: &[u8]| {
            let (reader, mut writer) = std::io::pipe().unwrap();
            writer.write_all(bytes).unwrap();
            File::from(std::os::fd::OwnedFd::from(reader))
        };
        let read = |bytes: &[u8]| {
            let mut ages = Ages::default();
            begun(&mut ages).read(&file(bytes), |_| true, |_| {}).map_err(|failure| failure.kind())
        };
        let whole = record(1, None);
        assert_eq!(read(&whole), Ok(()));
        assert_eq!(read(&whole[..71]), Err(io::ErrorKind::UnexpectedEof));
        let mut other = whole.clone();
        other[2] = VERSION + 1;
        assert_eq!(read(&other), Err(io::ErrorKind::InvalidData));
    }
}
