//! The evaluations of a run in progress: held-out numbers, comparisons with the start, samples.
use std::path::Path;

use mdp::Mdp;
use policies::{Learner, Persist};

use super::Run;
use crate::best::BestStatus;
use crate::evaluate::{EvalSettings, Examination};
use crate::ranks::Order;
use crate::step::Slice;
use crate::{Evaluated, Hooks, Position, Record, Showcase, Source, TrainError, Training};

impl<M, L, S> Run<'_, '_, M, L, S>
where
    M: Mdp,
    L: Learner<M> + Persist,
    S: Source<Mdp = M>,
{
    /// Evaluates on the held-out examples, if there are any, and draws samples.
    pub(super) fn evaluate(&mut self, learner: &L) -> Result<Option<Evaluated>, TrainError> {
        self.evaluated_at = Some(self.position.step);
        let Some(data) = self.problem.held_out.filter(|data| !data.is_empty() && self.settings.eval_examples > 0)
        else {
            self.judge_alone(learner)?;
            if !self.is_cut {
                self.sample(learner)?;
            }
            return Ok(None);
        };
        let mut evaluated = self.examined(learner, data)?;
        let judged = self.judged(learner)?;
        if self.is_cut {
            self.monitor.looked();
            return Ok(None);
        }
        evaluated.metrics.extend(judged);
        let metrics = evaluated.metrics.iter().map(|(name, value)| ((*name).to_owned(), *value));
        let measures = evaluated.measures.means().map(|(name, value)| (name.to_owned(), value));
        let counts_tokens = data.n_tokens(&Slice::new([])).is_some();
        let values = metrics.chain(measures).chain(counts_tokens.then(|| self.num_tokens())).collect();
        let record = Record { split: "eval", step: self.position.step, examples: self.position.examples, values };
        if self.recorded == Some(self.position.step) {
            return self.evaluated_again(&record, evaluated);
        }
        self.write(&record)?;
        self.details.append(&evaluated.details(self.position.step, S::DECISION))?;
        for (side, rewards) in [("chosen", &evaluated.chosen_rewards), ("rejected", &evaluated.rejected_rewards)] {
            let tag = format!("eval/rewards/per_{}/{side}", S::DECISION);
            self.events.histogram(&tag, self.position.step, rewards, 30)?;
        }
        self.sample(learner)?;
        self.monitor.evaluated(self.position.step, &evaluated);
        self.say_decline(&record);
        if self.best.judge(&record)? == BestStatus::Best {
            self.folder.export_best(learner, &record)?;
        }
        Ok(Some(evaluated))
    }

    /// The numbers of the held-out examples, which all ranks score.
    fn examined(&mut self, learner: &L, data: &S) -> Result<Evaluated, TrainError> {
        let look = EvalSettings::of(self.settings, self.position.step);
        self.monitor.evaluating(self.position.step, data.len().min(look.examples));
        let Training { mdp, objective, ranks, .. } = *self.problem;
        let examination = Examination { mdp, learner, objective, data, hooks: self.hooks, look, ranks };
        self.leader.tell(Order::Evaluate);
        let examined = examination.run(&mut self.held_out_reference, &mut |scored| self.monitor.scored(scored));
        self.leader.all_know(examined)
    }

    /// Says what this process has sent to others, if it has taken steps with them.
    pub(super) fn say_sent(&mut self) {
        let (ranks, batch) = (self.problem.ranks.size(), self.settings.batch_size.min(self.problem.data.len()));
        if self.sent > 0 {
            let steps = self.examples.div_ceil(batch.max(1)) as u64;
            let (sent, a_step) = (self.sent, self.sent / steps.max(1));
            self.monitor
                .note(&format!("of {ranks} processes, this one sent {sent} bytes in its steps, {a_step} in each"));
        }
    }

    /// Says once that the better side gets worse.
    fn say_decline(&mut self, record: &Record) {
        if let Some(notice) = self.decline.as_mut().and_then(|decline| decline.judge(record, S::DECISION)) {
            self.monitor.note(&notice);
        }
    }

    /// Whether the policy is compared with the start now: also before the first step, which keeps what the start does.
    pub(super) fn is_judged(&self) -> bool {
        Self::is_judged_at(self.problem, self.hooks, self.position.step)
    }

    fn is_judged_at(problem: &Training<'_, M, S>, hooks: &Hooks<'_, M, L>, step: usize) -> bool {
        let every = problem.settings.judge_every;
        let is_last = step == problem.settings.total_steps(problem.data.len());
        every > 0 && hooks.judge.is_some() && (step.is_multiple_of(every) || is_last)
    }

    /// Whether an earlier process was stopped in the comparison that the step at hand is due.
    pub(super) fn lacks_comparison(&self) -> Result<bool, TrainError> {
        let is_over = self.position.step >= self.settings.total_steps(self.problem.data.len());
        let records = self.folder.join("metrics.jsonl");
        Ok(!is_over && Self::lacks_comparison_at(self.problem, self.hooks, &records, &self.position)?)
    }

    /// Whether `records` have no evaluation after a step whose policy is compared with the start.
    pub(super) fn lacks_comparison_at(
        problem: &Training<'_, M, S>,
        hooks: &Hooks<'_, M, L>,
        records: &Path,
        position: &Position,
    ) -> Result<bool, TrainError> {
        let is_due = position.step > 0 && Self::is_judged_at(problem, hooks, position.step);
        Ok(is_due && Record::of_evaluation(records, position.step)?.is_none())
    }

    /// The metrics of the comparison with the start; none where it is not due, or was stopped.
    fn judged(&mut self, learner: &L) -> Result<Vec<(&'static str, f64)>, TrainError> {
        let Some(judge) = self.hooks.judge.as_ref().filter(|_| self.is_judged()) else { return Ok(Vec::new()) };
        let step = self.position.step;
        let metrics = judge(learner, step).map_err(|source| TrainError::of_policy(step, source))?;
        self.is_cut = step > 0 && metrics.is_empty() && self.is_stopped();
        Ok(metrics)
    }

    /// Records the comparison with the start where nothing else is evaluated.
    fn judge_alone(&mut self, learner: &L) -> Result<(), TrainError> {
        let values: Vec<(String, f64)> =
            self.judged(learner)?.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        if values.is_empty() {
            return Ok(());
        }
        self.monitor.sampling(self.position.step);
        let record = Record { split: "eval", step: self.position.step, examples: self.position.examples, values };
        if self.recorded == Some(self.position.step) { self.metrics.write(&record) } else { self.write(&record) }
    }

    /// Takes up an evaluation that an earlier process has made and shown, without showing it twice.
    fn evaluated_again(&mut self, record: &Record, evaluated: Evaluated) -> Result<Option<Evaluated>, TrainError> {
        self.metrics.write(record)?;
        self.details.append(&evaluated.details(self.position.step, S::DECISION))?;
        self.monitor.looked();
        Ok(Some(evaluated))
    }

    /// Draws and shows samples.
    fn sample(&mut self, learner: &L) -> Result<(), TrainError> {
        let (step, is_recorded) = (self.position.step, self.recorded == Some(self.position.step));
        let Some(sample) = self.hooks.sample.as_ref().filter(|_| !is_recorded) else {
            self.monitor.looked();
            return Ok(());
        };
        self.monitor.sampling(step);
        let samples = sample(learner).map_err(|source| TrainError::Policy { step, source })?;
        samples.write(&mut Showcase { folder: &self.folder.join("samples"), events: &mut self.events, step })?;
        self.monitor.looked();
        self.events.flush()
    }
}
