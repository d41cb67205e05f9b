//! Comparison of named tensors with those of a config.

use std::collections::BTreeMap;

use candle_core::Tensor;

use crate::ModelError;

/// The number of names in a message.
const LISTED: usize = 5;

/// Shapes of tensors by name.
pub(crate) type Shapes = BTreeMap<String, Vec<usize>>;

/// Returns the tensors' shapes, by name.
pub(crate) fn shapes(tensors: &BTreeMap<String, Tensor>) -> Shapes {
    tensors.iter().map(|(name, tensor)| (name.clone(), tensor.dims().to_vec())).collect()
}

/// Checks that tensors are those of a model of class `what`.
///
/// # Errors
/// [`ModelError::Argument`] that lists some of the missing, unknown and wrongly shaped tensors.
pub(crate) fn check(what: &str, expected: &Shapes, tensors: &BTreeMap<String, Tensor>) -> Result<(), ModelError> {
    check_shapes(what, expected, &shapes(tensors))
}

/// Checks that tensors of these shapes are those of a model of class `what`.
///
/// # Errors
/// As [`check`].
pub(crate) fn check_shapes(what: &str, expected: &Shapes, found: &Shapes) -> Result<(), ModelError> {
    differences(expected, found).map_or(Ok(()), |got| {
        let what = format!("the tensors of the {what} model");
        Err(ModelError::Argument { what, expected: "those of its configuration".to_owned(), got })
    })
}

/// Lists some of the missing, unknown and wrongly shaped tensors; `None` if there are none.
pub(crate) fn differences(expected: &Shapes, found: &Shapes) -> Option<String> {
    let missing: Vec<&str> = expected.keys().filter(|n| !found.contains_key(*n)).map(String::as_str).collect();
    let extra: Vec<&str> = found.keys().filter(|n| !expected.contains_key(*n)).map(String::as_str).collect();
    let shapes = expected.iter().filter_map(|(name, shape)| Some((name, shape, found.get(name)?)));
    let misshapen: Vec<String> = shapes
        .filter(|(_, expected, found)| expected != found)
        .map(|(name, expected, found)| format!("{name} (expected {expected:?}, found {found:?})"))
        .collect();
    let misshapen: Vec<&str> = misshapen.iter().map(String::as_str).collect();
    let problems = [("missing", missing), ("unknown", extra), ("misshapen", misshapen)];
    let problems: Vec<String> = problems
        .iter()
        .filter(|(_, names)| !names.is_empty())
        .map(|(problem, names)| format!("{} {problem} tensor{}: {}", names.len(), plural(names.len()), some(names)))
        .collect();
    if problems.is_empty() { None } else { Some(problems.join("; ")) }
}

fn plural(n: usize) -> &'static str {
    if n == 1 { "" } else { "s" }
}

/// Lists the first few names.
pub(crate) fn some(names: &[&str]) -> String {
    let more = names.len().saturating_sub(LISTED);
    let list = names[..names.len() - more].join(", ");
    if more == 0 { list } else { format!("{list} and {more} more") }
}
