//! The settings of tokenisation.
use std::str::FromStr;

use tokenizers::Tokenizer;

use crate::error::DatasetError;
use crate::truncation::Truncation;

/// The tokenisation of prompt and answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tokenization {
    /// Separately, as in the original DPO code. No token spans the border.
    #[default]
    Separate,
    /// As one text, as in TRL: the answers begin at the first token that differs between the prompt alone and the
    /// prompt with any of them. A token that spans the border belongs to the answer.
    Joint,
}

/// Tokenisation settings. The defaults are the original DPO code's.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct TokenSettings {
    /// Tokens that end an answer. The first is appended to plain answers without one of them, and is scored.
    pub ends: Vec<u32>,
    /// The BOS token, if the model has one. The tokeniser's post-processor decides whether texts get it. A prompt
    /// without any token begins with EOS.
    pub bos: Option<u32>,
    /// Maximum number of tokens of prompt and answer together.
    pub max_length: usize,
    /// Maximum number of tokens of a truncated prompt. `None`: prompts are never truncated, as in TRL, and records
    /// whose prompt leaves no room for an answer are omitted.
    pub max_prompt_length: Option<usize>,
    /// The part of a truncated prompt to keep; by default that of the record's format.
    pub truncation: Option<Truncation>,
    /// Whether prompt and answer are tokenised separately.
    pub tokenization: Tokenization,
    /// Size of the model's vocabulary; other token ids are counted. `None`: the tokeniser's.
    pub vocabulary: Option<usize>,
}

impl TokenSettings {
    /// The original DPO code's settings, for a model with this EOS.
    pub fn new(eos: u32) -> Self {
        Self {
            ends: vec![eos],
            bos: None,
            max_length: 512,
            max_prompt_length: Some(256),
            truncation: None,
            tokenization: Tokenization::Separate,
            vocabulary: None,
        }
    }

    /// The token appended to answers.
    pub(crate) fn eos(&self) -> u32 {
        self.ends[0]
    }
}

/// Checks settings against a tokeniser; returns the text of EOS.
pub(super) fn check(settings: &TokenSettings, tokenizer: &Tokenizer) -> Result<String, DatasetError> {
    let TokenSettings { ends, bos, max_length, max_prompt_length, truncation, .. } = settings;
    let setting = |name, value: String, hint| Err(DatasetError::Setting { name, value, hint });
    if *max_prompt_length == Some(0) {
        return setting("max_prompt_length", "0".to_owned(), "a prompt needs at least one token");
    }
    if max_prompt_length.is_some_and(|most| *max_length <= most) || *max_length < 2 {
        let most = max_prompt_length.map_or_else(String::new, |most| format!(" (max_prompt_length is {most})"));
        let hint = "it must be more than max_prompt_length, or no answer has room";
        return setting("max_length", format!("{max_length}{most}"), hint);
    }
    if max_prompt_length.is_none() && truncation.is_some_and(|kept| kept != Truncation::KeepStart) {
        let hint = "without max_prompt_length no prompt is cut, so there is no choice of what stays";
        return setting("truncation", "given".to_owned(), hint);
    }
    let Some(eos_text) = ends.first().and_then(|eos| tokenizer.id_to_token(*eos)) else {
        let eos = ends.first().map_or_else(|| "none".to_owned(), u32::to_string);
        return setting("eos", eos, "the tokeniser has no such token");
    };
    if let Some(bos) = bos
        && tokenizer.id_to_token(*bos).is_none()
    {
        return setting("bos", bos.to_string(), "the tokeniser has no such token");
    }
    Ok(eos_text)
}

impl FromStr for Tokenization {
    type Err = DatasetError;

    fn from_str(name: &str) -> Result<Self, DatasetError> {
        match name {
            "separate" => Ok(Self::Separate),
            "joint" => Ok(Self::Joint),
            _ => Err(DatasetError::UnknownName {
                what: "tokenization",
                name: name.to_owned(),
                known: "separate, joint".to_owned(),
            }),
        }
    }
}
