//! Trains denoisers.
use std::sync::Arc;

use ::train::diffusion::{DrawPlan, FromImages, ImageMdp, ImageSource, Scheme, Trajectories, TrajectorySource, Units};
use ::train::pictures::Pictures;
use ::train::{CacheKey, Hooks, Samples, Source};
use datasets::holdout::{PromptHash, hold_out};
use models::denoiser::Denoiser;
use objectives::{Comparison, Objective};
use policies::{Persist as _, Policy};

use super::{FinishedRun, Suggestion, Task, Trained};
use crate::denoiser::{self, Loaded};
use crate::images::{self, ImageData};
use crate::objective::AnyObjective;
use crate::pictures::{self, PictureSampler};
use crate::settings::{Loss, Modality, Scheme as SchemeName, Values, at};
use crate::trajectories::TrajectoryData;
use crate::{Failure, adapters, draws, dropout, holdout, summary, trajectories};

/// Trains a denoiser.
pub(super) fn train(task: Task<'_>, objective: AnyObjective) -> Result<Trained, Failure> {
    let is_trajectory = task.call.values.diffusion.scheme() == SchemeName::Trajectory;
    check_settings(&task.call.values, is_trajectory)?;
    let setup = Setup::open(task)?;
    match objective {
        AnyObjective::Comparisons(objective) if is_trajectory => setup.on_trajectories(objective.as_ref()),
        AnyObjective::Comparisons(objective) => setup.on_images(objective.as_ref()),
        AnyObjective::Demonstrations(objective) if !is_trajectory => setup.on_images(objective.as_ref()),
        AnyObjective::Demonstrations(_) => {
            Err(Failure::usage("`objective.name` sft learns from images: `diffusion.scheme` forward"))
        }
        AnyObjective::Labels(_) | AnyObjective::Rankings(_) => {
            let name = setup.task.call.values.objective.name();
            Err(Failure::usage(format!(
                "`objective.name` {name} is for `run.mdp` token; images come in pairs: try dpo"
            )))
        }
    }
}

/// Refuses invalid settings of a denoiser.
pub(super) fn check_settings(values: &Values, is_trajectory: bool) -> Result<(), Failure> {
    let name = values.objective.name();
    if matches!(name, Loss::Orpo | Loss::Tdpo) {
        return Err(Failure::usage(format!(
            "`objective.name` {name} reads probabilities, a denoiser's errors are none"
        )));
    }
    if name == Loss::D3po && !is_trajectory {
        return Err(Failure::usage(
            "`objective.name` d3po compares single steps of trajectories: `diffusion.scheme` trajectory",
        ));
    }
    Ok(())
}

/// The model, reference and data of a run.
struct Setup<'a> {
    task: Task<'a>,
    data: ImageData,
    learner: Denoiser,
    reference: Arc<Denoiser>,
    loaded: Loaded,
    mdp: ImageMdp,
    units: Units,
}

impl<'a> Setup<'a> {
    fn open(mut task: Task<'a>) -> Result<Self, Failure> {
        let call = &mut task.call;
        let units = draws::units(&call.values)?;
        let name = call.values.model.model().unwrap_or_default().to_owned();
        let loaded = denoiser::load(&name, &call.values)?;
        let data = images::open(&loaded, call)?;
        let shape = data.shape;
        let mdp = ImageMdp::full(Arc::clone(&loaded.scheduler.schedule), shape.size());
        let acting = denoiser::acting(&call.values, &loaded, shape)?;
        let continues_adapter = denoiser::continues_adapter(&loaded, &call.values)?;
        let reference = match call.values.model.reference() {
            Some(other) => Some(denoiser::load_reference(other, &loaded, &call.values)?.frozen(shape, acting.clone())?),
            None if continues_adapter => None,
            None => Some(loaded.frozen(shape, acting.clone())?),
        };
        let learner = denoiser::learner(&loaded, shape, acting, &call.values)?;
        let reference = reference.map_or_else(|| learner.frozen_copy(), Ok)?;
        if continues_adapter {
            adapters::set_lora(learner.lora(), &mut call.values);
        }
        call.reporter.info(&format!("model {name}: {}", loaded.describe(shape)));
        call.reporter.info(&data.describe());
        dropout::note(&loaded.files.path, call.reporter);
        Ok(Self { task, data, learner, reference: Arc::new(reference), loaded, mdp, units })
    }

