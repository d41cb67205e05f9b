//! The laws of [`Policy`] and [`Learner`], as checks for custom policies.
//!
//! They hold for every policy, so they are the first test of a new one; the tolerance states its numerical precision
//! (1e-9 for a table in f64, about 1e-4 for a language model in f32).
mod broken;
mod candidates;
mod channels;
#[cfg(test)]
mod tests;
mod visits;

use mdp::{EpisodeOf, Mdp, Rng, Steps};
use rand::SeedableRng as _;

pub use self::broken::BrokenLaw;
use self::broken::{compare, count, finite, gradient, near};
pub use self::channels::random_slopes;
use self::channels::{joined, linear, scaled, sliced};
use crate::{BoxError, Cursor, Learner, Policy};

/// Checks a policy on episodes that it rolls out from `starts`, and returns them.
///
/// The same generator gives the same actions and episodes; actions are allowed; scores of episodes are finite and do
/// not depend on the rest of the batch.
///
/// # Errors
/// The first [`BrokenLaw`], or an error of the policy itself.
pub fn check_policy<M, P>(
    mdp: &M,
    policy: &P,
    starts: &[M::State],
    seed: u64,
    tolerance: f64,
) -> Result<Vec<EpisodeOf<M>>, BoxError>
where
    M: Mdp,
    M::State: PartialEq,
    M::Action: PartialEq,
    P: Policy<M> + ?Sized,
{
    let rng = || Rng::seed_from_u64(seed);
    let actions = policy.sample(mdp, starts, &mut rng())?;
    count("sample", starts.len(), actions.len())?;
    if actions != policy.sample(mdp, starts, &mut rng())? {
        return Err(BrokenLaw::NotSeeded { what: "actions" }.into());
    }
    if starts.iter().zip(&actions).any(|(state, action)| !mdp.allows(state, action)) {
        return Err(BrokenLaw::NotAllowed { function: "sample" }.into());
    }
    let episodes = policy.rollout(mdp, starts, &mut rng())?;
    count("rollout", starts.len(), episodes.len())?;
    if episodes != policy.rollout(mdp, starts, &mut rng())? {
        return Err(BrokenLaw::NotSeeded { what: "episodes" }.into());
    }
    check_scores(mdp, policy, &episodes, tolerance)?;
    Ok(episodes)
}

/// Checks that scores of given episodes are finite and do not depend on the rest of the batch.
///
/// # Errors
/// The first [`BrokenLaw`], or an error of the policy itself.
pub fn check_scores<M, P>(mdp: &M, policy: &P, episodes: &[EpisodeOf<M>], tolerance: f64) -> Result<(), BoxError>
where
    M: Mdp,
    P: Policy<M> + ?Sized,
{
    let together = policy.score(mdp, episodes)?;
    finite(&together.log_probs)?;
    let law = "batch composition";
    let mut apart = Vec::with_capacity(episodes.len());
    for episode in episodes {
        apart.push(policy.score(mdp, std::slice::from_ref(episode))?);
    }
    compare(law, &together, &joined(&apart), tolerance)?;
    let backwards: Vec<EpisodeOf<M>> = episodes.iter().rev().cloned().collect();
    let scores = policy.score(mdp, &backwards)?;
    apart.reverse();
    compare(law, &scores, &joined(&apart), tolerance)
}

