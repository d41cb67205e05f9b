//! Pictures that denoisers make: on contact sheets during a run, judged by the oracle after it.
use std::fmt;
use std::sync::Arc;

use datasets::images::Pixels;
use datasets::synthetic::shapes::{Oracle, Problem, Scene, Split};
use engine::Noise;
use models::denoiser::{Condition, Denoiser, Generated};
use models::sampler::SamplingPlan;
use models::vae::Vae;
use train::pictures::Picture;
use train::statistics::wilson;

use crate::denoiser::{self, Loaded};
use crate::images::Opened;
use crate::{Call, Failure, Reporter};

/// Captions on which the oracle compares two models.
const CAPTIONS: u64 = 256;

/// Draws pictures for captions, the same captions and the same noise every time.
pub(crate) struct PictureSampler<'a> {
    plan: SamplingPlan,
    asked: Vec<(String, Condition)>,
    vae: Option<Arc<Vae>>,
    captions: Arc<crate::images::Captions>,
    seed: u64,
    reporter: &'a dyn Reporter,
}

impl<'a> PictureSampler<'a> {
    pub(crate) fn new(call: &Call<'a>, loaded: &Loaded, data: &Opened) -> Result<Self, Failure> {
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

    /// Whether it has anything to draw that can be looked at.
    pub(crate) fn wants_samples(&self) -> bool {
        !self.asked.is_empty()
    }

    /// Pictures of the captions that are watched; none where somebody wants the run to stop.
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

    /// Images for conditions, each from a stream of its own.
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

    /// The pictures that latents stand for.
    pub(crate) fn decode(&self, denoiser: &Denoiser, made: &[Generated]) -> Result<Vec<Pixels>, Failure> {
        made.iter().map(|made| denoiser::decode(self.vae.as_deref(), denoiser.shape(), made.image())).collect()
    }
}

/// A picture with its caption; `None` for latents that nothing makes a picture of.
pub(crate) fn picture(caption: &str, pixels: &Pixels) -> Option<Picture> {
    Picture::from_unit(caption, (pixels.width() as u32, pixels.height() as u32), pixels.values())
}

/// How often one model's pictures beat another's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct WinRate {
    rate: f64,
    interval: (f64, f64),
    right: (f64, f64),
}

impl fmt::Display for WinRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ((low, high), rate) = (self.interval, self.rate);
        writeln!(f, "{:<32}{:>12.2}{:>12.2}", "attributes right of 4", self.right.1, self.right.0)?;
        let name = "win rate over the start";
        write!(f, "{name:<32}{rate:>12.3} (95%: {low:.3} to {high:.3}, {CAPTIONS} captions, oracle)")
    }
}

/// The oracle's verdict on a picture of each model for each of some test captions, none of which training has seen.
pub(crate) fn oracle_win_rate(
    sampler: &PictureSampler<'_>,
    policy: &Denoiser,
    reference: &Denoiser,
    seed: u64,
) -> Result<WinRate, Failure> {
    let scenes: Vec<(Scene, String)> = (0..CAPTIONS)
        .map(|index| {
            let pair = Problem::new(seed).pair(Split::Test, index);
            (pair.chosen, pair.caption)
        })
        .collect();
    let mut conditions = Vec::with_capacity(scenes.len());
    for (_, caption) in &scenes {
        conditions.push(sampler.captions.condition(caption)?);
    }
    let ours = sampler.decode(policy, &sampler.draw(policy, &conditions, "oracle, policy")?)?;
    let theirs = sampler.decode(reference, &sampler.draw(reference, &conditions, "oracle, reference")?)?;
    let (mut wins, mut right) = (0.0, (0.0, 0.0));
    for (((wanted, _), a), b) in scenes.iter().zip(&ours).zip(&theirs) {
        wins += Oracle::compare(wanted, a, b).value();
        right.0 += Oracle::read(a).right(wanted) as f64;
        right.1 += Oracle::read(b).right(wanted) as f64;
    }
    let n = CAPTIONS as f64;
    Ok(WinRate { rate: wins / n, interval: wilson(wins, n), right: (right.0 / n, right.1 / n) })
}
