//! Denoisers.
use std::path::Path;

use datasets::Text;
use datasets::pairs::{GeneratedPair, GeneratedResult, Modality, NewResult, PairWriter};
use engine::Noise;
use mdp::diffusion::Latent;
use models::denoiser::{Condition, Denoiser, Generated, LatentShape};
use models::sampler::SamplingPlan;
use policies::Persist;
use serde_json::{Map, Value, json};
use train::can_write;

use super::prompts::{BUILTIN_PROMPTS, PromptSource, own_problem};
use crate::denoiser::{self, Loaded};
use crate::divided::{Travels, chunks, in_turns, places};
use crate::embedded::{ModelKind, usual};
use crate::gallery::Gallery;
use crate::images::Captions;
use crate::judged_pairs::side_stream;
use crate::sampled::{Sampled, SampledPicture, SampledResult};
use crate::settings::Values;
use crate::trajectories::{self, MadeTrajectories};
use crate::{Call, Failure, Reporter, device};

pub(crate) fn sample(call: &Call<'_>) -> Result<Vec<Sampled>, Failure> {
    match call.values.label.pairs() {
        Some(folder) => pairs(call, Path::new(folder)).map(|()| Vec::new()),
        None => pictures(call),
    }
}

/// A model and its prompts.
pub(crate) struct Inputs {
    pub(crate) loaded: Loaded,
    pub(crate) shape: LatentShape,
    pub(crate) captions: Captions,
    pub(crate) prompts: Vec<String>,
}

impl Inputs {
    /// Loads the models and prompts of the settings, and checks them for `n` pictures each.
    pub(crate) fn open(call: &Call<'_>, n: usize) -> Result<Self, Failure> {
        let values = &call.values;
        let name = model_name(values);
        let loaded = denoiser::load(name, values)?;
        let shape = loaded.shape(values)?;
        check_model(name, &loaded, shape.channels)?;
        let captions = Captions::new(&loaded, shape);
        let prompts = prompts(values, &loaded, call.reporter)?;
        super::check_count(prompts.len(), n)?;
        captions.say_cut(&prompts.iter().map(String::as_str).collect::<Vec<_>>(), call.reporter)?;
        Ok(Self { loaded, shape, captions, prompts })
    }
}

/// The name of the model that draws.
pub(crate) fn model_name(values: &Values) -> &str {
    values.model.model().unwrap_or(usual(Modality::Diffusion).model_name(ModelKind::Denoiser))
}

/// Pictures, or pairs of them, that are made at once: bounds the memory of a step, and how long a wish to stop waits.
const AT_ONCE: usize = 32;

/// Two pictures of each prompt, `sample.n` times, to be judged.
fn pairs(call: &Call<'_>, path: &Path) -> Result<(), Failure> {
    let values = &call.values;
    let n = values.sample.n();
    let Inputs { loaded, shape, captions, prompts } = Inputs::open(call, n)?;
    let (own, other) = makers(values, &loaded, shape)?;
    let makers = [&own, other.as_ref().unwrap_or(&own)];
    let plan = denoiser::plan(values, &loaded)?;
    let fingerprints = [Some(own.fingerprint()?), other.as_ref().map(Persist::fingerprint).transpose()?];
    let settings = pair_settings(values, &loaded, fingerprints);
    let ranks = call.reporter.ranks();
    let create = || PairWriter::create(path, Modality::Diffusion, settings, Some(shape));
    let mut writer = ranks.is_leader().then(create).transpose()?;
    let all = prompts.len() * n;
    let bar = call.reporter.bar("pairs", all);
    let of = |chunk: usize| places(chunk, AT_ONCE, all);
    let work = |chunk: usize| {
        let conditions = of(chunk).map(|i| captions.condition(&prompts[i / n])).collect::<Result<Vec<_>, _>>()?;
        let draw = |(side, maker): (usize, &Denoiser)| {
            let mut rngs: Vec<_> = of(chunk).map(|i| side_stream(values.run.seed(), (i * 2 + side) as u64)).collect();
            let made = maker.generate(&plan, &conditions, &mut rngs, &mut call.reporter.unless_stopped(|_| ()))?;
            Ok::<_, Failure>(made.iter().map(|made| made.image().clone()).collect::<Vec<Latent>>())
        };
        Ok([draw((0, makers[0]))?, draw((1, makers[1]))?])
    };
    in_turns(ranks, chunks(all, AT_ONCE), work, |chunk, sides: [Vec<Latent>; 2]| {
        let Some(writer) = &mut writer else { return Ok(()) };
        for (row, number) in of(chunk).enumerate() {
            let latents = sides.each_ref().map(|side| &side[row]);
            push_pair(writer, (&prompts[number / n], number), latents, (&loaded, shape))?;
        }
        bar.inc(of(chunk).len() as u64);
        Ok(())
    })?;
    bar.finish_and_clear();
    let Some(writer) = writer else { return Ok(()) };
    let n = writer.len();
    writer.finish()?;
    call.reporter.info(&super::describe_pairs(n, path));
    Ok(())
}

