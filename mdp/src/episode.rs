use crate::{Mdp, Steps};

/// A run of consecutive actions from `start`, which may be any state.
#[derive(Clone, Debug, PartialEq)]
pub struct Piece<S, A> {
    /// The state before the first action.
    pub start: S,
    /// The decisions, in order.
    pub actions: Vec<A>,
    /// Weight of each decision in the return: 1 for tokens.
    pub weight: f64,
}

/// A trajectory, or the known parts of one: one piece for a response, one for each turn of a policy in a world that replies,
/// several one-decision pieces for noise draws, one piece for each half of a hybrid.
#[derive(Clone, Debug, PartialEq)]
pub struct Episode<S, A> {
    /// The pieces; decisions are numbered consecutively over all of them.
    pub pieces: Vec<Piece<S, A>>,
}

/// The episodes of a problem.
pub type EpisodeOf<M> = Episode<<M as Mdp>::State, <M as Mdp>::Action>;

impl<S, A> Episode<S, A> {
    /// An episode of one piece with weight 1.
    pub fn whole(start: S, actions: Vec<A>) -> Self {
        Self { pieces: vec![Piece { start, actions, weight: 1.0 }] }
    }

    /// The state after the last decision; `None` if there is no piece.
    pub fn end<M: Mdp<State = S, Action = A>>(&self, mdp: &M) -> Option<S>
    where
        S: Clone,
    {
        let last = self.pieces.last()?;
        Some(last.actions.iter().fold(last.start.clone(), |state, action| mdp.step(&state, action)))
    }

    /// Number of decisions.
    pub fn n_decisions(&self) -> usize {
        self.pieces.iter().map(|piece| piece.actions.len()).sum()
    }

    /// The weight of each decision.
    pub fn weights(&self) -> Vec<f64> {
        self.pieces.iter().flat_map(|piece| std::iter::repeat_n(piece.weight, piece.actions.len())).collect()
    }
}

/// The decision weights of several episodes, one row each.
pub fn weights<S, A>(episodes: &[Episode<S, A>]) -> Steps {
    episodes.iter().map(Episode::weights).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decisions_are_counted_over_all_pieces() {
        let hybrid = Episode {
            pieces: vec![
                Piece { start: 0, actions: vec!['a', 'b'], weight: 0.5 },
                Piece { start: 7, actions: vec!['c'], weight: 2.0 },
            ],
        };
        assert_eq!(hybrid.n_decisions(), 3);
        assert_eq!(hybrid.weights(), [0.5, 0.5, 2.0]);
        let both = weights(&[hybrid, Episode::whole(0, vec!['d'])]);
        assert_eq!(both.rows().collect::<Vec<_>>(), [&[0.5, 0.5, 2.0][..], &[1.0]]);
    }

    #[test]
    fn an_episode_ends_after_its_last_decision() {
        let mdp = crate::token::TokenMdp { vocabulary: 9, eos: vec![0], max_length: 9 };
        let start = crate::token::TokenState::new([1]);
        let end = Episode::whole(start.clone(), vec![2, 0]).end(&mdp);
        assert_eq!(end.map(|state| state.response), Some(vec![2, 0]));
        assert_eq!(Episode::whole(start.clone(), vec![]).end(&mdp), Some(start));
        assert_eq!(Episode { pieces: vec![] }.end(&mdp), None);
    }

    #[test]
    fn an_episode_may_be_over_before_it_begins() {
        let nothing: Episode<u8, u8> = Episode::whole(0, vec![]);
        assert_eq!((nothing.n_decisions(), nothing.weights().len()), (0, 0));
    }
}
