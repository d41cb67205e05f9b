//! Several answers in order: `prompt`, `responses`, and `ranks` where the responses are not best first.
use super::fields::{Fields, not_blank, text};
use super::single::same_kind;
use crate::error::DatasetError;
use crate::record::{Answers, PreferenceRecord};

/// `prompt`, `responses` best first; or `responses` in any order with `ranks`, the smallest the best.
pub(super) fn parse(fields: &Fields<'_>) -> Result<PreferenceRecord, DatasetError> {
    let prompt = fields.text("prompt")?;
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

/// The positions of the responses, best first.
fn order(fields: &Fields<'_>, n_responses: usize) -> Result<Vec<usize>, DatasetError> {
    let mut order: Vec<usize> = (0..n_responses).collect();
    if !fields.has("ranks") {
        return Ok(order);
    }
    let wrong = || Ok(fields.wrong("ranks", "one different number for each response", fields.required("ranks")?));
    let ranks: Option<Vec<f64>> = fields.array("ranks")?.iter().map(serde_json::Value::as_f64).collect();
    let Some(ranks) = ranks.filter(|ranks| ranks.len() == n_responses) else { return Err(wrong()?) };
    order.sort_by(|&first, &second| ranks[first].total_cmp(&ranks[second]));
    if order.windows(2).any(|pair| ranks[pair[0]] == ranks[pair[1]]) {
        return Err(wrong()?);
    }
    Ok(order)
}
