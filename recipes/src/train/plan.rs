//! The plan of a run: how much of what it is going to do, and what that costs.
use ::train::{Decay, Settings, Source, Training, Trial};
use candle_core::DType;
use mdp::Mdp;
use policies::{Learner, Persist};

use super::Task;
use crate::amounts::{bytes, count, counted, duration};
use crate::judge::API;
use crate::settings::{Loss, Modality, OptimizerName, Values, at};
use crate::summary::peak_memory;
use crate::trained::{Trained, TrainingStatus};
use crate::{Failure, model};

/// The facts of a plan, by name.
type Rows = Vec<(&'static str, String)>;

impl Task<'_> {
    /// Reports what beta multiplies, which the plan repeats.
    pub(super) fn say_beta(&self, text: String) {
        self.call.reporter.info(&text);
        // It is said once.
        self.beta.get_or_init(|| text);
    }

    /// Shortens a warm-up that would not end within a run to a tenth of it, unless it was given.
    pub(super) fn fit_warmup(&mut self, examples: usize) {
        let (schedule, values) = (self.settings.schedule(examples), &mut self.call.values);
        if !schedule.ends_in_warmup() || values.is_given(&at::optimizer::warmup_steps) || self.resume.is_some() {
            return;
        }
        let warmup = schedule.total / 10;
        self.call.reporter.info(&format!(
            "the warm-up has {} instead of {}, a tenth of the run, which ends before (`optimizer.warmup_steps` sets it)",
            counted(warmup, "step"),
            schedule.warmup
        ));
        self.settings.warmup_steps = warmup;
        values.set(|settings| settings.optimizer.warmup_steps = warmup);
    }

    /// Says the plan of a run before its first step, if anybody reads it.
    pub(super) fn describe<M: Mdp, L: Learner<M> + Persist, S: Source<Mdp = M>>(
        &self,
        training: &Training<'_, M, S>,
        learner: &mut L,
    ) -> Result<(), Failure> {
        let reporter = self.call.reporter;
        if self.resume.is_some() || !reporter.wants_plan() {
            return Ok(());
        }
        let trial = training.try_step(learner)?;
        for row in self.rows(training, trial) {
            reporter.info(&line(&row));
        }
        Ok(())
    }

    /// The plan of a run that is not made.
    pub(super) fn planned<M: Mdp, L: Learner<M> + Persist, S: Source<Mdp = M>>(
        &self,
        training: &Training<'_, M, S>,
        learner: &mut L,
    ) -> Result<Trained, Failure> {
        let trial = training.try_step(learner)?;
        let schedule = self.settings.schedule(training.examples());
        if schedule.ends_in_warmup() {
            self.call.reporter.info(&schedule.of_warmup());
        }
        let table = self.rows(training, trial).iter().map(line).collect::<Vec<_>>().join("\n");
        let folder = self.resume.clone().or_else(|| self.call.values.run.out().map(Into::into)).unwrap_or_default();
        Ok(Trained { table, ..Trained::of(&folder, TrainingStatus::Planned) })
    }

    fn rows<M: Mdp, S: Source<Mdp = M>>(&self, training: &Training<'_, M, S>, trial: Trial) -> Rows {
        let (values, settings, n) = (&self.call.values, &self.settings, training.examples());
        let steps = settings.total_steps(n);
        let mut rows = vec![("examples", format!("{}, {} held out", count(n), count(training.eval_examples())))];
        rows.extend(self.sources.iter().map(|source| ("source", source.clone())));
        rows.push((S::UNIT, self.size.map_or_else(|| of_trial(trial, n), |size| of_data(size, n))));
        rows.push(("steps", of_steps(settings, n)));
        rows.extend(of_judge(values, steps));
        rows.push(("learning rate", of_rate(settings, n)));
        if let Some(beta) = self.beta.get().cloned().or_else(|| beta(values)) {
            rows.push(("beta", beta));
        }
        let slots = slots(values) * 4.0 * trial.parameters as f64;
        if let Some(mb) = peak_memory() {
            rows.push(("peak memory", format!("about {}", bytes(mb * 1024.0 * 1024.0 + slots))));
        }
        rows.push(("disk", of_disk(values, self.usual, trial.parameters, slots)));
        let seconds = trial.step_seconds * steps as f64;
        let time = format!("about {}, {} a step; evaluations are not counted", duration(seconds), seconds_of(trial));
        rows.push(("time", time));
        rows
    }
}

