//! Trains a controller on preferences between recorded segments, by contrastive preference learning (CPL).
//!
//! A file in numpy's `.npz` has the segments: `obs` and `action`, `[N, L, ..]`, and a score for each segment, `rl_sum`, or the
//! layout of pairs (see [`hybrid_dpo::datasets::control`]). Of two segments that with the higher score is preferred. A
//! Gaussian policy first imitates the segments (behaviour cloning) and then learns from pairs of them; both write a run folder,
//! go on if they were stopped, and leave a `model/` that PyTorch can read as well. Without a file the embedded problem is used: a
//! gripper that fetches an object, in which the trained policy can act.
//!
//! Run it with `cargo run --release --example 08_control -- OUT`, in about twenty seconds; a file of your own follows OUT. `--write FILE`
//! writes the embedded segments for numpy, `--label NAME` names another array of scores, `--steps N` changes the steps
//! of each training.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "an example talks to its reader")]
#![expect(clippy::disallowed_methods, reason = "an example reads its arguments")]
#![expect(clippy::too_many_lines, reason = "the tutorial is read from top to bottom")]

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use candle_core::Device;
use hybrid_dpo::datasets::control::{JudgedSegments, Labels, Pairing, Segments};
use hybrid_dpo::datasets::synthetic::bins::BinSegments;
use hybrid_dpo::engine::Noise;
use hybrid_dpo::engine::optim::AdamW;
use hybrid_dpo::mdp::Mdp;
use hybrid_dpo::models::formats::load_gaussian_to_train;
use hybrid_dpo::models::gaussian::{GaussianConfig, GaussianMlp, LearnerOptions};
use hybrid_dpo::objectives::{Cpl, Pairwise, Sft};
use hybrid_dpo::policies::gaussian::Spread;
use hybrid_dpo::policies::{BoxError, Policy};
use hybrid_dpo::train::control::SegmentPairs;
use hybrid_dpo::train::{Settings, Source, Training, write_whole};

/// What `--help` says.
const USAGE: &str = "usage: 08_control OUT [FILE.npz] [--label NAME] [--steps N] [--write FILE.npz]

  OUT          folder of the runs
  FILE.npz     segments of your own: obs and action, [N, L, ..], and rl_sum, or pairs; without it the embedded problem
  --label NAME the array of scores or labels
  --steps N    steps of each of the two trainings (600)
  --write FILE writes the segments for numpy, and trains nothing";

/// Decisions of an embedded segment.
const LENGTH: usize = 8;

/// The arguments.
struct Options {
    out: PathBuf,
    data: Option<PathBuf>,
    write: Option<PathBuf>,
    label: Option<String>,
    steps: usize,
}

fn main() -> ExitCode {
    let Err(error) = train() else { return ExitCode::SUCCESS };
    let causes = std::iter::successors(error.source(), |cause| cause.source()).map(|cause| format!(": {cause}"));
    eprintln!("error: {error}{}", causes.collect::<String>());
    ExitCode::FAILURE
}

