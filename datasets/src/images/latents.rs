//! Latents of pictures from a file, and the cache of those that an encoder made.
//!
//! A file is safetensors: `chosen` and `rejected` `[examples, channels, height, width]` (only `chosen` where pictures are
//! to be imitated) in f32, f16 or bf16, and what the denoiser is told (`context`, `pooled`, `time_ids`: one row an
//! example, for both sides or with `_chosen` and `_rejected` behind the name). Numbers are handed out in the order row,
//! column, channel. All of it is read once when it is opened, so that a number that is none is found at once, and row by
//! row afterwards.

use std::path::Path;
use std::sync::Arc;

use super::contexts::{self, ContextLayout, ContextTable, LatentContext, Side};
use super::dataset::ImageKind;
use super::tensors::{TensorFile, TensorWriter, channels_first, channels_last};
use crate::error::DatasetError;

/// The dimensions of a latents file's tensors.
const DIMENSIONS: &str = "[examples, channels, height, width]";
/// Those of noise where an example has more than one draw.
const DIMENSIONS_OF_SEVERAL: &str = "[examples, draws, channels, height, width]";

/// Channels, rows and columns of a latent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LatentShape {
    /// Numbers of each pixel.
    pub channels: usize,
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
}

impl LatentShape {
    /// Numbers of a latent.
    pub fn size(&self) -> usize {
        self.channels * self.height * self.width
    }

    pub(super) fn of(shape: &[usize]) -> Self {
        let [.., channels, height, width] = *shape else { return Self { channels: 0, height: 0, width: 0 } };
        Self { channels, height, width }
    }
}

/// The latents of one example, in the order row, column, channel, and what the denoiser is told.
#[derive(Clone, Debug, PartialEq)]
pub struct LatentPair {
    /// Its number in the file, from 0.
    pub index: usize,
    /// The better picture, or the only one.
    pub chosen: Arc<[f32]>,
    /// The worse picture, if there are pairs.
    pub rejected: Option<Arc<[f32]>>,
    /// What is told of the better one.
    pub chosen_context: Arc<LatentContext>,
    /// What is told of the worse one: the same `Arc` where the file makes no difference.
    pub rejected_context: Arc<LatentContext>,
}

/// A file of latents.
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
    /// It is no such file, a tensor is missing or of the wrong shape, or holds NaN or infinity: tensor, row and value
    /// are named.
    pub fn open(path: &Path, kind: ImageKind) -> Result<Self, DatasetError> {
        Self::check(TensorFile::open(path)?, kind)
    }

    /// Opens a cache that [`LatentWriter`] wrote.
    ///
    /// # Errors
    /// As [`Latents::open`], or it was made of other data or by another encoder than this fingerprint stands for.
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
        let (len, shape) = (dimensions[0], LatentShape::of(dimensions));
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

    /// How many examples there are; at least one.
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

    /// A hash of the file.
    pub fn fingerprint(&self) -> String {
        self.fingerprint.to_hex().to_string()
    }

    /// An example's caption, if the file has them.
    pub fn caption(&self, index: usize) -> Option<&str> {
        Some(self.captions.as_ref()?.get(index)?)
    }

    /// A text that is equal for examples that are told the same: the caption, or a hash of the context, or the example's own
    /// number where nothing is told.
    ///
    /// # Errors
    /// There is no such example, or the file cannot be read.
    pub fn told(&self, index: usize) -> Result<String, DatasetError> {
        self.caption(index).map_or_else(|| self.contexts.told(&self.file, index), |caption| Ok(caption.to_owned()))
    }

    /// The number of what an example is told: equal for examples that are told the same, if the file says so.
    pub fn context_row(&self, index: usize) -> usize {
        self.contexts.row_of(index)
    }

    /// What the empty caption tells, if the file has it.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn empty_context(&self) -> Result<Option<Arc<LatentContext>>, DatasetError> {
        self.contexts.empty(&self.file)
    }

    /// The example at a position.
    ///
    /// # Errors
    /// There is none, or the file cannot be read.
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

/// Given draws: for each example its timestep and its noise, `timesteps` i64 `[examples]` and `noise`
/// `[examples, channels, height, width]`; or several of both, `[examples, draws]` and
/// `[examples, draws, channels, height, width]`.
#[derive(Debug)]
pub struct Draws {
    file: TensorFile,
    /// Those of the first example, then those of the second.
    timesteps: Vec<usize>,
    per_example: usize,
    shape: LatentShape,
}

