//! The cursor of two policies in a hybrid problem.

use mdp::hybrid::{Half, Handoff, Hybrid};
use mdp::{Mdp, Rng};

use crate::cursor::{Cursor, one_each};
use crate::{PolicyError, Proposal};

/// A state of either half.
type State<A, B> = Half<<A as Mdp>::State, <B as Mdp>::State>;
/// An action of either half.
type Action<A, B> = Half<<A as Mdp>::Action, <B as Mdp>::Action>;

/// A cursor for each half; rows whose outer problem has ended move to the inner cursor in one batch.
pub(super) struct PairCursor<'a, A: Mdp, B: Mdp, H> {
    mdp: &'a Hybrid<A, B, H>,
    outer: Box<dyn Cursor<A> + 'a>,
    inner: Box<dyn Cursor<B> + 'a>,
    /// The half and row index of each row.
    places: Vec<Half<usize, usize>>,
    states: Vec<State<A, B>>,
}

impl<'a, A: Mdp, B: Mdp, H: Handoff<A, B>> PairCursor<'a, A, B, H> {
    /// Combines two empty cursors.
    pub(super) fn new(
        mdp: &'a Hybrid<A, B, H>,
        outer: Box<dyn Cursor<A> + 'a>,
        inner: Box<dyn Cursor<B> + 'a>,
    ) -> Self {
        Self { mdp, outer, inner, places: Vec::new(), states: Vec::new() }
    }

    /// Splits per-row values by half, in the order of each half's cursor.
    fn apart<T, O, I>(
        &self,
        of_rows: impl Iterator<Item = T>,
        split: impl Fn(&Half<usize, usize>, T) -> Half<O, I>,
    ) -> (Vec<O>, Vec<I>) {
        let (mut outer, mut inner) = (Vec::new(), Vec::new());
        for (place, of_row) in self.places.iter().zip(of_rows) {
            match (place, split(place, of_row)) {
                (Half::Outer(at), Half::Outer(one)) => outer.push((*at, one)),
                (Half::Inner(at), Half::Inner(one)) => inner.push((*at, one)),
                _ => {}
            }
        }
        outer.sort_by_key(|(at, _)| *at);
        inner.sort_by_key(|(at, _)| *at);
        (outer.into_iter().map(|(_, one)| one).collect(), inner.into_iter().map(|(_, one)| one).collect())
    }

    /// The generators of each half's rows.
    fn generators<'r>(&self, rngs: &'r mut [&mut Rng]) -> (Vec<&'r mut Rng>, Vec<&'r mut Rng>) {
        self.apart(rngs.iter_mut(), |place, rng| match place {
            Half::Outer(_) => Half::Outer(&mut **rng),
            Half::Inner(_) => Half::Inner(&mut **rng),
        })
    }

    /// Merges the halves' results in row order.
    fn together<O, I, T>(
        &self,
        outer: Vec<O>,
        inner: Vec<I>,
        of_outer: impl Fn(O) -> T,
        of_inner: impl Fn(I) -> T,
    ) -> Result<Vec<T>, PolicyError> {
        let mut outer: Vec<Option<O>> = outer.into_iter().map(Some).collect();
        let mut inner: Vec<Option<I>> = inner.into_iter().map(Some).collect();
        let answer = |place: &Half<usize, usize>| match *place {
            Half::Outer(at) => outer.get_mut(at).and_then(Option::take).map(&of_outer),
            Half::Inner(at) => inner.get_mut(at).and_then(Option::take).map(&of_inner),
        };
        let answers = self.places.iter().map(answer).collect::<Option<Vec<T>>>();
        answers.ok_or_else(|| "a half's cursor gave fewer answers than it has rows".into())
    }

    /// Moves rows with a finished outer problem to the inner cursor, and updates the states.
    fn hand_over(&mut self, from: usize) -> Result<(), PolicyError> {
        let over = |state: &A::State| self.mdp.outer.is_terminal(state);
        let states = self.outer.states();
        let (ended, stays): (Vec<usize>, Vec<usize>) = (0..states.len()).partition(|&row| over(&states[row]));
        if !ended.is_empty() {
            let entered = self.mdp.enter(&ended.iter().map(|&row| &states[row]).collect::<Vec<_>>())?;
            let first = self.inner.states().len();
            self.inner.extend(&entered)?;
            self.outer.select(&stays);
            for place in &mut self.places {
                if let Half::Outer(at) = *place {
                    *place = match ended.binary_search(&at) {
                        Ok(nth) => Half::Inner(first + nth),
                        Err(before) => Half::Outer(at - before),
                    };
                }
            }
        }
        let (outer, inner) = (self.outer.states(), self.inner.states());
        let state = |place: &Half<usize, usize>| match *place {
            Half::Outer(at) => Half::Outer(outer[at].clone()),
            Half::Inner(at) => Half::Inner(inner[at].clone()),
        };
        self.states.truncate(from);
        self.states.extend(self.places[from..].iter().map(state));
        Ok(())
    }
}

