//! The socket table by BPF iterators: the kernel walks its own lists and writes one record of each socket (rust/bpf/table.bpf.c).
//!
//! A hundred thousand sockets with their owners take less than a tenth of a second, where reading /proc takes seconds: no descriptor is
//! opened and no link is read. It needs a kernel that tells of its own types (BTF, Linux 5.16) and that lets this process load
//! programs; where one of these is missing, `load` says which, and netlink is asked instead.

use std::collections::{BTreeMap, HashSet};
use std::fs::{self, File};
use std::io;
use std::path::PathBuf;
use std::time::Instant;

use aya::maps::HashMap as BpfMap;
use aya::programs::{Iter, ProgramError};
use aya::{Btf, Ebpf, EbpfError, EbpfLoader, Endianness, VerifierLogLevel};
use rustix::thread::{capabilities, CapabilitySet};
use rustix::time::{clock_getres, ClockId};
use socketkit_wire::kernel_types;
use socketkit_wire::socket_records::{Brief, Short};

use super::ages::Ages;
use super::gathered::{Gathered, Harvest, Size};
use super::interface_names;
use super::left;
use super::namespaces::{self, sees_every_process, Namespace};
use super::numbers::{NumberMap, NumberSet};
use super::present::{Counted, Present};
use super::row::Snapshot;

/// Why the kernel cannot be asked in this way.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unavailable {
    #[error("this kernel does not tell of its own types (no {KERNEL_TYPES})")]
    NoTypes,
    #[error("the kernel is locked down: BPF programs may not read its memory")]
    Lockdown,
    #[error("not permitted: BPF takes root, or CAP_BPF and CAP_PERFMON")]
    NotPermitted,
    #[error("this kernel refused the BPF programs: {0}")]
    Refused(String),
}

/// The programs in the kernel. They do nothing until they are read, and go when this goes.
#[derive(Debug)]
pub struct Iterators {
    programs: Ebpf,
    tick_ns: u64,
    /// Not only the calling thread's own namespace.
    everywhere: bool,
    /// Cookies of what has a file and no descriptor: the lists tell everything of them.
    wanted: NumberSet<u64>,
    /// Lists (of namespaces) that had more than descriptors led to when they were looked at last.
    fuller: HashSet<(u64, &'static str)>,
    /// So much there was.
    before: Size,
}

/// What the descriptors' records told of the lists of a namespace.
#[derive(Clone, Copy, Debug, Default)]
struct Led {
    tcp: u64,
    udp: u64,
    /// Connections have begun that are in the list of TCP.
    begun: bool,
}

impl Led {
    fn count(&mut self, socket: &Brief) {
        self.begun |= socket.begun;
        match (socket.family, socket.protocol) {
            (AF_INET | AF_INET6, IPPROTO_TCP) if socket.listed => self.tcp += 1,
            (AF_INET | AF_INET6, IPPROTO_UDP | IPPROTO_UDPLITE) if socket.listed => self.udp += 1,
            _ => {}
        }
    }

    /// Whether a list may have more sockets than that; what is only left of one is asked for elsewhere.
    fn lacks(self, list: &str, there: Present) -> bool {
        let all = |counted: Option<Counted>, listed| counted.is_none_or(|counted| counted.listed != listed);
        match list {
            TCP => self.begun || all(there.tcp, self.tcp),
            UDP => all(there.udp, self.udp),
            _ => true,
        }
    }
}

impl Iterators {
    pub fn load(everywhere: bool) -> Result<Iterators, Unavailable> {
        // Asked first: what a process without permission is told otherwise comes after all the work.
        if !permitted() {
            return Err(Unavailable::NotPermitted);
        }
        let types = fs::read(KERNEL_TYPES).map_err(|_| Unavailable::NoTypes)?;
        match load(&types) {
            Ok(programs) => Ok(Iterators {
                programs,
                tick_ns: tick_ns(),
                everywhere,
                wanted: NumberSet::default(),
                fuller: HashSet::new(),
                before: Size::default(),
            }),
            Err(_) if locked_down() => Err(Unavailable::Lockdown),
            Err(failure) if not_permitted(&failure) => Err(Unavailable::NotPermitted),
            Err(failure) => Err(Unavailable::Refused(reasons(&failure))),
        }
    }

