//! Whose the tokens are that answers lose.
use super::border::Strings;
use super::cut::Cut;
use super::{Observation, Tokenise, messages};
use crate::error::DatasetError;
use crate::record::PreferenceRecord;

/// The role that stands for all messages of an answer whose ends can't be told.
const UNTOLD: &str = "answers";

impl Tokenise {
    /// Counts the tokens that a chat's answers lost, by the role of the message that each belongs to.
    pub(super) fn count_lost(
        &self,
        record: &PreferenceRecord,
        strings: &Strings,
        cuts: &[Cut],
        seen: &mut Observation,
    ) -> Result<(), DatasetError> {
        let Strings::Chat { wholes, .. } = strings else { return Ok(()) };
        let texts = record.answers.texts();
        let prompt = messages(&record.prompt, "user");
        for Cut { answer, length, lost } in cuts {
            let (Some(whole), Some(text)) = (wholes.get(*answer), texts.get(*answer)) else { continue };
            let told = messages(text, "assistant");
            let ends = match &told[..] {
                [_] => Some(vec![usize::MAX]),
                told => {
                    let template = self.template_for(&record.origin, &record.variables)?;
                    template.message_ends(&prompt, told, &record.variables, &whole.text)
                }
            };
            let Some(ends) = ends else {
                let cut = seen.cut_roles.entry(UNTOLD.to_owned()).or_default();
                (cut.tokens, cut.parts) = (cut.tokens + lost.len(), cut.parts + 1);
                continue;
            };
            // An answer's tokens are the last ones of the text; an EOS that was appended is the last message's.
            let places = self.placed(&record.origin, &whole.text, 0)?.places;
            let n_before = places.len().saturating_sub(*length);
            let of = |token: usize| {
                let start = places.get(n_before + token).map_or(usize::MAX - 1, |place| place.start);
                ends.partition_point(|end| *end <= start).min(told.len() - 1)
            };
            for (at, message) in told.iter().enumerate() {
                let n_lost = lost.clone().filter(|token| of(*token) == at).count();
                let is_whole = (0..lost.start).all(|token| of(token) != at);
                let cut = seen.cut_roles.entry(message.role.clone()).or_default();
                cut.tokens += n_lost;
                cut.turns += usize::from(n_lost > 0 && is_whole);
                cut.parts += usize::from(n_lost > 0 && !is_whole);
            }
        }
        seen.cut_roles.retain(|_, cut| cut.tokens > 0);
        Ok(())
    }
}
