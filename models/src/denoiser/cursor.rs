//! The cursor of a denoiser: rows of latents on their way from noise to an image.

use std::sync::Arc;

use mdp::chance::standard_normal;
use mdp::diffusion::{DenoisingAction, Latent};
use mdp::{Episode, Mdp as _, Rng};
use policies::{Cursor, Policy as _, PolicyError, Proposal, one_each};

use super::batch::NetworkQuery;
use super::model::Denoiser;
use super::{ConditionedMdp, State};
use crate::ModelError;
use crate::sampler::SamplerSteps;

/// The cached state of a row.
#[derive(Clone, Debug, Default)]
struct Row {
    /// The prediction at its state, once computed.
    prediction: Option<Arc<[f32]>>,
    /// The clean image estimated from the prediction.
    clean: Option<Vec<f32>>,
    /// The clean image estimated one step before, for a multistep solver.
    previous: Option<Vec<f32>>,
}

/// Rows of latents. Each is predicted at most once per step.
#[derive(Debug)]
pub(super) struct DenoisingCursor<'a> {
    model: &'a Denoiser,
    mdp: &'a ConditionedMdp,
    sampling: SamplerSteps,
    initial_deviation: f64,
    states: Vec<State>,
    rows: Vec<Row>,
}

impl<'a> DenoisingCursor<'a> {
    /// Opens at states of a problem whose timesteps are the steps of `sampling`.
    pub(super) fn open(
        model: &'a Denoiser,
        mdp: &'a ConditionedMdp,
        states: &[State],
        sampling: SamplerSteps,
        initial_deviation: f64,
    ) -> Result<Self, ModelError> {
        if sampling.n_steps() != mdp.timesteps.len() || mdp.size != model.shape.size() {
            return Err(ModelError::Argument {
                what: "a sampler's steps and the problem".into(),
                expected: format!("{} steps on latents of {} numbers", mdp.timesteps.len(), model.shape.size()),
                got: format!("{} steps on latents of {}", sampling.n_steps(), mdp.size),
            });
        }
        let rows = vec![Row::default(); states.len()];
        Ok(Self { model, mdp, sampling, initial_deviation, states: states.to_vec(), rows })
    }

    /// Predicts rows without a prediction; rows before their noise need none.
    fn predict(&mut self) -> Result<(), ModelError> {
        let mut queries = Vec::new();
        for (row, state) in self.rows.iter().zip(&self.states) {
            let Some(latent) = state.latent.as_ref().filter(|_| row.prediction.is_none()) else { continue };
            let Some(t) = self.mdp.timestep(state) else {
                return Err(ModelError::Argument {
                    what: "a state to act in".into(),
                    expected: "one with a decision left".into(),
                    got: "a finished image".into(),
                });
            };
            let (latent, condition) = (Arc::clone(latent), Arc::clone(&state.context));
            queries.push(NetworkQuery { latent, time: self.mdp.schedule.time(t), condition });
        }
        let mut predictions = self.model.predict(&queries)?.into_iter();
        for (row, state) in self.rows.iter_mut().zip(&self.states) {
            if state.latent.is_some() && row.prediction.is_none() {
                row.prediction = predictions.next().map(Arc::from);
            }
        }
        Ok(())
    }

    /// Draws the next latent of a predicted row.
    fn draw_row(&mut self, row: usize, rng: &mut Rng) -> Latent {
        let (row, state) = (&mut self.rows[row], &self.states[row]);
        let mut noise = |deviation: f64| -> Vec<f32> {
            (0..self.mdp.size).map(|_| (deviation * standard_normal(rng)) as f32).collect()
        };
        let (Some(latent), Some(prediction)) = (&state.latent, &row.prediction) else {
            return noise(self.initial_deviation).into();
        };
        let is_chance = self.sampling.gaussian(state.done).deviation > 0.0;
        let draw = if is_chance { noise(1.0) } else { Vec::new() };
        let step = self.sampling.step(state.done, latent, prediction, row.previous.as_deref(), &draw);
        row.clean = Some(step.clean);
        step.next.into()
    }

