//! `credit`: which tokens of an answer the reward is laid on, and whether these are the wrong ones.
mod answers;
mod measures;
mod page;
mod scale;
mod signals;

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use mdp::token::TokenMdp;
use models::formats;
use serde_json::{Value, json};
use train::{can_write, write_lines};

use self::measures::{Bootstrap, Labelled, measure};
use self::signals::Crediting;
use crate::judge::reward::TextReward;
use crate::settings::TokenizationName;
use crate::{Call, Failure, model, text};

pub use self::measures::Estimate;
pub use self::scale::CreditScale;

/// The kinds of credit, each with its name in files and in tables. More is better for all of them.
const MEASURES: [(&str, &str); 8] = [
    ("log_ratio", "log-ratio (Eq. 11)"),
    ("bellman", "log-ratio less value"),
    ("value", "prefix-value difference"),
    ("policy", "policy alone"),
    ("reference", "reference alone"),
    ("position", "position"),
    ("length", "token length"),
    ("reward_model", "reward model difference"),
];

/// The credit of all answers, and how well each kind of it finds the wrong spans.
#[derive(Clone, Debug, PartialEq)]
pub struct Credit {
    /// The answers, in the data's order.
    pub answers: Vec<CreditedAnswer>,
    /// The measures of how well wrong spans are found; `None` where no answer has one.
    pub summary: Option<CreditSummary>,
}

/// An answer with the credit of its tokens. The last token may be the end token, which covers no character.
#[derive(Clone, Debug, PartialEq)]
pub struct CreditedAnswer {
    /// The number of its record, from 0.
    pub index: usize,
    /// The place of its record.
    pub origin: String,
    /// The field that it is in: `response`, `completion`, `chosen` or `rejected`.
    pub side: &'static str,
    /// The text.
    pub text: String,
    /// The wrong spans in characters, where they are known.
    pub spans: Option<Vec<Range<usize>>>,
    /// The tokens.
    pub tokens: Vec<u32>,
    /// The characters that each token covers.
    pub places: Vec<Range<usize>>,
    /// Whether each token is in a wrong span, where these are known: any overlap counts, white space at the token's ends
    /// aside.
    pub wrong: Option<Vec<bool>>,
    /// The credit by kind: its name, and a number for each token. The implicit reward `log_ratio` is the first.
    pub columns: Vec<(&'static str, Vec<f64>)>,
}

impl CreditedAnswer {
    /// A line of the file that `run.out` names.
    fn to_json(&self) -> Value {
        let pairs = |ranges: &[Range<usize>]| ranges.iter().map(|range| [range.start, range.end]).collect::<Vec<_>>();
        let mut line = json!({
            "index": self.index, "side": self.side, "text": self.text, "spans": self.spans.as_deref().map(pairs),
            "tokens": self.tokens, "offsets": pairs(&self.places), "wrong": self.wrong,
        });
        for (name, column) in &self.columns {
            line[*name] = json!(column);
        }
        line
    }

    /// The text in pieces, each with the credit of one kind and whether it is wrong: a piece for each token, with the
    /// white space before it. Tokens of the same character are one piece, which has the sum of their credit. The end
    /// token has an empty piece.
    pub fn pieces(&self, column: usize) -> Vec<(String, f64, bool)> {
        let characters: Vec<char> = self.text.chars().collect();
        let (mut pieces, mut from): (Vec<(String, f64, bool)>, usize) = (Vec::new(), 0);
        for (at, place) in self.places.iter().enumerate() {
            let credit = self.columns[column].1[at];
            let is_wrong = self.wrong.as_ref().is_some_and(|wrong| wrong[at]);
            match pieces.last_mut() {
                Some(last) if place.end <= from && place.start < from => last.1 += credit,
                _ => pieces.push((characters[from.min(place.end)..place.end].iter().collect(), credit, is_wrong)),
            }
            from = from.max(place.end);
        }
        pieces
    }
}

/// The measures of how well each kind of credit finds wrong tokens.
#[derive(Clone, Debug, PartialEq)]
pub struct CreditSummary {
    /// The kinds, the implicit reward first.
    pub rows: Vec<MeasureSummary>,
    /// Answers that have a wrong span; no others count.
    pub answers: usize,
    /// Their tokens, end tokens aside.
    pub tokens: usize,
    /// Those of them in a wrong span.
    pub wrong: usize,
}

/// The measures of how well one kind of credit finds wrong tokens, the least credit first.
#[derive(Clone, Debug, PartialEq)]
pub struct MeasureSummary {
    /// Its name in files.
    pub name: &'static str,
    /// Its name in tables.
    pub title: &'static str,
    /// The area under the ROC curve over the tokens of all answers: the probability that a wrong token has less credit
    /// than a right one. `None` where all tokens are wrong.
    pub auroc: Option<Estimate>,
    /// The average precision over the tokens of all answers.
    pub average_precision: Option<Estimate>,
    /// The share of answers whose token of least credit is wrong.
    pub pointing: Option<Estimate>,
}

/// A table.
impl fmt::Display for CreditSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cell = |estimate: Option<Estimate>| {
            estimate.map_or_else(
                || "-".to_owned(),
                |Estimate { value, low, high }| format!("{value:.3} ({low:.3} to {high:.3})"),
            )
        };
        writeln!(f, "{:<26}{:<26}{:<26}pointing accuracy", "credit", "AUROC", "average precision")?;
        for row in &self.rows {
            let (auroc, precision, pointing) = (cell(row.auroc), cell(row.average_precision), cell(row.pointing));
            writeln!(f, "{:<26}{auroc:<26}{precision:<26}{pointing}", row.title)?;
        }
        let share = self.wrong as f64 / self.tokens as f64;
        write!(
            f,
            "answers with wrong spans: {}; wrong tokens: {} of {}; by chance 0.500, {share:.3}, {share:.3}; 95% intervals over \
             answers",
            self.answers, self.wrong, self.tokens
        )
    }
}

