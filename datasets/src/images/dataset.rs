//! Image data sets: checked when opened, decoded on access.

use std::path::Path;
use std::sync::Arc;

use mdp::chance;
use rayon::prelude::*;

use super::audit::{ImageAudit, ImageFacts};
use super::decode::decode;
use super::kind::ImageKind;
use super::pixels::Pixels;
use super::preparation::Preparation;
use super::rows::{Columns, Encoded, RawImages, RawRow};
use super::{CaptionedImage, ImagePair, raw_pictures};
use crate::disk_buffer::{Offset, Spool, SpoolWriter};
use crate::error::DatasetError;
use crate::holdout::{self, PromptHash};
use crate::reading::{self, CellRow};
use crate::record::Origin;
use crate::records::ReadOptions;
use crate::skipped::OnBad;

/// Number of records checked in parallel.
const CHUNK: usize = 64;

/// The size of images, in bytes, at which a chunk is checked early.
const CHUNK_BYTES: usize = 64 << 20;

/// Image preparation settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct ImageSettings {
    /// The images used of each record.
    pub kind: ImageKind,
    /// Height and width of the prepared images: the shorter side is resized to this, then the middle square is cropped.
    pub size: usize,
    /// Resizing, cropping, transparency and orientation.
    pub preparation: Preparation,
    /// Random horizontal flips; `None`: no flips.
    pub flip: Option<Mirror>,
}

/// Random horizontal flips with probability 1/2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct Mirror {
    /// Seed of the flips.
    pub seed: u64,
    /// Whether the images of a pair are flipped together.
    pub sides: PairFlip,
}

/// The flips of the two images of a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PairFlip {
    /// Both are flipped, or neither.
    Together,
    /// Each is flipped independently.
    Apart,
}

impl Mirror {
    /// Whether to flip image `side` of example `number`.
    fn takes(self, number: usize, side: usize) -> bool {
        let side = if self.sides == PairFlip::Together { 0 } else { side };
        chance::bits(self.seed, number as u64) >> side & 1 == 1
    }
}

/// Checked images by position. Cloning is cheap.
///
/// The encoded images are kept in a temporary file (in memory while small), so the data set takes a few words of memory
/// per example, and later changes of the input files have no effect.
#[derive(Clone, Debug)]
pub struct ImageDataset {
    name: Arc<Path>,
    settings: ImageSettings,
    spool: Arc<Spool>,
    entries: Arc<[Entry]>,
    audit: Arc<ImageAudit>,
    fingerprint: blake3::Hash,
}

/// The in-memory index entry of an example.
#[derive(Clone, Copy, Debug)]
struct Entry {
    offset: Offset,
    caption: PromptHash,
    /// The example's index in the whole data set.
    number: usize,
    n_images: usize,
    /// Whether a single image is liked.
    is_liked: bool,
}

/// Reads a file or a folder of shards; decodes every image once to check it.
///
/// The layout is detected from the columns (see `images`), so `reading` must not name a format.
///
/// # Errors
/// The file is malformed, a record or an image is (unless `reading` skips those), or nothing is left.
#[expect(clippy::needless_pass_by_value, reason = "as the sibling for texts, which keeps it")]
pub fn open(path: &Path, reading: ReadOptions, settings: ImageSettings) -> Result<ImageDataset, DatasetError> {
    let mut builder = Builder::new(settings)?;
    let mut chunk = Vec::new();
    let limit = reading.limit.unwrap_or(u64::MAX);
    let mut is_first = true;
    'shards: for shard in reading::shards(path, reading.split.as_ref())?.files {
        for mut row in reading::cell_rows(&shard)? {
            if let Ok((origin, cells)) = &mut row {
                reading.columns.rename_cells(origin, cells, std::mem::take(&mut is_first))?;
            }
            if let Some(images) = builder.parse(row, reading.on_bad)? {
                chunk.push(images);
            }
            // Never more than the limit: broken pictures are only found below.
            let is_heavy = chunk.iter().map(RawImages::bytes).sum::<usize>() >= CHUNK_BYTES;
            if is_heavy || chunk.len() as u64 >= (limit - builder.audit.examples()).min(CHUNK as u64) {
                builder.check(&mut chunk, reading.on_bad)?;
            }
            if builder.audit.examples() >= limit {
                break 'shards;
            }
        }
    }
    builder.check(&mut chunk, reading.on_bad)?;
    builder.finish(path)
}

