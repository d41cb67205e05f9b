mod compare;
mod evaluations;
mod follow;

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use mdp::Mdp;
use policies::{Learner, Persist};

use self::compare::join;
use crate::best::Best;
use crate::decline::Decline;
use crate::ranks::{Leader, Order, Sharing, receive};
use crate::saving::Saving;
use crate::step::{Learned, Loss, Reference, StepAt};
use crate::tensorboard::EventFile;
use crate::training::batch;
use crate::{
    Course, Ending, Evaluated, Hooks, MetricsFile, Monitor, Observers, Position, Record, ReferenceCache, RunFolder,
    RunSummary, Schedule, Settings, Silent, Source, TrainError, Training, learn_together,
};

impl<M: Mdp, S: Source<Mdp = M>> Training<'_, M, S> {
    /// Trains in a folder, from its state to the end.
    ///
    /// # Errors
    /// Invalid settings, unreadable data, a diverging loss, files that can't be written.
    pub fn run<L: Learner<M> + Persist>(
        &self,
        policy: &mut L,
        folder: impl AsRef<Path>,
    ) -> Result<RunSummary, TrainError> {
        self.watched(policy, folder, Observers::monitor(&mut Silent))
    }

    /// As [`run`](Self::run), with observers.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub fn watched<L: Learner<M> + Persist>(
        &self,
        policy: &mut L,
        folder: impl AsRef<Path>,
        observers: Observers<'_, M, L>,
    ) -> Result<RunSummary, TrainError> {
        if !self.ranks.is_leader() {
            return match receive(self.ranks) {
                Order::End(_) => self.run_in(policy, &RunFolder::open(folder.as_ref())?, observers),
                Order::Compare | Order::Step | Order::Evaluate | Order::Save | Order::Fail => {
                    Err(TrainError::OtherRank { rank: 0 })
                }
            };
        }
        let mut leader = Leader::new(self.ranks);
        let folder = RunFolder::at(folder.as_ref())?;
        let _lock = folder.lock()?;
        leader.end(Ending::Done);
        self.run_in(policy, &folder, observers)
    }

    /// As [`watched`](Self::watched), in an open folder; its lock is the caller's. Of several ranks each opens the leader's folder,
    /// and the leader alone has the lock, a monitor and anything to say of the result.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub fn run_in<L: Learner<M> + Persist>(
        &self,
        policy: &mut L,
        folder: &RunFolder,
        observers: Observers<'_, M, L>,
    ) -> Result<RunSummary, TrainError> {
        self.settings.clone().checked()?;
        if self.data.is_empty() {
            return Err(TrainError::Empty("training"));
        }
        if !self.ranks.is_leader() {
            return follow::follow(self, policy, folder, observers.hooks.unwrap_or(&Hooks::default()));
        }
        run(self, policy, folder, observers)
    }
}

/// Trains from the state of `folder` to the end, or until stopped.
///
/// # Errors
/// Unreadable data, non-finite numbers, a diverging gradient, files that can't be written. Checkpoints and metrics up
/// to then remain; `model/` is only written at the end.
fn run<M, L, S>(
    problem: &Training<'_, M, S>,
    learner: &mut L,
    folder: &RunFolder,
    Observers { monitor, hooks, stop, clock }: Observers<'_, M, L>,
) -> Result<RunSummary, TrainError>
where
    M: Mdp,
    L: Learner<M> + Persist,
    S: Source<Mdp = M>,
{
    let (settings, no_hooks) = (&problem.settings, Hooks::default());
    let saving = Saving::new(settings, clock);
    let leader = Leader::new(problem.ranks);
    let mut run = Run::open(problem, learner, folder, hooks.unwrap_or(&no_hooks), (monitor, saving, stop, leader))?;
    run.compare(learner)?;
    let total = settings.total_steps(problem.data.len());
    let schedule = settings.schedule(problem.data.len());
    if run.position.step < total && schedule.ends_in_warmup() {
        run.monitor.note(&schedule.of_warmup());
    }
    run.monitor.started(run.course(total));
    let first = run.start(learner)?;
    let mut last = if run.lacks_comparison()? { run.evaluate(learner)? } else { None };
    while run.position.step < total && !run.is_exhausted() {
        if run.is_stopped() {
            return run.interrupted(learner, first);
        }
        run.take_step(learner, schedule)?;
        let step = run.position.step;
        let is_regular = settings.eval_every > 0 && step % settings.eval_every == 0;
        let is_evaluated = is_regular || step == total || run.is_judged();
        if is_evaluated {
            last = run.evaluate(learner)?;
        }
        if step < total && run.saving.is_due(step, is_evaluated) {
            run.save(learner)?;
        }
    }
    if run.evaluated_at != Some(run.position.step) {
        last = run.evaluate(learner)?;
    }
    // The comparison with the start that the last step has is made when the run is taken up.
    if run.is_cut {
        return run.interrupted(learner, first);
    }
    run.save(learner)?;
    folder.export(learner, run.position.step)?;
    run.monitor.finished();
    let ending = if run.position.step < total { Ending::StoppedEarly } else { Ending::Done };
    Ok(run.outcome(ending, first, last))
}

