//! Figure 3, right, and Section 5.3: the rewards of chosen and rejected segments during training in a general MDP, by the start.
//!
//! The problem is bin picking with a gripper in the plane ([`mdp::control::BinPicking`]), its policies are Gaussian networks,
//! and preferences are those of the oracle's advantages, as in CPL.
mod shown;
mod training;

use recipes::Failure;
use serde::{Deserialize, Serialize};

use self::training::Problem;
use crate::result::{Claim, FigureResult, Rule};
use crate::runs::FinishedRun;
use crate::statistics::Measured;
use crate::{Figure, Result, Setup};

/// What a policy has imitated before it learns from preferences.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Start {
    /// All segments of the training pairs: CPL's own recipe.
    Both,
    /// The better segments.
    Chosen,
    /// Nothing: random weights.
    Untrained,
}

impl Start {
    const ALL: [Self; 3] = [Self::Both, Self::Chosen, Self::Untrained];

    fn name(self) -> &'static str {
        match self {
            Self::Both => "cloning of both",
            Self::Chosen => "cloning of chosen",
            Self::Untrained => "without cloning (random weights)",
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Both => "both",
            Self::Chosen => "chosen",
            Self::Untrained => "untrained",
        }
    }
}

/// The loss of preferences.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Loss {
    /// CPL with the authors' alpha and lambda: the policy's own log-probabilities.
    Cpl,
    /// DPO against the start.
    Dpo,
}

impl Loss {
    const ALL: [Self; 2] = [Self::Cpl, Self::Dpo];
    /// CPL's temperature and bias.
    const CPL: (f64, f64) = (0.1, 0.5);
    /// The strength of DPO's KL penalty.
    const BETA: f64 = 0.5;

    fn word(self) -> &'static str {
        match self {
            Self::Cpl => "cpl",
            Self::Dpo => "dpo",
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Cpl => "CPL",
            Self::Dpo => "DPO",
        }
    }
}

/// How policies act.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Acted {
    /// The share of scenes in which the object is in the bin at the end.
    success: f64,
    /// The mean number of decisions.
    decisions: f64,
}

/// The runs of all seeds with one loss from one start.
struct Curves {
    loss: Loss,
    start: Start,
    runs: Vec<FinishedRun>,
    /// How each start and each trained policy acts.
    acted: Vec<[Acted; 2]>,
}

/// Trains with both losses from all starts and measures.
pub(crate) fn run(setup: &Setup<'_>) -> Result<FigureResult> {
    let mut all: Vec<Curves> = Vec::new();
    for loss in Loss::ALL {
        all.extend(Start::ALL.map(|start| Curves { loss, start, runs: Vec::new(), acted: Vec::new() }));
    }
    let mut recorded = Vec::new();
    for seed in setup.seeds() {
        let problem = Problem::new(setup, seed)?;
        recorded.push(problem.mean_advantage());
        for curves in &mut all {
            let (finished, acted) = problem.learned(curves.loss, curves.start)?;
            curves.runs.push(finished);
            curves.acted.push(acted);
        }
    }
    let sizes = setup.sizes();
    let about = format!(
        "A point gripper fetches an object and drops it into a bin: 3 continuous numbers a decision, at most 40 decisions. \
         {} recorded segments of {} decisions by clumsy policies are compared by the sum of the oracle's advantages (mean {}), \
         {} pairs by seed. A network of two layers of {} gives the mean of a Gaussian with a standard deviation of {}. \
         It learns from pairs ({} steps of 64, {} seeds) by CPL (alpha {}, lambda {}) and by DPO (beta {}) after behaviour \
         cloning of both sides ({} steps), of the chosen ones, and from random weights. Rewards are those of pairs whose \
         segments no training pair has; success is that of {} new scenes with sampled actions.",
        sizes.segments[0],
        training::LENGTH,
        Measured::over_seeds(&recorded),
        sizes.segments[1],
        training::HIDDEN,
        training::STD,
        sizes.control_steps[1],
        sizes.seeds,
        Loss::CPL.0,
        Loss::CPL.1,
        Loss::BETA,
        sizes.control_steps[0],
        sizes.scenes
    );
    let claims = claims(&all)?;
    let (tables, charts) = (vec![shown::table(&all)?], shown::charts(&all)?);
    Ok(FigureResult { figure: Figure::Cpl, about, claims, tables, charts })
}

impl Curves {
    /// The change of a metric from the first evaluation to the last, by seed.
    fn changes(&self, name: &str) -> Result<Vec<f64>> {
        let change = |run: &FinishedRun| {
            let curve = run.curve(name)?;
            let ends = curve.first().zip(curve.last());
            ends.map(|(first, last)| last.1 - first.1).ok_or_else(|| Failure::failed("a run has no evaluation"))
        };
        self.runs.iter().map(change).collect()
    }

