//! Rows of Arrow streams, the format of `save_to_disk` in Python's datasets, as JSON.
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    ArrowPrimitiveType, Decimal32Type, Decimal64Type, Decimal128Type, Decimal256Type, Float16Type, Float32Type,
    Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{Array, ArrayRef, RecordBatch, make_array};
use arrow_buffer::Buffer;
use arrow_ipc::reader::StreamDecoder;
use arrow_schema::{ArrowError, DataType, Field};
use serde_json::{Value, json};

use super::guard::guarded;
use super::{Cell, CellRow, CellRows, RECORD_LIMIT, Rows};
use crate::error::DatasetError;
use crate::record::Origin;

/// Size of a read, in bytes.
const CHUNK: u64 = 1 << 20;
/// Maximum number of rows of a batch; `datasets` writes 1,000.
const MOST_ROWS: usize = 1 << 24;
/// The extension type under which `datasets` stores values of mixed types: JSON in strings.
const JSON: &str = "arrow.json";

/// The rows of a stream, in order.
pub(super) fn rows(file: File, path: Arc<Path>) -> Rows {
    Box::new(cell_rows(file, path).map(|row| row.map(|(origin, cells)| (origin, plain(Cell::Group(cells))))))
}

/// The rows of a stream, in order, with binary columns as bytes.
pub(super) fn cell_rows(file: File, path: Arc<Path>) -> CellRows {
    let mut stream = Stream {
        file: BufReader::new(file),
        decoder: StreamDecoder::new(),
        pending: Buffer::from_vec(Vec::<u8>::new()),
        batch: None,
        at: 0,
    };
    let (mut row, mut is_over) = (0_u64, false);
    Box::new(std::iter::from_fn(move || {
        if is_over {
            return None;
        }
        row += 1;
        let error = |message| DatasetError::Arrow { path: path.to_path_buf(), message };
        let cells = match guarded(|| stream.next_row()) {
            Ok(Ok(Some(cells))) => sized(Origin::row(&path, row), cells),
            Ok(Ok(None)) => {
                is_over = true;
                return None;
            }
            Ok(Err(message)) => Err(error(message)),
            Err(()) => Err(error("its batches are damaged".to_owned())),
        };
        is_over = cells.is_err();
        Some(cells)
    }))
}

/// # Errors
/// The row exceeds the record limit.
fn sized(origin: Origin, cells: Vec<(String, Cell)>) -> Result<CellRow, DatasetError> {
    let length: usize = cells.iter().map(|(_, cell)| length(cell)).sum();
    if length <= RECORD_LIMIT {
        Ok((origin, cells))
    } else {
        Err(DatasetError::TooLong { origin, limit: RECORD_LIMIT })
    }
}

/// Size of the strings and bytes in a cell.
fn length(cell: &Cell) -> usize {
    fn of_json(value: &Value) -> usize {
        match value {
            Value::String(text) => text.len(),
            Value::Array(items) => items.iter().map(of_json).sum(),
            Value::Object(map) => map.values().map(of_json).sum(),
            _ => 0,
        }
    }
    match cell {
        Cell::Bytes(bytes) => bytes.len(),
        Cell::Group(cells) => cells.iter().map(|(_, cell)| length(cell)).sum(),
        Cell::Json(value) => of_json(value),
    }
}

/// A stream read in chunks: memory is allocated for data received, not for lengths declared.
struct Stream {
    file: BufReader<File>,
    decoder: StreamDecoder,
    /// Bytes read and not decoded yet.
    pending: Buffer,
    batch: Option<RecordBatch>,
    /// The next row of the batch.
    at: usize,
}

impl Stream {
    fn next_row(&mut self) -> Result<Option<Vec<(String, Cell)>>, String> {
        loop {
            if let Some(batch) = self.batch.as_ref().filter(|batch| self.at < batch.num_rows()) {
                let fields = batch.schema_ref().fields().iter().zip(batch.columns());
                let at = self.at;
                self.at += 1;
                let cells = fields.map(|(field, column)| Ok((field.name().clone(), cell(field, column, at)?)));
                return cells.collect::<Result<_, _>>().map(Some);
            }
            if !self.advance().map_err(|error| error.to_string())? {
                return Ok(None);
            }
        }
    }