/// Adds a pair by its number.
fn push_pair(
    writer: &mut PairWriter,
    (request, number): (&str, usize),
    latents: [&Latent; 2],
    (loaded, shape): (&Loaded, LatentShape),
) -> Result<(), Failure> {
    let decode = |latent: &Latent| denoiser::decode(loaded.vae.as_deref(), shape, latent);
    let pictures = [decode(latents[0])?, decode(latents[1])?];
    let side = |side: usize| GeneratedResult {
        refined: None,
        made: NewResult::Image { picture: &pictures[side], latent: latents[side] },
        seed: (number * 2 + side) as u64,
        log_probs: None,
    };
    Ok(writer.push(&GeneratedPair { request: request.to_owned(), a: side(0), b: side(1) })?)
}

/// The model of side a, and another of side b if there is one.
fn makers(values: &Values, loaded: &Loaded, shape: LatentShape) -> Result<(Denoiser, Option<Denoiser>), Failure> {
    let acting = denoiser::acting(values, loaded, shape)?;
    let other = match values.model.reference() {
        Some(other) => Some(denoiser::load_reference(other, loaded, values)?.frozen(shape, acting.clone())?),
        None => None,
    };
    Ok((loaded.frozen(shape, acting)?, other))
}

/// The settings that reproduce a folder of pairs.
pub(crate) fn pair_settings(values: &Values, loaded: &Loaded, [own, other]: [Option<String>; 2]) -> Map<String, Value> {
    super::settings_map(&json!({
        "model": loaded.name, "side_b_model": other.as_ref().and(values.model.reference()), "fingerprint": own, "side_b_fingerprint": other,
        "seed": values.run.seed(), "sampler": values.sample.sampler(), "steps": Some(values.sample.steps()),
        "eta": Some(values.sample.eta()), "guidance": loaded.guidance(values),
        "scheduler": values.model.scheduler(), "prediction": values.model.prediction(), "image_size": values.data.image_size(),
        "precision": device::kept(values),
    }))
}

fn pictures(call: &Call<'_>) -> Result<Vec<Sampled>, Failure> {
    let values = &call.values;
    let n = check(values)?;
    let Inputs { loaded, shape, captions, prompts } = Inputs::open(call, n)?;
    let mut conditions = Vec::with_capacity(prompts.len() * n);
    for prompt in &prompts {
        let condition = captions.condition(prompt)?;
        conditions.extend(std::iter::repeat_n(condition, n));
    }
    let denoiser = loaded.frozen(shape, denoiser::acting(values, &loaded, shape)?)?;
    let plan = match values.sample.save_trajectories() {
        Some(_) => denoiser::scored_plan(values, &loaded, "`sample.save_trajectories`")?,
        None => denoiser::plan(values, &loaded)?,
    };
    let made = draw(call, &denoiser, &plan, &conditions)?;
    let Some(out) = call.out() else { return Ok(Vec::new()) };
    let decoded = made.iter().map(|made| denoiser::decode(loaded.vae.as_deref(), shape, made.image()));
    let decoded = decoded.collect::<Result<Vec<_>, _>>()?;
    let mut gallery = Gallery::create(out)?;
    if let Some(path) = values.sample.save_trajectories() {
        let policy = denoiser.fingerprint()?;
        let (plan, prompts, conditions, policy) = (&plan, &prompts[..], &conditions[..], &policy[..]);
        let made = MadeTrajectories { plan, shape, prompts, conditions, trajectories: &made, each: n, policy };
        trajectories::save(path.as_ref(), &made, &decoded)?;
    }
    for (i, (made, pixels)) in made.iter().zip(&decoded).enumerate() {
        let prompt = &prompts[i / n];
        let log_prob: f64 = made.log_probs.iter().sum();
        gallery.push((&format!("{:05}-{}.png", i / n, i % n), prompt), pixels, |image| {
            let (prompt, log_prob) = (prompt.clone(), Some(log_prob));
            Sampled::drawn(SampledResult::Picture(SampledPicture { prompt, image, sample: i % n, log_prob }))
        })?;
    }
    gallery.finish(call.reporter)
}

