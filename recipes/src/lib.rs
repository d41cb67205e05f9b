//! Training, scoring, sampling and judging, as functions of settings.
//!
//! A [`Call`] is settings and a [`Reporter`]; [`train`](train()), [`score`](score()), [`eval`](eval()), [`sample`](sample()),
//! [`search`](search()), [`judge`](judge()), [`credit`](credit()), [`report`](report()), [`export`](export()), [`merge`](merge()) and
//! [`inspect`](inspect()) take one and return what came of it. Nothing here
//! prints, listens for signals or knows of a command line: errors and notes call a setting by its place in
//! [`settings::Settings`].
//!
//! Each kind of work has a struct of the sections that it reads, such as [`settings::TokenTraining`]. A verb takes its own
//! kinds only:
//! ```compile_fail,E0277
//! recipes::score(recipes::Call::quiet(recipes::settings::TokenTraining::default()))?;
//! # Ok::<(), recipes::Failure>(())
//! ```
//!
//! # Examples
//! A language model learns, scores, and answers; an oracle judges pairs of its answers.
//! ```
//! use recipes::Call;
//! use recipes::settings::{Data, Judging, Label, Model, Run, Sample, TokenSampling, TokenScoring, TokenTraining, Train};
//!
//! let folder = tempfile::tempdir()?;
//! let path = |name: &str| Some(folder.path().join(name).display().to_string());
//! // The embedded problem, four steps of it.
//! let training = TokenTraining {
//!     run: Run { out: path("run"), ..Run::default() },
//!     data: Data { limit: Some(8), ..Data::default() },
//!     train: Train { batch_size: 2, eval_examples: 4, n_samples: 1, ..Train::default() },
//!     ..TokenTraining::default()
//! };
//! let trained = recipes::train(Call::quiet(training), None)?;
//! assert_eq!(trained.outcome.unwrap().steps, 4);
//!
//! let problem = Some("builtin:tldr".to_owned());
//! let model = Model { model: path("run"), ..Model::default() };
//! let scoring = TokenScoring {
//!     model: Model { reference: problem.clone(), ..model.clone() },
//!     data: Data { data: problem.into(), limit: Some(2), ..Data::default() },
//!     ..TokenScoring::default()
//! };
//! assert!(recipes::score(Call::quiet(scoring))?[0].margin().is_some());
//!
//! let sample = Sample { limit: Some(1), ..Sample::default() };
//! let sampling = TokenSampling { model, sample, ..TokenSampling::default() };
//! let answers = recipes::sample(Call::quiet(sampling.clone()))?;
//! assert!(!answers[0].answer().unwrap().tokens.is_empty());
//!
//! let label = Label { pairs: path("pairs"), ..Label::default() };
//! recipes::sample(Call::quiet(TokenSampling { label: label.clone(), ..sampling }))?;
//! let counts = recipes::judge(Call::quiet(Judging { label, ..Judging::default() }))?.systems[0].counts;
//! assert_eq!(counts.a + counts.b + counts.ties, 1);
//! # Ok::<(), recipes::Failure>(())
//! ```
//! The likeliest answer of a beam is searched for.
//! ```
//! use recipes::Call;
//! use recipes::settings::{Sample, Search, TokenSearch};
//!
//! let searching = TokenSearch {
//!     sample: Sample { limit: Some(1), ..Sample::default() },
//!     search: Search { width: 3, ..Search::default() },
//!     ..TokenSearch::default()
//! };
//! let found = recipes::search(Call::quiet(searching))?;
//! assert_eq!(found[0].search.unwrap().rank, 1);
//! # Ok::<(), recipes::Failure>(())
//! ```
//! A denoiser makes pairs of pictures, an oracle judges them, and the denoiser learns from that and scores them.
//! ```
//! use recipes::Call;
//! use recipes::settings::{
//!     Data, DiffusionSampling, DiffusionScoring, DiffusionTraining, Judging, Label, Model, Run, Sample, Train,
//! };
//!
//! let folder = tempfile::tempdir()?;
//! let path = |name: &str| Some(folder.path().join(name).display().to_string());
//! let model = Model { model: Some("builtin:shapes".to_owned()), ..Model::default() };
//! let label = Label { pairs: path("pairs"), ..Label::default() };
//! recipes::sample(Call::quiet(DiffusionSampling {
//!     model: model.clone(),
//!     sample: Sample { limit: Some(8), steps: 2, ..Sample::default() },
//!     label: label.clone(),
//!     ..DiffusionSampling::default()
//! }))?;
//! let counts = recipes::judge(Call::quiet(Judging { label, ..Judging::default() }))?.systems[0].counts;
//! assert_eq!(counts.a + counts.b + counts.ties, 8);
//!
//! let data = Data { data: path("pairs").into(), eval_share: 0.0, ..Data::default() };
//! let training = DiffusionTraining {
//!     run: Run { out: path("run"), ..Run::default() },
//!     model: model.clone(),
//!     data: data.clone(),
//!     train: Train { batch_size: 4, max_steps: Some(1), n_samples: 0, ..Train::default() },
//!     ..DiffusionTraining::default()
//! };
//! assert!(recipes::train(Call::quiet(training), None)?.folder.join("model").is_dir());
//!
//! let scoring = DiffusionScoring {
//!     model: Model { model: path("run"), reference: model.model, ..Model::default() },
//!     data: Data { limit: Some(1), ..data },
//!     ..DiffusionScoring::default()
//! };
//! assert!(recipes::score(Call::quiet(scoring))?[0].margin().is_some());
//! # Ok::<(), recipes::Failure>(())
//! ```
//! A refiner and a generator learn together, score pairs, and make pairs that an oracle judges.
//! ```
//! use recipes::Call;
//! use recipes::settings::{
//!     Data, Hybrid, HybridSampling, HybridScoring, HybridTraining, Judging, Label, Model, Run, Sample, Train,
//! };
//!
//! let folder = tempfile::tempdir()?;
//! let path = |name: &str| Some(folder.path().join(name).display().to_string());
//! let [refiner, generator] = ["refiner", "generator"].map(|half| Some(format!("builtin:chimera-{half}")));
//! let data = Data { data: "builtin:chimera".into(), limit: Some(4), max_length: 96, ..Data::default() };
//! let sample = Sample { steps: 2, limit: Some(2), ..Sample::default() };
//! let training = HybridTraining {
//!     run: Run { out: path("run"), ..Run::default() },
//!     hybrid: Hybrid { refiner: refiner.clone(), generator: generator.clone(), ..Hybrid::default() },
//!     data: data.clone(),
//!     sample: sample.clone(),
//!     train: Train { batch_size: 4, eval_examples: 2, n_samples: 0, ..Train::default() },
//!     ..HybridTraining::default()
//! };
//! let trained = recipes::train(Call::quiet(training), None)?;
//! assert!(trained.outcome.unwrap().metric("rewards/accuracies").is_some());
//!
//! let model = Model { model: path("run"), ..Model::default() };
//! let scoring = HybridScoring {
//!     model: model.clone(),
//!     hybrid: Hybrid { refiner_reference: refiner, generator_reference: generator, ..Hybrid::default() },
//!     data: Data { limit: Some(1), ..data },
//!     ..HybridScoring::default()
//! };
//! assert!(recipes::score(Call::quiet(scoring))?[0].margin().is_some());
//!
//! let label = Label { pairs: path("pairs"), ..Label::default() };
//! recipes::sample(Call::quiet(HybridSampling {
//!     model,
//!     data: Data { max_length: 96, ..Data::default() },
//!     sample: Sample { prompts: Some("builtin:chimera".to_owned()), ..sample },
//!     label: label.clone(),
//!     ..HybridSampling::default()
//! }))?;
//! let counts = recipes::judge(Call::quiet(Judging { label, ..Judging::default() }))?.systems[0].counts;
//! assert_eq!(counts.a + counts.b + counts.ties, 2);
//! # Ok::<(), recipes::Failure>(())
//! ```

