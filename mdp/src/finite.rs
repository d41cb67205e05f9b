//! Finite problems as tables: a transition table and a horizon.
use crate::{Enumerable, Episode, Mdp, MdpError};

/// A problem with finitely many places and actions.
///
/// A place without actions is terminal. The `horizon` ends every other episode, so the transition graph may have
/// cycles: a state is the place *and* the time, and no state occurs twice in an episode. The paper's Lemma 1 needs this
/// of the token MDP ("impossible to return to the same state").
///
/// Rewards are kept in a separate [`Table`].
///
/// # Examples
/// ```
/// use mdp::{Finite, Mdp};
///
/// // Two rooms (0, 1) and the street (2); action 0 changes rooms, action 1 leaves room 1.
/// let mdp = Finite::new(vec![vec![Some(1), None], vec![Some(0), Some(2)], vec![None, None]], 10)?;
/// let start = mdp.start(&0);
/// assert!(!mdp.allows(&start, &1));
/// let outside = mdp.step(&mdp.step(&start, &0), &1);
/// assert!(mdp.is_terminal(&outside));
/// # Ok::<(), mdp::MdpError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finite {
    successors: Vec<Vec<Option<usize>>>,
    horizon: usize,
}

/// The state of an episode of a [`Finite`] problem.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub struct FiniteState {
    /// Number of decisions taken.
    pub time: usize,
    /// A row of the transition table.
    pub place: usize,
}

impl Finite {
    /// A problem from its transition table: `successors[place][action]` is where the action leads, or `None` where it
    /// is not allowed. An episode has at most `horizon` decisions.
    ///
    /// # Errors
    /// If rows differ in length or lead to a place that is not there.
    pub fn new(successors: Vec<Vec<Option<usize>>>, horizon: usize) -> Result<Self, MdpError> {
        let n_places = successors.len();
        let expected = successors.first().map_or(0, Vec::len);
        for (place, row) in successors.iter().enumerate() {
            if row.len() != expected {
                return Err(MdpError::Ragged { place, expected, got: row.len() });
            }
            for (action, next) in row.iter().enumerate() {
                if let Some(next) = next.filter(|next| *next >= n_places) {
                    return Err(MdpError::UnknownPlace { place, action, next, n_places });
                }
            }
        }
        Ok(Self { successors, horizon })
    }

    /// A bandit: one decision between `arms`. Arm `i` leads from place 0 to place `i + 1`.
    pub fn bandit(arms: usize) -> Self {
        let mut successors = vec![vec![None; arms]; arms + 1];
        successors[0] = (1..=arms).map(Some).collect();
        Self { successors, horizon: 1 }
    }

    /// Changes the horizon.
    #[must_use]
    pub fn with_horizon(self, horizon: usize) -> Self {
        Self { horizon, ..self }
    }

    /// Number of places.
    pub fn n_places(&self) -> usize {
        self.successors.len()
    }

    /// The maximum number of decisions of an episode.
    pub fn horizon(&self) -> usize {
        self.horizon
    }

    /// Every state, terminal ones included: all places at time 0, then at time 1, up to the horizon.
    pub fn states(&self) -> impl DoubleEndedIterator<Item = FiniteState> + '_ {
        (0..=self.horizon).flat_map(|time| (0..self.n_places()).map(move |place| FiniteState { time, place }))
    }
}

impl Mdp for Finite {
    type Context = usize;
    type State = FiniteState;
    type Action = usize;

    fn start(&self, place: &usize) -> FiniteState {
        FiniteState { time: 0, place: *place }
    }

    /// # Panics
    /// If the state is terminal or does not allow the action.
    fn step(&self, state: &FiniteState, action: &usize) -> FiniteState {
        let place = self.successors[state.place][*action].expect("step is only called for an allowed action");
        FiniteState { time: state.time + 1, place }
    }

    fn is_terminal(&self, state: &FiniteState) -> bool {
        state.time >= self.horizon || self.successors[state.place].iter().all(Option::is_none)
    }

    fn allows(&self, state: &FiniteState, action: &usize) -> bool {
        self.successors[state.place].get(*action).is_some_and(Option::is_some)
    }
}

impl Enumerable for Finite {
    fn n_actions(&self) -> usize {
        self.successors.first().map_or(0, Vec::len)
    }

    fn action(&self, index: usize) -> usize {
        index
    }

    fn action_index(&self, action: &usize) -> usize {
        *action
    }
}

/// One number for each state and action of a [`Finite`] problem: rewards, Q values, log-probabilities.
///
/// # Shapes
/// `[horizon + 1, n_places, n_actions]`. Decisions that cannot be made hold 0.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    n_places: usize,
    n_actions: usize,
    pub(crate) values: Vec<f64>,
}

