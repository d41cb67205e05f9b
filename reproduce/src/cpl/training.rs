//! Data, policies and runs of one seed.
use std::path::PathBuf;

use candle_core::Device;
use datasets::control::{JudgedSegments, Labels, Pairing, Verdicts};
use datasets::synthetic::bins::BinSegments;
use engine::Noise;
use engine::optim::AdamW;
use mdp::Mdp;
use models::formats::{load_gaussian, load_gaussian_to_train};
use models::gaussian::{GaussianConfig, GaussianMlp, LearnerOptions};
use objectives::{Comparison, Cpl, Logistic, Objective, Pairwise, Sft};
use policies::Policy;
use policies::gaussian::Spread;
use train::Settings;
use train::control::{SegmentDemonstrations, SegmentPairs};

use super::{Acted, Loss, Start};
use crate::fit::Fit;
use crate::runs::FinishedRun;
use crate::statistics::mean;
use crate::{Result, Setup};

/// Decisions of a segment.
pub(super) const LENGTH: usize = 8;
/// The width of each hidden layer.
pub(super) const HIDDEN: usize = 64;
/// The standard deviation of actions.
pub(super) const STD: f64 = 0.5;
/// The learning rate of Adam.
const RATE: f64 = 1e-3;
/// The share of segments that no training pair has.
const HELD_OUT: f64 = 0.1;

/// The segments of a seed and what is trained on them.
pub(super) struct Problem<'s, 'r> {
    setup: &'s Setup<'r>,
    seed: u64,
    judged: JudgedSegments,
}

impl<'s, 'r> Problem<'s, 'r> {
    /// Records the segments of a seed.
    pub(super) fn new(setup: &'s Setup<'r>, seed: u64) -> Result<Self> {
        setup.go_on()?;
        Ok(Self { setup, seed, judged: BinSegments::new(seed).segments(setup.sizes().segments[0], LENGTH) })
    }

    /// The mean score of the recorded segments.
    pub(super) fn mean_advantage(&self) -> f64 {
        match &self.judged.verdicts {
            Verdicts::Scores(scores) => mean(scores.iter().copied()),
            Verdicts::Pairs(_) => f64::NAN,
        }
    }

    /// Training and held-out pairs.
    fn pairs(&self) -> Result<[SegmentPairs<'_>; 2]> {
        let n_pairs = self.setup.sizes().segments[1];
        let pairing = Pairing { n_pairs, held_out: HELD_OUT, seed: self.seed, labels: Labels::Exact };
        let (pairs, held_out) = self.judged.pairs(pairing)?;
        Ok([pairs, held_out].map(|pairs| SegmentPairs::new(&self.judged.segments, pairs)))
    }

    fn folder(&self, name: &str) -> PathBuf {
        self.setup.out.join("runs").join(format!("cpl-{name}-seed-{}", self.seed))
    }

    /// The loop's settings for so many steps.
    fn settings(&self, steps: usize, beta: f64) -> Settings {
        Settings {
            seed: self.seed,
            batch_size: 64,
            micro_batch_size: 64,
            max_steps: Some(steps),
            rate: RATE,
            warmup_steps: 0,
            max_gradient_norm: None,
            eval_every: (steps / 12).max(1),
            eval_examples: usize::MAX,
            save_every: Some(0),
            beta,
            ..Settings::default()
        }
    }

    /// Trains by a loss from a start, or reads what was trained: the run, and how the start and the trained policy act.
    pub(super) fn learned(&self, loss: Loss, start: Start) -> Result<(FinishedRun, [Acted; 2])> {
        let (before, mut learner) = self.start(start)?;
        let name = format!("{}-after-{}", loss.word(), start.word());
        let folder = self.folder(&name);
        if !folder.join("model").is_dir() {
            let [data, held_out] = self.pairs()?;
            let steps = self.setup.sizes().control_steps[1];
            let (objective, beta) = objective(loss)?;
            let fit = Fit {
                mdp: &data.mdp(),
                data: &data,
                held_out: Some(&held_out),
                reference: (loss == Loss::Dpo).then_some(&before as &dyn Policy<_>),
                objective: &*objective,
                settings: self.settings(steps, beta),
                name: format!("bins {} {name}", self.seed),
            };
            fit.run(self.setup, &mut learner, &folder)?;
        }
        let after = load_gaussian(&folder.join("model"), &Device::Cpu)?;
        let start = format!("cpl-acted-{}-seed-{}", start.word(), self.seed);
        let trained = format!("cpl-acted-{name}-seed-{}", self.seed);
        let acted = [self.setup.kept(&start, || self.act(&before))?, self.setup.kept(&trained, || self.act(&after))?];
        Ok((FinishedRun { folder, judged: Vec::new() }, acted))
    }

