use std::marker::PhantomData;
use std::sync::Arc;

use mdp::chance::{self, Noise};
use mdp::diffusion::{Condition, Conditioning, DenoisingAction, DenoisingState, Latent, Prediction};
use mdp::{EpisodeOf, Piece};
use objectives::Scores;
use policies::{BoxError, Policy};

use super::measures::measure;
use super::{DrawPlan, Finished, FromImages, ImageExample, ImageMdp, Images, NoiseSharing, Units};
use crate::source::spread;
use crate::step::Slice;
use crate::{Item, Measures, Source};

/// The conversion of a finished image to scored decisions.
#[derive(Clone, Copy)]
pub enum Scheme<'a> {
    /// x_t ~ q(x_t | x_0), then denoising towards x_0: the decision's score is minus the squared error of the
    /// prediction.
    Forward,
    /// x_t ~ q(x_t | x_0), with the next latent sampled from a policy: the half-and-half approximation of Wallace et
    /// al. 2023 (supplement S2). The decision's score is the log-density of that latent.
    Half(&'a dyn Policy<ImageMdp>),
}

impl std::fmt::Debug for Scheme<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if matches!(self, Self::Forward) { "Forward" } else { "Half" })
    }
}

/// A training source of finished images with one kind of feedback.
pub struct ImageSource<'a, F> {
    images: &'a dyn Images,
    mdp: ImageMdp,
    draws: DrawPlan,
    units: Units,
    scheme: Scheme<'a>,
    prediction: Prediction,
    /// Probability of dropping the condition, and the empty condition that replaces it (classifier-free guidance).
    empty: Option<(f64, Condition)>,
    feedback: PhantomData<fn() -> F>,
}

impl<F> std::fmt::Debug for ImageSource<'_, F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ImageSource").field("examples", &self.images.len()).field("draws", &self.draws).finish()
    }
}

impl<'a, F: FromImages> ImageSource<'a, F> {
    /// Creates a source. `mdp` has a decision at every timestep of its schedule.
    pub fn new(images: &'a dyn Images, mdp: ImageMdp, draws: DrawPlan, units: Units, scheme: Scheme<'a>) -> Self {
        let (prediction, empty, feedback) = (Prediction::Epsilon, None, PhantomData);
        Self { images, mdp, draws, units, scheme, prediction, empty, feedback }
    }

    /// Sets the policy's prediction type, so that omega weighs noise errors.
    #[must_use]
    pub fn of_prediction(self, prediction: Prediction) -> Self {
        Self { prediction, ..self }
    }

    /// Replaces the condition of a share of the examples by an empty one, for both sides alike.
    #[must_use]
    pub fn with_empty_share(mut self, share: f64, empty: Condition) -> Self {
        self.empty = (share > 0.0).then_some((share, empty));
        self
    }

    /// The noise from which each image was made, where that is its noise.
    fn prior(&self, index: usize, sides: usize) -> Result<Option<Vec<Latent>>, BoxError> {
        if self.draws.noise != NoiseSharing::Prior {
            return Ok(None);
        }
        let noise = self.images.prior_noise(index % self.images.len())?;
        let mut noise = noise.ok_or("it is not known from which noise these images were made")?;
        noise.truncate(sides);
        match noise.iter().find(|noise| noise.len() != self.mdp.size) {
            Some(noise) => {
                Err(format!("noise of {} numbers, the model's latents have {}", noise.len(), self.mdp.size).into())
            }
            None => Ok(Some(noise)),
        }
    }

    fn state(&self, finished: &Finished, timestep: usize, noise: &[f32]) -> DenoisingState<Condition> {
        let latent = self.mdp.schedule.noised(&finished.latent, noise, timestep).into();
        let done = self.mdp.schedule.len() - 1 - timestep;
        DenoisingState { context: Arc::clone(&finished.condition), latent: Some(latent), done }
    }

    /// The pieces of one image's episode, for its drawn timesteps and noise.
    fn episode(&self, finished: &Finished, drawn: &[(usize, Arc<[f32]>)], index: usize, side: usize) -> Piecewise {
        let (size, k, schedule) = (self.mdp.size, drawn.len(), &self.mdp.schedule);
        let states = drawn.iter().map(|(timestep, noise)| self.state(finished, *timestep, noise)).collect::<Vec<_>>();
        let actions = match self.scheme {
            Scheme::Forward => drawn
                .iter()
                .map(|(_, noise)| DenoisingAction::Toward {
                    clean: Arc::clone(&finished.latent),
                    noise: Arc::clone(noise),
                })
                .collect(),
            Scheme::Half(policy) => {
                let rng = &mut Noise::new(self.draws.seed).stream(&format!("half, side {side}"), index as u64);
                policy.sample(&self.mdp, &states, rng)?
            }
        };
        let weight = |timestep| match self.scheme {
            Scheme::Forward => self.units.of_error(self.prediction, schedule, timestep, size, k),
            Scheme::Half(_) => self.units.of_density(size, k, 1) * self.units.horizon,
        };
        let pieces = states.into_iter().zip(actions).zip(drawn).map(|((start, action), (timestep, _))| Piece {
            start,
            actions: vec![action],
            weight: weight(*timestep),
        });
        Ok(EpisodeOf::<ImageMdp> { pieces: pieces.collect() })
    }
}

