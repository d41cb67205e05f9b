//! Trains your own hybrid: video. A language model plans a clip as latent codes, one per frame, and a diffusion model
//! generates the frames from the codes. Preferences over finished clips train both at once (the paper's Appendix D.1).
//!
//! The problem is a hand-off ([`Codebook`](hybrid_dpo::models::Codebook)) and data ([`wiring`]); trainer, objectives
//! and the hybrid combinator are those of prompts and images. Both models are trained from scratch: first on imperfect
//! demonstrations, then on an oracle's preferences between clips.
//!
//! Run it with `cargo run --release --example 06_video -- OUT`, which takes eight minutes on two idle cores; `--quick`
//! takes seconds and only tests that everything fits together. The two base models are kept in `OUT/bases`, or in
//! `--bases`, and are reused if they exist; `--seed` changes the pairs and their order in the joint training.
#![expect(clippy::print_stdout, reason = "an example talks to its reader")]
#![expect(clippy::disallowed_methods, reason = "an example reads its arguments")]

mod learning;
mod studio;
mod wiring;

use std::path::{Path, PathBuf};
use std::time::Instant;

use candle_core::Device;
use hybrid_dpo::datasets::synthetic::motion::{MotionProblem, Split};
use hybrid_dpo::mdp::Mdp;
use hybrid_dpo::models::causal::CausalConfig;
use hybrid_dpo::models::denoiser::DenoiserConfig;
use hybrid_dpo::models::formats::{load, load_denoiser};
use hybrid_dpo::objectives::{Comparison, Demonstration, Sft};
use hybrid_dpo::policies::{Learner, Persist};
use hybrid_dpo::train::token::TokenSource;
use hybrid_dpo::train::{Course, Monitor, Observers, Record, Source, Training};

use learning::{EMA, Stage, WEIGHTS, objective, together};
use studio::Studio;
use wiring::{Drawings, NAMES, Pairs, Parts, Plans, Result, Size, Video, draws};

/// Sizes of data and models.
struct Scale {
    size: Size,
    planner_steps: usize,
    decoder_steps: usize,
    joint_steps: usize,
    requests: u64,
}

const WHOLE: Scale = Scale {
    size: Size { planner: 96, n_layers: 3, decoder: [32, 48, 64, 96] },
    planner_steps: 700,
    decoder_steps: 2500,
    joint_steps: 256,
    requests: 256,
};
const QUICK: Scale = Scale {
    size: Size { planner: 32, n_layers: 1, decoder: [8, 8, 16, 16] },
    planner_steps: 20,
    decoder_steps: 10,
    joint_steps: 4,
    requests: 4,
};

fn main() -> Result<()> {
    let options = Options::read(std::env::args().skip(1))?;
    let mut scale = if options.quick { QUICK } else { WHOLE };
    scale.decoder_steps = options.decoder_steps.unwrap_or(scale.decoder_steps);
    scale.joint_steps = options.joint_steps.unwrap_or(scale.joint_steps);
    let (video, begun) = (Video::new()?, Instant::now());
    let planner = planner_base(&video, &options, &scale)?;
    let decoder = decoder_base(&video, &options, &scale)?;
    println!("the bases are ready after {:.0} s", begun.elapsed().as_secs_f64());

    let base = video.frozen(planner.clone(), decoder.clone())?;
    let mut learner = together(video.planner(planner)?, video.decoder(decoder, None)?);

    let problem = MotionProblem::new(options.seed);
    let pairs = Pairs { video: &video, problem, split: Split::Train, n: Stage::Joint.batch_size() * scale.joint_steps };
    let source = video.pairs::<Comparison>(&pairs, draws(options.seed, 1), WEIGHTS)?;
    let objective = objective()?;
    let settings = Stage::Joint.settings(scale.joint_steps, options.seed);
    let folder = options.out.join(format!("joint-{}", options.seed));
    let training = Training::new(&video.mdp, &source, &objective).reference(&base).settings(settings);
    fit(&training, &mut learner, ("both", &folder))?;
    println!("both have learned after {:.0} s", begun.elapsed().as_secs_f64());

    for (split, what) in
        [(Split::Test, "none of them seen in training"), (Split::Train, "all of them seen in training")]
    {
        let studio = Studio::new(&video, options.seed, split, scale.requests)?;
        let (before, after) = (studio.judge(&base)?, studio.judge(&learner)?);
        println!("{} requests, {what}        score  plan right  drawn as planned  residual", scale.requests);
        for (name, judged) in [("base", &before), ("joint", &after)] {
            let studio::Judged { score, plans_right, drawn_right, residual, .. } = judged;
            println!("  {name:<40} {score:>10.3} {plans_right:>11.3} {drawn_right:>17.3} {residual:>9.3}");
        }
        let (rate, (low, high)) = studio.win_rate(&after, &before);
        println!("  win rate over the base {rate:.3}, 95% interval {low:.3} to {high:.3}");
        let path = options.out.join(format!("{}-{}.png", split.name(), options.seed));
        studio.animate(&path, &[("base", &before), ("joint", &after)], 8)?;
        println!("  {}", path.display());
    }
    println!("done after {:.0} s", begun.elapsed().as_secs_f64());
    Ok(())
}