/// Takes one step, with all ranks, each of which gets the same result.
fn take_step<M: Mdp, L: Learner<M>, S: Source<Mdp = M>>(
    problem: &Training<'_, M, S>,
    learner: &mut L,
    reference: &mut Reference<'_, M>,
    at: StepAt,
) -> Result<Learned, TrainError> {
    let slices = batch(problem.data, &problem.settings, (at.step, problem.ranks.size()))?;
    let measure = |slice: &_, scores: objectives::Scores<'_>| problem.data.measure(slice, scores);
    let loss = Loss { objective: problem.objective, measure: &measure };
    let mut learned = learn_together(problem.mdp, learner, reference, loss, &slices, (at, problem.ranks))?;
    learned.tokens = slices.iter().map(|slice| problem.data.n_tokens(slice)).sum();
    learned.checked(at.step)
}

/// Whether the last evaluations have been no better than an earlier one, as many as the settings allow.
fn is_exhausted(settings: &Settings, best: &Best) -> bool {
    settings.patience.is_some_and(|patience| best.since() >= patience)
}

/// Loads the user's cache if given, else the run's own, so that a resumed run uses identical numbers.
fn load_cache<M: Mdp, S: Source<Mdp = M>>(
    problem: &Training<'_, M, S>,
    folder: &RunFolder,
    position: &Position,
    monitor: &mut dyn Monitor,
) -> Result<ReferenceCache, TrainError> {
    let own = folder.join("checkpoints").join("reference.cache");
    let is_own = position.step > 0 && own.exists();
    let cache = if is_own { ReferenceCache::load(&own, &position.key)? } else { problem.load_cache(&position.key)? };
    if !cache.is_empty() {
        monitor.note(&format!("reference numbers of {} examples read from the cache", cache.len()));
    }
    Ok(cache)
}

/// A run in progress.
struct Run<'r, 'a, M: Mdp, L, S: Source<Mdp = M>> {
    problem: &'r Training<'a, M, S>,
    settings: &'r Settings,
    folder: &'r RunFolder,
    hooks: &'r Hooks<'r, M, L>,
    monitor: &'r mut dyn Monitor,
    reference: Reference<'a, M>,
    held_out_reference: Reference<'a, M>,
    position: Position,
    metrics: MetricsFile,
    details: MetricsFile,
    events: EventFile,
    best: Best,
    decline: Option<Decline>,
    saving: Saving<'r>,
    leader: Leader<'r>,
    /// The step whose evaluation an earlier process has recorded, if the run is over.
    recorded: Option<usize>,
    /// The step of the last evaluation of this process.
    evaluated_at: Option<usize>,
    /// Set from outside to stop the run.
    stop: Option<&'r AtomicBool>,
    /// Whether a comparison with the start was stopped, so that its step has no record of an evaluation.
    is_cut: bool,
    /// The bytes that this rank has sent in its steps.
    sent: u64,
    seconds: f64,
    examples: usize,
    size: usize,
}