fn line((name, text): &(&'static str, String)) -> String {
    format!("{name:<14}{text}")
}

fn seconds_of(trial: Trial) -> String {
    if trial.step_seconds < 1.0 { format!("{:.0} ms", trial.step_seconds * 1e3) } else { duration(trial.step_seconds) }
}

/// The size of the data, from the examples that were tried.
fn of_trial(trial: Trial, examples: usize) -> String {
    format!("about {}, {:.0} an example", count((trial.size * examples as f64) as usize), trial.size)
}

/// The size of the data.
fn of_data(size: usize, examples: usize) -> String {
    format!("{}, {:.0} an example", count(size), size as f64 / examples.max(1) as f64)
}

fn of_steps(settings: &Settings, examples: usize) -> String {
    let steps = settings.total_steps(examples);
    let epochs = steps as f64 / settings.steps_per_epoch(examples).max(1) as f64;
    let passes = if epochs.fract() == 0.0 { format!("{epochs:.0}") } else { format!("{epochs:.2}") };
    let noun = if passes == "1" { "epoch" } else { "epochs" };
    let looks = match settings.eval_every {
        0 => "evaluated at the start and the end".to_owned(),
        every => format!("evaluated every {}", count(every)),
    };
    format!("{} of {} ({passes} {noun}), {looks}", count(steps), counted(settings.batch_size.min(examples), "example"))
}

/// The comparisons with the start: how often, on how many prompts, and how much a server is asked; nothing without any.
fn of_judge(values: &Values, steps: usize) -> Rows {
    let every = values.judge.every();
    if every == 0 {
        return Rows::new();
    }
    // Also after the last step, whether one is due there or not.
    let (times, prompts, judge) = (steps.div_ceil(every), values.judge.prompts(), values.judge.judge());
    let text =
        format!("every {}: {} on {} by {judge}", count(every), counted(times, "time"), counted(prompts, "prompt"));
    let mut rows = vec![("judged", text)];
    if judge == API {
        let orders = if values.judge.both_orders() { 2 } else { 1 };
        rows.push(("requests", format!("up to {} to the judge", count(times * prompts * orders))));
    }
    rows
}

fn of_rate(settings: &Settings, examples: usize) -> String {
    let schedule = settings.schedule(examples);
    let warmup = match schedule.warmup {
        0 => "no warm-up".to_owned(),
        steps => format!("{} of warm-up", counted(steps, "step")),
    };
    let then = match schedule.decay {
        Decay::Constant => "constant",
        Decay::Linear => "linear to 0",
        Decay::Cosine => "cosine to 0",
    };
    format!("{:e}, {warmup}, then {then}", settings.rate)
}

/// What beta multiplies in a language model's loss.
fn beta(values: &Values) -> Option<String> {
    let is_imitation = values.objective.name() == Loss::Sft;
    (values.run.mdp() == Modality::Token && !is_imitation)
        .then(|| format!("{} a nat of log-ratio", values.objective.beta()))
}

/// The numbers that the optimiser and averages keep for every trained parameter.
fn slots(values: &Values) -> f64 {
    let of_optimizer = match values.optimizer.name() {
        OptimizerName::Adamw => 2.0,
        OptimizerName::Sgd if values.optimizer.momentum() == 0.0 => 0.0,
        OptimizerName::Rmsprop | OptimizerName::Sgd => 1.0,
    };
    of_optimizer + if values.model.ema().is_some() { 1.0 } else { 0.0 }
}

/// The size of a run's folder: checkpoints of weights and optimiser state, the model, and the best one.
fn of_disk(values: &Values, usual: DType, parameters: usize, slots: f64) -> String {
    let kept = values.train.keep_checkpoints();
    let checkpoint = parameters as f64 * 4.0 + slots;
    let model = (parameters * model::save_options(values, usual).dtype.size_in_bytes()) as f64;
    let models = if values.train.best_metric() == "none" { 1 } else { 2 };
    let each = format!("{} a checkpoint, {} a model", bytes(checkpoint), bytes(model));
    match kept {
        0 => format!("{each}; all checkpoints are kept"),
        kept => format!("about {} ({each})", bytes(checkpoint * kept as f64 + model * f64::from(models))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_and_rates_are_said_as_they_will_be() {
        let settings = Settings { batch_size: 32, eval_every: 64, warmup_steps: 10, ..Settings::DEFAULT };
        assert_eq!(of_steps(&settings, 8192), "256 of 32 examples (1 epoch), evaluated every 64");
        assert_eq!(of_rate(&settings, 8192), "5e-7, 10 steps of warm-up, then constant");
        let half = Settings { max_steps: Some(128), eval_every: 0, ..settings };
        assert_eq!(of_steps(&half, 8192), "128 of 32 examples (0.50 epochs), evaluated at the start and the end");
    }

    #[test]
    fn comparisons_with_the_start_are_counted() {
        let mut values = Values::default();
        assert!(of_judge(&values, 100).is_empty());
        values.merge_set("judge.every=30").unwrap();
        values.merge_set("judge.prompts=64").unwrap();
        let judged = |values: &Values, steps| of_judge(values, steps).iter().map(line).collect::<Vec<_>>();
        assert_eq!(judged(&values, 100), ["judged        every 30: 4 times on 64 prompts by oracle"]);
        assert_eq!(judged(&values, 20), ["judged        every 30: 1 time on 64 prompts by oracle"]);
        values.merge_set("judge.judge=openai").unwrap();
        assert_eq!(judged(&values, 90)[1], "requests      up to 192 to the judge");
        values.merge_set("judge.both_orders=true").unwrap();
        assert_eq!(judged(&values, 900)[1], "requests      up to 3,840 to the judge");
    }

    #[test]
    fn the_disk_holds_checkpoints_and_models() {
        let mut values = Values::default();
        let said = of_disk(&values, DType::F32, 1_000_000, 4e6);
        assert_eq!(said, "about 24 MB (8.0 MB a checkpoint, 4.0 MB a model)");
        values.merge_set("train.best_metric=none").unwrap();
        assert!(of_disk(&values, DType::BF16, 1_000_000, 4e6).starts_with("about 18 MB"));
        values.merge_set("model.save_dtype=f32").unwrap();
        assert!(of_disk(&values, DType::BF16, 1_000_000, 4e6).starts_with("about 20 MB"));
    }
}
