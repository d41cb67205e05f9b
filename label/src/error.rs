//! Errors of the label server.

use std::io;
use std::net::{IpAddr, SocketAddr};

use datasets::DatasetError;

/// Why the server cannot start or continue.
#[derive(Debug, thiserror::Error)]
pub enum LabelError {
    /// The pairs or the judgements are broken, or the judgements cannot be written.
    #[error(transparent)]
    Data(#[from] DatasetError),
    /// The host is reachable from other machines and no token is set.
    #[error("{host} can be reached from other machines: that needs a token, which everyone who labels must know")]
    TokenDemanded {
        /// The host.
        host: IpAddr,
    },
    /// The token is short enough to be guessed.
    #[error(
        "the token has {length} characters, and one that nobody guesses has at least {shortest}: `openssl rand -hex 16` makes one"
    )]
    TokenTooShort {
        /// Length of the token, in characters.
        length: usize,
        /// Minimum length, in characters.
        shortest: usize,
    },
    /// The default labeller name is invalid.
    #[error("the labeller `{name}` should be a name of 1 to 64 characters")]
    Name {
        /// The name.
        name: String,
    },
    /// The port is in use.
    #[error("port {port} is in use; name another one, or 0 for any that is free", port = address.port())]
    PortInUse {
        /// The address.
        address: SocketAddr,
    },
    /// The system refused to listen on the address.
    #[error("cannot listen on {address}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// The system could not create an event loop.
    #[error("cannot start the server")]
    Start(#[source] io::Error),
}