impl ImageDataset {
    /// Generated pairs; `name` names their source. They keep their size and order.
    ///
    /// # Errors
    /// There is no pair, or the images are not squares of one size.
    pub fn from_pairs(name: &str, pairs: impl IntoIterator<Item = ImagePair>) -> Result<Self, DatasetError> {
        let records = pairs.into_iter().map(|pair| (pair.caption, pair.chosen, Some(pair.rejected)));
        Self::from_made(name, ImageKind::Pairs, records)
    }

    /// Generated captioned images; `name` names their source. They keep their size and order.
    ///
    /// # Errors
    /// There is no image, or the images are not squares of one size.
    pub fn from_captioned(name: &str, images: impl IntoIterator<Item = CaptionedImage>) -> Result<Self, DatasetError> {
        let records = images.into_iter().map(|captioned| (captioned.caption, captioned.image, None));
        Self::from_made(name, ImageKind::Captioned, records)
    }

    fn from_made(
        name: &str,
        kind: ImageKind,
        records: impl Iterator<Item = (String, Pixels, Option<Pixels>)>,
    ) -> Result<Self, DatasetError> {
        let mut records = records.peekable();
        let size = records.peek().map_or(1, |(_, first, _)| first.height());
        let mut builder = Builder::new(ImageSettings { kind, size, preparation: Preparation::default(), flip: None })?;
        for (caption, best, worst) in records {
            for pixels in std::iter::once(&best).chain(&worst) {
                if (pixels.height(), pixels.width()) != (size, size) {
                    let value = format!("{} x {}", pixels.height(), pixels.width());
                    let hint = "all must be squares of the first one's size";
                    return Err(DatasetError::Setting { name: "the size of a picture", value, hint });
                }
                builder.audit.add_size((size, size));
            }
            let (best, worst) = (raw_pictures::raw(&best), worst.as_ref().map(raw_pictures::raw));
            builder.push(&caption, &std::iter::once(&*best).chain(worst.as_deref()).collect::<Vec<_>>(), true)?;
        }
        builder.finish(Path::new(name))
    }

    /// Number of examples; at least one unless this is a subset.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are no examples.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The preparation settings.
    pub fn settings(&self) -> ImageSettings {
        self.settings
    }

    /// The audit of the whole data set that this is part of.
    pub fn audit(&self) -> &ImageAudit {
        &self.audit
    }

    /// A hash of captions, encoded images, their order, and the settings. It changes if and only if one of these
    /// changes.
    pub fn fingerprint(&self) -> String {
        self.fingerprint.to_hex().to_string()
    }

    /// The caption at a position, without decoding images.
    ///
    /// # Errors
    /// The index is out of range, or the temporary file can't be read.
    pub fn caption(&self, index: usize) -> Result<String, DatasetError> {
        let first = self.spool.read_first_parts(self.entry(index)?.offset, 1)?.pop().unwrap_or_default();
        Ok(String::from_utf8_lossy(&first).into_owned())
    }

    /// The pair at a position.
    ///
    /// # Errors
    /// The index is out of range, the example has one image only, or the temporary file can't be read.
    pub fn pair(&self, index: usize) -> Result<ImagePair, DatasetError> {
        let (entry, caption, pictures) = self.parts(index)?;
        let origin = self.origin(entry.number);
        let [chosen, rejected] = &pictures[..] else {
            let (field, found) = ("rejected".to_owned(), "one picture".to_owned());
            return Err(DatasetError::MissingField { origin, field, found });
        };
        let (chosen, rejected) = (self.pixels(entry, 0, chosen)?, self.pixels(entry, 1, rejected)?);
        Ok(ImagePair { index: entry.number, caption, chosen, rejected })
    }

    /// The caption of the example at a position, its images, best first, and whether a single image is liked.
    ///
    /// # Errors
    /// The index is out of range, or the temporary file can't be read.
    pub fn judged(&self, index: usize) -> Result<(String, Vec<Pixels>, bool), DatasetError> {
        let (entry, caption, pictures) = self.parts(index)?;
        let pixels = pictures.iter().enumerate().map(|(side, bytes)| self.pixels(entry, side, bytes));
        Ok((caption, pixels.collect::<Result<_, _>>()?, entry.is_liked))
    }

