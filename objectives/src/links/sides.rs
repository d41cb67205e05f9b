//! Losses of both returns, not only of their difference.
use crate::numbers::{log_one_minus_exp, sigmoid, sigmoid_slope, softplus};
use crate::settings::Check;
use crate::{DecisionReward, Link, ObjectiveError, Point, Reduction, ReturnSpec};

/// NCA with two answers, -log sigma(beta c) - 0.5 log sigma(-beta c) - 0.5 log sigma(-beta r).
///
/// # References
/// Chen et al. 2024, arXiv:2402.05369.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Nca {
    beta: f64,
}

impl Nca {
    /// `beta` above 0.
    pub fn new(beta: f64) -> Result<Self, ObjectiveError> {
        Ok(Self { beta: Check("nca").positive("beta", beta)? })
    }
}

impl Link for Nca {
    fn at(&self, chosen: f64, rejected: f64) -> Point {
        let (c, r) = (self.beta * chosen, self.beta * rejected);
        Point {
            loss: softplus(-c) + 0.5 * softplus(c) + 0.5 * softplus(r),
            chosen: self.beta * (0.5 * sigmoid(c) - sigmoid(-c)),
            rejected: self.beta * 0.5 * sigmoid(r),
        }
    }

    fn beta(&self) -> f64 {
        self.beta
    }
}

/// BCO on pairs, -log sigma(beta c - delta) - log sigma(delta - beta r): each side is classified against `delta`.
///
/// With `delta` 0 it is TRL's `bco_pair`. The paper's `delta` is the running mean of the rewards of both sides;
/// objectives are stateless, so the trainer keeps that mean and rebuilds the link.
///
/// # References
/// Jung et al. 2024, arXiv:2404.04656.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bco {
    beta: f64,
    delta: f64,
}

impl Bco {
    /// `beta` above 0, `delta` 0.
    pub fn new(beta: f64) -> Result<Self, ObjectiveError> {
        Self::shifted(beta, 0.0)
    }

    /// `beta` above 0; `delta`, the neutral reward, any finite number.
    pub fn shifted(beta: f64, delta: f64) -> Result<Self, ObjectiveError> {
        let check = Check("bco");
        Ok(Self { beta: check.positive("beta", beta)?, delta: check.finite("delta", delta)? })
    }
}

impl Link for Bco {
    fn at(&self, chosen: f64, rejected: f64) -> Point {
        let (c, r) = (self.beta * chosen - self.delta, self.beta * rejected - self.delta);
        Point { loss: softplus(-c) + softplus(r), chosen: -self.beta * sigmoid(-c), rejected: self.beta * sigmoid(r) }
    }

    fn beta(&self) -> f64 {
        self.beta
    }
}

/// APO-zero, 1 - sigma(beta c) + sigma(beta r): for responses better than the policy's own.
///
/// # References
/// D'Oosterlinck et al. 2024, arXiv:2408.06266, Eq. 7.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ApoZero {
    beta: f64,
}

impl ApoZero {
    /// `beta` above 0.
    pub fn new(beta: f64) -> Result<Self, ObjectiveError> {
        Ok(Self { beta: Check("apo_zero").positive("beta", beta)? })
    }
}

impl Link for ApoZero {
    fn at(&self, chosen: f64, rejected: f64) -> Point {
        let (c, r) = (self.beta * chosen, self.beta * rejected);
        Point {
            loss: sigmoid(-c) + sigmoid(r),
            chosen: -self.beta * sigmoid_slope(c),
            rejected: self.beta * sigmoid_slope(r),
        }
    }

    fn beta(&self) -> f64 {
        self.beta
    }
}

/// APO-down, sigma(beta c) + 1 - sigma(beta D): for responses worse than the policy's own.
///
/// # References
/// D'Oosterlinck et al. 2024, arXiv:2408.06266, Eq. 8.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ApoDown {
    beta: f64,
}

impl ApoDown {
    /// `beta` above 0.
    pub fn new(beta: f64) -> Result<Self, ObjectiveError> {
        Ok(Self { beta: Check("apo_down").positive("beta", beta)? })
    }
}

impl Link for ApoDown {
    fn at(&self, chosen: f64, rejected: f64) -> Point {
        let (c, z) = (self.beta * chosen, self.beta * (chosen - rejected));
        let pull = self.beta * sigmoid_slope(z);
        Point { loss: sigmoid(c) + sigmoid(-z), chosen: self.beta * sigmoid_slope(c) - pull, rejected: pull }
    }

    fn beta(&self) -> f64 {
        self.beta
    }
}

/// SPPO with hard labels, (c - 1/(2 beta))^2 + (r + 1/(2 beta))^2: a target return for each side.
///
/// # References
/// Wu et al. 2024, arXiv:2405.00675, Eq. 4.7 with probabilities 1 and 0.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sppo {
    beta: f64,
}

impl Sppo {
    /// `beta` above 0.
    pub fn new(beta: f64) -> Result<Self, ObjectiveError> {
        Ok(Self { beta: Check("sppo").positive("beta", beta)? })
    }
}

