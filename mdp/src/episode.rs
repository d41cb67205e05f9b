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
