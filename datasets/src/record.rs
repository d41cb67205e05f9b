//! What a data file says, as text, before any tokeniser has seen it.
use std::borrow::Cow;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::path::Path;
use std::sync::Arc;

use serde_json::{Map, Value};

/// One record: a prompt and what somebody thought of its answers.
#[derive(Clone, Debug, PartialEq)]
pub struct PreferenceRecord {
    /// Where the record was read, for messages.
    pub origin: Origin,
    /// What was asked.
    pub prompt: Text,
    /// The answers, and what is known about them.
    pub answers: Answers,
    /// Whether the file's own scores call the two sides equally good although one is named `chosen`.
    pub is_tied: bool,
    /// P(the first answer of a pair is better), where people judged it and disagree; else 1.
    pub preference: f64,
    /// What the chat template is told besides the messages: `tools`, and the record's own template arguments.
    pub variables: Map<String, Value>,
}

impl PreferenceRecord {
    /// A record that the file says nothing else about: not tied, no doubt, no template arguments.
    pub fn new(origin: Origin, prompt: Text, answers: Answers) -> Self {
        Self { origin, prompt, answers, is_tied: false, preference: 1.0, variables: Map::new() }
    }
}

/// The answers of a record, and what is known about them.
#[derive(Clone, Debug, PartialEq)]
pub enum Answers {
    /// One answer was preferred to another.
    Pair {
        /// The better answer.
        chosen: Text,
        /// The worse answer.
        rejected: Text,
    },
    /// Answers in strict order, best first; at least two.
    Ranked(Vec<Text>),
    /// One answer with a thumb up or down (KTO).
    Labelled {
        /// The answer.
        completion: Text,
        /// Whether it was liked.
        desirable: bool,
    },
    /// One answer to imitate.
    Demonstration(Text),
}

impl Answers {
    /// All the answers, best first.
    pub fn texts(&self) -> Vec<&Text> {
        match self {
            Self::Pair { chosen, rejected } => vec![chosen, rejected],
            Self::Ranked(answers) => answers.iter().collect(),
            Self::Labelled { completion, .. } => vec![completion],
            Self::Demonstration(answer) => vec![answer],
        }
    }
}

/// A prompt or an answer: a string as it is, or messages that a chat template turns into one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Text {
    /// A string, used as it is.
    Plain(String),
    /// Chat messages, in order.
    Chat(Vec<Message>),
}

impl Text {
    /// Whether there is nothing in it but white space.
    pub fn is_blank(&self) -> bool {
        match self {
            Self::Plain(text) => text.trim().is_empty(),
            Self::Chat(messages) => messages.iter().all(Message::is_silent),
        }
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Self::Plain(text.to_owned())
    }
}

/// What a model is asked: the prompt, and what the chat template is told besides.
#[derive(Clone, Debug, PartialEq)]
pub struct Prompt {
    /// What is asked.
    pub text: Text,
    /// `tools`, and the prompt's own template arguments.
    pub variables: Map<String, Value>,
}

impl Prompt {
    /// The object of a line that says the same: `prompt`, and `tools` and `chat_template_kwargs` where there are any.
    pub fn to_json(&self) -> Value {
        let mut line = Map::new();
        let prompt = match &self.text {
            Text::Plain(text) => Value::from(text.as_str()),
            Text::Chat(messages) => serde_json::to_value(messages).unwrap_or_default(),
        };
        line.insert("prompt".to_owned(), prompt);
        let mut others = self.variables.clone();
        if let Some(tools) = others.shift_remove("tools") {
            line.insert("tools".to_owned(), tools);
        }
        if !others.is_empty() {
            line.insert("chat_template_kwargs".to_owned(), Value::Object(others));
        }
        Value::Object(line)
    }
}

impl From<Text> for Prompt {
    fn from(text: Text) -> Self {
        Self { text, variables: Map::new() }
    }
}

/// One message of a chat, as transformers hands it to a template. As JSON it is an object with its names in the order
/// of the record.
#[derive(Clone, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(into = "Map<String, Value>", try_from = "Map<String, Value>")]
pub struct Message {
    /// Who speaks: `system`, `user`, `assistant`.
    pub role: String,
    /// What is said.
    pub content: Content,
    /// What else the message has, such as `tool_calls` or `reasoning_content`; the chat template sees it.
    pub fields: Map<String, Value>,
    /// The order of its names.
    pub(crate) order: Order,
}

