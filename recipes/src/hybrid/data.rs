//! Preferences over refined prompts and pictures: what `--data` names, for both halves.
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use datasets::holdout::{PromptHash, hold_out};
use datasets::images::Pixels;
use datasets::pairs::{self, HybridRecord};
use datasets::synthetic::Split;
use datasets::{Example, ExampleKind};
use mdp::chance::{Order, derived_seed};
use mdp::diffusion::Latent;
use models::Prompted;
use policies::BoxError;
use train::diffusion::{Finished, ImageExample, Images};
use train::token::Examples;

use super::{Files, Words};
use crate::embedded::{EmbeddedHybrid, EmbeddedProblem, find, is_embedded, listed, problems};
use crate::judged_pairs::{JudgedPairs, mark};
use crate::settings::Values;
use crate::{Call, Failure, holdout};

/// How many embedded pairs a run sees unless `--limit` says otherwise.
const BUILTIN_PAIRS: usize = 2048;

/// A refined prompt.
struct Side {
    text: String,
    /// The tokens that were drawn, where they are known.
    tokens: Vec<u32>,
    /// Whether it is the request itself, which no refiner was asked about.
    is_null: bool,
}

/// A request with two sides, the first preferred by so much.
struct Judgement {
    request: String,
    sides: [Side; 2],
    preference: f64,
}

/// Where judged pairs come from, by number.
trait Pairs: Send + Sync {
    fn len(&self) -> usize;
    fn judged(&self, index: usize) -> Result<Judgement, BoxError>;
    /// What was drawn on the two sides, in the order of the judgement.
    fn latents(&self, index: usize) -> Result<[Latent; 2], BoxError>;
    fn request(&self, index: usize) -> Result<String, BoxError>;
}

/// Judged pairs as the two halves' sources take them.
pub(crate) struct Data<'a> {
    pairs: Arc<dyn Pairs>,
    rows: Vec<usize>,
    words: &'a Words,
    handoff: &'a Prompted,
}

/// What is learned from, what is only looked at, and what pictures are drawn for.
pub(crate) struct Opened<'a> {
    pub(crate) train: Data<'a>,
    pub(crate) held_out: Option<Data<'a>>,
    pub(crate) fingerprint: String,
    /// The embedded problem that it is of, whose oracle can judge pictures.
    pub(crate) problem: Option<&'static EmbeddedProblem>,
}

impl Data<'_> {
    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Up to `n` different requests, which the seed chooses.
    pub(crate) fn requests(&self, n: usize, seed: u64) -> Result<Vec<String>, Failure> {
        let mut requests: Vec<String> = Vec::new();
        for place in Order::new(derived_seed(seed, "samples to look at", 0), 0, self.rows.len()).from(0) {
            let row = self.rows[place];
            if requests.len() >= n {
                break;
            }
            let request = self.pairs.request(row).map_err(|error| Failure::failed(error.to_string()))?;
            if !requests.contains(&request) {
                requests.push(request);
            }
        }
        Ok(requests)
    }

    fn row(&self, index: usize) -> Result<usize, BoxError> {
        Ok(*self.rows.get(index).ok_or_else(|| format!("there is no example {index}"))?)
    }

    fn judged(&self, index: usize) -> Result<Judgement, BoxError> {
        self.pairs.judged(self.row(index)?)
    }
}

impl Examples for Data<'_> {
    fn len(&self) -> usize {
        self.rows.len()
    }

    fn example(&self, index: usize) -> Result<Example, BoxError> {
        let judged = self.judged(index)?;
        let prompt: Arc<[u32]> = self.words.prompt(&judged.request)?.into();
        let mut responses = Vec::with_capacity(2);
        for side in judged.sides {
            let response = if side.tokens.is_empty() { self.words.answer(&side.text)? } else { side.tokens };
            let (n, most) = (prompt.len() + response.len(), self.words.max_length);
            if n > most {
                let text =
                    format!("a request and its refined prompt have {n} tokens, more than `data.max_length` {most}");
                return Err(text.into());
            }
            responses.push(response);
        }
        Ok(Example { index: index as u64, prompt, responses, kind: ExampleKind::Pair, preference: judged.preference })
    }

    /// A request that nobody refined is not what the refiner said.
    fn given(&self, index: usize) -> Result<Vec<bool>, BoxError> {
        Ok(self.judged(index)?.sides.iter().map(|side| side.is_null).collect())
    }
}

