//! T5's encoder alone, as PixArt reads it.

use super::{ClipTokenizer, EncodedText, TextEncoder};
use crate::ModelError;
use crate::t5::T5Encoder;

/// T5's encoder with its tokenizer: texts in lower case, without space around and without padding.
///
/// That is how the pipelines of PixArt prepare texts without their optional cleaning of captions of web pages; what they pad
/// they mask.
#[derive(Debug)]
pub struct T5Texts {
    tokenizer: ClipTokenizer,
    encoder: T5Encoder,
    length: usize,
}

impl T5Texts {
    /// Reads up to `length` tokens of a text, whatever the tokenizer's own limit is.
    ///
    /// # Errors
    /// A tokenizer with more tokens than the encoder, a length without room for a token.
    pub fn new(mut tokenizer: ClipTokenizer, encoder: T5Encoder, length: usize) -> Result<Self, ModelError> {
        let (known, readable) = (tokenizer.n_tokens(), encoder.config().vocabulary);
        if known > readable {
            let reason = format!("{known} tokens, and its text encoder has {readable}");
            return Err(ModelError::Tokenizer { path: tokenizer.path().to_path_buf(), reason });
        }
        tokenizer.set_length(length)?;
        Ok(Self { tokenizer: tokenizer.without_padding(), encoder, length })
    }

    /// The tokens of texts as the pipeline prepares them.
    fn tokens(&self, texts: &[&str]) -> Result<super::TokenizedTexts, ModelError> {
        let texts: Vec<String> = texts.iter().map(|text| text.to_lowercase().trim().to_owned()).collect();
        self.tokenizer.encode(&texts.iter().map(String::as_str).collect::<Vec<_>>())
    }
}

impl TextEncoder for T5Texts {
    fn width(&self) -> usize {
        self.encoder.config().width
    }

    fn max_length(&self) -> usize {
        self.length
    }

    fn encode(&self, texts: &[&str]) -> Result<Vec<EncodedText>, ModelError> {
        let tokens = self.tokens(texts)?;
        let states = self.encoder.encode(&tokens.ids)?.into_iter().zip(tokens.truncated);
        Ok(states.map(|(states, truncated)| EncodedText { states, truncated }).collect())
    }

    fn lengths(&self, texts: &[&str]) -> Result<Vec<(usize, bool)>, ModelError> {
        let tokens = self.tokens(texts)?;
        Ok(tokens.ids.iter().map(Vec::len).zip(tokens.truncated).collect())
    }
}
