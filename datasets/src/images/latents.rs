//! Precomputed image latents, and the cache of encoded latents.
//!
//! A file is safetensors: `chosen` and `rejected` `[examples, channels, height, width]` (only `chosen` for images to
//! imitate) in f32, f16 or bf16, and the conditioning (`context`, `context_mask`, `pooled`, `time_ids`, `class_labels`: one
//! row per example, for both sides or with suffixes `_chosen` and `_rejected`). Rows are returned in the order height, width, channel. The whole
//! file is read once on opening, to find NaN and infinity, and row by row afterwards.

use std::path::Path;
use std::sync::Arc;

use mdp::diffusion::LatentShape;

use super::contexts::{self, ContextLayout, ContextTable, LatentContext, Side};
use super::kind::ImageKind;
use super::tensors::{TensorFile, TensorWriter, channels_first, channels_last};
use crate::error::DatasetError;

/// Dimensions of the tensors in a latents file.
const DIMENSIONS: &str = "[examples, channels, height, width]";
/// Dimensions of noise with several draws per example.
const DIMENSIONS_OF_SEVERAL: &str = "[examples, draws, channels, height, width]";

/// The shape in a tensor's last three dimensions, `[.., channels, height, width]`.
pub(super) fn shape_of(dimensions: &[usize]) -> LatentShape {
    let [.., channels, height, width] = *dimensions else { return LatentShape { channels: 0, height: 0, width: 0 } };
    LatentShape { channels, height, width }
}

/// The latents of one example, in the order height, width, channel, and their conditioning.
#[derive(Clone, Debug, PartialEq)]
pub struct LatentPair {
    /// The index in the file, from 0.
    pub index: usize,
    /// The better image, or the only one.
    pub chosen: Arc<[f32]>,
    /// The worse image of a pair.
    pub rejected: Option<Arc<[f32]>>,
    /// The conditioning of the better image.
    pub chosen_context: Arc<LatentContext>,
    /// The conditioning of the worse image: the same `Arc` if the file does not distinguish.
    pub rejected_context: Arc<LatentContext>,
}

/// A file of image latents.
#[derive(Debug)]
pub struct Latents {
    file: TensorFile,
    kind: ImageKind,
    len: usize,
    shape: LatentShape,
    contexts: ContextTable,
    captions: Option<Vec<String>>,
    fingerprint: blake3::Hash,
}

impl Latents {
    /// Opens and checks a file.
    ///
    /// # Errors
    /// The file has another format, a tensor is missing or has the wrong shape, or holds NaN or infinity: the error
    /// names tensor, row and value.
    pub fn open(path: &Path, kind: ImageKind) -> Result<Self, DatasetError> {
        Self::check(TensorFile::open(path)?, kind)
    }

    /// Opens a cache that [`LatentWriter`] wrote.
    ///
    /// # Errors
    /// As [`Latents::open`], or the fingerprint of data or encoder differs.
    pub fn open_cache(path: &Path, kind: ImageKind, fingerprint: &str) -> Result<Self, DatasetError> {
        let file = TensorFile::open(path)?;
        expect_format(&file, LatentWriter::FORMAT)?;
        let found = file.note("fingerprint").unwrap_or_default();
        if found != fingerprint {
            let short = |print: &str| print.get(..12).unwrap_or(print).to_owned();
            return Err(file.error(format!(
                "was made of other data or by another encoder (fingerprint {}, here it is {}); delete it to have it made \
                 anew, or name another file",
                short(found),
                short(fingerprint)
            )));
        }
        Self::check(file, kind)
    }

    fn check(file: TensorFile, kind: ImageKind) -> Result<Self, DatasetError> {
        let dimensions = file.expect("chosen", DIMENSIONS)?;
        let (len, shape) = (dimensions[0], shape_of(dimensions));
        let sides = if kind == ImageKind::Pairs { &["chosen", "rejected"][..] } else { &["chosen"][..] };
        for side in sides {
            let found = file.expect(side, DIMENSIONS)?;
            if found != dimensions {
                let message = format!("is wrong: tensor `{side}` is {found:?}, `chosen` is {dimensions:?}");
                return Err(file.error(message));
            }
            for index in 0..len {
                file.row(side, index)?;
            }
        }
        let contexts = ContextTable::open(&file, len)?;
        let captions = captions(&file, len)?;
        let fingerprint = file.hash()?;
        Ok(Self { file, kind, len, shape, contexts, captions, fingerprint })
    }

    /// Number of examples; at least one.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no examples; always false.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The shape of each latent.
    pub fn shape(&self) -> LatentShape {
        self.shape
    }

    /// A hash of the file.
    pub fn fingerprint(&self) -> String {
        self.fingerprint.to_hex().to_string()
    }