    /// Decodes the next batch or reads more; returns whether there was any.
    fn advance(&mut self) -> Result<bool, ArrowError> {
        if self.pending.is_empty() {
            let mut chunk = Vec::new();
            (&mut self.file).take(CHUNK).read_to_end(&mut chunk)?;
            if chunk.is_empty() {
                self.decoder.finish()?;
                return Ok(false);
            }
            self.pending = Buffer::from_vec(chunk);
        }
        if let Some(batch) = self.decoder.decode(&mut self.pending)? {
            if batch.num_rows() > MOST_ROWS {
                let message = format!("a batch claims {} rows, more than {MOST_ROWS}", batch.num_rows());
                return Err(ArrowError::IpcError(message));
            }
            (self.batch, self.at) = (Some(batch), 0);
        }
        Ok(true)
    }
}

/// The value of a column at a row. An unsupported type becomes an object that names it: an ignored column may have one,
/// and a column that is read then fails its check.
///
/// # Errors
/// A dictionary index is out of range.
fn cell(field: &Field, column: &dyn Array, at: usize) -> Result<Cell, String> {
    if column.is_null(at) || column.data_type() == &DataType::Null {
        return Ok(Cell::Json(Value::Null));
    }
    Ok(match column.data_type() {
        DataType::Struct(fields) => {
            let columns = fields.iter().zip(column.as_struct().columns());
            let cells = columns.map(|(field, column)| Ok((field.name().clone(), cell(field, column, at)?)));
            Cell::Group(cells.collect::<Result<_, String>>()?)
        }
        DataType::Binary => Cell::Bytes(column.as_binary::<i32>().value(at).to_vec()),
        DataType::LargeBinary => Cell::Bytes(column.as_binary::<i64>().value(at).to_vec()),
        DataType::BinaryView => Cell::Bytes(column.as_binary_view().value(at).to_vec()),
        DataType::Utf8 => text(field, column.as_string::<i32>().value(at)),
        DataType::LargeUtf8 => text(field, column.as_string::<i64>().value(at)),
        DataType::Utf8View => text(field, column.as_string_view().value(at)),
        DataType::List(field) => list(field, &column.as_list::<i32>().value(at))?,
        DataType::LargeList(field) => list(field, &column.as_list::<i64>().value(at))?,
        DataType::FixedSizeList(field, _) => list(field, &column.as_fixed_size_list().value(at))?,
        DataType::Dictionary(..) => {
            let dictionary = column.as_any_dictionary();
            let key = number(dictionary.keys(), at)?;
            let key = key.as_u64().and_then(|key| usize::try_from(key).ok());
            let key = key.filter(|key| *key < dictionary.values().len());
            cell(field, dictionary.values(), key.ok_or("a dictionary has no such key")?)?
        }
        _ => Cell::Json(number(column, at)?),
    })
}

fn text(field: &Field, text: &str) -> Cell {
    let parsed = (field.extension_type_name() == Some(JSON)).then(|| super::python::from_str(text).ok()).flatten();
    Cell::Json(parsed.unwrap_or_else(|| Value::from(text)))
}

fn list(field: &Field, items: &dyn Array) -> Result<Cell, String> {
    (0..items.len()).map(|at| cell(field, items, at).map(plain)).collect::<Result<_, _>>().map(Cell::Json)
}

