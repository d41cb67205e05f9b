//! A denoiser's conditioning in tensor files.
//!
//! `context` `[rows, length, width]`, `context_mask` `[rows, length]`, `pooled` `[rows, width]`, `time_ids` `[rows, 6]`,
//! `class_labels` `[rows]`, each optional; or `context_chosen` and `context_rejected` if the sides of a pair have different conditioning. Where
//! the mask is 0 there is no token: it is left out, so that no model attends to it. There is one row per example, unless `context_index` i64 `[examples]` gives the row of each example; the metadata entry `empty_context`
//! then gives the row of the empty caption.

use std::sync::Arc;

use super::tensors::{TensorFile, TensorWriter};
use crate::error::DatasetError;

/// The tensors of conditioning, and their dimensions.
const KINDS: [(&str, &str); 5] = [
    ("context", "[rows, length, width]"),
    (MASK, MASK_DIMENSIONS),
    ("pooled", "[rows, width]"),
    ("time_ids", "[rows, 6]"),
    (CLASSES, "[rows]"),
];
const CLASSES: &str = "class_labels";
const MASK: &str = "context_mask";
const MASK_DIMENSIONS: &str = "[rows, length]";

/// A denoiser's conditioning, as numbers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LatentContext {
    /// Hidden states of a text encoder, one vector per token.
    pub hidden: Option<HiddenValues>,
    /// Pooled embedding of a text encoder.
    pub pooled: Option<Vec<f32>>,
    /// SDXL's size and crop conditioning.
    pub time_ids: Option<[f32; 6]>,
    /// The number of the image's class.
    pub class: Option<u32>,
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
    Chosen = 0,
    Rejected = 1,
}

/// The layout of conditioning in a file.
#[derive(Debug)]
pub(super) struct ContextTable {
    /// The row of each example; its own index if `None`.
    rows: Option<Vec<usize>>,
    empty: Option<usize>,
    /// Whether both sides of every pair have the same conditioning.
    pub(super) is_shared: bool,
    masks: Masks,
    /// The class of each row, for the chosen and the rejected side.
    classes: [Option<Vec<u32>>; 2],
}

/// Which tokens of each row there are, for the chosen and the rejected side; all of them if there is no mask.
#[derive(Debug, Default)]
struct Masks([Option<Vec<bool>>; 2]);

impl Masks {
    fn open(file: &TensorFile) -> Result<Self, DatasetError> {
        let mut masks = [const { None }; 2];
        for (mask, side) in masks.iter_mut().zip([Side::Chosen, Side::Rejected]) {
            let Some(name) = name_of(file, MASK, side) else { continue };
            let Some(context) = name_of(file, "context", side).and_then(|context| file.shape(&context)) else {
                return Err(file.error(format!("has `{name}` and no `context` that it masks")));
            };
            let shape = file.expect(&name, MASK_DIMENSIONS)?;
            if shape[1] != context[1] {
                let message = format!("is wrong: `{name}` is for {} tokens, `context` has {}", shape[1], context[1]);
                return Err(file.error(message));
            }
            let flags = file.flags(&name, MASK_DIMENSIONS)?;
            if let Some(row) = flags.chunks(shape[1]).position(|row| !row.contains(&true)) {
                return Err(file.error(format!("is wrong: tensor `{name}`, row {row}: no token is left")));
            }
            *mask = Some(flags);
        }
        Ok(Self(masks))
    }

    /// The hidden states of a row without the masked ones.
    fn kept(&self, row: usize, side: Side, hidden: HiddenValues) -> HiddenValues {
        let HiddenValues { values, length, width } = hidden;
        let Some(mask) = &self.0[side as usize] else { return HiddenValues { values, length, width } };
        let mask = &mask[row * length..][..length];
        let rows = values.chunks_exact(width).zip(mask).filter(|(_, is_there)| **is_there);
        let values: Vec<f32> = rows.flat_map(|(row, _)| row.iter().copied()).collect();
        HiddenValues { length: values.len() / width, values, width }
    }
}

/// The name of a kind's tensor for a side, if the file has it.
fn name_of(file: &TensorFile, kind: &str, side: Side) -> Option<String> {
    let side = if side == Side::Chosen { "_chosen" } else { "_rejected" };
    [kind.to_owned(), format!("{kind}{side}")].into_iter().find(|name| file.shape(name).is_some())
}

