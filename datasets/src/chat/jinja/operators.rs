//! Python's arithmetic.
use super::ast::{Comparison, Operator};
use super::error::{Error, Result};
use super::extent::check_size;
use super::printf;
use super::value::Value;

/// The largest integer up to which floats are exact.
const EXACT: u128 = 1 << 53;

/// Evaluates `left operator right`.
///
/// # Errors
/// The operation is an error in Python, or the number has more than 127 bits.
pub(super) fn binary(operator: Operator, left: &Value, right: &Value) -> Result<Value> {
    if operator == Operator::Remainder
        && let Value::Text(format) = left
    {
        return printf::format(format, right).map(Value::from);
    }
    if let (Some(left), Some(right)) = (left.as_int(), right.as_int()) {
        return ints(operator, left, right);
    }
    if let (Some(left), Some(right)) = (left.as_float(), right.as_float()) {
        return floats(operator, left, right);
    }
    match operator {
        Operator::Add => add(left, right),
        Operator::Multiply => multiply(left, right),
        Operator::Subtract => Err(left.refused("subtract", right)),
        Operator::Divide | Operator::FloorDivide | Operator::Remainder => Err(left.refused("divide", right)),
        Operator::Power => Err(left.refused("raise to a power", right)),
    }
}

fn size(value: &Value) -> usize {
    value.as_text().map_or_else(|| value.length().unwrap_or(0), str::len)
}

fn add(left: &Value, right: &Value) -> Result<Value> {
    check_size(size(left) + size(right))?;
    match (left, right) {
        (Value::Text(left), Value::Text(right)) => Ok(Value::from([&**left, &**right].concat())),
        (Value::List(left), Value::List(right)) => Ok(Value::list([&***left, &***right].concat())),
        (Value::Tuple(left) | Value::Group(left), Value::Tuple(right) | Value::Group(right)) => {
            Ok(Value::tuple([&***left, &***right].concat()))
        }
        _ => Err(left.refused("add", right)),
    }
}

fn multiply(left: &Value, right: &Value) -> Result<Value> {
    let (sequence, count) = match (left.as_int(), right.as_int()) {
        (None, Some(count)) => (left, count),
        (Some(count), None) => (right, count),
        _ => return Err(left.refused("multiply", right)),
    };
    if i64::try_from(count).is_err() {
        return Err(Error::new("a count of more than 64 bits"));
    }
    let count = usize::try_from(count.max(0)).unwrap_or(usize::MAX);
    check_size(size(sequence).saturating_mul(count))?;
    match sequence {
        Value::Text(text) => Ok(Value::from(text.repeat(count))),
        Value::List(items) => Ok(Value::list(repeated(items, count))),
        Value::Tuple(items) | Value::Group(items) => Ok(Value::tuple(repeated(items, count))),
        _ => Err(left.refused("multiply", right)),
    }
}

fn repeated(items: &[Value], count: usize) -> Vec<Value> {
    std::iter::repeat_n(items, count).flatten().cloned().collect()
}

fn ints(operator: Operator, left: i128, right: i128) -> Result<Value> {
    let by_zero = || Error::new("division by zero");
    let result = match operator {
        Operator::Add => left.checked_add(right),
        Operator::Subtract => left.checked_sub(right),
        Operator::Multiply => left.checked_mul(right),
        Operator::Divide | Operator::FloorDivide | Operator::Remainder if right == 0 => return Err(by_zero()),
        Operator::Divide => return Ok(Value::Float(quotient(left, right))),
        Operator::FloorDivide => left
            .checked_div(right)
            .map(|quotient| quotient - i128::from(left % right != 0 && (left < 0) != (right < 0))),
        Operator::Remainder => {
            left.checked_rem(right).map(|rest| if rest != 0 && (rest < 0) != (right < 0) { rest + right } else { rest })
        }
        Operator::Power if right < 0 => return floats(operator, left as f64, right as f64),
        Operator::Power => u32::try_from(right).ok().and_then(|right| left.checked_pow(right)),
    };
    result.map(Value::Int).ok_or_else(|| Error::new("a number of more than 127 bits"))
}

/// The correctly rounded quotient of ints.
pub(super) fn quotient(left: i128, right: i128) -> f64 {
    let (mut whole, divisor) = (left.unsigned_abs(), right.unsigned_abs());
    if left == 0 || whole <= EXACT && divisor <= EXACT {
        return left as f64 / right as f64;
    }
    let mut rest = whole % divisor;
    whole /= divisor;
    let mut exponent = 0;
    // More bits than a float has, and a last one that tells whether there are others behind it.
    while whole < 1 << 64 {
        rest <<= 1;
        whole = whole << 1 | u128::from(rest >= divisor);
        rest %= divisor;
        exponent -= 1;
    }
    let nearest = (whole | u128::from(rest != 0)) as f64 * 2f64.powi(exponent);
    if (left < 0) == (right < 0) { nearest } else { -nearest }
}

