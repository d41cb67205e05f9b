use crate::{Decay, Schedule};

/// Training settings; validated by [`Settings::checked`].
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Seed of the order of examples and of all random draws.
    pub seed: u64,
    /// Examples per optimiser step.
    pub batch_size: usize,
    /// Examples scored at once (gradient accumulation); any value gives the same step up to rounding.
    pub micro_batch_size: usize,
    /// Passes over the data; if `None`, determined by [`Settings::max_steps`], or one.
    pub epochs: Option<usize>,
    /// Maximum number of steps: with epochs given too, the earlier end counts.
    pub max_steps: Option<usize>,
    /// The peak learning rate.
    pub rate: f64,
    /// Number of warm-up steps.
    pub warmup_steps: usize,
    /// The decay after the warm-up.
    pub decay: Decay,
    /// Gradient clipping norm.
    pub max_gradient_norm: Option<f64>,
    /// Steps between evaluations, besides the first and last; 0: only first and last.
    pub eval_every: usize,
    /// Steps between comparisons of the policy with its start by [`Hooks::judge`](crate::Hooks::judge), besides the last step;
    /// such a step is evaluated too. 0: none.
    pub judge_every: usize,
    /// Number of held-out examples in an evaluation; 0: no evaluation.
    pub eval_examples: usize,
    /// Steps between checkpoints; 0: only at the end and when stopped. `None`: at evaluations, and when
    /// [`Settings::save_seconds`] have passed since the last one.
    pub save_every: Option<usize>,
    /// Seconds between checkpoints where [`Settings::save_every`] is `None`. The clock decides only when a run is saved,
    /// never its numbers.
    pub save_seconds: f64,
    /// Number of newest checkpoints to keep; 0 keeps all.
    pub keep_checkpoints: usize,
    /// The metric of evaluations whose best policy is kept apart, in `best/`; `None`: no policy is.
    pub best_metric: Option<String>,
    /// Stops after so many evaluations in a row that are no better than the best by [`Settings::best_metric`].
    pub patience: Option<usize>,
    /// The factor from log-ratio to reward in the histograms.
    pub beta: f64,
    /// Scales the slopes of each pair's worse side so that a step raises the better side's number by at least this share, from 0
    /// to 1, of what its own slopes would ([`Learner::output_products`](policies::Learner::output_products)); `None`: it does not.
    pub safeguard: Option<f64>,
    /// The decay of an average of the policy's weights that is the reference in training; `None`: the reference is fixed.
    /// Evaluations compare with the fixed one.
    pub reference_ema: Option<f64>,
    /// Whether each of several processes keeps the optimiser's state of its own share of every parameter only. No number
    /// depends on it.
    pub shard_optimizer: bool,
}

/// An invalid setting.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("`{name}` is {value}, it must be {must}")]
pub struct SettingsError {
    /// Path of the setting.
    pub name: &'static str,
    /// The given value.
    pub value: String,
    /// The requirement.
    pub must: &'static str,
}

impl Default for Settings {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl Settings {
    /// The usual gradient clipping norm, that of the original DPO code.
    pub const MAX_GRADIENT_NORM: f64 = 10.0;

    /// One pass in batches of 64, with the paper's learning rate and warm-up.
    pub const DEFAULT: Self = Self {
        seed: 0,
        batch_size: 64,
        micro_batch_size: 4,
        epochs: None,
        max_steps: None,
        rate: 5e-7,
        warmup_steps: 150,
        decay: Decay::Constant,
        max_gradient_norm: Some(Self::MAX_GRADIENT_NORM),
        eval_every: 0,
        judge_every: 0,
        eval_examples: 256,
        save_every: None,
        save_seconds: 600.0,
        keep_checkpoints: 2,
        best_metric: None,
        patience: None,
        beta: 0.1,
        safeguard: None,
        reference_ema: None,
        shard_optimizer: false,
    };

