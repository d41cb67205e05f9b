use crate::{Mdp, Steps};

/// Actions taken one after the other from `start`, which may be any state.
#[derive(Clone, Debug, PartialEq)]
pub struct Piece<S, A> {
    /// The state before the first action.
    pub start: S,
    /// The decisions, in order.
    pub actions: Vec<A>,
    /// How much each decision counts in a return: 1 for tokens.
    pub weight: f64,
}

/// What is known of one trajectory: one piece for a response, several one-decision pieces for noise draws, a piece for
/// each half of a hybrid.
#[derive(Clone, Debug, PartialEq)]
pub struct Episode<S, A> {
    /// The pieces; decisions are numbered over all of them in order.
    pub pieces: Vec<Piece<S, A>>,
}

/// The episodes of a problem.
pub type EpisodeOf<M> = Episode<<M as Mdp>::State, <M as Mdp>::Action>;

impl<S, A> Episode<S, A> {
    /// An episode of one piece whose decisions all count once.
    pub fn whole(start: S, actions: Vec<A>) -> Self {
        Self { pieces: vec![Piece { start, actions, weight: 1.0 }] }
    }

    /// How many decisions it has.
    pub fn n_decisions(&self) -> usize {
        self.pieces.iter().map(|piece| piece.actions.len()).sum()
    }

    /// The weight of each decision.
    pub fn weights(&self) -> Vec<f64> {
        self.pieces.iter().flat_map(|piece| std::iter::repeat_n(piece.weight, piece.actions.len())).collect()
    }
}

/// The weights of several episodes, a row each.
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
    fn an_episode_may_be_over_before_it_begins() {
        let nothing: Episode<u8, u8> = Episode::whole(0, vec![]);
        assert_eq!((nothing.n_decisions(), nothing.weights().len()), (0, 0));
    }
}
