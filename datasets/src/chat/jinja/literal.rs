//! Number and string literals, as in Python.
use std::fmt::Write as _;

use super::error::{Error, Result};
use super::token::Kind;

/// Whether a character may be part of a name.
pub(super) fn is_word(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_'
}

/// The number at the start of `text` and its length. After a dot it has no fraction: `x.1.2` is two indices.
pub(super) fn number(text: &str, after_dot: bool) -> Result<Option<(Kind, usize)>> {
    if !text.starts_with(|letter: char| letter.is_ascii_digit()) {
        return Ok(None);
    }
    if let Some(length) = float_length(text).filter(|_| !after_dot) {
        let digits = text[..length].replace('_', "");
        let value: f64 = digits.parse().map_err(|_| Error::new(format!("{digits} is no number")))?;
        if value.is_infinite() {
            return Err(Error::new(format!("{digits} is larger than any float")));
        }
        return Ok(Some((Kind::Float(value), length)));
    }
    let (radix, prefix) = match text.get(..2).map(str::to_ascii_lowercase).as_deref() {
        Some("0x") => (16, 2),
        Some("0o") => (8, 2),
        Some("0b") => (2, 2),
        _ => (10, 0),
    };
    let digits = digits_length(&text[prefix..], radix, prefix > 0);
    let (radix, prefix, length) = if digits == 0 { (10, 0, 1) } else { (radix, prefix, prefix + digits) };
    let length = if prefix == 0 && text.starts_with('0') { zeros_length(text) } else { length };
    let digits = text[prefix..length].replace('_', "");
    let value = i128::from_str_radix(&digits, radix);
    let value = value.map_err(|_| Error::new(format!("the number {digits} is too large")))?;
    Ok(Some((Kind::Int(value), length)))
}

/// The length of digits, with single underscores allowed between them.
fn digits_length(text: &str, radix: u32, may_start_with_underscore: bool) -> usize {
    let (mut length, mut after_digit) = (0, may_start_with_underscore);
    for (at, letter) in text.char_indices() {
        match letter {
            '_' if after_digit => after_digit = false,
            _ if letter.is_digit(radix) => (length, after_digit) = (at + 1, true),
            _ => break,
        }
    }
    length
}

fn zeros_length(text: &str) -> usize {
    text.len() - text.trim_start_matches('0').len()
}

/// The length of digits with a fraction or an exponent or both.
fn float_length(text: &str) -> Option<usize> {
    let mut length = digits_length(text, 10, false);
    let fraction = text[length..].strip_prefix('.').map_or(0, |rest| digits_length(rest, 10, false));
    if fraction > 0 {
        length += 1 + fraction;
    }
    let exponent = text[length..].strip_prefix(['e', 'E']).and_then(|rest| {
        let sign = usize::from(rest.starts_with(['+', '-']));
        let digits = digits_length(&rest[sign..], 10, false);
        (digits > 0).then_some(1 + sign + digits)
    });
    (fraction > 0 || exponent.is_some()).then(|| length + exponent.unwrap_or(0))
}

/// The length of the quoted string at the start, quotes included.
pub(super) fn quoted(text: &str) -> Option<usize> {
    let quote = text.chars().next()?;
    let mut letters = text.char_indices().skip(1);
    while let Some((at, letter)) = letters.next() {
        match letter {
            '\\' => {
                letters.next()?;
            }
            _ if letter == quote => return Some(at + 1),
            _ => {}
        }
    }
    None
}

/// Decodes escapes by Python's `unicode-escape` after `backslashreplace`.
pub(super) fn unescape(text: &str) -> Result<String> {
    let mut out = String::new();
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        if letter != '\\' {
            out.push(letter);
            continue;
        }
        let code = letters.next().ok_or_else(|| Error::new("a text ends in a backslash"))?;
        match code {
            '\n' => {}
            '\\' | '\'' | '"' => out.push(code),
            'a' => out.push('\u{7}'),
            'b' => out.push('\u{8}'),
            'f' => out.push('\u{c}'),
            'n' => out.push('\n'),
            'r' => out.push('\r'),
            't' => out.push('\t'),
            'v' => out.push('\u{b}'),
            '0'..='7' => out.push(octal(code, &mut letters)?),
            'x' => out.push(hexadecimal(&mut letters, 2)?),
            'u' => out.push(hexadecimal(&mut letters, 4)?),
            'U' => out.push(hexadecimal(&mut letters, 8)?),
            'N' => return Err(Error::new("letters by name (\\N{..}) are not supported in a template's texts")),
            _ => push_unknown(&mut out, code),
        }
    }
    Ok(out)
}

/// Writes an unknown escape unchanged; non-ASCII characters were escaped before, so the first backslash takes theirs.
fn push_unknown(out: &mut String, code: char) {
    out.push('\\');
    match u32::from(code) {
        0..=0x7f => out.push(code),
        number @ 0x80..=0xff => drop(write!(out, "x{number:02x}")),
        number @ 0x100..=0xffff => drop(write!(out, "u{number:04x}")),
        number => drop(write!(out, "U{number:08x}")),
    }
}

type Letters<'t> = std::iter::Peekable<std::str::Chars<'t>>;

fn octal(first: char, letters: &mut Letters<'_>) -> Result<char> {
    let mut number = first.to_digit(8).unwrap_or(0);
    for _ in 0..2 {
        let Some(digit) = letters.peek().and_then(|letter| letter.to_digit(8)) else { break };
        number = number * 8 + digit;
        letters.next();
    }
    char::from_u32(number).ok_or_else(|| Error::new("an octal escape names no letter"))
}

fn hexadecimal(letters: &mut Letters<'_>, length: usize) -> Result<char> {
    let digits: String = letters.by_ref().take(length).collect();
    let is_whole = digits.len() == length && digits.chars().all(|digit| digit.is_ascii_hexdigit());
    let number = u32::from_str_radix(&digits, 16).ok().filter(|_| is_whole);
    let number = number.ok_or_else(|| Error::new(format!("the escape of {digits:?} is cut short")))?;
    char::from_u32(number).ok_or_else(|| Error::new(format!("the escape \\u{digits} alone is no letter")))
}
