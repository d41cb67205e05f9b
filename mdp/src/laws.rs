//! The laws of [`Mdp`] as checks for your own problem.
//!
//! # Examples
//! ```
//! use mdp::{Finite, Rng, laws};
//! use rand::SeedableRng;
//!
//! let mdp = Finite::new(vec![vec![Some(1), Some(0)], vec![None, None]], 5)?;
//! laws::check_enumerable(&mdp, &[0], laws::Walks::default(), &mut Rng::seed_from_u64(0))?;
//! # Ok::<(), mdp::MdpError>(())
//! ```
use std::fmt::Debug;

use rand::RngExt as _;

use crate::{Enumerable, Episode, EpisodeOf, InWorld, Mdp, MdpError, Rng, World};

/// The size of a check by random walks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Walks {
    /// Number of random episodes per context.
    pub n_episodes: usize,
    /// Maximum number of decisions before an episode counts as endless.
    pub max_decisions: usize,
}

impl Default for Walks {
    fn default() -> Self {
        Self { n_episodes: 20, max_decisions: 1000 }
    }
}

/// Checks a problem on random episodes.
///
/// `choose` gives an action that the state allows, or `None` if there is no such action. The functions of the problem
/// must answer the same when asked twice, every episode must end, and the episodes found must pass
/// [`check_episode`] when replayed.
///
/// # Errors
/// The first law found broken.
pub fn check<M>(
    mdp: &M,
    contexts: &[M::Context],
    walks: Walks,
    rng: &mut Rng,
    choose: impl Fn(&M::State, &mut Rng) -> Option<M::Action>,
) -> Result<(), MdpError>
where
    M: Mdp,
    M::State: PartialEq + Debug,
    M::Action: PartialEq + Debug,
{
    for context in contexts {
        for _ in 0..walks.n_episodes {
            let start = mdp.start(context);
            same("start", &start, &start, &mdp.start(context))?;
            let (mut state, mut actions) = (start.clone(), Vec::new());
            while !terminal(mdp, &state)? {
                if actions.len() == walks.max_decisions {
                    return Err(MdpError::Endless { limit: walks.max_decisions });
                }
                let action = choose(&state, rng).ok_or_else(|| MdpError::Stuck { state: format!("{state:?}") })?;
                state = follow(mdp, &state, &action)?;
                actions.push(action);
            }
            check_episode(mdp, &Episode::whole(start, actions))?;
        }
    }
    Ok(())
}

/// Checks a problem with enumerable actions on random episodes of allowed actions, and the numbering of its actions.
///
/// # Errors
/// The first law found broken.
pub fn check_enumerable<M>(mdp: &M, contexts: &[M::Context], walks: Walks, rng: &mut Rng) -> Result<(), MdpError>
where
    M: Enumerable,
    M::State: PartialEq + Debug,
    M::Action: PartialEq + Debug,
{
    for index in 0..mdp.n_actions() {
        let back = mdp.action_index(&mdp.action(index));
        if back != index {
            return Err(MdpError::Numbering { index, back });
        }
    }
    check(mdp, contexts, walks, rng, |state, rng| {
        let allowed = mdp.allowed(state);
        (!allowed.is_empty()).then(|| mdp.action(allowed[rng.random_range(0..allowed.len())]))
    })
}

/// Checks a world on random episodes: it replies the same when asked twice, by actions that are allowed, and never to its own
/// reply. The problem in the world must pass [`check`].
///
/// # Errors
/// The first law found broken.
pub fn check_world<M, W>(
    in_world: &InWorld<M, W>,
    contexts: &[M::Context],
    walks: Walks,
    rng: &mut Rng,
    choose: impl Fn(&M::State, &mut Rng) -> Option<M::Action>,
) -> Result<(), MdpError>
where
    M: Mdp,
    W: World<M>,
    M::State: PartialEq + Debug,
    M::Action: PartialEq + Debug,
{
    for context in contexts {
        for _ in 0..walks.n_episodes {
            let mut state = replied(in_world, in_world.mdp.start(context))?;
            let mut n_decisions = 0;
            while !in_world.mdp.is_terminal(&state) {
                if n_decisions == walks.max_decisions {
                    return Err(MdpError::Endless { limit: walks.max_decisions });
                }
                let action = choose(&state, rng).ok_or_else(|| MdpError::Stuck { state: format!("{state:?}") })?;
                state = replied(in_world, follow(&in_world.mdp, &state, &action)?)?;
                n_decisions += 1;
            }
        }
    }
    check(in_world, contexts, walks, rng, choose)
}

/// Takes the steps of a world's reply, if there is one.
fn replied<M, W>(in_world: &InWorld<M, W>, mut state: M::State) -> Result<M::State, MdpError>
where
    M: Mdp,
    W: World<M>,
    M::State: PartialEq + Debug,
    M::Action: PartialEq + Debug,
{
    let reply = in_world.reply(&state);
    same("reply", &state, &reply, &in_world.reply(&state))?;
    for action in &reply {
        state = follow(&in_world.mdp, &state, action)?;
    }
    if !reply.is_empty() && !in_world.reply(&state).is_empty() {
        return Err(MdpError::RepliesToItself { state: format!("{state:?}") });
    }
    Ok(state)
}

