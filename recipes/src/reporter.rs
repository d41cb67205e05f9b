use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};

use ::train::{Monitor, Silent};

use crate::Trained;

/// Receives progress and messages, and may ask the work to stop.
pub trait Reporter {
    /// A line of information.
    fn info(&self, line: &str);

    /// A warning.
    fn notice(&self, line: &str);

    /// Work of `total` parts begins.
    fn bar(&self, what: &'static str, total: usize) -> Box<dyn Bar>;

    /// A training loop begins.
    fn monitor(&self) -> Box<dyn Monitor + '_>;

    /// A training run is over; rounds have several.
    fn trained(&self, trained: &Trained);

    /// Whether the work should stop at its next step; a run then leaves a checkpoint.
    fn stop(&self) -> &AtomicBool;
}

impl dyn Reporter + '_ {
    /// Whether the work should stop.
    pub(crate) fn is_stopped(&self) -> bool {
        self.stop().load(Ordering::Relaxed)
    }

    /// Progress that ends the work where it should stop.
    pub(crate) fn unless_stopped(&self, mut progress: impl FnMut(usize)) -> impl FnMut(usize) -> ControlFlow<()> {
        move |step| {
            progress(step);
            if self.is_stopped() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        }
    }
}

/// Shows how far some work is.
pub trait Bar {
    /// So many parts are done.
    fn set_position(&self, done: u64);

    /// So many more are.
    fn inc(&self, more: u64);

    /// All is done.
    fn finish_and_clear(&self);
}

/// A reporter that says nothing and never stops.
#[derive(Debug, Default)]
pub struct Quiet(AtomicBool);

/// A quiet reporter to refer to.
pub static QUIET: Quiet = Quiet(AtomicBool::new(false));

impl Reporter for Quiet {
    fn info(&self, _: &str) {}

    fn notice(&self, _: &str) {}

    fn bar(&self, _: &'static str, _: usize) -> Box<dyn Bar> {
        Box::new(Self::default())
    }

    fn monitor(&self) -> Box<dyn Monitor + '_> {
        Box::new(Silent)
    }

    fn trained(&self, _: &Trained) {}

    fn stop(&self) -> &AtomicBool {
        &self.0
    }
}

impl Bar for Quiet {
    fn set_position(&self, _: u64) {}

    fn inc(&self, _: u64) {}

    fn finish_and_clear(&self) {}
}
