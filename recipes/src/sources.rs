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

/// Whether two names are of one source, such as `a` and `./a`.
fn is_same(one: &str, other: &str) -> bool {
    let whole = |name: &str| Path::new(name).canonicalize().ok();
    one == other || whole(one).is_some_and(|one| whole(other) == Some(one))
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
        if let Some(other) = found.iter().find(|other| is_same(&other.name, name)) {
            let whose = if other.name == name { String::new() } else { format!(", first as {}", other.name) };
            return refused(
                name,
                &format!("the source is named twice{whose}; its weight says how much of it there is"),
            );
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
    fn one_file_by_two_paths_is_one_source() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).display().to_string();
        for name in ["a.jsonl", "b.jsonl"] {
            std::fs::write(path(name), "{}").unwrap();
        }
        std::fs::create_dir(path("in")).unwrap();
        let refused = sources(&[path("a.jsonl"), path("./in/../a.jsonl")]).unwrap_err();
        let says = format!("named twice, first as {}", path("a.jsonl"));
        assert!(refused.is_usage() && refused.to_string().contains(&says), "{refused}");
        assert_eq!(sources(&[path("a.jsonl"), path("in/../b.jsonl")]).unwrap().len(), 2);
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
