//! Reward models that score one side at a time.
use std::path::Path;

use candle_core::Device;
use datasets::pairs::{Modality, PairFolder, Preference, Side};
use datasets::{Answers, Message, Origin, PreferenceRecord, Text, Tokenise};
use models::causal::RewardModel;
use models::clip::ClipScore;
use models::formats;
use serde_json::Map;

use crate::settings::Values;
use crate::{Failure, Reporter, model, text};

/// A trained reward model.
pub(super) enum JudgeReward {
    Texts(Box<TextReward>),
    Pictures(Box<ClipScore>),
}

/// A text reward model.
pub(crate) struct TextReward {
    model: RewardModel,
    tokenise: Tokenise,
    name: String,
}

impl JudgeReward {
    /// Whether a folder holds a reward model, by its `config.json`.
    pub(super) fn is_folder(path: &Path) -> bool {
        formats::is_reward(path) || formats::is_clip_score(path)
    }

    /// Loads the model; it must score pairs of this kind.
    pub(super) fn load(name: &str, modality: Modality, values: &Values) -> Result<Self, Failure> {
        let device = crate::device::open(values)?;
        let path = Path::new(name);
        let is_of_texts = formats::is_reward(path);
        if is_of_texts != (modality == Modality::Token) {
            let what = if is_of_texts { "texts" } else { "pictures" };
            let text = format!("`judge.judge` {name} scores {what}, and the pairs are of {}", modality.name());
            return Err(Failure::failed(text));
        }
        if !is_of_texts {
            return Ok(Self::Pictures(Box::new(formats::load_clip_score(path, &device)?)));
        }
        Ok(Self::Texts(Box::new(TextReward::load(name, &device, values.data.chat_template())?)))
    }

    /// Reports the number of requests that a picture judge truncates.
    pub(super) fn say_truncated(&self, name: &str, pairs: &PairFolder, reporter: &dyn Reporter) -> Result<(), Failure> {
        let Self::Pictures(model) = self else { return Ok(()) };
        let requests: Vec<&str> = pairs.pairs().iter().map(|pair| pair.request.as_str()).collect();
        let n = model.n_truncated(&requests)?;
        if n > 0 {
            reporter.info(&format!("{n} requests are longer than {name} reads, and lose their end"));
        }
        Ok(())
    }

    /// Reward margins, side a minus side b, of some pairs.
    pub(super) fn margins(&self, pairs: &PairFolder, indices: &[usize]) -> Result<Vec<f64>, Failure> {
        let rewards = match self {
            Self::Texts(texts) => texts.rewards(pairs, indices)?,
            Self::Pictures(model) => of_pictures(model, pairs, indices)?,
        };
        Ok(rewards.chunks_exact(2).map(|sides| sides[0] - sides[1]).collect())
    }
}

impl TextReward {
    /// Loads the folder of a reward model; a file's chat template takes the place of its own.
    pub(crate) fn load(name: &str, device: &Device, chat_template: Option<&str>) -> Result<Self, Failure> {
        let mut files = formats::load_reward(Path::new(name), device)?;
        if let Some(path) = chat_template {
            model::set_template(&mut files, Path::new(path))?;
        }
        let tokenise = text::plain_tokenise_of(files.tokenizer()?)?;
        let model = RewardModel::new(files.config, files.tensors)?;
        Ok(Self { model, tokenise, name: name.to_owned() })
    }

    /// The rewards of a prompt with beginnings of an answer, which end at these bytes.
    pub(crate) fn of_beginnings(
        &self,
        origin: &Origin,
        prompt: &str,
        answer: &str,
        ends: &[usize],
    ) -> Result<Vec<f64>, Failure> {
        let beginning = |end: &usize| {
            let text = Text::Plain([prompt, &answer[..*end]].concat());
            self.check_length(origin, self.tokenise.prompt(origin, &text, &Map::new())?)
        };
        Ok(self.model.score(&ends.iter().map(beginning).collect::<Result<Vec<_>, Failure>>()?)?)
    }

    /// The rewards of a record's prompt with each of some answers, as conversations that the model's own template writes.
    pub(crate) fn of_conversations(
        &self,
        record: &PreferenceRecord,
        answers: &[Vec<Message>],
    ) -> Result<Vec<f64>, Failure> {
        let whole = |answer: &Vec<Message>| {
            let answer = Text::Chat(answer.clone());
            let tokens = self.tokenise.whole(&record.origin, &record.prompt, &answer, &record.variables)?;
            self.check_length(&record.origin, tokens)
        };
        let rewards = self.model.score(&answers.iter().map(whole).collect::<Result<Vec<_>, Failure>>()?)?;
        if rewards.iter().any(|reward| !reward.is_finite()) {
            let text = "its rewards are no numbers; its weights overflow or are damaged";
            return Err(Failure::failed(format!("{}: {}: {text}", record.origin, self.name)));
        }
        Ok(rewards)
    }

    /// Refuses what is longer than the model reads.
    fn check_length(&self, origin: &Origin, tokens: Vec<u32>) -> Result<Vec<u32>, Failure> {
        let (n, most) = (tokens.len(), self.model.max_positions());
        if n > most {
            let text = format!("{origin}: prompt and answer are {n} tokens, and {} reads {most}", self.name);
            return Err(Failure::failed(text));
        }
        Ok(tokens)
    }

    /// The rewards of both sides of each pair.
    fn rewards(&self, pairs: &PairFolder, indices: &[usize]) -> Result<Vec<f64>, Failure> {
        let as_they_are = |&index: &usize| Preference { index, a_is_better: 1.0, labellers: 0 };
        let records = pairs.records(&indices.iter().map(as_they_are).collect::<Vec<_>>())?;
        let mut texts = Vec::with_capacity(2 * records.len());
        for record in &records {
            let Answers::Pair { chosen: a, rejected: b } = &record.answers else { continue };
            for (side, answer) in [("a", a), ("b", b)] {
                let tokens = self.tokenise.whole(&record.origin, &record.prompt, answer, &record.variables)?;
                let (n, most) = (tokens.len(), self.model.max_positions());
                if n > most {
                    let text = format!(
                        "{}: side {side} is {n} tokens with its request, and {} reads {most}; make pairs with a smaller \
                         `data.max_length`",
                        record.origin, self.name
                    );
                    return Err(Failure::failed(text));
                }
                texts.push(tokens);
            }
        }
        Ok(self.model.score(&texts)?)
    }
}

/// The rewards of both sides of each pair: how well each picture matches the request, not its refined prompt.
fn of_pictures(model: &ClipScore, pairs: &PairFolder, indices: &[usize]) -> Result<Vec<f64>, Failure> {
    let mut requests = Vec::with_capacity(2 * indices.len());
    for &index in indices {
        for side in Side::BOTH {
            let missing = || Failure::failed(format!("{}: pair {index} has no picture", pairs.path().display()));
            let pair = pairs.get(index).ok_or_else(missing)?;
            let pixels = pairs.clip_square(index, side, model.image_size())?.ok_or_else(missing)?;
            requests.push((pair.request.as_str(), pixels));
        }
    }
    let pictures: Vec<(&str, &[f32])> =
        requests.iter().map(|(request, pixels)| (*request, &pixels.values()[..])).collect();
    Ok(model.score(&pictures)?)
}
