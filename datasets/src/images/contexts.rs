//! A denoiser's conditioning in tensor files.
//!
//! `context` `[rows, length, width]`, `pooled` `[rows, width]`, `time_ids` `[rows, 6]`, each optional; or
//! `context_chosen` and `context_rejected` if the sides of a pair have different conditioning. There is one row per
//! example, unless `context_index` i64 `[examples]` gives the row of each example; the metadata entry `empty_context`
//! then gives the row of the empty caption.

use std::sync::Arc;

use super::tensors::{TensorFile, TensorWriter};
use crate::error::DatasetError;

/// The tensors of conditioning, and their dimensions.
const KINDS: [(&str, &str); 3] =
    [("context", "[rows, length, width]"), ("pooled", "[rows, width]"), ("time_ids", "[rows, 6]")];

/// A denoiser's conditioning, as numbers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LatentContext {
    /// Hidden states of a text encoder, one vector per token.
    pub hidden: Option<HiddenValues>,
    /// Pooled embedding of a text encoder.
    pub pooled: Option<Vec<f32>>,
    /// SDXL's size and crop conditioning.
    pub time_ids: Option<[f32; 6]>,
}

/// Hidden states, one vector per token.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HiddenValues {
    /// The vectors, concatenated.
    pub values: Vec<f32>,
    /// Number of tokens.
    pub length: usize,
    /// Width of a vector.
    pub width: usize,
}

/// The side of a pair that conditioning belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Chosen,
    Rejected,
}

/// The layout of conditioning in a file.
#[derive(Debug)]
pub(super) struct ContextTable {
    /// The row of each example; its own index if `None`.
    rows: Option<Vec<usize>>,
    empty: Option<usize>,
    /// Whether both sides of every pair have the same conditioning.
    pub(super) is_shared: bool,
}

impl ContextTable {
    /// Finds and checks the tensors of a file with this number of examples.
    pub(super) fn open(file: &TensorFile, examples: usize) -> Result<Self, DatasetError> {
        let mut n_rows = None;
        let mut is_shared = true;
        for (kind, dimensions) in KINDS {
            is_shared &= !check_kind(file, kind, dimensions, &mut n_rows)?;
        }
        // Where nothing is told, it does not matter to whom.
        let Some(n_rows) = n_rows else { return Ok(Self { rows: None, empty: None, is_shared }) };
        let rows = match file.shape("context_index") {
            Some(_) => Some(file.indices("context_index", "[examples]", n_rows)?),
            None => None,
        };
        let told = rows.as_ref().map_or(n_rows, Vec::len);
        if told != examples {
            return Err(file.error(format!("tells {told} examples something, but has {examples}")));
        }
        let empty = match file.note("empty_context") {
            None => None,
            Some(row) => Some(row.parse().ok().filter(|&row: &usize| row < n_rows).ok_or_else(|| {
                file.error(format!("names `{row}` as the row of the empty caption; there are {n_rows} rows"))
            })?),
        };
        for row in 0..n_rows {
            read_row(file, row, Side::Chosen)?;
            if !is_shared {
                read_row(file, row, Side::Rejected)?;
            }
        }
        Ok(Self { rows, empty, is_shared })
    }

    /// The conditioning of an example.
    pub(super) fn of(&self, file: &TensorFile, example: usize, side: Side) -> Result<Arc<LatentContext>, DatasetError> {
        let row = self.rows.as_ref().map_or(Some(example), |rows| rows.get(example).copied());
        read_row(file, row.unwrap_or(usize::MAX), side).map(Arc::new)
    }

    /// A key that is equal for examples with equal conditioning: a hash of both sides' contexts without sizes and
    /// crops, or the example's index if the file has no conditioning.
    pub(super) fn told(&self, file: &TensorFile, example: usize) -> Result<String, DatasetError> {
        let mut hasher = blake3::Hasher::new();
        let mut is_told = false;
        for side in [Side::Chosen, Side::Rejected] {
            let context = self.of(file, example, side)?;
            for values in context.hidden.iter().map(|hidden| &hidden.values).chain(&context.pooled) {
                is_told = true;
                for value in values {
                    hasher.update(&value.to_le_bytes());
                }
            }
            if self.is_shared {
                break;
            }
        }
        Ok(if is_told { hasher.finalize().to_hex().to_string() } else { format!("example {example}") })
    }

