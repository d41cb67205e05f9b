//! Parquet rows as JSON.
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use parquet::basic::{ConvertedType, LogicalType};
use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::reader::RowIter;
use parquet::record::{Field, Row as ParquetRow};
use parquet::schema::types::{Type, TypePtr};
use serde_json::{Map, Value, json};

use super::guard::guarded;
use super::sized::sized;
use super::{Cell, CellRows, Rows, footer};
use crate::error::DatasetError;
use crate::record::Origin;

/// Bytes and decimal places of a decimal that is read, those of Arrow's longest.
const LONGEST_DECIMAL: usize = 32;
const MOST_PLACES: i32 = 76;

/// The rows of a Parquet file, in order.
pub(super) fn rows(file: File, path: Arc<Path>) -> Result<Rows, DatasetError> {
    let (schema, rows) = parquet_rows(file, path)?;
    let columns = json_columns(&schema);
    Ok(Box::new(rows.map(move |row| {
        row.map(|(origin, fields)| {
            let mut record = object(&fields);
            for (name, column) in &columns {
                if let Some(value) = record.get_mut(name) {
                    decode(value, column);
                }
            }
            (origin, Value::Object(record))
        })
    })))
}

/// The rows of a Parquet file, in order, with binary columns as bytes.
pub(super) fn cell_rows(file: File, path: Arc<Path>) -> Result<CellRows, DatasetError> {
    let (_, rows) = parquet_rows(file, path)?;
    Ok(Box::new(rows.map(|row| row.map(|(origin, fields)| (origin, cells(fields))))))
}

type ParquetRows = Box<dyn Iterator<Item = Result<(Origin, ParquetRow), DatasetError>> + Send>;

fn parquet_rows(mut file: File, path: Arc<Path>) -> Result<(TypePtr, ParquetRows), DatasetError> {
    footer::check(&mut file).map_err(|message| DatasetError::Parquet { path: path.to_path_buf(), message })?;
    let reader = checked(&path, || SerializedFileReader::new(file))?;
    let schema = reader.metadata().file_metadata().schema_descr().root_schema_ptr();
    let mut iter = checked(&path, || Ok(RowIter::from_file_into(Box::new(reader))))?;
    let (mut row, mut is_over) = (0_u64, false);
    let rows: ParquetRows = Box::new(std::iter::from_fn(move || {
        if is_over {
            return None;
        }
        let found = checked(&path, || iter.next().transpose()).transpose();
        row += 1;
        is_over = !matches!(found, Some(Ok(_)));
        Some(found?.and_then(|fields| sized(Origin::row(&path, row), fields)))
    }));
    Ok((schema, rows))
}

/// Runs a step of the Parquet reader; a panic means a damaged file.
fn checked<T>(path: &Path, step: impl FnOnce() -> Result<T, ParquetError>) -> Result<T, DatasetError> {
    let error = |message| DatasetError::Parquet { path: path.to_owned(), message };
    match guarded(step) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(cause)) => Err(error(cause.to_string())),
        Err(()) => Err(error("its pages are damaged".to_owned())),
    }
}

/// The string columns that hold JSON, as `datasets` stores values of mixed types.
fn json_columns(schema: &Type) -> Vec<(String, TypePtr)> {
    let fields = if schema.is_group() { schema.get_fields() } else { &[] };
    fields.iter().filter(|field| has_json(field)).map(|field| (field.name().to_owned(), Arc::clone(field))).collect()
}

fn has_json(column: &Type) -> bool {
    if column.is_group() {
        return column.get_fields().iter().any(|field| has_json(field));
    }
    let info = column.get_basic_info();
    info.logical_type_ref() == Some(&LogicalType::Json) || info.converted_type() == ConvertedType::JSON
}

