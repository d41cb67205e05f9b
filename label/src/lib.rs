//! A web page for comparing pairs, and its server.
//!
//! [`Server::bind`] takes a checked pair folder ([`datasets::PairFolder`]) and a lock to append judgements;
//! [`Server::run`] serves browsers until it is stopped. Every answer is one line synced to disk before it is confirmed
//! to the browser, so that killing the process loses none; answers that arrive while others are being synced share the next sync.
//!
//! Labelling is blind: the side shown on the left is a function of the seed, the pair and the labeller. Refined prompts
//! are revealed only after the choice.
//!
//! # Protection against other web pages
//! The server listens on this machine only unless it has a token. Requests must name this machine as their host (or
//! carry the token), which blocks DNS rebinding; cross-site requests are rejected by their `Origin`. The page loads
//! nothing from other hosts (`Content-Security-Policy`), and texts of pairs are inserted as text, never as HTML.
//!
//! # Protection against resource exhaustion
//! A connection is closed when its peer stops reading, stays silent, or exceeds its time or number of requests
//! ([`ServerLimits`]). When all connections are taken, the oldest one without the token is closed for a new one. Tokens have
//! at least 16 characters, and after ten wrong ones an address is refused for the rest of the minute.
//!
//! This is the only crate of the workspace that listens on a socket; `hybrid-dpo label` is its command.

mod board;
mod connection;
mod error;
mod guard;
mod page;
mod refusal;
mod routes;
mod server;
mod server_limits;
mod tries;
mod writer;

pub use error::LabelError;
pub use server::{Server, ServerSettings, Stop, stop};
pub use server_limits::ServerLimits;

/// The result of this crate's fallible functions.
pub type Result<T> = std::result::Result<T, LabelError>;
