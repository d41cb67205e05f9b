//! Training, scoring, sampling and judging, as functions of settings.
//!
//! A [`Call`] is settings and a [`Reporter`]; [`train`](train()), [`score`](score()), [`sample`](sample()),
//! [`search`](search()), [`judge`](judge()), [`credit`](credit()), [`report`](report()) and [`inspect`](inspect()) take one and return what came of it. Nothing here
//! prints, listens for signals or knows of a command line: errors and notes call a setting by its place in
//! [`settings::Settings`].
//!
//! Each kind of work has a struct of the sections that it reads, such as [`settings::TokenTraining`].
//!
//! # Examples
//! A language model learns, scores, and answers.
//! ```
//! use recipes::Call;
//! use recipes::settings::{Data, Model, Run, Sample, TokenSampling, TokenScoring, TokenTraining, Train};
//!
//! let folder = tempfile::tempdir()?;
//! let run = folder.path().join("run").display().to_string();
//! // The embedded problem, four steps of it.
//! let training = TokenTraining {
//!     run: Run { out: Some(run.clone()), ..Run::default() },
//!     data: Data { limit: Some(8), ..Data::default() },
//!     train: Train { batch_size: 2, eval_examples: 4, n_samples: 1, ..Train::default() },
//!     ..TokenTraining::default()
//! };
//! let trained = recipes::train(Call::quiet(training), None)?;
//! assert_eq!(trained.outcome.unwrap().steps, 4);
//!
//! let problem = || Some("builtin:tldr".to_owned());
//! let scoring = TokenScoring {
//!     model: Model { model: Some(run.clone()), reference: problem(), ..Model::default() },
//!     data: Data { data: problem(), limit: Some(2), ..Data::default() },
//!     ..TokenScoring::default()
//! };
//! assert!(recipes::score(Call::quiet(scoring))?[0].margin().is_some());
//!
//! let sampling = TokenSampling {
//!     model: Model { model: Some(run), ..Model::default() },
//!     sample: Sample { limit: Some(1), ..Sample::default() },
//!     ..TokenSampling::default()
//! };
//! assert!(recipes::sample(Call::quiet(sampling))?[0]["response"].is_string());
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
//! assert!(found[0]["score"].is_f64() && found[0]["rank"] == 1);
//! # Ok::<(), recipes::Failure>(())
//! ```
//! A denoiser makes pairs of pictures, an oracle judges them, and the denoiser learns from that.
//! ```
//! use recipes::Call;
//! use recipes::settings::{Data, DiffusionSampling, DiffusionTraining, Judging, Label, Model, Run, Sample, Train};
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
//! let counts = recipes::judge(&Call::quiet(Judging { label, ..Judging::default() }))?;
//! assert_eq!(counts.a + counts.b + counts.ties, 8);
//!
//! let training = DiffusionTraining {
//!     run: Run { out: path("run"), ..Run::default() },
//!     model,
//!     data: Data { data: path("pairs"), eval_share: 0.0, ..Data::default() },
//!     train: Train { batch_size: 4, max_steps: Some(1), n_samples: 0, ..Train::default() },
//!     ..DiffusionTraining::default()
//! };
//! assert!(recipes::train(Call::quiet(training), None)?.folder.join("model").is_dir());
//! # Ok::<(), recipes::Failure>(())
//! ```
//! A refiner and a generator learn together.
//! ```
//! use recipes::Call;
//! use recipes::settings::{Data, Hybrid, HybridTraining, Run, Sample, Train};
//!
//! let folder = tempfile::tempdir()?;
//! let name = |name: &str| Some(name.to_owned());
//! let training = HybridTraining {
//!     run: Run { out: Some(folder.path().join("run").display().to_string()), ..Run::default() },
//!     hybrid: Hybrid {
//!         refiner: name("builtin:chimera-refiner"),
//!         generator: name("builtin:chimera-generator"),
//!         ..Hybrid::default()
//!     },
//!     data: Data { data: name("builtin:chimera"), limit: Some(4), max_length: 96, ..Data::default() },
//!     sample: Sample { steps: 2, ..Sample::default() },
//!     train: Train { batch_size: 4, eval_examples: 2, n_samples: 0, ..Train::default() },
//!     ..HybridTraining::default()
//! };
//! let trained = recipes::train(Call::quiet(training), None)?;
//! assert!(trained.outcome.unwrap().metric("rewards/accuracies").is_some());
//! # Ok::<(), recipes::Failure>(())
//! ```

mod adapters;
mod credit;
mod denoiser;
mod draws;
mod dropout;
mod embedded;
mod failure;
mod gallery;
mod holdout;
mod hybrid;
mod images;
mod inspect;
mod judge;
mod judged_pairs;
pub mod keys;
mod model;
mod objective;
mod pictures;
mod report;
mod reporter;
mod sample;
mod score;
mod search;
pub mod settings;
mod summary;
mod text;
mod train;
mod trajectories;

pub use self::credit::{
    Credit, CreditScale, CreditSummary, CreditedAnswer, CreditedPair, CreditedPicture, CreditedSide, Estimate, HalfRow,
    ImageCredit, MeasureSummary, PairCredit, ShareSummary, StepRow, StepSummary, TextCredit, credit,
};
pub use self::embedded::JudgedPolicy;
pub use self::failure::Failure;
pub use self::inspect::inspect;
pub use self::judge::{JudgeCounts, judge};
pub use self::report::report;
pub use self::reporter::{Bar, QUIET, Quiet, Reporter};
pub use self::sample::sample;
pub use self::score::{
    AnswerScore, AnswerScores, DrawnTimesteps, PictureScore, PictureScores, RefinedScore, RefinedScores, Scored,
    Scores, TextScores, score,
};
pub use self::search::search;
pub use self::train::{Suggestion, Trained, TrainingStatus, train, train_judged};

use settings::Values;

/// Settings, and a reporter of progress.
pub struct Call<'a> {
    /// The settings.
    pub values: Values,
    /// The receiver of progress and messages.
    pub reporter: &'a dyn Reporter,
}

impl Call<'static> {
    /// A call without reporting.
    pub fn quiet(settings: impl Into<Values>) -> Self {
        Self { values: settings.into(), reporter: &QUIET }
    }
}

impl std::fmt::Debug for Call<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Call").field("values", &self.values).finish_non_exhaustive()
    }
}