    fn on_images<F: FromImages>(self, objective: &dyn Objective<Feedback = F>) -> Result<Trained, Failure> {
        let values = &self.task.call.values;
        let draws = self.draws()?;
        let is_half = values.diffusion.scheme() == SchemeName::Half;
        self.describe(&draws, is_half);
        let reference = Arc::clone(&self.reference);
        let scheme = if is_half { Scheme::Half(reference.as_ref()) } else { Scheme::Forward };
        let share = draws::empty_share(values)?;
        let (data, empty) = (Arc::clone(&self.data.train), self.data.captions.empty()?);
        let source = |images, draws: DrawPlan| {
            ImageSource::<F>::new(images, self.mdp.clone(), draws, self.units, scheme)
                .of_prediction(self.loaded.scheduler.prediction)
        };
        let train = source(data.as_ref(), draws.clone()).with_empty_share(share, empty);
        let held_out = self.data.held_out.clone();
        let held_out = held_out.as_ref().map(|images| source(images.as_ref(), draws.held_out()));
        let key = format!(
            "{} {} {is_half} {share} {}",
            self.data.fingerprint,
            draws.fingerprint(),
            std::any::type_name::<F>()
        );
        let mdp = self.mdp.clone();
        self.run(objective, &mdp, &train, held_out.as_ref(), &key)
    }

    /// Timesteps and noise: random, or from a file.
    fn draws(&self) -> Result<DrawPlan, Failure> {
        let values = &self.task.call.values;
        let given = match values.diffusion.draws() {
            Some(path) => {
                let given = draws::read_given(path.as_ref(), values, self.mdp.schedule.len())?;
                Some(draws::of_rows(given, self.data.rows.as_deref()))
            }
            None => None,
        };
        draws::draws(values, given)
    }

    /// Reports the units of margins.
    fn describe(&self, draws: &DrawPlan, is_half: bool) {
        let beta = self.task.call.values.objective.beta();
        self.task.call.reporter.info(&if is_half {
            format!("{}; beta {beta}", self.units.describe_density(self.mdp.size, draws.per_example, 1))
        } else {
            let coefficient = self.units.coefficient(beta, self.mdp.size);
            format!("{}; beta {beta}: {coefficient:.4} per unit of summed squared error", self.units)
        });
    }

    fn on_trajectories(mut self, objective: &dyn Objective<Feedback = Comparison>) -> Result<Trained, Failure> {
        let found = trajectories::open(&mut self.task.call, &self.loaded, &self.reference, &self.data)?;
        let values = &self.task.call.values;
        let mdp = ImageMdp::new(Arc::clone(&found.schedule), found.timesteps.clone(), self.data.shape.size());
        let (seed, by_decision) = (self.task.settings.seed, values.objective.name() == Loss::D3po);
        let k = values.diffusion.draws_per_pair();
        let (n, size) = (mdp.timesteps.len(), mdp.size);
        let (counted, of) = if by_decision { (1, 1) } else { (k.unwrap_or(n).min(n), n) };
        let beta = values.objective.beta();
        let units = self.units.describe_density(size, counted, of);
        self.task.call.reporter.info(&format!("{units}; beta {beta}"));
        let importance = match values.diffusion.importance_clip() {
            Some(most) if most <= 0.0 => {
                return Err(Failure::usage(format!("`diffusion.importance_clip` takes a positive number, not {most}")));
            }
            Some(most) => Some(found.trajectories.importance(self.reference.as_ref(), &mdp, most)?),
            None => None,
        };
        let (train, held_out) = split(&found, holdout::eval_share(values)?, seed)?;
        let learned_from = blake3::hash(format!("{:?}", train.pairs).as_bytes());
        let key = format!("{} trajectories {k:?} {by_decision} {learned_from}", found.fingerprint);
        let source = |trajectories| {
            let mut source = TrajectorySource::<Comparison>::new(trajectories, mdp.clone(), self.units, seed);
            source = if let Some(k) = k { source.with_decisions(k) } else { source };
            source = if by_decision { source.by_decision() } else { source };
            if let Some(importance) = &importance { source.with_importance(importance.clone()) } else { source }
        };
        let (train, held_out) = (source(&train), held_out.as_ref().map(source));
        self.run(objective, &mdp.clone(), &train, held_out.as_ref(), &key)
    }

