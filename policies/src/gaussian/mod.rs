//! Gaussian policies of continuous control.
//!
//! A policy has [`outputs`](GaussianOutputs) for an observation: the means, and where the width is learned as many numbers
//! for it. A [`Spread`] makes a [`Gaussian`] of them and takes slopes back, so a table ([`GaussianTable`]) and a network
//! differ only in how they compute outputs.
//!
//! # Examples
//! ```
//! use policies::gaussian::{Gaussian, Spread};
//!
//! // The score of CPL's released code, minus the squared distance, is that of a variance of 1/2, but for a constant.
//! let spread = Spread::Fixed { std: 0.5f64.sqrt() };
//! let gaussian = spread.gaussian(&[1.0, 0.0]);
//! let difference = gaussian.log_prob(&[1.5, 2.0]) - gaussian.log_prob(&[1.0, 0.0]);
//! assert!((difference + 0.25 + 4.0).abs() < 1e-12);
//! ```
mod density;
mod scored;
mod spread;
mod table;
#[cfg(test)]
mod tests;

pub use density::Gaussian;
pub use scored::{Decided, Decisions, GaussianOutputs};
pub use spread::Spread;
pub use table::GaussianTable;
