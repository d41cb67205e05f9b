//! The problems: a table, token sequences, a hybrid of two, and a custom one.

use std::cell::Cell;
use std::sync::Arc;

use mdp::hybrid::{Handoff, HandoffError, Hybrid};
use mdp::token::{TokenMdp, TokenState};
use mdp::{Channels, Enumerable, EpisodeOf, Finite, Mdp, Rng};
use policies::{Cursor, Policy, PolicyError, Proposal, Replay};

/// Four places on a circle with three actions each, and an exit from one of them.
pub(super) fn maze() -> Finite {
    let mut places: Vec<Vec<Option<usize>>> =
        (0..4).map(|i| (1..=3).map(|way| Some((i + way) % 5)).collect()).collect();
    places[1][0] = None;
    places.push(vec![None; 3]);
    Finite::new(places, 4).unwrap()
}

pub(super) fn words(vocabulary: u32, max_length: usize) -> TokenMdp {
    TokenMdp { vocabulary, eos: vec![0], max_length }
}

/// A hand-off that passes the response on as the next problem's prompt.
#[derive(Clone, Copy, Debug)]
pub(super) struct ResponseAsPrompt;

impl Handoff<TokenMdp, TokenMdp> for ResponseAsPrompt {
    fn enter(&self, outer: &[&TokenState]) -> Result<Vec<Arc<[u32]>>, HandoffError> {
        Ok(outer.iter().map(|state| state.response.clone().into()).collect())
    }
}

pub(super) type Two = Hybrid<TokenMdp, TokenMdp, ResponseAsPrompt>;

pub(super) fn two() -> Two {
    Hybrid { outer: words(3, 3), inner: words(2, 5), handoff: ResponseAsPrompt }
}

/// A custom problem: stones across a river.
pub(super) struct River {
    pub(super) length: usize,
    pub(super) width: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Go {
    Left,
    Ahead,
    Right,
}

impl Mdp for River {
    type Context = usize;
    type State = (usize, usize);
    type Action = Go;

    fn start(&self, column: &usize) -> (usize, usize) {
        (0, *column)
    }

    fn step(&self, (row, column): &(usize, usize), go: &Go) -> (usize, usize) {
        (row + 1, column + *go as usize - 1)
    }

    fn is_terminal(&self, (row, _): &(usize, usize)) -> bool {
        *row == self.length
    }

    fn allows(&self, (_, column): &(usize, usize), go: &Go) -> bool {
        (1..=self.width).contains(&(column + *go as usize))
    }
}

impl Enumerable for River {
    fn n_actions(&self) -> usize {
        3
    }

    fn action(&self, index: usize) -> Go {
        [Go::Left, Go::Ahead, Go::Right][index]
    }

    fn action_index(&self, go: &Go) -> usize {
        *go as usize
    }
}

/// A policy that counts the states it evaluates, each once; its cursor delegates to another's.
pub(super) struct Counting<P> {
    pub(super) policy: P,
    pub(super) asked: Cell<usize>,
}

impl<P> Counting<P> {
    pub(super) fn new(policy: P) -> Self {
        Self { policy, asked: Cell::new(0) }
    }
}

impl<M: Mdp, P: Policy<M>> Policy<M> for Counting<P> {
    fn propose(
        &self,
        mdp: &M,
        states: &[M::State],
        k: usize,
        rng: &mut Rng,
    ) -> Result<Vec<Vec<Proposal<M::Action>>>, PolicyError> {
        self.policy.propose(mdp, states, k, rng)
    }

    fn sample(&self, mdp: &M, states: &[M::State], rng: &mut Rng) -> Result<Vec<M::Action>, PolicyError> {
        self.policy.sample(mdp, states, rng)
    }

    fn score(&self, mdp: &M, episodes: &[EpisodeOf<M>]) -> Result<Channels, PolicyError> {
        self.policy.score(mdp, episodes)
    }

    fn cursor<'a>(&'a self, mdp: &'a M, states: &[M::State]) -> Result<Box<dyn Cursor<M> + 'a>, PolicyError> {
        let cursor = Replay::new(&self.policy, mdp, states);
        Ok(Box::new(CountingCursor { cursor, is_asked: vec![false; states.len()], asked: &self.asked }))
    }
}

/// A cursor that records the rows evaluated at their present state.
struct CountingCursor<'a, M: Mdp, P> {
    cursor: Replay<'a, M, P>,
    is_asked: Vec<bool>,
    asked: &'a Cell<usize>,
}

impl<M: Mdp, P> CountingCursor<'_, M, P> {
    fn ask(&mut self) {
        let fresh = self.is_asked.iter().filter(|is_asked| !**is_asked).count();
        self.is_asked.fill(true);
        self.asked.set(self.asked.get() + fresh);
    }
}

impl<M: Mdp, P: Policy<M>> Cursor<M> for CountingCursor<'_, M, P> {
    fn states(&self) -> &[M::State] {
        self.cursor.states()
    }

    fn expand(&mut self, k: usize, rngs: &mut [&mut Rng]) -> Result<Vec<Vec<Proposal<M::Action>>>, PolicyError> {
        self.ask();
        self.cursor.expand(k, rngs)
    }

    fn draw(&mut self, rngs: &mut [&mut Rng]) -> Result<Vec<M::Action>, PolicyError> {
        self.ask();
        self.cursor.draw(rngs)
    }

    fn log_probs(&mut self, actions: &[M::Action]) -> Result<Vec<f64>, PolicyError> {
        self.ask();
        self.cursor.log_probs(actions)
    }

    fn advance(&mut self, actions: &[M::Action]) -> Result<(), PolicyError> {
        self.is_asked.fill(false);
        self.cursor.advance(actions)
    }

    fn select(&mut self, rows: &[usize]) {
        self.is_asked = rows.iter().map(|&row| self.is_asked[row]).collect();
        self.cursor.select(rows);
    }

    fn extend(&mut self, states: &[M::State]) -> Result<(), PolicyError> {
        self.is_asked.resize(self.is_asked.len() + states.len(), false);
        self.cursor.extend(states)
    }
}
