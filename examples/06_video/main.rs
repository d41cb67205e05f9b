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

mod studio;
mod wiring;

use std::path::{Path, PathBuf};
use std::time::Instant;

use candle_core::Device;
use hybrid_dpo::datasets::synthetic::motion::{MotionProblem, Split};
use hybrid_dpo::mdp::Mdp;
use hybrid_dpo::models::causal::CausalConfig;
use hybrid_dpo::models::formats::{load, load_unet};
use hybrid_dpo::models::unet::UNetConfig;
use hybrid_dpo::objectives::{
    BoxObjective, ChosenLikelihood, Comparison, Demonstration, Logistic, Pairwise, Sft, WeightedSum,
};
use hybrid_dpo::policies::{Learner, Pair, Persist};
use hybrid_dpo::train::token::TokenSource;
use hybrid_dpo::train::{Decay, Monitor, Observers, Record, Settings, Source, Training};

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

/// beta per nat of codes, and gamma per unit of halved mean squared error (Eq. 15).
const WEIGHTS: (f64, f64) = (0.3, 100.0);
/// Weight of the better side's likelihood in the loss: without it both sides of a pair can become unlikely.
const SFT_WEIGHT: f64 = 0.1;
/// Learning rates of the joint training.
const RATES: [f64; 2] = [1e-3, 1e-4];

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
    let mut learner = Pair::new(video.planner(planner)?, video.decoder(decoder, None)?).named(NAMES);
    learner.rates = (1.0, RATES[1] / RATES[0]);

    let problem = MotionProblem::new(options.seed);
    let pairs = Pairs { video: &video, problem, split: Split::Train, n: 8 * scale.joint_steps };
    let source = video.pairs::<Comparison>(&pairs, draws(options.seed, 1), WEIGHTS)?;
    // beta and gamma are weights of the decisions, so the loss itself has beta 1.
    let preference: BoxObjective<Comparison> = Box::new(Pairwise::new(Logistic::new(1.0)?));
    let likelihood: BoxObjective<Comparison> = Box::new(Pairwise::new(ChosenLikelihood));
    let objective = WeightedSum::new(vec![(1.0, preference), (SFT_WEIGHT, likelihood)])?;
    let settings = Settings { seed: options.seed, ..settings((8, scale.joint_steps), RATES[0], 1.0) };
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
        let n = 16 * scale.planner_steps;
        let plans = Plans { video, problem: MotionProblem::new(0), n };
        let source = TokenSource::<Demonstration>::new(&plans, video.mdp.outer.max_length);
        let mut learner = video.planner(video.untrained_planner(scale.size, 0)?)?;
        let (objective, settings) = (Sft::default(), settings((16, scale.planner_steps), 3e-3, 20.0));
        let training = Training::new(&video.mdp.outer, &source, &objective).settings(settings);
        fit(&training, &mut learner, (NAMES[0], &folder))?;
    }
    let files = load(&folder.join("model"), &Device::Cpu)?;
    Ok((files.config, files.tensors))
}

/// The decoder trained on demonstrations, or loaded if it exists.
fn decoder_base(video: &Video, options: &Options, scale: &Scale) -> Result<Parts<UNetConfig>> {
    let folder = options.bases.join(NAMES[1]);
    if !folder.join("model").is_dir() {
        let drawings = Drawings { video, problem: MotionProblem::new(0), n: 16 * scale.decoder_steps };
        let source = video.clips::<Demonstration>(&drawings, draws(0, 1));
        let mut learner = video.decoder(video.untrained_decoder(scale.size, 0)?, Some(0.99))?;
        let (objective, settings) = (Sft::default(), settings((16, scale.decoder_steps), 2e-3, 1.0));
        let training = Training::new(&video.mdp.inner, &source, &objective).settings(settings);
        fit(&training, &mut learner, (NAMES[1], &folder))?;
    }
    let files = load_unet(&folder.join("model"), &Device::Cpu)?;
    Ok((files.config, files.tensors))
}

/// Training settings of a batch size and number of steps, with a warm-up and a cosine decay.
fn settings((batch_size, steps): (usize, usize), rate: f64, max_gradient_norm: f64) -> Settings {
    Settings {
        batch_size,
        micro_batch_size: batch_size,
        max_steps: Some(steps),
        rate,
        warmup_steps: (steps / 20).max(1),
        decay: Decay::Cosine,
        max_gradient_norm: Some(max_gradient_norm),
        ..Settings::default()
    }
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
    fn started(&mut self, _step: usize, total: usize) {
        self.total = total;
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
