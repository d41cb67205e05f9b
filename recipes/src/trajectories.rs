//! Reverse trajectories: sampled, judged, saved and loaded.
use std::path::Path;
use std::sync::Arc;

use datasets::images::{self, Pixels};
use datasets::synthetic::Split;
use engine::Noise;
use mdp::diffusion::NoiseSchedule;
use models::denoiser::{Condition, Denoiser, Generated, LatentShape};
use models::sampler::SamplingPlan;
use train::diffusion::Trajectories;

use crate::denoiser::{self, Loaded};
use crate::embedded::{EmbeddedProblem, PictureOracle, problems};
use crate::images::ImageData;
use crate::images::files::context_layout;
use crate::images::latents::{conditioning, context};
use crate::settings::Modality;
use crate::{Call, Failure};

/// The default number of captions of an embedded problem to sample trajectories for; `data.limit` sets another.
const CAPTIONS: usize = 384;
/// Trajectories of each caption; the best and the worst become a pair.
const EACH: usize = 3;

/// Trajectories with their sampling plan.
pub(crate) struct TrajectoryData {
    pub(crate) trajectories: Trajectories,
    /// For each pair a text that is equal for equal captions or contexts.
    pub(crate) pair_captions: Vec<String>,
    pub(crate) schedule: Arc<NoiseSchedule>,
    pub(crate) timesteps: Vec<usize>,
    pub(crate) fingerprint: String,
}

/// Reads `diffusion.trajectories`, or samples some from the starting policy if an oracle can judge them.
pub(crate) fn open(
    call: &mut Call,
    loaded: &Loaded,
    policy: &Denoiser,
    data: &ImageData,
) -> Result<TrajectoryData, Failure> {
    let values = &call.values;
    let plan = denoiser::scored_plan(values, loaded, "`diffusion.scheme` trajectory")?;
    if let Some(path) = values.diffusion.trajectories() {
        return read(Path::new(path), plan, loaded, data);
    }
    let judge = data.problem.and_then(|problem| Some((problem, problem.oracle.pictures()?)));
    let judge = judge.ok_or_else(|| {
        Failure::usage(
            "`diffusion.scheme` trajectory needs `diffusion.trajectories`: sample `sample.save_trajectories` makes them",
        )
    })?;
    judged(call, plan, loaded, policy, data, judge)
}

/// Trajectories of the starting policy, with the oracle's preferences.
fn judged(
    call: &Call,
    plan: SamplingPlan,
    loaded: &Loaded,
    policy: &Denoiser,
    data: &ImageData,
    (problem, oracle): (&EmbeddedProblem, &PictureOracle),
) -> Result<TrajectoryData, Failure> {
    let values = &call.values;
    let n = values.data.limit().unwrap_or(CAPTIONS);
    call.reporter.info(&format!("{} trajectories of the starting policy, judged by the oracle", n * EACH));
    let seed = values.run.seed();
    let captions = problem.prompts(seed, Split::Train, n as u64);
    let mut conditions = Vec::with_capacity(n * EACH);
    for caption in &captions {
        let condition = data.captions.condition(caption)?;
        conditions.extend(std::iter::repeat_n(condition, EACH));
    }
    let noise = Noise::new(seed);
    let mut rngs: Vec<_> = (0..conditions.len()).map(|i| noise.stream("trajectory", i as u64)).collect();
    let bar = call.reporter.bar("trajectories", plan.timesteps.len());
    let mut progress = call.reporter.unless_stopped(|step| bar.set_position(step as u64));
    let made = policy.generate(&plan, &conditions, &mut rngs, &mut progress)?;
    bar.finish_and_clear();
    let pictures = made.iter().map(|made| denoiser::decode(loaded.vae.as_deref(), policy.shape(), made.image()));
    let pictures = pictures.collect::<Result<Vec<_>, _>>()?;
    let (mut pairs, mut pair_captions) = (Vec::new(), Vec::new());
    for ((i, caption), pictures) in captions.iter().enumerate().zip(pictures.chunks(EACH)) {
        if let Some((best, worst)) = best_and_worst(oracle, caption, pictures) {
            pairs.push((i * EACH + best, i * EACH + worst));
            pair_captions.push(caption.clone());
        }
    }
    let (latents, behaviour) = made.into_iter().map(|made| (made.latents, made.log_probs)).unzip();
    let trajectories = Trajectories { conditions, latents, behaviour, pairs };
    let fingerprint = format!("{} {n} {:?} {:?}", data.fingerprint, plan.timesteps, plan.sampling.sampler());
    Ok(TrajectoryData { trajectories, pair_captions, schedule: plan.schedule, timesteps: plan.timesteps, fingerprint })
}

/// The indices of the pictures with the highest and the lowest score; `None` for a tie, or if the oracle does not
/// recognise the caption.
fn best_and_worst(oracle: &PictureOracle, caption: &str, pictures: &[Pixels]) -> Option<(usize, usize)> {
    let scores: Vec<f64> = pictures.iter().map(|picture| (oracle.score)(caption, picture)).collect::<Option<_>>()?;
    let best = (0..scores.len()).max_by(|&a, &b| scores[a].total_cmp(&scores[b]))?;
    let worst = (0..scores.len()).min_by(|&a, &b| scores[a].total_cmp(&scores[b]))?;
    (scores[best] - scores[worst] > oracle.tie).then_some((best, worst))
}