type Piecewise = Result<EpisodeOf<ImageMdp>, BoxError>;

impl<F: FromImages> Source for ImageSource<'_, F> {
    type Mdp = ImageMdp;
    type Feedback = F;

    const UNIT: &'static str = "decisions";
    const DECISION: &'static str = "decision";

    fn len(&self) -> usize {
        self.images.len()
    }

    fn index_in_epoch(&self, example: usize, epoch: usize) -> usize {
        example + self.images.len() * (epoch % self.draws.sets.max(1))
    }

    fn item(&self, index: usize) -> Result<Item<ImageMdp, F>, BoxError> {
        let mut example = self.images.example(index % self.images.len())?;
        example.sides.truncate(F::MOST_SIDES);
        if example.sides.len() < F::LEAST_SIDES {
            return Err(format!("this objective compares two images, and there is only one; try {SFT}").into());
        }
        if let Some((share, empty)) = &self.empty {
            let chance = chance::unit(&mut Noise::new(self.draws.seed).stream("empty prompt", index as u64));
            if chance < *share {
                example.sides.iter_mut().for_each(|side| side.condition = Arc::clone(empty));
            }
        }
        let (sides, size, n_timesteps) = (example.sides.len(), self.mdp.size, self.mdp.schedule.len());
        if let Some(side) = example.sides.iter().find(|side| side.latent.len() != size) {
            return Err(format!("a latent of {} numbers, the model's have {size}", side.latent.len()).into());
        }
        let k = self.draws.per_example;
        let mut drawn = vec![Vec::new(); sides];
        for k in 0..k {
            let draw = self.draws.draw(index, k, sides, size, n_timesteps).ok_or("there is no draw for it")?;
            let noise = self.prior(index, sides)?.unwrap_or(draw.noise);
            drawn.iter_mut().zip(noise).for_each(|(drawn, noise)| drawn.push((draw.timestep, noise)));
        }
        let episodes = example.sides.iter().zip(&drawn).enumerate();
        let episodes = episodes.map(|(side, (finished, drawn))| self.episode(finished, drawn, index, side));
        Ok(Item {
            episodes: episodes.collect::<Result<_, _>>()?,
            feedback: F::from_images(sides, example.preference)?,
            size: k * sides,
        })
    }

    /// Hashes images, conditions and draws.
    fn fingerprint(&self) -> Result<String, BoxError> {
        let mut hasher = blake3::Hasher::new();
        let Self { draws, units, scheme, prediction, .. } = self;
        let empty_share = self.empty.as_ref().map(|(share, _)| share);
        let plan = format!("{} {} {units:?} {scheme:?} {prediction:?}", self.len(), draws.fingerprint());
        hasher.update(format!("{plan} {empty_share:?}").as_bytes());
        for index in spread(self.images.len()) {
            let ImageExample { sides, preference } = self.images.example(index)?;
            hasher.update(&preference.to_le_bytes());
            for Finished { latent, condition } in &sides {
                hash_condition(&mut hasher, condition);
                hash_numbers(&mut hasher, latent);
            }
        }
        Ok(hasher.finalize().to_hex().to_string())
    }

    fn measure(&self, slice: &Slice<ImageMdp, F>, scores: Scores<'_>) -> Measures {
        measure(&self.mdp, slice, scores)
    }
}

/// Adds a condition to a fingerprint.
pub(super) fn hash_condition(hasher: &mut blake3::Hasher, condition: &Conditioning) {
    let Conditioning { hidden, pooled, time_ids, class } = condition;
    let parts = [
        hidden.as_ref().map(|hidden| hidden.values.as_slice()),
        pooled.as_deref(),
        time_ids.as_ref().map(<[f32; 6]>::as_slice),
    ];
    for part in parts.into_iter().flatten() {
        hash_numbers(hasher, part);
    }
    if let Some(class) = class {
        hasher.update(&class.to_le_bytes());
    }
}

/// Adds numbers and their count to a fingerprint.
pub(super) fn hash_numbers(hasher: &mut blake3::Hasher, numbers: &[f32]) {
    hasher.update(&(numbers.len() as u64).to_le_bytes());
    for number in numbers {
        hasher.update(&number.to_le_bytes());
    }
}

const SFT: &str = "`objective.name` sft";