/// The values at some places; values named more than once are cloned.
fn chosen<T: Clone>(values: Vec<T>, places: &[usize]) -> Vec<T> {
    let mut left = vec![0; values.len()];
    for &place in places {
        left[place] += 1;
    }
    let mut values: Vec<Option<T>> = values.into_iter().map(Some).collect();
    let mut choose = |place: usize| {
        left[place] -= 1;
        if left[place] == 0 { values[place].take() } else { values[place].clone() }
    };
    places.iter().filter_map(|&place| choose(place)).collect()
}

impl<A: Mdp, B: Mdp, H: Handoff<A, B>> Cursor<Hybrid<A, B, H>> for PairCursor<'_, A, B, H> {
    fn states(&self) -> &[State<A, B>] {
        &self.states
    }

    fn expand(&mut self, k: usize, rngs: &mut [&mut Rng]) -> Result<Vec<Vec<Proposal<Action<A, B>>>>, PolicyError> {
        one_each("generators", self.places.len(), rngs.len())?;
        let (mut of_outer, mut of_inner) = self.generators(rngs);
        let outer = self.outer.expand(k, &mut of_outer)?;
        let inner = self.inner.expand(k, &mut of_inner)?;
        self.together(
            outer,
            inner,
            |proposals| proposals.into_iter().map(|proposal| proposal.map(Half::Outer)).collect(),
            |proposals| proposals.into_iter().map(|proposal| proposal.map(Half::Inner)).collect(),
        )
    }

    fn draw(&mut self, rngs: &mut [&mut Rng]) -> Result<Vec<Action<A, B>>, PolicyError> {
        one_each("generators", self.places.len(), rngs.len())?;
        let (mut of_outer, mut of_inner) = self.generators(rngs);
        let (outer, inner) = (self.outer.draw(&mut of_outer)?, self.inner.draw(&mut of_inner)?);
        self.together(outer, inner, Half::Outer, Half::Inner)
    }

    fn log_probs(&mut self, actions: &[Action<A, B>]) -> Result<Vec<f64>, PolicyError> {
        one_each("actions", self.places.len(), actions.len())?;
        let (of_outer, of_inner) = self.apart(actions.iter().cloned(), |_, action| action);
        let (outer, inner) = (self.outer.log_probs(&of_outer)?, self.inner.log_probs(&of_inner)?);
        self.together(outer, inner, |number| number, |number| number)
    }

    fn log_probs_of(&mut self, candidates: &[Vec<Action<A, B>>]) -> Result<Vec<Vec<f64>>, PolicyError> {
        one_each("lists of actions", self.places.len(), candidates.len())?;
        let (of_outer, of_inner) = self.apart(candidates.iter(), |place, list| match place {
            Half::Outer(_) => Half::Outer(list.iter().cloned().filter_map(Half::outer).collect()),
            Half::Inner(_) => Half::Inner(list.iter().cloned().filter_map(Half::inner).collect()),
        });
        let (outer, inner) = (self.outer.log_probs_of(&of_outer)?, self.inner.log_probs_of(&of_inner)?);
        let lists = self.together(outer, inner, |numbers| numbers, |numbers| numbers)?;
        for (list, candidates) in lists.iter().zip(candidates) {
            one_each("actions of a row's own half", list.len(), candidates.len())?;
        }
        Ok(lists)
    }

    fn advance(&mut self, actions: &[Action<A, B>]) -> Result<(), PolicyError> {
        one_each("actions", self.places.len(), actions.len())?;
        let (of_outer, of_inner) = self.apart(actions.iter().cloned(), |_, action| action);
        self.outer.advance(&of_outer)?;
        self.inner.advance(&of_inner)?;
        self.hand_over(0)
    }

    fn select(&mut self, rows: &[usize]) {
        let (mut outer, mut inner) = (Vec::new(), Vec::new());
        let place = |&row: &usize| match self.places[row] {
            Half::Outer(at) => {
                outer.push(at);
                Half::Outer(outer.len() - 1)
            }
            Half::Inner(at) => {
                inner.push(at);
                Half::Inner(inner.len() - 1)
            }
        };
        self.places = rows.iter().map(place).collect();
        self.states = chosen(std::mem::take(&mut self.states), rows);
        self.outer.select(&outer);
        self.inner.select(&inner);
    }

    fn extend(&mut self, states: &[State<A, B>]) -> Result<(), PolicyError> {
        let (mut outer, mut inner) = (Vec::new(), Vec::new());
        let (n_outer, n_inner) = (self.outer.states().len(), self.inner.states().len());
        let mut places = Vec::with_capacity(states.len());
        for state in states {
            match state {
                Half::Outer(state) => {
                    places.push(Half::Outer(n_outer + outer.len()));
                    outer.push(state.clone());
                }
                Half::Inner(state) => {
                    places.push(Half::Inner(n_inner + inner.len()));
                    inner.push(state.clone());
                }
            }
        }
        self.outer.extend(&outer)?;
        self.inner.extend(&inner)?;
        let known = self.places.len();
        self.places.append(&mut places);
        self.hand_over(known)
    }
}
