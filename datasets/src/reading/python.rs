//! JSON dialect of Python's `json`: NaN, infinities and large integers.
use serde_json::Value;

use crate::big_integers;

/// Numbers that are not JSON.
const NAMES: [&str; 3] = ["NaN", "Infinity", "-Infinity"];

/// Parses JSON like Python: integers of any size keep their digits ([`whole`]).
///
/// # Errors
/// The text is not JSON.
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

/// Replaces non-finite and overflowing numbers (`NaN`, `Infinity`, `1e999`) outside strings by `null`; `None` if there
/// are none. A field with such a number counts as missing.
pub(super) fn without_odd_numbers(text: &str) -> Option<String> {
    replaced(text, |token| {
        let is_odd = NAMES.contains(&token) || token.parse::<f64>().is_ok_and(f64::is_infinite);
        is_odd.then(|| "null".to_owned())
    })
}

/// Replaces words and numbers outside strings; `None` if nothing is replaced.
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

/// Length of the string literal at the start of a text, quotes included.
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
