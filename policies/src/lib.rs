//! Policies.
mod policy;
pub use policy::{BoxError, Learner, Persist, Policy, Proposal};
