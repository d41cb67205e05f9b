//! The training loop, the same for every problem.
//!
//! One step: the policy scores a batch of episodes and keeps a tape, the reference scores them too (or its numbers are
//! read from a cache), the objective turns numbers and feedback into a loss and slopes, the policy learns from the
//! slopes. [`run`] repeats that with schedules, evaluation, checkpoints and records; [`step::learn`] is the step.
//!
//! Nothing here knows what a token or an image is: a problem comes as a [`Source`] of [`Item`]s and a
//! [`policies::Learner`].

mod cache;
pub mod diffusion;
mod error;
mod evaluate;
mod folder;
pub mod hybrid;
mod measures;
mod metrics;
mod observe;
pub mod pictures;
mod run;
mod schedule;
mod settings;
mod source;
pub mod statistics;
pub mod step;
pub mod tensorboard;
#[cfg(test)]
mod tests;
pub mod token;

pub use cache::{CacheKey, ReferenceCache};
pub use error::TrainError;
pub use evaluate::{Evaluated, evaluate};
pub use folder::{Position, RunFolder, can_write, remove_leftovers, write_lines, write_whole};
pub use measures::Measures;
pub use metrics::{MetricsFile, Record};
pub use observe::{Hooks, Monitor, Sample, Samples, Silent};
pub use run::{Ending, Outcome, Problem, run};
pub use schedule::{Decay, Schedule};
pub use settings::{Settings, SettingsError};
pub use source::{Item, Sides, Source};