fn train() -> Result<(), BoxError> {
    if std::env::args().skip(1).any(|argument| ["--help", "-h"].contains(&argument.as_str())) {
        println!("{USAGE}");
        return Ok(());
    }
    let options = Options::read(std::env::args().skip(1))?;
    let judged = match &options.data {
        Some(path) => JudgedSegments::read(path, options.label.as_deref())?,
        None => BinSegments::new(0).segments(3000, LENGTH),
    };
    let segments = &judged.segments;
    println!(
        "{} segments of {} decisions: {} numbers observed, {} done",
        segments.len(),
        segments.length(),
        segments.observation_size(),
        segments.action_size()
    );
    if let Some(path) = &options.write {
        write_whole(path, |file| judged.write_npz(file))?;
        println!("written to {}", path.display());
        return Ok(());
    }

    // Pairs for training, and pairs of other segments.
    let pairing = Pairing { n_pairs: 2 * segments.len(), held_out: 0.1, seed: 0, labels: Labels::Exact };
    let (pairs, held_out) = judged.pairs(pairing)?;
    if held_out.is_empty() {
        let n = segments.len();
        return Err(format!(
            "{n} segments are too few: a tenth is held out, and that must be two segments, or one pair"
        )
        .into());
    }
    let (pairs, held_out) = (SegmentPairs::new(segments, pairs), SegmentPairs::new(segments, held_out));
    let mdp = pairs.mdp();
    let settings = Settings {
        batch_size: 64,
        micro_batch_size: 64,
        max_steps: Some(options.steps),
        rate: 1e-3,
        warmup_steps: 0,
        eval_every: options.steps.div_ceil(4),
        ..Settings::default()
    };

    // First it imitates all segments, the better and the worse. Then it learns which are better: alpha 0.1 and lambda 0.5,
    // as the authors do.
    let cloned = clone_behaviour(segments, &pairs, &settings, &options.out.join("cloned"))?;
    let mut policy = load_gaussian_to_train(&cloned, adam()?, &Device::Cpu)?;
    let start = policy.frozen_copy()?;
    let objective = Pairwise::new(Cpl::new(0.1, 0.5)?);
    let training = Training::new(&mdp, &pairs, &objective).held_out(&held_out).settings(settings);
    training.run(&mut policy, options.out.join("cpl"))?;

    let mut last = None;
    for (name, policy) in [("imitation", &start), ("CPL", &policy)] {
        let shown = training.evaluate(policy, &held_out)?;
        let number = |name: &str| shown.metric(name).unwrap_or_default();
        let (chosen, rejected) = (number("logps/chosen"), number("logps/rejected"));
        print!("{name}: log-probability of chosen segments {chosen:.3}, of rejected ones {rejected:.3}");
        // Only the embedded problem can be acted in: what a file's actions would do is not in it.
        if options.data.is_none() {
            print!("; fetched in {:.3} of new scenes", fetched(&BinSegments::new(0), policy)?);
        }
        println!("; told apart {}", shown.accuracy_text());
        last = Some(shown);
    }
    let accuracy = last.as_ref().and_then(|shown| shown.metric("rewards/accuracies")).unwrap_or_default();
    println!("{} held-out pairs, accuracy {accuracy:.3}", held_out.len());
    Ok(())
}

/// Imitates all segments of the pairs, or goes on with it; returns the folder of the policy.
fn clone_behaviour(
    segments: &Segments,
    pairs: &SegmentPairs<'_>,
    settings: &Settings,
    folder: &Path,
) -> Result<PathBuf, BoxError> {
    let mdp = pairs.mdp();
    // A network with a Gaussian of fixed width around its output, as in CPL's released code.
    let config = GaussianConfig::new(&mdp, vec![64, 64], Spread::Fixed { std: 0.5 }).standardised(segments.moments());
    let tensors = config.initial_tensors(&Noise::new(0), &Device::Cpu)?;
    let mut policy = GaussianMlp::trainable(config, tensors, adam()?)?;
    let (all, imitation) = (pairs.all(), Sft::default());
    Training::new(&mdp, &all, &imitation).settings(settings.clone()).run(&mut policy, folder)?;
    Ok(folder.join("model"))
}

fn adam() -> Result<LearnerOptions, BoxError> {
    Ok(LearnerOptions::new(Box::new(AdamW::new((0.9, 0.999), 1e-8, 0.0)?)))
}

/// The share of new scenes in which a policy brings the object into the bin.
fn fetched(problem: &BinSegments, policy: &GaussianMlp) -> Result<f64, BoxError> {
    let mdp = &problem.mdp;
    let starts: Vec<_> = problem.scenes(200).iter().map(|scene| mdp.start(scene)).collect();
    let episodes = policy.rollout(mdp, &starts, &mut Noise::new(0).stream("acting", 0))?;
    let ends = episodes.iter().map(|episode| {
        let piece = &episode.pieces[0];
        piece.actions.iter().fold(piece.start, |state, action| mdp.step(&state, action))
    });
    Ok(ends.filter(|end| mdp.is_done(end)).count() as f64 / 200.0)
}

impl Options {
    fn read(mut arguments: impl Iterator<Item = String>) -> Result<Self, BoxError> {
        let (mut places, mut write, mut label, mut steps) = (Vec::new(), None, None, 600);
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().ok_or_else(|| format!("{argument} needs a value"));
            match argument.as_str() {
                "--write" => write = Some(PathBuf::from(value()?)),
                "--label" => label = Some(value()?),
                "--steps" => steps = value()?.parse()?,
                other if other.starts_with("--") => return Err(format!("unknown argument {other}").into()),
                other => places.push(Path::new(other).to_path_buf()),
            }
        }
        let mut places = places.into_iter();
        let (out, data) = (places.next().or_else(|| write.clone()), places.next());
        let out = out.ok_or("name a folder for the runs; a file of segments may follow it")?;
        if places.next().is_some() || steps == 0 {
            return Err("two paths at most, a folder and a file; one step at least".into());
        }
        Ok(Self { out, data, write, label, steps })
    }
}
