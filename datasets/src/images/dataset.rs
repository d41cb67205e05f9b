//! A set of pictures: checked when it is opened, decoded when they are asked for.

use std::path::Path;
use std::sync::Arc;

use mdp::chance;
use rayon::prelude::*;

use super::audit::{ImageAudit, Look};
use super::decode::decode;
use super::pixels::Pixels;
use super::preparation::Preparation;
use super::rows::{Columns, Encoded, RawImages, RawRow};
use super::{CaptionedImage, ImagePair, raw_pictures};
use crate::disk_buffer::{Offset, Spool, SpoolWriter};
use crate::error::DatasetError;
use crate::holdout::{self, PromptHash};
use crate::reading::{self, CellRow};
use crate::record::Origin;
use crate::records::{OnBad, Reading};

/// Records checked at a time, by all cores.
const CHUNK: usize = 64;

/// Fewer, once their pictures take so many bytes.
const CHUNK_BYTES: usize = 64 << 20;

/// What is wanted of each record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ImageKind {
    /// A better and a worse picture.
    Pairs,
    /// One picture to imitate: the only one, or the better one.
    Captioned,
}

/// How pictures are prepared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct ImageSettings {
    /// What is wanted of each record.
    pub kind: ImageKind,
    /// Rows and columns of the pictures: the shorter side is scaled to this, and the middle square is used.
    pub size: usize,
    /// How what is in a file becomes such a square.
    pub preparation: Preparation,
    /// Which pictures have left and right exchanged; none has without.
    pub flip: Option<Mirror>,
}

/// Which half of the pictures has left and right exchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct Mirror {
    /// The seed of the draws that decide it.
    pub seed: u64,
    /// Whether one draw decides for a pair.
    pub sides: Sides,
}

/// How the two pictures of a pair go together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sides {
    /// What is drawn is drawn for both.
    Together,
    /// Each has a draw of its own.
    Apart,
}

impl Mirror {
    /// Whether a picture is mirrored: of which example, and which of its pictures.
    fn takes(self, number: usize, side: usize) -> bool {
        let side = if self.sides == Sides::Together { 0 } else { side };
        chance::bits(self.seed, number as u64) >> side & 1 == 1
    }
}

/// Checked pictures by position. Cloning is cheap.
///
/// The encoded pictures lie in a temporary file (in memory while they are small), so the data set takes a few words of
/// memory an example, and what the files on disk do later changes nothing.
#[derive(Clone, Debug)]
pub struct ImageDataset {
    name: Arc<Path>,
    settings: ImageSettings,
    spool: Arc<Spool>,
    entries: Arc<[Entry]>,
    audit: Arc<ImageAudit>,
    fingerprint: blake3::Hash,
}

/// What is kept in memory of an example.
#[derive(Clone, Copy, Debug)]
struct Entry {
    offset: Offset,
    caption: PromptHash,
    /// Its number in the whole data set.
    number: usize,
}

