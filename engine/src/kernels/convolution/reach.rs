//! Which pixel lies under which tap of the kernel.

/// Stands for "no pixel": padding, or a place that a stride leaves out.
pub(super) const NOTHING: u32 = u32::MAX;

/// The sizes of a convolution. Heights come before widths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sizes {
    /// The number of images.
    pub(crate) images: usize,
    /// The size of the images that go in.
    pub(crate) input: [usize; 2],
    /// The size of the images that come out.
    pub(crate) output: [usize; 2],
    /// The size of the kernel.
    pub(crate) kernel: [usize; 2],
    /// The distance of neighbouring places.
    pub(crate) stride: usize,
    /// The rows of zeros above and the columns of zeros to the left.
    pub(crate) padding: [usize; 2],
    /// The number of channels that go in.
    pub(crate) n_in: usize,
    /// The number of channels that come out.
    pub(crate) n_out: usize,
}

/// For each pixel of one side and each tap of the kernel the pixel of the other side.
#[derive(Debug)]
pub(super) struct Reach {
    /// The number of taps.
    pub(super) taps: usize,
    /// Pixels of an image on the near side, for which something is computed.
    pub(super) near: usize,
    /// Pixels of an image on the far side.
    pub(super) far: usize,
    /// `[near, taps]`: the pixel within the far image, or [`NOTHING`].
    pub(super) pixels: Vec<u32>,
    /// The near pixels of one class have the same taps, but for the border.
    pub(super) classes: Option<Vec<u32>>,
}

impl Sizes {
    /// The number of taps.
    pub(super) fn taps(&self) -> usize {
        self.kernel[0] * self.kernel[1]
    }

    /// From the pixels that come out to those they are computed from.
    pub(super) fn reach(&self) -> Reach {
        let axis = |axis: usize| {
            let far = |near: usize, tap: usize| (near * self.stride + tap).checked_sub(self.padding[axis]);
            self.axis(axis, self.output[axis], self.input[axis], far)
        };
        self.combine(&axis(0), &axis(1), self.output, self.input)
    }

    /// From the pixels that go in to those computed from them.
    pub(super) fn reached_from(&self) -> Reach {
        let axis = |axis: usize| {
            let far = |near: usize, tap: usize| {
                let distance = (near + self.padding[axis]).checked_sub(tap)?;
                (distance % self.stride == 0).then_some(distance / self.stride)
            };
            self.axis(axis, self.input[axis], self.output[axis], far)
        };
        let reach = self.combine(&axis(0), &axis(1), self.input, self.output);
        let class = |pixel: usize| {
            let phase = |axis: usize, at: usize| (at + self.padding[axis]) % self.stride;
            phase(0, pixel / self.input[1]) * self.stride + phase(1, pixel % self.input[1])
        };
        let classes = (self.stride > 1).then(|| (0..reach.near).map(|pixel| class(pixel) as u32).collect());
        Reach { classes, ..reach }
    }

    /// By tap: the pixels (out, in) of one image that meet under it.
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
        Reach { taps: self.taps(), near: near[0] * near[1], far: far[0] * far[1], pixels, classes: None }
    }
}
