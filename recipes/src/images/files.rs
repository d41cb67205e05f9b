//! Image files.
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use datasets::ReadOptions;
use datasets::images::{
    Alpha, ContextLayout, Filter, ImageAudit, ImageDataset, ImageKind, ImageSettings, LatentLayout, LatentNotes,
    LatentWriter, Latents, LongSide, Middle, Mirror, Orientation, PairFlip, Pixels, Preparation,
};
use datasets::pairs::Modality;
use engine::Noise;
use engine::ops::Grid;
use engine::transfer::{from_host, to_host};
use mdp::diffusion::Latent;
use models::denoiser::{Condition, LatentShape};
use models::vae::Vae;
use policies::BoxError;
use train::diffusion::{Finished, ImageExample, Images};

use super::latents::{LatentImages, context, kind};
use super::{Captions, ImageData, of_pixels};
use crate::columns::columns;
use crate::denoiser::Loaded;
use crate::settings::{FlipSides, Loss, ResizeFilter, ResizeRounding, TransparencyName, Values, at};
use crate::text::{Part, on_bad, split, unread};
use crate::{Call, Failure, device, holdout};

/// Pictures as pixels, for a model without an autoencoder.
struct Pictures {
    data: ImageDataset,
    captions: Arc<Captions>,
}

impl Images for Pictures {
    fn len(&self) -> usize {
        self.data.len()
    }

    fn example(&self, index: usize) -> Result<ImageExample, BoxError> {
        let (caption, pictures, is_liked) = self.data.judged(index)?;
        let example = of_pixels(&caption, &pictures.iter().collect::<Vec<_>>(), &self.captions)?;
        Ok(ImageExample { preference: f64::from(u8::from(is_liked)), ..example })
    }

    fn caption(&self, index: usize) -> Result<Option<String>, BoxError> {
        Ok(Some(self.data.caption(index)?))
    }
}

/// Latents of ranked lists and of liked and disliked pictures, in memory.
struct EncodedImages {
    data: ImageDataset,
    latents: Vec<(Vec<Latent>, bool)>,
    captions: Arc<Captions>,
}

impl EncodedImages {
    fn of(data: ImageDataset, vae: &Vae, captions: &Arc<Captions>, call: &Call<'_>) -> Result<Self, Failure> {
        if call.values.data.latent_cache().is_some() {
            let text = "`data.latent_cache` is for pairs and pictures to imitate: lists and labelled pictures are encoded anew";
            return Err(Failure::usage(text));
        }
        let bar = call.reporter.bar("encode", data.len());
        let noise = Noise::new(call.values.run.seed());
        let mut latents = Vec::with_capacity(data.len());
        for index in 0..data.len() {
            let (_, pictures, is_liked) = data.judged(index)?;
            let encode = |(side, pixels): (usize, &Pixels)| -> Result<Latent, Failure> {
                let rng = &mut noise.stream(&format!("latent, side {side}"), index as u64);
                Ok(encode(vae, pixels, rng)?.into())
            };
            latents.push((pictures.iter().enumerate().map(encode).collect::<Result<_, _>>()?, is_liked));
            bar.inc(1);
        }
        bar.finish_and_clear();
        Ok(Self { data, latents, captions: Arc::clone(captions) })
    }
}

impl Images for EncodedImages {
    fn len(&self) -> usize {
        self.latents.len()
    }

    fn example(&self, index: usize) -> Result<ImageExample, BoxError> {
        let (latents, is_liked) = self.latents.get(index).ok_or("there is no such example")?;
        let condition = self.captions.condition(&self.data.caption(index)?)?;
        let side = |latent: &Latent| Finished { latent: Arc::clone(latent), condition: Arc::clone(&condition) };
        Ok(ImageExample { sides: latents.iter().map(side).collect(), preference: f64::from(u8::from(*is_liked)) })
    }

    fn caption(&self, index: usize) -> Result<Option<String>, BoxError> {
        Ok(Some(self.data.caption(index)?))
    }
}

/// Opens a file of pictures or a folder of shards.
pub(super) fn open(path: &Path, loaded: &Loaded, call: &Call<'_>) -> Result<ImageData, Failure> {
    let values = &call.values;
    let shape = loaded.shape(values)?;
    check_channels(path, loaded, shape)?;
    let captions = Arc::new(Captions::new(loaded, shape));
    let all = read(path, Part::Train, loaded, shape, values)?;
    call.reporter.info(&audit(&all, &captions)?.to_string());
    let share = holdout::eval_share(values)?;
    let seed = values.run.seed();
    let (data, held_out) = match values.data.eval_data() {
        Some(other) => (all, Some(read(Path::new(other), Part::HeldOut, loaded, shape, values)?)),
        None if share > 0.0 => {
            let (rest, held_out) = all.hold_out(share, seed)?;
            holdout::check_rest(share, rest.len(), all.len(), "examples")?;
            (rest, Some(held_out))
        }
        None => (all, None),
    };
    let held_out = held_out.filter(|data| !data.is_empty());
    let watched_captions = watched_captions(held_out.as_ref().unwrap_or(&data))?;
    let fingerprint = format!("{} {}", data.fingerprint(), loaded.encoders_fingerprint()?);
    let as_images = |data: ImageDataset, name: &str| -> Result<Arc<dyn Images>, Failure> {
        match &loaded.vae {
            None => Ok(Arc::new(Pictures { data, captions: Arc::clone(&captions) })),
            Some(vae) if data.is_plain() => encoded(&data, vae, &captions, shape, (call, loaded, name)),
            Some(vae) => Ok(Arc::new(EncodedImages::of(data, vae, &captions, call)?)),
        }
    };
    let summary = format!("; pictures of {0} x {0}", data.settings().size);
    Ok(ImageData {
        train: as_images(data, "")?,
        held_out: held_out.map(|data| as_images(data, ".held-out")).transpose()?,
        shape,
        fingerprint,
        captions: Arc::clone(&captions),
        rows: None,
        problem: None,
        wrong_pixels: None,
        watched_captions,
        summary,
    })
}

