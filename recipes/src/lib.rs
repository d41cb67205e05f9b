//! Training, scoring, sampling and judging, as functions of settings.

mod failure;
pub mod settings;

pub use failure::Failure;
