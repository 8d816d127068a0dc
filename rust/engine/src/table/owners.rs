//! Whose descriptors lead to which socket, by /proc/PID/fd, read again only where something changed.
//!
//! What tells of a change, without reading a table of descriptors:
//! - its number of descriptors (`st_size` of the directory since Linux 6.2), and the directory's own inode, which is another one for
//!   another process with the same number;
//! - a socket that it held is in no dump any more: it was closed, and something else may be in its place;
//! - a socket that is in a dump and has no owner: somebody opened it, in the place of a file perhaps;
//! - of a socket with several owners none of this tells: those descriptors are looked at each time.
//!
//! One change is left: a descriptor that was closed while another process took the same socket in the place of something else. So a
//! share of the tables is read again at each look, the oldest first, and no error outlives `SHARE` looks.

use std::fs;
use std::io;
use std::mem::MaybeUninit;
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use rustix::fs::{open, readlinkat_raw, Mode, OFlags, RawDir};
use rustix::io::Errno;
use socketkit_system::sockets::same_descriptors;

use super::namespaces::{linked_number, sees_every_process};
use super::numbers::{NumberMap, NumberSet};
use super::row::Owner;

/// Where a table of descriptors is: a process, or a thread of it that has one of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    pub pid: u32,
    pub thread: u32,
}

impl Place {
    pub fn folder(self) -> String {
        if self.pid == self.thread {
            format!("/proc/{}/fd", self.pid)
        } else {
            format!("/proc/{}/task/{}/fd", self.pid, self.thread)
        }
    }
}

/// A descriptor that leads to a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    pub inode: u64,
    pub descriptor: u32,
}

/// One table of descriptors, as it was when it was read.
#[derive(Debug)]
struct Table {
    /// The inode of its folder in /proc: another one means another process.
    folder: u64,
    /// How many descriptors it has; always 0 before Linux 6.2.
    count: u64,
    state: State,
    /// In which look it was read.
    read: u64,
    /// In which look it was there last.
    seen: u64,
    /// By descriptor.
    sockets: Vec<Held>,
    /// Descriptors that keep a network namespace alive.
    namespaces: Vec<Held>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    New,
    Changed,
    Known,
    /// It may not be read.
    Denied,
}

/// Whose descriptors lead where, from one look to the next.
#[derive(Debug, Default)]
pub struct Owners {
    tables: NumberMap<Place, Table>,
    look: u64,
    /// Sockets that nobody held although all tables were read, and how often that was so: the kernel's own, and those that are
    /// on their way between processes.
    nobodys: NumberMap<u64, u8>,
    /// Sockets that were held and in no dump at the last look.
    outside: NumberSet<u64>,
    /// How many descriptors may be read again in advance.
    credit: usize,
}

/// What a look at all processes gives, beside the tables.
#[derive(Debug, Default)]
pub struct Processes {
    /// Network namespaces: inode, a place to open it, a name.
    pub namespaces: Vec<(u64, PathBuf, String)>,
    /// Whether all could be looked into.
    pub all: bool,
}