/// A latent model needs an autoencoder to encode pictures.
fn check_channels(path: &Path, loaded: &Loaded, shape: LatentShape) -> Result<(), Failure> {
    if loaded.vae.is_some() || shape.channels == Pixels::CHANNELS {
        return Ok(());
    }
    Err(Failure::failed(format!(
        "{}: pictures have {} channels, and the model makes latents of {}; it needs its vae/ beside it, or `data.latents`",
        path.display(),
        Pixels::CHANNELS,
        shape.channels
    )))
}

/// Audits pictures and captions.
pub(crate) fn audit(data: &ImageDataset, captions: &Captions) -> Result<ImageAudit, Failure> {
    let texts = (0..data.len()).map(|index| data.caption(index)).collect::<Result<Vec<_>, _>>()?;
    let cut = captions.n_cut(&texts.iter().map(String::as_str).collect::<Vec<_>>())?;
    Ok(ImageAudit { cut_captions: cut as u64, ..data.audit().clone() })
}

fn read(
    path: &Path,
    part: Part,
    loaded: &Loaded,
    shape: LatentShape,
    values: &Values,
) -> Result<ImageDataset, Failure> {
    let factor = loaded.vae.as_ref().map_or(1, |vae| vae.config().factor());
    if shape.height != shape.width {
        return Err(Failure::usage(format!("the model makes {shape}; give `data.image_size` for square pictures")));
    }
    if values.is_typed(&at::data::flip_sides) && !values.data.flip() {
        return Err(Failure::usage("`data.flip_sides` goes with `data.flip`"));
    }
    let reading = reading(part, values)?;
    let seed = values.run.seed();
    let settings = ImageSettings {
        kind: kind_of_files(values),
        size: shape.height * factor,
        preparation: preparation(values),
        flip: values.data.flip().then_some(Mirror { seed, sides: sides(values) }),
    };
    datasets::images::open(path, reading.clone(), settings).map_err(|error| unread(error, &reading))
}

/// The kind of examples of files: judged ones where single pictures may be liked or not.
fn kind_of_files(values: &Values) -> ImageKind {
    if values.objective.name() == Loss::Kto { ImageKind::Judged } else { kind(values) }
}

/// The preprocessing of image files.
pub(crate) fn preparation(values: &Values) -> Preparation {
    let is_torchvision = values.data.resize_rounding() == ResizeRounding::Torchvision;
    Preparation {
        alpha: match values.data.transparency() {
            TransparencyName::Drop => Alpha::Dropped,
            TransparencyName::White => Alpha::White,
        },
        orientation: if values.data.exif() { Orientation::Exif } else { Orientation::Stored },
        filter: match values.data.resize_filter() {
            ResizeFilter::Bilinear => Filter::Bilinear,
            ResizeFilter::Bicubic => Filter::Bicubic,
            ResizeFilter::Lanczos => Filter::Lanczos,
        },
        long_side: if is_torchvision { LongSide::Down } else { LongSide::Nearest },
        middle: if is_torchvision { Middle::Even } else { Middle::Before },
    }
}

fn sides(values: &Values) -> PairFlip {
    match values.data.flip_sides() {
        FlipSides::Apart => PairFlip::Apart,
        FlipSides::Together => PairFlip::Together,
    }
}

/// The read options of an image file.
pub(crate) fn reading(part: Part, values: &Values) -> Result<ReadOptions, Failure> {
    Ok(ReadOptions {
        format: None,
        split: split(part, values),
        limit: values.data.limit().filter(|_| part == Part::Train).map(|limit| limit as u64),
        on_bad: on_bad(values.data.on_bad_image()),
        columns: columns(values, Modality::Diffusion)?,
        ..ReadOptions::default()
    })
}

/// The first distinct captions.
fn watched_captions(data: &ImageDataset) -> Result<Vec<String>, Failure> {
    let mut watched_captions: Vec<String> = Vec::new();
    for index in 0..data.len() {
        if watched_captions.len() >= 64 {
            break;
        }
        let caption = data.caption(index)?;
        if !watched_captions.contains(&caption) {
            watched_captions.push(caption);
        }
    }
    Ok(watched_captions)
}