/// Generates images for conditions in batches, each from its own random stream. Of several processes the leader gets all.
fn draw(
    call: &Call<'_>,
    denoiser: &Denoiser,
    plan: &SamplingPlan,
    conditions: &[Condition],
) -> Result<Vec<Generated>, Failure> {
    let noise = Noise::new(call.values.run.seed());
    let bar = call.reporter.bar("sample", plan.timesteps.len() * conditions.len());
    let mut made = Vec::with_capacity(conditions.len());
    let of = |chunk: usize| places(chunk, AT_ONCE, conditions.len());
    let work = |chunk: usize| {
        let (before, n) = (of(chunk).start * plan.timesteps.len(), of(chunk).len());
        let mut rngs: Vec<_> = of(chunk).map(|i| noise.stream("sample", i as u64)).collect();
        let mut progress = call.reporter.unless_stopped(|step| bar.set_position((before + step * n) as u64));
        Ok(denoiser.generate(plan, &conditions[of(chunk)], &mut rngs, &mut progress)?)
    };
    in_turns(call.reporter.ranks(), chunks(conditions.len(), AT_ONCE), work, |_, more: Vec<Generated>| {
        made.extend(more);
        Ok(())
    })?;
    bar.finish_and_clear();
    Ok(made)
}

/// Checks the settings before anything is loaded, and returns the number of pictures of a prompt.
fn check(values: &Values) -> Result<usize, Failure> {
    let n = values.sample.n();
    if n == 0 || values.sample.limit() == Some(0) {
        return Err(Failure::usage("`sample.n` and `sample.limit` take at least 1"));
    }
    let Some(out) = values.run.out() else {
        return Err(Failure::usage("pictures need `run.out` FILE.jsonl: they go beside it, with a contact sheet"));
    };
    if Path::new(out).extension().is_none_or(|extension| extension == "png") {
        return Err(Failure::usage(format!(
            "`run.out` {out}: name a .jsonl file; pictures go into a folder beside it"
        )));
    }
    can_write(Path::new(out))?;
    if let Some(path) = values.sample.save_trajectories() {
        can_write(Path::new(path))?;
    }
    Ok(n)
}

/// Checks that a model can make pictures, before it has worked.
fn check_model(name: &str, loaded: &Loaded, channels: usize) -> Result<(), Failure> {
    if !loaded.takes_prompts() {
        let text = format!(
            "{name}: reads texts, and has no text_encoder/ to read prompts with; name a whole diffusers folder"
        );
        return Err(Failure::failed(text));
    }
    if loaded.vae.is_none() && ![1, 3].contains(&channels) {
        let text = format!("{name}: makes latents of {channels} channels, and has no vae/ to make pictures of them");
        return Err(Failure::failed(text));
    }
    Ok(())
}

/// The prompts of the settings. A model that reads no texts needs none: it is then asked for `sample.limit` pictures.
fn prompts(values: &Values, loaded: &Loaded, reporter: &dyn Reporter) -> Result<Vec<String>, Failure> {
    if loaded.texts.is_none() && values.sample.prompt().is_empty() && values.sample.prompts().is_none() {
        return Ok(vec![String::new(); values.sample.limit().unwrap_or(BUILTIN_PROMPTS)]);
    }
    let source = PromptSource::of(values, own_problem(model_name(values), Modality::Diffusion))?;
    let plain = |prompt: datasets::Prompt| match prompt.text {
        Text::Plain(text) => Ok(text),
        Text::Chat(_) => Err(Failure::failed(format!("{}: pictures are asked for in plain texts", source.name()))),
    };
    source.read(values, reporter)?.into_iter().map(plain).collect()
}

impl Travels for Generated {
    fn write(&self, to: &mut Vec<f64>) {
        self.latents.write(to);
        self.log_probs.write(to);
    }

    fn read(from: &mut dyn Iterator<Item = f64>) -> Option<Self> {
        Some(Self { latents: Vec::read(from)?, log_probs: Vec::read(from)? })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::judged_pairs::prior_noise;

    #[test]
    fn the_noise_of_a_side_is_drawn_again() {
        let mut values = Values::default();
        for set in ["run.mdp=diffusion", "model.model=builtin:shapes", "sample.steps=2"] {
            values.merge_set(set).unwrap();
        }
        let loaded = denoiser::load("builtin:shapes", &values).unwrap();
        let shape = loaded.shape(&values).unwrap();
        let maker = loaded.frozen(shape, denoiser::acting(&values, &loaded, shape).unwrap()).unwrap();
        let plan = denoiser::plan(&values, &loaded).unwrap();
        let condition = Captions::new(&loaded, shape).condition("a red circle").unwrap();
        let conditions = [Arc::clone(&condition), condition];
        let mut rngs = [5, 6].map(|number| side_stream(3, number));
        let made = maker.generate(&plan, &conditions, &mut rngs, &mut |_| std::ops::ControlFlow::Continue(())).unwrap();
        for (made, number) in made.iter().zip([5, 6]) {
            assert_eq!(made.latents[0], prior_noise(3, number, shape.size()));
        }
    }
}