/// Reads a file, or a folder of shards, front to back; every picture is decoded once to see whether it can be.
///
/// The layout is told by the columns (`images` has the list), so `reading` may name no format.
///
/// # Errors
/// The file is broken, a record or a picture is (unless `reading` says to skip it), or nothing is left.
#[expect(clippy::needless_pass_by_value, reason = "as the sibling for texts, which keeps it")]
pub fn open(path: &Path, reading: Reading, settings: ImageSettings) -> Result<ImageDataset, DatasetError> {
    let mut builder = Builder::new(settings)?;
    let mut chunk = Vec::new();
    let limit = reading.limit.unwrap_or(u64::MAX);
    'shards: for shard in reading::shards(path, reading.split.as_ref())?.files {
        for row in reading::cell_rows(&shard)? {
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
    /// Pairs that are made rather than read; `name` says by whom. They keep their size and their order.
    ///
    /// # Errors
    /// There is none, or they are not squares of one size.
    pub fn from_pairs(name: &str, pairs: impl IntoIterator<Item = ImagePair>) -> Result<Self, DatasetError> {
        let records = pairs.into_iter().map(|pair| (pair.caption, pair.chosen, Some(pair.rejected)));
        Self::from_made(name, ImageKind::Pairs, records)
    }

    /// Pictures to imitate that are made rather than read; `name` says by whom. They keep their size and their order.
    ///
    /// # Errors
    /// There is none, or they are not squares of one size.
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
            builder.push(&caption, &raw_pictures::raw(&best), worst.as_ref().map(raw_pictures::raw).as_deref())?;
        }
        builder.finish(Path::new(name))
    }

    /// How many examples there are; at least one unless it is a part of another data set.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How the pictures are prepared.
    pub fn settings(&self) -> ImageSettings {
        self.settings
    }

    /// What was found in the data this is, or is a part of.
    pub fn audit(&self) -> &ImageAudit {
        &self.audit
    }

    /// A hash of captions, encoded pictures, their order, and the settings. Any change of these changes it, and no
    /// other does.
    pub fn fingerprint(&self) -> String {
        self.fingerprint.to_hex().to_string()
    }

    /// The caption at a position, without its pictures.
    ///
    /// # Errors
    /// There is none, or the temporary file cannot be read.
    pub fn caption(&self, index: usize) -> Result<String, DatasetError> {
        let first = self.spool.read_first_parts(self.entry(index)?.offset, 1)?.pop().unwrap_or_default();
        Ok(String::from_utf8_lossy(&first).into_owned())
    }

    /// The pair at a position.
    ///
    /// # Errors
    /// There is none, it has one picture only, or the temporary file cannot be read.
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

    /// The picture to imitate at a position: the only one, or the better one.
    ///
    /// # Errors
    /// There is none, or the temporary file cannot be read.
    pub fn captioned(&self, index: usize) -> Result<CaptionedImage, DatasetError> {
        let (entry, caption, pictures) = self.parts(index)?;
        let image = self.pixels(entry, 0, pictures.first().map(Vec::as_slice).unwrap_or_default())?;
        Ok(CaptionedImage { index: entry.number, caption, image })
    }

    /// The examples at these positions, in this order.
    ///
    /// # Errors
    /// One of them is not there.
    pub fn select(&self, positions: &[usize]) -> Result<Self, DatasetError> {
        let entries: Arc<[Entry]> = positions.iter().map(|&index| self.entry(index)).collect::<Result<_, _>>()?;
        let mut hasher = blake3::Hasher::new();
        hasher.update(self.fingerprint.as_bytes());
        for entry in entries.iter() {
            hasher.update(&entry.offset.to_le_bytes());
        }
        Ok(Self { entries, fingerprint: hasher.finalize(), ..self.clone() })
    }

    /// Splits by caption: (the rest, the held out), as [`holdout`] says. All examples of a caption fall on the same side.
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

    /// What a row says, unless it is left out.
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

    /// Decodes the pictures of a chunk, and keeps those that can be.
    fn check(&mut self, chunk: &mut Vec<RawImages>, on_bad: OnBad) -> Result<(), DatasetError> {
        let preparation = self.settings.preparation;
        let read = |images: &RawImages| {
            let original = |picture: &Encoded| -> Result<Look, DatasetError> {
                let found = decode(&picture.bytes, preparation).map_err(|message| DatasetError::Image {
                    origin: images.origin.clone(),
                    name: picture.name.clone(),
                    message,
                })?;
                let (is_transparent, is_turned) = (found.is_transparent, found.is_turned);
                Ok(Look { size: found.size(), is_transparent, is_turned })
            };
            std::iter::once(&images.best).chain(&images.worst).map(original).collect()
        };
        let found: Vec<Result<Vec<_>, DatasetError>> = chunk.par_iter().map(read).collect();
        for (images, found) in chunk.drain(..).zip(found) {
            match found {
                Ok(pictures) => {
                    for picture in &pictures {
                        self.audit.add_original(picture, preparation);
                    }
                    let worst = images.worst.as_ref().map(|worst| &worst.bytes[..]);
                    self.push(&images.caption, &images.best.bytes, worst)?;
                }
                Err(error) => self.audit.skipped.admit(on_bad, error)?,
            }
        }
        Ok(())
    }

    fn push(&mut self, caption: &str, best: &[u8], worst: Option<&[u8]>) -> Result<(), DatasetError> {
        let parts: Vec<&[u8]> = [caption.as_bytes(), best].into_iter().chain(worst).collect();
        let (number, hash) = (self.entries.len(), PromptHash::of_plain(caption));
        self.entries.push(Entry { offset: self.writer.push_parts(&parts)?, caption: hash, number });
        self.audit.pairs += u64::from(worst.is_some());
        self.audit.captioned += u64::from(worst.is_none());
        self.audit.identical_pairs += u64::from(worst == Some(best));
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
        let (name, settings) = (Arc::from(path), self.settings);
        let (spool, entries, audit) = (Arc::new(spool), self.entries.into(), Arc::new(self.audit));
        Ok(ImageDataset { name, settings, spool, entries, audit, fingerprint: hasher.finalize() })
    }
}
