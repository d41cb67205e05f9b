//! Methods of strings.
use std::collections::HashSet;

use super::arguments::{self, Arguments, required};
use super::error::{Error, Result};
use super::extent::check_size;
use super::interpreter::Interpreter;
use super::method_support::MethodSupport::{self, Method, Unsupported};
use super::numbers::WIDEST;
use super::text::{is_printable, is_space};
use super::value::Value;
use super::{braces, letters, splitting};

/// The methods of Python's `str`.
pub(super) const NAMES: &[(&str, MethodSupport)] = &[
    ("capitalize", Method),
    ("casefold", Method),
    ("center", Method),
    ("count", Method),
    ("encode", Unsupported),
    ("endswith", Method),
    ("expandtabs", Method),
    ("find", Method),
    ("format", Method),
    ("format_map", Method),
    ("index", Method),
    ("isalnum", Method),
    ("isalpha", Method),
    ("isascii", Method),
    ("isdecimal", Method),
    ("isdigit", Method),
    ("isidentifier", Unsupported),
    ("islower", Method),
    ("isnumeric", Method),
    ("isprintable", Method),
    ("isspace", Method),
    ("istitle", Method),
    ("isupper", Method),
    ("join", Method),
    ("ljust", Method),
    ("lower", Method),
    ("lstrip", Method),
    ("maketrans", Unsupported),
    ("partition", Method),
    ("removeprefix", Method),
    ("removesuffix", Method),
    ("replace", Method),
    ("rfind", Method),
    ("rindex", Method),
    ("rjust", Method),
    ("rpartition", Method),
    ("rsplit", Method),
    ("rstrip", Method),
    ("split", Method),
    ("splitlines", Method),
    ("startswith", Method),
    ("strip", Method),
    ("swapcase", Method),
    ("title", Method),
    ("translate", Unsupported),
    ("upper", Method),
    ("zfill", Method),
];

/// Calls `text.name(arguments)`.
///
/// # Errors
/// The method rejects its arguments.
pub(super) fn call(
    interpreter: &Interpreter<'_>,
    text: &str,
    name: &'static str,
    arguments: &Arguments,
) -> Result<Value> {
    match name {
        "format" => braces::format(interpreter, text, arguments).map(Value::from),
        "format_map" => format_map(interpreter, text, arguments),
        "capitalize" | "casefold" | "lower" | "upper" | "title" | "swapcase" => {
            arguments.bind::<0>(name, [])?;
            Ok(Value::from(cased(text, name)))
        }
        "split" | "rsplit" | "splitlines" | "partition" | "rpartition" => splitting::call(text, name, arguments),
        "strip" | "lstrip" | "rstrip" => strip(text, name, arguments),
        "startswith" | "endswith" => affix(text, name, arguments),
        "removeprefix" | "removesuffix" => remove(text, name, arguments),
        "find" | "rfind" | "index" | "rindex" | "count" => find(text, name, arguments),
        "center" | "ljust" | "rjust" | "zfill" => justify(text, name, arguments),
        "replace" => {
            let [old, new, count] = arguments.bind_positional(name)?;
            let (old, new) = (required(old, name)?, required(new, name)?);
            let count = count.map_or(Ok(-1), |count| arguments::int(&count, name))?;
            replace(text, arguments::text(&old, name)?, arguments::text(&new, name)?, count).map(Value::from)
        }
        "join" => {
            let [parts] = arguments.bind_positional(name)?;
            let parts = required(parts, name)?.iterate()?;
            let parts: Vec<&str> = parts.iter().map(|part| arguments::text(part, "join")).collect::<Result<_>>()?;
            let length: usize = parts.iter().map(|part| part.len() + text.len()).sum();
            check_size(length)?;
            Ok(Value::from(parts.join(text)))
        }
        "expandtabs" => {
            let [size] = arguments.bind(name, ["tabsize"])?;
            let size = size.map_or(Ok(8), |size| arguments::int(&size, name))?;
            expand_tabs(text, usize::try_from(size.clamp(0, WIDEST as i128)).unwrap_or(0)).map(Value::from)
        }
        _ => {
            arguments.bind::<0>(name, [])?;
            is(text, name).map(Value::Bool)
        }
    }
}