    /// Validates the settings.
    pub fn checked(self) -> Result<Self, SettingsError> {
        let refuse = |name, value: String, must| Err(SettingsError { name, value, must });
        for (name, n) in [
            ("train.batch_size", Some(self.batch_size)),
            ("train.micro_batch_size", Some(self.micro_batch_size)),
            ("train.epochs", self.epochs),
            ("train.max_steps", self.max_steps),
            ("train.early_stopping_patience", self.patience),
        ] {
            if n == Some(0) {
                return refuse(name, "0".into(), "at least 1");
            }
        }
        if !(self.save_seconds.is_finite() && self.save_seconds >= 0.0) {
            return refuse("train.save_minutes", (self.save_seconds / 60.0).to_string(), "a number from 0 up");
        }
        if let Some(share) = self.safeguard
            && !(0.0..=1.0).contains(&share)
        {
            return refuse("objective.safeguard", share.to_string(), "from 0 to 1");
        }
        if let Some(decay) = self.reference_ema
            && !(0.0..1.0).contains(&decay)
        {
            return refuse("model.reference_ema", decay.to_string(), "at least 0 and below 1");
        }
        if !(self.rate.is_finite() && self.rate > 0.0) {
            return refuse("optimizer.lr", self.rate.to_string(), "a positive number");
        }
        if let Some(norm) = self.max_gradient_norm
            && !(norm.is_finite() && norm > 0.0)
        {
            return refuse("optimizer.max_grad_norm", norm.to_string(), "a positive number");
        }
        Ok(self)
    }

    /// Number of steps of one pass over `examples` examples; the last batch may be smaller.
    pub fn steps_per_epoch(&self, examples: usize) -> usize {
        examples.div_ceil(self.batch_size)
    }

    /// Total number of steps of a run.
    pub fn total_steps(&self, examples: usize) -> usize {
        let of = |epochs: usize| epochs * self.steps_per_epoch(examples);
        match (self.epochs, self.max_steps) {
            (epochs, None) => of(epochs.unwrap_or(1)),
            (None, Some(most)) => most,
            (Some(epochs), Some(most)) => most.min(of(epochs)),
        }
    }

    /// The learning-rate schedule of a run over `examples` examples.
    pub fn schedule(&self, examples: usize) -> Schedule {
        Schedule { rate: self.rate, warmup: self.warmup_steps, decay: self.decay, total: self.total_steps(examples) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_alone_decide_and_the_earlier_end_counts() {
        let steps = |epochs, max_steps| {
            let settings = Settings { epochs, max_steps, batch_size: 4, ..plain() };
            settings.total_steps(10)
        };
        assert_eq!(steps(None, None), 3);
        assert_eq!(steps(Some(2), None), 6);
        assert_eq!(steps(None, Some(50)), 50);
        assert_eq!(steps(Some(2), Some(50)), 6);
        assert_eq!(steps(Some(2), Some(5)), 5);
    }

    #[test]
    fn nothing_is_done_no_times() {
        let checked = |epochs, max_steps| Settings { epochs, max_steps, ..plain() }.checked();
        assert_eq!(checked(Some(0), None).unwrap_err().name, "train.epochs");
        assert_eq!(checked(None, Some(0)).unwrap_err().name, "train.max_steps");
        assert!(checked(None, None).is_ok());
    }

    fn plain() -> Settings {
        Settings {
            seed: 0,
            batch_size: 1,
            micro_batch_size: 1,
            epochs: None,
            max_steps: None,
            rate: 1.0,
            warmup_steps: 0,
            decay: Decay::Constant,
            max_gradient_norm: None,
            eval_every: 0,
            judge_every: 0,
            eval_examples: 0,
            save_every: None,
            save_seconds: 600.0,
            keep_checkpoints: 0,
            best_metric: None,
            patience: None,
            beta: 1.0,
            safeguard: None,
            reference_ema: None,
            shard_optimizer: false,
        }
    }
}
