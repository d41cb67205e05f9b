//! Batches and settings that do not fit.

use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use serde_json::Value;

use super::files::Golden;
use crate::ModelError;
use crate::image_batch::ImageBatch;

/// A network refuses a case's batch after a change, by a message that contains this.
pub(crate) fn check_refused(golden: &Golden, case: &str, change: &dyn Fn(&mut ImageBatch), expected: &str) {
    let (network, batch) = golden.learner(case, None);
    let mut batch = Arc::unwrap_or_clone(batch);
    change(&mut batch);
    let message = network.score(&batch).unwrap_err().to_string();
    assert!(message.contains(expected), "{message}");
}

/// Gives a golden batch of latents of four channels another size.
pub(crate) fn resize(batch: &mut ImageBatch, height: usize, width: usize) {
    (batch.grid.height, batch.grid.width) = (height, width);
    batch.x = Tensor::zeros((batch.grid.rows(), 4), DType::F32, &Device::Cpu).unwrap();
}

/// A case's config is refused with a setting of another value, by a message that contains this; `accepted` where it is
/// not.
pub(crate) fn check_setting<C>(
    golden: &Golden,
    case: &str,
    read: impl Fn(Value) -> Result<C, ModelError>,
    (key, value, expected): (&str, Value, &str),
) {
    let mut source = golden.files(case).0.to_json();
    source[key] = value;
    let found = read(source).map_or_else(|error| error.to_string(), |_| "accepted".to_owned());
    assert!(found.contains(expected), "{key}: {found}");
}