/// Latents and conditions of all pictures, encoded once: read from the cache if it matches, else written to it.
fn encoded(
    data: &ImageDataset,
    vae: &Vae,
    captions: &Captions,
    shape: LatentShape,
    (call, loaded, name): (&Call<'_>, &Loaded, &str),
) -> Result<Arc<dyn Images>, Failure> {
    let values = &call.values;
    // A plain data set is one of pairs or of pictures to imitate.
    let kind = kind(values);
    let fingerprint =
        format!("{} {} {:?}", data.fingerprint(), loaded.encoders_fingerprint()?, Some(values.run.seed()));
    let fingerprint = device::named(&fingerprint, values);
    let (path, scratch) = if let Some(path) = values.data.latent_cache() {
        (PathBuf::from(format!("{path}{name}")), None)
    } else {
        let folder = tempfile::tempdir()?;
        (folder.path().join("latents.safetensors"), Some(folder))
    };
    if !path.exists() {
        write_cache(&path, data, (vae, captions), shape, &fingerprint, call)?;
    }
    let latents = Latents::open_cache(&path, kind, &fingerprint)?;
    let n = latents.len();
    let images = LatentImages::new(latents, (0..n).collect());
    // The open handle keeps the deleted file readable.
    drop(scratch);
    Ok(Arc::new(images))
}

fn write_cache(
    path: &Path,
    data: &ImageDataset,
    (vae, captions): (&Vae, &Captions),
    shape: LatentShape,
    fingerprint: &str,
    call: &Call<'_>,
) -> Result<(), Failure> {
    let mut rows: BTreeMap<String, usize> = BTreeMap::new();
    let mut context_of = Vec::with_capacity(data.len());
    for index in 0..data.len() {
        let n = rows.len();
        context_of.push(*rows.entry(data.caption(index)?).or_insert(n));
    }
    let like = captions.empty()?;
    let texts: Vec<&str> = rows.keys().map(String::as_str).chain([""]).collect();
    let layout = LatentLayout {
        kind: plain_kind(data),
        examples: data.len(),
        shape,
        contexts: context_layout(&like, captions.longest(&texts)?, rows.len() + 1),
    };
    let mut writer = LatentWriter::create(path, layout)?;
    let empty = rows.len();
    for (caption, row) in &rows {
        let condition = captions.condition(caption).map_err(|error| Failure::failed(error.to_string()))?;
        writer.write_context(*row, &context(&condition))?;
    }
    writer.write_context(empty, &context(&like))?;
    let bar = call.reporter.bar("encode", data.len());
    let noise = Noise::new(call.values.run.seed());
    for index in 0..data.len() {
        let encode = |pixels: &Pixels, side| {
            let rng = &mut noise.stream(&format!("latent, side {side}"), index as u64);
            encode(vae, pixels, rng)
        };
        if plain_kind(data) == ImageKind::Pairs {
            let pair = data.pair(index)?;
            writer.write(index, &encode(&pair.chosen, 0)?, Some(&encode(&pair.rejected, 1)?))?;
        } else {
            writer.write(index, &encode(&data.captioned(index)?.image, 0)?, None)?;
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    let names: Vec<String> = (0..data.len()).map(|index| data.caption(index)).collect::<Result<_, _>>()?;
    let notes = LatentNotes { fingerprint, context_of: &context_of, empty: Some(empty), captions: &names };
    Ok(writer.finish(notes)?)
}

/// The kind of a plain data set: judged pictures of which all are pairs are pairs.
fn plain_kind(data: &ImageDataset) -> ImageKind {
    match data.settings().kind {
        ImageKind::Captioned => ImageKind::Captioned,
        ImageKind::Pairs | ImageKind::Judged => ImageKind::Pairs,
    }
}

/// The layout of conditions in a file, of which `condition` is one; `longest` is the largest number of hidden states if
/// they have different numbers.
pub(crate) fn context_layout(condition: &Condition, longest: Option<usize>, rows: usize) -> ContextLayout {
    ContextLayout {
        rows,
        hidden: condition.hidden.as_ref().map(|hidden| (longest.unwrap_or(hidden.length), hidden.width)),
        is_ragged: longest.is_some(),
        pooled: condition.pooled.as_ref().map(Vec::len),
        has_time_ids: condition.time_ids.is_some(),
        has_classes: condition.class.is_some(),
    }
}

/// A sample of a picture's latent, scaled for the denoiser.
fn encode(vae: &Vae, pixels: &Pixels, rng: &mut engine::Rng) -> Result<Vec<f32>, Failure> {
    let grid = Grid { images: 1, height: pixels.height(), width: pixels.width() };
    let rows = from_host(pixels.values().to_vec(), (grid.rows(), Pixels::CHANNELS), &vae.device())?;
    let latent = vae.to_denoiser(&vae.encode(&rows, grid)?.sample(rng)?)?;
    Ok(to_host(&latent)?)
}
