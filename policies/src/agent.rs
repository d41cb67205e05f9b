use std::any::Any;

use mdp::{Channels, EpisodeOf, InWorld, Mdp, Rng, World};

use crate::{Cursor, Policy, PolicyError, Proposal};

/// A policy of a problem that acts in a world, such as a language model that calls tools.
///
/// It is a policy of the problem [`InWorld`], so sampling and search work with it as with any other. Its cursor takes the world's
/// replies as given actions, which keeps what the policy has cached, and its scores are those of the policy's own decisions.
/// To train it, train the policy itself: the episodes are the same, with a piece for each turn.
///
/// # Examples
/// ```
/// use mdp::token::{TokenMdp, TokenState};
/// use mdp::{InWorld, Rng};
/// use policies::{Agent, Policy, Tabular};
/// use rand::SeedableRng;
///
/// // Who says 1 is told 3, and 0 is the end.
/// let world = |state: &TokenState| if state.response.last() == Some(&1) { vec![3] } else { Vec::new() };
/// let mdp = InWorld { mdp: TokenMdp { vocabulary: 4, eos: vec![0], max_length: 9 }, world };
/// let policy = Tabular::new(&mdp.mdp);
/// let agent = Agent(&policy);
/// let starts = vec![TokenState::new([2]); 20];
/// let episodes = agent.rollout(&mdp, &starts, &mut Rng::seed_from_u64(0))?;
/// let calls = episodes.iter().flat_map(|episode| &episode.pieces[..episode.pieces.len() - 1]);
/// assert!(calls.clone().count() > 0 && calls.clone().all(|turn| turn.actions.ends_with(&[1])));
/// # Ok::<(), policies::BoxError>(())
/// ```
#[derive(Debug)]
pub struct Agent<'p, P: ?Sized>(pub &'p P);

impl<M: Mdp, W: World<M>, P: Policy<M> + ?Sized> Policy<InWorld<M, W>> for Agent<'_, P> {
    fn propose(
        &self,
        mdp: &InWorld<M, W>,
        states: &[M::State],
        k: usize,
        rng: &mut Rng,
    ) -> Result<Vec<Vec<Proposal<M::Action>>>, PolicyError> {
        self.0.propose(&mdp.mdp, states, k, rng)
    }

    fn sample(&self, mdp: &InWorld<M, W>, states: &[M::State], rng: &mut Rng) -> Result<Vec<M::Action>, PolicyError> {
        self.0.sample(&mdp.mdp, states, rng)
    }

    fn score(&self, mdp: &InWorld<M, W>, episodes: &[EpisodeOf<M>]) -> Result<Channels, PolicyError> {
        let in_turns: Vec<EpisodeOf<M>> = episodes.iter().map(|episode| mdp.in_turns(episode)).collect();
        self.0.score(&mdp.mdp, &in_turns)
    }

    fn cursor<'a>(
        &'a self,
        mdp: &'a InWorld<M, W>,
        states: &[M::State],
    ) -> Result<Box<dyn Cursor<InWorld<M, W>> + 'a>, PolicyError> {
        Ok(Box::new(AgentCursor { cursor: self.0.cursor(&mdp.mdp, states)?, mdp }))
    }

    fn identity(&self) -> Result<Option<String>, PolicyError> {
        self.0.identity()
    }

    fn as_any(&self) -> Option<&dyn Any> {
        self.0.as_any()
    }
}

/// The policy's cursor, to which the world replies.
struct AgentCursor<'a, M: Mdp, W> {
    cursor: Box<dyn Cursor<M> + 'a>,
    mdp: &'a InWorld<M, W>,
}

impl<M: Mdp, W: World<M>> Cursor<InWorld<M, W>> for AgentCursor<'_, M, W> {
    fn states(&self) -> &[M::State] {
        self.cursor.states()
    }

    fn expand(&mut self, k: usize, rngs: &mut [&mut Rng]) -> Result<Vec<Vec<Proposal<M::Action>>>, PolicyError> {
        self.cursor.expand(k, rngs)
    }

    fn draw(&mut self, rngs: &mut [&mut Rng]) -> Result<Vec<M::Action>, PolicyError> {
        self.cursor.draw(rngs)
    }

    fn log_probs(&mut self, actions: &[M::Action]) -> Result<Vec<f64>, PolicyError> {
        self.cursor.log_probs(actions)
    }

    fn log_probs_of(&mut self, candidates: &[Vec<M::Action>]) -> Result<Vec<Vec<f64>>, PolicyError> {
        self.cursor.log_probs_of(candidates)
    }

    fn advance(&mut self, actions: &[M::Action]) -> Result<(), PolicyError> {
        self.cursor.advance(actions)?;
        let replies: Vec<Vec<M::Action>> = self.cursor.states().iter().map(|state| self.mdp.reply(state)).collect();
        if replies.iter().all(Vec::is_empty) { Ok(()) } else { self.cursor.follow(&replies) }
    }

    /// Takes actions that are given, and those that the world replies to each of them.
    fn follow(&mut self, given: &[Vec<M::Action>]) -> Result<(), PolicyError> {
        let with_replies = |(state, given): (&M::State, &Vec<M::Action>)| {
            let (mut all, mut state) = (Vec::new(), state.clone());
            for action in given {
                state = self.mdp.mdp.step(&state, action);
                all.push(action.clone());
                let reply = self.mdp.reply(&state);
                state = self.mdp.settled(state);
                all.extend(reply);
            }
            all
        };
        let all: Vec<Vec<M::Action>> = self.cursor.states().iter().zip(given).map(with_replies).collect();
        self.cursor.follow(&all)
    }

    fn select(&mut self, rows: &[usize]) {
        self.cursor.select(rows);
    }

    fn extend(&mut self, states: &[M::State]) -> Result<(), PolicyError> {
        self.cursor.extend(states)
    }
}

