//! Input limits of token models.

use std::fmt::Display;

use crate::ModelError;

/// The valid tokens and lengths of a model.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// The vocabulary size.
    pub(crate) vocabulary: usize,
    /// The context length.
    pub(crate) max_positions: usize,
}

impl Limits {
    /// Checks texts of which all tokens are read.
    pub(crate) fn check_texts(self, texts: &[Vec<u32>]) -> Result<(), ModelError> {
        texts.iter().enumerate().try_for_each(|(index, text)| self.check_read(text, format_args!("text {index}")))
    }

    /// Checks tokens that are all read; `whose` names them in messages.
    pub(crate) fn check_read(self, tokens: &[u32], whose: impl Display) -> Result<(), ModelError> {
        let most = self.max_positions;
        let wrong = |expected: String, got: String| {
            Err(ModelError::Argument { what: format!("the length of {whose}"), expected, got })
        };
        match tokens.len() {
            0 => wrong("at least one token".into(), "none".into()),
            n if n > most => {
                wrong(format!("at most the {most} positions the model was made for"), format!("{n} tokens to read"))
            }
            _ => self.check_tokens(tokens, whose),
        }
    }

    /// Checks that tokens are in the vocabulary.
    pub(crate) fn check_tokens(self, tokens: &[u32], whose: impl Display) -> Result<(), ModelError> {
        match tokens.iter().position(|&token| token as usize >= self.vocabulary) {
            None => Ok(()),
            Some(at) => Err(ModelError::Argument {
                what: format!("token {at} of {whose}"),
                expected: format!("a token below the model's vocabulary of {}", self.vocabulary),
                got: tokens[at].to_string(),
            }),
        }
    }
}
