//! Whether the key that a peer has proved is one that we talk to. By rustls, the proof itself (a signature over the handshake) is
//! checked in every case.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::WebPkiServerVerifier;
use rustls::crypto::{verify_tls13_signature, CryptoProvider};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, PeerIncompatible, SignatureScheme,
};
use socketkit_wire::fingerprint::Fingerprint;

use super::authorized::AuthorizedFile;
use super::fingerprint;

/// A peer that proved a key which is not trusted, or that proved none.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{reason}")]
pub struct Rejected {
    pub presented: Option<Fingerprint>,
    pub reason: String,
}

impl Rejected {
    pub(super) fn anonymous() -> Self {
        Self { presented: None, reason: "the peer shows no key".to_owned() }
    }

    pub(super) fn withdrawn(presented: Option<Fingerprint>) -> Self {
        Self { presented, reason: "its key is no longer among the authorized peers".to_owned() }
    }

    fn error(presented: Fingerprint, reason: impl Into<String>) -> Error {
        let rejected = Self { presented: Some(presented), reason: reason.into() };
        Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(rejected))))
    }
}

/// Which servers a client talks to.
#[derive(Debug)]
pub(super) struct TrustedServers {
    pub pins: Vec<Fingerprint>,
    pub revoked: Vec<Fingerprint>,
    pub roots: Option<Arc<WebPkiServerVerifier>>,
    pub anyone: bool,
    pub provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for TrustedServers {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let presented = fingerprint(end_entity)?;
        if self.revoked.contains(&presented) {
            return Err(Rejected::error(presented, "its key is revoked"));
        }
        // A pinned key is the peer, whatever its certificate says of names and dates: as a host key is for ssh.
        if self.anyone || self.pins.contains(&presented) {
            return Ok(ServerCertVerified::assertion());
        }
        match &self.roots {
            Some(roots) => roots
                .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
                .map_err(|failure| Rejected::error(presented, explain(&failure))),
            None => Err(Rejected::error(presented, "its key is not the one that is expected")),
        }
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::PeerIncompatible(PeerIncompatible::Tls12NotOffered))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// Which clients a server talks to.
#[derive(Debug)]
pub(super) struct TrustedClients {
    /// None: anybody, with a key or without.
    pub authorized: Option<Arc<AuthorizedFile>>,
    pub provider: Arc<CryptoProvider>,
}

impl ClientCertVerifier for TrustedClients {
    fn client_auth_mandatory(&self) -> bool {
        self.authorized.is_some()
    }

    /// None: self-issued certificates have no issuer to ask for.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let presented = fingerprint(end_entity)?;
        match &self.authorized {
            Some(file) if !file.allows(&presented) => {
                Err(Rejected::error(presented, "its key is not among the authorized peers"))
            }
            _ => Ok(ClientCertVerified::assertion()),
        }
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::PeerIncompatible(PeerIncompatible::Tls12NotOffered))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

fn explain(failure: &Error) -> String {
    match failure {
        Error::InvalidCertificate(why) => match why {
            CertificateError::UnknownIssuer => {
                "its certificate is signed by no authority that is trusted here".to_owned()
            }
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                "its certificate has expired".to_owned()
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                "its certificate is not valid yet: check this machine's clock".to_owned()
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                "its certificate is for another name".to_owned()
            }
            CertificateError::Revoked => "its certificate is revoked".to_owned(),
            other => format!("its certificate is not valid: {other}"),
        },
        other => other.to_string(),
    }
}
