//! Files: shares, transfers, versions, backups, and what peers share among themselves.

use super::bytes::{be16, be32, has, has_word, if_so, is_text, le16, le32, line, starts_with_any, starts_with_word};
use super::{Encrypted, Look, Row};

pub(super) const ROWS: &[Row] = &[
    Row::new("SMB", "file sharing", Encrypted::No, &[445, 139], smb).tcp(),
    Row::new("NetBIOS session", "file sharing", Encrypted::No, &[139], netbios_session).tcp(),
    Row::new("NFS", "file sharing", Encrypted::No, &[2049], nfs),
    Row::new("RPC", "file sharing", Encrypted::No, &[111], rpc),
    Row::new("FTP", "file sharing", Encrypted::No, &[21], ftp).tcp(),
    Row::new("TFTP", "file sharing", Encrypted::No, &[69], tftp).udp(),
    Row::new("AFP", "file sharing", Encrypted::No, &[548], afp).tcp(),
    Row::new("AFS", "file sharing", Encrypted::Unknown, &[7000, 7001, 7002, 7003], afs).udp(),
    Row::new("iSCSI", "file sharing", Encrypted::No, &[3260], iscsi).tcp(),
    Row::new("rsync", "file sharing", Encrypted::No, &[873], rsync).tcp(),
    Row::new("git", "version control", Encrypted::No, &[9418], git).tcp(),
    Row::new("Subversion", "version control", Encrypted::No, &[3690], svn).tcp(),
    Row::new("distcc", "build", Encrypted::No, &[3632], distcc).tcp(),
    Row::new("BitTorrent", "file sharing", Encrypted::No, &[6881, 6889, 51_413], bittorrent).tcp(),
    Row::new("BitTorrent DHT", "file sharing", Encrypted::No, &[6881, 51_413], dht).udp().of("BitTorrent"),
    Row::new("BitTorrent tracker", "file sharing", Encrypted::No, &[6969], tracker).udp().of("BitTorrent"),
    Row::new("uTP", "file sharing", Encrypted::Unknown, &[6881, 51_413], utp).udp().of("BitTorrent"),
    Row::new("Gnutella", "file sharing", Encrypted::No, &[6346], gnutella),
    Row::new("eDonkey", "file sharing", Encrypted::No, &[4662, 4672], edonkey),
    Row::new("Dropbox", "file sharing", Encrypted::No, &[17_500], dropbox).udp(),
    Row::new("Syncthing", "file sharing", Encrypted::No, &[21_027], syncthing).udp(),
];

/// Behind the four bytes of its session service: SMB 1, 2, encrypted and compressed.
fn smb(look: &Look<'_>) -> u8 {
    if_so(matches!(*look.bytes, [0, _, _, _, 0xfc..=0xff, b'S', b'M', b'B', ..]), 99)
}

fn netbios_session(look: &Look<'_>) -> u8 {
    match *look.bytes {
        [0x81, 0, 0, 0x44, 0x20, b'A'..=b'P', b'A'..=b'P', ..] => 97,
        [0x82, 0, 0, 0, ..] | [0x83, 0, 0, 1, ..] => 60,
        _ => 0,
    }
}

/// RFC 5531: (program, sure) of a call; answers name none.
fn call(look: &Look<'_>) -> Option<u32> {
    let bytes = if look.is_udp() {
        look.bytes
    } else {
        // The record's length, the last one.
        let length = be32(look.bytes, 0)?;
        if length & 0x8000_0000 == 0 || !(40..0x10_0000).contains(&(length & 0x7fff_ffff)) {
            return None;
        }
        look.bytes.get(4..)?
    };
    (be32(bytes, 4)? == 0 && be32(bytes, 8)? == 2 && be32(bytes, 16)? < 16).then_some(be32(bytes, 12)?)
}

fn nfs(look: &Look<'_>) -> u8 {
    if_so(matches!(call(look), Some(100_003 | 100_005 | 100_021 | 100_227)), 98)
}

fn rpc(look: &Look<'_>) -> u8 {
    match call(look) {
        Some(100_000..=100_300 | 300_000..=400_000) => 90,
        // Programs of users, and callbacks.
        Some(0x2000_0000..=0x5fff_ffff) => 60,
        _ => 0,
    }
}

