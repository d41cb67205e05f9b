//! Samples a refiner and a generator together, and compares policies by an oracle.
use std::fmt::Write as _;
use std::sync::Arc;

use datasets::images::Pixels;
use engine::Noise;
use mdp::diffusion::{DenoisingAction, DenoisingState, Latent};
use mdp::hybrid::{Half, Hybrid};
use mdp::token::{TokenMdp, TokenState};
use mdp::{Episode, EpisodeOf, Mdp as _, Rng};
use models::Prompted;
use models::causal::{CausalLm, GenerationConfig};
use models::denoiser::{Condition, Denoiser};
use models::sampler::SamplingPlan;
use policies::{PolicyError, act_in_turn};
use train::diffusion::ImageMdp;
use train::statistics::wilson;

use super::{Files, PromptedMdp};
use crate::divided::Travels;
use crate::embedded::{EmbeddedProblem, JudgedPolicy, PictureOracle, WinRate};
use crate::{Call, Estimate, Failure, Reporter, denoiser};

/// The problem in which pictures take the steps of a plan.
pub(crate) type SamplingMdp<'a> = Hybrid<TokenMdp, ImageMdp, &'a Prompted>;

/// Samples refined prompts and pictures for requests.
pub(crate) struct HybridSampler<'a> {
    files: &'a Files,
    /// The hybrid problem with the plan's timesteps.
    pub(crate) mdp: SamplingMdp<'a>,
    pub(crate) sampling: GenerationConfig,
    plan: SamplingPlan,
    seed: u64,
    reporter: &'a dyn Reporter,
}

/// A request with the index of its random streams.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) text: String,
    pub(crate) number: u64,
    /// Whether the refiner is skipped and the generator receives the request itself.
    pub(crate) is_null: bool,
}

impl Request {
    pub(crate) fn number(text: &str, number: u64) -> Self {
        Self { text: text.to_owned(), number, is_null: false }
    }
}

/// A refined prompt, and its picture as the generator made it: of several processes the leader decodes what all have made.
pub(crate) struct Generation {
    pub(crate) refined: String,
    /// The refiner's tokens, including EOS; empty if the refiner was skipped.
    pub(crate) tokens: Vec<u32>,
    pub(crate) latent: Latent,
}

impl Travels for Generation {
    fn write(&self, to: &mut Vec<f64>) {
        let Self { refined, tokens, latent } = self;
        (refined.clone(), tokens.clone()).write(to);
        latent.write(to);
    }

    fn read(from: &mut dyn Iterator<Item = f64>) -> Option<Self> {
        let (refined, tokens) = Travels::read(from)?;
        Some(Self { refined, tokens, latent: Travels::read(from)? })
    }
}

impl<'a> HybridSampler<'a> {
    pub(crate) fn new(files: &'a Files, mdp: &'a PromptedMdp, call: &Call<'a>) -> Result<Self, Failure> {
        let (values, reporter) = (&call.values, call.reporter);
        let (sampling, plan) = (files.prompt_format.sampling(values), denoiser::plan(values, &files.generator)?);
        let inner = plan.problem(files.shape.size());
        let mdp = Hybrid { outer: mdp.outer.clone(), inner, handoff: &mdp.handoff };
        Ok(Self { files, mdp, sampling, plan, seed: values.run.seed(), reporter })
    }

    /// Samples a refined prompt and a picture for each request, from random streams of the request's own: the same for
    /// every policy, so that two policies are compared under common random numbers.
    pub(crate) fn generate(
        &self,
        refiner: &CausalLm,
        generator: &Denoiser,
        requests: &[Request],
        purpose: &str,
    ) -> Result<Vec<Generation>, Failure> {
        let noise = Noise::new(self.seed);
        let stream = |half: &str, request: &Request| noise.stream(&format!("{purpose}, {half}"), request.number);
        let refined = requests.iter().filter(|request| !request.is_null);
        let mut of_words: Vec<Rng> = refined.map(|request| stream("words", request)).collect();
        let mut of_pictures: Vec<Rng> = requests.iter().map(|request| stream("picture", request)).collect();
        let starts = requests.iter().map(|request| self.start(request)).collect::<Result<Vec<_>, _>>()?;
        let episodes = act_in_turn(
            &self.mdp,
            &starts,
            |prompts| self.refine(refiner, prompts, &mut of_words),
            |starts| self.draw(generator, starts, &mut of_pictures),
        )?;
        let generations = requests.iter().zip(&episodes);
        generations.map(|(request, episode)| self.generation(request, episode)).collect()
    }

