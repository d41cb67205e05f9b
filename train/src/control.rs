//! Segments of continuous control as training data: pairs to compare, and segments to imitate.
//!
//! # Examples
//! A table learns from segments that an oracle scored.
//! ```
//! use datasets::control::{Labels, Pairing};
//! use datasets::synthetic::bins::BinSegments;
//! use objectives::{Cpl, Pairwise};
//! use policies::GaussianTable;
//! use policies::gaussian::Spread;
//! use train::control::SegmentPairs;
//! use train::{Settings, Training};
//!
//! let judged = BinSegments::new(0).segments(40, 4);
//! let (pairs, _) = judged.pairs(Pairing { n_pairs: 20, held_out: 0.0, seed: 0, labels: Labels::Exact })?;
//! let data = SegmentPairs::new(&judged.segments, pairs);
//! let (mdp, objective) = (data.mdp(), Pairwise::new(Cpl::new(0.1, 0.5)?));
//! let settings = Settings { batch_size: 20, max_steps: Some(30), rate: 0.5, warmup_steps: 0, ..Settings::default() };
//! let training = Training::new(&mdp, &data, &objective).settings(settings);
//! let mut policy = GaussianTable::new(0.5, 3, Spread::Fixed { std: 0.5 })?;
//! let losses = training.steps(&mut policy)?.map(|step| Ok(step?.loss)).collect::<Result<Vec<f64>, train::TrainError>>()?;
//! assert!(losses[29] < losses[0]);
//! # Ok::<(), policies::BoxError>(())
//! ```
use datasets::control::{SegmentPair, Segments};
use mdp::EpisodeOf;
use mdp::control::Recorded;
use objectives::{Comparison, Demonstration};
use policies::BoxError;

use crate::source::spread;
use crate::{Item, Source};

/// Pairs of segments, as comparisons.
#[derive(Clone, Debug)]
pub struct SegmentPairs<'a> {
    segments: &'a Segments,
    pairs: Vec<SegmentPair>,
}

/// Segments to imitate (behaviour cloning).
#[derive(Clone, Debug)]
pub struct SegmentDemonstrations<'a> {
    segments: &'a Segments,
    demonstrated: Vec<usize>,
}

impl<'a> SegmentPairs<'a> {
    /// Pairs of these segments.
    pub fn new(segments: &'a Segments, pairs: Vec<SegmentPair>) -> Self {
        Self { segments, pairs }
    }

    /// The problem that the segments are of.
    pub fn mdp(&self) -> Recorded {
        problem(self.segments)
    }

    /// Every segment of the pairs as a demonstration, the better and the worse.
    pub fn all(&self) -> SegmentDemonstrations<'a> {
        self.demonstrations(|pair| vec![pair.first, pair.second])
    }

    /// The better segment of each pair as a demonstration; both of a tie.
    pub fn better(&self) -> SegmentDemonstrations<'a> {
        self.demonstrations(|pair| {
            let sides = [(pair.preference >= 0.5, pair.first), (pair.preference <= 0.5, pair.second)];
            sides.into_iter().filter_map(|(is_better, side)| is_better.then_some(side)).collect()
        })
    }

    fn demonstrations(&self, of: impl Fn(&SegmentPair) -> Vec<usize>) -> SegmentDemonstrations<'a> {
        SegmentDemonstrations { segments: self.segments, demonstrated: self.pairs.iter().flat_map(of).collect() }
    }
}

impl SegmentDemonstrations<'_> {
    /// The problem that the segments are of.
    pub fn mdp(&self) -> Recorded {
        problem(self.segments)
    }
}

fn problem(segments: &Segments) -> Recorded {
    Recorded { observation_size: segments.observation_size(), action_size: segments.action_size() }
}

fn episode(segments: &Segments, segment: usize) -> EpisodeOf<Recorded> {
    Recorded::episode(segments.decisions(segment))
}

/// A hash of some items and the segments they name.
fn fingerprint<'s>(segments: &'s Segments, n: usize, sides: impl Fn(usize) -> (String, Vec<usize>)) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update(format!("{n} of {} ", segments.len()).as_bytes());
    for index in spread(n) {
        let (label, sides) = sides(index);
        hasher.update(format!("{label} {sides:?}").as_bytes());
        let numbers =
            sides.iter().flat_map(|&segment| segments.decisions(segment)).flat_map(|(observation, action)| {
                let both: [&'s [f32]; 2] = [observation, action];
                both.into_iter().flatten()
            });
        numbers.for_each(|number| _ = hasher.update(&number.to_le_bytes()));
    }
    hasher.finalize().to_hex().to_string()
}

