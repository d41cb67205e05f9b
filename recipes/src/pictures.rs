//! Pictures sampled from denoisers: contact sheets during a run, oracle win rates after it.
use std::sync::Arc;

use datasets::images::Pixels;
use engine::Noise;
use models::denoiser::{Condition, Denoiser, Generated};
use models::sampler::SamplingPlan;
use models::vae::Vae;
use train::pictures::Picture;

use crate::denoiser::{self, Loaded};
use crate::embedded::{EmbeddedProblem, WinRate};
use crate::images::ImageData;
use crate::{Call, Failure, Reporter};

/// Samples pictures for captions, from the same noise every time.
pub(crate) struct PictureSampler<'a> {
    plan: SamplingPlan,
    asked: Vec<(String, Condition)>,
    vae: Option<Arc<Vae>>,
    captions: Arc<crate::images::Captions>,
    seed: u64,
    reporter: &'a dyn Reporter,
}

impl<'a> PictureSampler<'a> {
    pub(crate) fn new(call: &Call<'a>, loaded: &Loaded, data: &ImageData) -> Result<Self, Failure> {
        let values = &call.values;
        let n = values.train.n_samples();
        let mut asked = Vec::new();
        for caption in data.watched_captions(n) {
            let condition = data.captions.condition(&caption)?;
            asked.push((caption, condition));
        }
        Ok(Self {
            plan: denoiser::plan(values, loaded)?,
            asked,
            vae: loaded.vae.clone(),
            captions: Arc::clone(&data.captions),
            seed: values.run.seed(),
            reporter: call.reporter,
        })
    }

    /// Whether it has captions to sample for.
    pub(crate) fn wants_samples(&self) -> bool {
        !self.asked.is_empty()
    }

    /// Pictures of the watched captions; none if a stop was requested.
    pub(crate) fn samples(&self, denoiser: &Denoiser) -> Result<Vec<Picture>, Failure> {
        let conditions: Vec<Condition> = self.asked.iter().map(|(_, condition)| Arc::clone(condition)).collect();
        let made = match self.draw(denoiser, &conditions, "picture") {
            // The run itself stops at its next step, with a checkpoint.
            Err(failure) if failure.is_interrupt() => return Ok(Vec::new()),
            made => made?,
        };
        let mut pictures = Vec::new();
        for (pixels, (caption, _)) in self.decode(denoiser, &made)?.iter().zip(&self.asked) {
            pictures.extend(picture(caption, pixels));
        }
        Ok(pictures)
    }

    /// Samples images for conditions, each from its own random stream.
    pub(crate) fn draw(
        &self,
        denoiser: &Denoiser,
        conditions: &[Condition],
        purpose: &str,
    ) -> Result<Vec<Generated>, Failure> {
        let noise = Noise::new(self.seed);
        let mut rngs: Vec<_> = (0..conditions.len()).map(|i| noise.stream(purpose, i as u64)).collect();
        Ok(denoiser.generate(&self.plan, conditions, &mut rngs, &mut self.reporter.unless_stopped(|_| ()))?)
    }

    /// Decodes latents to pictures.
    pub(crate) fn decode(&self, denoiser: &Denoiser, made: &[Generated]) -> Result<Vec<Pixels>, Failure> {
        made.iter().map(|made| denoiser::decode(self.vae.as_deref(), denoiser.shape(), made.image())).collect()
    }
}

/// A picture with its caption; `None` for unsupported channels.
pub(crate) fn picture(caption: &str, pixels: &Pixels) -> Option<Picture> {
    Picture::from_unit(caption, (pixels.width() as u32, pixels.height() as u32), pixels.values())
}

/// Compares a picture of each model for each of `n` test captions, where the problem's oracle judges pictures.
pub(crate) fn oracle_win_rate(
    problem: &EmbeddedProblem,
    sampler: &PictureSampler<'_>,
    policy: &Denoiser,
    reference: &Denoiser,
    n: u64,
) -> Result<Option<WinRate>, Failure> {
    let Some(oracle) = problem.oracle.pictures() else { return Ok(None) };
    let captions = WinRate::prompts(problem, sampler.seed, n);
    let mut conditions = Vec::with_capacity(captions.len());
    for caption in &captions {
        conditions.push(sampler.captions.condition(caption)?);
    }
    let ours = sampler.decode(policy, &sampler.draw(policy, &conditions, "oracle, policy")?)?;
    let theirs = sampler.decode(reference, &sampler.draw(reference, &conditions, "oracle, reference")?)?;
    let answers = captions.iter().zip(&ours).zip(&theirs);
    WinRate::of(oracle, &answers.map(|((caption, a), b)| (caption.as_str(), a, b))).map(Some)
}
