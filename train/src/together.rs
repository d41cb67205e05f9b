//! One training step of several ranks.
use mdp::{Channels, Mdp};
use objectives::Feedback;
use policies::{Learner, PolicyError};

use crate::ranks::{Numbers, Sharing, exchange, join_measures};
use crate::safeguard::guard;
use crate::step::{Learned, Loss, Reference, Slice, StepAt, learn, slopes_of_all, slopes_of_part};
use crate::{Measures, Ranks, TrainError};

/// Takes one step as [`learn`] does, with the slices divided among ranks: slice `k` is scored and learned from by rank `k` modulo
/// their number.
///
/// Every rank has all slices, and a learner and a reference of its own. The numbers of all are gathered, and each evaluates the
/// objective on all of them, in their order, so that losses of whole batches and those that remember earlier steps are what they are
/// in one process. The gradients are summed in the order of the ranks, or by the policies themselves ([`Learner::sums_gradient`]), and
/// each takes the same update: the step is that of one process with the same slices but for the rounding of sums.
///
/// # Errors
/// As [`learn`], on every rank; where another has failed, [`TrainError::OtherRank`]; policies that sum gradients themselves have got
/// different ones.
pub fn learn_together<M: Mdp, L: Learner<M>, F: Feedback>(
    mdp: &M,
    learner: &mut L,
    reference: &mut Reference<'_, M>,
    loss: Loss<'_, M, F>,
    slices: &[Slice<M, F>],
    (at, ranks): (StepAt, &dyn Ranks),
) -> Result<Learned, TrainError> {
    if ranks.size() == 1 {
        return learn(mdp, learner, reference, loss, slices, at);
    }
    let failed = |source| TrainError::of_policy(at.step, source);
    let total: usize = slices.iter().map(|slice| slice.feedback.len()).sum();
    let mut learned = Learned::of(slices);
    // A coupled batch is evaluated at once, any other in parts of one slice of every rank, whose tapes are kept.
    let is_whole = loss.objective.needs().whole_batch;
    let at_once = if is_whole { slices.len().max(1) } else { ranks.size() };
    let mut guarded = Ok(Measures::default());
    for part in slices.chunks(at_once) {
        let own: Vec<&Slice<M, F>> = part.iter().skip(ranks.rank()).step_by(ranks.size()).collect();
        let (scored, tape) = score(mdp, learner, reference, loss, (&own, at));
        let numbers = exchange(ranks, scored, part.len())?;
        if !at.follows {
            remember(reference, part, &numbers);
        }
        let slopes = if is_whole {
            slopes_of_all(loss, part, &numbers, at.step, &mut learned)?
        } else {
            let of = |(slice, (policy, reference)): (_, &Numbers)| {
                slopes_of_part(loss, slice, (policy, reference.as_ref()), (total, at.step), &mut learned)
            };
            part.iter().zip(&numbers).map(of).collect::<Result<Vec<Channels>, TrainError>>()?
        };
        let slopes = slopes.into_iter().skip(ranks.rank()).step_by(ranks.size());
        if let Ok(measures) = &mut guarded {
            match descend(mdp, learner, (own, tape), slopes, at) {
                Ok(more) => measures.join(more),
                Err(error) => guarded = Err(error),
            }
        }
    }
    learned.measures.join(join_measures(ranks, guarded)?);
    sum_gradients(learner, ranks).map_err(failed)?;
    learned.gradient_norms = learner.gradient_norms().map_err(failed)?;
    learned.gradient_norm = update(learner, at, ranks).map_err(failed)?;
    if learner.sums_gradient() {
        check_alike(ranks, learned.gradient_norm, at.step)?;
    }
    Ok(learned)
}

/// Takes the step of all; each rank may have its own share of the optimiser's state.
fn update<M: Mdp>(learner: &mut impl Learner<M>, at: StepAt, ranks: &dyn Ranks) -> Result<f64, PolicyError> {
    if at.shards {
        return learner.update_share(at.rate, at.max_gradient_norm, &Sharing(ranks));
    }
    learner.update(at.rate, at.max_gradient_norm)
}

