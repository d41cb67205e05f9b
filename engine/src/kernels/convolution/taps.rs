//! The table of pixels under each tap of a convolution's kernel.

use std::collections::BTreeMap;

/// The index of no pixel: padding, or a position skipped by a stride.
pub(super) const NOTHING: u32 = super::super::bf16::NOTHING;

/// The sizes of a convolution. Heights come before widths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sizes {
    /// The number of images.
    pub(crate) images: usize,
    /// The size of the input images.
    pub(crate) input: [usize; 2],
    /// The size of the output images.
    pub(crate) output: [usize; 2],
    /// The size of the kernel.
    pub(crate) kernel: [usize; 2],
    /// The stride.
    pub(crate) stride: usize,
    /// Rows of zeros above and columns of zeros to the left.
    pub(crate) padding: [usize; 2],
    /// The number of input channels.
    pub(crate) n_in: usize,
    /// The number of output channels.
    pub(crate) n_out: usize,
}

/// For each pixel of one side and each tap of the kernel the corresponding pixel of the other side.
///
/// # Safety invariants
///
/// Threads write the rows of near pixels concurrently, each those of one piece of [`Reach::order`]. So the groups hold
/// each of the pixels `0..near` exactly once.
#[derive(Debug)]
pub(super) struct Reach {
    /// The number of taps.
    pub(super) taps: usize,
    /// Pixels of an image on the near side, which is computed.
    pub(super) near: usize,
    /// Pixels of an image on the far side, which is read.
    pub(super) far: usize,
    /// `[near, taps]`: the pixel within the far image, or [`NOTHING`].
    pub(super) pixels: Vec<u32>,
    /// The near pixels, grouped by their taps in range.
    groups: Vec<Vec<u32>>,
}

impl Sizes {
    /// The number of taps.
    pub(super) fn taps(&self) -> usize {
        self.kernel[0] * self.kernel[1]
    }

    /// From output pixels to the input pixels under the kernel.
    pub(super) fn reach(&self) -> Reach {
        let axis = |axis: usize| {
            let far = |near: usize, tap: usize| (near * self.stride + tap).checked_sub(self.padding[axis]);
            self.axis(axis, self.output[axis], self.input[axis], far)
        };
        self.combine(&axis(0), &axis(1), self.output, self.input)
    }

    /// From input pixels to the output pixels that read them.
    pub(super) fn reached_from(&self) -> Reach {
        let axis = |axis: usize| {
            let far = |near: usize, tap: usize| {
                let distance = (near + self.padding[axis]).checked_sub(tap)?;
                (distance % self.stride == 0).then_some(distance / self.stride)
            };
            self.axis(axis, self.input[axis], self.output[axis], far)
        };
        self.combine(&axis(0), &axis(1), self.input, self.output)
    }

    /// By tap: the pairs (out, in) of pixels of one image.
    pub(super) fn meetings(&self) -> Vec<Vec<(u32, u32)>> {
        let reach = self.reach();
        let of_tap = |tap: usize| {
            let far = reach.pixels.iter().skip(tap).step_by(reach.taps);
            (0..).zip(far.copied()).filter(|&(_, far)| far != NOTHING).collect()
        };
        (0..reach.taps).map(of_tap).collect()
    }

    /// `[near, taps]` along one axis.
    fn axis(
        &self,
        axis: usize,
        near: usize,
        far: usize,
        of: impl Fn(usize, usize) -> Option<usize>,
    ) -> Vec<Option<u32>> {
        let taps = self.kernel[axis];
        let index = |index: usize| of(index / taps, index % taps).filter(|&at| at < far).map(|at| at as u32);
        (0..near * taps).map(index).collect()
    }

    fn combine(&self, down: &[Option<u32>], right: &[Option<u32>], near: [usize; 2], far: [usize; 2]) -> Reach {
        let [down_taps, right_taps] = self.kernel;
        let mut pixels = Vec::with_capacity(near[0] * near[1] * self.taps());
        for down in down.chunks_exact(down_taps) {
            for right in right.chunks_exact(right_taps) {
                for &row in down {
                    let pixel = |column: Option<u32>| Some(row? * far[1] as u32 + column?);
                    pixels.extend(right.iter().map(|&column| pixel(column).unwrap_or(NOTHING)));
                }
            }
        }
        let groups = groups(&pixels, self.taps());
        Reach { taps: self.taps(), near: near[0] * near[1], far: far[0] * far[1], pixels, groups }
    }
}

