//! What our BPF programs say of sockets: records of rust/bpf/table.bpf.c, which changes together with this.
//!
//! They come from a program of our own through the kernel, yet a field is taken only where the record has it: an object of another
//! version, or a mistake in it, is an error and never a wrong row.

/// Of each record, the smallest included.
pub const VERSION: u8 = 2;
/// No record is larger; a reader with this much room always gets on.
pub const MAX_RECORD_BYTES: usize = BODY_BYTES + FLOW_BYTES + 12 + 2 * NAME_BYTES;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told<'a> {
    /// A socket with this cookie is there, and has a file: the record of a descriptor tells the rest.
    Seen(u64),
    /// A thread that is in another network namespace than the reader.
    Thread {
        namespace: u64,
        pid: u32,
        thread: u32,
    },
    Socket(Socket<'a>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Socket<'a> {
    /// The kernel's number for it, never used twice since the start of the machine.
    pub cookie: u64,
    /// The inode of its network namespace.
    pub namespace: u32,
    /// 0 = no descriptor ever led to it, or none does any more.
    pub inode: u64,
    /// AF_*
    pub family: u16,
    /// SOCK_*
    pub kind: u16,
    /// IPPROTO_*
    pub protocol: u16,
    /// TCP_*
    pub state: u8,
    /// The process and the descriptor that lead to it.
    pub owner: Option<(u32, u32)>,
    pub uid: Option<u32>,
    /// The index of the interface that it is bound to; 0 = none.
    pub interface: u32,
    pub receive_queue: u32,
    pub send_queue: u32,
    /// None of what is only the remains of a socket (TIME_WAIT) or not one yet.
    pub dropped: Option<u32>,
    pub reuse_address: bool,
    pub reuse_port: bool,
    pub only_ipv6: bool,
    /// No descriptor can lead to it: it is the kernel's own, or nobody accepted it yet.
    pub fileless: bool,
    /// Its protocol's list has it, and the kernel's count of them.
    pub listed: bool,
    /// Connections to it have begun that are not yet one.
    pub begun: bool,
    pub flow: Option<Counts>,
    pub addresses: Addresses<'a>,
}

/// What TCP counts, in the kernel's own units.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// With one for the FIN.
    pub received_bytes: u64,
    /// With one for the SYN and one for the FIN, once they were acknowledged.
    pub acknowledged_bytes: u64,
    /// Data alone, those that were sent again included.
    pub sent_bytes: u64,
    pub sent_again_bytes: u64,
    pub received_segments: u32,
    pub sent_segments: u32,
    pub round_trip_us: u32,
    pub retransmits: u32,
    /// Of the kernel's clock: how long one is, clock_getres(CLOCK_MONOTONIC_COARSE) says.
    pub ticks_since_sent: u32,
    pub ticks_since_received: u32,
    pub ticks_since_answer: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Addresses<'a> {
    /// (address, port)
    Inet {
        local: ([u8; 4], u16),
        peer: ([u8; 4], u16),
    },
    Inet6 {
        local: ([u8; 16], u16),
        peer: ([u8; 16], u16),
    },
    /// `struct sockaddr_un` as far as it is in use; empty without a name.
    Unix {
        local: &'a [u8],
        peer: &'a [u8],
        peer_inode: u64,
    },
    /// Of a packet socket the interface and the EtherType, of a vsock the context id and the port.
    Numbers {
        local: [u32; 2],
        peer: [u32; 2],
    },
    /// The running kernel does not say where they are.
    Unknown,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    #[error("a record of version {0}, not {VERSION}")]
    Version(u8),
    #[error("a record of class {class} with {size} bytes")]
    Size { class: u8, size: u16 },
}

/// As much of a record as it takes to know the socket and its owner. That it is whole is certain: `socket` has an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Brief {
    pub cookie: u64,
    /// The inode of its network namespace.
    pub namespace: u32,
    pub inode: u64,
    /// AF_*
    pub family: u16,
    /// SOCK_*
    pub kind: u16,
    /// IPPROTO_*
    pub protocol: u16,
    /// TCP_*
    pub state: u8,
    /// The process and the descriptor that lead to it.
    pub owner: Option<(u32, u32)>,
    /// The index of the interface that it is bound to; 0 = none.
    pub interface: u32,
    pub fileless: bool,
    pub listed: bool,
    pub begun: bool,
}

/// What one record says in short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Short {
    Seen(u64),
    Thread { namespace: u64, pid: u32, thread: u32 },
    Socket(Brief),
}

