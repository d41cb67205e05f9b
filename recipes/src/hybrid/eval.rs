//! What refiners and generators make of requests together, and how the oracle compares it.
use std::fmt::Write as _;
use std::sync::Arc;

use datasets::images::Pixels;
use datasets::synthetic::chimera::{Oracle, Outcome, Problem, Split, Wanted};
use engine::Noise;
use mdp::diffusion::Latent;
use models::Prompted;
use models::causal::{CausalLm, Sampling};
use models::denoiser::Denoiser;
use models::sampler::SamplingPlan;
use train::statistics::wilson;

use super::{Files, Words};
use crate::{Call, Failure, Reporter, denoiser};

/// Requests on which the oracle compares policies.
const REQUESTS: u64 = 256;

/// How pictures are made of requests.
pub(crate) struct HybridSampler<'a> {
    files: &'a Files,
    handoff: &'a Prompted,
    sampling: Sampling,
    plan: SamplingPlan,
    seed: u64,
    reporter: &'a dyn Reporter,
}

/// A request, and the number of the streams that its answer is drawn from.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) text: String,
    pub(crate) number: u64,
    /// Whether the generator is given the request itself, and no refiner is asked.
    pub(crate) is_null: bool,
}

impl Request {
    pub(crate) fn number(text: &str, number: u64) -> Self {
        Self { text: text.to_owned(), number, is_null: false }
    }
}

/// What was made of a request.
pub(crate) struct Generation {
    pub(crate) refined: String,
    /// The refiner's tokens, end included; none where it was not asked.
    pub(crate) tokens: Vec<u32>,
    pub(crate) latent: Latent,
    pub(crate) picture: Pixels,
}

impl<'a> HybridSampler<'a> {
    pub(crate) fn new(files: &'a Files, handoff: &'a Prompted, call: &Call<'a>) -> Result<Self, Failure> {
        let (values, reporter) = (&call.values, call.reporter);
        let (sampling, plan) = (files.words.sampling(values), denoiser::plan(values, &files.generator)?);
        let seed = values.run.seed();
        Ok(Self { files, handoff, sampling, plan, seed, reporter })
    }

    /// A refined prompt and a picture for each request, each from streams of its own: the same ones for every policy, so
    /// that two policies differ by what they do and not by their luck.
    pub(crate) fn make(
        &self,
        refiner: &CausalLm,
        generator: &Denoiser,
        asked: &[Request],
        purpose: &str,
    ) -> Result<Vec<Generation>, Failure> {
        let noise = Noise::new(self.seed);
        let stream = |what: &str, asked: &Request| noise.stream(&format!("{purpose}, {what}"), asked.number);
        let mut answers = self.refine(refiner, asked, &stream)?.into_iter();
        let (mut refined, mut conditions) = (Vec::with_capacity(asked.len()), Vec::with_capacity(asked.len()));
        for asked in asked {
            let (text, tokens) = if asked.is_null {
                (asked.text.clone(), Vec::new())
            } else {
                let tokens = answers.next().unwrap_or_default();
                (self.handoff.text(&tokens)?, tokens)
            };
            conditions.push(self.handoff.condition(&text)?);
            refined.push((text, tokens));
        }
        let mut rngs: Vec<_> = asked.iter().map(|asked| stream("picture", asked)).collect();
        let drawn =
            generator.generate(&self.plan, &conditions, &mut rngs, &mut self.reporter.unless_stopped(|_| ()))?;
        let vae = self.files.generator.vae.as_deref();
        let mut made = Vec::with_capacity(asked.len());
        for ((refined, tokens), drawn) in refined.into_iter().zip(drawn) {
            let picture = denoiser::decode(vae, generator.shape(), drawn.image())?;
            made.push(Generation { refined, tokens, latent: Arc::clone(drawn.image()), picture });
        }
        Ok(made)
    }

