//! Methods that split strings.
use super::arguments::{self, Arguments, required};
use super::error::{Error, Result};
use super::text::is_space;
use super::value::Value;

/// Calls a splitting method.
///
/// # Errors
/// The method rejects its arguments.
pub(super) fn call(text: &str, name: &str, arguments: &Arguments) -> Result<Value> {
    match name {
        "splitlines" => {
            let [keeps] = arguments.bind(name, ["keepends"])?;
            Ok(texts(lines(text, keeps.is_some_and(|keeps| keeps.is_true()))))
        }
        "partition" | "rpartition" => partition(text, name, arguments),
        _ => split(text, name, arguments),
    }
}

fn texts(parts: Vec<&str>) -> Value {
    Value::list(parts.into_iter().map(Value::from).collect())
}

/// `str.splitlines`.
pub(super) fn lines(text: &str, keeps_ends: bool) -> Vec<&str> {
    let is_break = |letter: char| {
        matches!(letter, '\n' | '\r' | '\u{b}' | '\u{c}' | '\u{1c}'..='\u{1e}' | '\u{85}' | '\u{2028}' | '\u{2029}')
    };
    let mut lines = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find(is_break) {
        let behind = &rest[at..];
        let first = behind.chars().next().map_or(1, char::len_utf8);
        let length = if behind.starts_with("\r\n") { 2 } else { first };
        lines.push(&rest[..if keeps_ends { at + length } else { at }]);
        rest = &rest[at + length..];
    }
    if !rest.is_empty() {
        lines.push(rest);
    }
    lines
}

fn partition(text: &str, name: &str, arguments: &Arguments) -> Result<Value> {
    let [separator] = arguments.bind_positional(name)?;
    let separator = required(separator, name)?;
    let separator = arguments::text(&separator, name)?;
    if separator.is_empty() {
        return Err(Error::new(format!("{name}: the separator is empty")));
    }
    let split = if name == "partition" { text.split_once(separator) } else { text.rsplit_once(separator) };
    let parts = match (split, name) {
        (Some((before, behind)), _) => [before, separator, behind],
        (None, "partition") => [text, "", ""],
        (None, _) => ["", "", text],
    };
    Ok(Value::tuple(parts.into_iter().map(Value::from).collect()))
}

fn split(text: &str, name: &str, arguments: &Arguments) -> Result<Value> {
    let [separator, most] = arguments.bind(name, ["sep", "maxsplit"])?;
    let most = most.map_or(Ok(-1), |most| arguments::int(&most, name))?;
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    let from_right = name == "rsplit";
    let separator = match separator {
        None | Some(Value::None) => return Ok(texts(words(text, most, from_right))),
        Some(separator) => separator,
    };
    let separator = arguments::text(&separator, name)?;
    if separator.is_empty() {
        return Err(Error::new(format!("{name}: the separator is empty")));
    }
    let count = most.saturating_add(1);
    if !from_right {
        return Ok(texts(text.splitn(count, separator).collect()));
    }
    let mut parts: Vec<&str> = text.rsplitn(count, separator).collect();
    parts.reverse();
    Ok(texts(parts))
}

/// Splits at white space, at most `most` times.
fn words(text: &str, most: usize, from_right: bool) -> Vec<&str> {
    let mut words = Vec::new();
    let mut rest = if from_right { text.trim_end_matches(is_space) } else { text.trim_start_matches(is_space) };
    while !rest.is_empty() && words.len() < most {
        let cut = if from_right { rest.rfind(is_space) } else { rest.find(is_space) };
        let Some(at) = cut else { break };
        if from_right {
            let width = rest[at..].chars().next().map_or(1, char::len_utf8);
            words.push(&rest[at + width..]);
            rest = rest[..at].trim_end_matches(is_space);
        } else {
            words.push(&rest[..at]);
            rest = rest[at..].trim_start_matches(is_space);
        }
    }
    if !rest.is_empty() {
        // What is left whole loses the white space at its own side only where nothing was cut there.
        words.push(rest);
    }
    if from_right {
        words.reverse();
    }
    words
}
