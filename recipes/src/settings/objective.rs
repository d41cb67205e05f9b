use super::loss_choices::{DivergenceName, Loss};
use super::section;

section! {
    /// The loss.
    objective: Objective {
        /// The loss
        name: Loss = Loss::Dpo, "objective";
        /// A weighted sum of pairwise losses in place of one: dpo:0.8,bco:0.2,sft:1 (TRL's loss_type and loss_weights); a
        /// loss without a weight has 1, sft is that of the better side
        losses: Vec<String> = Vec::new(), "losses";
        /// The strength of the pull to the reference; of denoisers 2000 unless a preset says otherwise
        beta: f64 = ::train::Settings::DEFAULT.beta, "beta";
        /// simpo: the target margin over beta; hybrid: the weight of the generator's log-ratios
        gamma: f64 = 0.5, "gamma";
        /// cdpo, robust, exo, aot, aot-unpaired: the share of labels taken to be wrong
        label_smoothing: f64 = 0.1, "label-smoothing";
        /// cpl: the weight of the worse side
        bias: f64 = 0.5, "bias";
        /// Adds this much of the chosen answer's negative log-likelihood to a pairwise loss
        sft_weight: f64 = 0.0, "sft-weight";
        /// ipo, sft: means over the tokens (as TRL), not sums; sft among `objective.losses`: over all tokens of a batch
        per_token: bool = false, "per-token";
        /// tdpo: the weight of the divergence
        alpha: f64 = 0.5, "alpha";
        /// kto: the weight of liked answers
        desirable_weight: f64 = 1.0, "desirable-weight";
        /// kto: the weight of disliked answers
        undesirable_weight: f64 = 1.0, "undesirable-weight";
        /// The divergence from the reference that is penalised, where a loss reads the margin alone (f-DPO)
        divergence: DivergenceName = DivergenceName::ReverseKl, "divergence";
        /// divergence alpha: its order; 1 is the reverse KL
        divergence_alpha: f64 = 0.5, "divergence-alpha";
        /// The weight of an answer's tokens behind the length of the shorter answer, from 0 to 1 (LD-DPO)
        tail_weight: f64 = 1.0, "tail-weight";
        /// Weighs each pair by how likely the policy is to write its answers itself (WPO)
        wpo: bool = false, "wpo";
        /// bco: the sides are told apart at the mean of all rewards so far, not at 0
        moving_delta: bool = false, "moving-delta";
        /// discopop: the temperature of its mixture of two losses
        tau: f64 = 0.05, "tau";
        /// dpop: the strength of the penalty where the better side is worse off than under the reference
        penalty: f64 = 50.0, "penalty";
        /// linear: the least weight of a pair, and the greatest less than 1
        least_weight: f64 = 0.0, "least-weight";
        /// Keeps at least this share, from 0 to 1, of a step's gain of the better image where the worse one works against it,
        /// so that its error never rises to first order (SDPO; its authors use 0.9)
        safeguard: Option<f64> = None, "safeguard";
    }
}
