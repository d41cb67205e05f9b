//! `report/evaluations.jsonl`: what evaluations say beside their means.
use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Map, Value};

use super::lines::{self, damaged};
use crate::Error;

/// Counts in equal bins.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Histogram {
    /// The ends of the whole.
    pub(crate) low: f64,
    pub(crate) high: f64,
    /// The counts, from the lowest bin up.
    pub(crate) counts: Vec<f64>,
}

/// An evaluation.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Evaluation {
    pub(crate) step: usize,
    /// Held-out examples.
    pub(crate) examples: usize,
    /// The 95% intervals of shares, such as `rewards/accuracies`.
    pub(crate) intervals: BTreeMap<String, (f64, f64)>,
    /// Histograms by name, such as `rewards/per_token/chosen`.
    pub(crate) histograms: BTreeMap<String, Histogram>,
}

/// Reads the file; empty where there is none, as in runs of earlier versions.
pub(crate) fn read(path: &Path) -> Result<Vec<Evaluation>, Error> {
    let (lines, _) = lines::read(path)?.unwrap_or_default();
    let parse = |(number, fields): &lines::Line| {
        evaluation(fields).map_err(|name| damaged(path, *number, format!("`{name}` is missing or damaged")))
    };
    lines.iter().map(parse).collect()
}

fn evaluation(fields: &Map<String, Value>) -> Result<Evaluation, String> {
    let count = |name: &str| fields.get(name).and_then(Value::as_u64).map(|n| n as usize).ok_or(name.to_owned());
    let empty = Map::new();
    let of = |name: &str| fields.get(name).and_then(Value::as_object).unwrap_or(&empty);
    let intervals = of("intervals").iter().map(|(name, value)| Ok((name.clone(), interval(value).ok_or(name)?)));
    let intervals = intervals.collect::<Result<_, &String>>().map_err(Clone::clone)?;
    let histograms = of("histograms").iter().map(|(name, value)| Ok((name.clone(), histogram(value).ok_or(name)?)));
    let histograms = histograms.collect::<Result<_, &String>>().map_err(Clone::clone)?;
    Ok(Evaluation { step: count("step")?, examples: count("examples")?, intervals, histograms })
}

fn interval(value: &Value) -> Option<(f64, f64)> {
    match value.as_array()?.as_slice() {
        [low, high] => low.as_f64().zip(high.as_f64()),
        _ => None,
    }
}

fn histogram(value: &Value) -> Option<Histogram> {
    let number = |name: &str| value.get(name)?.as_f64();
    let counts = value.get("counts")?.as_array()?.iter().map(Value::as_f64).collect::<Option<Vec<f64>>>()?;
    let (low, high) = (number("low")?, number("high")?);
    (low < high && !counts.is_empty()).then_some(Histogram { low, high, counts })
}
