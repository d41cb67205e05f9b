//! OpenAI's summary comparisons (TL;DR of Reddit posts, and CNN/DM articles).
use serde_json::Value;

use super::fields::{Fields, not_blank, wrong};
use crate::error::DatasetError;
use crate::record::{Answers, PreferenceRecord, Text};

/// The prompt of a Reddit post. Blank lines inside the post become line breaks, so that only the template has blank
/// lines.
pub fn prompt(subreddit: &str, title: &str, post: &str) -> String {
    let post = post.replace("\n\n", "\n");
    format!("SUBREDDIT: r/{subreddit}\n\nTITLE: {title}\n\nPOST: {post}\n\nTL;DR:")
}

/// The prompt of a news article, in TRL's form.
pub fn article_prompt(title: &str, article: &str) -> String {
    let article = article.replace("\n\n", "\n");
    format!("TITLE: {title}\n\n{article}\n\nTL;DR:")
}

/// `info{post, title, subreddit}` or `info{article, title}`, `summaries[2]{text}`, `choice` 0 or 1.
pub(super) fn parse(fields: &Fields<'_>) -> Result<PreferenceRecord, DatasetError> {
    // Which part of the data the record is in is read when parts are chosen.
    fields.optional("split");
    let info = fields.object("info", "info.")?;
    let prompt = if info.has("article") {
        let title = if info.has("title") { info.string("title")? } else { "" };
        article_prompt(title, info.string("article")?)
    } else {
        prompt(info.string("subreddit")?, info.string("title")?, info.string("post")?)
    };
    let summaries = fields.array("summaries")?;
    let [first, second] = &summaries[..] else {
        return Err(fields.wrong("summaries", "a list of 2", fields.required("summaries")?));
    };
    let (first, second) = (summary(fields, "summaries[0].text", first)?, summary(fields, "summaries[1].text", second)?);
    let choice = fields.required("choice")?;
    let (chosen, rejected) = match choice.as_u64() {
        Some(0) => (first, second),
        Some(1) => (second, first),
        _ => return Err(fields.wrong("choice", "0 or 1", choice)),
    };
    let answers = Answers::Pair { chosen, rejected };
    Ok(PreferenceRecord::new(fields.origin().clone(), Text::Plain(prompt), answers))
}

/// A summary with exactly one leading space, since the prompt ends in a colon.
fn summary(fields: &Fields<'_>, name: &str, summary: &Value) -> Result<Text, DatasetError> {
    let missing = || DatasetError::MissingField {
        origin: fields.origin().clone(),
        field: name.to_owned(),
        found: summary.as_object().map_or_else(String::new, |map| map.keys().cloned().collect::<Vec<_>>().join(", ")),
    };
    let value = summary.get("text").ok_or_else(missing)?;
    if let (Some(seen), Some(map)) = (fields.seen(), summary.as_object()) {
        map.keys().filter(|key| *key != "text").for_each(|key| seen.pass_over(format!("summaries[].{key}")));
    }
    let text = value.as_str().ok_or_else(|| wrong(fields.origin(), name, "a string", value))?;
    let text = text.strip_prefix(' ').unwrap_or(text);
    not_blank(fields.origin(), name, Text::Plain(format!(" {text}")))
}
