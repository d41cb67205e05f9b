//! What keeps the server from starting or going on.

use std::io;
use std::net::{IpAddr, SocketAddr};

use datasets::DatasetError;

/// Why there is no server.
#[derive(Debug, thiserror::Error)]
pub enum LabelError {
    /// The pairs or the judgements are broken, or the judgements cannot be written.
    #[error(transparent)]
    Data(#[from] DatasetError),
    /// Other machines could reach it, and nothing would keep them from judging.
    #[error("{host} can be reached from other machines: that needs a token, which everyone who labels must know")]
    TokenDemanded {
        /// Where it was to listen.
        host: IpAddr,
    },
    /// Who tries long enough would find it.
    #[error(
        "the token has {length} characters, and one that nobody guesses has at least {shortest}: `openssl rand -hex 16` makes one"
    )]
    TokenTooShort {
        /// How many characters it has.
        length: usize,
        /// How many it should have.
        shortest: usize,
    },
    /// The name to begin with is none.
    #[error("the labeller `{name}` should be a name of 1 to 64 characters")]
    Name {
        /// The name.
        name: String,
    },
    /// Somebody else listens there.
    #[error("port {port} is in use; name another one, or 0 for any that is free", port = address.port())]
    PortInUse {
        /// Where it was to listen.
        address: SocketAddr,
    },
    /// It cannot listen there.
    #[error("cannot listen on {address}")]
    Bind {
        /// Where it was to listen.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The system gave no event loop.
    #[error("cannot start the server")]
    Start(#[source] io::Error),
}
