//! What refiners and generators make of requests together, and how the oracle compares it.
use std::fmt::Write as _;

use datasets::images::Pixels;
use datasets::synthetic::chimera::{Oracle, Outcome, Problem, Split, Wanted};
use engine::Noise;
use policies::Prompted;
use policies::causal::{CausalLm, Sampling};
use policies::denoiser::Denoiser;
use policies::formats::SamplingPlan;
use train::statistics::wilson;

use super::{Files, Words};
use crate::values::Values;
use crate::{Failure, denoiser};

/// Requests on which the oracle compares policies.
const REQUESTS: u64 = 256;

/// How pictures are made of requests.
pub(crate) struct Studio<'a> {
    files: &'a Files,
    handoff: &'a Prompted,
    sampling: Sampling,
    plan: SamplingPlan,
    seed: u64,
}

/// What was made of a request.
pub(crate) struct Made {
    pub(crate) refined: String,
    pub(crate) picture: Pixels,
}

impl<'a> Studio<'a> {
    pub(crate) fn new(files: &'a Files, handoff: &'a Prompted, values: &Values) -> Result<Self, Failure> {
        let (sampling, plan) = (files.words.sampling(values), denoiser::plan(values, &files.generator)?);
        let seed = values.count("run.seed").unwrap_or(0) as u64;
        Ok(Self { files, handoff, sampling, plan, seed })
    }

    /// A refined prompt and a picture for each request, each from streams of its own: the same ones for every policy, so
    /// that two policies differ by what they do and not by their luck.
    pub(crate) fn make(
        &self,
        refiner: &CausalLm,
        generator: &Denoiser,
        requests: &[String],
        purpose: &str,
    ) -> Result<Vec<Made>, Failure> {
        let words: &Words = &self.files.words;
        let prompts = requests.iter().map(|request| words.prompt(request)).collect::<Result<Vec<_>, _>>()?;
        let noise = Noise::new(self.seed);
        let streams = |what: &str| -> Vec<_> {
            (0..requests.len()).map(|i| noise.stream(&format!("{purpose}, {what}"), i as u64)).collect()
        };
        let mut sampling = self.sampling.clone();
        let longest = prompts.iter().map(Vec::len).max().unwrap_or(0);
        sampling.max_new = sampling.max_new.saturating_sub(longest).max(1);
        let answers = refiner.generate(&prompts, &sampling, &mut streams("words"))?;
        let mut refined = Vec::with_capacity(answers.len());
        let mut conditions = Vec::with_capacity(answers.len());
        for answer in &answers {
            let text = self.handoff.text(answer)?;
            conditions.push(self.handoff.condition(&text)?);
            refined.push(text);
        }
        let made = generator.generate(&self.plan, &conditions, &mut streams("picture"), &mut |_| ())?;
        let vae = self.files.generator.vae.as_deref();
        let pictures = made.iter().map(|made| denoiser::decode(vae, generator.shape(), made.image()));
        let pictures = pictures.collect::<Result<Vec<_>, _>>()?;
        Ok(refined.into_iter().zip(pictures).map(|(refined, picture)| Made { refined, picture }).collect())
    }

    /// What the oracle thinks of a policy's pictures of the test requests, none of which training has seen.
    pub(crate) fn judge(&self, refiner: &CausalLm, generator: &Denoiser) -> Result<Vec<Verdict>, Failure> {
        let pairs = (0..REQUESTS).map(|index| Problem::new(self.seed).pair(Split::Test, index));
        let asked: Vec<(String, Wanted)> = pairs.map(|pair| (pair.request, pair.wanted)).collect();
        let requests: Vec<String> = asked.iter().map(|(request, _)| request.clone()).collect();
        let made = self.make(refiner, generator, &requests, "oracle")?;
        Ok(made.into_iter().zip(asked).map(|(made, (_, wanted))| Verdict::of(&wanted, made)).collect())
    }
}

/// One picture, judged.
pub(crate) struct Verdict {
    wanted: Wanted,
    made: Made,
    score: f64,
}

impl Verdict {
    fn of(wanted: &Wanted, made: Made) -> Self {
        Self { wanted: *wanted, score: Oracle::score(wanted, &made.picture), made }
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
