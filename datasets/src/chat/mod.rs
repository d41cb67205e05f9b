//! Chat templates, rendered as transformers renders them.
mod date;
mod python;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{Environment, context};
use serde_json::{Map, Value};

use crate::error::DatasetError;
use crate::record::Message;

pub use date::Date;

/// A compiled chat template (the `chat_template` of `tokenizer_config.json`).
///
/// The template sees `messages`, `add_generation_prompt`, the special tokens by name, and the variables of the record;
/// `tools` and `documents` are none where the record has none. White space around block tags is trimmed, loops may `break` and `continue`, strings and lists have Python's
/// methods, `tojson` writes as Python does. `strftime_now` gives a fixed day, so that a run does not depend on the
/// day it is started.
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
    environment: Environment<'static>,
    source: String,
}

impl ChatTemplate {
    /// Compiles a template. `special_tokens` are its variables, such as `("bos_token", "<s>")`; `today` is what
    /// `strftime_now` tells.
    ///
    /// # Errors
    /// The template does not parse; the message names its line.
    pub fn new(source: &str, special_tokens: &[(&str, &str)], today: Date) -> Result<Self, DatasetError> {
        let source = without_generation_tags(source);
        let mut environment = Environment::new();
        let mut syntax = SyntaxConfig::builder();
        environment.set_syntax(syntax.trim_blocks(true).lstrip_blocks(true).build().map_err(|error| broken(&error))?);
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_function("raise_exception", python::raise_exception);
        environment.add_function("strftime_now", move |format: &str| today.format(format));
        environment.add_filter("tojson", python::to_json);
        for &(name, token) in special_tokens {
            environment.add_global(name.to_owned(), token);
        }
        environment.clone().template_from_str(&source).map_err(|error| broken(&error))?;
        Ok(Self { environment, source })
    }

    /// Whether the template speaks of a name at all.
    pub(crate) fn mentions(&self, name: &str) -> bool {
        self.source.contains(name)
    }

    /// The chat as one string; with `add_generation_prompt`, up to where the assistant begins to speak. `variables` are
    /// what the template is told besides, such as `tools`.
    ///
    /// # Errors
    /// The template refuses the messages, or asks for something that is not there.
    pub fn render(
        &self,
        messages: &[Message],
        add_generation_prompt: bool,
        variables: &Map<String, Value>,
    ) -> Result<String, DatasetError> {
        let context = context! {
            messages => Serde(messages), add_generation_prompt, ..context! {
                ..minijinja::Value::from(Serde(variables)), ..context! { tools => (), documents => () }
            }
        };
        self.environment.render_str(&self.source, context).map_err(|error| broken(&error))
    }

    /// The prompt as a string, and the prompt with each answer as one. The second need not begin with the first: some
    /// templates open a thought for the answer, or drop earlier ones.
    ///
    /// # Errors
    /// As [`ChatTemplate::render`].
    pub fn prompt_and_wholes(
        &self,
        prompt: &[Message],
        answers: &[&[Message]],
        variables: &Map<String, Value>,
    ) -> Result<(String, Vec<String>), DatasetError> {
        let add_generation_prompt = prompt.last().is_none_or(|last| last.role != "assistant");
        let start = self.render(prompt, add_generation_prompt, variables)?;
        let whole = |answer: &&[Message]| self.render(&[prompt, answer].concat(), false, variables);
        Ok((start, answers.iter().map(whole).collect::<Result<_, _>>()?))
    }
}

/// `{% generation %}` marks the assistant's words for transformers' masks; here it is a block that does nothing.
fn without_generation_tags(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(start) = rest.find("{%") {
        let (before, tag) = rest.split_at(start);
        out.push_str(before);
        let end = tag.find("%}").map_or(tag.len(), |end| end + 2);
        let (tag, after) = tag.split_at(end);
        let word = tag.trim_start_matches("{%").trim_end_matches("%}").trim_matches(['-', '+']).trim();
        match word {
            "generation" => out.push_str(&tag.replacen(word, "if true", 1)),
            "endgeneration" => out.push_str(&tag.replacen(word, "endif", 1)),
            _ => out.push_str(tag),
        }
        rest = after;
    }
    out.push_str(rest);
    out
}

fn broken(error: &minijinja::Error) -> DatasetError {
    let what = error.detail().map_or_else(|| error.kind().to_string(), str::to_owned);
    let message = error.line().map_or_else(|| what.clone(), |line| format!("{what} (line {line} of the template)"));
    DatasetError::Template { message }
}

#[cfg(test)]
mod tests;
