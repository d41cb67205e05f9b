//! From logits to a token.

use std::sync::Arc;

use candle_core::Tensor;
use engine::Rng;
use engine::softmax::SoftmaxWeights;
use engine::transfer::with_host;
use mdp::chance::unit;

use mdp::token::TokenMdp;
use rayon::prelude::*;

use crate::ModelError;
use policies::Proposal;

/// Rows of logits, in this process's memory.
pub(super) fn host_logits(logits: &Tensor) -> Result<Vec<Arc<Vec<f32>>>, ModelError> {
    let width = logits.dim(1)?;
    let rows = |numbers: &[f32]| numbers.par_chunks(width).map(|row| Arc::new(row.to_vec())).collect();
    Ok(with_host(logits, rows)?)
}

/// Sampling settings of tokens, and the end of a response.
#[derive(Clone, Debug, PartialEq)]
pub struct GenerationConfig {
    /// Divides the logits; 0 always takes the most likely token.
    pub temperature: f64,
    /// Only so many of the most likely tokens are drawn from.
    pub top_k: Option<usize>,
    /// Only the most likely tokens that together reach this probability are drawn from (at the temperature, after
    /// `top_k`).
    pub top_p: Option<f64>,
    /// Only tokens with at least this share of the most likely one's probability are drawn from (at the temperature).
    ///
    /// Source: M. Nguyen et al., "Turning up the heat: min-p sampling for creative and coherent LLM outputs", 2024.
    pub min_p: Option<f64>,
    /// The positive logits of tokens that are in the prompt or the response are divided by this, negative ones multiplied; 1
    /// changes none.
    ///
    /// Source: N. S. Keskar et al., "CTRL: a conditional transformer language model for controllable generation", 2019.
    pub repetition_penalty: f64,
    /// The most tokens a response may have.
    pub max_new: usize,
    /// The tokens that end a response.
    pub eos: Vec<u32>,
    /// Tokens from here on are never drawn: embeddings are often padded to a round number. `None` allows all.
    pub vocabulary: Option<usize>,
}

impl Default for GenerationConfig {
    /// The model's own distribution, for up to 128 tokens, ended by nothing else.
    fn default() -> Self {
        Self {
            temperature: 1.,
            top_k: None,
            top_p: None,
            min_p: None,
            repetition_penalty: 1.,
            max_new: 128,
            eos: Vec::new(),
            vocabulary: None,
        }
    }
}

impl GenerationConfig {
    /// Always the most likely token.
    pub fn greedy() -> Self {
        Self { temperature: 0., ..Self::default() }
    }

    pub(super) fn check(&self) -> Result<(), ModelError> {
        let refuse = |what: &str, expected: &str, got: String| {
            Err(ModelError::Argument { what: what.into(), expected: expected.into(), got })
        };
        if !(self.temperature >= 0. && self.temperature.is_finite()) {
            return refuse("the temperature", "zero or a positive number", self.temperature.to_string());
        }
        if self.top_k == Some(0) {
            return refuse("top-k", "at least 1", "0".into());
        }
        if !(self.repetition_penalty > 0. && self.repetition_penalty.is_finite()) {
            return refuse("the repetition penalty", "a positive number", self.repetition_penalty.to_string());
        }
        if let Some(min_p) = self.min_p.filter(|min_p| !(0. ..=1.).contains(min_p)) {
            return refuse("min-p", "a share from 0 to 1", min_p.to_string());
        }
        match self.top_p {
            Some(top_p) if !(top_p > 0. && top_p <= 1.) => {
                refuse("top-p", "a probability above 0 and at most 1", top_p.to_string())
            }
            _ if self.vocabulary == Some(0) => refuse("the vocabulary to draw from", "at least one token", "0".into()),
            _ => Ok(()),
        }
    }

    /// The same, checked, for tokens that a problem has.
    pub(super) fn within(&self, mdp: &TokenMdp) -> Result<Self, ModelError> {
        self.check()?;
        let all = mdp.vocabulary as usize;
        Ok(Self { vocabulary: Some(self.vocabulary.map_or(all, |n| n.min(all))), ..self.clone() })
    }

