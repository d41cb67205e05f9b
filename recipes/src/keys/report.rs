//! Settings of pages about runs.

use crate::settings::at;

use super::{Key, REPORT, key};

/// The settings.
pub(super) const KEYS: &[Key] = &[key(&at::report::svg, REPORT), key(&at::report::overlay, REPORT)];
