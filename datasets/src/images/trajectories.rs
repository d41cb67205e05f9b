//! Recorded sampler trajectories on disk, with log-probabilities and preferences.
//!
//! A file is safetensors: `latents` `[trajectories, steps + 1, channels, height, width]` (from the initial noise to the
//! finished image), `timesteps` i64 `[steps]` (descending), `log_probs` `[trajectories, steps]` (nats, summed over a
//! latent's elements, of each step under the behaviour policy; the initial noise is not scored), `better` and `worse`
//! i64 `[pairs]`, and the conditioning, as in a latents file. The metadata hold the format, the policy's fingerprint
//! and the captions. Latents are returned in the order height, width, channel.

use std::path::Path;
use std::sync::Arc;

use mdp::diffusion::LatentShape;

use super::contexts::{self, ContextLayout, ContextTable, LatentContext, Side};
use super::latents::{captions, captions_note, expect_format, shape_of};
use super::tensors::{TensorFile, TensorWriter, channels_first, channels_last};
use crate::error::DatasetError;

/// The format and version in the metadata.
const FORMAT: &str = "hybrid-dpo trajectories 1";

/// A denoising trajectory from noise to image.
#[derive(Clone, Debug, PartialEq)]
pub struct Trajectory {
    /// The index in the file, from 0.
    pub index: usize,
    /// The latents, noise first; one more than steps.
    pub latents: Vec<Arc<[f32]>>,
    /// The log-probability of each step under the behaviour policy, in nats.
    pub log_probs: Vec<f32>,
    /// The conditioning.
    pub context: Arc<LatentContext>,
    /// The caption, if the file has them.
    pub caption: Option<String>,
}

/// A file of trajectories.
#[derive(Debug)]
pub struct TrajectoryFile {
    file: TensorFile,
    len: usize,
    shape: LatentShape,
    timesteps: Vec<usize>,
    pairs: Vec<(usize, usize)>,
    contexts: ContextTable,
    captions: Option<Vec<String>>,
    fingerprint: blake3::Hash,
}

impl TrajectoryFile {
    /// Opens and checks a file, under a schedule of `n_timesteps`.
    ///
    /// # Errors
    /// The file has another format or version, a tensor is missing, has the wrong shape or holds NaN or infinity, a
    /// timestep is out of range, or a pair names a trajectory that does not exist.
    pub fn open(path: &Path, n_timesteps: usize) -> Result<Self, DatasetError> {
        let file = TensorFile::open(path)?;
        expect_format(&file, FORMAT)?;
        let latents = file.expect("latents", "[trajectories, steps + 1, channels, height, width]")?;
        let (len, n_latents, shape) = (latents[0], latents[1], shape_of(latents));
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

    /// Number of trajectories; at least one.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none; always false.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The shape of each latent.
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

    /// The fingerprint of the behaviour policy.
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

    /// A key that is equal for trajectories with equal conditioning, as [`Latents::told`](super::Latents::told).
    ///
    /// # Errors
    /// The index is out of range, or the file can't be read.
    pub fn told(&self, index: usize) -> Result<String, DatasetError> {
        self.caption(index).map_or_else(|| self.contexts.told(&self.file, index), |caption| Ok(caption.to_owned()))
    }

    /// The trajectory at a position.
    ///
    /// # Errors
    /// The index is out of range, or the file can't be read.
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

/// The checked timesteps; checks the log-probabilities too.
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

/// The layout of a trajectory file to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrajectoryLayout {
    /// Number of trajectories.
    pub trajectories: usize,
    /// Number of steps of each.
    pub steps: usize,
    /// The shape of each latent.
    pub shape: LatentShape,
    /// The layout of the conditioning.
    pub contexts: ContextLayout,
}

/// The metadata of a trajectory file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TrajectoryNotes<'a> {
    /// The fingerprint of the behaviour policy.
    pub policy: &'a str,
    /// The timestep of each step, from noisy to clean.
    pub timesteps: &'a [usize],
    /// The better and the worse trajectory of each pair.
    pub pairs: &'a [(usize, usize)],
    /// The conditioning row of each trajectory; empty without conditioning.
    pub context_of: &'a [usize],
    /// The row of the empty caption, if there is one.
    pub empty: Option<usize>,
    /// The captions; may be empty.
    pub captions: &'a [String],
}

/// A trajectory file being written, in any order, and moved into place when finished.
#[derive(Debug)]
pub struct TrajectoryWriter {
    writer: TensorWriter,
    channels: usize,
}

impl TrajectoryWriter {
    /// Creates a file.
    ///
    /// # Errors
    /// The folder is not writable.
    pub fn create(path: &Path, layout: TrajectoryLayout) -> Result<Self, DatasetError> {
        let TrajectoryLayout { trajectories, steps, shape: LatentShape { channels, height, width }, contexts } = layout;
        let mut shapes = vec![
            ("latents", vec![trajectories, steps + 1, channels, height, width]),
            ("log_probs", vec![trajectories, steps]),
        ];
        shapes.extend(contexts.shapes());
        Ok(Self { writer: TensorWriter::create(path, shapes)?, channels })
    }

    /// Writes a trajectory's latents in the order height, width, channel, noise first.
    ///
    /// # Errors
    /// It does not match the layout, is not finite, or the disk is full.
    pub fn write(&mut self, index: usize, latents: &[Arc<[f32]>], log_probs: &[f32]) -> Result<(), DatasetError> {
        let values: Vec<f32> = latents.iter().flat_map(|latent| channels_first(latent, self.channels)).collect();
        self.writer.write("latents", index, &values)?;
        self.writer.write("log_probs", index, log_probs)
    }

    /// Writes a row of conditioning.
    ///
    /// # Errors
    /// It does not match the layout, is not finite, or the disk is full.
    pub fn write_context(&mut self, row: usize, context: &LatentContext) -> Result<(), DatasetError> {
        contexts::write(&mut self.writer, row, context)
    }

    /// Moves the finished file into place.
    ///
    /// # Errors
    /// A row is missing, or the disk is full.
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
