//! The law of `visit_gradients`.
use mdp::{Channels, EpisodeOf, Mdp};

use super::gradient;
use crate::{BoxError, Learner};

/// Checks that `visit_gradients` visits the gradient, and that values written by the visitor replace it.
pub(super) fn check<M, L>(
    mdp: &M,
    learner: &mut L,
    episodes: &[EpisodeOf<M>],
    slopes: &Channels,
    tolerance: f64,
) -> Result<(), BoxError>
where
    M: Mdp,
    L: Learner<M>,
{
    let (_, tape) = learner.forward(mdp, episodes)?;
    learner.backward(tape, slopes)?;
    let norm = learner.gradient_norm()?;
    let mut squares = 0.0;
    learner.visit_gradients(&mut |_, slopes| {
        for slope in slopes {
            squares += *slope * *slope;
            *slope *= 2.0;
        }
        Ok(())
    })?;
    gradient("the gradient is visited", norm, f64::sqrt(squares), tolerance)?;
    gradient("a visitor writes the gradient", 2.0 * norm, learner.update(0.0, None)?, tolerance)?;
    let mut untouched = 0.0;
    learner.visit_gradients(&mut |_, slopes| {
        untouched += slopes.iter().map(|slope| slope.abs()).sum::<f64>();
        Ok(())
    })?;
    gradient("an update forgets the gradient", 0.0, untouched, tolerance)
}
