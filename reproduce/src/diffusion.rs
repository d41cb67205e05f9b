//! Appendix B: sampling schemes of denoising decisions at equal compute.
use recipes::Failure;
use recipes::settings::{Data, Diffusion, DiffusionTraining, Run, Sample, Scheme, Train};

use crate::result::{Chart, Claim, FigureResult, Rule, Series, Table};
use crate::runs::{FinishedRun, mean_curve};
use crate::statistics::Measured;
use crate::{Figure, Result, Setup};

/// Pairs of a step.
const BATCH: usize = 8;
/// Denoising steps of a sampled trajectory.
const STEPS: usize = 10;
/// Trajectories of each caption, of which the best and the worst make a pair.
const EACH: usize = 3;
/// Network evaluations of a picture that is learned from: forward, and backward, which costs two.
const LEARNED: usize = 3;
/// Pairs of a step for each caption with trajectories: each is learned from about so often.
const EPOCHS: usize = 4;

/// A scheme with its share of the compute.
#[derive(Clone, Copy, Debug)]
struct Plan {
    scheme: Scheme,
    /// Optimiser steps.
    steps: usize,
    /// Captions whose trajectories are sampled; 0 for other schemes.
    captions: usize,
}

impl Plan {
    /// The plans of all schemes that cost about what `steps` of forward noising cost.
    fn all(steps: usize) -> [Self; 3] {
        let budget = steps * BATCH * Self::pair(Scheme::Forward);
        let half = budget.div_ceil(BATCH * Self::pair(Scheme::Half)).max(1);
        let of_caption = EACH * STEPS + EPOCHS * Self::pair(Scheme::Trajectory);
        let captions = (budget / of_caption).max(BATCH);
        let trajectory = (captions * EPOCHS / BATCH).max(1);
        [
            Self { scheme: Scheme::Forward, steps, captions: 0 },
            Self { scheme: Scheme::Half, steps: half, captions: 0 },
            Self { scheme: Scheme::Trajectory, steps: trajectory, captions },
        ]
    }

    /// Network evaluations of a pair in a step: both pictures are learned from and scored by the reference, which of the
    /// half scheme draws the next latents too.
    fn pair(scheme: Scheme) -> usize {
        match scheme {
            Scheme::Forward | Scheme::Trajectory => 2 * (LEARNED + 1),
            Scheme::Half => 2 * (LEARNED + 2),
        }
    }

    /// Network evaluations of the whole plan.
    fn evaluations(self) -> usize {
        self.steps * BATCH * Self::pair(self.scheme) + self.captions * EACH * STEPS
    }

    fn name(self) -> &'static str {
        match self.scheme {
            Scheme::Forward => "forward noising",
            Scheme::Half => "half: next latents drawn from the reference",
            Scheme::Trajectory => "trajectories of the start",
        }
    }

    fn settings(self, setup: &Setup<'_>, seed: u64) -> DiffusionTraining {
        let is_trajectory = self.scheme == Scheme::Trajectory;
        let limit = if is_trajectory { self.captions } else { BATCH * self.steps };
        DiffusionTraining {
            run: Run { seed, ..Run::default() },
            data: Data { limit: Some(limit), ..Data::default() },
            diffusion: Diffusion { scheme: self.scheme, draws_per_pair: Some(1), ..Diffusion::default() },
            train: Train {
                max_steps: Some(self.steps),
                eval_every: (self.steps / 4).max(1),
                eval_examples: setup.sizes().held_out.min(64),
                n_samples: 0,
                ..Train::default()
            },
            // Trajectories need noise in their steps; the oracle's pictures are drawn alike for all schemes.
            sample: Sample { steps: STEPS, eta: 1.0, ..Sample::default() },
            ..DiffusionTraining::default()
        }
    }
}

/// A scheme's runs by seed.
struct PlanRuns {
    plan: Plan,
    runs: Vec<FinishedRun>,
}

impl PlanRuns {
    fn scores(&self, name: &str) -> Result<Vec<f64>> {
        self.runs.iter().map(|run| Ok(run.of(name)?.score)).collect()
    }

    /// The held-out accuracy; none where a run holds nothing out, as few trajectories leave nothing.
    fn accuracy(&self) -> String {
        let accuracies = self.runs.iter().map(|run| run.last("rewards/accuracies")).collect::<Result<Vec<_>>>();
        accuracies.map_or_else(|_| "-".to_owned(), |values| Measured::over_seeds(&values).to_string())
    }

