//! Classes by name, for a denoiser that is told a class instead of a text.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::ModelError;
use crate::fields::nearest;

/// Names that are shown for one that is unknown.
const SHOWN: usize = 3;

/// The classes of a model: their count, and the names that a pipeline gives them (`id2label`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassNames {
    n: usize,
    names: BTreeMap<String, u32>,
}

impl ClassNames {
    /// Reads the names of `n` classes: an object of numbers, as text, and names with commas between; null has none. A name
    /// of several classes is the last one's, as in diffusers.
    ///
    /// # Errors
    /// Another value, a number that is none of a class.
    pub fn new(n: usize, id2label: &Value) -> Result<Self, ModelError> {
        let wrong = |reason: String| ModelError::config("id2label", reason);
        let entries = match id2label {
            Value::Null => return Ok(Self { n, names: BTreeMap::new() }),
            Value::Object(entries) => entries,
            other => return Err(wrong(format!("must be an object of class numbers and names, not {other}"))),
        };
        let mut by_number = BTreeMap::new();
        for (key, value) in entries {
            let number = key.parse().ok().filter(|number: &u32| (*number as usize) < n);
            let number = number.ok_or_else(|| wrong(format!("`{key}` is no class; there are {n}, from 0")))?;
            let text = value.as_str().ok_or_else(|| wrong(format!("class {key} must have text, not {value}")))?;
            by_number.insert(number, text);
        }
        let of_class = |(number, text): (u32, &str)| {
            text.split(',').map(|name| (name.trim().to_owned(), number)).collect::<Vec<_>>()
        };
        Ok(Self { n, names: by_number.into_iter().flat_map(of_class).collect() })
    }

    /// The number of a class that is given by name or number; an empty text is no class, the number after the last.
    ///
    /// # Errors
    /// A text that is neither; it is named with the nearest names.
    pub fn class(&self, text: &str) -> Result<u32, ModelError> {
        let text = text.trim();
        if text.is_empty() {
            return Ok(self.n as u32);
        }
        if let Some(class) = self.names.get(text) {
            return Ok(*class);
        }
        if let Some(class) = text.parse().ok().filter(|class: &u32| (*class as usize) < self.n) {
            return Ok(class);
        }
        let names: Vec<&str> = self.names.keys().map(String::as_str).collect();
        let near = nearest(text, &names, SHOWN);
        let or = match (names.is_empty(), near.is_empty()) {
            (true, _) => " (the model names no classes)".to_owned(),
            (false, true) => ", or a name from the model's id2label".to_owned(),
            (false, false) => format!(", or a name from the model's id2label, such as {}", near.join(", ")),
        };
        let expected = format!("a number from 0 to {}{or}", self.n.saturating_sub(1));
        Err(ModelError::Argument { what: "a class".to_owned(), expected, got: format!("`{text}`") })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn classes_are_found_by_name_and_by_number() {
        let names = json!({"0": "tench, Tinca tinca", "2": "cock", "10": "brambling", "1": "cock , goldfish"});
        let classes = ClassNames::new(11, &names).unwrap();
        for (text, expected) in
            [("tench", 0), ("Tinca tinca", 0), (" cock ", 2), ("goldfish", 1), ("10", 10), ("3", 3), ("", 11)]
        {
            assert_eq!(classes.class(text).unwrap(), expected, "{text}");
        }
        let refused = |text: &str| classes.class(text).unwrap_err().to_string();
        assert!(
            refused("goldfis").contains("a number from 0 to 10, or a name from the model's id2label, such as goldfish")
        );
        assert!(refused("11").contains("got `11`"));
        let none = ClassNames::new(3, &json!(null)).unwrap();
        assert_eq!(none.class("2").unwrap(), 2);
        assert!(none.class("cock").unwrap_err().to_string().contains("the model names no classes"));
        for wrong in [json!({"11": "x"}), json!({"x": "y"}), json!({"1": 2}), json!([1])] {
            assert!(ClassNames::new(11, &wrong).unwrap_err().to_string().contains("id2label"), "{wrong}");
        }
    }
}