/// The most values of a gradient that travel with others: a message's fixed cost is that of some ten thousand.
const SMALL: usize = 1 << 16;

/// Checks that a gradient which the policies have summed themselves has the same norm everywhere, to the bit: copies of the policy that
/// take different steps would be other policies before long.
fn check_alike(ranks: &dyn Ranks, norm: f64, step: usize) -> Result<(), TrainError> {
    let norms: Vec<f64> = ranks.gather(&[norm]).into_iter().flatten().collect();
    let is_other = |norm: &f64| norm.is_finite() && norms[0].is_finite() && norm.to_bits() != norms[0].to_bits();
    match norms.iter().position(is_other) {
        Some(rank) => Err(TrainError::Apart { rank, step }),
        None => Ok(()),
    }
}

/// Replaces every gradient by its sum over all ranks.
fn sum_gradients<M: Mdp>(learner: &mut impl Learner<M>, ranks: &dyn Ranks) -> Result<(), PolicyError> {
    if learner.sums_gradient() {
        return learner.sum_gradient();
    }
    if !learner.has_single_gradients() {
        return learner.visit_gradients(&mut |_, slopes| {
            ranks.sum(slopes);
            Ok(())
        });
    }
    let mut small = Vec::new();
    learner.visit_single_gradients(&mut |slopes| {
        if slopes.len() > SMALL {
            ranks.sum_single(slopes);
        } else {
            small.extend_from_slice(slopes);
        }
        Ok(())
    })?;
    ranks.sum_single(&mut small);
    let mut summed = small.into_iter();
    learner.visit_single_gradients(&mut |slopes| {
        if slopes.len() <= SMALL {
            slopes.iter_mut().zip(&mut summed).for_each(|(slope, sum)| *slope = sum);
        }
        Ok(())
    })
}

/// Scores the own slices of a part; of a single one the tape is kept.
fn score<M: Mdp, L: Learner<M>, F: Feedback>(
    mdp: &M,
    learner: &L,
    reference: &mut Reference<'_, M>,
    loss: Loss<'_, M, F>,
    (own, at): (&[&Slice<M, F>], StepAt),
) -> (Result<Vec<Numbers>, TrainError>, Option<L::Tape>) {
    let mut tape = None;
    let mut score = |slice: &&Slice<M, F>| {
        let failed = |source| TrainError::of_policy(at.step, source);
        let policy = if own.len() == 1 {
            let (policy, kept) = learner.forward(mdp, &slice.episodes).map_err(failed)?;
            tape = Some(kept);
            policy
        } else {
            learner.score(mdp, &slice.episodes).map_err(failed)?
        };
        Ok((policy, at.reference_numbers(mdp, learner, reference, loss.objective, slice)?))
    };
    let scored = own.iter().map(&mut score).collect();
    (scored, tape)
}

/// Keeps the reference's numbers of all slices, so that the leader's cache is that of all, and every epoch may divide them anew.
fn remember<M: Mdp, F>(reference: &mut Reference<'_, M>, part: &[Slice<M, F>], numbers: &[Numbers]) {
    for (slice, (_, numbers)) in part.iter().zip(numbers) {
        if let Some(numbers) = numbers {
            reference.remember(slice, numbers);
        }
    }
}

/// Adds the gradients of the own slices, and returns what the safeguard measures.
fn descend<M: Mdp, L: Learner<M>, F: Feedback>(
    mdp: &M,
    learner: &mut L,
    (own, mut tape): (Vec<&Slice<M, F>>, Option<L::Tape>),
    slopes: impl Iterator<Item = Channels>,
    at: StepAt,
) -> Result<Measures, TrainError> {
    let failed = |source| TrainError::of_policy(at.step, source);
    let mut measures = Measures::default();
    for (slice, mut slopes) in own.into_iter().zip(slopes) {
        let tape = match tape.take() {
            Some(tape) => tape,
            None => learner.forward(mdp, &slice.episodes).map_err(failed)?.1,
        };
        if let Some(share) = at.safeguard {
            measures.join(guard(learner, &tape, slice, &mut slopes, (share, at.step))?);
        }
        learner.backward(tape, &slopes).map_err(failed)?;
    }
    Ok(measures)
}