    fn wins(&self) -> Result<Vec<f64>> {
        self.runs.iter().map(|run| run.of("policy")?.win_rate.ok_or_else(|| Failure::failed("no win rate"))).collect()
    }
}

/// Trains by every scheme.
pub(crate) fn run(setup: &Setup<'_>) -> Result<FigureResult> {
    let sizes = setup.sizes();
    let mut all = Vec::new();
    for plan in Plan::all(sizes.denoiser_steps) {
        let mut runs = Vec::new();
        for seed in setup.seeds() {
            let name = format!("shapes-{}-seed-{seed}", plan.scheme.word());
            runs.push(setup.run(&name, plan.settings(setup, seed), sizes.pictures)?);
        }
        all.push(PlanRuns { plan, runs });
    }
    let about = format!(
        "The embedded denoiser learns by Diffusion-DPO from one decision of each picture, which the schemes sample differently, at about \
         equal cost in network evaluations ({LEARNED} for a picture that is learned from, 1 for the reference, and those of \
         sampled trajectories). Pairs of pictures are the data's, of trajectories the best and the worst of {EACH} of the \
         start by the oracle, which then compares {} test captions with the start. {} seeds.",
        sizes.pictures, sizes.seeds
    );
    let (claims, table, chart) = (claims(&all)?, table(&all)?, chart(&all));
    Ok(FigureResult { figure: Figure::Diffusion, about, claims, tables: vec![table], charts: vec![chart] })
}

fn claims(all: &[PlanRuns]) -> Result<Vec<Claim>> {
    let mut claims = Vec::new();
    for trained in all {
        claims.push(Claim::new(
            "Appendix B.2",
            "Each way of sampling the intermediate states is a valid way to make off-policy data: the policy learns from it",
            format!("win rate over the start, {}", trained.plan.name()),
            Measured::over_seeds(&trained.wins()?),
            Rule::Above(0.5),
        ));
    }
    if let [forward, rest @ ..] = all {
        for trained in rest {
            claims.push(Claim::new(
                "own",
                "At equal compute no scheme is behind forward noising",
                format!(
                    "win rate over the start, {}, less that of forward noising; 0.05 is allowed",
                    trained.plan.name()
                ),
                Measured::of_differences(&trained.wins()?, &forward.wins()?),
                Rule::AtLeast(-0.05),
            ));
        }
    }
    Ok(claims)
}

fn table(all: &[PlanRuns]) -> Result<Table> {
    let columns =
        ["scheme", "steps", "network evaluations", "score of the start", "score", "win rate", "held-out accuracy"];
    let mut table = Table::new("Schemes of denoising decisions at equal compute", &columns);
    for trained in all {
        table.push([
            trained.plan.name().to_owned(),
            trained.plan.steps.to_string(),
            trained.plan.evaluations().to_string(),
            Measured::over_seeds(&trained.scores("start")?).to_string(),
            Measured::over_seeds(&trained.scores("policy")?).to_string(),
            Measured::over_seeds(&trained.wins()?).to_string(),
            trained.accuracy(),
        ]);
    }
    Ok(table)
}

fn chart(all: &[PlanRuns]) -> Chart {
    let mut series = Vec::new();
    for trained in all {
        // A few trajectories leave none to hold out.
        let Ok(curves) = trained.runs.iter().map(|run| run.curve("loss")).collect::<Result<Vec<_>>>() else { continue };
        let mut points = mean_curve(&curves);
        // Steps cost differently.
        let cost = trained.plan.evaluations() as f64 / trained.plan.steps as f64;
        for point in &mut points {
            point.x *= cost;
        }
        series.push(Series { name: trained.plan.name().to_owned(), points });
    }
    Chart {
        name: "diffusion-loss".to_owned(),
        title: "Held-out loss of each scheme by network evaluations".to_owned(),
        x_label: "network evaluations".to_owned(),
        y_label: "loss (each scheme's own)".to_owned(),
        is_log: false,
        series,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plans_cost_about_the_same() {
        let plans = Plan::all(104);
        let forward = plans[0].evaluations() as f64;
        for plan in plans {
            let share = plan.evaluations() as f64 / forward;
            assert!((share - 1.0).abs() < 0.03, "{plan:?}: {share}");
        }
    }
}