    fn last(&self, name: &str) -> Result<Vec<f64>> {
        self.runs.iter().map(|run| run.last(name)).collect()
    }

    /// The successes of the starts, or those after training.
    fn successes(&self, is_trained: bool) -> Vec<f64> {
        self.acted.iter().map(|acted| acted[usize::from(is_trained)].success).collect()
    }
}

fn of(all: &[Curves], loss: Loss, start: Start) -> Result<&Curves> {
    let found = all.iter().find(|curves| curves.loss == loss && curves.start == start);
    found.ok_or_else(|| Failure::failed("a loss has no curves"))
}

fn claims(all: &[Curves]) -> Result<Vec<Claim>> {
    let mut claims = of_figure(all)?;
    claims.extend(of_dpo(all)?);
    claims.extend(of_success(all)?);
    Ok(claims)
}

/// What the right half of the figure shows: rewards of CPL are alpha times the log-probability of a segment.
fn of_figure(all: &[Curves]) -> Result<Vec<Claim>> {
    let claim = |start: Start, words: &str, metric: &str, rule| {
        let what = format!("change of the {} during CPL, {}", label(metric), start.name());
        let numbers = of(all, Loss::Cpl, start)?.changes(metric)?;
        Ok::<_, Failure>(Claim::new("Figure 3, right", words, what, Measured::over_seeds(&numbers), rule))
    };
    let falls = Rule::Below(0.0);
    Ok(vec![
        claim(Start::Both, "With SFT before CPL, the reward of the chosen segments falls", "rewards/chosen", falls)?,
        claim(
            Start::Both,
            "With SFT before CPL, the reward of the rejected segments falls",
            "rewards/rejected",
            falls,
        )?,
        claim(Start::Both, "The margin between them rises nevertheless", "rewards/margins", Rule::Above(0.0))?,
        claim(
            Start::Chosen,
            "With SFT on the chosen segments before CPL, their reward falls",
            "rewards/chosen",
            falls,
        )?,
        claim(
            Start::Untrained,
            "Without SFT the reward of the chosen segments increases during CPL",
            "rewards/chosen",
            Rule::Above(0.0),
        )?,
        claim(
            Start::Untrained,
            "Without SFT the reward of the rejected segments increases during CPL",
            "rewards/rejected",
            Rule::Above(0.0),
        )?,
    ])
}

/// Section 5.3 about DPO, whose rewards are beta times the log-ratio to the start.
fn of_dpo(all: &[Curves]) -> Result<Vec<Claim>> {
    let claim = |start: Start, words: &str, rule| {
        let what = format!("reward of chosen segments at the end of DPO, {}", start.name());
        let numbers = of(all, Loss::Dpo, start)?.last("rewards/chosen")?;
        Ok::<_, Failure>(Claim::new("Section 5.3", words, what, Measured::over_seeds(&numbers), rule))
    };
    Ok(vec![
        claim(
            Start::Chosen,
            "Where the reference has learned the chosen segments, their reward falls during DPO",
            Rule::Below(0.0),
        )?,
        claim(
            Start::Untrained,
            "Without SFT the reward of the chosen segments stays above 0 in DPO",
            Rule::Above(0.0),
        )?,
    ])
}

/// Whether policies get better at the problem.
fn of_success(all: &[Curves]) -> Result<Vec<Claim>> {
    let claim = |loss: Loss, start: Start, words: &str| {
        let curves = of(all, loss, start)?;
        let gain = Measured::of_differences(&curves.successes(true), &of(all, loss, Start::Both)?.successes(false));
        let what = format!("success after {} less that of cloning both alone, {}", loss.name(), start.name());
        Ok::<_, Failure>(Claim::new("own", words, what, gain, Rule::Above(0.0)))
    };
    Ok(vec![
        claim(Loss::Cpl, Start::Both, "CPL after cloning succeeds more often than cloning alone")?,
        claim(Loss::Cpl, Start::Untrained, "CPL without cloning succeeds more often than cloning alone")?,
        claim(Loss::Dpo, Start::Both, "DPO after cloning succeeds more often than cloning alone")?,
    ])
}

/// A metric in words.
fn label(metric: &str) -> &'static str {
    match metric {
        "rewards/chosen" => "reward of chosen segments",
        "rewards/rejected" => "reward of rejected segments",
        "rewards/margins" => "margin",
        _ => "metric",
    }
}
