use super::choices::Loss;
use super::section;

section! {
    /// The loss.
    objective: Objective {
        /// The loss
        name: Loss = Loss::Dpo, "objective";
        /// The strength of the pull to the reference; of denoisers 2000 unless a preset says otherwise
        beta: f64 = ::train::Settings::DEFAULT.beta, "beta";
        /// simpo: the target margin over beta; hybrid: the weight of the generator's log-ratios
        gamma: f64 = 0.5, "gamma";
        /// cdpo, robust, exo: the share of labels taken to be wrong
        label_smoothing: f64 = 0.1, "label-smoothing";
        /// cpl: the weight of the worse side
        bias: f64 = 0.5, "bias";
        /// Adds this much of the chosen answer's negative log-likelihood to a pairwise loss
        sft_weight: f64 = 0.0, "sft-weight";
        /// ipo: log-ratios are means over the tokens (as TRL), not sums
        per_token: bool = false, "per-token";
        /// tdpo: the weight of the divergence
        alpha: f64 = 0.5, "alpha";
        /// kto: the weight of liked answers
        desirable_weight: f64 = 1.0, "desirable-weight";
        /// kto: the weight of disliked answers
        undesirable_weight: f64 = 1.0, "undesirable-weight";
    }
}
