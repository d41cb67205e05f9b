//! `value.name`, `value[index]` and slices, by the rules of Jinja's sandbox.
use std::rc::Rc;

use super::error::{Error, Result};
use super::interpreter::Interpreter;
use super::method_support::MethodSupport;
use super::methods;
use super::objects::{Cycler, Function, Object};
use super::value::{Range, Value};

impl Interpreter<'_> {
    /// `value.name`: an attribute, otherwise an item.
    ///
    /// # Errors
    /// The value is undefined, or the attribute exists in Python but is not supported.
    pub(super) fn attribute(&self, value: &Value, name: &str) -> Result<Value> {
        if let Some(found) = self.attribute_only(value, name)? {
            return Ok(found);
        }
        let item = match value {
            Value::Dict(dict) => dict.get_text(name).cloned(),
            _ => None,
        };
        Ok(item.unwrap_or_else(|| missing(value, name)))
    }

    /// An attribute only.
    pub(super) fn attribute_only(&self, value: &Value, name: &str) -> Result<Option<Value>> {
        if let Value::Undefined(why) = value {
            return Err(Error::new(&**why));
        }
        if name.starts_with("__") && name.ends_with("__") && name.len() > 4 {
            return Ok(Some(unsafe_attribute(value, name)));
        }
        match (value, name) {
            (Value::Object(object), _) => self.object_attribute(object, name),
            (Value::Group(items), "grouper") => Ok(Some(items[0].clone())),
            (Value::Group(items), "list") => Ok(Some(items[1].clone())),
            (Value::Range(range), "start") => Ok(Some(Value::Int(range.start))),
            (Value::Range(range), "stop") => Ok(Some(Value::Int(range.end))),
            (Value::Range(range), "step") => Ok(Some(Value::Int(range.step))),
            _ => match methods::find(value, name) {
                None => Ok(None),
                Some((name, MethodSupport::Method)) => {
                    Ok(Some(Value::Object(Rc::new(Object::Method(value.clone(), name)))))
                }
                Some((_, MethodSupport::Mutator)) => Ok(Some(unsafe_attribute(value, name))),
                Some((_, MethodSupport::Unsupported)) => {
                    let kind = value.type_name();
                    Err(Error::new(format!("{kind}.{name} is not supported in chat templates")))
                }
            },
        }
    }

    fn object_attribute(&self, object: &Rc<Object>, name: &str) -> Result<Option<Value>> {
        let method = |name| Some(Value::Object(Rc::new(Object::Method(Value::Object(Rc::clone(object)), name))));
        Ok(match (&**object, name) {
            (Object::Loop(looped), _) => self.loop_attribute(object, looped, name)?,
            (Object::Namespace(names), _) => names.borrow().get_text(name).cloned(),
            (Object::Function(Function::Dict), "fromkeys") => Some(Value::Object(Rc::new(Object::FromKeys))),
            (Object::Cycler(cycler), "current") => Some(cycler.current()),
            (Object::Cycler(cycler), "items") => Some(Value::tuple(cycler.items.to_vec())),
            (Object::Cycler(cycler), "pos") => Some(Value::Int(cycler.at.get() as i128)),
            (Object::Cycler(_), "next") => method("next"),
            (Object::Cycler(_), "reset") => method("reset"),
            (Object::Joiner { separator, .. }, "sep") => Some(separator.clone()),
            (Object::Joiner { is_used, .. }, "used") => Some(Value::Bool(is_used.get())),
            (Object::Macro(closure), "name") if closure.written.name.is_empty() => Some(Value::None),
            (Object::Macro(closure), "name") => Some(Value::from(&*closure.written.name)),
            (Object::Macro(closure), "arguments") => {
                Some(Value::tuple(closure.written.parameters.iter().map(|name| Value::from(&**name)).collect()))
            }
            (Object::Macro(closure), "catch_kwargs") => Some(Value::Bool(closure.written.takes_named)),
            (Object::Macro(closure), "catch_varargs") => Some(Value::Bool(closure.written.takes_more)),
            (Object::Macro(closure), "caller") => Some(Value::Bool(closure.written.takes_caller)),
            _ => None,
        })
    }

    /// `value[index]`: an item, otherwise an attribute.
    ///
    /// # Errors
    /// As [`Interpreter::attribute`].
    pub(super) fn item(&self, value: &Value, index: &Value) -> Result<Value> {
        if let Value::Undefined(why) = value {
            return Err(Error::new(&**why));
        }
        let item = match (value, index.as_int()) {
            (Value::Dict(dict), _) => match index.check_hashable() {
                Ok(()) => dict.get(index).cloned(),
                Err(_) => None,
            },
            (_, Some(at)) => at_index(value, at)?,
            _ => None,
        };
        if let Some(item) = item {
            return Ok(item);
        }
        let Some(name) = index.as_text() else { return Ok(missing(value, &index_name(index))) };
        Ok(self.attribute_only(value, name)?.unwrap_or_else(|| missing(value, name)))
    }
}

