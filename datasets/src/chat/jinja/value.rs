//! Values of expressions: the subset of Python's types that chat templates use.
use std::cell::RefCell;
use std::cmp::Ordering;
use std::collections::VecDeque;
use std::rc::Rc;

use super::error::{Error, Result};
use super::extent::{self, Extent, Items, MOST_KEYS, Stream};
use super::objects::Object;

/// A Python value.
#[derive(Clone, Debug)]
pub(super) enum Value {
    /// Undefined. It prints as an empty string and can be tested; any other use is an error with this message.
    Undefined(Rc<str>),
    None,
    Bool(bool),
    Int(i128),
    Float(f64),
    Text(Rc<str>),
    /// A string marked safe (by `safe` or `escape`).
    Markup(Rc<str>),
    List(Rc<Items>),
    Tuple(Rc<Items>),
    /// A pair of `groupby`: a tuple with the names `grouper` and `list`.
    Group(Rc<Items>),
    Dict(Rc<Dict>),
    Range(Rc<Range>),
    /// The result of `keys()`, `values()` or `items()`.
    View(View, Rc<Dict>),
    /// A single-pass iterator: the result of `map`, `select` and others.
    Iterator(Rc<Stream>),
    Slice(Rc<[Option<i128>; 3]>),
    Object(Rc<Object>),
}

/// The kind of a dict view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum View {
    Keys,
    Values,
    Items,
}

/// Python's `range`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) start: i128,
    pub(super) end: i128,
    pub(super) step: i128,
    pub(super) length: usize,
}

/// A dict in insertion order. Chats have small ones, so lookup is linear.
#[derive(Clone, Debug, Default)]
pub(super) struct Dict {
    entries: Vec<(Value, Value)>,
    extent: Extent,
}

impl From<Vec<(Value, Value)>> for Dict {
    fn from(entries: Vec<(Value, Value)>) -> Self {
        let dict = Self { entries, extent: Extent::default() };
        Self { extent: extent::of_keys(&dict), ..dict }
    }
}

impl Dict {
    pub(super) fn entries(&self) -> &[(Value, Value)] {
        &self.entries
    }

    pub(super) fn extent(&self) -> Extent {
        self.extent
    }

    pub(super) fn get(&self, key: &Value) -> Option<&Value> {
        self.entries.iter().find(|(found, _)| found.equals(key)).map(|(_, value)| value)
    }

    pub(super) fn get_text(&self, key: &str) -> Option<&Value> {
        self.entries.iter().find(|(found, _)| found.as_text() == Some(key)).map(|(_, value)| value)
    }

    /// Sets a value; an existing key keeps its position.
    ///
    /// # Errors
    /// The key is unhashable, or there are too many keys.
    pub(super) fn insert(&mut self, key: Value, value: Value) -> Result<()> {
        key.check_hashable()?;
        if self.entries.len() >= MOST_KEYS {
            return Err(Error::new(format!("the template makes a dict of more than {MOST_KEYS} keys")));
        }
        self.extent = self.extent.with(&key).with(&value);
        match self.entries.iter_mut().find(|(found, _)| found.equals(&key)) {
            Some((_, place)) => *place = value,
            None => self.entries.push((key, value)),
        }
        Ok(())
    }

    pub(super) fn view(&self, view: View) -> Vec<Value> {
        let part = |(key, value): &(Value, Value)| match view {
            View::Keys => key.clone(),
            View::Values => value.clone(),
            View::Items => Value::tuple(vec![key.clone(), value.clone()]),
        };
        self.entries.iter().map(part).collect()
    }
}

impl Range {
    pub(super) fn get(&self, at: usize) -> Value {
        Value::Int(self.start + self.step * at as i128)
    }

    pub(super) fn values(&self) -> Vec<Value> {
        (0..self.length).map(|at| self.get(at)).collect()
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.into())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text.into())
    }
}

impl Value {
    pub(super) fn list(items: Vec<Self>) -> Self {
        Self::List(Rc::new(items.into()))
    }

    pub(super) fn tuple(items: Vec<Self>) -> Self {
        Self::Tuple(Rc::new(items.into()))
    }

    pub(super) fn iterator(items: impl Into<VecDeque<Self>>) -> Self {
        Self::Iterator(Rc::new(Stream::from(items.into())))
    }

    pub(super) fn undefined(why: impl Into<Rc<str>>) -> Self {
        Self::Undefined(why.into())
    }

