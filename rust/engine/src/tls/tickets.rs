//! The tickets of a server that lets in only who is listed: void once the list has changed. Whoever was taken off it must prove his key
//! again then, and is told why he is refused; a ticket that was accepted first could not be refused in TLS's words.

use std::sync::{Arc, Mutex, PoisonError};

use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::server::ProducesTickets;
use rustls::Error;

use super::authorized::{AuthorizedFile, Version};

#[derive(Debug)]
pub(super) struct ListedTickets {
    file: Arc<AuthorizedFile>,
    current: Mutex<(Option<Version>, Arc<dyn ProducesTickets>)>,
}

impl ListedTickets {
    pub fn new(file: Arc<AuthorizedFile>) -> Result<Self, Error> {
        let current = Mutex::new((file.version(), Ticketer::new()?));
        Ok(Self { file, current })
    }

    /// Makes the tickets of this state of the list; None if no keys for them can be made.
    fn current(&self) -> Option<Arc<dyn ProducesTickets>> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let version = self.file.version();
        if current.0 != version {
            *current = (version, Ticketer::new().ok()?);
        }
        Some(Arc::clone(&current.1))
    }
}

impl ProducesTickets for ListedTickets {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        self.current.lock().unwrap_or_else(PoisonError::into_inner).1.lifetime()
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.current()?.encrypt(plain)
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        self.current()?.decrypt(cipher)
    }
}
