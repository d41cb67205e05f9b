//! Tokenised examples as episodes of the token MDP.
mod feedback;

use std::collections::BTreeSet;
use std::sync::Arc;

use datasets::{Dataset, Example, Mixture, Response, Turn};
use mdp::token::{TokenMdp, TokenState};
use mdp::{Episode, EpisodeOf, Piece};
use objectives::{Feedback, Scores};
use policies::BoxError;

pub use self::feedback::{FromExample, WrongFeedback};
use crate::source::spread;
use crate::step::Slice;
use crate::{Item, Measures, Samples, Showcase, Source, TrainError, write_whole};

/// A generated response and its prompt.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Sample {
    /// The prompt.
    pub prompt: String,
    /// The response.
    pub response: String,
}

/// Responses for inspection: all in a file of the run's samples, the first few in TensorBoard.
#[derive(Clone, Debug, PartialEq)]
pub struct Texts(pub Vec<Sample>);

impl Samples for Texts {
    fn write(&self, to: &mut Showcase<'_>) -> Result<(), TrainError> {
        let path = to.folder.join(format!("step-{}.jsonl", to.step));
        write_whole(&path, |file| {
            for sample in &self.0 {
                serde_json::to_writer(&mut *file, sample)?;
                std::io::Write::write_all(file, b"\n")?;
            }
            Ok(())
        })?;
        for (i, sample) in self.0.iter().take(4).enumerate() {
            let text = format!("{}\n\n---\n\n**{}**", sample.prompt, sample.response.trim());
            to.events.text(&format!("samples/{i}"), to.step, &text)?;
        }
        Ok(())
    }
}

/// An indexed collection of tokenised examples.
pub trait Examples {
    /// Number of examples.
    fn len(&self) -> usize;

    /// Whether there are no examples.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The example at `index`.
    fn example(&self, index: usize) -> Result<Example, BoxError>;

    /// Flags the responses of example `index` that no policy generated, such as an unrefined request: they are context
    /// with weight 0. Empty by default.
    fn given(&self, _index: usize) -> Result<Vec<bool>, BoxError> {
        Ok(Vec::new())
    }
}

impl Examples for Vec<Example> {
    fn len(&self) -> usize {
        self.len()
    }

    fn example(&self, index: usize) -> Result<Example, BoxError> {
        self.get(index).cloned().ok_or_else(|| format!("there is no example {index}").into())
    }
}

impl Examples for Dataset {
    fn len(&self) -> usize {
        Self::len(self)
    }

    fn example(&self, index: usize) -> Result<Example, BoxError> {
        Ok(self.get(index)?)
    }
}

/// The episode of an answer: one piece for each scored turn, which starts at the state of all tokens before it. Given
/// tokens are no decisions: they have no number and no gradient.
pub fn episode(prompt: &Arc<[u32]>, response: &Response) -> EpisodeOf<TokenMdp> {
    let piece = |turn: &Turn| Piece {
        start: TokenState { prompt: Arc::clone(prompt), response: response[..turn.range.start].to_vec() },
        actions: response[turn.range.clone()].to_vec(),
        weight: turn.weight,
    };
    Episode { pieces: response.turns().iter().map(piece).collect() }
}

/// A training source of tokenised examples with one kind of feedback.
pub struct TokenSource<'a, F> {
    examples: &'a dyn Examples,
    max_length: usize,
    mixture: Option<&'a Mixture>,
    feedback: std::marker::PhantomData<fn() -> F>,
}

impl<F> std::fmt::Debug for TokenSource<'_, F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TokenSource").field("examples", &self.examples.len()).finish()
    }
}

impl<'a, F> TokenSource<'a, F> {
    /// Creates a source of feedback `F`; episodes are at most `max_length` tokens long, prompt included.
    pub fn new(examples: &'a dyn Examples, max_length: usize) -> Self {
        Self { examples, max_length, mixture: None, feedback: std::marker::PhantomData }
    }

    /// Sets what an epoch has of joined examples; without a mixture it has each once.
    #[must_use]
    pub fn mixed(self, mixture: Option<&'a Mixture>) -> Self {
        Self { mixture, ..self }
    }
}

