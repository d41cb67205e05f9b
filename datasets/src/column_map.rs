//! The names that columns have in a file, and those that formats know.
use serde_json::{Map, Value};

use crate::error::DatasetError;
use crate::reading::{Cell, Row};
use crate::record::Origin;

/// Columns to rename before the format is detected: `question=prompt` reads the file's `question` as `prompt`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ColumnMap(Vec<(String, String)>);

impl ColumnMap {
    /// Parses words `theirs=ours`.
    ///
    /// # Errors
    /// A word is no such pair, or a name stands twice on one side.
    ///
    /// # Examples
    /// ```
    /// use datasets::ColumnMap;
    ///
    /// assert!(ColumnMap::parse(&["question=prompt".to_owned()]).is_ok());
    /// assert!(ColumnMap::parse(&["question".to_owned()]).is_err());
    /// ```
    pub fn parse(words: &[String]) -> Result<Self, DatasetError> {
        let mut pairs: Vec<(String, String)> = Vec::new();
        for word in words {
            let wrong = |message: String| DatasetError::ColumnMap { message };
            let Some((theirs, ours)) =
                word.split_once('=').filter(|(theirs, ours)| !theirs.is_empty() && !ours.is_empty())
            else {
                return Err(wrong(format!("a map of columns is FILE_COLUMN=NAME, not `{word}`")));
            };
            if let Some((_, other)) = pairs.iter().find(|(known, _)| known == theirs) {
                return Err(wrong(format!("the column `{theirs}` can't be both `{other}` and `{ours}`")));
            }
            if let Some((other, _)) = pairs.iter().find(|(_, known)| known == ours) {
                return Err(wrong(format!("`{ours}` can't be both the column `{other}` and `{theirs}`")));
            }
            pairs.push((theirs.to_owned(), ours.to_owned()));
        }
        Ok(Self(pairs))
    }

    /// The columns of the file with the names that they get.
    pub fn names(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(theirs, ours)| (theirs.as_str(), ours.as_str()))
    }

    /// A row with its columns renamed; with `is_first` all that are mapped must be there.
    ///
    /// # Errors
    /// A mapped column is missing, or the file has a column of the new name too.
    pub fn renamed(&self, (origin, mut value): Row, is_first: bool) -> Result<Row, DatasetError> {
        if let Value::Object(row) = &mut value {
            self.rename(&origin, row, is_first)?;
        }
        Ok((origin, value))
    }

    fn rename(&self, origin: &Origin, row: &mut Map<String, Value>, is_first: bool) -> Result<(), DatasetError> {
        if self.0.is_empty() {
            return Ok(());
        }
        self.check(origin, &row.keys().map(String::as_str).collect::<Vec<_>>(), is_first)?;
        *row = std::mem::take(row).into_iter().map(|(name, value)| (self.name(name), value)).collect();
        Ok(())
    }

    /// The same for a row with pictures.
    pub(crate) fn rename_cells(
        &self,
        origin: &Origin,
        row: &mut [(String, Cell)],
        is_first: bool,
    ) -> Result<(), DatasetError> {
        if self.0.is_empty() {
            return Ok(());
        }
        self.check(origin, &row.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), is_first)?;
        for (name, _) in row {
            *name = self.name(std::mem::take(name));
        }
        Ok(())
    }

    fn name(&self, name: String) -> String {
        self.0.iter().find(|(theirs, _)| *theirs == name).map_or(name, |(_, ours)| ours.clone())
    }

    fn check(&self, origin: &Origin, names: &[&str], is_first: bool) -> Result<(), DatasetError> {
        for (theirs, ours) in &self.0 {
            if is_first && !names.contains(&theirs.as_str()) {
                let message = format!("{origin}: there is no column `{theirs}`; there are {}", names.join(", "));
                return Err(DatasetError::ColumnMap { message });
            }
            let is_kept = names.contains(&ours.as_str()) && !self.0.iter().any(|(other, _)| other == ours);
            if is_kept && names.contains(&theirs.as_str()) {
                let message = format!("{origin}: `{theirs}` can't be read as `{ours}`: there is a column of that name");
                return Err(DatasetError::ColumnMap { message });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use serde_json::json;

    use super::*;

    fn map(words: &[&str]) -> Result<ColumnMap, String> {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        ColumnMap::parse(&words).map_err(|error| error.to_string())
    }

    #[test]
    fn columns_are_renamed_and_what_is_missing_is_named() {
        let origin = || Origin::line(&Arc::from(Path::new("data.jsonl")), 1);
        let row = json!({"question": "q", "good": "a", "prompt_id": 3});
        let renamed = |words: &[&str], is_first| {
            map(words).unwrap().renamed((origin(), row.clone()), is_first).map(|row| row.1).map_err(|e| e.to_string())
        };
        assert_eq!(
            renamed(&["question=prompt", "good=chosen"], true),
            Ok(json!({"prompt": "q", "chosen": "a", "prompt_id": 3}))
        );
        // Two names may change places.
        assert_eq!(renamed(&["question=good", "good=question"], true).unwrap()["good"], "q");
        let error = renamed(&["ask=prompt"], true).unwrap_err();
        assert!(error.contains("no column `ask`; there are question, good, prompt_id"), "{error}");
        assert!(renamed(&["ask=prompt"], false).is_ok());
        assert!(renamed(&["question=good"], true).unwrap_err().contains("there is a column of that name"));
    }

    #[test]
    fn words_are_pairs_of_names() {
        for (words, says) in [
            (vec!["a"], "FILE_COLUMN=NAME, not `a`"),
            (vec!["=a"], "not `=a`"),
            (vec!["a=b", "a=c"], "can't be both `b` and `c`"),
            (vec!["a=b", "c=b"], "`b` can't be both"),
        ] {
            let error = map(&words).unwrap_err();
            assert!(error.contains(says), "{error}");
        }
    }
}
