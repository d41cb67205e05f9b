//! What sampling and search return.
use std::fmt;
use std::path::{Path, PathBuf};

use datasets::Message;
use serde::Serialize;

use crate::json_line;

/// A result of [`sample`](crate::sample()) or [`search`](crate::search()). It is displayed as a line of JSON.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Sampled {
    /// The answer or picture.
    #[serde(flatten)]
    pub result: SampledResult,
    /// The numbers of the search that found it; `None` for a draw.
    #[serde(flatten)]
    pub search: Option<SearchNumbers>,
}

/// Results by the kind of policy.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum SampledResult {
    /// Of a language model.
    Answer(SampledAnswer),
    /// Of a denoiser.
    Picture(SampledPicture),
    /// Of a refiner and a generator.
    Refined(RefinedPicture),
}

/// An answer to a prompt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SampledAnswer {
    /// The prompt.
    pub prompt: String,
    /// The text of the answer, without its end.
    pub response: String,
    /// The tokens of the answer, with its end.
    pub tokens: Vec<u32>,
    /// Whether the answer ends by itself, or where `sample.stop` ends it.
    pub finished: bool,
    /// Of a chat: its messages, with the answer as the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub messages: Option<Vec<Message>>,
}

/// A picture in a file.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SampledPicture {
    /// The prompt.
    pub prompt: String,
    /// The picture's file, relative to the folder of `run.out`.
    pub image: PathBuf,
    /// Index of the picture among those of its prompt.
    pub sample: usize,
    /// The log-density of a draw's steps, in nats; `None` where [`SearchNumbers`] have it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_prob: Option<f64>,
}

/// A picture of a refined prompt, in a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RefinedPicture {
    /// The request.
    pub prompt: String,
    /// The refined prompt.
    pub refined: String,
    /// The picture's file, relative to the folder of `run.out`.
    pub image: PathBuf,
    /// Index of the picture among those of its request.
    pub sample: usize,
}

/// The numbers of a search about one of its results.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct SearchNumbers {
    /// Place among the results of one prompt, from 1.
    pub rank: usize,
    /// The score that was searched for.
    pub score: f64,
    /// The log-probability under the policy, in nats.
    pub log_prob: f64,
    /// Number of decisions.
    pub length: usize,
    /// Evaluations of networks that the search of this prompt took.
    pub evaluations: usize,
    /// The particle's weight; `None` for other methods.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<f64>,
}

impl Sampled {
    /// A draw.
    pub(crate) fn drawn(result: SampledResult) -> Self {
        Self { result, search: None }
    }

    /// The prompt or request.
    pub fn prompt(&self) -> &str {
        match &self.result {
            SampledResult::Answer(SampledAnswer { prompt, .. })
            | SampledResult::Picture(SampledPicture { prompt, .. })
            | SampledResult::Refined(RefinedPicture { prompt, .. }) => prompt,
        }
    }

    /// The answer of a language model; `None` for pictures.
    pub fn answer(&self) -> Option<&SampledAnswer> {
        match &self.result {
            SampledResult::Answer(answer) => Some(answer),
            SampledResult::Picture(_) | SampledResult::Refined(_) => None,
        }
    }

    /// The file of a picture, relative to the folder of `run.out`; `None` for answers.
    pub fn image(&self) -> Option<&Path> {
        match &self.result {
            SampledResult::Picture(SampledPicture { image, .. })
            | SampledResult::Refined(RefinedPicture { image, .. }) => Some(image),
            SampledResult::Answer(_) => None,
        }
    }
}

impl fmt::Display for Sampled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        json_line::write(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_of_a_search_stand_behind_its_result() {
        let numbers = SearchNumbers {
            rank: 1,
            score: -0.5,
            log_prob: f64::NEG_INFINITY,
            length: 2,
            evaluations: 7,
            weight: Some(0.25),
        };
        let (prompt, response) = ("a".to_owned(), "b".to_owned());
        let answer = SampledAnswer { prompt, response, tokens: vec![3, 4], finished: true, messages: None };
        let found = Sampled { result: SampledResult::Answer(answer.clone()), search: Some(numbers) };
        let text = r#"{"prompt":"a","response":"b","tokens":[3,4],"finished":true"#;
        let of_search = r#""rank":1,"score":-0.5,"log_prob":null,"length":2,"evaluations":7"#;
        assert_eq!(found.to_string(), format!(r#"{text},{of_search},"weight":0.25}}"#));
        assert_eq!(Sampled::drawn(SampledResult::Answer(answer)).to_string(), format!("{text}}}"));
        let picture = |log_prob| {
            let (prompt, image) = ("a".to_owned(), PathBuf::from("out/00000-0.png"));
            SampledResult::Picture(SampledPicture { prompt, image, sample: 0, log_prob })
        };
        let text = r#"{"prompt":"a","image":"out/00000-0.png","sample":0"#;
        assert_eq!(Sampled::drawn(picture(Some(1.5))).to_string(), format!(r#"{text},"log_prob":1.5}}"#));
        let found = Sampled { result: picture(None), search: Some(SearchNumbers { weight: None, ..numbers }) };
        assert_eq!(found.to_string(), format!("{text},{of_search}}}"));
    }
}
