//! Scoring and training.

use std::sync::Arc;

use candle_core::Tensor;
use engine::ops;
use engine::transfer::{from_host, to_host};
use mdp::{Channels, EpisodeOf};

use super::ConditionedMdp;
use super::batch::{Decisions, ErrorTerm, NetworkQuery, network_batch};
use super::model::Denoiser;
use super::network::Recorded;
use crate::ModelError;

/// The state of a forward pass that its backward pass needs.
#[derive(Debug)]
pub struct DenoiserTape {
    /// `None` if no decision needs a prediction.
    tape: Option<Recorded>,
    decisions: Decisions,
    /// The network's output.
    prediction: Option<Tensor>,
}

impl Denoiser {
    /// The numbers of every decision, in one batch as in [`forward_episodes`](Self::forward_episodes): rounding depends
    /// on the batch size, and a reference must round like the policy that starts from it.
    pub(super) fn score_episodes(
        &self,
        mdp: &ConditionedMdp,
        episodes: &[EpisodeOf<ConditionedMdp>],
    ) -> Result<Channels, ModelError> {
        let decisions = Decisions::of_episodes(mdp, episodes, self.prediction, &self.acting)?;
        if decisions.terms.is_empty() {
            return channels(&decisions, &[]);
        }
        let (queries, n) = Self::queries(&decisions.terms);
        let batch = network_batch(&queries, self.shape, (self.dtype(), &self.device()))?;
        let prediction = self.network.score(&batch)?;
        channels(&decisions, &host(&self.errors(&prediction, &decisions.terms, n)?)?)
    }

    /// The numbers of every decision, with a tape for the backward pass.
    pub(super) fn forward_episodes(
        &self,
        mdp: &ConditionedMdp,
        episodes: &[EpisodeOf<ConditionedMdp>],
    ) -> Result<(Channels, DenoiserTape), ModelError> {
        let recompute = self.network.recompute()?;
        let decisions = Decisions::of_episodes(mdp, episodes, self.prediction, &self.acting)?;
        if decisions.terms.is_empty() {
            return Ok((channels(&decisions, &[])?, DenoiserTape { tape: None, decisions, prediction: None }));
        }
        let (queries, n) = Self::queries(&decisions.terms);
        let batch = Arc::new(network_batch(&queries, self.shape, (self.dtype(), &self.device()))?);
        let mut tape = self.network.record(batch, recompute)?;
        let mut output = None;
        let errors = tape.tape.run_kept(|prediction| {
            output = Some(prediction.detach());
            self.errors(prediction, &decisions.terms, n)
        })?;
        let errors = host(errors)?;
        Ok((channels(&decisions, &errors)?, DenoiserTape { tape: Some(tape), decisions, prediction: output }))
    }

    /// Adds the gradient of the sum of slope times number.
    pub(super) fn backward_tape(&mut self, tape: DenoiserTape, slopes: &Channels) -> Result<(), ModelError> {
        let DenoiserTape { tape, decisions, .. } = tape;
        let expected = decisions.steps(|_| 0.0);
        if !slopes.log_probs.same_shape(&expected) || slopes.divergence.is_some() {
            return Err(ModelError::Argument {
                what: "the slopes".into(),
                expected: format!("{} log-probabilities of {} episodes", expected.values().len(), expected.len()),
                got: format!("{} of {}, or a divergence", slopes.log_probs.values().len(), slopes.log_probs.len()),
            });
        }
        let Some(Recorded { tape, external }) = tape else { return Ok(()) };
        let mut of_errors = vec![0.0; decisions.terms.len()];
        for (place, slope) in decisions.of_decision.iter().zip(slopes.log_probs.values()) {
            if let Some(place) = *place {
                of_errors[place] -= decisions.terms[place].weight * slope;
            }
        }
        let output = tape.output();
        let gradient = from_host(of_errors, decisions.terms.len(), output.device())?.to_dtype(output.dtype())?;
        let of_prediction = self.network.backward(tape, &gradient)?;
        match (external, of_prediction) {
            (Some(external), Some(of_prediction)) => {
                external.backward(&of_prediction, &mut |slopes| self.network.add_gradients(slopes))
            }
            (None, _) | (_, None) => Ok(()),
        }
    }