impl Source for SegmentPairs<'_> {
    type Mdp = Recorded;
    type Feedback = Comparison;
    const UNIT: &'static str = "decisions";
    const DECISION: &'static str = "decision";

    fn len(&self) -> usize {
        self.pairs.len()
    }

    fn item(&self, index: usize) -> Result<Item<Recorded, Comparison>, BoxError> {
        let pair = self.pairs.get(index).ok_or_else(|| format!("there is no pair {index}"))?;
        let episodes = vec![episode(self.segments, pair.first), episode(self.segments, pair.second)];
        let feedback = vec![Comparison { preference: pair.preference, ..Comparison::new(0, 1) }];
        Ok(Item { episodes, feedback, size: 2 * self.segments.length() })
    }

    fn fingerprint(&self) -> Result<String, BoxError> {
        Ok(fingerprint(self.segments, self.pairs.len(), |index| {
            let SegmentPair { first, second, preference } = self.pairs[index];
            (preference.to_string(), vec![first, second])
        }))
    }
}

impl Source for SegmentDemonstrations<'_> {
    type Mdp = Recorded;
    type Feedback = Demonstration;
    const UNIT: &'static str = "decisions";
    const DECISION: &'static str = "decision";

    fn len(&self) -> usize {
        self.demonstrated.len()
    }

    fn item(&self, index: usize) -> Result<Item<Recorded, Demonstration>, BoxError> {
        let segment = *self.demonstrated.get(index).ok_or_else(|| format!("there is no segment {index}"))?;
        let feedback = vec![Demonstration { episode: 0 }];
        Ok(Item { episodes: vec![episode(self.segments, segment)], feedback, size: self.segments.length() })
    }

    fn fingerprint(&self) -> Result<String, BoxError> {
        let of = |index: usize| ("imitated".to_owned(), vec![self.demonstrated[index]]);
        Ok(fingerprint(self.segments, self.demonstrated.len(), of))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segments() -> Segments {
        Segments::new((0..6).map(|n| n as f32).collect(), vec![0.5; 6], 2, (1, 1)).unwrap()
    }

    fn pair(first: usize, second: usize, preference: f64) -> SegmentPair {
        SegmentPair { first, second, preference }
    }

    #[test]
    fn pairs_are_comparisons_of_recorded_episodes() {
        let segments = segments();
        let data = SegmentPairs::new(&segments, vec![pair(2, 0, 0.25)]);
        let item = data.item(0).unwrap();
        assert_eq!((data.len(), item.size, item.feedback[0].chosen()), (1, 4, 1));
        assert_eq!(item.episodes[0].pieces[1].start.as_deref(), Some(&[5.0f32][..]));
        assert!(data.item(1).unwrap_err().to_string().contains("no pair 1"));
    }

    #[test]
    fn demonstrations_are_the_better_segments_or_all() {
        let segments = segments();
        let data = SegmentPairs::new(&segments, vec![pair(2, 0, 0.0), pair(1, 2, 1.0), pair(0, 1, 0.5)]);
        assert_eq!(data.better().demonstrated, [0, 1, 0, 1]);
        assert_eq!(data.all().demonstrated, [2, 0, 1, 2, 0, 1]);
        assert!(data.better().item(4).is_err());
    }

    #[test]
    fn fingerprints_are_of_numbers_and_labels() {
        let (segments, mut others) = (segments(), segments());
        let of = |segments: &Segments, preference| {
            SegmentPairs::new(segments, vec![pair(0, 1, preference)]).fingerprint().unwrap()
        };
        assert_eq!(of(&segments, 1.0), of(&others, 1.0));
        assert_ne!(of(&segments, 1.0), of(&segments, 0.0));
        others = Segments::new(vec![7.0; 6], vec![0.5; 6], 2, (1, 1)).unwrap();
        assert_ne!(of(&segments, 1.0), of(&others, 1.0));
    }
}
