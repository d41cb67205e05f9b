//! Anthropic's HH: two whole dialogues that differ in their last answer.
use super::fields::{Fields, not_blank};
use crate::error::DatasetError;
use crate::record::{Answers, PreferenceRecord};

/// The text before the last answer of a dialogue.
pub(super) const TURN: &str = "\n\nAssistant:";

/// `chosen`, `rejected`: the prompt is everything through the last "\n\nAssistant:", the same on both sides.
pub(super) fn parse(fields: &Fields<'_>) -> Result<PreferenceRecord, DatasetError> {
    let (prompt, chosen) = split(fields, "chosen")?;
    let (other_prompt, rejected) = split(fields, "rejected")?;
    if prompt != other_prompt {
        let detail = format!("the dialogues before the last \"{}\" differ", TURN.escape_debug());
        return Err(DatasetError::PromptMismatch { origin: fields.origin().clone(), detail });
    }
    let answers = Answers::Pair {
        chosen: not_blank(fields.origin(), "chosen", chosen.into())?,
        rejected: not_blank(fields.origin(), "rejected", rejected.into())?,
    };
    Ok(PreferenceRecord::new(fields.origin().clone(), prompt.into(), answers))
}

fn split<'a>(fields: &Fields<'a>, name: &str) -> Result<(&'a str, &'a str), DatasetError> {
    let dialogue = fields.string(name)?;
    let Some(start) = dialogue.rfind(TURN) else {
        let expected = "a dialogue with \"\\n\\nAssistant:\" in it";
        return Err(fields.wrong(name, expected, fields.required(name)?));
    };
    Ok(dialogue.split_at(start + TURN.len()))
}