/// The classes of all rows of a side, if the file has them.
fn classes(file: &TensorFile, side: Side) -> Result<Option<Vec<u32>>, DatasetError> {
    let Some(name) = name_of(file, CLASSES, side) else { return Ok(None) };
    let class = |(row, value): (usize, f64)| {
        let class = (value.fract() == 0.0 && (0.0..=f64::from(u32::MAX)).contains(&value)).then_some(value as u32);
        class.ok_or_else(|| {
            file.error(format!("is wrong: tensor `{name}`, row {row}: {value} is the number of no class"))
        })
    };
    file.numbers(&name, "[rows]")?.into_iter().enumerate().map(class).collect::<Result<_, _>>().map(Some)
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
        let Some(n_rows) = n_rows else {
            return Ok(Self { rows: None, empty: None, is_shared, masks: Masks::default(), classes: [None, None] });
        };
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
        let classes = [classes(file, Side::Chosen)?, classes(file, Side::Rejected)?];
        let table = Self { rows, empty, is_shared, masks: Masks::open(file)?, classes };
        for row in 0..n_rows {
            table.read_row(file, row, Side::Chosen)?;
            if !is_shared {
                table.read_row(file, row, Side::Rejected)?;
            }
        }
        Ok(table)
    }

    /// The conditioning of an example.
    pub(super) fn of(&self, file: &TensorFile, example: usize, side: Side) -> Result<Arc<LatentContext>, DatasetError> {
        let row = self.rows.as_ref().map_or(Some(example), |rows| rows.get(example).copied());
        self.read_row(file, row.unwrap_or(usize::MAX), side).map(Arc::new)
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
            if let Some(class) = context.class {
                is_told = true;
                hasher.update(&class.to_le_bytes());
            }
            if self.is_shared {
                break;
            }
        }
        Ok(if is_told { hasher.finalize().to_hex().to_string() } else { format!("example {example}") })
    }

    /// The conditioning of the empty caption, if the file has it.
    pub(super) fn empty(&self, file: &TensorFile) -> Result<Option<Arc<LatentContext>>, DatasetError> {
        self.empty.map(|row| self.read_row(file, row, Side::Chosen).map(Arc::new)).transpose()
    }

    /// The highest class of any row, if classes are told.
    pub(super) fn highest_class(&self) -> Option<u32> {
        self.classes.iter().flatten().flatten().max().copied()
    }

    /// The row of an example, which examples may share.
    pub(super) fn row_of(&self, example: usize) -> usize {
        self.rows.as_ref().and_then(|rows| rows.get(example).copied()).unwrap_or(example)
    }

    fn read_row(&self, file: &TensorFile, row: usize, side: Side) -> Result<LatentContext, DatasetError> {
        let read = |kind: &str| -> Result<Option<Row<'_>>, DatasetError> {
            let Some(name) = name_of(file, kind, side) else { return Ok(None) };
            Ok(Some((file.row(&name, row)?, file.shape(&name).unwrap_or_default())))
        };
        let hidden = read("context")?.map(|(values, shape)| HiddenValues { values, length: shape[1], width: shape[2] });
        let hidden = hidden.map(|hidden| self.masks.kept(row, side, hidden));
        let time_ids = read("time_ids")?.and_then(|(values, _)| values.try_into().ok());
        let class = self.classes[side as usize].as_ref().and_then(|classes| classes.get(row).copied());
        Ok(LatentContext { hidden, pooled: read("pooled")?.map(|(values, _)| values), time_ids, class })
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

/// The layout of conditioning in a file to be written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ContextLayout {
    /// Number of distinct rows, including the empty caption's; 0 without conditioning.
    pub rows: usize,
    /// Number and width of the hidden states; of those of the longest row.
    pub hidden: Option<(usize, usize)>,
    /// Whether rows have different numbers of hidden states, of which a mask tells.
    pub is_ragged: bool,
    /// Width of the pooled embedding.
    pub pooled: Option<usize>,
    /// Whether there is size and crop conditioning.
    pub has_time_ids: bool,
    /// Whether there are classes.
    pub has_classes: bool,
}

impl ContextLayout {
    /// The tensors to be written.
    pub(super) fn shapes(&self) -> Vec<(&'static str, Vec<usize>)> {
        let hidden = self.hidden.map(|(length, width)| ("context", vec![self.rows, length, width]));
        let mask = self.hidden.filter(|_| self.is_ragged).map(|(length, _)| (MASK, vec![self.rows, length]));
        let pooled = self.pooled.map(|width| ("pooled", vec![self.rows, width]));
        let time_ids = self.has_time_ids.then(|| ("time_ids", vec![self.rows, 6]));
        let classes = self.has_classes.then(|| (CLASSES, vec![self.rows]));
        [hidden, mask, pooled, time_ids, classes].into_iter().flatten().filter(|_| self.rows > 0).collect()
    }
}

/// Writes one row.
pub(super) fn write(writer: &mut TensorWriter, row: usize, context: &LatentContext) -> Result<(), DatasetError> {
    if let Some(hidden) = &context.hidden {
        match writer.row_len(MASK) {
            None => writer.write("context", row, &hidden.values)?,
            Some(length) => {
                let mut values = hidden.values.clone();
                // A row that is too long stays so, and is refused.
                values.resize(values.len().max(length * hidden.width), 0.0);
                writer.write("context", row, &values)?;
                let mask: Vec<f32> = (0..length).map(|at| if at < hidden.length { 1.0 } else { 0.0 }).collect();
                writer.write(MASK, row, &mask)?;
            }
        }
    }
    if let Some(pooled) = &context.pooled {
        writer.write("pooled", row, pooled)?;
    }
    if let Some(time_ids) = &context.time_ids {
        writer.write("time_ids", row, time_ids)?;
    }
    if let Some(class) = context.class {
        writer.write(CLASSES, row, &[class as f32])?;
    }
    Ok(())
}
