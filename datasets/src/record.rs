//! Records as text, before tokenisation.
use std::borrow::Cow;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::path::Path;
use std::sync::Arc;

use serde_json::{Map, Value};

use crate::example::ExampleKind;

/// One record: a prompt, its answers and the feedback on them.
#[derive(Clone, Debug, PartialEq)]
pub struct PreferenceRecord {
    /// The location, for messages.
    pub origin: Origin,
    /// The prompt.
    pub prompt: Text,
    /// The answers and the feedback.
    pub answers: Answers,
    /// Whether the file's own scores are equal although one side is named `chosen`.
    pub is_tied: bool,
    /// P(the first answer of a pair is better), below 1 for soft labels.
    pub preference: f64,
    /// The weight of the record's feedback in the loss.
    pub weight: f64,
    /// By how much the better answer's reward should be the higher one.
    pub margin: f64,
    /// Additional template variables: `tools`, and the record's own template arguments.
    pub variables: Map<String, Value>,
    /// How many messages the prompt begins with that all records of the conversation share: one tree is many records, of prompts
    /// that continue one another. `None`: the prompt is the record's own.
    pub shared_messages: Option<usize>,
}

impl PreferenceRecord {
    /// A record without tied scores, soft label or template variables.
    pub fn new(origin: Origin, prompt: Text, answers: Answers) -> Self {
        Self {
            origin,
            prompt,
            answers,
            is_tied: false,
            preference: 1.0,
            weight: 1.0,
            margin: 0.0,
            variables: Map::new(),
            shared_messages: None,
        }
    }
}

/// The answers of a record, by kind of feedback.
#[derive(Clone, Debug, PartialEq)]
pub enum Answers {
    /// A preferred and a rejected answer.
    Pair {
        /// The better answer.
        chosen: Text,
        /// The worse answer.
        rejected: Text,
    },
    /// Answers in strict order, best first; at least two.
    Ranked(Vec<Text>),
    /// The answers of a conversation tree, each with the turns before it, and pairs of them, the better one first.
    Forest {
        /// The answers.
        answers: Vec<Text>,
        /// Indices of the better and the worse answer.
        comparisons: Vec<(usize, usize)>,
    },
    /// One answer with a binary label (KTO).
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
    /// The kind of the feedback.
    pub fn kind(&self) -> ExampleKind {
        match self {
            Self::Pair { .. } => ExampleKind::Pair,
            Self::Ranked(_) => ExampleKind::Ranked,
            Self::Forest { .. } => ExampleKind::Forest,
            Self::Labelled { desirable, .. } => ExampleKind::Labelled { desirable: *desirable },
            Self::Demonstration(_) => ExampleKind::Demonstration,
        }
    }

    /// All the answers, best first; of a forest in the tree's order.
    pub fn texts(&self) -> Vec<&Text> {
        match self {
            Self::Pair { chosen, rejected } => vec![chosen, rejected],
            Self::Ranked(answers) | Self::Forest { answers, .. } => answers.iter().collect(),
            Self::Labelled { completion, .. } => vec![completion],
            Self::Demonstration(answer) => vec![answer],
        }
    }
}

/// A prompt or an answer: a string, or messages for a chat template.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Text {
    /// A plain string.
    Plain(String),
    /// Chat messages, in order.
    Chat(Vec<Message>),
}

