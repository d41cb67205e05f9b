//! Results as lines of JSON.
use std::fmt;

use serde::Serialize;

/// Writes a value as a line of JSON, without its end.
pub(crate) fn write(value: &impl Serialize, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    f.write_str(&serde_json::to_string(value).map_err(|_| fmt::Error)?)
}
