//! TLS 1.3 (RFC 8446) by rustls, between the kernel's queue and a stream's.
//!
//! One byte's path: the kernel -> the caller's scratch, behind what is left of a record -> `Session::open` decrypts it and lends the
//! plaintext to the caller; the other way `Session::seal` -> a scratch -> the kernel. A session that is idle keeps no buffer.
//! Who is trusted is decided before (in Python) and is data here: `verify`.

mod authorized;
pub mod configuration;
mod fault;
mod session;
mod tickets;
mod verify;

pub use authorized::AuthorizedFile;
pub use configuration::{ClientTls, Clients, ConfigurationError, Roots, ServerTls};
pub use fault::Fault;
pub use session::{sealed_bytes, Session, BUFFER_BYTES};
pub use verify::Rejected;

use aws_lc_rs::digest::{digest, SHA256};
use rustls::pki_types::CertificateDer;
use rustls::server::ParsedCertificate;
use socketkit_wire::fingerprint::Fingerprint;

/// The identity that a certificate carries: the hash of its public key (SubjectPublicKeyInfo), so that a renewed certificate is the
/// same peer, and curl's `--pinnedpubkey` the same number.
pub fn fingerprint(certificate: &CertificateDer<'_>) -> Result<Fingerprint, rustls::Error> {
    let key = ParsedCertificate::try_from(certificate)?.subject_public_key_info();
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, &key).as_ref());
    Ok(Fingerprint(hash))
}

/// The most that a record holds (RFC 8446 §5.1), and what sealing adds to it: header, content type, tag.
pub const RECORD_BYTES: usize = 16_384;
const OVERHEAD_BYTES: usize = 5 + 1 + 16;

#[cfg(test)]
pub mod tests;
