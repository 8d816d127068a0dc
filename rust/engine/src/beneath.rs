//! Opening a file by a path that a stranger chose: whatever it says, it stays beneath a folder.

use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::fs::{openat, openat2, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

/// Opens `path`, relative to `folder`, for reading. A symbolic link is followed as far as it stays beneath the folder; EXDEV says that it,
/// or a `..`, led out (man 2 openat2, RESOLVE_BENEATH). On Linux before 5.6 no link is followed: ELOOP.
///
/// Nothing is waited for: what is no file (a pipe that nobody writes to) is the caller's to recognise.
pub fn open_beneath(folder: BorrowedFd<'_>, path: &[u8]) -> Result<OwnedFd, Errno> {
    for _ in 0..TRIES {
        match openat2(folder, path, HOW, Mode::empty(), BENEATH) {
            // Something was renamed meanwhile, so that the kernel does not know any more whether it is still beneath.
            Err(Errno::AGAIN | Errno::INTR) => {}
            // EPERM: a sandbox that does not know it.
            Err(Errno::NOSYS | Errno::PERM) => return step_by_step(folder, path),
            outcome => return outcome,
        }
    }
    Err(Errno::AGAIN)
}

/// The same without the kernel's help: name by name, and none of them a link.
fn step_by_step(folder: BorrowedFd<'_>, path: &[u8]) -> Result<OwnedFd, Errno> {
    if path.first() == Some(&b'/') {
        return Err(Errno::XDEV);
    }
    let mut names = path.split(|byte| *byte == b'/').filter(|name| !matches!(*name, b"" | b".")).peekable();
    let mut held = openat(folder, ".", HOW | OFlags::DIRECTORY, Mode::empty())?;
    while let Some(name) = names.next() {
        if name == b".." {
            return Err(Errno::XDEV);
        }
        let kind = if names.peek().is_some() { OFlags::DIRECTORY } else { OFlags::empty() };
        held = openat(&held, name, HOW | kind | OFlags::NOFOLLOW, Mode::empty())?;
    }
    Ok(held)
}

pub(crate) const BENEATH: ResolveFlags = ResolveFlags::BENEATH.union(ResolveFlags::NO_MAGICLINKS);
pub(crate) const HOW: OFlags = OFlags::RDONLY.union(OFlags::CLOEXEC).union(OFlags::NONBLOCK).union(OFlags::NOCTTY);
const TRIES: usize = 16;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::fs::{self, File};
    use std::io::Read;
    use std::os::fd::AsFd;
    use std::os::unix::fs::symlink;
    use std::path::PathBuf;

    use super::*;

    type Open = fn(BorrowedFd<'_>, &[u8]) -> Result<OwnedFd, Errno>;

    struct Tree(PathBuf);

    impl Tree {
        fn new(name: &str) -> Tree {
            let root = std::env::temp_dir().join(format!("socketkit-beneath-{}-{name}", std::process::id()));
            fs::create_dir_all(root.join("served/inner")).unwrap();
            fs::write(root.join("secret"), "secret").unwrap();
            fs::write(root.join("served/file"), "file").unwrap();
            fs::write(root.join("served/inner/deep"), "deep").unwrap();
            for (name, target) in [("out", "../secret"), ("absolute", "/etc/passwd"), ("up", "..")] {
                symlink(target, root.join("served").join(name)).unwrap();
            }
            symlink("inner/deep", root.join("served/within")).unwrap();
            Tree(root)
        }

        fn read(&self, open: Open, path: &str) -> Result<String, Errno> {
            let folder = File::open(self.0.join("served")).unwrap();
            let mut text = String::new();
            File::from(open(folder.as_fd(), path.as_bytes())?).read_to_string(&mut text).unwrap();
            Ok(text)
        }
    }

    impl Drop for Tree {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).unwrap();
        }
    }

    #[test]
    fn nothing_leads_out() {
        let tree = Tree::new("out");
        for open in [open_beneath as Open, step_by_step] {
            assert_eq!(tree.read(open, "file"), Ok("file".into()));
            assert_eq!(tree.read(open, "inner//./deep"), Ok("deep".into()));
            for path in
                ["../secret", "inner/../../secret", "/etc/passwd", "out", "absolute", "up/secret", "up/../secret"]
            {
                let refused = tree.read(open, path);
                assert!(matches!(refused, Err(Errno::XDEV | Errno::LOOP | Errno::NOTDIR)), "{path}: {refused:?}");
            }
            assert_eq!(tree.read(open, "none"), Err(Errno::NOENT));
        }
    }

    #[test]
    fn a_link_that_stays_beneath_is_followed() {
        let tree = Tree::new("within");
        assert_eq!(tree.read(open_beneath, "within"), Ok("deep".into()));
        assert_eq!(tree.read(step_by_step, "within"), Err(Errno::LOOP));
    }
}
