//! The time that a run has left.
use std::collections::VecDeque;

use train::Course;

/// Estimates the time left of the last steps and evaluations, which take different times.
#[derive(Debug, Default)]
pub(crate) struct TimeLeft {
    course: Course,
    steps: VecDeque<f64>,
    evaluations: VecDeque<f64>,
}

/// Number of steps whose times count.
const STEPS: usize = 32;
/// Number of evaluations whose times count.
const EVALUATIONS: usize = 3;

impl TimeLeft {
    /// Starts anew.
    pub(crate) fn of(course: Course) -> Self {
        Self { course, ..Self::default() }
    }

    /// Takes the seconds of a step.
    pub(crate) fn step(&mut self, seconds: f64) {
        keep(&mut self.steps, seconds, STEPS);
    }

    /// Takes the seconds of an evaluation.
    pub(crate) fn evaluation(&mut self, seconds: f64) {
        keep(&mut self.evaluations, seconds, EVALUATIONS);
    }

    /// The seconds left after `step` steps; `None` if there are more and none has been timed.
    pub(crate) fn after(&self, step: usize) -> Option<f64> {
        let n_steps = self.course.total.saturating_sub(step);
        if n_steps > 0 && self.steps.is_empty() {
            return None;
        }
        let evaluations = self.course.evaluations_after(step) as f64 * mean(&self.evaluations);
        Some(n_steps as f64 * mean(&self.steps) + evaluations)
    }
}

fn keep(times: &mut VecDeque<f64>, seconds: f64, most: usize) {
    if !seconds.is_finite() {
        return;
    }
    if times.len() >= most {
        times.pop_front();
    }
    times.push_back(seconds);
}

fn mean(times: &VecDeque<f64>) -> f64 {
    // A sum of nothing is -0.0, which would be shown.
    if times.is_empty() { 0.0 } else { times.iter().sum::<f64>() / times.len() as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_steps_count_and_evaluations_apart() {
        let mut left = TimeLeft::of(Course { step: 0, total: 100, eval_every: 50, judge_every: 0, evaluates: true });
        left.evaluation(60.0);
        assert_eq!((left.after(40), left.after(100)), (None, Some(0.0)));
        (0..10).for_each(|_| left.step(100.0));
        (0..STEPS).for_each(|_| left.step(2.0));
        assert_eq!(left.after(40), Some(60.0 * 2.0 + 2.0 * 60.0));
        assert_eq!(left.after(60), Some(40.0 * 2.0 + 60.0));
        left.step(f64::NAN);
        assert_eq!(left.after(100), Some(0.0));
    }
}
