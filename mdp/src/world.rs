//! Worlds that reply: tools, users and other environments between the turns of a policy.
//!
//! The transition of a deterministic problem may be more than the action itself: after a call the result of a tool is there,
//! after a question its answer. A [`World`] says what follows a state, and [`InWorld`] is the problem of a policy in it: a
//! decision leads to the state after the reply. So the world's actions are part of states and of no episode: they are
//! scored by nobody, searched by nobody, and a loss does not see them, while rollouts, searches, tables, exact
//! solutions and laws work as for any other problem.
//!
//! # Examples
//! A policy asks (1) or answers (2 or 3); who asks is told the answer (4 is "it is 2", 5 "it is 3").
//! ```
//! use mdp::{InWorld, Mdp};
//! use mdp::token::{TokenMdp, TokenState};
//!
//! let words = TokenMdp { vocabulary: 6, eos: vec![2, 3], max_length: 8 };
//! let oracle = |state: &TokenState| if state.response.last() == Some(&1) { vec![4] } else { Vec::new() };
//! let mdp = InWorld { mdp: words, world: oracle };
//! let start = TokenState::new([0]);
//! let asked = mdp.step(&start, &1);
//! assert_eq!(asked.response, [1, 4]);
//!
//! // The decisions of an episode are the policy's; there is a piece for each of its turns.
//! let episode = mdp.episode(start, vec![1, 2]);
//! assert_eq!(episode.pieces.iter().map(|turn| turn.actions.clone()).collect::<Vec<_>>(), [vec![1], vec![2]]);
//! assert_eq!(episode.pieces[1].start, asked);
//! assert_eq!(episode.end(&mdp).map(|state| state.response), Some(vec![1, 4, 2]));
//! ```
use crate::{Enumerable, Episode, EpisodeOf, Mdp, Piece};

/// An environment that replies to a policy: a tool, a user, an opponent.
///
/// A function or closure from states to actions is a world.
///
/// # Laws
/// `reply` is a pure function, called for states that are not terminal. Every action of a reply is allowed in its state. The
/// state after a reply is the policy's, or terminal: there is no reply to it. [`laws::check_world`](crate::laws::check_world) checks
/// all of this.
pub trait World<M: Mdp> {
    /// The actions that follow a state without a decision, in order; none where the policy acts.
    fn reply(&self, state: &M::State) -> Vec<M::Action>;
}

impl<M: Mdp, F: Fn(&M::State) -> Vec<M::Action>> World<M> for F {
    fn reply(&self, state: &M::State) -> Vec<M::Action> {
        self(state)
    }
}

/// A problem in a world that replies, as one problem: every decision leads to the state after the reply.
///
/// Its states and actions are those of the problem alone, and so are its episodes, which have a piece for each turn of the
/// policy: a learner of the problem alone learns from them, and learns nothing about the replies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InWorld<M, W> {
    /// The problem alone.
    pub mdp: M,
    /// The world.
    pub world: W,
}

impl<M: Mdp, W: World<M>> InWorld<M, W> {
    /// The world's reply to a state, up to the end of the episode; empty where the policy acts, and in terminal states.
    pub fn reply(&self, state: &M::State) -> Vec<M::Action> {
        self.replied(state.clone()).0
    }

    /// The state after the world's reply.
    pub fn settled(&self, state: M::State) -> M::State {
        self.replied(state).1
    }

    /// Splits the pieces of an episode at the world's replies: the result has a piece for each turn of the policy.
    pub fn in_turns(&self, episode: &EpisodeOf<M>) -> EpisodeOf<M> {
        let mut pieces = Vec::with_capacity(episode.pieces.len());
        for piece in &episode.pieces {
            let n_before = pieces.len();
            let mut turn = Piece { start: piece.start.clone(), actions: Vec::new(), weight: piece.weight };
            let mut state = piece.start.clone();
            for action in &piece.actions {
                turn.actions.push(action.clone());
                let (reply, next) = self.replied(self.mdp.step(&state, action));
                state = next;
                if !reply.is_empty() {
                    let next = Piece { start: state.clone(), actions: Vec::new(), weight: piece.weight };
                    pieces.push(std::mem::replace(&mut turn, next));
                }
            }
            if !turn.actions.is_empty() || pieces.len() == n_before {
                pieces.push(turn);
            }
        }
        Episode { pieces }
    }

    /// The reply to a state, and the state after it.
    fn replied(&self, mut state: M::State) -> (Vec<M::Action>, M::State) {
        if self.mdp.is_terminal(&state) {
            return (Vec::new(), state);
        }
        let mut reply = self.world.reply(&state);
        let mut n_given = 0;
        while n_given < reply.len() && !self.mdp.is_terminal(&state) {
            state = self.mdp.step(&state, &reply[n_given]);
            n_given += 1;
        }
        reply.truncate(n_given);
        (reply, state)
    }
}

impl<M: Mdp, W: World<M>> Mdp for InWorld<M, W> {
    type Context = M::Context;
    type State = M::State;
    type Action = M::Action;

    fn start(&self, context: &M::Context) -> M::State {
        self.settled(self.mdp.start(context))
    }

    fn step(&self, state: &M::State, action: &M::Action) -> M::State {
        self.settled(self.mdp.step(state, action))
    }

    fn is_terminal(&self, state: &M::State) -> bool {
        self.mdp.is_terminal(state)
    }

    fn allows(&self, state: &M::State, action: &M::Action) -> bool {
        self.mdp.allows(state, action)
    }

    fn episode(&self, start: M::State, actions: Vec<M::Action>) -> EpisodeOf<M> {
        self.in_turns(&Episode::whole(start, actions))
    }
}

impl<M: Enumerable, W: World<M>> Enumerable for InWorld<M, W> {
    fn n_actions(&self) -> usize {
        self.mdp.n_actions()
    }

