//! What the messages of a conversation's answer say, among its tokens.
use std::ops::Range;

use datasets::{Content, Message, Origin, PreferenceRecord, Response, Text, Turn};

use crate::Failure;
use crate::judge::reward::TextReward;

/// A span in characters of a message's content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct MessageSpan {
    /// The number of the message in the answer, from 0.
    pub(super) message: usize,
    pub(super) span: Range<usize>,
}

/// The messages of an answer, and where the contents of the scored ones stand in the answer's text.
pub(super) struct Told {
    messages: Vec<Message>,
    /// In characters; `None` for given messages, and for those that the template writes otherwise.
    contents: Vec<Option<Range<usize>>>,
}

impl Told {
    /// Finds the contents within the scored turns, in their order.
    pub(super) fn of(record: &PreferenceRecord, response: &Response, text: &str, places: &[Range<usize>]) -> Self {
        let messages = match record.answers.texts().first() {
            Some(Text::Chat(messages)) => messages.clone(),
            Some(Text::Plain(text)) => vec![Message::new("assistant", text.as_str())],
            None => Vec::new(),
        };
        let letters: Vec<char> = text.chars().collect();
        let turn = |turn: &Turn| {
            let scored = &places[turn.range.clone()];
            Some(scored.first()?.start..scored.last()?.end)
        };
        let turns: Vec<Range<usize>> = response.turns().iter().filter_map(turn).collect();
        let mut from = 0;
        let mut contents = Vec::with_capacity(messages.len());
        for message in &messages {
            let words: Vec<char> = message.content.words().trim().chars().collect();
            let found = turns
                .iter()
                .filter(|turn| is_scored(message) && !words.is_empty() && turn.end > from)
                .find_map(|turn| {
                    let start = behind_thought(message, &letters, turn.start.max(from)..turn.end);
                    let at = letters[start..turn.end].windows(words.len()).position(|part| part == words)?;
                    Some(start + at..start + at + words.len())
                });
            from = found.as_ref().map_or(from, |found| found.end);
            contents.push(found);
        }
        Self { messages, contents }
    }

    /// Whether a place is of what a scored message says.
    pub(super) fn is_content(&self, place: &Range<usize>) -> bool {
        let meets = |content: &Range<usize>| place.start < content.end && content.start < place.end;
        self.contents.iter().flatten().any(meets)
    }

    /// Spans of messages as spans of the answer's text.
    pub(super) fn spans(&self, origin: &Origin, spans: &[MessageSpan]) -> Result<Vec<Range<usize>>, Failure> {
        let place = |MessageSpan { message, span }: &MessageSpan| {
            let content = self.contents.get(*message).cloned().flatten().ok_or_else(|| {
                Failure::failed(format!(
                    "{origin}: `spans` are in message {message} of the answer, whose content is not scored as it stands: it is \
                     given, cut off, or the template writes it otherwise"
                ))
            })?;
            let before = self.n_blank_before(*message);
            let at = |end: usize| (content.start + end.saturating_sub(before)).min(content.end);
            Ok(at(span.start)..at(span.end))
        };
        spans.iter().map(place).collect()
    }

    /// White space before what a message says, which templates cut off.
    fn n_blank_before(&self, message: usize) -> usize {
        self.messages[message].content.words().chars().take_while(|c| c.is_whitespace()).count()
    }

    /// The reward model's value of the conversation whose message ends with each token, less that with the token before; 0 for
    /// tokens that are no message's content.
    ///
    /// The model reads the conversation by its own template, as `judge` gives it whole ones.
    pub(super) fn rewards(
        &self,
        reward: &TextReward,
        record: &PreferenceRecord,
        words: &[Range<usize>],
    ) -> Result<Vec<f64>, Failure> {
        let mut credit = vec![0.0; words.len()];
        for (at, content) in self.contents.iter().enumerate() {
            let Some(content) = content else { continue };
            let is_inside = |word: &Range<usize>| word.start < content.end && content.start < word.end;
            let inside: Vec<usize> = (0..words.len()).filter(|token| is_inside(&words[*token])).collect();
            let said: Vec<char> = self.messages[at].content.words().trim().chars().collect();
            let until = |n: usize| {
                let mut answer = self.messages[..=at].to_vec();
                answer[at].content = Content::Text(said[..n.min(said.len())].iter().collect());
                answer
            };
            let ends = inside.iter().map(|token| words[*token].end.min(content.end).saturating_sub(content.start));
            let answers: Vec<Vec<Message>> = std::iter::once(0).chain(ends).map(until).collect();
            let rewards = reward.of_conversations(record, &answers)?;
            for (token, pair) in inside.into_iter().zip(rewards.windows(2)) {
                credit[token] = pair[1] - pair[0];
            }
        }
        Ok(credit)
    }
}

