//! The arguments of a call.
use super::error::{Error, Result};
use super::value::Value;

/// The arguments of a call.
#[derive(Clone, Debug, Default)]
pub(super) struct Arguments {
    pub(super) positional: Vec<Value>,
    pub(super) named: Vec<(String, Value)>,
}

impl Arguments {
    /// Positional arguments only.
    pub(super) fn of(positional: Vec<Value>) -> Self {
        Self { positional, named: Vec::new() }
    }

    pub(super) fn get(&self, name: &str) -> Option<&Value> {
        self.named.iter().find(|(found, _)| found == name).map(|(_, value)| value)
    }

    /// Binds the arguments to these parameter names, in order.
    ///
    /// # Errors
    /// There are too many, an unknown name, or a duplicate.
    pub(super) fn bind<const N: usize>(&self, what: &str, names: [&str; N]) -> Result<[Option<Value>; N]> {
        if self.positional.len() > N {
            return Err(Error::new(format!("{what} takes at most {N} arguments")));
        }
        let mut bound = [const { None }; N];
        for (place, value) in bound.iter_mut().zip(&self.positional) {
            *place = Some(value.clone());
        }
        for (name, value) in &self.named {
            let at = names.iter().position(|known| known == name);
            let at = at.ok_or_else(|| Error::new(format!("{what} takes no argument {name:?}")))?;
            if bound[at].replace(value.clone()).is_some() {
                return Err(Error::new(format!("{what} is given {name:?} twice")));
            }
        }
        Ok(bound)
    }

    /// As [`Arguments::bind`], for functions that take no names.
    pub(super) fn bind_positional<const N: usize>(&self, what: &str) -> Result<[Option<Value>; N]> {
        if let Some((name, _)) = self.named.first() {
            return Err(Error::new(format!("{what} takes no argument {name:?}")));
        }
        self.bind(what, [""; N])
    }
}

/// A required argument.
///
/// # Errors
/// It is missing.
pub(super) fn required(value: Option<Value>, what: &str) -> Result<Value> {
    value.ok_or_else(|| Error::new(format!("{what} lacks an argument")))
}

/// A string argument.
///
/// # Errors
/// It is not a string.
pub(super) fn text<'v>(value: &'v Value, what: &str) -> Result<&'v str> {
    match value {
        Value::Text(text) => Ok(text),
        Value::Undefined(why) => Err(Error::new(&**why)),
        other => Err(Error::new(format!("{what} takes a str, not a {}", other.type_name()))),
    }
}

/// An int argument.
///
/// # Errors
/// It is not an int.
pub(super) fn int(value: &Value, what: &str) -> Result<i128> {
    match value {
        Value::Undefined(why) => Err(Error::new(&**why)),
        other => other.as_int().ok_or_else(|| Error::new(format!("{what} takes an int, not a {}", other.type_name()))),
    }
}
