//! Appendix D.1: a planner of latent codes and a decoder of clips, from one preference.
//!
//! The wiring of models, data and hand-off, and how both learn, are those of the example `06_video`: the same files.
mod clip_judge;
#[path = "../../../examples/06_video/learning.rs"]
mod learning;
#[path = "../../../examples/06_video/wiring.rs"]
mod wiring;

use std::path::PathBuf;

use candle_core::Device;
use datasets::synthetic::motion::{MotionProblem, Split};
use models::causal::CausalConfig;
use models::denoiser::DenoiserConfig;
use models::formats::{load, load_denoiser};
use objectives::{Comparison, Demonstration, Sft};
use serde::{Deserialize, Serialize};
use train::token::TokenSource;

use self::clip_judge::ClipJudge;
use self::learning::{EMA, Stage, WEIGHTS, objective, together};
use self::wiring::{Drawings, NAMES, Pairs, Parts, Plans, Size, Video, draws};
use crate::fit::fit;
use crate::result::{Claim, FigureResult, Rule, Table};
use crate::statistics::Measured;
use crate::{Figure, Result, Scale, Setup};

/// A seed's numbers: of the base and of the joint policy.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct SeedScores {
    scores: [f64; 2],
    plans: [f64; 2],
    drawn: [f64; 2],
    win_rate: f64,
}

/// Trains both halves from demonstrations once and from preferences with every seed.
pub(crate) fn run(setup: &Setup<'_>) -> Result<FigureResult> {
    let video = Video::new()?;
    let mut all: Vec<SeedScores> = Vec::new();
    for seed in setup.seeds() {
        all.push(setup.kept(&format!("video-seed-{seed}"), || joint(setup, &video, seed))?);
    }
    let sizes = setup.sizes();
    let [planner, decoder, joint] = sizes.video_steps;
    let about = format!(
        "A language model plans a clip as 8 latent codes and a denoiser draws the frames from them; both start from imperfect \
         demonstrations ({planner} and {decoder} steps of {}, one base for all seeds) and then learn from preferences between clips \
         ({joint} steps of {} pairs, {} seeds). The oracle reads clips of {} requests in new wordings.",
        Stage::Planner.batch_size(),
        Stage::Joint.batch_size(),
        sizes.seeds,
        sizes.pictures
    );
    Ok(FigureResult {
        figure: Figure::Video,
        about,
        claims: claims(&all),
        tables: vec![table(&all)],
        charts: Vec::new(),
    })
}

fn claims(all: &[SeedScores]) -> Vec<Claim> {
    let plans: Vec<f64> = all.iter().map(|judged| judged.plans[1] - judged.plans[0]).collect();
    vec![
        Claim::new(
            "Appendix D.1",
            "The joint objective extends to latent tokens and a decoder of clips",
            "win rate of the joint policy's clips over the base's",
            Measured::over_seeds(&all.iter().map(|judged| judged.win_rate).collect::<Vec<_>>()),
            Rule::Above(0.5),
        ),
        Claim::new(
            "Appendix D.1",
            "Preferences between clips reach the planner, whose codes nobody looks at",
            "share of plans that are right, joint less base",
            Measured::over_seeds(&plans),
            Rule::Above(0.0),
        ),
    ]
}

fn table(all: &[SeedScores]) -> Table {
    let mut table =
        Table::new("Clips of the base and of the joint policy", &["policy", "score", "plan right", "drawn as planned"]);
    for (at, name) in ["base", "joint"].into_iter().enumerate() {
        let of = |number: fn(&SeedScores) -> [f64; 2]| {
            Measured::over_seeds(&all.iter().map(|judged| number(judged)[at]).collect::<Vec<_>>()).to_string()
        };
        table.push([name.to_owned(), of(|one| one.scores), of(|one| one.plans), of(|one| one.drawn)]);
    }
    table
}

/// Sizes of the models.
fn size(setup: &Setup<'_>) -> Size {
    match setup.scale {
        Scale::Full => Size { planner: 96, n_layers: 3, decoder: [24, 32, 48, 64] },
        Scale::Quick => Size { planner: 32, n_layers: 1, decoder: [8, 8, 16, 16] },
    }
}

/// Trains both from the preferences of a seed, and judges them.
fn joint(setup: &Setup<'_>, video: &Video, seed: u64) -> Result<SeedScores> {
    let (planner, decoder) = (planner(setup, video)?, decoder(setup, video)?);
    let base = video.frozen(planner.clone(), decoder.clone())?;
    let mut learner = together(video.planner(planner)?, video.decoder(decoder, None)?);
    let (sizes, steps) = (setup.sizes(), setup.sizes().video_steps[2]);
    let n = Stage::Joint.batch_size() * steps;
    let pairs = Pairs { video, problem: MotionProblem::new(seed), split: Split::Train, n };
    let source = video.pairs::<Comparison>(&pairs, draws(seed, 1), WEIGHTS)?;
    let (objective, settings) = (objective()?, Stage::Joint.settings(steps, seed));
    let folder = setup.video_folder(&format!("joint-seed-{seed}"));
    fit(setup, (&video.mdp, &source, Some(&base)), &objective, &mut learner, &settings, &folder)?;
    let clip_judge = ClipJudge::new(video, seed, Split::Test, sizes.pictures)?;
    let (before, after) = (clip_judge.judge(&base)?, clip_judge.judge(&learner)?);
    Ok(SeedScores {
        scores: [before.score, after.score],
        plans: [before.plans, after.plans],
        drawn: [before.drawn, after.drawn],
        win_rate: clip_judge.win_rate(&after, &before),
    })
}

/// The planner, trained on demonstrations.
fn planner(setup: &Setup<'_>, video: &Video) -> Result<Parts<CausalConfig>> {
    let (folder, steps) = (setup.video_folder(NAMES[0]), setup.sizes().video_steps[0]);
    if !folder.join("model").is_dir() {
        let plans = Plans { video, problem: MotionProblem::new(setup.seed), n: Stage::Planner.batch_size() * steps };
        let source = TokenSource::<Demonstration>::new(&plans, video.mdp.outer.max_length);
        let mut learner = video.planner(video.untrained_planner(size(setup), setup.seed)?)?;
        let settings = Stage::Planner.settings(steps, 0);
        let problem = (&video.mdp.outer, &source, None);
        fit(setup, problem, &Sft::default(), &mut learner, &settings, &folder)?;
    }
    let files = load(&folder.join("model"), &Device::Cpu)?;
    Ok((files.config, files.tensors))
}

/// The decoder, trained on demonstrations.
fn decoder(setup: &Setup<'_>, video: &Video) -> Result<Parts<DenoiserConfig>> {
    let (folder, steps) = (setup.video_folder(NAMES[1]), setup.sizes().video_steps[1]);
    if !folder.join("model").is_dir() {
        let drawings =
            Drawings { video, problem: MotionProblem::new(setup.seed), n: Stage::Decoder.batch_size() * steps };
        let source = video.clips::<Demonstration>(&drawings, draws(setup.seed, 1));
        let mut learner = video.decoder(video.untrained_decoder(size(setup), setup.seed)?, Some(EMA))?;
        let settings = Stage::Decoder.settings(steps, 0);
        let problem = (&video.mdp.inner, &source, None);
        fit(setup, problem, &Sft::default(), &mut learner, &settings, &folder)?;
    }
    let files = load_denoiser(&folder.join("model"), &Device::Cpu)?;
    Ok((files.config, files.tensors))
}

impl Setup<'_> {
    fn video_folder(&self, name: &str) -> PathBuf {
        self.out.join("runs").join(format!("video-{name}"))
    }
}
