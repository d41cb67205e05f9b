//! Global functions.
use std::cell::{Cell, RefCell};
use std::rc::Rc;

use super::arguments::{self, Arguments, required};
use super::attributes::span;
use super::error::{Error, Result};
use super::interpreter::check_attribute;
use super::objects::{Cycler, Function, Object};
use super::text::to_text;
use super::value::{Dict, Range, Value};
use crate::chat::Date;

/// Maximum length of a range in Jinja's sandbox.
const LONGEST: usize = 100_000;

/// Calls a function.
///
/// # Errors
/// The function rejects its arguments, or is `raise_exception`.
pub(super) fn call(function: Function, arguments: &Arguments, today: Date) -> Result<Value> {
    match function {
        Function::Range => range(arguments),
        Function::Dict => dict(arguments).map(|dict| Value::Dict(Rc::new(dict))),
        Function::Namespace => {
            let names = dict(arguments)?;
            for (name, _) in names.entries() {
                check_attribute(name.as_text().unwrap_or_default())?;
            }
            Ok(object(Object::Namespace(RefCell::new(names))))
        }
        Function::Cycler if !arguments.named.is_empty() => Err(Error::new("cycler takes no names")),
        Function::Cycler if arguments.positional.is_empty() => Err(Error::new("cycler has nothing to cycle through")),
        Function::Cycler => {
            Ok(object(Object::Cycler(Cycler { items: arguments.positional.clone().into(), at: Cell::new(0) })))
        }
        Function::Joiner => {
            let [separator] = arguments.bind("joiner", ["sep"])?;
            let separator = separator.unwrap_or_else(|| Value::from(", "));
            Ok(object(Object::Joiner { separator, is_used: Cell::new(false) }))
        }
        Function::RaiseException => {
            let [message] = arguments.bind("raise_exception", ["message"])?;
            Err(Error::new(to_text(&required(message, "raise_exception")?)?))
        }
        Function::StrftimeNow => {
            let [format] = arguments.bind("strftime_now", ["format"])?;
            let format = required(format, "strftime_now")?;
            today.format(arguments::text(&format, "strftime_now")?).map(Value::from).map_err(Error::new)
        }
    }
}

fn object(object: Object) -> Value {
    Value::Object(Rc::new(object))
}

fn range(arguments: &Arguments) -> Result<Value> {
    let [first, second, step] = arguments.bind_positional("range")?;
    let int = |value: Value| arguments::int(&value, "range");
    let first = int(required(first, "range")?)?;
    let (start, end) = match second {
        Some(end) => (first, int(end)?),
        None => (0, first),
    };
    let step = step.map_or(Ok(1), int)?;
    if step == 0 {
        return Err(Error::new("the step of a range can't be zero"));
    }
    let length = span(start, end, step);
    if length > LONGEST {
        return Err(Error::new(format!("a range in a template has at most {LONGEST} items, not {length}")));
    }
    Ok(Value::Range(Rc::new(Range { start, end, step, length })))
}

/// `dict(..)`: from a dict or pairs, and names.
fn dict(arguments: &Arguments) -> Result<Dict> {
    let mut dict = Dict::default();
    if arguments.positional.len() > 1 {
        return Err(Error::new("dict takes at most one argument without a name"));
    }
    match arguments.positional.first() {
        None => {}
        Some(Value::Dict(other)) => dict = (**other).clone(),
        Some(Value::Undefined(why)) => return Err(Error::new(&**why)),
        Some(pairs) => {
            for pair in pairs.iterate()? {
                let [key, value] = <[Value; 2]>::try_from(pair.iterate()?)
                    .map_err(|_| Error::new("dict takes pairs of a key and a value"))?;
                dict.insert(key, value)?;
            }
        }
    }
    for (name, value) in &arguments.named {
        dict.insert(Value::from(&**name), value.clone())?;
    }
    Ok(dict)
}

/// Keyword arguments as a dict.
///
/// # Errors
/// Never, because names are strings.
pub(super) fn named(arguments: &Arguments) -> Result<Value> {
    let arguments = Arguments { positional: Vec::new(), named: arguments.named.clone() };
    dict(&arguments).map(|dict| Value::Dict(Rc::new(dict)))
}

/// `dict.fromkeys(..)`.
///
/// # Errors
/// A key is not hashable.
pub(super) fn from_keys(arguments: &Arguments) -> Result<Value> {
    let [keys, value] = arguments.bind_positional("dict.fromkeys")?;
    let value = value.unwrap_or(Value::None);
    let mut dict = Dict::default();
    for key in required(keys, "dict.fromkeys")?.iterate()? {
        dict.insert(key, value.clone())?;
    }
    Ok(Value::Dict(Rc::new(dict)))
}