    /// Every socket that a descriptor leads to, and of each namespace also those that none leads to.
    ///
    /// The lists of the protocols come first: a socket that was accepted meanwhile is told of again, with its owner. Those of TCP
    /// and UDP are left out where the kernel counts no more than descriptors lead to, before and after these were looked at; that
    /// it was so last time is why it is believed at first. Otherwise they come late, and the descriptors once more. What is left of
    /// TCP connections is asked for after the descriptors then: it was a connection before.
    ///
    /// A socket that the lists saw with a file, and that no descriptor led to afterwards, has ended, or is on its way through a
    /// Unix socket or kept by io_uring: the lists are looked at once more, and tell of these what they know, at the next look at
    /// once.
    pub fn refresh(&mut self, ages: &mut Ages) -> io::Result<Snapshot> {
        let places = self.namespaces()?;
        ages.begin(Instant::now());
        let mut gathered = Gathered::new(self.tick_ns, self.before, ages);
        let mut seen = Vec::new();
        let mut whole = true;
        let mut counted = Vec::with_capacity(places.len());
        for place in &places {
            let fuller = std::mem::take(&mut self.fuller);
            let needed = |list: &str, there: Present| match list {
                TCP => there.tcp.is_none_or(|tcp| tcp.any() && fuller.contains(&(place.inode, TCP))),
                UDP => there.udp.is_none_or(|udp| udp.any() && fuller.contains(&(place.inode, UDP))),
                _ => true,
            };
            let looked = self.lists(place, &needed, &mut gathered, noting(place.inode, &mut seen));
            self.fuller = fuller;
            let looked = looked?;
            whole &= looked.is_some();
            counted.push(looked.unwrap_or_default());
        }
        let led = self.descriptors(&places, &mut gathered)?;
        let (mut late, known) = (false, seen.len());
        let mut others = Vec::new();
        for (place, before) in places.iter().zip(&counted) {
            let led = led.iter().find(|(inode, _)| *inode == place.inode).map(|(_, led)| *led).unwrap_or_default();
            for list in [TCP, UDP] {
                if led.lacks(list, before.there) {
                    self.fuller.insert((place.inode, list));
                } else {
                    self.fuller.remove(&(place.inode, list));
                }
            }
            let unread = |list: &str| !before.read.contains(&list);
            let needed =
                |list: &str, there: Present| unread(list) && (led.lacks(list, there) || led.lacks(list, before.there));
            if unread(TCP) || unread(UDP) {
                let looked = self.lists(place, &needed, &mut gathered, noting(place.inode, &mut seen))?;
                late |= looked.as_ref().is_some_and(|looked| !looked.read.is_empty());
                let looked = looked.unwrap_or_default();
                let left = [before.there, looked.there].iter().any(|there| there.tcp.is_some_and(|tcp| tcp.left > 0));
                if left && unread(TCP) && !looked.read.contains(&TCP) {
                    match place.visit(|| left::left(place.inode)) {
                        Ok(Ok(rows)) => others.extend(rows),
                        // There is no one to ask: the list tells of everything.
                        Ok(Err(_)) => {
                            let all = |_: &str, told: &Short| matches!(told, Short::Socket(_));
                            whole &= self.lists(place, &|list, _| list == TCP, &mut gathered, all)?.is_some();
                        }
                        // It ended meanwhile.
                        Err(failure) => whole &= failure.kind() == io::ErrorKind::NotFound,
                    }
                }
            }
        }
        // Opened or accepted since the descriptors were looked at.
        let led_to = |gathered: &Gathered<'_>| seen.iter().skip(known).all(|(.., cookie)| gathered.has(*cookie));
        if late && !led_to(&gathered) {
            self.descriptors(&places, &mut gathered)?;
        }
        seen.retain(|(.., cookie)| !gathered.has(*cookie));
        let missed: Vec<u64> = seen.iter().map(|(.., cookie)| *cookie).collect();
        self.want(&gathered, &missed)?;
        for place in &places {
            let asked = |list: &str| seen.iter().any(|(inode, at, _)| *inode == place.inode && *at == list);
            if LISTS.iter().any(|list| asked(list)) {
                let among =
                    |_: &str, told: &Short| matches!(told, Short::Socket(socket) if missed.contains(&socket.cookie));
                let looked = self.lists(place, &|list, _| asked(list), &mut gathered, among)?;
                whole &= looked.is_some();
            }
        }
        gathered.add_others(others);
        let all_namespaces = whole && sees_every_process();
        let Harvest { sockets, bound, namespaces } = gathered.finish(all_namespaces);
        self.before = sockets.size();
        Ok(Snapshot {
            sockets,
            interfaces: interfaces(&places, &bound),
            namespaces: names(places, &namespaces),
            all_owners: sees_every_process(),
            all_namespaces,
        })
    }