    /// The start state of a request: the outer one, or the inner one if the refiner is skipped.
    pub(crate) fn start(&self, request: &Request) -> Result<Half<TokenState, DenoisingState<Condition>>, Failure> {
        if request.is_null {
            return Ok(Half::Inner(self.mdp.inner.start(&self.mdp.handoff.condition(&request.text)?)));
        }
        let (prompt, most) = (self.files.prompt_format.prompt(&request.text)?, self.mdp.outer.max_length);
        if prompt.len() >= most {
            let (n, start) = (prompt.len(), request.text.chars().take(60).collect::<String>());
            return Err(Failure::failed(format!(
                "the request `{start}` has {n} tokens, and `data.max_length` is {most}"
            )));
        }
        Ok(Half::Outer(TokenState::new(prompt)))
    }

    /// The refiner's episodes. Each may use the whole context that its own prompt leaves, whatever the rest of the
    /// batch is.
    fn refine(
        &self,
        refiner: &CausalLm,
        starts: &[TokenState],
        rngs: &mut [Rng],
    ) -> Result<Vec<EpisodeOf<TokenMdp>>, PolicyError> {
        let prompts: Vec<Vec<u32>> = starts.iter().map(|start| start.prompt.to_vec()).collect();
        let rooms: Vec<usize> = starts.iter().map(|start| self.mdp.outer.max_length - start.len()).collect();
        let responses = refiner.generate_within(&prompts, &rooms, &self.sampling, rngs)?;
        Ok(starts.iter().cloned().zip(responses).map(|(start, tokens)| Episode::whole(start, tokens)).collect())
    }

    /// The generator's episodes.
    fn draw(
        &self,
        generator: &Denoiser,
        starts: &[DenoisingState<Condition>],
        rngs: &mut [Rng],
    ) -> Result<Vec<EpisodeOf<ImageMdp>>, PolicyError> {
        let conditions: Vec<Condition> = starts.iter().map(|start| Arc::clone(&start.context)).collect();
        let mut progress = self.reporter.unless_stopped(|_| ());
        let generated = generator.generate(&self.plan, &conditions, rngs, &mut progress)?;
        let episodes = starts.iter().cloned().zip(generated).map(|(start, generated)| {
            Episode::whole(start, generated.latents.into_iter().map(DenoisingAction::Next).collect())
        });
        Ok(episodes.collect())
    }

    /// The picture of a generation, decoded.
    pub(crate) fn picture(&self, made: &Generation) -> Result<Pixels, Failure> {
        denoiser::decode(self.files.generator.vae.as_deref(), self.files.shape, &made.latent)
    }

    /// Extracts refined prompt and picture from an episode.
    pub(crate) fn generation(
        &self,
        request: &Request,
        episode: &EpisodeOf<SamplingMdp<'a>>,
    ) -> Result<Generation, Failure> {
        let crosses = || Failure::failed("an episode crosses the hand-off");
        let (words, steps) = self.mdp.split(episode).ok_or_else(crosses)?;
        let tokens: Vec<u32> = words.pieces.into_iter().flat_map(|piece| piece.actions).collect();
        let refined = if request.is_null { request.text.clone() } else { self.mdp.handoff.text(&tokens)? };
        let last = steps.pieces.into_iter().flat_map(|piece| piece.actions).last();
        let Some(DenoisingAction::Next(latent)) = last else {
            return Err(Failure::failed("an episode ends without an image"));
        };
        Ok(Generation { refined, tokens, latent })
    }
}

/// An oracle that judges policies by pictures of an embedded problem's test requests, which are not in the training
/// data.
pub(crate) struct HybridJudge<'a> {
    pub(crate) sampler: &'a HybridSampler<'a>,
    pub(crate) problem: &'a EmbeddedProblem,
    pub(crate) oracle: &'a PictureOracle,
    /// The number of requests.
    pub(crate) n: u64,
}

/// A picture of a request, and its score.
pub(crate) struct JudgedPicture {
    request: String,
    picture: Pixels,
    score: f64,
}

