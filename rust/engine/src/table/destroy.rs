//! Ends a socket from outside, as the kernel does it for whoever may (SOCK_DESTROY).

use std::io;
use std::mem::MaybeUninit;

use rustix::io::Errno;
use socketkit_wire::diag::SocketId;

use super::namespaces;
use super::netlink;
use super::owners::Owners;
use super::row::{Address, Row};

/// Has the kernel end the socket: its owner gets ECONNABORTED, a TCP peer a reset.
///
/// EPERM without CAP_NET_ADMIN in its namespace, ENOENT if it has ended already, EOPNOTSUPP for what the kernel cannot end.
pub fn destroy(row: &Row) -> io::Result<()> {
    let (Ok(protocol), Some(id)) = (u8::try_from(row.protocol), socket_id(row)) else {
        return Err(Errno::OPNOTSUPP.into());
    };
    let seen = Owners::default().list()?.namespaces;
    let place = namespaces::known(seen)?.into_iter().find(|place| place.inode == row.namespace);
    let place = place.ok_or(Errno::NOENT)?;
    place.visit(|| {
        let socket = netlink::open()?;
        let mut room = [MaybeUninit::uninit(); 4096];
        Ok(netlink::dump(&socket, &id.destroy_request(protocol), &mut room, |_| {})?)
    })?
}

/// What the kernel finds it by; None for a family that has no such thing.
fn socket_id(row: &Row) -> Option<SocketId> {
    let mut id = SocketId {
        family: u8::try_from(row.family).ok().filter(|family| matches!(*family, AF_INET | AF_INET6))?,
        interface: row.interface,
        cookie: row.cookie,
        ..SocketId::default()
    };
    (id.local_port, id.local) = parts(&row.local, id.family)?;
    (id.peer_port, id.peer) = parts(&row.peer, id.family)?;
    Some(id)
}

/// The port and the address; zeros for none.
fn parts(address: &Address, family: u8) -> Option<(u16, [u8; 16])> {
    let bytes = address.as_bytes();
    let mut host = [0; 16];
    if bytes.is_empty() {
        return Some((0, host));
    }
    let port = u16::from_be_bytes(*bytes.get(2..)?.first_chunk()?);
    match family {
        AF_INET => host.first_chunk_mut::<4>()?.copy_from_slice(bytes.get(4..8)?),
        _ => host.copy_from_slice(bytes.get(8..24)?),
    }
    Some((port, host))
}

const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn row(family: u16, local: &[u8]) -> Row {
        Row { family, local: Address::from_bytes(local), cookie: 7, ..Row::default() }
    }

    #[test]
    fn a_row_has_what_the_kernel_finds_it_by() {
        let id = socket_id(&row(2, &[2, 0, 0x12, 0x34, 127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0])).unwrap();
        assert_eq!((id.local_port, &id.local[..4], id.peer_port, id.cookie), (0x1234, &[127, 0, 0, 1][..], 0, 7));
        let mut address = [0; 28];
        address[3] = 80;
        address[23] = 1;
        let id = socket_id(&row(10, &address)).unwrap();
        assert_eq!((id.local_port, id.local), (80, std::net::Ipv6Addr::LOCALHOST.octets()));
    }

    #[test]
    fn what_has_no_ip_address_cannot_be_ended() {
        assert_eq!(socket_id(&row(1, &[1, 0, b'/'])), None);
        assert_eq!(socket_id(&row(2, &[2, 0, 1])), None);
        assert_eq!(destroy(&row(1, &[])).unwrap_err().raw_os_error(), Some(95));
    }
}