    /// An example's caption, if the file has them.
    pub fn caption(&self, index: usize) -> Option<&str> {
        Some(self.captions.as_ref()?.get(index)?)
    }

    /// A key that is equal for examples with equal conditioning: the caption, or a hash of the context, or the
    /// example's index without conditioning.
    ///
    /// # Errors
    /// The index is out of range, or the file can't be read.
    pub fn told(&self, index: usize) -> Result<String, DatasetError> {
        self.caption(index).map_or_else(|| self.contexts.told(&self.file, index), |caption| Ok(caption.to_owned()))
    }

    /// The conditioning row of an example, which examples may share.
    pub fn context_row(&self, index: usize) -> usize {
        self.contexts.row_of(index)
    }

    /// The highest class of any example, if classes are told.
    pub fn highest_class(&self) -> Option<u32> {
        self.contexts.highest_class()
    }

    /// The conditioning of the empty caption, if the file has it.
    ///
    /// # Errors
    /// The file can't be read.
    pub fn empty_context(&self) -> Result<Option<Arc<LatentContext>>, DatasetError> {
        self.contexts.empty(&self.file)
    }

    /// The example at a position.
    ///
    /// # Errors
    /// The index is out of range, or the file can't be read.
    pub fn get(&self, index: usize) -> Result<LatentPair, DatasetError> {
        if index >= self.len {
            return Err(DatasetError::OutOfRange { index, len: self.len });
        }
        let side = |name| Ok(channels_last(&self.file.row(name, index)?, self.shape.channels).into());
        let chosen_context = self.contexts.of(&self.file, index, Side::Chosen)?;
        let rejected_context = if self.contexts.is_shared {
            Arc::clone(&chosen_context)
        } else {
            self.contexts.of(&self.file, index, Side::Rejected)?
        };
        let rejected = if self.kind == ImageKind::Pairs { Some(side("rejected")?) } else { None };
        Ok(LatentPair { index, chosen: side("chosen")?, rejected, chosen_context, rejected_context })
    }
}

/// A file of fixed draws: for each example its timestep and noise, `timesteps` i64 `[examples]` and `noise` `[examples,
/// channels, height, width]`; or several of both, `[examples, draws]` and `[examples, draws, channels, height, width]`.
#[derive(Debug)]
pub struct DrawFile {
    file: TensorFile,
    /// The draws of the first example, then those of the second.
    timesteps: Vec<usize>,
    per_example: usize,
    shape: LatentShape,
}

/// One draw.
#[derive(Clone, Debug, PartialEq)]
pub struct GivenDraw {
    /// The timestep, below the number of training timesteps.
    pub timestep: usize,
    /// The noise of both sides, in the order height, width, channel.
    pub noise: Arc<[f32]>,
}

impl DrawFile {
    /// Opens and checks the draws for a file of latents, under a schedule of `n_timesteps`.
    ///
    /// # Errors
    /// The file has another format, does not match the latents, holds NaN or infinity, or a timestep is out of range.
    pub fn open(path: &Path, latents: &Latents, n_timesteps: usize) -> Result<Self, DatasetError> {
        Self::open_for(path, (latents.len, latents.shape), n_timesteps)
    }

    /// Opens the draws for a number of examples with latents of this shape.
    ///
    /// # Errors
    /// As [`DrawFile::open`].
    pub fn open_for(path: &Path, (len, shape): (usize, LatentShape), n_timesteps: usize) -> Result<Self, DatasetError> {
        let file = TensorFile::open(path)?;
        let LatentShape { channels, height, width } = shape;
        let is_several = [("timesteps", 2), ("noise", 5)]
            .iter()
            .any(|(name, n)| file.shape(name).is_some_and(|found| found.len() == *n));
        let (of_timesteps, of_noise) =
            if is_several { ("[examples, draws]", DIMENSIONS_OF_SEVERAL) } else { ("[examples]", DIMENSIONS) };
        let found = file.expect("timesteps", of_timesteps)?;
        if found[0] != len {
            let message = format!("does not fit the data: `timesteps` is {found:?}, there are {len} examples");
            return Err(file.error(message));
        }
        let per_example = found.get(1).copied().unwrap_or(1);
        let expected = [found, &[channels, height, width]].concat();
        let noise = file.expect("noise", of_noise)?;
        if noise != expected {
            let message = format!(
                "does not fit: `noise` is {noise:?}, for these timesteps and latents it should be {expected:?}"
            );
            return Err(file.error(message));
        }
        let timesteps = file.indices("timesteps", of_timesteps, n_timesteps)?;
        for index in 0..len {
            file.row("noise", index)?;
        }
        Ok(Self { file, timesteps, per_example, shape })
    }

