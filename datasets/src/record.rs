//! What a data file says, as text, before any tokeniser has seen it.
use std::fmt;
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
            Self::Chat(messages) => messages.iter().all(|message| message.content.trim().is_empty()),
        }
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Self::Plain(text.to_owned())
    }
}

/// One message of a chat.
#[derive(Clone, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct Message {
    /// Who speaks: `system`, `user`, `assistant`.
    pub role: String,
    /// What is said.
    pub content: String,
    /// What else the message has, such as `tool_calls` or `reasoning_content`; the chat template sees it.
    #[serde(flatten)]
    pub fields: Map<String, Value>,
}

impl Message {
    /// A message of this role.
    pub fn new(role: impl Into<String>, content: impl Into<String>) -> Self {
        Self { role: role.into(), content: content.into(), fields: Map::new() }
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
