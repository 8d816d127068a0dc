//! The socket table: every socket of the machine, and whose descriptors lead to it.
//!
//! One look: which processes and network namespaces there are (`owners`, `namespaces`); all sockets of each namespace (`netlink`),
//! while new tables of descriptors are read; what has changed since the last look is read again, and what is held but in no dump is
//! asked itself (`descriptors`); then sockets and owners are put together.

pub mod ages;
pub mod descriptors;
pub mod destroy;
pub mod ended;
pub mod gathered;
pub mod iterators;
pub mod left;
pub mod namespaces;
pub mod netlink;
pub mod numbers;
pub mod owners;
pub mod present;
pub mod row;
pub mod rows;
pub mod sockets;
pub mod source;
pub mod words;

use std::io;

use rustix::net::netdevice::index_to_name;

use descriptors::Strangers;
use namespaces::Namespace;
use netlink::Absent;
use numbers::{NumberMap, NumberSet};
use owners::{Owners, Processes};
use row::{Row, Snapshot};
use sockets::Sockets;

/// Looks at the table by netlink, and keeps what makes the next look cheap.
#[derive(Debug, Default)]
pub struct NetlinkTable {
    owners: Owners,
    strangers: Strangers,
    absent: Absent,
    /// Not only the calling thread's own namespace.
    everywhere: bool,
}

impl NetlinkTable {
    pub fn new(everywhere: bool) -> NetlinkTable {
        NetlinkTable { everywhere, ..NetlinkTable::default() }
    }

    pub fn refresh(&mut self) -> io::Result<Snapshot> {
        let Processes { namespaces, all } = self.owners.list()?;
        let mut places = namespaces::known(namespaces)?;
        if !self.everywhere {
            places.truncate(1);
        }
        let mut sight = Sight { all_namespaces: all, ..Sight::default() };
        let (owners, absent) = (&mut self.owners, &self.absent);
        let dumped = std::thread::scope(|scope| {
            let reading =
                std::thread::Builder::new().name("owners".to_owned()).spawn_scoped(scope, || owners.read_new())?;
            let dumped = places.iter().enumerate().try_for_each(|(at, place)| sight.add(place, at == 0, absent));
            reading.join().map_err(|_| io::Error::other("the thread that reads descriptors panicked"))?;
            dumped
        });
        dumped?;
        let mut index = sight.index();
        self.owners.settle(&index);
        self.ask_outside(&mut sight, &mut index, &mut places)?;
        Ok(self.put_together(sight, &index, places, all))
    }

    /// Sockets that are held and in no dump; what else they lead to is looked into, too.
    fn ask_outside(
        &mut self,
        sight: &mut Sight,
        index: &mut NumberMap<u64, u32>,
        places: &mut Vec<Namespace>,
    ) -> io::Result<()> {
        let mut known: NumberSet<u64> = places.iter().map(|place| place.inode).collect();
        let home = places.first().map_or(0, |place| place.inode);
        let mut found = descriptors::ask(&self.owners.outside(index), &known, home, &mut self.strangers);
        if !found.moved.is_empty() {
            found.moved.iter().for_each(|place| self.owners.read_again(*place));
            found = descriptors::ask(&self.owners.outside(index), &known, home, &mut self.strangers);
        }
        sight.denied = found.denied;
        if self.everywhere {
            for (inode, place, descriptor) in found.namespaces.drain(..) {
                let namespace = Namespace::opened(inode, format!("pid {}", place.pid), descriptor);
                sight.add(&namespace, false, &self.absent)?;
                known.insert(inode);
                places.push(namespace);
            }
            *index = sight.index();
        }
        for row in found.rows {
            if known.contains(&row.namespace) && !index.contains_key(&row.inode) {
                index.insert(row.inode, sight.rows.len() as u32);
                sight.rows.push(row);
            }
        }
        Ok(())
    }

