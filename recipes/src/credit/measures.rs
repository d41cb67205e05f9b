//! Measures of how well numbers of places find wrong places (tokens of an answer, pixels of a picture), and bootstrap
//! intervals. They know no model.
//!
//! A place with less credit is a likelier error. Three measures are taken over examples, in each of which something is
//! wrong: the area under the ROC curve and the average precision of all places together, and pointing accuracy.
use std::ops::Range;

use mdp::chance::{Noise, below};

use crate::Estimate;

/// Resamples of a bootstrap.
const RESAMPLES: u64 = 1000;

/// The credit of an example's tokens, and which of them are wrong. Both slices have one entry a token.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Labelled<'a> {
    pub(crate) credit: &'a [f64],
    pub(crate) wrong: &'a [bool],
}

/// The three measures of one kind of credit; `None` where there is nothing to tell apart.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Measured {
    pub(crate) auroc: Option<Estimate>,
    pub(crate) average_precision: Option<Estimate>,
    pub(crate) pointing: Option<Estimate>,
}

/// Resamples of `n` examples: how often each is drawn in each of them.
///
/// One set serves all kinds of credit, which are so compared on the same examples.
pub(crate) struct Bootstrap(Vec<Vec<f64>>);

impl Bootstrap {
    /// Draws `n` of `n` examples with replacement, a thousand times. It is a function of seed and `n`.
    pub(crate) fn new(seed: u64, n: usize) -> Self {
        let noise = Noise::new(seed);
        let resample = |index| {
            let (mut rng, mut counts) = (noise.stream("bootstrap over examples", index), vec![0.0; n]);
            (0..n).for_each(|_| counts[below(&mut rng, n as u64) as usize] += 1.0);
            counts
        };
        Self((0..RESAMPLES).map(resample).collect())
    }

    /// A statistic of weighted examples, with the 2.5% and 97.5% percentiles of its resamples. Resamples without a value
    /// are left out.
    pub(crate) fn estimate(&self, statistic: impl Fn(&[f64]) -> Option<f64>) -> Option<Estimate> {
        let n = self.0.first().map_or(0, Vec::len);
        let value = statistic(&vec![1.0; n])?;
        let mut values: Vec<f64> = self.0.iter().filter_map(|counts| statistic(counts)).collect();
        values.sort_by(f64::total_cmp);
        let (low, high) = (percentile(&values, 0.025)?, percentile(&values, 0.975)?);
        Some(Estimate { value, low, high })
    }
}

impl Bootstrap {
    /// The ratio of two sums over examples.
    pub(crate) fn ratio(&self, of: &[f64], to: &[f64]) -> Option<Estimate> {
        let sum = |values: &[f64], weights: &[f64]| -> f64 { values.iter().zip(weights).map(|(v, w)| v * w).sum() };
        self.estimate(|weights| {
            let ratio = sum(of, weights) / sum(to, weights);
            ratio.is_finite().then_some(ratio)
        })
    }

    /// The mean over examples.
    pub(crate) fn mean(&self, values: &[f64]) -> Option<Estimate> {
        self.ratio(values, &vec![1.0; values.len()])
    }
}

/// A percentile of sorted values, linear between neighbours.
fn percentile(sorted: &[f64], share: f64) -> Option<f64> {
    let at = share * sorted.len().checked_sub(1)? as f64;
    let (below, above) = (at.floor() as usize, at.ceil() as usize);
    Some(sorted[below] + (sorted[above] - sorted[below]) * (at - at.floor()))
}