fn floats(operator: Operator, left: f64, right: f64) -> Result<Value> {
    if right == 0.0 && matches!(operator, Operator::Divide | Operator::FloorDivide | Operator::Remainder) {
        return Err(Error::new("division by zero"));
    }
    Ok(Value::Float(match operator {
        Operator::Add => left + right,
        Operator::Subtract => left - right,
        Operator::Multiply => left * right,
        Operator::Divide => left / right,
        Operator::FloorDivide => divide(left, right).0,
        Operator::Remainder => divide(left, right).1,
        Operator::Power => power(left, right)?,
    }))
}

/// Quotient and remainder; the remainder has the divisor's sign.
fn divide(left: f64, right: f64) -> (f64, f64) {
    let mut rest = left % right;
    let mut quotient = (left - rest) / right;
    if rest == 0.0 {
        rest = 0f64.copysign(right);
    } else if (right < 0.0) != (rest < 0.0) {
        rest += right;
        quotient -= 1.0;
    }
    if quotient == 0.0 {
        return (0f64.copysign(left / right), rest);
    }
    let floor = quotient.floor();
    (if quotient - floor > 0.5 { floor + 1.0 } else { floor }, rest)
}

fn power(left: f64, right: f64) -> Result<f64> {
    if left == 0.0 && right < 0.0 {
        return Err(Error::new("zero to a negative power"));
    }
    if left < 0.0 && right.is_finite() && right.fract() != 0.0 {
        return Err(Error::new("a negative number to a fractional power is complex"));
    }
    let result = left.powf(right);
    if result.is_infinite() && left.is_finite() && right.is_finite() {
        return Err(Error::new("the power is too large for a float"));
    }
    Ok(result)
}

/// `base ** exponent` with a constant base, which Jinja compiles to a Python literal: the minus of `-2 ** n` applies to
/// the power.
///
/// # Errors
/// As [`binary`].
pub(super) fn power_of_known(base: &Value, exponent: &Value) -> Result<Value> {
    let has_minus = match base {
        Value::Int(number) => *number < 0,
        Value::Float(number) => number.is_sign_negative() && !number.is_nan(),
        _ => false,
    };
    if !has_minus {
        return binary(Operator::Power, base, exponent);
    }
    negative(&binary(Operator::Power, &negative(base)?, exponent)?)
}

/// `-value`.
///
/// # Errors
/// The value is not a number.
pub(super) fn negative(value: &Value) -> Result<Value> {
    match (value, value.as_int()) {
        (Value::Float(number), _) => Ok(Value::Float(-number)),
        (_, Some(number)) => {
            number.checked_neg().map(Value::Int).ok_or_else(|| Error::new("a number of more than 127 bits"))
        }
        (Value::Undefined(why), _) => Err(Error::new(&**why)),
        _ => Err(Error::new(format!("a {} has no negative", value.type_name()))),
    }
}

/// `+value`.
///
/// # Errors
/// The value is not a number.
pub(super) fn positive(value: &Value) -> Result<Value> {
    match value {
        Value::Float(_) => Ok(value.clone()),
        _ => negative(value).and_then(|value| negative(&value)),
    }
}

/// Evaluates `left comparison right`.
///
/// # Errors
/// Python can't compare the two.
pub(super) fn compare(comparison: Comparison, left: &Value, right: &Value) -> Result<bool> {
    let order = || left.compare(right);
    Ok(match comparison {
        Comparison::Equal => left.equals(right),
        Comparison::NotEqual => !left.equals(right),
        Comparison::Less => order()?.is_some_and(std::cmp::Ordering::is_lt),
        Comparison::LessOrEqual => order()?.is_some_and(std::cmp::Ordering::is_le),
        Comparison::Greater => order()?.is_some_and(std::cmp::Ordering::is_gt),
        Comparison::GreaterOrEqual => order()?.is_some_and(std::cmp::Ordering::is_ge),
        Comparison::In => contains(right, left)?,
        Comparison::NotIn => !contains(right, left)?,
    })
}

/// `item in container`.
///
/// # Errors
/// The value is not a container, or can't contain such an item.
pub(super) fn contains(container: &Value, item: &Value) -> Result<bool> {
    let has = |items: &[Value]| items.iter().any(|found| found.equals(item));
    match container {
        Value::Text(text) | Value::Markup(text) => match (item.as_text(), item) {
            (Some(part), _) => Ok(text.contains(part)),
            (None, Value::Undefined(why)) => Err(Error::new(&**why)),
            _ => Err(Error::new(format!("a {} can't be in a str", item.type_name()))),
        },
        Value::List(items) | Value::Tuple(items) | Value::Group(items) => Ok(has(items)),
        Value::Dict(dict) | Value::View(super::value::View::Keys, dict) => {
            item.check_hashable()?;
            Ok(dict.get(item).is_some())
        }
        Value::View(view, dict) => Ok(has(&dict.view(*view))),
        Value::Iterator(items) => {
            // Python stops at the first that is equal, and what it went past is gone.
            let mut items = items.borrow_mut();
            while let Some(found) = items.pop_front() {
                if found.equals(item) {
                    return Ok(true);
                }
            }
            Ok(false)
        }
        Value::Undefined(_) => Ok(false),
        Value::Range(range) => Ok(has(&range.values())),
        other => Err(Error::new(format!("nothing can be in a {}", other.type_name()))),
    }
}
