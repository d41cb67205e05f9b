//! A refiner and a generator: pictures of requests, or pairs of them to be judged.
use std::path::Path;
use std::sync::Arc;

use datasets::Text;
use datasets::images::Pixels;
use datasets::pairs::{GeneratedPair, GeneratedResult, Modality, NewResult, PairWriter, Refined};
use engine::Noise;
use mdp::chance;
use models::causal::CausalLm;
use models::denoiser::Denoiser;
use policies::Persist as _;
use serde_json::{Map, Value, json};

use super::prompts::{PromptSource, own_problem};
use crate::denoiser::{self, Loaded};
use crate::divided::{chunks, in_turns, places, united};
use crate::embedded::ModelKind;
use crate::gallery::Gallery;
use crate::hybrid::eval::{Generation, HybridSampler, Request};
use crate::hybrid::{Files, PromptedMdp};
use crate::origin::run_of;
use crate::sampled::{RefinedPicture, Sampled, SampledResult};
use crate::settings::Values;
use crate::{Call, Failure, device, embedded};

/// Requests that are answered together: bounds the memory of their latents.
const AT_ONCE: usize = 64;

pub(crate) fn sample(call: &mut Call<'_>) -> Result<Vec<Sampled>, Failure> {
    check(&call.values)?;
    let prompts = presets(&mut call.values)?;
    let files = Files::load(&mut call.values)?;
    let mdp = files.mdp()?;
    let requests = requests(&prompts, call)?;
    super::check_count(requests.len(), call.values.sample.n())?;
    let acting = denoiser::acting(&call.values, &files.generator, files.shape)?;
    let models = (files.refiner.clone().frozen()?, files.generator.frozen(files.shape, acting)?);
    let hybrid = &call.values.hybrid;
    let other = if hybrid.refiner_reference().is_some() || hybrid.generator_reference().is_some() {
        call.values.preset(|settings| settings.sample.null_share = 0.0);
        let reference = files.reference(&call.values)?;
        Some((reference.outer, reference.inner))
    } else {
        None
    };
    let work = Work { call, files: &files, mdp: &mdp, models: &models, other, requests };
    let made = match call.values.label.pairs() {
        Some(folder) => work.pairs(Path::new(folder)).map(|()| Vec::new())?,
        None => work.pictures()?,
    };
    // Several processes may have drawn the same prompt.
    let n = united(call.reporter.ranks(), mdp.handoff.truncated_texts())?.len();
    if n > 0 {
        call.reporter.info(&format!(
            "{n} different refined prompts were longer than the text encoder reads; it did not see their end"
        ));
    }
    Ok(made)
}

/// Defaults to the embedded models; returns the source of the requests.
pub(crate) fn presets(values: &mut Values) -> Result<PromptSource, Failure> {
    if values.hybrid.refiner().is_none() && values.model.model().is_none() {
        let usual = embedded::usual(Modality::Hybrid);
        values.preset(|settings| {
            settings.hybrid.refiner = Some(usual.model_name(ModelKind::Language).to_owned());
            settings.hybrid.generator = Some(usual.model_name(ModelKind::Denoiser).to_owned());
        });
    }
    let run = values.model.model().map(run_of).transpose()?.flatten();
    let of_run = run.as_ref().and_then(|run| run.hybrid.refiner());
    let refiner = values.hybrid.refiner().or(of_run).unwrap_or_default();
    let prompts = PromptSource::of(values, own_problem(refiner, Modality::Hybrid))?;
    if let Some(problem) = embedded::find(prompts.name()) {
        values.preset(|settings| embedded::answer_requests(problem, settings));
    }
    Ok(prompts)
}

/// The requests of a file, as plain texts.
pub(crate) fn requests(prompts: &PromptSource, call: &Call<'_>) -> Result<Vec<String>, Failure> {
    let requests = prompts.read(&call.values, call.reporter)?.into_iter().map(|prompt| match prompt.text {
        Text::Plain(request) => Ok(request),
        Text::Chat(_) => Err(Failure::usage("`run.mdp` hybrid takes requests as plain text, not as chats")),
    });
    requests.collect()
}

/// Checks the settings before anything is loaded.
fn check(values: &Values) -> Result<(), Failure> {
    if values.sample.n() == 0 || values.sample.limit() == Some(0) {
        return Err(Failure::usage("`sample.n` and `sample.limit` take at least 1"));
    }
    let share = values.sample.null_share();
    if !(0.0..=1.0).contains(&share) {
        return Err(Failure::usage(format!("`sample.null_share` takes a number from 0 to 1, not {share}")));
    }
    match (values.label.pairs(), values.run.out()) {
        (Some(_), _) => Ok(()),
        (None, Some(out)) if Path::new(out).extension().is_none_or(|extension| extension == "png") => {
            Err(Failure::usage(format!("`run.out` {out}: name a .jsonl file; pictures go into a folder beside it")))
        }
        (None, Some(out)) => Ok(train::can_write(Path::new(out))?),
        (None, None) => {
            Err(Failure::usage("pictures need `run.out` FILE.jsonl, pairs to be judged `label.pairs` FOLDER"))
        }
    }
}