    /// The draws of an example.
    ///
    /// # Errors
    /// The index is out of range, or the file can't be read.
    pub fn get(&self, index: usize) -> Result<Vec<GivenDraw>, DatasetError> {
        let out_of_range = DatasetError::OutOfRange { index, len: self.timesteps.len() / self.per_example };
        let timesteps = self.timesteps.chunks(self.per_example).nth(index).ok_or(out_of_range)?;
        let noise = self.file.row("noise", index)?;
        let noise = noise.chunks(self.shape.size()).map(|noise| channels_last(noise, self.shape.channels).into());
        Ok(timesteps.iter().zip(noise).map(|(&timestep, noise)| GivenDraw { timestep, noise }).collect())
    }
}

/// The layout of a latents file to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LatentLayout {
    /// Pairs or single images.
    pub kind: ImageKind,
    /// Number of examples.
    pub examples: usize,
    /// The shape of each latent.
    pub shape: LatentShape,
    /// The layout of the conditioning.
    pub contexts: ContextLayout,
}

/// The metadata of a latents file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LatentNotes<'a> {
    /// The cache key: a hash of data, settings and encoders.
    pub fingerprint: &'a str,
    /// The conditioning row of each example; empty without conditioning.
    pub context_of: &'a [usize],
    /// The row of the empty caption, if there is one.
    pub empty: Option<usize>,
    /// The captions; may be empty.
    pub captions: &'a [String],
}

/// A latents file being written, in any order, and moved into place when finished.
#[derive(Debug)]
pub struct LatentWriter {
    writer: TensorWriter,
    layout: LatentLayout,
}

impl LatentWriter {
    /// The format and version in the metadata.
    const FORMAT: &str = "hybrid-dpo latents 1";

    /// Creates a file.
    ///
    /// # Errors
    /// The folder is not writable.
    pub fn create(path: &Path, layout: LatentLayout) -> Result<Self, DatasetError> {
        let LatentShape { channels, height, width } = layout.shape;
        let latents = vec![layout.examples, channels, height, width];
        let mut shapes = vec![("chosen", latents.clone())];
        if layout.kind == ImageKind::Pairs {
            shapes.push(("rejected", latents));
        }
        shapes.extend(layout.contexts.shapes());
        Ok(Self { writer: TensorWriter::create(path, shapes)?, layout })
    }

    /// Writes an example's latents, in the order height, width, channel.
    ///
    /// # Errors
    /// They do not match the layout, are not finite, or the disk is full.
    pub fn write(&mut self, index: usize, chosen: &[f32], rejected: Option<&[f32]>) -> Result<(), DatasetError> {
        let channels = self.layout.shape.channels;
        self.writer.write("chosen", index, &channels_first(chosen, channels))?;
        match rejected {
            Some(rejected) => self.writer.write("rejected", index, &channels_first(rejected, channels)),
            None => Ok(()),
        }
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
    pub fn finish(self, notes: LatentNotes<'_>) -> Result<(), DatasetError> {
        let mut text = vec![("format", Self::FORMAT.to_owned()), ("fingerprint", notes.fingerprint.to_owned())];
        text.extend(notes.empty.map(|row| ("empty_context", row.to_string())));
        text.extend(captions_note(notes.captions));
        let rows = notes.context_of.iter().map(|&row| row as i64).collect();
        let integers = [("context_index", rows)];
        self.writer.finish(if notes.context_of.is_empty() { &[] } else { &integers }, &text)
    }
}

/// Refuses a file of another format or version.
pub(super) fn expect_format(file: &TensorFile, format: &str) -> Result<(), DatasetError> {
    match file.note("format") {
        Some(found) if found == format => Ok(()),
        Some(found) => Err(file.error(format!("is of the format `{found}`; `{format}` is wanted"))),
        None => Err(file.error(format!("does not say its format; `{format}` is wanted"))),
    }
}

/// The captions in a file's metadata, one per example.
pub(super) fn captions(file: &TensorFile, examples: usize) -> Result<Option<Vec<String>>, DatasetError> {
    let Some(text) = file.note("captions") else { return Ok(None) };
    let captions: Vec<String> = serde_json::from_str(text)
        .map_err(|error| file.error(format!("has captions that are no list of texts: {error}")))?;
    if captions.len() != examples {
        return Err(file.error(format!("has {} captions for {examples} examples", captions.len())));
    }
    Ok(Some(captions))
}

pub(super) fn captions_note(captions: &[String]) -> Option<(&'static str, String)> {
    (!captions.is_empty()).then(|| ("captions", serde_json::Value::from(captions).to_string()))
}
