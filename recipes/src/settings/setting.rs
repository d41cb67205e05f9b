//! The types that settings have.
use serde::{Deserialize, Serialize};
use toml::Value;

use super::Kind;

/// A type that settings have.
pub trait Setting: Sized {
    /// The type of the value.
    const KIND: Kind;
    /// The type that readers get.
    type Read<'a>
    where
        Self: 'a;

    /// The value as code reads it.
    fn read(&self) -> Self::Read<'_>;

    /// The value in a config file; nothing where there is none.
    fn to_value(&self) -> Option<Value>;

    /// The value that a config file has; nothing where it does not fit.
    fn from_value(value: &Value) -> Option<Self>;
}

/// Makes a type that is copied a setting.
macro_rules! copied {
    ($($type:ty: $kind:ident, |$value:ident| $to:expr, |$from:ident| $back:expr;)+) => {$(
        impl Setting for $type {
            const KIND: Kind = Kind::$kind;
            type Read<'a> = Self;

            fn read(&self) -> Self {
                *self
            }

            fn to_value(&self) -> Option<Value> {
                let $value = *self;
                Some($to)
            }

            fn from_value($from: &Value) -> Option<Self> {
                $back
            }
        }
    )+};
}

copied! {
    usize: Count, |n| Value::Integer(n as i64), |value| value.as_integer().and_then(|n| Self::try_from(n).ok());
    u64: Count, |n| Value::Integer(n as i64), |value| value.as_integer().and_then(|n| Self::try_from(n).ok());
    f64: Number, |x| Value::Float(x), |value| value.as_float();
    bool: Switch, |on| Value::Boolean(on), |value| value.as_bool();
}

impl Setting for String {
    const KIND: Kind = Kind::Text;
    type Read<'a> = &'a str;

    fn read(&self) -> &str {
        self
    }

    fn to_value(&self) -> Option<Value> {
        Some(Value::String(self.clone()))
    }

    fn from_value(value: &Value) -> Option<Self> {
        value.as_str().map(str::to_owned)
    }
}

impl Setting for Vec<String> {
    const KIND: Kind = Kind::List;
    type Read<'a> = &'a [String];

    fn read(&self) -> &[String] {
        self
    }

    fn to_value(&self) -> Option<Value> {
        let words = || self.iter().map(|word| Value::String(word.clone())).collect();
        (!self.is_empty()).then(|| Value::Array(words()))
    }

    fn from_value(value: &Value) -> Option<Self> {
        value.as_array()?.iter().map(|word| word.as_str().map(str::to_owned)).collect()
    }
}

/// Texts that may have commas in them: a flag is given once for each.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Texts(pub Vec<String>);

impl Setting for Texts {
    const KIND: Kind = Kind::Texts;
    type Read<'a> = &'a [String];

    fn read(&self) -> &[String] {
        &self.0
    }

    fn to_value(&self) -> Option<Value> {
        self.0.to_value()
    }

    fn from_value(value: &Value) -> Option<Self> {
        Vec::from_value(value).map(Self)
    }
}

impl<T: Setting> Setting for Option<T> {
    const KIND: Kind = T::KIND;
    type Read<'a>
        = Option<T::Read<'a>>
    where
        Self: 'a;

    fn read(&self) -> Self::Read<'_> {
        self.as_ref().map(T::read)
    }

    fn to_value(&self) -> Option<Value> {
        self.as_ref().and_then(T::to_value)
    }

    fn from_value(value: &Value) -> Option<Self> {
        // An empty text names nothing.
        if value.as_str() == Some("") { Some(None) } else { T::from_value(value).map(Some) }
    }
}
