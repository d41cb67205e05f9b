//! The writer of pair folders.

use std::fs::{self, File};
use std::io::{BufWriter, Cursor, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use image::ImageFormat;
use serde_json::{Map, Value};
use tempfile::TempDir;

use mdp::diffusion::LatentShape;

use super::folder::ContentHash;
use super::types::{GeneratedPair, GeneratedResult, Modality, NewResult, Side, StoredResult};
use super::wire;
use crate::error::DatasetError;
use crate::images::Pixels;
use crate::images::tensors::{TensorWriter, channels_first};

/// Writes a pair folder, pair by pair, and moves it into place when finished.
///
/// # Examples
/// ```
/// use datasets::pairs::{GeneratedPair, GeneratedResult, Modality, NewResult, PairFolder, PairWriter};
///
/// let parent = tempfile::tempdir()?;
/// let path = parent.path().join("pairs");
/// let side = |text| GeneratedResult { refined: None, made: NewResult::Response(text), seed: 7, log_probs: None };
/// let mut writer = PairWriter::create(&path, Modality::Token, serde_json::Map::new(), None)?;
/// writer.push(&GeneratedPair { request: "a pet".to_owned(), a: side("a dog"), b: side("a cat") })?;
/// let id = writer.finish()?;
/// assert_eq!(PairFolder::open(&path)?.id(), id);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct PairWriter {
    target: PathBuf,
    building: TempDir,
    modality: Modality,
    settings: Map<String, Value>,
    shape: Option<LatentShape>,
    lines: BufWriter<File>,
    /// Latents in the order a, b, a, b, until their number is known.
    spool: BufWriter<File>,
    hash: ContentHash,
    count: usize,
}

impl PairWriter {
    /// Creates a folder; `shape` is that of the latents, for images.
    ///
    /// # Errors
    /// The path exists, its parent is not writable, or the shape of images is missing.
    pub fn create(
        target: &Path,
        modality: Modality,
        settings: Map<String, Value>,
        shape: Option<LatentShape>,
    ) -> Result<Self, DatasetError> {
        if modality.has_pictures() != shape.is_some() {
            let hint = "latents have a shape where the sides are pictures, and only there";
            return Err(DatasetError::Setting { name: "the latents' shape", value: format!("{shape:?}"), hint });
        }
        refuse_existing(target)?;
        let parent = target.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        fs::create_dir_all(parent).map_err(|source| failed(parent, source))?;
        let building = building().tempdir_in(parent).map_err(|source| failed(target, source))?;
        if modality.has_pictures() {
            let images = building.path().join("images");
            fs::create_dir(&images).map_err(|source| failed(&images, source))?;
        }
        let path = building.path().join("pairs.jsonl");
        let lines = BufWriter::new(File::create(&path).map_err(|source| failed(&path, source))?);
        let spool = tempfile::tempfile_in(parent).map_err(|source| failed(target, source))?;
        let (target, spool, hash) = (target.to_owned(), BufWriter::new(spool), ContentHash::default());
        Ok(Self { target, building, modality, settings, shape, lines, spool, hash, count: 0 })
    }

    /// Number of pairs so far.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there is no pair yet.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Appends a pair.
    ///
    /// # Errors
    /// Its sides have another modality, a number is not finite, a latent has another shape, or the disk is full. A
    /// refused pair leaves nothing behind; after a full disk the writer must not be used again.
    pub fn push(&mut self, pair: &GeneratedPair<NewResult<'_>>) -> Result<(), DatasetError> {
        for side in Side::BOTH {
            self.check(pair, side)?;
        }
        let name = |side: Side| format!("images/{:05}-{side}.png", self.count);
        let kept = GeneratedPair {
            request: pair.request.clone(),
            a: keep(&pair.a, name(Side::A)),
            b: keep(&pair.b, name(Side::B)),
        };
        let line = wire::pair_line(self.count, &kept);
        self.hash.update(line.as_bytes());
        writeln!(self.lines, "{line}").map_err(|source| failed(&self.target, source))?;
        for side in Side::BOTH {
            if let (NewResult::Image { picture, latent }, StoredResult::Image(name)) =
                (pair.side(side).made, &kept.side(side).made)
            {
                self.add_picture(name, picture, latent)?;
            }
        }
        self.count += 1;
        Ok(())
    }

    fn add_picture(&mut self, name: &str, picture: &Pixels, latent: &[f32]) -> Result<(), DatasetError> {
        let path = self.building.path().join(name);
        let bytes = png(picture).map_err(|source| failed(&path, source))?;
        write_synced(&path, &bytes)?;
        self.hash.update(&bytes);
        let latent = channels_first(latent, self.shape.map_or(1, |shape| shape.channels));
        self.hash.update_numbers(&latent);
        let bytes: Vec<u8> = latent.iter().flat_map(|number| number.to_le_bytes()).collect();
        self.spool.write_all(&bytes).map_err(|source| failed(&self.target, source))
    }