fn format_map(interpreter: &Interpreter<'_>, text: &str, arguments: &Arguments) -> Result<Value> {
    let [map] = arguments.bind_positional("format_map")?;
    let Some(Value::Dict(map)) = map else { return Err(Error::new("format_map takes a dict")) };
    let named = map.entries().iter().filter_map(|(key, value)| Some((key.as_text()?.to_owned(), value.clone())));
    let arguments = Arguments { positional: Vec::new(), named: named.collect() };
    braces::format(interpreter, text, &arguments).map(Value::from)
}

/// Converts the case of a string.
fn cased(text: &str, name: &str) -> String {
    match name {
        "lower" => text.to_lowercase(),
        "upper" => text.to_uppercase(),
        "swapcase" => letters::swap_case(text),
        "capitalize" => letters::capitalize(text),
        "casefold" => letters::fold_case(text),
        _ => letters::title(text),
    }
}

fn is(text: &str, name: &str) -> Result<bool> {
    let all = |test: fn(char) -> bool| !text.is_empty() && text.chars().all(test);
    Ok(match name {
        "isalpha" => all(letters::is_alphabetic),
        "isalnum" => all(letters::is_alphanumeric),
        "isdecimal" => all(letters::is_decimal),
        "isdigit" => all(letters::is_digit),
        "isnumeric" => all(letters::is_numeric),
        "isspace" => all(is_space),
        "isprintable" => text.chars().all(is_printable),
        "isascii" => text.is_ascii(),
        "islower" => letters::is_lower(text),
        "isupper" => letters::is_upper(text),
        "istitle" => letters::is_title_text(text),
        _ => return Err(Error::new(format!("str.{name} is not supported"))),
    })
}

fn strip(text: &str, name: &str, arguments: &Arguments) -> Result<Value> {
    let [letters] = arguments.bind_positional(name)?;
    let letters = letters.unwrap_or(Value::None);
    let side = match name {
        "lstrip" => (true, false),
        "rstrip" => (false, true),
        _ => (true, true),
    };
    stripped(text, &letters, side, name).map(Value::from)
}

/// Strips white space, or the given characters, on the left and right.
///
/// # Errors
/// The characters are not a string.
pub(super) fn stripped(text: &str, letters: &Value, (left, right): (bool, bool), name: &str) -> Result<String> {
    let set: Option<HashSet<char>> = match letters {
        Value::None => None,
        other => Some(arguments::text(other, name)?.chars().collect()),
    };
    let is_off = |letter: char| set.as_ref().map_or_else(|| is_space(letter), |set| set.contains(&letter));
    let text = if left { text.trim_start_matches(is_off) } else { text };
    Ok(if right { text.trim_end_matches(is_off) } else { text }.to_owned())
}

/// The substring from `start` to `end`, and its offset; `None` if the start is past the end.
fn part(text: &str, start: Option<Value>, end: Option<Value>, name: &str) -> Result<Option<(String, usize)>> {
    let letters: Vec<char> = text.chars().collect();
    let bound = |end: Option<Value>, default: usize| -> Result<usize> {
        let end = match end {
            None | Some(Value::None) => return Ok(default),
            Some(end) => arguments::int(&end, name)?,
        };
        let end = if end < 0 { (end + letters.len() as i128).max(0) } else { end };
        Ok(usize::try_from(end).unwrap_or(usize::MAX))
    };
    let (start, end) = (bound(start, 0)?, bound(end, letters.len())?.min(letters.len()));
    Ok((start <= end).then(|| (letters[start..end].iter().collect(), start)))
}

