//! Makes saved generation settings agree with the tokenizer.

use std::path::Path;

use serde_json::{Value, json};

use super::{Extras, ModelTokenizer, token_ids};
use crate::ModelError;
use crate::causal::CausalConfig;

impl ModelTokenizer {
    /// Adds the EOS token that training appended, the tokenizer's, to the settings that transformers' `generate` stops
    /// at. Files that agree already are kept byte for byte.
    ///
    /// # Errors
    /// A `generation_config.json` that is not a JSON object.
    pub(in crate::formats) fn agree(
        &self,
        folder: &Path,
        config: &mut CausalConfig,
        extras: &mut Extras,
    ) -> Result<(), ModelError> {
        let Some(&learned) = self.eos.first() else { return Ok(()) };
        let stated = token_ids(config.source.get("eos_token_id"));
        let with_learned = |known: &[u32]| json!([&[learned], known].concat());
        match extras.json(folder, "generation_config.json")? {
            Some(mut generation) => {
                let known = token_ids(generation.get("eos_token_id"));
                if !known.contains(&learned) {
                    generation["eos_token_id"] = with_learned(&known);
                    extras.insert_json("generation_config.json", &generation);
                }
            }
            None if !stated.contains(&learned) && config.source.get("eos_token_id").is_some_and(|v| !v.is_null()) => {
                extras.insert_json("generation_config.json", &json!({ "eos_token_id": with_learned(&stated) }));
            }
            None => {}
        }
        if !stated.contains(&learned) && config.source.is_object() {
            config.source["eos_token_id"] = Value::from(learned);
        }
        Ok(())
    }
}