    /// What descriptors lead to: told to `gathered`, and counted by namespace.
    fn descriptors(&mut self, places: &[Namespace], gathered: &mut Gathered<'_>) -> io::Result<Vec<(u64, Led)>> {
        let only = places.first().filter(|_| !self.everywhere).map(|own| own.inode);
        let mut led: Vec<(u64, Led)> = Vec::new();
        let mut last = 0;
        let wanted = |told: &Short| matches!(told, Short::Socket(socket) if only.is_none_or(|own| own == u64::from(socket.namespace)));
        gathered.read(&open(&mut self.programs, DESCRIPTORS)?, wanted, |socket| {
            let namespace = u64::from(socket.namespace);
            // One process is in one namespace, as a rule.
            if led.get(last).is_none_or(|(inode, _)| *inode != namespace) {
                last = led.iter().position(|(inode, _)| *inode == namespace).unwrap_or(led.len());
            }
            if last == led.len() {
                led.push((namespace, Led::default()));
            }
            if let Some((_, led)) = led.get_mut(last) {
                led.count(socket);
            }
        })?;
        Ok(led)
    }

    /// Those that are to be looked into; our own comes first.
    fn namespaces(&mut self) -> io::Result<Vec<Namespace>> {
        let mut seen = Vec::new();
        if self.everywhere {
            let mut ages = Ages::default();
            let mut none = Gathered::new(self.tick_ns, Size::default(), &mut ages);
            let heard = |told: &Short| {
                if let Short::Thread { namespace, pid, thread } = told {
                    let place = PathBuf::from(format!("/proc/{pid}/task/{thread}/ns/net"));
                    seen.push((*namespace, place, format!("pid {pid}")));
                }
                false
            };
            none.read(&open(&mut self.programs, THREADS)?, heard, |_| {})?;
        }
        let mut places = namespaces::known(seen)?;
        if !self.everywhere {
            places.truncate(1);
        }
        Ok(places)
    }

    /// Has the lists tell everything of these, and no longer of what a descriptor leads to again, or what has ended.
    fn want(&mut self, gathered: &Gathered<'_>, missed: &[u64]) -> io::Result<()> {
        let Some(map) = self.programs.map_mut(WANTED) else { return Ok(()) };
        let mut wanted: BpfMap<_, u64, u8> = BpfMap::try_from(map).map_err(io::Error::other)?;
        let settled: Vec<u64> = self.wanted.iter().copied().filter(|&cookie| !gathered.unowned(cookie)).collect();
        for cookie in settled {
            // What is not there any more needs not go.
            drop(wanted.remove(&cookie));
            self.wanted.remove(&cookie);
        }
        for &cookie in missed {
            // A full map leaves the rest untold this time.
            if wanted.insert(cookie, 1, 0).is_ok() {
                self.wanted.insert(cookie);
            }
        }
        Ok(())
    }

