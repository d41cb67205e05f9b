//! Weights, margins and soft labels of records, from columns.
use serde_json::Value;

use super::fields::Fields;
use crate::error::DatasetError;
use crate::record::{Answers, PreferenceRecord};

/// Column names of a record's weight in the loss.
pub(super) const WEIGHTS: [&str; 2] = ["weight", "sample_weight"];

/// Column name of the margin by which the better answer's reward should be the higher one, as in TRL's reward trainer.
pub(super) const MARGIN: &str = "margin";

/// Column names of the probability that the chosen answer is the better one. (`preference` is a verdict's name.)
pub(super) const PREFERENCES: [&str; 2] = ["soft_label", "chosen_probability"];

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
    let found = |name: &&'static str| {
        let number = match fields.peek(name)? {
            Value::Number(number) => number.as_f64(),
            // Tables of comma-separated values have texts only.
            Value::String(text) => text.trim().parse().ok(),
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
        };
        number.filter(|number| number.is_finite()).map(|number| (*name, number))
    };
    let (name, number) = names.iter().find_map(found)?;
    _ = fields.optional(name);
    Some((name, number))
}

fn wrong(fields: &Fields<'_>, name: &str, takes: &'static str) -> DatasetError {
    fields.wrong(name, takes, fields.peek(name).unwrap_or(&Value::Null))
}