impl Images for Data<'_> {
    fn len(&self) -> usize {
        self.rows.len()
    }

    /// Each side under the prompt it was made of: never under the other's.
    fn example(&self, index: usize) -> Result<ImageExample, BoxError> {
        let judged = self.judged(index)?;
        let mut sides = Vec::with_capacity(2);
        for (side, latent) in judged.sides.into_iter().zip(self.pairs.latents(self.row(index)?)?) {
            let text = if side.tokens.is_empty() { side.text } else { self.handoff.text(&side.tokens)? };
            sides.push(Finished { latent, condition: self.handoff.condition(&text)? });
        }
        Ok(ImageExample { sides, preference: judged.preference })
    }
}

/// Opens what `--data` names.
pub(crate) fn open<'a>(files: &'a Files, handoff: &'a Prompted, call: &Call<'_>) -> Result<Opened<'a>, Failure> {
    let values = &call.values;
    if values.data.limit() == Some(0) {
        return Err(Failure::usage("`data.limit` takes at least 1"));
    }
    match values.data.data() {
        None => Err(Failure::usage("`data.data` is needed with `hybrid.refiner` and `hybrid.generator`: judged pairs")),
        Some(name) if is_embedded(name) => embedded(name, files, handoff, values),
        Some(name) => from_disk(Path::new(name), files, handoff, call),
    }
}

/// An embedded problem's pairs, drawn when they are asked for.
struct Drawn {
    hybrid: &'static EmbeddedHybrid,
    seed: u64,
    null_share: f64,
    split: Split,
    n: usize,
}

impl Pairs for Drawn {
    fn len(&self) -> usize {
        self.n
    }

    fn judged(&self, index: usize) -> Result<Judgement, BoxError> {
        let pair = (self.hybrid.pair)(self.seed, self.null_share, self.split, index as u64);
        let sides = pair.refined.map(|text| Side { text, tokens: Vec::new(), is_null: pair.is_null });
        Ok(Judgement { request: pair.request, sides, preference: 1.0 })
    }

    fn latents(&self, index: usize) -> Result<[Latent; 2], BoxError> {
        let pictures = (self.hybrid.pictures)(self.seed, self.null_share, self.split, index as u64);
        Ok(pictures.map(|picture| Arc::clone(picture.values())))
    }

    fn request(&self, index: usize) -> Result<String, BoxError> {
        Ok(self.judged(index)?.request)
    }
}

/// Opens the pairs of an embedded problem.
fn embedded<'a>(name: &str, files: &'a Files, handoff: &'a Prompted, values: &Values) -> Result<Opened<'a>, Failure> {
    let Some((problem, hybrid)) = find(name).and_then(|problem| Some((problem, problem.hybrid.as_ref()?))) else {
        let known = listed(problems().filter(|problem| problem.hybrid.is_some()).map(|problem| problem.name));
        return Err(Failure::usage(format!("there is no embedded data `{name}` of hybrid pairs; there is {known}")));
    };
    let edge = hybrid.edge;
    if (files.shape.height, files.shape.width, files.shape.channels) != (edge, edge, Pixels::CHANNELS) {
        let text = format!("{name} has pictures of {edge} x {edge}, the generator makes {}", files.shape);
        return Err(Failure::failed(text));
    }
    let seed = values.run.seed();
    let n = values.data.limit().unwrap_or(BUILTIN_PAIRS);
    let n_held_out = values.train.eval_examples();
    let null_share = values.sample.null_share();
    if !(0.0..=1.0).contains(&null_share) {
        return Err(Failure::usage(format!("`sample.null_share` takes a number from 0 to 1, not {null_share}")));
    }
    let part = |split, n| {
        let pairs: Arc<dyn Pairs> = Arc::new(Drawn { hybrid, seed, null_share, split, n });
        Data { rows: (0..pairs.len()).collect(), pairs, words: &files.words, handoff }
    };
    Ok(Opened {
        train: part(Split::Train, n),
        held_out: (n_held_out > 0).then(|| part(Split::Validation, n_held_out)),
        fingerprint: format!("{name} {seed} {n} {null_share}"),
        problem: Some(problem),
    })
}

