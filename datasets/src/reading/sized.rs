//! Size limits of rows from tables.

use parquet::record::{Field, Row};

use super::RECORD_LIMIT;
use crate::error::DatasetError;
use crate::record::Origin;

/// Refuses a row whose strings and bytes exceed the limit for lines of text.
///
/// A page of a few kilobytes can unpack to gigabytes of text, of which later stages would hold several copies.
///
/// # Errors
/// The row exceeds the limit.
pub(super) fn sized(origin: Origin, row: Row) -> Result<(Origin, Row), DatasetError> {
    let length: usize = row.get_column_iter().map(|(_, field)| length(field)).sum();
    if length <= RECORD_LIMIT { Ok((origin, row)) } else { Err(DatasetError::TooLong { origin, limit: RECORD_LIMIT }) }
}

/// Size of the strings and bytes in a field.
fn length(field: &Field) -> usize {
    match field {
        Field::Str(text) => text.len(),
        Field::Bytes(bytes) => bytes.len(),
        Field::Group(row) => row.get_column_iter().map(|(_, field)| length(field)).sum(),
        Field::ListInternal(list) => list.elements().iter().map(length).sum(),
        Field::MapInternal(map) => map.entries().iter().map(|(key, value)| length(key) + length(value)).sum(),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use super::*;

    fn check(texts: &[usize]) -> Result<(), String> {
        let fields = texts.iter().enumerate().map(|(at, n)| (at.to_string(), Field::Str("a".repeat(*n)))).collect();
        let nested = Row::new(vec![("group".to_owned(), Field::Group(Row::new(fields)))]);
        let row = sized(Origin::row(&Arc::from(Path::new("a.parquet")), 7), nested);
        row.map(|_| ()).map_err(|error| error.to_string())
    }

    #[test]
    fn a_row_has_the_limit_of_a_line() {
        check(&[RECORD_LIMIT / 2, RECORD_LIMIT / 2]).unwrap();
        let error = check(&[RECORD_LIMIT / 2, RECORD_LIMIT / 2, 1]).unwrap_err();
        assert!(error.contains("a.parquet, row 7"), "{error}");
    }
}
