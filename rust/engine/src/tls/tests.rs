//! Pairs of sessions in memory: what one side writes, cut anywhere, is what the other one reads.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use super::*;

pub struct Key {
    pem: Vec<u8>,
    fingerprint: Fingerprint,
}

pub fn key() -> Key {
    let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    let certificate = rcgen::CertificateParams::new(vec!["localhost".into()]).unwrap().self_signed(&pair).unwrap();
    let pem = (pair.serialize_pem() + &certificate.pem()).into_bytes();
    Key { pem, fingerprint: fingerprint(certificate.der()).unwrap() }
}

pub fn server(key: &Key, clients: Clients) -> ServerTls {
    ServerTls::new(&key.pem, None, clients, vec![b"one".to_vec(), b"two".to_vec()]).unwrap()
}

/// A client that expects this key and has another one, if one is given.
pub fn client(expected: &Key, own: Option<&Key>) -> ClientTls {
    let own = own.map(|own| own.pem.as_slice());
    ClientTls::new(vec![expected.fingerprint], Vec::new(), Roots::None, false, own, vec![b"two".to_vec()]).unwrap()
}

/// A session, and what it has given.
struct End {
    session: Session,
    plain: Vec<u8>,
    answer: Vec<u8>,
}

impl End {
    fn new(session: Session) -> Self {
        let mut end = Self { session, plain: Vec::new(), answer: Vec::new() };
        end.take(&[]).unwrap();
        end
    }

    fn take(&mut self, ciphertext: &[u8]) -> Result<(), Fault> {
        let mut buffer = vec![0; BUFFER_BYTES.max(ciphertext.len()) + BUFFER_BYTES];
        let rest = self.session.put_rest(&mut buffer);
        buffer[rest..rest + ciphertext.len()].copy_from_slice(ciphertext);
        let plain = &mut self.plain;
        let mut lend = |bytes: &[u8]| plain.extend_from_slice(bytes);
        self.session.open(&mut buffer[..rest + ciphertext.len()], &mut lend, &mut self.answer)
    }

    fn seal(&mut self, data: &[u8]) -> Vec<u8> {
        let mut sealed = vec![0; sealed_bytes(data.len())];
        let count = self.session.seal(data, &mut sealed).unwrap();
        sealed.truncate(count);
        sealed
    }

    fn end(&mut self) -> Vec<u8> {
        let mut notice = vec![0; sealed_bytes(0)];
        let count = self.session.end(&mut notice);
        notice.truncate(count);
        notice
    }

    fn said(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.answer)
    }
}

/// Both sides, through the handshake, with what the server has said behind it (its ticket) not yet taken.
fn shaken(server: &ServerTls, client: &ClientTls) -> Result<(End, End, Vec<u8>), Fault> {
    let (mut ours, mut theirs) =
        (End::new(Session::client(client, "localhost").unwrap()), End::new(Session::server(server).unwrap()));
    while ours.session.handshaking() {
        let hello = ours.said();
        let taken = theirs.take(&hello);
        let answer = theirs.said();
        let heard = ours.take(&answer);
        heard?;
        taken?;
    }
    let finished = ours.said();
    let taken = theirs.take(&finished);
    let ticket = theirs.said();
    if let Err(fault) = taken {
        // The reason is for the client, too.
        return Err(ours.take(&ticket).err().unwrap_or(fault));
    }
    Ok((ours, theirs, ticket))
}

fn pair() -> (End, End) {
    let (mine, yours) = (key(), key());
    let (mut ours, theirs, ticket) = shaken(&server(&yours, Clients::Asked), &client(&yours, Some(&mine))).unwrap();
    ours.take(&ticket).unwrap();
    assert_eq!(ours.session.fingerprint(), Some(yours.fingerprint));
    assert_eq!(theirs.session.fingerprint(), Some(mine.fingerprint));
    (ours, theirs)
}

