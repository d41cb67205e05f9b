//! Trains a refiner and a generator from one loss.

mod shown;

use std::path::Path;

use ::train::diffusion::{DrawPlan, FixedDraws, FromImages, ImageSource, Scheme, Units};
use ::train::hybrid::HybridSource;
use ::train::token::{FromExample, TokenSource};
use ::train::{CacheKey, Ending, Hooks, RunFolder, RunSummary, Source};
use datasets::pairs::Refined;
use models::causal::CausalLm;
use models::denoiser::Denoiser;
use objectives::Objective;
use policies::{Pair, Persist as _, Policy, TrainedHalf};

use self::shown::hooks;
use super::Task;
use super::judged::{Answers, DrawnPicture};
use super::trainer::{self, Learned, Lessons, Problem, TrainerResult};
use crate::embedded::{WinRate, usual};
use crate::hybrid::data::{self, Completing, HybridData, PairData};
use crate::hybrid::eval::{HybridJudge, HybridSampler, JudgedPicture, Request};
use crate::hybrid::{Files, Frozen, Models, NAMES, PromptedMdp, general_presets, halves_of_run, weights};
use crate::objective::{AnyObjective, choose, names};
use crate::settings::{Loss, Modality, NoiseName, Update, Values, at};
use crate::trained::{Suggestion, Trained};
use crate::{Failure, Reporter, denoiser, draws, dropout, model, summary, torchscript};

/// The pairwise losses that accept a sum of token and image log-ratios.
const OBJECTIVES: [Loss; 10] = [
    Loss::Dpo,
    Loss::Cdpo,
    Loss::Robust,
    Loss::Ipo,
    Loss::Hinge,
    Loss::Exo,
    Loss::Sppo,
    Loss::DiscoPop,
    Loss::Dpop,
    Loss::Sft,
];

/// The file of a run with the refined prompts that completed its pairs.
const COMPLETIONS: &str = "completions.jsonl";

/// Defaults of hybrid runs.
pub(super) fn presets(values: &mut Values) -> Result<(), Failure> {
    general_presets(values);
    take_halves(values)?;
    let given = [values.hybrid.refiner(), values.hybrid.generator(), values.data.data()].map(|name| name.is_some());
    if given == [false; 3] {
        (usual(Modality::Hybrid).preset)(values);
        // A comparison needs both halves.
        if values.hybrid.update() != Update::Both {
            values.preset(|settings| settings.hybrid.compare = false);
        }
    }
    if values.hybrid.compare() && values.hybrid.update() != Update::Both {
        return Err(Failure::usage(
            "`hybrid.compare` trains each half alone beside both: it goes with `hybrid.update` both",
        ));
    }
    if values.objective.name() == Loss::Sft {
        values.preset(|settings| settings.diffusion.half = false);
    }
    Ok(())
}

/// Sets the halves of the run that `model.model` names, for those that are not named themselves.
fn take_halves(values: &mut Values) -> Result<(), Failure> {
    let is_named = [values.hybrid.refiner(), values.hybrid.generator()].map(|name| name.is_some());
    let Some(run) = values.model.model().filter(|_| is_named != [true; 2]).map(str::to_owned) else { return Ok(()) };
    let [refiner, generator] = halves_of_run(Path::new(&run))?;
    values.reset(&at::model::model);
    values.set(|settings| {
        settings.hybrid.refiner.get_or_insert(refiner);
        settings.hybrid.generator.get_or_insert(generator);
    });
    Ok(())
}

/// The loss of the settings.
pub(super) fn objective(values: &Values) -> Result<AnyObjective, Failure> {
    if values.diffusion.noise() == NoiseName::Prior {
        return Err(Failure::usage("`diffusion.noise` prior is for `run.mdp` diffusion"));
    }
    if let Some(name) = names(values)?.into_iter().find(|name| !OBJECTIVES.contains(name)) {
        let text = format!(
            "`objective.name` {name} is not for `run.mdp` hybrid; there are {}",
            OBJECTIVES.map(Loss::word).join(", ")
        );
        return Err(Failure::usage(text));
    }
    weights(values)?;
    choose(values)
}

