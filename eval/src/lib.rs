//! Judges behind an API, and the statistics of judgements.
//!
//! A [`Client`] asks an OpenAI-compatible server: it tries again where that may help, waits its turn, and keeps every answer in
//! a [`Cache`], so that a stopped evaluation asks nothing twice. An [`ApiJudge`] makes a question of two answers by a
//! [`Template`], in an order that the seed decides, and reads a [`Verdict`] from the reply, or none: nothing is guessed.
//! [`statistics`] turns judgements into win rates with intervals, length-controlled win rates and agreement.
//!
//! This is the only crate that connects to other machines. It knows no model, and its clock is an argument.
//!
//! # Examples
//! A judge that prefers the first answer it is shown, whatever that is: both orders together show it.
//! ```
//! use std::sync::atomic::AtomicBool;
//!
//! use eval::{
//!     ApiJudge, Cache, Client, Content, Endpoint, Limits, Material, Orders, Reply, SystemClock, Template, Transport, TransportError,
//! };
//!
//! struct First;
//!
//! impl Transport for First {
//!     fn post(&self, _: &[u8]) -> Result<Reply, TransportError> {
//!         let body = r#"{"choices": [{"message": {"content": "Comparison: A is first. Preferred: A"}}]}"#;
//!         Ok(Reply { status: 200, body: body.into(), ..Reply::default() })
//!     }
//! }
//!
//! let folder = tempfile::tempdir()?;
//! let cache = Cache::open(&folder.path().join("cache.jsonl"))?;
//! let stop = AtomicBool::new(false);
//! let clock = SystemClock::default();
//! let client = Client::new(&First, &clock, &cache, Limits::default(), &stop);
//! let judge = ApiJudge::new(&client, "some-model", Template::answers()).orders(Orders::Both);
//! let material = Material {
//!     index: 0,
//!     prompt: "Name a fruit.".to_owned(),
//!     a: Content::Text("An apple.".to_owned()),
//!     b: Content::Text("A carrot.".to_owned()),
//! };
//! let judged = judge.compare(&[material])?;
//! assert_eq!(judged[0].choice(), Some(datasets::pairs::LabelChoice::Tie));
//! assert_eq!(judged[0].is_consistent(), Some(false));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod cache;
mod client;
mod clock;
mod endpoint;
mod error;
mod http;
mod judge;
mod secret;
pub mod statistics;
mod template;
mod verdict;
mod wire;

pub use self::cache::{Answer, Cache};
pub use self::client::{Client, Limits, Usage};
pub use self::clock::{Clock, SystemClock};
pub use self::endpoint::Endpoint;
pub use self::error::{AskError, EvalError};
pub use self::http::{Http, HttpOptions, Reply, Transport, TransportError};
pub use self::judge::{ApiJudge, Judged, Material, Orders, Unjudged};
pub use self::secret::ApiKey;
pub use self::template::{Content, Template};
pub use self::verdict::Verdict;

#[cfg(test)]
mod tests;
