//! The token MDP: a state is the prompt and the tokens so far, an action is the next token.
use std::sync::Arc;

use crate::{Enumerable, Mdp};

/// The next-token problem. EOS is an ordinary action that ends the episode; the length limit ends it too.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenMdp {
    /// Size of the vocabulary; actions are `0..vocabulary`.
    pub vocabulary: u32,
    /// The token ids that end an episode; if empty, only the length limit does.
    pub eos: Vec<u32>,
    /// Maximum number of tokens of prompt and response together.
    pub max_length: usize,
}

/// A prompt and the response so far.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub struct TokenState {
    /// The prompt, shared by all states of all its episodes.
    #[serde(with = "as_list")]
    pub prompt: Arc<[u32]>,
    /// The response so far.
    pub response: Vec<u32>,
}

mod as_list {
    use std::sync::Arc;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(tokens: &Arc<[u32]>, serializer: S) -> Result<S::Ok, S::Error> {
        tokens[..].serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Arc<[u32]>, D::Error> {
        Vec::<u32>::deserialize(deserializer).map(Arc::from)
    }
}

impl TokenState {
    /// The state of a prompt with an empty response.
    pub fn new(prompt: impl Into<Arc<[u32]>>) -> Self {
        Self { prompt: prompt.into(), response: Vec::new() }
    }

    /// Number of tokens of prompt and response.
    pub fn len(&self) -> usize {
        self.prompt.len() + self.response.len()
    }

    /// Whether prompt and response are both empty.
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

impl Enumerable for TokenMdp {
    fn n_actions(&self) -> usize {
        self.vocabulary as usize
    }

    fn action(&self, index: usize) -> u32 {
        index as u32
    }

    fn action_index(&self, token: &u32) -> usize {
        *token as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mdp() -> TokenMdp {
        TokenMdp { vocabulary: 10, eos: vec![0, 9], max_length: 5 }
    }

    #[test]
    fn a_token_is_appended_and_the_state_before_is_untouched() {
        let start = mdp().start(&Arc::from([7, 8]));
        let next = mdp().step(&start, &3);
        assert_eq!(next.tokens().collect::<Vec<_>>(), [7, 8, 3]);
        assert_eq!((start.len(), next.len()), (2, 3));
        assert!(Arc::ptr_eq(&start.prompt, &next.prompt));
    }

    #[test]
    fn eos_or_the_length_limit_ends_it() {
        let after = |prompt: &[u32], response: &[u32]| {
            mdp().is_terminal(&TokenState { prompt: prompt.into(), response: response.to_vec() })
        };
        assert!(!after(&[1, 2], &[]));
        assert!(!after(&[1, 2], &[3, 4]));
        assert!(after(&[1, 2], &[3, 4, 5]));
        assert!(after(&[1, 2], &[0]));
        assert!(after(&[1, 2], &[9]));
        // An EOS in the prompt is not an end, and neither is one that more tokens follow.
        assert!(!after(&[1, 0], &[]));
        assert!(!after(&[1], &[0, 1]));
    }

    #[test]
    fn only_words_of_the_vocabulary_are_allowed() {
        let start = TokenState::new([1]);
        assert!(mdp().allows(&start, &9));
        assert!(!mdp().allows(&start, &10));
        assert_eq!(mdp().allowed(&start).len(), 10);
    }

    #[test]
    fn an_empty_state_is_empty() {
        assert!(TokenState::new([]).is_empty());
        assert!(!TokenState::new([1]).is_empty());
    }
}
