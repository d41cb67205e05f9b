//! The costs of filters and of values, in steps.
use super::arguments::Arguments;
use super::objects::Object;
use super::value::{Dict, Value};

/// The cost of a filter in addition to its result, as listed in the table of filters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cost {
    Nothing,
    /// Reads the value, but not nested values.
    Width,
    /// Counts the characters of a string; the length of a list is known.
    LettersOfText,
    /// Reads the value unless it is a list, of which it takes one item.
    WidthUnlessItems,
    /// Reads all nested values.
    Depth,
    /// Compares the items, as in sorting.
    Order,
    /// Compares each item with all earlier ones.
    EachPair,
    /// Sums the items, creating each partial sum.
    Sums,
}

impl Cost {
    /// The steps of a call with this value and these arguments.
    pub(super) fn steps(self, value: &Value, arguments: &Arguments) -> u64 {
        let count = value.length().unwrap_or(0) as u64;
        let deep = value.extent().steps();
        match self {
            Self::Nothing => 0,
            Self::LettersOfText if value.as_text().is_none() => 0,
            Self::WidthUnlessItems if value.as_items().is_some() => 0,
            Self::Sums if arguments.positional.len() + arguments.named.len() > 0 => count.saturating_mul(deep),
            Self::EachPair => (count * count / 16).saturating_add(deep),
            Self::Order => 20 * (count + deep),
            Self::Depth => deep,
            Self::Width | Self::LettersOfText | Self::WidthUnlessItems | Self::Sums => width(value),
        }
    }
}

/// Steps to read a value without nested values.
pub(super) fn width(value: &Value) -> u64 {
    let of_keys = |dict: &Dict| dict.entries().len() as u64;
    match value {
        Value::Text(text) | Value::Markup(text) => text.len() as u64 / 16,
        Value::List(items) | Value::Tuple(items) | Value::Group(items) => items.len() as u64 * 2,
        Value::Dict(dict) | Value::View(_, dict) => of_keys(dict) * of_keys(dict) / 64 + of_keys(dict),
        Value::Iterator(items) => items.borrow().len() as u64 * 2,
        Value::Range(range) => range.length as u64 * 2,
        Value::Object(object) => match &**object {
            Object::Method(receiver, _) => width(receiver),
            _ => 0,
        },
        _ => 0,
    }
}