impl Table {
    /// Builds a table from a function of allowed decisions.
    pub fn from_fn(mdp: &Finite, mut number: impl FnMut(FiniteState, usize) -> f64) -> Self {
        let (n_places, n_actions) = (mdp.n_places(), mdp.n_actions());
        let mut values = vec![0.0; (mdp.horizon + 1) * n_places * n_actions];
        for state in mdp.states().filter(|state| !mdp.is_terminal(state)) {
            for action in mdp.allowed(&state) {
                values[(state.time * n_places + state.place) * n_actions + action] = number(state, action);
            }
        }
        Self { n_places, n_actions, values }
    }

    /// The log-probabilities of the softmax policy with these logits.
    #[must_use]
    pub fn log_softmax(&self, mdp: &Finite) -> Self {
        let normaliser =
            |state: &FiniteState| log_sum_exp(mdp.allowed(state).into_iter().map(|action| self.at(*state, action)));
        Self::from_fn(mdp, |state, action| self.at(state, action) - normaliser(&state))
    }

    /// The log-probabilities of the uniform policy over allowed actions.
    pub fn uniform(mdp: &Finite) -> Self {
        Self::from_fn(mdp, |state, _| -(mdp.allowed(&state).len() as f64).ln())
    }

    /// The entry of a decision.
    ///
    /// # Panics
    /// If there is no such state or action.
    pub fn at(&self, state: FiniteState, action: usize) -> f64 {
        self.values[self.index(state, action)]
    }

    /// The entry of a decision, mutable.
    ///
    /// # Panics
    /// If there is no such state or action.
    pub fn at_mut(&mut self, state: FiniteState, action: usize) -> &mut f64 {
        let index = self.index(state, action);
        &mut self.values[index]
    }

    /// The weighted sum over the decisions of an episode: its return, if these are rewards.
    ///
    /// # Panics
    /// If the episode is not one of `mdp`.
    pub fn sum(&self, mdp: &Finite, episode: &Episode<FiniteState, usize>) -> f64 {
        let mut total = 0.0;
        for piece in &episode.pieces {
            let mut state = piece.start;
            for action in &piece.actions {
                total += piece.weight * self.at(state, *action);
                state = mdp.step(&state, action);
            }
        }
        total
    }

    fn index(&self, state: FiniteState, action: usize) -> usize {
        (state.time * self.n_places + state.place) * self.n_actions + action
    }
}

/// `ln(sum(exp(x)))` without overflow.
pub(crate) fn log_sum_exp(numbers: impl Iterator<Item = f64> + Clone) -> f64 {
    let largest = numbers.clone().fold(f64::NEG_INFINITY, f64::max);
    largest + numbers.map(|x| (x - largest).exp()).sum::<f64>().ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_that_makes_no_sense_is_refused() {
        let check = |successors, expected| assert_eq!(Finite::new(successors, 3).unwrap_err(), expected);
        check(vec![vec![None], vec![None, None]], MdpError::Ragged { place: 1, expected: 1, got: 2 });
        check(vec![vec![Some(7)]], MdpError::UnknownPlace { place: 0, action: 0, next: 7, n_places: 1 });
    }

    #[test]
    fn a_bandit_is_one_decision() {
        let mdp = Finite::bandit(3);
        let start = mdp.start(&0);
        assert_eq!(mdp.allowed(&start), [0, 1, 2]);
        assert_eq!(mdp.step(&start, &2), FiniteState { time: 1, place: 3 });
        assert!(mdp.is_terminal(&mdp.step(&start, &0)));
    }

    #[test]
    fn the_horizon_ends_a_circle() {
        let mdp = Finite::new(vec![vec![Some(0)]], 4).unwrap();
        let mut state = mdp.start(&0);
        for _ in 0..4 {
            assert!(!mdp.is_terminal(&state));
            state = mdp.step(&state, &0);
        }
        assert!(mdp.is_terminal(&state));
        let ones = Table::from_fn(&mdp, |_, _| 1.0);
        assert_eq!(ones.sum(&mdp, &Episode::whole(mdp.start(&0), vec![0; 4])), 4.0);
    }

    #[test]
    fn sums_of_exponentials_do_not_overflow() {
        let near = |numbers: &[f64], expected: f64| {
            assert!((log_sum_exp(numbers.iter().copied()) - expected).abs() < 1e-12, "{numbers:?}");
        };
        near(&[1000.0, 1000.0], 1000.0 + 2f64.ln());
        near(&[-1000.0, -1000.0], -1000.0 + 2f64.ln());
        near(&[0.0], 0.0);
    }
}
