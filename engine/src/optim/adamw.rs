use std::collections::BTreeMap;

use candle_core::Tensor;

use super::Optimizer;
use super::slots::{Form, Rule, Slots};
use crate::error::check_setting;
use crate::{EngineError, Gradients, Parameters, host};

/// AdamW as in torch: Adam with bias correction and decoupled weight decay.
///
/// weight *= 1 - rate decay; m = b1 m + (1 - b1) g; v = b2 v + (1 - b2) g^2;
/// weight -= rate m / (1 - b1^t) / (sqrt(v / (1 - b2^t)) + eps) at a parameter's t-th step.
///
/// # References
/// Loshchilov and Hutter, Decoupled Weight Decay Regularization, <https://arxiv.org/abs/1711.05101>;
/// <https://pytorch.org/docs/stable/generated/torch.optim.AdamW.html>.
#[derive(Debug)]
pub struct AdamW {
    rule: Constants,
    slots: Slots<2>,
}

impl AdamW {
    /// `betas` are the decay rates of the two moments, `eps` keeps the divisor from zero, `weight_decay` is the share
    /// of a weight removed at a rate of 1 (0 makes it plain Adam).
    ///
    /// # Errors
    /// Unless both betas are in [0, 1), eps is positive, the decay is not negative, and all are finite.
    pub fn new(betas: (f64, f64), eps: f64, weight_decay: f64) -> Result<Self, EngineError> {
        for (name, beta) in [("the first beta", betas.0), ("the second beta", betas.1)] {
            check_setting((0. ..1.).contains(&beta), Constants::NAME, name, "in [0, 1)", beta)?;
        }
        check_setting(eps > 0. && eps.is_finite(), Constants::NAME, "eps", "positive and finite", eps)?;
        let is_decay = weight_decay >= 0. && weight_decay.is_finite();
        check_setting(is_decay, Constants::NAME, "the weight decay", "finite and not negative", weight_decay)?;
        Ok(Self { rule: Constants { betas, eps, weight_decay }, slots: Slots::new() })
    }
}

/// Torch's constants: betas .9 and .999, eps 1e-8, weight decay .01.
impl Default for AdamW {
    fn default() -> Self {
        Self { rule: Constants { betas: (0.9, 0.999), eps: 1e-8, weight_decay: 0.01 }, slots: Slots::new() }
    }
}

impl_optimizer!(AdamW, Constants);

#[derive(Debug)]
struct Constants {
    betas: (f64, f64),
    eps: f64,
    weight_decay: f64,
}

/// As in torch, the bias corrections are factored out of the per-number work: the first into the step size, the square
/// root of the second into the divisor (as a factor).
#[derive(Debug)]
struct Scalars {
    betas: (f64, f64),
    eps: f64,
    kept: f64,
    step_size: f64,
    inverse_root: f64,
}

impl Rule<2> for Constants {
    const NAME: &'static str = "adamw";
    const MOMENTS: [&'static str; 2] = ["exp_avg", "exp_avg_sq"];
    type Scalars = Scalars;

    fn scalars(&self, step: u64, rate: f64) -> Scalars {
        let correction = |beta: f64| 1. - beta.powf(step as f64);
        Scalars {
            betas: self.betas,
            eps: self.eps,
            kept: 1. - rate * self.weight_decay,
            step_size: rate / correction(self.betas.0),
            inverse_root: 1. / correction(self.betas.1).sqrt(),
        }
    }

    fn fused(scalars: &Scalars, weight: &mut [f32], gradient: &[f32], moments: [&mut [f32]; 2]) {
        let (new_mean, old_square) = ((1. - scalars.betas.0) as f32, scalars.betas.1 as f32);
        let new_square = (1. - scalars.betas.1) as f32;
        let (eps, kept) = (scalars.eps as f32, scalars.kept as f32);
        let (step_size, inverse_root) = (scalars.step_size as f32, scalars.inverse_root as f32);
        host::for_each_number(
            weight,
            gradient,
            moments,
            #[inline(always)]
            |weight, g, [mean, square]| {
                *mean += new_mean * (g - *mean);
                *square = *square * old_square + new_square * g * g;
                *weight = *weight * kept - step_size * *mean / (square.sqrt() * inverse_root + eps);
            },
        );
    }

    fn composed(
        scalars: &Scalars,
        weight: &Tensor,
        gradient: &Tensor,
        [mean, square]: &[Tensor; 2],
    ) -> candle_core::Result<(Tensor, [Tensor; 2])> {
        let mean = (mean + ((gradient - mean)? * (1. - scalars.betas.0))?)?;
        let square = ((square * scalars.betas.1)? + ((gradient * (1. - scalars.betas.1))? * gradient)?)?;
        let divisor = ((square.sqrt()? * scalars.inverse_root)? + scalars.eps)?;
        let weight = ((weight * scalars.kept)? - ((&mean * scalars.step_size)? / divisor)?)?;
        Ok((weight, [mean, square]))
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::check_forms_agree;
    use super::Constants;

    #[test]
    fn fused_and_composed_forms_agree_to_the_bit() {
        check_forms_agree(&Constants { betas: (0.9, 0.99), eps: 1e-8, weight_decay: 0.1 });
    }
}
