//! A language model in the act: rows of tokens, each with its keys and values.

use std::collections::VecDeque;
use std::sync::Arc;

use engine::Rng;
use engine::ops::{CacheBlock, CachePool};
use mdp::token::{TokenMdp, TokenState};
use policies::{Cursor, PolicyError, Proposal, one_each};
use rayon::prelude::*;

use super::cache::Cached;
use super::decoder::Pass;
use super::draw::{GenerationConfig, host_logits, log_prob, log_probs, top_proposals};
use super::model::CausalLm;
use super::packing::check_inputs;
use crate::ModelError;

/// The number of sequences that act together: enough for the matrix products, and a bound on the cache.
pub(super) const GROUP: usize = 64;

/// One sequence.
#[derive(Clone, Debug)]
struct Row {
    /// Its KV cache, once anything was read.
    cached: Option<Cached>,
    /// The logits of its next token, where they are known.
    logits: Option<Arc<Vec<f32>>>,
    /// Which of the states that were ever opened it began as: what errors call it.
    origin: usize,
}

/// The logits of a row, what it is called, and how many tokens it has said.
type Known = (Arc<Vec<f32>>, usize, usize);

/// Rows of tokens. A token is read when its row is first asked, so rows that end or are dropped cost nothing more; prompts are
/// read together, what they share once.
#[derive(Debug)]
pub(super) struct TokenCursor<'a> {
    model: &'a CausalLm,
    sampling: GenerationConfig,
    rows: Vec<Row>,
    states: Vec<TokenState>,
    opened: usize,
    left: Option<Left>,
    /// Where their caches are.
    pool: CachePool,
}

/// Tokens that dropped rows may have read together: the bound of their memory.
const LEFT_TOKENS: usize = 16_384;

/// What dropped rows had read, the latest last.
///
/// A search in a tree drops its rows and opens leaves that begin as they did, which then need not read everything again.
/// Rows are kept from the first opening of further states on, so that other searches keep nothing.
#[derive(Debug, Default)]
struct Left {
    rows: VecDeque<(Vec<u32>, Cached)>,
    n_tokens: usize,
}

impl Left {
    fn keep(&mut self, state: &TokenState, cached: Cached) {
        self.n_tokens += cached.len();
        self.rows.push_back((state.tokens().take(cached.len()).collect(), cached));
        while self.n_tokens > LEFT_TOKENS
            && let Some((_, oldest)) = self.rows.pop_front()
        {
            self.n_tokens -= oldest.len();
        }
    }

    /// What was read of a state but a few last tokens, of which one at least is still to be read for its logits.
    fn begun(&self, state: &TokenState) -> Option<Cached> {
        let shared = |tokens: &[u32]| tokens.iter().zip(state.tokens()).take_while(|(a, b)| **a == *b).count();
        let longest = self.rows.iter().map(|(tokens, cached)| (shared(tokens), cached)).max_by_key(|(n, _)| *n);
        let (n_read, cached) = longest?;
        let n_read = n_read.min(state.len() - 1);
        (n_read > 0 && state.len() - n_read <= CacheBlock::TOKENS).then(|| cached.first(n_read))
    }
}

impl<'a> TokenCursor<'a> {
    /// Opens at states, to draw as the settings say.
    pub(super) fn open(
        model: &'a CausalLm,
        mdp: &TokenMdp,
        states: &[TokenState],
        sampling: &GenerationConfig,
    ) -> Result<Self, ModelError> {
        model.check_vocabulary(mdp)?;
        let sampling = sampling.within(mdp)?;
        let pool = model.decoder.cache_pool()?;
        let mut cursor = Self { model, sampling, rows: Vec::new(), states: Vec::new(), opened: 0, left: None, pool };
        cursor.open_more(states)?;
        Ok(cursor)
    }

