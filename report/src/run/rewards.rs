//! `report/token_rewards.jsonl`: held-out answers with the implicit reward of each token, as `credit` writes them.
use std::ops::Range;
use std::path::Path;

use serde_json::{Map, Value};

use super::lines::{self, damaged};
use crate::Error;
use crate::heat::{self, Piece};

/// An answer with the rewards of its tokens.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct RewardedAnswer {
    /// The prompt; empty where the file does not have it.
    pub(crate) prompt: String,
    /// `chosen`, `rejected`, `response` or `completion`.
    pub(crate) side: String,
    /// The answer in pieces.
    pub(crate) pieces: Vec<Piece>,
}

/// Reads the file; empty where there is none.
pub(crate) fn read(path: &Path) -> Result<Vec<RewardedAnswer>, Error> {
    let (lines, _) = lines::read(path)?.unwrap_or_default();
    let parse = |(number, fields): &lines::Line| {
        answer(fields).map_err(|name| damaged(path, *number, format!("`{name}` is missing or damaged")))
    };
    lines.iter().map(parse).collect()
}

fn answer(fields: &Map<String, Value>) -> Result<RewardedAnswer, &'static str> {
    let text = |name: &'static str| fields.get(name).and_then(Value::as_str).ok_or(name);
    let list = |name: &'static str| fields.get(name).and_then(Value::as_array).ok_or(name);
    let rewards = list("log_ratio")?.iter().map(lines::number).collect::<Option<Vec<f64>>>().ok_or("log_ratio")?;
    let place = |pair: &Value| {
        let ends: Option<Vec<usize>> =
            pair.as_array()?.iter().map(|end| end.as_u64().map(|end| end as usize)).collect();
        ends.and_then(|ends| <[usize; 2]>::try_from(ends).ok()).map(|[start, end]| start..end)
    };
    let places = list("offsets")?.iter().map(place).collect::<Option<Vec<Range<usize>>>>().ok_or("offsets")?;
    let (whole, n) = (text("text")?, text("text")?.chars().count());
    if places.len() != rewards.len() || places.iter().any(|place| place.start > place.end || place.end > n) {
        return Err("offsets");
    }
    let wrong: Option<Vec<bool>> = match fields.get("wrong") {
        Some(Value::Array(list)) if list.len() == places.len() => Some(list.iter().map(|is| is == true).collect()),
        None | Some(Value::Null) => None,
        Some(_) => return Err("wrong"),
    };
    let pieces = heat::pieces(whole, &places, &rewards, wrong.as_deref());
    let prompt = fields.get("prompt").and_then(Value::as_str).unwrap_or_default().to_owned();
    Ok(RewardedAnswer { prompt, side: text("side")?.to_owned(), pieces })
}
