//! Group normalisation over the pixels of an image and a group of adjacent channels.
//!
//! Every image is a task with smaller ones inside, so that an image is still in the cache on the second read. Loops run
//! along the channels; sums over blocks of rows are in the kernel's own precision, those over blocks in `f64`, first to
//! last.

use super::Real;
use super::elementwise::Curve;
use super::norm::NormGradients;
use super::parallel::{filled_with, simd};
use rayon::prelude::*;
use std::marker::PhantomData;

/// Rows whose sums are in the kernel's own precision.
const BLOCK: usize = 32;

/// Mean and `1 / sqrt(variance + eps)` of every group of every image.
pub(crate) type Moments = Vec<[f64; 2]>;

/// A group norm followed by the activation `C`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct GroupNorm<'a, T, C> {
    pub(crate) weight: &'a [T],
    pub(crate) bias: &'a [T],
    pub(crate) groups: usize,
    /// Rows of one image.
    pub(crate) pixels: usize,
    pub(crate) eps: f64,
    pub(crate) activation: PhantomData<C>,
}

/// The affine map of an image's pixels, by channel: `(x - centre) * scale`, then weight and bias.
struct Channels<T> {
    centre: Vec<T>,
    scale: Vec<T>,
}

/// Count, mean and sum of squared deviations.
#[derive(Clone, Copy)]
struct BlockMoments {
    n: f64,
    mean: f64,
    squares: f64,
}

impl BlockMoments {
    const NOTHING: Self = Self { n: 0., mean: 0., squares: 0. };

    /// The merged statistics of both, after Chan, Golub and LeVeque (1979).
    fn with(self, other: Self) -> Self {
        let n = self.n + other.n;
        let step = other.mean - self.mean;
        let mean = self.mean + step * other.n / n;
        Self { n, mean, squares: self.squares + other.squares + step * step * self.n * other.n / n }
    }
}

