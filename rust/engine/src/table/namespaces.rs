//! Which network namespaces there are, and looking from inside one.
//!
//! One is kept alive by a process or thread in it, by a mount (`ip netns add`, containers), by a descriptor, or by a socket alone:
//! the first three are found here, the last one by the table, when it meets a socket of a namespace that it does not know. Nothing
//! is kept open between two looks: a table that is not asked must not keep a namespace alive.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::thread::{move_into_link_name_space, LinkNameSpaceType};

/// The calling thread's own.
pub const OWN: &str = "/proc/thread-self/ns/net";
/// Where `ip netns` mounts those that have names.
const NAMED: &str = "/run/netns";

#[derive(Debug)]
pub struct Namespace {
    pub inode: u64,
    /// "" for our own, the name in /run/netns, else who is in it: "pid 123".
    pub name: String,
    /// What leads to it; some may be gone by the time they are opened.
    places: Vec<PathBuf>,
    /// One that only a socket leads to.
    opened: Option<OwnedFd>,
}

impl Namespace {
    pub fn opened(inode: u64, name: String, descriptor: OwnedFd) -> Namespace {
        Namespace { inode, name, places: Vec::new(), opened: Some(descriptor) }
    }

    pub fn is_own(&self) -> bool {
        self.name.is_empty()
    }

    /// Does `work` in this namespace: in the calling thread if it is its own, else in one that is made for it.
    pub fn visit<T: Send>(&self, work: impl FnOnce() -> T + Send) -> io::Result<T> {
        if self.is_own() {
            return Ok(work());
        }
        let opened = match &self.opened {
            Some(descriptor) => descriptor.try_clone()?,
            None => self.open()?,
        };
        std::thread::scope(|scope| {
            let visitor = std::thread::Builder::new().name("namespace".to_owned()).spawn_scoped(scope, || {
                move_into_link_name_space(opened.as_fd(), Some(LinkNameSpaceType::Network))?;
                Ok(work())
            })?;
            visitor.join().unwrap_or_else(|_| Err(io::Error::other("the thread in a namespace panicked")))
        })
    }

    fn open(&self) -> io::Result<OwnedFd> {
        let mut failure = io::Error::from(io::ErrorKind::NotFound);
        for place in &self.places {
            match File::open(place) {
                // A process id may mean another process by now.
                Ok(file) if file.metadata()?.ino() == self.inode => return Ok(file.into()),
                Ok(_) => {}
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }
}

/// Those that processes led to (`seen`: inode, place and the name for want of a better one), those that are mounted, and our own,
/// which comes first.
pub fn known(seen: Vec<(u64, PathBuf, String)>) -> io::Result<Vec<Namespace>> {
    let own = fs::metadata(OWN)?.ino();
    let mut found: Vec<Namespace> =
        vec![Namespace { inode: own, name: String::new(), places: vec![OWN.into()], opened: None }];
    // What is mounted first: it has a name, and does not end while it is looked at.
    for (inode, place, name) in mounted().into_iter().chain(seen) {
        match found.iter_mut().find(|namespace| namespace.inode == inode) {
            Some(namespace) if namespace.places.len() < MOST_PLACES => namespace.places.push(place),
            Some(_) => {}
            None => found.push(Namespace { inode, name, places: vec![place], opened: None }),
        }
    }
    Ok(found)
}

/// Mounts of network namespaces, those of `ip netns` first.
fn mounted() -> Vec<(u64, PathBuf, String)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(NAMED).into_iter().flatten().flatten() {
        let place = entry.path();
        if let (Ok(facts), Some(name)) = (fs::metadata(&place), place.file_name()) {
            let name = name.to_string_lossy().into_owned();
            found.push((facts.ino(), place, name));
        }
    }
    found.sort();
    let mounts = fs::read("/proc/thread-self/mountinfo").unwrap_or_default();
    for line in mounts.split(|&byte| byte == b'\n') {
        if let Some((inode, place)) = mounted_namespace(line) {
            let name = place.display().to_string();
            found.push((inode, place, name));
        }
    }
    found
}

/// `36 35 0:4 net:[4026532281] /run/docker/netns/1a2b rw shared:7 - nsfs nsfs rw` (man 5 proc).
fn mounted_namespace(line: &[u8]) -> Option<(u64, PathBuf)> {
    let mut words = line.split(|&byte| byte == b' ');
    let inode = linked_number(words.nth(3)?, b"net:[")?;
    let place = std::str::from_utf8(words.next()?).ok()?;
    // Blanks in paths are written as octal numbers; such a mount has a process in it, or is no loss.
    (!place.contains('\\')).then(|| (inode, Path::new(place).to_owned()))
}

/// The number in `socket:[4711]`, as links below /proc have them.
pub fn linked_number(link: &[u8], prefix: &[u8]) -> Option<u64> {
    let digits = link.strip_prefix(prefix)?.strip_suffix(b"]")?;
    if digits.is_empty() || digits.len() > 19 {
        return None;
    }
    digits.iter().try_fold(0, |number, byte| byte.is_ascii_digit().then(|| number * 10 + u64::from(byte - b'0')))
}

/// Whether this process sees all others: it is in the first process namespace, whose inode is a constant of the kernel
/// (PROC_PID_INIT_INO), and process 1 is not hidden from it.
pub fn sees_every_process() -> bool {
    fs::metadata("/proc/self/ns/pid").is_ok_and(|facts| facts.ino() == 0xefff_fffc) && Path::new("/proc/1").exists()
}

/// A namespace has few that matter, and any that still exists will do.
const MOST_PLACES: usize = 8;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn links_have_numbers() {
        assert_eq!(linked_number(b"socket:[4711]", b"socket:["), Some(4711));
        for wrong in [&b"socket:[]"[..], b"socket:[x]", b"socket:[1", b"pipe:[1]", b"socket:[99999999999999999999]"] {
            assert_eq!(linked_number(wrong, b"socket:["), None);
        }
    }

    #[test]
    fn mounts_of_namespaces_are_known() {
        let line = b"36 35 0:4 net:[4026532281] /run/docker/netns/1a2b rw shared:7 - nsfs nsfs rw";
        assert_eq!(mounted_namespace(line), Some((4_026_532_281, "/run/docker/netns/1a2b".into())));
        assert_eq!(mounted_namespace(b"36 35 0:4 / /run rw - tmpfs tmpfs rw"), None);
        assert_eq!(mounted_namespace(b"36 35"), None);
        assert_eq!(mounted_namespace(b""), None);
    }

    #[test]
    fn our_own_comes_first_and_is_visited_in_place() {
        let own = fs::metadata(OWN).unwrap().ino();
        let found = known(vec![
            (own, "/proc/self/ns/net".into(), "pid 1".to_owned()),
            (1, "/nowhere".into(), "pid 2".to_owned()),
        ]);
        let found = found.unwrap();
        assert_eq!((found[0].inode, found[0].name.as_str()), (own, ""));
        let here = std::thread::current().id();
        assert_eq!(found[0].visit(|| std::thread::current().id()).unwrap(), here);
        let gone = found.iter().find(|namespace| namespace.inode == 1).unwrap();
        assert!(gone.visit(|| ()).is_err());
    }
}
