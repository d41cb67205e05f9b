//! Losses that change their form with the margin or the sign of a return.
use crate::numbers::{sigmoid, softplus};
use crate::settings::Check;
use crate::{Link, ObjectiveError, Point};

/// DiscoPOP, (1 - m) (-log sigma(z)) + m e^-z with z = beta D and m = sigma(z / tau): the logistic loss below a margin of 0,
/// the exponential one above. A model found it by searching for losses.
///
/// # References
/// Lu et al. 2024, arXiv:2406.08414, Eq. 5.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DiscoPop {
    beta: f64,
    tau: f64,
}

impl DiscoPop {
    /// `beta` above 0; `tau`, the temperature of the mixture, above 0 and at most 1, beyond which the loss overflows. The
    /// authors use 0.05 for both.
    pub fn new(beta: f64, tau: f64) -> Result<Self, ObjectiveError> {
        let check = Check("discopop");
        let tau = check.that("tau", tau, tau > 0.0 && tau <= 1.0, "above 0 and at most 1")?;
        Ok(Self { beta: check.positive("beta", beta)?, tau })
    }
}

impl Link for DiscoPop {
    fn at(&self, chosen: f64, rejected: f64) -> Point {
        let z = self.beta * (chosen - rejected);
        let (mix, rest) = (sigmoid(z / self.tau), sigmoid(-z / self.tau));
        let (logistic, sharpness) = (softplus(-z), mix * rest / self.tau);
        // e^-z m in one exponential: apart, the two overflow and vanish.
        let exponential = (-z - softplus(-z / self.tau)).exp();
        let slope = -sigmoid(-z) * rest - logistic * sharpness - exponential + exponential * rest / self.tau;
        Point::of_margin(logistic * rest + exponential, self.beta * slope)
    }

    fn beta(&self) -> f64 {
        self.beta
    }

    fn takes_margins(&self) -> bool {
        true
    }
}

/// DPO-positive, -log sigma(beta (D - lambda max(0, -c))): DPO with a penalty where the chosen side is less likely than under
/// the reference, so that the margin does not grow while both sides fall. For images c is below 0 where the better
/// image's error is above the reference's.
///
/// # References
/// Pal et al. 2024, arXiv:2402.13228, Eq. 3.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dpop {
    beta: f64,
    lambda: f64,
}

impl Dpop {
    /// `beta` above 0; `lambda`, the strength of the penalty, from 0 up (0 is DPO). The authors use 0.3 and 50.
    pub fn new(beta: f64, lambda: f64) -> Result<Self, ObjectiveError> {
        let check = Check("dpop");
        Ok(Self { beta: check.positive("beta", beta)?, lambda: check.not_negative("penalty", lambda)? })
    }
}

impl Link for Dpop {
    fn at(&self, chosen: f64, rejected: f64) -> Point {
        let penalty = self.lambda * (-chosen).max(0.0);
        let z = self.beta * (chosen - rejected - penalty);
        let pull = self.beta * sigmoid(-z);
        let of_chosen = if chosen < 0.0 { 1.0 + self.lambda } else { 1.0 };
        Point { loss: softplus(-z), chosen: -pull * of_chosen, rejected: pull }
    }

    fn beta(&self) -> f64 {
        self.beta
    }

    fn metrics(&self, chosen: f64, _rejected: f64) -> Vec<(&'static str, f64)> {
        vec![("penalty", self.beta * self.lambda * (-chosen).max(0.0))]
    }
}

/// Linear-DPO, -w D with the weight w = 1/2 - 0.4 beta D between eta and 1 - eta: the weight that DPO's slope has, sigma(-beta
/// D), as a straight line that is cut. It goes with a reference that follows the policy.
///
/// In the released code D is the difference of mean squared errors, without a factor 1/2, and its beta twice this one.
///
/// # Laws
/// w is held constant: the slope of the margin is -w, which is not the derivative of the loss.
///
/// # References
/// Li et al. 2026, arXiv:2605.21123; the line as its released code has it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Linear {
    beta: f64,
    eta: f64,
}

impl Linear {
    /// The slope of the line.
    const STEEPNESS: f64 = 0.4;

    /// `beta` above 0; `eta`, the least weight, from 0 to below 0.5.
    pub fn new(beta: f64, eta: f64) -> Result<Self, ObjectiveError> {
        let check = Check("linear");
        let eta = check.that("least_weight", eta, (0.0..0.5).contains(&eta), "at least 0 and below 0.5")?;
        Ok(Self { beta: check.positive("beta", beta)?, eta })
    }

    fn weight(&self, margin: f64) -> f64 {
        (0.5 - Self::STEEPNESS * self.beta * margin).clamp(self.eta, 1.0 - self.eta)
    }
}

impl Link for Linear {
    fn at(&self, chosen: f64, rejected: f64) -> Point {
        let margin = chosen - rejected;
        let weight = self.weight(margin);
        Point::of_margin(-weight * margin, -weight)
    }

    fn beta(&self) -> f64 {
        self.beta
    }

    fn metrics(&self, chosen: f64, rejected: f64) -> Vec<(&'static str, f64)> {
        vec![("linear_weight", self.weight(chosen - rejected))]
    }
}
