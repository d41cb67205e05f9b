//! Image data from `data.data` and `data.latents`: finished images for a denoiser.
pub(crate) mod files;
pub(crate) mod latents;
mod pairs;

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use datasets::images::Pixels;
use datasets::synthetic::Split;
use models::clip::TextConditioner;
use models::denoiser::{Condition, Conditioning, Framing, LatentShape};
use policies::BoxError;
use train::diffusion::{Finished, ImageExample, Images};

use crate::denoiser::{self, Loaded};
use crate::embedded::{EmbeddedImages, EmbeddedProblem, WrongPixels, is_embedded, listed};
use crate::judged_pairs::is_pair_folder;
use crate::settings::{Modality, Scheme, Values};
use crate::{Call, Failure, Reporter};

/// The capacity of the text-encoding cache; a full cache is cleared.
const TEXTS_KEPT: usize = 4096;

/// Encodes captions as conditions.
#[derive(Debug)]
pub(crate) struct Captions {
    texts: Option<Arc<TextConditioner>>,
    framing: Framing,
    /// The condition of an empty caption, if a latent file has one.
    empty: Option<Condition>,
    kept: Mutex<HashMap<String, Condition>>,
}

impl Captions {
    pub(crate) fn new(loaded: &Loaded, shape: LatentShape) -> Self {
        let (texts, framing) = (loaded.texts.clone(), denoiser::framing(loaded, shape));
        Self { texts, framing, empty: None, kept: Mutex::default() }
    }

    /// Sets the condition of an empty caption.
    pub(crate) fn with_empty(self, empty: Option<Condition>) -> Self {
        Self { empty, ..self }
    }

    /// The condition of a caption; unconditional if the model reads no texts.
    pub(crate) fn condition(&self, caption: &str) -> Result<Condition, BoxError> {
        let Some(texts) = &self.texts else { return Ok(Arc::new(Conditioning::none())) };
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = kept.get(caption) {
            return Ok(Arc::clone(known));
        }
        let encoded = texts.encode(&[caption], self.framing)?;
        let condition = encoded.conditions.into_iter().next().ok_or("the text encoder gave nothing")?;
        if kept.len() >= TEXTS_KEPT {
            kept.clear();
        }
        kept.insert(caption.to_owned(), Arc::clone(&condition));
        Ok(condition)
    }

    /// The number of captions that the text encoders truncate.
    pub(crate) fn n_cut(&self, captions: &[&str]) -> Result<usize, Failure> {
        let Some(texts) = &self.texts else { return Ok(0) };
        Ok(texts.truncated(captions)?.into_iter().filter(|is_cut| *is_cut).count())
    }

    /// Reports the number of captions that the text encoders truncate, if any.
    pub(crate) fn say_cut(&self, captions: &[&str], reporter: &dyn Reporter) -> Result<(), Failure> {
        let (n, of) = (self.n_cut(captions)?, captions.len());
        let most = self.texts.as_ref().and_then(|texts| texts.max_length()).unwrap_or_default();
        if n > 0 {
            reporter.info(&format!(
                "{n} of {of} captions are longer than the text encoder reads ({most} tokens): it does not see their end"
            ));
        }
        Ok(())
    }

    /// The largest number of hidden states among captions; `None` if all texts have the same number.
    pub(crate) fn longest(&self, captions: &[&str]) -> Result<Option<usize>, Failure> {
        Ok(self.texts.as_ref().map(|texts| texts.longest(captions)).transpose()?.flatten())
    }

    /// The condition of an empty caption.
    pub(crate) fn empty(&self) -> Result<Condition, BoxError> {
        match (&self.empty, &self.texts) {
            (Some(empty), _) => Ok(Arc::clone(empty)),
            (None, Some(texts)) => Ok(texts.none(self.framing)?),
            (None, None) => Ok(Arc::new(Conditioning::none())),
        }
    }
}

/// Embedded pictures, drawn on demand.
struct DrawnImages {
    data: &'static EmbeddedImages,
    seed: u64,
    split: Split,
    n: usize,
    captions: Arc<Captions>,
}

impl Images for DrawnImages {
    fn len(&self) -> usize {
        self.n
    }

    fn example(&self, index: usize) -> Result<ImageExample, BoxError> {
        let example = (self.data.example)(self.seed, self.split, index as u64);
        of_pixels(&example.caption, &example.pictures.iter().collect::<Vec<_>>(), &self.captions)
    }

    fn caption(&self, index: usize) -> Result<Option<String>, BoxError> {
        Ok(Some((self.data.example)(self.seed, self.split, index as u64).caption))
    }
}

/// An example whose latents are pixels.
fn of_pixels(caption: &str, pictures: &[&Pixels], captions: &Captions) -> Result<ImageExample, BoxError> {
    let condition = captions.condition(caption)?;
    let side = |pixels: &&Pixels| Finished { latent: Arc::clone(pixels.values()), condition: Arc::clone(&condition) };
    Ok(ImageExample { sides: pictures.iter().map(side).collect(), preference: 1.0 })
}