impl Text {
    /// Whether it is empty or white space.
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

/// A model's input: the prompt, and additional template variables.
#[derive(Clone, Debug, PartialEq)]
pub struct Prompt {
    /// The prompt.
    pub text: Text,
    /// `tools`, and the prompt's own template arguments.
    pub variables: Map<String, Value>,
}

impl Prompt {
    /// The JSON object of such a line: `prompt`, and `tools` and `chat_template_kwargs` if there are any.
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

/// One chat message, as transformers passes it to a template. As JSON it is an object with its keys in the record's
/// order.
#[derive(Clone, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(into = "Map<String, Value>", try_from = "Map<String, Value>")]
pub struct Message {
    /// The role: `system`, `user`, `assistant`.
    pub role: String,
    /// The content.
    pub content: Content,
    /// Other fields, such as `tool_calls` or `reasoning_content`, visible to the chat template.
    pub fields: Map<String, Value>,
    /// The order of its keys.
    pub(crate) order: KeyOrder,
}

/// The order of a message's keys. It is ignored in comparisons, as for dicts in Python.
#[derive(Clone, Debug, Default)]
pub(crate) struct KeyOrder(Vec<Box<str>>);

impl KeyOrder {
    pub(crate) fn of<'n>(names: impl Iterator<Item = &'n str>) -> Self {
        Self(names.map(Box::from).collect())
    }
}

impl PartialEq for KeyOrder {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for KeyOrder {}

impl Hash for KeyOrder {
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
        let order = KeyOrder::of(fields.keys().map(String::as_str));
        let role = fields.shift_remove("role").ok_or_else(|| serde::de::Error::missing_field("role"))?;
        let content = fields.shift_remove("content").map_or(Ok(Content::Absent), serde_json::from_value)?;
        Ok(Self { role: serde_json::from_value(role)?, content, fields, order })
    }
}

impl Message {
    /// The fields that count as content if there is none.
    pub(crate) const SPEAKING: [&str; 5] =
        ["tool_calls", "function_call", "reasoning_content", "thinking", "reasoning"];

    /// All that the message says: its content, and its calls and thoughts as JSON.
    pub(crate) fn said(&self) -> String {
        let others = Self::SPEAKING.iter().filter_map(|name| self.fields.get(*name)).map(ToString::to_string);
        std::iter::once(self.content.words().into_owned()).chain(others).collect()
    }

    /// Creates a message.
    pub fn new(role: impl Into<String>, content: impl Into<String>) -> Self {
        Self {
            role: role.into(),
            content: Content::Text(content.into()),
            fields: Map::new(),
            order: KeyOrder::default(),
        }
    }

    /// Whether it is not the policy's. A role that is not known to be a policy's is another's: what a user or a tool says
    /// is never scored for its name.
    pub fn is_given(&self) -> bool {
        const POLICY: [&str; 7] = ["assistant", "model", "ai", "bot", "chatbot", "gpt", "chatgpt"];
        !POLICY.iter().any(|name| self.role.eq_ignore_ascii_case(name))
    }

    /// Whether it is an instruction for the whole conversation.
    pub(crate) fn is_system(&self) -> bool {
        ["system", "developer"].iter().any(|name| self.role.eq_ignore_ascii_case(name))
    }

    /// Whether it is what a tool returned, under any of the names that chat templates have for it.
    pub(crate) fn is_tool_result(&self) -> bool {
        const TOOLS: [&str; 8] = [
            "tool",
            "function",
            "ipython",
            "observation",
            "tool_response",
            "tool_result",
            "tool_results",
            "tool_output",
        ];
        TOOLS.iter().any(|name| self.role.eq_ignore_ascii_case(name))
    }

    /// The message as context: none of it is scored.
    #[must_use]
    pub(crate) fn not_trained(mut self) -> Self {
        self.fields.insert("train".to_owned(), false.into());
        self
    }

    /// Whether the message is empty: no text, no reasoning, no tool call.
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

/// The content of a message.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(untagged)]
pub enum Content {
    /// No content, as in a message with tool calls only. A template finds no `content`: transformers omits `null`.
    #[default]
    Absent,
    /// A string.
    Text(String),
    /// A list of parts, each with a `text`; the template sees the list.
    Parts(Vec<Value>),
}

impl Content {
    /// The text, with parts concatenated.
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

/// The location of a record.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Origin {
    /// The file, or the name of a generated data set.
    pub file: Arc<Path>,
    /// The place in the file.
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

    /// A generated record: `name` names its source, `number` (from 1) its position.
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