    /// The policy that a start is, frozen and to learn.
    fn start(&self, start: Start) -> Result<(GaussianMlp, GaussianMlp)> {
        if start == Start::Untrained {
            let (frozen, learner) = (self.untrained(None)?, self.untrained(Some(options()?))?);
            return Ok((frozen, learner));
        }
        let folder = self.folder(&format!("cloning-{}", start.word()));
        if !folder.join("model").is_dir() {
            let [pairs, _] = self.pairs()?;
            let data = if start == Start::Both { pairs.all() } else { pairs.better() };
            self.clone_behaviour(&data, start, &folder)?;
        }
        let model = folder.join("model");
        Ok((load_gaussian(&model, &Device::Cpu)?, load_gaussian_to_train(&model, options()?, &Device::Cpu)?))
    }

    fn clone_behaviour(&self, data: &SegmentDemonstrations<'_>, start: Start, folder: &std::path::Path) -> Result<()> {
        let steps = self.setup.sizes().control_steps[0];
        let fit = Fit {
            mdp: &data.mdp(),
            data,
            held_out: None,
            reference: None,
            objective: &Sft::default(),
            settings: self.settings(steps, 1.0),
            name: format!("bins {} {}", self.seed, start.word()),
        };
        fit.run(self.setup, &mut self.untrained(Some(options()?))?, folder)
    }

    /// Random weights, frozen or to learn.
    fn untrained(&self, training: Option<LearnerOptions>) -> Result<GaussianMlp> {
        let mdp = BinSegments::new(self.seed).mdp;
        let config = GaussianConfig::new(&mdp, vec![HIDDEN; 2], Spread::Fixed { std: STD });
        let tensors = config.initial_tensors(&Noise::new(self.seed), &Device::Cpu)?;
        Ok(match training {
            Some(training) => GaussianMlp::trainable(config, tensors, training)?,
            None => GaussianMlp::frozen(config, tensors)?,
        })
    }

    /// Acts in new scenes, the same for every policy.
    fn act(&self, policy: &GaussianMlp) -> Result<Acted> {
        self.setup.go_on()?;
        let problem = BinSegments::new(self.seed);
        let starts: Vec<_> =
            problem.scenes(self.setup.sizes().scenes).iter().map(|scene| problem.mdp.start(scene)).collect();
        let episodes = policy.rollout(&problem.mdp, &starts, &mut Noise::new(self.seed).stream("acting", 0))?;
        let is_done = |episode: &mdp::EpisodeOf<mdp::control::BinPicking>| {
            let piece = &episode.pieces[0];
            let end = piece.actions.iter().fold(piece.start, |state, action| problem.mdp.step(&state, action));
            f64::from(u8::from(problem.mdp.is_done(&end)))
        };
        Ok(Acted {
            success: mean(episodes.iter().map(is_done)),
            decisions: mean(episodes.iter().map(|episode| episode.n_decisions() as f64)),
        })
    }
}

/// Adam without weight decay.
fn options() -> Result<LearnerOptions> {
    Ok(LearnerOptions::new(Box::new(AdamW::new((0.9, 0.999), 1e-8, 0.0)?)))
}

/// The loss, and its factor from returns to rewards.
fn objective(loss: Loss) -> Result<(Box<dyn Objective<Feedback = Comparison>>, f64)> {
    Ok(match loss {
        Loss::Cpl => (Box::new(Pairwise::new(Cpl::new(Loss::CPL.0, Loss::CPL.1)?)), Loss::CPL.0),
        Loss::Dpo => (Box::new(Pairwise::new(Logistic::new(Loss::BETA)?)), Loss::BETA),
    })
}
