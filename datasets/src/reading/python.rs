//! What Python's `json` writes that is not JSON.

/// Names of numbers that JSON has no words for.
const NAMES: [&str; 3] = ["NaN", "Infinity", "-Infinity"];

/// The text with `null` for numbers that are none or too big (`NaN`, `Infinity`, `1e999`), outside strings; nothing
/// where there are none. A field that is read and has one is then missing, and one that is not read changes nothing.
pub(super) fn without_odd_numbers(text: &str) -> Option<String> {
    let (mut out, mut rest, mut has_any) = (String::with_capacity(text.len()), text, false);
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '"' => string_length(rest),
            '-' | '0'..='9' | 'A'..='Z' | 'a'..='z' => word_length(rest),
            _ => first.len_utf8(),
        };
        let (token, after) = rest.split_at(length);
        let is_odd = NAMES.contains(&token) || token.parse::<f64>().is_ok_and(f64::is_infinite);
        out.push_str(if is_odd { "null" } else { token });
        has_any |= is_odd;
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
}