    /// Gathers of those lists of a namespace that `needed` names by what is there; None if it could not be looked into.
    fn lists(
        &mut self,
        place: &Namespace,
        needed: &(impl Fn(&str, Present) -> bool + Sync),
        gathered: &mut Gathered<'_>,
        mut wanted: impl FnMut(&'static str, &Short) -> bool,
    ) -> io::Result<Option<Looked>> {
        // An iterator belongs to the namespace of the thread that opens it; it is read here.
        let programs = &mut self.programs;
        let opened = place.visit(|| {
            let there = Present::here();
            let lists = LISTS.iter().copied().filter(|list| needed(list, there));
            let files = lists.map(|list| Ok((list, open(programs, list)?))).collect::<io::Result<Vec<_>>>();
            files.map(|files| (there, files))
        });
        match opened {
            Ok(told) => {
                let (there, files) = told?;
                let mut looked = Looked { there, read: Vec::with_capacity(files.len()) };
                for (list, file) in files {
                    gathered.read(&file, |told| wanted(list, told), |_| {})?;
                    looked.read.push(list);
                }
                Ok(Some(looked))
            }
            // It ended meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Some(Looked::default())),
            Err(_) => Ok(None),
        }
    }
}

/// Which lists of a namespace were read, and how many sockets were there then.
#[derive(Debug, Default)]
struct Looked {
    there: Present,
    read: Vec<&'static str>,
}

fn load(described: &[u8]) -> Result<Ebpf, EbpfError> {
    let types = match kernel_types::needed(described, OBJECT, &["bpf_iter_"]) {
        Some(needed) => Btf::parse(&needed, Endianness::default())?,
        None => Btf::parse(described, Endianness::default())?,
    };
    let mut loader = EbpfLoader::new();
    let mut programs = loader.btf(Some(&types)).verifier_log_level(VerifierLogLevel::DISABLE).load(OBJECT)?;
    for (target, name) in PROGRAMS {
        iterator(&mut programs, name)?.load(target, &types)?;
    }
    Ok(programs)
}

fn iterator<'a>(programs: &'a mut Ebpf, name: &str) -> Result<&'a mut Iter, ProgramError> {
    let Some(program) = programs.program_mut(name) else {
        return Err(ProgramError::InvalidName { name: name.to_owned() });
    };
    program.try_into()
}

/// A look at the list from its start; every open file is one.
fn open(programs: &mut Ebpf, name: &str) -> io::Result<File> {
    let link = iterator(programs, name).and_then(|iterator| {
        let link = iterator.attach()?;
        iterator.take_link(link)
    });
    let link = link.map_err(|failure| io::Error::other(reasons(&failure)))?;
    link.into_file().map_err(|failure| io::Error::other(reasons(&failure)))
}

