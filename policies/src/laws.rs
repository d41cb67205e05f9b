//! The laws of [`Policy`] and [`Learner`], to check a policy of one's own with.
//!
//! They hold for every policy, so they are the first test to write for a new one; the tolerance says how exact its
//! arithmetic is (1e-9 for a table in f64, about 1e-4 for a language model in f32).
use mdp::{Channels, EpisodeOf, Mdp, Rng, Steps};
use rand::{RngExt as _, SeedableRng as _};

use crate::{BoxError, Learner, Policy};

/// A law that does not hold.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum BrokenLaw {
    /// The same generator gave different actions.
    #[error("the same generator gave different {what}")]
    NotSeeded {
        /// Actions or episodes.
        what: &'static str,
    },
    /// A state got another number of answers than asked for.
    #[error("{function} gave {got} answers for {expected} questions")]
    Count {
        /// Which function.
        function: &'static str,
        /// How many answers were due.
        expected: usize,
        /// How many came.
        got: usize,
    },
    /// An action that was sampled or proposed is not allowed.
    #[error("{function} gave an action that is not allowed")]
    NotAllowed {
        /// Which function.
        function: &'static str,
    },
    /// A number is not finite, or a log-probability is above 0 where actions can be counted.
    #[error("decision {decision} of episode {episode} is scored {value}")]
    Score {
        /// Row.
        episode: usize,
        /// Column.
        decision: usize,
        /// The number.
        value: f64,
    },
    /// Proposals are not what `score` says, or not best first.
    #[error("proposal {rank} says {proposed}, but it should be {expected}")]
    Proposal {
        /// Its place in the list.
        rank: usize,
        /// Its log-probability.
        proposed: f64,
        /// What it should be.
        expected: f64,
    },
    /// Two ways to the same numbers differ.
    #[error("{law}: the {channel} of decision {decision} of episode {episode} is {one} one way and {other} the other")]
    Differs {
        /// Which law.
        law: &'static str,
        /// Which numbers.
        channel: &'static str,
        /// Row.
        episode: usize,
        /// Column.
        decision: usize,
        /// One way.
        one: f64,
        /// The other.
        other: f64,
    },
    /// Two ways to the same numbers have different shapes.
    #[error("{law}: the {channel} have another shape one way than the other")]
    Shape {
        /// Which law.
        law: &'static str,
        /// Which numbers.
        channel: &'static str,
    },
    /// A gradient is wrong.
    #[error("{law}: expected {expected}, got {got}")]
    Gradient {
        /// Which law.
        law: &'static str,
        /// One way.
        expected: f64,
        /// The other.
        got: f64,
    },
}

/// Checks a policy on episodes it makes itself from `starts`, and returns them.
///
/// The same generator gives the same actions and episodes; actions are allowed; episodes are scored finite; scores do
/// not depend on what else is in the batch.
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

/// Checks that given episodes are scored finite, and the same whatever else is in the batch.
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

/// Checks that a cursor that was moved, branched and reordered gives the log-probabilities of one opened where it stands, that
/// rows keep their places, and that several actions of a row are scored as each alone.
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
        cursor.advance(&actions)?;
    }
    Ok(())
}

/// Checks the proposals of a policy whose actions can be counted: allowed, best first, as `score` says, `prior` their
/// probability.
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

/// Checks a learner: `forward` gives the numbers of `score`, `backward` in parts adds up to `backward` of the whole, on
/// random slopes, and what is visited is the gradient.
///
/// It calls `update` at a rate of 0, which forgets the gradient and leaves the weights (but not the state of an
/// optimiser) as they were.
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
    // The whole and its negative leave nothing.
    for sign in [1.0, -1.0] {
        let (_, tape) = learner.forward(mdp, episodes)?;
        learner.backward(tape, &scaled(&slopes, sign))?;
    }
    let nothing = learner.update(0.0, None)?;
    gradient("backward is linear", 0.0, nothing / whole.max(1.0), tolerance)?;
    visits::check(mdp, learner, episodes, &slopes, tolerance)
}

/// Checks the gradient against finite differences along itself, for a learner whose `update` is a plain gradient step.
///
/// A step of size `h` against the gradient `g` lowers the sum of slope times number by `h |g|^2`. `fresh` makes the
/// same learner each time. The gradient of a parameter that gets none at all is not missed by this check: look at each
/// parameter for that.
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
    let moved = |rate: f64| -> Result<(f64, f64), BoxError> {
        let mut learner = fresh();
        let (_, tape) = learner.forward(mdp, episodes)?;
        learner.backward(tape, &slopes)?;
        let norm = learner.update(rate, None)?;
        Ok((linear(&slopes, &learner.score(mdp, episodes)?), norm))
    };
    let ((after, norm), (before, _)) = (moved(step)?, moved(-step)?);
    let along = (before - after) / (2.0 * step * norm.max(f64::MIN_POSITIVE));
    gradient("finite differences along the gradient", norm, along, tolerance)
}

