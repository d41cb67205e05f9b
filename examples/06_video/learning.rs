//! How both models learn: losses, rates and settings, which the example and `hybrid-dpo reproduce video` share.

use hybrid_dpo::models::causal::CausalLm;
use hybrid_dpo::models::denoiser::Denoiser;
use hybrid_dpo::objectives::{BoxObjective, ChosenLikelihood, Comparison, Logistic, Pairwise, WeightedSum};
use hybrid_dpo::policies::Pair;
use hybrid_dpo::train::{Decay, Settings};

use super::wiring::{Models, NAMES, Result};

/// beta per nat of codes, and gamma per unit of halved mean squared error (Eq. 15).
pub(crate) const WEIGHTS: (f64, f64) = (0.3, 100.0);
/// Decay of the moving average of the decoder's weights while it learns from demonstrations.
pub(crate) const EMA: f64 = 0.99;
/// Weight of the better side's likelihood in the loss: without it both sides of a pair can become unlikely.
const SFT_WEIGHT: f64 = 0.1;
/// Learning rates of planner and decoder in the joint training.
const RATES: [f64; 2] = [1e-3, 1e-4];

/// A part of the training.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// The planner learns from demonstrations.
    Planner,
    /// The decoder learns from demonstrations.
    Decoder,
    /// Both learn from preferences.
    Joint,
}

impl Stage {
    /// Demonstrations or pairs of a step.
    pub(crate) fn batch_size(self) -> usize {
        match self {
            Self::Planner | Self::Decoder => 16,
            Self::Joint => 8,
        }
    }

    /// Training settings for a number of steps over as many examples, with a warm-up and a cosine decay.
    pub(crate) fn settings(self, steps: usize, seed: u64) -> Settings {
        let (rate, max_gradient_norm) = match self {
            Self::Planner => (3e-3, 20.0),
            Self::Decoder => (2e-3, 1.0),
            Self::Joint => (RATES[0], 1.0),
        };
        Settings {
            seed,
            batch_size: self.batch_size(),
            micro_batch_size: self.batch_size(),
            max_steps: Some(steps),
            rate,
            warmup_steps: (steps / 20).max(1),
            decay: Decay::Cosine,
            max_gradient_norm: Some(max_gradient_norm),
            keep_checkpoints: 1,
            // beta and gamma are weights of the decisions, so the loss itself has beta 1.
            beta: 1.0,
            ..Settings::default()
        }
    }
}

/// Both models as one learner, each with its rate.
pub(crate) fn together(planner: CausalLm, decoder: Denoiser) -> Models {
    let mut learner = Pair::new(planner, decoder).named(NAMES);
    learner.rates = (1.0, RATES[1] / RATES[0]);
    learner
}

/// DPO, and a little of the better side's likelihood.
pub(crate) fn objective() -> Result<WeightedSum<Comparison>> {
    let preference: BoxObjective<Comparison> = Box::new(Pairwise::new(Logistic::new(1.0)?));
    let likelihood: BoxObjective<Comparison> = Box::new(Pairwise::new(ChosenLikelihood));
    Ok(WeightedSum::new(vec![(1.0, preference), (SFT_WEIGHT, likelihood)])?)
}
