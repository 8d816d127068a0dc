//! Shells and screens of other machines.

use super::bytes::{be16, has, if_so, starts_with_any};
use super::{Encrypted, Look, Row};

pub(super) const ROWS: &[Row] = &[
    Row::new("SSH", "ssh", Encrypted::Yes, &[22], ssh).tcp(),
    Row::new("RDP", "remote desktop", Encrypted::No, &[3389], rdp).tcp(),
    Row::new("VNC", "remote desktop", Encrypted::No, &[5900, 5901], vnc).tcp(),
    Row::new("X11", "remote desktop", Encrypted::No, &[6000], x11).tcp(),
    Row::new("ICA", "remote desktop", Encrypted::Unknown, &[1494, 2598], ica).tcp(),
    Row::new("TeamViewer", "remote desktop", Encrypted::Yes, &[5938], teamviewer).tcp(),
    Row::new("ADB", "remote desktop", Encrypted::No, &[5555], adb).tcp(),
    Row::new("Telnet", "remote shell", Encrypted::No, &[23], telnet).tcp(),
];

fn ssh(look: &Look<'_>) -> u8 {
    if_so(starts_with_any(look.bytes, &[b"SSH-2.0-", b"SSH-1."]), 99)
}

/// X.224's request or confirmation of a connection (MS-RDPBCGR 2.2.1.1), in a TPKT.
fn rdp(look: &Look<'_>) -> u8 {
    match *look.bytes {
        [3, 0, _, _, _, 0xe0, 0, 0, _, _, 0, ref rest @ ..] => match rest {
            // Negotiation request: type 1, flags, 8 bytes long.
            [1, _, 8, 0, ..] => 98,
            _ if starts_with_any(rest, &[b"Cookie: mstshash=", b"Cookie: msts="]) => 98,
            _ => 0,
        },
        [3, 0, 0, _, _, 0xd0, 0, 0, _, _, 0, 2 | 3, _, 8, 0, ..] => 97,
        _ => 0,
    }
}

fn vnc(look: &Look<'_>) -> u8 {
    if_so(matches!(*look.bytes, [b'R', b'F', b'B', b' ', b'0'..=b'9', b'0'..=b'9', b'0'..=b'9', b'.', ..]), 99)
}

/// Order of bytes, version 11.0, and how long name and data of the authorization are.
fn x11(look: &Look<'_>) -> u8 {
    let bytes = look.bytes;
    let named = |at: usize| bytes.get(at).is_some_and(|length| *length == 0 || *length == 18 || *length == 19);
    match *bytes {
        [b'l', _, 11, 0, 0, 0, ..] => if_so(named(6), 97),
        [b'B', _, 0, 11, 0, 0, ..] => if_so(named(7), 97),
        // The server takes it.
        [1, 0, 11, 0, 0, 0, ..] => 80,
        _ => 0,
    }
}

fn ica(look: &Look<'_>) -> u8 {
    if_so(starts_with_any(look.bytes, &[b"\x7f\x7fICA\0", b"\x1aCGP/01"]), 97)
}

fn teamviewer(look: &Look<'_>) -> u8 {
    match *look.bytes {
        [0x17, 0x24, 10..=47, _, ..] => 85,
        [0x11, 0x30, 10..=47, _, ..] => 70,
        _ => 0,
    }
}

fn adb(look: &Look<'_>) -> u8 {
    if_so(starts_with_any(look.bytes, &[b"CNXN\0\0\0\x01", b"CNXN\x01\0\0\x01"]), 97)
}

/// RFC 854: commands of three bytes, about options that there are.
fn telnet(look: &Look<'_>) -> u8 {
    let is_command = |at: usize| matches!(look.bytes.get(at..at + 3), Some([255, 251..=254, 0..=49]));
    let length = be16(look.bytes, 0).is_some();
    match (is_command(0), is_command(3)) {
        (true, true) => 97,
        (true, false) => 85,
        // A banner first.
        _ => if_so(length && has(look.bytes, &[255, 253, 1]) | has(look.bytes, &[255, 251, 1]), 60),
    }
}
