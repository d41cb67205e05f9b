//! Models and data sets by the names that they have on the Hugging Face Hub.
//!
//! A [`Name`] is `org/name`, with a revision behind `@` and a path within the repository where they are given. A [`Cache`] finds it
//! in the user's cache as huggingface_hub lays it out on disk (`models--org--name/refs/main`, `snapshots/COMMIT`, `blobs`), and a
//! [`Hub`] downloads what the cache lacks into the same layout (feature `download`), so that either program reads what the other
//! has loaded. Nothing here reads the environment: the folders, the address and the token are arguments.
//!
//! # Examples
//! ```
//! use hub::{Cache, Kind, Name};
//!
//! let name = Name::parse(Kind::Model, "org/name@v1.0").unwrap();
//! assert_eq!((name.repository.as_str(), name.revision.as_deref()), ("org/name", Some("v1.0")));
//! assert!(Name::parse(Kind::Model, "./folder").is_none());
//! assert!(Cache::new("/no/such/folder").find(&name).is_none());
//! ```
//!
//! # References
//! <https://huggingface.co/docs/huggingface_hub/guides/manage-cache>, as huggingface_hub 2.4.0 reads and writes it.

mod cache;
#[cfg(feature = "download")]
mod download;
mod error;
mod get;
mod hub;
mod installed;
mod name;
mod needed;
mod token;
mod whole;

#[cfg(all(test, feature = "download"))]
mod tests;

pub use self::cache::{Cache, Snapshot};
pub use self::error::HubError;
pub use self::hub::{Hub, Progress, Proxy, Unseen};
pub use self::installed::{install, local, shared};
pub use self::name::{Kind, Name};
pub use self::token::Token;