/// Checks that a cursor that was advanced, branched, reordered and followed given actions gives the log-probabilities of a new cursor at the
/// same states, that rows keep their places, and that several actions of a row are scored as each alone.
///
/// # Errors
/// The first [`BrokenLaw`], or an error of the policy itself.
pub fn check_cursor<M, P>(
    mdp: &M,
    policy: &P,
    starts: &[M::State],
    seed: u64,
    steps: usize,
    tolerance: f64,
) -> Result<(), BoxError>
where
    M: Mdp,
    M::State: PartialEq,
    P: Policy<M> + ?Sized,
{
    let mut cursor = policy.cursor(mdp, starts)?;
    for step in 0..steps {
        let live: Vec<usize> = (0..cursor.states().len()).filter(|&i| !mdp.is_terminal(&cursor.states()[i])).collect();
        // The last row first, and the first one twice.
        let rows: Vec<usize> = live.iter().rev().chain(live.first()).copied().collect();
        let expected: Vec<M::State> = rows.iter().map(|&row| cursor.states()[row].clone()).collect();
        cursor.select(&rows);
        if step == 1 {
            cursor.extend(starts)?;
        }
        let added = if step == 1 { starts } else { &[] };
        let states = [&expected, added].concat();
        if cursor.states() != states {
            return Err(
                BrokenLaw::Count { function: "select", expected: states.len(), got: cursor.states().len() }.into()
            );
        }
        if states.is_empty() {
            return Ok(());
        }
        let mut rngs: Vec<Rng> = (0..states.len() as u64).map(|i| Rng::seed_from_u64(seed + i)).collect();
        let actions = cursor.draw(&mut rngs.iter_mut().collect::<Vec<_>>())?;
        count("draw", states.len(), actions.len())?;
        if states.iter().zip(&actions).any(|(state, action)| !mdp.allows(state, action)) {
            return Err(BrokenLaw::NotAllowed { function: "draw" }.into());
        }
        let (ours, fresh) = (cursor.log_probs(&actions)?, policy.cursor(mdp, &states)?.log_probs(&actions)?);
        let law = "a cursor is one opened at its states";
        compare(law, &Steps::from_iter([ours]).into(), &Steps::from_iter([fresh]).into(), tolerance)?;
        candidates::check(cursor.as_mut(), seed, tolerance)?;
        if step == 2 {
            follow(mdp, cursor.as_mut(), &actions)?;
        } else {
            cursor.advance(&actions)?;
        }
    }
    Ok(())
}

/// Gives every second row its action, and the others none.
fn follow<M: Mdp<State: PartialEq>>(
    mdp: &M,
    cursor: &mut dyn Cursor<M>,
    actions: &[M::Action],
) -> Result<(), BoxError> {
    let given: Vec<Vec<M::Action>> =
        actions.iter().enumerate().map(|(row, action)| vec![action.clone(); row % 2]).collect();
    let rows = cursor.states().iter().zip(&given);
    let after = |(state, given): (&M::State, &Vec<M::Action>)| {
        given.first().map_or_else(|| state.clone(), |action| mdp.step(state, action))
    };
    let expected: Vec<M::State> = rows.map(after).collect();
    cursor.follow(&given)?;
    if cursor.states() == expected {
        return Ok(());
    }
    Err(BrokenLaw::Count { function: "follow", expected: expected.len(), got: cursor.states().len() }.into())
}

/// Checks the proposals of an enumerable policy: allowed, sorted best first, with the log-probabilities of `score` and
/// their probabilities as `prior`.
///
/// # Errors
/// The first [`BrokenLaw`], or an error of the policy itself.
pub fn check_proposals<M, P>(mdp: &M, policy: &P, states: &[M::State], k: usize, tolerance: f64) -> Result<(), BoxError>
where
    M: Mdp,
    P: Policy<M> + ?Sized,
{
    let lists = policy.propose(mdp, states, k, &mut Rng::seed_from_u64(0))?;
    count("propose", states.len(), lists.len())?;
    for (state, list) in states.iter().zip(&lists) {
        if list.len() > k {
            return Err(BrokenLaw::Count { function: "propose", expected: k, got: list.len() }.into());
        }
        let mut before = f64::INFINITY;
        for (rank, proposal) in list.iter().enumerate() {
            if !mdp.allows(state, &proposal.action) {
                return Err(BrokenLaw::NotAllowed { function: "propose" }.into());
            }
            let one = mdp::Episode::whole(state.clone(), vec![proposal.action.clone()]);
            let expected = policy.score(mdp, std::slice::from_ref(&one))?.log_probs.values()[0];
            let proposed = proposal.log_prob;
            let is_right = near(proposed, expected, tolerance)
                && near(proposal.prior, proposed.exp(), tolerance)
                && proposed <= before;
            if !is_right {
                return Err(BrokenLaw::Proposal { rank, proposed, expected }.into());
            }
            before = proposed;
        }
    }
    Ok(())
}

