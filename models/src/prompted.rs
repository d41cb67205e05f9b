//! The hand-off of a prompt refiner: a language model's text to a denoiser's condition.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use mdp::diffusion::{Condition, DenoisingMdp, Framing};
use mdp::hybrid::{Handoff, HandoffError};
use mdp::token::{TokenMdp, TokenState};

use crate::ModelError;
use crate::clip::TextConditioner;
use crate::formats::ModelTokenizer;

/// The capacity of the text-encoding cache; a full cache is cleared.
const KEPT: usize = 4096;

/// Decodes a refined prompt to text, and encodes that with the generator's own tokenizer and text encoder.
///
/// The two models share no vocabulary: they exchange text.
#[derive(Debug)]
pub struct Prompted {
    tokenizer: ModelTokenizer,
    texts: Arc<TextConditioner>,
    framing: Framing,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    conditions: BTreeMap<String, Condition>,
    truncated: BTreeSet<String>,
}

impl Prompted {
    /// A hand-off from a refiner's tokenizer to a generator's text encoders.
    pub fn new(tokenizer: ModelTokenizer, texts: Arc<TextConditioner>, framing: Framing) -> Self {
        Self { tokenizer, texts, framing, kept: Mutex::default() }
    }

    /// Decodes tokens to the refined prompt, without special tokens and surrounding space.
    ///
    /// # Errors
    /// A tokenizer error.
    pub fn text(&self, tokens: &[u32]) -> Result<String, ModelError> {
        Ok(self.tokenizer.decode(tokens)?.trim().to_owned())
    }

    /// The condition of a refined prompt.
    ///
    /// # Errors
    /// An error of the generator's tokenizer or encoder.
    pub fn condition(&self, text: &str) -> Result<Condition, ModelError> {
        Ok(self.conditions(&[text])?.pop().unwrap_or_default())
    }

    /// The conditions of several refined prompts.
    ///
    /// # Errors
    /// As [`condition`](Self::condition).
    pub fn conditions(&self, texts: &[&str]) -> Result<Vec<Condition>, ModelError> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let mut unknown: Vec<&str> =
            texts.iter().copied().filter(|text| !kept.conditions.contains_key(*text)).collect();
        unknown.sort_unstable();
        unknown.dedup();
        if kept.conditions.len() + unknown.len() > KEPT {
            kept.conditions.clear();
            unknown = texts.iter().copied().collect::<BTreeSet<_>>().into_iter().collect();
        }
        // Encoded one at a time: rounding depends on the batch size, and the encoding of a text must not depend on its
        // batch.
        for text in unknown {
            let encoded = self.texts.encode(&[text], self.framing)?;
            if encoded.truncated > 0 {
                kept.truncated.insert(text.to_owned());
            }
            let conditions = encoded.conditions.into_iter();
            kept.conditions.extend(conditions.map(|condition| (text.to_owned(), condition)));
        }
        Ok(texts.iter().map(|text| Arc::clone(&kept.conditions[*text])).collect())
    }

    /// The unconditional condition, for classifier-free guidance.
    ///
    /// # Errors
    /// An error of the generator's tokenizer or encoder for the empty text.
    pub fn none(&self) -> Result<Condition, ModelError> {
        self.texts.none(self.framing)
    }

    /// The number of distinct refined prompts so far that the text encoder truncated.
    pub fn truncated(&self) -> usize {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).truncated.len()
    }

    /// The refined prompts so far that the text encoder truncated.
    pub fn truncated_texts(&self) -> BTreeSet<String> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).truncated.clone()
    }
}

impl Handoff<TokenMdp, DenoisingMdp<Condition>> for Prompted {
    fn enter(&self, outer: &[&TokenState]) -> Result<Vec<Condition>, HandoffError> {
        let texts = outer.iter().map(|state| self.text(&state.response)).collect::<Result<Vec<_>, _>>()?;
        Ok(self.conditions(&texts.iter().map(String::as_str).collect::<Vec<_>>())?)
    }
}
