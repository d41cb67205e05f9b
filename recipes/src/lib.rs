//! Training, scoring, sampling and judging, as functions of settings.
//!
//! A [`Call`] is settings and a [`Reporter`]; [`train`](train()), [`score`](score()), [`sample`](sample()),
//! [`judge`](judge()) and [`inspect`](inspect()) take one and return what came of it. Nothing here prints, listens for
//! signals or knows of a command line: errors and notes call a setting by its place in [`settings::Settings`].
//!
//! # Examples
//! A language model learns, scores, and answers.
//! ```
//! use recipes::settings::{Settings, Values};
//! use recipes::{Call, QUIET};
//!
//! let folder = tempfile::tempdir()?;
//! let run = folder.path().join("run").display().to_string();
//! let call = |change: &dyn Fn(&mut Settings)| {
//!     let mut settings = Settings::default();
//!     change(&mut settings);
//!     Call { values: Values::from(settings), reporter: &QUIET }
//! };
//! // The embedded problem, four steps of it.
//! let trained = recipes::train(
//!     call(&|settings| {
//!         settings.run.out = Some(run.clone());
//!         settings.data.limit = Some(8);
//!         settings.train.batch_size = 2;
//!         settings.train.eval_examples = 4;
//!         settings.train.n_samples = 1;
//!     }),
//!     None,
//! )?;
//! assert_eq!(trained.outcome.unwrap().steps, 4);
//!
//! let scored = recipes::score(call(&|settings| {
//!     settings.model.model = Some(run.clone());
//!     settings.model.reference = Some("builtin:tldr".to_owned());
//!     settings.data.data = Some("builtin:tldr".to_owned());
//!     settings.data.limit = Some(2);
//! }))?;
//! assert!(scored[0]["margin"].is_f64());
//!
//! let answers = recipes::sample(call(&|settings| {
//!     settings.model.model = Some(run.clone());
//!     settings.sample.limit = Some(1);
//! }))?;
//! assert!(answers[0]["response"].is_string());
//! # Ok::<(), recipes::Failure>(())
//! ```
//! A denoiser makes pairs of pictures, an oracle judges them, and the denoiser learns from that.
//! ```
//! use recipes::settings::{Modality, Settings, Values};
//! use recipes::{Call, QUIET};
//!
//! let folder = tempfile::tempdir()?;
//! let pairs = folder.path().join("pairs").display().to_string();
//! let call = |change: &dyn Fn(&mut Settings)| {
//!     let mut settings = Settings::default();
//!     settings.run.mdp = Modality::Diffusion;
//!     settings.model.model = Some("builtin:shapes".to_owned());
//!     settings.sample.steps = 2;
//!     change(&mut settings);
//!     Call { values: Values::from(settings), reporter: &QUIET }
//! };
//! recipes::sample(call(&|settings| {
//!     settings.label.pairs = Some(pairs.clone());
//!     settings.sample.limit = Some(8);
//! }))?;
//! let counts = recipes::judge(&call(&|settings| settings.label.pairs = Some(pairs.clone())))?;
//! assert_eq!(counts.a + counts.b + counts.ties, 8);
//! let trained = recipes::train(
//!     call(&|settings| {
//!         settings.data.data = Some(pairs.clone());
//!         settings.data.eval_share = 0.0;
//!         settings.train.batch_size = 4;
//!         settings.train.max_steps = Some(1);
//!         settings.train.n_samples = 0;
//!         settings.run.out = Some(folder.path().join("run").display().to_string());
//!     }),
//!     None,
//! )?;
//! assert!(trained.folder.join("model").is_dir());
//! # Ok::<(), recipes::Failure>(())
//! ```
//! A refiner and a generator learn together.
//! ```
//! use recipes::settings::{Modality, Settings, Values};
//! use recipes::{Call, QUIET};
//!
//! let folder = tempfile::tempdir()?;
//! let mut settings = Settings::default();
//! settings.run.mdp = Modality::Hybrid;
//! settings.run.out = Some(folder.path().join("run").display().to_string());
//! settings.data.limit = Some(4);
//! settings.hybrid.refiner = Some("builtin:chimera-refiner".to_owned());
//! settings.hybrid.generator = Some("builtin:chimera-generator".to_owned());
//! settings.data.data = Some("builtin:chimera".to_owned());
//! settings.data.max_length = 96;
//! settings.sample.steps = 2;
//! settings.train.batch_size = 4;
//! settings.train.eval_examples = 2;
//! settings.train.n_samples = 0;
//! let trained = recipes::train(Call { values: Values::from(settings), reporter: &QUIET }, None)?;
//! assert!(trained.outcome.unwrap().metric("rewards/accuracies").is_some());
//! # Ok::<(), recipes::Failure>(())
//! ```

mod adapters;
mod denoiser;
mod draws;
mod dropout;
mod embedded;
mod failure;
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
mod reporter;
mod sample;
mod score;
pub mod settings;
mod summary;
mod text;
mod train;
mod trajectories;

pub use self::failure::Failure;
pub use self::inspect::inspect;
pub use self::judge::{Counts, judge};
pub use self::reporter::{Bar, QUIET, Quiet, Reporter};
pub use self::sample::sample;
pub use self::score::score;
pub use self::train::{Ended, Next, Trained, train};

use settings::Values;

/// What is asked for, and who is told of it.
pub struct Call<'a> {
    /// The settings.
    pub values: Values,
    /// Who is told what goes on.
    pub reporter: &'a dyn Reporter,
}

impl std::fmt::Debug for Call<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Call").field("values", &self.values).finish_non_exhaustive()
    }
}
