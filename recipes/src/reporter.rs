use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};

use ::train::{Alone, Monitor, Ranks, Silent};
use datasets::TokenCache;
use eval::ApiKey;
use hub::Hub;

use crate::{Failure, Trained};

/// What the first of several processes tells the others of work that it has done.
const NO: u8 = 0;
const YES: u8 = 1;
const INTERRUPTED: u8 = 2;
const FAILED: u8 = 3;

/// Receives progress and messages, and can request a stop.
pub trait Reporter {
    /// A line of information.
    fn info(&self, line: &str);

    /// A warning.
    fn notice(&self, line: &str);

    /// Whether anybody reads the plan of a run; making one costs a part of a step.
    fn wants_plan(&self) -> bool {
        false
    }

    /// Where tokens of large data are kept for the next start; nowhere by default.
    fn token_cache(&self) -> Option<TokenCache> {
        None
    }

    /// The key of a server from an environment variable, for judges; none by default. It is never shown or written.
    fn key(&self, _variable: &str) -> Option<ApiKey> {
        None
    }

    /// Where settings that are no path here are sought by their names; nowhere by default.
    fn hub(&self) -> Option<&Hub> {
        None
    }

    /// The processes that train together, this one among them; by default it is alone.
    fn ranks(&self) -> &dyn Ranks {
        &Alone
    }

    /// Work of `total` parts begins; 0 where the total is unknown.
    fn bar(&self, what: &'static str, total: usize) -> Box<dyn Bar>;

    /// A training loop begins.
    fn monitor(&self) -> Box<dyn Monitor + '_>;

    /// A training run has ended; rounds have several.
    fn trained(&self, trained: &Trained);

    /// Whether the work should stop at its next step; a run then leaves a checkpoint.
    fn stop(&self) -> &AtomicBool;
}

impl dyn Reporter + '_ {
    /// Whether the work should stop.
    pub(crate) fn is_stopped(&self) -> bool {
        self.stop().load(Ordering::Relaxed)
    }

    /// Goes on unless the work should stop.
    ///
    /// # Errors
    /// [`Failure::Interrupted`].
    pub(crate) fn go_on(&self) -> Result<(), Failure> {
        if self.is_stopped() { Err(Failure::Interrupted) } else { Ok(()) }
    }

    /// Does by the first of several processes what is to be done once, and tells the others what came of it.
    ///
    /// # Errors
    /// The work's own; of the others, that the first has failed or was interrupted.
    pub(crate) fn lead(&self, work: impl FnOnce() -> Result<bool, Failure>) -> Result<bool, Failure> {
        let ranks = self.ranks();
        if ranks.is_leader() {
            let done = work();
            let told = match &done {
                Ok(false) => NO,
                Ok(true) => YES,
                Err(failure) if failure.is_interrupt() => INTERRUPTED,
                Err(_) => FAILED,
            };
            ranks.broadcast(&mut vec![told]);
            return done;
        }
        let mut told = Vec::new();
        ranks.broadcast(&mut told);
        match told[..] {
            [NO] => Ok(false),
            [YES] => Ok(true),
            [INTERRUPTED] => Err(Failure::Interrupted),
            _ => Err(Failure::OfOtherRank(0)),
        }
    }

    /// A progress callback that returns an error once a stop is requested.
    pub(crate) fn unless_stopped(&self, mut progress: impl FnMut(usize)) -> impl FnMut(usize) -> ControlFlow<()> {
        move |step| {
            progress(step);
            if self.is_stopped() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        }
    }
}

/// A reporter of a step that one process takes within other work: progress and warnings, and no information.
pub(crate) struct Aside<'r>(pub(crate) &'r dyn Reporter);

impl Reporter for Aside<'_> {
    fn info(&self, _: &str) {}

    fn notice(&self, line: &str) {
        self.0.notice(line);
    }

    fn token_cache(&self) -> Option<TokenCache> {
        self.0.token_cache()
    }

    fn key(&self, variable: &str) -> Option<ApiKey> {
        self.0.key(variable)
    }

    fn hub(&self) -> Option<&Hub> {
        self.0.hub()
    }

    fn bar(&self, what: &'static str, total: usize) -> Box<dyn Bar> {
        self.0.bar(what, total)
    }

    fn monitor(&self) -> Box<dyn Monitor + '_> {
        self.0.monitor()
    }

    fn trained(&self, trained: &Trained) {
        self.0.trained(trained);
    }

    fn stop(&self) -> &AtomicBool {
        self.0.stop()
    }
}

/// A progress bar.
pub trait Bar {
    /// Sets the number of finished parts.
    fn set_position(&self, done: u64);

    /// Adds to the number of finished parts.
    fn inc(&self, more: u64);

    /// Removes the finished bar.
    fn finish_and_clear(&self);
}

/// A reporter without output that never stops.
#[derive(Debug, Default)]
pub struct Quiet(AtomicBool);

/// A shared quiet reporter.
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
