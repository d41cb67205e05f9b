//! Tables of cosines and sines on a device.

use super::composed::rows_at;
use crate::transfer::from_host;
use candle_core::{DType, DeviceLocation, Result, Tensor};
use std::sync::{Arc, Mutex, PoisonError};

/// Cosines and sines of places, and which place each row has: `[2, n, half]`, cosines first.
#[derive(Debug, Clone)]
struct Table {
    dtype: DType,
    location: DeviceLocation,
    n_places: usize,
    places: [Tensor; 2],
    /// The rows that asked last, and what they got.
    last: Option<(Vec<u32>, [Tensor; 2])>,
}

/// A table that is kept on the device that asked for it last; clones share it.
#[derive(Debug, Clone, Default)]
pub(super) struct DeviceTurns(Arc<Mutex<Option<Table>>>);

impl DeviceTurns {
    /// Cosines and sines of rows, `[rows, half]` each, of the type and on the device of `like`.
    ///
    /// `table` gives those of the first n places, `[n, half]` each, of which the rows have only lower ones. It is asked once, and
    /// again where there are more places than it was asked for.
    pub(super) fn of_rows(
        &self,
        rows: &[u32],
        half: usize,
        like: &Tensor,
        table: impl FnOnce(usize) -> (Vec<f64>, Vec<f64>),
    ) -> Result<[Tensor; 2]> {
        let (dtype, location) = (like.dtype(), like.device().location());
        let n = rows.iter().max().map_or(0, |&largest| largest as usize + 1);
        // The table is replaced whole, so it is valid even if another thread panicked.
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = |kept: &Table| (kept.dtype, kept.location) == (dtype, location) && kept.n_places >= n;
        if !kept.as_ref().is_some_and(fits) {
            // Texts that grow token by token ask for one place more each time.
            let n_places = n.next_power_of_two();
            let (cos, sin) = table(n_places);
            let on_device = |values: Vec<f64>| from_host(values, (n_places, half), like.device())?.to_dtype(dtype);
            *kept = Some(Table { dtype, location, n_places, places: [on_device(cos)?, on_device(sin)?], last: None });
        }
        let Some(table) = kept.as_mut() else { unreachable!("a table was just put there") };
        if let Some((_, turns)) = table.last.as_ref().filter(|(asked, _)| asked == rows) {
            return Ok(turns.clone());
        }
        let indices = from_host(rows.to_vec(), rows.len(), like.device())?;
        let turns = [rows_at(&table.places[0], &indices)?, rows_at(&table.places[1], &indices)?];
        table.last = Some((rows.to_vec(), turns.clone()));
        Ok(turns)
    }
}
