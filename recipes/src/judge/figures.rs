//! Figures of judged pairs.
use std::collections::BTreeMap;

use datasets::pairs::{LabelChoice, PairFolder, Side, StoredResult};
use eval::statistics::{LabellerAgreement, Lengths, difference, interval, length_controlled};

use super::api::ApiFigures;
use super::report::{JudgeCounts, SystemDifference, SystemReport};

/// The pairs of a folder with a judge's choices.
pub(super) struct Figures<'a> {
    pub(super) folder: &'a PairFolder,
    pub(super) choices: &'a [Option<LabelChoice>],
    pub(super) api: Option<&'a ApiFigures>,
    pub(super) agreement: &'a [LabellerAgreement],
}

impl Figures<'_> {
    /// The report about the pairs.
    pub(super) fn report(&self, name: &str, against: Option<&str>, seed: u64) -> SystemReport {
        let counts = JudgeCounts::of(self.choices.iter().copied());
        let by_prompt: Vec<Vec<f64>> = self.by_prompt().into_values().collect();
        let lengths = self.lengths();
        let n = lengths.len() as f64;
        let mean = |of: fn(&Lengths) -> usize| lengths.iter().map(|pair| of(pair) as f64).sum::<f64>() / n;
        SystemReport {
            name: name.to_owned(),
            against: against.map(str::to_owned),
            counts,
            bootstrap: interval(&by_prompt, seed),
            length_controlled: length_controlled(&lengths),
            lengths: (n > 0.0).then(|| (mean(|pair| pair.a), mean(|pair| pair.b))),
            positions: self.api.map(|api| api.positions),
            refused: self.api.map_or(0, |api| api.refused),
            cut: self.api.map_or((0, 0), |api| (api.cut, api.max_tokens)),
            agreement: self.agreement.to_vec(),
        }
    }

    /// The outcomes for side a, by prompt.
    pub(super) fn by_prompt(&self) -> BTreeMap<&str, Vec<f64>> {
        let mut found: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
        for (pair, choice) in self.folder.pairs().iter().zip(self.choices) {
            if let Some(share) = choice.and_then(LabelChoice::share_of_a) {
                found.entry(&pair.request).or_default().push(share);
            }
        }
        found
    }

    /// The outcomes with the lengths of the texts; empty for pictures.
    fn lengths(&self) -> Vec<Lengths> {
        let pairs = self.folder.pairs().iter().zip(self.choices).filter_map(|(pair, choice)| {
            let length = |side: Side| match &pair.side(side).made {
                StoredResult::Response(text) => Some(text.trim().chars().count()),
                StoredResult::Image(_) => None,
            };
            Some(Lengths {
                outcome: choice.and_then(LabelChoice::share_of_a)?,
                a: length(Side::A)?,
                b: length(Side::B)?,
            })
        });
        pairs.collect()
    }
}

/// The first system against each other one, on the prompts that both have.
pub(super) fn differences(systems: &[(String, OwnedOutcomes)], seed: u64) -> Vec<SystemDifference> {
    let Some(((first, own), others)) = systems.split_first() else { return Vec::new() };
    let mean = |outcomes: &Vec<f64>| outcomes.iter().sum::<f64>() / outcomes.len() as f64;
    let of = |(name, outcomes): &(String, OwnedOutcomes)| {
        let prompts: Vec<(f64, f64)> =
            own.iter().filter_map(|(prompt, own)| Some((mean(own), mean(outcomes.get(prompt)?)))).collect();
        let difference = difference(&prompts, seed)?;
        Some(SystemDifference { one: first.clone(), other: name.clone(), prompts: prompts.len(), difference })
    };
    others.iter().filter_map(of).collect()
}

/// Outcomes by prompt.
pub(super) type OwnedOutcomes = BTreeMap<String, Vec<f64>>;
