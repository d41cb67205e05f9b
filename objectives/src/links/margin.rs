//! Losses of the margin alone.
use crate::numbers::{sigmoid, sigmoid_slope, softplus};
use crate::settings::Check;
use crate::{DecisionReward, Link, ObjectiveError, Point, Reduction, ReturnSpec};

/// DPO, -log sigma(beta D); with label smoothing e conservative DPO, -(1 - e) log sigma(beta D) - e log sigma(-beta D).
///
/// # References
/// Rafailov et al. 2023, arXiv:2305.18290; Mitchell, "A note on DPO with noisy preferences", 2023.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Logistic {
    beta: f64,
    label_smoothing: f64,
}

impl Logistic {
    /// `beta`, the strength of the KL penalty, above 0.
    pub fn new(beta: f64) -> Result<Self, ObjectiveError> {
        Ok(Self { beta: Check("dpo").positive("beta", beta)?, label_smoothing: 0.0 })
    }

    /// Sets the assumed share of flipped labels, from 0 to below 0.5.
    pub fn smoothed(beta: f64, label_smoothing: f64) -> Result<Self, ObjectiveError> {
        let check = Check("cdpo");
        Ok(Self { beta: check.positive("beta", beta)?, label_smoothing: check.smoothing(label_smoothing)? })
    }
}

impl Link for Logistic {
    fn at(&self, chosen: f64, rejected: f64) -> Point {
        let (z, e) = (self.beta * (chosen - rejected), self.label_smoothing);
        Point::of_margin(
            (1.0 - e) * softplus(-z) + e * softplus(z),
            self.beta * (e * sigmoid(z) - (1.0 - e) * sigmoid(-z)),
        )
    }

    fn beta(&self) -> f64 {
        self.beta
    }

    fn takes_margins(&self) -> bool {
        true
    }
}

/// Robust DPO: ((1 - e)(-log sigma(beta D)) + e log sigma(-beta D)) / (1 - 2e), unbiased where a share e of the labels
/// is flipped.
///
/// # References
/// Chowdhury et al. 2024, arXiv:2403.00409.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Robust {
    beta: f64,
    label_smoothing: f64,
}

impl Robust {
    /// `beta` above 0; `label_smoothing`, the share of flipped labels, from 0 to below 0.5.
    pub fn new(beta: f64, label_smoothing: f64) -> Result<Self, ObjectiveError> {
        let check = Check("robust");
        Ok(Self { beta: check.positive("beta", beta)?, label_smoothing: check.smoothing(label_smoothing)? })
    }
}

impl Link for Robust {
    fn at(&self, chosen: f64, rejected: f64) -> Point {
        let (z, e) = (self.beta * (chosen - rejected), self.label_smoothing);
        let scale = 1.0 / (1.0 - 2.0 * e);
        Point::of_margin(
            scale * ((1.0 - e) * softplus(-z) - e * softplus(z)),
            -scale * self.beta * ((1.0 - e) * sigmoid(-z) + e * sigmoid(z)),
        )
    }

    fn beta(&self) -> f64 {
        self.beta
    }

    fn takes_margins(&self) -> bool {
        true
    }
}

/// IPO, (D - 1/(2 beta))^2: a squared error with a target margin.
///
/// Returns are sums unless [`Reduction::PerToken`] is set, as in TRL.
///
/// # References
/// Azar et al. 2023, arXiv:2310.12036, Eq. 17.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ipo {
    beta: f64,
}

impl Ipo {
    /// `beta` (the paper's tau) above 0.
    pub fn new(beta: f64) -> Result<Self, ObjectiveError> {
        Ok(Self { beta: Check("ipo").positive("beta", beta)? })
    }
}

impl Link for Ipo {
    fn at(&self, chosen: f64, rejected: f64) -> Point {
        let miss = chosen - rejected - 0.5 / self.beta;
        Point::of_margin(miss * miss, 2.0 * miss)
    }

    fn beta(&self) -> f64 {
        self.beta
    }
}

/// Hinge (SLiC), max(0, 1 - beta D).
///
/// # References
/// Zhao et al. 2023, arXiv:2305.10425.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Hinge {
    beta: f64,
}

impl Hinge {
    /// `beta` above 0; the target margin is 1/beta.
    pub fn new(beta: f64) -> Result<Self, ObjectiveError> {
        Ok(Self { beta: Check("hinge").positive("beta", beta)? })
    }
}

impl Link for Hinge {
    fn at(&self, chosen: f64, rejected: f64) -> Point {
        let short = 1.0 - self.beta * (chosen - rejected);
        if short > 0.0 { Point::of_margin(short, -self.beta) } else { Point::of_margin(0.0, 0.0) }
    }

    fn beta(&self) -> f64 {
        self.beta
    }

    fn takes_margins(&self) -> bool {
        true
    }
}

/// SimPO, -log sigma(beta D - gamma), over the policy's own log-probabilities per decision.
///
/// # References
/// Meng et al. 2024, arXiv:2405.14734.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Simpo {
    beta: f64,
    gamma: f64,
}

impl Simpo {
    /// `beta` above 0; `gamma`, the target margin of the rewards, from 0 up.
    pub fn new(beta: f64, gamma: f64) -> Result<Self, ObjectiveError> {
        let check = Check("simpo");
        Ok(Self { beta: check.positive("beta", beta)?, gamma: check.not_negative("gamma", gamma)? })
    }
}

impl Link for Simpo {
    fn at(&self, chosen: f64, rejected: f64) -> Point {
        let z = self.beta * (chosen - rejected) - self.gamma;
        Point::of_margin(softplus(-z), -self.beta * sigmoid(-z))
    }

    fn beta(&self) -> f64 {
        self.beta
    }

    fn takes_margins(&self) -> bool {
        true
    }

    fn return_spec(&self) -> ReturnSpec {
        ReturnSpec { reward: DecisionReward::LogProb, reduction: Reduction::PerToken }
    }
}

/// EXO: KL of the pair's softmax q = sigma(beta D) from the smoothed label (1 - e, e),
/// q (log q - log(1 - e)) + (1 - q)(log(1 - q) - log e).
///
/// # References
/// Ji et al. 2024, arXiv:2402.00856, Eq. 16 with two answers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Exo {
    beta: f64,
    label_smoothing: f64,
}

impl Exo {
    /// `beta` above 0; `label_smoothing` above 0 (its logarithm is taken) and below 0.5. TRL's is 0.001.
    pub fn new(beta: f64, label_smoothing: f64) -> Result<Self, ObjectiveError> {
        let check = Check("exo");
        let inside = label_smoothing > 0.0 && label_smoothing < 0.5;
        let label_smoothing = check.that(
            "label_smoothing",
            label_smoothing,
            inside,
            "above 0 and below 0.5, as its logarithm is taken",
        )?;
        Ok(Self { beta: check.positive("beta", beta)?, label_smoothing })
    }
}

impl Link for Exo {
    fn at(&self, chosen: f64, rejected: f64) -> Point {
        let (z, e) = (self.beta * (chosen - rejected), self.label_smoothing);
        let (log_chosen, log_rejected) = ((-e).ln_1p(), e.ln());
        let loss = sigmoid(z) * (-softplus(-z) - log_chosen) + sigmoid(-z) * (-softplus(z) - log_rejected);
        // log q - log(1 - q) is z itself, and the slopes of the two logarithms cancel.
        Point::of_margin(loss, self.beta * sigmoid_slope(z) * (z - log_chosen + log_rejected))
    }

    fn beta(&self) -> f64 {
        self.beta
    }
}
