use crate::{Decay, Schedule};

/// How to train; checked by [`Settings::checked`].
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Decides the order of the examples and everything else drawn by chance.
    pub seed: u64,
    /// Examples per optimiser step.
    pub batch_size: usize,
    /// Examples scored at once; any value gives the same step up to rounding.
    pub micro_batch_size: usize,
    /// Passes over the data.
    pub epochs: usize,
    /// Stops earlier.
    pub max_steps: Option<usize>,
    /// The top learning rate.
    pub rate: f64,
    /// Steps until it is reached.
    pub warmup_steps: usize,
    /// What comes after the warm-up.
    pub decay: Decay,
    /// The gradient is scaled down to this norm where it is longer.
    pub max_gradient_norm: Option<f64>,
    /// Evaluates before the first step, after every so many, and at the end; 0: only first and last.
    pub eval_every: usize,
    /// Held-out examples an evaluation looks at; 0: no evaluation.
    pub eval_examples: usize,
    /// Saves a checkpoint after every so many steps; 0: only when stopped early.
    pub save_every: usize,
    /// Newest checkpoints to keep; 0 keeps all.
    pub keep_checkpoints: usize,
    /// Turns a log-ratio into a reward in the histograms.
    pub beta: f64,
}

/// A setting that makes no sense.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{name} is {value}, it must be {must}")]
pub struct SettingsError {
    /// Which.
    pub name: &'static str,
    /// What it is.
    pub value: String,
    /// What it has to be.
    pub must: &'static str,
}

impl Settings {
    /// The settings, if they make sense.
    pub fn checked(self) -> Result<Self, SettingsError> {
        let refuse = |name, value: String, must| Err(SettingsError { name, value, must });
        for (name, n) in
            [("batch-size", self.batch_size), ("micro-batch-size", self.micro_batch_size), ("epochs", self.epochs)]
        {
            if n == 0 {
                return refuse(name, n.to_string(), "at least 1");
            }
        }
        if !(self.rate.is_finite() && self.rate > 0.0) {
            return refuse("lr", self.rate.to_string(), "a positive number");
        }
        if let Some(norm) = self.max_gradient_norm
            && !(norm.is_finite() && norm > 0.0)
        {
            return refuse("max-grad-norm", norm.to_string(), "a positive number");
        }
        if self.max_steps == Some(0) {
            return refuse("max-steps", "0".into(), "at least 1");
        }
        Ok(self)
    }

    /// Steps of one pass over `examples` examples; the last batch may be smaller.
    pub fn steps_per_epoch(&self, examples: usize) -> usize {
        examples.div_ceil(self.batch_size)
    }

    /// Steps of the whole run.
    pub fn total_steps(&self, examples: usize) -> usize {
        let all = self.epochs * self.steps_per_epoch(examples);
        self.max_steps.map_or(all, |most| most.min(all))
    }

    /// The learning rates of a run over `examples` examples.
    pub fn schedule(&self, examples: usize) -> Schedule {
        Schedule { rate: self.rate, warmup: self.warmup_steps, decay: self.decay, total: self.total_steps(examples) }
    }
}
