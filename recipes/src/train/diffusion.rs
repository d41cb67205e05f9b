//! Trains denoisers.
use std::sync::Arc;

use ::train::diffusion::{DrawPlan, FromImages, ImageMdp, ImageSource, Scheme, Trajectories, TrajectorySource, Units};
use ::train::pictures::Pictures;
use ::train::{CacheKey, Hooks, Samples, Source};
use datasets::holdout::{PromptHash, hold_out};
use models::denoiser::{Denoiser, LatentShape};
use objectives::{Comparison, Objective};
use policies::{Persist as _, Policy};

use super::Task;
use super::judged::{Answers, DrawnPicture};
use super::trainer::{self, Learned, Lessons, Problem, TrainerResult, with_reference};
use crate::denoiser::{self, Loaded};
use crate::embedded::WinRate;
use crate::images::{self, ImageData};
use crate::judged_pairs::is_pair_folder;
use crate::objective::{AnyObjective, names};
use crate::pictures::{self, PictureSampler};
use crate::settings::{Loss, Modality, NoiseName, Scheme as SchemeName, Values, at};
use crate::trained::{Suggestion, Trained};
use crate::trajectories::TrajectoryData;
use crate::{Failure, adapters, draws, dropout, holdout, summary, trajectories};

/// Trains a denoiser.
pub(super) fn train(mut task: Task<'_>, objective: AnyObjective) -> Result<Trained, Failure> {
    let is_trajectory = task.call.values.diffusion.scheme() == SchemeName::Trajectory;
    check_settings(&task.call.values, is_trajectory)?;
    let (setup, learner) = Setup::open(&mut task)?;
    match objective {
        AnyObjective::Comparisons(objective) if is_trajectory => {
            setup.on_trajectories(task, learner, objective.as_ref())
        }
        AnyObjective::Comparisons(objective) => setup.on_images(task, learner, objective.as_ref()),
        AnyObjective::Demonstrations(objective) => setup.on_images(task, learner, objective.as_ref()),
        AnyObjective::Labels(objective) => setup.on_images(task, learner, objective.as_ref()),
        AnyObjective::Rankings(objective) => setup.on_images(task, learner, objective.as_ref()),
    }
}

/// Refuses invalid settings of a denoiser.
pub(super) fn check_settings(values: &Values, is_trajectory: bool) -> Result<(), Failure> {
    for name in names(values)? {
        if matches!(name, Loss::Orpo | Loss::Tdpo) {
            return Err(Failure::usage(format!(
                "`objective.name` {name} reads probabilities, a denoiser's errors are none"
            )));
        }
        if name == Loss::DpoNorm {
            return Err(Failure::usage("`objective.name` dpo-norm averages over tokens, for `run.mdp` token"));
        }
        if name == Loss::D3po && !is_trajectory {
            return Err(Failure::usage(
                "`objective.name` d3po compares single steps of trajectories: `diffusion.scheme` trajectory",
            ));
        }
        if matches!(name, Loss::Sft | Loss::Kto | Loss::PlackettLuce) && is_trajectory {
            return Err(Failure::usage(format!(
                "`objective.name` {name} learns from images: `diffusion.scheme` forward"
            )));
        }
    }
    check_noise(values, is_trajectory)
}

/// Refuses the noise from which images were made where it is not known.
fn check_noise(values: &Values, is_trajectory: bool) -> Result<(), Failure> {
    let is_known =
        values.data.data().is_some_and(|data| is_pair_folder(data.as_ref())) || values.rounds.rounds().is_some();
    if values.diffusion.noise() != NoiseName::Prior || is_known || is_trajectory {
        return Ok(());
    }
    Err(Failure::usage(
        "`diffusion.noise` prior is for a folder of pairs that `sample` made (`label.pairs`): it keeps the seed of each side",
    ))
}

/// The reference and data of a run.
struct Setup {
    data: ImageData,
    reference: Arc<Denoiser>,
    loaded: Loaded,
    mdp: ImageMdp,
    units: Units,
}

impl Setup {
    fn open(task: &mut Task<'_>) -> Result<(Self, Denoiser), Failure> {
        let call = &mut task.call;
        let units = draws::units(&call.values)?;
        let name = call.values.model.model().unwrap_or_default().to_owned();
        let loaded = denoiser::load(&name, &call.values)?;
        let data = images::open(&loaded, call)?;
        let shape = data.shape;
        let mdp = ImageMdp::full(Arc::clone(&loaded.scheduler.schedule), shape.size());
        let (learner, reference) = learner_and_reference(&loaded, shape, &mut call.values)?;
        call.reporter.info(&format!("model {name}: {}", loaded.describe(shape)));
        call.reporter.info(&data.describe());
        dropout::note(&loaded.files.path, call.reporter);
        Ok((Self { data, reference, loaded, mdp, units }, learner))
    }

