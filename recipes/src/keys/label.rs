//! Settings of what compares pairs: the page for people, and judges.

use crate::settings::at;

use super::{JUDGE, Key, LABEL, SAMPLE, key};

/// The settings.
pub(super) const KEYS: &[Key] = &[
    key(&at::label::pairs, LABEL | JUDGE | SAMPLE),
    key(&at::label::host, LABEL),
    key(&at::label::port, LABEL),
    key(&at::label::token, LABEL),
    key(&at::label::labeller, LABEL),
];
