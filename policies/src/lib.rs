//! Policies.
pub mod causal;
mod error;
pub mod formats;
pub mod laws;
mod policy;
pub mod tabular;
pub use error::PolicyError;
pub use policy::{BoxError, Learner, Persist, Policy, Proposal};
pub use tabular::Tabular;
