use mdp::{Episode, Mdp};

use crate::rows::Row;

/// An episode that a search found.
#[derive(Clone, Debug, PartialEq)]
pub struct Found<S, A> {
    /// Start and actions, in one piece.
    pub episode: Episode<S, A>,
    /// What it is ranked by: the sum of the score's gains, which a beam divides by the length to the power of the penalty.
    pub score: f64,
    /// log pi(a|s) of each decision, in nats, of the policy that proposed it.
    pub log_probs: Vec<f64>,
    /// What each decision added to the score.
    pub gains: Vec<f64>,
    /// Its share among the particles of a start, which sum to 1; of other methods 1.
    pub weight: f64,
    /// Whether it came to an end: the problem's, the longest that was allowed, or where the search was told to stop. Else the
    /// budget was spent before.
    pub is_finished: bool,
}

/// What is found of a problem.
pub type FoundOf<M> = Found<<M as Mdp>::State, <M as Mdp>::Action>;

impl<S: Clone, A> Found<S, A> {
    pub(crate) fn new(start: &S, row: Row<A>) -> Self {
        let Row { actions, log_probs, gains, score, is_over, .. } = row;
        let episode = Episode::whole(start.clone(), actions);
        Self { episode, score, log_probs, gains, weight: 1.0, is_finished: is_over }
    }
}

impl<S, A> Found<S, A> {
    /// The log-probability of the episode, in nats: the sum over its decisions.
    pub fn log_prob(&self) -> f64 {
        self.log_probs.iter().sum()
    }

    /// How many decisions it has.
    pub fn length(&self) -> usize {
        self.log_probs.len()
    }
}

/// What a search cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spent {
    /// How many times a state was put to a policy: one evaluation is one state asked of one policy once, of the one that
    /// proposes and of those behind the score.
    pub evaluations: usize,
}

/// What a search from one start comes to.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome<S, A> {
    /// What was found, the finished before the unfinished, and best first among them (but for [`Sampling`](crate::Sampling) and
    /// [`Smc`](crate::Smc), which keep the order of their draws).
    pub found: Vec<Found<S, A>>,
    /// What it cost.
    pub spent: Spent,
    /// What the method estimates for the start: [`Smc`](crate::Smc) the log of the normaliser, [`Mcts`](crate::Mcts) the mean
    /// score of the tree. Others estimate nothing.
    pub estimate: Option<f64>,
}

/// What a search of a problem comes to.
pub type OutcomeOf<M> = Outcome<<M as Mdp>::State, <M as Mdp>::Action>;

impl<S, A> Outcome<S, A> {
    pub(crate) fn new(found: Vec<Found<S, A>>, evaluations: usize) -> Self {
        Self { found, spent: Spent { evaluations }, estimate: None }
    }
}

/// Puts the finished first, and the best of them.
pub(crate) fn rank<S, A>(found: &mut [Found<S, A>]) {
    found.sort_by(|a, b| b.is_finished.cmp(&a.is_finished).then(b.score.total_cmp(&a.score)));
}