/// A pair folder with the judgements that have one side ahead, or records that other programs made.
fn from_disk<'a>(path: &Path, files: &'a Files, handoff: &'a Prompted, call: &Call<'_>) -> Result<Opened<'a>, Failure> {
    let values = &call.values;
    let (pairs, fingerprint): (Arc<dyn Pairs>, String) = if path.is_dir() {
        let folder = Folder::open(path, files, call)?;
        let fingerprint = folder.0.fingerprint();
        (Arc::new(folder), fingerprint)
    } else {
        let records = Records::open(path, files)?;
        let fingerprint = records.fingerprint()?;
        (Arc::new(records), fingerprint)
    };
    let n = pairs.len().min(values.data.limit().unwrap_or(usize::MAX));
    let data = |rows| Data { pairs: Arc::clone(&pairs), rows, words: &files.words, handoff };
    let all = data((0..n).collect());
    check_all(&all, path, files)?;
    check_texts(&all, path, call)?;
    if handoff.truncated() > 0 {
        let n = handoff.truncated();
        call.reporter.info(&format!(
            "{n} different refined prompts are longer than the text encoder reads; it does not see their end"
        ));
    }
    let share = holdout::eval_share(values)?;
    let prompts = (0..n).map(|row| all.pairs.request(row).map(|request| PromptHash::of_plain(&request)));
    let prompts = prompts.collect::<Result<Vec<_>, _>>().map_err(|error| Failure::failed(error.to_string()))?;
    let (rest, held_out) = hold_out(prompts, share, values.run.seed())?;
    holdout::check_rest(share, rest.len(), n, "pairs")?;
    let fingerprint = format!("{fingerprint} {n} {share}{}", mark(&held_out));
    let held_out = (!held_out.is_empty()).then(|| data(held_out));
    Ok(Opened { train: data(rest), held_out, fingerprint, problem: None })
}

/// Every picture and prompt is looked at once, so that what is broken is said before training begins.
fn check_all(all: &Data<'_>, path: &Path, files: &Files) -> Result<(), Failure> {
    for index in 0..all.len() {
        let broken = |error: BoxError| Failure::failed(format!("{}: pair {index}: {error}", path.display()));
        Examples::example(all, index).map_err(broken)?;
        let images = Images::example(all, index).map_err(broken)?;
        if let Some(side) = images.sides.iter().find(|side| side.latent.len() != files.shape.size()) {
            let (found, ours) = (side.latent.len(), files.shape);
            let text = format!("{}: pair {index}: {found} numbers, the generator makes {ours}", path.display());
            return Err(Failure::failed(text));
        }
    }
    Ok(())
}

/// Refined prompts that the generator can't tell apart don't reach it; empty ones are counted.
fn check_texts(all: &Data<'_>, path: &Path, call: &Call<'_>) -> Result<(), Failure> {
    let broken = |error: BoxError| Failure::failed(format!("{}: {error}", path.display()));
    let (mut texts, mut n_empty) = (BTreeSet::new(), 0);
    for index in 0..all.len() {
        for side in all.judged(index).map_err(broken)?.sides {
            if !side.tokens.is_empty() && !side.is_null {
                let read = all.handoff.text(&side.tokens)?;
                if read != side.text.trim() {
                    let text = format!(
                        "{}: pair {index}: the refiner's tokenizer reads its tokens as {read:?}, and its refined prompt \
                         is {:?}: another refiner, with another tokenizer, made these pairs",
                        path.display(),
                        side.text
                    );
                    return Err(Failure::failed(text));
                }
            }
            let text = if side.tokens.is_empty() { side.text } else { all.handoff.text(&side.tokens)? };
            n_empty += usize::from(text.is_empty());
            texts.insert(text);
        }
    }
    let conditions = texts.iter().map(|text| all.handoff.condition(text)).collect::<Result<Vec<_>, _>>()?;
    if conditions.len() > 1 && conditions.iter().all(|condition| *condition == conditions[0]) {
        let text = format!(
            "{}: the generator's tokenizer reads all {} different refined prompts alike, so the refiner's text does not \
             fit it",
            path.display(),
            texts.len()
        );
        return Err(Failure::failed(text));
    }
    if n_empty > 0 {
        call.reporter.info(&format!("{n_empty} refined prompts are empty; the generator is told nothing by them"));
    }
    Ok(())
}

