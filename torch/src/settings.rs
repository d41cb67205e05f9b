//! The JSON file beside a TorchScript file: what goes in, and what comes out.
use std::path::Path;

use mdp::diffusion::Prediction;
use models::ModelError;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// What goes into a policy, and what comes out of it.
#[derive(Clone, Debug, PartialEq)]
pub enum Settings {
    /// `token-logits`: token ids to the logits of the next token.
    Tokens(TokenSettings),
    /// `denoiser`: noisy images and their times to a prediction.
    Images(ImageSettings),
}

/// The settings of a language model: its `forward` takes ids `[batch, length]` (int64) and returns logits
/// `[batch, length, vocabulary]` (float32), those of a place depending on the ids up to it alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenSettings {
    /// The number of logits.
    pub vocabulary: usize,
    /// The most tokens that it reads.
    pub max_length: usize,
    /// The tokens that end a text: one or a list. The first one is appended to answers.
    #[serde(deserialize_with = "one_or_more")]
    pub eos: Vec<u32>,
    /// The token that begins a text, if texts begin with one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bos: Option<u32>,
    /// The tokenizer's file beside this one; `tokenizer.json` by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokenizer: Option<String>,
    /// The chat template's file beside this one; none by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chat_template: Option<String>,
}

/// The settings of a network that denoises: its `forward` takes noisy images `[batch, channels, height, width]`, their times
/// `[batch]` and, where there is a context, hidden states `[batch, length, width]`, all float32, and returns the prediction
/// in the shape of the images.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageSettings {
    /// Channels of an image.
    pub channels: usize,
    /// Its height.
    pub height: usize,
    /// Its width.
    pub width: usize,
    /// What is predicted.
    pub prediction: PredictionName,
    /// The noise schedule, as in a `scheduler_config.json` of diffusers; by default that of Stable Diffusion, or of flow matching.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheduler: Option<Map<String, Value>>,
    /// The hidden states of a caption, if it reads them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<Context>,
}

/// The shape of a caption's hidden states.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Context {
    /// The number of states; any if it is not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub length: Option<usize>,
    /// The width of a state.
    pub width: usize,
}

/// What a denoiser predicts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PredictionName {
    /// The noise.
    Epsilon,
    /// The velocity of diffusion.
    V,
    /// The velocity of flow matching.
    Flow,
}

impl PredictionName {
    /// The prediction type.
    pub fn prediction(self) -> Prediction {
        match self {
            Self::Epsilon => Prediction::Epsilon,
            Self::V => Prediction::Velocity,
            Self::Flow => Prediction::Flow,
        }
    }
}

/// The name of the file in a folder that was written here.
pub(crate) const POLICY: &str = "policy.pt";

/// The kinds, as `kind` names them.
const KINDS: [&str; 2] = ["token-logits", "denoiser"];

impl Settings {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// A file that can't be read; broken JSON; a key that is unknown or missing; a value that makes no sense.
    pub fn read(path: &Path) -> Result<Self, ModelError> {
        let text = std::fs::read_to_string(path).map_err(|error| ModelError::io(path, error))?;
        Self::parse(path, &text)
    }

    /// Reads and checks the text of a file; `path` is for messages.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn parse(path: &Path, text: &str) -> Result<Self, ModelError> {
        let wrong = |reason: String| ModelError::format(path, reason);
        let json: Value = serde_json::from_str(text).map_err(|error| wrong(format!("broken JSON: {error}")))?;
        let Value::Object(mut fields) = json else { return Err(wrong("the file must hold a JSON object".into())) };
        let kind = fields.remove("kind");
        let fields = Value::Object(fields);
        let made = match kind.as_ref().and_then(Value::as_str) {
            Some("token-logits") => serde_json::from_value(fields).map(Self::Tokens),
            Some("denoiser") => serde_json::from_value(fields).map(Self::Images),
            _ => {
                let found = kind.map_or_else(|| "is missing".to_owned(), |kind| format!("is {kind}"));
                return Err(wrong(format!("`kind` {found}; it is one of {}", KINDS.join(", "))));
            }
        };
        let settings = made.map_err(|error| wrong(error.to_string()))?;
        settings.check().map_err(wrong)?;
        Ok(settings)
    }

    /// The contents of the file.
    pub fn to_json(&self) -> Value {
        let (kind, fields) = match self {
            Self::Tokens(settings) => (KINDS[0], serde_json::to_value(settings)),
            Self::Images(settings) => (KINDS[1], serde_json::to_value(settings)),
        };
        let mut all = Map::from_iter([("kind".to_owned(), kind.into())]);
        if let Ok(Value::Object(fields)) = fields {
            all.extend(fields);
        }
        Value::Object(all)
    }

    fn check(&self) -> Result<(), String> {
        match self {
            Self::Tokens(settings) => settings.check(),
            Self::Images(settings) => settings.check(),
        }
    }
}