impl HybridJudge<'_> {
    /// Generates and scores a policy's picture of every request.
    pub(crate) fn judge(&self, refiner: &CausalLm, generator: &Denoiser) -> Result<Vec<JudgedPicture>, Failure> {
        let requests = WinRate::prompts(self.problem, self.sampler.seed, self.n);
        let numbered: Vec<Request> = requests.iter().zip(0..).map(|(text, i)| Request::number(text, i)).collect();
        let generations = self.sampler.generate(refiner, generator, &numbered, "oracle")?;
        let judged = requests.into_iter().zip(generations).map(|(request, made)| {
            let picture = self.sampler.picture(&made)?;
            let score = self.oracle.score(&request, &picture)?;
            Ok(JudgedPicture { request, picture, score })
        });
        judged.collect()
    }

    /// The mean score of each policy, and its win rate over the first.
    pub(crate) fn judged(&self, policies: &[(&'static str, Vec<JudgedPicture>)]) -> Result<Vec<JudgedPolicy>, Failure> {
        let base = policies.first().map(|(_, judged)| judged.as_slice()).unwrap_or_default();
        let of = |(at, (name, judged)): (usize, &(&'static str, Vec<JudgedPicture>))| {
            let score = judged.iter().map(|judged| judged.score).sum::<f64>() / judged.len().max(1) as f64;
            let win_rate = if at == 0 { None } else { Some(self.win_rate(judged, base)?) };
            Ok(JudgedPolicy { name, score, win_rate })
        };
        policies.iter().enumerate().map(of).collect()
    }

    /// How often the pictures of one policy are better than those of another, with a 95% interval.
    fn win_rate(&self, ours: &[JudgedPicture], theirs: &[JudgedPicture]) -> Result<Estimate, Failure> {
        let mut wins = 0.0;
        for (ours, theirs) in ours.iter().zip(theirs) {
            wins += self.oracle.win(&ours.request, &ours.picture, &theirs.picture)?;
        }
        let n = ours.len() as f64;
        let (low, high) = wilson(wins, n);
        Ok(Estimate { value: wins / n, low, high })
    }

    /// A table of policies against the first; the last is also compared with each, paired by request.
    pub(crate) fn table(&self, policies: &[(&str, Vec<JudgedPicture>)]) -> Result<String, Failure> {
        let mut text =
            format!("{:<28}{:>8}{:>11}   {}\n", "oracle, test requests", "score", "win rate", "95% interval");
        let Some(((_, base), (last_name, last))) = policies.first().zip(policies.last()) else { return Ok(text) };
        for (name, judged) in policies {
            let mean = judged.iter().map(|judged| judged.score).sum::<f64>() / judged.len().max(1) as f64;
            let _ = write!(text, "{name:<28}{mean:>8.3}");
            if std::ptr::eq(judged, base) {
                text.push('\n');
                continue;
            }
            let Estimate { value, low, high } = self.win_rate(judged, base)?;
            let _ = writeln!(text, "{value:>11.3}   {low:.3} to {high:.3}");
        }
        for (name, judged) in policies.iter().skip(1).filter(|(name, _)| name != last_name) {
            let (mean, half) = paired_difference(last, judged);
            let (low, high) = (mean - half, mean + half);
            let label = format!("{last_name} less {name}");
            let _ = writeln!(text, "{label:<28}{mean:>+8.3}              {low:+.3} to {high:+.3}, paired");
        }
        text.truncate(text.trim_end().len());
        Ok(text)
    }
}

/// The mean paired difference of scores, and half the width of its 95% interval.
fn paired_difference(ours: &[JudgedPicture], theirs: &[JudgedPicture]) -> (f64, f64) {
    let differences: Vec<f64> = ours.iter().zip(theirs).map(|(a, b)| a.score - b.score).collect();
    let n = differences.len().max(2) as f64;
    let mean = differences.iter().sum::<f64>() / n;
    let variance = differences.iter().map(|d| (d - mean).powi(2)).sum::<f64>() / (n - 1.0);
    (mean, 1.96 * (variance / n).sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generation_travels_with_its_latent_and_no_picture() {
        let latent = Latent::from([0.5_f32, -0.1, 0.25]);
        let sent = Generation { refined: "a dog".to_owned(), tokens: vec![7, 0], latent };
        let mut numbers = Vec::new();
        sent.write(&mut numbers);
        // Five letters, two tokens, three values, and the number of each.
        assert_eq!(numbers.len(), 13);
        let read = Generation::read(&mut numbers.into_iter()).unwrap();
        assert_eq!((read.refined, read.tokens, read.latent), (sent.refined, sent.tokens, sent.latent));
    }
}
