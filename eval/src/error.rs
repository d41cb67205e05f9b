use std::path::PathBuf;

/// An evaluation can't begin or go on.
#[derive(Debug, thiserror::Error)]
pub enum EvalError {
    /// The address of the server is none.
    #[error(
        "`judge.endpoint` takes an address such as https://api.openai.com/v1 or http://127.0.0.1:8000/v1, not `{endpoint}`: {why}"
    )]
    Endpoint {
        /// The address.
        endpoint: String,
        /// What is wrong with it.
        why: String,
    },
    /// The client can't be made.
    #[error("{0}")]
    Client(String),
    /// The template can't be used.
    #[error("{name}: {why}")]
    Template {
        /// Its file or name.
        name: String,
        /// What is wrong with it.
        why: String,
    },
    /// The file of answers can't be used.
    #[error("{}: {why}", path.display())]
    Cache {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The file of answers can't be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: std::io::Error,
    },
    /// The server takes no request at all: a wrong key, model, address or certificate.
    #[error("{0}")]
    Server(String),
}

/// A question was not answered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// A stop was requested.
    #[error("stopped")]
    Stopped,
    /// No other question would be answered either.
    #[error("{0}")]
    Fatal(String),
    /// The server refuses this question: it is too long, for example.
    #[error("{0}")]
    Refused(String),
    /// All tries failed.
    #[error("{0}")]
    Down(String),
}
