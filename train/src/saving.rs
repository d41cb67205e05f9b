//! When a run saves a checkpoint.
use std::time::Instant;

use crate::Settings;

/// Decides when a checkpoint is due, by steps, evaluations, or a clock.
pub(crate) struct Saving<'c> {
    every: Option<usize>,
    seconds: f64,
    clock: Box<dyn Fn() -> f64 + 'c>,
    saved_at: f64,
}

impl<'c> Saving<'c> {
    /// Starts the clock: `clock`, or the system's.
    pub(crate) fn new(settings: &Settings, clock: Option<&'c dyn Fn() -> f64>) -> Self {
        let begun = Instant::now();
        let clock: Box<dyn Fn() -> f64 + 'c> = match clock {
            Some(clock) => Box::new(clock),
            None => Box::new(move || begun.elapsed().as_secs_f64()),
        };
        Self { every: settings.save_every, seconds: settings.save_seconds, saved_at: clock(), clock }
    }

    /// Whether a checkpoint is due after `step` steps.
    pub(crate) fn is_due(&self, step: usize, was_evaluated: bool) -> bool {
        match self.every {
            Some(0) => false,
            Some(every) => step.is_multiple_of(every),
            None => was_evaluated || self.seconds > 0.0 && (self.clock)() - self.saved_at >= self.seconds,
        }
    }

    /// Restarts the time between checkpoints.
    pub(crate) fn saved(&mut self) {
        self.saved_at = (self.clock)();
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn time_and_evaluations_decide_unless_steps_do() {
        let now = Cell::new(5.0);
        let clock = || now.get();
        let mut saving = Saving::new(&Settings::DEFAULT, Some(&clock));
        assert!(!saving.is_due(1, false) && saving.is_due(1, true));
        now.set(604.9);
        assert!(!saving.is_due(2, false));
        now.set(605.0);
        assert!(saving.is_due(3, false));
        saving.saved();
        assert!(!saving.is_due(4, false));
        let by_steps = |every| Saving::new(&Settings { save_every: Some(every), ..Settings::DEFAULT }, Some(&clock));
        let due = |saving: &Saving<'_>| [2, 3, 4].map(|step| saving.is_due(step, true));
        assert_eq!(due(&by_steps(2)), [true, false, true]);
        assert_eq!(due(&by_steps(0)), [false; 3]);
        let never = Saving::new(&Settings { save_seconds: 0.0, ..Settings::DEFAULT }, Some(&clock));
        now.set(1e9);
        assert!(!never.is_due(1, false));
    }
}