/// The models and requests of a sampling run.
struct Work<'a> {
    call: &'a Call<'a>,
    files: &'a Files,
    mdp: &'a PromptedMdp,
    models: &'a (CausalLm, Denoiser),
    /// The policy that makes side b, where it is another.
    other: Option<(Arc<CausalLm>, Arc<Denoiser>)>,
    requests: Vec<String>,
}

impl Work<'_> {
    fn sampler(&self) -> Result<HybridSampler<'_>, Failure> {
        HybridSampler::new(self.files, self.mdp, self.call)
    }

    fn pictures(&self) -> Result<Vec<Sampled>, Failure> {
        let values = &self.call.values;
        let n = values.sample.n();
        let sampler = self.sampler()?;
        let mut gallery = self.call.out().map(Gallery::create).transpose()?;
        let bar = self.call.reporter.bar("sample", self.requests.len() * n);
        let asked = (0..self.requests.len() * n).map(|i| Request::number(&self.requests[i / n], i as u64));
        let asked: Vec<Request> = asked.collect();
        let of = |chunk: usize| &asked[places(chunk, AT_ONCE, asked.len())];
        let work = |chunk: usize| sampler.generate(&self.models.0, &self.models.1, of(chunk), "sample");
        let ranks = self.call.reporter.ranks();
        in_turns(ranks, chunks(asked.len(), AT_ONCE), work, |chunk, made| {
            let Some(gallery) = &mut gallery else { return Ok(()) };
            for (made, asked) in made.iter().zip(of(chunk)) {
                let (i, j) = (asked.number as usize / n, asked.number as usize % n);
                let (name, caption) = (format!("{i:05}-{j}.png"), format!("{}: {}", asked.text, made.refined));
                gallery.push((&name, &caption), &sampler.picture(made)?, |image| {
                    let (prompt, refined) = (asked.text.clone(), made.refined.clone());
                    Sampled::drawn(SampledResult::Refined(RefinedPicture { prompt, refined, image, sample: j }))
                })?;
                bar.inc(1);
            }
            Ok(())
        })?;
        bar.finish_and_clear();
        gallery.map_or(Ok(Vec::new()), |gallery| gallery.finish(self.call.reporter))
    }

    /// Two refined prompts and two pictures per request, `sample.n` times. A share of the pairs skips the refiner: both
    /// pictures are generated from the raw request, which trains the generator on unrefined text too.
    fn pairs(&self, path: &Path) -> Result<(), Failure> {
        let sampler = self.sampler()?;
        let shape = self.files.shape;
        let ranks = self.call.reporter.ranks();
        let create = || Ok::<_, Failure>(PairWriter::create(path, Modality::Hybrid, self.settings()?, Some(shape))?);
        let mut writer = ranks.is_leader().then(create).transpose()?;
        let mut empty = 0;
        let all = self.requests.len() * self.call.values.sample.n();
        let bar = self.call.reporter.bar("pairs", all);
        let asked_of = |chunk: usize| {
            [0, 1].map(|side| places(chunk, AT_ONCE / 2, all).map(|pair| self.asked(pair, side)).collect::<Vec<_>>())
        };
        let other = self.other.as_ref().map_or((&self.models.0, &self.models.1), |(words, pictures)| (words, pictures));
        let work = |chunk: usize| {
            let [a, b] = asked_of(chunk);
            let a = sampler.generate(&self.models.0, &self.models.1, &a, "pair")?;
            Ok([a, sampler.generate(other.0, other.1, &b, "pair")?])
        };
        in_turns(ranks, chunks(all, AT_ONCE / 2), work, |chunk, [made_a, made_b]| {
            let Some(writer) = &mut writer else { return Ok(()) };
            let asked = asked_of(chunk);
            empty += made_a.iter().chain(&made_b).filter(|made| made.refined.is_empty()).count();
            for (a, b) in asked[0].iter().zip(&made_a).zip(asked[1].iter().zip(&made_b)) {
                let (request, pictures) = (a.0.text.clone(), [sampler.picture(a.1)?, sampler.picture(b.1)?]);
                let (a, b) = (candidate(a.0, a.1, &pictures[0]), candidate(b.0, b.1, &pictures[1]));
                writer.push(&GeneratedPair { request, a, b })?;
                bar.inc(1);
            }
            Ok(())
        })?;
        bar.finish_and_clear();
        let Some(writer) = writer else { return Ok(()) };
        let n = writer.len();
        writer.finish()?;
        if empty > 0 {
            self.call
                .reporter
                .info(&format!("{empty} refined prompts are empty; the generator was told nothing by them"));
        }
        self.call.reporter.info(&super::describe_pairs(n, path));
        Ok(())
    }

    /// What a side of a pair answers.
    fn asked(&self, pair: usize, side: usize) -> Request {
        let one = Request::number(&self.requests[pair / self.call.values.sample.n()], (pair * 2 + side) as u64);
        Request { is_null: is_unrefined(&self.call.values, pair as u64), ..one }
    }

    /// The settings that reproduce a folder of pairs; each side's seed is its number under the run's.
    fn settings(&self) -> Result<Map<String, Value>, Failure> {
        let own = [self.models.0.fingerprint()?, self.models.1.fingerprint()?];
        let words = self.other.as_ref().map(|(words, _)| words.fingerprint()).transpose()?;
        let pictures = self.other.as_ref().map(|(_, pictures)| pictures.fingerprint()).transpose()?;
        Ok(pair_settings(&self.call.values, &self.files.generator, own, [words, pictures]))
    }
}