/// The command-line options.
#[derive(Default)]
struct Options {
    out: PathBuf,
    bases: PathBuf,
    seed: u64,
    quick: bool,
    decoder_steps: Option<usize>,
    joint_steps: Option<usize>,
}

impl Options {
    fn read(mut arguments: impl Iterator<Item = String>) -> Result<Self> {
        const USAGE: &str = "06_video OUT [--bases FOLDER] [--seed N] [--decoder-steps N] [--joint-steps N] [--quick]";
        let (mut options, mut out, mut bases) = (Self::default(), None, None);
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().ok_or(USAGE);
            match argument.as_str() {
                "--quick" => options.quick = true,
                "--bases" => bases = Some(PathBuf::from(value()?)),
                "--seed" => options.seed = value()?.parse()?,
                "--decoder-steps" => options.decoder_steps = Some(value()?.parse()?),
                "--joint-steps" => options.joint_steps = Some(value()?.parse()?),
                folder if out.is_none() && !folder.starts_with("--") => out = Some(PathBuf::from(folder)),
                _ => return Err(USAGE.into()),
            }
        }
        options.out = out.ok_or(USAGE)?;
        options.bases = bases.unwrap_or_else(|| options.out.join("bases"));
        Ok(options)
    }
}

/// The planner trained on demonstrations, or loaded if it exists.
fn planner_base(video: &Video, options: &Options, scale: &Scale) -> Result<Parts<CausalConfig>> {
    let folder = options.bases.join(NAMES[0]);
    if !folder.join("model").is_dir() {
        let n = Stage::Planner.batch_size() * scale.planner_steps;
        let plans = Plans { video, problem: MotionProblem::new(0), n };
        let source = TokenSource::<Demonstration>::new(&plans, video.mdp.outer.max_length);
        let mut learner = video.planner(video.untrained_planner(scale.size, 0)?)?;
        let (objective, settings) = (Sft::default(), Stage::Planner.settings(scale.planner_steps, 0));
        let training = Training::new(&video.mdp.outer, &source, &objective).settings(settings);
        fit(&training, &mut learner, (NAMES[0], &folder))?;
    }
    let files = load(&folder.join("model"), &Device::Cpu)?;
    Ok((files.config, files.tensors))
}

/// The decoder trained on demonstrations, or loaded if it exists.
fn decoder_base(video: &Video, options: &Options, scale: &Scale) -> Result<Parts<DenoiserConfig>> {
    let folder = options.bases.join(NAMES[1]);
    if !folder.join("model").is_dir() {
        let drawings =
            Drawings { video, problem: MotionProblem::new(0), n: Stage::Decoder.batch_size() * scale.decoder_steps };
        let source = video.clips::<Demonstration>(&drawings, draws(0, 1));
        let mut learner = video.decoder(video.untrained_decoder(scale.size, 0)?, Some(EMA))?;
        let (objective, settings) = (Sft::default(), Stage::Decoder.settings(scale.decoder_steps, 0));
        let training = Training::new(&video.mdp.inner, &source, &objective).settings(settings);
        fit(&training, &mut learner, (NAMES[1], &folder))?;
    }
    let files = load_denoiser(&folder.join("model"), &Device::Cpu)?;
    Ok((files.config, files.tensors))
}

/// Trains in a folder; the trainer is independent of video.
fn fit<M: Mdp, L: Learner<M> + Persist, S: Source<Mdp = M>>(
    training: &Training<'_, M, S>,
    learner: &mut L,
    (name, folder): (&str, &Path),
) -> Result<()> {
    let mut monitor = Progress { name: name.to_owned(), total: 0, losses: Vec::new(), begun: Instant::now() };
    training.watched(learner, folder, Observers::monitor(&mut monitor))?;
    Ok(())
}

/// Prints the loss ten times.
struct Progress {
    name: String,
    total: usize,
    losses: Vec<f64>,
    begun: Instant,
}

impl Monitor for Progress {
    fn started(&mut self, course: Course) {
        self.total = course.total;
    }

    fn stepped(&mut self, record: &Record) {
        let loss = record.values.iter().find(|(name, _)| name == "loss");
        self.losses.extend(loss.map(|(_, loss)| *loss));
        if record.step.is_multiple_of((self.total / 10).max(1)) {
            let mean = self.losses.iter().sum::<f64>() / self.losses.len().max(1) as f64;
            self.losses.clear();
            let seconds = self.begun.elapsed().as_secs_f64();
            println!("{:<8} step {:>5} of {}: loss {mean:.4}, {seconds:.0} s", self.name, record.step, self.total);
        }
    }
}
