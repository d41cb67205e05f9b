//! The input of a denoising network: noisy images, times, captions.

use std::ops::Range;

use candle_core::Tensor;
use engine::ops::Grid;

use crate::ModelError;

/// Noisy images, each with its own time.
#[derive(Clone, Debug)]
pub struct ImageBatch {
    /// The pixels, `[N*H*W, in_channels]`.
    pub x: Tensor,
    /// The grid of the rows of `x`.
    pub grid: Grid,
    /// The time of each image.
    pub times: Vec<f64>,
    /// The captions of the images, for a network that attends to them.
    pub contexts: Option<Contexts>,
    /// The pooled captions, `[N, ..]`, for a network that uses them.
    pub pooled: Option<Tensor>,
    /// Original size, crop and target size of each image, for a network that uses them.
    pub time_ids: Option<Vec<[f32; 6]>>,
    /// The class of each image, for a network that is told classes.
    pub classes: Option<Vec<u32>>,
}

/// The hidden states of captions.
#[derive(Clone, Debug)]
pub struct Contexts {
    /// The rows of all captions, `[sum of lengths, width]`.
    pub rows: Tensor,
    /// The rows of each image's caption; shared rows are projected once.
    pub of_image: Vec<Range<usize>>,
}

/// The widths of the inputs of a network.
#[derive(Clone, Copy, Debug)]
pub(crate) struct InputWidths {
    /// Channels of an image.
    pub(crate) channels: usize,
    /// Width of a caption's hidden states, if they are read.
    pub(crate) context: Option<usize>,
    /// Width of a pooled caption, if it is read.
    pub(crate) pooled: Option<usize>,
    /// Whether the sizes of the images are read beside the pooled captions.
    pub(crate) has_sizes: bool,
}

impl ImageBatch {
    /// Checks that the batch fits a network of these inputs.
    ///
    /// # Errors
    /// Pixels, times, captions or pooled captions that are missing, or of the wrong number or width.
    pub(crate) fn check(&self, widths: InputWidths) -> Result<(), ModelError> {
        let n = self.grid.images;
        shape("the images", &self.x, &[self.grid.rows(), widths.channels])?;
        count("the times", self.times.len(), n)?;
        if let Some(time) = self.times.iter().find(|time| !time.is_finite()) {
            return Err(wrong("a time", "a finite number", time.to_string()));
        }
        self.check_contexts(widths.context, n)?;
        let Some(width) = widths.pooled else { return Ok(()) };
        let Some(pooled) = &self.pooled else {
            return Err(wrong("the pooled captions", &format!("{n} of width {width}"), "none".to_owned()));
        };
        match (&self.time_ids, widths.has_sizes) {
            (Some(sizes), true) => count("the sizes of the images", sizes.len(), n)?,
            (None, true) => {
                return Err(wrong("the sizes of the images", &format!("{n} times six"), "none".to_owned()));
            }
            (_, false) => {}
        }
        shape("the pooled captions", pooled, &[n, width])
    }

    fn check_contexts(&self, width: Option<usize>, n: usize) -> Result<(), ModelError> {
        let Some(width) = width else { return Ok(()) };
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