/// Lays the reward of answers on their tokens, by a model and its reference, and measures how well that and rivals of it
/// find the wrong spans, where these are known.
///
/// Lines go to `run.out`, a page of heat maps to `credit.html`, where these name files.
///
/// # Errors
/// Settings that make no sense, and files that can't be read or written. Nothing is written then.
pub fn credit(call: &Call<'_>) -> Result<Credit, Failure> {
    let mut values = call.values.clone();
    values.set(|settings| settings.data.tokenization = TokenizationName::Separate);
    let need = |what: Option<&str>, text: &str| what.map(str::to_owned).ok_or_else(|| Failure::usage(text));
    let name = need(values.model.model(), "credit needs `model.model`")?;
    let reference =
        need(values.model.reference(), "credit needs `model.reference`: the model before it learned preferences")?;
    let data = need(values.data.data(), "credit needs `data.data`")?;
    let beta = values.objective.beta();
    if !(beta > 0.0 && beta.is_finite()) {
        return Err(Failure::usage(format!("`objective.beta` takes a positive number, not {beta}")));
    }
    let (out, html) = (values.run.out().map(PathBuf::from), values.credit.html().map(PathBuf::from));
    for path in [&out, &html].into_iter().flatten() {
        can_write(path)?;
    }
    let reward = reward_model(&values)?;
    let asked = answers::read(&data, &values)?;
    let files = model::load(&name, &values)?;
    model::say_ignored(&files, call.reporter);
    text::fit_lengths(&mut values, &files)?;
    let tokenise = text::tokenise(&files, &values)?;
    let reference = model::load_beside(&files, &reference, &values)?.frozen()?;
    let vocabulary = files.config.vocabulary as u32;
    let mdp = TokenMdp { vocabulary, eos: files.eos().to_vec(), max_length: tokenise.settings().max_length };
    let policy = &files.frozen()?;
    let crediting =
        Crediting { mdp: &mdp, policy, reference: &reference, reward: reward.as_ref(), tokenise: &tokenise, beta };
    let answers = all(&crediting, &asked, call)?;
    let summary = summarise(&answers, values.run.seed());
    let credit = Credit { answers, summary };
    out.map_or(Ok(()), |out| write_lines(&out, credit.answers.iter().map(CreditedAnswer::to_json)))?;
    html.map_or(Ok(()), |html| page::write(&html, &credit))?;
    Ok(credit)
}

fn reward_model(values: &crate::settings::Values) -> Result<Option<TextReward>, Failure> {
    let Some(name) = values.credit.reward_model() else { return Ok(None) };
    if !formats::is_reward(Path::new(name)) {
        let text = "takes the folder of a reward model of texts (..ForSequenceClassification)";
        return Err(Failure::usage(format!("`credit.reward_model` {text}, not `{name}`")));
    }
    let device = engine::device::parse(values.run.device()).map_err(|e| Failure::usage(e.to_string()))?;
    Ok(Some(TextReward::load(name, &device)?))
}

fn all(crediting: &Crediting<'_>, asked: &[answers::Asked], call: &Call<'_>) -> Result<Vec<CreditedAnswer>, Failure> {
    let bar = call.reporter.bar("credit", asked.len());
    let mut answers = Vec::with_capacity(asked.len());
    for (index, record) in asked.iter().enumerate() {
        let credited = crediting.credit(index, record).map_err(|failure| {
            let place = record.origin.to_string();
            if failure.to_string().starts_with(&place) { failure } else { failure.within(&place) }
        })?;
        answers.extend(credited);
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(answers)
}

/// Measures all kinds of credit on the same answers: those that have a wrong token.
fn summarise(answers: &[CreditedAnswer], seed: u64) -> Option<CreditSummary> {
    let counted: Vec<(&CreditedAnswer, Vec<usize>)> = answers
        .iter()
        .filter(|answer| answer.wrong.as_ref().is_some_and(|wrong| wrong.contains(&true)))
        .map(|answer| {
            let has_characters = |at: &usize| !answer.places[*at].is_empty();
            (answer, (0..answer.tokens.len()).filter(has_characters).collect())
        })
        .collect();
    let (first, _) = counted.first()?;
    let picked = |column: usize| -> Vec<Vec<f64>> {
        counted.iter().map(|(answer, at)| at.iter().map(|at| answer.columns[column].1[*at]).collect()).collect()
    };
    let wrong: Vec<Vec<bool>> = counted
        .iter()
        .map(|(answer, at)| at.iter().map(|at| answer.wrong.as_ref().is_some_and(|wrong| wrong[*at])).collect())
        .collect();
    let bootstrap = Bootstrap::new(seed, counted.len());
    let row = |(column, (name, title)): (usize, &(&'static str, &'static str))| {
        let credit = picked(column);
        let examples: Vec<Labelled<'_>> =
            credit.iter().zip(&wrong).map(|(credit, wrong)| Labelled { credit, wrong }).collect();
        let measured = measure(&examples, &bootstrap);
        let (auroc, average_precision, pointing) = (measured.auroc, measured.average_precision, measured.pointing);
        MeasureSummary { name, title, auroc, average_precision, pointing }
    };
    let rows = MEASURES.iter().take(first.columns.len()).enumerate().map(row).collect();
    let count = |is: fn(&&bool) -> bool| wrong.iter().flatten().filter(is).count();
    Some(CreditSummary { rows, answers: counted.len(), tokens: count(|_| true), wrong: count(|wrong| **wrong) })
}

#[cfg(test)]
mod tests;