/// Trains a refiner and a generator.
pub(super) fn train(mut task: Task<'_>, objective: AnyObjective) -> Result<Trained, Failure> {
    let files = Files::load(&mut task.call.values)?;
    let mdp = files.mdp()?;
    let reference = files.reference(&task.call.values)?;
    let kept = task.resume.as_ref().map(|run| run.join(COMPLETIONS));
    let completing = Completing { reference: &reference, kept: kept.as_deref() };
    let mut data = data::open(&files, &mdp.handoff, &task.call, Some(completing))?;
    task.kept.extend(data.completions.take().map(|lines| (COMPLETIONS, lines)));
    if task.call.values.hybrid.compare() && data.problem.is_none() {
        let name = usual(Modality::Hybrid).name;
        return Err(Failure::usage(format!("`hybrid.compare` needs an oracle: it goes with `data.data` {name}")));
    }
    let units = draws::units(&task.call.values)?;
    let setup = Setup { files: &files, mdp: &mdp, reference, data: &data, units };
    setup.describe(&task)?;
    match objective {
        AnyObjective::Comparisons(objective) => setup.run(task, objective.as_ref()),
        AnyObjective::Demonstrations(objective) => setup.run(task, objective.as_ref()),
        AnyObjective::Labels(_) | AnyObjective::Rankings(_) => {
            Err(Failure::usage("hybrid pairs are compared two at a time"))
        }
    }
}

/// The models, reference and data of a run.
struct Setup<'a> {
    files: &'a Files,
    mdp: &'a PromptedMdp,
    reference: Frozen,
    data: &'a HybridData<'a>,
    units: Units,
}

/// Both halves' examples.
type Sources<'a, F> = HybridSource<'a, TokenSource<'a, F>, ImageSource<'a, F>, models::Prompted>;

impl<'a> Setup<'a> {
    fn describe(&self, task: &Task<'_>) -> Result<(), Failure> {
        let n = self.files.refiner.n_parameters();
        let kind = torchscript::architecture(&self.files.refiner.config);
        let held_out = self.data.held_out.as_ref().map_or(0, PairData::len);
        let (beta, gamma) = weights(&task.call.values)?;
        let reporter = task.call.reporter;
        reporter.info(&format!("refiner: {kind}, {:.1}M parameters", n as f64 / 1e6));
        model::say_ignored(&self.files.refiner, reporter);
        dropout::note(&self.files.refiner.path, reporter);
        dropout::note(&self.files.generator.files.path, reporter);
        reporter.info(&format!("generator: {}", self.files.generator.describe(self.files.shape)));
        reporter.info(&format!("{} training pairs, {held_out} held out", self.data.train.len()));
        task.say_beta(format!(
            "{}; beta {beta} a nat of refined prompt, gamma {gamma}: {:.4} per unit of summed squared error",
            self.units,
            self.units.coefficient(gamma, self.files.shape.size())
        ));
        Ok(())
    }

    /// New learners; `learns` selects the trained half.
    fn learner(&self, task: &Task<'_>, learns: TrainedHalf) -> Result<Models, Failure> {
        let values = &task.call.values;
        let acting = denoiser::acting(values, &self.files.generator, self.files.shape)?;
        let refiner = model::learner(self.files.refiner.clone(), values)?;
        let generator = denoiser::learner(&self.files.generator, self.files.shape, acting, values)?;
        let mut pair = Pair::new(refiner, generator).named(NAMES).learning(learns);
        if let Some(rate) = values.hybrid.refiner_lr() {
            if !(rate.is_finite() && rate >= 0.0) {
                return Err(Failure::usage(format!("`hybrid.refiner_lr` takes a number from 0 up, not {rate}")));
            }
            pair.rates.0 = rate / task.settings.rate;
        }
        Ok(pair)
    }

    /// Timesteps and noise of every pair from a file, which excludes a hold-out.
    fn given(&self, path: &str) -> Result<FixedDraws, Failure> {
        if self.data.held_out.is_some() {
            return Err(Failure::usage(
                "`diffusion.draws` gives every pair its draw: it goes with `data.eval_share` 0",
            ));
        }
        let shape = self.files.shape;
        let (n, timesteps) = (self.data.train.len(), self.mdp.inner.schedule.len());
        draws::read_given_for(path.as_ref(), (n, shape), timesteps)
    }