/// Image data of a run.
pub(crate) struct ImageData {
    pub(crate) train: Arc<dyn Images>,
    pub(crate) held_out: Option<Arc<dyn Images>>,
    /// The file rows of the training examples, to index draws of that file.
    pub(crate) rows: Option<Vec<usize>>,
    pub(crate) shape: LatentShape,
    /// Identifies the data and the settings that affect it.
    pub(crate) fingerprint: String,
    pub(crate) captions: Arc<Captions>,
    /// The embedded problem of its captions, whose oracle can judge pictures.
    pub(crate) problem: Option<&'static EmbeddedProblem>,
    /// Which pixels of a picture for a caption are wrong, where the data know it.
    pub(crate) wrong_pixels: Option<WrongPixels>,
    /// Captions of the samples that a run shows.
    watched_captions: Vec<String>,
    summary: String,
}

impl ImageData {
    /// Up to `n` captions to sample for.
    pub(crate) fn watched_captions(&self, n: usize) -> impl Iterator<Item = String> + '_ {
        self.watched_captions.iter().take(n).cloned()
    }

    /// A one-line description.
    pub(crate) fn describe(&self) -> String {
        if self.train.is_empty() {
            return self.summary.clone();
        }
        let held_out = self.held_out.as_ref().map_or(0, |images| images.len());
        format!("{} training examples, {held_out} held out{}", self.train.len(), self.summary)
    }
}

/// Opens the images that `data.data` or `data.latents` names, for a denoiser.
pub(crate) fn open(loaded: &Loaded, call: &Call<'_>) -> Result<ImageData, Failure> {
    open_split(loaded, Split::Train, call)
}

/// The same, of another split of embedded data; the training examples of the result are those of that split.
pub(crate) fn open_split(loaded: &Loaded, split: Split, call: &Call<'_>) -> Result<ImageData, Failure> {
    let values = &call.values;
    if values.data.limit() == Some(0) {
        return Err(Failure::usage("`data.limit` takes at least 1"));
    }
    if let Some(path) = values.data.latents() {
        return latents::open(Path::new(path), loaded, values);
    }
    match values.data.data() {
        None if values.diffusion.scheme() == Scheme::Trajectory => {
            let without = "`diffusion.scheme` trajectory needs `diffusion.trajectories`: sample `sample.save_trajectories` makes them";
            let path = values.diffusion.trajectories().ok_or_else(|| Failure::usage(without))?;
            of_trajectories(Path::new(path), loaded)
        }
        None => Err(Failure::usage("`data.data` or `data.latents` is needed with `model.model`")),
        Some(name) if is_embedded(name) => embedded(name, split, loaded, values),
        Some(name) if is_pair_folder(Path::new(name)) => pairs::open(Path::new(name), loaded, call),
        Some(name) => files::open(Path::new(name), loaded, call),
    }
}

/// The shape and captions of a trajectory file, for a run that needs no finished images.
fn of_trajectories(path: &Path, loaded: &Loaded) -> Result<ImageData, Failure> {
    let file = datasets::images::TrajectoryFile::open(path, loaded.scheduler.schedule.len())?;
    let shape = file.shape();
    let mut watched_captions: Vec<String> = Vec::new();
    if loaded.takes_prompts() {
        let captions = (0..file.len()).filter_map(|index| file.caption(index));
        for caption in captions {
            if !watched_captions.iter().any(|known| known == caption) {
                watched_captions.push(caption.to_owned());
            }
        }
    }
    Ok(ImageData {
        train: Arc::new(Vec::<ImageExample>::new()),
        held_out: None,
        shape,
        fingerprint: file.fingerprint(),
        captions: Arc::new(Captions::new(loaded, shape)),
        rows: None,
        problem: None,
        wrong_pixels: None,
        watched_captions,
        summary: format!("{} pairs of {} trajectories", file.pairs().len(), file.len()),
    })
}

/// Opens embedded pictures.
fn embedded(name: &str, split: Split, loaded: &Loaded, values: &Values) -> Result<ImageData, Failure> {
    let Some((data, problem)) = EmbeddedImages::all().find(|(data, _)| data.name == name) else {
        let known = listed(EmbeddedImages::all().map(|(data, _)| data.name));
        return Err(Failure::usage(format!("there is no embedded data `{name}` of images; there are {known}")));
    };
    let shape = LatentShape { height: data.edge, width: data.edge, channels: Pixels::CHANNELS };
    let seed = values.run.seed();
    let captions = Arc::new(Captions::new(loaded, shape));
    let part = |split, n| -> Arc<dyn Images> {
        Arc::new(DrawnImages { data, seed, split, n, captions: Arc::clone(&captions) })
    };
    let n = values.data.limit().unwrap_or(data.usual_n);
    let n_held_out = values.train.eval_examples();
    Ok(ImageData {
        train: part(split, n),
        held_out: (n_held_out > 0).then(|| part(Split::Validation, n_held_out)),
        shape,
        fingerprint: format!("{} {}", (data.fingerprint)(seed, n), loaded.encoders_fingerprint()?),
        captions: Arc::clone(&captions),
        rows: None,
        // A hybrid's generator is trained on refined prompts, and its oracle reads requests.
        problem: (problem.modality == Modality::Diffusion).then_some(problem),
        wrong_pixels: data.wrong_pixels,
        watched_captions: (0..64).map(|index| (data.watched_caption)(seed, index)).collect(),
        summary: String::new(),
    })
}
