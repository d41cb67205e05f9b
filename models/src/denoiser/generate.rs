//! Images from nothing but noise and a condition.

use std::ops::ControlFlow;
use std::sync::Arc;

use mdp::Rng;
use mdp::chance::standard_normal;
use mdp::diffusion::Latent;

use super::Condition;
use super::batch::Question;
use super::model::Denoiser;
use crate::ModelError;
use crate::formats::SamplingPlan;

/// An image and the way to it.
#[derive(Clone, Debug, PartialEq)]
pub struct Generated {
    /// The noise, and the latent after every step; the last is the image.
    pub latents: Vec<Latent>,
    /// The log-density of every step, nats; 0 where nothing was left to chance.
    pub log_probs: Vec<f64>,
}

impl Generated {
    /// The image, or the latent that an autoencoder makes one of.
    pub fn image(&self) -> &Latent {
        &self.latents[self.latents.len() - 1]
    }
}

impl Denoiser {
    /// Draws an image for each condition along a plan, each from a generator of its own, so that an image does not depend on
    /// the others.
    ///
    /// `progress` is told after every step how many there have been, and says whether to go on.
    ///
    /// # Errors
    /// Conditions or timesteps that do not fit the model; numbers that are not finite; `progress` says to stop.
    ///
    /// # Panics
    /// If there are not as many generators as conditions.
    pub fn generate(
        &self,
        plan: &SamplingPlan,
        conditions: &[Condition],
        rngs: &mut [Rng],
        progress: &mut dyn FnMut(usize) -> ControlFlow<()>,
    ) -> Result<Vec<Generated>, ModelError> {
        assert_eq!(conditions.len(), rngs.len(), "each image has a generator");
        let (sampling, size) = (&plan.sampling, self.shape.size());
        let mut made: Vec<Generated> = rngs
            .iter_mut()
            .map(|rng| {
                let noise = (0..size).map(|_| (plan.initial_deviation * standard_normal(rng)) as f32).collect();
                Generated { latents: vec![noise], log_probs: Vec::with_capacity(sampling.n_steps()) }
            })
            .collect();
        let mut previous: Vec<Option<Vec<f32>>> = vec![None; made.len()];
        for (step, &t) in plan.timesteps.iter().enumerate() {
            let time = plan.schedule.time(t);
            let question = |(made, condition): (&Generated, &Condition)| Question {
                latent: Arc::clone(made.image()),
                time,
                condition: Arc::clone(condition),
            };
            let questions: Vec<Question> = made.iter().zip(conditions).map(question).collect();
            let predictions = self.predict(&questions)?;
            let is_chance = sampling.gaussian(step).deviation > 0.0;
            for (i, prediction) in predictions.iter().enumerate() {
                let n = if is_chance { size } else { 0 };
                let noise: Vec<f32> = (0..n).map(|_| standard_normal(&mut rngs[i]) as f32).collect();
                let latent = Arc::clone(made[i].image());
                let next = sampling.step(step, &latent, prediction, previous[i].as_deref(), &noise);
                made[i].log_probs.push(sampling.log_density(step, &latent, prediction, &next.next));
                made[i].latents.push(next.next.into());
                previous[i] = Some(next.clean);
            }
            if progress(step + 1).is_break() {
                return Err(ModelError::Interrupted);
            }
        }
        Ok(made)
    }
}
