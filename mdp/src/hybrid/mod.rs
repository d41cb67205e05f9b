//! The hybrid problem: two problems in sequence (App. D of the paper), such as refining a prompt and generating an
//! image from it.
//!
//! [`Hybrid`] is a combinator that knows nothing of tokens or images; either half may be a hybrid itself. The outer
//! problem runs to its terminal state (EOS); there a [`Handoff`] maps that state to the context of the inner problem.
//! The hand-off is part of the outer problem's last step, so it takes no decision.
//!
//! # Examples
//! A word is chosen, letter by letter, and then drawn in as many strokes as it has letters.
//! ```
//! use mdp::hybrid::{Half, Handoff, HandoffError, Hybrid};
//! use mdp::{Mdp, token::{TokenMdp, TokenState}};
//!
//! /// So many strokes, each of one of two kinds.
//! struct Strokes;
//! impl Mdp for Strokes {
//!     type Context = usize;
//!     type State = usize;
//!     type Action = bool;
//!     fn start(&self, strokes: &usize) -> usize {
//!         *strokes
//!     }
//!     fn step(&self, left: &usize, _action: &bool) -> usize {
//!         left - 1
//!     }
//!     fn is_terminal(&self, left: &usize) -> bool {
//!         *left == 0
//!     }
//! }
//!
//! struct Length;
//! impl Handoff<TokenMdp, Strokes> for Length {
//!     fn enter(&self, outer: &[&TokenState]) -> Result<Vec<usize>, HandoffError> {
//!         Ok(outer.iter().map(|state| state.response.len()).collect())
//!     }
//! }
//!
//! let mdp = Hybrid { outer: TokenMdp { vocabulary: 5, eos: vec![0], max_length: 9 }, inner: Strokes, handoff: Length };
//! let mut state = mdp.start(&[4].into());
//! for word in [3, 0] {
//!     state = mdp.step(&state, &Half::Outer(word));
//! }
//! assert_eq!(state, Half::Inner(2));
//! assert!(!mdp.allows(&state, &Half::Outer(3)), "the words are over");
//! ```

mod runs;

use crate::{Enumerable, Episode, EpisodeOf, Mdp, Piece};

pub use runs::Runs;

/// A state or an action of either half.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Half<O, I> {
    /// Of the outer problem, which comes first.
    Outer(O),
    /// Of the inner problem, which follows.
    Inner(I),
}

impl<O, I> Half<O, I> {
    /// The value of the first problem, if it is one.
    pub fn outer(self) -> Option<O> {
        match self {
            Self::Outer(outer) => Some(outer),
            Self::Inner(_) => None,
        }
    }

    /// The value of the second problem, if it is one.
    pub fn inner(self) -> Option<I> {
        match self {
            Self::Outer(_) => None,
            Self::Inner(inner) => Some(inner),
        }
    }
}

/// The error of a hand-off. Each implementer has its own type; callers only report it.
pub type HandoffError = Box<dyn std::error::Error + Send + Sync>;

/// Maps terminal states of the outer problem to contexts of the inner one.
///
/// # Laws
/// `enter` is a pure function, called only with terminal states of the outer problem.
pub trait Handoff<A: Mdp, B: Mdp> {
    /// The inner problem's context for each outer state; batched, so that an encoder can process many at once.
    ///
    /// # Errors
    /// A state has no valid context.
    fn enter(&self, outer: &[&A::State]) -> Result<Vec<B::Context>, HandoffError>;
}

/// A borrowed hand-off acts as the hand-off itself.
impl<A: Mdp, B: Mdp, H: Handoff<A, B> + ?Sized> Handoff<A, B> for &H {
    fn enter(&self, outer: &[&A::State]) -> Result<Vec<B::Context>, HandoffError> {
        (**self).enter(outer)
    }
}

/// The outer problem followed by the inner one.
///
/// # Laws
/// An idle half changes nothing: where the outer start is terminal, the episodes are exactly those of the inner
/// problem; where the inner start is terminal, exactly those of the outer problem. The combinator is associative:
/// nesting three problems to the left or to the right gives the same episodes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Hybrid<A, B, H> {
    /// The first problem.
    pub outer: A,
    /// The second problem.
    pub inner: B,
    /// The map from the first to the second.
    pub handoff: H,
}

impl<A: Mdp, B: Mdp, H: Handoff<A, B>> Hybrid<A, B, H> {
    /// The inner start states for terminal states of the outer problem, in one batch.
    ///
    /// # Errors
    /// The hand-off fails, or returns another number of contexts than states.
    pub fn enter(&self, outer: &[&A::State]) -> Result<Vec<B::State>, HandoffError> {
        let contexts = self.handoff.enter(outer)?;
        if contexts.len() != outer.len() {
            return Err(format!("a hand-off made {} contexts of {} states", contexts.len(), outer.len()).into());
        }
        Ok(contexts.iter().map(|context| self.inner.start(context)).collect())
    }

    /// An outer state, or the inner start state where the outer problem has ended. Where the hand-off fails, the state
    /// stays the outer terminal state, which allows no action; [`enter`](Self::enter) returns the error.
    fn hand_over(&self, outer: A::State) -> Half<A::State, B::State> {
        if !self.outer.is_terminal(&outer) {
            return Half::Outer(outer);
        }
        let entered = self.enter(&[&outer]).ok().and_then(|mut starts| starts.pop());
        entered.map_or(Half::Outer(outer), Half::Inner)
    }