mod adapters;
pub mod amounts;
mod card;
mod columns;
mod credit;
mod denoiser;
mod device;
mod divided;
mod draws;
mod dropout;
mod embedded;
mod estimate;
mod eval;
mod export;
mod failure;
mod gallery;
mod holdout;
mod hybrid;
mod images;
mod inspect;
mod json_line;
mod judge;
mod judged_pairs;
pub mod keys;
mod model;
mod named;
mod objective;
mod origin;
mod paths;
mod pictures;
mod report;
mod reporter;
mod sample;
mod sampled;
mod sampling;
mod score;
mod search;
pub mod settings;
mod sources;
mod summary;
mod text;
mod torchscript;
mod train;
mod trained;
mod trajectories;

/// The key of a server that judges.
pub use ::eval::ApiKey;
/// Where names of models and data sets are looked up.
pub use ::hub::Hub;
/// Colours of credit: the scale of a heat map, and the pieces of its text.
pub use ::report::heat;
/// The processes that train together.
pub use ::train::Ranks;

pub use self::credit::{
    Credit, CreditSummary, CreditedAnswer, CreditedPair, CreditedPicture, CreditedSide, HalfRow, ImageCredit,
    MeasureSummary, PairCredit, ShareSummary, StepRow, StepSummary, TextCredit, credit,
};
pub use self::embedded::JudgedPolicy;
pub use self::embedded::is_embedded;
pub use self::embedded::names_for as embedded_names;
pub use self::estimate::Estimate;
pub use self::eval::{Evaluation, Measurement, eval, summarise};
pub use self::export::{ExportedModel, ExportedPart, export, merge};
pub use self::failure::Failure;
pub use self::inspect::{DataAudit, Description, ShownAnswer, ShownRecord, ShownRun, inspect};
pub use self::judge::{JudgeCounts, JudgeReport, JudgeUsage, SystemDifference, SystemReport, judge};
pub use self::objective::{PREFERENCE_PART, SFT_PART};
pub use self::report::report;
pub use self::reporter::{Bar, QUIET, Quiet, Reporter};
pub use self::sample::sample;
pub use self::sampled::{RefinedPicture, Sampled, SampledAnswer, SampledPicture, SampledResult, SearchNumbers};
pub use self::score::{
    AnswerScore, AnswerScores, DrawnTimesteps, PictureScore, PictureScores, RefinedScore, RefinedScores, Scored,
    Scores, TextScores, score,
};
pub use self::search::search;
pub use self::train::{plan, precompute, train, train_judged};
pub use self::trained::{Suggestion, Trained, TrainingStatus};