    /// Moves the folder into place and returns its id.
    ///
    /// # Errors
    /// There is no pair, the path exists by now, or the disk is full.
    pub fn finish(mut self) -> Result<String, DatasetError> {
        if self.count == 0 {
            return Err(DatasetError::Empty { path: self.target });
        }
        self.lines.flush().and_then(|()| self.lines.get_ref().sync_all()).map_err(|e| failed(&self.target, e))?;
        if let Some(shape) = self.shape {
            self.write_latents(shape)?;
        }
        let mut header =
            wire::Header { id: String::new(), modality: self.modality, pairs: self.count, settings: self.settings };
        header.id = self.hash.finish(&header.to_text(), "");
        write_synced(&self.building.path().join("pairs.json"), header.to_text().as_bytes())?;
        refuse_existing(&self.target)?;
        fs::rename(self.building.path(), &self.target).map_err(|source| failed(&self.target, source))?;
        // What it would remove has gone to its place.
        let _ = self.building.keep();
        Ok(header.id)
    }

    fn write_latents(&mut self, shape: LatentShape) -> Result<(), DatasetError> {
        let dimensions = vec![self.count, shape.channels, shape.height, shape.width];
        let path = self.building.path().join("latents.safetensors");
        let mut writer = TensorWriter::create(&path, vec![("a", dimensions.clone()), ("b", dimensions)])?;
        let spool = |source| failed(&self.target, source);
        self.spool.flush().map_err(spool)?;
        let mut file = self.spool.get_ref();
        file.seek(SeekFrom::Start(0)).map_err(spool)?;
        let mut bytes = vec![0; shape.size() * 4];
        for index in 0..self.count {
            for side in Side::BOTH {
                file.read_exact(&mut bytes).map_err(spool)?;
                let row: Vec<f32> = bytes.as_chunks::<4>().0.iter().map(|&word| f32::from_le_bytes(word)).collect();
                writer.write(side.name(), index, &row)?;
            }
        }
        writer.finish(&[], &[("format", "hybrid-dpo pairs 1".to_owned())])
    }

    fn check(&self, pair: &GeneratedPair<NewResult<'_>>, side: Side) -> Result<(), DatasetError> {
        let candidate = pair.side(side);
        let refuse = |what: String| {
            let message = format!("cannot be written: pair {}, side {side}: {what}", self.count);
            Err(DatasetError::Pairs { path: self.target.clone(), message })
        };
        let is_picture = matches!(candidate.made, NewResult::Image { .. });
        if is_picture != self.modality.has_pictures() {
            let what = if is_picture { "picture" } else { "text" };
            return refuse(format!("a {what} in {} pairs", self.modality));
        }
        match &candidate.refined {
            None if self.modality == Modality::Hybrid => return refuse("no refined prompt".to_owned()),
            Some(_) if self.modality != Modality::Hybrid => {
                return refuse(format!("a refined prompt in {} pairs", self.modality));
            }
            Some(refined) if refined.is_null && refined.text != pair.request => {
                return refuse("no refiner was asked, but the prompt is not the request".to_owned());
            }
            Some(refined) if !refined.is_null && refined.tokens.is_empty() => {
                return refuse("a refined prompt without a token".to_owned());
            }
            _ => {}
        }
        if let Some(number) = candidate.log_probs.iter().flatten().find(|number| !number.is_finite()) {
            return refuse(format!("a log-probability is {number}"));
        }
        if let (NewResult::Image { latent, .. }, Some(shape)) = (candidate.made, self.shape) {
            if latent.len() != shape.size() {
                return refuse(format!("a latent of {} numbers instead of {}", latent.len(), shape.size()));
            }
            if let Some(number) = latent.iter().find(|number| !number.is_finite()) {
                return refuse(format!("a number of the latent is {number}"));
            }
        }
        Ok(())
    }
}

fn keep(candidate: &GeneratedResult<NewResult<'_>>, image: String) -> GeneratedResult<StoredResult> {
    let made = match candidate.made {
        NewResult::Response(text) => StoredResult::Response(text.to_owned()),
        NewResult::Image { .. } => StoredResult::Image(image),
    };
    let (refined, log_probs) = (candidate.refined.clone(), candidate.log_probs.clone());
    GeneratedResult { refined, made, seed: candidate.seed, log_probs }
}

fn png(picture: &Pixels) -> Result<Vec<u8>, std::io::Error> {
    let mut bytes = Cursor::new(Vec::new());
    picture.to_rgb8().write_to(&mut bytes, ImageFormat::Png).map_err(std::io::Error::other)?;
    Ok(bytes.into_inner())
}

fn write_synced(path: &Path, bytes: &[u8]) -> Result<(), DatasetError> {
    let written = File::create(path).and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()));
    written.map_err(|source| failed(path, source))
}

fn refuse_existing(target: &Path) -> Result<(), DatasetError> {
    if fs::symlink_metadata(target).is_err() {
        return Ok(());
    }
    let message = "is there already; name another folder, or remove it".to_owned();
    Err(DatasetError::Pairs { path: target.to_owned(), message })
}

fn failed(path: &Path, source: std::io::Error) -> DatasetError {
    DatasetError::Write { path: path.to_owned(), source }
}

/// A temporary folder beside the target, with the permissions of new folders.
fn building() -> tempfile::Builder<'static, 'static> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".building-");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(fs::Permissions::from_mode(0o777));
    }
    builder
}
