//! The laws of [`Objective`] as checks for your own loss.
//!
//! # Examples
//! ```
//! use mdp::{Channels, Steps};
//! use objectives::{Comparison, Hinge, Pairwise, Scores, laws};
//!
//! let policy = Channels::from(Steps::from_iter([vec![-1.0, -2.0], vec![-3.5]]));
//! let reference = Steps::from_iter([vec![-1.5, -1.0], vec![-3.0]]);
//! let weights = reference.filled(1.0);
//! let scores = Scores { policy: &policy, reference: Some(&reference), weights: &weights };
//! let feedback = [Comparison::new(0, 1), Comparison { preference: 0.7, ..Comparison::new(1, 0) }];
//! let hinge = Pairwise::new(Hinge::new(0.1)?);
//! laws::check(&hinge, &feedback, scores, &laws::nothing_held)?;
//! laws::check_swap(&hinge, &feedback, scores)?;
//! # Ok::<(), objectives::ObjectiveError>(())
//! ```
use mdp::{Channels, Steps};

use crate::{Comparison, Evaluation, Objective, ObjectiveError, Scores};

/// A channel of the policy's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channel {
    /// The decision's log-probability.
    LogProb,
    /// The divergence in the decision's state.
    Divergence,
}

/// The place of one of the policy's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Number {
    /// Its channel.
    pub channel: Channel,
    /// Row.
    pub episode: usize,
    /// Column.
    pub decision: usize,
}

/// The `held` argument of objectives that hold no number constant.
pub fn nothing_held(_number: Number) -> bool {
    false
}

/// Checks an objective on given numbers: its gradient, that the whole is the mean of its parts, and that it refuses
/// non-finite numbers.
///
/// `held` tells which numbers the objective documents as constant (stop-gradient); those must have slope 0.
///
/// # Errors
/// The first broken law, or an error of `evaluate`.
pub fn check<O>(
    objective: &O,
    feedback: &[O::Feedback],
    scores: Scores<'_>,
    held: &dyn Fn(Number) -> bool,
) -> Result<(), ObjectiveError>
where
    O: Objective + ?Sized,
{
    check_gradient(objective, feedback, scores, held)?;
    check_parts(objective, feedback, scores)?;
    check_refusals(objective, feedback, scores)
}

/// Checks every slope against a central difference of the loss (so the numbers must not lie at a kink).
///
/// # Errors
/// As [`check`].
pub fn check_gradient<O>(
    objective: &O,
    feedback: &[O::Feedback],
    scores: Scores<'_>,
    held: &dyn Fn(Number) -> bool,
) -> Result<(), ObjectiveError>
where
    O: Objective + ?Sized,
{
    let Evaluation { loss, slopes, .. } = objective.evaluate(feedback, scores)?;
    let shape = &scores.policy.log_probs;
    if !slopes.log_probs.same_shape(shape) || slopes.divergence.as_ref().is_some_and(|steps| !steps.same_shape(shape)) {
        return broken("slopes have the shape of the numbers", format!("{slopes:?}"));
    }
    for number in numbers(scores.policy) {
        let slope = steps_of(&slopes, number.channel).map_or(0.0, |steps| steps.row(number.episode)[number.decision]);
        let expected =
            if held(number) { 0.0 } else { difference(scores, number, |moved| objective.evaluate(feedback, moved))? };
        if (slope - expected).abs() > 1e-6 * (1.0 + expected.abs() + loss.abs()) {
            return broken(
                "slopes are the gradient",
                format!("{number:?} has slope {slope}, but finite differences say {expected}"),
            );
        }
    }
    Ok(())
}

