use mdp::chance::{Noise, below, permutation, unit};

use super::Segments;
use crate::DatasetError;

/// Segments, and which of them are better.
#[derive(Clone, Debug, PartialEq)]
pub struct JudgedSegments {
    /// The segments.
    pub segments: Segments,
    /// The verdicts on them.
    pub verdicts: Verdicts,
    /// The reward of each decision, `[n, length]`, if it is known; nothing here learns from it.
    pub rewards: Option<Vec<f32>>,
}

/// Verdicts on segments.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdicts {
    /// A score for each segment; of two, that with the higher one is better.
    Scores(Vec<f64>),
    /// For each pair the probability that its second segment is better. Pair i is segment i and, with n pairs, segment n + i.
    Pairs(Vec<f64>),
}

/// Two segments of a [`Segments`], and the probability that the first is better.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SegmentPair {
    /// The first segment.
    pub first: usize,
    /// The second segment.
    pub second: usize,
    /// P(first is better): 1 or 0 for a certain label, 0.5 for a tie.
    pub preference: f64,
}

/// How scores become labels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Labels {
    /// The higher score is better, and equal ones tie.
    Exact,
    /// The first is labelled better with the probability sigma((first - second) / temperature): Bradley and Terry's model.
    BradleyTerry {
        /// The score's unit at which labels become uncertain.
        temperature: f64,
    },
}

/// How pairs are made.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pairing {
    /// Number of pairs for training, where verdicts are scores: each of two different segments, drawn anew.
    pub n_pairs: usize,
    /// The share of segments, or of given pairs, that is held out; no segment is on both sides.
    pub held_out: f64,
    /// The seed of what is drawn.
    pub seed: u64,
    /// How scores become labels; given labels stay.
    pub labels: Labels,
}

impl JudgedSegments {
    /// Checks that verdicts and rewards fit the segments.
    ///
    /// # Errors
    /// Fewer than two segments, other numbers of verdicts or rewards, scores that are not finite, labels outside 0 to 1.
    pub fn new(segments: Segments, verdicts: Verdicts, rewards: Option<Vec<f32>>) -> Result<Self, DatasetError> {
        let wrong = |name, value: String, hint| Err(DatasetError::Setting { name, value, hint });
        let (n, n_decisions) = (segments.len(), segments.len() * segments.length());
        let (fits, is_valid) = match &verdicts {
            Verdicts::Scores(scores) => (scores.len() == n, scores.iter().all(|score| score.is_finite())),
            Verdicts::Pairs(labels) => (2 * labels.len() == n, labels.iter().all(|label| (0.0..=1.0).contains(label))),
        };
        if n < 2 {
            return wrong("the number of segments", n.to_string(), "a comparison needs two");
        }
        if !fits || rewards.as_ref().is_some_and(|rewards| rewards.len() != n_decisions) {
            let value = format!("not that of {n} segments");
            return wrong("the number of verdicts or rewards", value, "one for each segment, pair or decision");
        }
        if !is_valid {
            return wrong("a verdict", "no number that is one".to_owned(), "scores must be finite, labels from 0 to 1");
        }
        Ok(Self { segments, verdicts, rewards })
    }

    /// The pairs for training and those held out.
    ///
    /// Of scores, `n_pairs` pairs are drawn among the segments that are not held out, and half as many as there are
    /// segments among those that are.
    ///
    /// # Errors
    /// A share outside 0 to 1, a temperature that is not a positive number, fewer than two segments or one pair left on
    /// either side.
    pub fn pairs(&self, pairing: Pairing) -> Result<(Vec<SegmentPair>, Vec<SegmentPair>), DatasetError> {
        let Pairing { n_pairs, held_out, seed, labels } = pairing;
        let wrong = |name, value: String, hint| Err(DatasetError::Setting { name, value, hint });
        if !(0.0..1.0).contains(&held_out) {
            return wrong("the share held out", held_out.to_string(), "it must be from 0 to below 1");
        }
        if let Labels::BradleyTerry { temperature } = labels
            && !(temperature > 0.0 && temperature.is_finite())
        {
            return wrong("the temperature of labels", temperature.to_string(), "it must be a positive number");
        }
        let noise = Noise::new(seed);
        let (of, least) = match &self.verdicts {
            Verdicts::Scores(_) => (self.segments.len(), 2),
            Verdicts::Pairs(labels) => (labels.len(), 1),
        };
        let order = permutation(&mut noise.stream("held-out segments", 0), of);
        let n_held_out = (held_out * of as f64).round() as usize;
        let (kept_out, kept) = order.split_at(n_held_out);
        let is_short = |part: &[usize]| part.len() < least;
        if is_short(kept) || (n_held_out > 0 && is_short(kept_out)) {
            let value = format!("{n_held_out} of {of}");
            return wrong("the share held out", value, "both sides need two segments, or one pair");
        }
        Ok(match &self.verdicts {
            Verdicts::Scores(scores) => {
                let draw = |purpose, from, n| drawn(noise, purpose, (scores, from), n, labels);
                (draw("training pairs", kept, n_pairs), draw("held-out pairs", kept_out, n_held_out / 2))
            }
            Verdicts::Pairs(labels) => {
                let given = |from: &[usize]| {
                    let pair = |&i: &usize| SegmentPair { first: i, second: of + i, preference: 1.0 - labels[i] };
                    from.iter().map(pair).collect()
                };
                (given(kept), given(kept_out))
            }
        })
    }
}

/// Draws pairs of different segments.
fn drawn(
    noise: Noise,
    purpose: &str,
    (scores, from): (&[f64], &[usize]),
    n: usize,
    labels: Labels,
) -> Vec<SegmentPair> {
    let draw = |index: usize| {
        let mut rng = noise.stream(purpose, index as u64);
        let first = below(&mut rng, from.len() as u64) as usize;
        // One of the others: those behind the first move up.
        let other = below(&mut rng, from.len() as u64 - 1) as usize;
        let (first, second) = (from[first], from[if other < first { other } else { other + 1 }]);
        let difference = scores[first] - scores[second];
        let preference = match labels {
            Labels::Exact if difference == 0.0 => 0.5,
            Labels::Exact => f64::from(u8::from(difference > 0.0)),
            Labels::BradleyTerry { temperature } => {
                f64::from(u8::from(unit(&mut rng) < 1.0 / (1.0 + (-difference / temperature).exp())))
            }
        };
        SegmentPair { first, second, preference }
    };
    (0..n).map(draw).collect()
}