/// The names of a message in the order of its record. Two messages that differ in it alone are equal, as two dicts are.
#[derive(Clone, Debug, Default)]
pub(crate) struct Order(Vec<Box<str>>);

impl Order {
    pub(crate) fn of<'n>(names: impl Iterator<Item = &'n str>) -> Self {
        Self(names.map(Box::from).collect())
    }
}

impl PartialEq for Order {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Order {}

impl Hash for Order {
    fn hash<H: Hasher>(&self, _: &mut H) {}
}

impl From<Message> for Map<String, Value> {
    fn from(message: Message) -> Self {
        let mut whole = Self::new();
        whole.insert("role".to_owned(), message.role.into());
        match message.content {
            Content::Absent => {}
            Content::Text(text) => drop(whole.insert("content".to_owned(), text.into())),
            Content::Parts(parts) => drop(whole.insert("content".to_owned(), parts.into())),
        }
        whole.extend(message.fields);
        let named = message.order.0.iter().filter_map(|name| whole.shift_remove_entry(&**name));
        let mut ordered: Self = named.collect();
        ordered.extend(whole);
        ordered
    }
}

impl TryFrom<Map<String, Value>> for Message {
    type Error = serde_json::Error;

    fn try_from(mut fields: Map<String, Value>) -> Result<Self, Self::Error> {
        let order = Order::of(fields.keys().map(String::as_str));
        let role = fields.shift_remove("role").ok_or_else(|| serde::de::Error::missing_field("role"))?;
        let content = fields.shift_remove("content").map_or(Ok(Content::Absent), serde_json::from_value)?;
        Ok(Self { role: serde_json::from_value(role)?, content, fields, order })
    }
}

impl Message {
    /// The fields that say something where there is no content.
    pub(crate) const SPEAKING: [&str; 5] =
        ["tool_calls", "function_call", "reasoning_content", "thinking", "reasoning"];

    /// A message of this role.
    pub fn new(role: impl Into<String>, content: impl Into<String>) -> Self {
        Self { role: role.into(), content: Content::Text(content.into()), fields: Map::new(), order: Order::default() }
    }

    /// Whether nothing is said: no words, no thought, no call of a tool.
    pub fn is_silent(&self) -> bool {
        let is_empty = |value: &Value| match value {
            Value::String(text) => text.trim().is_empty(),
            Value::Array(values) => values.is_empty(),
            other => other.is_null(),
        };
        let speaks = |name: &&str| self.fields.get(*name).is_some_and(|value| !is_empty(value));
        self.content.words().trim().is_empty() && !Self::SPEAKING.iter().any(speaks)
    }
}

/// What a message says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(untagged)]
pub enum Content {
    /// Nothing, as in a message that only calls tools. A template finds no `content` in it: transformers leaves out what
    /// is `null`.
    #[default]
    Absent,
    /// A string.
    Text(String),
    /// A list of parts, each with a `text`; a template sees the list.
    Parts(Vec<Value>),
}

impl Content {
    /// Whether there is none.
    pub fn is_absent(&self) -> bool {
        *self == Self::Absent
    }

    /// The words, those of parts one behind the other.
    pub fn words(&self) -> Cow<'_, str> {
        match self {
            Self::Absent => "".into(),
            Self::Text(text) => text.into(),
            Self::Parts(parts) => {
                parts.iter().filter_map(|part| part.get("text").and_then(Value::as_str)).collect::<String>().into()
            }
        }
    }
}

/// Where a record was read.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Origin {
    /// The file, or the name of a generated data set.
    pub file: Arc<Path>,
    /// Where in the file.
    pub place: Place,
}

/// A place in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// A line of a text file, from 1.
    Line(u64),
    /// A row of a table, from 1.
    Row(u64),
}

impl Origin {
    /// A line of a text file, from 1.
    pub fn line(file: &Arc<Path>, line: u64) -> Self {
        Self { file: Arc::clone(file), place: Place::Line(line) }
    }

    /// A row of a table, from 1.
    pub fn row(file: &Arc<Path>, row: u64) -> Self {
        Self { file: Arc::clone(file), place: Place::Row(row) }
    }

    /// A record that no file holds: `name` says who made it, `number` (from 1) which one it is.
    pub fn generated(name: &str, number: u64) -> Self {
        Self { file: Arc::from(Path::new(name)), place: Place::Row(number) }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.place {
            Place::Line(line) => write!(f, "{}, line {line}", self.file.display()),
            Place::Row(row) => write!(f, "{}, row {row}", self.file.display()),
        }
    }
}
