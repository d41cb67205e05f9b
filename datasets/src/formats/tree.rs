//! Conversation trees with ranked sibling replies, as in OpenAssistant.
use std::collections::HashSet;

use serde_json::Value;

use super::choices::TreePairs;
use super::fields::{Fields, wrong};
use crate::error::DatasetError;
use crate::record::{Answers, Message, Origin, PreferenceRecord, Text};

/// A ranked list, or pairs, of every message with two or more ranked assistant replies; the prompt is the conversation up
/// to that message. A forest is one record for all of them: its prompt is what their conversations share, and its answers
/// begin with the turns in between, which are given. Deleted messages are left out with all that follows them, and unranked
/// replies beside ranked ones; both are counted, as are trees without two replies to compare. Equal ranks are an error, and so are
/// names of messages (`message_id`, `parent_id`) that say something else than the nesting.
pub(super) fn parse(
    fields: &Fields<'_>,
    record: &Value,
    pairs: TreePairs,
) -> Result<Vec<PreferenceRecord>, DatasetError> {
    let origin = fields.origin();
    let root = fields.optional("prompt").unwrap_or(record);
    for name in NODE {
        _ = fields.optional(name);
    }
    pass_over(fields, root, "prompt");
    check_names(origin, root, None, &mut HashSet::new())?;
    let mut walk = Walk { fields, conversation: Vec::new(), found: Vec::new() };
    if is_deleted(root) {
        walk.left("trees whose first message is deleted");
    } else {
        walk.visit(root)?;
        if walk.found.is_empty() {
            walk.left("trees without two ranked replies of the assistant to one message");
        }
    }
    let found = walk.found;
    // Records of one tree continue one another, so they are held out together: by its first message.
    let record = |prompt: Vec<Message>, answers| PreferenceRecord {
        shared_messages: Some(1),
        ..PreferenceRecord::new(origin.clone(), Text::Chat(prompt), answers)
    };
    Ok(match pairs {
        TreePairs::List => found
            .into_iter()
            .map(|Siblings { prompt, answers }| record(prompt, Answers::Ranked(answers.into_iter().map(one).collect())))
            .collect(),
        TreePairs::Adjacent | TreePairs::All | TreePairs::BestWorst => {
            let of = |Siblings { prompt, answers }: Siblings| {
                let pair = |(better, worse): (usize, usize)| {
                    let [chosen, rejected] = [better, worse].map(|at| one(answers[at].clone()));
                    record(prompt.clone(), Answers::Pair { chosen, rejected })
                };
                pairs.of(answers.len()).into_iter().map(pair).collect::<Vec<_>>()
            };
            found.into_iter().flat_map(of).collect()
        }
        TreePairs::Forest => {
            forest(found, pairs).into_iter().map(|(prompt, answers)| record(prompt, answers)).collect()
        }
    })
}

/// The ranked replies to a conversation, best first.
struct Siblings {
    prompt: Vec<Message>,
    answers: Vec<Message>,
}

fn one(answer: Message) -> Text {
    Text::Chat(vec![answer])
}

/// All lists of a tree as one: the prompt is what they share, up to a message that is answered if there is one (a tree may
/// begin with the assistant, whom several users answer), and the turns between it and an answer are part of the answer, but
/// not the policy's.
fn forest(found: Vec<Siblings>, pairs: TreePairs) -> Option<(Vec<Message>, Answers)> {
    let prompts = || found.iter().map(|siblings| &siblings.prompt);
    let first = prompts().next()?;
    let is_start = |n: usize| prompts().all(|prompt| prompt.starts_with(&first[..n]));
    let starts = || (1..=first.len()).rev().filter(|n| is_start(*n));
    let shared = starts().find(|n| first[n - 1].is_given()).or_else(|| starts().next())?;
    let prompt = first[..shared].to_vec();
    let (mut answers, mut comparisons) = (Vec::new(), Vec::new());
    for Siblings { prompt, answers: siblings } in found {
        let before: Vec<Message> = prompt[shared..].iter().cloned().map(Message::not_trained).collect();
        let at = answers.len();
        comparisons.extend(pairs.of(siblings.len()).into_iter().map(|(better, worse)| (at + better, at + worse)));
        answers.extend(siblings.into_iter().map(|answer| Text::Chat([&before[..], &[answer]].concat())));
    }
    Some((prompt, Answers::Forest { answers, comparisons }))
}

/// The fields of a message that are read.
pub(super) const NODE: [&str; 7] = ["text", "role", "replies", "rank", "deleted", "message_id", "parent_id"];

