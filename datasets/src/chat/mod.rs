//! Chat templates, rendered as transformers renders them.
mod date;
mod jinja;
mod turns;

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use crate::error::DatasetError;
use crate::record::Message;
use jinja::{Rendered, Template, Words};

pub use date::Date;
pub use turns::{RenderedAnswer, WrittenTurn};

/// A compiled chat template (the `chat_template` of `tokenizer_config.json`).
///
/// The template sees `messages`, `add_generation_prompt`, the special tokens by name, and the variables of the record;
/// `tools` and `documents` are none unless the record has them. White space around block tags is trimmed, loops support
/// `break` and `continue`, strings and lists have Python's methods, `tojson` writes as in Python. `strftime_now`
/// returns a fixed date, so that a run does not depend on its start date.
///
/// # Examples
/// ```
/// use datasets::chat::{ChatTemplate, Date};
/// use datasets::Message;
///
/// let source = "{% for m in messages %}<{{ m.role }}>{{ m.content }}</{{ m.role }}>{% endfor %}\
///     {% if add_generation_prompt %}<assistant>{% endif %}";
/// let template = ChatTemplate::new(source, &[], Date::default())?;
/// let (question, answer) = (vec![Message::new("user", "2+2?")], vec![Message::new("assistant", "4")]);
/// let (prompt, whole) = template.prompt_and_wholes(&question, &[&answer], &Default::default())?;
/// assert_eq!(prompt, "<user>2+2?</user><assistant>");
/// assert_eq!(whole, ["<user>2+2?</user><assistant>4</assistant>"]);
/// # Ok::<(), datasets::DatasetError>(())
/// ```
#[derive(Debug)]
pub struct ChatTemplate {
    template: Template,
    source: String,
    words: Words,
    special_tokens: Vec<(String, String)>,
    arguments: Map<String, Value>,
    today: Date,
}

impl ChatTemplate {
    /// All that a rendered text depends on, besides the conversation.
    pub(crate) fn identity(&self) -> String {
        let arguments = if self.arguments.is_empty() { String::new() } else { format!(" {:?}", self.arguments) };
        format!("{:?} {:?} {:?}{arguments}", self.source, self.special_tokens, self.today)
    }

    /// Compiles a template. `special_tokens` are its variables, such as `("bos_token", "<s>")`; `today` is the date of
    /// `strftime_now`.
    ///
    /// # Errors
    /// The template does not parse; the message names its line.
    pub fn new(source: &str, special_tokens: &[(&str, &str)], today: Date) -> Result<Self, DatasetError> {
        let template = Template::new(source).map_err(|error| broken(&error))?;
        let special_tokens = special_tokens.iter().map(|&(name, token)| (name.to_owned(), token.to_owned())).collect();
        let words = Words::of(source).map_err(|error| broken(&error))?;
        Ok(Self { template, source: source.to_owned(), words, special_tokens, arguments: Map::new(), today })
    }

    /// Sets variables for all conversations; a record's own come before them.
    #[must_use]
    pub fn with_arguments(self, arguments: Map<String, Value>) -> Self {
        Self { arguments, ..self }
    }

    /// Whether the template refers to a name, of a variable or of a field.
    pub(crate) fn mentions(&self, name: &str) -> bool {
        self.words.names.contains(name) || self.words.texts.contains(name)
    }

    /// Renders the chat as a string; with `add_generation_prompt`, up to the start of the assistant's turn. `variables`
    /// are additional template variables, such as `tools`.
    ///
    /// # Errors
    /// The template raises an exception, or uses something undefined.
    pub fn render(
        &self,
        messages: &[Message],
        add_generation_prompt: bool,
        variables: &Map<String, Value>,
    ) -> Result<String, DatasetError> {
        self.marked(messages, add_generation_prompt, variables).map(|rendered| rendered.text)
    }

    fn marked(
        &self,
        messages: &[Message],
        add_generation_prompt: bool,
        variables: &Map<String, Value>,
    ) -> Result<Rendered, DatasetError> {
        let tokens = self.special_tokens.iter().map(|(name, token)| (name.clone(), Value::from(&**token)));
        let mut told: Map<String, Value> = tokens.collect();
        told.extend([("tools".to_owned(), Value::Null), ("documents".to_owned(), Value::Null)]);
        told.extend(self.arguments.clone());
        told.extend(variables.clone());
        told.insert("messages".to_owned(), messages.iter().map(message).collect());
        told.insert("add_generation_prompt".to_owned(), add_generation_prompt.into());
        self.template.render(&told, self.today).map_err(|error| broken(&error))
    }

    /// Renders the prompt up to the start of the assistant's turn, and the prompt with each answer. A rendered answer
    /// need not begin with the rendered prompt: some templates open a reasoning block, or drop earlier ones.
    ///
    /// # Errors
    /// As [`ChatTemplate::render`].
    pub fn prompt_and_wholes(
        &self,
        prompt: &[Message],
        answers: &[&[Message]],
        variables: &Map<String, Value>,
    ) -> Result<(String, Vec<String>), DatasetError> {
        let start = self.render(prompt, true, variables)?;
        let whole = |answer: &&[Message]| self.render(&[prompt, answer].concat(), false, variables);
        Ok((start, answers.iter().map(whole).collect::<Result<_, _>>()?))
    }
}

/// Names that no template argument may have, because the program sets them.
const OURS: [&str; 8] = [
    "messages",
    "conversation",
    "chat_template",
    "add_generation_prompt",
    "continue_final_message",
    "tokenize",
    "return_dict",
    "return_assistant_tokens_mask",
];

/// The names that arguments of a template may have: of the variables that it reads and neither it nor the program sets.
///
/// # Errors
/// The template does not parse; the message names its line.
pub fn arguments(source: &str) -> Result<BTreeSet<String>, DatasetError> {
    let mut names = Template::new(source).map_err(|error| broken(&error))?.variables();
    names.retain(|name| !OURS.contains(&&**name));
    Ok(names)
}

/// Checks the name of a template argument.
///
/// # Errors
/// The program sets it itself.
pub fn check_argument(name: &str) -> Result<(), DatasetError> {
    if OURS.contains(&name) {
        return Err(DatasetError::Template { message: format!("`{name}` is not an argument that can be given") });
    }
    Ok(())
}

/// The field names of a message's reasoning. Templates read the first one.
const REASONING: [&str; 3] = ["reasoning_content", "thinking", "reasoning"];

/// Converts a message for the template. As in transformers, reasoning under any name is passed as `reasoning_content`
/// and `thinking`.
fn message(message: &Message) -> Value {
    let mut seen = Map::new();
    let reasoning = REASONING.iter().find_map(|name| message.fields.get(*name).filter(|value| !value.is_null()));
    if let Some(reasoning) = reasoning {
        seen.insert("thinking".to_owned(), reasoning.clone());
    }
    // transformers leaves out what is null.
    seen.extend(Map::from(message.clone()).into_iter().filter(|(_, value)| !value.is_null()));
    if let Some(reasoning) = reasoning {
        seen.insert(REASONING[0].to_owned(), reasoning.clone());
    }
    Value::Object(seen)
}

fn broken(error: &jinja::Error) -> DatasetError {
    DatasetError::Template { message: error.to_string() }
}

#[cfg(test)]
mod tests;
