//! The lines of /proc/net/raw, raw6, icmp and icmp6 (man 5 proc): what tells of these sockets where sock_diag does not.

use crate::diag::SocketId;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line {
    /// Without interface and cookie, which the file does not have.
    pub id: SocketId,
    pub state: u8,
    pub receive_queue: u32,
    pub send_queue: u32,
    pub uid: u32,
    pub inode: u64,
    pub dropped: u32,
}

/// One line; None for the heading, and for what is no such line.
pub fn line(text: &[u8]) -> Option<Line> {
    let mut words = text.split(|byte| byte.is_ascii_whitespace()).filter(|word| !word.is_empty());
    words.next()?.strip_suffix(b":")?;
    let (family, local, local_port) = address(words.next()?)?;
    let (_, peer, peer_port) = address(words.next()?)?;
    let state = hexadecimal(words.next()?)?;
    let (send_queue, receive_queue) = halves(words.next()?)?;
    let _timer = words.next()?;
    let _retransmits = words.next()?;
    let uid = decimal(words.next()?)?;
    let _timeout = words.next()?;
    let inode = decimal(words.next()?)?;
    let dropped = words.nth(2).and_then(decimal).unwrap_or_default();
    Some(Line {
        id: SocketId { family, local_port, peer_port, local, peer, ..SocketId::default() },
        state: u8::try_from(state).ok()?,
        receive_queue: hexadecimal(receive_queue)?,
        send_queue: hexadecimal(send_queue)?,
        uid: u32::try_from(uid).ok()?,
        inode,
        dropped: dropped as u32,
    })
}

/// `0100007F:0001`: words of 32 bits as the machine has them, and a number.
fn address(word: &[u8]) -> Option<(u8, [u8; 16], u16)> {
    let (digits, port) = halves(word)?;
    let family = match digits.len() {
        8 => 2,   // AF_INET
        32 => 10, // AF_INET6
        _ => return None,
    };
    let mut address = [0; 16];
    for (room, digits) in address.chunks_exact_mut(4).zip(digits.chunks_exact(8)) {
        room.copy_from_slice(&hexadecimal(digits)?.to_ne_bytes());
    }
    Some((family, address, u16::try_from(hexadecimal(port)?).ok()?))
}

fn halves(word: &[u8]) -> Option<(&[u8], &[u8])> {
    let colon = word.iter().position(|&byte| byte == b':')?;
    Some((word.get(..colon)?, word.get(colon + 1..)?))
}

fn hexadecimal(digits: &[u8]) -> Option<u32> {
    if !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

fn decimal(digits: &[u8]) -> Option<u64> {
    if !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const RAW: &[u8] =
        b"  1: 0100007F:0001 00000000:0000 07 00000000:00000300 00:00000000 00000000  1000        0 4711 2 ffff888 7";

    #[test]
    fn a_line_tells_of_a_socket() {
        let line = line(RAW).unwrap();
        assert_eq!((line.id.family, &line.id.local[..4], line.id.local_port), (2, &[127, 0, 0, 1][..], 1));
        assert_eq!((line.id.peer, line.id.peer_port, line.state), ([0; 16], 0, 7));
        assert_eq!((line.send_queue, line.receive_queue), (0, 0x300));
        assert_eq!((line.uid, line.inode, line.dropped), (1000, 4711, 7));
    }

    #[test]
    fn addresses_of_ipv6_are_four_words() {
        let text = String::from_utf8_lossy(RAW).replace("0100007F:", "00000000000000000000000001000000:");
        let line = line(text.replace("00000000:0000 07", &format!("{:032}:0000 07", 0)).as_bytes()).unwrap();
        assert_eq!((line.id.family, line.id.local), (10, std::net::Ipv6Addr::LOCALHOST.octets()));
    }

    #[test]
    fn what_is_no_line_is_none() {
        for end in 0..80 {
            assert_eq!(line(&RAW[..end]), None, "{end}");
        }
        assert_eq!(line(b"  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt"), None);
        let text = String::from_utf8_lossy(RAW);
        for (sound, wrong) in
            [("0100007F", "0100007"), ("0001 ", "10001 "), ("07 ", "+7 "), (" 4711", " -4711"), ("1:", "1")]
        {
            assert_eq!(line(text.replacen(sound, wrong, 1).as_bytes()), None, "{wrong}");
        }
    }
}