fn number(column: &dyn Array, at: usize) -> Result<Value, String> {
    fn of<T: ArrowPrimitiveType>(column: &dyn Array, at: usize) -> T::Native {
        column.as_primitive::<T>().value(at)
    }
    Ok(match column.data_type() {
        DataType::Boolean => column.as_boolean().value(at).into(),
        DataType::Int8 => of::<Int8Type>(column, at).into(),
        DataType::Int16 => of::<Int16Type>(column, at).into(),
        DataType::Int32 => of::<Int32Type>(column, at).into(),
        DataType::Int64 => of::<Int64Type>(column, at).into(),
        DataType::UInt8 => of::<UInt8Type>(column, at).into(),
        DataType::UInt16 => of::<UInt16Type>(column, at).into(),
        DataType::UInt32 => of::<UInt32Type>(column, at).into(),
        DataType::UInt64 => of::<UInt64Type>(column, at).into(),
        DataType::Float16 => of::<Float16Type>(column, at).to_f64().into(),
        DataType::Float32 => f64::from(of::<Float32Type>(column, at)).into(),
        DataType::Float64 => of::<Float64Type>(column, at).into(),
        // A time is the number of its units, as Arrow holds it.
        DataType::Timestamp(..) | DataType::Date64 | DataType::Time64(_) | DataType::Duration(_) => {
            of::<Int64Type>(&as_type(column, DataType::Int64)?, at).into()
        }
        DataType::Date32 | DataType::Time32(_) => of::<Int32Type>(&as_type(column, DataType::Int32)?, at).into(),
        // As Parquet's are read.
        DataType::Decimal32(..) => column.as_primitive::<Decimal32Type>().value_as_string(at).into(),
        DataType::Decimal64(..) => column.as_primitive::<Decimal64Type>().value_as_string(at).into(),
        DataType::Decimal128(..) => column.as_primitive::<Decimal128Type>().value_as_string(at).into(),
        DataType::Decimal256(..) => column.as_primitive::<Decimal256Type>().value_as_string(at).into(),
        other => json!({ "(type)": other.to_string() }),
    })
}

/// Reinterprets a column as another type of the same width.
fn as_type(column: &dyn Array, kind: DataType) -> Result<ArrayRef, String> {
    let data = column.to_data().into_builder().data_type(kind).build();
    data.map(make_array).map_err(|error| error.to_string())
}

