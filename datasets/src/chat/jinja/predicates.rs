//! Tests (`is`).
use std::rc::Rc;

use super::arguments::{Arguments, required};
use super::ast::{Comparison, Operator};
use super::error::{Error, Result};
use super::text::to_text;
use super::value::Value;
use super::{filters, letters, operators};

/// Jinja's tests, other than comparisons.
const NAMES: [&str; 24] = [
    "odd",
    "even",
    "divisibleby",
    "defined",
    "undefined",
    "filter",
    "test",
    "none",
    "boolean",
    "false",
    "true",
    "integer",
    "float",
    "lower",
    "upper",
    "string",
    "mapping",
    "number",
    "sequence",
    "iterable",
    "callable",
    "sameas",
    "escaped",
    "in",
];

const COMPARISONS: [(&str, Comparison); 15] = [
    ("==", Comparison::Equal),
    ("eq", Comparison::Equal),
    ("equalto", Comparison::Equal),
    ("!=", Comparison::NotEqual),
    ("ne", Comparison::NotEqual),
    (">", Comparison::Greater),
    ("gt", Comparison::Greater),
    ("greaterthan", Comparison::Greater),
    (">=", Comparison::GreaterOrEqual),
    ("ge", Comparison::GreaterOrEqual),
    ("<", Comparison::Less),
    ("lt", Comparison::Less),
    ("lessthan", Comparison::Less),
    ("<=", Comparison::LessOrEqual),
    ("le", Comparison::LessOrEqual),
];

/// Whether Jinja has a test with this name.
pub(super) fn is_known(name: &str) -> bool {
    NAMES.contains(&name) || COMPARISONS.iter().any(|(known, _)| *known == name)
}

/// Evaluates `value is name(arguments)`.
///
/// # Errors
/// The test is unknown, or rejects the value or arguments.
pub(super) fn call(name: &str, value: &Value, arguments: &Arguments) -> Result<bool> {
    let what = &format!("the test {name:?}");
    if let Some((_, comparison)) = COMPARISONS.into_iter().find(|(known, _)| *known == name) {
        let [other] = arguments.bind_positional(what)?;
        return operators::compare(comparison, value, &required(other, what)?);
    }
    match name {
        "divisibleby" => {
            let [number] = arguments.bind(what, ["num"])?;
            remainder_is(value, &required(number, what)?, 0)
        }
        "sameas" => {
            let [other] = arguments.bind(what, ["other"])?;
            is_same(value, &required(other, what)?)
        }
        "in" => {
            let [container] = arguments.bind(what, ["seq"])?;
            operators::contains(&required(container, what)?, value)
        }
        _ => {
            arguments.bind::<0>(what, [])?;
            plain(name, value)
        }
    }
}

fn plain(name: &str, value: &Value) -> Result<bool> {
    Ok(match name {
        "odd" => remainder_is(value, &Value::Int(2), 1)?,
        "even" => remainder_is(value, &Value::Int(2), 0)?,
        "defined" => !value.is_undefined(),
        "undefined" => value.is_undefined(),
        "filter" | "test" if value.check_hashable().is_err() => {
            return Err(Error::new(format!("a {} can't be the name of a {name}", value.type_name())));
        }
        "filter" => value.as_text().is_some_and(filters::is_known),
        "test" => value.as_text().is_some_and(is_known),
        "none" => matches!(value, Value::None),
        "boolean" => matches!(value, Value::Bool(_)),
        "false" => matches!(value, Value::Bool(false)),
        "true" => matches!(value, Value::Bool(true)),
        "integer" => matches!(value, Value::Int(_)),
        "float" => matches!(value, Value::Float(_)),
        "number" => value.as_float().is_some(),
        "lower" => letters::is_lower(&to_text(value)?),
        "upper" => letters::is_upper(&to_text(value)?),
        "string" => value.as_text().is_some(),
        "mapping" => matches!(value, Value::Dict(_)),
        "sequence" => value.length().is_some() && !matches!(value, Value::View(..)),
        "iterable" => value.is_iterable(),
        "callable" => match value {
            Value::Object(object) => object.is_callable(),
            other => other.is_undefined(),
        },
        "escaped" => matches!(value, Value::Markup(_)),
        _ => return Err(Error::new(format!("no test named {name:?}"))),
    })
}

fn remainder_is(value: &Value, divisor: &Value, expected: i128) -> Result<bool> {
    Ok(operators::binary(Operator::Remainder, value, divisor)?.equals(&Value::Int(expected)))
}

/// Python's `is`. The identity of equal numbers or strings depends on the implementation, so it is an error.
fn is_same(left: &Value, right: &Value) -> Result<bool> {
    let same = match (left, right) {
        (Value::None, Value::None) => true,
        (Value::Bool(left), Value::Bool(right)) => left == right,
        (Value::Dict(left), Value::Dict(right)) => Rc::ptr_eq(left, right),
        (Value::Object(left), Value::Object(right)) => Rc::ptr_eq(left, right),
        (Value::List(left), Value::List(right)) => Rc::ptr_eq(left, right),
        _ if left.type_name() != right.type_name() || !left.equals(right) => false,
        _ => {
            let kind = left.type_name();
            return Err(Error::new(format!("sameas can't tell whether equal values of type {kind} are one: use ==")));
        }
    };
    Ok(same)
}
