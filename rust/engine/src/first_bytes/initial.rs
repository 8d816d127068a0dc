//! Opens a QUIC client's first packets: their keys come from the id in them, so that whoever sees them can read them (RFC 9001 §5.2).

use rustls::crypto::aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256;
use rustls::quic::{Keys, Version};
use rustls::Side;
use socketkit_wire::uses::quic::{Initial, VERSION_2};

/// The frames in the packet; None if it does not open.
pub fn open(initial: &Initial<'_>, destination: &[u8]) -> Option<Vec<u8>> {
    let version = match initial.version {
        VERSION_2 => Version::V2,
        // Drafts 29 to 32 had another salt.
        0xff00_001d..=0xff00_0020 => Version::V1Draft,
        _ => Version::V1,
    };
    let suite = TLS13_AES_128_GCM_SHA256.tls13()?;
    let keys = Keys::initial(version, suite, suite.quic?, destination, Side::Server);
    let mut packet = initial.packet.to_vec();
    let (header, rest) = packet.split_at_mut_checked(initial.number_at)?;
    let sample_bytes = keys.remote.header.sample_len();
    // The sample begins where a number of four bytes would end (§5.4.2).
    let (number, behind) = rest.split_at_mut_checked(4)?;
    let sample = behind.get(..sample_bytes)?.to_vec();
    keys.remote.header.decrypt_in_place(&sample, header.first_mut()?, number).ok()?;
    let number_bytes = usize::from(header.first()? & 3) + 1;
    let number = number.get(..number_bytes)?.iter().fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
    let (header, payload) = packet.split_at_mut_checked(initial.number_at + number_bytes)?;
    keys.remote.packet.decrypt_in_place(number, header, payload).ok().map(<[u8]>::to_vec)
}
