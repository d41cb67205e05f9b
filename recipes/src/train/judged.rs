//! `judge.every`: comparisons of a policy in training with the policy of the start, by any judge.
//!
//! In the run's folder `judged/` holds a folder of pairs for each comparison, `step-N` (a is the policy, b the start), with the
//! judgements in it; `start` (both sides are the start's), and a server's answers. So people can look at them, and label them.
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use ::train::RunFolder;
use ::train::statistics::wilson;
use datasets::holdout::{PromptHash, hold_out};
use datasets::images::{LatentShape, Pixels};
use datasets::pairs::{
    GeneratedPair, GeneratedResult, Modality, NewResult, PairFolder, PairWriter, Refined, Side, StoredResult,
};
use datasets::{Dataset, Origin, Prompt};
use mdp::chance::{Order, derived_seed};
use models::formats::ModelFiles;
use policies::PolicyError;
use serde_json::{Map, Value, json};

use super::Task;
use crate::embedded::{WinRate, is_embedded, owner};
use crate::judge::{self, GoesOn, JudgedFolder};
use crate::reporter::Aside;
use crate::sampling::{prompt_text, read_prompts};
use crate::settings::Values;
use crate::{Call, Failure, Reporter, holdout, text};

/// A prompt of a comparison as its judge sees it, and as the policy does.
pub(super) struct JudgedPrompt {
    pub(super) request: String,
    pub(super) tokens: Vec<u32>,
}

/// The prompts on which a language model is compared with the start; none where it is not.
///
/// They are an embedded problem's test prompts, or the held-out prompts of a data file as the file has them; of other data, such
/// as folders, the texts of held-out examples' prompts. Prompts beyond the longest are left out.
pub(super) fn judged_prompts(
    call: &Call<'_>,
    files: &ModelFiles,
    data: &Dataset,
) -> Result<Vec<JudgedPrompt>, Failure> {
    let values = &call.values;
    if values.judge.every() == 0 {
        return Ok(Vec::new());
    }
    let n = values.judge.prompts();
    // A quarter of the room, at least, is for the answer.
    let most = values.data.max_length() * 3 / 4;
    let mut found = candidates(call, files, data)?;
    let mut seen = BTreeSet::new();
    found.retain(|prompt| prompt.tokens.len() <= most && seen.insert(prompt.request.clone()));
    found.truncate(n);
    if found.is_empty() {
        return Err(Failure::failed(format!("`judge.every`: no held-out prompt has at most {most} tokens")));
    }
    Ok(found)
}

/// Prompts from which those of the comparison are taken, in their order.
fn candidates(call: &Call<'_>, files: &ModelFiles, data: &Dataset) -> Result<Vec<JudgedPrompt>, Failure> {
    let values = &call.values;
    let (n, seed, tokenizer) = (values.judge.prompts(), values.run.seed(), files.tokenizer()?);
    let mut found = Vec::new();
    if let Some(problem) = owner(values.data.data().unwrap_or_default(), Modality::Token) {
        for request in WinRate::prompts(problem, seed, n as u64) {
            found.push(JudgedPrompt { tokens: tokenizer.encode(&request)?, request });
        }
    } else if let Some(prompts) = prompts_of_file(values, call.reporter)? {
        let tokenise = text::plain_tokenise(files)?;
        for (number, prompt) in prompts.iter().take(CANDIDATES * n).enumerate() {
            let origin = Origin::generated("the judged prompts", number as u64 + 1);
            let tokens = tokenise.prompt(&origin, &prompt.text, &prompt.variables)?;
            found.push(JudgedPrompt { request: prompt_text(prompt), tokens });
        }
    } else {
        let order = Order::new(derived_seed(seed, "judged prompts", 0), 0, data.len());
        for place in order.from(0).take(CANDIDATES * n) {
            let tokens = data.get(place)?.prompt.to_vec();
            found.push(JudgedPrompt { request: tokenizer.decode(&tokens)?, tokens });
        }
    }
    Ok(found)
}

/// Prompts that are looked at for each one that is wanted: some come twice, some are too long.
const CANDIDATES: usize = 8;