impl Reach {
    /// By tap: for each near pixel of all images the row of the far pixel, or [`NOTHING`].
    ///
    /// # Panics
    ///
    /// If there are more rows than `u32` can count.
    pub(super) fn tables(&self, images: usize) -> Vec<Vec<u32>> {
        let rows = images.checked_mul(self.near.max(self.far));
        assert!(rows.is_some_and(|rows| u32::try_from(rows).is_ok()), "more pixels than can be counted");
        let of_tap = |tap: usize| {
            let of_image = |image: usize| {
                let first = (image * self.far) as u32;
                let pixels = self.pixels.iter().skip(tap).step_by(self.taps);
                pixels.map(move |&pixel| if pixel == NOTHING { NOTHING } else { first + pixel })
            };
            (0..images).flat_map(of_image).collect()
        };
        (0..self.taps).map(of_tap).collect()
    }

    /// The near pixels of all images, group by group: each row once.
    ///
    /// # Panics
    ///
    /// If there are more rows than `u32` can count.
    pub(super) fn order(&self, images: usize) -> Vec<u32> {
        let rows = images.checked_mul(self.near);
        assert!(rows.is_some_and(|rows| u32::try_from(rows).is_ok()), "more pixels than can be counted");
        let of_image = |group, image| {
            let first = (image * self.near) as u32;
            <[u32]>::iter(group).map(move |pixel| first + pixel)
        };
        self.groups.iter().flat_map(|group| (0..images).flat_map(move |image| of_image(group, image))).collect()
    }
}

/// Near pixels grouped by their taps in range.
fn groups(pixels: &[u32], taps: usize) -> Vec<Vec<u32>> {
    let mut groups: BTreeMap<Vec<bool>, Vec<u32>> = BTreeMap::new();
    for (near, reached) in (0..).zip(pixels.chunks_exact(taps)) {
        let pattern = reached.iter().map(|&far| far != NOTHING).collect();
        groups.entry(pattern).or_default().push(near);
    }
    groups.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::checks;
    use proptest::prelude::*;

    /// Sizes that fit the kernel, with and without pixels that no position of it covers.
    fn sizes() -> impl Strategy<Value = Sizes> {
        let axis = || (1..7usize, 1..4usize, 0..4usize, 0..4usize);
        (1..4usize, axis(), axis(), 1..4usize).prop_filter_map(
            "a kernel that fits nowhere",
            |(images, rows, columns, stride)| {
                let places = |(size, kernel, before, after): (usize, usize, usize, usize)| {
                    Some((size + before + after).checked_sub(kernel)? / stride + 1)
                };
                let output = [places(rows)?, places(columns)?];
                let [input, kernel, padding] = [[rows.0, columns.0], [rows.1, columns.1], [rows.2, columns.2]];
                Some(Sizes { images, input, output, kernel, stride, padding, n_in: 1, n_out: 1 })
            },
        )
    }

    proptest! {
        #![proptest_config(checks::config())]

        #[cfg_attr(miri, ignore = "safe code alone, and slow there")]
        #[test]
        fn each_row_comes_once(sizes in sizes()) {
            for (reach, [height, width]) in [(sizes.reach(), sizes.output), (sizes.reached_from(), sizes.input)] {
                prop_assert_eq!(reach.near, height * width);
                let mut order = reach.order(sizes.images);
                order.sort_unstable();
                prop_assert!(order.into_iter().eq(0..(sizes.images * height * width) as u32));
            }
        }

        #[cfg_attr(miri, ignore = "safe code alone, and slow there")]
        #[test]
        fn both_sides_reach_each_other_where_the_kernel_lies(sizes in sizes()) {
            let (reach, back) = (sizes.reach(), sizes.reached_from());
            let mut expected = vec![NOTHING; back.pixels.len()];
            for (place, &far) in reach.pixels.iter().enumerate() {
                let (near, tap) = (place / reach.taps, place % reach.taps);
                let at = |axis: usize, near: usize, tap: usize| {
                    (near * sizes.stride + tap).checked_sub(sizes.padding[axis]).filter(|&at| at < sizes.input[axis])
                };
                let row = at(0, near / sizes.output[1], tap / sizes.kernel[1]);
                let column = at(1, near % sizes.output[1], tap % sizes.kernel[1]);
                let pixel = row.zip(column).map(|(row, column)| row * sizes.input[1] + column);
                prop_assert_eq!((far != NOTHING).then_some(far as usize), pixel);
                if let Some(pixel) = pixel {
                    expected[pixel * back.taps + tap] = near as u32;
                }
            }
            prop_assert_eq!(back.pixels, expected);
        }
    }

    #[test]
    #[should_panic(expected = "more pixels than can be counted")]
    fn rows_past_the_numbers_are_refused() {
        let sizes = Sizes {
            images: 1,
            input: [2, 2],
            output: [2, 2],
            kernel: [1, 1],
            stride: 1,
            padding: [0, 0],
            n_in: 1,
            n_out: 1,
        };
        sizes.reach().order(1 << 30);
    }
}
