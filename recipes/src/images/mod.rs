//! Image data: what `--data` and `--latents` name, as finished images for a denoiser.
pub(crate) mod files;
pub(crate) mod latents;
mod pairs;

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use datasets::images::{ImagePair, Pixels};
use datasets::synthetic::chimera;
use datasets::synthetic::shapes::{EDGE, Problem, Split};
use models::clip::TextConditioner;
use models::denoiser::{Condition, Conditioning, Framing, LatentShape};
use policies::BoxError;
use train::diffusion::{Finished, ImageExample, Images};

use crate::denoiser::{self, Loaded};
use crate::judged_pairs::is_pair_folder;
use crate::settings::{Scheme, Values};
use crate::{Call, Failure, Reporter};

/// How many embedded pairs a run sees unless `--limit` says otherwise.
const BUILTIN_PAIRS: usize = 4096;

/// Texts that are kept encoded; beyond that all are forgotten and encoded again when they come.
const TEXTS_KEPT: usize = 4096;

/// Captions as conditions.
#[derive(Debug)]
pub(crate) struct Captions {
    texts: Option<Arc<TextConditioner>>,
    framing: Framing,
    /// What latents from a file say of no caption.
    empty: Option<Condition>,
    kept: Mutex<HashMap<String, Condition>>,
}

impl Captions {
    pub(crate) fn new(loaded: &Loaded, shape: LatentShape) -> Self {
        let (texts, framing) = (loaded.texts.clone(), denoiser::framing(loaded, shape));
        Self { texts, framing, empty: None, kept: Mutex::default() }
    }

    /// The same with a condition for where there is no caption.
    pub(crate) fn with_empty(self, empty: Option<Condition>) -> Self {
        Self { empty, ..self }
    }

    /// The condition of a caption; nothing for a model that reads no texts.
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

    /// How many of some captions the text encoders don't read to their end.
    pub(crate) fn n_cut(&self, captions: &[&str]) -> Result<usize, Failure> {
        let Some(texts) = &self.texts else { return Ok(0) };
        Ok(texts.truncated(captions)?.into_iter().filter(|is_cut| *is_cut).count())
    }

    /// Says how many of some captions the text encoders don't read to their end, if any.
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

    /// What the model is told where there is no caption.
    pub(crate) fn empty(&self) -> Result<Condition, BoxError> {
        match (&self.empty, &self.texts) {
            (Some(empty), _) => Ok(Arc::clone(empty)),
            (None, Some(texts)) => Ok(texts.none(self.framing)?),
            (None, None) => Ok(Arc::new(Conditioning::none())),
        }
    }
}

/// The embedded problem's pairs or demonstrations, drawn when they are asked for.
pub(crate) struct Shapes {
    problem: Problem,
    split: Split,
    demonstrations: bool,
    n: usize,
    captions: Arc<Captions>,
}

impl Images for Shapes {
    fn len(&self) -> usize {
        self.n
    }

    fn example(&self, index: usize) -> Result<ImageExample, BoxError> {
        if self.demonstrations {
            let demonstration = self.problem.demonstration(self.split, index as u64).render(index);
            let condition = self.captions.condition(&demonstration.caption)?;
            let latent = Arc::clone(demonstration.image.values());
            return Ok(ImageExample { sides: vec![Finished { latent, condition }], preference: 1.0 });
        }
        pair(&self.problem.pair(self.split, index as u64).render(index), &self.captions)
    }
}

fn pair(pair: &ImagePair, captions: &Captions) -> Result<ImageExample, BoxError> {
    let condition = captions.condition(&pair.caption)?;
    let side = |pixels: &Pixels| Finished { latent: Arc::clone(pixels.values()), condition: Arc::clone(&condition) };
    Ok(ImageExample { sides: vec![side(&pair.chosen), side(&pair.rejected)], preference: 1.0 })
}

/// Image data as a run takes it.
pub(crate) struct Opened {
    pub(crate) train: Arc<dyn Images>,
    pub(crate) held_out: Option<Arc<dyn Images>>,
    /// Which rows of a file the training examples are, for draws of that file.
    pub(crate) rows: Option<Vec<usize>>,
    pub(crate) shape: LatentShape,
    /// Data and everything that decides its numbers.
    pub(crate) fingerprint: String,
    pub(crate) captions: Arc<Captions>,
    /// Whether it is the embedded problem, which has an oracle.
    pub(crate) is_shapes: bool,
    /// What samples are drawn for.
    watched_captions: Vec<String>,
    said: String,
}