    /// Whether every example is a pair, or every one an image to imitate: no list, and no image that is liked or not.
    pub fn is_plain(&self) -> bool {
        let n = if self.settings.kind == ImageKind::Captioned { 1 } else { 2 };
        self.entries.iter().all(|entry| entry.n_images == n)
    }

    /// The image to imitate at a position: the only one, or the better one.
    ///
    /// # Errors
    /// The index is out of range, or the temporary file can't be read.
    pub fn captioned(&self, index: usize) -> Result<CaptionedImage, DatasetError> {
        let (entry, caption, pictures) = self.parts(index)?;
        let image = self.pixels(entry, 0, pictures.first().map(Vec::as_slice).unwrap_or_default())?;
        Ok(CaptionedImage { index: entry.number, caption, image })
    }

    /// The examples at these positions, in this order.
    ///
    /// # Errors
    /// An index is out of range.
    pub fn select(&self, positions: &[usize]) -> Result<Self, DatasetError> {
        let entries: Arc<[Entry]> = positions.iter().map(|&index| self.entry(index)).collect::<Result<_, _>>()?;
        let mut hasher = blake3::Hasher::new();
        hasher.update(self.fingerprint.as_bytes());
        for entry in entries.iter() {
            hasher.update(&entry.offset.to_le_bytes());
            if !entry.is_liked {
                hasher.update(b"disliked");
            }
        }
        Ok(Self { entries, fingerprint: hasher.finalize(), ..self.clone() })
    }

    /// Splits by caption into (the rest, the held-out part), as described in [`holdout`]. All examples of a caption are
    /// on the same side.
    ///
    /// # Errors
    /// The share is not between 0 and 1.
    pub fn hold_out(&self, share: f64, seed: u64) -> Result<(Self, Self), DatasetError> {
        let (rest, held_out) = holdout::hold_out(self.entries.iter().map(|entry| entry.caption), share, seed)?;
        Ok((self.select(&rest)?, self.select(&held_out)?))
    }

    fn entry(&self, index: usize) -> Result<Entry, DatasetError> {
        self.entries.get(index).copied().ok_or(DatasetError::OutOfRange { index, len: self.len() })
    }

    fn parts(&self, index: usize) -> Result<(Entry, String, Vec<Vec<u8>>), DatasetError> {
        let entry = self.entry(index)?;
        let mut parts = self.spool.read_parts(entry.offset)?.into_iter();
        let caption = String::from_utf8_lossy(&parts.next().unwrap_or_default()).into_owned();
        Ok((entry, caption, parts.collect()))
    }

    fn pixels(&self, entry: Entry, side: usize, bytes: &[u8]) -> Result<Pixels, DatasetError> {
        let read = || match raw_pictures::from_raw(bytes) {
            Some(pixels) => Ok(pixels),
            None => decode(bytes, self.settings.preparation).map(|original| original.square(self.settings.size)),
        };
        let pixels = read().map_err(|message| DatasetError::Image {
            origin: self.origin(entry.number),
            name: "in the temporary file".to_owned(),
            message,
        })?;
        let is_flipped = self.settings.flip.is_some_and(|mirror| mirror.takes(entry.number, side));
        Ok(if is_flipped { pixels.flipped() } else { pixels })
    }

    fn origin(&self, number: usize) -> Origin {
        Origin::row(&self.name, number as u64 + 1)
    }
}

struct Builder {
    settings: ImageSettings,
    writer: SpoolWriter,
    entries: Vec<Entry>,
    audit: ImageAudit,
}

impl Builder {
    fn new(settings: ImageSettings) -> Result<Self, DatasetError> {
        if !(1..=8192).contains(&settings.size) {
            let value = settings.size.to_string();
            let hint = "it must be between 1 and 8192";
            return Err(DatasetError::Setting { name: "the size of pictures", value, hint });
        }
        let audit = ImageAudit { size: settings.size, ..ImageAudit::default() };
        Ok(Self { settings, writer: SpoolWriter::new(), entries: Vec::new(), audit })
    }