/// With records of at most `bytes`, as small machines have them.
pub fn in_fragments(of: &ServerTls, bytes: usize) -> ServerTls {
    let mut config = (*of.config).clone();
    config.max_fragment_size = Some(bytes);
    ServerTls { config: std::sync::Arc::new(config), ..of.clone() }
}

pub fn with_tickets(of: &ServerTls, count: usize) -> ServerTls {
    let mut config = (*of.config).clone();
    config.send_tls13_tickets = count;
    ServerTls { config: std::sync::Arc::new(config), ..of.clone() }
}

/// xorshift64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }
}

fn file() -> PathBuf {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    std::env::temp_dir().join(format!("socketkit-authorized-{}-{number}", std::process::id()))
}

#[test]
fn both_sides_agree() {
    let (ours, theirs) = pair();
    assert_eq!(ours.session.protocol(), Some(&b"two"[..]));
    assert_eq!(ours.session.ciphers(), theirs.session.ciphers());
    assert_eq!(ours.session.ciphers().unwrap().1, "X25519MLKEM768");
    assert!(!ours.session.resumed() && !ours.session.inside_record() && ours.session.kept_bytes() == 0);
}

#[test]
fn any_split_of_the_ciphertext_gives_the_same_plaintext() {
    let mut random = Random(7);
    for _ in 0..60 {
        let (mut ours, mut theirs) = pair();
        let data: Vec<u8> = (0..random.below(60_000)).map(|number| number as u8).collect();
        let mut wire = Vec::new();
        let mut at = 0;
        while at < data.len() {
            let count = (1 + random.below(20_000)).min(data.len() - at);
            wire.extend(ours.seal(&data[at..at + count]));
            at += count;
        }
        wire.extend(ours.end());
        let mut rest = &wire[..];
        while !rest.is_empty() {
            let most = [3, 100, 5000, 60_000][random.below(4)];
            let (part, after) = rest.split_at((1 + random.below(most)).min(rest.len()));
            theirs.take(part).unwrap();
            rest = after;
        }
        assert!(theirs.plain == data);
        assert!(theirs.session.ended() && !theirs.session.inside_record());
    }
}

#[test]
fn a_handshake_in_single_bytes() {
    let yours = key();
    let (server, client) = (in_fragments(&server(&yours, Clients::Unasked), 64), client(&yours, None));
    let (mut ours, mut theirs) =
        (End::new(Session::client(&client, "localhost").unwrap()), End::new(Session::server(&server).unwrap()));
    for _ in 0..3 {
        for byte in ours.said() {
            theirs.take(&[byte]).unwrap();
        }
        for byte in theirs.said() {
            ours.take(&[byte]).unwrap();
        }
    }
    assert!(!ours.session.handshaking() && !theirs.session.handshaking());
}

/// rustls panics if it is not shown again what it has seen of a message in parts.
#[test]
fn a_send_amid_a_message_in_parts_is_no_panic() {
    let yours = key();
    let server = in_fragments(&server(&yours, Clients::Unasked), 64);
    let (mut ours, mut theirs, ticket) = shaken(&server, &client(&yours, None)).unwrap();
    assert!(ticket.len() > 3 * 64);
    for (index, byte) in ticket.iter().enumerate() {
        ours.take(&[*byte]).unwrap();
        let sealed = ours.seal(&[index as u8]);
        theirs.take(&sealed).unwrap();
    }
    assert_eq!(theirs.plain.len(), ticket.len());
    let sealed = theirs.seal(b"behind the ticket");
    ours.take(&sealed).unwrap();
    assert_eq!(ours.plain, b"behind the ticket");
    assert!(!ours.session.inside_record());
}

#[test]
fn the_end_amid_a_message_in_parts_is_no_panic() {
    let yours = key();
    let server = in_fragments(&server(&yours, Clients::Unasked), 64);
    let (mut ours, mut theirs, ticket) = shaken(&server, &client(&yours, None)).unwrap();
    ours.take(&ticket[..150]).unwrap();
    let notice = ours.end();
    theirs.take(&notice).unwrap();
    assert!(theirs.session.ended());
    ours.take(&ticket[150..]).unwrap();
}