impl<T: Real, C: Curve> GroupNorm<'_, T, C> {
    fn width(&self) -> usize {
        self.weight.len()
    }

    /// Numbers of one image.
    fn image(&self) -> usize {
        self.pixels * self.width()
    }

    /// Result and moments.
    pub(crate) fn forward(&self, x: &[T]) -> (Vec<T>, Moments) {
        let (result, moments) = filled_with(x.len(), self.image(), |image, y| {
            let x = &x[image * self.image()..][..y.len()];
            let moments = self.moments(x);
            self.apply(y, x, &self.channels(&moments));
            moments
        });
        (result, moments.concat())
    }

    fn moments(&self, x: &[T]) -> Moments {
        let rows = BLOCK * self.width();
        let blocks: Vec<Vec<BlockMoments>> = x
            .par_chunks(rows)
            .map(|block| {
                simd(
                    #[inline(always)]
                    || self.block_moments(block),
                )
            })
            .collect();
        let total = |group: usize| blocks.iter().fold(BlockMoments::NOTHING, |sum, block| sum.with(block[group]));
        (0..self.groups)
            .map(total)
            .map(|spread| [spread.mean, 1. / (spread.squares / spread.n + self.eps).sqrt()])
            .collect()
    }

    /// The statistics of a block of rows, in two passes.
    #[inline(always)]
    fn block_moments(&self, block: &[T]) -> Vec<BlockMoments> {
        let (width, size) = (self.width(), self.width() / self.groups);
        let n = (block.len() / self.groups) as f64;
        let mut sums = vec![T::zero(); width];
        for row in block.chunks_exact(width) {
            for (sum, &x) in sums.iter_mut().zip(row) {
                *sum += x;
            }
        }
        let mut block_moments: Vec<BlockMoments> = sums
            .chunks_exact(size)
            .map(|sums| BlockMoments { n, mean: sums.iter().map(|sum| sum.wide()).sum::<f64>() / n, squares: 0. })
            .collect();
        let mut squares = vec![T::zero(); width];
        let centres = by_channel(block_moments.iter().map(|spread| spread.mean), size);
        for row in block.chunks_exact(width) {
            for ((square, &x), &centre) in squares.iter_mut().zip(row).zip(&centres) {
                *square = (x - centre).fused(x - centre, *square);
            }
        }
        for (spread, squares) in block_moments.iter_mut().zip(squares.chunks_exact(size)) {
            spread.squares = squares.iter().map(|square| square.wide()).sum();
        }
        block_moments
    }

    fn channels(&self, moments: &[[f64; 2]]) -> Channels<T> {
        let size = self.width() / self.groups;
        let spread = |index: usize| by_channel(moments.iter().map(|moment| moment[index]), size);
        Channels { centre: spread(0), scale: spread(1) }
    }

    fn apply(&self, y: &mut [T], x: &[T], channels: &Channels<T>) {
        let width = self.width();
        let slopes: Vec<T> = self.weight.iter().zip(&channels.scale).map(|(&weight, &scale)| weight * scale).collect();
        let (centre, slopes, bias) = (&channels.centre[..width], &slopes[..width], &self.bias[..width]);
        let pieces = y.par_chunks_mut(BLOCK * width).zip(x.par_chunks(BLOCK * width));
        pieces.with_min_len(4).for_each(|(y, x)| {
            simd(
                #[inline(always)]
                || {
                    for (y, x) in y.chunks_exact_mut(width).zip(x.chunks_exact(width)) {
                        for i in 0..width {
                            y[i] = C::value((x[i] - centre[i]).fused(slopes[i], bias[i]));
                        }
                    }
                },
            );
        });
    }

    /// Gradients for input (empty unless required), weight and bias.
    ///
    /// With `n = (x - mean) scale`, `d = gradient * activation'(n weight + bias)` and `h = d * weight`: `dx = scale (h -
    /// mean(h) - n mean(h n))`, `dweight = sum d n`, `dbias = sum d`.
    pub(crate) fn backward(&self, x: &[T], moments: &[[f64; 2]], gradient: &[T], wants_x: bool) -> NormGradients<T> {
        let (to_x, sums) = filled_with(x.len(), self.image(), |image, to_x| {
            let [x, gradient] = [x, gradient].map(|all| &all[image * self.image()..][..to_x.len()]);
            let channels = self.channels(&moments[image * self.groups..][..self.groups]);
            let sums = self.sums(to_x, x, gradient, &channels);
            if wants_x {
                self.finish(to_x, x, &channels, &sums);
            }
            sums
        });
        let total = |index: usize| {
            let of_channel = |channel: usize| T::of(sums.iter().map(|image| image[channel][index]).sum());
            (0..self.width()).map(of_channel).collect()
        };
        let (bias, weight) = (total(0), total(1));
        NormGradients { x: if wants_x { to_x } else { Vec::new() }, weight, bias }
    }

    /// Writes `d` and sums `d` and `d n` over an image's pixels, channel by channel.
    fn sums(&self, slopes: &mut [T], x: &[T], gradient: &[T], channels: &Channels<T>) -> Vec<[f64; 2]> {
        let width = self.width();
        let rows = BLOCK * width;
        let blocks: Vec<Vec<T>> = slopes
            .par_chunks_mut(rows)
            .zip(x.par_chunks(rows).zip(gradient.par_chunks(rows)))
            .map(|(slopes, (x, gradient))| {
                let mut sums = vec![T::zero(); 2 * width];
                simd(
                    #[inline(always)]
                    || self.sum_block(&mut sums, slopes, x, gradient, channels),
                );
                sums
            })
            .collect();
        let total = |index: usize| blocks.iter().map(|block| block[index].wide()).sum();
        (0..width).map(|channel| [total(channel), total(width + channel)]).collect()
    }

    #[inline(always)]
    fn sum_block(&self, sums: &mut [T], slopes: &mut [T], x: &[T], gradient: &[T], channels: &Channels<T>) {
        let width = self.width();
        let (levels, along) = sums.split_at_mut(width);
        let (levels, along) = (&mut levels[..width], &mut along[..width]);
        let (centre, scale) = (&channels.centre[..width], &channels.scale[..width]);
        let (weight, bias) = (&self.weight[..width], &self.bias[..width]);
        let inputs = x.chunks_exact(width).zip(gradient.chunks_exact(width));
        for (slopes, (x, gradient)) in slopes.chunks_exact_mut(width).zip(inputs) {
            for i in 0..width {
                let normal = (x[i] - centre[i]) * scale[i];
                let slope = gradient[i] * C::slope(normal.fused(weight[i], bias[i]));
                slopes[i] = slope;
                levels[i] += slope;
                along[i] = slope.fused(normal, along[i]);
            }
        }
    }

    /// Turns `d` into the gradient for the input.
    fn finish(&self, to_x: &mut [T], x: &[T], channels: &Channels<T>, sums: &[[f64; 2]]) {
        let (width, size) = (self.width(), self.width() / self.groups);
        let n = (self.pixels * size) as f64;
        let mean = |index: usize| {
            let of_group = move |group: usize| {
                let channels = group * size..(group + 1) * size;
                channels.map(|channel| self.weight[channel].wide() * sums[channel][index]).sum::<f64>() / n
            };
            by_channel((0..self.groups).map(of_group), size)
        };
        let (level, along): (Vec<T>, Vec<T>) = (mean(0), mean(1));
        let (centre, scale) = (&channels.centre[..width], &channels.scale[..width]);
        let (level, along, weight) = (&level[..width], &along[..width], &self.weight[..width]);
        let pieces = to_x.par_chunks_mut(BLOCK * width).zip(x.par_chunks(BLOCK * width));
        pieces.with_min_len(4).for_each(|(to_x, x)| {
            simd(
                #[inline(always)]
                || {
                    for (to_x, x) in to_x.chunks_exact_mut(width).zip(x.chunks_exact(width)) {
                        for i in 0..width {
                            let normal = (x[i] - centre[i]) * scale[i];
                            to_x[i] = scale[i] * (to_x[i].fused(weight[i], -level[i]) - normal * along[i]);
                        }
                    }
                },
            );
        });
    }
}

/// Each group's number for each of its channels.
fn by_channel<T: Real>(numbers: impl Iterator<Item = f64>, size: usize) -> Vec<T> {
    numbers.flat_map(|x| std::iter::repeat_n(T::of(x), size)).collect()
}