impl Cycler {
    pub(super) fn current(&self) -> Value {
        self.items[self.at.get() % self.items.len()].clone()
    }
}

fn index_name(index: &Value) -> String {
    index.as_int().map_or_else(|| index.type_name().to_owned(), |at| at.to_string())
}

fn missing(value: &Value, name: &str) -> Value {
    let kind = value.type_name();
    Value::undefined(format!("{kind:?} has no attribute or item {name:?}"))
}

/// An attribute hidden by the sandbox: undefined, so that using it is an error.
fn unsafe_attribute(value: &Value, name: &str) -> Value {
    let kind = value.type_name();
    Value::undefined(format!("access to attribute {name:?} of a {kind} is unsafe in a template"))
}

/// The position of an index that may be negative.
fn place(at: i128, length: usize) -> Option<usize> {
    let at = if at < 0 { at + length as i128 } else { at };
    usize::try_from(at).ok().filter(|at| *at < length)
}

fn at_index(value: &Value, at: i128) -> Result<Option<Value>> {
    Ok(match value {
        Value::Text(text) => {
            let place = if at >= 0 { usize::try_from(at).ok() } else { place(at, text.chars().count()) };
            place.and_then(|place| text.chars().nth(place)).map(|letter| Value::from(letter.to_string()))
        }
        Value::Markup(_) => return Err(marked()),
        Value::List(items) | Value::Tuple(items) | Value::Group(items) => {
            place(at, items.len()).map(|place| items[place].clone())
        }
        Value::Range(range) => place(at, range.length).map(|place| range.get(place)),
        _ => None,
    })
}

/// The error for strings marked safe: autoescaping of combined strings is not supported.
pub(super) fn marked() -> Error {
    Error::new("working on a text that is marked as safe (by safe or escape) is not supported: print it")
}

/// `value[start:end:step]`.
///
/// # Errors
/// The value can't be sliced, or the step is zero.
pub(super) fn slice(value: &Value, ends: [Option<i128>; 3]) -> Result<Value> {
    let length = match value {
        Value::Undefined(why) => return Err(Error::new(&**why)),
        Value::Markup(_) => return Err(marked()),
        Value::Text(_) | Value::List(_) | Value::Tuple(_) | Value::Group(_) | Value::Range(_) => {
            value.length().unwrap_or(0)
        }
        other => return Err(Error::new(format!("a {} can't be sliced", other.type_name()))),
    };
    let (start, end, step) = bounds(ends, length)?;
    let count = span(start, end, step);
    let at = |turn: usize| (start + step * turn as i128) as usize;
    Ok(match value {
        Value::Text(text) => {
            let letters: Vec<char> = text.chars().collect();
            Value::from((0..count).map(|turn| letters[at(turn)]).collect::<String>())
        }
        Value::Range(range) => Value::Range(std::rc::Rc::new(Range {
            start: range.start + range.step * start,
            end: range.start + range.step * end,
            step: range.step * step,
            length: count,
        })),
        other => {
            let items = other.as_items().map(|items| &***items).unwrap_or_default();
            let items = (0..count).map(|turn| items[at(turn)].clone()).collect();
            if matches!(other, Value::List(_)) { Value::list(items) } else { Value::tuple(items) }
        }
    })
}

/// Number of steps of a slice.
pub(super) fn span(start: i128, end: i128, step: i128) -> usize {
    let distance = if step > 0 { end.saturating_sub(start) } else { start.saturating_sub(end) };
    let step = step.saturating_abs().max(1);
    usize::try_from((distance.max(0) + step - 1) / step).unwrap_or(usize::MAX)
}

/// Start, end and step clamped to a length, as in Python.
fn bounds([start, end, step]: [Option<i128>; 3], length: usize) -> Result<(i128, i128, i128)> {
    let step = step.unwrap_or(1);
    if step == 0 {
        return Err(Error::new("the step of a slice can't be zero"));
    }
    let length = length as i128;
    let (low, high) = if step > 0 { (0, length) } else { (-1, length - 1) };
    let clamp = |at: i128| if at < 0 { at.saturating_add(length).max(low) } else { at.min(high) };
    let (first, last) = if step > 0 { (low, high) } else { (high, low) };
    // No slice of a chat steps further than this.
    Ok((start.map_or(first, clamp), end.map_or(last, clamp), step.clamp(-i128::from(u32::MAX), i128::from(u32::MAX))))
}