/// Where a turn goes on behind the thought of its message, which may say the words of the content too.
fn behind_thought(message: &Message, letters: &[char], turn: Range<usize>) -> usize {
    let thoughts = ["reasoning_content", "thinking", "reasoning"];
    let thoughts = thoughts.iter().filter_map(|name| message.fields.get(*name)?.as_str());
    let ends = thoughts.filter_map(|thought| {
        let thought: Vec<char> = thought.trim().chars().collect();
        let at = letters[turn.clone()].windows(thought.len().max(1)).position(|part| part == thought)?;
        Some(turn.start + at + thought.len())
    });
    ends.max().unwrap_or(turn.start)
}

/// Whether a message is the policy's to learn from.
pub(super) fn is_scored(message: &Message) -> bool {
    let field = |name: &str| message.fields.get(name);
    let is_trained = field("train").and_then(serde_json::Value::as_bool).unwrap_or(true);
    let weight = field("weight").and_then(serde_json::Value::as_f64).unwrap_or(1.0);
    !message.is_given() && is_trained && weight > 0.0
}

#[cfg(test)]
mod tests {
    use datasets::Answers;

    use super::*;

    fn talk() -> PreferenceRecord {
        let said = [("assistant", " So "), ("user", "no"), ("assistant", "no.")];
        let messages = said.map(|(role, content)| Message::new(role, content)).to_vec();
        let answers = Answers::Demonstration(Text::Chat(messages));
        PreferenceRecord::new(Origin::generated("talks", 1), "q".into(), answers)
    }

    #[test]
    fn contents_are_found_in_scored_turns_alone() {
        let text = "So;\n<u>no;\n<a>no.;\n";
        let places: Vec<Range<usize>> = (0..text.len()).map(|at| at..at + 1).collect();
        let turn = |range| Turn { range, weight: 1.0 };
        let response = Response::new(vec![0; text.len()], vec![turn(0..4), turn(14..19)]);
        let told = Told::of(&talk(), &response, text, &places);
        assert_eq!(told.contents, [Some(0..2), None, Some(14..17)]);
        assert!(told.is_content(&(1..2)) && !told.is_content(&(2..3)) && !told.is_content(&(7..8)));
        let span = |message, span| MessageSpan { message, span };
        let origin = Origin::generated("talks", 1);
        // A content's blank beginning is not written.
        let found = told.spans(&origin, &[span(0, 1..2), span(2, 1..3)]).unwrap();
        assert_eq!(found, [0..1, 15..17]);
        let refused = told.spans(&origin, &[span(1, 0..1)]).unwrap_err().to_string();
        assert!(refused.contains("message 1 of the answer"), "{refused}");
    }

    #[test]
    fn a_thought_that_says_the_content_is_not_the_content() {
        let mut message = Message::new("assistant", "5");
        message.fields.insert("reasoning_content".to_owned(), "not 5 I think".into());
        let answers = Answers::Demonstration(Text::Chat(vec![message]));
        let record = PreferenceRecord::new(Origin::generated("talks", 1), "q".into(), answers);
        let text = "<t>not 5 I think</t>5;";
        let places: Vec<Range<usize>> = (0..text.len()).map(|at| at..at + 1).collect();
        let turn = Turn { range: 0..text.len(), weight: 1.0 };
        let told = Told::of(&record, &Response::new(vec![0; text.len()], vec![turn]), text, &places);
        assert_eq!(told.contents, [Some(20..21)]);
    }
}
