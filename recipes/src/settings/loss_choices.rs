//! The words that settings of the loss take.
use serde::{Deserialize, Serialize};
use toml::Value;

use super::{Kind, Setting};

choices! {
    /// The losses.
    Loss {
        /// Supervised fine-tuning on demonstrations.
        Sft = "sft",
        /// Direct preference optimisation.
        Dpo = "dpo",
        /// DPO with smoothed labels.
        Cdpo = "cdpo",
        /// DPO that is unbiased under label noise.
        Robust = "robust",
        /// Identity preference optimisation.
        Ipo = "ipo",
        /// The hinge loss of SLiC.
        Hinge = "hinge",
        /// SimPO: mean log-likelihoods and a target margin.
        Simpo = "simpo",
        /// ORPO: odds ratios beside the likelihood.
        Orpo = "orpo",
        /// KTO: answers that are good or bad.
        Kto = "kto",
        /// Noise contrastive alignment of pairs.
        Nca = "nca",
        /// Binary classifier optimisation.
        Bco = "bco",
        /// Anchored preference optimisation, towards zero.
        ApoZero = "apo-zero",
        /// Anchored preference optimisation, downwards.
        ApoDown = "apo-down",
        /// EXO for pairs.
        Exo = "exo",
        /// Self-play preference optimisation, hard labels.
        Sppo = "sppo",
        /// Token-level DPO with a divergence.
        Tdpo = "tdpo",
        /// Contrastive preference learning.
        Cpl = "cpl",
        /// D3PO: clamped ratios of a denoiser's trajectories.
        D3po = "d3po",
        /// Ranked lists by Plackett and Luce.
        PlackettLuce = "plackett-luce",
        /// DPO of mean log-ratios.
        DpoNorm = "dpo-norm",
        /// DiscoPOP: a mixture of the logistic and the exponential loss.
        DiscoPop = "discopop",
        /// DPO-positive: a penalty where the chosen side falls.
        Dpop = "dpop",
        /// Alignment by optimal transport, of pairs.
        Aot = "aot",
        /// Alignment by optimal transport, of sides.
        AotUnpaired = "aot-unpaired",
        /// Linear-DPO: the margin with a weight that is a line.
        Linear = "linear",
    }

    /// The divergences from the reference.
    DivergenceName {
        /// KL(policy || reference).
        ReverseKl = "reverse-kl",
        /// KL(reference || policy).
        ForwardKl = "forward-kl",
        /// Jensen-Shannon.
        JensenShannon = "js",
        /// The alpha-divergence.
        Alpha = "alpha",
    }
}
