//! Image generation from noise and a condition.

use std::ops::ControlFlow;

use mdp::diffusion::{DenoisingAction, Latent};
use mdp::{Mdp as _, Rng};
use policies::{Cursor, Taking, act};

use super::cursor::DenoisingCursor;
use super::model::Denoiser;
use super::{Condition, ConditionedMdp, State};
use crate::ModelError;
use crate::sampler::SamplingPlan;

/// A generated image with its trajectory.
#[derive(Clone, Debug, PartialEq)]
pub struct Generated {
    /// The noise, and the latent after every step; the last is the image.
    pub latents: Vec<Latent>,
    /// The log-density of every step in nats; 0 for deterministic steps.
    pub log_probs: Vec<f64>,
}

impl Generated {
    /// The image, or the latent to decode by an autoencoder.
    pub fn image(&self) -> &Latent {
        &self.latents[self.latents.len() - 1]
    }
}

impl Denoiser {
    /// Opens a cursor along a plan: [`policies::Policy::cursor`] with other steps than the denoiser's own. `mdp` is the
    /// plan's problem ([`SamplingPlan::problem`]).
    ///
    /// # Errors
    /// A problem with other timesteps or latents.
    pub fn cursor_along<'a>(
        &'a self,
        plan: &SamplingPlan,
        mdp: &'a ConditionedMdp,
        states: &[State],
    ) -> Result<Box<dyn Cursor<ConditionedMdp> + 'a>, ModelError> {
        let cursor = DenoisingCursor::open(self, mdp, states, plan.sampling.clone(), plan.initial_deviation)?;
        Ok(Box::new(cursor))
    }

    /// Generates an image for each condition along a plan, each from its own generator, so that an image does not
    /// depend on the others.
    ///
    /// `progress` receives the number of finished steps, and returns whether to continue.
    ///
    /// # Errors
    /// Conditions or timesteps that do not fit the model; non-finite numbers; a stop by `progress`.
    ///
    /// # Panics
    /// The number of generators differs from the number of conditions.
    pub fn generate(
        &self,
        plan: &SamplingPlan,
        conditions: &[Condition],
        rngs: &mut [Rng],
        progress: &mut dyn FnMut(usize) -> ControlFlow<()>,
    ) -> Result<Vec<Generated>, ModelError> {
        assert_eq!(conditions.len(), rngs.len(), "each image has a generator");
        let mdp = plan.problem(self.shape.size());
        let starts: Vec<State> = conditions.iter().map(|condition| mdp.start(condition)).collect();
        let cursor = self.cursor_along(plan, &mdp, &starts)?;
        let mut log_probs = vec![Vec::with_capacity(plan.timesteps.len()); starts.len()];
        let longest = vec![usize::MAX; starts.len()];
        let mut watch = |taking: Taking<'_, '_, ConditionedMdp>| {
            // The initial noise is not counted as a step.
            if taking.step == 0 {
                return Ok(());
            }
            for (&image, log_prob) in taking.episodes.iter().zip(taking.cursor.log_probs(taking.actions)?) {
                log_probs[image].push(log_prob);
            }
            if progress(taking.step).is_break() { Err(ModelError::Interrupted.into()) } else { Ok(()) }
        };
        let episodes = act(&mdp, cursor, &longest, rngs, &mut watch)?;
        let made = episodes.into_iter().zip(log_probs).map(|(episode, log_probs)| {
            let actions = episode.pieces.into_iter().flat_map(|piece| piece.actions);
            let latents = actions.filter_map(|action| match action {
                DenoisingAction::Next(latent) => Some(latent),
                DenoisingAction::Toward { .. } => None,
            });
            Generated { latents: latents.collect(), log_probs }
        });
        Ok(made.collect())
    }
}
