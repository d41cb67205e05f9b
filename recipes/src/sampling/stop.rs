//! Texts that end an answer.
use models::formats::ModelTokenizer;

/// The texts of `sample.stop`, found in the text of tokens.
pub(super) struct Stops<'a> {
    texts: &'a [String],
    tokenizer: &'a ModelTokenizer,
    /// So many last tokens hold any of the texts that they complete.
    window: usize,
}

/// Tokens beside those of a text: one that begins it, and bytes of a letter that is not whole.
const MARGIN: usize = 5;

impl<'a> Stops<'a> {
    pub(super) fn new(texts: &'a [String], tokenizer: &'a ModelTokenizer) -> Self {
        // A token has at least a byte.
        let window = texts.iter().map(String::len).max().unwrap_or(0) + MARGIN;
        Self { texts, tokenizer, window }
    }

    /// Whether the last of an answer's tokens completes one of the texts.
    pub(super) fn end(&self, answer: &[u32]) -> bool {
        if self.texts.is_empty() {
            return false;
        }
        let last = &answer[answer.len().saturating_sub(self.window)..];
        // What is no text yet holds none.
        self.tokenizer.decode(last).is_ok_and(|text| first(&text, self.texts).is_some())
    }

    /// An answer before the first of the texts, and whether one is in it.
    pub(super) fn cut(&self, answer: String) -> (String, bool) {
        match first(&answer, self.texts) {
            Some(at) => (answer[..at].to_owned(), true),
            None => (answer, false),
        }
    }
}

/// Where the first of some texts begins.
fn first(text: &str, of: &[String]) -> Option<usize> {
    of.iter().filter_map(|one| text.find(one.as_str())).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_text_counts_whichever_it_is() {
        let texts = ["END".to_owned(), "\n\n".to_owned()];
        assert_eq!(first("one\n\ntwo END", &texts), Some(3));
        assert_eq!(first("one END\n\n", &texts), Some(4));
        assert_eq!(first("one", &texts), None);
    }
}