/// A pair folder's judged pairs.
struct Folder(JudgedPairs);

impl Folder {
    fn open(path: &Path, files: &Files, call: &Call<'_>) -> Result<Self, Failure> {
        let judged = JudgedPairs::open(path, pairs::Modality::Hybrid, &call.values, call.reporter)?;
        if let Some(shape) = judged.folder.latent_shape() {
            let ours = files.shape;
            if (shape.height, shape.width, shape.channels) != (ours.height, ours.width, ours.channels) {
                let text = format!("{}: latents of {shape:?}, the generator makes {ours}", path.display());
                return Err(Failure::failed(text));
            }
        }
        call.reporter.info(judged.describe());
        Ok(Self(judged))
    }
}

impl Pairs for Folder {
    fn len(&self) -> usize {
        self.0.preferences.len()
    }

    fn judged(&self, index: usize) -> Result<Judgement, BoxError> {
        let preference = &self.0.preferences[index];
        let missing = || format!("there is no pair {}", preference.index);
        let pair = self.0.folder.get(preference.index).ok_or_else(missing)?;
        let side = |side| -> Result<Side, BoxError> {
            let refined = pair.side(side).refined.as_ref();
            let refined = refined.ok_or_else(|| format!("pair {}: no refined prompt", preference.index))?;
            Ok(Side { text: refined.text.clone(), tokens: refined.tokens.clone(), is_null: refined.is_null })
        };
        let [better, worse] = preference.order();
        let sides = [side(better)?, side(worse)?];
        Ok(Judgement { request: pair.request.clone(), sides, preference: preference.strength() })
    }

    fn latents(&self, index: usize) -> Result<[Latent; 2], BoxError> {
        let preference = &self.0.preferences[index];
        let [better, worse] = preference.order();
        Ok([self.0.latent(preference, better)?.into(), self.0.latent(preference, worse)?.into()])
    }

    fn request(&self, index: usize) -> Result<String, BoxError> {
        let place = self.0.preferences[index].index;
        Ok(self.0.folder.get(place).ok_or_else(|| format!("there is no pair {place}"))?.request.clone())
    }
}

/// Judged records that other programs made: pictures in files, for a generator without an autoencoder.
struct Records {
    records: Vec<HybridRecord>,
    size: usize,
}

impl Records {
    fn open(path: &Path, files: &Files) -> Result<Self, Failure> {
        if files.generator.vae.is_some() || files.shape.height != files.shape.width {
            let text = format!(
                "{}: pictures without latents are for generators of square pixels; this one makes latents, so give a \
                 pair folder (sample `run.mdp` hybrid `label.pairs` makes them)",
                path.display()
            );
            return Err(Failure::failed(text));
        }
        Ok(Self { records: pairs::hybrid::read(path)?, size: files.shape.height })
    }

    fn fingerprint(&self) -> Result<String, Failure> {
        let mut hasher = blake3::Hasher::new();
        for record in &self.records {
            hasher.update(record.request.as_bytes());
            for side in [&record.chosen, &record.rejected] {
                hasher.update(side.refined.as_deref().unwrap_or_default().as_bytes());
                for value in side.pixels(self.size)?.values().iter() {
                    hasher.update(&value.to_le_bytes());
                }
            }
        }
        Ok(hasher.finalize().to_hex().to_string())
    }
}

impl Pairs for Records {
    fn len(&self) -> usize {
        self.records.len()
    }

    fn judged(&self, index: usize) -> Result<Judgement, BoxError> {
        let record = &self.records[index];
        let side = |side: &pairs::HybridSide| {
            let text = side.refined.clone().unwrap_or_else(|| record.request.clone());
            Side { text, tokens: Vec::new(), is_null: side.refined.is_none() }
        };
        let sides = [side(&record.chosen), side(&record.rejected)];
        Ok(Judgement { request: record.request.clone(), sides, preference: 1.0 })
    }

    fn latents(&self, index: usize) -> Result<[Latent; 2], BoxError> {
        let HybridRecord { chosen, rejected, .. } = &self.records[index];
        Ok([Arc::clone(chosen.pixels(self.size)?.values()), Arc::clone(rejected.pixels(self.size)?.values())])
    }

    fn request(&self, index: usize) -> Result<String, BoxError> {
        Ok(self.records[index].request.clone())
    }
}
