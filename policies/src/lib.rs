//! Policies.
mod error;
pub mod formats;
mod policy;
pub use error::PolicyError;
pub use policy::{BoxError, Learner, Persist, Policy, Proposal};
