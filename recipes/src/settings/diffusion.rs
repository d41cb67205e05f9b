use super::choices::{NoiseName, OmegaName, ReductionName, Scheme, TimestepsName};
use super::section;

/// Decisions inside one sigmoid where `diffusion.draws_per_pair` names no number; of trajectories it is all of them.
pub(crate) const DRAWS_PER_PAIR: usize = 1;

section! {
    /// The scored decisions of finished images.
    diffusion: Diffusion {
        /// What turns a finished image into scored decisions
        scheme: Scheme = Scheme::Forward, "scheme";
        /// Decisions inside one sigmoid; else 1, of trajectories all
        draws_per_pair: Option<usize> = None, "draws-per-pair";
        /// Sets of draws a pair has; epochs take them in turn, and the reference is computed once for each
        draw_sets: usize = 1, "draw-sets";
        /// A .safetensors file of timesteps and noise to use
        draws: Option<String> = None, "draws";
        /// How timesteps are drawn
        timesteps: TimestepsName = TimestepsName::Uniform, "timesteps";
        /// Which noise the two sides and the draws of a pair get; prior: that from which each side of a pair folder was made
        noise: NoiseName = NoiseName::Shared, "noise";
        /// How the squared errors of a latent's numbers add up
        reduction: ReductionName = ReductionName::Mean, "reduction";
        /// The factor 1/2 of the released Diffusion-DPO code
        half: bool = true, "half";
        /// The factor T of the paper; 1: beta has it
        horizon: f64 = 1.0, "horizon";
        /// omega(lambda_t), the weight of a timestep
        omega: OmegaName = OmegaName::Constant, "omega";
        /// min-snr: where the weight is cut
        min_snr_gamma: f64 = 5.0, "min-snr-gamma";
        /// The share of examples shown without their caption, for classifier-free guidance
        empty_share: f64 = 0.0, "empty-share";
        /// scheme trajectory: a file of trajectories and preferences, as sample `sample.save_trajectories` writes
        trajectories: Option<String> = None, "trajectories";
        /// scheme trajectory: weighs decisions by their likelihood under the start over that of their maker, at most this
        importance_clip: Option<f64> = None, "importance-clip";
        /// d3po: likelihood ratios are kept within 1 plus and minus this
        clamp: f64 = 0.1, "clamp";
    }
}