    fn run<S: Source<Mdp = ImageMdp>>(
        mut self,
        objective: &dyn Objective<Feedback = S::Feedback>,
        mdp: &ImageMdp,
        data: &S,
        held_out: Option<&S>,
        key: &str,
    ) -> Result<Trained, Failure> {
        // The reference's log-densities depend on its network, the noise, and its sampler.
        let way = format!("{:?} {:?} {:?}", mdp.schedule, mdp.timesteps, self.reference.acting());
        let way = blake3::hash(way.as_bytes()).to_hex();
        let key = CacheKey { model: self.reference.fingerprint()?, data: format!("{key} {way}") };
        self.task.check_cache(&key)?;
        let sampler = PictureSampler::new(&self.task.call, &self.loaded, &self.data)?;
        let reference = Arc::clone(&self.reference);
        let compared = objective.needs().reference.then_some(reference.as_ref() as &dyn Policy<ImageMdp>);
        let training = self.task.training((mdp, data, objective), compared, key).held_out(held_out);
        let hooks = Hooks {
            diagnose: None,
            sample: sampler.wants_samples().then(|| -> Box<dyn Fn(&Denoiser) -> _> {
                let sampler = &sampler;
                Box::new(move |learner: &Denoiser| {
                    Ok(Box::new(Pictures(sampler.samples(learner).map_err(|failure| failure.to_string())?))
                        as Box<dyn Samples>)
                })
            }),
        };
        let ran = self.task.learn(&training, &mut self.learner, &hooks)?;
        drop(hooks);
        self.finish(ran, &sampler)
    }

    fn finish(&self, ran: FinishedRun, sampler: &PictureSampler<'_>) -> Result<Trained, Failure> {
        if ran.is_interrupted() {
            return Ok(ran.interrupted());
        }
        let mut table = summary::table(&ran.outcome, None, "decisions");
        let (mut judged, n) = (Vec::new(), self.task.prompts);
        if let Some(problem) = self.data.problem.filter(|_| n > 0) {
            self.task.call.reporter.info("the oracle compares pictures of both models");
            if let Some(win) = pictures::oracle_win_rate(problem, sampler, &self.learner, &self.reference, n)? {
                table = format!("{table}\n{win}");
                judged = win.judged();
            }
        }
        Ok(Trained { judged, ..ran.finished(table, sampler.wants_samples(), self.suggestion()) })
    }

    /// The suggested next verb: sampling if the model can make pictures, else scoring.
    fn suggestion(&self) -> Suggestion {
        let values = &self.task.call.values;
        if self.loaded.makes_pictures() {
            let prompts = self.data.problem.map_or("prompts.txt", |problem| problem.name);
            return Suggestion::Sample { mdp: Modality::Diffusion, prompts: prompts.to_owned() };
        }
        let data = match (values.data.latents(), values.data.data()) {
            (None, Some(data)) => (at::data::data.path, data.to_owned()),
            (latents, _) => (at::data::latents.path, latents.unwrap_or("latents.safetensors").to_owned()),
        };
        let reference = values.model.reference().or(values.model.model()).unwrap_or_default().to_owned();
        Suggestion::Score { reference, data }
    }
}

/// Holds out a share of the captions, with all their pairs.
fn split(found: &TrajectoryData, share: f64, seed: u64) -> Result<(Trajectories, Option<Trajectories>), Failure> {
    let all = &found.trajectories;
    let (rest, held_out) =
        hold_out(found.pair_captions.iter().map(|caption| PromptHash::of_plain(caption)), share, seed)?;
    holdout::check_rest(share, rest.len(), found.pair_captions.len(), "pairs")?;
    let part = |rows: &[usize]| Trajectories { pairs: rows.iter().map(|&row| all.pairs[row]).collect(), ..all.clone() };
    Ok((part(&rest), (!held_out.is_empty()).then(|| part(&held_out))))
}
