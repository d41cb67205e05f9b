//! The bootstrap over prompts.
use mdp::Rng;
use mdp::chance::{Noise, below};

/// A number with the ends of its 95% interval.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Interval {
    /// The number.
    pub value: f64,
    /// The lower end.
    pub low: f64,
    /// The upper end.
    pub high: f64,
}

/// Resamples of an estimate.
const RESAMPLES: usize = 2000;

/// The mean of all comparisons, with the percentile interval of the bootstrap over prompts; each prompt has the outcomes of its
/// comparisons, from 0 to 1. `None` without a comparison.
///
/// A prompt is drawn with all of its comparisons, so answers to one prompt do not count as independent.
///
/// # References
/// B. Efron, "Bootstrap methods: another look at the jackknife", 1979.
pub fn interval(prompts: &[Vec<f64>], seed: u64) -> Option<Interval> {
    let prompts: Vec<(f64, f64)> = prompts
        .iter()
        .filter(|outcomes| !outcomes.is_empty())
        .map(|outcomes| (outcomes.iter().sum(), outcomes.len() as f64))
        .collect();
    let mean = |drawn: &[&(f64, f64)]| {
        let (sum, n) = drawn.iter().fold((0.0, 0.0), |(sum, n), prompt| (sum + prompt.0, n + prompt.1));
        sum / n
    };
    estimate(&prompts, mean, &mut Noise::new(seed).stream("bootstrap of a win rate", 0))
}

/// The difference of two systems' mean outcomes on the same prompts, paired by prompt: each prompt has the mean outcome of
/// the one and of the other. `None` without a prompt.
///
/// # References
/// P. Koehn, "Statistical significance tests for machine translation evaluation", 2004 (paired bootstrap resampling).
pub fn difference(prompts: &[(f64, f64)], seed: u64) -> Option<Interval> {
    let mean = |drawn: &[&(f64, f64)]| drawn.iter().map(|(one, other)| one - other).sum::<f64>() / drawn.len() as f64;
    estimate(prompts, mean, &mut Noise::new(seed).stream("bootstrap of a difference", 0))
}

/// A number of prompts with its percentile interval.
fn estimate<P>(prompts: &[P], of: impl Fn(&[&P]) -> f64, rng: &mut Rng) -> Option<Interval> {
    if prompts.is_empty() {
        return None;
    }
    let n = prompts.len();
    let mut draw = |_| {
        let drawn: Vec<&P> = (0..n).map(|_| &prompts[below(rng, n as u64) as usize]).collect();
        of(&drawn)
    };
    let mut values: Vec<f64> = (0..RESAMPLES).map(&mut draw).collect();
    values.sort_by(f64::total_cmp);
    let at = |share: f64| values[((RESAMPLES as f64 - 1.0) * share).round() as usize];
    let all: Vec<&P> = prompts.iter().collect();
    Some(Interval { value: of(&all), low: at(0.025), high: at(0.975) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn independent_prompts_have_the_interval_of_the_normal_law() {
        // 60 wins of 100: the standard error is sqrt(.6 * .4 / 100) = .049.
        let prompts: Vec<Vec<f64>> = (0..100).map(|i| vec![if i < 60 { 1.0 } else { 0.0 }]).collect();
        let Interval { value, low, high } = interval(&prompts, 1).unwrap();
        assert_eq!(value, 0.6);
        assert!((low - 0.504).abs() < 0.02 && (high - 0.696).abs() < 0.02, "{low} {high}");
        assert_eq!(interval(&prompts, 1), interval(&prompts, 1));
        assert_eq!(interval(&[Vec::new()], 1), None);
    }

    #[test]
    fn comparisons_of_one_prompt_are_not_independent() {
        let width = |prompts: &[Vec<f64>]| {
            let found = interval(prompts, 1).unwrap();
            found.high - found.low
        };
        let alone: Vec<Vec<f64>> = (0..200).map(|i| vec![f64::from(i % 2)]).collect();
        let grouped: Vec<Vec<f64>> = (0..20).map(|i| vec![f64::from(i % 2); 10]).collect();
        assert!(width(&grouped) > 2.5 * width(&alone));
    }

    #[test]
    fn a_difference_is_paired_by_prompt() {
        // The one is .1 better on every prompt, however far apart prompts are.
        let prompts: Vec<(f64, f64)> =
            (0..50).map(|i| (f64::from(i % 2) * 0.8 + 0.1, f64::from(i % 2) * 0.8)).collect();
        let Interval { value, low, high } = difference(&prompts, 1).unwrap();
        assert!((value - 0.1).abs() < 1e-12 && (low - 0.1).abs() < 1e-12 && (high - 0.1).abs() < 1e-12);
        assert_eq!(difference(&[], 1), None);
    }
}
