//! The embedded problem of texts: posts, summaries, and the policies that several figures share.
use datasets::synthetic::tldr::{Facts, Oracle, Split, SummaryScore, TldrProblem};
use recipes::settings::{Data, Loss, Model, Objective, Optimizer, Run, TokenTraining, Train};
use recipes::{Failure, Sampled, SampledAnswer};

use crate::runs::FinishedRun;
use crate::{Result, Setup};

/// The start of all policies, which has seen good and bad summaries.
pub(crate) const BASE: &str = "builtin:tldr";

/// The learning rate of DPO.
const RATE: f64 = 3e-5;

/// A run of DPO from a start.
pub(crate) struct Dpo<'a> {
    /// The model that it begins with and stays close to.
    pub(crate) start: &'a str,
    /// The strength of the KL penalty.
    pub(crate) beta: f64,
    /// The seed of data, order and everything else.
    pub(crate) seed: u64,
    /// Optimiser steps.
    pub(crate) steps: usize,
    /// The largest learning rate.
    pub(crate) rate: f64,
}

impl<'a> Dpo<'a> {
    /// A run of the embedded base with its usual rate.
    pub(crate) fn of_base(beta: f64, seed: u64, steps: usize) -> Dpo<'a> {
        Dpo { start: BASE, beta, seed, steps, rate: RATE }
    }

    /// The settings, with an evaluation every eighth of the run.
    pub(crate) fn settings(&self, held_out: usize) -> TokenTraining {
        training(
            self.start,
            BASE,
            (self.seed, self.steps),
            (self.rate, held_out),
            Objective { name: Loss::Dpo, beta: self.beta, ..Objective::default() },
        )
    }
}

/// The settings of a training run on texts; 32 examples a step, as in the embedded run.
pub(crate) fn training(
    model: &str,
    data: &str,
    (seed, steps): (u64, usize),
    (rate, held_out): (f64, usize),
    objective: Objective,
) -> TokenTraining {
    let batch_size = 32;
    TokenTraining {
        run: Run { seed, ..Run::default() },
        model: Model { model: Some(model.to_owned()), ..Model::default() },
        data: Data {
            data: data.into(),
            limit: Some(batch_size * steps),
            max_length: 256,
            max_prompt_length: 192,
            ..Data::default()
        },
        objective,
        optimizer: Optimizer { lr: rate, warmup_steps: (steps / 8).min(10), ..Optimizer::default() },
        train: Train {
            batch_size,
            micro_batch_size: 16,
            max_steps: Some(steps),
            eval_every: (steps / 8).max(1),
            eval_examples: held_out,
            n_samples: 0,
            ..Train::default()
        },
        ..TokenTraining::default()
    }
}

impl Setup<'_> {
    /// The policy of a beta and a seed, which the figures share.
    pub(crate) fn policy(&self, beta: f64, seed: u64) -> Result<FinishedRun> {
        let sizes = self.sizes();
        let settings = Dpo::of_base(beta, seed, sizes.dpo_steps).settings(sizes.held_out);
        self.run(&format!("dpo-beta-{beta}-seed-{seed}"), settings, 0)
    }

    /// The beta that stands for all.
    pub(crate) fn middle_beta(&self) -> f64 {
        let betas = self.sizes().betas;
        betas[betas.len() / 2]
    }
}

/// A post of the test split, which nothing learns from, and its good summary.
pub(crate) struct Post {
    pub(crate) facts: Facts,
    pub(crate) chosen: String,
}

/// The first posts of a seed's test split, in the order in which searches ask them.
pub(crate) fn posts(seed: u64, n: usize) -> Vec<Post> {
    let problem = TldrProblem::new(seed);
    let post = |index| problem.pair(Split::Test, index as u64);
    (0..n).map(post).map(|pair| Post { facts: pair.facts, chosen: pair.chosen }).collect()
}

impl Post {
    pub(crate) fn score(&self, summary: &str) -> SummaryScore {
        Oracle::score(&self.facts, summary)
    }

    /// 1 for a win of the first summary, 0.5 for a tie, 0 for a loss.
    pub(crate) fn win(&self, first: &str, second: &str) -> f64 {
        Oracle::compare(&self.facts, first, second).value()
    }
}

/// The answer of a language model.
pub(crate) fn answer(sampled: &Sampled) -> Result<&SampledAnswer> {
    sampled.answer().ok_or_else(|| Failure::failed("a language model answers with texts"))
}
