//! The settings of each kind of work: the sections that it reads, and no others.
//!
//! Each is a plain struct that a library user fills in and a verb takes: `recipes::train(Call::quiet(TokenTraining { .. }),
//! None)`. Which single settings are read within a section is in [`crate::keys`], and a test holds the two together.
use datasets::pairs::Modality;
use serde::{Deserialize, Serialize};

use super::{
    Credit, Data, Diffusion, Hybrid, Judge, Label, Model, Objective, Optimizer, Report, Rounds, Run, Sample, Search,
    Settings, Train, Values,
};

/// Defines what a verb takes: the settings of its own kinds of work, or those that a command line collected.
macro_rules! verbs {
    ($($(#[doc = $about:literal])+ $Settings:ident)+) => {
        $(
            $(#[doc = $about])+
            pub trait $Settings: Into<Values> {}

            impl $Settings for Values {}
        )+
    };
}

verbs! {
    /// The settings that [`train`](crate::train()) takes.
    TrainingSettings
    /// The settings that [`score`](crate::score()) takes.
    ScoringSettings
    /// The settings that [`eval`](crate::eval()) takes.
    EvaluationSettings
    /// The settings that [`export`](crate::export()) takes.
    ExportSettings
    /// The settings that [`merge`](crate::merge()) takes.
    MergeSettings
    /// The settings that [`sample`](crate::sample()) takes.
    SamplingSettings
    /// The settings that [`search`](crate::search()) takes.
    SearchSettings
    /// The settings that [`judge`](crate::judge()) takes.
    JudgingSettings
    /// The settings that [`credit`](crate::credit()) takes.
    CreditSettings
    /// The settings that [`report`](crate::report()) takes.
    ReportSettings
    /// The settings that [`inspect`](crate::inspect()) takes.
    InspectionSettings
}

/// Defines kinds of work: a struct of sections, for what a verb takes and a kind of decision problem.
macro_rules! kinds {
    ($($(#[doc = $about:literal])+ $Work:ident: $Settings:ident, $verb:ident, $mdp:expr, { $($section:ident: $Section:ident),+ })+) => {
        $(
            $(#[doc = $about])+
            #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
            #[serde(default, deny_unknown_fields)]
            pub struct $Work {
                $(
                    #[doc = concat!("The section `", stringify!($section), "`.")]
                    pub $section: $Section,
                )+
            }

            /// Missing sections have their defaults; the modality is that of the work.
            impl From<$Work> for Settings {
                fn from(work: $Work) -> Self {
                    let mut settings = Self { $($section: work.$section,)+ ..Self::default() };
                    let mdp: Option<Modality> = $mdp;
                    settings.run.mdp = mdp.unwrap_or(settings.run.mdp);
                    settings
                }
            }

            impl From<$Work> for Values {
                fn from(work: $Work) -> Self {
                    Settings::from(work).into()
                }
            }

            impl $Settings for $Work {}
        )+

        /// Each kind of work: its verb, its kind of decision problem, its sections.
        #[cfg(test)]
        const ALL: &[(&str, &str, Option<Modality>, &[&str])] =
            &[$((stringify!($Work), stringify!($verb), $mdp, &[$(stringify!($section)),+])),+];
    };
}

kinds! {
    /// Training of a language model, once or in rounds.
    TokenTraining: TrainingSettings, TRAIN, Some(Modality::Token), {
        run: Run, model: Model, data: Data, objective: Objective, optimizer: Optimizer, train: Train, sample: Sample,
        search: Search, rounds: Rounds, judge: Judge
    }

    /// Training of a denoiser, once or in rounds.
    DiffusionTraining: TrainingSettings, TRAIN, Some(Modality::Diffusion), {
        run: Run, model: Model, data: Data, objective: Objective, optimizer: Optimizer, train: Train,
        diffusion: Diffusion, sample: Sample, search: Search, rounds: Rounds, judge: Judge
    }

    /// Training of a refiner and a generator, once or in rounds.
    HybridTraining: TrainingSettings, TRAIN, Some(Modality::Hybrid), {
        run: Run, model: Model, hybrid: Hybrid, data: Data, objective: Objective, optimizer: Optimizer, train: Train,
        diffusion: Diffusion, sample: Sample, search: Search, rounds: Rounds, judge: Judge
    }

    /// Scoring by a language model.
    TokenScoring: ScoringSettings, SCORE, Some(Modality::Token), {
        run: Run, model: Model, data: Data, objective: Objective, train: Train
    }

    /// Scoring by a denoiser.
    DiffusionScoring: ScoringSettings, SCORE, Some(Modality::Diffusion), {
        run: Run, model: Model, data: Data, objective: Objective, diffusion: Diffusion, sample: Sample
    }

    /// Scoring by a refiner and a generator.
    HybridScoring: ScoringSettings, SCORE, Some(Modality::Hybrid), {
        run: Run, model: Model, hybrid: Hybrid, data: Data, objective: Objective, diffusion: Diffusion, sample: Sample
    }

    /// Measuring of a language model on preferences.
    TokenEvaluation: EvaluationSettings, EVAL, Some(Modality::Token), {
        run: Run, model: Model, data: Data, objective: Objective, train: Train
    }

    /// Measuring of a denoiser on preferences.
    DiffusionEvaluation: EvaluationSettings, EVAL, Some(Modality::Diffusion), {
        run: Run, model: Model, data: Data, objective: Objective, diffusion: Diffusion, sample: Sample
    }

    /// Measuring of a refiner and a generator on preferences.
    HybridEvaluation: EvaluationSettings, EVAL, Some(Modality::Hybrid), {
        run: Run, model: Model, hybrid: Hybrid, data: Data, objective: Objective, diffusion: Diffusion, sample: Sample
    }

    /// Sampling of answers, or of pairs of them.
    TokenSampling: SamplingSettings, SAMPLE, Some(Modality::Token), {
        run: Run, model: Model, data: Data, objective: Objective, sample: Sample, search: Search, label: Label
    }

    /// Sampling of pictures, or of pairs of them.
    DiffusionSampling: SamplingSettings, SAMPLE, Some(Modality::Diffusion), {
        run: Run, model: Model, data: Data, objective: Objective, sample: Sample, search: Search, label: Label
    }

    /// Sampling of refined prompts with pictures, or of pairs of them.
    HybridSampling: SamplingSettings, SAMPLE, Some(Modality::Hybrid), {
        run: Run, model: Model, hybrid: Hybrid, data: Data, objective: Objective, sample: Sample, search: Search,
        label: Label
    }

    /// Search over the tokens of answers.
    TokenSearch: SearchSettings, SEARCH, Some(Modality::Token), {
        run: Run, model: Model, data: Data, objective: Objective, sample: Sample, search: Search
    }

    /// Search over the denoising steps of pictures.
    DiffusionSearch: SearchSettings, SEARCH, Some(Modality::Diffusion), {
        run: Run, model: Model, data: Data, objective: Objective, sample: Sample, search: Search
    }

    /// Search over refined prompts and their pictures.
    HybridSearch: SearchSettings, SEARCH, Some(Modality::Hybrid), {
        run: Run, model: Model, hybrid: Hybrid, data: Data, objective: Objective, sample: Sample, search: Search
    }

    /// Judging of a folder of pairs, whatever they are.
    Judging: JudgingSettings, JUDGE, None, { run: Run, label: Label, judge: Judge }

    /// Credit assignment by a language model and its reference.
    TokenCredit: CreditSettings, CREDIT, Some(Modality::Token), {
        run: Run, model: Model, data: Data, objective: Objective, credit: Credit
    }

    /// Writing of a model as a folder.
    Exporting: ExportSettings, EXPORT, None, { run: Run, model: Model }

    /// Merging of an adapter into its base.
    Merging: MergeSettings, MERGE, None, { run: Run, model: Model }

    /// A page about runs.
    Reporting: ReportSettings, REPORT, None, { run: Run, report: Report }
    /// Credit assignment by a denoiser and its reference.
    DiffusionCredit: CreditSettings, CREDIT, Some(Modality::Diffusion), {
        run: Run, model: Model, data: Data, objective: Objective, diffusion: Diffusion, sample: Sample, credit: Credit
    }

    /// Credit assignment by a refiner, a generator and their references.
    HybridCredit: CreditSettings, CREDIT, Some(Modality::Hybrid), {
        run: Run, model: Model, hybrid: Hybrid, data: Data, objective: Objective, diffusion: Diffusion, sample: Sample, credit: Credit
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::keys;

    #[test]
    fn the_sections_of_work_are_those_that_its_verb_reads() {
        for (name, verb, mdp, sections) in ALL {
            let verb = match *verb {
                "TRAIN" => keys::TRAIN,
                "SCORE" => keys::SCORE,
                "EVAL" => keys::EVAL,
                "EXPORT" => keys::EXPORT,
                "MERGE" => keys::MERGE,
                "SAMPLE" => keys::SAMPLE,
                "SEARCH" => keys::SEARCH,
                "JUDGE" => keys::JUDGE,
                "CREDIT" => keys::CREDIT,
                "REPORT" => keys::REPORT,
                other => panic!("{other} is no verb of a kind of work"),
            };
            let read = keys::all().filter(|key| key.may_be_read(verb, *mdp));
            let read: BTreeSet<&str> = read.filter_map(|key| key.field.path.split('.').next()).collect();
            assert_eq!(sections.iter().copied().collect::<BTreeSet<_>>(), read, "{name}");
        }
    }

    #[test]
    fn work_is_settings_of_its_kind_of_problem() {
        let mut work = HybridTraining::default();
        work.run.seed = 3;
        work.hybrid.refiner = Some("one".to_owned());
        let settings = Settings::from(work);
        assert_eq!((settings.run.mdp, settings.run.seed), (Modality::Hybrid, 3));
        assert_eq!(settings.hybrid.refiner.as_deref(), Some("one"));
        assert_eq!(Settings::from(Judging::default()), Settings::default());
    }

    #[test]
    fn a_section_that_the_work_does_not_read_is_refused() {
        assert!(toml::from_str::<TokenTraining>("[objective]\nbeta = 1").is_ok());
        assert!(toml::from_str::<TokenTraining>("[diffusion]\nhalf = true").is_err());
        assert!(toml::from_str::<Judging>("[judge]\njugde = 'oracle'").is_err());
    }
}
