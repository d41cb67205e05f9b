//! The token MDP: a state is the prompt and the tokens so far, an action is the next token.
use std::sync::Arc;

use crate::Mdp;

/// The next-token problem. EOS is an action like any other, and ends the episode; so does the length limit.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenMdp {
    /// How many tokens there are; actions are `0..vocabulary`.
    pub vocabulary: u32,
    /// The tokens that end an episode (empty: only the length limit does).
    pub eos: Vec<u32>,
    /// The most tokens prompt and response may have together.
    pub max_length: usize,
}

/// A prompt and what has been said since.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TokenState {
    /// The prompt, shared by all states of all episodes about it.
    pub prompt: Arc<[u32]>,
    /// The response so far.
    pub response: Vec<u32>,
}

impl TokenState {
    /// The state before the first token of a response.
    pub fn new(prompt: impl Into<Arc<[u32]>>) -> Self {
        Self { prompt: prompt.into(), response: Vec::new() }
    }

    /// How many tokens there are so far.
    pub fn len(&self) -> usize {
        self.prompt.len() + self.response.len()
    }

    /// Whether there are none at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Prompt and response as one sequence.
    pub fn tokens(&self) -> impl Iterator<Item = u32> + '_ {
        self.prompt.iter().chain(&self.response).copied()
    }
}

impl Mdp for TokenMdp {
    type Context = Arc<[u32]>;
    type State = TokenState;
    type Action = u32;

    fn start(&self, prompt: &Arc<[u32]>) -> TokenState {
        TokenState::new(Arc::clone(prompt))
    }

    fn step(&self, state: &TokenState, token: &u32) -> TokenState {
        let mut next = state.clone();
        next.response.push(*token);
        next
    }

    fn is_terminal(&self, state: &TokenState) -> bool {
        state.len() >= self.max_length || state.response.last().is_some_and(|last| self.eos.contains(last))
    }

    fn allows(&self, _state: &TokenState, token: &u32) -> bool {
        *token < self.vocabulary
    }
}
