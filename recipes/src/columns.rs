//! The names that columns of files get by `data.map`.
use std::collections::BTreeSet;

use datasets::ColumnMap;
use datasets::pairs::Modality;

use crate::Failure;
use crate::settings::Values;

/// The most names that a message lists.
const MOST: usize = 12;

/// The columns of `data.map`, each under a name that something reads of data of this kind.
///
/// # Errors
/// A word is no pair of names, or nothing reads a column of the new name; the message has those that are read, the nearest
/// first.
pub(crate) fn columns(values: &Values, mdp: Modality) -> Result<ColumnMap, Failure> {
    let columns = ColumnMap::parse(values.data.map())?;
    let known = read_of(mdp);
    let unread = columns.names().find(|(_, ours)| !known.contains(ours));
    if let Some((theirs, ours)) = unread {
        let mut nearest: Vec<&str> = known.iter().copied().collect();
        let score = |name: &str| strsim::jaro_winkler(ours, name);
        nearest.sort_by(|a, b| score(b).total_cmp(&score(a)));
        let more = nearest.len().saturating_sub(MOST);
        nearest.truncate(MOST);
        return Err(Failure::usage(format!(
            "`data.map` {theirs}={ours}: nothing reads a column `{ours}`; names that are read, the nearest first: {} and {more} \
             more",
            nearest.join(", ")
        )));
    }
    Ok(columns)
}

/// The names of columns that are read of a kind of problem. Pictures, and prompts for them, may be in files of texts.
fn read_of(mdp: Modality) -> BTreeSet<&'static str> {
    let mut names = datasets::formats::column_names();
    if mdp != Modality::Token {
        names.extend(datasets::images::COLUMNS);
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_nothing_reads_is_refused_with_the_nearest_first() {
        let mapped = |map: &str, mdp: Modality| {
            let mut values = Values::default();
            values.merge_set(&format!("data.map={map}")).unwrap();
            columns(&values, mdp)
        };
        assert!(mapped("question=prompt,good=chosen,bad=rejected", Modality::Token).is_ok());
        assert!(mapped("alt=text,picture=image,better=jpg_0", Modality::Diffusion).is_ok());
        assert!(mapped("better=jpg_0", Modality::Token).unwrap_err().is_usage());
        let refused = mapped("question=promtp", Modality::Token).unwrap_err();
        assert!(refused.is_usage(), "{refused}");
        let says = "`data.map` question=promtp: nothing reads a column `promtp`; names that are read, the nearest first: prompt, ";
        assert!(refused.to_string().starts_with(says), "{refused}");
    }
}
