//! Trajectories of a sampler on disk, with the log-probabilities it gave them, and which were preferred.
//!
//! A file is safetensors: `latents` `[trajectories, steps + 1, channels, height, width]` (the noise first, the finished
//! picture last), `timesteps` i64 `[steps]` (falling), `log_probs` `[trajectories, steps]` (nats, summed over a latent's
//! numbers, of each step under the policy that took it; the noise counts nothing), `better` and `worse` i64 `[pairs]`,
//! and what the denoiser was told, as a latents file has it. It notes its format, the fingerprint of the policy and the
//! captions. Numbers are handed out in the order row, column, channel.

use std::path::Path;
use std::sync::Arc;

use super::contexts::{self, ContextLayout, ContextTable, LatentContext, Side};
use super::latents::{LatentShape, captions, captions_note, expect_format};
use super::tensors::{TensorFile, TensorWriter, channels_first, channels_last};
use crate::error::DatasetError;

/// What such a file says it is; the number is its version.
const FORMAT: &str = "hybrid-dpo trajectories 1";

/// One way from noise to a picture.
#[derive(Clone, Debug, PartialEq)]
pub struct Trajectory {
    /// Its number in the file, from 0.
    pub index: usize,
    /// The latents, the noise first; one more than there are steps.
    pub latents: Vec<Arc<[f32]>>,
    /// The log-probability of each step under the policy that took it, in nats.
    pub log_probs: Vec<f32>,
    /// What the denoiser was told.
    pub context: Arc<LatentContext>,
    /// The caption, if the file has them.
    pub caption: Option<String>,
}

/// A file of trajectories.
#[derive(Debug)]
pub struct Trajectories {
    file: TensorFile,
    len: usize,
    shape: LatentShape,
    timesteps: Vec<usize>,
    pairs: Vec<(usize, usize)>,
    contexts: ContextTable,
    captions: Option<Vec<String>>,
    fingerprint: blake3::Hash,
}

impl Trajectories {
    /// Opens and checks a file, under a schedule of so many timesteps.
    ///
    /// # Errors
    /// It is no such file or of another version, a tensor is missing or of the wrong shape or holds NaN or infinity, a
    /// timestep is out of range, or a pair names a trajectory that is not there.
    pub fn open(path: &Path, n_timesteps: usize) -> Result<Self, DatasetError> {
        let file = TensorFile::open(path)?;
        expect_format(&file, FORMAT)?;
        let latents = file.expect("latents", "[trajectories, steps + 1, channels, height, width]")?;
        let (len, n_latents, shape) = (latents[0], latents[1], LatentShape::of(latents));
        let timesteps = timesteps(&file, len, n_latents, n_timesteps)?;
        let pairs = pairs(&file, len)?;
        for index in 0..len {
            file.row("latents", index)?;
            file.row("log_probs", index)?;
        }
        let contexts = ContextTable::open(&file, len)?;
        let (captions, fingerprint) = (captions(&file, len)?, file.hash()?);
        Ok(Self { file, len, shape, timesteps, pairs, contexts, captions, fingerprint })
    }

    /// How many trajectories there are; at least one.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none; never.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Channels, rows and columns of each latent.
    pub fn shape(&self) -> LatentShape {
        self.shape
    }

    /// The timestep of each step, from noisy to clean.
    pub fn timesteps(&self) -> &[usize] {
        &self.timesteps
    }

    /// The better and the worse trajectory of each pair.
    pub fn pairs(&self) -> &[(usize, usize)] {
        &self.pairs
    }

    /// The fingerprint of the policy that took the steps, as noted.
    pub fn policy(&self) -> &str {
        self.file.note("policy").unwrap_or_default()
    }

    /// A hash of the file.
    pub fn fingerprint(&self) -> String {
        self.fingerprint.to_hex().to_string()
    }

    /// A trajectory's caption, if the file has them.
    pub fn caption(&self, index: usize) -> Option<&str> {
        Some(self.captions.as_ref()?.get(index)?)
    }

    /// A text that is equal for trajectories that are told the same, as [`Latents::told`](super::Latents::told) gives it.
    ///
    /// # Errors
    /// There is no such trajectory, or the file cannot be read.
    pub fn told(&self, index: usize) -> Result<String, DatasetError> {
        self.caption(index).map_or_else(|| self.contexts.told(&self.file, index), |caption| Ok(caption.to_owned()))
    }

    /// The trajectory at a position.
    ///
    /// # Errors
    /// There is none, or the file cannot be read.
    pub fn get(&self, index: usize) -> Result<Trajectory, DatasetError> {
        if index >= self.len {
            return Err(DatasetError::OutOfRange { index, len: self.len });
        }
        let values = self.file.row("latents", index)?;
        let latents = values.chunks_exact(self.shape.size());
        let latents = latents.map(|latent| channels_last(latent, self.shape.channels).into()).collect();
        let log_probs = self.file.row("log_probs", index)?;
        let context = self.contexts.of(&self.file, index, Side::Chosen)?;
        let caption = self.captions.as_ref().and_then(|captions| captions.get(index).cloned());
        Ok(Trajectory { index, latents, log_probs, context, caption })
    }
}

