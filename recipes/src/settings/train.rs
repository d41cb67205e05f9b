use super::choices::Preset;
use ::train::Settings;

use super::section;

section! {
    /// The length of a run, its evaluations and its checkpoints.
    train: Train {
        /// Defaults of a known run: token: the paper's TL;DR, TRL's DPOTrainer; diffusion: the released codes' and the
        /// paper's units
        preset: Option<Preset> = None, "preset";
        /// Pairs per optimiser step
        batch_size: usize = Settings::DEFAULT.batch_size, "batch-size";
        /// Pairs computed at once; changes memory, not the result
        micro_batch_size: usize = Settings::DEFAULT.micro_batch_size, "micro-batch-size";
        /// Passes over the data; else as many as `train.max_steps` takes, one without it
        epochs: Option<usize> = None, "epochs";
        /// Ends after this many steps, whatever epochs they are; with `train.epochs` too, at what comes first
        max_steps: Option<usize> = None, "max-steps";
        /// Steps between evaluations; 0: at the start and the end
        eval_every: usize = Settings::DEFAULT.eval_every, "eval-every";
        /// Held-out examples an evaluation looks at; 0: none
        eval_examples: usize = Settings::DEFAULT.eval_examples, "eval-examples";
        /// Answers sampled at an evaluation
        n_samples: usize = 8, "n-samples";
        /// Steps between checkpoints; 0: at the end; without it at evaluations and every `train.save_minutes`
        save_every: Option<usize> = Settings::DEFAULT.save_every, "save-every";
        /// Minutes between checkpoints, beside those at evaluations; 0: at evaluations alone
        save_minutes: f64 = Settings::DEFAULT.save_seconds / 60.0, "save-minutes";
        /// Newest checkpoints to keep; 0: all
        keep_checkpoints: usize = Settings::DEFAULT.keep_checkpoints, "keep-checkpoints";
        /// The metric of evaluations whose best model is kept in best/, such as rewards/accuracies; smaller is better of
        /// losses and divergences; none: no model is kept
        best_metric: String = "loss".to_owned(), "best-metric";
        /// Ends after so many evaluations in a row that are no better than the best by `train.best_metric`
        early_stopping_patience: Option<usize> = None, "early-stopping-patience";
        /// A file the reference's numbers are read from where it exists and fits, else written to
        reference_cache: Option<String> = None, "reference-cache";
    }
}
