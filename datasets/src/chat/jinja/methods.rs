//! Methods of Python's types.
use std::num::IntErrorKind;
use std::rc::Rc;

use super::arguments::{self, Arguments, required};
use super::error::{Error, Result};
use super::interpreter::Interpreter;
use super::letters::with_ascii_digits;
use super::method_support::MethodSupport::{self, Method, Mutator, Unsupported};
use super::operators;
use super::text::{float, view_of};
use super::value::Value;
use super::{looping_methods, text_methods};

type Names = &'static [(&'static str, MethodSupport)];

const LIST: Names = &[
    ("append", Mutator),
    ("clear", Mutator),
    ("copy", Method),
    ("count", Method),
    ("extend", Mutator),
    ("index", Method),
    ("insert", Mutator),
    ("pop", Mutator),
    ("remove", Mutator),
    ("reverse", Mutator),
    ("sort", Mutator),
];

const TUPLE: Names = &[("count", Method), ("index", Method)];

const DICT: Names = &[
    ("clear", Mutator),
    ("copy", Method),
    ("fromkeys", Unsupported),
    ("get", Method),
    ("items", Method),
    ("keys", Method),
    ("pop", Mutator),
    ("popitem", Mutator),
    ("setdefault", Mutator),
    ("update", Mutator),
    ("values", Method),
];

const VIEW: Names = &[("isdisjoint", Unsupported), ("mapping", Unsupported)];

const INT: Names = &[
    ("as_integer_ratio", Unsupported),
    ("bit_count", Unsupported),
    ("bit_length", Method),
    ("conjugate", Method),
    ("denominator", Unsupported),
    ("from_bytes", Unsupported),
    ("imag", Unsupported),
    ("is_integer", Unsupported),
    ("numerator", Unsupported),
    ("real", Unsupported),
    ("to_bytes", Unsupported),
];

const FLOAT: Names = &[
    ("as_integer_ratio", Unsupported),
    ("conjugate", Method),
    ("fromhex", Unsupported),
    ("hex", Unsupported),
    ("imag", Unsupported),
    ("is_integer", Method),
    ("real", Unsupported),
];

const ITERATOR: Names = &[
    ("close", Unsupported),
    ("gi_code", Unsupported),
    ("gi_frame", Unsupported),
    ("gi_running", Unsupported),
    ("gi_suspended", Unsupported),
    ("gi_yieldfrom", Unsupported),
    ("send", Unsupported),
    ("throw", Unsupported),
];

/// Looks up a method in the table.
pub(super) fn find(value: &Value, name: &str) -> Option<(&'static str, MethodSupport)> {
    let names = match value {
        Value::Text(_) => text_methods::NAMES,
        Value::Markup(_) => return Some(("", Unsupported)),
        Value::List(_) => LIST,
        Value::Tuple(_) | Value::Group(_) | Value::Range(_) => TUPLE,
        Value::Dict(_) => DICT,
        Value::View(..) => VIEW,
        Value::Int(_) | Value::Bool(_) => INT,
        Value::Float(_) => FLOAT,
        Value::Iterator(_) => ITERATOR,
        _ => &[],
    };
    names.iter().find(|(known, _)| *known == name).copied()
}

/// Calls `receiver.name(arguments)`.
///
/// # Errors
/// The method rejects its arguments.
pub(super) fn call(
    interpreter: &Interpreter<'_>,
    receiver: &Value,
    name: &'static str,
    arguments: &Arguments,
) -> Result<Value> {
    match receiver {
        Value::Text(text) => text_methods::call(interpreter, text, name, arguments),
        Value::Dict(_) => dict(receiver, name, arguments),
        Value::Object(object) => looping_methods::call(object, name, arguments),
        Value::Int(_) | Value::Bool(_) | Value::Float(_) => number(receiver, name, arguments),
        other => sequence(other, name, arguments),
    }
}

fn dict(receiver: &Value, name: &'static str, arguments: &Arguments) -> Result<Value> {
    let Value::Dict(dict) = receiver else { return Err(Error::new("no dict")) };
    if name == "get" {
        let [key, default] = arguments.bind_positional("dict.get")?;
        let key = required(key, "dict.get")?;
        key.check_hashable()?;
        return Ok(dict.get(&key).cloned().or(default).unwrap_or(Value::None));
    }
    arguments.bind::<0>(name, [])?;
    Ok(view_of(name).map_or_else(|| receiver.clone(), |view| Value::View(view, Rc::clone(dict))))
}

fn number(receiver: &Value, name: &'static str, arguments: &Arguments) -> Result<Value> {
    arguments.bind::<0>(name, [])?;
    Ok(match (receiver, name) {
        (Value::Float(number), "is_integer") => Value::Bool(number.is_finite() && number.fract() == 0.0),
        (Value::Float(_), _) => receiver.clone(),
        (_, "bit_length") => {
            let magnitude = receiver.as_int().unwrap_or(0).unsigned_abs();
            Value::Int(i128::from(u128::BITS - magnitude.leading_zeros()))
        }
        _ => Value::Int(receiver.as_int().unwrap_or(0)),
    })
}

