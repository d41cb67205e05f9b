//! `'..{}..'.format(values)`.
use super::arguments::Arguments;
use super::error::{Error, Result};
use super::extent::check_size;
use super::interpreter::Interpreter;
use super::numbers;
use super::text::{ascii, repr, to_text};
use super::value::Value;

/// Formats the string.
///
/// # Errors
/// A value is missing, or a format does not fit its value.
pub(super) fn format(interpreter: &Interpreter<'_>, text: &str, arguments: &Arguments) -> Result<String> {
    Fields { interpreter, arguments, next: Some(0) }.fill(text, 2)
}

struct Fields<'f, 't> {
    interpreter: &'f Interpreter<'t>,
    arguments: &'f Arguments,
    /// The next automatic field number; `None` after an explicit one.
    next: Option<usize>,
}

impl Fields<'_, '_> {
    fn fill(&mut self, text: &str, depth: usize) -> Result<String> {
        let mut out = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            out.push_str(&rest[..at]);
            let (brace, behind) = rest[at..].split_at(1);
            if let Some(after) = behind.strip_prefix(brace) {
                out.push_str(brace);
                rest = after;
                continue;
            }
            if brace == "}" {
                return Err(Error::new("a format has a single }"));
            }
            let end = closing(behind).ok_or_else(|| Error::new("a format has a { without }"))?;
            out.push_str(&self.field(&behind[..end], depth)?);
            check_size(out.len())?;
            rest = &behind[end + 1..];
        }
        out.push_str(rest);
        Ok(out)
    }

    fn field(&mut self, field: &str, depth: usize) -> Result<String> {
        if depth == 0 {
            return Err(Error::new("formats are nested too deeply"));
        }
        let bracket = field.find('[').map_or(0, |open| field[open..].find(']').map_or(0, |close| open + close));
        let split = field[bracket..].find(['!', ':']).map(|at| at + bracket);
        let (name, rest) = split.map_or((field, ""), |at| field.split_at(at));
        let (conversion, spec) = match rest.strip_prefix('!') {
            Some(rest) => {
                let mut letters = rest.chars();
                let conversion = letters.next();
                let spec = letters.as_str();
                if !spec.is_empty() && !spec.starts_with(':') {
                    return Err(Error::new("a conversion in a format has one letter"));
                }
                (conversion, spec.strip_prefix(':').unwrap_or(""))
            }
            None => (None, rest.strip_prefix(':').unwrap_or("")),
        };
        let value = self.value(name)?;
        let spec = self.fill(spec, depth - 1)?;
        match conversion {
            None => numbers::format(&value, &spec),
            Some('s') => numbers::format(&Value::from(to_text(&value)?), &spec),
            Some('r') => numbers::format(&Value::from(repr(&value)?), &spec),
            Some('a') => numbers::format(&Value::from(ascii(&value)?), &spec),
            Some(other) => Err(Error::new(format!("no conversion !{other}"))),
        }
    }

    fn value(&mut self, name: &str) -> Result<Value> {
        let split = name.find(['.', '[']).unwrap_or(name.len());
        let (first, mut rest) = name.split_at(split);
        if first.is_empty() && !rest.is_empty() {
            // The formatter of Jinja's sandbox looks for an argument without a name.
            return Err(Error::new("a format has a field with a part and no name"));
        }
        let mut value = self.first(first, !rest.is_empty())?;
        while !rest.is_empty() {
            let part;
            if let Some(inner) = rest.strip_prefix('[') {
                let end = inner.find(']').ok_or_else(|| Error::new("a format has a [ without ]"))?;
                let is_number = inner[..end].bytes().all(|letter| letter.is_ascii_digit());
                let number = inner[..end].parse().ok().filter(|_| is_number);
                let index = number.map_or_else(|| Value::from(&inner[..end]), Value::Int);
                value = self.interpreter.item(&value, &index)?;
                rest = &inner[end + 1..];
                continue;
            }
            let inner = rest.strip_prefix('.').ok_or_else(|| Error::new("a format has text behind ]"))?;
            (part, rest) = inner.split_at(inner.find(['.', '[']).unwrap_or(inner.len()));
            value = self.interpreter.attribute(&value, part)?;
        }
        Ok(value)
    }

    /// The argument that a field refers to. An explicit number followed by an attribute or index does not switch off
    /// automatic numbering, as in Python.
    fn first(&mut self, name: &str, has_parts: bool) -> Result<Value> {
        let number = name.parse::<usize>().ok().filter(|_| !name.starts_with('+'));
        let at = match (number, self.next) {
            (Some(at), _) if has_parts => at,
            (Some(at), None | Some(0)) => {
                self.next = None;
                at
            }
            (None, Some(at)) if name.is_empty() => {
                self.next = Some(at + 1);
                at
            }
            (None, _) if !name.is_empty() => {
                let named = self.arguments.get(name).cloned();
                return named.ok_or_else(|| Error::new(format!("no value named {name:?} for the format")));
            }
            _ => return Err(Error::new("a format has fields with and without numbers")),
        };
        let value = self.arguments.positional.get(at).cloned();
        value.ok_or_else(|| Error::new(format!("no value {at} for the format")))
    }
}

/// The end of a field.
fn closing(text: &str) -> Option<usize> {
    let mut depth = 0;
    for (at, letter) in text.char_indices() {
        match letter {
            '{' => depth += 1,
            '}' if depth == 0 => return Some(at),
            '}' => depth -= 1,
            _ => {}
        }
    }
    None
}
