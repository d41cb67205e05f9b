//! Violations of the laws, and the comparison of numbers.
use mdp::{Channels, Steps};

use crate::BoxError;

/// A violated law.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum BrokenLaw {
    /// The same generator gave different actions.
    #[error("the same generator gave different {what}")]
    NotSeeded {
        /// Actions or episodes.
        what: &'static str,
    },
    /// A state got another number of results than requested.
    #[error("{function} gave {got} answers for {expected} questions")]
    Count {
        /// The function.
        function: &'static str,
        /// The requested number.
        expected: usize,
        /// The returned number.
        got: usize,
    },
    /// An action that was sampled or proposed is not allowed.
    #[error("{function} gave an action that is not allowed")]
    NotAllowed {
        /// The function.
        function: &'static str,
    },
    /// A number is not finite, or a log-probability of an enumerable policy is above 0.
    #[error("decision {decision} of episode {episode} is scored {value}")]
    Score {
        /// Row.
        episode: usize,
        /// Column.
        decision: usize,
        /// The number.
        value: f64,
    },
    /// Proposals disagree with `score`, or are not sorted best first.
    #[error("proposal {rank} says {proposed}, but it should be {expected}")]
    Proposal {
        /// Its place in the list.
        rank: usize,
        /// Its log-probability.
        proposed: f64,
        /// The log-probability from `score`.
        expected: f64,
    },
    /// Two computations of the same numbers differ.
    #[error("{law}: the {channel} of decision {decision} of episode {episode} is {one} one way and {other} the other")]
    Differs {
        /// The law.
        law: &'static str,
        /// The channel.
        channel: &'static str,
        /// Row.
        episode: usize,
        /// Column.
        decision: usize,
        /// The first value.
        one: f64,
        /// The second value.
        other: f64,
    },
    /// Two computations of the same numbers have different shapes.
    #[error("{law}: the {channel} have another shape one way than the other")]
    Shape {
        /// The law.
        law: &'static str,
        /// The channel.
        channel: &'static str,
    },
    /// A gradient is wrong.
    #[error("{law}: expected {expected}, got {got}")]
    Gradient {
        /// The law.
        law: &'static str,
        /// The expected value.
        expected: f64,
        /// The computed value.
        got: f64,
    },
}

pub(super) fn compare(law: &'static str, one: &Channels, other: &Channels, tolerance: f64) -> Result<(), BoxError> {
    let pairs = [
        ("log-probabilities", Some(&one.log_probs), Some(&other.log_probs)),
        ("divergences", one.divergence.as_ref(), other.divergence.as_ref()),
        ("entropies", one.entropy.as_ref(), other.entropy.as_ref()),
        ("mean logits", one.mean_logit.as_ref(), other.mean_logit.as_ref()),
        ("likeliest actions", one.is_likeliest.as_ref(), other.is_likeliest.as_ref()),
        ("collisions", one.collision.as_ref(), other.collision.as_ref()),
    ];
    for (channel, one, other) in pairs {
        let (one, other) = match (one, other) {
            (Some(one), Some(other)) if one.same_shape(other) => (one, other),
            (None, None) => continue,
            // A batch without rows has no channels.
            _ if one.or(other).is_some_and(Steps::is_empty) => continue,
            _ => return Err(BrokenLaw::Shape { law, channel }.into()),
        };
        for (episode, (row, others)) in one.rows().zip(other.rows()).enumerate() {
            for (decision, (one, other)) in row.iter().zip(others).enumerate() {
                if !near(*one, *other, tolerance) {
                    let (one, other) = (*one, *other);
                    return Err(BrokenLaw::Differs { law, channel, episode, decision, one, other }.into());
                }
            }
        }
    }
    Ok(())
}

pub(super) fn finite(scores: &Steps) -> Result<(), BrokenLaw> {
    for (episode, row) in scores.rows().enumerate() {
        if let Some((decision, value)) = row.iter().enumerate().find(|(_, value)| !value.is_finite()) {
            return Err(BrokenLaw::Score { episode, decision, value: *value });
        }
    }
    Ok(())
}

pub(super) fn count(function: &'static str, expected: usize, got: usize) -> Result<(), BrokenLaw> {
    if expected == got { Ok(()) } else { Err(BrokenLaw::Count { function, expected, got }) }
}

pub(super) fn gradient(law: &'static str, expected: f64, got: f64, tolerance: f64) -> Result<(), BoxError> {
    if near(expected, got, tolerance) { Ok(()) } else { Err(BrokenLaw::Gradient { law, expected, got }.into()) }
}

/// Whether two numbers agree: an absolute tolerance for small numbers, a relative one for large ones.
pub(super) fn near(one: f64, other: f64, tolerance: f64) -> bool {
    (one - other).abs() <= tolerance * (1.0 + one.abs().max(other.abs()))
}
