//! The law of scoring several candidate actions of a row.
use mdp::{Mdp, Rng, Steps};
use rand::SeedableRng as _;

use super::{compare, count};
use crate::{BoxError, Cursor};

/// Checks that `log_probs_of` agrees with `log_probs` action by action, on lists of up to three draws.
pub(super) fn check<M: Mdp>(cursor: &mut dyn Cursor<M>, seed: u64, tolerance: f64) -> Result<(), BoxError> {
    let n = cursor.states().len();
    let mut draws = Vec::with_capacity(3);
    for draw in 0..3 {
        let mut rngs: Vec<Rng> = (0..n as u64).map(|row| Rng::seed_from_u64(seed + 3 * row + draw)).collect();
        draws.push(cursor.draw(&mut rngs.iter_mut().collect::<Vec<_>>())?);
    }
    let list = |row: usize| draws.iter().take(1 + row % 3).map(|draw| draw[row].clone()).collect();
    let lists: Vec<Vec<M::Action>> = (0..n).map(list).collect();
    let together = cursor.log_probs_of(&lists)?;
    count("log_probs_of", n, together.len())?;
    let apart = draws.iter().map(|draw| cursor.log_probs(draw)).collect::<Result<Vec<_>, _>>()?;
    let apart = (0..n).map(|row| apart.iter().take(1 + row % 3).map(|numbers| numbers[row]).collect::<Vec<f64>>());
    let law = "several actions of a row are scored as one by one";
    compare(law, &Steps::from_iter(together).into(), &apart.collect::<Steps>().into(), tolerance)
}
