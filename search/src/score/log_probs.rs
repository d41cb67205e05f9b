use mdp::Mdp;
use policies::{Cursor, Policy, PolicyError, Proposal, one_each};

use super::{Score, Scorer};

/// A weighted sum of several policies' log-probabilities of a decision, in nats times the weights.
///
/// | score | weight of the proposer | other policies |
/// |---|---|---|
/// | [`likelihood`](Self::likelihood) | 1 | |
/// | [`likelihood_of`](Self::likelihood_of) a verifier | 0 | 1 the verifier |
/// | [`implicit_reward`](Self::implicit_reward) | beta | -beta the reference |
/// | [`implicit_reward_of`](Self::implicit_reward_of) a verifier | 0 | beta the verifier, -beta the reference |
/// | [`weak_to_strong`](Self::weak_to_strong) | 1 | strength the tuned, -strength the untuned |
///
/// The proposer's log-probability comes with its proposals at no cost; every other policy costs an evaluation per
/// state.
pub struct LogProbs<'p, M: Mdp> {
    proposer: f64,
    others: Vec<(f64, &'p dyn Policy<M>)>,
}

impl<'p, M: Mdp> LogProbs<'p, M> {
    /// The weight of the proposing policy, and those of the others.
    pub fn new(proposer: f64, others: Vec<(f64, &'p dyn Policy<M>)>) -> Self {
        Self { proposer, others }
    }

    /// log pi(a|s) of the proposing policy: what beam search maximises (Eq. 13 of the paper).
    pub fn likelihood() -> Self {
        Self::new(1.0, Vec::new())
    }

    /// log pi(a|s) of another policy.
    pub fn likelihood_of(policy: &'p dyn Policy<M>) -> Self {
        Self::new(0.0, vec![(1.0, policy)])
    }

    /// beta (log pi(a|s) - log pi_ref(a|s)), the implicit reward of the proposing policy (Eq. 11 of the paper).
    pub fn implicit_reward(beta: f64, reference: &'p dyn Policy<M>) -> Self {
        Self::new(beta, vec![(-beta, reference)])
    }

    /// beta (log pi(a|s) - log pi_ref(a|s)) of another policy, a verifier.
    ///
    /// # References
    /// Hosseini et al., "V-STaR: Training Verifiers for Self-Taught Reasoners", 2024.
    pub fn implicit_reward_of(beta: f64, policy: &'p dyn Policy<M>, reference: &'p dyn Policy<M>) -> Self {
        Self::new(0.0, vec![(beta, policy), (-beta, reference)])
    }

    /// log pi(a|s) + strength (log pi_tuned(a|s) - log pi_untuned(a|s)): the log-ratio of a small tuned model to its
    /// untuned base guides a large untuned one, the proposer.
    ///
    /// # References
    /// Zhou et al., "Weak-to-Strong Search: Align Large Language Models via Searching over Small Language Models", 2024.
    pub fn weak_to_strong(strength: f64, tuned: &'p dyn Policy<M>, untuned: &'p dyn Policy<M>) -> Self {
        Self::new(1.0, vec![(strength, tuned), (-strength, untuned)])
    }
}

impl<M: Mdp> std::fmt::Debug for LogProbs<'_, M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let others: Vec<f64> = self.others.iter().map(|(weight, _)| *weight).collect();
        f.debug_struct("LogProbs").field("proposer", &self.proposer).field("others", &others).finish()
    }
}

impl<M: Mdp> Score<M> for LogProbs<'_, M> {
    fn open<'a>(&'a self, mdp: &'a M, states: &[M::State]) -> Result<Box<dyn Scorer<M> + 'a>, PolicyError> {
        Ok(Box::new(self.open_sum(mdp, states)?))
    }
}

impl<M: Mdp> LogProbs<'_, M> {
    pub(super) fn open_sum<'a>(&'a self, mdp: &'a M, states: &[M::State]) -> Result<LogProbSum<'a, M>, PolicyError> {
        let open = |(weight, policy): &(f64, &'a dyn Policy<M>)| Ok((*weight, policy.cursor(mdp, states)?));
        let others = self.others.iter().map(open).collect::<Result<_, PolicyError>>()?;
        Ok(LogProbSum { proposer: self.proposer, others })
    }
}

/// A running weighted sum: a cursor for each policy but the proposer.
pub(super) struct LogProbSum<'a, M: Mdp> {
    proposer: f64,
    others: Vec<(f64, Box<dyn Cursor<M> + 'a>)>,
}

impl<M: Mdp> Scorer<M> for LogProbSum<'_, M> {
    fn n_policies(&self) -> usize {
        self.others.len()
    }

    fn gains(
        &mut self,
        _states: &[M::State],
        proposals: &[Vec<Proposal<M::Action>>],
    ) -> Result<Vec<Vec<f64>>, PolicyError> {
        let own = |proposal: &Proposal<M::Action>| {
            if self.proposer == 0.0 { 0.0 } else { self.proposer * proposal.log_prob }
        };
        let mut gains: Vec<Vec<f64>> = proposals.iter().map(|list| list.iter().map(own).collect()).collect();
        let actions = |list: &Vec<Proposal<M::Action>>| list.iter().map(|proposal| proposal.action.clone()).collect();
        let candidates: Vec<Vec<M::Action>> = proposals.iter().map(actions).collect();
        for (weight, cursor) in &mut self.others {
            let numbers = cursor.log_probs_of(&candidates)?;
            one_each("lists of log-probabilities", gains.len(), numbers.len())?;
            for (gains, numbers) in gains.iter_mut().zip(&numbers) {
                one_each("log-probabilities of a row", gains.len(), numbers.len())?;
                gains.iter_mut().zip(numbers).for_each(|(gain, number)| *gain += *weight * number);
            }
        }
        Ok(gains)
    }

    fn advance(&mut self, actions: &[M::Action]) -> Result<(), PolicyError> {
        self.others.iter_mut().try_for_each(|(_, cursor)| cursor.advance(actions))
    }

    fn select(&mut self, rows: &[usize]) {
        self.others.iter_mut().for_each(|(_, cursor)| cursor.select(rows));
    }

    fn extend(&mut self, states: &[M::State]) -> Result<(), PolicyError> {
        self.others.iter_mut().try_for_each(|(_, cursor)| cursor.extend(states))
    }
}
