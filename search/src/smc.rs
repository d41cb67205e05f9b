//! Sequential Monte Carlo: rows are sampled, weighted and resampled.

use mdp::chance::{fork, unit};
use mdp::{Mdp, Rng};

use crate::error::{Result, SearchError, at_least_one};
use crate::found::OutcomeOf;
use crate::rows::{Choice, Row, Rows};
use crate::task::{Method, Task};

/// Sequential Monte Carlo: samples from the policy with weights exp(score), and resamples, so that promising rows are
/// continued more often.
///
/// The particles follow the normalised `pi(episode) exp(score)`, with pi the sampling policy, for any kind of steps:
/// tokens, denoising steps, or both in a row. Each decision multiplies a particle's weight by the exponential of its
/// gain (the incremental score, or twist); below an effective sample size of `threshold * n`, all particles of a start
/// are resampled systematically, finished ones included. [`Outcome::estimate`](crate::Outcome::estimate) is the
/// logarithm of an unbiased estimate of the normaliser, the policy's mean of exp(score);
/// [`Found::weight`](crate::Found::weight) is the normalised weight of each particle.
///
/// # References
/// Doucet and Johansen, "A Tutorial on Particle Filtering and Smoothing", 2009; Zhao et al., "Probabilistic Inference in Language
/// Models via Twisted Sequential Monte Carlo", 2024; Singhal et al., "A General Framework for Inference-time Scaling and Steering
/// of Diffusion Models", 2025.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Smc {
    /// Particles per start.
    pub n: usize,
    /// The fraction of `n` below which the effective sample size triggers resampling: 0 never resamples (importance
    /// sampling), 1 resamples whenever weights differ.
    pub threshold: f64,
}

impl Smc {
    /// Resamples below half of the particles.
    pub fn new(n: usize) -> Self {
        Self { n, threshold: 0.5 }
    }
}

impl<M: Mdp> Method<M> for Smc {
    /// Particles are not sorted.
    fn search(&self, task: Task<'_, M>) -> Result<Vec<OutcomeOf<M>>> {
        at_least_one("the number of particles", self.n)?;
        if !(0.0..=1.0).contains(&self.threshold) {
            let (what, expected) = ("the threshold of the effective sample size", "between 0 and 1");
            return Err(SearchError::Setting { what, got: self.threshold, expected });
        }
        let rngs: Vec<Rng> = task.rngs.iter_mut().map(fork).collect();
        let mut rows = Rows::open(task)?;
        let mut particles = Particles::new(rngs, rows.ended());
        let mut n = self.n;
        loop {
            particles.keep(rows.unaffordable());
            if rows.rows().is_empty() {
                return Ok(particles.outcomes(&rows));
            }
            let lists = rows.draws(std::mem::replace(&mut n, 1))?;
            let keys: Vec<f64> = rows.rows().iter().map(|row| row.key).collect();
            let choices = lists.into_iter().zip(keys).enumerate().flat_map(|(row, (list, key))| {
                list.into_iter().map(move |candidate| Choice { row, key: key + candidate.gain, candidate, group: 0 })
            });
            rows.take(choices.collect())?;
            particles.keep(rows.ended());
            particles.resample(&mut rows, self.threshold);
        }
    }
}

/// The particles of each start, besides the unfinished rows.
struct Particles<A> {
    rngs: Vec<Rng>,
    log_normalisers: Vec<f64>,
    ended: Vec<Vec<Row<A>>>,
}

impl<A: Clone> Particles<A> {
    fn new(rngs: Vec<Rng>, ended: Vec<Row<A>>) -> Self {
        let n = rngs.len();
        let mut particles = Self { rngs, log_normalisers: vec![0.0; n], ended: vec![Vec::new(); n] };
        particles.keep(ended);
        particles
    }

    fn keep(&mut self, ended: Vec<Row<A>>) {
        for row in ended {
            self.ended[row.start].push(row);
        }
    }

