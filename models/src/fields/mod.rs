//! Typed reads from a `config.json`, each error naming its key; and tables of the handling of every field.

pub(crate) mod declared;
mod nearest;
pub(crate) mod table;

use serde_json::Value;

use crate::ModelError;
pub(crate) use nearest::{nearest, nearest_first};

/// A view of a JSON object with typed reads; a key that is absent and one that is null mean the same.
#[derive(Clone, Copy)]
pub(crate) struct Fields<'a> {
    source: &'a Value,
}

impl<'a> Fields<'a> {
    pub(crate) fn new(source: &'a Value) -> Self {
        Self { source }
    }

    pub(crate) fn value(self, key: &str) -> Option<&'a Value> {
        self.source.get(key).filter(|value| !value.is_null())
    }

    pub(crate) fn wrong(key: &str, expected: &str, found: &Value) -> ModelError {
        ModelError::config(key, format!("must be {expected}, not {found}"))
    }

    pub(crate) fn text(self, key: &str) -> Result<Option<String>, ModelError> {
        let Some(value) = self.value(key) else { return Ok(None) };
        value.as_str().map(|text| Some(text.to_owned())).ok_or_else(|| Self::wrong(key, "text", value))
    }

    pub(crate) fn required_text(self, key: &str) -> Result<String, ModelError> {
        self.text(key)?.ok_or_else(|| ModelError::config(key, "is missing"))
    }

    /// A positive integer of at most 32 bits, the largest size of a model.
    pub(crate) fn size(self, key: &str) -> Result<Option<usize>, ModelError> {
        let Some(value) = self.value(key) else { return Ok(None) };
        match value.as_u64().filter(|size| (1..=u64::from(u32::MAX)).contains(size)) {
            Some(size) => Ok(Some(size as usize)),
            None => Err(Self::wrong(key, "a positive whole number below 2^32", value)),
        }
    }

    /// A non-negative integer.
    pub(crate) fn count(self, key: &str) -> Result<Option<usize>, ModelError> {
        let Some(value) = self.value(key) else { return Ok(None) };
        match value.as_u64().filter(|count| u32::try_from(*count).is_ok()) {
            Some(count) => Ok(Some(count as usize)),
            None => Err(Self::wrong(key, "a whole number below 2^32", value)),
        }
    }

    /// A list of texts.
    pub(crate) fn texts(self, key: &str) -> Result<Option<Vec<String>>, ModelError> {
        let Some(value) = self.value(key) else { return Ok(None) };
        let texts = value.as_array().and_then(|list| list.iter().map(|text| Some(text.as_str()?.to_owned())).collect());
        texts.map(Some).ok_or_else(|| Self::wrong(key, "a list of texts", value))
    }

    /// Whether the key is present and null, where that differs from absent.
    pub(crate) fn is_null(self, key: &str) -> bool {
        self.source.get(key).is_some_and(Value::is_null)
    }

    pub(crate) fn required_size(self, key: &str) -> Result<usize, ModelError> {
        self.size(key)?.ok_or_else(|| ModelError::config(key, "is missing"))
    }

    pub(crate) fn flag(self, key: &str, default: bool) -> Result<bool, ModelError> {
        let Some(value) = self.value(key) else { return Ok(default) };
        value.as_bool().ok_or_else(|| Self::wrong(key, "true or false", value))
    }

    pub(crate) fn positive(self, key: &str, default: f64) -> Result<f64, ModelError> {
        Ok(self.number(key)?.unwrap_or(default))
    }

    pub(crate) fn number(self, key: &str) -> Result<Option<f64>, ModelError> {
        let Some(value) = self.value(key) else { return Ok(None) };
        match value.as_f64().filter(|number| *number > 0. && number.is_finite()) {
            Some(number) => Ok(Some(number)),
            None => Err(Self::wrong(key, "a positive number", value)),
        }
    }

    /// A list of truth values, which may be written as 0 and 1.
    pub(crate) fn flags(self, key: &str) -> Result<Option<Vec<bool>>, ModelError> {
        let Some(value) = self.value(key) else { return Ok(None) };
        let flag = |value: &Value| value.as_bool().or_else(|| value.as_i64().map(|number| number != 0));
        let flags = value.as_array().and_then(|list| list.iter().map(flag).collect());
        flags.map(Some).ok_or_else(|| Self::wrong(key, "a list of truth values", value))
    }

    /// A list of positive numbers.
    pub(crate) fn numbers(self, key: &str) -> Result<Option<Vec<f64>>, ModelError> {
        let Some(value) = self.value(key) else { return Ok(None) };
        let positive = |value: &Value| value.as_f64().filter(|number| *number > 0. && number.is_finite());
        let numbers = value.as_array().and_then(|list| list.iter().map(positive).collect());
        numbers.map(Some).ok_or_else(|| Self::wrong(key, "a list of positive numbers", value))
    }

    /// A positive number, `default` if the key is absent; null means none.
    pub(crate) fn number_or_null(self, key: &str, default: Option<f64>) -> Result<Option<f64>, ModelError> {
        if self.is_null(key) { Ok(None) } else { Ok(self.number(key)?.or(default)) }
    }

    pub(crate) fn required_number(self, key: &str) -> Result<f64, ModelError> {
        self.number(key)?.ok_or_else(|| ModelError::config(key, "is missing"))
    }

    /// A token id, `default` if the key is absent; null means no token.
    pub(crate) fn token(self, key: &str, default: Option<u32>) -> Result<Option<u32>, ModelError> {
        Ok(self.tokens(key, default)?.first().copied())
    }

    /// One token or a list of them.
    pub(crate) fn tokens(self, key: &str, default: Option<u32>) -> Result<Vec<u32>, ModelError> {
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
}