/// Whether both sides of a pair skip the refiner.
pub(crate) fn is_unrefined(values: &Values, pair: u64) -> bool {
    chance::unit(&mut Noise::new(values.run.seed()).stream("null refiner", pair)) < values.sample.null_share()
}

/// The settings that reproduce a folder of pairs: with the fingerprints of refiner and generator, and of side b's.
pub(crate) fn pair_settings(
    values: &Values,
    loaded: &Loaded,
    [refiner, generator]: [String; 2],
    [other_refiner, other_generator]: [Option<String>; 2],
) -> Map<String, Value> {
    super::settings_map(&json!({
        "precision": device::kept(values), "refiner": values.hybrid.refiner().or(values.model.model()),
        "generator": values.hybrid.generator().or(values.model.model()),
        "refiner_fingerprint": refiner,
        "generator_fingerprint": generator,
        "side_b_refiner_fingerprint": other_refiner,
        "side_b_generator_fingerprint": other_generator,
        "side_b_refiner": other_refiner.as_ref().and(values.hybrid.refiner_reference()),
        "side_b_generator": other_generator.as_ref().and(values.hybrid.generator_reference()),
        "request_template": values.hybrid.template(),
        "max_length": Some(values.data.max_length()),
        "n": Some(values.sample.n()),
        "scheduler": values.model.scheduler(),
        "prediction": values.model.prediction(),
        "image_size": values.data.image_size(),
        "seed": Some(values.run.seed()),
        "temperature": Some(values.sample.temperature()),
        "top_k": values.sample.top_k(),
        "top_p": values.sample.top_p(),
        "min_p": values.sample.min_p(),
        "repetition_penalty": values.sample.repetition_penalty(),
        "sampler": values.sample.sampler(),
        "steps": Some(values.sample.steps()),
        "eta": Some(values.sample.eta()),
        "guidance": loaded.guidance(values),
        "null_share": Some(values.sample.null_share()),
    }))
}

/// One side of a pair.
pub(crate) fn candidate<'a>(
    asked: &Request,
    made: &'a Generation,
    picture: &'a Pixels,
) -> GeneratedResult<NewResult<'a>> {
    let refined = Refined { text: made.refined.clone(), tokens: made.tokens.clone(), is_null: asked.is_null };
    GeneratedResult {
        refined: Some(refined),
        made: NewResult::Image { picture, latent: &made.latent },
        seed: asked.number,
        log_probs: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_settings_of_pairs_name_the_guidance_that_nobody_gave() {
        let mut values = Values::default();
        for set in
            ["run.mdp=hybrid", "hybrid.refiner=builtin:chimera-refiner", "hybrid.generator=builtin:chimera-generator"]
        {
            values.merge_set(set).unwrap();
        }
        let files = Files::load(&mut values).unwrap();
        let settings = |values: &Values, generator: &Loaded| {
            pair_settings(values, generator, ["a".into(), "b".into()], [None, None])
        };
        let (own, of_pictures) = (
            settings(&values, &files.generator),
            crate::sampling::diffusion::pair_settings(&values, &files.generator, [None, None]),
        );
        assert_eq!(own["guidance"], json!(1.0));
        // What a folder of pictures says of the generator, that of a hybrid says too.
        for name in
            ["seed", "sampler", "steps", "eta", "guidance", "precision", "scheduler", "prediction", "image_size"]
        {
            assert_eq!(own[name], of_pictures[name], "{name}");
        }
        values.merge_set("sample.guidance=3").unwrap();
        assert_eq!(settings(&values, &files.generator)["guidance"], json!(3.0));
    }
}
