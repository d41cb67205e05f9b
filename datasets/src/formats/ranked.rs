//! Ranked answers: `prompt`, `responses`, and `ranks` or `scores` if the responses are not best first.
use serde_json::Value;

use super::fields::{Fields, not_blank};
use super::join::same_kind;
use super::messages::text;
use super::prompt_columns::required_prompt;
use crate::error::DatasetError;
use crate::record::{Answers, PreferenceRecord};

/// Columns that order the answers, and whether larger is better.
pub(super) const ORDERS: [(&str, bool); 8] = [
    ("ranks", false),
    ("rank", false),
    ("scores", true),
    ("score", true),
    ("rewards", true),
    ("reward", true),
    ("ratings", true),
    ("rating", true),
];

/// `prompt`, `responses` best first; or `responses` in any order with `ranks` (smallest is best) or `scores`
/// (`rewards`, `ratings`; largest is best).
pub(super) fn parse(fields: &Fields<'_>) -> Result<PreferenceRecord, DatasetError> {
    let prompt = required_prompt(fields)?;
    let responses = fields.array("responses")?;
    if responses.len() < 2 {
        return Err(fields.wrong("responses", "a list of two or more", fields.required("responses")?));
    }
    let mut shared_prompt = prompt.clone();
    let mut answers = Vec::with_capacity(responses.len());
    for (at, response) in responses.iter().enumerate() {
        let name = format!("responses[{at}]");
        let answer = not_blank(fields.origin(), &name, text(fields.origin(), &name, response)?)?;
        let (prompt, answer) = same_kind(prompt.clone(), answer);
        shared_prompt = prompt;
        answers.push(answer);
    }
    if answers.iter().any(|answer| std::mem::discriminant(answer) != std::mem::discriminant(&answers[0])) {
        return Err(fields.wrong("responses", "all strings or all messages", fields.required("responses")?));
    }
    let answers = order(fields, answers.len())?.into_iter().map(|at| answers[at].clone()).collect();
    let answers = Answers::Ranked(answers);
    Ok(PreferenceRecord::new(fields.origin().clone(), shared_prompt, answers))
}

/// Indices of the responses, best first.
fn order(fields: &Fields<'_>, n_responses: usize) -> Result<Vec<usize>, DatasetError> {
    let mut found: Option<(&str, Vec<usize>)> = None;
    // A number or a word of the whole record orders nothing.
    let is_list = |name: &str| {
        fields.peek(name).is_some_and(|value| value.is_array() || name.ends_with('s') && !value.is_number())
    };
    for (name, is_larger_better) in ORDERS.into_iter().filter(|(name, _)| is_list(name)) {
        let order = order_by(fields, name, is_larger_better, n_responses)?;
        match &found {
            Some((other, first)) if *first != order => {
                let message = format!("orders the answers in another way than `{other}`: leave one");
                return Err(fields.refused(name, message));
            }
            _ => found = Some((name, order)),
        }
    }
    Ok(found.map_or_else(|| (0..n_responses).collect(), |(_, order)| order))
}

/// Whether a column that is not used as an order may contradict it: it is a list, or names another answer as best.
/// Numbers and words about the whole record do not.
pub(super) fn may_order(fields: &Fields<'_>, name: &str, value: &Value) -> bool {
    let names_one = matches!(name, "label" | "choice" | "best" | "winner");
    let responses = fields.peek("responses").and_then(Value::as_array);
    let best = responses.and_then(|responses| order(fields, responses.len()).ok()?.first().copied());
    let is_place = |place: usize| responses.is_some_and(|responses| place < responses.len());
    // A label may be of the record, and no place.
    let misses = |place: usize| Some(place) != best && (name != "label" || is_place(place));
    match value {
        Value::Null => false,
        Value::Bool(_) => names_one && name != "label",
        Value::Number(number) => {
            let place = number.as_f64().filter(|place| place.fract() == 0.0 && *place >= 0.0);
            names_one && place.map_or(name != "label", |place| misses(place as usize))
        }
        Value::String(text) => {
            let is_best = best.zip(responses).is_some_and(|(best, responses)| responses[best] == *value);
            let of_label = text.trim().len() == 1 || responses.is_some_and(|responses| responses.contains(value));
            text.trim_start().starts_with('[') || names_one && !is_best && (name != "label" || of_label)
        }
        Value::Array(_) | Value::Object(_) => true,
    }
}

fn order_by(
    fields: &Fields<'_>,
    name: &str,
    is_larger_better: bool,
    n_responses: usize,
) -> Result<Vec<usize>, DatasetError> {
    let wrong = || Ok(fields.wrong(name, "one different number for each response", fields.required(name)?));
    let numbers: Option<Vec<f64>> = fields.array(name)?.iter().map(Value::as_f64).collect();
    let Some(numbers) = numbers.filter(|numbers| numbers.len() == n_responses) else { return Err(wrong()?) };
    let mut order: Vec<usize> = (0..n_responses).collect();
    order.sort_by(|&first, &second| numbers[first].total_cmp(&numbers[second]));
    if order.windows(2).any(|pair| numbers[pair[0]] == numbers[pair[1]]) {
        return Err(wrong()?);
    }
    if is_larger_better {
        order.reverse();
    }
    Ok(order)
}
