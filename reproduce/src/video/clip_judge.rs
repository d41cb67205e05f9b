//! Generates clips with a planner and a decoder, and scores them with the oracle.
use std::ops::ControlFlow;

use datasets::synthetic::motion::{Clip, Code, FRAMES, MotionProblem, Oracle, Request, Split};
use engine::Noise;
use models::causal::GenerationConfig;
use models::sampler::SamplingPlan;

use super::wiring::{Models, Result, SAMPLER, Video};
use crate::statistics::mean;

/// Denoising steps of a clip.
const STEPS: usize = 12;

/// Requests, and the noise of their clips: the same for every policy.
pub(super) struct ClipJudge<'a> {
    video: &'a Video,
    plan: SamplingPlan,
    seed: u64,
    requests: Vec<Request>,
}

/// A policy's clips as the oracle reads them.
pub(super) struct JudgedClips {
    clips: Vec<Clip>,
    /// The mean score, 0 to 1.
    pub(super) score: f64,
    /// The share of plans that would be entirely right if they were drawn as they say.
    pub(super) plans: f64,
    /// The share of clips that show their plan's motion, and its shapes in most frames.
    pub(super) drawn: f64,
}

impl<'a> ClipJudge<'a> {
    /// Takes the requests of the first pairs of a split.
    pub(super) fn new(video: &'a Video, seed: u64, split: Split, n: u64) -> Result<Self> {
        let requests = (0..n).map(|index| MotionProblem::new(seed).pair(split, index).request).collect();
        Ok(Self { video, plan: video.scheduler.plan(SAMPLER, STEPS)?, seed, requests })
    }

    /// Generates codes and a clip for each request.
    fn generate(&self, models: &Models) -> Result<Vec<(Vec<u32>, Clip)>> {
        let noise = Noise::new(self.seed);
        let rngs =
            |purpose: &str| (0..self.requests.len()).map(|i| noise.stream(purpose, i as u64)).collect::<Vec<_>>();
        let prompts: Vec<Vec<u32>> =
            self.requests.iter().map(|request| self.video.prompt(*request)).collect::<std::result::Result<_, _>>()?;
        let eos = self.video.mdp.outer.eos.clone();
        let sampling = GenerationConfig { max_new: FRAMES + 1, eos, ..GenerationConfig::default() };
        let codes = models.outer.generate(&prompts, &sampling, &mut rngs("codes"))?;
        let told: Vec<_> = codes.iter().map(|codes| self.video.mdp.handoff.condition(codes)).collect();
        let drawn = models.inner.generate(&self.plan, &told, &mut rngs("clip"), &mut |_| ControlFlow::Continue(()))?;
        let clips = drawn.iter().map(|drawn| Clip::new(drawn.image().clone()).ok_or("not a clip"));
        codes.into_iter().zip(clips).map(|(codes, clip)| Ok((codes, clip?))).collect()
    }

    /// Generates and scores a policy's clips.
    pub(super) fn judge(&self, models: &Models) -> Result<JudgedClips> {
        let generated = self.generate(models)?;
        let (mut scores, mut plans, mut drawn) = (Vec::new(), Vec::new(), Vec::new());
        for ((codes, clip), request) in generated.iter().zip(&self.requests) {
            let reading = Oracle::read(clip);
            scores.push(reading.score(&request.wanted));
            let told = self.told(codes).map(|told| Oracle::read(&told));
            let is_right = told.as_ref().is_some_and(|told| told.score(&request.wanted) > 1.0 - Oracle::TIE);
            let is_drawn = told.as_ref().is_some_and(|told| {
                let frames = told.frames.iter().zip(&reading.frames);
                let n_same = frames.filter(|(a, b)| a.map(|seen| seen.shape) == b.map(|seen| seen.shape)).count();
                (told.direction, told.speed) == (reading.direction, reading.speed) && 2 * n_same > FRAMES
            });
            plans.push(f64::from(u8::from(is_right)));
            drawn.push(f64::from(u8::from(is_drawn)));
        }
        let clips = generated.into_iter().map(|(_, clip)| clip).collect();
        Ok(JudgedClips { clips, score: mean(scores), plans: mean(plans), drawn: mean(drawn) })
    }

    /// Renders codes; `None` if they are incomplete.
    fn told(&self, codes: &[u32]) -> Option<Clip> {
        let codes = self.video.mdp.handoff.codes(codes);
        let codes: Vec<Code> = codes.into_iter().filter_map(|code| Code::of_index(code as usize)).collect();
        Some(Clip::render(&codes.try_into().ok()?))
    }

    /// The win rate of the first over the second; ties are halves.
    pub(super) fn win_rate(&self, ours: &JudgedClips, theirs: &JudgedClips) -> f64 {
        let both = ours.clips.iter().zip(&theirs.clips).zip(&self.requests);
        mean(both.map(|((ours, theirs), request)| Oracle::compare(&request.wanted, ours, theirs).value()))
    }
}