    fn source<F: FromExample + FromImages>(
        &self,
        values: &Values,
        data: &'a PairData<'a>,
        draws: DrawPlan,
    ) -> Result<Sources<'a, F>, Failure> {
        let words = TokenSource::<F>::new(data, self.mdp.outer.max_length);
        let share = draws::empty_share(values)?;
        let empty = self.mdp.handoff.none()?;
        let pictures = ImageSource::<F>::new(data, self.mdp.inner.clone(), draws, self.units, Scheme::Forward)
            .of_prediction(self.files.generator.scheduler.prediction)
            .with_empty_share(share, empty);
        HybridSource::new(self.mdp, (words, pictures), weights(values)?, NAMES)
            .map_err(|error| Failure::failed(error.to_string()))
    }

    /// The key of the reference cache.
    fn key(&self, values: &Values, draws: &DrawPlan, feedback: &str) -> Result<CacheKey, Failure> {
        let refiner = self.reference.outer.fingerprint()?;
        let generator = self.reference.inner.fingerprint()?;
        // The reference's numbers depend on its networks, the prompt template, and the noise.
        let way = format!("{:?} {:?} {:?}", self.mdp.inner.schedule, Some(values.hybrid.template()), self.mdp.outer);
        let way = blake3::hash(way.as_bytes());
        Ok(CacheKey {
            model: format!("{refiner} {generator}"),
            data: format!(
                "{} {} {} {} {} {}",
                self.data.fingerprint,
                draws.fingerprint(),
                self.files.generator.encoders_fingerprint()?,
                way.to_hex(),
                values.diffusion.empty_share(),
                feedback
            ),
        })
    }

    /// The requests on which the policy is compared with the start, if it is.
    fn judged_requests(&self, task: &Task<'_>) -> Result<Vec<String>, Failure> {
        let (values, seed) = (&task.call.values, task.settings.seed);
        if values.judge.every() == 0 {
            return Ok(Vec::new());
        }
        let n = values.judge.prompts();
        match self.data.problem {
            Some(problem) => Ok(WinRate::prompts(problem, seed, n as u64)),
            None => self.data.held_out.as_ref().unwrap_or(&self.data.train).requests(n, seed),
        }
    }

    fn run<F: FromExample + FromImages>(
        &self,
        mut task: Task<'_>,
        objective: &dyn Objective<Feedback = F>,
    ) -> Result<Trained, Failure> {
        let values = &task.call.values;
        let given = values.diffusion.draws().map(|path| self.given(path)).transpose()?;
        let draws = draws::draws(values, given)?;
        let data = self.source::<F>(values, &self.data.train, draws.clone())?;
        let held_out = self.data.held_out.as_ref();
        let held_out = held_out.map(|data| self.source::<F>(values, data, draws.held_out())).transpose()?;
        let key = self.key(values, &draws, std::any::type_name::<F>())?;
        let sampler = HybridSampler::new(self.files, self.mdp, &task.call)?;
        let mut learner = self.learner(&task, learns(values.hybrid.update()))?;
        let requests = self.data.held_out.as_ref().unwrap_or(&self.data.train);
        let requests = requests.requests(values.train.n_samples(), task.settings.seed)?;
        let judged = self.judged_requests(&task)?;
        let drawing = Drawing { setup: self, sampler, requests, judged, truncated: self.mdp.handoff.truncated() };
        let lessons = Lessons { mdp: self.mdp, data: &data, held_out: held_out.as_ref(), objective, key };
        trainer::run(&mut task, &drawing, &mut learner, lessons)
    }
}

/// The setup of a run that shows pictures of some requests.
struct Drawing<'a> {
    setup: &'a Setup<'a>,
    sampler: HybridSampler<'a>,
    requests: Vec<String>,
    /// Requests on which the policy is compared with the start.
    judged: Vec<String>,
    /// The number of refined prompts that the text encoder truncated before the run.
    truncated: usize,
}

