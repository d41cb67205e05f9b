//! The sources of `data.data` and their weights: `FILE` or `FILE:WEIGHT`.
use std::path::Path;

use crate::Failure;
use crate::embedded::is_embedded;

/// A source, and its weight if it has one.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct DataSource {
    pub(crate) name: String,
    pub(crate) weight: Option<f64>,
}

/// The names of the sources, without weights.
pub(crate) fn names(texts: &[String]) -> Vec<&str> {
    texts.iter().map(|text| divide(text, exists).0).collect()
}

/// Divides a source into its name and the text of its weight. A source that exists under its whole name has no weight, so that a
/// path may have a colon.
pub(crate) fn divide(text: &str, exists: impl Fn(&str) -> bool) -> (&str, Option<&str>) {
    if exists(text) {
        return (text, None);
    }
    match text.rsplit_once(':') {
        Some((name, weight)) if weight.parse::<f64>().is_ok() || exists(name) => (name, Some(weight)),
        _ => (text, None),
    }
}

fn exists(name: &str) -> bool {
    is_embedded(name) && name.matches(':').count() == 1 || Path::new(name).exists()
}

/// The sources of the settings.
///
/// # Errors
/// A weight is not a positive number, stands at a single source or at some of several; embedded data among several; a source that
/// is named twice.
pub(crate) fn sources(texts: &[String]) -> Result<Vec<DataSource>, Failure> {
    let refused = |text: &str, why: &str| Err(Failure::usage(format!("`data.data` {text}: {why}")));
    let mut found: Vec<DataSource> = Vec::new();
    for text in texts {
        let (name, weight) = divide(text, exists);
        let weight = match weight.map(|weight| (weight, weight.parse::<f64>())) {
            None => None,
            Some((_, Ok(weight))) if weight.is_finite() && weight > 0.0 => Some(weight),
            Some((weight, _)) => {
                return refused(text, &format!("the weight of a source is a positive number, not `{weight}`"));
            }
        };
        if texts.len() == 1 && weight.is_some() {
            return refused(text, "a weight is for one of several sources, and there is no other");
        }
        if texts.len() > 1 && is_embedded(name) {
            return refused(text, "embedded data is not mixed: its parts and its oracle are those of its own problem");
        }
        if found.iter().any(|other| other.name == name) {
            return refused(name, "the source is named twice; its weight says how much of it there is");
        }
        found.push(DataSource { name: name.to_owned(), weight });
    }
    if found.iter().any(|source| source.weight.is_some())
        && let Some(without) = found.iter().find(|source| source.weight.is_none())
    {
        return refused(
            &without.name,
            "it has no weight, and others have: give every source one (FILE:WEIGHT) or none",
        );
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_behind_the_last_colon_is_a_weight_unless_the_whole_is_a_path() {
        let exists = |name: &str| ["a.jsonl", "b:2", "builtin:tldr", "c:d"].contains(&name);
        for (text, expected) in [
            ("a.jsonl", ("a.jsonl", None)),
            ("a.jsonl:2", ("a.jsonl", Some("2"))),
            ("a.jsonl:0.5", ("a.jsonl", Some("0.5"))),
            ("a.jsonl:nan", ("a.jsonl", Some("nan"))),
            ("a.jsonl:two", ("a.jsonl", Some("two"))),
            ("b:2", ("b:2", None)),
            ("b:2:3", ("b:2", Some("3"))),
            ("c:d", ("c:d", None)),
            ("c:d:1e3", ("c:d", Some("1e3"))),
            ("missing.jsonl:4", ("missing.jsonl", Some("4"))),
            ("missing:path", ("missing:path", None)),
            ("builtin:tldr", ("builtin:tldr", None)),
            ("builtin:tldr:2", ("builtin:tldr", Some("2"))),
        ] {
            assert_eq!(divide(text, exists), expected, "{text}");
        }
    }

    #[test]
    fn weights_that_say_nothing_are_refused() {
        for (texts, says) in [
            (&["a:0", "b:1"][..], "positive number, not `0`"),
            (&["a:-1", "b:1"], "positive number, not `-1`"),
            (&["a:nan", "b:1"], "positive number, not `nan`"),
            (&["a:inf", "b:1"], "positive number, not `inf`"),
            (&["a:2"], "there is no other"),
            (&["a:2", "b"], "`data.data` b: it has no weight"),
            (&["a", "a"], "named twice"),
            (&["a:1", "a:2"], "named twice"),
            (&["builtin:tldr", "a"], "embedded data is not mixed"),
            (&["a:1", "builtin:tldr:1"], "embedded data is not mixed"),
        ] {
            let texts: Vec<String> = texts.iter().map(|&text| text.to_owned()).collect();
            let failure = sources(&texts).unwrap_err();
            assert!(failure.is_usage() && failure.to_string().contains(says), "{texts:?}: {failure}");
        }
    }
}