impl Link for Sppo {
    fn at(&self, chosen: f64, rejected: f64) -> Point {
        let (c, r) = (chosen - 0.5 / self.beta, rejected + 0.5 / self.beta);
        Point { loss: c * c + r * r, chosen: 2.0 * c, rejected: 2.0 * r }
    }

    fn beta(&self) -> f64 {
        self.beta
    }
}

/// CPL, -log sigma(alpha (c - lambda r)): a `bias` lambda below 1 penalises pairs in which both segments are likely.
///
/// It reads the policy's own log-probabilities; with [`DecisionReward::LogRatio`] it is CPL-KL. A preference of one half gives
/// the mean of both orders.
///
/// # References
/// Hejna et al. 2023, arXiv:2310.13639.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cpl {
    alpha: f64,
    bias: f64,
}

impl Cpl {
    /// `alpha`, the temperature, above 0; `bias` above 0 and at most 1. The authors use 0.1 and 0.5.
    pub fn new(alpha: f64, bias: f64) -> Result<Self, ObjectiveError> {
        let check = Check("cpl");
        let bias = check.that("bias", bias, bias > 0.0 && bias <= 1.0, "above 0 and at most 1")?;
        Ok(Self { alpha: check.positive("alpha", alpha)?, bias })
    }
}

impl Link for Cpl {
    fn at(&self, chosen: f64, rejected: f64) -> Point {
        let z = self.alpha * (chosen - self.bias * rejected);
        let pull = self.alpha * sigmoid(-z);
        Point { loss: softplus(-z), chosen: -pull, rejected: self.bias * pull }
    }

    fn beta(&self) -> f64 {
        self.alpha
    }

    fn return_spec(&self) -> ReturnSpec {
        ReturnSpec { reward: DecisionReward::LogProb, reduction: Reduction::Sum }
    }
}

/// ORPO, -c - beta log sigma(log odds(c) - log odds(r)) with odds(x) = exp x / (1 - exp x), over log-probabilities per
/// decision: likelihood of the chosen side and odds against the rejected one, with no reference.
///
/// TRL's likelihood term includes the prompt's tokens and is averaged over the tokens of the batch; here it covers the
/// response and is averaged over examples. Returns are clamped to at most -1e-9, because the odds of probability 1 are
/// infinite; log-densities, which may be positive, have no odds.
///
/// # References
/// Hong et al. 2024, arXiv:2403.07691, Eq. 4 to 7.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Orpo {
    beta: f64,
}

impl Orpo {
    /// The clamp of the log-probability per decision before taking odds.
    const CERTAIN: f64 = -1e-9;

    /// `beta` (the paper's lambda), the weight of the odds-ratio term, above 0.
    pub fn new(beta: f64) -> Result<Self, ObjectiveError> {
        Ok(Self { beta: Check("orpo").positive("beta", beta)? })
    }

    fn log_odds(chosen: f64, rejected: f64) -> f64 {
        let (c, r) = (chosen.min(Self::CERTAIN), rejected.min(Self::CERTAIN));
        (c - r) - (log_one_minus_exp(c) - log_one_minus_exp(r))
    }
}

impl Link for Orpo {
    fn at(&self, chosen: f64, rejected: f64) -> Point {
        let log_odds = Self::log_odds(chosen, rejected);
        let pull = self.beta * sigmoid(-log_odds);
        // The slope of log odds(x) is 1 / (1 - exp x).
        let slope = |x: f64| -1.0 / x.min(Self::CERTAIN).exp_m1();
        Point {
            loss: -chosen + self.beta * softplus(-log_odds),
            chosen: -1.0 - pull * slope(chosen),
            rejected: pull * slope(rejected),
        }
    }

    fn beta(&self) -> f64 {
        self.beta
    }

    fn return_spec(&self) -> ReturnSpec {
        ReturnSpec { reward: DecisionReward::LogProb, reduction: Reduction::PerToken }
    }

    fn metrics(&self, chosen: f64, rejected: f64) -> Vec<(&'static str, f64)> {
        let log_odds = Self::log_odds(chosen, rejected);
        // TRL's names: the "ratio" is the log-sigmoid, what is inside it is "chosen".
        vec![("nll_loss", -chosen), ("log_odds_ratio", -softplus(-log_odds)), ("log_odds_chosen", log_odds)]
    }
}

/// Negative log-likelihood of the chosen side, -c: supervised fine-tuning as a term among comparisons.
///
/// The sum over an example's decisions, as in the original DPO code; [`Reduction::PerToken`] makes it a mean.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChosenLikelihood;

impl Link for ChosenLikelihood {
    fn at(&self, chosen: f64, _rejected: f64) -> Point {
        Point { loss: -chosen, chosen: -1.0, rejected: 0.0 }
    }

    fn return_spec(&self) -> ReturnSpec {
        ReturnSpec { reward: DecisionReward::LogProb, reduction: Reduction::Sum }
    }

    fn metrics(&self, chosen: f64, _rejected: f64) -> Vec<(&'static str, f64)> {
        vec![("nll_loss", -chosen)]
    }
}