    /// The inner products of d(number)/d(prediction) of pairs of decisions, each given by episode and place. A number is a
    /// constant less `weight` squared errors, so that is -2 `weight` (prediction - target); 0 for deterministic decisions.
    pub(super) fn products(&self, tape: &DenoiserTape, pairs: &[[(usize, usize); 2]]) -> Result<Vec<f64>, ModelError> {
        let (decisions, size) = (&tape.decisions, self.shape.size());
        let Some(prediction) = &tape.prediction else { return Ok(vec![0.0; pairs.len()]) };
        let (terms, rows) = (&decisions.terms, self.shape.height * self.shape.width);
        let flat = to_host::<f32>(&self.guided(prediction, terms, terms.len(), rows)?)?;
        let begins: Vec<usize> =
            decisions.counts.iter().scan(0, |at, n| Some(std::mem::replace(at, *at + n))).collect();
        let moved = |(episode, place): (usize, usize)| -> Option<Vec<f64>> {
            let term = (*decisions.of_decision.get(begins.get(episode)? + place)?)?;
            let own = flat[term * size..(term + 1) * size].iter().zip(&terms[term].target);
            Some(own.map(|(p, t)| -2.0 * terms[term].weight * (f64::from(*p) - f64::from(*t))).collect())
        };
        let product = |[one, other]: &[(usize, usize); 2]| match (moved(*one), moved(*other)) {
            (Some(one), Some(other)) => one.iter().zip(&other).map(|(a, b)| a * b).sum(),
            (None, _) | (_, None) => 0.0,
        };
        Ok(pairs.iter().map(product).collect())
    }

    /// The queries of decisions: the conditional ones first, then the unconditional ones of guidance; and the number of
    /// the former.
    pub(super) fn queries(terms: &[ErrorTerm]) -> (Vec<NetworkQuery>, usize) {
        let guided = terms.iter().map(|term| term.query.clone());
        let unguided = terms.iter().filter_map(|term| {
            let condition = Arc::clone(term.unguided.as_ref()?);
            Some(NetworkQuery { condition, ..term.query.clone() })
        });
        (guided.chain(unguided).collect(), terms.len())
    }

    /// The squared error of each decision's prediction, `[n]`.
    fn errors(&self, prediction: &Tensor, terms: &[ErrorTerm], n: usize) -> Result<Tensor, engine::EngineError> {
        let rows = self.shape.height * self.shape.width;
        let prediction = self.guided(prediction, terms, n, rows)?;
        let mut target = Vec::with_capacity(n * self.shape.size());
        for term in terms {
            target.extend_from_slice(&term.target);
        }
        let target = from_host(target, (n * rows, self.shape.channels), prediction.device())?;
        Ok(ops::squared_errors(&prediction, &target.to_dtype(prediction.dtype())?, n)?)
    }

    /// Applies guidance, `u + scale (c - u)`, where there are unconditional predictions.
    pub(super) fn guided(
        &self,
        prediction: &Tensor,
        terms: &[ErrorTerm],
        n: usize,
        rows: usize,
    ) -> Result<Tensor, engine::EngineError> {
        let places: Vec<usize> = (0..n).filter(|&i| terms[i].unguided.is_some()).collect();
        if places.is_empty() {
            return Ok(prediction.clone());
        }
        let scale = self.acting.guidance();
        let conditional = prediction.narrow(0, 0, n * rows)?;
        // Decisions without guidance use their own prediction twice, which the formula leaves unchanged.
        let mut from: Vec<u32> = (0..(n * rows) as u32).collect();
        for (k, &i) in places.iter().enumerate() {
            (0..rows).for_each(|row| from[i * rows + row] = ((n + k) * rows + row) as u32);
        }
        let other = ops::embedding(&from, prediction)?;
        Ok((conditional.affine(scale, 0.0)? + other.affine(1.0 - scale, 0.0)?)?)
    }
}

fn host(errors: &Tensor) -> Result<Vec<f64>, ModelError> {
    Ok(to_host(errors)?)
}

fn channels(decisions: &Decisions, errors: &[f64]) -> Result<Channels, ModelError> {
    let log_probs = decisions.steps(|term| decisions.score(term, errors[term]));
    for (episode, row) in log_probs.rows().enumerate() {
        if let Some(step) = row.iter().position(|value| !value.is_finite()) {
            return Err(ModelError::not_finite("the score", episode, step, row[step]));
        }
    }
    Ok(log_probs.into())
}
