//! Conversation trees with ranked sibling replies, as in OpenAssistant.
use serde_json::Value;

use super::choices::TreePairs;
use super::fields::{Fields, wrong};
use crate::error::DatasetError;
use crate::record::{Answers, Message, Origin, PreferenceRecord, Text};

/// A ranked list, or pairs, of every message with two or more ranked assistant replies; the prompt is the conversation up
/// to that message. A forest is one record for all of them: its prompt is the conversation up to the first such message,
/// and its answers begin with the turns in between, which are given. Deleted and unranked replies are omitted; equal ranks
/// are an error.
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
    let mut found = Vec::new();
    walk(origin, root, &mut Vec::new(), &mut found)?;
    let record = |prompt: Vec<Message>, answers| PreferenceRecord::new(origin.clone(), Text::Chat(prompt), answers);
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

/// All lists of a tree as one: the prompt is what they share, the first list's, and the turns between it and an answer
/// are part of the answer, but not the policy's.
fn forest(found: Vec<Siblings>, pairs: TreePairs) -> Option<(Vec<Message>, Answers)> {
    let prompts = || found.iter().map(|siblings| &siblings.prompt);
    let first = prompts().next()?;
    let is_start = |n: usize| prompts().all(|prompt| prompt.starts_with(&first[..n]));
    let shared = (1..=first.len()).rev().find(|n| is_start(*n) && first[n - 1].is_given())?;
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
pub(super) const NODE: [&str; 5] = ["text", "role", "replies", "rank", "deleted"];

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

/// Adds the lists of `node` and its descendants, parents first.
fn walk(
    origin: &Origin,
    node: &Value,
    conversation: &mut Vec<Message>,
    found: &mut Vec<Siblings>,
) -> Result<(), DatasetError> {
    let text = string(origin, node, "text")?;
    conversation.push(Message::new(role(string(origin, node, "role")?), text));
    let replies = match node.get("replies") {
        Some(Value::Array(replies)) => &replies[..],
        Some(Value::Null) | None => &[],
        Some(other) => return Err(wrong(origin, "replies", "a list", other)),
    };
    let answers = ranked(origin, replies)?;
    if answers.len() >= 2 {
        found.push(Siblings { prompt: conversation.clone(), answers });
    }
    for reply in replies {
        walk(origin, reply, conversation, found)?;
    }
    conversation.pop();
    Ok(())
}

/// The ranked replies of the assistant, best first.
fn ranked(origin: &Origin, replies: &[Value]) -> Result<Vec<Message>, DatasetError> {
    let mut answers = Vec::new();
    for reply in replies {
        let is_deleted = reply.get("deleted").and_then(Value::as_bool).unwrap_or(false);
        let rank = match reply.get("rank") {
            None | Some(Value::Null) => continue,
            Some(rank) => rank.as_f64().ok_or_else(|| wrong(origin, "rank", "a number", rank))?,
        };
        if !is_deleted && role(string(origin, reply, "role")?) == "assistant" {
            let message = Message::new("assistant", string(origin, reply, "text")?);
            if message.is_silent() {
                return Err(DatasetError::EmptyAnswer { origin: origin.clone(), field: "text".to_owned() });
            }
            answers.push((rank, message));
        }
    }
    answers.sort_by(|first, second| first.0.total_cmp(&second.0));
    if let Some(pair) = answers.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        return Err(wrong(origin, "rank", "different from its siblings' ranks", &Value::from(pair[0].0)));
    }
    Ok(answers.into_iter().map(|(_, answer)| answer).collect())
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
