//! A language model as the text encoder of a diffusers folder.

use std::fmt;
use std::path::Path;

use candle_core::Device;

use super::huggingface::load_encoder;
use super::{Extras, ModelTokenizer};
use crate::ModelError;
use crate::causal::CausalEncoder;
use crate::clip::{EncodedText, TextEncoder};

/// The tokens that the pipeline of Z-Image reads at most.
const LENGTH: usize = 512;

/// Makes the text that is tokenised of a prompt.
type Framing = dyn Fn(&str) -> Result<String, ModelError> + Send + Sync;

/// A language model that encodes prompts as the pipeline of Z-Image does: a prompt is the user's turn of a conversation,
/// framed by the tokenizer's chat template, and the states are those before the last block.
pub struct LanguageEncoder {
    tokenizer: ModelTokenizer,
    encoder: CausalEncoder,
    framing: Box<Framing>,
}

impl LanguageEncoder {
    /// Loads a language model and its tokenizer; texts are read as they are until
    /// [`with_framing`](Self::with_framing) says otherwise.
    ///
    /// # Errors
    /// Files that are missing or damaged, an unsupported architecture, tensors that do not match the config, a tokenizer
    /// with more tokens than the model.
    pub(super) fn load(encoder: &Path, tokenizer: &Path, device: &Device) -> Result<Self, ModelError> {
        let encoder = load_encoder(encoder, device)?;
        let words = ModelTokenizer::of_its_own(tokenizer, &Extras::read(tokenizer)?, None)?;
        let words = words.ok_or_else(|| ModelError::NoTokenizer { path: tokenizer.to_path_buf() })?;
        let (known, readable) = (words.n_tokens(), encoder.vocabulary());
        if known > readable {
            let reason = format!("{known} tokens, and its text encoder has {readable}");
            return Err(ModelError::Tokenizer { path: words.path, reason });
        }
        Ok(Self { tokenizer: words, encoder, framing: Box::new(|text| Ok(text.to_owned())) })
    }

    /// The tokenizer, with its chat template.
    pub fn tokenizer(&self) -> &ModelTokenizer {
        &self.tokenizer
    }

    /// Sets what is tokenised of a prompt: the chat template's text.
    #[must_use]
    pub fn with_framing(self, framing: impl Fn(&str) -> Result<String, ModelError> + Send + Sync + 'static) -> Self {
        Self { framing: Box::new(framing), ..self }
    }

    /// The tokens of prompts, and whether each was truncated.
    fn tokens(&self, texts: &[&str]) -> Result<Vec<(Vec<u32>, bool)>, ModelError> {
        let most = LENGTH.min(self.encoder.max_positions());
        let of_text = |text: &&str| {
            let mut ids = self.tokenizer.prefix.clone();
            ids.extend(self.tokenizer.encode(&(self.framing)(text)?)?);
            let is_long = ids.len() > most;
            ids.truncate(most);
            Ok((ids, is_long))
        };
        texts.iter().map(of_text).collect()
    }
}

impl TextEncoder for LanguageEncoder {
    fn width(&self) -> usize {
        self.encoder.width()
    }

    fn max_length(&self) -> usize {
        LENGTH.min(self.encoder.max_positions())
    }

    fn encode(&self, texts: &[&str]) -> Result<Vec<EncodedText>, ModelError> {
        let (ids, truncated): (Vec<_>, Vec<_>) = self.tokens(texts)?.into_iter().unzip();
        let states = self.encoder.encode(&ids)?;
        Ok(states.into_iter().zip(truncated).map(|(states, truncated)| EncodedText { states, truncated }).collect())
    }

    fn lengths(&self, texts: &[&str]) -> Result<Vec<(usize, bool)>, ModelError> {
        Ok(self.tokens(texts)?.into_iter().map(|(ids, is_long)| (ids.len(), is_long)).collect())
    }
}

impl fmt::Debug for LanguageEncoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { tokenizer, encoder, framing: _ } = self;
        f.debug_struct("LanguageEncoder")
            .field("tokenizer", tokenizer)
            .field("encoder", encoder)
            .finish_non_exhaustive()
    }
}
