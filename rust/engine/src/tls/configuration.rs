//! What a side of TLS brings along: its key, whom it trusts, which protocols it offers. Made once, shared by many sessions.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use rustls::client::WebPkiServerVerifier;
use rustls::crypto::aws_lc_rs::{self, cipher_suite, kx_group};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::version::TLS13;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use socketkit_wire::fingerprint::Fingerprint;

use super::authorized::AuthorizedFile;
use super::tickets::ListedTickets;
use super::verify::{TrustedClients, TrustedServers};

#[derive(Debug, thiserror::Error)]
pub enum ConfigurationError {
    #[error("it holds no certificate: append the certificate (and its chain) to the key")]
    NoCertificate,
    #[error("it holds no private key (PEM, unencrypted)")]
    NoKey,
    #[error("this machine has no store of certificate authorities: apt install ca-certificates, or name one with ca=")]
    NoRoots,
    #[error("no certificate of an authority in {0}")]
    NoAuthority(String),
    #[error("{0}")]
    Unusable(String),
}

/// Whom a server asks for a key.
pub enum Clients {
    /// Nobody.
    Unasked,
    /// Whoever has one may show it.
    Asked,
    /// Everybody, and it must be in this file.
    Authorized(Arc<AuthorizedFile>),
}

/// Which authorities vouch for a server's name.
pub enum Roots<'a> {
    None,
    System,
    File(&'a Path),
}

/// A server's side.
#[derive(Clone)]
pub struct ServerTls {
    pub(super) config: Arc<ServerConfig>,
    pub(super) authorized: Option<Arc<AuthorizedFile>>,
    pub(super) protocol_required: bool,
}

/// What a server shows of itself.
#[derive(Debug)]
struct Cards {
    first: Arc<CertifiedKey>,
    alternative: Option<Arc<CertifiedKey>>,
}

impl ResolvesServerCert for Cards {
    /// The first key, unless the client can check the alternative's signatures only: browsers know no Ed25519.
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let usable = |card: &&Arc<CertifiedKey>| card.key.choose_scheme(hello.signature_schemes()).is_some();
        let chosen = [&self.first].into_iter().chain(&self.alternative).find(usable);
        Some(Arc::clone(chosen.unwrap_or(&self.first))) // which ends in rustls's own words
    }
}

/// A client's side.
#[derive(Clone)]
pub struct ClientTls {
    pub(super) config: Arc<ClientConfig>,
}

impl ServerTls {
    /// `identity`: the key and its certificate chain (PEM); `alternative`: those for clients that cannot check the first one's signature.
    pub fn new(
        identity: &[u8],
        alternative: Option<&[u8]>,
        clients: Clients,
        protocols: Vec<Vec<u8>>,
    ) -> Result<Self, ConfigurationError> {
        let cards = Cards { first: card(identity)?, alternative: alternative.map(card).transpose()? };
        let builder = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13])
            .map_err(|failure| ConfigurationError::Unusable(failure.to_string()))?;
        let authorized = if let Clients::Authorized(file) = &clients { Some(Arc::clone(file)) } else { None };
        let builder = match clients {
            Clients::Unasked => builder.with_no_client_auth(),
            Clients::Asked | Clients::Authorized(_) => builder.with_client_cert_verifier(Arc::new(TrustedClients {
                authorized: authorized.clone(),
                provider: provider(),
            })),
        };
        let mut config = builder.with_cert_resolver(Arc::new(cards));
        config.alpn_protocols = protocols;
        // Resumption without memory per client: the state travels in the ticket, sealed with a key that changes every six hours. One
        // ticket suffices for a client that comes back; no early data (RFC 8446 §8: it can be replayed).
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.ticketer = match &authorized {
            Some(file) => ListedTickets::new(Arc::clone(file)).map(|tickets| Arc::new(tickets) as _),
            None => aws_lc_rs::Ticketer::new(),
        }
        .map_err(|failure| ConfigurationError::Unusable(failure.to_string()))?;
        config.send_tls13_tickets = 1;
        config.max_early_data_size = 0;
        Ok(Self { config: Arc::new(config), authorized, protocol_required: false })
    }

    /// Refuses clients that name no application protocol; those that name others are refused anyway (RFC 7301 §3.2).
    pub fn requiring_protocol(self) -> Self {
        Self { protocol_required: true, ..self }
    }
}