    /// The refiner's answers to the requests that it is asked.
    fn refine(
        &self,
        refiner: &CausalLm,
        asked: &[Request],
        stream: &dyn Fn(&str, &Request) -> mdp::Rng,
    ) -> Result<Vec<Vec<u32>>, Failure> {
        let asked: Vec<&Request> = asked.iter().filter(|asked| !asked.is_null).collect();
        if asked.is_empty() {
            return Ok(Vec::new());
        }
        let words: &Words = &self.files.words;
        let prompts = asked.iter().map(|asked| words.prompt(&asked.text)).collect::<Result<Vec<_>, _>>()?;
        let most = words.max_length;
        if let Some((asked, prompt)) = asked.iter().zip(&prompts).find(|(_, prompt)| prompt.len() >= most) {
            let (n, start) = (prompt.len(), asked.text.chars().take(60).collect::<String>());
            return Err(Failure::failed(format!(
                "the request `{start}` has {n} tokens, and `data.max_length` is {most}"
            )));
        }
        // Each has all the room that its own prompt leaves, whatever it is asked together with.
        let rooms: Vec<usize> = prompts.iter().map(|prompt| most - prompt.len()).collect();
        let mut rngs: Vec<_> = asked.iter().map(|asked| stream("words", asked)).collect();
        Ok(refiner.generate_within(&prompts, &rooms, &self.sampling, &mut rngs)?)
    }

    /// What the oracle thinks of a policy's pictures of the test requests, none of which training has seen.
    pub(crate) fn judge(&self, refiner: &CausalLm, generator: &Denoiser) -> Result<Vec<Verdict>, Failure> {
        let pairs = (0..REQUESTS).map(|index| Problem::new(self.seed).pair(Split::Test, index));
        let asked: Vec<(String, Wanted)> = pairs.map(|pair| (pair.request, pair.wanted)).collect();
        let requests: Vec<Request> =
            asked.iter().zip(0..).map(|((request, _), i)| Request::number(request, i)).collect();
        let made = self.make(refiner, generator, &requests, "oracle")?;
        Ok(made.into_iter().zip(asked).map(|(made, (_, wanted))| Verdict::of(wanted, made)).collect())
    }
}

/// One picture, judged.
pub(crate) struct Verdict {
    wanted: Wanted,
    made: Generation,
    score: f64,
}

impl Verdict {
    fn of(wanted: Wanted, made: Generation) -> Self {
        Self { wanted, score: Oracle::score(&wanted, &made.picture), made }
    }
}

/// Policies side by side against the first; the last is compared with each, request by request.
pub(crate) fn table(policies: &[(&str, Vec<Verdict>)]) -> String {
    let mut text = format!("{:<28}{:>8}{:>11}   {}\n", "oracle, test requests", "score", "win rate", "95% interval");
    let Some(((_, base), (last_name, last))) = policies.first().zip(policies.last()) else { return text };
    for (name, verdicts) in policies {
        let mean = verdicts.iter().map(|verdict| verdict.score).sum::<f64>() / verdicts.len().max(1) as f64;
        let _ = write!(text, "{name:<28}{mean:>8.3}");
        if std::ptr::eq(verdicts, base) {
            text.push('\n');
            continue;
        }
        let wins: f64 = verdicts
            .iter()
            .zip(base)
            .map(|(ours, theirs)| Oracle::compare(&ours.wanted, &ours.made.picture, &theirs.made.picture))
            .map(Outcome::value)
            .sum();
        let n = verdicts.len() as f64;
        let (low, high) = wilson(wins, n);
        let _ = writeln!(text, "{:>11.3}   {low:.3} to {high:.3}", wins / n);
    }
    for (name, verdicts) in policies.iter().skip(1).filter(|(name, _)| name != last_name) {
        let (mean, half) = paired(last, verdicts);
        let (low, high) = (mean - half, mean + half);
        let label = format!("{last_name} less {name}");
        let _ = writeln!(text, "{label:<28}{mean:>+8.3}              {low:+.3} to {high:+.3}, paired");
    }
    text.truncate(text.trim_end().len());
    text
}

/// The mean difference of scores, request by request, and half the width of its 95% interval.
fn paired(ours: &[Verdict], theirs: &[Verdict]) -> (f64, f64) {
    let differences: Vec<f64> = ours.iter().zip(theirs).map(|(a, b)| a.score - b.score).collect();
    let n = differences.len().max(2) as f64;
    let mean = differences.iter().sum::<f64>() / n;
    let variance = differences.iter().map(|d| (d - mean).powi(2)).sum::<f64>() / (n - 1.0);
    (mean, 1.96 * (variance / n).sqrt())
}
