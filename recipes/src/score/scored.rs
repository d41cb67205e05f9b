use std::fmt;

use datasets::Response;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use crate::json_line;

/// The scores of an example. It is displayed as a line of JSON.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Scored {
    /// Index of the example in its data.
    pub index: u64,
    /// The scores of its answers.
    #[serde(flatten)]
    pub scores: Scores,
}

/// Scores by the kind of model.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Scores {
    /// By a language model.
    Texts(TextScores),
    /// By a denoiser.
    Pictures(PictureScores),
    /// By a refiner and a generator.
    Refined(RefinedScores),
}

/// A language model's scores of an example.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TextScores {
    /// The tokens of the prompt.
    pub prompt_tokens: Vec<u32>,
    /// The scores of the answers.
    #[serde(flatten)]
    pub answers: AnswerScores,
}

/// Scores of answers by the kind of example.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum AnswerScores {
    /// A pair.
    Pair {
        /// The better answer.
        chosen: AnswerScore,
        /// The worse one.
        rejected: AnswerScore,
        /// beta times the difference of the log-ratios to the reference, in nats; `None` without one.
        margin: Option<f64>,
    },
    /// Ranked answers.
    Ranked {
        /// Best first.
        ranked: Vec<AnswerScore>,
    },
    /// A single answer with a thumb up or down.
    Labelled {
        /// The answer.
        completion: AnswerScore,
        /// Whether it is liked.
        label: bool,
    },
    /// The answers of a conversation tree.
    Forest {
        /// The answers' scores.
        answers: Vec<AnswerScore>,
        /// Indices of a better and a worse answer.
        comparisons: Vec<[usize; 2]>,
    },
    /// An answer to imitate.
    Demonstration {
        /// The answer.
        completion: AnswerScore,
    },
}

/// The scores of an answer's tokens.
///
/// As JSON it has the `tokens`, and `log_probs` and `reference_log_probs` of each, which are null where a token is given.
/// An answer that is not one whole turn of weight 1 has `weights` too, one for each token: 0 for given ones.
#[derive(Clone, Debug, PartialEq)]
pub struct AnswerScore {
    /// The tokens, and which of them are scored.
    pub response: Response,
    /// The log-probability of each scored token, in nats.
    pub log_probs: Vec<f64>,
    /// The reference's log-probability of each scored token, in nats; `None` without one.
    pub reference_log_probs: Option<Vec<f64>>,
}

impl Serialize for AnswerScore {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let spread = |numbers: &Vec<f64>| self.response.spread(numbers);
        let mut fields = serializer.serialize_map(None)?;
        fields.serialize_entry("tokens", self.response.tokens())?;
        if !self.response.is_plain() {
            fields.serialize_entry("weights", &self.response.weights())?;
        }
        fields.serialize_entry("log_probs", &spread(&self.log_probs))?;
        fields.serialize_entry("reference_log_probs", &self.reference_log_probs.as_ref().map(spread))?;
        fields.end()
    }
}

/// A denoiser's scores of a pair.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PictureScores {
    /// The timesteps of the draws.
    pub timestep: DrawnTimesteps,
    /// The better picture.
    pub chosen: PictureScore,
    /// The worse one.
    pub rejected: PictureScore,
    /// beta times the difference of the weighted gains over the reference, in nats; `None` without one.
    pub margin: Option<f64>,
}

/// Squared errors of a picture, summed over all draws.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PictureScore {
    /// The squared error.
    pub error: f64,
    /// The reference's squared error; `None` without one.
    pub reference_error: Option<f64>,
}

/// The scores of a pair of refined prompts and pictures.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RefinedScores {
    /// The timesteps of the draws.
    pub timestep: DrawnTimesteps,
    /// The better side.
    pub chosen: RefinedScore,
    /// The worse one.
    pub rejected: RefinedScore,
    /// The refiner's part of the margin; `None` without a reference, like all three.
    pub margin_refiner: Option<f64>,
    /// The generator's part of the margin.
    pub margin_generator: Option<f64>,
    /// The margin, in nats: the sum of both parts.
    pub margin: Option<f64>,
}

