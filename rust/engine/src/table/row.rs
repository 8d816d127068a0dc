//! A socket as the kernel tells of it, whoever asked: netlink or a BPF iterator.

use super::sockets::Sockets;

/// An address as the kernel has it: the bytes of a `struct sockaddr`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum Address {
    /// There is none: an unnamed Unix socket, the peer of a listener.
    #[default]
    None,
    /// What is short: IPv4, IPv6, vsock, packet, Bluetooth, some Unix names. The first `length` bytes are the address.
    Short { bytes: [u8; 28], length: u8 },
    /// A longer name of a Unix socket: its family and its path, or a NUL and its abstract name.
    Unix(Box<[u8]>),
}

impl Address {
    /// Raw bytes; what is longer than any `struct sockaddr` of its family is cut to nothing.
    pub fn from_bytes(raw: &[u8]) -> Address {
        let mut bytes = [0; 28];
        match bytes.get_mut(..raw.len()) {
            Some(_) if raw.is_empty() => Address::None,
            Some(room) => {
                room.copy_from_slice(raw);
                Address::Short { bytes, length: raw.len() as u8 }
            }
            None if raw.len() <= 110 => Address::Unix(raw.into()),
            None => Address::None,
        }
    }

    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Address::None => &[],
            Address::Short { bytes, length } => bytes.get(..usize::from(*length)).unwrap_or_default(),
            Address::Unix(bytes) => bytes,
        }
    }
}

/// What TCP counts of a connection since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flow {
    pub received_bytes: u64,
    /// Acknowledged by the peer.
    pub sent_bytes: u64,
    pub received_segments: u32,
    pub sent_segments: u32,
    /// Smoothed; 0 = not measured yet.
    pub round_trip_us: u32,
    pub retransmits: u32,
    /// Since data came or went last; u32::MAX = never, or not known.
    pub quiet_ms: u32,
    /// It is at least so old: the earliest that the kernel remembers of it.
    pub seen_ms: u32,
}

/// One socket. `None` = this source could not know.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Row {
    /// AF_*
    pub family: u16,
    /// SOCK_*
    pub kind: u16,
    /// IPPROTO_*; of a packet socket the Ethernet type.
    pub protocol: u16,
    /// TCP_*, which Unix and UDP sockets use, too (7 = not connected, 1 = connected, 10 = listening).
    pub state: u8,
    pub local: Address,
    pub peer: Address,
    /// What /proc/PID/fd calls it; 0 = no descriptor is left: TIME_WAIT, orphans, what nobody accepted yet.
    pub inode: u64,
    /// The kernel's number for it, never used twice since the start of the machine; 0 = not known.
    pub cookie: u64,
    /// The inode of its network namespace.
    pub namespace: u64,
    /// The index of the interface that it is bound to; 0 = none.
    pub interface: u32,
    pub uid: Option<u32>,
    /// Bytes; of a listener the connections that wait to be accepted.
    pub receive_queue: u32,
    /// Bytes; of a listener how many may wait.
    pub send_queue: u32,
    pub flow: Option<Flow>,
    pub reuse_address: Option<bool>,
    pub reuse_port: Option<bool>,
    pub only_ipv6: Option<bool>,
    /// The inode of a Unix socket's peer; 0 = none.
    pub unix_peer: u64,
    /// Datagrams that were lost for want of room.
    pub dropped: Option<u32>,
    /// No descriptor can lead to it, and the source knows that: the kernel's own.
    pub fileless: bool,
}

impl Row {
    /// Somebody must hold it, and nobody is seen to: a process that this one cannot see, or it is on its way between two.
    pub fn hidden(&self, owned: bool) -> bool {
        !owned && self.inode != 0 && !self.fileless && matches!(self.state, ESTABLISHED | LISTENING)
    }
}

const ESTABLISHED: u8 = 1;
const LISTENING: u8 = 10;

/// A descriptor that leads to a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Owner {
    pub pid: u32,
    pub descriptor: u32,
}

/// All that lead to one socket, in order. Most sockets have one, and no memory of its own is spent on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Owners {
    One([Owner; 1]),
    Many(Box<[Owner]>),
}

impl Owners {
    pub fn all(&self) -> &[Owner] {
        match self {
            Owners::One(owners) => owners,
            Owners::Many(owners) => owners,
        }
    }
}

impl FromIterator<Owner> for Owners {
    fn from_iter<T: IntoIterator<Item = Owner>>(owners: T) -> Owners {
        let mut owners = owners.into_iter();
        match (owners.next(), owners.next()) {
            (Some(one), None) => Owners::One([one]),
            (first, second) => Owners::Many(first.into_iter().chain(second).chain(owners).collect()),
        }
    }
}

/// All sockets at one moment.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    pub sockets: Sockets,
    /// The namespaces of the rows by their inodes: "" for our own, else the name in /run/netns, or "pid 123".
    pub namespaces: Vec<(u64, String)>,
    /// (namespace, index) and name of each interface that a row names.
    pub interfaces: Vec<((u64, u32), String)>,
    /// Whether every process could be looked into: if not, a row without owners may have some.
    pub all_owners: bool,
    /// Whether every network namespace could be looked into.
    pub all_namespaces: bool,
}

impl Snapshot {
    /// Whether every process and namespace could be looked into, as far as the sockets themselves do not tell otherwise.
    pub fn complete(&self) -> bool {
        self.all_owners && self.all_namespaces && !self.sockets.hidden()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_somebody_must_hold_and_nobody_does_is_hidden() {
        let listener = Row { family: 2, kind: 1, inode: 7, state: LISTENING, ..Row::default() };
        assert!(listener.hidden(false));
        assert!(Row { state: ESTABLISHED, ..listener.clone() }.hidden(false));
        assert!(!listener.hidden(true));
        for seen in [
            // It waits to be accepted, or it ended.
            Row { inode: 0, ..listener.clone() },
            Row { state: 6, ..listener.clone() },
            Row { fileless: true, ..listener.clone() },
        ] {
            assert!(!seen.hidden(false));
        }
        let look = |rows: Vec<Row>| Snapshot {
            sockets: Sockets::made(rows, Vec::new(), Vec::new()),
            all_owners: true,
            all_namespaces: true,
            ..Snapshot::default()
        };
        assert!(look(Vec::new()).complete());
        assert!(!look(vec![Row { kind: 1, protocol: 6, ..listener }]).complete());
    }

    #[test]
    fn one_owner_takes_no_memory_of_its_own() {
        let owners = |count: u32| (0..count).map(|pid| Owner { pid, descriptor: 3 }).collect::<Owners>();
        assert!(matches!(owners(1), Owners::One(_)));
        for count in 0..4 {
            assert_eq!(owners(count).all().len(), count as usize);
        }
    }
}
