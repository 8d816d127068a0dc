//! Whose a socket is, told when it begins and when it is closed: BPF programs note who begins a connection, opens a UDP socket or
//! closes a TCP one (rust/bpf/births.bpf.c). So even of what was gone before anybody looked the owner is known.
//!
//! It takes what the table's iterators take (Linux 5.12 at the least), and for all but connections that are begun the root of the
//! control groups of version 2: of a container's it tells what is in that container. What has no place is named in `unheard`.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;

use aya::maps::{Array, Map, MapData, MapError, RingBuf};
use aya::programs::{BtfTracePoint, CgroupAttachMode, CgroupSock, ProgramError};
use aya::{Btf, Ebpf, EbpfError, EbpfLoader, Endianness, VerifierLogLevel};
use socketkit_wire::birth_records::{birth, Birth};
use socketkit_wire::kernel_types;

use crate::table::iterators::{locked_down, not_permitted, permitted, reasons, Unavailable, KERNEL_TYPES};

/// Hears of births from when it is made; the programs go with it.
pub struct Births {
    /// Holds the programs where they are attached.
    _programs: Ebpf,
    ring: RingBuf<MapData>,
    lost: Array<MapData, u64>,
    unheard: Vec<&'static str>,
}

impl std::fmt::Debug for Births {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Births").field("unheard", &self.unheard).finish_non_exhaustive()
    }
}

impl Births {
    pub fn load() -> Result<Births, Unavailable> {
        // Asked first: what a process without permission is told otherwise comes after all the work.
        if !permitted() {
            return Err(Unavailable::NotPermitted);
        }
        let types = fs::read(KERNEL_TYPES).map_err(|_| Unavailable::NoTypes)?;
        match load(&types) {
            Ok(births) => Ok(births),
            Err(_) if locked_down() => Err(Unavailable::Lockdown),
            Err(failure) if not_permitted(&failure) => Err(Unavailable::NotPermitted),
            Err(failure) => Err(Unavailable::Refused(reasons(&failure))),
        }
    }

    /// What was noted since the last time, no more than a turn should take. Does not wait.
    pub fn read(&mut self) -> io::Result<Vec<Birth>> {
        let mut heard = Vec::new();
        for _ in 0..MOST_RECORDS {
            let Some(record) = self.ring.next() else { break };
            heard.push(birth(&record).map_err(|malformed| io::Error::new(io::ErrorKind::InvalidData, malformed))?);
        }
        Ok(heard)
    }

    /// How many could not be noted, because they were not read fast enough.
    pub fn lost(&self) -> u64 {
        self.lost.get(&0, 0).unwrap_or_default()
    }

    /// What this machine has no place to note: of `opened` and `closed`.
    pub fn unheard(&self) -> &[&'static str] {
        &self.unheard
    }
}

impl AsFd for Births {
    /// Readable when there is something to read.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.ring.as_fd()
    }
}

fn load(described: &[u8]) -> Result<Births, EbpfError> {
    let types = match kernel_types::needed(described, OBJECT, &[CONNECTED_TYPE]) {
        Some(needed) => Btf::parse(&needed, Endianness::default())?,
        None => Btf::parse(described, Endianness::default())?,
    };
    let reader = own_pid_namespace();
    let mut loader = EbpfLoader::new();
    loader.btf(Some(&types)).verifier_log_level(VerifierLogLevel::DISABLE);
    let mut programs = loader.override_global("reader_namespace", &reader, true).load(OBJECT)?;
    let ring = RingBuf::try_from(taken(&mut programs, "births")?)?;
    let lost = Array::try_from(taken(&mut programs, "lost")?)?;
    let connected: &mut BtfTracePoint = program(&mut programs, "births_connected")?;
    connected.load(CONNECTED, &types)?;
    connected.attach()?;
    let root = control_groups();
    let mut unheard = Vec::new();
    for (what, name) in [("opened", "births_opened"), ("closed", "births_closed")] {
        let heard = root.as_ref().is_some_and(|root| attached(&mut programs, name, root).is_ok());
        if !heard {
            unheard.push(what);
        }
    }
    Ok(Births { _programs: programs, ring, lost, unheard })
}

fn taken(programs: &mut Ebpf, name: &str) -> Result<Map, MapError> {
    programs.take_map(name).ok_or_else(|| MapError::InvalidName { name: name.to_owned() })
}

fn program<'a, Kind>(programs: &'a mut Ebpf, name: &str) -> Result<&'a mut Kind, ProgramError>
where
    &'a mut Kind: TryFrom<&'a mut aya::programs::Program, Error = ProgramError>,
{
    let Some(program) = programs.program_mut(name) else {
        return Err(ProgramError::InvalidName { name: name.to_owned() });
    };
    program.try_into()
}

fn attached(programs: &mut Ebpf, name: &str, root: &File) -> Result<(), ProgramError> {
    let socket: &mut CgroupSock = program(programs, name)?;
    socket.load()?;
    // As a link it stands beside whatever else is there, and goes with its descriptor; asked for by name, that is refused.
    socket.attach(root, CgroupAttachMode::Single)?;
    Ok(())
}

/// The root of the control groups of version 2 that this process sees.
fn control_groups() -> Option<File> {
    let mounts = fs::read_to_string("/proc/thread-self/mounts").ok()?;
    File::open(hierarchy(&mounts)?).ok()
}

/// Where it is mounted: lines of device, place, kind and options.
fn hierarchy(mounts: &str) -> Option<&str> {
    mounts.lines().find_map(|line| {
        let mut words = line.split(' ').skip(1);
        let place = words.next()?;
        (words.next()? == "cgroup2").then_some(place)
    })
}

/// Its inode, as the kernel's programs see it; 0 is none's.
fn own_pid_namespace() -> u32 {
    let inode = fs::metadata("/proc/thread-self/ns/pid").map(|namespace| namespace.ino());
    inode.ok().and_then(|inode| u32::try_from(inode).ok()).unwrap_or_default()
}

/// Committed beside its source; `make bpf` builds it.
static OBJECT: &[u8] = aya::include_bytes_aligned!("../../../bpf/births.bpf.o");

const CONNECTED: &str = "inet_sock_set_state";
/// What the kernel describes it by.
const CONNECTED_TYPE: &str = "btf_trace_inet_sock_set_state";

/// Of one turn; the ring holds four times as many.
const MOST_RECORDS: usize = 16_384;

#[cfg(test)]
mod tests;