    fn open_more(&mut self, states: &[TokenState]) -> Result<(), ModelError> {
        for (state, origin) in states.iter().zip(self.opened..) {
            check_inputs(self.model.limits(), origin, state.len(), &state.tokens().collect::<Vec<_>>())?;
        }
        for state in states {
            let cached = self.left.as_ref().and_then(|left| left.begun(state));
            self.rows.push(Row { cached, logits: None, origin: self.opened });
            self.states.push(state.clone());
            self.opened += 1;
        }
        Ok(())
    }

    /// Reads what was not read yet, until the logits of every row are known.
    fn read(&mut self) -> Result<(), ModelError> {
        if self.model.decoder.external().is_some() {
            return self.read_whole();
        }
        self.read_prompts()?;
        loop {
            let rows = self.rows.iter_mut().zip(&self.states);
            let mut behind: Vec<(&mut Row, &TokenState)> = rows.filter(|(row, _)| row.logits.is_none()).collect();
            if behind.is_empty() {
                return Ok(());
            }
            let mut tokens = Vec::with_capacity(behind.len());
            for (row, state) in &behind {
                let n_read = row.cached.as_ref().map_or(0, Cached::len);
                if n_read >= self.model.limits().max_positions {
                    check_inputs(self.model.limits(), row.origin, n_read, &state.tokens().collect::<Vec<_>>())?;
                }
                let token = state.tokens().nth(n_read).unwrap_or_default();
                tokens.push((token, n_read as u32));
            }
            let cached = behind.iter_mut().filter_map(|(row, _)| row.cached.as_mut()).collect();
            let hidden = self.model.decoder.read_on(&tokens, cached, &self.pool)?;
            let logits = host_logits(&self.model.decoder.logits(&hidden, Pass::Scoring)?)?;
            for ((row, state), logits) in behind.into_iter().zip(logits) {
                let is_read = row.cached.as_ref().is_some_and(|cached| cached.len() == state.len());
                row.logits = is_read.then_some(logits);
            }
        }
    }

    /// Reads whole sequences, where another library computes the network: it has no cache here.
    fn read_whole(&mut self) -> Result<(), ModelError> {
        let rows = self.rows.iter_mut().zip(&self.states);
        let (behind, states): (Vec<&mut Row>, Vec<TokenState>) =
            rows.filter(|(row, _)| row.logits.is_none()).map(|(row, state)| (row, state.clone())).unzip();
        let logits = self.model.next_logits_of(&states)?;
        behind.into_iter().zip(logits).for_each(|(row, logits)| row.logits = Some(logits));
        Ok(())
    }

    fn read_prompts(&mut self) -> Result<(), ModelError> {
        let rows = self.rows.iter_mut().zip(&self.states);
        let mut fresh: Vec<(&mut Row, &TokenState)> = rows.filter(|(row, _)| row.cached.is_none()).collect();
        for fresh in fresh.chunks_mut(GROUP) {
            let sequences: Vec<Vec<u32>> = fresh.iter().map(|(_, state)| state.tokens().collect()).collect();
            let (cached, hidden) = self.model.decoder.prefill(&sequences, &self.pool)?;
            let logits = host_logits(&self.model.decoder.logits(&hidden, Pass::Scoring)?)?;
            for ((row, _), (cached, last)) in fresh.iter_mut().zip(cached) {
                row.cached = Some(cached);
                row.logits = Some(Arc::clone(&logits[last]));
            }
        }
        Ok(())
    }

    /// The logits of every row, with what it is called and how many tokens it has said.
    fn logits(&mut self) -> Result<Vec<Known>, ModelError> {
        self.read()?;
        let of_row = |(row, state): (&Row, &TokenState)| {
            Some((Arc::clone(row.logits.as_ref()?), row.origin, state.response.len()))
        };
        Ok(self.rows.iter().zip(&self.states).filter_map(of_row).collect())
    }
}

