//! What is asked in the rounds.
use datasets::Prompt;
use datasets::synthetic::Split;
use mdp::chance::drawn;

use crate::judged::hold_out;
use crate::sample::{embedded_prompts, read_prompts};
use crate::settings::{Modality, Values};
use crate::{Failure, Reporter};

/// Where the prompts come from: an embedded model has its problem's.
pub(super) fn source(values: &mut Values) -> Result<String, Failure> {
    let (model, builtin) = match values.run.mdp() {
        Modality::Diffusion => (values.model.model(), "builtin:shapes"),
        Modality::Hybrid => (values.hybrid.refiner(), "builtin:chimera"),
        Modality::Token => (values.model.model(), "builtin:tldr"),
    };
    let by_default = if model.is_some_and(|model| model.starts_with(builtin)) { builtin } else { "" };
    let source = values.sample.prompts().unwrap_or(by_default).to_owned();
    if source.is_empty() {
        return Err(Failure::usage("`rounds.rounds` need `sample.prompts` FILE: what the policy is asked"));
    }
    if source == "builtin:chimera" {
        values.preset(crate::hybrid::embedded_requests);
    }
    Ok(source)
}

/// What is asked in the rounds, and what the policies are compared on.
pub(super) struct Prompts {
    source: String,
    /// Those of a file; the embedded ones are made as they are needed.
    asked: Vec<Prompt>,
    pub(super) held_out: Vec<Prompt>,
}

impl Prompts {
    pub(super) fn read(source: String, values: &Values, reporter: &dyn Reporter) -> Result<Self, Failure> {
        let n = values.train.eval_examples();
        if source.starts_with("builtin:") {
            let held_out = embedded_prompts(&source, Split::Test, 0..n as u64, values)?;
            return Ok(Self { source, asked: Vec::new(), held_out });
        }
        let all = read_prompts(&source, values, reporter)?;
        let share = crate::images::eval_share(values)?;
        let shown: Vec<String> = all.iter().map(line).collect();
        let seed = values.run.seed();
        let (asked, held_out) = hold_out(&shown, share, seed);
        if asked.is_empty() {
            return Err(Failure::usage(format!(
                "`data.eval_share` {share} holds all prompts out and leaves none to learn from"
            )));
        }
        let looked_at = drawn(seed, "evaluation", n, held_out.len());
        let held_out = looked_at.into_iter().map(|place| held_out[place]).collect();
        let pick = |rows: Vec<usize>| rows.into_iter().map(|row| all[row].clone()).collect();
        Ok(Self { source, asked: pick(asked), held_out: pick(held_out) })
    }

    /// The prompts of a round; each goes on where the one before ended.
    pub(super) fn of_round(&self, round: usize, n: usize, values: &Values) -> Result<Vec<Prompt>, Failure> {
        let numbers = (round - 1) * n..round * n;
        if self.source.starts_with("builtin:") {
            return embedded_prompts(&self.source, Split::Train, numbers.start as u64..numbers.end as u64, values);
        }
        Ok(numbers.map(|i| self.asked[i % self.asked.len()].clone()).collect())
    }
}

/// A prompt as a line of a file of prompts.
pub(super) fn line(prompt: &Prompt) -> String {
    prompt.to_json().to_string()
}
