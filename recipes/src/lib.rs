//! Training, scoring, sampling and judging, as functions of settings.
//!
//! A [`Call`] is settings and a [`Reporter`]; [`train`](train()), [`score`](score()), [`sample`](sample()),
//! [`judge`](judge()) and [`inspect`](inspect()) take one and return what came of it. Nothing here prints, listens for
//! signals or knows of a command line: errors and notes call a setting by its place in [`settings::Settings`].

mod adapters;
mod denoiser;
mod draws;
mod dropout;
mod embedded;
mod failure;
mod hybrid;
mod images;
mod inspect;
mod judge;
mod judged;
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
pub use self::reporter::{Bar, Quiet, Reporter};
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