fn ftp(look: &Look<'_>) -> u8 {
    let bytes = look.bytes;
    if starts_with_any(bytes, &[b"220 ", b"220-"]) {
        let banner = line(bytes).unwrap_or(bytes);
        let is_ftp = (has_word(banner, b"ftp") || has_word(banner, b"filezilla")) && !has_word(banner, b"smtp");
        return match is_ftp {
            true if line(bytes).is_some() => 96,
            true => 90,
            false => 41,
        };
    }
    if ["AUTH TLS", "AUTH SSL", "FEAT\r\n", "SYST\r\n", "OPTS UTF8"]
        .iter()
        .any(|word| starts_with_word(bytes, word.as_bytes()))
    {
        return 85;
    }
    let is_user = starts_with_word(bytes, b"USER ");
    if is_user
        && (starts_with_word(bytes, b"USER anonymous")
            || has(bytes, b"\nSYST")
            || has(bytes, b"\nPASV")
            || has(bytes, b"\nPWD"))
    {
        return 90;
    }
    if_so(is_user && line(bytes).is_some_and(|line| !line.contains(&b':')), 45)
}

fn tftp(look: &Look<'_>) -> u8 {
    let words = look.bytes.get(2..).unwrap_or_default();
    match *look.bytes {
        [0, 1 | 2, letter, ..] if letter.is_ascii_graphic() => {
            if_so(["octet\0", "netascii\0", "mail\0"].iter().any(|mode| has_word(words, mode.as_bytes())), 97)
        }
        // Block 1, its acknowledgement, an error, an answer to options.
        [0, 3, 0, 1, ..] if look.length <= 516 => 55,
        [0, 4, 0, 0 | 1] => 60,
        [0, 5, 0, 0..=8, ..] => if_so(look.bytes.last() == Some(&0), 55),
        [0, 6, letter, ..] if letter.is_ascii_graphic() => 55,
        _ => 0,
    }
}

fn afp(look: &Look<'_>) -> u8 {
    // DSI: flags, command, request 1 or so, no error, length, 0.
    match *look.bytes {
        [0, 3 | 4, 0, 0 | 1, 0, 0, 0, 0, _, _, _, _, 0, 0, 0, 0, ..] => {
            if_so(be32(look.bytes, 8).is_some_and(|length| length < 64), 90)
        }
        [1, 3 | 4, 0, 0 | 1, 0, 0, 0, 0, _, _, _, _, 0, 0, 0, 0, ..] => 85,
        _ => 0,
    }
}

/// Rx: epoch, connection, call, sequence, serial, type, flags, status, security, checksum, service.
fn afs(look: &Look<'_>) -> u8 {
    let bytes = look.bytes;
    let kind = bytes.get(20).is_some_and(|kind| (1..=13).contains(kind));
    let service = be16(bytes, 26).is_some_and(|service| service <= 200);
    let counts = [8, 12, 16].iter().all(|at| be32(bytes, *at).is_some_and(|count| count < 100_000));
    let secured = bytes.get(23).is_some_and(|security| *security <= 5) && be16(bytes, 24).is_some();
    if_so(
        kind && service
            && counts
            && secured
            && look.length >= 28
            && be32(bytes, 0).is_some_and(|epoch| epoch > 0x1000_0000),
        75,
    )
}

fn iscsi(look: &Look<'_>) -> u8 {
    match *look.bytes {
        // A login: stage bits, version 0, no additional headers.
        [0x43, _, 0, 0, 0, _, _, _, ..] => if_so(look.bytes.len() >= 48 && has(look.bytes, b"InitiatorName="), 99),
        [0x23, _, 0, 0, 0, _, _, _, ..] => {
            if_so(has(look.bytes, b"TargetPortalGroupTag=") || look.bytes.len() >= 48, 75)
        }
        _ => 0,
    }
}

fn rsync(look: &Look<'_>) -> u8 {
    if_so(look.bytes.starts_with(b"@RSYNCD: "), 99)
}