/// The first record of `bytes` and its length; None if it is not there whole.
pub fn first(bytes: &[u8]) -> Result<Option<(Short, usize)>, Malformed> {
    let Some(&[low, high, version, class]) = bytes.first_chunk() else { return Ok(None) };
    let size = u16::from_le_bytes([low, high]);
    if version != VERSION {
        return Err(Malformed::Version(version));
    }
    let length = usize::from(size);
    if !(HEAD_BYTES..=MAX_RECORD_BYTES).contains(&length) {
        return Err(Malformed::Size { class, size });
    }
    let Some(record) = bytes.get(..length) else { return Ok(None) };
    let short = short(class, record).ok_or(Malformed::Size { class, size })?;
    Ok(Some((short, length)))
}

fn short(class: u8, record: &[u8]) -> Option<Short> {
    if let Some(body) = record.first_chunk::<BODY_BYTES>() {
        let brief = brief(&mut Fields(body.get(4..)?))?;
        return (rest_bytes(class, record)? == record.len() - BODY_BYTES).then_some(Short::Socket(brief));
    }
    let mut fields = Fields(record.get(4..)?);
    let short = match class {
        CLASS_SEEN => Short::Seen(fields.u64()?),
        CLASS_THREAD => Short::Thread { namespace: fields.u64()?, pid: fields.u32()?, thread: fields.u32()? },
        _ => return None,
    };
    fields.0.is_empty().then_some(short)
}

fn brief(fields: &mut Fields<'_>) -> Option<Brief> {
    let cookie = fields.u64()?;
    let (namespace, inode) = (fields.u32()?, fields.u64()?);
    let (family, protocol) = (fields.u16()?, fields.u16()?);
    let [kind, state] = fields.array()?;
    let flags = fields.u16()?;
    let owner = (fields.u32()?, fields.u32()?);
    let (_uid, interface) = (fields.u32()?, fields.u32()?);
    Some(Brief {
        cookie,
        namespace,
        inode,
        family,
        kind: u16::from(kind),
        protocol,
        state,
        owner: (flags & OWNED != 0).then_some(owner),
        interface,
        fileless: flags & FILELESS != 0,
        listed: flags & LISTED != 0,
        begun: flags & BEGUN != 0,
    })
}

/// What has to follow the body of a socket's record.
fn rest_bytes(class: u8, record: &[u8]) -> Option<usize> {
    let flags = record.get(FLAGS_AT..)?.first_chunk().map(|flags| u16::from_le_bytes(*flags))?;
    let flow = if flags & FLOW == 0 { 0 } else { FLOW_BYTES };
    Some(
        flow + match class {
            CLASS_INET => 12,
            CLASS_INET6 => 36,
            CLASS_UNIX => {
                let mut lengths = Fields(record.get(BODY_BYTES + flow + 8..)?);
                let longest = lengths.u16()?.max(lengths.u16()?);
                (usize::from(longest) <= NAME_BYTES).then_some(12 + 2 * NAME_BYTES)?
            }
            CLASS_NUMBERS => 16,
            CLASS_UNKNOWN => 0,
            _ => return None,
        },
    )
}

/// Everything that a socket's record says. None if it is none, or not whole.
pub fn socket(record: &[u8]) -> Option<Socket<'_>> {
    let mut fields = Fields(record);
    let [_, _, version, class] = fields.array()?;
    if version != VERSION {
        return None;
    }
    let brief = brief(&mut Fields(fields.0))?;
    fields.bytes(FLAGS_AT - 4)?;
    let flags = fields.u16()?;
    let (_pid, _descriptor) = (fields.u32()?, fields.u32()?);
    let (uid, _interface) = (fields.u32()?, fields.u32()?);
    let (receive_queue, send_queue) = (fields.u32()?, fields.u32()?);
    let dropped = fields.u32()?;
    let flow = if flags & FLOW == 0 { None } else { Some(counts(&mut fields)?) };
    let addresses = addresses(class, &mut fields)?;
    fields.0.is_empty().then_some(Socket {
        cookie: brief.cookie,
        namespace: brief.namespace,
        inode: brief.inode,
        family: brief.family,
        kind: brief.kind,
        protocol: brief.protocol,
        state: brief.state,
        owner: brief.owner,
        uid: (flags & KNOWS_UID != 0).then_some(uid),
        interface: brief.interface,
        receive_queue,
        send_queue,
        dropped: (flags & WHOLE != 0).then_some(dropped),
        reuse_address: flags & REUSE_ADDRESS != 0,
        reuse_port: flags & REUSE_PORT != 0,
        only_ipv6: flags & ONLY_IPV6 != 0,
        fileless: brief.fileless,
        listed: brief.listed,
        begun: brief.begun,
        flow,
        addresses,
    })
}