/// The parts of an unfinished ClientHello as somebody sends them who wants them kept.
fn crumbs(count: usize) -> Vec<u8> {
    let mut hello = vec![1, 0, 0xff, 0xf0];
    hello.resize(count, 0);
    hello.iter().flat_map(|byte| [22, 3, 1, 0, 1, *byte]).collect()
}

#[test]
fn what_is_kept_of_a_message_in_parts_is_bounded() {
    let yours = key();
    for step in [1000, 100_000, 400_000] {
        let mut theirs = End::new(Session::server(&server(&yours, Clients::Unasked)).unwrap());
        let crumbs = crumbs(60_000);
        let mut outcome = Ok(());
        for part in crumbs.chunks(step) {
            outcome = theirs.take(part);
            if outcome.is_err() {
                break;
            }
            assert!(theirs.session.kept_bytes() < 256 * 1024);
        }
        assert!(matches!(outcome, Err(Fault::Violation(_))), "{outcome:?}");
        assert_eq!(theirs.session.kept_bytes(), 0);
    }
}

#[test]
fn garbage_anywhere_is_a_fault_and_no_panic() {
    let mut random = Random(11);
    for _ in 0..300 {
        let (mut ours, mut theirs) = pair();
        let mut wire = ours.seal(&[7; 300]);
        wire.extend(ours.seal(&[8; 300]));
        wire.extend(ours.end());
        let at = random.below(wire.len());
        wire[at] ^= 1 << random.below(8);
        let before = wire.clone();
        let outcome = before.chunks(1 + random.below(400)).try_for_each(|part| theirs.take(part));
        if outcome.is_ok() && theirs.session.ended() {
            // The version that a record names means nothing (RFC 8446 §5.1).
            assert!(
                theirs.plain.len() == 600 && [0, 1, 2].iter().any(|back| wire[at - back.min(&at)] == 23),
                "at {at}"
            );
            continue;
        }
        // A length that has grown waits for bytes that do not come.
        assert!(outcome.is_err() || theirs.session.inside_record(), "at {at}: {outcome:?}");
        assert!(theirs.plain.iter().all(|byte| [7, 8].contains(byte)));
        if outcome.is_err() {
            assert!(!theirs.answer.is_empty(), "the peer is told");
            assert!(theirs.take(b"more").is_err());
            assert!(theirs.session.seal(b"x", &mut [0; 400]).is_err());
            assert!(theirs.end().is_empty());
        }
    }
}

#[test]
fn garbage_in_the_handshake_is_a_fault_and_no_panic() {
    let mut random = Random(13);
    let (mine, yours) = (key(), key());
    let (server, client) = (server(&yours, Clients::Asked), client(&yours, Some(&mine)));
    for _ in 0..300 {
        let (mut ours, mut theirs) =
            (End::new(Session::client(&client, "localhost").unwrap()), End::new(Session::server(&server).unwrap()));
        let broken = random.below(3);
        for step in 0..3 {
            let (from, to) = if step % 2 == 0 { (&mut ours, &mut theirs) } else { (&mut theirs, &mut ours) };
            let mut said = from.said();
            if step == broken && !said.is_empty() {
                for _ in 0..=random.below(3) {
                    let at = random.below(said.len());
                    said[at] = random.next() as u8;
                }
            }
            for part in said.chunks(1 + random.below(2000)) {
                if to.take(part).is_err() {
                    break;
                }
            }
        }
        let _ = (ours.end(), theirs.end());
    }
}