impl<F: FromExample> Source for TokenSource<'_, F> {
    type Mdp = TokenMdp;
    type Feedback = F;

    const UNIT: &'static str = "tokens";
    const DECISION: &'static str = "token";

    fn len(&self) -> usize {
        self.examples.len()
    }

    fn index_in_epoch(&self, example: usize, epoch: usize) -> usize {
        self.mixture.map_or(example, |mixture| mixture.index(example, epoch))
    }

    fn item(&self, index: usize) -> Result<Item<TokenMdp, F>, BoxError> {
        let example = self.examples.example(index)?;
        let mut feedback = F::from_example(&example)?;
        let mut responses = example.responses;
        responses.truncate(F::N_ANSWERS);
        if F::MISMATCHED {
            // The neighbour in the data's order: a function of the example alone, so a cache of it stays true.
            let other = self.examples.example((index + 1) % self.examples.len())?;
            feedback = feedback.into_iter().map(|f| f.with_mismatched(responses.len())).collect();
            let mut answer = other.responses.into_iter().next().unwrap_or_else(|| Vec::new().into());
            // Prompt and answer were made to fit their own partners, not each other.
            answer.truncate(self.max_length.saturating_sub(example.prompt.len()));
            responses.push(answer);
        }
        let size = example.prompt.len() + responses.iter().map(|response| response.len()).sum::<usize>();
        let given = self.examples.given(index)?;
        let weight = if F::WEIGHS_EPISODES { example.weight } else { 1.0 };
        let episode = |(answer, response)| {
            let mut episode = episode(&example.prompt, response);
            if weight != 1.0 {
                episode.pieces.iter_mut().for_each(|piece| piece.weight *= weight);
            }
            if given.get(answer).copied().unwrap_or(false) {
                episode.pieces.iter_mut().for_each(|piece| piece.weight = 0.0);
            }
            episode
        };
        let episodes = responses.iter().enumerate().map(episode).collect();
        Ok(Item { episodes, feedback, size })
    }

    /// Hashes the tokens.
    fn fingerprint(&self) -> Result<String, BoxError> {
        let mut hasher = blake3::Hasher::new();
        hasher.update(format!("{} {} {}", self.len(), self.max_length, std::any::type_name::<F>()).as_bytes());
        if let Some(mixture) = self.mixture {
            hasher.update(mixture.identity().as_bytes());
        }
        for index in spread(self.len()) {
            let example = self.examples.example(index)?;
            let given = self.examples.given(index)?;
            let Example { prompt, responses, kind, preference, .. } = &example;
            let tokens: Vec<&[u32]> = responses.iter().map(Response::tokens).collect();
            hasher.update(format!("{prompt:?} {tokens:?} {kind:?} {preference} {given:?}").as_bytes());
            // Plain examples keep the hash that they had before there were turns and weights.
            if !responses.iter().all(Response::is_plain) {
                hasher.update(format!("{:?}", responses.iter().map(Response::turns).collect::<Vec<_>>()).as_bytes());
            }
            if (example.weight, example.margin, example.comparisons.len()) != (1.0, 0.0, 0) {
                let Example { weight, margin, comparisons, .. } = &example;
                hasher.update(format!("{weight} {margin} {comparisons:?}").as_bytes());
            }
        }
        Ok(hasher.finalize().to_hex().to_string())
    }

    /// Number of tokens of prompts and responses; a prompt counts once per response, as in trainers that score each
    /// response separately. Mismatched responses for a baseline are not counted.
    fn n_tokens(&self, slice: &Slice<TokenMdp, F>) -> Option<usize> {
        let of_episode = |index: usize| -> usize {
            let pieces = &slice.episodes[index].pieces;
            pieces.iter().map(|piece| piece.start.len() + piece.actions.len()).max().unwrap_or(0)
        };
        let sides: BTreeSet<usize> = slice.feedback.iter().flat_map(Feedback::sides).collect();
        Some(sides.into_iter().map(of_episode).sum())
    }

    /// - `logits/chosen`, `logits/rejected`: the mean logit over the vocabulary, averaged over the responses' tokens.
    /// - `mean_token_accuracy`: the share of the better responses' tokens that are the policy's most likely ones.
    fn measure(&self, slice: &Slice<TokenMdp, F>, scores: Scores<'_>) -> Measures {
        let mut measures = Measures::default();
        let policy = scores.policy;
        let (Some(logits), Some(is_likeliest)) = (&policy.mean_logit, &policy.is_likeliest) else { return measures };
        for feedback in &slice.feedback {
            if let Some(chosen) = feedback.chosen() {
                measures.add_all("logits/chosen", logits.row(chosen));
                measures.add_all("mean_token_accuracy", is_likeliest.row(chosen));
            }
            if let Some(rejected) = feedback.rejected() {
                measures.add_all("logits/rejected", logits.row(rejected));
            }
        }
        measures
    }
}

#[cfg(test)]
mod tests;
