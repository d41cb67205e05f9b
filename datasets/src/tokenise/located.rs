//! The places of tokens in their text.

use std::ops::Range;

use super::Tokenise;
use crate::error::DatasetError;
use crate::record::Origin;

/// A token and the characters of its text that it covers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocatedToken {
    /// The token.
    pub id: u32,
    /// The range in characters. A byte-level token that holds a part of a character covers the whole character, so
    /// neighbours may overlap.
    pub span: Range<usize>,
}

impl Tokenise {
    /// The tokens of a plain answer behind a plain prompt, each with its place in the answer.
    ///
    /// The tokens are those of [`Tokenise::example`] with [`Tokenization::Separate`](super::Tokenization::Separate),
    /// without EOS and before truncation.
    ///
    /// # Errors
    /// The tokeniser fails.
    pub fn located(&self, origin: &Origin, prompt: &str, answer: &str) -> Result<Vec<LocatedToken>, DatasetError> {
        if !self.adds_space {
            return self.located_behind(origin, "", 0, answer);
        }
        let (start, whole) = (self.encode(origin, prompt)?, [prompt, answer].concat());
        if self.encode(origin, &whole)?.starts_with(&start) {
            return self.located_behind(origin, prompt, start.len(), answer);
        }
        let tokens = self.behind_a_guard(origin, answer)?;
        for guard in super::border::GUARDS {
            let n_before = self.encode(origin, guard)?.len();
            let found = self.located_behind(origin, guard, n_before, answer)?;
            if found.iter().map(|token| token.id).eq(tokens.iter().copied()) {
                return Ok(found);
            }
        }
        self.located_behind(origin, "", 0, answer)
    }

    /// The tokens of `before` and `answer` as one text behind the first `n_before`, placed in `answer`.
    fn located_behind(
        &self,
        origin: &Origin,
        before: &str,
        n_before: usize,
        answer: &str,
    ) -> Result<Vec<LocatedToken>, DatasetError> {
        let failed = |message: String| DatasetError::Tokenizer { origin: origin.clone(), message };
        if before.len() + answer.len() > super::TEXT_LIMIT {
            return Err(DatasetError::LongText { origin: origin.clone(), limit: super::TEXT_LIMIT });
        }
        let encoding = self
            .tokenizer
            .encode_char_offsets([before, answer].concat(), false)
            .map_err(|error| failed(error.to_string()))?;
        let (n_characters, most) = (before.chars().count(), answer.chars().count());
        let place = |at: usize| at.saturating_sub(n_characters).min(most);
        let located = encoding.get_ids().iter().zip(encoding.get_offsets()).skip(n_before);
        Ok(located.map(|(&id, &(start, end))| LocatedToken { id, span: place(start)..place(end) }).collect())
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use super::*;
    use crate::record::{Answers, PreferenceRecord};
    use crate::synthetic::tldr;
    use crate::tokenise::TokenSettings;
    use crate::truncation::Truncation;

    fn origin() -> Origin {
        Origin::line(&Arc::from(Path::new("a.jsonl")), 1)
    }

    /// Checks that located tokens are those of an example, and returns their places.
    fn places(tokenise: &Tokenise, prompt: &str, answer: &str) -> Vec<Range<usize>> {
        let located = tokenise.located(&origin(), prompt, answer).unwrap();
        let record = PreferenceRecord::new(origin(), prompt.into(), Answers::Demonstration(answer.into()));
        let example = tokenise.example(0, &record, Truncation::KeepBoth).unwrap().0.unwrap();
        let ids: Vec<u32> = located.iter().map(|token| token.id).collect();
        assert_eq!(ids, example.responses[0][..ids.len()], "{answer}");
        assert_eq!(ids.len() + 1, example.responses[0].len(), "{answer}");
        located.into_iter().map(|token| token.span).collect()
    }

    fn grammar() -> Tokenise {
        let tokenizer = tldr::tokenizer().unwrap();
        let eos = tokenizer.token_to_id(tldr::END_OF_TEXT).unwrap();
        Tokenise::new(&tokenizer, None, TokenSettings::new(eos)).unwrap()
    }

    #[test]
    fn words_are_where_they_stand() {
        let spans = places(&grammar(), "POST: a\n\nTL;DR:", " my Anna (35)");
        let text: Vec<char> = " my Anna (35)".chars().collect();
        let words: Vec<String> = spans.iter().map(|span| text[span.clone()].iter().collect()).collect();
        assert_eq!(words.iter().map(|word| word.trim()).collect::<Vec<_>>(), ["my", "Anna", "(", "35", ")"]);
    }

    #[test]
    fn tokens_of_a_part_of_a_character_cover_all_of_it() {
        // Two bytes, three bytes and four bytes: as many tokens, none of a whole character.
        let spans = places(&grammar(), "POST:", "é€😀");
        assert_eq!(spans, [vec![0..1; 2], vec![1..2; 3], vec![2..3; 4]].concat());
    }
}