#[test]
fn records_of_random_content_type_between_others_are_no_panic() {
    let mut random = Random(17);
    for _ in 0..400 {
        let yours = key();
        let server = in_fragments(&server(&yours, Clients::Unasked), 64);
        let (mut ours, _, ticket) = shaken(&server, &client(&yours, None)).unwrap();
        let cut = random.below(ticket.len());
        let _ = ours.take(&ticket[..cut]);
        let length = random.below(40);
        let mut record = vec![20 + random.below(5) as u8, 3, 3, 0, length as u8];
        record.extend((0..length).map(|_| random.next() as u8));
        let _ = ours.take(&record);
        let _ = ours.session.seal(b"x", &mut [0; 400]);
        let _ = ours.take(&ticket[cut..]);
        let _ = ours.end();
    }
}

#[test]
fn a_record_that_is_too_long_is_a_fault() {
    let (_, mut theirs) = pair();
    let fault = theirs.take(&[23, 3, 3, 0xff, 0xff]).unwrap_err();
    assert!(matches!(fault, Fault::Violation(_)), "{fault:?}");
}

#[test]
fn an_unexpected_key_is_refused_before_ours_is_shown() {
    let (mine, yours, other) = (key(), key(), key());
    let server = server(&other, Clients::Asked);
    let mut ours = End::new(Session::client(&client(&yours, Some(&mine)), "localhost").unwrap());
    let mut theirs = End::new(Session::server(&server).unwrap());
    theirs.take(&ours.said()).unwrap();
    let fault = ours.take(&theirs.said()).unwrap_err();
    assert!(matches!(&fault, Fault::Untrusted(rejected) if rejected.presented == Some(other.fingerprint)), "{fault:?}");
    let alert = ours.said();
    assert!(alert.len() < 40, "{} bytes are more than an alert", alert.len());
    assert!(matches!(theirs.take(&alert), Err(Fault::Refused(_))));
    assert_eq!(theirs.session.fingerprint(), None);
}

#[test]
fn a_revoked_key_is_refused_whatever_else_is_said() {
    let yours = key();
    let client = ClientTls::new(Vec::new(), vec![yours.fingerprint], Roots::None, true, None, Vec::new()).unwrap();
    let fault = shaken(&server(&yours, Clients::Unasked), &client).err().unwrap();
    assert!(matches!(fault, Fault::Untrusted(_)), "{fault:?}");
}

#[test]
fn the_list_is_read_again_when_it_has_changed() {
    let (one, other) = (key(), key());
    let path = file();
    let list = AuthorizedFile::new(&path);
    assert!(!list.allows(&one.fingerprint), "there is no file");
    fs::write(&path, format!("{}\n", one.fingerprint)).unwrap();
    assert!(list.allows(&one.fingerprint) && !list.allows(&other.fingerprint));
    // Replaced by one of the same length, as an editor does.
    let new = file();
    fs::write(&new, format!("{}\n", other.fingerprint)).unwrap();
    fs::rename(&new, &path).unwrap();
    assert!(!list.allows(&one.fingerprint) && list.allows(&other.fingerprint));
    fs::write(&path, "a line that nobody can read").unwrap();
    assert!(!list.allows(&other.fingerprint));
    fs::remove_file(&path).unwrap();
    assert!(!list.allows(&other.fingerprint));
}

#[test]
fn a_list_that_others_can_write_lets_nobody_in() {
    let one = key();
    let path = file();
    fs::write(&path, format!("{}\n", one.fingerprint)).unwrap();
    let list = AuthorizedFile::new(&path);
    for (mode, allowed) in [(0o600, true), (0o664, false), (0o644, true), (0o602, false)] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        assert_eq!(list.allows(&one.fingerprint), allowed, "mode {mode:o}");
    }
    fs::remove_file(&path).unwrap();
}

