//! What a stranger sends to a TLS session: in any pieces it ends in the same way, and nothing of it is plaintext.

use std::sync::OnceLock;

use socketkit_engine::tls::{sealed_bytes, Clients, ServerTls, Session, BUFFER_BYTES};

pub fn check(data: &[u8]) {
    let whole = outcome(data, usize::MAX);
    assert_eq!(whole, outcome(data, 1 + data.len() / 3), "the pieces matter");
    if data.len() < 2000 {
        assert_eq!(whole, outcome(data, 7), "the pieces matter");
    }
}

/// The fault, and whether the session waits for more of a record.
fn outcome(data: &[u8], step: usize) -> (Option<String>, bool) {
    let Ok(mut session) = Session::server(server()) else { panic!("no session") };
    let mut buffer = vec![0; BUFFER_BYTES + data.len()];
    let mut answer = Vec::new();
    let mut fault = None;
    for part in data.chunks(step.min(data.len().max(1))) {
        let rest = session.put_rest(&mut buffer);
        buffer[rest..rest + part.len()].copy_from_slice(part);
        let mut plain = |_: &[u8]| panic!("plaintext of a stranger who has proved nothing");
        if let Err(why) = session.open(&mut buffer[..rest + part.len()], &mut plain, &mut answer) {
            fault = Some(why.to_string());
            break;
        }
        assert!(session.kept_bytes() <= BUFFER_BYTES);
    }
    assert!(session.handshaking() && !session.ended() && session.fingerprint().is_none());
    assert!(answer.len() < 10_000, "an answer of {} bytes", answer.len());
    // It cannot be used, and says so.
    assert!(session.seal(b"x", &mut [0; sealed_bytes(1)]).is_err());
    assert_eq!(session.end(&mut [0; sealed_bytes(0)]), 0);
    (fault, session.inside_record())
}

fn server() -> &'static ServerTls {
    static SERVER: OnceLock<ServerTls> = OnceLock::new();
    SERVER.get_or_init(|| match ServerTls::new(&identity(), None, Clients::Asked, vec![b"h2".to_vec()]) {
        Ok(server) => server,
        Err(failure) => panic!("{failure}"),
    })
}

/// A new one each time: no key lies in the repository, and none of the properties depends on it.
fn identity() -> Vec<u8> {
    let made = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519)
        .and_then(|pair| Ok((rcgen::CertificateParams::new(vec!["localhost".to_owned()])?.self_signed(&pair)?, pair)));
    match made {
        Ok((certificate, pair)) => (pair.serialize_pem() + &certificate.pem()).into_bytes(),
        Err(failure) => panic!("{failure}"),
    }
}
