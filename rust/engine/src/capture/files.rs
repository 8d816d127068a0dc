//! Where a capture's blocks go: a descriptor, or a file, or a row of files of which the last ones are kept.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Where to.
#[derive(Debug)]
pub enum Target {
    /// Standard output, or whatever the caller has open.
    Descriptor(File),
    Path(PathBuf),
}

/// When the next file is begun; the files are numbered then. Without a bound there is one.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rotation {
    /// A file is at most so long.
    pub bytes: Option<u64>,
    /// A packet that comes so long after its file was begun goes into the next one.
    pub every: Option<Duration>,
    /// So many files are kept, the oldest are removed.
    pub files: Option<usize>,
}

impl Rotation {
    fn is_one_file(&self) -> bool {
        self.bytes.is_none() && self.every.is_none()
    }
}

/// The file that is being written.
#[derive(Debug)]
pub struct Files {
    path: Option<PathBuf>,
    file: File,
    rotation: Rotation,
    begun: Instant,
    /// Whole blocks that are in it.
    length: u64,
    number: u64,
    kept: VecDeque<PathBuf>,
}

impl Files {
    pub fn open(target: Target, rotation: Rotation) -> io::Result<Files> {
        let now = Instant::now();
        let (path, file) = match target {
            Target::Descriptor(file) => (None, file),
            Target::Path(path) => {
                let file = create(&numbered(&path, &rotation, 1))?;
                (Some(path), file)
            }
        };
        let kept = path.iter().map(|path| numbered(path, &rotation, 1)).collect();
        Ok(Files { path, file, rotation, begun: now, length: 0, number: 1, kept })
    }

    /// Whether `more` bytes, of which `waiting` are not written yet, go into another file.
    pub fn is_full(&self, waiting: usize, more: usize) -> bool {
        let length = self.length + waiting as u64 + more as u64;
        self.path.is_some()
            && (self.rotation.bytes.is_some_and(|most| length > most)
                || self.rotation.every.is_some_and(|every| self.begun.elapsed() >= every))
    }

    /// Begins the next file, and removes the oldest.
    pub fn next(&mut self) -> io::Result<()> {
        let Some(path) = &self.path else { return Ok(()) };
        self.number += 1;
        let next = numbered(path, &self.rotation, self.number);
        self.file = create(&next)?;
        self.kept.push_back(next);
        (self.begun, self.length) = (Instant::now(), 0);
        while self.rotation.files.is_some_and(|most| self.kept.len() > most) {
            if let Some(oldest) = self.kept.pop_front() {
                std::fs::remove_file(oldest)?;
            }
        }
        Ok(())
    }

    /// Writes whole blocks. `wait` is called when a descriptor takes nothing now, and says whether to go on.
    ///
    /// If that fails, what is in a file is whole blocks all the same.
    pub fn write(&mut self, blocks: &[u8], mut wait: impl FnMut(&File) -> io::Result<()>) -> io::Result<()> {
        let mut rest = blocks;
        while !rest.is_empty() {
            match self.file.write(rest) {
                Ok(0) => return self.broken(io::ErrorKind::WriteZero.into()),
                Ok(count) => rest = &rest[count..],
                Err(failure) if failure.kind() == io::ErrorKind::Interrupted => {}
                Err(failure) if failure.kind() == io::ErrorKind::WouldBlock => wait(&self.file)?,
                Err(failure) => return self.broken(failure),
            }
        }
        self.length += blocks.len() as u64;
        Ok(())
    }

    /// How many files were begun.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// The file that is being written, if it has a name.
    pub fn path(&self) -> Option<String> {
        self.kept.back().map(|path| path.display().to_string())
    }

    fn broken(&mut self, failure: io::Error) -> io::Result<()> {
        if self.path.is_some() {
            // The part of a block that the disk had room for. It may be a device, which has no length.
            let _ = self.file.set_len(self.length);
        }
        Err(failure)
    }
}

/// Readable for its owner alone: it holds what others have said.
fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)
}

/// `trace.pcapng` is `trace-00001.pcapng` where there will be more.
fn numbered(path: &Path, rotation: &Rotation, number: u64) -> PathBuf {
    if rotation.is_one_file() {
        return path.to_owned();
    }
    let mut name = path.file_stem().unwrap_or_default().to_owned();
    name.push(format!("-{number:05}"));
    if let Some(extension) = path.extension() {
        name.push(".");
        name.push(extension);
    }
    path.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("socketkit-files-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir(&folder).unwrap();
        folder
    }

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> =
            std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn never(_: &File) -> io::Result<()> {
        panic!("a file never waits")
    }

    #[test]
    fn the_last_files_are_kept() {
        let folder = folder("kept");
        let rotation = Rotation { bytes: Some(10), every: None, files: Some(2) };
        let mut files = Files::open(Target::Path(folder.join("a.b.pcapng")), rotation).unwrap();
        for _ in 0..7 {
            if files.is_full(0, 4) {
                files.next().unwrap();
            }
            files.write(b"four", never).unwrap();
        }
        assert_eq!(names(&folder), ["a.b-00003.pcapng", "a.b-00004.pcapng"]);
        assert_eq!(std::fs::read(folder.join("a.b-00003.pcapng")).unwrap(), b"fourfour");
        assert_eq!(files.number(), 4);
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn one_file_keeps_its_name_and_is_private() {
        use std::os::unix::fs::PermissionsExt;
        let folder = folder("one");
        let mut files = Files::open(Target::Path(folder.join("trace")), Rotation::default()).unwrap();
        assert!(!files.is_full(1 << 40, 1 << 40));
        files.write(b"block", never).unwrap();
        assert_eq!(names(&folder), ["trace"]);
        assert_eq!(folder.join("trace").metadata().unwrap().permissions().mode() & 0o777, 0o600);
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn time_begins_the_next_file_too() {
        let folder = folder("time");
        let rotation = Rotation { every: Some(Duration::ZERO), ..Rotation::default() };
        let files = Files::open(Target::Path(folder.join("trace")), rotation).unwrap();
        assert!(files.is_full(0, 1));
        assert_eq!(names(&folder), ["trace-00001"]);
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_full_disk_leaves_whole_blocks() {
        let mut files = Files::open(Target::Path("/dev/full".into()), Rotation::default()).unwrap();
        let failure = files.write(b"block", never).unwrap_err();
        assert_eq!(failure.raw_os_error(), Some(rustix::io::Errno::NOSPC.raw_os_error()));
    }
}
