use crate::numbers::{sigmoid, softplus};
use crate::settings::Check;
use crate::{Link, ObjectiveError, Point};

/// D3PO, -log sigma(beta (log clamp(e^c) - log clamp(e^r))) with likelihood ratios kept within 1 - eps to 1 + eps.
///
/// For single denoising steps, whose log-ratios are means over a latent's elements. A ratio outside the bounds has no
/// gradient, and the loss is bounded below by -log sigma(beta log((1 + eps) / (1 - eps))): 0.6832 with the released
/// beta = eps = 0.1, close to the initial 0.6931.
///
/// # References
/// Yang et al. 2023, arXiv:2311.13231, and its released code.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Clamped {
    beta: f64,
    bounds: (f64, f64),
}

impl Clamped {
    /// `beta` above 0; `eps` above 0 and below 1.
    pub fn new(beta: f64, eps: f64) -> Result<Self, ObjectiveError> {
        let check = Check("d3po");
        let eps = check.that("clamp", eps, eps > 0.0 && eps < 1.0, "above 0 and below 1")?;
        Ok(Self { beta: check.positive("beta", beta)?, bounds: ((-eps).ln_1p(), eps.ln_1p()) })
    }

    /// The lower bound of the loss.
    pub fn floor(&self) -> f64 {
        softplus(-self.beta * (self.bounds.1 - self.bounds.0))
    }
}

impl Link for Clamped {
    fn at(&self, chosen: f64, rejected: f64) -> Point {
        let (low, high) = self.bounds;
        let z = self.beta * (chosen.clamp(low, high) - rejected.clamp(low, high));
        let slope = |value: f64| if value > low && value < high { self.beta * sigmoid(-z) } else { 0.0 };
        Point { loss: softplus(-z), chosen: -slope(chosen), rejected: slope(rejected) }
    }

    fn beta(&self) -> f64 {
        self.beta
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_released_settings_have_a_floor_of_6832() {
        let link = Clamped::new(0.1, 0.1).unwrap();
        // log sigma(0.1 log(1.1 / 0.9)), by hand: z = 0.0200671.
        assert!((link.floor() - 0.683_164).abs() < 1e-6);
        let far = link.at(50.0, -50.0);
        assert!((far.loss - link.floor()).abs() < 1e-12);
        assert_eq!((far.chosen, far.rejected), (0.0, 0.0));
        assert!((link.at(0.0, 0.0).loss - 2f64.ln()).abs() < 1e-15);
    }

    #[test]
    fn inside_the_bounds_it_is_dpo() {
        let (link, dpo) = (Clamped::new(0.7, 0.5).unwrap(), crate::Logistic::new(0.7).unwrap());
        for (c, r) in [(0.1, -0.2), (0.3, 0.2), (-0.4, 0.05)] {
            assert_eq!(link.at(c, r), dpo.at(c, r));
            let e = 1e-6;
            let finite = (link.at(c + e, r).loss - link.at(c - e, r).loss) / (2.0 * e);
            assert!((finite - link.at(c, r).chosen).abs() < 1e-8);
        }
    }

    #[test]
    fn settings_without_sense_are_refused() {
        assert!(Clamped::new(0.1, 1.0).is_err() && Clamped::new(0.0, 0.1).is_err());
    }
}
