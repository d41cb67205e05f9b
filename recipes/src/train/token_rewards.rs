//! Held-out answers with the implicit reward of each of their tokens, for a report's heat maps.
use std::ops::Range;

use ::train::write_lines;
use datasets::{Dataset, Example, ExampleKind, Response};
use mdp::chance::{Order, derived_seed};
use mdp::token::TokenMdp;
use models::causal::CausalLm;
use models::formats::ModelTokenizer;
use policies::Policy;
use serde_json::{Value, json};

use crate::Failure;
use crate::embedded::EmbeddedTexts;
use crate::text::places;

/// Examples in the file at most: each costs a pass of both models.
const MOST: usize = 4;

/// What rewards are computed with.
pub(super) struct TokenRewards<'a> {
    pub(super) policy: &'a CausalLm,
    pub(super) reference: &'a CausalLm,
    pub(super) tokenizer: &'a ModelTokenizer,
    pub(super) mdp: &'a TokenMdp,
    pub(super) beta: f64,
    /// The embedded data that examples are of, which knows what is wrong in an answer.
    pub(super) texts: Option<&'static EmbeddedTexts>,
}

impl TokenRewards<'_> {
    /// Writes the answers of up to `n` examples, which the seed chooses.
    pub(super) fn write(&self, path: &std::path::Path, data: &Dataset, n: usize, seed: u64) -> Result<(), Failure> {
        let order = Order::new(derived_seed(seed, "answers to look at", 0), 0, data.len());
        let mut lines = Vec::new();
        for index in order.from(0).take(n.min(MOST)) {
            let example = data.get(index)?;
            for (answer, side) in example.responses.iter().zip(sides(&example)) {
                lines.push(self.line(&example, answer, &side)?);
            }
        }
        Ok(write_lines(path, lines)?)
    }

    /// A line as `credit` writes them, with the prompt.
    fn line(&self, example: &Example, answer: &Response, side: &str) -> Result<Value, Failure> {
        let episode = [::train::token::episode(&example.prompt, answer)];
        let [ours, theirs] = [self.policy, self.reference].map(|model| model.score(self.mdp, &episode));
        let (ours, theirs) = (ours?.log_probs, theirs?.log_probs);
        let ratio: Vec<f64> = ours.row(0).iter().zip(theirs.row(0)).map(|(p, r)| self.beta * (p - r)).collect();
        // Given tokens have no reward.
        let ratio: Vec<f64> = answer.spread(&ratio).into_iter().map(Option::unwrap_or_default).collect();
        let prompt = self.tokenizer.decode(&example.prompt)?;
        let (text, places) = places(self.tokenizer, answer)?;
        let spans = self.texts.and_then(|texts| (texts.wrong_spans?)(&prompt, &text));
        let characters: Vec<char> = text.chars().collect();
        let is_wrong = |place: &Range<usize>, spans: &[Range<usize>]| {
            place.clone().any(|at| !characters[at].is_whitespace() && spans.iter().any(|span| span.contains(&at)))
        };
        let wrong: Option<Vec<bool>> =
            spans.as_ref().map(|spans| places.iter().map(|place| is_wrong(place, spans)).collect());
        let pairs = |ranges: &[Range<usize>]| ranges.iter().map(|range| [range.start, range.end]).collect::<Vec<_>>();
        Ok(json!({
            "index": example.index, "side": side, "prompt": prompt, "text": text, "spans": spans.as_deref().map(pairs),
            "tokens": answer.tokens(), "weights": (!answer.is_plain()).then(|| answer.weights()),
            "offsets": pairs(&places), "wrong": wrong, "log_ratio": ratio,
        }))
    }
}

/// The names of an example's answers.
fn sides(example: &Example) -> Vec<String> {
    match example.kind {
        ExampleKind::Pair => vec!["chosen".to_owned(), "rejected".to_owned()],
        ExampleKind::Ranked => (1..=example.responses.len()).map(|rank| format!("rank {rank}")).collect(),
        ExampleKind::Forest => (1..=example.responses.len()).map(|reply| format!("reply {reply}")).collect(),
        ExampleKind::Labelled { desirable: true } => vec!["liked".to_owned()],
        ExampleKind::Labelled { desirable: false } => vec!["not liked".to_owned()],
        ExampleKind::Demonstration => vec!["response".to_owned()],
    }
}