#[test]
fn a_resumed_session_has_the_key_of_the_first() {
    let (mine, yours) = (key(), key());
    let (server, client) = (server(&yours, Clients::Asked), client(&yours, Some(&mine)));
    for round in 0..3 {
        let (mut ours, theirs, ticket) = shaken(&server, &client).unwrap();
        ours.take(&ticket).unwrap();
        assert_eq!((ours.session.resumed(), theirs.session.resumed()), (round > 0, round > 0));
        assert_eq!(ours.session.fingerprint(), Some(yours.fingerprint));
        assert_eq!(theirs.session.fingerprint(), Some(mine.fingerprint));
    }
}

#[test]
fn whoever_is_taken_off_the_list_is_refused_in_words_with_his_ticket_too() {
    let (mine, other, yours) = (key(), key(), key());
    let path = file();
    fs::write(&path, format!("{}\n", mine.fingerprint)).unwrap();
    let list = std::sync::Arc::new(AuthorizedFile::new(&path));
    let (server, client) = (server(&yours, Clients::Authorized(list)), client(&yours, Some(&mine)));
    for round in 0..2 {
        let (mut ours, theirs, ticket) = shaken(&server, &client).unwrap();
        ours.take(&ticket).unwrap();
        assert!(theirs.session.authorized() && theirs.session.resumed() == (round > 0));
    }
    fs::write(&path, format!("{}\n{}\n", mine.fingerprint, other.fingerprint)).unwrap();
    let (mut ours, theirs, ticket) = shaken(&server, &client).unwrap();
    ours.take(&ticket).unwrap();
    assert!(!theirs.session.resumed(), "tickets are void once the list has changed");
    fs::write(&path, format!("{}\n", other.fingerprint)).unwrap();
    let fault = shaken(&server, &client).err().unwrap();
    assert!(matches!(fault, Fault::Refused(words) if words.contains("authorized peers")), "{fault:?}");
    fs::remove_file(&path).unwrap();
}

#[test]
fn who_shows_no_key_where_one_is_asked_for_is_told() {
    let yours = key();
    let list = std::sync::Arc::new(AuthorizedFile::new(&file()));
    let fault = shaken(&server(&yours, Clients::Authorized(list)), &client(&yours, None)).err().unwrap();
    assert!(matches!(fault, Fault::Refused(words) if words.contains("key=")), "{fault:?}");
}

#[test]
fn nothing_in_common_is_said() {
    let yours = key();
    let client =
        ClientTls::new(vec![yours.fingerprint], vec![], Roots::None, false, None, vec![b"three".to_vec()]).unwrap();
    let fault = shaken(&server(&yours, Clients::Unasked), &client).err().unwrap();
    assert!(matches!(fault, Fault::Refused(words) if words.contains("alpn")), "{fault:?}");
}

#[test]
fn a_configuration_says_what_is_missing() {
    let yours = key();
    let text = String::from_utf8(yours.pem.clone()).unwrap();
    let certificate = text.find("-----BEGIN CERTIFICATE").unwrap();
    let words = |pem: &str| match ServerTls::new(pem.as_bytes(), None, Clients::Unasked, Vec::new()) {
        Ok(_) => String::new(),
        Err(failure) => failure.to_string(),
    };
    assert!(words(&text[..certificate]).contains("no certificate"));
    assert!(words(&text[certificate..]).contains("no private key"));
    assert!(words("").contains("no certificate"));
    assert_eq!(words(&text), "");
    assert!(Session::client(&client(&yours, None), "not a name!").is_err());
}

#[test]
fn a_required_protocol_must_be_named() {
    let yours = key();
    let server = server(&yours, Clients::Unasked).requiring_protocol();
    let mut nameless = client(&yours, None);
    let (ours, _, _) = shaken(&server, &nameless).ok().unwrap();
    assert_eq!(ours.session.protocol(), Some(b"two".as_slice()));
    let mut config = (*nameless.config).clone();
    config.alpn_protocols.clear();
    nameless.config = std::sync::Arc::new(config);
    let refused = shaken(&server, &nameless).err().unwrap();
    assert!(matches!(&refused, Fault::Violation(why) if why.contains("ALPN")), "{refused}");
}