impl ClientTls {
    /// Accepts a server with one of the keys `pins`, or one whose name `roots` vouch for; or, said in so many words, anyone. What is in
    /// `revoked` is refused in every case. `identity` is shown to a server that asks.
    pub fn new(
        pins: Vec<Fingerprint>,
        revoked: Vec<Fingerprint>,
        roots: Roots<'_>,
        anyone: bool,
        identity: Option<&[u8]>,
        protocols: Vec<Vec<u8>>,
    ) -> Result<Self, ConfigurationError> {
        let roots = match roots {
            Roots::None => None,
            Roots::System => Some(system_roots()?),
            Roots::File(path) => Some(roots_of(path)?),
        };
        let trusted = TrustedServers { pins, revoked, roots, anyone, provider: provider() };
        let builder = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13])
            .map_err(|failure| ConfigurationError::Unusable(failure.to_string()))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(trusted));
        let mut config = match identity {
            Some(identity) => {
                let (chain, key) = read_identity(identity)?;
                builder
                    .with_client_auth_cert(chain, key)
                    .map_err(|failure| ConfigurationError::Unusable(failure.to_string()))?
            }
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = protocols;
        config.enable_early_data = false;
        Ok(Self { config: Arc::new(config) })
    }
}

/// TLS 1.3's ciphers, and the two key exchanges of THREATS section 3: hybrid with ML-KEM first, then X25519 alone.
pub fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    let made = PROVIDER.get_or_init(|| {
        Arc::new(CryptoProvider {
            cipher_suites: vec![
                cipher_suite::TLS13_AES_256_GCM_SHA384,
                cipher_suite::TLS13_AES_128_GCM_SHA256,
                cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
            ],
            kx_groups: vec![kx_group::X25519MLKEM768, kx_group::X25519],
            ..aws_lc_rs::default_provider()
        })
    });
    Arc::clone(made)
}

fn read_identity(pem: &[u8]) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), ConfigurationError> {
    let chain: Vec<_> = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|failure| ConfigurationError::Unusable(format!("a certificate in it is broken: {failure}")))?;
    if chain.is_empty() {
        return Err(ConfigurationError::NoCertificate);
    }
    let key = PrivateKeyDer::from_pem_slice(pem).map_err(|_| ConfigurationError::NoKey)?;
    Ok((chain, key))
}

fn card(pem: &[u8]) -> Result<Arc<CertifiedKey>, ConfigurationError> {
    let (chain, key) = read_identity(pem)?;
    let card = CertifiedKey::from_der(chain, key, &provider())
        .map_err(|failure| ConfigurationError::Unusable(failure.to_string()))?;
    Ok(Arc::new(card))
}

/// The machine's authorities, read once: the store is some hundred files.
fn system_roots() -> Result<Arc<WebPkiServerVerifier>, ConfigurationError> {
    static ROOTS: OnceLock<Option<Arc<WebPkiServerVerifier>>> = OnceLock::new();
    let found = ROOTS.get_or_init(|| {
        let mut store = RootCertStore::empty();
        store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        verifier(store).ok()
    });
    found.clone().ok_or(ConfigurationError::NoRoots)
}

fn roots_of(path: &Path) -> Result<Arc<WebPkiServerVerifier>, ConfigurationError> {
    let none = || ConfigurationError::NoAuthority(path.display().to_string());
    let mut store = RootCertStore::empty();
    let certificates = CertificateDer::pem_file_iter(path)
        .map_err(|failure| ConfigurationError::Unusable(format!("{}: {failure}", path.display())))?;
    for certificate in certificates {
        let certificate = certificate.map_err(|_| none())?;
        store.add(certificate).map_err(|_| none())?;
    }
    verifier(store).map_err(|_| none())
}

fn verifier(store: RootCertStore) -> Result<Arc<WebPkiServerVerifier>, rustls::server::VerifierBuilderError> {
    WebPkiServerVerifier::builder_with_provider(Arc::new(store), provider()).build()
}
