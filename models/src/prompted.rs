//! From what a language model wrote to what a denoiser is told: the hand-off of a prompt refiner.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use mdp::diffusion::{Condition, DenoisingMdp, Framing};
use mdp::hybrid::{Handoff, HandoffError};
use mdp::token::{TokenMdp, TokenState};

use crate::ModelError;
use crate::clip::TextConditioner;
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
        Ok(self.conditions(&[text])?.pop().unwrap_or_default())
    }

    /// The same for many.
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
        // One at a time: a network rounds otherwise in a batch of another size, and what a text says may not depend on what
        // it came with.
        for text in unknown {
            let encoded = self.texts.encode(&[text], self.framing)?;
            kept.truncated += encoded.truncated;
            let conditions = encoded.conditions.into_iter();
            kept.conditions.extend(conditions.map(|condition| (text.to_owned(), condition)));
        }
        Ok(texts.iter().map(|text| Arc::clone(&kept.conditions[*text])).collect())
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
}

impl Handoff<TokenMdp, DenoisingMdp<Condition>> for Prompted {
    fn enter(&self, outer: &[&TokenState]) -> Result<Vec<Condition>, HandoffError> {
        let texts = outer.iter().map(|state| self.text(&state.response)).collect::<Result<Vec<_>, _>>()?;
        Ok(self.conditions(&texts.iter().map(String::as_str).collect::<Vec<_>>())?)
    }
}