/// A length in four hexadecimal digits; then what is asked for, or a reference.
fn git(look: &Look<'_>) -> u8 {
    let Some((length, rest)) = look.bytes.split_at_checked(4) else { return 0 };
    if !length.iter().all(u8::is_ascii_hexdigit) {
        return 0;
    }
    if starts_with_any(rest, &[b"git-upload-pack ", b"git-receive-pack ", b"git-upload-archive ", b"version 2"]) {
        return 99;
    }
    let id = rest.get(..41).is_some_and(|id| id.iter().take(40).all(u8::is_ascii_hexdigit) && id.ends_with(b" "));
    if_so(id, 95)
}

fn svn(look: &Look<'_>) -> u8 {
    if_so(starts_with_any(look.bytes, &[b"( success ( 2 2 ", b"( success ( 1 2 ", b"( 2 ( edit-pipeline"]), 98)
}

fn distcc(look: &Look<'_>) -> u8 {
    if_so(look.bytes.starts_with(b"DIST0000000") && has(look.bytes, b"ARGC"), 97)
}

fn bittorrent(look: &Look<'_>) -> u8 {
    if_so(look.bytes.starts_with(b"\x13BitTorrent protocol"), 99)
}

fn dht(look: &Look<'_>) -> u8 {
    if starts_with_any(look.bytes, &[b"d1:ad2:id20:", b"d1:rd2:id20:", b"d1:eli", b"d2:ip6:", b"d1:ad6:"]) {
        return 98;
    }
    if_so(look.bytes.starts_with(b"BT-SEARCH * HTTP/1.1"), 98)
}

fn tracker(look: &Look<'_>) -> u8 {
    if_so(look.length == 16 && be32(look.bytes, 0) == Some(0x417) && be32(look.bytes, 4) == Some(0x2710_1980), 99)
}

/// BEP 29: type and version 1, extension, connection, two times, window, sequence, acknowledgement.
fn utp(look: &Look<'_>) -> u8 {
    let bytes = look.bytes;
    let (Some(window), Some(first)) = (be32(bytes, 12), bytes.first()) else { return 0 };
    if look.length < 20 || window > 0x1000_0000 || bytes.get(1).is_none_or(|extension| *extension > 2) {
        return 0;
    }
    match first {
        // SYN: sequence 1, nothing acknowledged, nothing behind it.
        0x41 => if_so(
            look.length <= 30 && be16(bytes, 16).is_some_and(|sequence| sequence < 0x8000),
            if be16(bytes, 18) == Some(0) { 92 } else { 70 },
        ),
        // STATE: no payload.
        0x21 => if_so(look.length == 20 || (bytes.get(1) != Some(&0) && look.length <= 36), 70),
        0x01 => if_so(has(bytes, b"\x13BitTorrent protocol") || has(bytes, b"BitTorrent protocol"), 97),
        0x11 => if_so(look.length == 20, 60),
        _ => 0,
    }
}

fn gnutella(look: &Look<'_>) -> u8 {
    if look.is_udp() {
        return if_so(look.bytes.starts_with(b"GND\x02") || look.bytes.starts_with(b"GND\x01"), 90);
    }
    if_so(starts_with_any(look.bytes, &[b"GNUTELLA CONNECT/", b"GNUTELLA/0."]), 98)
}

fn edonkey(look: &Look<'_>) -> u8 {
    let bytes = look.bytes;
    match *bytes {
        // Hello: its length, operation 1, and the length of a hash.
        [0xe3, _, _, 0, 0, 1, 16, ..] if !look.is_udp() => {
            if_so(le32(bytes, 1).is_some_and(|length| length < 1_000), 96)
        }
        [0xe3 | 0xc5, _, _, 0, 0, 1 | 0x4c, ..] if !look.is_udp() => 60,
        [0xe4, 0 | 8 | 0x10 | 0x20 | 0x21 | 0x28 | 0x29 | 0x43 | 0x4b, ..] if look.is_udp() => 40,
        [0xe3, 0x96 | 0x9a, ..] if look.is_udp() => if_so(le16(bytes, 2).is_some(), 45),
        _ => 0,
    }
}

fn dropbox(look: &Look<'_>) -> u8 {
    if_so(is_text(look.bytes) && has(look.bytes, b"\"host_int\"") && look.bytes.starts_with(b"{"), 97)
}

fn syncthing(look: &Look<'_>) -> u8 {
    if_so(be32(look.bytes, 0) == Some(0x2ea7_d90b), 98)
}