impl Owners {
    /// Which processes there are, and which tables are new or have changed.
    pub fn list(&mut self) -> io::Result<Processes> {
        self.look += 1;
        let counted = fs::metadata("/proc/self/fd")?.size() > 0;
        let mut found = Processes { namespaces: Vec::new(), all: sees_every_process() };
        let mut namespaces = NumberSet::default();
        for pid in numbers("/proc")? {
            let here = Place { pid, thread: pid };
            found.all &= self.note(here, counted);
            let mut threads = vec![pid];
            // Two for the folder itself.
            if fs::metadata(format!("/proc/{pid}/task")).is_ok_and(|facts| facts.nlink() > 3) {
                threads = numbers(&format!("/proc/{pid}/task")).unwrap_or_default();
            }
            for thread in threads {
                // Not told: the kernel lacks kcmp, and what is read twice is put together; or it is forbidden, as reading will be.
                if thread != pid && !same_descriptors(pid, thread).unwrap_or(false) {
                    found.all &= self.note(Place { pid, thread }, counted);
                }
                let place = format!("/proc/{pid}/task/{thread}/ns/net");
                match fs::read_link(&place) {
                    Ok(link) => {
                        let inode = linked_number(link.as_os_str().as_encoded_bytes(), b"net:[");
                        if let Some(inode) = inode.filter(|inode| namespaces.insert(*inode)) {
                            found.namespaces.push((inode, place.into(), format!("pid {pid}")));
                        }
                    }
                    Err(failure) => found.all &= gone(&failure),
                }
            }
        }
        let look = self.look;
        self.tables.retain(|_, table| table.seen == look);
        for (place, table) in &self.tables {
            for held in table.namespaces.iter().filter(|held| namespaces.insert(held.inode)) {
                let path = format!("{}/{}", place.folder(), held.descriptor);
                found.namespaces.push((held.inode, path.into(), format!("pid {}", place.pid)));
            }
        }
        Ok(found)
    }

    /// Notes a table that is there; false if it is hidden.
    fn note(&mut self, place: Place, counted: bool) -> bool {
        let facts = match fs::metadata(place.folder()) {
            Ok(facts) => facts,
            Err(failure) => return gone(&failure),
        };
        let (folder, count, look) = (facts.ino(), facts.size(), self.look);
        let table = self.tables.entry(place).or_insert_with(|| Table::new(folder));
        if table.folder != folder {
            *table = Table::new(folder);
        }
        if table.state != State::New && (table.count != count || !counted) {
            table.state = State::Changed;
        }
        table.seen = look;
        table.count = count;
        // The kernel's threads have none, and need not be read.
        if counted && count == 0 {
            *table = Table { state: State::Known, read: look, seen: look, ..Table::new(folder) };
        }
        true
    }

    /// Reads those that were never read. Needs no dump.
    pub fn read_new(&mut self) {
        let look = self.look;
        for (place, table) in self.tables.iter_mut().filter(|(_, table)| table.state == State::New) {
            table.read(*place, look, |_| false);
        }
    }

    /// Brings all tables up to date with the sockets that there are, by inode, each with the place where its owners are counted.
    pub fn settle(&mut self, index: &NumberMap<u64, u32>) {
        let look = self.look;
        let outside = &self.outside;
        for table in self.tables.values_mut().filter(|table| table.state == State::Known && table.read < look) {
            let closed = |held: &Held| !index.contains_key(&held.inode) && !outside.contains(&held.inode);
            if table.sockets.iter().any(closed) {
                table.state = State::Changed;
            }
        }
        let holders = self.holders(index);
        let alone = |inode: u64| index.get(&inode).and_then(|&at| holders.get(at as usize)) == Some(&1);
        for (place, table) in &mut self.tables {
            if table.state == State::Changed
                || (table.read < look
                    && table.moved(*place, |inode| {
                        index.get(&inode).and_then(|&at| holders.get(at as usize)).is_some_and(|&count| count > 1)
                    }))
            {
                table.read(*place, look, alone);
            }
        }
        self.search(index, alone);
        self.read_in_advance(look);
        self.outside = self.tables.values().flat_map(|table| &table.sockets).map(|held| held.inode).collect();
        self.outside.retain(|inode| !index.contains_key(inode));
    }

    /// Looks for the owners of sockets that have none, in all tables that may have changed unseen.
    fn search(&mut self, index: &NumberMap<u64, u32>, alone: impl Fn(u64) -> bool) {
        let look = self.look;
        let holders = self.holders(index);
        let owned = |at: u32| holders.get(at as usize).is_some_and(|&count| count > 0);
        let mut wanted: NumberSet<u64> = index.iter().filter(|(_, &at)| !owned(at)).map(|(&inode, _)| inode).collect();
        self.nobodys.retain(|inode, _| wanted.contains(inode));
        wanted.retain(|inode| self.nobodys.get(inode).is_none_or(|&times| times < SEARCHES));
        let searched: Vec<u64> = wanted.iter().copied().collect();
        for (place, table) in &mut self.tables {
            if wanted.is_empty() {
                break;
            }
            // One that was read in this look may have changed since: then its number of descriptors tells.
            let again =
                table.read < look || fs::metadata(place.folder()).is_ok_and(|facts| facts.size() != table.count);
            if again && table.count > 0 {
                table.read(*place, look, &alone);
                for held in &table.sockets {
                    wanted.remove(&held.inode);
                }
            }
        }
        for inode in searched {
            if wanted.contains(&inode) {
                *self.nobodys.entry(inode).or_default() += 1;
            }
        }
    }

