//! Which part of a long prompt is kept.

use std::str::FromStr;

use crate::error::DatasetError;

/// The part of a prompt kept by truncation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Truncation {
    /// The start; for a chat also the generation prompt.
    KeepStart,
    /// The end, and BOS.
    KeepEnd,
    /// Three quarters from the start and one quarter from the end.
    KeepBoth,
}

impl FromStr for Truncation {
    type Err = DatasetError;

    fn from_str(name: &str) -> Result<Self, DatasetError> {
        match name {
            "keep-start" => Ok(Self::KeepStart),
            "keep-end" => Ok(Self::KeepEnd),
            "keep-both" => Ok(Self::KeepBoth),
            _ => Err(DatasetError::UnknownName {
                what: "truncation",
                name: name.to_owned(),
                known: "keep-start, keep-end, keep-both".to_owned(),
            }),
        }
    }
}
