//! The denoising problem: an image is made by removing noise, decision by decision (App. B of the paper).
//!
//! The first action is the noise itself, x_T, drawn from a fixed prior and scored 0: all chance lives in the policy. Each
//! action after it is the next, less noisy latent. The paper prints the action in (c, x_{T-t}, T-t) as x_{T-t+1}; it is
//! x_{T-t-1}, as its own dynamics say.
mod conditioning;
mod omega;
mod prediction;
mod schedule;
mod spacing;

use std::marker::PhantomData;
use std::sync::Arc;

use crate::Mdp;
pub use conditioning::{Condition, Conditioning, Framing, Hidden};
pub use omega::Omega;
pub use prediction::{Mixture, Prediction};
pub use schedule::{Level, NoiseSchedule};
pub use spacing::Spacing;

/// An image or a latent: numbers in the order height, width, channel.
pub type Latent = Arc<[f32]>;

/// Where a denoising episode stands.
#[derive(Clone, Debug, PartialEq)]
pub struct DenoisingState<C> {
    /// What the image is about; `Arc` it where it is large.
    pub context: C,
    /// The latent, `None` before the noise is drawn.
    pub latent: Option<Latent>,
    /// How many denoising decisions are behind it: the index of its timestep in [`DenoisingMdp::timesteps`].
    pub done: usize,
}

/// One decision.
#[derive(Clone, Debug, PartialEq)]
pub enum DenoisingAction {
    /// The latent that comes next, drawn: noise at the start, a less noisy latent later. Its score is a log-density.
    Next(Latent),
    /// On towards a finished image whose noised latent the state is: all next latents that q(x_{t-1} | x_t, x_0) gives,
    /// as one decision. Its score is minus the squared error of the policy's prediction, to which the expected
    /// log-density is proportional, and omega(lambda_t) the factor.
    Toward {
        /// The finished image, x_0.
        clean: Latent,
        /// The noise that was added to it.
        noise: Latent,
    },
}

/// The denoising problem over contexts of type `C`.
#[derive(Clone, Debug)]
pub struct DenoisingMdp<C> {
    /// How much signal and noise each timestep has.
    pub schedule: Arc<NoiseSchedule>,
    /// The timesteps at which decisions are made, from noisy to clean.
    pub timesteps: Arc<[usize]>,
    /// Numbers of a latent.
    pub size: usize,
    context: PhantomData<fn() -> C>,
}

impl<C> DenoisingMdp<C> {
    /// Decisions at these timesteps of the schedule, from noisy to clean, on latents of `size` numbers.
    ///
    /// # Panics
    /// If the timesteps do not fall, or one is not in the schedule.
    pub fn new(schedule: Arc<NoiseSchedule>, timesteps: impl Into<Arc<[usize]>>, size: usize) -> Self {
        let timesteps = timesteps.into();
        assert!(timesteps.windows(2).all(|pair| pair[0] > pair[1]), "timesteps fall from noisy to clean");
        assert!(timesteps.iter().all(|&t| t < schedule.len()), "a timestep outside the schedule");
        Self { schedule, timesteps, size, context: PhantomData }
    }

    /// Decisions at every timestep of the schedule.
    pub fn full(schedule: Arc<NoiseSchedule>, size: usize) -> Self {
        let timesteps: Vec<usize> = (0..schedule.len()).rev().collect();
        Self::new(schedule, timesteps, size)
    }

    /// The timestep of a state, `None` where no decision is left.
    pub fn timestep(&self, state: &DenoisingState<C>) -> Option<usize> {
        self.timesteps.get(state.done).copied()
    }

    /// The timestep after a state's, `None` where the next latent is the finished image.
    pub fn next_timestep(&self, state: &DenoisingState<C>) -> Option<usize> {
        self.timesteps.get(state.done + 1).copied()
    }
}

impl<C: Clone> Mdp for DenoisingMdp<C> {
    type Context = C;
    type State = DenoisingState<C>;
    type Action = DenoisingAction;

    fn start(&self, context: &C) -> DenoisingState<C> {
        DenoisingState { context: context.clone(), latent: None, done: 0 }
    }

    fn step(&self, state: &DenoisingState<C>, action: &DenoisingAction) -> DenoisingState<C> {
        let done = state.done + usize::from(state.latent.is_some());
        let latent = match action {
            DenoisingAction::Next(latent) => Arc::clone(latent),
            DenoisingAction::Toward { clean, noise } => match self.timesteps.get(done) {
                Some(&t) => self.schedule.noised(clean, noise, t).into(),
                None => Arc::clone(clean),
            },
        };
        DenoisingState { context: state.context.clone(), latent: Some(latent), done }
    }

    fn is_terminal(&self, state: &DenoisingState<C>) -> bool {
        state.latent.is_some() && state.done >= self.timesteps.len()
    }

    fn allows(&self, state: &DenoisingState<C>, action: &DenoisingAction) -> bool {
        match action {
            DenoisingAction::Next(latent) => latent.len() == self.size,
            // The noise is drawn, not approached.
            DenoisingAction::Toward { clean, noise } => {
                state.latent.is_some() && clean.len() == self.size && noise.len() == self.size
            }
        }
    }
}

#[cfg(test)]
mod tests;