/// Checks that averaging parts by count gives the whole, loss and slopes, unless the objective needs whole batches.
///
/// # Errors
/// As [`check`].
pub fn check_parts<O>(objective: &O, feedback: &[O::Feedback], scores: Scores<'_>) -> Result<(), ObjectiveError>
where
    O: Objective + ?Sized,
{
    if objective.needs().whole_batch {
        return Ok(());
    }
    let whole = objective.evaluate(feedback, scores)?;
    for size in [1, feedback.len().div_ceil(2)] {
        let mut joined = Evaluation { slopes: zeros(&whole.slopes), ..Evaluation::default() };
        for part in feedback.chunks(size) {
            let one = objective.evaluate(part, scores)?;
            let share = part.len() as f64 / feedback.len() as f64;
            joined.loss += share * one.loss;
            add(&mut joined.slopes, &one.slopes, share);
            joined.implicit_rewards.extend(one.implicit_rewards);
        }
        same("the whole is the mean of its parts", &joined, &whole)?;
        if joined.implicit_rewards != whole.implicit_rewards {
            return broken(
                "each feedback has its verdict",
                format!("{:?} or {:?}", joined.implicit_rewards, whole.implicit_rewards),
            );
        }
    }
    Ok(())
}

/// Checks that a NaN or an infinity in any number that the objective needs is refused, with its place.
///
/// # Errors
/// As [`check`].
pub fn check_refusals<O>(objective: &O, feedback: &[O::Feedback], scores: Scores<'_>) -> Result<(), ObjectiveError>
where
    O: Objective + ?Sized,
{
    let needs = objective.needs();
    for number in numbers(scores.policy) {
        for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            let refused = |scores: Scores<'_>| is_refused(&objective.evaluate(feedback, scores), number);
            let mut policy = scores.policy.clone();
            place(&mut policy, number, value);
            let mut reference = scores.reference.cloned();
            let mut weights = scores.weights.clone();
            let mut all = refused(Scores { policy: &policy, ..scores });
            if number.channel == Channel::LogProb {
                weights.row_mut(number.episode)[number.decision] = value;
                all &= refused(Scores { weights: &weights, ..scores });
                if let Some(steps) = reference.as_mut().filter(|_| needs.reference) {
                    steps.row_mut(number.episode)[number.decision] = value;
                    all &= refused(Scores { reference: Some(steps), ..scores });
                }
            }
            if !all {
                return broken("numbers that are not finite are refused by name", format!("{value} at {number:?}"));
            }
        }
    }
    Ok(())
}

/// Checks swap invariance: exchanging the two episodes of every comparison, and its probability with 1 minus it,
/// changes neither loss nor slopes.
///
/// # Errors
/// As [`check`].
pub fn check_swap<O>(objective: &O, feedback: &[Comparison], scores: Scores<'_>) -> Result<(), ObjectiveError>
where
    O: Objective<Feedback = Comparison> + ?Sized,
{
    let swap = |c: &Comparison| Comparison {
        first: c.second,
        second: c.first,
        preference: 1.0 - c.preference,
        margin: -c.margin,
        ..*c
    };
    let swapped: Vec<Comparison> = feedback.iter().map(swap).collect();
    let (there, back) = (objective.evaluate(feedback, scores)?, objective.evaluate(&swapped, scores)?);
    same("swapping a comparison changes nothing", &back, &there)
}

/// Checks the loss at the start of training, where the policy equals its reference.
///
/// # Errors
/// As [`check`].
pub fn check_first_loss<O>(
    objective: &O,
    feedback: &[O::Feedback],
    scores: Scores<'_>,
    expected: f64,
) -> Result<(), ObjectiveError>
where
    O: Objective + ?Sized,
{
    let mut policy = scores.policy.clone();
    policy.divergence = policy.divergence.map(|steps| steps.filled(0.0));
    let reference = policy.log_probs.clone();
    let loss = objective.evaluate(feedback, Scores { policy: &policy, reference: Some(&reference), ..scores })?.loss;
    if (loss - expected).abs() > 1e-12 * (1.0 + expected.abs()) {
        return broken("a policy that is its reference has the first loss", format!("{loss} is not {expected}"));
    }
    Ok(())
}

fn numbers(policy: &Channels) -> Vec<Number> {
    [Channel::LogProb, Channel::Divergence]
        .into_iter()
        .filter_map(|channel| Some((channel, steps_of(policy, channel)?)))
        .flat_map(|(channel, steps)| {
            let of_row = move |(episode, row): (usize, &[f64])| {
                (0..row.len()).map(move |decision| Number { channel, episode, decision }).collect::<Vec<Number>>()
            };
            steps.rows().enumerate().flat_map(of_row)
        })
        .collect()
}

fn steps_of(channels: &Channels, channel: Channel) -> Option<&Steps> {
    match channel {
        Channel::LogProb => Some(&channels.log_probs),
        Channel::Divergence => channels.divergence.as_ref(),
    }
}

fn place(channels: &mut Channels, number: Number, value: f64) {
    let steps = match number.channel {
        Channel::LogProb => Some(&mut channels.log_probs),
        Channel::Divergence => channels.divergence.as_mut(),
    };
    if let Some(steps) = steps {
        steps.row_mut(number.episode)[number.decision] = value;
    }
}

fn difference(
    scores: Scores<'_>,
    number: Number,
    evaluate: impl Fn(Scores<'_>) -> Result<Evaluation, ObjectiveError>,
) -> Result<f64, ObjectiveError> {
    let mut policy = scores.policy.clone();
    let here = steps_of(&policy, number.channel).map_or(0.0, |steps| steps.row(number.episode)[number.decision]);
    let step = 1e-5 * (1.0 + here.abs());
    let mut losses = [0.0; 2];
    for (loss, sign) in losses.iter_mut().zip([1.0, -1.0]) {
        place(&mut policy, number, here + sign * step);
        *loss = evaluate(Scores { policy: &policy, ..scores })?.loss;
    }
    Ok((losses[0] - losses[1]) / (2.0 * step))
}

fn is_refused(result: &Result<Evaluation, ObjectiveError>, number: Number) -> bool {
    matches!(result, Err(ObjectiveError::NotFinite { episode, decision, .. })
        if (*episode, *decision) == (number.episode, number.decision))
}

fn zeros(channels: &Channels) -> Channels {
    let zero = |steps: &Steps| steps.filled(0.0);
    Channels { divergence: channels.divergence.as_ref().map(zero), ..zero(&channels.log_probs).into() }
}

fn add(to: &mut Channels, from: &Channels, share: f64) {
    let add = |to: &mut Steps, from: &Steps| {
        to.values_mut().iter_mut().zip(from.values()).for_each(|(to, from)| *to += share * from);
    };
    add(&mut to.log_probs, &from.log_probs);
    if let (Some(to), Some(from)) = (&mut to.divergence, &from.divergence) {
        add(to, from);
    }
}

fn same(law: &'static str, got: &Evaluation, expected: &Evaluation) -> Result<(), ObjectiveError> {
    let flat = |evaluation: &Evaluation| {
        let mut values = vec![evaluation.loss];
        values.extend(evaluation.slopes.log_probs.values());
        values.extend(evaluation.slopes.divergence.iter().flat_map(Steps::values));
        values
    };
    let (got, expected) = (flat(got), flat(expected));
    let close = |(a, b): (&f64, &f64)| (a - b).abs() <= 1e-12 * (1.0 + b.abs());
    if got.len() == expected.len() && got.iter().zip(&expected).all(close) {
        Ok(())
    } else {
        broken(law, format!("loss and slopes {got:?} are not {expected:?}"))
    }
}

fn broken(law: &'static str, detail: String) -> Result<(), ObjectiveError> {
    Err(ObjectiveError::Law { law, detail })
}
