use std::path::Path;
use std::sync::atomic::AtomicBool;

use mdp::{Channels, EpisodeOf, Mdp};
use policies::PolicyError;

use crate::tensorboard::EventFile;
use crate::{Evaluated, Record, TrainError};

/// What is ahead of a run when it starts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Course {
    /// Number of steps done.
    pub step: usize,
    /// Number of steps at its end.
    pub total: usize,
    /// Steps between evaluations; 0: only at the start and the end.
    pub eval_every: usize,
    /// Steps between comparisons with the start, each with an evaluation; 0: none.
    pub judge_every: usize,
    /// Whether it evaluates, samples or compares at all.
    pub evaluates: bool,
}

impl Course {
    /// The number of evaluations that are left after `step` steps, that of the end among them.
    pub fn evaluations_after(&self, step: usize) -> usize {
        if !self.evaluates || step >= self.total {
            return 0;
        }
        let regular = |every: usize| {
            let until = |step: usize| step.checked_div(every).unwrap_or(0);
            until(self.total - 1) - until(step)
        };
        let (a, b) = (self.eval_every, self.judge_every);
        // The end is evaluated also where no evaluation is due.
        regular(a) + regular(b) - regular((a / greatest_divisor(a, b)).saturating_mul(b)) + 1
    }
}

/// The greatest common divisor of two numbers; at least 1.
fn greatest_divisor(a: usize, b: usize) -> usize {
    if b == 0 { a.max(1) } else { greatest_divisor(b, a % b) }
}

/// Receives the events of a run: for progress bars and logs.
pub trait Monitor {
    /// Training starts.
    fn started(&mut self, _course: Course) {}
    /// An evaluation of so many examples begins after `step` steps; `evaluated` ends it.
    fn evaluating(&mut self, _step: usize, _examples: usize) {}
    /// More examples of the evaluation were scored.
    fn scored(&mut self, _examples: usize) {}
    /// Samples are drawn after `step` steps.
    fn sampling(&mut self, _step: usize) {}
    /// The evaluation and its samples are done.
    fn looked(&mut self) {}
    /// A step was completed.
    fn stepped(&mut self, _record: &Record) {}
    /// Held-out data was evaluated after `step` steps.
    fn evaluated(&mut self, _step: usize, _evaluated: &Evaluated) {}
    /// A message for the user.
    fn note(&mut self, _line: &str) {}
    /// Training ended or was interrupted.
    fn finished(&mut self) {}
}

/// A monitor that ignores all events.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Monitor for Silent {}

/// Samples of a policy for inspection; they write themselves.
pub trait Samples {
    /// Writes all of them into the run's folder and its TensorBoard events.
    ///
    /// # Errors
    /// A file can't be written.
    fn write(&self, to: &mut Showcase<'_>) -> Result<(), TrainError>;
}

/// The destination of samples.
#[derive(Debug)]
pub struct Showcase<'a> {
    /// The folder of the run's samples.
    pub folder: &'a Path,
    /// The run's TensorBoard events.
    pub events: &'a mut EventFile,
    /// Number of steps before they were generated.
    pub step: usize,
}

/// A problem's additions to an evaluation.
pub struct Hooks<'a, M: Mdp, L> {
    /// Scores with the divergence and entropy channels (Eq. 14), which are too expensive for every step.
    #[expect(clippy::type_complexity, reason = "a closure in a box has no shorter name")]
    pub diagnose: Option<Box<dyn Fn(&L, &[EpisodeOf<M>]) -> Result<Channels, PolicyError> + 'a>>,
    /// Generates samples for inspection.
    #[expect(clippy::type_complexity, reason = "a closure in a box has no shorter name")]
    pub sample: Option<Box<dyn Fn(&L) -> Result<Box<dyn Samples>, PolicyError> + 'a>>,
    /// Compares the policy after so many steps with the policy of the start, and returns metrics such as `win_rate`; after step
    /// 0 it keeps what the start does, and returns none. How often it is called is for [`Settings::judge_every`](crate::Settings).
    #[expect(clippy::type_complexity, reason = "a closure in a box has no shorter name")]
    pub judge: Option<Box<dyn Fn(&L, usize) -> Result<Vec<(&'static str, f64)>, PolicyError> + 'a>>,
}

impl<M: Mdp, L> Default for Hooks<'_, M, L> {
    fn default() -> Self {
        Self { diagnose: None, sample: None, judge: None }
    }
}

impl<M: Mdp, L> std::fmt::Debug for Hooks<'_, M, L> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hooks")
            .field("diagnose", &self.diagnose.is_some())
            .field("sample", &self.sample.is_some())
            .field("judge", &self.judge.is_some())
            .finish()
    }
}

/// The observers of a run, and the flag that stops it.
pub struct Observers<'w, M: Mdp, L> {
    /// Receives the events.
    pub monitor: &'w mut dyn Monitor,
    /// The problem's additions to evaluations.
    pub hooks: Option<&'w Hooks<'w, M, L>>,
    /// Stops the run with a checkpoint when set.
    pub stop: Option<&'w AtomicBool>,
    /// Seconds since some moment, which decide when a checkpoint is due; the system's by default.
    pub clock: Option<&'w dyn Fn() -> f64>,
}

impl<'w, M: Mdp, L> Observers<'w, M, L> {
    /// A monitor alone.
    pub fn monitor(monitor: &'w mut dyn Monitor) -> Self {
        Self { monitor, hooks: None, stop: None, clock: None }
    }
}

impl<M: Mdp, L> std::fmt::Debug for Observers<'_, M, L> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Observers").field("hooks", &self.hooks).field("stop", &self.stop).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::Course;

    #[test]
    fn evaluations_ahead_are_the_regular_ones_and_the_last() {
        let left = |eval_every, step| {
            Course { step: 0, total: 10, eval_every, judge_every: 0, evaluates: true }.evaluations_after(step)
        };
        let judged = Course { total: 13, eval_every: 4, judge_every: 6, evaluates: true, step: 0 };
        // After steps 4, 6, 8, 12 and 13.
        assert_eq!([judged.evaluations_after(0), judged.evaluations_after(8)], [5, 2]);
        assert_eq!([0, 3, 4, 8, 9, 10].map(|step| left(4, step)), [3, 3, 2, 1, 1, 0]);
        assert_eq!([0, 4, 5, 9].map(|step| left(5, step)), [2, 2, 1, 1]);
        assert_eq!([left(0, 0), left(0, 10)], [1, 0]);
        assert_eq!(Course { total: 10, ..Course::default() }.evaluations_after(0), 0);
    }
}
