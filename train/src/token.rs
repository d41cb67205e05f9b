//! Tokenised examples as episodes of the token MDP.
use std::collections::BTreeSet;
use std::sync::Arc;

use datasets::{Dataset, Example, ExampleKind, Mixture};
use mdp::Episode;
use mdp::token::{TokenMdp, TokenState};
use objectives::{Comparison, Demonstration, Feedback, Label, Ranking, Scores};
use policies::BoxError;

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

/// The examples have another kind of feedback than the objective needs.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this objective learns from {wanted}, the data holds {found}; {hint}")]
pub struct WrongFeedback {
    wanted: &'static str,
    found: &'static str,
    hint: &'static str,
}

/// Feedback that can be derived from a tokenised example.
pub trait FromExample: Feedback + Sized {
    /// The feedback on the example's responses.
    ///
    /// # Errors
    /// The example has another kind of feedback.
    fn from_example(example: &Example) -> Result<Vec<Self>, WrongFeedback>;

    /// Maximum number of an example's responses that the feedback refers to.
    const N_ANSWERS: usize = usize::MAX;

    /// Whether a baseline is estimated from each prompt with another example's response (KTO).
    const MISMATCHED: bool = false;

    /// Sets the mismatched episode to `index`.
    #[must_use]
    fn with_mismatched(self, _index: usize) -> Self {
        self
    }
}

impl FromExample for Comparison {
    fn from_example(example: &Example) -> Result<Vec<Self>, WrongFeedback> {
        match example.kind {
            ExampleKind::Pair => Ok(vec![Self { first: 0, second: 1, preference: example.preference }]),
            ExampleKind::Ranked => {
                let n = example.responses.len();
                let pairs = (0..n).flat_map(|first| (first + 1..n).map(move |second| (first, second)));
                Ok(pairs.map(|(first, second)| Self { first, second, preference: 1.0 }).collect())
            }
            kind => Err(wrong("pairs or ranked answers", kind)),
        }
    }
}

impl FromExample for Ranking {
    fn from_example(example: &Example) -> Result<Vec<Self>, WrongFeedback> {
        match example.kind {
            ExampleKind::Pair | ExampleKind::Ranked => {
                Ok(vec![Self { best_first: (0..example.responses.len()).collect() }])
            }
            kind => Err(wrong("ranked answers", kind)),
        }
    }
}

impl FromExample for Label {
    fn from_example(example: &Example) -> Result<Vec<Self>, WrongFeedback> {
        let label = |episode, desirable| Self { episode, desirable, mismatched: None };
        match example.kind {
            ExampleKind::Pair => Ok(vec![label(0, true), label(1, false)]),
            ExampleKind::Labelled { desirable } => Ok(vec![label(0, desirable)]),
            kind => Err(wrong("single answers with a thumb up or down, or pairs", kind)),
        }
    }

    const MISMATCHED: bool = true;

    fn with_mismatched(self, index: usize) -> Self {
        Self { mismatched: Some(index), ..self }
    }
}

impl FromExample for Demonstration {
    fn from_example(example: &Example) -> Result<Vec<Self>, WrongFeedback> {
        match example.kind {
            ExampleKind::Labelled { desirable: false } => {
                Err(wrong("answers worth imitating", ExampleKind::Labelled { desirable: false }))
            }
            ExampleKind::Pair
            | ExampleKind::Ranked
            | ExampleKind::Labelled { desirable: true }
            | ExampleKind::Demonstration => Ok(vec![Self { episode: 0 }]),
        }
    }

    const N_ANSWERS: usize = 1;
}

