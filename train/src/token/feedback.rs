//! Feedback on the answers of tokenised examples.
use datasets::{Example, ExampleKind};
use objectives::{Comparison, Demonstration, Feedback, Label, Ranking};

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

    /// Whether an example's weight is that of its episodes' decisions: the loss is linear in their log-probabilities.
    const WEIGHS_EPISODES: bool = false;

    /// Whether a soft label is part of it; otherwise the better side counts whole.
    const SOFT_LABELS: bool = false;

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
            ExampleKind::Pair => Ok(vec![Self {
                first: 0,
                second: 1,
                preference: example.preference,
                weight: example.weight,
                margin: example.margin,
            }]),
            ExampleKind::Ranked => {
                let n = example.responses.len();
                let pairs = (0..n).flat_map(|first| (first + 1..n).map(move |second| (first, second)));
                let weight = example.weight;
                Ok(pairs.map(|(first, second)| Self { weight, ..Self::new(first, second) }).collect())
            }
            ExampleKind::Forest => {
                let weight = example.weight;
                let comparison = |&(first, second): &(usize, usize)| Self { weight, ..Self::new(first, second) };
                Ok(example.comparisons.iter().map(comparison).collect())
            }
            kind @ (ExampleKind::Labelled { .. } | ExampleKind::Demonstration) => {
                Err(wrong("pairs or ranked answers", kind))
            }
        }
    }

    const SOFT_LABELS: bool = true;
}

impl FromExample for Ranking {
    fn from_example(example: &Example) -> Result<Vec<Self>, WrongFeedback> {
        no_weight(example)?;
        no_degree(example)?;
        match example.kind {
            ExampleKind::Pair | ExampleKind::Ranked => {
                Ok(vec![Self { best_first: (0..example.responses.len()).collect() }])
            }
            kind @ (ExampleKind::Forest | ExampleKind::Labelled { .. } | ExampleKind::Demonstration) => {
                Err(wrong("ranked answers", kind))
            }
        }
    }
}

impl FromExample for Label {
    fn from_example(example: &Example) -> Result<Vec<Self>, WrongFeedback> {
        no_weight(example)?;
        no_degree(example)?;
        let label = |episode, desirable| Self { episode, desirable, mismatched: None };
        match example.kind {
            ExampleKind::Pair => Ok(vec![label(0, true), label(1, false)]),
            ExampleKind::Labelled { desirable } => Ok(vec![label(0, desirable)]),
            ExampleKind::Ranked | ExampleKind::Forest => {
                let hint = "`data.tree_pairs` best-worst, adjacent or all makes pairs of conversation trees; of other ranked \
                            answers learns `objective.name` plackett-luce";
                Err(WrongFeedback { hint, ..wrong("single answers with a thumb up or down, or pairs", example.kind) })
            }
            kind @ ExampleKind::Demonstration => Err(wrong("single answers with a thumb up or down, or pairs", kind)),
        }
    }

    const MISMATCHED: bool = true;

    fn with_mismatched(self, index: usize) -> Self {
        Self { mismatched: Some(index), ..self }
    }
}

impl FromExample for Demonstration {
    fn from_example(example: &Example) -> Result<Vec<Self>, WrongFeedback> {
        no_degree(example)?;
        match example.kind {
            ExampleKind::Labelled { desirable: false } => {
                Err(wrong("answers worth imitating", ExampleKind::Labelled { desirable: false }))
            }
            ExampleKind::Pair
            | ExampleKind::Ranked
            | ExampleKind::Labelled { desirable: true }
            | ExampleKind::Demonstration => Ok(vec![Self { episode: 0 }]),
            ExampleKind::Forest => Err(wrong("answers worth imitating", ExampleKind::Forest)),
        }
    }

    const N_ANSWERS: usize = 1;

    const WEIGHS_EPISODES: bool = true;
}

/// Refuses a weight, for feedback that has no place for one.
fn no_weight(example: &Example) -> Result<(), WrongFeedback> {
    if example.weight == 1.0 {
        return Ok(());
    }
    let hint = "drop the column `weight`, or compare pairs (`objective.name` dpo) or imitate (sft)";
    Err(WrongFeedback { wanted: "records of one weight", found: "weights of records", hint })
}

/// Refuses a margin and a label against the pair's order, for feedback that only has the better and the worse.
fn no_degree(example: &Example) -> Result<(), WrongFeedback> {
    if example.margin != 0.0 {
        let hint = "drop the column `margin`, or compare pairs (`objective.name` dpo)";
        return Err(WrongFeedback { wanted: "pairs without margins", found: "margins", hint });
    }
    if example.preference < 0.5 {
        let hint = "swap `chosen` and `rejected` of such pairs, or compare pairs (`objective.name` dpo)";
        return Err(WrongFeedback {
            wanted: "pairs with the better side first",
            found: "a soft label below 0.5",
            hint,
        });
    }
    Ok(())
}

fn wrong(wanted: &'static str, found: ExampleKind) -> WrongFeedback {
    let (found, hint) = match found {
        ExampleKind::Pair => ("pairs", "try `objective.name` dpo"),
        ExampleKind::Ranked => ("ranked answers", "try `objective.name` plackett-luce"),
        ExampleKind::Labelled { .. } => ("single answers with a thumb up or down", "try `objective.name` kto"),
        ExampleKind::Demonstration => ("answers to imitate", "try `objective.name` sft"),
        ExampleKind::Forest => ("whole conversation trees", "try `objective.name` dpo, or `data.tree_pairs` list"),
    };
    WrongFeedback { wanted, found, hint }
}
