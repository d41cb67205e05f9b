//! Whole numbers of more than 64 bits: Python reads all their digits, `serde_json` makes floats of them.
//!
//! One that a chat template may see stands as an object with a name that no file has, until the template is told it.
use serde_json::{Map, Value};

/// The name in such an object.
const NAME: &str = "\0whole";

/// How many digits such a number has at least.
pub(crate) const SHORTEST: usize = 19;

/// The number as an object.
pub(crate) fn marked(digits: &str) -> Value {
    Value::Object(Map::from_iter([(NAME.to_owned(), Value::from(digits))]))
}

/// The digits of the number that an object stands for, if it does.
pub(crate) fn digits(value: &Value) -> Option<&str> {
    value.as_object().filter(|map| map.len() == 1)?.get(NAME)?.as_str()
}

/// Makes floats of such numbers among the fields of a record: only what lies deeper gets into a template.
pub(crate) fn round_fields(record: &mut Value) {
    for value in record.as_object_mut().into_iter().flat_map(Map::values_mut) {
        if let Some(number) = digits(value).and_then(|digits| digits.parse::<f64>().ok()) {
            *value = number.into();
        }
    }
}