/// The records that stand one behind the other in `bytes`, with everything that they say.
#[derive(Clone, Debug)]
pub struct Records<'a> {
    rest: &'a [u8],
}

pub fn records(bytes: &[u8]) -> Records<'_> {
    Records { rest: bytes }
}

impl<'a> Records<'a> {
    /// What is left behind the last whole record: the start of the next one.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    fn take(&mut self) -> Result<Option<Told<'a>>, Malformed> {
        let Some((short, length)) = first(self.rest)? else { return Ok(None) };
        let (record, rest) = self.rest.split_at(length);
        self.rest = rest;
        Ok(match short {
            Short::Seen(cookie) => Some(Told::Seen(cookie)),
            Short::Thread { namespace, pid, thread } => Some(Told::Thread { namespace, pid, thread }),
            Short::Socket(_) => socket(record).map(Told::Socket),
        })
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<Told<'a>, Malformed>;

    /// After an error there is nothing more: where the next record starts is not known.
    fn next(&mut self) -> Option<Self::Item> {
        let taken = self.take();
        if taken.is_err() {
            self.rest = &[];
        }
        taken.transpose()
    }
}

fn counts(fields: &mut Fields) -> Option<Counts> {
    Some(Counts {
        received_bytes: fields.u64()?,
        acknowledged_bytes: fields.u64()?,
        sent_bytes: fields.u64()?,
        sent_again_bytes: fields.u64()?,
        received_segments: fields.u32()?,
        sent_segments: fields.u32()?,
        round_trip_us: fields.u32()?,
        retransmits: fields.u32()?,
        ticks_since_sent: fields.u32()?,
        ticks_since_received: fields.u32()?,
        ticks_since_answer: fields.u32()?,
    })
}

fn addresses<'a>(class: u8, fields: &mut Fields<'a>) -> Option<Addresses<'a>> {
    Some(match class {
        CLASS_INET => {
            let (local_port, peer_port) = (fields.u16()?, fields.u16()?);
            Addresses::Inet { local: (fields.array()?, local_port), peer: (fields.array()?, peer_port) }
        }
        CLASS_INET6 => {
            let (local_port, peer_port) = (fields.u16()?, fields.u16()?);
            Addresses::Inet6 { local: (fields.array()?, local_port), peer: (fields.array()?, peer_port) }
        }
        CLASS_UNIX => {
            let peer_inode = fields.u64()?;
            let (local_length, peer_length) = (fields.u16()?, fields.u16()?);
            let (local, peer) = (fields.bytes(NAME_BYTES)?, fields.bytes(NAME_BYTES)?);
            Addresses::Unix {
                local: local.get(..usize::from(local_length))?,
                peer: peer.get(..usize::from(peer_length))?,
                peer_inode,
            }
        }
        CLASS_NUMBERS => {
            Addresses::Numbers { local: [fields.u32()?, fields.u32()?], peer: [fields.u32()?, fields.u32()?] }
        }
        CLASS_UNKNOWN => Addresses::Unknown,
        _ => return None,
    })
}

/// Takes one field after the other, little-endian, as long as there are any.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn bytes(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const LENGTH: usize>(&mut self) -> Option<[u8; LENGTH]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }
}

const HEAD_BYTES: usize = 12;
/// Where the flags are in a body.
const FLAGS_AT: usize = 30;
const BODY_BYTES: usize = 60;
const FLOW_BYTES: usize = 60;
/// `struct sockaddr_un`, and two more.
const NAME_BYTES: usize = 112;

const CLASS_SEEN: u8 = 0;
const CLASS_INET: u8 = 1;
const CLASS_INET6: u8 = 2;
const CLASS_UNIX: u8 = 3;
const CLASS_NUMBERS: u8 = 4;
const CLASS_UNKNOWN: u8 = 5;
const CLASS_THREAD: u8 = 6;

const REUSE_ADDRESS: u16 = 1;
const REUSE_PORT: u16 = 2;
const ONLY_IPV6: u16 = 4;
const WHOLE: u16 = 8;
const FLOW: u16 = 16;
const OWNED: u16 = 32;
const KNOWS_UID: u16 = 64;
const FILELESS: u16 = 128;
const LISTED: u16 = 256;
const BEGUN: u16 = 512;