fn sequence(receiver: &Value, name: &'static str, arguments: &Arguments) -> Result<Value> {
    if name == "copy" {
        arguments.bind::<0>(name, [])?;
        return Ok(Value::list(receiver.iterate()?));
    }
    let has_ends = name == "index" && !matches!(receiver, Value::Range(_));
    if arguments.positional.len() > 1 && !has_ends {
        return Err(Error::new(format!("{name} takes one argument")));
    }
    let [item, start, end] = arguments.bind_positional(name)?;
    let item = required(item, name)?;
    let items = receiver.iterate()?;
    if name == "count" {
        let count = items.iter().filter(|found| found.equals(&item)).count();
        return Ok(Value::Int(count as i128));
    }
    let bound = |end: Option<Value>, default: usize| -> Result<usize> {
        let Some(at) = end else { return Ok(default) };
        let at = arguments::int(&at, name)?;
        let at = if at < 0 { at + items.len() as i128 } else { at };
        Ok(usize::try_from(at.max(0)).unwrap_or(usize::MAX).min(items.len()))
    };
    let (start, end) = (bound(start, 0)?, bound(end, items.len())?);
    let found = (start..end).find(|&at| items[at].equals(&item));
    found.map(|at| Value::Int(at as i128)).ok_or_else(|| Error::new("index: there is no such item"))
}

/// `int(value)` of a string; `None` for a ValueError.
///
/// # Errors
/// The number has more than 127 bits.
pub(super) fn parse_int(text: &str, base: u32) -> Result<Option<i128>> {
    let text = with_ascii_digits(text.trim_matches(super::text::is_space)).to_ascii_lowercase();
    let (is_negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(&text)),
    };
    let prefixes = [("0x", 16), ("0o", 8), ("0b", 2)];
    let prefix =
        prefixes.into_iter().find(|(prefix, radix)| digits.starts_with(prefix) && (base == 0 || base == *radix));
    let (digits, radix) = match prefix {
        Some((prefix, radix)) => (digits[prefix.len()..].strip_prefix('_').unwrap_or(&digits[prefix.len()..]), radix),
        None => (digits, if base == 0 { 10 } else { base }),
    };
    let is_octal = base == 0 && prefix.is_none() && digits.starts_with('0') && digits.chars().any(|digit| digit != '0');
    let Some(digits) = without_underscores(digits).filter(|_| !is_octal) else { return Ok(None) };
    match i128::from_str_radix(&digits, radix) {
        Ok(number) => Ok(Some(if is_negative { -number } else { number })),
        Err(error) if *error.kind() == IntErrorKind::PosOverflow => Err(Error::new("a number of more than 127 bits")),
        Err(_) => Ok(None),
    }
}

/// Removes single underscores between digits; `None` for signs and other underscores.
fn without_underscores(text: &str) -> Option<String> {
    let is_wrong = text.starts_with(['_', '+', '-']) || text.ends_with('_') || text.contains("__") || text.is_empty();
    (!is_wrong).then(|| text.replace('_', ""))
}

/// `float(value)` of a string; `None` for a ValueError.
pub(super) fn parse_float(text: &str) -> Option<f64> {
    let text = with_ascii_digits(text.trim_matches(super::text::is_space));
    let bytes = text.as_bytes();
    let is_digit = |at: Option<usize>| at.and_then(|at| bytes.get(at)).is_some_and(u8::is_ascii_digit);
    let mut underscores = text.match_indices('_').map(|(at, _)| at);
    if !underscores.all(|at| is_digit(at.checked_sub(1)) && is_digit(Some(at + 1))) {
        return None;
    }
    text.replace('_', "").parse().ok()
}

/// `round(value, digits)`.
///
/// # Errors
/// The value is not a number, or the number of digits is out of range.
pub(super) fn round(value: &Value, digits: i128) -> Result<Value> {
    if let Some(number) = value.as_int() {
        return Ok(if digits >= 0 { Value::Int(number) } else { round_int(number, -digits)? });
    }
    let Value::Float(number) = value else {
        return Err(value.refused("round", &Value::Int(digits)));
    };
    if !number.is_finite() {
        return Ok(value.clone());
    }
    // There is no digit of a float so far behind its point, and none so far before it.
    let digits = digits.clamp(-400, 1100);
    let Ok(digits) = usize::try_from(digits) else { return Ok(Value::Float(round_to_tens(*number, -digits as i32))) };
    let text = format!("{number:.digits$}");
    text.parse().map(Value::Float).map_err(|_| Error::new(format!("{} can't be rounded", float(*number))))
}

/// Rounds a float to a power of ten, ties to even.
fn round_to_tens(number: f64, tens: i32) -> f64 {
    let text = format!("{number:e}");
    let exponent: i32 = text.split_once('e').and_then(|(_, exponent)| exponent.parse().ok()).unwrap_or(0);
    let rounded = match usize::try_from(exponent - tens) {
        Ok(digits) => format!("{number:.digits$e}").parse().unwrap_or(number),
        // It is below the unit, of which it may be more than half.
        Err(_) if exponent + 1 == tens && number.abs() > 5.0 * 10f64.powi(exponent) => 10f64.powi(tens),
        Err(_) => 0.0,
    };
    rounded.copysign(number)
}

fn round_int(number: i128, digits: i128) -> Result<Value> {
    let unit = u32::try_from(digits).ok().and_then(|digits| 10i128.checked_pow(digits));
    let unit = unit.ok_or_else(|| Error::new("rounding to so many tens is not supported"))?;
    let low = number.div_euclid(unit);
    let twice = 2 * number.rem_euclid(unit);
    let is_up = twice > unit || (twice == unit && low % 2 != 0);
    operators::binary(super::ast::Operator::Multiply, &Value::Int(low + i128::from(is_up)), &Value::Int(unit))
}
