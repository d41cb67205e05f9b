//! The layout of a batch's rows: patches, captions, and the joined stream.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use engine::EngineError;
use engine::ops::{AxialRope, Block, Grid, Pairing};

use super::PATCH;
use super::config::ZImageConfig;
use crate::ModelError;
use crate::image_batch::ImageBatch;
use crate::joint_rows::own;

/// Rows are filled up to a multiple of this, a constant in diffusers.
const MULTIPLE: usize = 32;

/// A position on each axis: the sequence, and row and column of a patch.
type Place = [u32; 3];

/// A stream of rows in groups that attend within themselves, each row with its position.
#[derive(Debug)]
pub(super) struct Stream {
    /// For each row its source: a row of the tensor that the stream is taken from.
    pub(super) sources: Vec<u32>,
    /// The end of each group.
    pub(super) ends: Arc<[usize]>,
    /// The attention of each group.
    pub(super) blocks: Arc<[Block]>,
    /// The angles of each row.
    pub(super) rope: AxialRope,
}

/// Where the rows of each image's patches and caption are.
///
/// A joined group is an image's patches, then its caption's tokens, each filled up to a multiple of 32 rows.
#[derive(Debug)]
pub(crate) struct Rows {
    /// The grid of patches.
    pub(super) patches: Grid,
    /// By image; the last source is the row that fills up.
    pub(super) of_patches: Stream,
    /// By distinct caption; the last source is the row that fills up.
    pub(super) of_captions: Stream,
    /// By image; sources are the rows of both streams, captions after all patches.
    pub(super) joint: Stream,
    /// The joined row of each patch, without those that fill up.
    pub(super) predicted: Vec<u32>,
}

impl Rows {
    /// Checks a batch and lays out its rows.
    ///
    /// # Errors
    /// A batch of the wrong widths, images that are no multiple of the patch, or more positions than an axis has.
    pub(super) fn of(config: &ZImageConfig, batch: &ImageBatch) -> Result<Self, ModelError> {
        batch.check(config.inputs())?;
        let Grid { images, height, width } = batch.grid;
        let [sequence, most_high, most_wide] = config.axis_lengths;
        let fits = |size: usize, most: usize| size > 0 && size.is_multiple_of(PATCH) && size / PATCH <= most;
        let wrong = |what: &str, expected: String, got: String| {
            Err(ModelError::Argument { what: what.to_owned(), expected, got })
        };
        if !fits(height, most_high) || !fits(width, most_wide) {
            let (most_high, most_wide) = (PATCH * most_high, PATCH * most_wide);
            let expected = format!("multiples of {PATCH} up to {most_high} by {most_wide}");
            return wrong("the size of the images", expected, format!("{height} by {width}"));
        }
        let patches = Grid { images, height: height / PATCH, width: width / PATCH };
        let of_image: &[Range<usize>] = batch.contexts.as_ref().map_or(&[], |contexts| &contexts.of_image);
        let longest = of_image.iter().map(Range::len).max().unwrap_or(0);
        // Captions begin at position 1, and the patches have the one behind them.
        if longest.next_multiple_of(MULTIPLE) + 2 > sequence {
            let most = sequence.saturating_sub(2) / MULTIPLE * MULTIPLE;
            return wrong("the captions", format!("at most {most} tokens"), format!("{longest}"));
        }
        let n_sources = batch.contexts.as_ref().map_or(Ok(0), |contexts| contexts.rows.dim(0))?;
        Ok(Self::laid_out(config, patches, of_image, n_sources)?)
    }