use settings::{Modality, Values};

/// Sets the defaults that a verb has with the given values, which stay; the verb itself does so too.
///
/// # Errors
/// Settings contradict each other.
pub fn preset(values: &mut Values, verb: keys::Verbs) -> Result<(), Failure> {
    if verb & (keys::TRAIN | keys::PRECOMPUTE) != 0 {
        return train::preset(values);
    }
    match values.run.mdp() {
        Modality::Token => {}
        Modality::Diffusion => denoiser::general_presets(values),
        Modality::Hybrid => hybrid::general_presets(values),
    }
    if verb & keys::SEARCH != 0 {
        search::presets(values);
    }
    Ok(())
}

/// Starts the threads that compute, `n` of them, as `run.threads` says; has no effect where they were started before.
///
/// # Errors
/// `n` is 0 or above 1024.
pub fn start_threads(n: usize) -> Result<(), Failure> {
    if !(1..=1024).contains(&n) {
        return Err(Failure::usage(format!("`run.threads` takes 1 to 1024, not {n}")));
    }
    engine::device::start_threads(n);
    Ok(())
}

/// Starts the threads that compute, this one among them, which must be the only one that calls for computations; `n` as
/// `run.threads` says, or one for each core. A program that has one such thread is faster than with [`start_threads`]; calls from
/// another thread wait for the others, for ever if `n` is 1.
///
/// # Errors
/// `n` is 0 or above 1024, or the system starts no more threads.
pub fn start_threads_with_this(n: Option<usize>) -> Result<(), Failure> {
    if let Some(n) = n.filter(|n| !(1..=1024).contains(n)) {
        return Err(Failure::usage(format!("`run.threads` takes 1 to 1024, not {n}")));
    }
    engine::device::start_threads_with_this(n.unwrap_or(0)).map_err(|e| Failure::failed(format!("no threads: {e}")))
}

/// Says which of the processes that compute on this host this one is, from 0: `run.device` `cuda`, without a number, is a device of its
/// own then.
pub fn share_host(place: usize) {
    engine::device::share_host(place);
}

/// Settings, and a reporter of progress.
///
/// The settings are those of a verb's own, such as [`settings::TokenTraining`], or [`Values`] that a command line collected.
pub struct Call<'a, S = Values> {
    /// The settings.
    pub values: S,
    /// The receiver of progress and messages.
    pub reporter: &'a dyn Reporter,
}

impl<S> Call<'static, S> {
    /// A call without reporting.
    pub fn quiet(settings: S) -> Self {
        Self { values: settings, reporter: &QUIET }
    }
}

impl Call<'_> {
    /// The file that `run.out` names, in the process that writes it: of several processes the leader.
    fn out(&self) -> Option<&std::path::Path> {
        self.values.run.out().filter(|_| self.reporter.ranks().is_leader()).map(std::path::Path::new)
    }
}

impl<'a, S: Into<Values>> Call<'a, S> {
    /// The same call with its settings as values.
    fn untyped(self) -> Call<'a> {
        Call { values: self.values.into(), reporter: self.reporter }
    }

    /// The same for a verb, with paths in place of the names of the hub.
    fn found(self, verb: keys::Verbs) -> Result<Call<'a>, Failure> {
        let mut call = self.untyped();
        named::find(&mut call.values, verb, call.reporter)?;
        Ok(call)
    }
}

impl<S: std::fmt::Debug> std::fmt::Debug for Call<'_, S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Call").field("values", &self.values).finish_non_exhaustive()
    }
}
