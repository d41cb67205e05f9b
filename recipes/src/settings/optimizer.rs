use super::choices::OptimizerName;
use super::section;
use ::train::{Decay, Settings};

section! {
    /// The optimiser and its learning rate.
    optimizer: Optimizer {
        /// The optimiser
        name: OptimizerName = OptimizerName::Rmsprop, "optimizer";
        /// The top learning rate
        lr: f64 = Settings::DEFAULT.rate, "lr";
        /// adamw: decoupled weight decay
        weight_decay: f64 = 0.0, "weight-decay";
        /// sgd: momentum
        momentum: f64 = 0.0, "momentum";
        /// Steps N until the top learning rate: step i, from 0, has (i + 1) / (N + 1) of it; a default that would not end
        /// within the run is shortened to a tenth of it
        warmup_steps: usize = Settings::DEFAULT.warmup_steps, "warmup-steps";
        /// The learning rate after the warm-up
        schedule: Decay = Settings::DEFAULT.decay, "schedule";
        /// Longer gradients are scaled down to this norm
        max_grad_norm: f64 = Settings::MAX_GRADIENT_NORM, "max-grad-norm";
        /// Several processes: each keeps the optimiser's state of its own share of every weight; changes no number
        shard: bool = false, "shard-optimizer";
    }
}