/// The held-out prompts of a data file, in an order that the seed decides; `None` for data that is no file with prompts.
fn prompts_of_file(values: &Values, reporter: &dyn Reporter) -> Result<Option<Vec<Prompt>>, Failure> {
    let (held_out, data) = (values.data.eval_data(), values.data.data());
    let is_one_file =
        |name: &&str| Path::new(name).is_file() && !(held_out.is_none() && values.data.data.are_several());
    let Some(name) = held_out.or(data).filter(is_one_file) else { return Ok(None) };
    // Formats whose records have no prompt of their own are not read this way.
    let Ok(all) = read_prompts(name, values, reporter) else { return Ok(None) };
    let (share, seed) = (holdout::eval_share(values)?, values.run.seed());
    let rows = if held_out.is_some() || share == 0.0 {
        (0..all.len()).collect()
    } else {
        hold_out(all.iter().map(|prompt| PromptHash::of(&prompt.text)), share, seed)?.1
    };
    let order = Order::new(derived_seed(seed, "judged prompts", 0), 0, rows.len());
    Ok(Some(order.from(0).map(|place| all[rows[place]].clone()).collect()))
}

/// A policy's answers to the prompts of a comparison.
pub(super) enum Answers {
    /// Prompts with texts.
    Texts(Vec<(String, String)>),
    /// Prompts with pictures, of latents of this shape.
    Pictures(LatentShape, Vec<DrawnPicture>),
}

/// A picture with the latent that it was decoded from.
pub(super) struct DrawnPicture {
    pub(super) request: String,
    /// Of a hybrid: the refined prompt.
    pub(super) refined: Option<Refined>,
    pub(super) picture: Pixels,
    pub(super) latent: Vec<f32>,
}

/// The comparisons of a run with its start.
pub(super) struct StartComparison<'a> {
    values: Values,
    reporter: &'a dyn Reporter,
    /// The folder `judged/`.
    folder: PathBuf,
}

impl<'a> StartComparison<'a> {
    /// The comparisons that the settings ask for; `None` without any.
    pub(super) fn of(task: &Task<'a>, folder: &RunFolder) -> Option<Self> {
        let values = &task.call.values;
        if values.judge.every() == 0 {
            return None;
        }
        let (values, reporter) = (judge::without_template(values), task.call.reporter);
        Some(Self { values, reporter, folder: folder.join("judged") })
    }

    /// Checks the judge before a run's folder is made.
    pub(super) fn check(values: &Values) -> Result<(), Failure> {
        if values.judge.every() == 0 {
            return Ok(());
        }
        if values.judge.judge() == "people" {
            return Err(Failure::usage("`judge.every` can't wait for people: `judge.judge` is to be another"));
        }
        let is_own = values.data.data.first().is_some_and(|data| !is_embedded(data)) || values.data.latents().is_some();
        if values.judge.judge() == "oracle" && is_own {
            let text = "with `judge.every`, `judge.judge` is to be openai, a reward model or a run: the oracle knows the \
                        embedded problems only";
            return Err(Failure::usage(text));
        }
        if values.judge.prompts() == 0 {
            return Err(Failure::usage("`judge.prompts` takes at least 1"));
        }
        judge::check_for(&judge::without_template(values), values.run.mdp())
    }

    /// Keeps the start's answers at step 0; later has the judge compare the policy's with them.
    ///
    /// A server that is down leaves the step without a win rate, with a notice: training goes on.
    pub(super) fn metrics(
        &self,
        step: usize,
        answers: impl FnOnce() -> Result<Answers, Failure>,
    ) -> Result<Vec<(&'static str, f64)>, PolicyError> {
        match self.compare(step, answers) {
            // The run itself stops here, with a checkpoint, and compares again when it is taken up.
            Err(Failure::Interrupted) => Ok(Vec::new()),
            Err(failure) if self.values.judge.judge() == judge::API && step > 0 => {
                self.reporter.notice(&format!("step {step} has no win rate: {failure}"));
                Ok(Vec::new())
            }
            done => done.map_err(|failure| failure.to_string().into()),
        }
    }

    fn compare(
        &self,
        step: usize,
        answers: impl FnOnce() -> Result<Answers, Failure>,
    ) -> Result<Vec<(&'static str, f64)>, Failure> {
        std::fs::create_dir_all(&self.folder).map_err(Failure::of_file(&self.folder))?;
        let start = self.folder.join("start");
        let answers = answers()?;
        let Kept { answers: others, path } =
            if step == 0 { Kept { answers: None, path: start } } else { self.kept(step, &start)? };
        if path.exists() {
            std::fs::remove_dir_all(&path).map_err(Failure::of_file(&path))?;
        }
        write(&path, &answers, others.as_ref(), self.settings(step))?;
        if step == 0 {
            return Ok(Vec::new());
        }
        // What a judge says of its own data does not belong between the steps.
        let (answers, reporter) = (self.folder.join(judge::ANSWERS), Aside(self.reporter));
        let judged = judge::judge_folder(&path, &answers, &self.values, (GoesOn::Anyway, &reporter))?;
        Ok(metrics(&judged))
    }

