//! Typed reads from a `config.json`, each error naming its key.

use serde_json::Value;

use super::config::{Rotary, RotaryScaling};
use crate::PolicyError;

/// A view of a JSON object with typed reads; a key that is absent and one that is null mean the same.
#[derive(Clone, Copy)]
pub(crate) struct Fields<'a> {
    source: &'a Value,
}

impl<'a> Fields<'a> {
    pub(crate) fn new(source: &'a Value) -> Self {
        Self { source }
    }

    fn value(self, key: &str) -> Option<&'a Value> {
        self.source.get(key).filter(|value| !value.is_null())
    }

    fn wrong(key: &str, expected: &str, found: &Value) -> PolicyError {
        PolicyError::config(key, format!("must be {expected}, not {found}"))
    }

    pub(crate) fn text(self, key: &str) -> Result<Option<String>, PolicyError> {
        let Some(value) = self.value(key) else { return Ok(None) };
        value.as_str().map(|text| Some(text.to_owned())).ok_or_else(|| Self::wrong(key, "text", value))
    }

    pub(crate) fn required_text(self, key: &str) -> Result<String, PolicyError> {
        self.text(key)?.ok_or_else(|| PolicyError::config(key, "is missing"))
    }

    /// A positive whole number that fits 32 bits, the most any size of a model can be.
    pub(crate) fn size(self, key: &str) -> Result<Option<usize>, PolicyError> {
        let Some(value) = self.value(key) else { return Ok(None) };
        match value.as_u64().filter(|size| (1..=u64::from(u32::MAX)).contains(size)) {
            Some(size) => Ok(Some(size as usize)),
            None => Err(Self::wrong(key, "a positive whole number below 2^32", value)),
        }
    }

    pub(crate) fn required_size(self, key: &str) -> Result<usize, PolicyError> {
        self.size(key)?.ok_or_else(|| PolicyError::config(key, "is missing"))
    }

    pub(crate) fn flag(self, key: &str, default: bool) -> Result<bool, PolicyError> {
        let Some(value) = self.value(key) else { return Ok(default) };
        value.as_bool().ok_or_else(|| Self::wrong(key, "true or false", value))
    }

    pub(crate) fn positive(self, key: &str, default: f64) -> Result<f64, PolicyError> {
        Ok(self.number(key)?.unwrap_or(default))
    }

    fn number(self, key: &str) -> Result<Option<f64>, PolicyError> {
        let Some(value) = self.value(key) else { return Ok(None) };
        match value.as_f64().filter(|number| *number > 0. && number.is_finite()) {
            Some(number) => Ok(Some(number)),
            None => Err(Self::wrong(key, "a positive number", value)),
        }
    }

    fn required_number(self, key: &str) -> Result<f64, PolicyError> {
        self.number(key)?.ok_or_else(|| PolicyError::config(key, "is missing"))
    }

    /// A token, `default` where the key is absent; a key that is null means there is none.
    pub(crate) fn token(self, key: &str, default: Option<u32>) -> Result<Option<u32>, PolicyError> {
        Ok(self.tokens(key, default)?.first().copied())
    }

    /// One token or a list of them.
    pub(crate) fn tokens(self, key: &str, default: Option<u32>) -> Result<Vec<u32>, PolicyError> {
        let one = |value: &Value| {
            let token = value.as_u64().and_then(|token| u32::try_from(token).ok());
            token.ok_or_else(|| Self::wrong(key, "a token or a list of tokens", value))
        };
        match self.source.get(key) {
            None => Ok(default.into_iter().collect()),
            Some(Value::Null) => Ok(Vec::new()),
            Some(Value::Array(list)) => list.iter().map(one).collect(),
            Some(value) => Ok(vec![one(value)?]),
        }
    }

    /// Fails where `key` has the value of a variant that is not built.
    pub(crate) fn refuse(self, key: &str, value: &Value, variant: &str) -> Result<(), PolicyError> {
        if self.source.get(key) == Some(value) {
            return Err(PolicyError::config(key, format!("{variant} is not supported")));
        }
        Ok(())
    }

    /// The rotary settings, in transformers 5's spelling (`rope_parameters`) or the older ones.
    pub(crate) fn rotary(self, head_size: usize, base_key: &str, factor: f64) -> Result<Rotary, PolicyError> {
        let nested_key = if self.value("rope_parameters").is_some() { "rope_parameters" } else { "rope_scaling" };
        let nested = self.value(nested_key).unwrap_or(&Value::Null);
        if !nested.is_null() && !nested.is_object() {
            return Err(Self::wrong(nested_key, "an object", nested));
        }
        let nested = Fields::new(nested);
        let first = |places: [(Fields<'a>, &str); 3]| {
            for (fields, key) in places {
                if let Some(number) = fields.number(key)? {
                    return Ok(Some(number));
                }
            }
            Ok::<_, PolicyError>(None)
        };
        let base = first([(nested, "rope_theta"), (self, base_key), (self, "rope_theta")])?;
        let partial =
            first([(nested, "partial_rotary_factor"), (self, "rotary_pct"), (self, "partial_rotary_factor")])?;
        Ok(Rotary {
            base: base.unwrap_or(10_000.),
            rotated: (head_size as f64 * partial.unwrap_or(factor)) as usize,
            scaling: nested.rotary_scaling(nested_key)?,
        })
    }

    fn rotary_scaling(self, key: &str) -> Result<RotaryScaling, PolicyError> {
        let kind = match self.text("rope_type")? {
            Some(kind) => kind,
            None => self.text("type")?.unwrap_or_else(|| "default".to_owned()),
        };
        match kind.as_str() {
            "default" => Ok(RotaryScaling::Default),
            "linear" => Ok(RotaryScaling::Linear { factor: self.required_number("factor")? }),
            "llama3" => Ok(RotaryScaling::Llama3 {
                factor: self.required_number("factor")?,
                low_frequency: self.required_number("low_freq_factor")?,
                high_frequency: self.required_number("high_freq_factor")?,
                original_context: self.required_number("original_max_position_embeddings")?,
            }),
            other => {
                let reason = format!("rotary scaling `{other}` is not supported; supported: default, linear, llama3");
                Err(PolicyError::config(key, reason))
            }
        }
    }
}
