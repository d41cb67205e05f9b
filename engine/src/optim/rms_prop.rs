use std::collections::BTreeMap;

use candle_core::Tensor;

use super::Optimizer;
use super::slots::{Form, Rule, Slots};
use crate::error::check_setting;
use crate::{EngineError, Gradients, Parameters, host};

/// RMSprop as in torch, not centred and without momentum: the optimiser of the original DPO runs.
///
/// s = alpha s + (1 - alpha) g^2; weight -= rate g / (sqrt s + eps).
///
/// # References
/// Hinton, Neural Networks for Machine Learning, lecture 6e;
/// <https://pytorch.org/docs/stable/generated/torch.optim.RMSprop.html>.
#[derive(Debug)]
pub struct RmsProp {
    rule: Constants,
    slots: Slots<1>,
}

impl RmsProp {
    /// `alpha` is the decay rate of the mean square, `eps` keeps the divisor from zero.
    ///
    /// # Errors
    /// Unless 0 <= alpha < 1 and eps is positive and finite.
    pub fn new(alpha: f64, eps: f64) -> Result<Self, EngineError> {
        check_setting((0. ..1.).contains(&alpha), Constants::NAME, "alpha", "in [0, 1)", alpha)?;
        check_setting(eps > 0. && eps.is_finite(), Constants::NAME, "eps", "positive and finite", eps)?;
        Ok(Self { rule: Constants { alpha, eps }, slots: Slots::new() })
    }
}

/// Torch's constants: alpha .99, eps 1e-8.
impl Default for RmsProp {
    fn default() -> Self {
        Self { rule: Constants { alpha: 0.99, eps: 1e-8 }, slots: Slots::new() }
    }
}

impl_optimizer!(RmsProp, Constants);

#[derive(Debug)]
struct Constants {
    alpha: f64,
    eps: f64,
}

#[derive(Debug)]
struct Scalars {
    alpha: f64,
    eps: f64,
    rate: f64,
}

impl Rule<1> for Constants {
    const NAME: &'static str = "rmsprop";
    const MOMENTS: [&'static str; 1] = ["square_avg"];
    type Scalars = Scalars;

    fn scalars(&self, _step: u64, rate: f64) -> Scalars {
        Scalars { alpha: self.alpha, eps: self.eps, rate }
    }

    fn fused(scalars: &Scalars, weight: &mut [f32], gradient: &[f32], moments: [&mut [f32]; 1]) {
        let (alpha, rest) = (scalars.alpha as f32, (1. - scalars.alpha) as f32);
        let (eps, rate) = (scalars.eps as f32, scalars.rate as f32);
        host::for_each_number(
            weight,
            gradient,
            moments,
            #[inline(always)]
            |weight, g, [square]| {
                *square = *square * alpha + rest * g * g;
                *weight -= rate * g / (square.sqrt() + eps);
            },
        );
    }

    fn composed(
        scalars: &Scalars,
        weight: &Tensor,
        gradient: &Tensor,
        [square]: &[Tensor; 1],
    ) -> candle_core::Result<(Tensor, [Tensor; 1])> {
        let square = ((square * scalars.alpha)? + ((gradient * (1. - scalars.alpha))? * gradient)?)?;
        let change = ((gradient * scalars.rate)? / (square.sqrt()? + scalars.eps)?)?;
        Ok(((weight - change)?, [square]))
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::check_forms_agree;
    use super::Constants;

    #[test]
    fn fused_and_composed_forms_agree_to_the_bit() {
        check_forms_agree(&Constants { alpha: 0.9, eps: 1e-8 });
    }
}
