//! Denoisers.
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use objectives::{Comparison, Objective};
use policies::denoiser::Denoiser;
use policies::{Persist as _, Policy};
use train::diffusion::{Draws, FromImages, ImageMdp, ImageSource, Scheme, Trajectories, TrajectorySource, Units};
use train::{CacheKey, Ending, Hooks, Outcome, Problem, ReferenceCache, RunFolder, Samples, Source, can_write, run};

use super::Task;
use crate::denoiser::{self, Loaded};
use crate::images::{self, Opened};
use crate::objective::Chosen;
use crate::pictures::{self, Artist};
use crate::values::Values;
use crate::{Failure, console, draws, summary, trajectories};

/// Defaults of known runs. Says whether this is the embedded one.
pub(super) fn presets(values: &mut Values) -> Result<bool, Failure> {
    let has_data =
        ["data.data", "data.latents", "diffusion.trajectories"].iter().any(|path| values.text(path).is_some());
    let embedded = values.text("model.model").is_none() && !has_data;
    if values.text("model.model").is_none() && has_data {
        return Err(Failure::usage("--data and --latents need --model (or give none, for the embedded problem)"));
    }
    // Later presets win over earlier ones.
    preset(values, &[("objective.beta", "2000"), ("optimizer.name", "adamw"), ("optimizer.lr", "1e-6")]);
    let sft = values.word("objective.name") == "sft";
    let d3po = values.word("objective.name") == "d3po";
    if d3po {
        values.preset("diffusion.scheme", "trajectory");
    }
    if embedded {
        preset(values, EMBEDDED);
        match (values.word("diffusion.scheme"), values.word("objective.name")) {
            ("trajectory", _) => preset(values, EMBEDDED_TRAJECTORIES),
            // Some of the better picture's own likelihood keeps a small model from making both sides unlikely.
            (_, "dpo") => preset(values, &[("objective.sft_weight", "30")]),
            _ => {}
        }
    }
    if d3po {
        preset(values, &[("objective.beta", "0.1"), ("diffusion.reduction", "mean")]);
    }
    if sft {
        // What the field calls the loss of a denoiser: the mean squared error, whole.
        preset(values, &[("diffusion.half", "false")]);
    }
    let known: &[(&'static str, &str)] = match values.text("train.preset") {
        None => &[],
        Some("salesforce-sd15") => SALESFORCE,
        Some("diffusers-2500") => &[("objective.beta", "2500"), ("diffusion.half", "false")],
        Some("flow-grpo-100") => &[
            ("objective.beta", "100"),
            ("diffusion.half", "true"),
            ("diffusion.timesteps", "logit-normal"),
            ("model.prediction", "flow"),
        ],
        Some("paper") => PAPER,
        Some(other) => return Err(Failure::usage(format!("--preset {other} is for --mdp token"))),
    };
    preset(values, known);
    Ok(embedded)
}

fn preset(values: &mut Values, known: &[(&'static str, &str)]) {
    for (path, value) in known {
        values.preset(path, value);
    }
}

/// The embedded run: about two minutes on two cores.
const EMBEDDED: &[(&str, &str)] = &[
    ("model.model", "builtin:shapes"),
    ("data.data", "builtin:shapes"),
    ("data.limit", "2048"),
    ("objective.beta", "300"),
    ("optimizer.name", "adamw"),
    ("optimizer.lr", "5e-4"),
    ("optimizer.warmup_steps", "10"),
    ("optimizer.schedule", "cosine"),
    ("optimizer.max_grad_norm", "1"),
    ("train.batch_size", "8"),
    ("train.micro_batch_size", "8"),
    ("train.eval_every", "64"),
    ("train.n_samples", "24"),
];

/// The embedded run on trajectories of the embedded denoiser's own.
const EMBEDDED_TRAJECTORIES: &[(&str, &str)] =
    &[("objective.beta", "0.1"), ("diffusion.reduction", "sum"), ("sample.steps", "10"), ("sample.eta", "1")];

/// Eq. 15's sum with its T outside; beta as strong as the released 5000 on 4 x 64 x 64 latents: 0.1526 over T.
const PAPER: &[(&str, &str)] = &[
    ("objective.beta", "1.526e-4"),
    ("diffusion.reduction", "sum"),
    ("diffusion.half", "false"),
    ("diffusion.horizon", "1000"),
];

/// The released Diffusion-DPO code on Stable Diffusion 1.5.
const SALESFORCE: &[(&str, &str)] = &[
    ("objective.beta", "5000"),
    ("diffusion.half", "true"),
    ("diffusion.reduction", "mean"),
    ("diffusion.empty_share", "0.2"),
    ("optimizer.name", "adamw"),
    ("optimizer.lr", "2.05e-5"),
    ("optimizer.weight_decay", "0.01"),
    ("optimizer.warmup_steps", "500"),
    ("optimizer.max_grad_norm", "1"),
    ("train.batch_size", "2048"),
    ("train.max_steps", "2000"),
    ("data.flip", "true"),
];

/// Trains a denoiser.
pub(super) fn train(task: Task, objective: Chosen) -> Result<ExitCode, Failure> {
    let is_trajectory = task.call.values.word("diffusion.scheme") == "trajectory";
    check_settings(&task.call.values, is_trajectory)?;
    let setup = Setup::open(task)?;
    match objective {
        Chosen::Comparisons(objective) if is_trajectory => setup.on_trajectories(objective.as_ref()),
        Chosen::Comparisons(objective) => setup.on_images(objective.as_ref()),
        Chosen::Demonstrations(objective) if !is_trajectory => setup.on_images(objective.as_ref()),
        Chosen::Demonstrations(_) => Err(Failure::usage("--objective sft learns from images: --scheme forward")),
        Chosen::Labels(_) | Chosen::Rankings(_) => {
            let name = setup.task.call.values.word("objective.name");
            Err(Failure::usage(format!("--objective {name} is for --mdp token; images come in pairs: try dpo")))
        }
    }
}

/// What would do nothing, or can't be, is wrong usage.
fn check_settings(values: &Values, is_trajectory: bool) -> Result<(), Failure> {
    let name = values.word("objective.name");
    if ["orpo", "tdpo"].contains(&name) {
        return Err(Failure::usage(format!("--objective {name} reads probabilities, a denoiser's errors are none")));
    }
    if name == "d3po" && !is_trajectory {
        return Err(Failure::usage("--objective d3po compares single steps of trajectories: --scheme trajectory"));
    }
    let idle: &[&str] = if is_trajectory {
        &[
            "diffusion.timesteps",
            "diffusion.noise",
            "diffusion.draw_sets",
            "diffusion.draws",
            "diffusion.empty_share",
            "diffusion.omega",
            "diffusion.horizon",
            "diffusion.half",
            "data.latents",
        ]
    } else if values.word("diffusion.scheme") == "half" {
        // A density brings its own half and its own weight of the error.
        &["diffusion.trajectories", "diffusion.importance_clip", "diffusion.omega", "diffusion.half"]
    } else {
        &["diffusion.trajectories", "diffusion.importance_clip"]
    };
    if let Some(path) = idle.iter().find(|path| values.is_typed(path)) {
        let flag = crate::keys::find(path).map_or(*path, |key| key.flag);
        let scheme = values.word("diffusion.scheme");
        return Err(Failure::usage(format!("--{flag} would do nothing with --scheme {scheme}")));
    }
    draws::refuse_alone(values)?;
    if values.is_typed("data.latents") && values.is_typed("data.data") {
        return Err(Failure::usage("--latents stands in for --data: give one of them"));
    }
    Ok(())
}

/// Everything a run needs but its objective.
struct Setup {
    task: Task,
    data: Opened,
    learner: Denoiser,
    reference: Arc<Denoiser>,
    loaded: Loaded,
    mdp: ImageMdp,
    units: Units,
}

impl Setup {
    fn open(mut task: Task) -> Result<Self, Failure> {
        let call = &mut task.call;
        let units = draws::units(&call.values)?;
        let name = call.values.word("model.model").to_owned();
        let loaded = denoiser::load(&name, &call.values)?;
        let data = images::open(&loaded, call)?;
        let shape = data.shape;
        let mdp = ImageMdp::full(Arc::clone(&loaded.scheduler.schedule), shape.size());
        let acting = denoiser::acting(&call.values, &loaded, shape)?;
        let reference = match call.values.text("model.reference") {
            Some(other) => denoiser::load(other, &call.values)?.frozen(shape, acting.clone())?,
            None => loaded.frozen(shape, acting.clone())?,
        };
        let learner = denoiser::learner(&loaded, shape, acting, &call.values)?;
        call.console.info(&format!("model {name}: {}", loaded.describe(shape)));
        call.console.info(&data.describe());
        Ok(Self { task, data, learner, reference: Arc::new(reference), loaded, mdp, units })
    }

    fn on_images<F: FromImages>(self, objective: &dyn Objective<Feedback = F>) -> Result<ExitCode, Failure> {
        let values = &self.task.call.values;
        let given = match values.text("diffusion.draws") {
            Some(path) => Some(draws::read_given(path.as_ref(), values, self.mdp.schedule.len())?),
            None => None,
        };
        let draws = draws::draws(values, given)?;
        let beta = values.number("objective.beta").unwrap_or(1.0);
        let console = &self.task.call.console;
        console.info(&format!(
            "{}; beta {beta}: {:.4} per unit of summed squared error",
            self.units,
            self.units.coefficient(beta, self.mdp.size)
        ));
        let reference = Arc::clone(&self.reference);
        let is_half = values.word("diffusion.scheme") == "half";
        let scheme = if is_half { Scheme::Half(reference.as_ref()) } else { Scheme::Forward };
        let share = values.number("diffusion.empty_share").unwrap_or(0.0);
        if !(0.0..1.0).contains(&share) {
            return Err(Failure::usage(format!("--empty-share takes a number from 0 to below 1, not {share}")));
        }
        let (data, empty) = (Arc::clone(&self.data.train), self.data.captions.empty()?);
        let source = |images, draws: Draws| {
            ImageSource::<F>::new(images, self.mdp.clone(), draws, self.units, scheme)
                .of_prediction(self.loaded.scheduler.prediction)
        };
        let train = source(data.as_ref(), draws.clone()).with_empty_share(share, empty);
        // Held-out examples have draws of their own, the same at every evaluation.
        let held_out_draws = Draws { seed: draws.seed ^ 0x6865_6c64, sets: 1, given: None, ..draws.clone() };
        let held_out = self.data.held_out.clone();
        let held_out = held_out.as_ref().map(|images| source(images.as_ref(), held_out_draws));
        let key = format!(
            "{} {} {is_half} {share} {}",
            self.data.fingerprint,
            draws.fingerprint(),
            std::any::type_name::<F>()
        );
        let mdp = self.mdp.clone();
        self.run(objective, &mdp, &train, held_out.as_ref(), &key)
    }

    fn on_trajectories(mut self, objective: &dyn Objective<Feedback = Comparison>) -> Result<ExitCode, Failure> {
        let found = trajectories::open(&mut self.task.call, &self.loaded, &self.reference, &self.data)?;
        let values = &self.task.call.values;
        let mdp = ImageMdp::new(Arc::clone(&found.schedule), found.timesteps.clone(), self.data.shape.size());
        let (seed, by_decision) = (self.task.settings.seed, values.word("objective.name") == "d3po");
        let k = values.count("diffusion.draws_per_pair");
        let importance = match values.number("diffusion.importance_clip") {
            Some(most) if most <= 0.0 => {
                return Err(Failure::usage(format!("--importance-clip takes a positive number, not {most}")));
            }
            Some(most) => Some(found.trajectories.importance(self.reference.as_ref(), &mdp, most)?),
            None => None,
        };
        let (train, held_out) = split(&found.trajectories, images::eval_share(values)?);
        let source = |trajectories| {
            let mut source = TrajectorySource::<Comparison>::new(trajectories, mdp.clone(), self.units, seed);
            source = if let Some(k) = k { source.with_decisions(k) } else { source };
            source = if by_decision { source.by_decision() } else { source };
            if let Some(importance) = &importance { source.with_importance(importance.clone()) } else { source }
        };
        let (train, held_out) = (source(&train), held_out.as_ref().map(source));
        let key = format!("{} trajectories {k:?} {by_decision}", found.fingerprint);
        self.run(objective, &mdp.clone(), &train, held_out.as_ref(), &key)
    }

    fn run<S: Source<Mdp = ImageMdp>>(
        mut self,
        objective: &dyn Objective<Feedback = S::Feedback>,
        mdp: &ImageMdp,
        data: &S,
        held_out: Option<&S>,
        key: &str,
    ) -> Result<ExitCode, Failure> {
        // The reference's numbers are of its network, of the noise, and of the way it acts.
        let way = format!("{:?} {:?} {:?}", mdp.schedule, mdp.timesteps, self.reference.acting());
        let way = blake3::hash(way.as_bytes()).to_hex();
        let key = CacheKey { model: self.reference.fingerprint()?, data: format!("{key} {way}") };
        let cache = self.task.call.values.text("train.reference_cache").map(PathBuf::from);
        // What can be refused is refused before there is a folder and before hours of work.
        match &cache {
            Some(path) if path.exists() && self.task.resume.is_none() => drop(ReferenceCache::load(path, &key)?),
            Some(path) => can_write(path)?,
            None => {}
        }
        let artist = Artist::new(&self.task.call.values, &self.loaded, &self.data)?;
        let folder = &self.task.folder()?;
        let _lock = folder.lock()?;
        let needed = objective.needs().reference;
        let reference = Arc::clone(&self.reference);
        let problem = Problem {
            mdp,
            data,
            held_out,
            reference: needed.then_some(reference.as_ref() as &dyn Policy<ImageMdp>),
            objective,
            key,
            cache,
        };
        let hooks = Hooks {
            diagnose: None,
            sample: artist.wants_samples().then(|| -> Box<dyn Fn(&Denoiser) -> _> {
                let artist = &artist;
                Box::new(move |learner: &Denoiser| {
                    Ok(Samples::Pictures(artist.samples(learner).map_err(|failure| failure.to_string())?))
                })
            }),
        };
        let (settings, stop) = (&self.task.settings, self.task.stop);
        let console = &mut self.task.call.console;
        let outcome = run(&problem, &mut self.learner, settings, folder, &hooks, console, stop)?;
        drop(hooks);
        self.finish(&outcome, folder, &artist)
    }

    fn finish(&self, outcome: &Outcome, folder: &RunFolder, artist: &Artist) -> Result<ExitCode, Failure> {
        let path = folder.path().display();
        if outcome.ending == Ending::Interrupted {
            let text = format!("stopped after step {}; go on with: hybrid-dpo train --resume {path}", outcome.steps);
            console::notice(&text);
            return Ok(ExitCode::from(130));
        }
        let mut table = summary::table(outcome, None, "decisions");
        if self.data.is_shapes {
            self.task.call.console.info("the oracle compares pictures of both models");
            let seed = self.task.settings.seed;
            let win = pictures::oracle_win_rate(artist, &self.learner, &self.reference, seed)?;
            table = format!("{table}\n{win}");
        }
        console::result(&table);
        console::result(&format!("\nrun folder   {path}"));
        if artist.wants_samples() {
            console::result(&format!("pictures     {path}/samples/step-0.png and step-{}.png", outcome.steps));
        }
        let prompts = if self.data.is_shapes { "builtin:shapes" } else { "prompts.txt" };
        console::result(&format!(
            "next         hybrid-dpo sample --mdp diffusion --model {path} --prompts {prompts} --n 2 --out pictures.jsonl"
        ));
        Ok(ExitCode::SUCCESS)
    }
}

/// The last share of the pairs is held out; pairs of one wish stand together.
fn split(all: &Trajectories, share: f64) -> (Trajectories, Option<Trajectories>) {
    let n = all.pairs.len();
    let kept = n - ((n as f64 * share) as usize).min(n.saturating_sub(1));
    let part = |pairs: &[(usize, usize)]| Trajectories { pairs: pairs.to_vec(), ..all.clone() };
    (part(&all.pairs[..kept]), (kept < n).then(|| part(&all.pairs[kept..])))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn preset_values(given: &[&str]) -> Values {
        let mut values = Values::defaults();
        values.merge_set("run.mdp=diffusion").unwrap();
        for set in given {
            values.merge_set(set).unwrap();
        }
        presets(&mut values).unwrap();
        values
    }

    #[test]
    fn the_nearest_default_counts() {
        let numbers =
            |values: &Values| (values.number("objective.beta").unwrap(), values.number("optimizer.lr").unwrap());
        let own = ["model.model=m", "data.data=d"];
        assert_eq!(numbers(&preset_values(&own)), (2000.0, 1e-6));
        assert_eq!(numbers(&preset_values(&[])), (300.0, 5e-4));
        assert_eq!(numbers(&preset_values(&["objective.name=d3po"])), (0.1, 5e-4));
        assert_eq!(numbers(&preset_values(&["diffusion.scheme=trajectory", "objective.beta=3"])), (3.0, 5e-4));
        assert_eq!(numbers(&preset_values(&[own[0], own[1], "train.preset=salesforce-sd15"])), (5000.0, 2.05e-5));
    }

    #[test]
    fn presets_of_one_strength() {
        let size = 4 * 64 * 64;
        for name in ["salesforce-sd15", "diffusers-2500", "paper"] {
            let values = preset_values(&["model.model=m", "data.data=d", &format!("train.preset={name}")]);
            let units = draws::units(&values).unwrap();
            let coefficient = units.coefficient(values.number("objective.beta").unwrap(), size);
            assert!((coefficient - 0.1526).abs() < 1e-4, "{name}: {coefficient}");
        }
    }
}
