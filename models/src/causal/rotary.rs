//! Rotary embedding settings, in the spellings of `config.json`.

use serde_json::Value;

use crate::ModelError;
use crate::fields::Fields;
use crate::fields::table::is_nothing;

/// The scaling of rotary frequencies for contexts longer than that of pre-training.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum RotaryScaling {
    /// No scaling.
    Default,
    /// All frequencies divided by `factor`.
    Linear {
        /// The scaling factor.
        factor: f64,
    },
    /// Llama 3's blend: low frequencies divided by `factor`, high ones kept.
    Llama3 {
        /// The scaling factor of the low frequencies.
        factor: f64,
        /// Wavelengths above `original_context / low_frequency` are scaled in full.
        low_frequency: f64,
        /// Wavelengths below `original_context / high_frequency` are kept.
        high_frequency: f64,
        /// The context length of pre-training.
        original_context: f64,
    },
}

/// The rotary embedding of a model.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rotary {
    /// The base of the geometric series of frequencies.
    pub base: f64,
    /// The number of leading coordinates of each head to rotate. They rotate in pairs: an odd number rotates one more,
    /// with its own frequencies, as in transformers.
    pub rotated: usize,
    /// The scaling for long contexts.
    pub scaling: RotaryScaling,
}

/// An architecture's rotary keys besides the nested ones.
#[derive(Clone, Copy, Debug)]
pub(super) enum RotaryKeys {
    /// Llama and Qwen2: all coordinates rotate, whatever share the config names.
    Whole,
    /// GPT-NeoX: a share of the coordinates rotates.
    Partial,
}

impl Rotary {
    /// Reads the settings as transformers 5 does: a non-empty `rope_scaling` replaces `rope_parameters`; keys missing
    /// in both are read from the top level.
    ///
    /// # Errors
    /// Settings that are not numbers, that differ by layer type, or of an unsupported type.
    pub(super) fn read(
        fields: Fields<'_>,
        keys: RotaryKeys,
        head_size: usize,
        max_positions: usize,
    ) -> Result<Self, ModelError> {
        let (key, nested) = nested(fields)?;
        let (base_key, share) = match keys {
            RotaryKeys::Whole => ("rope_theta", 1.0),
            RotaryKeys::Partial => {
                let share = nested.number("partial_rotary_factor")?;
                ("rotary_emb_base", share.map_or_else(|| fields.positive("rotary_pct", 0.25), Ok)?)
            }
        };
        let base = nested.number("rope_theta")?.map_or_else(|| fields.positive(base_key, 10_000.), Ok)?;
        let scaling = scaling(key, nested, fields, max_positions)?;
        if matches!(keys, RotaryKeys::Whole) && scaling != RotaryScaling::Default {
            refuse_share(nested)?;
            refuse_share(fields)?;
        }
        Ok(Self { base, rotated: (head_size as f64 * share) as usize, scaling })
    }

    /// Checks the number of rotated coordinates.
    ///
    /// # Errors
    /// Zero, or more than the head size.
    pub(super) fn check(&self, head_size: usize) -> Result<(), ModelError> {
        if self.rotated > 0 && self.rotated.next_multiple_of(2) <= head_size {
            return Ok(());
        }
        let reason = format!("{} of {head_size} coordinates of a head cannot turn in pairs", self.rotated);
        Err(ModelError::config("partial_rotary_factor", reason))
    }
}

/// The object with the settings, and its key.
fn nested(fields: Fields<'_>) -> Result<(&'static str, Fields<'_>), ModelError> {
    let says_something = |key: &&str| fields.value(key).is_some_and(|value| !is_nothing(value));
    let key = ["rope_scaling", "rope_parameters"].into_iter().find(says_something).unwrap_or("rope_parameters");
    let value = fields.value(key).unwrap_or(&Value::Null);
    if !value.is_null() && !value.is_object() {
        return Err(Fields::wrong(key, "an object", value));
    }
    let mut settings = value.as_object().into_iter().flatten();
    if let Some((layers, _)) = settings.find(|(_, value)| value.is_object()) {
        let reason = format!("rotary settings for each kind of layer (`{layers}`) are not supported");
        return Err(ModelError::config(key, reason));
    }
    Ok((key, Fields::new(value)))
}

/// With scaling, transformers computes frequencies for a share of the coordinates and then fails to rotate the whole
/// head.
fn refuse_share(fields: Fields<'_>) -> Result<(), ModelError> {
    match fields.number("partial_rotary_factor")? {
        Some(share) if share < 1.0 => {
            let reason = "a head that turns in part under rotary scaling is not supported in this architecture";
            Err(ModelError::config("partial_rotary_factor", reason))
        }
        _ => Ok(()),
    }
}

