use mdp::diffusion::DenoisingAction;
use objectives::{Feedback, Scores};

use super::ImageMdp;
use crate::Measures;
use crate::step::Slice;

/// Number of timestep bands with separate error metrics.
const BANDS: usize = 4;

/// The usual metrics of diffusion runs, as means per latent element:
///
/// - `diffusion/w_diff`, `diffusion/l_diff`: the policy's squared error less the reference's, of the better and of the
///   worse images, or of liked and disliked ones (below 0: better than the reference). For decisions scored by density: the negated log-ratio.
/// - `implicit_accuracy`: the share of pairs whose return is strictly higher on the better side.
/// - `diffusion/error/tA-B`: the policy's squared error at timesteps A to B.
pub(super) fn measure<F: Feedback>(mdp: &ImageMdp, slice: &Slice<ImageMdp, F>, scores: Scores<'_>) -> Measures {
    let mut measures = Measures::default();
    let size = mdp.size.max(1) as f64;
    for (i, episode) in slice.episodes.iter().enumerate() {
        let decisions = episode
            .pieces
            .iter()
            .flat_map(|piece| piece.actions.iter().enumerate().map(|(n, action)| (piece.start.done + n, action)));
        for ((done, action), score) in decisions.zip(scores.policy.log_probs.row(i)) {
            if let (DenoisingAction::Toward { .. }, Some(&t)) = (action, mdp.timesteps.get(done)) {
                let n = mdp.schedule.len();
                let band = (t * BANDS / n).min(BANDS - 1);
                let (from, to) = ((band * n).div_ceil(BANDS), ((band + 1) * n).div_ceil(BANDS) - 1);
                measures.add(&format!("diffusion/error/t{from}-{to}"), -score / size);
            }
        }
    }
    let Some(reference) = scores.reference else { return measures };
    let difference = |i: usize| {
        let (policy, reference) = (scores.policy.log_probs.row(i), reference.row(i));
        policy.iter().zip(reference).map(|(p, r)| r - p).sum::<f64>() / (size * policy.len().max(1) as f64)
    };
    let total = |i: usize| -> f64 {
        let (policy, reference, weights) = (scores.policy.log_probs.row(i), reference.row(i), scores.weights.row(i));
        policy.iter().zip(reference).zip(weights).map(|((p, r), w)| w * (p - r)).sum()
    };
    for feedback in &slice.feedback {
        let sides = [("diffusion/w_diff", feedback.chosen()), ("diffusion/l_diff", feedback.rejected())];
        for (name, side) in sides {
            if let Some(side) = side {
                measures.add(name, difference(side));
            }
        }
        if let (Some(chosen), Some(rejected)) = (feedback.chosen(), feedback.rejected()) {
            measures.add("implicit_accuracy", if total(chosen) > total(rejected) { 1.0 } else { 0.0 });
        }
    }
    measures
}