    /// A share of the tables at each look, those first that were not read for longest.
    fn read_in_advance(&mut self, look: u64) {
        let mut all: usize = 0;
        let mut oldest: Vec<(u64, Place, usize)> = Vec::with_capacity(self.tables.len());
        for (place, table) in &self.tables {
            all += table.sockets.len();
            if table.read < look {
                oldest.push((table.read, *place, table.sockets.len()));
            }
        }
        self.credit = (self.credit + all / SHARE + LEAST).min(all + LEAST);
        oldest.sort_unstable();
        for (_, place, cost) in oldest {
            if cost >= self.credit {
                break;
            }
            self.credit -= cost + 1;
            if let Some(table) = self.tables.get_mut(&place) {
                table.read(place, look, |_| false);
            }
        }
    }

    /// How many descriptors lead to each socket of the index.
    fn holders(&self, index: &NumberMap<u64, u32>) -> Vec<u32> {
        let most = index.values().max().map_or(0, |&at| at as usize + 1);
        let mut holders = vec![0; most];
        for held in self.tables.values().flat_map(|table| &table.sockets) {
            if let Some(count) = index.get(&held.inode).and_then(|&at| holders.get_mut(at as usize)) {
                *count += 1;
            }
        }
        holders
    }

    /// The owners of all sockets of the index, those of one socket together and in order, and where each one's are.
    pub fn assign(&self, index: &NumberMap<u64, u32>, count: usize) -> (Vec<Owner>, Vec<Range<u32>>) {
        let mut pairs: Vec<(u32, Owner)> = Vec::new();
        for (place, table) in &self.tables {
            for held in &table.sockets {
                if let Some(&at) = index.get(&held.inode) {
                    pairs.push((at, Owner { pid: place.pid, descriptor: held.descriptor }));
                }
            }
        }
        // Mostly one owner a socket, in the order of its table; a stable sort takes runs as they are.
        pairs.sort();
        pairs.dedup();
        let mut ranges = vec![0..0; count];
        for (number, (at, _)) in pairs.iter().enumerate() {
            if let Some(range) = ranges.get_mut(*at as usize) {
                if range.end == 0 {
                    range.start = number as u32;
                }
                range.end = number as u32 + 1;
            }
        }
        (pairs.into_iter().map(|(_, owner)| owner).collect(), ranges)
    }

    /// Sockets that somebody holds and that are not in the index, each with one descriptor that leads to it.
    pub fn outside(&self, index: &NumberMap<u64, u32>) -> Vec<(Place, Held)> {
        let mut met = NumberSet::default();
        let mut found = Vec::new();
        for (place, table) in &self.tables {
            let unknown = |held: &&Held| !index.contains_key(&held.inode) && met.insert(held.inode);
            found.extend(table.sockets.iter().filter(unknown).map(|held| (*place, *held)));
        }
        found
    }

    /// A descriptor of this table was found to lead elsewhere.
    pub fn read_again(&mut self, place: Place) {
        let look = self.look;
        if let Some(table) = self.tables.get_mut(&place) {
            table.read(place, look, |_| false);
        }
    }

    /// Whether every table could be read.
    pub fn all_read(&self) -> bool {
        self.tables.values().all(|table| table.state != State::Denied)
    }
}

