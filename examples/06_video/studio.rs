//! Generates clips with a planner and a decoder, scores them with the oracle, and writes animations.

use std::fs::File;
use std::io::BufWriter;
use std::ops::ControlFlow;
use std::path::Path;

use hybrid_dpo::datasets::synthetic::motion::{Clip, ComparisonOutcome, FRAMES, MotionProblem, Oracle, Request, Split};
use hybrid_dpo::engine::Noise;
use hybrid_dpo::models::causal::GenerationConfig;
use hybrid_dpo::models::sampler::SamplingPlan;
use hybrid_dpo::train::pictures::{Picture, contact_sheet};
use hybrid_dpo::train::statistics::wilson;

use crate::wiring::{Models, Result, SAMPLER, Video};

/// Number of sampling steps.
const STEPS: usize = 12;
/// Height and width of a frame in an animation, in pixels.
const SIDE: u32 = 64;
/// Duration of a frame, in hundredths of a second.
const DELAY: u16 = 15;

/// Generates clips from the same requests and noise for every policy, so that policies differ by their weights and not
/// by chance.
pub(crate) struct Studio<'a> {
    video: &'a Video,
    plan: SamplingPlan,
    seed: u64,
    pub(crate) requests: Vec<Request>,
}

/// The oracle's scores of a policy's clips.
pub(crate) struct Judged {
    pub(crate) clips: Vec<Clip>,
    /// The mean score, 0 to 1.
    pub(crate) score: f64,
    /// Share of plans whose exact rendering would be entirely right.
    pub(crate) plans_right: f64,
    /// Share of clips that match their codes: the shape in most frames, direction and speed.
    pub(crate) drawn_right: f64,
    /// The oracle's root mean square residual.
    pub(crate) residual: f64,
}

impl<'a> Studio<'a> {
    /// Uses the requests of the first pairs of a split.
    pub(crate) fn new(video: &'a Video, seed: u64, split: Split, n: u64) -> Result<Self> {
        let requests = (0..n).map(|index| MotionProblem::new(seed).pair(split, index).request).collect();
        Ok(Self { video, plan: video.scheduler.plan(SAMPLER, STEPS)?, seed, requests })
    }

    /// Generates a clip for each request, with its codes.
    pub(crate) fn make(&self, models: &Models) -> Result<Vec<(Vec<u32>, Clip)>> {
        let noise = Noise::new(self.seed);
        let rngs =
            |purpose: &str| (0..self.requests.len()).map(|i| noise.stream(purpose, i as u64)).collect::<Vec<_>>();
        let prompts: Vec<_> =
            self.requests.iter().map(|request| self.video.prompt(*request)).collect::<std::result::Result<_, _>>()?;
        let outer = &self.video.mdp.outer;
        let sampling = GenerationConfig { max_new: FRAMES + 1, eos: outer.eos.clone(), ..GenerationConfig::default() };
        let codes = models.outer.generate(&prompts, &sampling, &mut rngs("codes"))?;
        let told: Vec<_> = codes.iter().map(|codes| self.video.mdp.handoff.condition(codes)).collect();
        let made = models.inner.generate(&self.plan, &told, &mut rngs("clip"), &mut |_| ControlFlow::Continue(()))?;
        let clip = |made: &hybrid_dpo::models::denoiser::Generated| Clip::new(made.image().clone()).ok_or("not a clip");
        codes.into_iter().zip(&made).map(|(codes, made)| Ok((codes, clip(made)?))).collect()
    }

    /// Scores a policy's clips.
    pub(crate) fn judge(&self, models: &Models) -> Result<Judged> {
        let made = self.make(models)?;
        let n = made.len().max(1) as f64;
        let mut judged = Judged { clips: Vec::new(), score: 0.0, plans_right: 0.0, drawn_right: 0.0, residual: 0.0 };
        for ((codes, clip), request) in made.into_iter().zip(&self.requests) {
            let reading = Oracle::read(&clip);
            judged.score += reading.score(&request.wanted) / n;
            judged.residual += reading.residual / n;
            if let Some(told) = self.told(&codes) {
                let told = Oracle::read(&told);
                judged.plans_right += f64::from(u8::from(told.score(&request.wanted) > 1.0 - Oracle::TIE)) / n;
                let same_motion = (told.direction, told.speed) == (reading.direction, reading.speed);
                let frames = told.frames.iter().zip(&reading.frames);
                let n_same = frames.filter(|(a, b)| a.map(|seen| seen.shape) == b.map(|seen| seen.shape)).count();
                judged.drawn_right += f64::from(u8::from(same_motion && 2 * n_same > FRAMES)) / n;
            }
            judged.clips.push(clip);
        }
        Ok(judged)
    }

    /// Renders codes; `None` if they are incomplete.
    fn told(&self, codes: &[u32]) -> Option<Clip> {
        let codes = self.video.mdp.handoff.codes(codes);
        let codes: Vec<_> = codes
            .into_iter()
            .filter_map(|code| hybrid_dpo::datasets::synthetic::motion::Code::of_index(code as usize))
            .collect();
        Some(Clip::render(&codes.try_into().ok()?))
    }

    /// The win rate of `ours` over `theirs`, with ties as halves, and its 95% interval.
    pub(crate) fn win_rate(&self, ours: &Judged, theirs: &Judged) -> (f64, (f64, f64)) {
        let both = ours.clips.iter().zip(&theirs.clips).zip(&self.requests);
        let outcome = both.map(|((ours, theirs), request)| Oracle::compare(&request.wanted, ours, theirs));
        let (wins, n) = (outcome.map(ComparisonOutcome::value).sum::<f64>(), self.requests.len() as f64);
        (wins / n, wilson(wins, n))
    }

    /// Writes the first clips of policies as one animated PNG: one row per policy, one column per request.
    pub(crate) fn animate(&self, path: &Path, policies: &[(&str, &Judged)], n: usize) -> Result<()> {
        let mut frames = Vec::new();
        for frame in 0..FRAMES {
            let mut pictures = Vec::new();
            for (name, judged) in policies {
                for (clip, request) in judged.clips.iter().zip(&self.requests).take(n) {
                    let pixels = clip.frame(frame);
                    let size = (pixels.width() as u32, pixels.height() as u32);
                    let caption = format!("{name}: {}", request.text());
                    pictures.extend(Picture::from_unit(&caption, size, pixels.values()));
                }
            }
            frames.push(contact_sheet(&pictures, n as u32, SIDE));
        }
        let (width, height) = frames[0].dimensions();
        let mut encoder = png::Encoder::new(BufWriter::new(File::create(path)?), width, height);
        encoder.set_color(png::ColorType::Rgb);
        encoder.set_compression(png::Compression::High);
        encoder.set_animated(FRAMES as u32, 0)?;
        encoder.set_frame_delay(DELAY, 100)?;
        let mut writer = encoder.write_header()?;
        for frame in &frames {
            writer.write_image_data(frame.as_raw())?;
        }
        Ok(writer.finish()?)
    }
}