    fn action(&self, index: usize) -> M::Action {
        self.mdp.action(index)
    }

    fn action_index(&self, action: &M::Action) -> usize {
        self.mdp.action_index(action)
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;

    use super::*;
    use crate::laws::{Walks, check_enumerable, check_world};
    use crate::token::{TokenMdp, TokenState};
    use crate::{MdpError, Rng, Table, all_episodes, explore, soft_q};

    /// Words 0 to 3: 0 ends the episode, and 1 is a call.
    fn words() -> TokenMdp {
        TokenMdp { vocabulary: 4, eos: vec![0], max_length: 6 }
    }

    /// Replies to a call by 3 3.
    fn tool(state: &TokenState) -> Vec<u32> {
        if state.response.last() == Some(&1) { vec![3, 3] } else { Vec::new() }
    }

    fn called() -> InWorld<TokenMdp, fn(&TokenState) -> Vec<u32>> {
        InWorld { mdp: words(), world: tool }
    }

    #[test]
    fn a_decision_leads_to_the_state_after_the_reply() {
        let mdp = called();
        let start = TokenState::new([2]);
        assert_eq!(mdp.step(&start, &2).response, [2]);
        let replied = mdp.step(&start, &1);
        assert_eq!(replied.response, [1, 3, 3]);
        // The length limit ends the episode in the middle of the second reply.
        let cut = mdp.step(&replied, &1);
        assert_eq!(cut.response, [1, 3, 3, 1, 3]);
        assert!(mdp.is_terminal(&cut) && mdp.reply(&cut).is_empty());
        // A start may be a call.
        let begun = InWorld { mdp: words(), world: |state: &TokenState| vec![3; 1 - state.response.len().min(1)] };
        assert_eq!(begun.start(&[1].into()).response, [3]);
    }

    #[test]
    fn an_episode_has_a_piece_for_each_turn() {
        let mdp = called();
        let start = TokenState::new([2]);
        let episode = mdp.episode(start.clone(), vec![2, 1, 0]);
        let turns: Vec<(&[u32], &[u32])> =
            episode.pieces.iter().map(|turn| (&turn.start.response[..], &turn.actions[..])).collect();
        assert_eq!(turns, [(&[][..], &[2, 1][..]), (&[2, 1, 3, 3], &[0])]);
        assert_eq!((mdp.in_turns(&episode), episode.n_decisions()), (episode.clone(), 3));
        // A reply that no decision follows is in the last state, and in no piece.
        let unanswered = mdp.episode(start.clone(), vec![1]);
        assert_eq!(unanswered.pieces.len(), 1);
        assert_eq!(unanswered.end(&mdp).unwrap().response, [1, 3, 3]);
        assert_eq!(mdp.episode(start.clone(), vec![]), Episode::whole(start, vec![]));
        let weighted = Episode { pieces: episode.pieces.into_iter().map(|p| Piece { weight: 0.5, ..p }).collect() };
        assert_eq!(mdp.in_turns(&weighted).weights(), [0.5; 3]);
    }

    #[test]
    fn a_problem_in_a_world_is_lawful_and_solved_exactly() {
        let mdp = called();
        let (rng, contexts) = (&mut Rng::seed_from_u64(0), [vec![2].into(), vec![2, 2].into()]);
        check_enumerable(&mdp, &contexts, Walks::default(), rng).unwrap();
        check_world(&mdp, &contexts, Walks::default(), rng, |_, rng| Some(crate::chance::below(rng, 4) as u32))
            .unwrap();
        let start = TokenState::new([2]);
        let all = all_episodes(&mdp, &start, 10_000).unwrap();
        assert!(all.iter().any(|episode| episode.pieces.len() == 2));
        // Only calls are rewarded; the best episodes make as many as they have room for.
        let explored = explore(&mdp, std::slice::from_ref(&start), 10_000).unwrap();
        let rewards = Table::from_fn(&explored.finite, |_, action| if action == 1 { 1.0 } else { 0.0 });
        let solved = soft_q::solve(&explored.finite, &rewards, &Table::uniform(&explored.finite), 1.0).unwrap();
        let worth = |episode: &EpisodeOf<TokenMdp>| {
            let calls = episode.pieces.iter().flat_map(|turn| &turn.actions).filter(|token| **token == 1).count();
            calls as f64 - episode.n_decisions() as f64 * 4f64.ln()
        };
        let total: f64 = all.iter().map(|episode| worth(episode).exp()).sum();
        let value = solved.value(crate::FiniteState { time: 0, place: 0 });
        assert!((value - total.ln()).abs() < 1e-12, "{value} and {}", total.ln());
    }

    #[test]
    fn broken_worlds_are_named() {
        let check = |world: &dyn Fn(&TokenState) -> Vec<u32>| {
            let mdp = InWorld { mdp: words(), world };
            let choose = |_: &TokenState, _: &mut Rng| Some(1);
            check_world(&mdp, &[vec![2].into()], Walks::default(), &mut Rng::seed_from_u64(0), choose)
        };
        assert_eq!(check(&tool), Ok(()));
        let strange = check(&|_| vec![9]);
        assert!(matches!(strange, Err(MdpError::NotAllowed { .. })), "{strange:?}");
        let talks_to_itself = check(&|state| vec![3; usize::from(state.response.len() < 2)]);
        assert!(matches!(talks_to_itself, Err(MdpError::RepliesToItself { .. })), "{talks_to_itself:?}");
        let calls = std::cell::Cell::new(0);
        let moody = check(&|_| {
            calls.set(calls.get() + 1);
            vec![2; calls.get() % 2]
        });
        assert!(matches!(moody, Err(MdpError::NotPure { function: "reply", .. })), "{moody:?}");
    }
}
