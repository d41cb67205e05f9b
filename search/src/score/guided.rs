use mdp::Mdp;
use policies::{Policy, PolicyError, Proposal};

use super::log_probs::LogProbSum;
use super::{LogProbs, Score, Scorer};

/// Guided decoding: the reward and the reference's log-probability so far plus the value of the next state (Eq. 12 of
/// the paper).
///
/// ```text
/// r(s_0, a_0) + beta log pi_ref(a_0|s_0) + .. + r(s_K, a_K) + beta log pi_ref(a_K|s_K) + V(s_{K+1}) - V(s_0)
/// ```
///
/// A decision adds `r(s, a) + beta log pi_ref(a|s) + V(s') - V(s)`, so that every prefix has its Eq. 12, less the constant
/// V(s_0). With the optimal value function that is beta log pi*(a|s) of the optimal policy (Eq. 10): reward search is likelihood
/// search on the optimal policy (Eq. 13).
///
/// `mdp::soft_q` computes reward and value of finite problems; elsewhere the value is a custom function. It is not
/// called for terminal states, whose value is 0.
pub struct Guided<'p, M: Mdp, R, V> {
    pull: LogProbs<'p, M>,
    reward: R,
    value: V,
}

impl<'p, M: Mdp, R, V> Guided<'p, M, R, V>
where
    R: Fn(&M::State, &M::Action) -> f64,
    V: Fn(&M::State) -> f64,
{
    /// A reward, a reference with its strength beta, and a value function, all in the unit of the reward.
    pub fn new(reward: R, beta: f64, reference: &'p dyn Policy<M>, value: V) -> Self {
        Self { pull: LogProbs::new(0.0, vec![(beta, reference)]), reward, value }
    }
}

impl<M: Mdp, R, V> std::fmt::Debug for Guided<'_, M, R, V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Guided").field("pull", &self.pull).finish_non_exhaustive()
    }
}

impl<M: Mdp, R, V> Score<M> for Guided<'_, M, R, V>
where
    R: Fn(&M::State, &M::Action) -> f64,
    V: Fn(&M::State) -> f64,
{
    fn open<'a>(&'a self, mdp: &'a M, states: &[M::State]) -> Result<Box<dyn Scorer<M> + 'a>, PolicyError> {
        let pull = self.pull.open_sum(mdp, states)?;
        Ok(Box::new(Guiding { mdp, pull, reward: &self.reward, value: &self.value }))
    }
}

struct Guiding<'a, M: Mdp, R, V> {
    mdp: &'a M,
    pull: LogProbSum<'a, M>,
    reward: &'a R,
    value: &'a V,
}

impl<M: Mdp, R, V> Scorer<M> for Guiding<'_, M, R, V>
where
    R: Fn(&M::State, &M::Action) -> f64,
    V: Fn(&M::State) -> f64,
{
    fn n_policies(&self) -> usize {
        self.pull.n_policies()
    }

    fn gains(
        &mut self,
        states: &[M::State],
        proposals: &[Vec<Proposal<M::Action>>],
    ) -> Result<Vec<Vec<f64>>, PolicyError> {
        let mut gains = self.pull.gains(states, proposals)?;
        let value = |state: &M::State| if self.mdp.is_terminal(state) { 0.0 } else { (self.value)(state) };
        for ((state, list), gains) in states.iter().zip(proposals).zip(&mut gains) {
            let before = value(state);
            for (proposal, gain) in list.iter().zip(gains) {
                let after = value(&self.mdp.step(state, &proposal.action));
                *gain += (self.reward)(state, &proposal.action) + after - before;
            }
        }
        Ok(gains)
    }

    fn advance(&mut self, actions: &[M::Action]) -> Result<(), PolicyError> {
        self.pull.advance(actions)
    }

    fn select(&mut self, rows: &[usize]) {
        self.pull.select(rows);
    }

    fn extend(&mut self, states: &[M::State]) -> Result<(), PolicyError> {
        self.pull.extend(states)
    }
}