    /// Whether it contains a loop, a namespace or a function.
    pub(super) fn holds_object(&self) -> bool {
        match self {
            Self::Object(_) | Self::Iterator(_) => true,
            Self::List(items) | Self::Tuple(items) | Self::Group(items) => items.iter().any(Self::holds_object),
            Self::Dict(dict) | Self::View(_, dict) => {
                dict.entries.iter().any(|(key, value)| key.holds_object() || value.holds_object())
            }
            _ => false,
        }
    }

    pub(super) fn is_undefined(&self) -> bool {
        matches!(self, Self::Undefined(_))
    }

    /// The name of its Python type.
    pub(super) fn type_name(&self) -> &'static str {
        match self {
            Self::Undefined(_) => "undefined",
            Self::None => "NoneType",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Float(_) => "float",
            Self::Text(_) => "str",
            Self::Markup(_) => "Markup",
            Self::List(_) => "list",
            Self::Tuple(_) | Self::Group(_) => "tuple",
            Self::Dict(_) => "dict",
            Self::Range(_) => "range",
            Self::View(View::Keys, _) => "dict_keys",
            Self::View(View::Values, _) => "dict_values",
            Self::View(View::Items, _) => "dict_items",
            Self::Iterator(_) => "generator",
            Self::Slice(_) => "slice",
            Self::Object(object) => object.type_name(),
        }
    }

    pub(super) fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) | Self::Markup(text) => Some(text),
            _ => None,
        }
    }

    /// An int, or a bool converted to one.
    pub(super) fn as_int(&self) -> Option<i128> {
        match self {
            Self::Bool(value) => Some(i128::from(*value)),
            Self::Int(value) => Some(*value),
            _ => None,
        }
    }

    pub(super) fn as_float(&self) -> Option<f64> {
        match self {
            Self::Float(value) => Some(*value),
            _ => self.as_int().map(|value| value as f64),
        }
    }

    /// The items of a list or tuple.
    pub(super) fn as_items(&self) -> Option<&Rc<Items>> {
        match self {
            Self::List(items) | Self::Tuple(items) | Self::Group(items) => Some(items),
            _ => None,
        }
    }

    pub(super) fn as_namespace(&self) -> Option<&RefCell<Dict>> {
        match self {
            Self::Object(object) => match &**object {
                Object::Namespace(names) => Some(names),
                _ => None,
            },
            _ => None,
        }
    }

    /// The truth value in Python.
    pub(super) fn is_true(&self) -> bool {
        match self {
            Self::Undefined(_) | Self::None => false,
            Self::Bool(value) => *value,
            Self::Int(value) => *value != 0,
            Self::Float(value) => *value != 0.0,
            Self::Text(text) | Self::Markup(text) => !text.is_empty(),
            Self::Iterator(_) | Self::Slice(_) | Self::Object(_) => true,
            _ => self.length().unwrap_or(1) > 0,
        }
    }

    /// The size and depth.
    pub(super) fn extent(&self) -> Extent {
        match self {
            Self::Text(text) | Self::Markup(text) => Extent::of_text(text.len()),
            Self::List(items) | Self::Tuple(items) | Self::Group(items) => items.extent(),
            Self::Dict(dict) | Self::View(_, dict) => dict.extent(),
            Self::Range(range) => Extent::of_text(range.length),
            Self::Iterator(items) => items.extent(),
            Self::Object(object) => object.extent(),
            _ => Extent::of_text(0),
        }
    }

    /// Python's `len`.
    pub(super) fn length(&self) -> Option<usize> {
        Some(match self {
            Self::Undefined(_) => 0,
            Self::Text(text) | Self::Markup(text) => text.chars().count(),
            Self::List(items) | Self::Tuple(items) | Self::Group(items) => items.len(),
            Self::Dict(dict) | Self::View(_, dict) => dict.entries.len(),
            Self::Range(range) => range.length,
            _ => return None,
        })
    }

    /// The items of an iterable. An iterator is empty afterwards.
    ///
    /// # Errors
    /// The value is not iterable.
    pub(super) fn iterate(&self) -> Result<Vec<Self>> {
        Ok(match self {
            Self::Undefined(_) => Vec::new(),
            Self::Text(text) => text.chars().map(|letter| Self::from(letter.to_string())).collect(),
            Self::List(items) | Self::Tuple(items) | Self::Group(items) => items.to_vec(),
            Self::Dict(dict) => dict.view(View::Keys),
            Self::View(view, dict) => dict.view(*view),
            Self::Range(range) => range.values(),
            Self::Iterator(items) => std::mem::take(&mut *items.borrow_mut()).into(),
            other => return Err(Error::new(format!("a {} can't be iterated", other.type_name()))),
        })
    }

    pub(super) fn is_iterable(&self) -> bool {
        match self {
            Self::None | Self::Bool(_) | Self::Int(_) | Self::Float(_) | Self::Slice(_) => false,
            Self::Object(object) => object.is_iterable(),
            _ => true,
        }
    }

    /// # Errors
    /// The value is unhashable in Python.
    pub(super) fn check_hashable(&self) -> Result<()> {
        match self {
            Self::Tuple(items) | Self::Group(items) => items.iter().try_for_each(Self::check_hashable),
            Self::List(_) | Self::Dict(_) | Self::View(View::Keys | View::Items, _) | Self::Slice(_) => {
                Err(Error::new(format!("a {} can't be a key", self.type_name())))
            }
            _ => Ok(()),
        }
    }

    /// Python's `==`.
    pub(super) fn equals(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Undefined(_), Self::Undefined(_)) | (Self::None, Self::None) => true,
            (Self::Text(_) | Self::Markup(_), _) => self.as_text() == other.as_text(),
            (Self::List(left), Self::List(right))
            | (Self::Tuple(left) | Self::Group(left), Self::Tuple(right) | Self::Group(right)) => {
                all_equal(left, right)
            }
            (Self::Dict(left), Self::Dict(right)) => {
                let has = |(key, value): &(Self, Self)| right.get(key).is_some_and(|found| found.equals(value));
                Rc::ptr_eq(left, right) || left.entries.len() == right.entries.len() && left.entries.iter().all(has)
            }
            (Self::Range(left), Self::Range(right)) => all_equal(&left.values(), &right.values()),
            (Self::View(view, left), Self::View(other, right)) if view == other && *view != View::Values => {
                let (left, right) = (left.view(*view), right.view(*view));
                left.len() == right.len() && left.iter().all(|item| right.iter().any(|found| found.equals(item)))
            }
            (Self::Iterator(left), Self::Iterator(right)) => Rc::ptr_eq(left, right),
            (Self::Object(left), Self::Object(right)) => Rc::ptr_eq(left, right) || left.is_same(right),
            _ => compare_numbers(self, other) == Some(Ordering::Equal),
        }
    }

    /// Python's ordering; `None` if NaN is involved.
    ///
    /// # Errors
    /// Python can't order the two.
    pub(super) fn compare(&self, other: &Self) -> Result<Option<Ordering>> {
        match (self, other) {
            (Self::List(left), Self::List(right)) => compare_items(left, right),
            (Self::Tuple(left) | Self::Group(left), Self::Tuple(right) | Self::Group(right)) => {
                compare_items(left, right)
            }
            _ => match (self.as_text(), other.as_text()) {
                (Some(left), Some(right)) => Ok(Some(left.cmp(right))),
                _ if self.as_float().is_some() && other.as_float().is_some() => Ok(compare_numbers(self, other)),
                _ => Err(self.refused("compare", other)),
            },
        }
    }

    /// The error of an unsupported operation on two values.
    pub(super) fn refused(&self, operation: &str, other: &Self) -> Error {
        match (self, other) {
            (Self::Undefined(why), _) | (_, Self::Undefined(why)) => Error::new(&**why),
            _ => Error::new(format!("can't {operation} {} and {}", self.type_name(), other.type_name())),
        }
    }
}