/// A name of a message, under `message_id` or `parent_id`.
pub(super) fn name_of(node: &Value, field: &str) -> Option<String> {
    match node.get(field)? {
        Value::String(name) => Some(name.trim()).filter(|name| !name.is_empty()).map(str::to_owned),
        Value::Number(name) => Some(name.to_string()),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

/// Refuses a name that stands twice in a tree, and a reply to another message than the one that it stands under.
fn check_names(
    origin: &Origin,
    node: &Value,
    above: Option<&str>,
    known: &mut HashSet<String>,
) -> Result<(), DatasetError> {
    let refused = |field: &str, message: String| {
        Err(DatasetError::Column { origin: origin.clone(), field: field.to_owned(), message })
    };
    let name = name_of(node, "message_id");
    if let (Some(above), Some(parent)) = (above, name_of(node, "parent_id"))
        && parent != above
    {
        let who = name.map_or_else(|| "a message".to_owned(), |name| format!("the message `{name}`"));
        return refused("parent_id", format!("of {who} is `{parent}`, and it stands under `{above}`"));
    }
    if let Some(name) = &name
        && !known.insert(name.clone())
    {
        return refused("message_id", format!("is `{name}` of two messages of the tree"));
    }
    let replies = node.get("replies").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    replies.iter().try_for_each(|reply| check_names(origin, reply, name.as_deref(), known))
}

/// Records the fields of a message and its replies that are not read.
fn pass_over(fields: &Fields<'_>, node: &Value, name: &str) {
    let (Some(seen), Some(map)) = (fields.seen(), node.as_object()) else { return };
    let is_inside = fields.has("prompt") || name != "prompt";
    for (key, _) in map.iter().filter(|(key, value)| is_inside && !value.is_null() && !NODE.contains(&key.as_str())) {
        seen.pass_over(format!("{name}.{key}"));
    }
    let replies = map.get("replies").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    for reply in replies {
        pass_over(fields, reply, "replies[]");
    }
}

/// The way through a tree.
struct Walk<'w> {
    fields: &'w Fields<'w>,
    conversation: Vec<Message>,
    found: Vec<Siblings>,
}

impl Walk<'_> {
    /// Counts what is left out, by name.
    fn left(&self, what: &str) {
        if let Some(seen) = self.fields.seen() {
            seen.pass_over(format!("({what})"));
        }
    }

    /// Adds the lists of `node` and its descendants, parents first.
    fn visit(&mut self, node: &Value) -> Result<(), DatasetError> {
        let origin = self.fields.origin();
        let text = string(origin, node, "text")?;
        self.conversation.push(Message::new(role(string(origin, node, "role")?), text));
        let replies = match node.get("replies") {
            Some(Value::Array(replies)) => &replies[..],
            Some(Value::Null) | None => &[],
            Some(other) => return Err(wrong(origin, "replies", "a list", other)),
        };
        let answers = self.ranked(replies)?;
        if answers.len() >= 2 {
            self.found.push(Siblings { prompt: self.conversation.clone(), answers });
        }
        for reply in replies {
            if is_deleted(reply) {
                let has_replies = reply.get("replies").and_then(Value::as_array).is_some_and(|more| !more.is_empty());
                self.left(if has_replies { "deleted replies with replies to them" } else { "deleted replies" });
            } else {
                self.visit(reply)?;
            }
        }
        self.conversation.pop();
        Ok(())
    }

    /// The ranked replies of the assistant, best first.
    fn ranked(&self, replies: &[Value]) -> Result<Vec<Message>, DatasetError> {
        let origin = self.fields.origin();
        let (mut answers, mut n_unranked) = (Vec::new(), 0);
        for reply in replies.iter().filter(|reply| !is_deleted(reply)) {
            if role(string(origin, reply, "role")?) != "assistant" {
                continue;
            }
            let rank = match reply.get("rank") {
                None | Some(Value::Null) => {
                    n_unranked += 1;
                    continue;
                }
                Some(rank) => rank.as_f64().ok_or_else(|| wrong(origin, "rank", "a number", rank))?,
            };
            let message = Message::new("assistant", string(origin, reply, "text")?);
            if message.is_silent() {
                return Err(DatasetError::EmptyAnswer { origin: origin.clone(), field: "text".to_owned() });
            }
            answers.push((rank, message));
        }
        if n_unranked > 0 && n_unranked + answers.len() > 1 {
            self.left("replies without a rank beside others");
        }
        answers.sort_by(|first, second| first.0.total_cmp(&second.0));
        if let Some(pair) = answers.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            return Err(wrong(origin, "rank", "different from its siblings' ranks", &Value::from(pair[0].0)));
        }
        Ok(answers.into_iter().map(|(_, answer)| answer).collect())
    }
}

fn is_deleted(node: &Value) -> bool {
    // Tables write it as a word or a number.
    node.get("deleted").is_some_and(|deleted| match deleted {
        Value::Bool(is_deleted) => *is_deleted,
        Value::String(word) => ["true", "1"].contains(&word.trim().to_ascii_lowercase().as_str()),
        other => other.as_f64().is_some_and(|number| number != 0.0),
    })
}

fn role(name: &str) -> &str {
    if name == "prompter" { "user" } else { name }
}

fn string<'a>(origin: &Origin, node: &'a Value, name: &str) -> Result<&'a str, DatasetError> {
    let Some(value) = node.get(name) else {
        let found = node.as_object().map_or_else(String::new, |map| map.keys().cloned().collect::<Vec<_>>().join(", "));
        return Err(DatasetError::MissingField { origin: origin.clone(), field: name.to_owned(), found });
    };
    value.as_str().ok_or_else(|| wrong(origin, name, "a string", value))
}