impl Table {
    fn new(folder: u64) -> Table {
        let (sockets, namespaces) = (Vec::new(), Vec::new());
        Table { folder, count: 0, state: State::New, read: 0, seen: 0, sockets, namespaces }
    }

    /// Reads it. A descriptor that led to a socket which `alone` says nobody else holds, and which is still there, leads to it still.
    fn read(&mut self, place: Place, look: u64, alone: impl Fn(u64) -> bool) {
        self.read = look;
        let before = std::mem::take(&mut self.sockets);
        self.namespaces.clear();
        match self.read_folder(place, &before, alone) {
            Ok(()) => self.state = State::Known,
            Err(Errno::ACCESS | Errno::PERM) => self.state = State::Denied,
            // It ended.
            Err(_) => {
                self.sockets.clear();
                self.state = State::Known;
            }
        }
    }

    fn read_folder(&mut self, place: Place, before: &[Held], alone: impl Fn(u64) -> bool) -> Result<(), Errno> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = open(place.folder(), flags, Mode::empty())?;
        let mut room = [MaybeUninit::uninit(); 32 * 1024];
        let mut entries = RawDir::new(&folder, &mut room);
        let mut before = before.iter().peekable();
        while let Some(entry) = entries.next() {
            let name = entry?;
            let Some(descriptor) = number(name.file_name().to_bytes()) else { continue };
            // The kernel gives them in order.
            while before.next_if(|held| held.descriptor < descriptor).is_some() {}
            if let Some(held) = before.next_if(|held| held.descriptor == descriptor && alone(held.inode)) {
                self.sockets.push(*held);
                continue;
            }
            let mut link = [MaybeUninit::uninit(); LINK_BYTES];
            match readlinkat_raw(&folder, name.file_name(), &mut link) {
                Ok((link, _)) => {
                    if let Some(inode) = linked_number(link, b"socket:[") {
                        self.sockets.push(Held { inode, descriptor });
                    } else if let Some(inode) = linked_number(link, b"net:[") {
                        self.namespaces.push(Held { inode, descriptor });
                    }
                }
                // Closed between the listing and the look.
                Err(Errno::NOENT) => {}
                Err(failure) => return Err(failure),
            }
        }
        Ok(())
    }

    /// Whether one of its descriptors leads elsewhere than it did, of those to sockets that `doubtful` names.
    fn moved(&self, place: Place, doubtful: impl Fn(u64) -> bool) -> bool {
        let mut doubted = self.sockets.iter().filter(|held| doubtful(held.inode)).peekable();
        if doubted.peek().is_none() {
            return false;
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let Ok(folder) = open(place.folder(), flags, Mode::empty()) else { return true };
        doubted.any(|held| {
            let mut link = [MaybeUninit::uninit(); LINK_BYTES];
            let found = readlinkat_raw(&folder, held.descriptor.to_string(), &mut link);
            found.map_or(true, |(link, _)| linked_number(link, b"socket:[") != Some(held.inode))
        })
    }
}

/// The names in a folder that are numbers.
fn numbers(folder: &str) -> io::Result<Vec<u32>> {
    let names = fs::read_dir(folder)?.flatten().map(|entry| entry.file_name());
    Ok(names.filter_map(|name| number(name.as_encoded_bytes())).collect())
}

fn number(digits: &[u8]) -> Option<u32> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u32, |number, byte| {
        let digit = byte.is_ascii_digit().then(|| u32::from(byte - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    })
}

/// True if what was looked at has ended meanwhile: nothing is hidden.
fn gone(failure: &io::Error) -> bool {
    matches!(Errno::from_io_error(failure), Some(Errno::NOENT | Errno::SRCH))
}