/// Replaces such strings by the JSON they hold.
fn decode(value: &mut Value, column: &Type) {
    match value {
        Value::String(text) if !column.is_group() && has_json(column) => {
            if let Ok(parsed) = super::python::from_str(text) {
                *value = parsed;
            }
        }
        Value::Object(map) if column.is_group() => {
            for field in column.get_fields() {
                if let Some(inner) = map.get_mut(field.name()) {
                    decode(inner, field);
                }
            }
        }
        Value::Array(values) => {
            let element = element(column);
            for value in values {
                decode(value, element);
            }
        }
        _ => {}
    }
}

/// The element type of a list: the middle group of Parquet's three levels is skipped.
fn element(list: &Type) -> &Type {
    let is_list = list.is_group() && list.get_basic_info().converted_type() == ConvertedType::LIST;
    match list.is_group().then(|| list.get_fields()) {
        Some([middle]) if is_list && middle.is_group() && middle.get_fields().len() == 1 => &middle.get_fields()[0],
        Some([middle]) if is_list => middle,
        _ => list,
    }
}

fn object(row: &ParquetRow) -> Map<String, Value> {
    row.get_column_iter().map(|(name, field)| (name.clone(), value(field))).collect()
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

/// What a field says. What no record has is named, as Arrow's types are: a column that nobody reads may hold it.
fn value(field: &Field) -> Value {
    match field {
        // Old writers leave out the note that a column of bytes is text.
        Field::Bytes(bytes) => std::str::from_utf8(bytes.data()).map_or(Value::Null, Value::from),
        Field::Group(row) => Value::Object(object(row)),
        Field::ListInternal(list) => list.elements().iter().map(value).collect(),
        Field::MapInternal(map) => {
            let key = |field| match value(field) {
                Value::String(text) => text,
                other => other.to_string(),
            };
            map.entries().iter().map(|(field, item)| (key(field), value(item))).collect()
        }
        Field::Decimal(decimal) if decimal.data().len() > LONGEST_DECIMAL || decimal.scale() > MOST_PLACES => {
            json!({ "(type)": format!("decimal of {} bytes and {} places", decimal.data().len(), decimal.scale()) })
        }
        other => guarded(|| other.to_json_value()).unwrap_or_else(|()| json!({ "(type)": "time beyond the calendar" })),
    }
}

#[cfg(test)]
mod tests {
    use parquet::data_type::{ByteArrayType, Int32Type, Int64Type};

    use super::*;
    use crate::test_data::write;

    const SCHEMA: &str = "message odd { required int32 day (DATE); required int64 at (TIMESTAMP_MILLIS); \
                          required binary price (DECIMAL(900, 800)); }";

    fn first(day: i32, at: i64) -> Value {
        let bytes = write(SCHEMA, |writer| {
            let mut group = writer.next_row_group().unwrap();
            let mut column = group.next_column().unwrap().unwrap();
            column.typed::<Int32Type>().write_batch(&[day], None, None).unwrap();
            column.close().unwrap();
            let mut column = group.next_column().unwrap().unwrap();
            column.typed::<Int64Type>().write_batch(&[at], None, None).unwrap();
            column.close().unwrap();
            let mut column = group.next_column().unwrap().unwrap();
            column.typed::<ByteArrayType>().write_batch(&[vec![1].into()], None, None).unwrap();
            column.close().unwrap();
            group.close().unwrap();
        });
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.parquet");
        std::fs::write(&path, bytes).unwrap();
        let mut rows = rows(File::open(&path).unwrap(), Arc::from(path)).unwrap();
        rows.next().unwrap().unwrap().1
    }

    #[test]
    fn values_that_no_text_says_are_named() {
        let known = first(1, 1_000);
        assert_eq!((&known["day"], &known["at"]), (&json!("1970-01-02"), &json!("1970-01-01 00:00:01.000 +00:00")));
        assert_eq!(known["price"], json!({"(type)": "decimal of 1 bytes and 800 places"}));
        let beyond = json!({"(type)": "time beyond the calendar"});
        let odd = first(i32::MAX, i64::MAX);
        assert_eq!((&odd["day"], &odd["at"]), (&beyond, &beyond));
    }
}
