//! Held-out answers with the implicit reward of each of their tokens, for a report's heat maps.
use std::ops::Range;

use ::train::write_lines;
use datasets::{Dataset, Example, ExampleKind};
use mdp::Episode;
use mdp::chance::{Order, derived_seed};
use mdp::token::{TokenMdp, TokenState};
use models::causal::CausalLm;
use models::formats::ModelTokenizer;
use policies::Policy;
use serde_json::{Value, json};

use crate::Failure;
use crate::embedded::EmbeddedTexts;

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
    fn line(&self, example: &Example, answer: &[u32], side: &str) -> Result<Value, Failure> {
        let start = TokenState::new(std::sync::Arc::clone(&example.prompt));
        let episode = [Episode::whole(start, answer.to_vec())];
        let [ours, theirs] = [self.policy, self.reference].map(|model| model.score(self.mdp, &episode));
        let (ours, theirs) = (ours?.log_probs, theirs?.log_probs);
        let ratio: Vec<f64> = ours.row(0).iter().zip(theirs.row(0)).map(|(p, r)| self.beta * (p - r)).collect();
        let prompt = self.tokenizer.decode(&example.prompt)?;
        let (text, places) = self.places(answer)?;
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
            "tokens": answer, "offsets": pairs(&places), "wrong": wrong, "log_ratio": ratio,
        }))
    }

    /// The text of tokens, and the characters that each covers; those of one character all cover it.
    fn places(&self, tokens: &[u32]) -> Result<(String, Vec<Range<usize>>), Failure> {
        let whole = self.tokenizer.decode_bytes(tokens)?;
        let mut ends = vec![0];
        for n in 1..=tokens.len() {
            let end = self.tokenizer.decode_bytes(&tokens[..n])?.len();
            ends.push(end.clamp(ends[n - 1], whole.len()));
        }
        let text = String::from_utf8_lossy(&whole).into_owned();
        let n_characters = text.chars().count();
        // Characters that have begun before a byte, and whether the last of them goes on behind it.
        let begun = |byte: usize| String::from_utf8_lossy(&whole[..byte]).chars().count().min(n_characters);
        let goes_on = |byte: usize| usize::from(whole.get(byte).is_some_and(|next| next & 0xC0 == 0x80));
        let place = |pair: &[usize]| {
            let end = begun(pair[1]);
            begun(pair[0]).saturating_sub(goes_on(pair[0])).min(end)..end
        };
        Ok((text, ends.windows(2).map(place).collect()))
    }
}

/// The names of an example's answers.
fn sides(example: &Example) -> Vec<String> {
    match example.kind {
        ExampleKind::Pair => vec!["chosen".to_owned(), "rejected".to_owned()],
        ExampleKind::Ranked => (1..=example.responses.len()).map(|rank| format!("rank {rank}")).collect(),
        ExampleKind::Labelled { desirable: true } => vec!["liked".to_owned()],
        ExampleKind::Labelled { desirable: false } => vec!["not liked".to_owned()],
        ExampleKind::Demonstration => vec!["response".to_owned()],
    }
}