/// Reads a file that `sample` wrote (`sample.save_trajectories`).
fn read(path: &Path, plan: SamplingPlan, loaded: &Loaded, data: &ImageData) -> Result<TrajectoryData, Failure> {
    let file = images::TrajectoryFile::open(path, loaded.scheduler.schedule.len())?;
    let shown = path.display();
    if file.shape() != data.shape {
        let text = format!("{shown}: latents of {}, the model's are {}", file.shape(), data.shape);
        return Err(Failure::failed(text));
    }
    if file.timesteps() != plan.timesteps {
        let (found, ours) = (file.timesteps().len(), plan.timesteps.len());
        let text = format!(
            "{shown}: made in {found} steps at other timesteps than the {ours} of `sample.sampler`, `sample.steps` and the \
             scheduler here; give those it was made with"
        );
        return Err(Failure::failed(text));
    }
    if file.pairs().is_empty() {
        return Err(Failure::failed(format!("{shown}: no preferences in it (tensors `better` and `worse`)")));
    }
    let (mut conditions, mut latents, mut behaviour) = (Vec::new(), Vec::new(), Vec::new());
    for index in 0..file.len() {
        let one = file.get(index)?;
        conditions.push(Arc::new(conditioning(&one.context)));
        latents.push(one.latents);
        behaviour.push(one.log_probs.into_iter().map(f64::from).collect());
    }
    let pair_captions = file.pairs().iter().map(|&(better, worse)| -> Result<String, Failure> {
        let (better, worse) = (file.told(better)?, file.told(worse)?);
        Ok(if better == worse { better } else { format!("{better}\n{worse}") })
    });
    let pair_captions = pair_captions.collect::<Result<Vec<_>, _>>()?;
    let trajectories = Trajectories { conditions, latents, behaviour, pairs: file.pairs().to_vec() };
    let fingerprint = file.fingerprint();
    Ok(TrajectoryData { trajectories, pair_captions, schedule: plan.schedule, timesteps: plan.timesteps, fingerprint })
}

/// The oracles that read captions.
fn oracles() -> impl Iterator<Item = &'static PictureOracle> {
    problems().filter(|problem| problem.modality == Modality::Diffusion).filter_map(|problem| problem.oracle.pictures())
}

/// The contents of a trajectory file.
pub(crate) struct MadeTrajectories<'a> {
    pub(crate) plan: &'a SamplingPlan,
    pub(crate) shape: LatentShape,
    pub(crate) prompts: &'a [String],
    pub(crate) conditions: &'a [Condition],
    /// `each` per prompt, in prompt order.
    pub(crate) trajectories: &'a [Generated],
    pub(crate) each: usize,
    /// The fingerprint of the policy that sampled them.
    pub(crate) policy: &'a str,
}

/// The largest number of hidden states, if conditions have different numbers.
fn longest(conditions: &[Condition]) -> Option<usize> {
    let length = |condition: &Condition| condition.hidden.as_ref().map_or(0, |hidden| hidden.length);
    let longest = conditions.iter().map(length).max()?;
    (conditions.iter().map(length).min() != Some(longest)).then_some(longest)
}

/// Writes trajectories, with the oracle's preferences if `pictures` of embedded captions allow them.
pub(crate) fn save(path: &Path, made: &MadeTrajectories<'_>, pictures: &[Pixels]) -> Result<(), Failure> {
    let like = made.conditions.first().ok_or_else(|| Failure::failed("there are no trajectories to save"))?;
    let layout = images::TrajectoryLayout {
        trajectories: made.trajectories.len(),
        steps: made.plan.timesteps.len(),
        shape: made.shape,
        contexts: context_layout(like, longest(made.conditions), made.prompts.len()),
    };
    let mut writer = images::TrajectoryWriter::create(path, layout)?;
    for (index, one) in made.trajectories.iter().enumerate() {
        let log_probs: Vec<f32> = one.log_probs.iter().map(|log_prob| *log_prob as f32).collect();
        writer.write(index, &one.latents, &log_probs)?;
    }
    for row in 0..made.prompts.len() {
        writer.write_context(row, &context(&made.conditions[row * made.each]))?;
    }
    let pairs: Vec<(usize, usize)> = (0..made.prompts.len())
        .filter_map(|i| {
            let pictures = &pictures[i * made.each..(i + 1) * made.each];
            let (best, worst) = oracles().find_map(|oracle| best_and_worst(oracle, &made.prompts[i], pictures))?;
            Some((i * made.each + best, i * made.each + worst))
        })
        .collect();
    let context_of: Vec<usize> = (0..made.trajectories.len()).map(|i| i / made.each).collect();
    let captions: Vec<String> = context_of.iter().map(|&i| made.prompts[i].clone()).collect();
    writer.finish(images::TrajectoryNotes {
        policy: made.policy,
        timesteps: &made.plan.timesteps,
        pairs: &pairs,
        context_of: &context_of,
        empty: None,
        captions: &captions,
    })?;
    Ok(())
}
