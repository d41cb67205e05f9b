/// The decay of the learning rate after the warm-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Decay {
    /// Constant.
    Constant,
    /// Linear to 0 at the last step.
    Linear,
    /// Half a cosine to 0 at the last step.
    Cosine,
}

impl Decay {
    /// Its word in settings.
    pub fn name(self) -> &'static str {
        match self {
            Self::Constant => "constant",
            Self::Linear => "linear",
            Self::Cosine => "cosine",
        }
    }
}

/// The learning-rate schedule.
///
/// The warm-up is that of the original DPO code: `min(1, (step + 1) / (warmup + 1))`, so step 0 already trains. The
/// Hugging Face trainers use `step / warmup`, so that their step 0 does not, and their `constant` has no warm-up.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Schedule {
    /// The peak rate.
    pub rate: f64,
    /// Number of warm-up steps.
    pub warmup: usize,
    /// The decay after the warm-up.
    pub decay: Decay,
    /// Total number of steps.
    pub total: usize,
}

impl Schedule {
    /// The rate of `step`, counted from 0.
    pub fn at(&self, step: usize) -> f64 {
        let warmup = ((step + 1) as f64 / (self.warmup + 1) as f64).min(1.0);
        let left = self.total.saturating_sub(self.warmup).max(1) as f64;
        let progress = (step.saturating_sub(self.warmup) as f64 / left).min(1.0);
        let decay = match self.decay {
            Decay::Constant => 1.0,
            Decay::Linear => 1.0 - progress,
            Decay::Cosine => 0.5 * (1.0 + (std::f64::consts::PI * progress).cos()),
        };
        self.rate * warmup * decay
    }

    /// The maximum over all steps: less than [`Schedule::rate`] if the run ends within the warm-up.
    pub fn highest(&self) -> f64 {
        self.at(self.warmup.min(self.total.saturating_sub(1)))
    }

    /// Whether the run ends within the warm-up.
    pub fn ends_in_warmup(&self) -> bool {
        self.warmup >= self.total
    }

    /// Says of a run that ends within its warm-up which rate it reaches.
    pub fn of_warmup(&self) -> String {
        let Self { rate, warmup, total, .. } = self;
        format!(
            "the run has {total} steps, fewer than the {} after which its warm-up is over: the learning rate reaches {:.3e} of \
             {rate:e} (`optimizer.warmup_steps` {warmup})",
            warmup + 1,
            self.highest()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rates(decay: Decay) -> Vec<f64> {
        let schedule = Schedule { rate: 1.0, warmup: 3, decay, total: 7 };
        (0..8).map(|step| (schedule.at(step) * 1e4).round() / 1e4).collect()
    }

    #[test]
    fn warms_up_as_the_original_and_then_decays() {
        assert_eq!(rates(Decay::Constant), [0.25, 0.5, 0.75, 1.0, 1.0, 1.0, 1.0, 1.0]);
        assert_eq!(rates(Decay::Linear), [0.25, 0.5, 0.75, 1.0, 0.75, 0.5, 0.25, 0.0]);
        assert_eq!(rates(Decay::Cosine), [0.25, 0.5, 0.75, 1.0, 0.8536, 0.5, 0.1464, 0.0]);
    }

    #[test]
    fn a_run_within_its_warm_up_never_reaches_the_top() {
        let schedule = |warmup, total| Schedule { rate: 1.0, warmup, decay: Decay::Linear, total };
        assert!(
            schedule(3, 3).ends_in_warmup() && !schedule(3, 4).ends_in_warmup() && !schedule(0, 1).ends_in_warmup()
        );
        assert_eq!((schedule(3, 3).highest(), schedule(3, 4).highest(), schedule(0, 1).highest()), (0.75, 1.0, 1.0));
        assert_eq!(schedule(150, 5).highest(), 5.0 / 151.0);
    }

    #[test]
    fn no_warm_up_starts_at_the_top() {
        assert_eq!(Schedule { rate: 2.0, warmup: 0, decay: Decay::Constant, total: 3 }.at(0), 2.0);
    }

    #[test]
    fn a_warm_up_that_does_not_end_is_said_with_the_highest_rate() {
        let schedule = Schedule { rate: 1e-3, warmup: 150, decay: Decay::Constant, total: 5 };
        let said = schedule.of_warmup();
        for part in ["5 steps", "fewer than the 151", "3.311e-5 of 1e-3", "`optimizer.warmup_steps` 150"] {
            assert!(said.contains(part), "{said}");
        }
    }
}