/// Checks a slope against the central difference of `loss`, a function of how far one number is moved.
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

/// Slopes between -1 and 1 for every number that takes one (diagnostics do not).
pub fn random_slopes(numbers: &Channels, rng: &mut Rng) -> Channels {
    let mut draw = |steps: &Steps| {
        let mut slopes = steps.clone();
        slopes.values_mut().fill_with(|| rng.random_range(-1.0..1.0));
        slopes
    };
    let log_probs = draw(&numbers.log_probs);
    Channels { divergence: numbers.divergence.as_ref().map(draw), ..log_probs.into() }
}

/// The sum of slope times number.
fn linear(slopes: &Channels, numbers: &Channels) -> f64 {
    let product = |a: &Steps, b: &Steps| a.values().iter().zip(b.values()).map(|(a, b)| a * b).sum::<f64>();
    let divergence = slopes.divergence.as_ref().zip(numbers.divergence.as_ref()).map_or(0.0, |(a, b)| product(a, b));
    product(&slopes.log_probs, &numbers.log_probs) + divergence
}

fn mapped(channels: &Channels, change: impl Fn(&Steps) -> Steps) -> Channels {
    Channels {
        log_probs: change(&channels.log_probs),
        divergence: channels.divergence.as_ref().map(&change),
        entropy: channels.entropy.as_ref().map(&change),
        mean_logit: channels.mean_logit.as_ref().map(&change),
        is_likeliest: channels.is_likeliest.as_ref().map(&change),
    }
}

fn sliced(channels: &Channels, rows: std::ops::Range<usize>) -> Channels {
    mapped(channels, |steps| steps.slice(rows.clone()))
}

fn scaled(channels: &Channels, factor: f64) -> Channels {
    mapped(channels, |steps| {
        let mut scaled = steps.clone();
        scaled.values_mut().iter_mut().for_each(|value| *value *= factor);
        scaled
    })
}

/// The rows of several batches as one batch.
fn joined(parts: &[Channels]) -> Channels {
    let join = |steps: &dyn Fn(&Channels) -> Option<Steps>| -> Option<Steps> {
        let parts: Option<Vec<Steps>> = parts.iter().map(steps).collect();
        Some(parts?.iter().flat_map(Steps::rows).collect())
    };
    Channels {
        log_probs: join(&|part| Some(part.log_probs.clone())).unwrap_or_default(),
        divergence: join(&|part| part.divergence.clone()),
        entropy: join(&|part| part.entropy.clone()),
        mean_logit: join(&|part| part.mean_logit.clone()),
        is_likeliest: join(&|part| part.is_likeliest.clone()),
    }
}

fn compare(law: &'static str, one: &Channels, other: &Channels, tolerance: f64) -> Result<(), BoxError> {
    let pairs = [
        ("log-probabilities", Some(&one.log_probs), Some(&other.log_probs)),
        ("divergences", one.divergence.as_ref(), other.divergence.as_ref()),
        ("entropies", one.entropy.as_ref(), other.entropy.as_ref()),
        ("mean logits", one.mean_logit.as_ref(), other.mean_logit.as_ref()),
        ("likeliest actions", one.is_likeliest.as_ref(), other.is_likeliest.as_ref()),
    ];
    for (channel, one, other) in pairs {
        let (one, other) = match (one, other) {
            (Some(one), Some(other)) if one.same_shape(other) => (one, other),
            (None, None) => continue,
            // No rows at all carry no channels either.
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

fn finite(scores: &Steps) -> Result<(), BrokenLaw> {
    for (episode, row) in scores.rows().enumerate() {
        if let Some((decision, value)) = row.iter().enumerate().find(|(_, value)| !value.is_finite()) {
            return Err(BrokenLaw::Score { episode, decision, value: *value });
        }
    }
    Ok(())
}

fn count(function: &'static str, expected: usize, got: usize) -> Result<(), BrokenLaw> {
    if expected == got { Ok(()) } else { Err(BrokenLaw::Count { function, expected, got }) }
}

fn gradient(law: &'static str, expected: f64, got: f64, tolerance: f64) -> Result<(), BoxError> {
    if near(expected, got, tolerance) { Ok(()) } else { Err(BrokenLaw::Gradient { law, expected, got }.into()) }
}

/// Absolute where numbers are small, relative where they are large.
fn near(one: f64, other: f64, tolerance: f64) -> bool {
    (one - other).abs() <= tolerance * (1.0 + one.abs().max(other.abs()))
}

mod candidates;
#[cfg(test)]
mod tests;
mod visits;