/// Checks that an episode is possible: every action is allowed in its state, and none follows a terminal state.
///
/// # Errors
/// The first impossible action.
pub fn check_episode<M>(mdp: &M, episode: &EpisodeOf<M>) -> Result<(), MdpError>
where
    M: Mdp,
    M::State: Debug,
    M::Action: Debug,
{
    for piece in &episode.pieces {
        let mut state = piece.start.clone();
        for action in &piece.actions {
            let (printed, place) = (|| format!("{action:?}"), || format!("{state:?}"));
            if mdp.is_terminal(&state) {
                return Err(MdpError::AfterTheEnd { action: printed(), state: place() });
            }
            if !mdp.allows(&state, action) {
                return Err(MdpError::NotAllowed { action: printed(), state: place() });
            }
            state = mdp.step(&state, action);
        }
    }
    Ok(())
}

/// Takes one step twice and compares.
fn follow<M>(mdp: &M, state: &M::State, action: &M::Action) -> Result<M::State, MdpError>
where
    M: Mdp,
    M::State: PartialEq + Debug,
    M::Action: Debug,
{
    let allowed = mdp.allows(state, action);
    same("allows", state, &allowed, &mdp.allows(state, action))?;
    if !allowed {
        return Err(MdpError::NotAllowed { action: format!("{action:?}"), state: format!("{state:?}") });
    }
    let next = mdp.step(state, action);
    same("step", state, &next, &mdp.step(state, action))?;
    Ok(next)
}

fn terminal<M: Mdp>(mdp: &M, state: &M::State) -> Result<bool, MdpError>
where
    M::State: Debug,
{
    let over = mdp.is_terminal(state);
    same("is_terminal", state, &over, &mdp.is_terminal(state))?;
    Ok(over)
}

fn same<S: Debug, T: PartialEq>(function: &'static str, state: &S, once: &T, twice: &T) -> Result<(), MdpError> {
    if once == twice { Ok(()) } else { Err(MdpError::NotPure { function, state: format!("{state:?}") }) }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use rand::SeedableRng as _;

    use super::*;
    use crate::Finite;
    use crate::token::TokenMdp;

    /// Counts to three, with one fault.
    #[derive(Default)]
    struct Counter {
        forgets: Option<Cell<usize>>,
        endless: bool,
        stuck: bool,
    }

    impl Mdp for Counter {
        type Context = ();
        type State = usize;
        type Action = usize;
        fn start(&self, (): &()) -> usize {
            0
        }
        fn step(&self, state: &usize, action: &usize) -> usize {
            let extra = self.forgets.as_ref().map_or(0, |calls| calls.replace(calls.get() + 1));
            state + action + extra
        }
        fn is_terminal(&self, state: &usize) -> bool {
            !self.endless && *state >= 3
        }
        fn allows(&self, state: &usize, _action: &usize) -> bool {
            !(self.stuck && *state == 2)
        }
    }

    impl Enumerable for Counter {
        fn n_actions(&self) -> usize {
            1
        }
        fn action(&self, _index: usize) -> usize {
            1
        }
        fn action_index(&self, action: &usize) -> usize {
            action - 1
        }
    }

    fn verdict(mdp: &Counter) -> Result<(), MdpError> {
        check_enumerable(mdp, &[()], Walks::default(), &mut Rng::seed_from_u64(1))
    }

    #[test]
    fn a_lawful_problem_passes() {
        assert_eq!(verdict(&Counter::default()), Ok(()));
    }

    #[test]
    fn each_broken_law_is_named() {
        let forgetful = Counter { forgets: Some(Cell::new(0)), ..Counter::default() };
        assert_eq!(verdict(&forgetful), Err(MdpError::NotPure { function: "step", state: "0".to_owned() }));
        let endless = Counter { endless: true, ..Counter::default() };
        assert_eq!(verdict(&endless), Err(MdpError::Endless { limit: 1000 }));
        let stuck = Counter { stuck: true, ..Counter::default() };
        assert_eq!(verdict(&stuck), Err(MdpError::Stuck { state: "2".to_owned() }));
    }

    #[test]
    fn impossible_episodes_are_found() {
        let mdp = Finite::bandit(2);
        let episode = |actions| Episode::whole(mdp.start(&0), actions);
        assert_eq!(check_episode(&mdp, &episode(vec![1])), Ok(()));
        assert!(matches!(check_episode(&mdp, &episode(vec![2])), Err(MdpError::NotAllowed { .. })));
        assert!(matches!(check_episode(&mdp, &episode(vec![1, 1])), Err(MdpError::AfterTheEnd { .. })));
    }

    #[test]
    fn the_token_problem_is_lawful() {
        let mdp = TokenMdp { vocabulary: 5, eos: vec![0], max_length: 8 };
        let contexts = [vec![1, 2].into(), vec![].into()];
        check_enumerable(&mdp, &contexts, Walks::default(), &mut Rng::seed_from_u64(2)).unwrap();
    }
}
