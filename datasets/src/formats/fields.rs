//! Reading the fields of one JSON object, with errors that name the record and the field.
use serde_json::{Map, Value};

use crate::error::DatasetError;
use crate::record::{Message, Origin, Text};

/// The fields of one record.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fields<'a> {
    origin: &'a Origin,
    map: &'a Map<String, Value>,
    /// The name of the object within the record, with a dot behind it; empty for the record itself.
    path: &'a str,
}

impl<'a> Fields<'a> {
    /// The record's own fields.
    pub(crate) fn new(origin: &'a Origin, value: &'a Value) -> Result<Self, DatasetError> {
        match value {
            Value::Object(map) => Ok(Self { origin, map, path: "" }),
            other => Err(wrong(origin, "(the record)", "an object", other)),
        }
    }

    pub(crate) fn origin(&self) -> &'a Origin {
        self.origin
    }

    /// A field that may be absent; `null` counts as absent.
    pub(crate) fn optional(&self, name: &str) -> Option<&'a Value> {
        self.map.get(name).filter(|value| !value.is_null())
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.optional(name).is_some()
    }

    pub(crate) fn required(&self, name: &str) -> Result<&'a Value, DatasetError> {
        self.optional(name).ok_or_else(|| DatasetError::MissingField {
            origin: self.origin.clone(),
            field: format!("{}{name}", self.path),
            found: self.names(),
        })
    }

    /// The names of the fields there are, for messages.
    pub(crate) fn names(&self) -> String {
        let names: Vec<&str> = self.map.iter().filter(|(_, value)| !value.is_null()).map(|(name, _)| &**name).collect();
        if names.is_empty() { "none".to_owned() } else { names.join(", ") }
    }

    /// The fields of an object inside; `path` is its name with a dot, for messages.
    pub(crate) fn object(&self, name: &str, path: &'a str) -> Result<Self, DatasetError> {
        match self.required(name)? {
            Value::Object(map) => Ok(Self { origin: self.origin, map, path }),
            other => Err(self.wrong(name, "an object", other)),
        }
    }

    pub(crate) fn string(&self, name: &str) -> Result<&'a str, DatasetError> {
        let value = self.required(name)?;
        value.as_str().ok_or_else(|| self.wrong(name, "a string", value))
    }

    /// A whole number that is not negative.
    pub(crate) fn count(&self, name: &str) -> Result<u64, DatasetError> {
        let value = self.required(name)?;
        value.as_u64().ok_or_else(|| self.wrong(name, "a whole number", value))
    }

    /// A field that is `true`, or is `false` or absent.
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

    /// A field that is a string or a list of messages.
    pub(crate) fn text(&self, name: &str) -> Result<Text, DatasetError> {
        text(self.origin, &format!("{}{name}", self.path), self.required(name)?)
    }

    /// An answer: a text that is not empty.
    pub(crate) fn answer(&self, name: &str) -> Result<Text, DatasetError> {
        not_blank(self.origin, &format!("{}{name}", self.path), self.text(name)?)
    }

    pub(crate) fn wrong(&self, name: &str, expected: &'static str, got: &Value) -> DatasetError {
        wrong(self.origin, &format!("{}{name}", self.path), expected, got)
    }
}

/// A string as it is, or a list of messages.
pub(crate) fn text(origin: &Origin, field: &str, value: &Value) -> Result<Text, DatasetError> {
    match value {
        Value::String(text) => Ok(Text::Plain(text.clone())),
        Value::Array(messages) => {
            let message = |(at, value)| message(origin, &format!("{field}[{at}]"), value);
            Ok(Text::Chat(messages.iter().enumerate().map(message).collect::<Result<_, _>>()?))
        }
        other => Err(wrong(origin, field, "a string or a list of messages", other)),
    }
}

/// Refuses an answer without text.
pub(crate) fn not_blank(origin: &Origin, field: &str, text: Text) -> Result<Text, DatasetError> {
    if text.is_blank() {
        return Err(DatasetError::EmptyAnswer { origin: origin.clone(), field: field.to_owned() });
    }
    Ok(text)
}

/// The error of a field that is not what it should be.
pub(crate) fn wrong(origin: &Origin, field: &str, expected: &'static str, got: &Value) -> DatasetError {
    DatasetError::WrongType { origin: origin.clone(), field: field.to_owned(), expected, got: describe(got) }
}

/// One message: `role` and `content`, the content a string or a list of text parts.
fn message(origin: &Origin, field: &str, value: &Value) -> Result<Message, DatasetError> {
    let path = format!("{field}.");
    let Value::Object(map) = value else {
        return Err(wrong(origin, field, "a message with `role` and `content`", value));
    };
    let fields = Fields { origin, map, path: &path };
    let role = fields.string("role")?;
    let content = match fields.required("content")? {
        Value::String(content) => content.clone(),
        Value::Array(parts) => parts
            .iter()
            .map(|part| {
                part.get("text").and_then(Value::as_str).ok_or_else(|| fields.wrong("content", "text only", part))
            })
            .collect::<Result<String, _>>()?,
        other => return Err(fields.wrong("content", "a string", other)),
    };
    Ok(Message::new(role, content))
}

/// What a value is, short enough for a message.
fn describe(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::String(text) if text.chars().count() <= 20 => format!("the string {text:?}"),
        Value::String(_) => "a string".to_owned(),
        Value::Array(values) => format!("a list of {}", values.len()),
        Value::Object(_) => "an object".to_owned(),
    }
}