fn plain(cell: Cell) -> Value {
    match cell {
        Cell::Json(value) => value,
        // As in Parquet, bytes that are text are read as one.
        Cell::Bytes(bytes) => String::from_utf8(bytes).map_or(Value::Null, Value::from),
        Cell::Group(cells) => Value::Object(cells.into_iter().map(|(name, cell)| (name, plain(cell))).collect()),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::io::{Seek, Write};

    use super::*;
    use arrow_array::builder::{BinaryBuilder, ListBuilder, StringBuilder};
    use arrow_array::types::Int8Type;
    use arrow_array::{BooleanArray, DictionaryArray, Float64Array, Int64Array, StringArray, StructArray};
    use arrow_array::{Decimal128Array, FixedSizeBinaryArray, IntervalYearMonthArray, TimestampSecondArray};
    use arrow_ipc::writer::StreamWriter;
    use arrow_schema::{Fields, Schema};

    fn file(bytes: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file.rewind().unwrap();
        file
    }

    fn stream(columns: Vec<(Field, ArrayRef)>, batches: usize) -> Vec<u8> {
        let (fields, arrays): (Vec<Field>, Vec<ArrayRef>) = columns.into_iter().unzip();
        let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).unwrap();
        let mut bytes = Vec::new();
        let mut writer = StreamWriter::try_new(&mut bytes, &batch.schema()).unwrap();
        (0..batches).for_each(|_| writer.write(&batch).unwrap());
        writer.finish().unwrap();
        drop(writer);
        bytes
    }

    fn column(name: &str, array: impl Array + 'static) -> (Field, ArrayRef) {
        (Field::new(name, array.data_type().clone(), true), Arc::new(array))
    }

    fn read(bytes: &[u8]) -> Result<Vec<Value>, String> {
        let rows = rows(file(bytes), Arc::from(Path::new("data.arrow")));
        rows.map(|row| row.map(|(_, value)| value).map_err(|error| error.to_string())).collect()
    }

    fn texts(values: &[Option<&str>]) -> StringArray {
        values.iter().copied().collect()
    }

    /// A list of messages in each of two rows, the second of none.
    fn messages() -> ArrayRef {
        let fields =
            Fields::from(vec![Field::new("role", DataType::Utf8, true), Field::new("content", DataType::Utf8, true)]);
        let columns: Vec<ArrayRef> =
            vec![Arc::new(texts(&[Some("user"), Some("assistant")])), Arc::new(texts(&[Some("q"), None]))];
        let items = StructArray::new(fields.clone(), columns, None);
        let offsets = arrow_buffer::OffsetBuffer::from_lengths([2, 0]);
        let item = Arc::new(Field::new("item", DataType::Struct(fields), true));
        Arc::new(arrow_array::ListArray::new(item, offsets, Arc::new(items), None))
    }

    #[test]
    fn every_type_of_a_record_is_read() {
        let json_field = Field::new("kwargs", DataType::Utf8, true)
            .with_metadata(HashMap::from([("ARROW:extension:name".to_owned(), JSON.to_owned())]));
        let messages = messages();
        let dictionary: DictionaryArray<Int8Type> = [Some("a"), Some("b")].into_iter().collect();
        let bytes = stream(
            vec![
                (Field::new("messages", messages.data_type().clone(), true), messages),
                column("score", Float64Array::from(vec![Some(1.5), Some(f64::NAN)])),
                column("rank", Int64Array::from(vec![Some(-3), None])),
                column("label", BooleanArray::from(vec![true, false])),
                column("word", dictionary),
                column("time", TimestampSecondArray::from(vec![7, 8])),
                (json_field, Arc::new(texts(&[Some("{\"a\": [1]}"), Some("not json")]))),
            ],
            2,
        );
        let chat = json!([{"role": "user", "content": "q"}, {"role": "assistant", "content": null}]);
        let first = json!({"messages": chat, "score": 1.5, "rank": -3, "label": true, "word": "a", "time": 7, "kwargs": {"a": [1]}});
        let second = json!({"messages": [], "score": null, "rank": null, "label": false, "word": "b", "time": 8, "kwargs": "not json"});
        assert_eq!(read(&bytes).unwrap(), [first.clone(), second.clone(), first, second]);
    }

    #[test]
    fn bytes_stay_bytes_where_they_are_asked_for() {
        let mut bytes = BinaryBuilder::new();
        bytes.append_value([0xff, 0]);
        let stream = stream(vec![column("image", bytes.finish())], 1);
        let mut cells = cell_rows(file(&stream), Arc::from(Path::new("data.arrow")));
        assert_eq!(cells.next().unwrap().unwrap().1, [("image".to_owned(), Cell::Bytes(vec![0xff, 0]))]);
        assert!(cells.next().is_none());
        assert_eq!(read(&stream).unwrap(), [json!({"image": null})]);
    }

    #[test]
    fn types_that_no_record_has_are_named() {
        let uuid = FixedSizeBinaryArray::try_from_iter([[0xff, 1]].into_iter()).unwrap();
        let decimal = Decimal128Array::from(vec![1250]).with_precision_and_scale(10, 2).unwrap();
        let odd = stream(
            vec![
                column("prompt", texts(&[Some("a")])),
                column("span", IntervalYearMonthArray::from(vec![1])),
                column("id", uuid),
                column("price", decimal),
            ],
            1,
        );
        let types = (json!({"(type)": "Interval(YearMonth)"}), json!({"(type)": "FixedSizeBinary(2)"}));
        let row = json!({"prompt": "a", "span": types.0, "id": types.1, "price": "12.50"});
        assert_eq!(read(&odd).unwrap(), [row]);
    }

    #[test]
    fn what_is_no_stream_is_named() {
        let whole = stream(vec![column("prompt", texts(&[Some("a"), Some("b")]))], 1);
        for length in 4..whole.len() - 8 {
            assert!(read(&whole[..length]).is_err(), "{length} of {} bytes", whole.len());
        }
        let mut lists = ListBuilder::new(StringBuilder::new());
        lists.append_value(["a".repeat(RECORD_LIMIT / 2), "b".repeat(RECORD_LIMIT / 2 + 1)].map(Some));
        let error = read(&stream(vec![column("prompt", lists.finish())], 1)).unwrap_err();
        assert!(error.contains("data.arrow, row 1"), "{error}");
    }
}
