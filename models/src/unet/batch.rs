//! The input of a UNet: noisy images, times, captions.

use std::ops::Range;

use candle_core::Tensor;
use engine::ops::Grid;

use super::config::UNetConfig;
use crate::ModelError;

/// Noisy images, each with its own time.
#[derive(Clone, Debug)]
pub struct UNetBatch {
    /// The pixels, `[N*H*W, in_channels]`.
    pub x: Tensor,
    /// The grid of the rows of `x`.
    pub grid: Grid,
    /// The time of each image.
    pub times: Vec<f64>,
    /// The captions of the images, for a model with cross-attention.
    pub contexts: Option<Contexts>,
    /// The pooled captions, `[N, ..]`, for a model that uses them.
    pub pooled: Option<Tensor>,
    /// Original size, crop and target size of each image, for a model that uses them.
    pub time_ids: Option<Vec<[f32; 6]>>,
}

/// The hidden states of captions.
#[derive(Clone, Debug)]
pub struct Contexts {
    /// The rows of all captions, `[sum of lengths, width]`.
    pub rows: Tensor,
    /// The rows of each image's caption; shared rows are projected once.
    pub of_image: Vec<Range<usize>>,
}

impl UNetBatch {
    /// Checks that the batch fits this model.
    ///
    /// # Errors
    /// Pixels, times, captions or pooled captions that are missing, or of the wrong number or width.
    pub(super) fn check(&self, config: &UNetConfig) -> Result<(), ModelError> {
        let n = self.grid.images;
        let rows = n * self.grid.height * self.grid.width;
        shape("the images", &self.x, &[rows, config.in_channels])?;
        count("the times", self.times.len(), n)?;
        if let Some(time) = self.times.iter().find(|time| !time.is_finite()) {
            return Err(wrong("a time", "a finite number", time.to_string()));
        }
        self.check_contexts(config, n)?;
        match (config.pooled_width(), &self.pooled, &self.time_ids) {
            (None, _, _) => Ok(()),
            (Some(width), Some(pooled), Some(sizes)) => {
                count("the sizes of the images", sizes.len(), n)?;
                shape("the pooled captions", pooled, &[n, width])
            }
            (Some(width), None, _) => {
                Err(wrong("the pooled captions", &format!("{n} of width {width}"), "none".to_owned()))
            }
            (Some(_), _, None) => Err(wrong("the sizes of the images", &format!("{n} times six"), "none".to_owned())),
        }
    }

    fn check_contexts(&self, config: &UNetConfig, n: usize) -> Result<(), ModelError> {
        let Some(width) = config.context_width() else { return Ok(()) };
        let Some(contexts) = &self.contexts else {
            return Err(wrong("the captions", &format!("hidden states of width {width}"), "none".to_owned()));
        };
        let rows = contexts.rows.dims().first().copied().unwrap_or(0);
        if let Some(found) = contexts.rows.dims().get(1).filter(|found| **found != width) {
            return Err(wrong("the captions", &format!("hidden states of width {width}"), format!("width {found}")));
        }
        shape("the captions", &contexts.rows, &[rows, width])?;
        count("the captions", contexts.of_image.len(), n)?;
        match contexts.of_image.iter().find(|range| range.is_empty() || range.end > rows) {
            None => Ok(()),
            Some(range) => Err(wrong("a caption's rows", &format!("some of {rows}"), format!("{range:?}"))),
        }
    }
}

fn wrong(what: &str, expected: &str, got: String) -> ModelError {
    ModelError::Argument { what: what.to_owned(), expected: expected.to_owned(), got }
}

fn count(what: &str, found: usize, n: usize) -> Result<(), ModelError> {
    if found == n { Ok(()) } else { Err(wrong(what, &format!("{n}, one for each image"), found.to_string())) }
}

fn shape(what: &str, tensor: &Tensor, expected: &[usize]) -> Result<(), ModelError> {
    if tensor.dims() == expected {
        return Ok(());
    }
    Err(wrong(what, &format!("shape {expected:?}"), format!("{:?}", tensor.dims())))
}