    fn on_images<F: FromImages>(
        &self,
        task: Task<'_>,
        learner: Denoiser,
        objective: &dyn Objective<Feedback = F>,
    ) -> Result<Trained, Failure> {
        let values = &task.call.values;
        let draws = self.draws(values)?;
        let is_half = values.diffusion.scheme() == SchemeName::Half;
        if values.objective.name() != Loss::Sft {
            task.say_beta(self.describe(values.objective.beta(), &draws, is_half));
        }
        let scheme = if is_half { Scheme::Half(self.reference.as_ref()) } else { Scheme::Forward };
        let share = draws::empty_share(values)?;
        let empty = self.data.captions.empty()?;
        let source = |images, draws: DrawPlan| {
            ImageSource::<F>::new(images, self.mdp.clone(), draws, self.units, scheme)
                .of_prediction(self.loaded.scheduler.prediction)
        };
        let data = source(self.data.train.as_ref(), draws.clone()).with_empty_share(share, empty);
        let held_out = self.data.held_out.as_ref().map(|images| source(images.as_ref(), draws.held_out()));
        let key = format!(
            "{} {} {is_half} {share} {}",
            self.data.fingerprint,
            draws.fingerprint(),
            std::any::type_name::<F>()
        );
        let key = self.key(&key, &self.mdp)?;
        let lessons = Lessons { mdp: &self.mdp, data: &data, held_out: held_out.as_ref(), objective, key };
        self.run(task, learner, lessons)
    }

    /// Timesteps and noise: random, or from a file.
    fn draws(&self, values: &Values) -> Result<DrawPlan, Failure> {
        let given = match values.diffusion.draws() {
            Some(path) => {
                let given = draws::read_given(path.as_ref(), values, self.mdp.schedule.len())?;
                Some(draws::of_rows(given, self.data.rows.as_deref()))
            }
            None => None,
        };
        draws::draws(values, given)
    }

    /// Describes the units of margins.
    fn describe(&self, beta: f64, draws: &DrawPlan, is_half: bool) -> String {
        if is_half {
            format!("{}; beta {beta}", self.units.describe_density(self.mdp.size, draws.per_example, 1))
        } else {
            let coefficient = self.units.coefficient(beta, self.mdp.size);
            format!("{}; beta {beta}: {coefficient:.4} per unit of summed squared error", self.units)
        }
    }

    fn on_trajectories(
        &self,
        mut task: Task<'_>,
        learner: Denoiser,
        objective: &dyn Objective<Feedback = Comparison>,
    ) -> Result<Trained, Failure> {
        let found = trajectories::open(&mut task.call, &self.loaded, &self.reference, &self.data)?;
        let values = &task.call.values;
        let mdp = ImageMdp::new(Arc::clone(&found.schedule), found.timesteps.clone(), self.data.shape.size());
        let (seed, by_decision) = (task.settings.seed, values.objective.name() == Loss::D3po);
        let k = values.diffusion.draws_per_pair();
        let (n, size) = (mdp.timesteps.len(), mdp.size);
        let (counted, of) = if by_decision { (1, 1) } else { (k.unwrap_or(n).min(n), n) };
        let beta = values.objective.beta();
        let units = self.units.describe_density(size, counted, of);
        task.say_beta(format!("{units}; beta {beta}"));
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
        let (data, held_out) = (source(&train), held_out.as_ref().map(source));
        let key = self.key(&key, &mdp)?;
        let lessons = Lessons { mdp: &mdp, data: &data, held_out: held_out.as_ref(), objective, key };
        self.run(task, learner, lessons)
    }

    /// The key of the reference cache: its log-densities depend on its network, the noise, and its sampler.
    fn key(&self, data: &str, mdp: &ImageMdp) -> Result<CacheKey, Failure> {
        let way = format!("{:?} {:?} {:?}", mdp.schedule, mdp.timesteps, self.reference.acting());
        let way = blake3::hash(way.as_bytes()).to_hex();
        Ok(CacheKey { model: self.reference.fingerprint()?, data: format!("{data} {way}") })
    }

    fn run<S: Source<Mdp = ImageMdp>>(
        &self,
        mut task: Task<'_>,
        mut learner: Denoiser,
        lessons: Lessons<'_, S>,
    ) -> Result<Trained, Failure> {
        let sampler = PictureSampler::new(&task.call, &self.loaded, &self.data)?;
        let judged = self.judged_captions(&task.call.values)?;
        trainer::run(&mut task, &Drawing { setup: self, sampler, judged }, &mut learner, lessons)
    }

    /// The captions on which the policy is compared with the start, if it is.
    fn judged_captions(&self, values: &Values) -> Result<Vec<String>, Failure> {
        if values.judge.every() == 0 {
            return Ok(Vec::new());
        }
        let n = values.judge.prompts();
        let captions: Vec<String> = match self.data.problem {
            Some(problem) => WinRate::prompts(problem, values.run.seed(), n as u64),
            None => self.data.watched_captions(n).collect(),
        };
        if captions.is_empty() {
            return Err(Failure::usage("`judge.every` asks for pictures of captions, and this data has none"));
        }
        Ok(captions)
    }