impl Opened {
    /// Up to `n` captions to draw samples for.
    pub(crate) fn watched_captions(&self, n: usize) -> impl Iterator<Item = String> + '_ {
        self.watched_captions.iter().take(n).cloned()
    }

    /// A line for people.
    pub(crate) fn describe(&self) -> String {
        if self.train.is_empty() {
            return self.said.clone();
        }
        let held_out = self.held_out.as_ref().map_or(0, |images| images.len());
        format!("{} training examples, {held_out} held out{}", self.train.len(), self.said)
    }
}

/// Opens what `--data` or `--latents` names, for a denoiser.
pub(crate) fn open(loaded: &Loaded, call: &Call<'_>) -> Result<Opened, Failure> {
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
        Some("builtin:shapes") => shapes(false, loaded, values),
        Some("builtin:shapes-demonstrations") => shapes(true, loaded, values),
        Some("builtin:chimera-generator-demonstrations") => chimera(loaded, values),
        Some(name) if name.starts_with("builtin:") => {
            let known = "builtin:shapes, builtin:shapes-demonstrations and builtin:chimera-generator-demonstrations";
            Err(Failure::usage(format!("there is no embedded data `{name}` of images; there are {known}")))
        }
        Some(name) if is_pair_folder(Path::new(name)) => pairs::open(Path::new(name), loaded, call),
        Some(name) => files::open(Path::new(name), loaded, call),
    }
}

/// No finished images: a run on trajectories needs their shape, and their captions for the pictures it shows.
fn of_trajectories(path: &Path, loaded: &Loaded) -> Result<Opened, Failure> {
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
    Ok(Opened {
        train: Arc::new(Vec::<ImageExample>::new()),
        held_out: None,
        shape,
        fingerprint: file.fingerprint(),
        captions: Arc::new(Captions::new(loaded, shape)),
        rows: None,
        is_shapes: false,
        watched_captions,
        said: format!("{} pairs of {} trajectories", file.pairs().len(), file.len()),
    })
}

fn shapes(demonstrations: bool, loaded: &Loaded, values: &Values) -> Result<Opened, Failure> {
    let shape = LatentShape { height: EDGE, width: EDGE, channels: Pixels::CHANNELS };
    let seed = values.run.seed();
    let captions = Arc::new(Captions::new(loaded, shape));
    let part = |split, n| -> Arc<dyn Images> {
        Arc::new(Shapes { problem: Problem::new(seed), split, demonstrations, n, captions: Arc::clone(&captions) })
    };
    let n = values.data.limit().unwrap_or(BUILTIN_PAIRS);
    let n_held_out = values.train.eval_examples();
    let watched_captions = (0..64).map(|index| Problem::new(seed).pair(Split::Validation, index).caption).collect();
    Ok(Opened {
        train: part(Split::Train, n),
        held_out: (n_held_out > 0).then(|| part(Split::Validation, n_held_out)),
        shape,
        fingerprint: format!("builtin:shapes {seed} {n} {demonstrations} {}", loaded.encoders_fingerprint()?),
        captions: Arc::clone(&captions),
        rows: None,
        is_shapes: true,
        watched_captions,
        said: String::new(),
    })
}

/// What the generator of the embedded hybrid problem is taught by, drawn when it is asked for.
struct Creatures {
    problem: chimera::Problem,
    split: Split,
    n: usize,
    captions: Arc<Captions>,
}

impl Images for Creatures {
    fn len(&self) -> usize {
        self.n
    }

    fn example(&self, index: usize) -> Result<ImageExample, BoxError> {
        let demonstration = self.problem.demonstration(self.split, index as u64).render(index);
        let condition = self.captions.condition(&demonstration.caption)?;
        let latent = Arc::clone(demonstration.image.values());
        Ok(ImageExample { sides: vec![Finished { latent, condition }], preference: 1.0 })
    }
}

fn chimera(loaded: &Loaded, values: &Values) -> Result<Opened, Failure> {
    let shape = LatentShape { height: chimera::EDGE, width: chimera::EDGE, channels: Pixels::CHANNELS };
    let seed = values.run.seed();
    let problem = chimera::Problem::new(seed);
    let captions = Arc::new(Captions::new(loaded, shape));
    let part =
        |split, n| -> Arc<dyn Images> { Arc::new(Creatures { problem, split, n, captions: Arc::clone(&captions) }) };
    let n = values.data.limit().unwrap_or(BUILTIN_PAIRS);
    let n_held_out = values.train.eval_examples();
    let watched_captions = (0..64).map(|index| problem.demonstration(Split::Validation, index).caption).collect();
    Ok(Opened {
        train: part(Split::Train, n),
        held_out: (n_held_out > 0).then(|| part(Split::Validation, n_held_out)),
        shape,
        fingerprint: format!("builtin:chimera-generator {seed} {n} {}", loaded.encoders_fingerprint()?),
        captions: Arc::clone(&captions),
        rows: None,
        is_shapes: false,
        watched_captions,
        said: String::new(),
    })
}
