use std::collections::BTreeMap;

use mdp::{Channels, Mdp};
use objectives::Objective;
use policies::Learner;

use crate::statistics::wilson;
use crate::step::{Loss, Reference, Slice, append, evaluate_slice};
use crate::{Hooks, Item, Measures, Sides, Source, TrainError};

/// What held-out data showed.
#[derive(Clone, Debug, Default)]
pub struct Evaluated {
    /// How many examples were looked at.
    pub examples: usize,
    /// `loss` and the objective's metrics, means over the feedback; `divergence` and `entropy` per decision where the
    /// problem diagnoses them.
    pub metrics: BTreeMap<&'static str, f64>,
    /// What the problem measured.
    pub measures: Measures,
    /// The 95% interval of `rewards/accuracies`, where the objective has it.
    pub accuracy_interval: Option<(f64, f64)>,
    /// beta times the weighted log-ratio of every decision of the better episodes.
    pub chosen_rewards: Vec<f64>,
    /// The same of the worse ones.
    pub rejected_rewards: Vec<f64>,
}

impl Evaluated {
    /// A metric by its name, as `rewards/accuracies`.
    pub fn metric(&self, name: &str) -> Option<f64> {
        self.metrics.get(name).copied()
    }
}

/// How to evaluate.
#[derive(Clone, Copy, Debug)]
pub struct EvalSettings {
    /// Steps done, for messages.
    pub step: usize,
    /// Examples at once.
    pub micro_batch_size: usize,
    /// Examples at most; which, where there are more, the seed decides.
    pub examples: usize,
    /// The run's seed.
    pub seed: u64,
    /// Turns a log-ratio into a reward.
    pub beta: f64,
}

/// Scores held-out examples; nothing learns. They are scored in slices and judged together, so that an objective that
/// couples examples sees them all.
pub fn evaluate<M: Mdp, L: Learner<M>, S: Source<Mdp = M>>(
    mdp: &M,
    learner: &L,
    reference: &mut Reference<'_, M>,
    objective: &dyn Objective<Feedback = S::Feedback>,
    data: &S,
    hooks: &Hooks<'_, M, L>,
    look: EvalSettings,
) -> Result<Evaluated, TrainError> {
    let positions = mdp::chance::drawn(look.seed, "evaluation", look.examples, data.len());
    let failed = |source| TrainError::of_policy(look.step, source);
    let mut all = Slice::new([]);
    let mut policy = Channels::default();
    for positions in positions.chunks(look.micro_batch_size.max(1)) {
        let slice = Slice::new(read(data, positions.iter().copied(), "held-out")?);
        let channels = match &hooks.diagnose {
            Some(diagnose) => diagnose(learner, &slice.episodes).map_err(failed)?,
            None => learner.score(mdp, &slice.episodes).map_err(failed)?,
        };
        if reference.policy.is_some() {
            reference.numbers(mdp, &slice, look.step)?;
        }
        append(&mut policy, &channels);
        all.extend(slice);
    }
    let loss = Loss { objective, measure: &|slice, scores| data.measure(slice, scores) };
    let (evaluation, measures) = evaluate_slice(mdp, reference, loss, &all, &policy, look.step)?;
    let mut metrics = evaluation.metrics;
    metrics.insert("loss", evaluation.loss);
    for (name, channel) in [("divergence", &policy.divergence), ("entropy", &policy.entropy)] {
        if let Some(steps) = channel {
            metrics.insert(name, steps.values().iter().sum::<f64>() / steps.values().len().max(1) as f64);
        }
    }
    let judged = evaluation.implicit_rewards.iter().filter_map(|verdict| verdict.accuracy);
    let (right, n_judged) = judged.fold((0.0, 0.0), |(right, n), accuracy| (right + accuracy, n + 1.0));
    let (chosen_rewards, rejected_rewards) = per_decision(reference, mdp, &all, &policy, look)?;
    Ok(Evaluated {
        examples: positions.len(),
        metrics,
        measures,
        accuracy_interval: (n_judged > 0.0).then(|| wilson(right, n_judged)),
        chosen_rewards,
        rejected_rewards,
    })
}

/// beta times the log-ratio of every decision of the better and of the worse episodes.
fn per_decision<M: Mdp, F: Sides>(
    reference: &mut Reference<'_, M>,
    mdp: &M,
    slice: &Slice<M, F>,
    policy: &Channels,
    look: EvalSettings,
) -> Result<(Vec<f64>, Vec<f64>), TrainError> {
    let (mut chosen, mut rejected) = (Vec::new(), Vec::new());
    if reference.policy.is_some() {
        let numbers = reference.numbers(mdp, slice, look.step)?;
        for feedback in &slice.feedback {
            for (side, to) in [(feedback.chosen(), &mut chosen), (feedback.rejected(), &mut rejected)] {
                let Some(i) = side else { continue };
                let rows = policy.log_probs.row(i).iter().zip(numbers.row(i)).zip(slice.episodes[i].weights());
                to.extend(rows.map(|((p, r), weight)| look.beta * (weight * (p - r))));
            }
        }
    }
    Ok((chosen, rejected))
}

/// Examples with their positions in the data.
pub(crate) type Positioned<S> = Vec<(usize, Item<<S as Source>::Mdp, <S as Source>::Feedback>)>;

/// The examples at some positions.
pub(crate) fn read<S: Source>(
    data: &S,
    positions: impl IntoIterator<Item = usize>,
    what: &'static str,
) -> Result<Positioned<S>, TrainError> {
    positions
        .into_iter()
        .map(|index| {
            let item = data.item(index).map_err(|source| TrainError::Data { what, index, source })?;
            Ok((index, item))
        })
        .collect()
}
