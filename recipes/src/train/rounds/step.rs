//! The settings of the steps of a round, made of those of the rounds.
use std::path::Path;

use crate::Failure;
use crate::hybrid::halves_of_run;
use crate::settings::{
    Data, Diffusion, Hybrid, Judge, Label, Modality, Model, Rounds, Run, Sample, Search, SearchMethod, SearchScore,
    Settings, Train, Values,
};

/// A policy, by the settings that name it: the model, or both halves of a hybrid.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct PolicyNames {
    model: Option<String>,
    refiner: Option<String>,
    generator: Option<String>,
}

impl PolicyNames {
    /// The policy that the rounds begin with.
    pub(super) fn start(values: &Values) -> Self {
        Self {
            model: values.model.model().map(str::to_owned),
            refiner: values.hybrid.refiner().map(str::to_owned),
            generator: values.hybrid.generator().map(str::to_owned),
        }
    }

    /// The reference that the user named; each of its names is `None` where none was given.
    pub(super) fn named_reference(values: &Values) -> Self {
        Self {
            model: values.model.reference().map(str::to_owned),
            refiner: values.hybrid.refiner_reference().map(str::to_owned),
            generator: values.hybrid.generator_reference().map(str::to_owned),
        }
    }

    /// The policy of a finished run in these rounds.
    ///
    /// # Errors
    /// A hybrid run that is not complete.
    pub(super) fn of_run(run: &Path, values: &Values) -> Result<Self, Failure> {
        let start = Self::start(values);
        match values.run.mdp() {
            Modality::Token | Modality::Diffusion => Ok(Self { model: Some(run.display().to_string()), ..start }),
            Modality::Hybrid => {
                let [refiner, generator] = halves_of_run(run)?;
                Ok(Self { refiner: Some(refiner), generator: Some(generator), ..start })
            }
        }
    }

    /// These names, and those of another policy where there are none.
    pub(super) fn or(self, other: Self) -> Self {
        Self {
            model: self.model.or(other.model),
            refiner: self.refiner.or(other.refiner),
            generator: self.generator.or(other.generator),
        }
    }
}

/// What a step of a round does differently from the rounds; all other settings are theirs.
#[derive(Clone, Debug)]
pub(super) struct RoundStep<'a> {
    pub(super) seed: u64,
    pub(super) policy: PolicyNames,
    /// No names: the policy itself, where a reference is needed.
    pub(super) reference: PolicyNames,
    pub(super) search: Option<SearchMethod>,
    pub(super) score: SearchScore,
    pub(super) null_share: f64,
    /// The prompts to sample for.
    pub(super) prompts: Option<&'a Path>,
    /// The folder of pairs to write.
    pub(super) pairs: Option<&'a Path>,
    /// The pairs to learn from.
    pub(super) data: Option<&'a Path>,
    /// The run to write.
    pub(super) out: Option<&'a Path>,
}

impl RoundStep<'_> {
    /// The settings of the step.
    pub(super) fn values(self, rounds: &Values) -> Values {
        rounds.derived(|rounds| self.settings(rounds))
    }

    fn settings(self, of: Settings) -> Settings {
        let name = |path: Option<&Path>| path.map(|path| path.display().to_string());
        Settings {
            run: Run { seed: self.seed, out: name(self.out), ..of.run },
            model: Model { model: self.policy.model, reference: self.reference.model, ..of.model },
            hybrid: Hybrid {
                refiner: self.policy.refiner,
                generator: self.policy.generator,
                refiner_reference: self.reference.refiner,
                generator_reference: self.reference.generator,
                compare: false,
                ..of.hybrid
            },
            data: Data { data: name(self.data).into(), latents: None, eval_data: None, limit: None, ..of.data },
            diffusion: Diffusion { draws: None, ..of.diffusion },
            train: Train { reference_cache: None, ..of.train },
            sample: Sample {
                prompts: name(self.prompts),
                limit: None,
                n: Sample::default().n,
                search: self.search,
                null_share: self.null_share,
                ..of.sample
            },
            search: Search { score: self.score, ..of.search },
            label: Label { pairs: name(self.pairs), ..of.label },
            rounds: Rounds { rounds: None, ..of.rounds },
            judge: Judge { every: 0, ..of.judge },
            ..of
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::at;

    /// Rounds with a beta that is the default, given explicitly.
    fn rounds() -> Values {
        let mut values = Values::default();
        for set in ["objective.beta=0.1", "rounds.rounds=2", "run.out=there", "sample.n=3", "model.model=start"] {
            values.merge_set(set).unwrap();
        }
        values
    }

    fn step(rounds: &Values) -> RoundStep<'static> {
        RoundStep {
            seed: 5,
            policy: PolicyNames::of_run(Path::new("round-1/run"), rounds).unwrap(),
            reference: PolicyNames::named_reference(rounds).or(PolicyNames::start(rounds)),
            search: None,
            score: SearchScore::Likelihood,
            null_share: 0.0,
            prompts: Some(Path::new("prompts.jsonl")),
            pairs: Some(Path::new("pairs")),
            data: None,
            out: None,
        }
    }

    #[test]
    fn a_step_differs_from_its_rounds_in_what_is_its_own() {
        let rounds = rounds();
        let values = step(&rounds).values(&rounds);
        assert_eq!((values.run.seed, values.run.out.as_deref(), values.rounds.rounds), (5, None, None));
        assert_eq!(values.sample.n, 1);
        assert_eq!(values.model.model.as_deref(), Some("round-1/run"));
        assert_eq!(values.model.reference.as_deref(), Some("start"));
        assert_eq!(values.label.pairs.as_deref(), Some("pairs"));
    }

    #[test]
    fn no_preset_of_a_step_changes_what_the_rounds_were_given() {
        let rounds = rounds();
        let mut values = step(&rounds).values(&rounds);
        values.preset(|settings| {
            settings.objective.beta = 0.3;
            settings.sample.null_share = 0.5;
            settings.model.reference = Some("other".to_owned());
        });
        assert_eq!((values.objective.beta, values.sample.null_share), (0.1, 0.0));
        assert_eq!(values.model.reference.as_deref(), Some("start"));
        assert!(values.is_given(&at::objective::beta) && !values.is_given(&at::rounds::rounds));
    }
}
