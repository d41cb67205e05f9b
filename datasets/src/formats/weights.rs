//! Weights, margins and soft labels of records, from columns.
use std::collections::BTreeMap;

use serde_json::Value;

use super::fields::{Fields, is_empty};
use crate::error::DatasetError;
use crate::record::{Answers, Origin, PreferenceRecord};

/// Column names of a record's weight in the loss.
pub(super) const WEIGHTS: [&str; 2] = ["weight", "sample_weight"];

/// Column name of the margin by which the better answer's reward should be the higher one, as in TRL's reward trainer.
pub(super) const MARGIN: &str = "margin";

/// Column names of the probability that the chosen answer is the better one. (`preference` is a verdict's name.)
pub(super) const PREFERENCES: [&str; 2] = ["soft_label", "chosen_probability"];

/// All names of columns that weigh a record's feedback.
const NAMES: [&str; 5] = [WEIGHTS[0], WEIGHTS[1], MARGIN, PREFERENCES[0], PREFERENCES[1]];

/// Which of these columns hold a number in the rows so far, and which something else.
#[derive(Debug, Default)]
pub(crate) struct WeighingColumns {
    seen: BTreeMap<&'static str, bool>,
}

impl WeighingColumns {
    /// Refuses a row whose column is no number where earlier rows have one, or the other way round: a column of numbers is
    /// read, one of other things is not, and one of both would weigh a part of the records without a word.
    pub(crate) fn check(&mut self, origin: &Origin, record: &Value) -> Result<(), DatasetError> {
        let Value::Object(map) = record else { return Ok(()) };
        for name in NAMES {
            let Some(value) = map.get(name).filter(|value| !is_empty(value) && !is_missing(value)) else { continue };
            let is_number = finite(value).is_some();
            if *self.seen.entry(name).or_insert(is_number) == is_number {
                continue;
            }
            let takes = if is_number { "no number, as in earlier rows" } else { "a number, as in earlier rows" };
            return Err(super::fields::wrong(origin, name, takes, value));
        }
        Ok(())
    }
}

/// Reads the columns that weigh a record's feedback. One that holds no number says something else, and stays unread.
pub(super) fn read(fields: &Fields<'_>, record: &mut PreferenceRecord) -> Result<(), DatasetError> {
    if let Some((name, weight)) = number(fields, &WEIGHTS) {
        if weight < 0.0 {
            return Err(wrong(fields, name, "a number that is not negative"));
        }
        record.weight = weight;
    }
    if !matches!(record.answers, Answers::Pair { .. }) {
        return Ok(());
    }
    if let Some((_, margin)) = number(fields, &[MARGIN]) {
        record.margin = margin;
    }
    if let Some((name, preference)) = number(fields, &PREFERENCES) {
        if !(0.0..=1.0).contains(&preference) {
            return Err(wrong(fields, name, "a probability from 0 to 1"));
        }
        record.preference = preference;
    }
    Ok(())
}

/// The first of the columns that holds a finite number.
fn number(fields: &Fields<'_>, names: &[&'static str]) -> Option<(&'static str, f64)> {
    let found = |name: &&'static str| finite(fields.peek(name)?).map(|number| (*name, number));
    let (name, number) = names.iter().find_map(found)?;
    _ = fields.optional(name);
    Some((name, number))
}

/// Whether a value is one of the words by which tables say that there is none.
fn is_missing(value: &Value) -> bool {
    let word = value.as_str().map(|text| text.trim().to_ascii_lowercase());
    word.is_some_and(|word| ["nan", "null", "none", "na", "n/a"].contains(&word.as_str()))
}

fn finite(value: &Value) -> Option<f64> {
    let number = match value {
        Value::Number(number) => number.as_f64(),
        // Tables of comma-separated values have texts only.
        Value::String(text) => text.trim().parse().ok(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    };
    number.filter(|number: &f64| number.is_finite())
}

fn wrong(fields: &Fields<'_>, name: &str, takes: &'static str) -> DatasetError {
    fields.wrong(name, takes, fields.peek(name).unwrap_or(&Value::Null))
}
