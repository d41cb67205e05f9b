//! What each segment of a forest sees, on a device.

use crate::ops::Forest;
use crate::transfer::from_host;
use candle_core::{DType, DeviceLocation, Result, Tensor};
use std::cell::RefCell;
use std::ops::Range;
use std::rc::Rc;
use std::sync::{Arc, Weak};

/// What the tokens of a segment see.
pub(super) struct Seen {
    /// The rows from the root of its tree to its last token, in runs.
    runs: Vec<Range<usize>>,
    /// `[len, rows]`: 0 where a token sees a row, else minus infinity.
    pub(super) mask: Tensor,
}

impl Seen {
    /// The rows that are seen of keys or values.
    ///
    /// They are cut out run by run: the gradient of a lookup by indices is a sum over one index after another on CUDA.
    pub(super) fn of(&self, x: &Tensor) -> Result<Tensor> {
        let runs = self.runs.iter().map(|run| x.narrow(0, run.start, run.len())).collect::<Result<Vec<Tensor>>>()?;
        if let [run] = &runs[..] { Ok(run.clone()) } else { Tensor::cat(&runs, 0) }
    }
}

/// By segment; nothing for those without tokens.
type OfSegments = Rc<[Option<Seen>]>;

/// What was made for a forest.
struct Kept {
    forest: Weak<Forest>,
    window: Option<usize>,
    dtype: DType,
    location: DeviceLocation,
    seen: OfSegments,
}

/// All layers of a pass ask for the same, or for two windows in turn, and so does a reference on the same forest.
const MOST_KEPT: usize = 4;

thread_local! {
    /// What this thread made last.
    static KEPT: RefCell<Vec<Kept>> = const { RefCell::new(Vec::new()) };
}

/// What the segments of a forest see, for numbers like those of `q`; made once for all layers.
pub(super) fn seen(forest: &Arc<Forest>, window: Option<usize>, q: &Tensor) -> Result<OfSegments> {
    let (dtype, location) = (q.dtype(), q.device().location());
    let this = Arc::downgrade(forest);
    let is_this = |kept: &&Kept| {
        Weak::ptr_eq(&kept.forest, &this) && (kept.window, kept.dtype, kept.location) == (window, dtype, location)
    };
    if let Some(seen) = KEPT.with_borrow(|kept| kept.iter().find(is_this).map(|kept| Rc::clone(&kept.seen))) {
        return Ok(seen);
    }
    // Those of forests that are gone let their memory go.
    KEPT.with_borrow_mut(|kept| kept.retain(|kept| kept.forest.strong_count() > 0));
    let seen: OfSegments = made(forest, window, q)?.into();
    KEPT.with_borrow_mut(|kept| {
        kept.truncate(MOST_KEPT - 1);
        kept.insert(0, Kept { forest: this, window, dtype, location, seen: Rc::clone(&seen) });
    });
    Ok(seen)
}

fn made(forest: &Forest, window: Option<usize>, q: &Tensor) -> Result<Vec<Option<Seen>>> {
    let paths: Vec<Vec<Range<usize>>> = (0..forest.segments.len()).map(|index| runs(forest, index)).collect();
    let length = |runs: &Vec<Range<usize>>| runs.iter().map(Range::len).sum::<usize>();
    let longest = paths.iter().map(length).max().unwrap_or(0);
    if longest == 0 {
        return Ok(paths.iter().map(|_| None).collect());
    }
    // Places on a path are compared on the device. They are whole numbers that even f32 has.
    let places = from_host((0..longest).map(|place| place as f32).collect(), longest, q.device())?;
    let mut seen = Vec::with_capacity(paths.len());
    for (segment, runs) in forest.segments.iter().zip(paths) {
        let n = length(&runs);
        seen.push(if segment.len == 0 {
            None
        } else {
            let mask = causal_mask(&places.narrow(0, 0, n)?, segment.len, window)?.to_dtype(q.dtype())?;
            Some(Seen { runs, mask })
        });
    }
    Ok(seen)
}

/// The rows from the root of a segment's tree to its last token.
fn runs(forest: &Forest, segment: usize) -> Vec<Range<usize>> {
    let mut runs: Vec<Range<usize>> = Vec::new();
    let path = forest.path(segment).into_iter().map(|index| forest.segments[index]);
    for segment in path.filter(|segment| segment.len > 0) {
        match runs.last_mut() {
            Some(last) if last.end == segment.start => last.end += segment.len,
            _ => runs.push(segment.start..segment.start + segment.len),
        }
    }
    runs
}

/// `[len, n]`: 0 where visible, minus infinity on later tokens of the same segment and before the window.
fn causal_mask(places: &Tensor, len: usize, window: Option<usize>) -> Result<Tensor> {
    let n = places.dim(0)?;
    let (of_row, of_column) = (places.narrow(0, n - len, len)?.reshape((len, 1))?, places.reshape((1, n))?);
    let open = Tensor::zeros((len, n), DType::F32, places.device())?;
    let closed = open.affine(1., f64::NEG_INFINITY)?;
    let mask = of_column.broadcast_le(&of_row)?.where_cond(&open, &closed)?;
    match window {
        None => Ok(mask),
        Some(window) => (of_column + window as f64)?.broadcast_gt(&of_row)?.where_cond(&mask, &closed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    fn visible(mask: &Tensor) -> Vec<Vec<bool>> {
        let rows = mask.to_vec2::<f32>().unwrap();
        assert!(rows.iter().flatten().all(|&x| x == 0. || x == f32::NEG_INFINITY));
        rows.into_iter().map(|row| row.into_iter().map(|x| x == 0.).collect()).collect()
    }

    #[test]
    fn tokens_see_what_is_before_them_within_the_window() {
        let mut forest = Forest::default();
        let prompt = forest.push(None, 2);
        forest.push(Some(prompt), 0);
        forest.push(Some(prompt), 2);
        forest.push(Some(prompt), 1);
        let forest = Arc::new(forest);
        let q = Tensor::zeros((5, 1), DType::F32, &Device::Cpu).unwrap();
        let all = seen(&forest, None, &q).unwrap();
        assert!(all[1].is_none());
        let last = all[2].as_ref().unwrap();
        assert_eq!((last.runs.len(), last.runs[0].clone()), (1, 0..4));
        let rows = Tensor::arange(0f32, 5., &Device::Cpu).unwrap().reshape((5, 1)).unwrap();
        assert_eq!(last.of(&rows).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap(), [0., 1., 2., 3.]);
        assert_eq!(visible(&last.mask), [[true, true, true, false], [true; 4]]);
        let other = all[3].as_ref().unwrap();
        assert_eq!(other.runs, [0..2, 4..5]);
        assert_eq!(other.of(&rows).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap(), [0., 1., 4.]);
        let near = seen(&forest, Some(2), &q).unwrap();
        let last = near[2].as_ref().unwrap();
        assert_eq!(visible(&last.mask), [[false, true, true, false], [false, false, true, true]]);
        // Other layers get the same, and other forests another.
        assert!(Rc::ptr_eq(&seen(&forest, None, &q).unwrap(), &all));
        assert!(!Rc::ptr_eq(&seen(&Arc::new((*forest).clone()), None, &q).unwrap(), &all));
        let double = seen(&forest, None, &q.to_dtype(DType::F64).unwrap()).unwrap();
        assert_eq!(double[2].as_ref().unwrap().mask.dtype(), DType::F64);
    }
}