    /// The conditioning of the empty caption, if the file has it.
    pub(super) fn empty(&self, file: &TensorFile) -> Result<Option<Arc<LatentContext>>, DatasetError> {
        self.empty.map(|row| read_row(file, row, Side::Chosen).map(Arc::new)).transpose()
    }

    /// The row of an example, which examples may share.
    pub(super) fn row_of(&self, example: usize) -> usize {
        self.rows.as_ref().and_then(|rows| rows.get(example).copied()).unwrap_or(example)
    }
}

/// Checks the tensors of one kind, which must have the same number of rows. Returns whether there is one per side.
fn check_kind(
    file: &TensorFile,
    kind: &str,
    dimensions: &str,
    n_rows: &mut Option<usize>,
) -> Result<bool, DatasetError> {
    let sided = ["_chosen", "_rejected"].map(|side| format!("{kind}{side}"));
    let is_sided = sided.iter().any(|name| file.shape(name).is_some());
    if is_sided && file.shape(kind).is_some() {
        return Err(file.error(format!("has both `{kind}` and `{}`; one of them says what is told", sided[0])));
    }
    let names = if is_sided { sided.to_vec() } else { vec![kind.to_owned()] };
    let mut first: Option<&[usize]> = None;
    for name in names.iter().filter(|name| is_sided || file.shape(name).is_some()) {
        let shape = file.expect(name, dimensions)?;
        if kind == "time_ids" && shape[1] != 6 {
            return Err(file.error(format!("is wrong: tensor `{name}` should be {dimensions}, but is {shape:?}")));
        }
        let expected = *n_rows.get_or_insert(shape[0]);
        if shape[0] != expected {
            return Err(file.error(format!("is wrong: tensor `{name}` has {} rows, others {expected}", shape[0])));
        }
        if *first.get_or_insert(shape) != shape {
            return Err(file.error(format!("is wrong: `{}` and `{name}` have unlike shapes", names[0])));
        }
    }
    Ok(is_sided)
}

/// A row's numbers and the shape of their tensor.
type Row<'a> = (Vec<f32>, &'a [usize]);

fn read_row(file: &TensorFile, row: usize, side: Side) -> Result<LatentContext, DatasetError> {
    let read = |kind: &str| -> Result<Option<Row<'_>>, DatasetError> {
        let side = if side == Side::Chosen { "_chosen" } else { "_rejected" };
        let names = [kind.to_owned(), format!("{kind}{side}")];
        let Some(name) = names.iter().find(|name| file.shape(name).is_some()) else { return Ok(None) };
        Ok(Some((file.row(name, row)?, file.shape(name).unwrap_or_default())))
    };
    let hidden = read("context")?.map(|(values, shape)| HiddenValues { values, length: shape[1], width: shape[2] });
    let time_ids = read("time_ids")?.and_then(|(values, _)| values.try_into().ok());
    Ok(LatentContext { hidden, pooled: read("pooled")?.map(|(values, _)| values), time_ids })
}

/// The layout of conditioning in a file to be written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ContextLayout {
    /// Number of distinct rows, including the empty caption's; 0 without conditioning.
    pub rows: usize,
    /// Number and width of the hidden states.
    pub hidden: Option<(usize, usize)>,
    /// Width of the pooled embedding.
    pub pooled: Option<usize>,
    /// Whether there is size and crop conditioning.
    pub has_time_ids: bool,
}

impl ContextLayout {
    /// The tensors to be written.
    pub(super) fn shapes(&self) -> Vec<(&'static str, Vec<usize>)> {
        let hidden = self.hidden.map(|(length, width)| ("context", vec![self.rows, length, width]));
        let pooled = self.pooled.map(|width| ("pooled", vec![self.rows, width]));
        let time_ids = self.has_time_ids.then(|| ("time_ids", vec![self.rows, 6]));
        [hidden, pooled, time_ids].into_iter().flatten().filter(|_| self.rows > 0).collect()
    }
}

/// Writes one row.
pub(super) fn write(writer: &mut TensorWriter, row: usize, context: &LatentContext) -> Result<(), DatasetError> {
    if let Some(hidden) = &context.hidden {
        writer.write("context", row, &hidden.values)?;
    }
    if let Some(pooled) = &context.pooled {
        writer.write("pooled", row, pooled)?;
    }
    if let Some(time_ids) = &context.time_ids {
        writer.write("time_ids", row, time_ids)?;
    }
    Ok(())
}
