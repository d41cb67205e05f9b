//! Malformed records: stop or skip, and the count of skipped ones.

use std::str::FromStr;

use crate::error::DatasetError;

/// The treatment of a malformed record. A malformed file is always an error.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnBad {
    /// Stop with an error that names it.
    #[default]
    Fail,
    /// Skip and count it.
    Skip,
}

impl FromStr for OnBad {
    type Err = DatasetError;

    fn from_str(name: &str) -> Result<Self, DatasetError> {
        match name {
            "fail" => Ok(Self::Fail),
            "skip" => Ok(Self::Skip),
            _ => Err(DatasetError::UnknownName {
                what: "answer to bad records",
                name: name.to_owned(),
                known: "fail, skip".to_owned(),
            }),
        }
    }
}

/// Malformed records that were skipped.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Skipped {
    /// Number of records.
    pub count: u64,
    /// The errors of the first few.
    pub messages: Vec<String>,
}

impl Skipped {
    /// Number of errors that are kept.
    pub(crate) const MESSAGES: usize = 5;

    /// Counts a malformed record, or returns its error if it must not be skipped.
    pub(crate) fn admit(&mut self, on_bad: OnBad, error: DatasetError) -> Result<(), DatasetError> {
        if on_bad == OnBad::Fail || !error.is_about_one_record() {
            return Err(error);
        }
        self.count += 1;
        if self.messages.len() < Self::MESSAGES {
            self.messages.push(error.to_string());
        }
        Ok(())
    }
}
