use crate::ObjectiveError;
use crate::numbers::{sigmoid, softplus};
use crate::settings::Check;

/// The divergence from the reference that a loss penalises: it decides the score f'(pi / pi_ref) of a log-ratio x, which
/// takes the place of the log-ratio in the loss.
///
/// The greatest log-ratio counts as 80 where an exponential is taken of it, as in TRL.
///
/// # References
/// Wang et al. 2023, arXiv:2309.16240; the alpha-divergence as TRL 1.16 writes it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Divergence {
    /// KL(pi || pi_ref): the score is x itself, as in DPO.
    #[default]
    ReverseKl,
    /// KL(pi_ref || pi): 1 - e^-x.
    ForwardKl,
    /// Jensen-Shannon: log 2 + log sigma(x).
    JensenShannon,
    /// The alpha-divergence: (e^((alpha - 1) x) - 1) / (alpha - 1); at alpha 1 the reverse KL. Made by [`Divergence::alpha`].
    Alpha(f64),
}

impl Divergence {
    /// The greatest argument of an exponential.
    const GREATEST: f64 = 80.0;

    /// The alpha-divergence; `alpha` is any finite number.
    pub fn alpha(alpha: f64) -> Result<Self, ObjectiveError> {
        Ok(Self::Alpha(Check("the alpha-divergence").finite("divergence_alpha", alpha)?))
    }

    /// The score of a log-ratio, and its derivative.
    pub(crate) fn score(self, x: f64) -> (f64, f64) {
        match self {
            Self::ReverseKl => (x, 1.0),
            Self::ForwardKl => {
                let (value, slope) = exponential(-x);
                (1.0 - value, slope)
            }
            Self::JensenShannon => (std::f64::consts::LN_2 - softplus(-x), sigmoid(-x)),
            Self::Alpha(alpha) if (alpha - 1.0).abs() < 1e-6 => (x, 1.0),
            Self::Alpha(alpha) => {
                let (value, slope) = exponential((alpha - 1.0) * x);
                ((value - 1.0) / (alpha - 1.0), slope)
            }
        }
    }
}

/// e^x and its derivative, with x bounded above.
fn exponential(x: f64) -> (f64, f64) {
    if x < Divergence::GREATEST { (x.exp(), x.exp()) } else { (Divergence::GREATEST.exp(), 0.0) }
}
