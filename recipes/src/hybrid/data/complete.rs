//! Completes pairs whose refined prompts are unknown.
//!
//! The preference is then between pictures alone, and the probability of a picture y for a request x is the marginal over
//! the hidden prompt, p(y|x) = sum_z refiner(z|x) generator(y|z). As in SysDPO's sampling variant (Wang et al. 2025, arXiv
//! 2502.17721) the sum is cut to a few distinct, likely prompts, the results of a diverse beam search by the refiner. Where
//! p_ref is the reference's p, Jensen's inequality bounds the log-ratio of marginals by those of whole episodes,
//!
//! ```text
//! log p(y|x) / p_ref(y|x)  >=  sum_z p_ref(z|x, y) log p(z, y|x) / p_ref(z, y|x)
//! ```
//!
//! with equal values and equal gradients at p = p_ref. SysDPO keeps the sum in its loss and searches anew as the policy changes;
//! here candidates and posterior are the reference's, once for a run. The sum is estimated by one draw of z from the posterior, which makes
//! a pair like any other of it: a picture gets a prompt that explains it. In the loss's own units, where a nat of the prompt
//! weighs beta and an error of the picture gamma, the posterior's logit is log refiner(z|x) - gamma / beta * c * error(y|z).
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::Path;
use std::sync::Arc;

use ::search::{Beam, DiverseBeam, LogProbs, Search};
use engine::Noise;
use mdp::chance::{derived_seed, unit};
use mdp::diffusion::Latent;
use mdp::token::{TokenMdp, TokenState};
use models::Prompted;
use objectives::Demonstration;
use policies::{BoxError, Policy as _};
use serde::{Deserialize, Serialize};
use train::Source as _;
use train::diffusion::{
    DrawPlan, Finished, ImageExample, ImageMdp, ImageSource, NoiseSharing, Scheme, Timesteps, Units,
};

use super::{JudgedPair, PairSource, RefinedSide};
use crate::hybrid::{Files, Frozen, weights};
use crate::settings::{Values, at};
use crate::{Call, Failure, draws};

/// Draws of timestep and noise per picture, by which its candidates are compared.
const DRAWS: usize = 8;

/// The penalty, in nats, of an action for each group before that took it: that of a search by default.
const PENALTY: f64 = 1.0;

/// Most refinements of a request.
const MOST: usize = 1024;

/// What completes pairs: the reference, and the file in which a resumed run has kept its completions.
#[derive(Clone, Copy)]
pub(crate) struct Completing<'a> {
    pub(crate) reference: &'a Frozen,
    pub(crate) kept: Option<&'a Path>,
}

/// The refined prompt of a picture that was drawn for it: a line of the file that a run keeps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Completion {
    /// The index of the pair.
    pair: usize,
    /// 0 for the better side, 1 for the worse one.
    side: usize,
    /// The refined prompt.
    refined: String,
    /// Its tokens, with the end where it ends.
    tokens: Vec<u32>,
    /// Its posterior probability among the candidates.
    probability: f64,
    /// The number of candidates.
    candidates: usize,
}

/// Pairs with prompts for the pictures that lacked them.
struct CompletedPairs {
    pairs: Arc<dyn PairSource>,
    completions: BTreeMap<(usize, usize), Completion>,
}

impl PairSource for CompletedPairs {
    fn len(&self) -> usize {
        self.pairs.len()
    }

    fn judged(&self, index: usize) -> Result<JudgedPair, BoxError> {
        let mut judged = self.pairs.judged(index)?;
        for (place, side) in judged.sides.iter_mut().enumerate() {
            if let Some(Completion { refined, tokens, .. }) = self.completions.get(&(index, place)) {
                *side =
                    RefinedSide { is_null: false, is_missing: false, text: refined.clone(), tokens: tokens.clone() };
            }
        }
        Ok(judged)
    }

    fn latents(&self, index: usize) -> Result<[Latent; 2], BoxError> {
        self.pairs.latents(index)
    }

    fn request(&self, index: usize) -> Result<String, BoxError> {
        self.pairs.request(index)
    }
}

/// The number of refinements that the settings ask for; 0 for none.
pub(super) fn asked(values: &Values) -> Result<usize, Failure> {
    let n = values.hybrid.complete_refinements();
    if n > MOST {
        return Err(Failure::usage(format!("{} takes at most {MOST}, not {n}", at::hybrid::complete_refinements)));
    }
    Ok(n)
}

