//! Parquet rows as JSON.
use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::path::Path;
use std::sync::{Arc, Once};

use parquet::errors::ParquetError;
use parquet::file::reader::SerializedFileReader;
use parquet::record::reader::RowIter;
use parquet::record::{Field, Row as ParquetRow};
use serde_json::{Map, Value};

use super::sized::sized;
use super::{Cell, CellRows, Rows};
use crate::error::DatasetError;
use crate::record::Origin;

/// The rows of a Parquet file, in order.
pub(super) fn rows(file: File, path: Arc<Path>) -> Result<Rows, DatasetError> {
    Ok(Box::new(parquet_rows(file, path)?.map(|row| row.map(|(origin, fields)| (origin, object(&fields))))))
}

/// The rows of a Parquet file, in order, bytes as bytes.
pub(super) fn cell_rows(file: File, path: Arc<Path>) -> Result<CellRows, DatasetError> {
    Ok(Box::new(parquet_rows(file, path)?.map(|row| row.map(|(origin, fields)| (origin, cells(fields))))))
}

type ParquetRows = Box<dyn Iterator<Item = Result<(Origin, ParquetRow), DatasetError>> + Send>;

fn parquet_rows(file: File, path: Arc<Path>) -> Result<ParquetRows, DatasetError> {
    let reader = guarded(&path, || SerializedFileReader::new(file))?;
    let mut iter = guarded(&path, || Ok(RowIter::from_file_into(Box::new(reader))))?;
    let (mut row, mut is_over) = (0_u64, false);
    Ok(Box::new(std::iter::from_fn(move || {
        if is_over {
            return None;
        }
        let found = guarded(&path, || iter.next().transpose()).transpose();
        row += 1;
        is_over = !matches!(found, Some(Ok(_)));
        Some(found?.and_then(|fields| sized(Origin::row(&path, row), fields)))
    })))
}

/// Runs a step of the Parquet reader. On damaged pages the crate may still panic; that is a bad file, not a bug of
/// ours, so it becomes an error and nothing is printed.
fn guarded<T>(path: &Path, step: impl FnOnce() -> Result<T, ParquetError>) -> Result<T, DatasetError> {
    silence_guarded_panics();
    let error = |message| DatasetError::Parquet { path: path.to_owned(), message };
    IS_GUARDED.set(true);
    let outcome = catch_unwind(AssertUnwindSafe(step));
    IS_GUARDED.set(false);
    match outcome {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(cause)) => Err(error(cause.to_string())),
        Err(_) => Err(error("its pages are damaged".to_owned())),
    }
}

thread_local! {
    static IS_GUARDED: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

/// Puts a hook before the present one that says nothing about panics that [`guarded`] catches.
fn silence_guarded_panics() {
    static INSTALL: Once = Once::new();
    INSTALL.call_once(|| {
        let inner = take_hook();
        set_hook(Box::new(move |panic| {
            if !IS_GUARDED.get() {
                inner(panic);
            }
        }));
    });
}

fn object(row: &ParquetRow) -> Value {
    Value::Object(row.get_column_iter().map(|(name, field)| (name.clone(), value(field))).collect::<Map<_, _>>())
}

fn cells(row: ParquetRow) -> Vec<(String, Cell)> {
    row.into_columns().into_iter().map(|(name, field)| (name, cell(field))).collect()
}

fn cell(field: Field) -> Cell {
    match field {
        Field::Bytes(bytes) => Cell::Bytes(bytes.data().to_vec()),
        Field::Group(row) => Cell::Group(cells(row)),
        other => Cell::Json(value(&other)),
    }
}

fn value(field: &Field) -> Value {
    match field {
        // Old writers leave out the note that a column of bytes is text.
        Field::Bytes(bytes) => std::str::from_utf8(bytes.data()).map_or(Value::Null, Value::from),
        Field::Group(row) => object(row),
        Field::ListInternal(list) => list.elements().iter().map(value).collect(),
        other => other.to_json_value(),
    }
}
