//! Settings of credit assignment.

use crate::settings::{Modality, at};

use super::{CREDIT, Key, key};

/// The settings.
pub(super) const KEYS: &[Key] = &[
    key(&at::credit::html, CREDIT),
    key(&at::credit::reward_model, CREDIT).only(Modality::Token),
    key(&at::credit::timestep_bins, CREDIT).only(Modality::Diffusion).in_hybrid(),
    key(&at::credit::show, CREDIT),
];
