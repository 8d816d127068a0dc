//! `_core.ServerTls` and `_core.ClientTls`: a side's key and whom it trusts, made once and shared by many connections.

use std::path::PathBuf;
use std::sync::Arc;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use socketkit_engine::tls::{self as engine, AuthorizedFile, Clients, Roots};
use socketkit_wire::fingerprint::Fingerprint;

/// `identity` is PEM: a private key and its certificate chain. `clients` are asked for a key: None nobody, True whoever has one, a path
/// everybody, and it must be in that file. `required`: only clients that name one of `protocols` are let in. `alternative`: another key and
/// chain, for clients that cannot check signatures of the first one's kind.
#[pyclass(frozen, module = "socketkit._core")]
pub struct ServerTls {
    configuration: engine::ServerTls,
}

/// Talks to a server with one of the keys `pins`, or whose name is vouched for by `roots` (True: the machine's authorities, or a file),
/// or to `anyone`; never to one with a key in `revoked`.
#[pyclass(frozen, module = "socketkit._core")]
pub struct ClientTls {
    configuration: engine::ClientTls,
}

/// Either side.
#[derive(FromPyObject)]
pub enum Side {
    Client(Py<ClientTls>),
    Server(Py<ServerTls>),
}

#[derive(FromPyObject)]
enum Choice {
    Word(bool),
    File(PathBuf),
}

#[pymethods]
impl ServerTls {
    #[new]
    #[pyo3(signature = (identity, clients, protocols, required=false, alternative=None))]
    fn new(
        identity: &[u8],
        clients: Option<Choice>,
        protocols: Vec<Vec<u8>>,
        required: bool,
        alternative: Option<&[u8]>,
    ) -> PyResult<Self> {
        let clients = match clients {
            None | Some(Choice::Word(false)) => Clients::Unasked,
            Some(Choice::Word(true)) => Clients::Asked,
            Some(Choice::File(path)) => Clients::Authorized(Arc::new(AuthorizedFile::new(&path))),
        };
        let configuration = engine::ServerTls::new(identity, alternative, clients, protocols).map_err(unusable)?;
        Ok(Self { configuration: if required { configuration.requiring_protocol() } else { configuration } })
    }
}

#[pymethods]
impl ClientTls {
    #[new]
    fn new(
        pins: Vec<[u8; 32]>,
        revoked: Vec<[u8; 32]>,
        roots: Option<Choice>,
        anyone: bool,
        identity: Option<&[u8]>,
        protocols: Vec<Vec<u8>>,
    ) -> PyResult<Self> {
        let file;
        let roots = match roots {
            None | Some(Choice::Word(false)) => Roots::None,
            Some(Choice::Word(true)) => Roots::System,
            Some(Choice::File(path)) => {
                file = path;
                Roots::File(&file)
            }
        };
        let keys = |raw: Vec<[u8; 32]>| raw.into_iter().map(Fingerprint).collect();
        let configuration = engine::ClientTls::new(keys(pins), keys(revoked), roots, anyone, identity, protocols);
        Ok(Self { configuration: configuration.map_err(unusable)? })
    }
}

impl ServerTls {
    pub fn configuration(&self) -> &engine::ServerTls {
        &self.configuration
    }
}

impl Side {
    /// A new session; a server knows its own name.
    pub fn session(&self, name: &str) -> Result<engine::Session, engine::Fault> {
        match self {
            Side::Client(client) => engine::Session::client(&client.get().configuration, name),
            Side::Server(server) => engine::Session::server(&server.get().configuration),
        }
    }
}

fn unusable(failure: engine::ConfigurationError) -> PyErr {
    PyValueError::new_err(failure.to_string())
}