impl Problem for Drawing<'_> {
    type Mdp = PromptedMdp;
    type Learner = Models;

    fn reference(&self) -> &dyn Policy<PromptedMdp> {
        &self.setup.reference
    }

    fn hooks(&self) -> Hooks<'_, PromptedMdp, Models> {
        hooks(&self.sampler, &self.requests)
    }

    fn answers(&self, learner: &Models) -> Result<Answers, Failure> {
        let averages = (learner.outer.averaged()?, learner.inner.averaged()?);
        let refiner = averages.0.as_ref().unwrap_or(&learner.outer);
        let generator = averages.1.as_ref().unwrap_or(&learner.inner);
        let asked: Vec<Request> = self.judged.iter().zip(0..).map(|(text, i)| Request::number(text, i)).collect();
        let made = self.sampler.generate(refiner, generator, &asked, "judged")?;
        let drawn = made.into_iter().zip(&self.judged).map(|(made, request)| {
            Ok::<_, Failure>(DrawnPicture {
                request: request.clone(),
                picture: self.sampler.picture(&made)?,
                refined: Some(Refined { text: made.refined, tokens: made.tokens, is_null: false }),
                latent: made.latent.to_vec(),
            })
        });
        Ok(Answers::Pictures(self.setup.files.shape, drawn.collect::<Result<_, _>>()?))
    }

    /// Reports the number of refined prompts that the text encoder truncated during the run.
    fn report(&self, reporter: &dyn Reporter) {
        let cut = self.setup.mdp.handoff.truncated() - self.truncated;
        if cut > 0 {
            reporter.info(&format!(
                "{cut} more refined prompts were longer than the text encoder reads: it did not see their end"
            ));
        }
    }

    fn judge<S: Source<Mdp = PromptedMdp>>(&self, learned: &Learned<'_, Self, S>) -> Result<TrainerResult, Failure> {
        let (mut table, mut judged) = (summary::table(learned.outcome, None, "decisions"), Vec::new());
        let n = learned.task.prompts;
        let problem_of_oracle = self.setup.data.problem.filter(|_| n > 0);
        if let Some((embedded, oracle)) = problem_of_oracle.and_then(|own| Some((own, own.oracle.pictures()?))) {
            learned.task.call.reporter.info("the oracle compares pictures");
            let judge = HybridJudge { sampler: &self.sampler, problem: embedded, oracle, n };
            match self.setup.compare(learned, &judge)? {
                Compared::All(rows) => {
                    table = format!("{table}\n\n{}", judge.table(&rows)?);
                    judged = judge.judged(&rows)?;
                }
                Compared::Stopped(alone) => return Ok(TrainerResult::Stopped(alone)),
            }
        }
        let prompts = self.setup.data.problem.map(|problem| problem.name.to_owned());
        let suggestion = Suggestion::Sample { mdp: Modality::Hybrid, prompts };
        Ok(TrainerResult::Finished { table, judged, has_pictures: !self.requests.is_empty(), suggestion })
    }
}

impl Setup<'_> {
    /// Judges the starting policy, the trained one and, in a comparison, each half trained alone; or returns the
    /// summary of a half whose training was stopped.
    fn compare<S: Source<Mdp = PromptedMdp>>(
        &self,
        learned: &Learned<'_, Drawing<'_>, S>,
        judge: &HybridJudge<'_>,
    ) -> Result<Compared, Failure> {
        let &Learned { task, training, hooks, learner, folder, .. } = learned;
        let base = (&*self.reference.outer, &*self.reference.inner);
        // Policies are judged as they are exported.
        let judge = |refiner: &CausalLm, generator: &Denoiser| {
            let averages = (refiner.averaged()?, generator.averaged()?);
            judge.judge(averages.0.as_ref().unwrap_or(refiner), averages.1.as_ref().unwrap_or(generator))
        };
        let mut rows = vec![("base", judge(base.0, base.1)?)];
        if task.call.values.hybrid.compare() {
            let mut alone = Vec::new();
            for (name, learns) in NAMES.into_iter().zip([TrainedHalf::Outer, TrainedHalf::Inner]) {
                task.call.reporter.info(&format!("the {name} alone"));
                let mut learner = self.learner(task, learns)?;
                let path = folder.join("alone").join(name);
                let own = if path.exists() { RunFolder::open(&path)? } else { RunFolder::create(&path)? };
                let outcome = task.learn_in(&own, training, &mut learner, hooks)?;
                if outcome.ending == Ending::Interrupted {
                    return Ok(Compared::Stopped(Box::new(outcome)));
                }
                alone.push(learner);
            }
            let (refiner, generator) = (&alone[0].outer, &alone[1].inner);
            rows.push(("refiner alone", judge(refiner, base.1)?));
            rows.push(("generator alone", judge(base.0, generator)?));
            rows.push(("both, separately", judge(refiner, generator)?));
        }
        let name = match learner.learns {
            TrainedHalf::Both => "joint",
            TrainedHalf::Outer => "refiner",
            TrainedHalf::Inner => "generator",
        };
        rows.push((name, judge(&learner.outer, &learner.inner)?));
        Ok(Compared::All(rows))
    }
}

/// Judged pictures of policies by name, or the summary of a half whose training was stopped before.
enum Compared {
    All(Vec<(&'static str, Vec<JudgedPicture>)>),
    Stopped(Box<RunSummary>),
}

fn learns(update: Update) -> TrainedHalf {
    match update {
        Update::Refiner => TrainedHalf::Outer,
        Update::Generator => TrainedHalf::Inner,
        Update::Both => TrainedHalf::Both,
    }
}
