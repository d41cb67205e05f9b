//! Filters from strings to strings.
use super::arguments::{self, Arguments, required};
use super::attributes::marked;
use super::error::{Error, Result};
use super::extent::check_size;
use super::interpreter::Interpreter;
use super::numbers::WIDEST;
use super::text::{is_space, to_text};
use super::value::Value;
use super::{letters, splitting, text_methods};

/// Applies a string function; safe strings stay safe.
fn on_text(value: &Value, change: impl FnOnce(&str) -> Result<String>) -> Result<Value> {
    let changed = change(&to_text(value)?)?;
    Ok(if matches!(value, Value::Markup(_)) { Value::Markup(changed.into()) } else { Value::from(changed) })
}

pub(super) fn upper(_: &Interpreter<'_>, value: &Value, arguments: &Arguments) -> Result<Value> {
    arguments.bind::<0>("upper", [])?;
    on_text(value, |text| Ok(text.to_uppercase()))
}

pub(super) fn lower(_: &Interpreter<'_>, value: &Value, arguments: &Arguments) -> Result<Value> {
    arguments.bind::<0>("lower", [])?;
    on_text(value, |text| Ok(text.to_lowercase()))
}

pub(super) fn capitalize(_: &Interpreter<'_>, value: &Value, arguments: &Arguments) -> Result<Value> {
    arguments.bind::<0>("capitalize", [])?;
    on_text(value, |text| Ok(letters::capitalize(text)))
}

/// Jinja's rule: a letter after white space, a dash or an opening bracket is upper case, others lower case.
pub(super) fn title(_: &Interpreter<'_>, value: &Value, arguments: &Arguments) -> Result<Value> {
    arguments.bind::<0>("title", [])?;
    let text = to_text(value)?;
    let is_border = |letter: char| is_space(letter) || matches!(letter, '-' | '(' | '{' | '[' | '<');
    let mut out = String::new();
    let mut rest = &*text;
    while let Some(first) = rest.chars().next() {
        let is_word = !is_border(first);
        let end = rest.find(|letter| is_border(letter) == is_word).unwrap_or(rest.len());
        let (head, tail) = rest[..end].split_at(first.len_utf8());
        out.push_str(&head.to_uppercase());
        out.push_str(&tail.to_lowercase());
        rest = &rest[end..];
    }
    Ok(Value::from(out))
}

pub(super) fn trim(_: &Interpreter<'_>, value: &Value, arguments: &Arguments) -> Result<Value> {
    let [letters] = arguments.bind("trim", ["chars"])?;
    let letters = letters.unwrap_or(Value::None);
    on_text(value, |text| text_methods::stripped(text, &letters, (true, true), "trim"))
}

pub(super) fn replace(_: &Interpreter<'_>, value: &Value, arguments: &Arguments) -> Result<Value> {
    let [old, new, count] = arguments.bind("replace", ["old", "new", "count"])?;
    let (old, new) = (to_text(&required(old, "replace")?)?, to_text(&required(new, "replace")?)?);
    let count = match count {
        None | Some(Value::None) => -1,
        Some(count) => arguments::int(&count, "replace")?,
    };
    text_methods::replace(&to_text(value)?, &old, &new, count).map(Value::from)
}

fn width(value: Option<Value>, default: i128, what: &str) -> Result<usize> {
    let width = value.map_or(Ok(default), |value| arguments::int(&value, what))?;
    let width = usize::try_from(width.max(0)).ok().filter(|width| *width <= WIDEST);
    width.ok_or_else(|| Error::new(format!("{what}: a width of more than {WIDEST}")))
}

pub(super) fn center(_: &Interpreter<'_>, value: &Value, arguments: &Arguments) -> Result<Value> {
    let [given] = arguments.bind("center", ["width"])?;
    let width = width(given, 80, "center")?;
    on_text(value, |text| {
        let missing = width.saturating_sub(text.chars().count());
        let left = text_methods::centred(missing, width);
        Ok(format!("{}{text}{}", " ".repeat(left), " ".repeat(missing - left)))
    })
}

pub(super) fn indent(_: &Interpreter<'_>, value: &Value, arguments: &Arguments) -> Result<Value> {
    let [given, first, blank] = arguments.bind("indent", ["width", "first", "blank"])?;
    let is_true = |flag: Option<Value>| flag.is_some_and(|flag| flag.is_true());
    let (first, blank) = (is_true(first), is_true(blank));
    let indention = match given {
        Some(Value::Text(text)) => text.to_string(),
        given => " ".repeat(width(given, 4, "indent")?),
    };
    if matches!(value, Value::Markup(_)) {
        return Err(marked());
    }
    // A line break at the end is one that Jinja adds before it splits, and one more is dropped.
    let text = [arguments::text(value, "indent")?, "\n"].concat();
    let lines = splitting::lines(&text, false);
    let mut out = if first { indention.clone() } else { String::new() };
    for (at, line) in lines.into_iter().enumerate() {
        check_size(out.len())?;
        if at > 0 {
            out.push('\n');
            out.push_str(if blank || !line.is_empty() { &indention } else { "" });
        }
        out.push_str(line);
    }
    Ok(Value::from(out))
}

pub(super) fn truncate(_: &Interpreter<'_>, value: &Value, arguments: &Arguments) -> Result<Value> {
    let [length, kills_words, end, leeway] = arguments.bind("truncate", ["length", "killwords", "end", "leeway"])?;
    let end = end.unwrap_or_else(|| Value::from("..."));
    let end = arguments::text(&end, "truncate")?;
    let leeway = leeway.filter(|leeway| !matches!(leeway, Value::None));
    let (length, leeway) = (width(length, 255, "truncate")?, width(leeway, 5, "truncate")?);
    let text = arguments::text(value, "truncate")?;
    let kept = length.checked_sub(end.chars().count()).ok_or_else(|| Error::new("truncate: the end is too long"))?;
    if text.chars().count() <= length + leeway {
        return Ok(value.clone());
    }
    let kills_words = kills_words.is_some_and(|flag| flag.is_true());
    let cut: String = text.chars().take(kept).collect();
    let cut = match cut.rsplit_once(' ') {
        Some((before, _)) if !kills_words => before,
        _ => &cut,
    };
    Ok(Value::from([cut, end].concat()))
}

pub(super) fn wordcount(_: &Interpreter<'_>, value: &Value, arguments: &Arguments) -> Result<Value> {
    arguments.bind::<0>("wordcount", [])?;
    let (mut count, mut is_inside) = (0, false);
    for letter in to_text(value)?.chars() {
        let is_word = letter == '_' || letters::is_alphanumeric(letter);
        count += i128::from(is_word && !is_inside);
        is_inside = is_word;
    }
    Ok(Value::Int(count))
}
