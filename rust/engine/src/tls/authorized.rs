//! The file of peers that may call, read again when it has changed: a key that is taken out of it is refused from then on.

use std::fs::{File, Metadata};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use socketkit_wire::authorized::{parse, Authorized, MAX_FILE_BYTES};
use socketkit_wire::fingerprint::Fingerprint;

#[derive(Debug)]
pub struct AuthorizedFile {
    path: PathBuf,
    read: Mutex<Option<(Version, Authorized)>>,
}

/// What changes when a file does: an editor's replacement has another inode, a change in place another time or size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Version {
    inode: u64,
    bytes: u64,
    changed: (i64, i64),
}

impl AuthorizedFile {
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), read: Mutex::default() }
    }

    /// Nobody is allowed by a file that is gone or cannot be understood, or that another user could have written.
    pub fn allows(&self, peer: &Fingerprint) -> bool {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        let Ok(metadata) = std::fs::metadata(&self.path) else { return false };
        if !is_ours_alone(&metadata) {
            return false;
        }
        let version = Version::of(&metadata);
        if read.as_ref().is_none_or(|(known, _)| *known != version) {
            *read = load(&self.path).map(|authorized| (version, authorized));
        }
        read.as_ref().is_some_and(|(_, authorized)| authorized.allows(peer))
    }

    /// Which state of the file this is; None if it is gone.
    pub(super) fn version(&self) -> Option<Version> {
        std::fs::metadata(&self.path).ok().as_ref().map(Version::of)
    }
}

impl Version {
    fn of(metadata: &Metadata) -> Self {
        Self { inode: metadata.ino(), bytes: metadata.len(), changed: (metadata.ctime(), metadata.ctime_nsec()) }
    }
}

fn is_ours_alone(metadata: &Metadata) -> bool {
    let owners = [0, rustix::process::geteuid().as_raw()];
    owners.contains(&metadata.uid()) && metadata.mode() & 0o022 == 0
}

fn load(path: &Path) -> Option<Authorized> {
    let mut text = String::new();
    File::open(path).ok()?.take(MAX_FILE_BYTES as u64 + 1).read_to_string(&mut text).ok()?;
    if text.len() > MAX_FILE_BYTES {
        return None;
    }
    parse(&text).ok()
}
