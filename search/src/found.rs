use mdp::{Episode, Mdp};

/// An episode that a search found.
#[derive(Clone, Debug, PartialEq)]
pub struct Found<S, A> {
    /// The start and the actions: in one piece, or in one for each turn in a world that replies.
    pub episode: Episode<S, A>,
    /// The ranking key: the sum of gains, which a beam divides by the length to the power of the penalty.
    pub score: f64,
    /// log pi(a|s) of each decision under the proposing policy, in nats.
    pub log_probs: Vec<f64>,
    /// The gain of each decision in the score.
    pub gains: Vec<f64>,
    /// The normalised weight among the particles of a start, which sum to 1; 1 for other methods.
    pub weight: f64,
    /// Whether it reached an end: a terminal state, the maximum length, or a state of `until`. Otherwise the budget ran
    /// out before.
    pub is_finished: bool,
}

/// A found episode of a problem.
pub type FoundOf<M> = Found<<M as Mdp>::State, <M as Mdp>::Action>;

impl<S, A> Found<S, A> {
    /// The log-probability of the episode, in nats: the sum over its decisions.
    pub fn log_prob(&self) -> f64 {
        self.log_probs.iter().sum()
    }

    /// The number of decisions.
    pub fn length(&self) -> usize {
        self.log_probs.len()
    }
}

/// The cost of a search.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spent {
    /// The number of policy evaluations: one state scored once by one policy, either the proposing one or one behind
    /// the score.
    pub evaluations: usize,
}

/// The result of a search from one start.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome<S, A> {
    /// The episodes, finished before unfinished and best first within each ([`Sampling`](crate::Sampling) and
    /// [`Smc`](crate::Smc) keep the order of their draws).
    pub found: Vec<Found<S, A>>,
    /// The cost.
    pub spent: Spent,
    /// The method's estimate for the start: the log normaliser of [`Smc`](crate::Smc), the mean score of the tree of
    /// [`Mcts`](crate::Mcts); `None` for others.
    pub estimate: Option<f64>,
}

/// The result of a search of a problem.
pub type OutcomeOf<M> = Outcome<<M as Mdp>::State, <M as Mdp>::Action>;

impl<S, A> Outcome<S, A> {
    pub(crate) fn new(found: Vec<Found<S, A>>, evaluations: usize) -> Self {
        Self { found, spent: Spent { evaluations }, estimate: None }
    }
}

/// Sorts finished episodes first, then by score, best first.
pub(crate) fn rank<S, A>(found: &mut [Found<S, A>]) {
    found.sort_by(|a, b| b.is_finished.cmp(&a.is_finished).then(b.score.total_cmp(&a.score)));
}
