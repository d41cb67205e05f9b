//! How much of the data is held out, for every kind of it.
use crate::Failure;
use crate::settings::Values;

/// The share of the data that is held out where no `data.eval_data` is named.
pub(crate) fn eval_share(values: &Values) -> Result<f64, Failure> {
    let share = values.data.eval_share();
    if (0.0..1.0).contains(&share) {
        return Ok(share);
    }
    Err(Failure::usage(format!("`data.eval_share` takes a number from 0 to below 1, not {share}")))
}

/// Data of which the held-out share is all leaves nothing to learn from.
pub(crate) fn check_rest(share: f64, rest: usize, all: usize, what: &str) -> Result<(), Failure> {
    if rest > 0 || all == 0 {
        return Ok(());
    }
    let text = format!("`data.eval_share` {share} holds all {all} {what} out and leaves none to learn from");
    Err(Failure::usage(text))
}