    fn kept(&self, step: usize, start: &Path) -> Result<Kept, Failure> {
        let answers = PairFolder::open(start).map_err(|error| {
            Failure::failed(format!("the start's answers, which the policy is compared with, are gone: {error}"))
        })?;
        Ok(Kept { answers: Some(answers), path: self.folder.join(format!("step-{step}")) })
    }

    fn settings(&self, step: usize) -> Map<String, Value> {
        let mut settings = Map::new();
        settings.insert("step".to_owned(), json!(step));
        settings.insert("seed".to_owned(), json!(self.values.run.seed()));
        settings
    }
}

/// The start's answers, if they are compared with, and the folder to write.
struct Kept {
    answers: Option<PairFolder>,
    path: PathBuf,
}

/// The win rate over the start with its interval, and the share of ties.
fn metrics(judged: &JudgedFolder) -> Vec<(&'static str, f64)> {
    let counts = judged.counts();
    let n = counts.judged() as f64;
    let mut found = vec![("win_rate/unparsed", counts.unparsed as f64)];
    if n > 0.0 {
        let (low, high) = wilson(counts.won(), n);
        found.extend([
            ("win_rate", counts.won() / n),
            ("win_rate/low", low),
            ("win_rate/high", high),
            ("win_rate/ties", counts.ties as f64 / n),
        ]);
    }
    found
}

/// Writes a folder of pairs: answers as a, and as b those of the start, or the same.
fn write(
    path: &Path,
    answers: &Answers,
    start: Option<&PairFolder>,
    settings: Map<String, Value>,
) -> Result<(), Failure> {
    let mut writer;
    match answers {
        Answers::Texts(texts) => {
            writer = PairWriter::create(path, Modality::Token, settings, None)?;
            for (index, (request, text)) in texts.iter().enumerate() {
                let other = start.map(|start| text_of_start(start, index, request)).transpose()?.unwrap_or(text);
                let request = request.clone();
                writer.push(&GeneratedPair { request, a: of_text(text, index), b: of_text(other, index) })?;
            }
        }
        Answers::Pictures(shape, pictures) => {
            let is_refined = pictures.first().is_some_and(|picture| picture.refined.is_some());
            let modality = if is_refined { Modality::Hybrid } else { Modality::Diffusion };
            writer = PairWriter::create(path, modality, settings, Some(*shape))?;
            for (index, picture) in pictures.iter().enumerate() {
                let other = start.map(|start| picture_of_start(start, index, &picture.request)).transpose()?;
                let other = other.as_ref().unwrap_or(picture);
                let request = picture.request.clone();
                writer.push(&GeneratedPair { request, a: of_picture(picture, index), b: of_picture(other, index) })?;
            }
        }
    }
    Ok(writer.finish().map(drop)?)
}

fn other_prompts() -> Failure {
    Failure::failed("the start answered other prompts than the policy does now; begin the run anew")
}

/// The start's text for a request.
fn text_of_start<'s>(start: &'s PairFolder, index: usize, request: &str) -> Result<&'s str, Failure> {
    match start.get(index).filter(|pair| pair.request == request).map(|pair| &pair.a.made) {
        Some(StoredResult::Response(text)) => Ok(text),
        Some(StoredResult::Image(_)) | None => Err(other_prompts()),
    }
}

/// The start's picture of a request.
fn picture_of_start(start: &PairFolder, index: usize, request: &str) -> Result<DrawnPicture, Failure> {
    let pair = start.get(index).filter(|pair| pair.request == request).ok_or_else(other_prompts)?;
    let picture = start.pixels(index, Side::A)?.ok_or_else(other_prompts)?;
    let latent = start.latent(index, Side::A)?.ok_or_else(other_prompts)?;
    Ok(DrawnPicture { request: request.to_owned(), refined: pair.a.refined.clone(), picture, latent })
}

fn of_text(text: &str, index: usize) -> GeneratedResult<NewResult<'_>> {
    GeneratedResult { refined: None, made: NewResult::Response(text), seed: index as u64, log_probs: None }
}

fn of_picture(drawn: &DrawnPicture, index: usize) -> GeneratedResult<NewResult<'_>> {
    let made = NewResult::Image { picture: &drawn.picture, latent: &drawn.latent };
    GeneratedResult { refined: drawn.refined.clone(), made, seed: index as u64, log_probs: None }
}