/// Completes the first `n` pairs, and returns the lines of the file that the run keeps.
pub(super) fn complete(
    pairs: Arc<dyn PairSource>,
    n: usize,
    (files, handoff): (&Files, &Prompted),
    (call, completing): (&Call<'_>, Completing<'_>),
) -> Result<(Arc<dyn PairSource>, Option<String>), Failure> {
    let (of, at_most) = (2 * n, asked(&call.values)?);
    let missing = missing(&*pairs, n)?;
    if missing.is_empty() {
        call.reporter.info(&format!("all {of} pictures have refined prompts: there is nothing to complete"));
        return Ok((pairs, None));
    }
    let completions = match completing.kept.filter(|path| path.is_file()) {
        Some(path) => read(path, &missing, handoff)?,
        None => Completer::new(files, handoff, call, completing.reference)?.all(&*pairs, &missing)?,
    };
    let mean = completions.iter().map(|one| one.probability).sum::<f64>() / completions.len() as f64;
    call.reporter.info(&format!(
        "{} of {of} pictures had no refined prompt and got one of up to {at_most} refinements, of probability {mean:.2} \
         on average",
        completions.len()
    ));
    let lines = completions.iter().map(serde_json::to_string).collect::<Result<Vec<_>, _>>()?;
    let completions = completions.into_iter().map(|one| ((one.pair, one.side), one)).collect();
    Ok((Arc::new(CompletedPairs { pairs, completions }), Some(lines.join("\n") + "\n")))
}

/// Says how many pictures have no refined prompt where that is not completed.
pub(super) fn say_missing(pairs: &dyn PairSource, n: usize, call: &Call<'_>) -> Result<(), Failure> {
    let missing = missing(pairs, n)?.len();
    if missing > 0 {
        let field = &at::hybrid::complete_refinements;
        let of = 2 * n;
        call.reporter.info(&format!(
            "{missing} of {of} pictures have no refined prompt and are taken as drawn from the request itself; {field} \
             completes them"
        ));
    }
    Ok(())
}

/// The pictures without refined prompts, as pair and side.
fn missing(pairs: &dyn PairSource, n: usize) -> Result<Vec<(usize, usize)>, Failure> {
    let mut missing = Vec::new();
    for pair in 0..n {
        let judged = pairs.judged(pair).map_err(|error| failed(&*error))?;
        missing.extend((0..2).filter(|&side| judged.sides[side].is_missing).map(|side| (pair, side)));
    }
    Ok(missing)
}

/// The completions that a run has kept, if they are those of these pictures.
fn read(path: &Path, missing: &[(usize, usize)], handoff: &Prompted) -> Result<Vec<Completion>, Failure> {
    let broken = |line: usize, what: &str| {
        Failure::failed(format!("{}, line {line}: {what}; delete it, and the run makes it anew", path.display()))
    };
    let text = std::fs::read_to_string(path).map_err(|error| broken(1, &error.to_string()))?;
    let mut completions = Vec::with_capacity(missing.len());
    for (line, text) in (1..).zip(text.lines()) {
        let one: Completion = serde_json::from_str(text).map_err(|error| broken(line, &error.to_string()))?;
        if missing.get(completions.len()) != Some(&(one.pair, one.side)) {
            return Err(broken(line, "another picture than the one without a refined prompt here"));
        }
        if handoff.text(&one.tokens).ok().as_ref() != Some(&one.refined) {
            return Err(broken(line, "the tokens are not those of the refined prompt"));
        }
        completions.push(one);
    }
    if completions.len() == missing.len() {
        return Ok(completions);
    }
    let what = format!("{} completions, and {} pictures have no refined prompt", completions.len(), missing.len());
    Err(broken(completions.len(), &what))
}

/// A refinement of a request with its log-probability, in nats.
#[derive(Clone)]
struct Candidate {
    text: String,
    tokens: Vec<u32>,
    log_prob: f64,
}

/// The models and units by which refinements are found and weighed.
struct Completer<'a> {
    files: &'a Files,
    handoff: &'a Prompted,
    call: &'a Call<'a>,
    reference: &'a Frozen,
    words: TokenMdp,
    pictures: ImageMdp,
    units: Units,
    draws: DrawPlan,
    /// Nats per weighted error: gamma / beta.
    rate: f64,
}

impl<'a> Completer<'a> {
    fn new(
        files: &'a Files,
        handoff: &'a Prompted,
        call: &'a Call<'a>,
        reference: &'a Frozen,
    ) -> Result<Self, Failure> {
        let (values, whole) = (&call.values, files.mdp()?);
        let (beta, gamma) = weights(values)?;
        let mut words = whole.outer;
        words.vocabulary = words.vocabulary.min(files.refiner.tokenizer()?.n_tokens() as u32);
        let draws = DrawPlan {
            seed: derived_seed(values.run.seed(), "draws of refinements", 0),
            per_example: DRAWS,
            sets: 1,
            timesteps: Timesteps::Stratified,
            noise: NoiseSharing::Shared,
            given: None,
        };
        let (pictures, units, rate) = (whole.inner, draws::units(values)?, gamma / beta);
        Ok(Self { files, handoff, call, reference, words, pictures, units, draws, rate })
    }