fn scaling(
    key: &str,
    nested: Fields<'_>,
    fields: Fields<'_>,
    max_positions: usize,
) -> Result<RotaryScaling, ModelError> {
    let kind = match nested.text("rope_type")? {
        Some(kind) => kind,
        None => nested.text("type")?.unwrap_or_else(|| "default".to_owned()),
    };
    match kind.as_str() {
        "default" => Ok(RotaryScaling::Default),
        "linear" => Ok(RotaryScaling::Linear { factor: nested.required_number("factor")? }),
        "llama3" => {
            let context = "original_max_position_embeddings";
            let beside = fields.number(context)?;
            let original = match beside {
                Some(original) => original,
                None => nested.positive(context, max_positions as f64)?,
            };
            Ok(RotaryScaling::Llama3 {
                factor: nested.required_number("factor")?,
                low_frequency: nested.required_number("low_freq_factor")?,
                high_frequency: nested.required_number("high_freq_factor")?,
                original_context: original,
            })
        }
        other => {
            let reason = format!("rotary scaling `{other}` is not supported; supported: default, linear, llama3");
            Err(ModelError::config(key, reason))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::causal::CausalConfig;

    /// The rotary settings of a model with head size 8, or the error.
    fn read(family: &str, settings: &Value) -> Result<Rotary, String> {
        let mut source = json!({ "model_type": family, "vocab_size": 96, "hidden_size": 32, "num_hidden_layers": 2,
            "num_attention_heads": 4, "intermediate_size": 48, "max_position_embeddings": 64 });
        for (key, value) in settings.as_object().unwrap() {
            source[key] = value.clone();
        }
        CausalConfig::from_json(source).map(|config| config.rotary.unwrap()).map_err(|error| error.to_string())
    }

    fn check(family: &str, settings: &Value, base: f64, rotated: usize, scaling: RotaryScaling) {
        assert_eq!(read(family, settings), Ok(Rotary { base, rotated, scaling }), "{family} {settings}");
    }

    const LINEAR: RotaryScaling = RotaryScaling::Linear { factor: 4.0 };

    #[test]
    fn settings_come_from_where_transformers_has_them() {
        let default = RotaryScaling::Default;
        for family in ["llama", "qwen2"] {
            check(family, &json!({}), 10_000.0, 8, default);
            check(family, &json!({ "rope_theta": 5e5 }), 5e5, 8, default);
            check(
                family,
                &json!({ "rope_parameters": { "rope_theta": 5e5, "rope_type": "default" } }),
                5e5,
                8,
                default,
            );
            // The whole head rotates, whatever share is named.
            check(family, &json!({ "partial_rotary_factor": 0.5, "rotary_pct": 0.5 }), 10_000.0, 8, default);
            check(family, &json!({ "rope_parameters": { "partial_rotary_factor": 0.5 } }), 10_000.0, 8, default);
        }
        check("gpt_neox", &json!({}), 10_000.0, 2, default);
        check("gpt_neox", &json!({ "rotary_pct": 0.5, "rotary_emb_base": 1e3 }), 1e3, 4, default);
        let nested = json!({ "rope_parameters": { "rope_theta": 1e3, "partial_rotary_factor": 0.5 } });
        check("gpt_neox", &nested, 1e3, 4, default);
        // Top-level keys of other architectures are not GPT-NeoX's.
        check("gpt_neox", &json!({ "rope_theta": 1e3, "partial_rotary_factor": 0.5 }), 10_000.0, 2, default);
        // 3.2 coordinates round down to three, which rotate with a fourth.
        check("gpt_neox", &json!({ "rotary_pct": 0.4 }), 10_000.0, 3, default);
    }

    #[test]
    fn rope_scaling_takes_the_place_of_rope_parameters() {
        let scaling = json!({ "type": "linear", "factor": 4.0 });
        let nested = json!({ "rope_type": "default", "rope_theta": 500.0 });
        let both = json!({ "rope_parameters": nested, "rope_scaling": scaling });
        check("llama", &both, 10_000.0, 8, LINEAR);
        let beside = json!({ "rope_parameters": nested, "rope_scaling": scaling, "rope_theta": 700.0 });
        check("llama", &beside, 700.0, 8, LINEAR);
        // An empty one does not.
        let empty = json!({ "rope_parameters": nested, "rope_scaling": {} });
        check("llama", &empty, 500.0, 8, RotaryScaling::Default);
    }

    #[test]
    fn the_context_of_llama_3_may_stand_beside_or_be_the_models() {
        let llama3 = json!({ "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0 });
        let context = |settings: Value| match read("llama", &settings).unwrap().scaling {
            RotaryScaling::Llama3 { factor: 8.0, low_frequency: 1.0, high_frequency: 4.0, original_context } => {
                original_context
            }
            other => panic!("{other:?}"),
        };
        assert_eq!(context(json!({ "rope_scaling": llama3 })), 64.0);
        let mut own = llama3.clone();
        own["original_max_position_embeddings"] = json!(16);
        assert_eq!(context(json!({ "rope_parameters": own })), 16.0);
        assert_eq!(context(json!({ "rope_parameters": own, "original_max_position_embeddings": 32 })), 32.0);
    }

    #[test]
    fn what_is_not_built_is_refused_by_name() {
        let linear = json!({ "rope_type": "linear", "factor": 4.0 });
        let table = [
            ("llama", json!({ "rope_scaling": { "type": "yarn", "factor": 2.0 } }), "yarn"),
            ("llama", json!({ "rope_parameters": { "full_attention": linear } }), "full_attention"),
            ("llama", json!({ "rope_parameters": linear, "partial_rotary_factor": 0.5 }), "partial_rotary_factor"),
            ("llama", json!({ "rope_scaling": { "rope_type": "linear" } }), "factor"),
            ("llama", json!({ "rope_scaling": "linear" }), "rope_scaling"),
            ("gpt_neox", json!({ "rotary_pct": 0.1 }), "0 of 8 coordinates"),
            ("gpt_neox", json!({ "rotary_pct": 1.5 }), "12 of 8 coordinates"),
        ];
        for (family, settings, expected) in table {
            let message = read(family, &settings).unwrap_err();
            assert!(message.contains(expected), "`{message}` does not say `{expected}`");
        }
        // GPT-NeoX rotates a share under scaling, too.
        let share = json!({ "rope_scaling": linear, "rotary_pct": 0.5 });
        check("gpt_neox", &share, 10_000.0, 4, LINEAR);
    }
}
