//! The question to a judge, as a text with places for the request and the answers.
use std::path::Path;

use serde_json::{Value, json};

use crate::EvalError;

/// What is judged of one side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// A text.
    Text(String),
    /// A picture as a PNG.
    Picture(Vec<u8>),
}

/// A question with the places `{prompt}`, `{answer_a}` and `{answer_b}`.
///
/// A line `=== system`, `=== user` or `=== assistant` begins a message; without one, all of it is a user's. The line behind
/// `=== verdict` is the label behind which the judge writes its choice, `Preferred:` by default.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    name: String,
    messages: Vec<(String, Vec<Piece>)>,
    label: String,
    hash: blake3::Hash,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Place(Place),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Prompt,
    First,
    Second,
}

impl Place {
    const ALL: [(Self, &str); 3] =
        [(Self::Prompt, "{prompt}"), (Self::First, "{answer_a}"), (Self::Second, "{answer_b}")];
}

/// The templates that are part of the program.
const BUILTIN: [(&str, &str); 3] = [
    ("builtin:answers", include_str!("../templates/answers.txt")),
    ("builtin:summaries", include_str!("../templates/summaries.txt")),
    ("builtin:pictures", include_str!("../templates/pictures.txt")),
];

/// The label of the choice.
const LABEL: &str = "Preferred:";

impl Template {
    /// The question which of two answers serves better.
    pub fn answers() -> Self {
        Self::builtin(0)
    }

    /// The paper's question (App. G), in other words: which of two summaries of a post is better.
    pub fn summaries() -> Self {
        Self::builtin(1)
    }

    /// The question which of two pictures does what was asked for.
    pub fn pictures() -> Self {
        Self::builtin(2)
    }

    /// The names of the templates that are part of the program.
    pub fn names() -> impl Iterator<Item = &'static str> {
        BUILTIN.into_iter().map(|(name, _)| name)
    }

    /// A template of the program by its name, or the one in a file.
    ///
    /// # Errors
    /// The name is of no template of the program; the file can't be read; a place is missing in it.
    pub fn open(name: &str) -> Result<Self, EvalError> {
        if let Some((name, text)) = BUILTIN.into_iter().find(|(known, _)| *known == name) {
            return Self::parse(name, text);
        }
        if name.starts_with("builtin:") {
            let known: Vec<&str> = Self::names().collect();
            let why = format!("there is no such template in the program; there are {}", known.join(", "));
            return Err(EvalError::Template { name: name.to_owned(), why });
        }
        let failed = |source| EvalError::Io { path: Path::new(name).to_owned(), source };
        Self::parse(name, &std::fs::read_to_string(name).map_err(failed)?)
    }

    /// Reads the text of a template; `name` is for messages.
    ///
    /// # Errors
    /// A place is missing, or a heading is unknown.
    pub fn parse(name: &str, text: &str) -> Result<Self, EvalError> {
        let wrong = |why: String| EvalError::Template { name: name.to_owned(), why };
        let mut sections: Vec<(String, String)> = vec![("user".to_owned(), String::new())];
        for line in text.lines() {
            match line.strip_prefix("=== ").map(str::trim) {
                Some(role @ ("system" | "user" | "assistant" | "verdict")) => {
                    sections.push((role.to_owned(), String::new()));
                }
                Some(other) => {
                    return Err(wrong(format!(
                        "`=== {other}` begins no message: there are system, user, assistant, verdict"
                    )));
                }
                None => {
                    if let Some((_, section)) = sections.last_mut() {
                        section.push_str(line);
                        section.push('\n');
                    }
                }
            }
        }
        let label =
            sections.iter().find(|(role, _)| role == "verdict").map_or(LABEL, |(_, text)| text.trim()).to_owned();
        if label.is_empty() {
            return Err(wrong("`=== verdict` is followed by no label".to_owned()));
        }
        sections.retain(|(role, text)| role != "verdict" && !text.trim().is_empty());
        for (_, place) in Place::ALL {
            if !sections.iter().any(|(_, text)| text.contains(place)) {
                return Err(wrong(format!("the place {place} is missing")));
            }
        }
        let messages = sections.into_iter().map(|(role, text)| (role, pieces(text.trim()))).collect();
        Ok(Self { name: name.to_owned(), messages, label, hash: blake3::hash(text.as_bytes()) })
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The label behind which the judge writes its choice.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// A hash of the text.
    pub fn fingerprint(&self) -> String {
        self.hash.to_hex().to_string()
    }

    /// The messages about a request and two answers, in the order in which they are shown.
    pub(crate) fn messages(&self, prompt: &str, first: &Content, second: &Content) -> Vec<Value> {
        let message = |(role, pieces): &(String, Vec<Piece>)| {
            let mut content = Parts::default();
            for piece in pieces {
                match piece {
                    Piece::Text(text) => content.text(text),
                    Piece::Place(Place::Prompt) => content.text(prompt),
                    Piece::Place(Place::First) => content.add(first),
                    Piece::Place(Place::Second) => content.add(second),
                }
            }
            json!({ "role": role, "content": content.finish() })
        };
        self.messages.iter().map(message).collect()
    }

    fn builtin(index: usize) -> Self {
        let (name, text) = BUILTIN[index];
        Self::parse(name, text).expect("a test reads every template of the program")
    }
}

