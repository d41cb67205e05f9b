//! The layout of a batch's rows in two streams, patches of images and tokens of captions, and in their joint attention.

use std::ops::Range;
use std::sync::Arc;

use engine::ops::Block;

/// Where the rows of each image's patches and caption are.
///
/// In joint attention the rows of an image are its patches, then its caption's tokens, image by image.
#[derive(Debug)]
pub(crate) struct JointRows {
    /// The row of the projected captions for each row of the caption stream; captions may be shared, this stream is not,
    /// as it depends on the time.
    pub(crate) captions: Vec<u32>,
    /// The end of each image's patches.
    pub(crate) patch_ends: Arc<[usize]>,
    /// The end of each image's caption.
    pub(crate) caption_ends: Arc<[usize]>,
    /// The end of each image's joint rows.
    pub(crate) joint_ends: Arc<[usize]>,
    /// For each row of the joint attention the row of both streams, the caption's after all patches.
    pub(crate) joint: Vec<u32>,
    /// The joint row of each row of patches.
    pub(crate) patches_of_joint: Vec<u32>,
    /// The joint row of each row of captions.
    pub(crate) captions_of_joint: Vec<u32>,
    /// The joint attention of each image.
    pub(crate) joint_blocks: Arc<[Block]>,
}

impl JointRows {
    /// Lays out images of `n` patches each, whose captions are these rows.
    pub(crate) fn new(n: usize, of_image: &[Range<usize>]) -> Self {
        let ends = |length: &dyn Fn(&Range<usize>) -> usize| -> Arc<[usize]> {
            let mut end = 0;
            let add = |range| {
                end += length(range);
                end
            };
            of_image.iter().map(add).collect()
        };
        let patches = n * of_image.len();
        let caption_ends = ends(&Range::len);
        let (mut joint, mut patches_of_joint, mut captions_of_joint) = (Vec::new(), Vec::new(), Vec::new());
        for (image, (range, end)) in of_image.iter().zip(caption_ends.iter()).enumerate() {
            let length = range.len();
            let (start, caption) = (joint.len() as u32, patches + end - length);
            patches_of_joint.extend(start..start + n as u32);
            captions_of_joint.extend(start + n as u32..start + (n + length) as u32);
            joint.extend((image * n) as u32..((image + 1) * n) as u32);
            joint.extend(caption as u32..(caption + length) as u32);
        }
        let joint_ends = ends(&|range| n + range.len());
        Self {
            captions: of_image.iter().flat_map(|range| range.start as u32..range.end as u32).collect(),
            joint_blocks: own(&joint_ends),
            patch_ends: ends(&|_| n),
            caption_ends,
            joint_ends,
            joint,
            patches_of_joint,
            captions_of_joint,
        }
    }
}

/// Attention within each group of consecutive rows.
pub(crate) fn own(ends: &[usize]) -> Arc<[Block]> {
    let start = |index: usize| if index == 0 { 0 } else { ends[index - 1] };
    let block = |(index, &end): (usize, &usize)| Block { queries: start(index)..end, keys: start(index)..end };
    ends.iter().enumerate().map(block).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_an_image_stand_together_in_joint_attention() {
        // Two patches each, captions of three rows and one; the second image's caption is a part of the first's.
        let rows = JointRows::new(2, &[4..7, 5..6]);
        assert_eq!(rows.captions, [4, 5, 6, 5]);
        assert_eq!(
            (&rows.patch_ends[..], &rows.caption_ends[..], &rows.joint_ends[..]),
            (&[2, 4][..], &[3, 4][..], &[5, 8][..])
        );
        assert_eq!(rows.joint, [0, 1, 4, 5, 6, 2, 3, 7]);
        assert_eq!((rows.patches_of_joint, rows.captions_of_joint), (vec![0, 1, 5, 6], vec![2, 3, 4, 7]));
        assert_eq!(rows.joint_blocks[1], Block { queries: 5..8, keys: 5..8 });
    }
}