    /// Draws a token that continues `seen`; `None` where a logit is not a number.
    pub(super) fn draw(&self, logits: &[f32], seen: impl Iterator<Item = u32>, rng: &mut Rng) -> Option<u32> {
        let logits = &logits[..self.vocabulary.unwrap_or(logits.len()).min(logits.len())];
        if !are_finite(logits) {
            return None;
        }
        if self.repetition_penalty == 1. {
            return self.draw_of(logits, rng);
        }
        self.draw_of(&penalised(logits, seen, self.repetition_penalty as f32), rng)
    }

    /// Draws a token by finite logits.
    fn draw_of(&self, logits: &[f32], rng: &mut Rng) -> Option<u32> {
        if self.temperature == 0. {
            return most_likely(logits);
        }
        if self.top_k.is_none() && self.top_p.is_none() && self.min_p.is_none() {
            return SoftmaxWeights::new(logits, self.temperature).index_at(unit(rng)).map(|index| index as u32);
        }
        let mut tokens = best_first(logits, self.top_k.unwrap_or(logits.len()));
        let kept: Vec<f32> = tokens.iter().map(|&token| logits[token as usize]).collect();
        let mut weights = SoftmaxWeights::new(&kept, self.temperature).all();
        // In the order of transformers, whose min-p comes last.
        if let Some(top_p) = self.top_p {
            let n = nucleus(&weights, top_p);
            tokens.truncate(n);
            weights.truncate(n);
        }
        if let (Some(min_p), Some(&most)) = (self.min_p, weights.first()) {
            let n = weights.partition_point(|weight| *weight >= min_p * most);
            tokens.truncate(n);
            weights.truncate(n);
        }
        pick(&weights, rng).map(|index| tokens[index])
    }
}

/// The logits with a penalty on tokens that were seen, once each.
fn penalised(logits: &[f32], seen: impl Iterator<Item = u32>, penalty: f32) -> Vec<f32> {
    let mut changed = logits.to_vec();
    for token in seen.map(|token| token as usize).filter(|token| *token < logits.len()) {
        let logit = logits[token];
        changed[token] = if logit < 0. { logit * penalty } else { logit / penalty };
    }
    changed
}

/// The `k` most likely tokens below `vocabulary`, best first, with their log-probabilities among all of `logits`.
pub(super) fn top_proposals(logits: &[f32], vocabulary: usize, k: usize) -> Vec<Proposal<u32>> {
    let normaliser = normaliser(logits);
    let proposal = |token: u32| {
        let log_prob = f64::from(logits[token as usize]) - normaliser;
        Proposal { action: token, log_prob, prior: log_prob.exp() }
    };
    best_first(&logits[..vocabulary.min(logits.len())], k).into_iter().map(proposal).collect()
}

/// The log-probability of a token among all of `logits`, nats.
pub(super) fn log_prob(logits: &[f32], token: u32) -> f64 {
    f64::from(logits[token as usize]) - normaliser(logits)
}

/// The log-probabilities of several tokens among all of `logits`, nats.
pub(super) fn log_probs(logits: &[f32], tokens: &[u32]) -> Vec<f64> {
    let normaliser = normaliser(logits);
    tokens.iter().map(|&token| f64::from(logits[token as usize]) - normaliser).collect()
}

/// The logarithm of the sum of exponentials.
fn normaliser(logits: &[f32]) -> f64 {
    let weights = SoftmaxWeights::new(logits, 1.);
    weights.largest() + weights.sum().ln()
}

/// Whether no number is NaN or infinite; branch-free, so that it is one pass at the speed of memory.
fn are_finite(logits: &[f32]) -> bool {
    !logits.chunks(64).any(|chunk| chunk.iter().fold(false, |found, logit| found | !logit.is_finite()))
}

/// The first of the largest.
fn most_likely(logits: &[f32]) -> Option<u32> {
    let better = |best: Option<usize>, index: usize| match best {
        Some(best) if logits[best] >= logits[index] => Some(best),
        _ => Some(index),
    };
    (0..logits.len()).fold(None, better).map(|index| index as u32)
}

