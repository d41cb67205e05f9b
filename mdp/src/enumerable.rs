use crate::{EpisodeOf, Mdp, MdpError};

/// A problem with finitely many actions, `0..n_actions()`, the same in every state (some may not be allowed).
///
/// # Laws
/// `action_index(&action(i)) == i` for every `i < n_actions()`.
pub trait Enumerable: Mdp {
    /// Number of actions.
    fn n_actions(&self) -> usize;

    /// The action with this index.
    fn action(&self, index: usize) -> Self::Action;

    /// The index of an action.
    fn action_index(&self, action: &Self::Action) -> usize;

    /// The indices of the actions that `state` allows, in order.
    fn allowed(&self, state: &Self::State) -> Vec<usize> {
        (0..self.n_actions()).filter(|index| self.allows(state, &self.action(*index))).collect()
    }
}

/// Every episode from `start` to an end, in the order of the action indices.
///
/// # Errors
/// If there are more than `limit` of them.
pub fn all_episodes<M: Enumerable>(mdp: &M, start: &M::State, limit: usize) -> Result<Vec<EpisodeOf<M>>, MdpError> {
    let mut found = Vec::new();
    let mut open = vec![(start.clone(), Vec::new())];
    while let Some((state, actions)) = open.pop() {
        if mdp.is_terminal(&state) {
            found.push(mdp.episode(start.clone(), actions));
        } else {
            for index in mdp.allowed(&state).into_iter().rev() {
                let action = mdp.action(index);
                let mut longer: Vec<M::Action> = actions.clone();
                longer.push(action.clone());
                open.push((mdp.step(&state, &action), longer));
            }
        }
        // An open end becomes at least one episode unless it is stuck, so this also bounds problems that never end.
        if found.len() + open.len() > limit {
            return Err(MdpError::TooMany { what: "episodes", limit });
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::{TokenMdp, TokenState};

    #[test]
    fn episodes_come_in_the_order_of_their_actions() {
        let mdp = TokenMdp { vocabulary: 2, eos: vec![0], max_length: 3 };
        let all = all_episodes(&mdp, &TokenState::new([1]), 10).unwrap();
        let actions: Vec<&[u32]> = all.iter().map(|episode| episode.pieces[0].actions.as_slice()).collect();
        assert_eq!(actions, [&[0][..], &[1, 0], &[1, 1]]);
        assert_eq!(
            all_episodes(&mdp, &TokenState::new([1]), 2).unwrap_err(),
            MdpError::TooMany { what: "episodes", limit: 2 }
        );
    }
}