impl TokenSettings {
    fn check(&self) -> Result<(), String> {
        if self.vocabulary < 2 {
            return Err(format!("`vocabulary` takes at least 2, not {}", self.vocabulary));
        }
        if self.max_length < 2 {
            return Err(format!("`max_length` takes at least 2 (a prompt and an answer), not {}", self.max_length));
        }
        if self.eos.is_empty() {
            return Err("`eos` names no token; answers end with one".to_owned());
        }
        let tokens = self.eos.iter().map(|token| ("eos", token)).chain(self.bos.iter().map(|token| ("bos", token)));
        for (key, token) in tokens {
            if *token as usize >= self.vocabulary {
                return Err(format!("`{key}` {token} is not below the `vocabulary` of {}", self.vocabulary));
            }
        }
        for (key, name) in [("tokenizer", &self.tokenizer), ("chat_template", &self.chat_template)] {
            if let Some(name) = name.as_ref().filter(|name| name.is_empty() || name.contains(['/', '\\'])) {
                return Err(format!("`{key}` `{name}` is not the name of a file beside this one"));
            }
        }
        Ok(())
    }
}

impl ImageSettings {
    fn check(&self) -> Result<(), String> {
        let sizes = [("channels", self.channels), ("height", self.height), ("width", self.width)];
        let context = self
            .context
            .into_iter()
            .flat_map(|context| [("context.length", context.length.unwrap_or(1)), ("context.width", context.width)]);
        match sizes.into_iter().chain(context).find(|(_, size)| *size == 0) {
            Some((key, _)) => Err(format!("`{key}` takes at least 1")),
            None => Ok(()),
        }
    }
}

/// One token, or a list of them.
fn one_or_more<'de, D: serde::Deserializer<'de>>(source: D) -> Result<Vec<u32>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "`eos` takes a token's id or a list of them")]
    enum Tokens {
        One(u32),
        More(Vec<u32>),
    }
    Ok(match Tokens::deserialize(source)? {
        Tokens::One(token) => vec![token],
        Tokens::More(tokens) => tokens,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Settings, String> {
        Settings::parse(Path::new("policy.json"), text).map_err(|error| error.to_string())
    }

    #[test]
    fn settings_are_read_and_written() {
        let text = r#"{"kind": "token-logits", "vocabulary": 9, "max_length": 8, "eos": 1}"#;
        let Ok(Settings::Tokens(tokens)) = parse(text) else { panic!("{text}") };
        assert_eq!((tokens.vocabulary, tokens.eos.as_slice(), tokens.bos), (9, &[1][..], None));
        let again = Settings::Tokens(tokens);
        assert_eq!(parse(&again.to_json().to_string()), Ok(again));
        let text = r#"{"kind": "denoiser", "channels": 3, "height": 8, "width": 4, "prediction": "v",
            "scheduler": {"_class_name": "DDIMScheduler"}, "context": {"width": 5}}"#;
        let Ok(Settings::Images(images)) = parse(text) else { panic!("{text}") };
        assert_eq!(images.context, Some(Context { length: None, width: 5 }));
        let again = Settings::Images(images);
        assert_eq!(parse(&again.to_json().to_string()), Ok(again));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let tokens = |rest: &str| format!(r#"{{"kind": "token-logits", {rest}}}"#);
        let table = [
            ("{", "broken JSON"),
            ("[]", "must hold a JSON object"),
            ("{}", "`kind` is missing; it is one of token-logits, denoiser"),
            (r#"{"kind": "logits"}"#, "`kind` is \"logits\""),
            (&tokens(r#""vocabulary": 9, "max_length": 8, "eos": 1, "eso": 2"#), "unknown field `eso`"),
            (&tokens(r#""vocabulary": 9, "eos": 1"#), "missing field `max_length`"),
            (&tokens(r#""vocabulary": -9, "max_length": 8, "eos": 1"#), "-9"),
            (&tokens(r#""vocabulary": 1, "max_length": 8, "eos": 1"#), "`vocabulary` takes at least 2"),
            (&tokens(r#""vocabulary": 9, "max_length": 1, "eos": 1"#), "`max_length` takes at least 2"),
            (&tokens(r#""vocabulary": 9, "max_length": 8, "eos": []"#), "`eos` names no token"),
            (&tokens(r#""vocabulary": 9, "max_length": 8, "eos": "</s>""#), "`eos` takes a token's id or a list"),
            (
                &tokens(r#""vocabulary": 9, "max_length": 8, "eos": [1, 9]"#),
                "`eos` 9 is not below the `vocabulary` of 9",
            ),
            (&tokens(r#""vocabulary": 9, "max_length": 8, "eos": 1, "tokenizer": "../t.json""#), "`tokenizer`"),
            (r#"{"kind": "denoiser", "channels": 0, "height": 8, "width": 4, "prediction": "v"}"#, "`channels`"),
            (
                r#"{"kind": "denoiser", "channels": 3, "height": 8, "width": 4, "prediction": "sample"}"#,
                "unknown variant `sample`, expected one of `epsilon`, `v`, `flow`",
            ),
        ];
        for (text, expected) in table {
            let message = parse(text).unwrap_err();
            assert!(message.starts_with("policy.json: ") && message.contains(expected), "{message}");
        }
    }
}