/// The `k` tokens of the largest logits, best first, the lower of equals first.
fn best_first(logits: &[f32], k: usize) -> Vec<u32> {
    let order = |a: &u32, b: &u32| logits[*b as usize].total_cmp(&logits[*a as usize]).then(a.cmp(b));
    if k == 0 {
        return Vec::new();
    }
    let mut tokens: Vec<u32> = Vec::new();
    // No token below this one can be among the best.
    let mut least = f32::NEG_INFINITY;
    for (chunk, start) in logits.chunks(CHUNK).zip((0..).step_by(CHUNK)) {
        // What is not a number is below nothing, and so compared in full.
        let is_below = |logit: &f32| *logit < least;
        if chunk.iter().fold(true, |all, logit| all & is_below(logit)) {
            continue;
        }
        tokens.extend(chunk.iter().zip(start..).filter(|(logit, _)| !is_below(logit)).map(|(_, token)| token));
        // Sorted out when as many again have come, so that each costs little.
        if tokens.len() >= k.saturating_mul(2).max(CHUNK) {
            tokens.select_nth_unstable_by(k - 1, order);
            tokens.truncate(k);
            least = logits[tokens[k - 1] as usize];
        }
    }
    if k < tokens.len() {
        tokens.select_nth_unstable_by(k - 1, order);
        tokens.truncate(k);
    }
    tokens.sort_unstable_by(order);
    tokens
}

/// Logits that are compared at a time.
const CHUNK: usize = 64;

/// The number of weights, largest first, that together reach the share `top_p`.
fn nucleus(weights: &[f64], top_p: f64) -> usize {
    let wanted = top_p * weights.iter().sum::<f64>();
    let mut sum = 0.;
    let reached = weights.iter().position(|weight| {
        sum += weight;
        sum >= wanted
    });
    reached.map_or(weights.len(), |index| index + 1)
}

fn pick(weights: &[f64], rng: &mut Rng) -> Option<usize> {
    let mut left = unit(rng) * weights.iter().sum::<f64>();
    let found = weights.iter().position(|weight| {
        left -= weight;
        left < 0.
    });
    // Rounding can leave a little; the last token that can be drawn takes it.
    found.or_else(|| weights.iter().rposition(|weight| *weight > 0.))
}

#[cfg(test)]
mod tests {
    use engine::Noise;

    use super::*;

    fn shares(sampling: &GenerationConfig, logits: &[f32]) -> Vec<f64> {
        let rng = &mut Noise::new(4).stream("draw", 0);
        let mut counts = vec![0.; logits.len()];
        for _ in 0..20_000 {
            counts[sampling.draw(logits, [1, 1, 9].into_iter(), rng).unwrap() as usize] += 1. / 20_000.;
        }
        counts
    }

    /// A share of p has standard deviation sqrt(p (1 - p) / 20000) < 0.0036; the bound is five of them.
    fn check(sampling: &GenerationConfig, expected: [f64; 4]) {
        let logits: Vec<f32> = [0.1f64, 0.4, 0.3, 0.2].iter().map(|p| p.ln() as f32 + 3.).collect();
        let shares = shares(sampling, &logits);
        let close = shares.iter().zip(expected).all(|(share, expected)| (share - expected).abs() < 0.018);
        assert!(close, "{sampling:?}: {shares:?}, expected {expected:?}");
    }

