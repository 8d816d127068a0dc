//! Certificates for what does not know pins, browsers above all: a local authority, and what it or a key itself vouches for. Their
//! keys are of P-256: no browser takes Ed25519. No file is read or written here.

use std::net::IpAddr;
use std::time::Duration;

use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use rcgen::{
    date_time_ymd, BasicConstraints, Certificate, CertificateParams, CidrSubnet, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, Issuer, KeyPair, KeyUsagePurpose, NameConstraints, SerialNumber,
    PKCS_ECDSA_P256_SHA256,
};
use rustls_pki_types::ServerName;

/// From when to when a certificate is valid, in seconds since 1970.
type Period = (u64, u64);

/// A new authority as PEM: its key (PKCS#8), then its certificate. It vouches for what is `within`, DNS names (and what is below them)
/// and networks (`10.0.0.0/8`), and for nothing else: the constraint is critical (RFC 5280 §4.2.1.10).
#[pyfunction]
#[pyo3(signature = (name, within, period, /))]
pub fn make_authority<'py>(
    py: Python<'py>,
    name: &str,
    within: Vec<String>,
    period: Period,
) -> PyResult<Bound<'py, PyBytes>> {
    if within.is_empty() {
        return Err(PyValueError::new_err("an authority over everything is not made"));
    }
    let mut certificate = named(name, Vec::new(), period)?;
    certificate.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    certificate.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    certificate.name_constraints = Some(NameConstraints {
        permitted_subtrees: within.iter().map(|part| subtree(part)).collect::<PyResult<_>>()?,
        excluded_subtrees: Vec::new(),
    });
    let key = new_key()?;
    let signed = certificate.self_signed(&key).map_err(failed)?;
    Ok(pem(py, &key, &signed))
}

/// A certificate for a server with these DNS names and IP addresses, behind its key: PEM.
///
/// It is for `key` (PEM), or for a new one; signed by the authority in the pair of PEM and name, or by the key itself.
#[pyfunction]
#[pyo3(signature = (names, period, key=None, authority=None, /))]
pub fn issue_certificate<'py>(
    py: Python<'py>,
    names: Vec<String>,
    period: Period,
    key: Option<&str>,
    authority: Option<(&str, &str)>,
) -> PyResult<Bound<'py, PyBytes>> {
    if let Some(name) = names.iter().find(|name| ServerName::try_from(name.as_str()).is_err()) {
        return Err(PyValueError::new_err(format!("{name:?} is neither a DNS name nor an IP address")));
    }
    let key = match key {
        Some(pem) => read_key(pem)?,
        None => new_key()?,
    };
    let mut certificate = named("socketkit", names, period)?;
    certificate.is_ca = IsCa::ExplicitNoCa;
    certificate.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    certificate.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let signed = match authority {
        Some((pem, name)) => {
            certificate.use_authority_key_identifier_extension = true;
            let mut own = CertificateParams::default();
            own.distinguished_name = distinguished(name);
            own.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
            certificate.signed_by(&key, &Issuer::new(own, read_key(pem)?))
        }
        None => certificate.self_signed(&key),
    };
    Ok(pem(py, &key, &signed.map_err(failed)?))
}

fn named(name: &str, names: Vec<String>, (since, until): Period) -> PyResult<CertificateParams> {
    if until > YEAR_9999 || since >= until {
        return Err(PyValueError::new_err("a certificate is valid from a moment to a later one"));
    }
    let mut certificate = CertificateParams::new(names).map_err(wrong)?;
    certificate.distinguished_name = distinguished(name);
    certificate.not_before = date_time_ymd(1970, 1, 1) + Duration::from_secs(since);
    certificate.not_after = date_time_ymd(1970, 1, 1) + Duration::from_secs(until);
    // rcgen would take the key's hash: two certificates of one key by one issuer had one number, and browsers refuse both.
    let mut serial = [0; 16];
    SystemRandom::new().fill(&mut serial).map_err(failed)?;
    if let Some(first) = serial.first_mut() {
        *first = *first & 0x7f | 0x40; // positive, and of full length
    }
    certificate.serial_number = Some(SerialNumber::from_slice(&serial));
    Ok(certificate)
}

fn distinguished(name: &str) -> DistinguishedName {
    let mut subject = DistinguishedName::new();
    subject.push(DnType::CommonName, name);
    subject
}

fn subtree(text: &str) -> PyResult<GeneralSubtree> {
    let Some((address, prefix)) = text.split_once('/') else {
        return Ok(GeneralSubtree::DnsName(text.to_owned()));
    };
    let wrong_network = || PyValueError::new_err(format!("{text:?} is no network"));
    let address: IpAddr = address.parse().map_err(|_| wrong_network())?;
    let prefix: u8 = prefix.parse().map_err(|_| wrong_network())?;
    if prefix > if address.is_ipv4() { 32 } else { 128 } {
        return Err(wrong_network());
    }
    Ok(GeneralSubtree::IpAddress(CidrSubnet::from_addr_prefix(address, prefix)))
}

fn new_key() -> PyResult<KeyPair> {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(failed)
}

/// Errors show nothing of it.
fn read_key(pem: &str) -> PyResult<KeyPair> {
    KeyPair::from_pem(pem).map_err(|_| PyValueError::new_err("this PEM begins with no key that can sign (PKCS #8)"))
}

fn pem<'py>(py: Python<'py>, key: &KeyPair, certificate: &Certificate) -> Bound<'py, PyBytes> {
    PyBytes::new(py, (key.serialize_pem() + &certificate.pem()).as_bytes())
}

fn wrong(error: impl std::fmt::Display) -> PyErr {
    PyValueError::new_err(error.to_string())
}

fn failed(error: impl std::fmt::Display) -> PyErr {
    PyRuntimeError::new_err(format!("the certificate could not be made: {error}"))
}

const YEAR_9999: u64 = 253_370_764_800;