    fn laid_out(
        config: &ZImageConfig,
        patches: Grid,
        of_image: &[Range<usize>],
        n_sources: usize,
    ) -> Result<Self, EngineError> {
        let (n, filled) = (patches.pixels(), patches.pixels().next_multiple_of(MULTIPLE));
        let (distinct, caption_of) = distinct(of_image);
        let mut captions = Layout::default();
        let mut spans = Vec::with_capacity(distinct.len());
        for range in &distinct {
            let (start, length) = (captions.sources.len(), range.len().next_multiple_of(MULTIPLE));
            let row = |i: usize| if i < range.len() { range.start + i } else { n_sources };
            captions.extend((0..length).map(|i| (row(i) as u32, [1 + i as u32, 0, 0])));
            spans.push(start..start + length);
        }
        let (mut of_patches, mut joint, mut predicted) = (Layout::default(), Layout::default(), Vec::new());
        for (image, caption) in caption_of.iter().map(|index| &spans[*index]).enumerate() {
            let after = 1 + caption.len() as u32;
            let place = |i: usize| {
                let (row, column) = (i / patches.width, i % patches.width);
                if i < n { [after, row as u32, column as u32] } else { [0; 3] }
            };
            let source = |i: usize| if i < n { image * n + i } else { patches.rows() };
            of_patches.extend((0..filled).map(|i| (source(i) as u32, place(i))));
            predicted.extend((0..n).map(|i| (joint.sources.len() + i) as u32));
            let told = caption.clone().enumerate();
            let told = told.map(|(i, row)| ((patches.images * filled + row) as u32, [1 + i as u32, 0, 0]));
            joint.extend((0..filled).map(|i| ((image * filled + i) as u32, place(i))).chain(told));
        }
        Ok(Self {
            patches,
            of_patches: of_patches.into_stream(config)?,
            of_captions: captions.into_stream(config)?,
            joint: joint.into_stream(config)?,
            predicted,
        })
    }
}

/// The distinct captions, and the index of each image's.
fn distinct(of_image: &[Range<usize>]) -> (Vec<&Range<usize>>, Vec<usize>) {
    let mut distinct: Vec<&Range<usize>> = Vec::new();
    let mut known = BTreeMap::new();
    let mut caption_of = Vec::with_capacity(of_image.len());
    for range in of_image {
        let next = distinct.len();
        let index = *known.entry((range.start, range.end)).or_insert(next);
        if index == next {
            distinct.push(range);
        }
        caption_of.push(index);
    }
    (distinct, caption_of)
}

/// A stream while it is laid out.
#[derive(Default)]
struct Layout {
    sources: Vec<u32>,
    ends: Vec<usize>,
    /// The distinct positions, and the index of each row's.
    places: Vec<Place>,
    known: BTreeMap<Place, u32>,
    rows: Vec<u32>,
}

impl Layout {
    /// Adds a group: the source and position of each row.
    fn extend(&mut self, rows: impl Iterator<Item = (u32, Place)>) {
        for (source, place) in rows {
            let next = self.places.len() as u32;
            let index = *self.known.entry(place).or_insert(next);
            if index == next {
                self.places.push(place);
            }
            self.sources.push(source);
            self.rows.push(index);
        }
        self.ends.push(self.sources.len());
    }

    fn into_stream(self, config: &ZImageConfig) -> Result<Stream, EngineError> {
        let rope = AxialRope::new(config.rotary_base, &config.axes, Pairing::Interleaved, &self.places, self.rows)?;
        Ok(Stream { sources: self.sources, blocks: own(&self.ends), ends: self.ends.into(), rope })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn rows_are_filled_up_and_captions_shared() {
        let config = ZImageConfig::from_json(json!({ "_class_name": ZImageConfig::CLASS, "in_channels": 4, "dim": 12,
            "n_layers": 1, "n_heads": 2, "cap_feat_dim": 5, "axes_dims": [2, 2, 2], "axes_lens": [100, 8, 8] }));
        // Two images of two by three patches told the same, one between them told more than 32 tokens.
        let (grid, captions) = (Grid { images: 3, height: 2, width: 3 }, [40..45, 0..40, 40..45]);
        let rows = Rows::laid_out(&config.unwrap(), grid, &captions, 45).unwrap();
        assert_eq!((&rows.of_captions.ends[..], &rows.of_patches.ends[..]), (&[32, 96][..], &[32, 64, 96][..]));
        assert_eq!(rows.of_captions.sources[..6], [40, 41, 42, 43, 44, 45]);
        assert!(rows.of_captions.sources[5..32].iter().all(|source| *source == 45));
        assert_eq!(rows.of_patches.sources[30..40], [18, 18, 6, 7, 8, 9, 10, 11, 18, 18]);
        assert_eq!(&rows.joint.ends[..], [64, 160, 224]);
        // The caption's rows follow the patches', and the first and the last image read the same ones.
        assert_eq!((rows.joint.sources[32], rows.joint.sources[96], rows.joint.sources[192]), (96, 128, 96));
        assert_eq!(rows.predicted, [0, 1, 2, 3, 4, 5, 64, 65, 66, 67, 68, 69, 160, 161, 162, 163, 164, 165]);
    }
}
