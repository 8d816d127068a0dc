//! Keys, certificates and the texts that stand for them, for Python. No file is read or written here.

use aws_lc_rs::digest;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::Ed25519KeyPair;
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use rcgen::{date_time_ymd, CertificateParams, DistinguishedName, DnType, KeyPair, PKCS_ED25519};
use rustls_pki_types::pem::{Error as PemError, PemObject};
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName};
use socketkit_wire::authorized::{self, MAX_FILE_BYTES};
use socketkit_wire::fingerprint::Fingerprint;
use webpki::EndEntityCert;

/// `sk1:...` of the 32 bytes that a fingerprint has.
#[pyfunction]
#[pyo3(signature = (raw, /))]
pub fn fingerprint_text(raw: &[u8]) -> PyResult<String> {
    let raw = raw
        .try_into()
        .map_err(|_| PyValueError::new_err(format!("a fingerprint has 32 bytes, this has {}", raw.len())))?;
    Ok(Fingerprint(raw).to_string())
}

/// The 32 bytes of `sk1:...`; ValueError says what is wrong with it.
#[pyfunction]
#[pyo3(signature = (text, /))]
pub fn fingerprint_bytes<'py>(py: Python<'py>, text: &str) -> PyResult<Bound<'py, PyBytes>> {
    let Fingerprint(raw) = text.parse().map_err(wrong)?;
    Ok(PyBytes::new(py, &raw))
}

/// The fingerprint of the first certificate in `pem`, in which a key may stand too.
#[pyfunction]
#[pyo3(signature = (pem, /))]
pub fn certificate_fingerprint(pem: &[u8]) -> PyResult<String> {
    // The reader's own words would quote lines of a file that may hold a key.
    let certificate = CertificateDer::from_pem_slice(pem).map_err(|error| match error {
        PemError::NoItemsFound => PyValueError::new_err("there is no certificate in this PEM"),
        _ => PyValueError::new_err("this PEM is damaged"),
    })?;
    let parsed = EndEntityCert::try_from(&certificate)
        .map_err(|error| PyValueError::new_err(format!("this certificate cannot be read: {error}")))?;
    let hash = digest::digest(&digest::SHA256, &parsed.subject_public_key_info());
    fingerprint_text(hash.as_ref())
}

/// A new identity as PEM: an Ed25519 key (PKCS#8), then a certificate that it has issued for itself.
///
/// It names what is in `names`, DNS names and IP addresses, so that whoever takes the certificate as his authority may check the host.
/// It is no CA. An identity is its key, not a date: the certificate does not run out.
#[pyfunction]
#[pyo3(signature = (names, /))]
pub fn make_identity(py: Python<'_>, names: Vec<String>) -> PyResult<Bound<'_, PyBytes>> {
    if let Some(name) = names.iter().find(|name| ServerName::try_from(name.as_str()).is_err()) {
        return Err(PyValueError::new_err(format!("{name:?} is neither a DNS name nor an IP address")));
    }
    let mut certificate = CertificateParams::new(names).map_err(wrong)?;
    certificate.distinguished_name = DistinguishedName::new();
    certificate.distinguished_name.push(DnType::CommonName, "socketkit");
    certificate.not_before = date_time_ymd(2020, 1, 1);
    certificate.not_after = date_time_ymd(4096, 1, 1);
    let key = make_key()?;
    let signed = certificate.self_signed(&key).map_err(failed)?;
    Ok(PyBytes::new(py, (key.serialize_pem() + &signed.pem()).as_bytes()))
}

/// The keys that the lines of an `authorized_peers` allow and those that they revoke; ValueError begins with `line 3: `.
#[pyfunction]
#[pyo3(signature = (text, /))]
pub fn parse_authorized<'py>(py: Python<'py>, text: &str) -> PyResult<(Keys<'py>, Keys<'py>)> {
    if text.len() > MAX_FILE_BYTES {
        return Err(PyValueError::new_err(format!("it has {} bytes, {MAX_FILE_BYTES} are the most", text.len())));
    }
    let parsed = authorized::parse(text).map_err(wrong)?;
    let bytes = |keys: &[Fingerprint]| keys.iter().map(|key| PyBytes::new(py, &key.0)).collect();
    Ok((bytes(&parsed.allowed), bytes(&parsed.revoked)))
}

type Keys<'py> = Vec<Bound<'py, PyBytes>>;

/// PKCS#8 in version 1: OpenSSL 3.0 refuses version 2, in which rcgen would write a key of its own making.
fn make_key() -> PyResult<KeyPair> {
    let pkcs8 = Ed25519KeyPair::generate_pkcs8v1(&SystemRandom::new()).map_err(failed)?;
    KeyPair::from_pkcs8_der_and_sign_algo(&PrivatePkcs8KeyDer::from(pkcs8.as_ref()), &PKCS_ED25519).map_err(failed)
}

fn wrong(error: impl std::fmt::Display) -> PyErr {
    PyValueError::new_err(error.to_string())
}

fn failed(error: impl std::fmt::Display) -> PyErr {
    PyRuntimeError::new_err(format!("the identity could not be made: {error}"))
}
