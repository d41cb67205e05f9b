//! The tokenizer of a text encoder.

use std::path::{Path, PathBuf};

use tokenizers::{PostProcessor, Tokenizer, TruncationDirection};

use crate::ModelError;

/// The tokenizer of a text encoder: adds begin and end tokens, truncates and pads.
#[derive(Clone, Debug)]
pub struct ClipTokenizer {
    path: PathBuf,
    tokenizer: Tokenizer,
    max_length: Option<usize>,
    padding: Option<u32>,
    /// The truncation side.
    cut: TruncationDirection,
    /// The padding side.
    filled: TruncationDirection,
}

/// Tokenised texts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenizedTexts {
    /// The tokens of each text.
    pub ids: Vec<Vec<u32>>,
    /// Flags of truncated texts.
    pub truncated: Vec<bool>,
}

impl TokenizedTexts {
    /// The number of truncated texts.
    pub fn n_truncated(&self) -> usize {
        self.truncated.iter().filter(|truncated| **truncated).count()
    }
}

impl ClipTokenizer {
    /// Makes a tokenizer without a length limit. `path` is the vocabulary's file, for messages; `sides` are the
    /// truncation and the padding side, `padding` the padding token.
    pub fn new(
        path: impl Into<PathBuf>,
        tokenizer: Tokenizer,
        padding: Option<u32>,
        sides: (TruncationDirection, TruncationDirection),
    ) -> Self {
        Self { path: path.into(), tokenizer, max_length: None, padding, cut: sides.0, filled: sides.1 }
    }

    /// Truncates texts to `length` tokens, unless a lower limit is set already.
    ///
    /// # Errors
    /// A length without room for begin, end and a token between them.
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

    /// Truncates and pads texts to `length` tokens, whatever limit is set already.
    ///
    /// # Errors
    /// As [`limit`](Self::limit).
    pub fn set_length(&mut self, length: usize) -> Result<(), ModelError> {
        self.max_length = None;
        self.limit(length)
    }

    /// Gives texts their own length: they are truncated, not padded.
    #[must_use]
    pub fn without_padding(self) -> Self {
        Self { padding: None, ..self }
    }

    /// Tokenises texts.
    ///
    /// # Errors
    /// The tokenizer fails.
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

    /// The tokens of a text with begin and end, and whether it was truncated.
    fn encode_one(&self, text: &str) -> tokenizers::Result<(Vec<u32>, bool)> {
        let mut encoding = self.tokenizer.encode_fast(text, false)?;
        let room = self.max_length.map(|length| length - self.n_added());
        let truncated = room.is_some_and(|room| encoding.len() > room);
        if let Some(room) = room {
            encoding.truncate(room, 0, self.cut);
        }
        Ok((self.tokenizer.post_process(encoding, None, true)?.get_ids().to_vec(), truncated))
    }

    /// The number of begin and end tokens.
    fn n_added(&self) -> usize {
        self.tokenizer.get_post_processor().map_or(0, |processor| processor.added_tokens(false))
    }

    /// The vocabulary size, special tokens included.
    pub fn n_tokens(&self) -> usize {
        self.tokenizer.get_vocab_size(true)
    }

    /// The maximum number of tokens of a text, if there is a limit.
    pub fn max_length(&self) -> Option<usize> {
        self.max_length
    }

    /// The vocabulary's file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn error(&self, reason: String) -> ModelError {
        ModelError::Tokenizer { path: self.path.clone(), reason }
    }
}
