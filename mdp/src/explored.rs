use std::collections::BTreeMap;

use crate::{Enumerable, Finite, MdpError};

/// The table of a problem, and the state of each of its places.
#[derive(Clone, Debug)]
pub struct Explored<S> {
    /// The table. Its horizon is the longest episode.
    pub finite: Finite,
    /// The state at each place.
    pub states: Vec<S>,
}

/// Enumerates the states reachable from `starts` as a table that [`soft_q::solve`](crate::soft_q::solve) can solve. The
/// starts become the first places (repeated ones once).
///
/// # Errors
/// If there are more than `limit` states, if an episode can revisit a state, or if a state is stuck.
///
/// # Examples
/// ```
/// let mdp = mdp::token::TokenMdp { vocabulary: 2, eos: vec![0], max_length: 3 };
/// let explored = mdp::explore(&mdp, &[mdp::token::TokenState::new([1])], 100)?;
/// // The prompt, `0`, `1`, `10` and `11`: EOS and the length limit both end it.
/// assert_eq!((explored.states.len(), explored.finite.horizon()), (5, 2));
/// # Ok::<(), mdp::MdpError>(())
/// ```
pub fn explore<M: Enumerable>(mdp: &M, starts: &[M::State], limit: usize) -> Result<Explored<M::State>, MdpError>
where
    M::State: Ord,
{
    let mut places: BTreeMap<M::State, usize> = BTreeMap::new();
    let mut states: Vec<M::State> = Vec::new();
    let mut number = |state: &M::State, states: &mut Vec<M::State>| {
        *places.entry(state.clone()).or_insert_with(|| {
            states.push(state.clone());
            states.len() - 1
        })
    };
    for start in starts {
        number(start, &mut states);
    }
    let mut successors: Vec<Vec<Option<usize>>> = Vec::new();
    // `states` grows while it is walked: a place's row is written when its turn comes.
    while successors.len() < states.len() {
        if states.len() > limit {
            return Err(MdpError::TooMany { what: "states", limit });
        }
        let state = states[successors.len()].clone();
        let mut row = vec![None; mdp.n_actions()];
        if !mdp.is_terminal(&state) {
            let allowed = mdp.allowed(&state);
            if allowed.is_empty() {
                return Err(MdpError::Stuck { state: format!("place {}", successors.len()) });
            }
            for index in allowed {
                row[index] = Some(number(&mdp.step(&state, &mdp.action(index)), &mut states));
            }
        }
        successors.push(row);
    }
    let horizon = longest(&successors)?;
    Ok(Explored { finite: Finite::new(successors, horizon)?, states })
}

/// The length of the longest episode; an error if the graph has a cycle.
fn longest(successors: &[Vec<Option<usize>>]) -> Result<usize, MdpError> {
    // Peeling off places that nothing leads to (any more) reaches all of them exactly where there is no circle.
    let mut leading = vec![0_usize; successors.len()];
    for next in successors.iter().flatten().flatten() {
        leading[*next] += 1;
    }
    let mut depth = vec![0_usize; successors.len()];
    let mut ready: Vec<usize> = (0..successors.len()).filter(|place| leading[*place] == 0).collect();
    let mut peeled = 0;
    while let Some(place) = ready.pop() {
        peeled += 1;
        for next in successors[place].iter().flatten() {
            depth[*next] = depth[*next].max(depth[place] + 1);
            leading[*next] -= 1;
            if leading[*next] == 0 {
                ready.push(*next);
            }
        }
    }
    if peeled < successors.len() {
        return Err(MdpError::Endless { limit: successors.len() });
    }
    Ok(depth.into_iter().max().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::{TokenMdp, TokenState};

    #[test]
    fn circles_and_crowds_are_refused() {
        // Two rooms with a door between them, forever (but for the horizon, which is not part of a place).
        assert_eq!(longest(&[vec![Some(1)], vec![Some(0)]]), Err(MdpError::Endless { limit: 2 }));
        assert_eq!(longest(&[vec![Some(1), Some(2)], vec![Some(2), None], vec![None, None]]), Ok(2));
        let mdp = TokenMdp { vocabulary: 10, eos: vec![], max_length: 9 };
        let crowd = explore(&mdp, &[TokenState::new([1])], 1000);
        assert_eq!(crowd.unwrap_err(), MdpError::TooMany { what: "states", limit: 1000 });
    }
}