/// The three measures of credit, each with a bootstrap interval over examples.
///
/// # Panics
/// If the bootstrap is of another number of examples.
pub(crate) fn measure(examples: &[Labelled<'_>], bootstrap: &Bootstrap) -> Measured {
    let sorted = Sorted::of(examples);
    let hits: Vec<Option<f64>> = examples.iter().map(pointing).collect();
    Measured {
        auroc: bootstrap.estimate(|weights| sorted.auroc(weights)),
        average_precision: bootstrap.estimate(|weights| sorted.average_precision(weights)),
        pointing: bootstrap.estimate(|weights| mean(&hits, weights)),
    }
}

/// The area under the ROC curve alone.
///
/// # Panics
/// If the bootstrap is of another number of examples.
pub(crate) fn auroc(examples: &[Labelled<'_>], bootstrap: &Bootstrap) -> Option<Estimate> {
    let sorted = Sorted::of(examples);
    bootstrap.estimate(|weights| sorted.auroc(weights))
}

/// Whether the token of least credit is wrong; of several the share of them that is.
fn pointing(example: &Labelled<'_>) -> Option<f64> {
    let least = example.credit.iter().copied().min_by(f64::total_cmp)?;
    let is_least = example.credit.iter().zip(example.wrong).filter(|(credit, _)| **credit <= least);
    let (n, n_wrong) = is_least.fold((0.0, 0.0), |(n, wrong), (_, is)| (n + 1.0, wrong + f64::from(u8::from(*is))));
    Some(n_wrong / n)
}

fn mean(values: &[Option<f64>], weights: &[f64]) -> Option<f64> {
    let known = values.iter().zip(weights).filter_map(|(value, weight)| Some((value.as_ref()?, weight)));
    let (sum, n) = known.fold((0.0, 0.0), |(sum, n), (value, weight)| (sum + value * weight, n + weight));
    (n > 0.0).then(|| sum / n)
}

/// All tokens by credit, the least first.
struct Sorted {
    /// Each token's example, and whether it is wrong.
    tokens: Vec<(usize, bool)>,
    /// Runs of tokens of equal credit.
    ties: Vec<Range<usize>>,
}

impl Sorted {
    fn of(examples: &[Labelled<'_>]) -> Self {
        let tokens = examples.iter().enumerate().flat_map(|(index, example)| {
            example.credit.iter().zip(example.wrong).map(move |(credit, wrong)| (*credit, index, *wrong))
        });
        let mut tokens: Vec<(f64, usize, bool)> = tokens.collect();
        tokens.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut ties: Vec<Range<usize>> = Vec::new();
        for (at, token) in tokens.iter().enumerate() {
            match ties.last_mut() {
                Some(tie) if tokens[tie.start].0 >= token.0 => tie.end = at + 1,
                _ => ties.push(at..at + 1),
            }
        }
        Self { tokens: tokens.into_iter().map(|(_, index, wrong)| (index, wrong)).collect(), ties }
    }

    /// The weights of wrong and of right tokens in each run of ties.
    fn runs<'a>(&'a self, weights: &'a [f64]) -> impl Iterator<Item = (f64, f64)> + 'a {
        self.ties.iter().map(|tie| {
            self.tokens[tie.clone()].iter().fold((0.0, 0.0), |(wrong, right), (index, is_wrong)| {
                let weight = weights[*index];
                if *is_wrong { (wrong + weight, right) } else { (wrong, right + weight) }
            })
        })
    }

    /// The probability that a wrong token has less credit than a right one; ties count half. `None` without both.
    fn auroc(&self, weights: &[f64]) -> Option<f64> {
        let (mut wrong_before, mut n_right, mut won) = (0.0, 0.0, 0.0);
        for (wrong, right) in self.runs(weights) {
            won += right * (wrong_before + 0.5 * wrong);
            wrong_before += wrong;
            n_right += right;
        }
        let pairs = wrong_before * n_right;
        (pairs > 0.0).then(|| won / pairs)
    }

    /// The average precision of the least credit first: the sum of precision times gained recall, over the thresholds
    /// between different credits. `None` without a wrong token.
    fn average_precision(&self, weights: &[f64]) -> Option<f64> {
        let (mut wrong_so_far, mut so_far, mut sum) = (0.0, 0.0, 0.0);
        for (wrong, right) in self.runs(weights) {
            wrong_so_far += wrong;
            so_far += wrong + right;
            if wrong > 0.0 {
                sum += wrong * wrong_so_far / so_far;
            }
        }
        (wrong_so_far > 0.0).then(|| sum / wrong_so_far)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(examples: &[(&[f64], &[bool])]) -> Measured {
        let examples: Vec<Labelled<'_>> = examples.iter().map(|(credit, wrong)| Labelled { credit, wrong }).collect();
        measure(&examples, &Bootstrap::new(0, examples.len()))
    }

    fn values(measured: &Measured) -> [f64; 3] {
        [measured.auroc, measured.average_precision, measured.pointing].map(|estimate| estimate.unwrap().value)
    }

    fn check(examples: &[(&[f64], &[bool])], expected: [f64; 3]) {
        let found = values(&measured(examples));
        let is_close = found.iter().zip(expected).all(|(found, expected)| (found - expected).abs() < 1e-12);
        assert!(is_close, "{found:?}, not {expected:?}");
    }

    #[test]
    fn the_textbook_example_has_its_numbers() {
        // The example of sklearn's roc_auc_score and average_precision_score: labels 0 0 1 1, scores .1 .4 .35 .8 give
        // .75 and .8333: the positives are ranked first and third, (1/1 + 2/3) / 2. Credit is minus the score.
        check(&[(&[-0.1, -0.4, -0.35, -0.8], &[false, false, true, true])], [0.75, 5.0 / 6.0, 1.0]);
    }

    #[test]
    fn ties_count_half_and_are_one_threshold() {
        // All tied: a coin. AUROC 1/2; one threshold of precision 1/4; one of four least tokens is wrong.
        check(&[(&[0.0; 4], &[true, false, false, false])], [0.5, 0.25, 0.25]);
        // Wrong at -1 and 0, right at 0 and 1. Pairs: (-1,0) 1, (-1,1) 1, (0,0) 1/2, (0,1) 1: 3.5 of 4. Thresholds: at -1
        // precision 1 and recall 1/2, at 0 precision 2/3 and recall 1: (1 + 2/3) / 2.
        check(&[(&[-1.0, 0.0, 0.0, 1.0], &[true, true, false, false])], [0.875, 5.0 / 6.0, 1.0]);
    }

    #[test]
    fn tokens_of_all_examples_are_ranked_together_and_pointed_at_apart() {
        // Ranked: wrong -2, right -1, wrong 0, right 1. Pairs won: 2 of -2's, 1 of 0's: 3 of 4. AP (1 + 2/3) / 2. In the
        // first the least is wrong, in the second it is not.
        let second: (&[f64], &[bool]) = (&[0.0, -1.0], &[true, false]);
        check(&[(&[-2.0, 1.0], &[true, false]), second], [0.75, 5.0 / 6.0, 0.5]);
    }

    #[test]
    fn what_cannot_be_told_apart_has_no_number() {
        let none = measured(&[(&[0.0, 1.0], &[false, false])]);
        assert_eq!((none.auroc, none.average_precision), (None, None));
        let all = measured(&[(&[0.0, 1.0], &[true, true])]);
        assert_eq!(all.auroc, None);
        assert_eq!(all.average_precision.unwrap().value, 1.0);
        let empty = measured(&[]);
        assert_eq!((empty.auroc, empty.average_precision, empty.pointing), (None, None, None));
    }

    #[test]
    fn weights_are_copies() {
        let one: (&[f64], &[bool]) = (&[0.3, -0.2, 0.1], &[false, true, false]);
        let two: (&[f64], &[bool]) = (&[0.0, 0.2, 0.1, -0.3], &[true, false, false, false]);
        let labelled = |list: &[(&'static [f64], &'static [bool])]| {
            Sorted::of(&list.iter().map(|(credit, wrong)| Labelled { credit, wrong }).collect::<Vec<_>>())
        };
        let (weighed, copied) = (labelled(&[one, two]), labelled(&[one, two, two, two]));
        for by in [Sorted::auroc, Sorted::average_precision] {
            assert!((by(&weighed, &[1.0, 3.0]).unwrap() - by(&copied, &[1.0; 4]).unwrap()).abs() < 1e-12);
        }
    }

    #[test]
    fn intervals_hold_the_number_and_follow_the_seed() {
        let credit: Vec<Vec<f64>> = (0..20).map(|i| vec![-1.0, f64::from(i % 3) - 1.5, 0.5]).collect();
        let examples: Vec<Labelled<'_>> =
            credit.iter().map(|credit| Labelled { credit, wrong: &[true, false, false] }).collect();
        let of = |seed| measure(&examples, &Bootstrap::new(seed, examples.len()));
        assert_eq!(of(1), of(1));
        // Percentiles of so few different values are often those of another seed; its resamples are others.
        let (one, two) = (Bootstrap::new(1, 20).0, Bootstrap::new(2, 20).0);
        assert_ne!(one, two);
        assert!(one.iter().all(|counts| counts.iter().sum::<f64>() == 20.0));
        // 7 of 20 have -1.5 as their least: 13 of 20 point right, and the binomial's 95% is about .65 -+ .21.
        let pointing = of(1).pointing.unwrap();
        assert!((pointing.value - 0.65).abs() < 1e-12);
        assert!((pointing.low - 0.45).abs() < 0.06 && (pointing.high - 0.85).abs() < 0.06, "{pointing:?}");
        for estimate in [of(1).auroc, of(1).average_precision] {
            let Estimate { value, low, high } = estimate.unwrap();
            assert!(low < value && value < high);
        }
    }

    #[test]
    fn ratios_are_of_sums_and_resamples_without_one_are_left_out() {
        let bootstrap = Bootstrap::new(0, 3);
        let ratio = bootstrap.ratio(&[1.0, 2.0, 3.0], &[2.0, 0.0, 2.0]).unwrap();
        assert_eq!(ratio.value, 1.5);
        assert!(ratio.low >= 0.5 && ratio.high.is_finite());
        assert_eq!(bootstrap.ratio(&[1.0; 3], &[0.0; 3]), None);
        assert_eq!(bootstrap.mean(&[1.0, 2.0, 6.0]).unwrap().value, 3.0);
        assert_eq!(Bootstrap::new(0, 0).mean(&[]), None);
    }

    #[test]
    fn percentiles_are_linear_between_neighbours() {
        // numpy.percentile([0, 1, 2, 3], 2.5) is 0.075.
        assert!((percentile(&[0.0, 1.0, 2.0, 3.0], 0.025).unwrap() - 0.075).abs() < 1e-12);
        assert_eq!(percentile(&[5.0], 0.975), Some(5.0));
        assert_eq!(percentile(&[], 0.5), None);
    }
}
