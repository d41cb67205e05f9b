//! Bodies of requests and replies.
use serde_json::{Map, Value, json};

use crate::Answer;

/// The body of a request: model and messages, greedy, with other fields on top; a field that is `null` there is left out.
pub(crate) fn body(model: &str, messages: &[Value], max_tokens: usize, fields: &Map<String, Value>) -> Value {
    let mut body = Map::new();
    body.insert("model".to_owned(), json!(model));
    body.insert("messages".to_owned(), json!(messages));
    body.insert("temperature".to_owned(), json!(0));
    body.insert("max_tokens".to_owned(), json!(max_tokens));
    for (name, value) in fields {
        if value.is_null() {
            body.shift_remove(name);
        } else {
            body.insert(name.clone(), value.clone());
        }
    }
    Value::Object(body)
}

/// Reads the answer in a reply.
///
/// # Errors
/// It is no JSON, or not the JSON of a chat completion: the text says what it is.
pub(crate) fn answer(body: &[u8]) -> Result<Answer, String> {
    let value: Value = serde_json::from_slice(body).map_err(|error| format!("no JSON ({error}): {}", start(body)))?;
    let message = &value["choices"][0]["message"];
    if !message.is_object() {
        return Err(match value["error"]["message"].as_str() {
            Some(error) => format!("an error in place of an answer: {}", start(error.as_bytes())),
            None => format!("JSON without `choices[0].message`: {}", start(body)),
        });
    }
    let text = match &message["content"] {
        Value::String(text) => Some(text.clone()),
        Value::Array(parts) => Some(parts.iter().filter_map(|part| part["text"].as_str()).collect()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => None,
    };
    let tokens = |name: &str| value["usage"][name].as_u64();
    Ok(Answer {
        has_content: text.is_some(),
        text: text.unwrap_or_default(),
        is_cut: value["choices"][0]["finish_reason"] == "length",
        prompt_tokens: tokens("prompt_tokens"),
        completion_tokens: tokens("completion_tokens"),
    })
}

/// What a server says of a request that it does not answer.
pub(crate) fn complaint(body: &[u8]) -> String {
    let value: Value = serde_json::from_slice(body).unwrap_or_default();
    let said = [&value["error"]["message"], &value["error"], &value["message"], &value["detail"]];
    match said.into_iter().find_map(Value::as_str) {
        Some(text) => start(text.as_bytes()),
        None => start(body),
    }
}

/// The start of a text, on one line.
fn start(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(&body[..body.len().min(2000)]).into_owned();
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let short: String = text.chars().filter(|c| !c.is_control()).take(160).collect();
    match short.len() {
        0 => "an empty reply".to_owned(),
        n if n < text.len() => format!("{short}.."),
        _ => short,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_greedy_unless_fields_say_otherwise() {
        let fields = json!({"max_tokens": null, "max_completion_tokens": 9, "temperature": 1});
        let made = body("m", &[json!({"role": "user", "content": "x"})], 64, fields.as_object().unwrap());
        let expected = json!({"model": "m", "messages": [{"role": "user", "content": "x"}], "temperature": 1,
            "max_completion_tokens": 9});
        assert_eq!(made, expected);
    }

    #[test]
    fn answers_are_read_with_their_tokens() {
        let reply = json!({"choices": [{"message": {"content": "Preferred: A"}, "finish_reason": "length"}],
            "usage": {"prompt_tokens": 7, "completion_tokens": 3}});
        let read = answer(reply.to_string().as_bytes()).unwrap();
        assert_eq!((read.text.as_str(), read.is_cut), ("Preferred: A", true));
        assert_eq!((read.prompt_tokens, read.completion_tokens), (Some(7), Some(3)));
        let parts = json!({"choices": [{"message": {"content": [{"type": "text", "text": "A"}, {"text": "B"}]}}]});
        assert_eq!(answer(parts.to_string().as_bytes()).unwrap().text, "AB");
        let refusal = json!({"choices": [{"message": {"content": null, "refusal": "no"}}]});
        let refusal = answer(refusal.to_string().as_bytes()).unwrap();
        assert_eq!((refusal.text.as_str(), refusal.has_content), ("", false));
    }

    #[test]
    fn what_is_no_answer_says_what_it_is() {
        for (reply, says) in [
            ("<html>\n<b>Bad gateway</b>", "no JSON (expected value at line 1 column 1): <html> <b>Bad gateway</b>"),
            ("{\"choices\": [{\"mess", "no JSON (EOF"),
            ("", "an empty reply"),
            ("[]", "JSON without `choices[0].message`: []"),
            ("{\"error\": {\"message\": \"busy\"}}", "an error in place of an answer: busy"),
        ] {
            let error = answer(reply.as_bytes()).unwrap_err();
            assert!(error.contains(says), "{error}");
        }
        assert_eq!(complaint(br#"{"error": {"message": "no\nsuch model"}}"#), "no such model");
        assert_eq!(complaint(br#"{"detail": "Not Found"}"#), "Not Found");
        assert_eq!(complaint("x".repeat(300).as_bytes()).chars().count(), 162);
    }
}