    fn put_together(
        &self,
        mut sight: Sight,
        index: &NumberMap<u64, u32>,
        places: Vec<Namespace>,
        all: bool,
    ) -> Snapshot {
        let (owners, ranges) = self.owners.assign(index, sight.rows.len());
        let first = |row: &Row| index.get(&row.inode).and_then(|&at| ranges.get(at as usize)).cloned();
        let ranges = sight.rows.iter().map(|row| if row.inode == 0 { 0..0 } else { first(row).unwrap_or_default() });
        let ranges = ranges.collect();
        sight.name_peers(index);
        Snapshot {
            interfaces: sight.interfaces,
            sockets: Sockets::made(sight.rows, ranges, owners),
            namespaces: places.into_iter().map(|place| (place.inode, place.name)).collect(),
            all_owners: all && !sight.denied && self.owners.all_read(),
            all_namespaces: sight.all_namespaces,
        }
    }
}

/// What the dumps of one look gave.
#[derive(Debug, Default)]
struct Sight {
    rows: Vec<Row>,
    interfaces: Vec<((u64, u32), String)>,
    all_namespaces: bool,
    denied: bool,
}

impl Sight {
    /// Adds a namespace's sockets. Only if it must be there its failure is one.
    fn add(&mut self, place: &Namespace, must: bool, absent: &Absent) -> io::Result<()> {
        let looked = place.visit(|| {
            let rows = netlink::sockets(place.inode, absent)?;
            let bound = rows.iter().map(|row| row.interface).filter(|&index| index != 0).collect();
            let names = interface_names(&bound, place.inode);
            Ok((rows, names))
        });
        match looked.and_then(|told| told) {
            Ok((rows, names)) => {
                // The first is the largest, as a rule, and is not copied.
                if self.rows.is_empty() {
                    self.rows = rows;
                } else {
                    self.rows.extend(rows);
                }
                self.interfaces.extend(names);
                Ok(())
            }
            Err(failure) if must => Err(failure),
            // It ended meanwhile, with all that was in it.
            Err(failure) if failure.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(_) => {
                self.all_namespaces = false;
                Ok(())
            }
        }
    }

    /// Where the row of each inode is; of several the first. A socket that changed its place while the kernel went through its
    /// table is there twice: the later one stays.
    fn index(&mut self) -> NumberMap<u64, u32> {
        let mut met = NumberMap::with_capacity_and_hasher(self.rows.len(), Default::default());
        let mut doubled = Vec::new();
        for (at, row) in self.rows.iter().enumerate() {
            // Associations of one SCTP socket share its cookie.
            if row.cookie != 0 && row.protocol != IPPROTO_SCTP {
                doubled.extend(met.insert(row.cookie, at));
            }
        }
        doubled.sort_unstable();
        for at in doubled.into_iter().rev() {
            self.rows.swap_remove(at);
        }
        let mut index = NumberMap::with_capacity_and_hasher(self.rows.len(), Default::default());
        for (at, row) in self.rows.iter().enumerate().filter(|(_, row)| row.inode != 0) {
            index.entry(row.inode).or_insert(at as u32);
        }
        index
    }

    /// The names of Unix sockets' peers.
    fn name_peers(&mut self, index: &NumberMap<u64, u32>) {
        for at in 0..self.rows.len() {
            let peer = match self.rows.get(at) {
                Some(row) if row.unix_peer != 0 => index.get(&row.unix_peer),
                _ => continue,
            };
            let name = peer.and_then(|&peer| self.rows.get(peer as usize)).map(|row| row.local.clone());
            if let (Some(name), Some(row)) = (name, self.rows.get_mut(at)) {
                row.peer = name;
            }
        }
    }
}

/// The names of interfaces in the namespace where the calling thread is.
fn interface_names(indices: &NumberSet<u32>, namespace: u64) -> Vec<((u64, u32), String)> {
    let Ok(socket) = netlink::open() else { return Vec::new() };
    let name = |index: u32| Some(((namespace, index), index_to_name(&socket, index).ok()?));
    indices.iter().copied().filter_map(name).collect()
}

const IPPROTO_SCTP: u16 = 132;
