//! A page where people compare pairs, and the small server behind it.
//!
//! [`Server::bind`] takes a checked folder of pairs ([`datasets::PairFolder`]) and the right to add judgements to it;
//! [`Server::run`] answers browsers until it is told to stop. Every answer is one line on the disk before the browser
//! hears that it was taken, so that no way of ending the process loses one.
//!
//! Who labels does not see which side is `a`: left and right are a function of the seed, the pair and the labeller.
//! Refined prompts are told only after the choice.
//!
//! # Safety from other pages
//! The server listens on this machine alone unless it is given a token. Requests must name this machine as their host
//! (or bring the token), so that a foreign name that was made to point here gets nothing; a request that another page
//! makes a browser send is known by its `Origin`. The page loads nothing from elsewhere and says so to the browser
//! (`Content-Security-Policy`), and all texts of the pairs reach it as text, never as HTML.
//!
//! # Safety from those who only hold on
//! A connection is over when its other end takes no bytes, says nothing, or has asked long or often enough ([`Limits`]).
//! When all places are taken, the oldest connection that never brought the token gives way to a new one. Tokens have at
//! least 16 characters, and after ten wrong ones an address waits for the rest of a minute.
//!
//! This is the only crate of the workspace that listens on a socket; `hybrid-dpo label` is its command.

mod board;
mod connection;
mod error;
mod guard;
mod limits;
mod page;
mod refusal;
mod routes;
mod server;
mod tries;

pub use error::LabelError;
pub use limits::Limits;
pub use server::{Server, Settings, Stop, stop};

/// The outcome of what can fail here.
pub type Result<T> = std::result::Result<T, LabelError>;