impl<'r, 'a, M, L, S> Run<'r, 'a, M, L, S>
where
    M: Mdp,
    L: Learner<M> + Persist,
    S: Source<Mdp = M>,
{
    fn open(
        problem: &'r Training<'a, M, S>,
        learner: &mut L,
        folder: &'r RunFolder,
        hooks: &'r Hooks<'r, M, L>,
        (monitor, saving, stop, leader): (&'r mut dyn Monitor, Saving<'r>, Option<&'r AtomicBool>, Leader<'r>),
    ) -> Result<Self, TrainError> {
        let (settings, records) = (&problem.settings, folder.join("metrics.jsonl"));
        problem.prepare(learner)?;
        let (key, restored) = (problem.cache_key()?, folder.restore(learner)?);
        if restored.step > 0 {
            restored.key.check(&key, &folder.join("checkpoints"), "run")?;
        }
        let position = Position { seed: settings.seed, key, ..restored };
        let cache = load_cache(problem, folder, &position, monitor)?;
        let best = Best::read(settings.best_metric.as_deref(), &records, position.step)?;
        let is_compared = problem.objective.needs().reference;
        let decline = is_compared.then(|| Decline::read(&records, position.step)).transpose()?;
        problem.objective.restore(&position.objective);
        // The first evaluation and the last run again where a run is taken up before the first step or after the last.
        let is_over = position.step >= settings.total_steps(problem.data.len()) || is_exhausted(settings, &best);
        let repeated = position.step == 0 || is_over;
        let is_recorded = is_over && !Self::lacks_comparison_at(problem, hooks, &records, &position)?;
        Ok(Self {
            problem,
            settings,
            folder,
            hooks,
            monitor,
            reference: Reference { policy: problem.reference, cache },
            held_out_reference: Reference { policy: problem.reference, cache: ReferenceCache::default() },
            metrics: MetricsFile::open(&records, position.step, repeated)?,
            details: MetricsFile::open(&folder.report()?.join("evaluations.jsonl"), position.step, repeated)?,
            events: problem.events(folder, position.step)?,
            best,
            decline,
            saving,
            leader,
            recorded: (position.step > 0 && is_recorded).then_some(position.step),
            stop,
            is_cut: false,
            evaluated_at: None,
            position,
            sent: 0,
            seconds: 0.0,
            examples: 0,
            size: 0,
        })
    }

    fn is_stopped(&self) -> bool {
        self.stop.is_some_and(|stop| stop.load(Ordering::Relaxed))
    }

    /// Leaves a checkpoint behind.
    fn interrupted(&mut self, learner: &L, first: Option<Record>) -> Result<RunSummary, TrainError> {
        self.save(learner)?;
        self.monitor.finished();
        Ok(self.outcome(Ending::Interrupted, first, None))
    }

    /// Checks that all ranks start from the same, and connects their policies.
    fn compare(&mut self, learner: &mut L) -> Result<(), TrainError> {
        self.leader.tell(Order::Compare);
        let joined = join(self.problem, learner, &self.position);
        self.leader.all_know(joined)?;
        if learner.sums_gradient() {
            self.monitor.note(&format!("{} devices sum gradients among themselves", self.problem.ranks.size()));
        }
        Ok(())
    }

    /// Evaluates the start, unless the run has begun before; the record of that evaluation.
    fn start(&mut self, learner: &L) -> Result<Option<Record>, TrainError> {
        if self.position.step == 0 {
            self.evaluate(learner)?;
        }
        Record::of_start(&self.folder.join("metrics.jsonl"))
    }

    /// One training step and its record.
    fn take_step(&mut self, learner: &mut L, schedule: Schedule) -> Result<(), TrainError> {
        let (begun, ranks) = (Instant::now(), self.problem.ranks);
        let sent = ranks.sent();
        let at = StepAt::of(self.settings, self.position.step, schedule);
        self.leader.tell(Order::Step);
        let learned = take_step(self.problem, learner, &mut self.reference, at);
        let learned = self.leader.all_know(learned)?;
        self.sent += ranks.sent() - sent;
        self.record(&learned, at, begun)
    }

    fn record(&mut self, learned: &Learned, at: StepAt, begun: Instant) -> Result<(), TrainError> {
        let seconds = begun.elapsed().as_secs_f64();
        self.seconds += seconds;
        self.examples += learned.examples;
        self.size += learned.size;
        self.position.step += 1;
        self.position.examples += learned.examples;
        self.position.tokens += learned.tokens.unwrap_or(0);
        let mut values = vec![("loss".to_owned(), learned.loss)];
        values.extend(learned.metrics.iter().map(|(name, value)| ((*name).to_owned(), *value)));
        values.extend(learned.measures.means().map(|(name, value)| (name.to_owned(), value)));
        values.extend(learned.tokens.map(|_| self.num_tokens()));
        values.push(("grad_norm".into(), learned.gradient_norm));
        for (part, norm) in &learned.gradient_norms {
            values.push((format!("grad_norm/{part}"), *norm));
            values.push((format!("grad_share/{part}"), (norm / learned.gradient_norm).powi(2)));
        }
        values.push(("lr".into(), at.rate));
        values.push(("pairs_per_second".into(), learned.examples as f64 / seconds));
        values.push((format!("{}_per_second", S::UNIT), learned.size as f64 / seconds));
        let record = Record { split: "train", step: self.position.step, examples: self.position.examples, values };
        self.write(&record)?;
        self.monitor.stepped(&record);
        Ok(())
    }

    /// The number of tokens trained on so far, for the records.
    fn num_tokens(&self) -> (String, f64) {
        ("num_tokens".to_owned(), self.position.tokens as f64)
    }

    /// Whether evaluations have stopped improving.
    fn is_exhausted(&self) -> bool {
        is_exhausted(self.settings, &self.best)
    }

    /// What is ahead of the run.
    fn course(&self, total: usize) -> Course {
        let judge_every = if self.hooks.judge.is_some() { self.settings.judge_every } else { 0 };
        let evaluates = self.hooks.sample.is_some()
            || judge_every > 0
            || self.problem.held_out.is_some_and(|data| !data.is_empty() && self.settings.eval_examples > 0);
        let eval_every = if evaluates { self.settings.eval_every } else { 0 };
        Course { step: self.position.step, total, eval_every, judge_every, evaluates }
    }

    fn save(&mut self, learner: &L) -> Result<(), TrainError> {
        if !self.reference.cache.is_empty() {
            let own = self.folder.join("checkpoints").join("reference.cache");
            for path in std::iter::once(&own).chain(&self.problem.cache) {
                self.reference.cache.save(path, &self.position.key)?;
            }
        }
        self.position.objective = self.problem.objective.state();
        let (shards, keep) =
            (self.settings.shard_optimizer && self.problem.ranks.size() > 1, self.settings.keep_checkpoints);
        let save = |folder: &Path| {
            if !shards {
                return learner.save_checkpoint(folder);
            }
            self.leader.tell(Order::Save);
            learner.save_checkpoint_of_shares(Some(folder), &Sharing(self.problem.ranks))
        };
        self.folder.save_by(&self.position, keep, save)?;
        self.saving.saved();
        Ok(())
    }

    fn write(&mut self, record: &Record) -> Result<(), TrainError> {
        self.metrics.write(record)?;
        for (name, value) in &record.values {
            self.events.scalar(&format!("{}/{name}", record.split), record.step, *value)?;
        }
        self.events.flush()
    }

    fn outcome(&mut self, ending: Ending, first: Option<Record>, last: Option<Evaluated>) -> RunSummary {
        self.leader.end(ending);
        self.say_sent();
        let seconds = self.seconds.max(f64::MIN_POSITIVE);
        RunSummary {
            ending,
            steps: self.position.step,
            best: self.best.value().map(|(name, value)| (name.to_owned(), value)),
            first,
            last,
            examples_per_second: self.examples as f64 / seconds,
            size_per_second: self.size as f64 / seconds,
        }
    }
}