/// The timestep of each step, checked, and the log-probabilities with them.
fn timesteps(file: &TensorFile, len: usize, n_latents: usize, n_timesteps: usize) -> Result<Vec<usize>, DatasetError> {
    let timesteps = file.indices("timesteps", "[steps]", n_timesteps)?;
    if timesteps.len() + 1 != n_latents || !timesteps.is_sorted_by(|first, second| first > second) {
        let message = format!("is wrong: {n_latents} latents need one falling timestep fewer, not {timesteps:?}");
        return Err(file.error(message));
    }
    let log_probs = file.expect("log_probs", "[trajectories, steps]")?;
    if log_probs != [len, timesteps.len()] {
        let message = format!("is wrong: `log_probs` is {log_probs:?}, not [{len}, {}]", timesteps.len());
        return Err(file.error(message));
    }
    Ok(timesteps)
}

/// The better and the worse trajectory of each pair, checked.
fn pairs(file: &TensorFile, len: usize) -> Result<Vec<(usize, usize)>, DatasetError> {
    if file.shape("better") == Some(&[0]) && file.shape("worse") == Some(&[0]) {
        // Nobody has compared them yet.
        return Ok(Vec::new());
    }
    let (better, worse) = (file.indices("better", "[pairs]", len)?, file.indices("worse", "[pairs]", len)?);
    if better.len() != worse.len() || better.iter().zip(&worse).any(|(better, worse)| better == worse) {
        return Err(file.error("is wrong: `better` and `worse` must name two different trajectories each"));
    }
    Ok(better.into_iter().zip(worse).collect())
}

/// What a file of trajectories will hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrajectoryLayout {
    /// How many trajectories.
    pub trajectories: usize,
    /// How many steps each has.
    pub steps: usize,
    /// Channels, rows and columns of each latent.
    pub shape: LatentShape,
    /// What is told.
    pub contexts: ContextLayout,
}

/// What ends a file of trajectories.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TrajectoryNotes<'a> {
    /// The fingerprint of the policy that took the steps.
    pub policy: &'a str,
    /// The timestep of each step, from noisy to clean.
    pub timesteps: &'a [usize],
    /// The better and the worse trajectory of each pair.
    pub pairs: &'a [(usize, usize)],
    /// The row of what each trajectory was told; empty if nothing was.
    pub context_of: &'a [usize],
    /// The row of the empty caption, if it is there.
    pub empty: Option<usize>,
    /// The captions; empty if they don't matter.
    pub captions: &'a [String],
}

/// A file of trajectories being written, in any order. It appears when it is finished, whole or not at all.
#[derive(Debug)]
pub struct TrajectoryWriter {
    writer: TensorWriter,
    channels: usize,
}

impl TrajectoryWriter {
    /// Begins a file.
    ///
    /// # Errors
    /// Its folder cannot be written to.
    pub fn create(path: &Path, layout: TrajectoryLayout) -> Result<Self, DatasetError> {
        let TrajectoryLayout { trajectories, steps, shape: LatentShape { channels, height, width }, contexts } = layout;
        let mut shapes = vec![
            ("latents", vec![trajectories, steps + 1, channels, height, width]),
            ("log_probs", vec![trajectories, steps]),
        ];
        shapes.extend(contexts.shapes());
        Ok(Self { writer: TensorWriter::create(path, shapes)?, channels })
    }

    /// Writes a trajectory, its latents in the order row, column, channel, the noise first.
    ///
    /// # Errors
    /// It does not fit the layout, is no numbers, or the disk is full.
    pub fn write(&mut self, index: usize, latents: &[Arc<[f32]>], log_probs: &[f32]) -> Result<(), DatasetError> {
        let values: Vec<f32> = latents.iter().flat_map(|latent| channels_first(latent, self.channels)).collect();
        self.writer.write("latents", index, &values)?;
        self.writer.write("log_probs", index, log_probs)
    }

    /// Writes a row of what is told.
    ///
    /// # Errors
    /// It does not fit the layout, is no numbers, or the disk is full.
    pub fn write_context(&mut self, row: usize, context: &LatentContext) -> Result<(), DatasetError> {
        contexts::write(&mut self.writer, row, context)
    }

    /// Puts the file in its place.
    ///
    /// # Errors
    /// A row was not written, or the disk is full.
    pub fn finish(self, notes: TrajectoryNotes<'_>) -> Result<(), DatasetError> {
        let mut text = vec![("format", FORMAT.to_owned()), ("policy", notes.policy.to_owned())];
        text.extend(notes.empty.map(|row| ("empty_context", row.to_string())));
        text.extend(captions_note(notes.captions));
        let column = |numbers: &mut dyn Iterator<Item = usize>| numbers.map(|number| number as i64).collect::<Vec<_>>();
        let mut integers = vec![
            ("timesteps", column(&mut notes.timesteps.iter().copied())),
            ("better", column(&mut notes.pairs.iter().map(|pair| pair.0))),
            ("worse", column(&mut notes.pairs.iter().map(|pair| pair.1))),
        ];
        if !notes.context_of.is_empty() {
            integers.push(("context_index", column(&mut notes.context_of.iter().copied())));
        }
        self.writer.finish(&integers, &text)
    }
}