    #[test]
    fn draws_follow_the_settings() {
        let plain = GenerationConfig::default;
        check(&plain(), [0.1, 0.4, 0.3, 0.2]);
        check(&GenerationConfig::greedy(), [0., 1., 0., 0.]);
        check(&GenerationConfig { top_k: Some(1), ..plain() }, [0., 1., 0., 0.]);
        check(&GenerationConfig { top_k: Some(2), ..plain() }, [0., 4. / 7., 3. / 7., 0.]);
        check(&GenerationConfig { top_p: Some(0.5), ..plain() }, [0., 4. / 7., 3. / 7., 0.]);
        check(&GenerationConfig { top_p: Some(0.01), ..plain() }, [0., 1., 0., 0.]);
        check(&GenerationConfig { top_p: Some(1.), ..plain() }, [0.1, 0.4, 0.3, 0.2]);
        // Squares: 1, 16, 9, 4 of 30.
        check(&GenerationConfig { temperature: 0.5, ..plain() }, [1. / 30., 16. / 30., 9. / 30., 4. / 30.]);
        check(&GenerationConfig { vocabulary: Some(2), ..plain() }, [0.2, 0.8, 0., 0.]);
        check(&GenerationConfig { min_p: Some(0.6), ..plain() }, [0., 4. / 7., 3. / 7., 0.]);
        check(&GenerationConfig { min_p: Some(1.), ..plain() }, [0., 1., 0., 0.]);
        // top-p keeps .4 and .3, of which min-p keeps one.
        check(&GenerationConfig { top_p: Some(0.6), min_p: Some(0.8), ..plain() }, [0., 1., 0., 0.]);
        // Token 1 was seen twice and counts once; its logit ln .4 + 3 is divided by 2.
        let seen = (0.5 * (0.4f64.ln() + 3.)).exp() / 3f64.exp();
        let all = 0.6 + seen;
        let penalty = GenerationConfig { repetition_penalty: 2., ..plain() };
        check(&penalty, [0.1 / all, seen / all, 0.3 / all, 0.2 / all]);
        check(&GenerationConfig { temperature: 0., ..penalty }, [0., 0., 1., 0.]);
    }

    #[test]
    fn a_penalty_multiplies_negative_logits() {
        assert_eq!(penalised(&[-1., 2., 0.5], [0, 1, 7].into_iter(), 2.), [-2., 1., 0.5]);
    }

    #[test]
    fn proposals_are_the_exact_best() {
        let logits: Vec<f32> = [0.1f64, 0.4, 0.3, 0.2].iter().map(|p| p.ln() as f32 - 50.).collect();
        let proposals = top_proposals(&logits, 4, 3);
        assert_eq!(proposals.iter().map(|proposal| proposal.action).collect::<Vec<_>>(), [1, 2, 3]);
        assert!(proposals.iter().zip([0.4, 0.3, 0.2]).all(|(found, p)| (found.prior - p).abs() < 1e-5));
        assert_eq!(top_proposals(&logits, 4, 9).len(), 4);
        let below = top_proposals(&logits, 2, 9);
        assert!(below.len() == 2 && (below[1].prior - 0.1).abs() < 1e-5);
        assert_eq!(top_proposals(&[1., 1., 1.], 3, 2).iter().map(|p| p.action).collect::<Vec<_>>(), [0, 1]);
    }

    #[test]
    fn the_best_are_those_of_a_full_sort() {
        let rng = &mut Noise::new(1).stream("best", 0);
        for n in [1, 63, 64, 65, 1000, 5000] {
            // A few values, so that many are equal; and one that is not a number.
            let mut logits: Vec<f32> = (0..n).map(|_| (unit(rng) * 50.).floor() as f32 - 25.).collect();
            for not_a_number in [false, true] {
                if not_a_number {
                    logits[n / 2] = f32::NAN;
                }
                let mut sorted: Vec<u32> = (0..n as u32).collect();
                sorted.sort_by(|a, b| logits[*b as usize].total_cmp(&logits[*a as usize]).then(a.cmp(b)));
                for k in [0, 1, 2, 7, 64, 200, 4999, 9000] {
                    assert_eq!(best_first(&logits, k), sorted[..k.min(n)], "{k} of {n}");
                }
            }
        }
    }

    #[test]
    fn senseless_settings_and_numbers_are_refused() {
        let plain = GenerationConfig::default;
        let bad = [
            GenerationConfig { temperature: -1., ..plain() },
            GenerationConfig { temperature: f64::NAN, ..plain() },
            GenerationConfig { top_k: Some(0), ..plain() },
            GenerationConfig { top_p: Some(0.), ..plain() },
            GenerationConfig { top_p: Some(1.5), ..plain() },
            GenerationConfig { vocabulary: Some(0), ..plain() },
        ];
        assert!(bad.iter().all(|sampling| sampling.check().is_err()));
        assert!(plain().check().is_ok() && GenerationConfig::greedy().check().is_ok());
        assert_eq!(plain().draw(&[0., f32::NAN], [].into_iter(), &mut Noise::new(0).stream("", 0)), None);
    }
}