    fn log_prob(&self, row: usize, action: &DenoisingAction) -> Result<f64, PolicyError> {
        let state = &self.states[row];
        match (action, &state.latent, &self.rows[row].prediction) {
            (DenoisingAction::Next(next), Some(latent), Some(prediction)) => {
                Ok(self.sampling.log_density(state.done, latent, prediction, next))
            }
            // The initial noise is not a decision of the policy.
            (DenoisingAction::Next(_), ..) => Ok(0.0),
            (DenoisingAction::Toward { .. }, ..) => {
                let decision = Episode::whole(state.clone(), vec![action.clone()]);
                Ok(self.model.score(self.mdp, &[decision])?.log_probs.values()[0])
            }
        }
    }
}

impl Cursor<ConditionedMdp> for DenoisingCursor<'_> {
    fn states(&self) -> &[State] {
        &self.states
    }

    fn expand(&mut self, k: usize, rngs: &mut [&mut Rng]) -> Result<Vec<Vec<Proposal<DenoisingAction>>>, PolicyError> {
        one_each("generators", self.rows.len(), rngs.len())?;
        self.predict()?;
        let mut lists = Vec::with_capacity(rngs.len());
        for (row, rng) in rngs.iter_mut().enumerate() {
            let mut proposals = Vec::with_capacity(k);
            for _ in 0..k {
                let action = DenoisingAction::Next(self.draw_row(row, rng));
                let log_prob = self.log_prob(row, &action)?;
                proposals.push(Proposal { action, log_prob, prior: 1.0 / k as f64 });
            }
            lists.push(proposals);
        }
        Ok(lists)
    }

    fn draw(&mut self, rngs: &mut [&mut Rng]) -> Result<Vec<DenoisingAction>, PolicyError> {
        one_each("generators", self.rows.len(), rngs.len())?;
        self.predict()?;
        Ok(rngs.iter_mut().enumerate().map(|(row, rng)| DenoisingAction::Next(self.draw_row(row, rng))).collect())
    }

    fn log_probs(&mut self, actions: &[DenoisingAction]) -> Result<Vec<f64>, PolicyError> {
        one_each("actions", self.rows.len(), actions.len())?;
        self.predict()?;
        actions.iter().enumerate().map(|(row, action)| self.log_prob(row, action)).collect()
    }

    fn log_probs_of(&mut self, candidates: &[Vec<DenoisingAction>]) -> Result<Vec<Vec<f64>>, PolicyError> {
        one_each("lists of actions", self.rows.len(), candidates.len())?;
        self.predict()?;
        let of_row = |(row, list): (usize, &Vec<DenoisingAction>)| -> Result<Vec<f64>, PolicyError> {
            list.iter().map(|action| self.log_prob(row, action)).collect()
        };
        candidates.iter().enumerate().map(of_row).collect()
    }

    fn advance(&mut self, actions: &[DenoisingAction]) -> Result<(), PolicyError> {
        one_each("actions", self.rows.len(), actions.len())?;
        for ((row, state), action) in self.rows.iter_mut().zip(&mut self.states).zip(actions) {
            if let (None, Some(latent), Some(prediction)) = (&row.clean, &state.latent, &row.prediction) {
                row.clean = Some(self.sampling.step(state.done, latent, prediction, None, &[]).clean);
            }
            *row = Row { previous: row.clean.take(), ..Row::default() };
            *state = self.mdp.step(state, action);
        }
        Ok(())
    }

    fn select(&mut self, rows: &[usize]) {
        self.states = rows.iter().map(|&row| self.states[row].clone()).collect();
        self.rows = rows.iter().map(|&row| self.rows[row].clone()).collect();
    }

    fn extend(&mut self, states: &[State]) -> Result<(), PolicyError> {
        self.states.extend_from_slice(states);
        self.rows.resize_with(self.states.len(), Row::default);
        Ok(())
    }
}