fn all_equal(left: &[Value], right: &[Value]) -> bool {
    left.len() == right.len() && left.iter().zip(right).all(|(left, right)| left.equals(right))
}

fn compare_items(left: &[Value], right: &[Value]) -> Result<Option<Ordering>> {
    for (left, right) in left.iter().zip(right) {
        if !left.equals(right) {
            return left.compare(right);
        }
    }
    Ok(Some(left.len().cmp(&right.len())))
}

fn compare_numbers(left: &Value, right: &Value) -> Option<Ordering> {
    match (left.as_int(), right.as_int()) {
        (Some(left), Some(right)) => Some(left.cmp(&right)),
        (Some(left), None) => compare_with_float(left, right.as_float()?),
        (None, Some(right)) => compare_with_float(right, left.as_float()?).map(Ordering::reverse),
        (None, None) => left.as_float()?.partial_cmp(&right.as_float()?),
    }
}

/// Compares exactly, as Python does, without rounding the int to a float.
fn compare_with_float(left: i128, right: f64) -> Option<Ordering> {
    if right.is_nan() {
        return None;
    }
    if right.abs() >= 2f64.powi(126) {
        return 0f64.partial_cmp(&right);
    }
    let whole = right.trunc();
    Some(left.cmp(&(whole as i128)).then(0f64.partial_cmp(&(right - whole))?))
}
