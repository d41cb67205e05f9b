//! A refiner and a generator together.
use std::path::Path;
use std::sync::Arc;

use ::search::{FoundOf, OutcomeOf, Refinements, Sampling};
use datasets::pairs::{GeneratedPair, Modality, PairWriter};
use mdp::hybrid::Half;
use policies::Persist;

use super::check::check_count;
use super::diffusion::{acting, check_found};
use super::{Cast, methods, pairs, token};
use crate::gallery::Gallery;
use crate::hybrid::eval::{HybridSampler, Request, SamplingMdp};
use crate::hybrid::{Files, Frozen};
use crate::sampled::{RefinedPicture, Sampled, SampledResult};
use crate::sampling::hybrid::{candidate, is_unrefined, pair_settings, presets, requests};
use crate::settings::{SearchMethod, SearchScore, Values, at};
use crate::{Call, Failure};

pub(super) fn search(call: &mut Call<'_>) -> Result<Vec<Sampled>, Failure> {
    let prompts = presets(&mut call.values)?;
    let files = Files::load(&mut call.values)?;
    find_references(&mut call.values)?;
    check_width(&call.values, &files)?;
    let call = &*call;
    let whole = files.mdp()?;
    let requests = requests(&prompts, call)?;
    check_count(&call.values, requests.len())?;
    let sampler = HybridSampler::new(&files, &whole, call)?;
    let cast = cast(&call.values, &files, &sampler)?;
    let mut mdp = sampler.mdp.clone();
    mdp.outer.vocabulary = vocabulary(&files)? as u32;
    let work = Work { call, files: &files, sampler: &sampler, cast: &cast, mdp: &mdp, requests };
    match call.values.label.pairs() {
        Some(folder) => work.pairs(Path::new(folder)).map(|()| Vec::new()),
        None => work.pictures(),
    }
}

/// The tokens that a refiner chooses among.
fn vocabulary(files: &Files) -> Result<usize, Failure> {
    Ok(files.refiner.config.vocabulary.min(files.refiner.tokenizer()?.n_tokens()))
}

/// A search looks at no more tokens than the refiner has.
pub(super) fn check_width(values: &Values, files: &Files) -> Result<(), Failure> {
    token::check_width(values, "the refiner", vocabulary(files)?)
}

/// The models and requests of a search.
struct Work<'a> {
    call: &'a Call<'a>,
    files: &'a Files,
    sampler: &'a HybridSampler<'a>,
    cast: &'a Cast<Frozen>,
    mdp: &'a SamplingMdp<'a>,
    requests: Vec<String>,
}

impl<'a> Work<'a> {
    /// Searches for pictures of some requests; `done` gets the place of each among them.
    fn each(
        &self,
        requests: &[Request],
        done: impl FnMut(usize, OutcomeOf<SamplingMdp<'a>>) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let (values, mdp) = (&self.call.values, self.mdp);
        let starts = requests.iter().map(|request| self.sampler.start(request)).collect::<Result<Vec<_>, _>>()?;
        let steps = mdp.inner.timesteps.len() + 1;
        let longest = starts.iter().map(|start| match start {
            Half::Outer(state) => mdp.outer.max_length - state.len() + steps,
            Half::Inner(_) => steps,
        });
        let longest: Vec<usize> = longest.collect();
        let candidates = mdp.outer.eos.len().saturating_add(1).max(2);
        let run = |running: &mut methods::Running<'_, '_, SamplingMdp<'a>>| {
            if values.search.method() != SearchMethod::Refinements {
                return running.named(candidates);
            }
            let outer = methods::beam(values, values.search.width(), candidates);
            let inner = Sampling { n: values.search.pictures() };
            let mut outcomes = running.by(&Refinements { outer: &outer, inner: &inner })?;
            let n = methods::n(values);
            for outcome in &mut outcomes {
                outcome.found.truncate(n);
            }
            Ok(outcomes)
        };
        methods::each(self.call, mdp, self.cast, (&starts, &longest), run, done)
    }

    /// Pictures with their refined prompts, in a folder with a line each.
    fn pictures(&self) -> Result<Vec<Sampled>, Failure> {
        let values = &self.call.values;
        let requests: Vec<Request> = self.requests.iter().zip(0..).map(|(text, i)| Request::number(text, i)).collect();
        let mut outcomes = Vec::with_capacity(requests.len());
        self.each(&requests, |_, outcome| {
            check_found(values, outcome.found.iter().any(|found| found.is_finished))?;
            outcomes.push(outcome);
            Ok(())
        })?;
        let Some(out) = self.call.out() else { return Ok(Vec::new()) };
        let mut gallery = Gallery::create(out)?;
        for (i, (request, outcome)) in requests.iter().zip(&outcomes).enumerate() {
            for (j, (found, numbers)) in methods::described(values, outcome).enumerate() {
                let made = self.sampler.generation(request, &self.mdp.cut(found.episode.clone())?)?;
                let caption = format!("{}: {}", request.text, made.refined);
                gallery.push((&format!("{i:05}-{j}.png"), &caption), &self.sampler.picture(&made)?, |image| {
                    let (prompt, refined) = (request.text.clone(), made.refined.clone());
                    let picture = RefinedPicture { prompt, refined, image, sample: j };
                    Sampled { result: SampledResult::Refined(picture), search: Some(numbers) }
                })?;
            }
        }
        gallery.finish(self.call.reporter)
    }