fn affix(text: &str, name: &str, arguments: &Arguments) -> Result<Value> {
    let [affix, start, end] = arguments.bind_positional(name)?;
    let affix = required(affix, name)?;
    let affixes = match &affix {
        Value::Tuple(items) => items.to_vec(),
        one => vec![one.clone()],
    };
    let part = part(text, start, end, name)?;
    for affix in &affixes {
        let affix = arguments::text(affix, name)?;
        let has = |part: &str| if name == "startswith" { part.starts_with(affix) } else { part.ends_with(affix) };
        if part.as_ref().is_some_and(|(part, _)| has(part)) {
            return Ok(Value::Bool(true));
        }
    }
    Ok(Value::Bool(false))
}

fn remove(text: &str, name: &str, arguments: &Arguments) -> Result<Value> {
    let [affix] = arguments.bind_positional(name)?;
    let affix = required(affix, name)?;
    let affix = arguments::text(&affix, name)?;
    let rest = if name == "removeprefix" { text.strip_prefix(affix) } else { text.strip_suffix(affix) };
    Ok(Value::from(rest.unwrap_or(text)))
}

fn find(text: &str, name: &str, arguments: &Arguments) -> Result<Value> {
    let [needle, start, end] = arguments.bind_positional(name)?;
    let needle = required(needle, name)?;
    let needle = arguments::text(&needle, name)?;
    let part = part(text, start, end, name)?;
    if name == "count" {
        let count = part.map_or(0, |(part, _)| part.matches(needle).count());
        return Ok(Value::Int(count as i128));
    }
    let found = part.and_then(|(part, start)| {
        let at = if name.starts_with('r') { part.rfind(needle) } else { part.find(needle) }?;
        Some(start + part[..at].chars().count())
    });
    match found {
        Some(at) => Ok(Value::Int(at as i128)),
        None if name.ends_with("find") => Ok(Value::Int(-1)),
        None => Err(Error::new(format!("{name}: {needle:?} is not in the text"))),
    }
}

fn justify(text: &str, name: &str, arguments: &Arguments) -> Result<Value> {
    let [width, fill] = arguments.bind_positional(name)?;
    let width = arguments::int(&required(width, name)?, name)?;
    let width = usize::try_from(width.max(0)).ok().filter(|width| *width <= WIDEST);
    let width = width.ok_or_else(|| Error::new(format!("{name}: a width of more than {WIDEST}")))?;
    if name == "zfill" {
        if fill.is_some() {
            return Err(Error::new("zfill takes one argument"));
        }
        let (sign, digits) = text.split_at(usize::from(text.starts_with(['+', '-'])));
        let zeros = "0".repeat(width.saturating_sub(text.chars().count()));
        return Ok(Value::from(format!("{sign}{zeros}{digits}")));
    }
    let fill = fill.unwrap_or_else(|| Value::from(" "));
    let fill = arguments::text(&fill, name)?;
    if fill.chars().count() != 1 {
        return Err(Error::new(format!("{name} fills with one letter")));
    }
    let missing = width.saturating_sub(text.chars().count());
    let left = match name {
        "ljust" => 0,
        "rjust" => missing,
        _ => centred(missing, width),
    };
    Ok(Value::from(format!("{}{text}{}", fill.repeat(left), fill.repeat(missing - left))))
}

/// The left padding of centred text, by Python's rule.
pub(super) fn centred(missing: usize, width: usize) -> usize {
    missing / 2 + (missing & width & 1)
}

/// `str.replace`; a negative count means all.
///
/// # Errors
/// The result is too long.
pub(super) fn replace(text: &str, old: &str, new: &str, count: i128) -> Result<String> {
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    let growth = text.matches(old).take(count).count().saturating_mul(new.len());
    check_size(text.len().saturating_add(growth))?;
    Ok(text.replacen(old, new, count))
}

fn expand_tabs(text: &str, size: usize) -> Result<String> {
    let mut out = String::new();
    let mut column = 0;
    for letter in text.chars() {
        match letter {
            '\t' => {
                let width = if size == 0 { 0 } else { size - column % size };
                out.push_str(&" ".repeat(width));
                check_size(out.len())?;
                column += width;
            }
            '\n' | '\r' => {
                out.push(letter);
                column = 0;
            }
            _ => {
                out.push(letter);
                column += 1;
            }
        }
    }
    Ok(out)
}
