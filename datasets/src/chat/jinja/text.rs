//! Python's `str` and `repr`, and its character classes.
use super::error::{Error, Result};
use super::objects::Object;
use super::value::{Dict, Range, Value, View};

/// White space by Python's `str.isspace` and `\s`.
pub(super) fn is_space(letter: char) -> bool {
    letter.is_whitespace() || matches!(letter, '\u{1c}'..='\u{1f}')
}

/// Whether `repr` prints a character unescaped.
pub(super) fn is_printable(letter: char) -> bool {
    // Behind another letter, `escape_debug` escapes just what is not printable, quotes and backslashes.
    letter == '\'' || letter == '"' || letter == '\\' || !format!("a{letter}").escape_debug().any(|found| found == '\\')
}

/// `str(value)`.
///
/// # Errors
/// Python prints an address, or the type is not supported.
pub(super) fn to_text(value: &Value) -> Result<String> {
    match value {
        Value::Undefined(_) => Ok(String::new()),
        Value::Text(text) | Value::Markup(text) => Ok(text.to_string()),
        other => repr(other),
    }
}

/// `repr(value)`.
///
/// # Errors
/// As [`to_text`].
pub(super) fn repr(value: &Value) -> Result<String> {
    let mut out = String::new();
    push_repr(&mut out, value, 0)?;
    Ok(out)
}

fn push_repr(out: &mut String, value: &Value, depth: usize) -> Result<()> {
    if depth > 200 {
        return Err(Error::new("a value is nested too deeply to be printed"));
    }
    let depth = depth + 1;
    match value {
        Value::Undefined(_) => out.push_str("Undefined"),
        Value::None => out.push_str("None"),
        Value::Bool(value) => out.push_str(if *value { "True" } else { "False" }),
        Value::Int(value) => out.push_str(&value.to_string()),
        Value::Float(value) => out.push_str(&float(*value)),
        Value::Text(text) => push_quoted(out, text),
        Value::Markup(text) => {
            out.push_str("Markup(");
            push_quoted(out, text);
            out.push(')');
        }
        Value::List(items) => push_items(out, "[", items, "]", depth)?,
        Value::Tuple(items) | Value::Group(items) => {
            push_items(out, "(", items, if items.len() == 1 { ",)" } else { ")" }, depth)?;
        }
        Value::Dict(dict) => push_dict(out, dict, depth)?,
        Value::Range(range) => out.push_str(&range_text(range)),
        Value::View(view, dict) => {
            push_items(out, &format!("{}([", value.type_name()), &dict.view(*view), "])", depth)?;
        }
        Value::Object(object) => push_object(out, object)?,
        Value::Iterator(_) | Value::Slice(_) => return Err(no_text(value)),
    }
    Ok(())
}

fn no_text(value: &Value) -> Error {
    let name = value.type_name();
    Error::new(format!("the template prints a {name}, of which Python shows the address: put `| list` behind it"))
}

fn push_object(out: &mut String, object: &Object) -> Result<()> {
    match object {
        Object::Macro(closure) if !closure.written.name.is_empty() => {
            out.push_str("<Macro ");
            push_quoted(out, &closure.written.name);
            out.push('>');
            Ok(())
        }
        other => Err(Error::new(format!("the template prints a {}, which has no text", other.type_name()))),
    }
}

fn push_items(out: &mut String, open: &str, items: &[Value], close: &str, depth: usize) -> Result<()> {
    out.push_str(open);
    for (at, item) in items.iter().enumerate() {
        out.push_str(if at == 0 { "" } else { ", " });
        push_repr(out, item, depth)?;
    }
    out.push_str(close);
    Ok(())
}

fn push_dict(out: &mut String, dict: &Dict, depth: usize) -> Result<()> {
    out.push('{');
    for (at, (key, value)) in dict.entries().iter().enumerate() {
        out.push_str(if at == 0 { "" } else { ", " });
        push_repr(out, key, depth)?;
        out.push_str(": ");
        push_repr(out, value, depth)?;
    }
    out.push('}');
    Ok(())
}

fn range_text(range: &Range) -> String {
    let (start, end) = (range.start, range.end);
    if range.step == 1 { format!("range({start}, {end})") } else { format!("range({start}, {end}, {})", range.step) }
}

/// Writes a quoted string as `repr` does.
fn push_quoted(out: &mut String, text: &str) {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    out.push(quote);
    for letter in text.chars() {
        match letter {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\\' => out.push_str("\\\\"),
            _ if letter == quote => out.extend(['\\', letter]),
            _ if is_printable(letter) => out.push(letter),
            _ => out.push_str(&escaped(letter)),
        }
    }
    out.push(quote);
}

/// A character's escape in Python.
pub(super) fn escaped(letter: char) -> String {
    match u32::from(letter) {
        number @ 0..=0xff => format!("\\x{number:02x}"),
        number @ 0x100..=0xffff => format!("\\u{number:04x}"),
        number => format!("\\U{number:08x}"),
    }
}

/// `ascii(value)`.
pub(super) fn ascii(value: &Value) -> Result<String> {
    let text = repr(value)?;
    let letter = |letter: char| if letter.is_ascii() { letter.to_string() } else { escaped(letter) };
    Ok(text.chars().map(letter).collect())
}

/// A float as Python prints it: the shortest digits that round-trip, with an exponent below 1e-4 and from 1e16.
pub(super) fn float(value: f64) -> String {
    if value.is_nan() {
        return "nan".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "inf" } else { "-inf" }.to_owned();
    }
    let scientific = format!("{value:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    // Of two shortest texts that read back, Python takes the one that the exact value is nearer to, or the even one.
    let precision = digits.split_once('.').map_or(0, |(_, fraction)| fraction.len());
    let exact = format!("{value:.precision$e}");
    let nearest = exact.split_once('e').filter(|_| exact.parse() == Ok(value));
    let (digits, exponent) = match nearest {
        Some((nearest, found)) if found.parse() == Ok(exponent) => (nearest, exponent),
        _ => (digits, exponent),
    };
    if !(-4..16).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{digits}e{sign}{:02}", exponent.abs());
    }
    let (sign, digits) = digits.split_at(usize::from(digits.starts_with('-')));
    let digits = digits.replace('.', "");
    let Ok(before) = usize::try_from(exponent) else {
        return format!("{sign}0.{}{digits}", "0".repeat((-exponent - 1) as usize));
    };
    if digits.len() <= before + 1 {
        return format!("{sign}{digits}{}.0", "0".repeat(before + 1 - digits.len()));
    }
    format!("{sign}{}.{}", &digits[..=before], &digits[before + 1..])
}

/// The view of a dict, by its method name.
pub(super) fn view_of(name: &str) -> Option<View> {
    Some(match name {
        "keys" => View::Keys,
        "values" => View::Values,
        "items" => View::Items,
        _ => return None,
    })
}
