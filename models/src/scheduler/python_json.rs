//! JSON as Python writes it, with the invalid literals `NaN`, `Infinity` and `-Infinity`.

use serde_json::Value;

/// Python's literals for non-finite numbers.
const WORDS: [&str; 3] = ["-Infinity", "Infinity", "NaN"];

/// Parses JSON with Python's non-finite literals, which become strings.
///
/// # Errors
/// Text that is neither JSON nor Python's.
pub(crate) fn parse(text: &str) -> Result<Value, serde_json::Error> {
    serde_json::from_str(&quoted(text))
}

/// Writes the output of [`parse`]: strings that are Python's literals become numbers again.
pub(crate) fn print(value: &Value) -> String {
    match value {
        Value::String(word) if WORDS.contains(&word.as_str()) => word.clone(),
        Value::Array(list) => format!("[{}]", list.iter().map(print).collect::<Vec<_>>().join(", ")),
        Value::Object(map) => {
            let fields = map.iter().map(|(key, value)| format!("{}: {}", Value::from(key.as_str()), print(value)));
            format!("{{{}}}", fields.collect::<Vec<_>>().join(", "))
        }
        other => other.to_string(),
    }
}

fn quoted(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let (mut rest, mut is_text) = (text, false);
    while let Some(first) = rest.chars().next() {
        let word = WORDS.iter().find(|word| !is_text && rest.starts_with(**word));
        let taken = match (word, first) {
            (Some(word), _) => {
                plain.extend(["\"", word, "\""]);
                rest = &rest[word.len()..];
                continue;
            }
            // An escaped quote does not end a string.
            (None, '\\') if is_text => first.len_utf8() + rest.chars().nth(1).map_or(0, char::len_utf8),
            _ => first.len_utf8(),
        };
        is_text ^= first == '"';
        plain.push_str(&rest[..taken]);
        rest = &rest[taken..];
    }
    plain
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn pythons_words_are_read_and_written() {
        let text = r#"{"least": -Infinity, "list": [NaN, Infinity, 1], "\"NaN": "Infinity, \": -Infinity"}"#;
        let value = parse(text).unwrap();
        let expected =
            json!({"least": "-Infinity", "list": ["NaN", "Infinity", 1], "\"NaN": "Infinity, \": -Infinity"});
        assert_eq!(value, expected);
        let printed = print(&value);
        assert!(printed.contains("\"least\": -Infinity") && printed.contains("[NaN, Infinity, 1]"), "{printed}");
        assert_eq!(parse(&printed).unwrap(), value);
        assert!(parse("{\"a\": Infinit}").is_err() && parse("{\"a\": \"Na").is_err());
        assert_eq!(parse("\"ü\\\\\"").unwrap(), json!("ü\\"));
    }
}
