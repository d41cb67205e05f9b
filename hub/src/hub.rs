//! What is known of the hub.
use std::time::Duration;

use crate::{Cache, Name, Token};

/// Where names are found.
#[derive(Clone, Debug)]
pub struct Hub {
    /// The cache, which downloads go to.
    pub cache: Cache,
    /// The address of the hub (`HF_ENDPOINT`), such as `https://huggingface.co`.
    pub endpoint: String,
    /// The user's token; it is sent to the endpoint and to no other host.
    pub token: Option<Token>,
    /// Whether nothing may be asked for (`HF_HUB_OFFLINE`).
    pub is_offline: bool,
    /// The way through a proxy.
    pub proxy: Option<Proxy>,
    /// Certificates in PEM that are trusted in place of Mozilla's.
    pub authorities: Option<Vec<u8>>,
    /// The pause before a request that failed is sent again, doubled each time.
    pub pause: Duration,
}

/// A proxy, and the hosts that are reached without it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proxy {
    /// Its address.
    pub address: String,
    /// Hosts or domains (`NO_PROXY`); `*` is all.
    pub except: Vec<String>,
}

/// Receives the progress of downloads.
pub trait Progress {
    /// A download begins: so many files, and the bytes of them that have arrived before and that there are.
    fn begins(&mut self, name: &Name, host: &str, files: usize, bytes: (u64, u64));

    /// So many bytes have arrived altogether.
    fn arrived(&mut self, bytes: u64);

    /// All has arrived, or the download failed.
    fn ends(&mut self);

    /// Something that the user should know.
    fn notice(&mut self, line: &str);
}

/// Shows nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unseen;

impl Progress for Unseen {
    fn begins(&mut self, _: &Name, _: &str, _: usize, _: (u64, u64)) {}

    fn arrived(&mut self, _: u64) {}

    fn ends(&mut self) {}

    fn notice(&mut self, _: &str) {}
}

impl Hub {
    /// A hub at `https://huggingface.co` with a cache, without a token.
    pub fn new(cache: Cache) -> Self {
        Self {
            cache,
            endpoint: "https://huggingface.co".to_owned(),
            token: None,
            is_offline: false,
            proxy: None,
            authorities: None,
            pause: Duration::from_secs(1),
        }
    }
}