    /// Splits an episode whose pieces do not cross the hand-off into its outer and inner part; pieces keep their
    /// weights.
    ///
    /// `None` if a piece crosses: an action belongs to another half than the state its piece starts in.
    pub fn split(&self, episode: &EpisodeOf<Self>) -> Option<(EpisodeOf<A>, EpisodeOf<B>)> {
        let (mut outer, mut inner) = (Vec::new(), Vec::new());
        for Piece { start, actions, weight } in &episode.pieces {
            match start {
                Half::Outer(start) => {
                    let actions = actions.iter().map(|action| match action {
                        Half::Outer(action) => Some(action.clone()),
                        Half::Inner(_) => None,
                    });
                    outer.push(Piece {
                        start: start.clone(),
                        actions: actions.collect::<Option<_>>()?,
                        weight: *weight,
                    });
                }
                Half::Inner(start) => {
                    let actions = actions.iter().map(|action| match action {
                        Half::Inner(action) => Some(action.clone()),
                        Half::Outer(_) => None,
                    });
                    inner.push(Piece {
                        start: start.clone(),
                        actions: actions.collect::<Option<_>>()?,
                        weight: *weight,
                    });
                }
            }
        }
        Some((Episode { pieces: outer }, Episode { pieces: inner }))
    }

    /// The same episode, with pieces that cross the hand-off cut there, as [`split`](Self::split) and policies want them: a search
    /// or a cursor's walk goes over it in one piece.
    ///
    /// # Errors
    /// An error of the hand-off.
    pub fn cut(&self, episode: EpisodeOf<Self>) -> Result<EpisodeOf<Self>, HandoffError> {
        let mut pieces = Vec::with_capacity(episode.pieces.len() + 1);
        for Piece { start, mut actions, weight } in episode.pieces {
            let n_outer = actions.iter().take_while(|action| matches!(action, Half::Outer(_))).count();
            let Half::Outer(outer) = &start else {
                pieces.push(Piece { start, actions, weight });
                continue;
            };
            let taken = actions[..n_outer].iter().cloned().filter_map(Half::outer);
            let end = taken.fold(outer.clone(), |state, action| self.outer.step(&state, &action));
            let followed = actions.split_off(n_outer);
            pieces.push(Piece { start, actions, weight });
            if !followed.is_empty() {
                let starts = self.enter(&[&end])?.into_iter().map(Half::Inner);
                pieces.extend(starts.map(|start| Piece { start, actions: followed.clone(), weight }));
            }
        }
        Ok(Episode { pieces })
    }

    /// Joins the pieces of both halves to one episode, outer ones first, and multiplies each piece's weight by its
    /// half's.
    ///
    /// Eq. 15 of the paper is this with beta and gamma: the return is
    /// `beta sum_t log pi/pi_ref (z_t) + gamma T omega / K sum_k (errors)`, where the inner pieces bring T omega / K.
    pub fn join(&self, outer: EpisodeOf<A>, inner: EpisodeOf<B>, (beta, gamma): (f64, f64)) -> EpisodeOf<Self> {
        let outer = outer.pieces.into_iter().map(|piece| Piece {
            start: Half::Outer(piece.start),
            actions: piece.actions.into_iter().map(Half::Outer).collect(),
            weight: beta * piece.weight,
        });
        let inner = inner.pieces.into_iter().map(|piece| Piece {
            start: Half::Inner(piece.start),
            actions: piece.actions.into_iter().map(Half::Inner).collect(),
            weight: gamma * piece.weight,
        });
        Episode { pieces: outer.chain(inner).collect() }
    }
}

impl<A: Mdp, B: Mdp, H: Handoff<A, B>> Mdp for Hybrid<A, B, H> {
    type Context = A::Context;
    type State = Half<A::State, B::State>;
    type Action = Half<A::Action, B::Action>;

    fn start(&self, context: &A::Context) -> Self::State {
        self.hand_over(self.outer.start(context))
    }

    fn step(&self, state: &Self::State, action: &Self::Action) -> Self::State {
        match (state, action) {
            (Half::Outer(state), Half::Outer(action)) if !self.outer.is_terminal(state) => {
                self.hand_over(self.outer.step(state, action))
            }
            (Half::Inner(state), Half::Inner(action)) => Half::Inner(self.inner.step(state, action)),
            // Not allowed, so never asked for; an action of the other half moves nothing.
            _ => state.clone(),
        }
    }

    fn is_terminal(&self, state: &Self::State) -> bool {
        matches!(state, Half::Inner(state) if self.inner.is_terminal(state))
    }

    fn allows(&self, state: &Self::State, action: &Self::Action) -> bool {
        match (state, action) {
            (Half::Outer(state), Half::Outer(action)) => {
                !self.outer.is_terminal(state) && self.outer.allows(state, action)
            }
            (Half::Inner(state), Half::Inner(action)) => self.inner.allows(state, action),
            _ => false,
        }
    }
}

/// Numbers the outer actions first.
impl<A: Enumerable, B: Enumerable, H: Handoff<A, B>> Enumerable for Hybrid<A, B, H> {
    fn n_actions(&self) -> usize {
        self.outer.n_actions() + self.inner.n_actions()
    }

    fn action(&self, index: usize) -> Self::Action {
        match index.checked_sub(self.outer.n_actions()) {
            None => Half::Outer(self.outer.action(index)),
            Some(index) => Half::Inner(self.inner.action(index)),
        }
    }

    fn action_index(&self, action: &Self::Action) -> usize {
        match action {
            Half::Outer(action) => self.outer.action_index(action),
            Half::Inner(action) => self.outer.n_actions() + self.inner.action_index(action),
        }
    }
}

#[cfg(test)]
mod tests;
