//! Which tokens of an answer the reward is laid on, and whether these are the wrong ones.
mod answers;
mod signals;
mod told;

use std::ops::Range;
use std::path::Path;

use ::report::heat::{self, Piece, Scale};
use mdp::token::TokenMdp;
use models::formats;
use serde_json::{Value, json};

use self::signals::Crediting;
use super::needed;
use super::summary::{CreditSummary, Words, summarise as measure_all};
use crate::judge::reward::TextReward;
use crate::settings::TokenizationName;
use crate::{Call, Failure, model, text};

/// The kinds of credit, each with its name in files and in tables. More is better for all of them.
pub(super) const MEASURES: [(&str, &str); 8] = [
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
pub struct TextCredit {
    /// The answers, in the data's order.
    pub answers: Vec<CreditedAnswer>,
    /// How well wrong spans are found; `None` where no answer has one.
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
    /// Which tokens are given, of an answer of several turns: they have no credit.
    pub given: Option<Vec<bool>>,
    /// Which tokens are shown but not measured, besides end tokens: of a conversation all that is no scored message's content.
    pub unmeasured: Option<Vec<bool>>,
    /// The credit by kind: its name, and a number for each token. The implicit reward `log_ratio` is the first.
    pub columns: Vec<(&'static str, Vec<f64>)>,
}

impl CreditedAnswer {
    /// A line of the file that `run.out` names.
    pub(in crate::credit) fn to_json(&self) -> Value {
        let pairs = |ranges: &[Range<usize>]| ranges.iter().map(|range| [range.start, range.end]).collect::<Vec<_>>();
        let mut line = json!({
            "index": self.index, "side": self.side, "text": self.text, "spans": self.spans.as_deref().map(pairs),
            "tokens": self.tokens, "offsets": pairs(&self.places), "wrong": self.wrong,
        });
        if let Some(given) = &self.given {
            line["given"] = json!(given);
        }
        for (name, column) in &self.columns {
            line[*name] = json!(column);
        }
        line
    }

    /// The text in pieces, each with the credit of one kind and whether it is wrong.
    pub fn pieces(&self, column: usize) -> Vec<Piece> {
        heat::pieces(&self.text, &self.places, &self.columns[column].1, self.wrong.as_deref())
    }

    /// Whether each of those pieces is given.
    pub fn given_pieces(&self) -> Vec<bool> {
        let is_given = |at: usize| self.given.as_ref().is_some_and(|given| given[at]);
        let given: Vec<f64> = (0..self.places.len()).map(|at| f64::from(is_given(at))).collect();
        heat::pieces(&self.text, &self.places, &given, None).iter().map(|piece| piece.value > 0.0).collect()
    }
}

impl TextCredit {
    /// The scale of one kind of credit: differences have no colour at 0, other kinds at their median.
    pub fn scale(&self, column: usize) -> Scale {
        let credit = self.answers.iter().flat_map(|answer| answer.columns[column].1.iter().copied());
        match MEASURES[column].0 {
            "policy" | "reference" | "position" | "length" => Scale::of_levels(credit),
            _ => Scale::of_differences(credit),
        }
    }
}

/// Lays the reward of answers on their tokens.
pub(super) fn credit(call: &Call<'_>) -> Result<TextCredit, Failure> {
    let mut values = call.values.clone();
    values.set(|settings| settings.data.tokenization = TokenizationName::Separate);
    let name = needed(values.model.model(), "credit needs `model.model`")?;
    let reference =
        needed(values.model.reference(), "credit needs `model.reference`: the model before it learned preferences")?;
    let data = needed(values.data.data(), "credit needs `data.data`")?;
    let beta = crate::score::beta(&values)?;
    let reward = reward_model(&values)?;
    let asked = answers::read(&data, &values)?;
    text::refuse_idle_template(&values, asked.iter().any(|record| record.chat.is_some()))?;
    let files = model::load(&name, &values)?;
    model::say_ignored(&files, call.reporter);
    text::fit_lengths(&mut values, &files)?;
    let tokenise = text::tokenise(&files, &values)?;
    let reference = model::load_beside(&files, &reference, &values)?.frozen()?;
    let vocabulary = files.config.vocabulary as u32;
    let mdp = TokenMdp { vocabulary, eos: files.eos().to_vec(), max_length: tokenise.settings().max_length };
    let tokenizer = &files.tokenizer()?.clone();
    let policy = &files.frozen()?;
    let (reward, tokenise) = (reward.as_ref(), &tokenise);
    let crediting = Crediting { mdp: &mdp, policy, reference: &reference, reward, tokenise, tokenizer, beta };
    let answers = all(&crediting, &asked, call)?;
    let summary = summarise(&answers, values.run.seed());
    Ok(TextCredit { answers, summary })
}

fn reward_model(values: &crate::settings::Values) -> Result<Option<TextReward>, Failure> {
    let Some(name) = values.credit.reward_model() else { return Ok(None) };
    if !formats::is_reward(Path::new(name)) {
        let text = "takes the folder of a reward model of texts (..ForSequenceClassification)";
        return Err(Failure::usage(format!("`credit.reward_model` {text}, not `{name}`")));
    }
    let device = crate::device::open(values)?;
    Ok(Some(TextReward::load(name, &device, None)?))
}

fn all(
    crediting: &Crediting<'_>,
    asked: &[answers::CreditRecord],
    call: &Call<'_>,
) -> Result<Vec<CreditedAnswer>, Failure> {
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
            let is_measured = |at: &usize| {
                !answer.places[*at].is_empty() && !answer.unmeasured.as_ref().is_some_and(|without| without[*at])
            };
            (answer, (0..answer.tokens.len()).filter(is_measured).collect())
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
    let credit: Vec<_> = (0..first.columns.len()).map(picked).collect();
    measure_all(&MEASURES, &credit, &wrong, (seed, WORDS))
}

/// The words of the table.
const WORDS: Words = Words { examples: "answers", regions: "spans", places: "tokens" };

#[cfg(test)]
mod tests;
