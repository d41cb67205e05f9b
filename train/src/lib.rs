//! The training loop for every problem.
//!
//! One step: the policy scores a batch of episodes and keeps a tape, the reference scores them too (or its numbers are
//! read from a cache), the objective turns numbers and feedback into a loss and slopes, and the policy backpropagates
//! the slopes. [`Training::run`] repeats this with schedules, evaluation, checkpoints and records; [`step::learn`] is
//! one step.
//!
//! The loop knows no tokens and no images: a problem is a [`Source`] of [`Item`]s and a [`policies::Learner`].
//! [`Training`] is the trainer for your own program; [`token`], [`diffusion`], [`hybrid`] and [`control`] turn data of those
//! kinds into sources.
//!
//! # Examples
//! A policy of six logits learns which of two actions is preferred.
//! ```
//! use mdp::{Episode, Finite, Mdp};
//! use objectives::{Logistic, Pairwise};
//! use policies::Tabular;
//! use train::{Preferences, Settings, Training};
//!
//! let mdp = Finite::bandit(2);
//! let take = |action| Episode::whole(mdp.start(&0), vec![action]);
//! let data: Preferences<Finite> = [(take(1), take(0))].into_iter().collect();
//! let (objective, reference) = (Pairwise::new(Logistic::new(0.1)?), Tabular::new(&mdp));
//!
//! let settings = Settings { batch_size: 1, max_steps: Some(50), rate: 1.0, warmup_steps: 0, ..Settings::default() };
//! let training = Training::new(&mdp, &data, &objective).reference(&reference).settings(settings);
//! let mut policy = Tabular::new(&mdp);
//! let losses = training.steps(&mut policy)?.map(|step| Ok(step?.loss)).collect::<Result<Vec<f64>, train::TrainError>>()?;
//! assert!(losses[49] < losses[0]);
//! assert_eq!(training.evaluate(&policy, &data)?.metric("rewards/accuracies"), Some(1.0));
//! # Ok::<(), policies::BoxError>(())
//! ```
// A choice that is added must be decided everywhere.
#![cfg_attr(not(test), warn(clippy::wildcard_enum_match_arm))]

mod best;
mod cache;
pub mod control;
mod decline;
mod demonstrations;
pub mod diffusion;
mod error;
mod evaluate;
mod evaluated;
mod files;
mod folder;
pub mod hybrid;
mod measures;
mod metrics;
mod observe;
pub mod pictures;
mod preferences;
mod ranks;
mod run;
mod safeguard;
mod saving;
mod schedule;
mod settings;
mod source;
pub mod statistics;
pub mod step;
mod summary;
pub mod tensorboard;
#[cfg(test)]
mod tests;
mod together;
pub mod token;
mod training;
mod trial;

pub use best::is_better_lower;
pub use cache::{CacheKey, ReferenceCache};
pub use demonstrations::Demonstrations;
pub use error::TrainError;
pub use evaluate::evaluate;
pub use evaluated::Evaluated;
pub use files::{can_write, remove_leftovers, write_folder, write_lines, write_whole};
pub use folder::{Position, RunFolder};
pub use measures::Measures;
pub use metrics::{MetricsFile, Record, is_all_tied};
pub use observe::{Course, Hooks, Monitor, Observers, Samples, Showcase, Silent};
pub use preferences::Preferences;
pub use ranks::{Alone, Ranks, Threads};
pub use schedule::{Decay, Schedule};
pub use settings::{Settings, SettingsError};
pub use source::{Item, Source};
pub use summary::{Ending, RunSummary};
pub use together::learn_together;
pub use training::{Training, TrainingSteps};
pub use trial::Trial;