    /// Pairs of pictures, to be judged. A share of them skips the refiner; there is then nothing to search in words, so both
    /// pictures are drawn as [`sample`](crate::sample()) draws them.
    fn pairs(&self, folder: &Path) -> Result<(), Failure> {
        let (values, n) = (&self.call.values, self.call.values.sample.n());
        let policy = &self.cast.policy;
        let own = [policy.outer.fingerprint()?, policy.inner.fingerprint()?];
        let settings = pair_settings(values, &self.files.generator, own, [None, None]);
        let settings =
            pairs::with_search(settings, values, self.cast, |pair| vec![&*pair.outer as &dyn Persist, &*pair.inner])?;
        let create = || PairWriter::create(folder, Modality::Hybrid, settings, Some(self.files.shape));
        let mut writer = self.call.reporter.ranks().is_leader().then(create).transpose()?;
        let is_null = |pair: usize| is_unrefined(values, pair as u64);
        let is_searched = |request: &usize| (request * n..(request + 1) * n).any(|pair| !is_null(pair));
        let searched: Vec<usize> = (0..self.requests.len()).filter(is_searched).collect();
        let asked: Vec<Request> = searched.iter().map(|&i| Request::number(&self.requests[i], i as u64)).collect();
        let mut next = 0;
        self.each(&asked, |place, outcome| {
            let Some(writer) = &mut writer else { return Ok(()) };
            for unrefined in next..searched[place] {
                self.push_pairs(writer, unrefined, &[])?;
            }
            next = searched[place] + 1;
            let finished: Vec<_> = outcome.found.into_iter().filter(|found| found.is_finished).collect();
            check_found(values, !finished.is_empty())?;
            self.push_pairs(writer, searched[place], &finished)
        })?;
        for unrefined in next..self.requests.len() {
            writer.as_mut().map_or(Ok(()), |writer| self.push_pairs(writer, unrefined, &[]))?;
        }
        pairs::finish(self.call, writer, (self.requests.len() * n, folder))
    }

    /// Adds the pairs of a request: those that skip the refiner are drawn, the others are of what was found.
    fn push_pairs(
        &self,
        writer: &mut PairWriter,
        request: usize,
        found: &[FoundOf<SamplingMdp<'a>>],
    ) -> Result<(), Failure> {
        let n = self.call.values.sample.n();
        let text = &self.requests[request];
        let mut of_search = pairs::sides(found, n).into_iter();
        for pair in request * n..(request + 1) * n {
            let (asked, made) = if is_unrefined(&self.call.values, pair as u64) {
                let one = |side: u64| Request { is_null: true, ..Request::number(text, pair as u64 * 2 + side) };
                let asked = [one(0), one(1)];
                let (refiner, generator) = (&self.cast.policy.outer, &self.cast.policy.inner);
                (asked.clone(), self.sampler.generate(refiner, generator, &asked, "pair")?)
            } else {
                let Some(sides) = of_search.next() else { continue };
                let one = Request::number(text, request as u64);
                let made = sides.map(|found| self.sampler.generation(&one, &self.mdp.cut(found.episode.clone())?));
                ([one.clone(), one], made.into_iter().collect::<Result<Vec<_>, Failure>>()?)
            };
            let pictures = [self.sampler.picture(&made[0])?, self.sampler.picture(&made[1])?];
            let [a, b] = [0, 1].map(|side| candidate(&asked[side], &made[side], &pictures[side]));
            writer.push(&GeneratedPair { request: text.clone(), a, b })?;
        }
        Ok(())
    }
}

/// The references of an implicit reward: those that are named, else what a run began with or stayed close to.
fn find_references(values: &mut Values) -> Result<(), Failure> {
    if values.search.score() != SearchScore::Implicit {
        return Ok(());
    }
    let config = values.model.model().map(|run| Path::new(run).join("config.toml")).filter(|config| config.is_file());
    if let Some(config) = config {
        let mut run = Values::default();
        run.merge_file(&config)?;
        let started = [
            run.hybrid.refiner_reference().or(run.hybrid.refiner()).map(str::to_owned),
            run.hybrid.generator_reference().or(run.hybrid.generator()).map(str::to_owned),
        ];
        let [refiner, generator] = started;
        values.preset(|settings| {
            settings.hybrid.refiner_reference = refiner;
            settings.hybrid.generator_reference = generator;
        });
    }
    if values.hybrid.refiner_reference().is_none() && values.hybrid.generator_reference().is_none() {
        let (score, refiner) = (&at::search::score, &at::hybrid::refiner_reference);
        let text = format!("{score} implicit needs {refiner}, {} or both", at::hybrid::generator_reference);
        return Err(Failure::usage(text));
    }
    Ok(())
}

/// Both halves as they are, and as the references that the settings name.
fn cast(values: &Values, files: &Files, sampler: &HybridSampler<'_>) -> Result<Cast<Frozen>, Failure> {
    let acting = acting(values, &files.generator, files.shape)?;
    let refiner = files.refiner.clone().frozen()?.acting(sampler.sampling.clone());
    let generator = files.generator.frozen(files.shape, acting.clone())?;
    let policy = policies::Pair::new(Arc::new(refiner), Arc::new(generator));
    let reference = match values.search.score() {
        SearchScore::Implicit => Some(files.reference_acting(values, acting)?),
        SearchScore::Likelihood | SearchScore::Ratio => None,
    };
    Ok(Cast { policy, reference, guides: None, verifier: None })
}
