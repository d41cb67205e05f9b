//! The tokenizer of a text encoder.

use std::path::{Path, PathBuf};

use tokenizers::{PostProcessor, Tokenizer, TruncationDirection};

use crate::ModelError;

/// Turns texts into tokens as the text encoder was trained to read them: with begin and end, cut to the model's length
/// and padded to it.
#[derive(Clone, Debug)]
pub struct ClipTokenizer {
    path: PathBuf,
    tokenizer: Tokenizer,
    max_length: Option<usize>,
    padding: Option<u32>,
    /// Where texts that are too long lose tokens.
    cut: TruncationDirection,
    /// Where texts that are too short are filled up.
    filled: TruncationDirection,
}

/// Texts as tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenizedTexts {
    /// The tokens of each text.
    pub ids: Vec<Vec<u32>>,
    /// Which texts were too long and lost their end.
    pub truncated: Vec<bool>,
}

impl TokenizedTexts {
    /// Counts the texts that lost their end.
    pub fn n_truncated(&self) -> usize {
        self.truncated.iter().filter(|truncated| **truncated).count()
    }
}

impl ClipTokenizer {
    /// Makes a tokenizer without a limit of its own. `path` is where the vocabulary came from, for messages; `sides` are
    /// where texts that are too long lose tokens and where those that are too short get `padding`.
    pub fn new(
        path: impl Into<PathBuf>,
        tokenizer: Tokenizer,
        padding: Option<u32>,
        sides: (TruncationDirection, TruncationDirection),
    ) -> Self {
        Self { path: path.into(), tokenizer, max_length: None, padding, cut: sides.0, filled: sides.1 }
    }

    /// Cuts texts to `length` tokens, if they aren't cut to fewer already.
    ///
    /// # Errors
    /// A length that has no room for begin, end and a token between them.
    pub fn limit(&mut self, length: usize) -> Result<(), ModelError> {
        let length = self.max_length.map_or(length, |known| known.min(length));
        let added = self.n_added();
        if length <= added {
            let reason = format!("texts of {length} tokens have no room beside {added} special ones");
            return Err(self.error(reason));
        }
        self.max_length = Some(length);
        Ok(())
    }

    /// Turns texts into tokens.
    ///
    /// # Errors
    /// The tokenizer refuses a text.
    pub fn encode(&self, texts: &[&str]) -> Result<TokenizedTexts, ModelError> {
        let mut tokenized = TokenizedTexts { ids: Vec::with_capacity(texts.len()), truncated: Vec::new() };
        for text in texts {
            let (mut ids, truncated) = self.encode_one(text).map_err(|e| self.error(e.to_string()))?;
            if let (Some(length), Some(padding)) = (self.max_length, self.padding) {
                let missing = std::iter::repeat_n(padding, length.saturating_sub(ids.len()));
                match self.filled {
                    TruncationDirection::Right => ids.extend(missing),
                    TruncationDirection::Left => drop(ids.splice(0..0, missing)),
                }
            }
            tokenized.truncated.push(truncated);
            tokenized.ids.push(ids);
        }
        Ok(tokenized)
    }

    /// A text's tokens between begin and end, and whether there were too many.
    fn encode_one(&self, text: &str) -> tokenizers::Result<(Vec<u32>, bool)> {
        let mut encoding = self.tokenizer.encode_fast(text, false)?;
        let room = self.max_length.map(|length| length - self.n_added());
        let truncated = room.is_some_and(|room| encoding.len() > room);
        if let Some(room) = room {
            encoding.truncate(room, 0, self.cut);
        }
        Ok((self.tokenizer.post_process(encoding, None, true)?.get_ids().to_vec(), truncated))
    }

    /// How many tokens begin and end are.
    fn n_added(&self) -> usize {
        self.tokenizer.get_post_processor().map_or(0, |processor| processor.added_tokens(false))
    }

    /// Counts the tokens of the vocabulary, special ones included.
    pub fn n_tokens(&self) -> usize {
        self.tokenizer.get_vocab_size(true)
    }

    /// The most tokens of a text, if there is a limit.
    pub fn max_length(&self) -> Option<usize> {
        self.max_length
    }

    /// The file the vocabulary came from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn error(&self, reason: String) -> ModelError {
        ModelError::Tokenizer { path: self.path.clone(), reason }
    }
}
