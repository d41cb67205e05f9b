use super::density::{Gaussian, GaussianSlopes};
use crate::PolicyError;

/// How wide the Gaussians of a policy are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Spread {
    /// The same in every state, and not learned: a log-density is then a squared distance, as in CPL's released code.
    Fixed {
        /// The standard deviation.
        std: f64,
    },
    /// Learned for each coordinate and state within bounds: log std = the middle + half the width of their logarithms times tanh of an
    /// output. Without bounds a contrastive loss can shrink it for ever, for log-densities have no upper bound.
    Learned {
        /// The least standard deviation.
        low: f64,
        /// The greatest.
        high: f64,
    },
}

impl Spread {
    /// Checks the numbers.
    ///
    /// # Errors
    /// A standard deviation that is not a positive number; a least one that is not below the greatest.
    pub fn checked(self) -> Result<Self, PolicyError> {
        let is_std = |std: f64| std > 0.0 && std.is_finite();
        let (holds, expected) = match self {
            Self::Fixed { std } => (is_std(std), "a number above 0"),
            Self::Learned { low, high } => {
                (is_std(low) && is_std(high) && low < high, "two numbers above 0, the lower one first")
            }
        };
        let got = format!("{self:?}");
        let what = "the standard deviation of a Gaussian policy".to_owned();
        if holds { Ok(self) } else { Err(PolicyError::Argument { what, expected: expected.to_owned(), got }) }
    }

    /// Number of outputs of a policy for actions of so many numbers.
    pub fn n_outputs(self, action_size: usize) -> usize {
        match self {
            Self::Fixed { .. } => action_size,
            Self::Learned { .. } => 2 * action_size,
        }
    }

    /// The Gaussian of outputs: the means, then the numbers of the widths if they are learned.
    pub fn gaussian(self, outputs: &[f64]) -> Gaussian {
        match self {
            Self::Fixed { std } => Gaussian { mean: outputs.to_vec(), log_std: vec![std.ln(); outputs.len()] },
            Self::Learned { low, high } => {
                let (mean, widths) = outputs.split_at(outputs.len() / 2);
                let (middle, half) = (0.5 * (low.ln() + high.ln()), 0.5 * (high.ln() - low.ln()));
                let log_std = widths.iter().map(|width| middle + half * width.tanh()).collect();
                Gaussian { mean: mean.to_vec(), log_std }
            }
        }
    }

    /// The slopes with respect to outputs, from those with respect to the Gaussian of them.
    pub(super) fn to_outputs(self, outputs: &[f64], slopes: GaussianSlopes) -> Vec<f64> {
        let mut all = slopes.mean;
        match self {
            Self::Fixed { .. } => {}
            Self::Learned { low, high } => {
                let half = 0.5 * (high.ln() - low.ln());
                let widths = &outputs[outputs.len() / 2..];
                all.extend(slopes.log_std.iter().zip(widths).map(|(slope, x)| slope * half * (1.0 - x.tanh().powi(2))));
            }
        }
        all
    }
}
