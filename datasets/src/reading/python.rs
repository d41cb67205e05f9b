//! What Python's `json` writes that is not JSON, or that others read otherwise.
use serde_json::Value;

use crate::big_integers;

/// Names of numbers that JSON has no words for.
const NAMES: [&str; 3] = ["NaN", "Infinity", "-Infinity"];

/// JSON as Python reads it: a whole number of any size keeps its digits ([`whole`]).
///
/// # Errors
/// The text is no JSON.
pub(crate) fn from_str(text: &str) -> serde_json::Result<Value> {
    let is_long = |digits: &[u8]| digits.len() >= big_integers::SHORTEST;
    let may_be_long = text.as_bytes().split(|byte| !byte.is_ascii_digit()).any(is_long);
    let marked = if may_be_long { with_whole_numbers(text) } else { None };
    // Where the text is broken, the error is of the text as it stands.
    marked.and_then(|marked| serde_json::from_str(&marked).ok()).map_or_else(|| serde_json::from_str(text), Ok)
}

fn with_whole_numbers(text: &str) -> Option<String> {
    replaced(text, |token| {
        let digits = token.strip_prefix('-').unwrap_or(token);
        let is_long = digits.len() >= big_integers::SHORTEST && digits.bytes().all(|digit| digit.is_ascii_digit());
        let fits = token.parse::<i64>().is_ok() || token.parse::<u64>().is_ok();
        (is_long && !fits && !digits.starts_with('0')).then(|| big_integers::marked(token).to_string())
    })
}

/// The text with `null` for numbers that are none or too big (`NaN`, `Infinity`, `1e999`), outside strings; nothing
/// where there are none. A field that is read and has one is then missing, and one that is not read changes nothing.
pub(super) fn without_odd_numbers(text: &str) -> Option<String> {
    replaced(text, |token| {
        let is_odd = NAMES.contains(&token) || token.parse::<f64>().is_ok_and(f64::is_infinite);
        is_odd.then(|| "null".to_owned())
    })
}

/// The text with other words and numbers in the place of some, outside strings; nothing where none is replaced.
fn replaced(text: &str, other: impl Fn(&str) -> Option<String>) -> Option<String> {
    let (mut out, mut rest, mut has_any) = (String::with_capacity(text.len()), text, false);
    while let Some(first) = rest.chars().next() {
        let (length, is_word) = match first {
            '"' => (string_length(rest), false),
            '-' | '0'..='9' | 'A'..='Z' | 'a'..='z' => (word_length(rest), true),
            _ => (first.len_utf8(), false),
        };
        let (token, after) = rest.split_at(length);
        let found = if is_word { other(token) } else { None };
        has_any |= found.is_some();
        out.push_str(found.as_deref().unwrap_or(token));
        rest = after;
    }
    has_any.then_some(out)
}

/// How long the string is that a text begins with, its quotes included.
fn string_length(text: &str) -> usize {
    let mut is_escaped = false;
    for (at, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            b'"' if !is_escaped => return at + 1,
            _ => is_escaped = byte == b'\\' && !is_escaped,
        }
    }
    text.len()
}

fn word_length(text: &str) -> usize {
    text.find(|letter: char| !letter.is_ascii_alphanumeric() && !matches!(letter, '-' | '+' | '.'))
        .unwrap_or(text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_numbers_outside_strings_are_replaced() {
        let cases = [
            (r#"{"a": NaN, "b": [-Infinity,Infinity]}"#, Some(r#"{"a": null, "b": [null,null]}"#)),
            (r#"{"a": 1e999, "b": -1e999, "c": 1e9}"#, Some(r#"{"a": null, "b": null, "c": 1e9}"#)),
            (r#"{"NaN": "NaN \" NaN", "é": NaN}"#, Some(r#"{"NaN": "NaN \" NaN", "é": null}"#)),
            (r#"{"a": NaNs, "b": nan, "c": "NaN"}"#, None),
            (r#"{"a": "NaN"#, None),
            ("", None),
        ];
        for (text, expected) in cases {
            assert_eq!(without_odd_numbers(text).as_deref(), expected, "{text}");
        }
    }
    #[test]
    fn whole_numbers_of_any_size_keep_their_digits() {
        let text = r#"{"a": [18446744073709551616, 18446744073709551615, -9223372036854775809, 1e30], "18446744073709551616": 1}"#;
        let value = from_str(text).unwrap();
        assert_eq!(big_integers::digits(&value["a"][0]), Some("18446744073709551616"));
        assert_eq!(value["a"][1], 18_446_744_073_709_551_615_u64);
        assert_eq!(big_integers::digits(&value["a"][2]), Some("-9223372036854775809"));
        assert_eq!((&value["a"][3], &value["18446744073709551616"]), (&1e30.into(), &1.into()));
        assert_eq!(from_str("123456789012345678901234,").unwrap_err().column(), 25);
    }
}