/// Has sockets gathered, and notes the cookies of those that only their descriptors tell of.
fn noting<'a>(
    namespace: u64,
    seen: &'a mut Vec<(u64, &'static str, u64)>,
) -> impl FnMut(&'static str, &Short) -> bool + 'a {
    move |list, told| match told {
        Short::Seen(cookie) => {
            seen.push((namespace, list, *cookie));
            false
        }
        Short::Socket(_) => true,
        Short::Thread { .. } => false,
    }
}

/// The names of the interfaces that rows name.
fn interfaces(places: &[Namespace], bound: &NumberMap<u64, NumberSet<u32>>) -> Vec<((u64, u32), String)> {
    let mut named = Vec::new();
    for place in places {
        if let Some(indices) = bound.get(&place.inode) {
            named.extend(place.visit(|| interface_names(indices, place.inode)).unwrap_or_default());
        }
    }
    named
}

/// What the namespaces of the rows are called; one that only descriptors lead to, after who holds it.
fn names(places: Vec<Namespace>, met: &BTreeMap<u32, Option<u32>>) -> Vec<(u64, String)> {
    let mut named: Vec<(u64, String)> = places.into_iter().map(|place| (place.inode, place.name)).collect();
    let known: NumberSet<u64> = named.iter().map(|(inode, _)| *inode).collect();
    for (&namespace, pid) in met {
        if let Some(pid) = pid.filter(|_| !known.contains(&u64::from(namespace))) {
            named.push((u64::from(namespace), format!("pid {pid}")));
        }
    }
    named
}

/// Asked without trying.
pub fn permitted() -> bool {
    capabilities(None).is_ok_and(|sets| {
        let enough = CapabilitySet::BPF | CapabilitySet::PERFMON;
        sets.effective.contains(CapabilitySet::SYS_ADMIN) || sets.effective.contains(enough)
    })
}

pub(crate) fn not_permitted(failure: &EbpfError) -> bool {
    let mut cause: Option<&dyn std::error::Error> = Some(failure);
    while let Some(error) = cause {
        let kind = error.downcast_ref::<io::Error>().map(io::Error::kind);
        if kind == Some(io::ErrorKind::PermissionDenied) {
            return true;
        }
        cause = error.source();
    }
    false
}

/// An error and what is behind it, in one line.
pub(crate) fn reasons(failure: &dyn std::error::Error) -> String {
    let mut text = failure.to_string();
    let mut cause = failure.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

pub(crate) fn locked_down() -> bool {
    fs::read_to_string("/sys/kernel/security/lockdown").is_ok_and(|state| state.contains("[confidentiality]"))
}

fn tick_ns() -> u64 {
    let tick = clock_getres(ClockId::MonotonicCoarse);
    u64::try_from(tick.tv_nsec).unwrap_or_default()
}

pub(crate) const KERNEL_TYPES: &str = "/sys/kernel/btf/vmlinux";

/// Committed beside its source; `make bpf` builds it.
static OBJECT: &[u8] = aya::include_bytes_aligned!("../../../bpf/table.bpf.o");

const THREADS: &str = "table_threads";
const DESCRIPTORS: &str = "table_files";
const TCP: &str = "table_tcp";
const UDP: &str = "table_udp";
const UNIX: &str = "table_unix";
const LISTS: [&str; 3] = [TCP, UDP, UNIX];
const PROGRAMS: [(&str, &str); 5] =
    [("task", THREADS), ("task_file", DESCRIPTORS), ("tcp", TCP), ("udp", UDP), ("unix", UNIX)];
const WANTED: &str = "wanted";

const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;
const IPPROTO_TCP: u16 = 6;
const IPPROTO_UDP: u16 = 17;
const IPPROTO_UDPLITE: u16 = 136;

#[cfg(test)]
mod tests {
    use super::*;

    fn brief(family: u16, protocol: u16, listed: bool, begun: bool) -> Brief {
        Brief {
            cookie: 1,
            namespace: 1,
            inode: 1,
            family,
            kind: 1,
            protocol,
            state: 1,
            owner: None,
            interface: 0,
            fileless: false,
            listed,
            begun,
        }
    }

    #[test]
    fn a_list_is_walked_through_unless_all_of_it_is_told_of() {
        let mut led = Led::default();
        for (family, protocol, listed) in [
            (AF_INET, IPPROTO_TCP, true),
            (AF_INET6, IPPROTO_TCP, true),
            (AF_INET, IPPROTO_TCP, false),
            (AF_INET, IPPROTO_UDP, true),
            (1, IPPROTO_TCP, true),
        ] {
            led.count(&brief(family, protocol, listed, false));
        }
        let counted = |listed, left| Some(Counted { listed, left });
        let there = Present { tcp: counted(2, 0), udp: counted(1, 0) };
        assert!(!led.lacks(TCP, there) && !led.lacks(UDP, there) && led.lacks(UNIX, there));
        assert!(!led.lacks(TCP, Present { tcp: counted(2, 1), ..there }), "what is left of one is no socket");
        for tcp in [counted(3, 0), counted(1, 0), None] {
            assert!(led.lacks(TCP, Present { tcp, ..there }));
        }
        assert!(led.lacks(UDP, Present { udp: counted(2, 0), ..there }));
        led.count(&brief(AF_INET, IPPROTO_TCP, false, true));
        assert!(led.lacks(TCP, there), "connections have begun");
    }

    #[test]
    fn lists_note_what_only_descriptors_tell_of() {
        let mut seen = Vec::new();
        let mut noted = noting(7, &mut seen);
        assert!(!noted(TCP, &Short::Seen(5)));
        assert!(noted(UDP, &Short::Socket(brief(AF_INET, IPPROTO_UDP, true, false))));
        assert!(!noted(UNIX, &Short::Thread { namespace: 1, pid: 1, thread: 1 }));
        drop(noted);
        assert_eq!(seen, [(7, TCP, 5)]);
    }

    #[test]
    fn a_namespace_that_only_a_descriptor_leads_to_is_called_after_its_holder() {
        let met = BTreeMap::from([(5, Some(42)), (6, None)]);
        assert_eq!(names(Vec::new(), &met), [(5, "pid 42".to_owned())]);
    }

    #[test]
    fn an_error_is_told_with_what_is_behind_it_in_one_line() {
        #[derive(Debug, thiserror::Error)]
        #[error("the program\n was refused")]
        struct Refused(#[source] io::Error);
        let refused = Refused(io::Error::other("no such helper"));
        assert_eq!(reasons(&refused), "the program was refused: no such helper");
    }
}
