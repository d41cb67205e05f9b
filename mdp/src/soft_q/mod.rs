//! The exact solution of a finite KL-regularised problem.
//!
//! The problem is the paper's Eq. 2: maximise the reward minus `beta` times the KL divergence from the reference. In a
//! deterministic problem with a horizon, one backward pass solves it exactly (discount 1, V = 0 in terminal states). So
//! every claim about a preference learner can be tested against exact numbers.
//!
//! # References
//! Rafailov et al., "From r to Q*: Your Language Model is Secretly a Q-Function", 2024, Eq. 5 to 7 and 10.
use crate::finite::log_sum_exp;
use crate::{Enumerable, Finite, FiniteState, Mdp, MdpError, Table};

/// The optimal values and the optimal policy of a reward.
#[derive(Clone, Debug, PartialEq)]
pub struct SoftQ {
    /// The strength of the KL penalty.
    pub beta: f64,
    /// Q*(s, a): the optimal return from this decision on, KL penalty included (Eq. 7).
    pub q: Table,
    /// log pi*(a|s), in nats (Eq. 5).
    pub log_policy: Table,
    /// log pi_ref(a|s), in nats, as given.
    pub log_reference: Table,
    values: Vec<f64>,
    n_places: usize,
}

impl SoftQ {
    /// V*(s) (Eq. 6): 0 in terminal states.
    ///
    /// # Panics
    /// If there is no such state.
    pub fn value(&self, state: FiniteState) -> f64 {
        self.values[state.time * self.n_places + state.place]
    }

    /// The optimal advantage A*(s, a) = Q*(s, a) - V*(s) = beta log pi*(a|s).
    ///
    /// # Panics
    /// If there is no such state or action.
    pub fn advantage(&self, state: FiniteState, action: usize) -> f64 {
        self.q.at(state, action) - self.value(state)
    }

    /// The implicit reward of the optimal policy: beta (log pi*(a|s) - log pi_ref(a|s)) (Eq. 11).
    ///
    /// It is the given reward shaped by the potential V* (Eq. 10).
    ///
    /// # Panics
    /// If there is no such state or action.
    pub fn implicit_reward(&self, state: FiniteState, action: usize) -> f64 {
        self.beta * (self.log_policy.at(state, action) - self.log_reference.at(state, action))
    }
}

/// Solves a problem by backward induction.
///
/// ```text
/// Q*(s, a)   = r(s, a) + beta log pi_ref(a|s) + V*(s')     (Eq. 7; V* = 0 in terminal states)
/// V*(s)      = beta log sum_a exp(Q*(s, a) / beta)         (Eq. 6)
/// pi*(a|s)   = exp((Q*(s, a) - V*(s)) / beta)              (Eq. 5)
/// ```
///
/// # Errors
/// If `beta` is not positive, a table belongs to a problem of another size, a number is not finite, or the
/// probabilities of the reference do not sum to 1 (to 1e-6).
///
/// # Examples
/// ```
/// use mdp::{Finite, Mdp, Table, soft_q};
///
/// // Two arms that pay 1 and 0, no preference in the reference: the odds are e to the 1 / beta.
/// let mdp = Finite::bandit(2);
/// let rewards = Table::from_fn(&mdp, |_, arm| if arm == 0 { 1.0 } else { 0.0 });
/// let solved = soft_q::solve(&mdp, &rewards, &Table::uniform(&mdp), 0.5)?;
/// let start = mdp.start(&0);
/// let log_odds = solved.log_policy.at(start, 0) - solved.log_policy.at(start, 1);
/// assert!((log_odds - 1.0 / 0.5).abs() < 1e-12);
/// # Ok::<(), mdp::MdpError>(())
/// ```
pub fn solve(mdp: &Finite, rewards: &Table, log_reference: &Table, beta: f64) -> Result<SoftQ, MdpError> {
    check_inputs(mdp, "reward", rewards, log_reference, beta)?;
    let n_places = mdp.n_places();
    let mut values = vec![0.0; (mdp.horizon() + 1) * n_places];
    let mut q = Table::from_fn(mdp, |_, _| 0.0);
    for state in mdp.states().rev().filter(|state| !mdp.is_terminal(state)) {
        let allowed = mdp.allowed(&state);
        for action in &allowed {
            let next = mdp.step(&state, action);
            *q.at_mut(state, *action) = rewards.at(state, *action)
                + beta * log_reference.at(state, *action)
                + values[next.time * n_places + next.place];
        }
        values[state.time * n_places + state.place] = soft_maximum(&q, state, &allowed, beta);
    }
    let log_policy =
        Table::from_fn(mdp, |state, a| (q.at(state, a) - values[state.time * n_places + state.place]) / beta);
    Ok(SoftQ { beta, q, log_policy, log_reference: log_reference.clone(), values, n_places })
}

/// The unique reward whose optimal Q function is `q` (Lemma 1), by the Bellman equation (Eq. 7).
///
/// Any finite table is the Q* of some reward, so any logits are.
///
/// # Errors
/// As [`solve`].
pub fn reward_of(mdp: &Finite, q: &Table, log_reference: &Table, beta: f64) -> Result<Table, MdpError> {
    check_inputs(mdp, "Q value", q, log_reference, beta)?;
    Ok(Table::from_fn(mdp, |state, action| {
        let next = mdp.step(&state, &action);
        let value = if mdp.is_terminal(&next) { 0.0 } else { soft_maximum(q, next, &mdp.allowed(&next), beta) };
        q.at(state, action) - beta * log_reference.at(state, action) - value
    }))
}

/// A reward shaped by a potential: r'(s, a) = r(s, a) + potential(s') - potential(s) (Definition 1).
///
/// It preserves the optimal policy and all preferences (Theorem 1) if the potential is equal in all terminal states.
/// The definition alone does not require this; the theorem's "V* = 0 for all terminal states" does.
#[must_use]
pub fn shape(mdp: &Finite, rewards: &Table, potential: impl Fn(FiniteState) -> f64) -> Table {
    Table::from_fn(mdp, |state, action| {
        rewards.at(state, action) + potential(mdp.step(&state, &action)) - potential(state)
    })
}

/// beta log sum_a exp(Q(s, a) / beta): Eq. 6.
fn soft_maximum(q: &Table, state: FiniteState, allowed: &[usize], beta: f64) -> f64 {
    beta * log_sum_exp(allowed.iter().map(|action| q.at(state, *action) / beta))
}

fn check_inputs(
    mdp: &Finite,
    what: &'static str,
    table: &Table,
    log_reference: &Table,
    beta: f64,
) -> Result<(), MdpError> {
    if !(beta.is_finite() && beta > 0.0) {
        return Err(MdpError::Beta { beta });
    }
    let expected = (mdp.horizon() + 1) * mdp.n_places() * mdp.n_actions();
    for (what, table) in [(what, table), ("reference", log_reference)] {
        if table.values.len() != expected {
            return Err(MdpError::TableSize { what, expected, got: table.values.len() });
        }
        for state in mdp.states().filter(|state| !mdp.is_terminal(state)) {
            for action in mdp.allowed(&state) {
                let value = table.at(state, action);
                if !value.is_finite() {
                    return Err(MdpError::NotFinite { what, state: format!("{state:?}"), action, value });
                }
            }
        }
    }
    for state in mdp.states().filter(|state| !mdp.is_terminal(state)) {
        let sum: f64 = mdp.allowed(&state).into_iter().map(|action| log_reference.at(state, action).exp()).sum();
        if (sum - 1.0).abs() > 1e-6 {
            return Err(MdpError::NotNormalised { state: format!("{state:?}"), sum });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