    /// The suggested next verb: sampling if the model can make pictures, else scoring.
    fn suggestion(&self, values: &Values) -> Suggestion {
        if self.loaded.makes_pictures() {
            let is_captioned = |data: &&str| values.data.latents().is_none() && !is_pair_folder(data.as_ref());
            let captions = values.data.data().filter(is_captioned);
            let prompts = self.data.problem.map(|problem| problem.name).or(captions).map(str::to_owned);
            return Suggestion::Sample { mdp: Modality::Diffusion, prompts };
        }
        let data = match (values.data.latents(), values.data.data()) {
            (None, Some(data)) => (at::data::data.path, data.to_owned()),
            (latents, _) => (at::data::latents.path, latents.unwrap_or("latents.safetensors").to_owned()),
        };
        let reference = values.model.reference().or(values.model.model()).unwrap_or_default().to_owned();
        Suggestion::Score { reference, data }
    }
}

/// The setup of a run that shows pictures of watched captions.
struct Drawing<'a> {
    setup: &'a Setup,
    sampler: PictureSampler<'a>,
    /// Captions on which the policy is compared with the start.
    judged: Vec<String>,
}

impl Problem for Drawing<'_> {
    type Mdp = ImageMdp;
    type Learner = Denoiser;

    fn reference(&self) -> &dyn Policy<ImageMdp> {
        self.setup.reference.as_ref()
    }

    fn hooks(&self) -> Hooks<'_, ImageMdp, Denoiser> {
        let sample = |learner: &Denoiser| {
            let pictures = self.sampler.samples(learner).map_err(|failure| failure.to_string())?;
            Ok(Box::new(Pictures(pictures)) as Box<dyn Samples>)
        };
        Hooks {
            diagnose: None,
            judge: None,
            sample: self.sampler.wants_samples().then(|| -> Box<dyn Fn(&Denoiser) -> _> { Box::new(sample) }),
        }
    }

    fn answers(&self, learner: &Denoiser) -> Result<Answers, Failure> {
        let averaged = learner.averaged()?;
        let learner = averaged.as_ref().unwrap_or(learner);
        let captions = &self.setup.data.captions;
        let conditions =
            self.judged.iter().map(|caption| captions.condition(caption)).collect::<Result<Vec<_>, _>>()?;
        let made = self.sampler.draw(learner, &conditions, "judged")?;
        let pictures = self.sampler.decode(learner, &made)?;
        let drawn = self.judged.iter().zip(made.iter().zip(pictures)).map(|(caption, (made, picture))| DrawnPicture {
            request: caption.clone(),
            refined: None,
            picture,
            latent: made.image().to_vec(),
        });
        Ok(Answers::Pictures(learner.shape(), drawn.collect()))
    }

    fn judge<S: Source<Mdp = ImageMdp>>(&self, learned: &Learned<'_, Self, S>) -> Result<TrainerResult, Failure> {
        let &Learned { task, learner, outcome, .. } = learned;
        let mut table = summary::table(outcome, None, "decisions");
        let (mut judged, n) = (Vec::new(), task.prompts);
        if let Some(problem) = self.setup.data.problem.filter(|_| n > 0) {
            task.call.reporter.info("the oracle compares pictures of both models");
            let averaged = learner.averaged()?;
            let learner = averaged.as_ref().unwrap_or(learner);
            let win = pictures::oracle_win_rate(problem, &self.sampler, learner, &self.setup.reference, n)?;
            if let Some(win) = win {
                table = format!("{table}\n{win}");
                judged = win.judged();
            }
        }
        let (has_pictures, suggestion) = (self.sampler.wants_samples(), self.setup.suggestion(&task.call.values));
        Ok(TrainerResult::Finished { table, judged, has_pictures, suggestion })
    }
}

/// The learner, and the frozen reference beside which it learns.
fn learner_and_reference(
    loaded: &Loaded,
    shape: LatentShape,
    values: &mut Values,
) -> Result<(Denoiser, Arc<Denoiser>), Failure> {
    let acting = denoiser::acting(values, loaded, shape)?;
    let continues_adapter = denoiser::continues_adapter(loaded, values)?;
    let named = (values.model.reference(), continues_adapter);
    let frozen = |loaded: &&Loaded, named: Option<&str>| match named {
        Some(other) => denoiser::load_reference(other, loaded, values)?.frozen(shape, acting.clone()),
        None => loaded.frozen(shape, acting.clone()),
    };
    let learner = |loaded: &Loaded| denoiser::learner(loaded, shape, acting.clone(), values);
    let (learner, reference) = with_reference(loaded, named, frozen, learner, Denoiser::frozen_copy)?;
    if continues_adapter {
        adapters::set_lora(learner.lora(), values);
    }
    Ok((learner, reference))
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