/// One draw.
#[derive(Clone, Debug, PartialEq)]
pub struct GivenDraw {
    /// The timestep, below the number of timesteps.
    pub timestep: usize,
    /// The noise of both sides, in the order row, column, channel.
    pub noise: Arc<[f32]>,
}

impl Draws {
    /// Opens and checks the draws for a file of latents, under a schedule of so many timesteps.
    ///
    /// # Errors
    /// It is no such file, does not fit the latents, holds NaN or infinity, or a timestep is out of range.
    pub fn open(path: &Path, latents: &Latents, n_timesteps: usize) -> Result<Self, DatasetError> {
        Self::open_for(path, (latents.len, latents.shape), n_timesteps)
    }

    /// The same for so many examples with latents of this shape.
    ///
    /// # Errors
    /// As [`Draws::open`].
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
    /// There are none, or the file cannot be read.
    pub fn get(&self, index: usize) -> Result<Vec<GivenDraw>, DatasetError> {
        let out_of_range = DatasetError::OutOfRange { index, len: self.timesteps.len() / self.per_example };
        let timesteps = self.timesteps.chunks(self.per_example).nth(index).ok_or(out_of_range)?;
        let noise = self.file.row("noise", index)?;
        let noise = noise.chunks(self.shape.size()).map(|noise| channels_last(noise, self.shape.channels).into());
        Ok(timesteps.iter().zip(noise).map(|(&timestep, noise)| GivenDraw { timestep, noise }).collect())
    }
}

/// What a cache of latents will hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LatentLayout {
    /// Pairs, or pictures to imitate.
    pub kind: ImageKind,
    /// How many examples.
    pub examples: usize,
    /// Channels, rows and columns of each latent.
    pub shape: LatentShape,
    /// What is told.
    pub contexts: ContextLayout,
}

/// What ends a cache of latents.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LatentNotes<'a> {
    /// What the cache belongs to: a hash of data, settings and encoders.
    pub fingerprint: &'a str,
    /// The row of what each example is told; empty if nothing is.
    pub context_of: &'a [usize],
    /// The row of the empty caption, if it is there.
    pub empty: Option<usize>,
    /// The captions; empty if they don't matter.
    pub captions: &'a [String],
}

/// A cache of latents being written, in any order. It appears when it is finished, whole or not at all.
#[derive(Debug)]
pub struct LatentWriter {
    writer: TensorWriter,
    layout: LatentLayout,
}

impl LatentWriter {
    /// What the file says it is; the number is its version.
    const FORMAT: &str = "hybrid-dpo latents 1";

    /// Begins a file.
    ///
    /// # Errors
    /// Its folder cannot be written to.
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

    /// Writes an example's latents, given in the order row, column, channel.
    ///
    /// # Errors
    /// They don't fit the layout, are no numbers, or the disk is full.
    pub fn write(&mut self, index: usize, chosen: &[f32], rejected: Option<&[f32]>) -> Result<(), DatasetError> {
        let channels = self.layout.shape.channels;
        self.writer.write("chosen", index, &channels_first(chosen, channels))?;
        match rejected {
            Some(rejected) => self.writer.write("rejected", index, &channels_first(rejected, channels)),
            None => Ok(()),
        }
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
    pub fn finish(self, notes: LatentNotes<'_>) -> Result<(), DatasetError> {
        let mut text = vec![("format", Self::FORMAT.to_owned()), ("fingerprint", notes.fingerprint.to_owned())];
        text.extend(notes.empty.map(|row| ("empty_context", row.to_string())));
        text.extend(captions_note(notes.captions));
        let rows = notes.context_of.iter().map(|&row| row as i64).collect();
        let integers = [("context_index", rows)];
        self.writer.finish(if notes.context_of.is_empty() { &[] } else { &integers }, &text)
    }
}

/// Refuses a file that does not say it is of this format and version.
pub(super) fn expect_format(file: &TensorFile, format: &str) -> Result<(), DatasetError> {
    match file.note("format") {
        Some(found) if found == format => Ok(()),
        Some(found) => Err(file.error(format!("is of the format `{found}`; `{format}` is wanted"))),
        None => Err(file.error(format!("does not say its format; `{format}` is wanted"))),
    }
}

/// The captions that a file notes, one an example.
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
