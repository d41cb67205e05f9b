//! Integers of more than 64 bits: Python keeps all digits, `serde_json` converts them to floats.
//!
//! An integer that a chat template may read is kept as an object under a reserved key until rendering.
use serde_json::{Map, Value};

/// The reserved key.
const NAME: &str = "\0whole";

/// Minimum number of digits of such an integer.
pub(crate) const SHORTEST: usize = 19;

/// Wraps the digits in an object.
pub(crate) fn marked(digits: &str) -> Value {
    Value::Object(Map::from_iter([(NAME.to_owned(), Value::from(digits))]))
}

/// The digits in such an object; `None` for other values.
pub(crate) fn digits(value: &Value) -> Option<&str> {
    value.as_object().filter(|map| map.len() == 1)?.get(NAME)?.as_str()
}

/// Converts such integers in top-level fields to floats: only nested ones reach a template.
pub(crate) fn round_fields(record: &mut Value) {
    for value in record.as_object_mut().into_iter().flat_map(Map::values_mut) {
        if let Some(number) = digits(value).and_then(|digits| digits.parse::<f64>().ok()) {
            *value = number.into();
        }
    }
}