#[cfg(test)]
mod tests {
    use mdp::token::{TokenMdp, TokenState};
    use rand::SeedableRng as _;

    use super::*;
    use crate::laws::{check_cursor, check_learner, check_policy, check_proposals};
    use crate::{Learner, Tabular};

    type Words = InWorld<TokenMdp, fn(&TokenState) -> Vec<u32>>;

    /// Who says 1 is told 3 and 2, and 0 is the end.
    fn words() -> Words {
        let tool = |state: &TokenState| if state.response.last() == Some(&1) { vec![3, 2] } else { Vec::new() };
        InWorld { mdp: TokenMdp { vocabulary: 4, eos: vec![0], max_length: 9 }, world: tool }
    }

    /// Tables with logits of their own in every state, for the problem alone and in the world.
    fn tables(mdp: &Words) -> (Tabular<TokenMdp>, Tabular<Words>) {
        let (mut alone, mut within) = (Tabular::new(&mdp.mdp), Tabular::new(mdp));
        let rng = &mut Rng::seed_from_u64(3);
        let mut open = vec![TokenState::new([2])];
        while let Some(state) = open.pop() {
            let logits: Vec<f64> = (0..4).map(|_| mdp::chance::standard_normal(rng)).collect();
            alone.set_logits(state.clone(), logits.clone());
            within.set_logits(state.clone(), logits);
            open.extend((1..4).map(|token| mdp.mdp.step(&state, &token)).filter(|next| next.len() < 9));
        }
        (alone, within)
    }

    #[test]
    fn an_agent_keeps_the_laws_of_policies() {
        let mdp = words();
        let (alone, _) = tables(&mdp);
        let (agent, starts) = (Agent(&alone), vec![TokenState::new([2]); 12]);
        let episodes = check_policy(&mdp, &agent, &starts, 5, 1e-12).unwrap();
        assert!(episodes.iter().any(|episode| episode.pieces.len() > 1));
        check_cursor(&mdp, &agent, &starts[..4], 6, 6, 1e-12).unwrap();
        check_proposals(&mdp, &agent, &starts[..1], 3, 1e-12).unwrap();
    }

    #[test]
    fn an_agent_is_the_policy_of_the_problem_in_the_world() {
        let mdp = words();
        let (alone, within) = tables(&mdp);
        let (agent, starts) = (Agent(&alone), vec![TokenState::new([2]); 30]);
        let rng = || Rng::seed_from_u64(7);
        let episodes = agent.rollout(&mdp, &starts, &mut rng()).unwrap();
        assert_eq!(episodes, within.rollout(&mdp, &starts, &mut rng()).unwrap());
        let scores = agent.score(&mdp, &episodes).unwrap();
        assert_eq!(scores, within.score(&mdp, &episodes).unwrap());
        // The policy alone scores the turns, and an undivided episode has the same decisions.
        assert_eq!(scores, alone.score(&mdp.mdp, &episodes).unwrap());
        let undivided: Vec<EpisodeOf<TokenMdp>> = episodes
            .iter()
            .map(|episode| {
                let actions = episode.pieces.iter().flat_map(|turn| turn.actions.clone()).collect();
                mdp::Episode::whole(episode.pieces[0].start.clone(), actions)
            })
            .collect();
        assert_eq!(scores, agent.score(&mdp, &undivided).unwrap());
        // Nobody scores the replies.
        let replies: usize = episodes.iter().map(|e| e.end(&mdp).unwrap().response.len() - e.n_decisions()).sum();
        assert!(replies > 0);
    }

    #[test]
    fn the_policy_learns_from_the_episodes_of_its_agent() {
        let mdp = words();
        let (mut policy, _) = tables(&mdp);
        let starts = vec![TokenState::new([2]); 40];
        let episodes = Agent(&policy).rollout(&mdp, &starts, &mut Rng::seed_from_u64(1)).unwrap();
        check_learner(&mdp.mdp, &mut policy, &episodes, 2, 1e-9).unwrap();
        // After a call comes the reply, whatever the table says: learning moves no state within it.
        let (numbers, tape) = policy.forward(&mdp.mdp, &episodes).unwrap();
        policy.backward(tape, &numbers.log_probs.filled(1.0).into()).unwrap();
        let before = policy.clone();
        policy.update(1.0, None).unwrap();
        let called = TokenState { prompt: [2].into(), response: vec![1] };
        let asked = TokenState { prompt: [2].into(), response: vec![1, 3, 2] };
        assert_eq!(policy.logits(&called), before.logits(&called));
        assert_ne!(policy.logits(&asked), before.logits(&asked));
    }
}
