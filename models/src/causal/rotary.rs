//! Rotary embedding settings, in the spellings of `config.json`.

use engine::ops::{Pairing, Rope, RopeScaling};
use serde_json::{Map, Value};

use super::rotary_scaling::{RotaryScaling, scaling};
use crate::ModelError;
use crate::fields::Fields;
use crate::fields::table::is_nothing;

/// The rotary embedding of a model.
#[derive(Clone, Debug, PartialEq)]
pub struct Rotary {
    /// The base of the geometric series of frequencies.
    pub base: f64,
    /// The number of leading coordinates of each head to rotate. They rotate in pairs: an odd number rotates one more,
    /// with its own frequencies, as in transformers.
    pub rotated: usize,
    /// The scaling for long contexts.
    pub scaling: RotaryScaling,
}

/// A family's rotary keys besides the nested ones.
#[derive(Clone, Copy, Debug)]
pub(super) enum RotaryKeys {
    /// All coordinates rotate, whatever share the config names.
    Whole {
        /// The base without a key of it.
        base: f64,
    },
    /// GPT-NeoX: a share of the coordinates rotates.
    Partial,
    /// Phi-3: a share of the coordinates, of a head size and an original context that stand beside.
    Phi3,
}

/// The sizes of a model that its rotary embedding depends on.
#[derive(Clone, Copy, Debug)]
pub(super) struct RotarySizes {
    pub(super) head: usize,
    pub(super) max_positions: usize,
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
        let (base_key, default, share) = match keys {
            RotaryKeys::Whole { base } => ("rope_theta", base, 1.0),
            RotaryKeys::Partial => {
                let share = nested.number("partial_rotary_factor")?;
                let share = share.map_or_else(|| fields.positive("rotary_pct", 0.25), Ok)?;
                ("rotary_emb_base", 10_000., share)
            }
            RotaryKeys::Phi3 => {
                let share = nested.number("partial_rotary_factor")?;
                let share = share.map_or_else(|| fields.positive("partial_rotary_factor", 1.0), Ok)?;
                ("rope_theta", 10_000., share)
            }
        };
        let base = nested.number("rope_theta")?.map_or_else(|| fields.positive(base_key, default), Ok)?;
        let beside = fields.number("original_max_position_embeddings")?;
        let beside = match keys {
            RotaryKeys::Phi3 => Some(beside.unwrap_or(4096.)),
            RotaryKeys::Whole { .. } | RotaryKeys::Partial => beside,
        };
        let rotated = (head_size as f64 * share) as usize;
        let names_only_long = matches!(keys, RotaryKeys::Phi3);
        let scaling = scaling(key, nested, nested, beside, rotated, max_positions, names_only_long)?;
        if matches!(keys, RotaryKeys::Whole { .. }) && scaling != RotaryScaling::Default {
            refuse_share(nested)?;
            refuse_share(fields)?;
        }
        Ok(Self { base, rotated, scaling })
    }

    /// Reads the settings of one kind of layer, `full_attention` or `sliding_attention`, where a family keeps them apart:
    /// from the object of that name in `rope_parameters`, over which `rope_scaling` goes for full attention.
    ///
    /// # Errors
    /// As [`Rotary::read`].
    pub(super) fn of_kind(fields: Fields<'_>, kind: &str, base: f64, sizes: RotarySizes) -> Result<Self, ModelError> {
        let all = object(fields, "rope_parameters")?;
        let mut settings = match all.get(kind) {
            None | Some(Value::Null) => Map::new(),
            Some(Value::Object(settings)) => settings.clone(),
            Some(other) => return Err(Fields::wrong(kind, "an object", other)),
        };
        if kind == "full_attention" {
            let scaling = object(fields, "rope_scaling")?;
            // Beside the kind that a class has by itself the older key says nothing in version 5, and everything in version 4.
            if let Some(older) = scaling.get("type").filter(|_| !scaling.contains_key("rope_type")) {
                let expected = "`rope_type` in place of `type`, which transformers 5 reads past here and 4 did not";
                return Err(Fields::wrong("rope_scaling", expected, older));
            }
            settings.extend(scaling);
        }
        let (settings, all) = (Value::Object(settings), Value::Object(all));
        let settings = Fields::new(&settings);
        let base = settings.positive("rope_theta", base)?;
        let scaling =
            scaling("rope_parameters", settings, Fields::new(&all), None, sizes.head, sizes.max_positions, false)?;
        if scaling != RotaryScaling::Default {
            refuse_share(settings)?;
        }
        Ok(Self { base, rotated: sizes.head, scaling })
    }

    /// The most positions that these frequencies hold for; `None` for any number.
    pub(super) fn reach(&self) -> Option<usize> {
        match self.scaling {
            RotaryScaling::Long { original_context, .. } => Some(original_context as usize),
            RotaryScaling::Default
            | RotaryScaling::Linear { .. }
            | RotaryScaling::Llama3 { .. }
            | RotaryScaling::Yarn { .. } => None,
        }
    }

    /// The angles of this embedding.
    pub(super) fn angles(&self) -> Rope {
        let (scaling, magnitude) = match self.scaling.clone() {
            RotaryScaling::Default => (RopeScaling::None, 1.),
            RotaryScaling::Linear { factor } => (RopeScaling::Linear { factor }, 1.),
            RotaryScaling::Llama3 { factor, low_frequency, high_frequency, original_context } => {
                (RopeScaling::Llama3 { factor, low_frequency, high_frequency, original_context }, 1.)
            }
            RotaryScaling::Yarn { factor, fast, slow, original_context, rounded, magnitude } => {
                (RopeScaling::Yarn { factor, fast, slow, original_context, rounded }, magnitude)
            }
            RotaryScaling::Long { factors, magnitude, .. } => (RopeScaling::Divided { factors }, magnitude),
        };
        Rope::new(self.base, self.rotated, Pairing::Halves, &scaling).with_magnitude(magnitude)
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

/// An object of settings, empty without the key.
fn object(fields: Fields<'_>, key: &str) -> Result<Map<String, Value>, ModelError> {
    match fields.value(key) {
        None => Ok(Map::new()),
        Some(Value::Object(settings)) => Ok(settings.clone()),
        Some(other) => Err(Fields::wrong(key, "an object", other)),
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

    fn check(family: &str, settings: &Value, base: f64, rotated: usize, scaling: &RotaryScaling) {
        assert_eq!(
            read(family, settings),
            Ok(Rotary { base, rotated, scaling: scaling.clone() }),
            "{family} {settings}"
        );
    }

    const LINEAR: RotaryScaling = RotaryScaling::Linear { factor: 4.0 };

    #[test]
    fn settings_come_from_where_transformers_has_them() {
        let default = &RotaryScaling::Default;
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
        check("llama", &both, 10_000.0, 8, &LINEAR);
        let beside = json!({ "rope_parameters": nested, "rope_scaling": scaling, "rope_theta": 700.0 });
        check("llama", &beside, 700.0, 8, &LINEAR);
        // An empty one does not.
        let empty = json!({ "rope_parameters": nested, "rope_scaling": {} });
        check("llama", &empty, 500.0, 8, &RotaryScaling::Default);
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
    fn full_and_sliding_layers_have_settings_of_their_own() {
        let both = |settings: Value| {
            let mut source = json!({ "model_type": "gemma3_text", "vocab_size": 96, "hidden_size": 32,
                "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48, "head_dim": 8 });
            source.as_object_mut().unwrap().extend(settings.as_object().unwrap().clone());
            let config = CausalConfig::from_json(source).unwrap();
            (config.rotary.unwrap(), config.local_rotary.unwrap())
        };
        let plain = |base| Rotary { base, rotated: 8, scaling: RotaryScaling::Default };
        assert_eq!(both(json!({})), (plain(1e6), plain(1e4)));
        let older = json!({ "rope_theta": 5e5, "rope_local_base_freq": 1e3, "rope_scaling":
            { "rope_type": "linear", "factor": 4.0 } });
        assert_eq!(both(older), (Rotary { scaling: LINEAR, ..plain(5e5) }, plain(1e3)));
        let newer = json!({ "rope_parameters": {
            "full_attention": { "rope_type": "linear", "factor": 4.0, "rope_theta": 5e5 },
            "sliding_attention": { "rope_type": "default", "rope_theta": 1e3 } } });
        assert_eq!(both(newer), (Rotary { scaling: LINEAR, ..plain(5e5) }, plain(1e3)));
    }

    #[test]
    fn phi_3_rotates_a_share_by_the_factors_of_its_original_context() {
        let factors = json!([1.0, 1.5]);
        let settings = json!({ "partial_rotary_factor": 0.5, "original_max_position_embeddings": 16,
            "rope_scaling": { "type": "su", "short_factor": factors, "long_factor": factors } });
        let rotary = read("phi3", &settings).unwrap();
        // sqrt(1 + ln(64 / 16) / ln 16) = sqrt(1.5)
        let RotaryScaling::Long { factors, magnitude, original_context: 16.0 } = rotary.scaling else {
            panic!("{rotary:?}")
        };
        assert_eq!((rotary.rotated, factors), (4, vec![1.0, 1.5]));
        assert!((magnitude - 1.5_f64.sqrt()).abs() < 1e-12);
    }

    #[test]
    fn what_is_not_built_is_refused_by_name() {
        let linear = json!({ "rope_type": "linear", "factor": 4.0 });
        let table = [
            ("llama", json!({ "rope_scaling": { "type": "axial", "factor": 2.0 } }), "axial"),
            ("llama", json!({ "rope_scaling": { "type": "yarn" } }), "factor"),
            ("phi3", json!({ "rope_scaling": { "type": "linear", "factor": 2.0 } }), "linear"),
            ("gemma3_text", json!({ "rope_scaling": { "type": "linear", "factor": 2.0 } }), "`rope_type`"),
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
        check("gpt_neox", &share, 10_000.0, 4, &LINEAR);
    }
}
