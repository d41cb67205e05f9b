//! Sorting as in Python.
use std::cmp::Ordering;

use super::error::Result;
use super::value::Value;

/// `sorted(items, key=key, reverse=is_reversed)`: stable in both directions.
///
/// # Errors
/// Two keys are not comparable.
pub(super) fn sorted<T>(items: Vec<T>, is_reversed: bool, mut key: impl FnMut(&T) -> Result<Value>) -> Result<Vec<T>> {
    let mut keyed = items.into_iter().map(|item| Ok((key(&item)?, item))).collect::<Result<Vec<_>>>()?;
    let mut failure = None;
    keyed.sort_by(|(left, _), (right, _)| {
        let (left, right) = if is_reversed { (right, left) } else { (left, right) };
        left.compare(right).map_or_else(
            |error| {
                failure.get_or_insert(error);
                Ordering::Equal
            },
            |order| order.unwrap_or(Ordering::Equal),
        )
    });
    match failure {
        Some(error) => Err(error),
        None => Ok(keyed.into_iter().map(|(_, item)| item).collect()),
    }
}