/// After so many looks each table was read again, changed or not.
const SHARE: usize = 16;
/// So many descriptors are read in advance at the least.
const LEAST: usize = 64;
/// How often nobody has to be found before a socket is believed to have no owner.
const SEARCHES: u8 = 2;
/// More than `socket:[18446744073709551615]`; what is longer is cut, and is no socket.
const LINK_BYTES: usize = 40;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::fs::File;
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixStream;

    use super::*;

    fn held(inode: u64, descriptor: u32) -> Held {
        Held { inode, descriptor }
    }

    fn owners(tables: &[(u32, &[Held])]) -> Owners {
        let table = |sockets: &[Held]| Table { sockets: sockets.to_vec(), state: State::Known, ..Table::new(1) };
        let tables = tables.iter().map(|(pid, sockets)| (Place { pid: *pid, thread: *pid }, table(sockets)));
        Owners { tables: tables.collect(), ..Owners::default() }
    }

    fn index(inodes: &[u64]) -> NumberMap<u64, u32> {
        inodes.iter().enumerate().map(|(at, &inode)| (inode, at as u32)).collect()
    }

    #[test]
    fn numbers_are_digits_alone() {
        assert_eq!([number(b"0"), number(b"4294967295")], [Some(0), Some(u32::MAX)]);
        assert_eq!([number(b""), number(b"4294967296"), number(b"self"), number(b"-1"), number(b".")], [None; 5]);
    }

    #[test]
    fn owners_of_a_socket_stand_together_in_order() {
        let known = owners(&[(9, &[held(5, 3), held(6, 4)]), (7, &[held(6, 8), held(6, 2)]), (8, &[held(99, 3)])]);
        let index = index(&[4, 5, 6]);
        let (all, ranges) = known.assign(&index, 3);
        let owner = |pid, descriptor| Owner { pid, descriptor };
        assert_eq!(all, [owner(9, 3), owner(7, 2), owner(7, 8), owner(9, 4)]);
        assert_eq!(ranges, [0..0, 0..1, 1..4]);
        assert_eq!(known.holders(&index), [0, 1, 3]);
    }

    #[test]
    fn what_is_held_and_in_no_dump_is_asked_once() {
        let known = owners(&[(7, &[held(5, 3), held(6, 4), held(6, 5)])]);
        let outside = known.outside(&index(&[5]));
        assert_eq!(outside, [(Place { pid: 7, thread: 7 }, held(6, 4))]);
    }

    #[test]
    fn a_denied_table_is_not_all() {
        let mut known = owners(&[(7, &[]), (8, &[])]);
        assert!(known.all_read());
        known.tables.values_mut().last().unwrap().state = State::Denied;
        assert!(!known.all_read());
    }

    /// Reads what this process holds itself.
    #[test]
    fn a_descriptor_that_leads_elsewhere_has_moved() {
        let (one, other) = UnixStream::pair().unwrap();
        let inode =
            |socket: &UnixStream| File::from(std::os::fd::OwnedFd::from(socket.try_clone().unwrap())).metadata();
        let inode = inode(&one).unwrap().ino();
        let pid = std::process::id();
        let place = Place { pid, thread: pid };
        let mut table = Table::new(1);
        table.read(place, 1, |_| false);
        let mine = held(inode, one.as_raw_fd() as u32);
        assert!(table.state == State::Known && table.sockets.contains(&mine));
        assert!(!table.moved(place, |doubted| doubted == inode));
        let elsewhere = held(inode, other.as_raw_fd() as u32);
        let table = Table { sockets: vec![elsewhere], ..table };
        assert!(table.moved(place, |doubted| doubted == inode));
        assert!(!table.moved(place, |_| false), "it is not asked about");
    }

    #[test]
    fn a_process_that_ended_holds_nothing() {
        // No process has that number: /proc/sys/kernel/pid_max is 2^22 at the most.
        let place = Place { pid: u32::MAX, thread: u32::MAX };
        let mut table = Table { sockets: vec![held(5, 3)], ..Table::new(1) };
        assert!(table.moved(place, |_| true));
        table.read(place, 1, |_| true);
        assert_eq!((table.state, table.sockets.len()), (State::Known, 0));
        assert_eq!(place.folder(), "/proc/4294967295/fd");
        assert_eq!(Place { pid: 7, thread: 8 }.folder(), "/proc/7/task/8/fd");
    }
}