/// A message under way: text, and pictures in it.
#[derive(Default)]
struct Parts {
    done: Vec<Value>,
    text: String,
}

impl Parts {
    fn text(&mut self, text: &str) {
        self.text.push_str(text);
    }

    fn add(&mut self, content: &Content) {
        match content {
            Content::Text(text) => self.text(text.trim()),
            Content::Picture(png) => {
                self.end_text();
                self.done.push(json!({ "type": "image_url", "image_url": { "url": data_url(png) } }));
            }
        }
    }

    fn end_text(&mut self) {
        let text = std::mem::take(&mut self.text);
        if !text.trim().is_empty() {
            self.done.push(json!({ "type": "text", "text": text.trim() }));
        }
    }

    /// A string where there is no picture, as every server takes it.
    fn finish(mut self) -> Value {
        if self.done.is_empty() {
            return Value::String(self.text);
        }
        self.end_text();
        Value::Array(self.done)
    }
}

/// A PNG as an address that holds it.
fn data_url(png: &[u8]) -> String {
    use base64::Engine as _;
    format!("data:image/png;base64,{}", base64::engine::general_purpose::STANDARD.encode(png))
}

/// Cuts a text at its places, so that what is put into one is not searched for others.
fn pieces(text: &str) -> Vec<Piece> {
    let (mut pieces, mut rest) = (Vec::new(), text);
    loop {
        let next = Place::ALL
            .into_iter()
            .filter_map(|(place, name)| Some((rest.find(name)?, place, name)))
            .min_by_key(|found| found.0);
        let Some((at, place, name)) = next else { break };
        pieces.extend([Piece::Text(rest[..at].to_owned()), Piece::Place(place)]);
        rest = &rest[at + name.len()..];
    }
    pieces.push(Piece::Text(rest.to_owned()));
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Content {
        Content::Text(text.to_owned())
    }

    #[test]
    fn the_templates_of_the_program_have_every_place_once() {
        for name in Template::names() {
            let template = Template::open(name).unwrap();
            let made = template.messages("PROMPT", &text("FIRST"), &text("SECOND"));
            assert_eq!((made.len(), &made[0]["role"]), (1, &json!("user")));
            let content = made[0]["content"].as_str().unwrap();
            for word in ["PROMPT", "FIRST", "SECOND", LABEL] {
                assert_eq!(content.matches(word).count(), 1, "{name}: {word}");
            }
            assert!(content.find("PROMPT") < content.find("FIRST") && content.find("FIRST") < content.find("SECOND"));
        }
        assert_eq!(
            [Template::answers(), Template::summaries(), Template::pictures()].map(|t| t.name),
            BUILTIN.map(|(name, _)| name)
        );
    }

    #[test]
    fn what_is_put_in_is_not_searched_for_places() {
        let template = Template::parse("t", "{prompt}|{answer_a}|{answer_b}|{x}").unwrap();
        let made = template.messages("{answer_a}", &text(" {answer_b} "), &text("{prompt}"));
        assert_eq!(made[0]["content"], "{answer_a}|{answer_b}|{prompt}|{x}");
    }

    #[test]
    fn a_name_that_no_template_of_the_program_has_is_refused_with_those_there_are() {
        let message = Template::open("builtin:answer").unwrap_err().to_string();
        assert!(message.contains("builtin:answer") && message.contains("builtin:summaries"), "{message}");
    }

    #[test]
    fn headings_divide_messages_and_name_the_label() {
        let written = "=== system\nBe fair.\n=== user\n{prompt} {answer_a} {answer_b}\n=== verdict\nBest:\n";
        let template = Template::parse("t", written).unwrap();
        let made = template.messages("p", &text("a"), &text("b"));
        assert_eq!(
            made,
            [json!({"role": "system", "content": "Be fair."}), json!({"role": "user", "content": "p a b"})]
        );
        assert_eq!(template.label(), "Best:");
        for (text, says) in [
            ("{prompt} {answer_a}", "{answer_b} is missing"),
            ("=== sytem\n{prompt} {answer_a} {answer_b}", "`=== sytem` begins no message"),
            ("{prompt} {answer_a} {answer_b}\n=== verdict\n", "no label"),
        ] {
            let error = Template::parse("t", text).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
        assert!(Template::open("nowhere.txt").unwrap_err().to_string().contains("nowhere.txt"));
    }

    #[test]
    fn pictures_are_sent_as_they_are() {
        let template = Template::parse("t", "For {prompt}: {answer_a} or {answer_b}?").unwrap();
        let made = template.messages("a dog", &Content::Picture(vec![1, 2, 3]), &Content::Picture(vec![4]));
        let url =
            |data: &str| json!({"type": "image_url", "image_url": {"url": format!("data:image/png;base64,{data}")}});
        let said = |text: &str| json!({"type": "text", "text": text});
        assert_eq!(made[0]["content"], json!([said("For a dog:"), url("AQID"), said("or"), url("BA=="), said("?")]));
    }
}
