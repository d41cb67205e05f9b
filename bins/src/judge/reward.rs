//! Models that score one side at a time.
use std::path::Path;

use datasets::pairs::{Modality, PairFolder, Preference, Side};
use datasets::{Answers, ChatTemplate, PreferenceRecord, Text};
use policies::causal::RewardModel;
use policies::clip::ClipScore;

use crate::console::Console;
use crate::{Failure, model};

/// A reward model that somebody has trained.
pub(super) enum Reward {
    Texts(Box<OfTexts>),
    Pictures(Box<ClipScore>),
}

/// A model that reads texts.
pub(super) struct OfTexts {
    model: RewardModel,
    template: Option<ChatTemplate>,
    name: String,
}

impl Reward {
    /// Whether a folder holds such a model, to judge by its `config.json`.
    pub(super) fn is_folder(path: &Path) -> bool {
        RewardModel::is_folder(path) || ClipScore::is_folder(path)
    }

    /// Loads the model, which must be for pairs of this kind.
    pub(super) fn load(name: &str, modality: Modality, device: &str) -> Result<Self, Failure> {
        let device = engine::device::parse(device).map_err(|e| Failure::usage(e.to_string()))?;
        let path = Path::new(name);
        let is_of_texts = RewardModel::is_folder(path);
        if is_of_texts != (modality == Modality::Token) {
            let what = if is_of_texts { "texts" } else { "pictures" };
            let text = format!("--judge {name} scores {what}, and the pairs are of {}", modality.name());
            return Err(Failure::failed(text));
        }
        if !is_of_texts {
            return Ok(Self::Pictures(Box::new(ClipScore::load(path, &device)?)));
        }
        let model = RewardModel::load(path, &device)?;
        let template = model::template_of(model.tokenizer()?)?;
        Ok(Self::Texts(Box::new(OfTexts { model, template, name: name.to_owned() })))
    }

    /// Says how many requests a judge of pictures can't read to their end.
    pub(super) fn say_truncated(&self, name: &str, pairs: &PairFolder, console: &Console) -> Result<(), Failure> {
        let Self::Pictures(model) = self else { return Ok(()) };
        let requests: Vec<&str> = pairs.pairs().iter().map(|pair| pair.request.as_str()).collect();
        let n = model.n_truncated(&requests)?;
        if n > 0 {
            console.info(&format!("{n} requests are longer than {name} reads, and lose their end"));
        }
        Ok(())
    }

    /// How much more side a is rewarded than side b, for each of some pairs.
    pub(super) fn margins(&self, pairs: &PairFolder, indices: &[usize]) -> Result<Vec<f64>, Failure> {
        let rewards = match self {
            Self::Texts(texts) => texts.rewards(pairs, indices)?,
            Self::Pictures(model) => of_pictures(model, pairs, indices)?,
        };
        Ok(rewards.chunks_exact(2).map(|sides| sides[0] - sides[1]).collect())
    }
}

impl OfTexts {
    /// The rewards of both sides of each pair.
    fn rewards(&self, pairs: &PairFolder, indices: &[usize]) -> Result<Vec<f64>, Failure> {
        let as_they_are = |&index: &usize| Preference { index, a_is_better: 1.0, labellers: 0 };
        let records = pairs.records(&indices.iter().map(as_they_are).collect::<Vec<_>>())?;
        let mut texts = Vec::with_capacity(2 * records.len());
        for record in &records {
            let Answers::Pair { chosen: a, rejected: b } = &record.answers else { continue };
            for (side, answer) in [("a", a), ("b", b)] {
                let tokens = self
                    .tokens(record, answer)
                    .map_err(|error| Failure::failed(format!("{}: {error}", record.origin)))?;
                let (n, most) = (tokens.len(), self.model.max_positions());
                if n > most {
                    let text = format!(
                        "{}: side {side} is {n} tokens with its request, and {} reads {most}; make pairs with a smaller \
                         --max-length",
                        record.origin, self.name
                    );
                    return Err(Failure::failed(text));
                }
                texts.push(tokens);
            }
        }
        Ok(self.model.score(&texts)?)
    }

    /// A prompt with its answer as reward models are trained to read it (TRL's `RewardTrainer`): chats as their template
    /// has them; of other texts the answer right behind the prompt, and then the end token.
    fn tokens(&self, record: &PreferenceRecord, answer: &Text) -> Result<Vec<u32>, Failure> {
        let tokenizer = self.model.tokenizer()?;
        let (prompt, answer) = match (&record.prompt, answer) {
            (Text::Plain(prompt), Text::Plain(answer)) => (prompt, answer),
            (Text::Chat(prompt), Text::Chat(answer)) => {
                let Some(template) = &self.template else {
                    return Err(Failure::failed("the request is a chat, and the reward model has no chat template"));
                };
                let messages = [&prompt[..], &answer[..]].concat();
                return Ok(tokenizer.encode(&template.render(&messages, false, &record.variables)?)?);
            }
            _ => return Err(Failure::failed("a chat beside a plain text")),
        };
        let end = tokenizer.eos_token.as_deref().filter(|end| !answer.ends_with(end)).unwrap_or_default();
        let text = format!("{prompt}{answer}{end}");
        let encoded = tokenizer.tokenizer().encode_fast(text, true);
        let mut tokens = encoded.map_err(|error| Failure::failed(error.to_string()))?.get_ids().to_vec();
        if let Some(bos) = tokenizer.bos.filter(|bos| tokenizer.add_bos && tokens.first() != Some(bos)) {
            tokens.insert(0, bos);
        }
        Ok(tokens)
    }
}

/// The rewards of both sides of each pair: how well each picture fits the request, whatever it was refined to.
fn of_pictures(model: &ClipScore, pairs: &PairFolder, indices: &[usize]) -> Result<Vec<f64>, Failure> {
    let mut requests = Vec::with_capacity(2 * indices.len());
    for &index in indices {
        for side in Side::BOTH {
            let missing = || Failure::failed(format!("{}: pair {index} has no picture", pairs.path().display()));
            let (pair, pixels) =
                (pairs.get(index).ok_or_else(missing)?, pairs.pixels(index, side)?.ok_or_else(missing)?);
            requests.push((pair.request.as_str(), pixels.clip_square(model.image_size())));
        }
    }
    let pictures: Vec<(&str, &[f32])> =
        requests.iter().map(|(request, pixels)| (*request, &pixels.values()[..])).collect();
    Ok(model.score(&pictures)?)
}