    fn all(&self, pairs: &dyn PairSource, missing: &[(usize, usize)]) -> Result<Vec<Completion>, Failure> {
        let bar = self.call.reporter.bar("refinements", missing.len());
        let noise = Noise::new(derived_seed(self.call.values.run.seed(), "refinements", 0));
        let mut known: BTreeMap<String, Vec<Candidate>> = BTreeMap::new();
        let mut completions = Vec::with_capacity(missing.len());
        for &(pair, side) in missing {
            if self.call.reporter.is_stopped() {
                return Err(Failure::Interrupted);
            }
            let request = pairs.request(pair).map_err(|error| failed(&*error))?;
            let candidates = match known.entry(request) {
                Entry::Occupied(entry) => entry.into_mut(),
                Entry::Vacant(entry) => {
                    let found = self.refinements(entry.key())?;
                    entry.insert(found)
                }
            };
            let latent = pairs.latents(pair).map_err(|error| failed(&*error))?[side].clone();
            let posterior = self.posterior(pair, &latent, candidates)?;
            let chosen = pick(&posterior, unit(&mut noise.stream(&format!("side {side}"), pair as u64)));
            let Candidate { text, tokens, .. } = candidates[chosen].clone();
            let (probability, candidates) = (posterior[chosen], candidates.len());
            completions.push(Completion { pair, side, refined: text, tokens, probability, candidates });
            bar.inc(1);
        }
        bar.finish_and_clear();
        Ok(completions)
    }

    /// Different refinements of a request: of each group of a diverse beam search by the reference the likeliest.
    fn refinements(&self, request: &str) -> Result<Vec<Candidate>, Failure> {
        let groups = asked(&self.call.values)?;
        let prompt = self.files.prompt_format.prompt(request)?;
        let Some(room) = self.words.max_length.checked_sub(prompt.len()).filter(|room| *room > 0) else {
            let (n, most) = (prompt.len(), self.words.max_length);
            let text = format!("the request `{request}` has {n} tokens, and `data.max_length` is {most}");
            return Err(Failure::failed(text));
        };
        let candidates = self.words.eos.len().saturating_add(1).max(2);
        let beam = Beam { n: groups, length_penalty: 0.0, candidates, ..Beam::new(groups) };
        let method = DiverseBeam { beam, groups, penalty: PENALTY };
        let (likelihood, start) = (LogProbs::likelihood(), [TokenState::new(prompt)]);
        let search = Search::new(&self.words, &*self.reference.outer, &likelihood);
        // Beams draw nothing, so the stream is never read.
        let mut rngs = [Noise::new(0).stream("beams", 0)];
        let mut found = search.run(&method, &start, &[room], &mut rngs)?.remove(0).found;
        let is_ended = |tokens: &[u32]| tokens.last().is_some_and(|last| self.words.eos.contains(last));
        if found.iter().any(|found| is_ended(&found.episode.pieces[0].actions)) {
            found.retain(|found| is_ended(&found.episode.pieces[0].actions));
        }
        let mut different: Vec<Candidate> = Vec::new();
        for found in found {
            let (log_prob, tokens) = (found.log_prob(), found.episode.pieces[0].actions.clone());
            let text = self.handoff.text(&tokens)?;
            if !text.is_empty() && different.iter().all(|other| other.text != text) {
                different.push(Candidate { text, tokens, log_prob });
            }
        }
        if different.is_empty() {
            return Err(Failure::failed(format!("the refiner proposes nothing but empty texts for `{request}`")));
        }
        Ok(different)
    }

    /// The posterior probabilities of candidates, given the picture: all are compared under the same draws, which both
    /// pictures of a pair share.
    fn posterior(&self, pair: usize, latent: &Latent, candidates: &[Candidate]) -> Result<Vec<f64>, Failure> {
        let mut logits = Vec::with_capacity(candidates.len());
        for candidate in candidates {
            let sides =
                vec![Finished { latent: Arc::clone(latent), condition: self.handoff.condition(&candidate.text)? }];
            let image = vec![ImageExample { sides, preference: 1.0 }];
            let source: ImageSource<'_, Demonstration> =
                ImageSource::new(&image, self.pictures.clone(), self.draws.clone(), self.units, Scheme::Forward)
                    .of_prediction(self.files.generator.scheduler.prediction);
            let episodes = source.item(pair).map_err(|error| failed(&*error))?.episodes;
            let scores =
                self.reference.inner.score(&self.pictures, &episodes).map_err(|error| failed(&error))?.log_probs;
            let weights = mdp::weights(&episodes);
            let weighted = scores.values().iter().zip(weights.values()).map(|(score, weight)| score * weight);
            logits.push(candidate.log_prob + self.rate * weighted.sum::<f64>());
        }
        softmax(&logits).ok_or_else(|| Failure::failed(format!("pair {pair}: a refinement's score is not finite")))
    }
}

/// Probabilities from finite logits.
fn softmax(logits: &[f64]) -> Option<Vec<f64>> {
    let most = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let shares: Vec<f64> = logits.iter().map(|logit| (logit - most).exp()).collect();
    let sum: f64 = shares.iter().sum();
    (sum.is_finite() && sum > 0.0).then(|| shares.iter().map(|share| share / sum).collect())
}

/// The index whose part of the line from 0 to 1 has this place.
fn pick(probabilities: &[f64], place: f64) -> usize {
    let mut sum = 0.0;
    let is_within = |probability: &f64| {
        sum += probability;
        place < sum
    };
    probabilities.iter().position(is_within).unwrap_or(probabilities.len().saturating_sub(1))
}

fn failed(error: &dyn std::error::Error) -> Failure {
    Failure::failed(error.to_string())
}
