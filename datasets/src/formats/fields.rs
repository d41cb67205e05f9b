//! Typed access to the fields of a JSON object, with errors that name the record and the field.
use std::cell::RefCell;
use std::collections::BTreeSet;

use serde_json::{Map, Value};

use crate::error::DatasetError;
use crate::record::{Origin, Text};

/// The fields of one JSON object.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fields<'a> {
    origin: &'a Origin,
    map: &'a Map<String, Value>,
    /// The object's path within the record, ending in a dot; empty for the record itself.
    path: &'a str,
    /// Records the requested fields, if given.
    seen: Option<&'a Seen>,
}

/// Whether a value is empty: null, blank, or nothing but empty values.
pub(super) fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => matches!(text.trim(), "" | "[]"),
        Value::Array(values) => values.iter().all(is_empty),
        Value::Object(map) => map.values().all(is_empty),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

/// The fields of a record that a format has requested.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    read: RefCell<BTreeSet<String>>,
    passed_over: RefCell<BTreeSet<String>>,
}

impl Seen {
    /// Records a nested field as not read.
    pub(crate) fn pass_over(&self, name: String) {
        self.passed_over.borrow_mut().insert(name);
    }

    fn has(&self, name: &str) -> bool {
        self.read.borrow().contains(name)
    }
}

impl<'a> Fields<'a> {
    /// The record's own fields.
    pub(crate) fn new(origin: &'a Origin, value: &'a Value) -> Result<Self, DatasetError> {
        match value {
            Value::Object(map) => Ok(Self { origin, map, path: "", seen: None }),
            other => Err(wrong(origin, "(the record)", "an object", other)),
        }
    }

    /// The record's own fields; requests are recorded.
    pub(crate) fn noting(origin: &'a Origin, value: &'a Value, seen: &'a Seen) -> Result<Self, DatasetError> {
        Ok(Self { seen: Some(seen), ..Self::new(origin, value)? })
    }

    /// The fields of a nested object at `path`, which ends in a dot.
    pub(crate) fn inside(origin: &'a Origin, map: &'a Map<String, Value>, path: &'a str) -> Self {
        Self { origin, map, path, seen: None }
    }

    /// The non-empty fields that were not requested; for partly read objects, their fields.
    pub(crate) fn not_read(&self) -> BTreeSet<String> {
        let Some(seen) = self.seen else { return BTreeSet::new() };
        let mut names = seen.passed_over.borrow().clone();
        for (name, value) in self.map.iter().filter(|(_, value)| !value.is_null()) {
            let inside = format!("{name}.");
            let is_opened = seen.read.borrow().iter().any(|read| read.starts_with(&inside));
            match value {
                Value::Object(map) if is_opened => names.extend(
                    map.iter()
                        .filter(|(_, value)| !value.is_null())
                        .map(|(field, _)| format!("{inside}{field}"))
                        .filter(|field| !seen.has(field)),
                ),
                _ if !seen.has(name) => _ = names.insert(name.clone()),
                _ => {}
            }
        }
        names
    }

    /// Whether a field was requested.
    pub(crate) fn is_read(&self, name: &str) -> bool {
        self.seen.is_some_and(|seen| seen.has(&format!("{}{name}", self.path)))
    }

    pub(crate) fn seen(&self) -> Option<&'a Seen> {
        self.seen
    }

    pub(crate) fn origin(&self) -> &'a Origin {
        self.origin
    }

    /// An optional field; `null` counts as absent.
    pub(crate) fn optional(&self, name: &str) -> Option<&'a Value> {
        let value = self.peek(name)?;
        if let Some(seen) = self.seen {
            seen.read.borrow_mut().insert(format!("{}{name}", self.path));
        }
        Some(value)
    }

    /// An optional field, inspected without counting as read.
    pub(crate) fn peek(&self, name: &str) -> Option<&'a Value> {
        self.map.get(name).filter(|value| !value.is_null())
    }

    /// Whether a field exists and is `null`.
    pub(crate) fn is_null(&self, name: &str) -> bool {
        self.map.get(name).is_some_and(Value::is_null)
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.peek(name).is_some()
    }

    pub(crate) fn required(&self, name: &str) -> Result<&'a Value, DatasetError> {
        if self.is_null(name) {
            return Err(self.refused(name, "is null"));
        }
        self.optional(name).ok_or_else(|| DatasetError::MissingField {
            origin: self.origin.clone(),
            field: self.full_name(name),
            found: self.names(),
        })
    }

    /// The names of the fields, for messages.
    pub(crate) fn names(&self) -> String {
        let names: Vec<&str> = self.map.iter().filter(|(_, value)| !value.is_null()).map(|(name, _)| &**name).collect();
        if names.is_empty() { "none".to_owned() } else { names.join(", ") }
    }

    /// The fields of a nested object; `path` is its name with a dot, for messages.
    pub(crate) fn object(&self, name: &str, path: &'a str) -> Result<Self, DatasetError> {
        match self.required(name)? {
            Value::Object(map) => Ok(Self { map, path, ..*self }),
            other => Err(self.wrong(name, "an object", other)),
        }
    }

    pub(crate) fn string(&self, name: &str) -> Result<&'a str, DatasetError> {
        let value = self.required(name)?;
        value.as_str().ok_or_else(|| self.wrong(name, "a string", value))
    }

    /// A non-negative integer.
    pub(crate) fn count(&self, name: &str) -> Result<u64, DatasetError> {
        let value = self.required(name)?;
        value.as_u64().ok_or_else(|| self.wrong(name, "a whole number", value))
    }

    /// A boolean field; absent means `false`.
    pub(crate) fn switch(&self, name: &str) -> Result<bool, DatasetError> {
        match self.optional(name) {
            None => Ok(false),
            Some(Value::Bool(is_on)) => Ok(*is_on),
            Some(other) => Err(self.wrong(name, "true or false", other)),
        }
    }

    pub(crate) fn array(&self, name: &str) -> Result<&'a Vec<Value>, DatasetError> {
        let value = self.required(name)?;
        value.as_array().ok_or_else(|| self.wrong(name, "a list", value))
    }

    /// A field's name with its path within the record.
    pub(super) fn full_name(&self, name: &str) -> String {
        format!("{}{name}", self.path)
    }

    /// The error of a field that can be neither ignored nor used; `message` ends a sentence about it.
    pub(crate) fn refused(&self, name: &str, message: impl Into<String>) -> DatasetError {
        DatasetError::Column { origin: self.origin.clone(), field: self.full_name(name), message: message.into() }
    }

    pub(crate) fn wrong(&self, name: &str, expected: &'static str, got: &Value) -> DatasetError {
        wrong(self.origin, &self.full_name(name), expected, got)
    }
}

/// Refuses an empty answer.
pub(crate) fn not_blank(origin: &Origin, field: &str, text: Text) -> Result<Text, DatasetError> {
    if text.is_blank() {
        return Err(DatasetError::EmptyAnswer { origin: origin.clone(), field: field.to_owned() });
    }
    Ok(text)
}

/// The error of a field with a wrong type or value.
pub(crate) fn wrong(origin: &Origin, field: &str, expected: &'static str, got: &Value) -> DatasetError {
    DatasetError::WrongType { origin: origin.clone(), field: field.to_owned(), expected, got: describe(got) }
}

/// Describes a value briefly, for messages.
pub(super) fn describe(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::String(text) if text.chars().count() <= 20 => format!("the string {text:?}"),
        Value::String(_) => "a string".to_owned(),
        Value::Array(values) => format!("a list of {}", values.len()),
        Value::Object(_) => "an object".to_owned(),
    }
}
