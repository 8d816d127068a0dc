//! What is left of TCP connections that ended (TIME_WAIT, and FIN_WAIT2 that nobody holds any more), asked by sock_diag.
//!
//! No descriptor leads to it. BPF's iterator of TCP would stop at every socket on its way to these few, and takes three times as
//! long for the same list as a dump that is for two states only.

use std::io;
use std::mem::MaybeUninit;

use rustix::io::Errno;
use socketkit_wire::diag;

use super::netlink;
use super::row::Row;
use super::rows::inet_row;

/// Of the network namespace that the calling thread is in, which has this inode.
pub fn left(namespace: u64) -> io::Result<Vec<Row>> {
    let asking = netlink::open()?;
    let mut room = vec![MaybeUninit::uninit(); netlink::PIECE_BYTES];
    let mut found = Vec::new();
    for family in [AF_INET, AF_INET6] {
        let request = diag::inet_request(family, IPPROTO_TCP, TIME_WAIT | FIN_WAIT2);
        match netlink::dump(&asking, &request, &mut room, |body| found.extend(row(body, namespace))) {
            Ok(()) => {}
            // Without IPv6 there is nobody to ask for it.
            Err(Errno::NOENT) if family == AF_INET6 => {}
            Err(failure) => return Err(failure.into()),
        }
    }
    Ok(found)
}

/// None for what still is a socket: a descriptor leads to it.
fn row(body: &[u8], namespace: u64) -> Option<Row> {
    let row = inet_row(&diag::inet(body)?, IPPROTO_TCP, namespace);
    (row.inode == 0 && row.cookie != 0).then_some(Row { fileless: true, ..row })
}

const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
const IPPROTO_TCP: u8 = 6;
/// Bits of states.
const FIN_WAIT2: u32 = 1 << 5;
const TIME_WAIT: u32 = 1 << 6;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// `struct inet_diag_msg`: one connection on IPv4.
    fn told(state: u8, cookie: u32, inode: u32) -> Vec<u8> {
        let mut bytes = vec![0; 72];
        bytes[..8].copy_from_slice(&[2, state, 0, 0, 0, 80, 1, 0]);
        bytes[44..48].copy_from_slice(&cookie.to_ne_bytes());
        bytes[68..72].copy_from_slice(&inode.to_ne_bytes());
        bytes
    }

    #[test]
    fn only_what_is_no_socket_any_more_is_left() {
        let left = row(&told(6, 9, 0), 7).unwrap();
        assert_eq!((left.state, left.cookie, left.namespace, left.fileless), (6, 9, 7, true));
        assert_eq!(left.flow, None);
        assert_eq!(row(&told(5, 9, 0), 7).unwrap().state, 5);
        for other in [told(5, 9, 4), told(6, 0, 0), vec![0; 20]] {
            assert_eq!(row(&other, 7), None);
        }
    }
}
