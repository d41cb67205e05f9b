//! Conversion between JSON and values; output as Python's `json.dumps` writes it.
use std::fmt::Write as _;
use std::rc::Rc;

use serde_json::{Map, Value as Json};

use super::error::{Error, Result};
use super::extent::check_size;
use super::text;
use super::value::{Dict, Value};
use crate::big_integers;

/// Converts JSON to a value.
///
/// # Errors
/// An integer has more than 127 bits.
fn from_json(value: &Json) -> Result<Value> {
    if let Some(digits) = big_integers::digits(value) {
        let number = digits.parse().map(Value::Int);
        return number.map_err(|_| Error::new(format!("the number {digits} has more than 127 bits")));
    }
    Ok(match value {
        Json::Null => Value::None,
        Json::Bool(value) => Value::Bool(*value),
        Json::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(number), _) => Value::Int(number.into()),
            (None, Some(number)) => Value::Int(number.into()),
            (None, None) => Value::Float(number.as_f64().unwrap_or(f64::NAN)),
        },
        Json::String(text) => Value::from(&**text),
        Json::Array(items) => Value::list(items.iter().map(from_json).collect::<Result<_>>()?),
        Json::Object(map) => Value::Dict(Rc::new(dict(map)?)),
    })
}

/// Converts a JSON object to a dict.
///
/// # Errors
/// An integer in it has more than 127 bits.
pub(super) fn dict(map: &Map<String, Json>) -> Result<Dict> {
    let entry = |(key, value): (&String, &Json)| Ok((Value::from(&**key), from_json(value)?));
    map.iter().map(entry).collect::<Result<Vec<_>>>().map(Dict::from)
}

/// Options of `json.dumps`.
#[derive(Debug)]
pub(super) struct Style {
    pub(super) is_ascii: bool,
    pub(super) indent: Option<String>,
    pub(super) between: String,
    pub(super) behind_key: String,
    pub(super) sorts_keys: bool,
}

/// `json.dumps(value)`.
///
/// # Errors
/// The value has no JSON form.
pub(super) fn dumps(value: &Value, style: &Style) -> Result<String> {
    let mut out = String::new();
    push(&mut out, value, style, 0)?;
    Ok(out)
}

fn push(out: &mut String, value: &Value, style: &Style, depth: usize) -> Result<()> {
    if depth > 200 {
        return Err(Error::new("a value is nested too deeply to be written as JSON"));
    }
    check_size(out.len())?;
    match value {
        Value::Text(text) | Value::Markup(text) => push_text(out, text, style.is_ascii),
        Value::List(items) | Value::Tuple(items) | Value::Group(items) => push_list(out, items, style, depth)?,
        Value::Dict(dict) => push_dict(out, dict, style, depth)?,
        Value::Undefined(why) => return Err(Error::new(format!("undefined can't be written as JSON: {why}"))),
        other => match scalar(other) {
            Some(text) => out.push_str(&text),
            None => return Err(Error::new(format!("a {} can't be written as JSON", other.type_name()))),
        },
    }
    Ok(())
}

fn scalar(value: &Value) -> Option<String> {
    Some(match value {
        Value::None => "null".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Int(value) => value.to_string(),
        Value::Float(value) if value.is_nan() => "NaN".to_owned(),
        Value::Float(value) if value.is_infinite() => if *value > 0.0 { "Infinity" } else { "-Infinity" }.to_owned(),
        Value::Float(value) => text::float(*value),
        _ => return None,
    })
}

fn push_break(out: &mut String, style: &Style, depth: usize) {
    if let Some(indent) = &style.indent {
        out.push('\n');
        (0..depth).for_each(|_| out.push_str(indent));
    }
}

fn push_list(out: &mut String, items: &[Value], style: &Style, depth: usize) -> Result<()> {
    if items.is_empty() {
        out.push_str("[]");
        return Ok(());
    }
    out.push('[');
    for (at, item) in items.iter().enumerate() {
        out.push_str(if at == 0 { "" } else { &style.between });
        push_break(out, style, depth + 1);
        push(out, item, style, depth + 1)?;
    }
    push_break(out, style, depth);
    out.push(']');
    Ok(())
}

fn push_dict(out: &mut String, dict: &Dict, style: &Style, depth: usize) -> Result<()> {
    if dict.entries().is_empty() {
        out.push_str("{}");
        return Ok(());
    }
    let mut entries: Vec<&(Value, Value)> = dict.entries().iter().collect();
    if style.sorts_keys {
        entries = super::sorting::sorted(entries, false, |entry| Ok(entry.0.clone()))?;
    }
    out.push('{');
    for (at, (key, value)) in entries.into_iter().enumerate() {
        out.push_str(if at == 0 { "" } else { &style.between });
        push_break(out, style, depth + 1);
        push_text(out, &key_text(key)?, style.is_ascii);
        out.push_str(&style.behind_key);
        push(out, value, style, depth + 1)?;
    }
    push_break(out, style, depth);
    out.push('}');
    Ok(())
}

fn key_text(key: &Value) -> Result<String> {
    let text = key.as_text().map(str::to_owned).or_else(|| scalar(key));
    text.ok_or_else(|| Error::new(format!("a {} can't be a key in JSON", key.type_name())))
}

fn push_text(out: &mut String, text: &str, is_ascii: bool) {
    out.push('"');
    for letter in text.chars() {
        match letter {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\0'..='\u{1f}' => push_unit(out, letter as u16),
            _ if is_ascii && !(' '..='~').contains(&letter) => {
                letter.encode_utf16(&mut [0; 2]).iter().for_each(|unit| push_unit(out, *unit));
            }
            _ => out.push(letter),
        }
    }
    out.push('"');
}

fn push_unit(out: &mut String, unit: u16) {
    // Writing to a text never fails.
    let _ = write!(out, "\\u{unit:04x}");
}
