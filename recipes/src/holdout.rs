//! The held-out share of every kind of data.
use crate::Failure;
use crate::settings::Values;

/// The held-out share of the data, used unless `data.eval_data` is set.
pub(crate) fn eval_share(values: &Values) -> Result<f64, Failure> {
    let share = values.data.eval_share();
    if (0.0..1.0).contains(&share) {
        return Ok(share);
    }
    Err(Failure::usage(format!("`data.eval_share` takes a number from 0 to below 1, not {share}")))
}

/// Refuses a hold-out that leaves no training data.
pub(crate) fn check_rest(share: f64, rest: usize, all: usize, what: &str) -> Result<(), Failure> {
    if rest > 0 || all == 0 {
        return Ok(());
    }
    let text = format!("`data.eval_share` {share} holds all {all} {what} out and leaves none to learn from");
    Err(Failure::usage(text))
}
