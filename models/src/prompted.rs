//! From what a language model wrote to what a denoiser is told: the hand-off of a prompt refiner.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use mdp::diffusion::DenoisingMdp;
use mdp::hybrid::Handoff;
use mdp::token::{TokenMdp, TokenState};

use crate::ModelError;
use crate::clip::TextConditioner;
use crate::denoiser::{Condition, Conditioning, Framing};
use crate::formats::ModelTokenizer;

/// Texts that are kept encoded; beyond that all are forgotten and encoded again when they come.
const KEPT: usize = 4096;

/// Reads a refined prompt as text, and has the generator's own tokenizer and text encoder read that.
///
/// The two models share no vocabulary: what passes between them is words.
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
    truncated: usize,
    failure: Option<ModelError>,
}

impl Prompted {
    /// From a refiner's tokenizer to a generator's text encoders.
    pub fn new(tokenizer: ModelTokenizer, texts: Arc<TextConditioner>, framing: Framing) -> Self {
        Self { tokenizer, texts, framing, kept: Mutex::default() }
    }

    /// The refined prompt that tokens spell: without special tokens, and without space around it.
    ///
    /// # Errors
    /// The tokenizer refuses the tokens.
    pub fn text(&self, tokens: &[u32]) -> Result<String, ModelError> {
        Ok(self.tokenizer.decode(tokens)?.trim().to_owned())
    }

    /// What the generator is told for a refined prompt.
    ///
    /// # Errors
    /// The generator's tokenizer or encoder refuses the text.
    pub fn condition(&self, text: &str) -> Result<Condition, ModelError> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = kept.conditions.get(text) {
            return Ok(Arc::clone(known));
        }
        let mut encoded = self.texts.encode(&[text], self.framing)?;
        kept.truncated += encoded.truncated;
        let condition = encoded.conditions.pop().unwrap_or_default();
        if kept.conditions.len() >= KEPT {
            kept.conditions.clear();
        }
        kept.conditions.insert(text.to_owned(), Arc::clone(&condition));
        Ok(condition)
    }

    /// What the generator is told where there is no prompt, as in the unconditional half of guidance.
    ///
    /// # Errors
    /// The generator's tokenizer or encoder refuses the empty text.
    pub fn none(&self) -> Result<Condition, ModelError> {
        self.texts.none(self.framing)
    }

    /// How many different refined prompts so far were longer than the text encoder reads, and lost their end.
    pub fn truncated(&self) -> usize {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).truncated
    }

    /// What went wrong in a hand-off, which has no way to say so itself; it told the generator nothing, which one that
    /// reads texts refuses.
    pub fn take_failure(&self) -> Option<ModelError> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).failure.take()
    }
}

impl Handoff<TokenMdp, DenoisingMdp<Condition>> for Prompted {
    fn enter(&self, outer: &TokenState) -> Condition {
        let condition = self.text(&outer.response).and_then(|text| self.condition(&text));
        condition.unwrap_or_else(|error| {
            self.kept.lock().unwrap_or_else(PoisonError::into_inner).failure = Some(error);
            Arc::new(Conditioning::none())
        })
    }
}