    /// Resamples the particles of every start with a low effective sample size and an unfinished particle.
    fn resample<M: Mdp<Action = A>>(&mut self, rows: &mut Rows<'_, M>, threshold: f64) {
        let (mut selected, mut is_new) = (Vec::new(), vec![false; self.rngs.len()]);
        for (start, live) in rows.by_start().into_iter().enumerate() {
            let of_live = live.iter().map(|&row| rows.rows()[row].key);
            let keys: Vec<f64> = of_live.chain(self.ended[start].iter().map(|row| row.key)).collect();
            if live.is_empty() || effective(&keys) >= threshold * keys.len() as f64 {
                selected.extend(live);
                continue;
            }
            is_new[start] = true;
            self.log_normalisers[start] += log_mean(&keys);
            let ended = std::mem::take(&mut self.ended[start]);
            for parent in systematic(&keys, unit(&mut self.rngs[start])) {
                match live.get(parent) {
                    Some(&row) => selected.push(row),
                    None => self.ended[start].push(ended[parent - live.len()].clone().noted(0, 0.0)),
                }
            }
        }
        if is_new.contains(&true) {
            rows.select(&selected);
            rows.rows_mut().iter_mut().filter(|row| is_new[row.start]).for_each(|row| row.key = 0.0);
        }
    }

    /// All particles with their normalised weights, and the estimates.
    fn outcomes<M: Mdp<Action = A>>(self, rows: &Rows<'_, M>) -> Vec<OutcomeOf<M>> {
        let keys_of = |rows: &Vec<Row<A>>| rows.iter().map(|row| row.key).collect();
        let keys: Vec<Vec<f64>> = self.ended.iter().map(keys_of).collect();
        let mut outcomes = rows.outcomes(self.ended.into_iter().flatten().collect());
        for ((outcome, keys), so_far) in outcomes.iter_mut().zip(&keys).zip(self.log_normalisers) {
            outcome.found.iter_mut().zip(shares(keys)).for_each(|(found, share)| found.weight = share);
            outcome.estimate = Some(so_far + log_mean(keys));
        }
        outcomes
    }
}

/// Normalised weights from log weights.
fn shares(keys: &[f64]) -> Vec<f64> {
    let total = log_mean(keys) + (keys.len() as f64).ln();
    keys.iter().map(|key| (key - total).exp()).collect()
}

/// The logarithm of the mean of exponentials.
fn log_mean(keys: &[f64]) -> f64 {
    let largest = keys.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = keys.iter().map(|key| (key - largest).exp()).sum();
    largest + (sum / keys.len() as f64).ln()
}

/// The effective sample size, 1 over the sum of squared weights.
fn effective(keys: &[f64]) -> f64 {
    1.0 / shares(keys).iter().map(|share| share * share).sum::<f64>()
}

/// Systematic resampling: as many parents as weights, each as often as its expected count rounded up or down, from one
/// uniform number.
fn systematic(keys: &[f64], uniform: f64) -> Vec<usize> {
    let n = keys.len() as f64;
    let mut ends = shares(keys);
    let mut sum = 0.0;
    for end in &mut ends {
        sum += *end * n;
        *end = sum;
    }
    let parent = |place: usize| {
        let reached = ends.partition_point(|end| *end <= place as f64 + uniform);
        reached.min(keys.len() - 1)
    };
    (0..keys.len()).map(parent).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parents_are_taken_as_often_as_their_share() {
        let keys = [0.5f64.ln(), 0.25f64.ln(), 0.125f64.ln(), 0.125f64.ln()];
        assert_eq!(systematic(&keys, 0.0), [0, 0, 1, 2]);
        assert_eq!(systematic(&keys, 0.6), [0, 0, 1, 3]);
        assert!((effective(&keys) - 1.0 / (0.25 + 0.0625 + 2.0 * 0.015_625)).abs() < 1e-12);
        assert!((effective(&[3.0; 5]) - 5.0).abs() < 1e-12);
        assert!((log_mean(&[1000.0, 1000.0]) - 1000.0).abs() < 1e-12);
    }
}
