use std::collections::BTreeMap;

use candle_core::Tensor;

use super::Optimizer;
use super::slots::{Form, Rule, Slots};
use crate::error::check_setting;
use crate::{EngineError, Gradients, Parameters, host};

/// SGD with momentum as in torch, without dampening.
///
/// b = momentum b + g; weight -= rate b.
///
/// # References
/// <https://pytorch.org/docs/stable/generated/torch.optim.SGD.html>.
#[derive(Debug)]
pub struct Sgd {
    rule: Constants,
    slots: Slots<1>,
}

impl Sgd {
    /// `momentum` is the decay rate of the velocity; 0 is plain gradient descent.
    ///
    /// # Errors
    /// Unless 0 <= momentum < 1.
    pub fn new(momentum: f64) -> Result<Self, EngineError> {
        check_setting((0. ..1.).contains(&momentum), Constants::NAME, "the momentum", "in [0, 1)", momentum)?;
        Ok(Self { rule: Constants { momentum }, slots: Slots::new() })
    }
}

impl_optimizer!(Sgd, Constants);

#[derive(Debug)]
struct Constants {
    momentum: f64,
}

#[derive(Debug)]
struct Scalars {
    momentum: f64,
    rate: f64,
}

impl Rule<1> for Constants {
    const NAME: &'static str = "sgd";
    const MOMENTS: [&'static str; 1] = ["momentum_buffer"];
    type Scalars = Scalars;

    fn scalars(&self, _step: u64, rate: f64) -> Scalars {
        Scalars { momentum: self.momentum, rate }
    }

    fn fused(scalars: &Scalars, weight: &mut [f32], gradient: &[f32], moments: [&mut [f32]; 1]) {
        let (momentum, rate) = (scalars.momentum as f32, scalars.rate as f32);
        host::for_each_number(
            weight,
            gradient,
            moments,
            #[inline(always)]
            |weight, g, [change]| {
                *change = *change * momentum + g;
                *weight -= rate * *change;
            },
        );
    }

    fn composed(
        scalars: &Scalars,
        weight: &Tensor,
        gradient: &Tensor,
        [change]: &[Tensor; 1],
    ) -> candle_core::Result<(Tensor, [Tensor; 1])> {
        let change = ((change * scalars.momentum)? + gradient)?;
        Ok(((weight - (&change * scalars.rate)?)?, [change]))
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::check_forms_agree;
    use super::Constants;

    #[test]
    fn fused_and_composed_forms_agree_to_the_bit() {
        check_forms_agree(&Constants { momentum: 0.9 });
    }
}