/// The scores of a refined prompt and its picture.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RefinedScore {
    /// The log-probability of each token of the refined prompt, in nats.
    pub log_probs: Vec<f64>,
    /// The picture's squared error, summed over all draws.
    pub error: f64,
    /// The reference's log-probabilities, in nats; `None` without one.
    pub reference_log_probs: Option<Vec<f64>>,
    /// The reference's squared error; `None` without one.
    pub reference_error: Option<f64>,
}

/// The timesteps of a pair's draws.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum DrawnTimesteps {
    /// That of the only draw.
    One(usize),
    /// Those of several draws.
    Several(Vec<usize>),
}

impl FromIterator<usize> for DrawnTimesteps {
    fn from_iter<I: IntoIterator<Item = usize>>(drawn: I) -> Self {
        let drawn: Vec<usize> = drawn.into_iter().collect();
        if let [one] = drawn[..] { Self::One(one) } else { Self::Several(drawn) }
    }
}

impl Scored {
    /// The margin of a pair, in nats; `None` without a reference, and for other kinds of examples.
    pub fn margin(&self) -> Option<f64> {
        match &self.scores {
            Scores::Texts(TextScores { answers: AnswerScores::Pair { margin, .. }, .. })
            | Scores::Pictures(PictureScores { margin, .. })
            | Scores::Refined(RefinedScores { margin, .. }) => *margin,
            Scores::Texts(TextScores {
                answers:
                    AnswerScores::Ranked { .. }
                    | AnswerScores::Forest { .. }
                    | AnswerScores::Labelled { .. }
                    | AnswerScores::Demonstration { .. },
                ..
            }) => None,
        }
    }
}

impl fmt::Display for Scored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        json_line::write(self, f)
    }
}

#[cfg(test)]
mod tests {
    use datasets::Turn;

    use super::*;

    #[test]
    fn a_line_has_the_index_first_and_null_without_a_reference() {
        let answer = AnswerScore { response: vec![3].into(), log_probs: vec![-0.5], reference_log_probs: None };
        let answers = AnswerScores::Pair { chosen: answer.clone(), rejected: answer.clone(), margin: None };
        let scores = Scores::Texts(TextScores { prompt_tokens: vec![1, 2], answers });
        let answer = r#"{"tokens":[3],"log_probs":[-0.5],"reference_log_probs":null}"#;
        let line =
            format!(r#"{{"index":7,"prompt_tokens":[1,2],"chosen":{answer},"rejected":{answer},"margin":null}}"#);
        assert_eq!(Scored { index: 7, scores }.to_string(), line);
        let turn = Turn { range: 1..2, weight: 0.5 };
        let talk = Response::new(vec![3, 4, 5], vec![turn]);
        let talk = AnswerScore { response: talk, log_probs: vec![-0.5], reference_log_probs: Some(vec![-0.25]) };
        let expected = r#"{"tokens":[3,4,5],"weights":[0.0,0.5,0.0],"log_probs":[null,-0.5,null],"reference_log_probs":[null,-0.25,null]}"#;
        assert_eq!(serde_json::to_string(&talk).unwrap(), expected);
        let side = PictureScore { error: 2.0, reference_error: Some(f64::NAN) };
        let pictures =
            |timestep| PictureScores { timestep, chosen: side.clone(), rejected: side.clone(), margin: Some(1.5) };
        let line = |drawn: Vec<usize>| {
            Scored { index: 0, scores: Scores::Pictures(pictures(drawn.into_iter().collect())) }.to_string()
        };
        let sides = r#""chosen":{"error":2.0,"reference_error":null},"rejected":{"error":2.0,"reference_error":null}"#;
        assert_eq!(line(vec![9]), format!(r#"{{"index":0,"timestep":9,{sides},"margin":1.5}}"#));
        assert_eq!(line(vec![9, 4]), format!(r#"{{"index":0,"timestep":[9,4],{sides},"margin":1.5}}"#));
    }
}
