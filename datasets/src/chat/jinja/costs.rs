//! The cost of template operations, in steps, so that rendering terminates.
use super::arguments::Arguments;
use super::ast::{Comparison, Expression};
use super::error::{Error, Result};
use super::interpreter::Interpreter;
use super::objects::Object;
use super::value::{Dict, Value};
use super::{filters, operators, predicates};

/// Maximum number of steps: one per statement or expression, per 64 bytes read and per 16 bytes created. It also bounds
/// a template's memory to 160 MB.
const LONGEST: u64 = 10_000_000;
/// Steps of a namespace, which lives until rendering ends.
pub(super) const NAMESPACE: u64 = 64;

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
    fn steps(self, value: &Value, arguments: &Arguments) -> u64 {
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

impl Interpreter<'_> {
    /// Adds steps.
    ///
    /// # Errors
    /// The limit is exceeded.
    pub(super) fn charge(&self, steps: u64) -> Result<()> {
        self.steps.set(self.steps.get().saturating_add(steps));
        if self.steps.get() > LONGEST {
            return Err(Error::new(format!("the template takes more than {LONGEST} steps")));
        }
        Ok(())
    }

    /// Adds the steps of an expression's result.
    ///
    /// # Errors
    /// The limit is exceeded, or the value is too large.
    pub(super) fn admit(&self, expression: &Expression, value: &Value) -> Result<()> {
        match expression {
            Expression::Name(name) => value.extent().check_name(name)?,
            _ => value.extent().check()?,
        }
        let passes_on = matches!(
            expression,
            Expression::Name(_)
                | Expression::Attribute(..)
                | Expression::Choice(..)
                | Expression::And(..)
                | Expression::Or(..)
                | Expression::Captured
        );
        if passes_on { Ok(()) } else { self.charge(width(value)) }
    }

    /// `value | name(arguments)`.
    ///
    /// # Errors
    /// The filter is unknown or unsupported, rejects the value or arguments, or exceeds the limit.
    pub(super) fn filter(&self, name: &str, value: &Value, arguments: &Arguments) -> Result<Value> {
        self.charge(filters::cost(name).steps(value, arguments))?;
        let made = filters::call(self, name, value, arguments)?;
        made.extent().check()?;
        self.charge(width(&made))?;
        Ok(made)
    }

    /// `value is name(arguments)`.
    ///
    /// # Errors
    /// The test is unknown, rejects the value or arguments, or exceeds the limit.
    pub(super) fn test(&self, name: &str, value: &Value, arguments: &Arguments) -> Result<bool> {
        let others = arguments.positional.iter().chain(arguments.named.iter().map(|(_, value)| value));
        let deep: u64 = others.map(|value| value.extent().steps()).sum();
        let is_of_letters = matches!(name, "lower" | "upper" | "filter" | "test");
        self.charge(deep + if is_of_letters { value.extent().steps() } else { 0 })?;
        predicates::call(name, value, arguments)
    }

    /// `left comparison right`.
    ///
    /// # Errors
    /// Python can't compare the two, or the limit is exceeded.
    pub(super) fn compare(&self, comparison: Comparison, left: &Value, right: &Value) -> Result<bool> {
        let (first, second) = (left.extent().steps(), right.extent().steps());
        self.charge(match comparison {
            Comparison::In | Comparison::NotIn => second,
            _ => first.min(second),
        })?;
        operators::compare(comparison, left, right)
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