/// Checks a learner: `forward` agrees with `score`, `backward` in parts adds up to `backward` of the whole for random
/// slopes, and `visit_gradients` visits that gradient.
///
/// It calls `update` at a rate of 0, which clears the gradient and keeps the weights, but changes the state of an
/// optimiser.
///
/// # Errors
/// The first [`BrokenLaw`], or an error of the learner itself.
pub fn check_learner<M, L>(
    mdp: &M,
    learner: &mut L,
    episodes: &[EpisodeOf<M>],
    seed: u64,
    tolerance: f64,
) -> Result<(), BoxError>
where
    M: Mdp,
    L: Learner<M>,
{
    let (numbers, tape) = learner.forward(mdp, episodes)?;
    compare("forward is score", &numbers, &learner.score(mdp, episodes)?, tolerance)?;
    let slopes = random_slopes(&numbers, &mut Rng::seed_from_u64(seed));
    learner.backward(tape, &slopes)?;
    let whole = learner.update(0.0, None)?;
    for split in [1, episodes.len() / 2] {
        let split = split.min(episodes.len());
        for part in [0..split, split..episodes.len()] {
            if part.is_empty() {
                continue;
            }
            let (_, tape) = learner.forward(mdp, &episodes[part.clone()])?;
            learner.backward(tape, &sliced(&slopes, part))?;
        }
        gradient("backward adds up", whole, learner.update(0.0, None)?, tolerance)?;
    }
    // The whole and its negative cancel.
    for sign in [1.0, -1.0] {
        let (_, tape) = learner.forward(mdp, episodes)?;
        learner.backward(tape, &scaled(&slopes, sign))?;
    }
    let nothing = learner.update(0.0, None)?;
    gradient("backward is linear", 0.0, nothing / whole.max(1.0), tolerance)?;
    visits::check(mdp, learner, episodes, &slopes, tolerance)
}

/// Checks the gradient by a finite difference along its own direction, for a learner whose `update` is a plain gradient
/// step.
///
/// A step of size `h` against the gradient `g` lowers the sum of slope times number by `h |g|^2`. `fresh` creates the
/// same learner each time. This check does not notice a parameter without a gradient: check each parameter for that.
///
/// # Errors
/// A [`BrokenLaw::Gradient`], or an error of the learner itself.
pub fn check_gradient<M, L>(
    mdp: &M,
    fresh: impl Fn() -> L,
    episodes: &[EpisodeOf<M>],
    seed: u64,
    step: f64,
    tolerance: f64,
) -> Result<(), BoxError>
where
    M: Mdp,
    L: Learner<M>,
{
    let slopes = random_slopes(&fresh().forward(mdp, episodes)?.0, &mut Rng::seed_from_u64(seed));
    // The step back is one along the negative gradient: optimisers take no negative rate.
    let moved = |sign: f64| -> Result<(f64, f64), BoxError> {
        let mut learner = fresh();
        let (_, tape) = learner.forward(mdp, episodes)?;
        learner.backward(tape, &scaled(&slopes, sign))?;
        let norm = learner.update(step, None)?;
        Ok((linear(&slopes, &learner.score(mdp, episodes)?), norm))
    };
    let ((after, norm), (before, _)) = (moved(1.0)?, moved(-1.0)?);
    let along = (before - after) / (2.0 * step * norm.max(f64::MIN_POSITIVE));
    gradient("finite differences along the gradient", norm, along, tolerance)
}

/// Checks a slope against the central difference of `loss`, a function of the offset of one number.
///
/// # Errors
/// A [`BrokenLaw::Gradient`], or an error of `loss` itself.
pub fn check_slope(
    mut loss: impl FnMut(f64) -> Result<f64, BoxError>,
    slope: f64,
    step: f64,
    tolerance: f64,
) -> Result<(), BoxError> {
    let difference = (loss(step)? - loss(-step)?) / (2.0 * step);
    gradient("finite differences", difference, slope, tolerance)
}