fn wrong(wanted: &'static str, found: ExampleKind) -> WrongFeedback {
    let (found, hint) = match found {
        ExampleKind::Pair => ("pairs", "try `objective.name` dpo"),
        ExampleKind::Ranked => ("ranked answers", "try `objective.name` plackett-luce"),
        ExampleKind::Labelled { .. } => ("single answers with a thumb up or down", "try `objective.name` kto"),
        ExampleKind::Demonstration => ("answers to imitate", "try `objective.name` sft"),
    };
    WrongFeedback { wanted, found, hint }
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
            let mut answer = other.responses.into_iter().next().unwrap_or_default();
            // Prompt and answer were made to fit their own partners, not each other.
            answer.truncate(self.max_length.saturating_sub(example.prompt.len()));
            responses.push(answer);
        }
        let size = example.prompt.len() + responses.iter().map(Vec::len).sum::<usize>();
        let given = self.examples.given(index)?;
        let episode = |(answer, response)| {
            let mut episode = Episode::whole(TokenState::new(Arc::clone(&example.prompt)), response);
            if given.get(answer).copied().unwrap_or(false) {
                episode.pieces.iter_mut().for_each(|piece| piece.weight = 0.0);
            }
            episode
        };
        let episodes = responses.into_iter().enumerate().map(episode).collect();
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
            let Example { prompt, responses, kind, preference, .. } = self.examples.example(index)?;
            let given = self.examples.given(index)?;
            hasher.update(format!("{prompt:?} {responses:?} {kind:?} {preference} {given:?}").as_bytes());
        }
        Ok(hasher.finalize().to_hex().to_string())
    }

    /// Number of tokens of prompts and responses; a prompt counts once per response, as in trainers that score each
    /// response separately. Mismatched responses for a baseline are not counted.
    fn n_tokens(&self, slice: &Slice<TokenMdp, F>) -> Option<usize> {
        let of_episode = |index: usize| -> usize {
            let pieces = &slice.episodes[index].pieces;
            pieces.iter().map(|piece| piece.actions.len()).sum::<usize>()
                + pieces.first().map_or(0, |piece| piece.start.len())
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
mod tests {
    use super::*;

    fn example(kind: ExampleKind, n: usize) -> Example {
        let responses = (0..n).map(|i| vec![i as u32 + 1, 0]).collect();
        Example { index: 0, prompt: Arc::from([9, 8]), responses, kind, preference: 1.0 }
    }

    #[test]
    fn a_pair_is_two_episodes_from_one_prompt() {
        let data = vec![example(ExampleKind::Pair, 2)];
        let item = TokenSource::<Comparison>::new(&data, 64).item(0).unwrap();
        assert_eq!(item.episodes.len(), 2);
        assert_eq!(item.size, 2 + 4);
        assert_eq!(item.feedback, [Comparison { first: 0, second: 1, preference: 1.0 }]);
    }

    #[test]
    fn what_trainers_elsewhere_log_is_measured_by_side() {
        let data = vec![example(ExampleKind::Pair, 2), example(ExampleKind::Pair, 2)];
        let source = TokenSource::<Comparison>::new(&data, 64);
        let slice = Slice::new([(0, source.item(0).unwrap()), (1, source.item(1).unwrap())]);
        let steps = |rows: &[[f64; 2]]| rows.iter().collect::<mdp::Steps>();
        let policy = mdp::Channels {
            mean_logit: Some(steps(&[[1.0, 2.0], [5.0, 7.0], [3.0, 6.0], [9.0, 11.0]])),
            is_likeliest: Some(steps(&[[1.0, 0.0], [1.0, 1.0], [0.0, 0.0], [1.0, 1.0]])),
            ..steps(&[[-1.0, -1.0]; 4]).into()
        };
        let weights = policy.log_probs.filled(1.0);
        let measured =
            |policy: &mdp::Channels| source.measure(&slice, Scores { policy, reference: None, weights: &weights });
        let named: Vec<(String, f64)> = measured(&policy).means().map(|(name, mean)| (name.to_owned(), mean)).collect();
        let expected = [("logits/chosen", 3.0), ("logits/rejected", 8.0), ("mean_token_accuracy", 0.25)];
        assert_eq!(named, expected.map(|(name, mean)| (name.to_owned(), mean)));
        assert_eq!(measured(&policy.log_probs.clone().into()), Measures::default());
        // Two pairs of a prompt of two tokens and answers of two.
        assert_eq!(source.n_tokens(&slice), Some(16));
    }

    #[test]
    fn tokens_are_counted_once_an_answer_and_not_of_a_baseline() {
        let ranked = vec![example(ExampleKind::Ranked, 3)];
        let source = TokenSource::<Comparison>::new(&ranked, 64);
        assert_eq!(source.n_tokens(&Slice::new([(0, source.item(0).unwrap())])), Some(12));
        let labelled = vec![example(ExampleKind::Labelled { desirable: true }, 1); 2];
        let source = TokenSource::<Label>::new(&labelled, 64);
        let item = source.item(0).unwrap();
        assert_eq!(item.episodes.len(), 2);
        assert_eq!(source.n_tokens(&Slice::new([(0, item)])), Some(4));
    }

    #[test]
    fn three_ranked_answers_are_three_comparisons() {
        let data = vec![example(ExampleKind::Ranked, 3)];
        let pairs = TokenSource::<Comparison>::new(&data, 64).item(0).unwrap().feedback;
        assert_eq!(pairs.iter().map(|c| (c.first, c.second)).collect::<Vec<_>>(), [(0, 1), (0, 2), (1, 2)]);
    }

    #[test]
    fn labels_bring_the_neighbours_answer() {
        let data = vec![example(ExampleKind::Pair, 2), example(ExampleKind::Labelled { desirable: false }, 1)];
        let item = TokenSource::<Label>::new(&data, 64).item(1).unwrap();
        assert_eq!(item.feedback, [Label { episode: 0, desirable: false, mismatched: Some(1) }]);
        assert_eq!(item.episodes[1].pieces[0].actions, [1, 0]);
    }

    #[test]
    fn a_neighbours_answer_is_cut_to_fit_this_prompt() {
        let mut long = example(ExampleKind::Labelled { desirable: true }, 1);
        long.responses = vec![vec![7; 50]];
        let data = vec![example(ExampleKind::Labelled { desirable: false }, 1), long];
        let item = TokenSource::<Label>::new(&data, 10).item(0).unwrap();
        assert_eq!(item.episodes[1].pieces[0].actions.len(), 8);
        assert_eq!(item.size, 2 + 2 + 8);
    }

    #[test]
    fn a_demonstration_leaves_the_worse_answer_out() {
        let data = vec![example(ExampleKind::Pair, 2)];
        assert_eq!(TokenSource::<Demonstration>::new(&data, 64).item(0).unwrap().episodes.len(), 1);
    }

    #[test]
    fn the_wrong_feedback_says_what_would_fit() {
        let data = vec![example(ExampleKind::Labelled { desirable: true }, 1)];
        let error = TokenSource::<Comparison>::new(&data, 64).item(0).unwrap_err().to_string();
        assert!(error.contains("`objective.name` kto"), "{error}");
    }
}