impl Cursor<TokenMdp> for TokenCursor<'_> {
    fn states(&self) -> &[TokenState] {
        &self.states
    }

    fn expand(&mut self, k: usize, rngs: &mut [&mut Rng]) -> Result<Vec<Vec<Proposal<u32>>>, PolicyError> {
        one_each("generators", self.rows.len(), rngs.len())?;
        let vocabulary = self.sampling.vocabulary.unwrap_or(usize::MAX);
        Ok(self.logits()?.par_iter().map(|(logits, ..)| top_proposals(logits, vocabulary, k)).collect())
    }

    fn draw(&mut self, rngs: &mut [&mut Rng]) -> Result<Vec<u32>, PolicyError> {
        one_each("generators", self.rows.len(), rngs.len())?;
        let logits = self.logits()?;
        let rows = logits.par_iter().zip(&self.states).zip(rngs);
        let tokens: Vec<Option<u32>> =
            rows.map(|((row, state), rng)| self.sampling.draw(&row.0, state.tokens(), rng)).collect();
        let drawn = tokens.into_iter().zip(&logits).map(|(token, (_, episode, step))| {
            token.ok_or_else(|| ModelError::not_finite("a logit", *episode, *step, f64::NAN))
        });
        Ok(drawn.collect::<Result<_, _>>()?)
    }

    fn log_probs(&mut self, actions: &[u32]) -> Result<Vec<f64>, PolicyError> {
        one_each("actions", self.rows.len(), actions.len())?;
        self.model.limits().check_tokens(actions, format_args!("the actions"))?;
        Ok(self.logits()?.par_iter().zip(actions).map(|((logits, ..), &token)| log_prob(logits, token)).collect())
    }

    fn log_probs_of(&mut self, candidates: &[Vec<u32>]) -> Result<Vec<Vec<f64>>, PolicyError> {
        one_each("lists of actions", self.rows.len(), candidates.len())?;
        for list in candidates {
            self.model.limits().check_tokens(list, format_args!("the actions"))?;
        }
        Ok(self.logits()?.iter().zip(candidates).map(|((logits, ..), list)| log_probs(logits, list)).collect())
    }

    fn advance(&mut self, actions: &[u32]) -> Result<(), PolicyError> {
        one_each("actions", self.rows.len(), actions.len())?;
        self.model.limits().check_tokens(actions, format_args!("the actions"))?;
        for ((row, state), token) in self.rows.iter_mut().zip(&mut self.states).zip(actions) {
            state.response.push(*token);
            row.logits = None;
        }
        Ok(())
    }

    fn follow(&mut self, given: &[Vec<u32>]) -> Result<(), PolicyError> {
        one_each("lists of given actions", self.rows.len(), given.len())?;
        for ((row, state), given) in self.rows.iter_mut().zip(&mut self.states).zip(given) {
            self.model.limits().check_tokens(given, format_args!("the given actions"))?;
            if !given.is_empty() {
                state.response.extend(given);
                row.logits = None;
            }
        }
        Ok(())
    }

    fn select(&mut self, rows: &[usize]) {
        let mut left = vec![0; self.rows.len()];
        for &row in rows {
            left[row] += 1;
        }
        let mut old: Vec<Option<Row>> = std::mem::take(&mut self.rows).into_iter().map(Some).collect();
        // The last of a row's branches takes what the row has; only the others copy it.
        let mut taken = |row: usize| {
            left[row] -= 1;
            if left[row] == 0 { old[row].take() } else { old[row].clone() }
        };
        self.rows = rows.iter().filter_map(|&row| taken(row)).collect();
        if let Some(left) = &mut self.left {
            let dropped = old.into_iter().zip(&self.states);
            for (cached, state) in dropped.filter_map(|(row, state)| Some((row?.cached?, state))) {
                left.keep(state, cached);
            }
        }
        self.states = rows.iter().map(|&row| self.states[row].clone()).collect();
    }

    fn extend(&mut self, states: &[TokenState]) -> Result<(), PolicyError> {
        self.left.get_or_insert_default();
        Ok(self.open_more(states)?)
    }
}
