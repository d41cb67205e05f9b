//! The evaluations of a run in progress: held-out numbers, comparisons with the start, samples.
use mdp::Mdp;
use policies::{Learner, Persist};

use super::Run;
use crate::best::BestStatus;
use crate::evaluate::{EvalSettings, Examination};
use crate::step::Slice;
use crate::{Evaluated, Record, Showcase, Source, TrainError};

impl<M, L, S> Run<'_, '_, M, L, S>
where
    M: Mdp,
    L: Learner<M> + Persist,
    S: Source<Mdp = M>,
{
    /// Evaluates on the held-out examples, if there are any, and draws samples.
    pub(super) fn evaluate(&mut self, learner: &L) -> Result<Option<Evaluated>, TrainError> {
        let Some(data) = self.problem.held_out.filter(|data| !data.is_empty() && self.settings.eval_examples > 0)
        else {
            self.judge_alone(learner)?;
            self.sample(learner)?;
            return Ok(None);
        };
        let look = EvalSettings {
            step: self.position.step,
            micro_batch_size: self.settings.micro_batch_size,
            examples: self.settings.eval_examples,
            seed: self.settings.seed,
            beta: self.settings.beta,
        };
        self.monitor.evaluating(self.position.step, data.len().min(look.examples));
        let (mdp, objective, hooks) = (self.problem.mdp, self.problem.objective, self.hooks);
        let examination = Examination { mdp, learner, objective, data, hooks, look };
        let mut evaluated = examination.run(&mut self.held_out_reference, &mut |scored| self.monitor.scored(scored))?;
        evaluated.metrics.extend(self.judged(learner)?);
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

    /// Says once that the better side gets worse.
    fn say_decline(&mut self, record: &Record) {
        if let Some(notice) = self.decline.as_mut().and_then(|decline| decline.judge(record, S::DECISION)) {
            self.monitor.note(&notice);
        }
    }

    /// Whether the policy is compared with the start now: also before the first step, which keeps what the start does.
    pub(super) fn is_judged(&self) -> bool {
        let (step, every) = (self.position.step, self.settings.judge_every);
        let is_last = step == self.settings.total_steps(self.problem.data.len());
        every > 0 && self.hooks.judge.is_some() && (step % every == 0 || is_last)
    }

    /// The metrics of the comparison with the start; none where it is not due.
    fn judged(&self, learner: &L) -> Result<Vec<(&'static str, f64)>, TrainError> {
        let Some(judge) = self.hooks.judge.as_ref().filter(|_| self.is_judged()) else { return Ok(Vec::new()) };
        let step = self.position.step;
        judge(learner, step).map_err(|source| TrainError::of_policy(step, source))
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