    /// Parses a row, unless it is omitted.
    fn parse(&mut self, row: Result<CellRow, DatasetError>, on_bad: OnBad) -> Result<Option<RawImages>, DatasetError> {
        let parse = |(origin, cells): CellRow| Columns { origin: &origin, cells: &cells }.parse(self.settings.kind);
        match row.and_then(parse) {
            Ok(RawRow::Images(images)) => return Ok(Some(*images)),
            Ok(RawRow::Tied) => self.audit.ties += 1,
            Ok(RawRow::Unlabelled) => self.audit.unlabelled += 1,
            Ok(RawRow::Missing) => self.audit.missing += 1,
            Err(error) => self.audit.skipped.admit(on_bad, error)?,
        }
        Ok(None)
    }

    /// Decodes the images of a chunk, and keeps the valid ones.
    fn check(&mut self, chunk: &mut Vec<RawImages>, on_bad: OnBad) -> Result<(), DatasetError> {
        let preparation = self.settings.preparation;
        let read = |images: &RawImages| {
            let original = |picture: &Encoded| -> Result<ImageFacts, DatasetError> {
                let found = decode(&picture.bytes, preparation).map_err(|message| DatasetError::Image {
                    origin: images.origin.clone(),
                    name: picture.name.clone(),
                    message,
                })?;
                let (is_transparent, is_turned) = (found.is_transparent, found.is_turned);
                Ok(ImageFacts { size: found.size(), is_transparent, is_turned })
            };
            images.images.iter().map(original).collect()
        };
        let found: Vec<Result<Vec<_>, DatasetError>> = chunk.par_iter().map(read).collect();
        for (images, found) in chunk.drain(..).zip(found) {
            match found {
                Ok(pictures) => {
                    for picture in &pictures {
                        self.audit.add_original(picture, preparation);
                    }
                    let bytes: Vec<&[u8]> = images.images.iter().map(|image| &image.bytes[..]).collect();
                    self.push(&images.caption, &bytes, images.is_liked)?;
                }
                Err(error) => self.audit.skipped.admit(on_bad, error)?,
            }
        }
        Ok(())
    }

    fn push(&mut self, caption: &str, images: &[&[u8]], is_liked: bool) -> Result<(), DatasetError> {
        let parts: Vec<&[u8]> = std::iter::once(caption.as_bytes()).chain(images.iter().copied()).collect();
        let (number, hash, n_images) = (self.entries.len(), PromptHash::of_plain(caption), images.len());
        let offset = self.writer.push_parts(&parts)?;
        self.entries.push(Entry { offset, caption: hash, number, n_images, is_liked });
        self.audit.pairs += u64::from(n_images == 2);
        self.audit.lists += u64::from(n_images > 2);
        self.audit.captioned += u64::from(n_images == 1);
        self.audit.disliked += u64::from(n_images == 1 && !is_liked);
        self.audit.identical_pairs += u64::from(n_images == 2 && images[0] == images[1]);
        self.audit.empty_captions += u64::from(caption.trim().is_empty());
        Ok(())
    }

    fn finish(self, path: &Path) -> Result<ImageDataset, DatasetError> {
        if self.entries.is_empty() {
            let (path, skipped) = (path.to_owned(), &self.audit.skipped);
            return Err(match skipped.messages.first() {
                Some(first) => DatasetError::AllBad { path, count: skipped.count, first: first.clone() },
                None => DatasetError::Empty { path },
            });
        }
        let (spool, content) = self.writer.finish()?;
        let mut hasher = blake3::Hasher::new();
        hasher.update(content.as_bytes()).update(&(self.settings.size as u64).to_le_bytes());
        hasher.update(format!("{:?} {:?}", self.settings.flip, self.settings.preparation).as_bytes());
        for entry in self.entries.iter().filter(|entry| !entry.is_liked) {
            hasher.update(&(entry.number as u64).to_le_bytes());
        }
        let (name, settings) = (Arc::from(path), self.settings);
        let (spool, entries, audit) = (Arc::new(spool), self.entries.into(), Arc::new(self.audit));
        Ok(ImageDataset { name, settings, spool, entries, audit, fingerprint: hasher.finalize() })
    }
}
