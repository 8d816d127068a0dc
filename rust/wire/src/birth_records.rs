//! What our BPF programs say of who made a socket: records of rust/bpf/births.bpf.c, which changes together with this.
//!
//! They come from a program of our own through the kernel, yet a record of another version or size is an error and never a wrong owner.

/// Of each record.
pub const VERSION: u8 = 2;
pub const RECORD_BYTES: usize = 56;

/// What a process did with the socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Began a connection (TCP).
    Connected,
    /// Opened it (UDP).
    Opened,
    /// Closed it, as the last one who held it (TCP): of a connection that was accepted nothing is told before.
    Closed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Birth {
    pub kind: Kind,
    /// The kernel's number for the socket, never used twice since the start of the machine.
    pub cookie: u64,
    /// None: it is not in the reader's PID namespace.
    pub pid: Option<u32>,
    /// When the process started, since the start of the machine.
    pub started_ns: u64,
    /// The number of its control group of version 2.
    pub cgroup: u64,
    pub uid: u32,
    /// The port that is called. None: it began no connection.
    pub peer_port: Option<u16>,
    name: [u8; NAME_BYTES],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    #[error("a record of version {0}, not {VERSION}")]
    Version(u8),
    #[error("a record of kind {kind} with {size} bytes")]
    Size { kind: u8, size: usize },
}

/// One record, all of it.
pub fn birth(record: &[u8]) -> Result<Birth, Malformed> {
    let whole: Option<&[u8; RECORD_BYTES]> = record.try_into().ok();
    let kind = record.get(3).copied().unwrap_or(u8::MAX);
    let wrong = Malformed::Size { kind, size: record.len() };
    if let Some(&version) = record.get(2).filter(|version| **version != VERSION) {
        return Err(Malformed::Version(version));
    }
    let Some([low, high, _, _, fields @ ..]) = whole else { return Err(wrong) };
    if usize::from(u16::from_le_bytes([*low, *high])) != RECORD_BYTES {
        return Err(wrong);
    }
    let kind = match kind {
        0 => Kind::Connected,
        1 => Kind::Opened,
        2 => Kind::Closed,
        _ => return Err(wrong),
    };
    read(fields, kind).ok_or(wrong)
}

fn read(fields: &[u8], kind: Kind) -> Option<Birth> {
    let (pid, rest) = fields.split_first_chunk()?;
    let (cookie, rest) = rest.split_first_chunk()?;
    let (started, rest) = rest.split_first_chunk()?;
    let (cgroup, rest) = rest.split_first_chunk()?;
    let (uid, rest) = rest.split_first_chunk()?;
    let (port, rest) = rest.split_first_chunk()?;
    let name = rest.strip_prefix(&[0; 2])?;
    let port = u16::from_be_bytes(*port);
    let pid = u32::from_le_bytes(*pid);
    Some(Birth {
        kind,
        cookie: u64::from_le_bytes(*cookie),
        pid: (pid != 0).then_some(pid),
        started_ns: u64::from_le_bytes(*started),
        cgroup: u64::from_le_bytes(*cgroup),
        uid: u32::from_le_bytes(*uid),
        peer_port: (port != 0).then_some(port),
        name: name.try_into().ok()?,
    })
}

impl Birth {
    /// The process's own, as the kernel has it; whoever runs it chose the bytes.
    pub fn name(&self) -> &[u8] {
        self.name.split(|byte| *byte == 0).next().unwrap_or_default()
    }

    /// The record that says so.
    pub fn to_bytes(&self) -> [u8; RECORD_BYTES] {
        let kind = match self.kind {
            Kind::Connected => 0,
            Kind::Opened => 1,
            Kind::Closed => 2,
        };
        let size = (RECORD_BYTES as u16).to_le_bytes();
        let parts: [&[u8]; 10] = [
            &size,
            &[VERSION, kind],
            &self.pid.unwrap_or_default().to_le_bytes(),
            &self.cookie.to_le_bytes(),
            &self.started_ns.to_le_bytes(),
            &self.cgroup.to_le_bytes(),
            &self.uid.to_le_bytes(),
            &self.peer_port.unwrap_or_default().to_be_bytes(),
            &[0; 2],
            &self.name,
        ];
        let mut bytes = [0; RECORD_BYTES];
        for (place, byte) in bytes.iter_mut().zip(parts.iter().copied().flatten()) {
            *place = *byte;
        }
        bytes
    }
}

const NAME_BYTES: usize = 16;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn example() -> Birth {
        let mut name = [0; NAME_BYTES];
        name[..4].copy_from_slice(b"curl");
        Birth {
            kind: Kind::Opened,
            cookie: 0x0102_0304_0506_0708,
            pid: Some(4321),
            started_ns: 9_000_000_001,
            cgroup: 77,
            uid: 1000,
            peer_port: Some(443),
            name,
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let told = example();
        let bytes = told.to_bytes();
        assert_eq!(birth(&bytes), Ok(told));
        assert_eq!(told.name(), b"curl");
        assert_eq!(&bytes[..8], &[56, 0, VERSION, 1, 0xe1, 0x10, 0, 0]);
        assert_eq!(&bytes[36..40], &[1, 187, 0, 0]);
    }

    #[test]
    fn a_name_may_fill_its_place() {
        let told = Birth { name: [b'x'; NAME_BYTES], pid: None, peer_port: None, ..example() };
        assert_eq!(told.name(), [b'x'; NAME_BYTES]);
        let read = birth(&told.to_bytes()).unwrap();
        assert_eq!((read.pid, read.peer_port), (None, None));
    }

    #[test]
    fn every_other_size_version_and_kind_is_refused() {
        let bytes = example().to_bytes();
        for length in 0..bytes.len() {
            assert!(birth(&bytes[..length]).is_err());
        }
        assert_eq!(birth(&[&bytes[..], &[0]].concat()), Err(Malformed::Size { kind: 1, size: 57 }));
        let changed = |at: usize, value: u8| {
            let mut bytes = bytes;
            bytes[at] = value;
            birth(&bytes)
        };
        assert_eq!(changed(2, 1), Err(Malformed::Version(1)));
        assert_eq!(changed(3, 3), Err(Malformed::Size { kind: 3, size: 56 }));
        assert_eq!(changed(0, 55), Err(Malformed::Size { kind: 1, size: 56 }));
        assert_eq!(changed(38, 1), Err(Malformed::Size { kind: 1, size: 56 }));
    }
}
