//! Kernels and composed forms round the same operands of the same products in bf16.

use super::checks::{check_rounding, check_rounding_by_kernels, tensor};
use super::{
    AttentionForm, Convolution, Forest, Grid, Heads, LogitForm, Matrix, Padding, VocabularyQuery, WeightLayout,
    block_attention, conv2d, forest_attention, linear, vocabulary_log_prob,
};
use crate::quantised::{BlockFormat, QuantisedMatrix};
use std::sync::Arc;

#[test]
fn linear_maps() {
    // Few rows and many, outputs that fill no block, too few rows, terms or columns to be rounded.
    for [rows, n_in, n_out] in [[129, 64, 48], [40, 33, 70], [300, 16, 17], [200, 96, 16], [15, 64, 64], [150, 12, 64]]
    {
        for (layout, weight) in [(WeightLayout::OutIn, [n_out, n_in]), (WeightLayout::InOut, [n_in, n_out])] {
            check_rounding(&[&[rows, n_in], &weight, &[n_out]], 1, &|x| linear(&x[0], &x[1], Some(&x[2]), layout));
            check_rounding(&[&[rows, n_in], &weight], 1, &|x| linear(&x[0], &x[1], None, layout));
            // A weight that lies the other way, as a tied one may.
            let turned = [weight[1], weight[0]];
            check_rounding(&[&[rows, n_in], &turned], 1, &|x| linear(&x[0], &x[1].t()?, None, layout));
        }
    }
}

#[test]
fn linear_maps_in_blocks() {
    let (n_out, n_in) = (48, 64);
    let blocks = |_| {
        let scales = tensor(3, &[n_out * n_in / 32]).to_vec1::<f64>().unwrap();
        let block = |scale: &f64| {
            let scale = half::f16::from_f64(scale / 50.).to_le_bytes();
            let numbers = (0..32).map(|i| (i * 37 % 101) as u8);
            scale.into_iter().chain(numbers).collect::<Vec<u8>>()
        };
        let bytes = scales.iter().flat_map(block).collect();
        QuantisedMatrix::new(BlockFormat::Q8_0, n_out, n_in, bytes).unwrap()
    };
    let [matrix, turned] = [blocks(0), blocks(0).turned()].map(|matrix| Matrix::Quantised(Arc::new(matrix)));
    for rows in [40, 140] {
        for (matrix, layout) in [(&matrix, WeightLayout::OutIn), (&turned, WeightLayout::InOut)] {
            check_rounding(&[&[rows, n_in], &[n_out]], 1, &|x| matrix.linear(&x[0], Some(&x[1]), layout));
        }
    }
}

#[test]
fn convolutions() {
    type Case = ([usize; 3], [usize; 2], [usize; 2], usize, [usize; 4]);
    let cases: [Case; 9] = [
        ([2, 6, 7], [3, 3], [32, 48], 1, [1, 1, 1, 1]),
        ([3, 7, 6], [3, 3], [16, 33], 2, [1, 1, 1, 1]),
        // A VAE's way down, uneven padding, kernels that skip pixels.
        ([2, 8, 7], [3, 3], [32, 32], 2, [0, 1, 0, 1]),
        ([2, 5, 4], [3, 3], [40, 17], 1, [2, 0, 3, 1]),
        ([2, 9, 9], [2, 2], [16, 16], 3, [0, 0, 0, 0]),
        ([2, 5, 6], [1, 1], [33, 70], 1, [0, 0, 0, 0]),
        // Patches; latents, whose channels are too few; too few pixels.
        ([2, 8, 8], [2, 2], [16, 64], 2, [0, 0, 0, 0]),
        ([2, 8, 8], [3, 3], [4, 32], 1, [1, 1, 1, 1]),
        ([1, 3, 3], [3, 3], [32, 32], 1, [1, 1, 1, 1]),
    ];
    for ([images, height, width], [down, right], [n_in, n_out], stride, [top, bottom, left, before]) in cases {
        let grid = Grid { images, height, width };
        let padding = Padding { top, bottom, left, right: before };
        let convolution = Convolution { stride, padding };
        let (x, weight) = ([grid.rows(), n_in], [n_out, down, right, n_in]);
        let taps = down * right;
        check_rounding(&[&x, &weight, &[n_out]], taps, &|x| conv2d(&x[0], &x[1], Some(&x[2]), grid, convolution));
        check_rounding(&[&x, &weight], taps, &|x| conv2d(&x[0], &x[1], None, grid, convolution));
    }
}

#[test]
fn vocabularies() {
    for (n, vocabulary, width) in [(40, 300, 32), (8, 300, 32), (140, 64, 48)] {
        let rows: Vec<u32> = (0..n).map(|i| i * 7 % n).collect();
        let targets: Vec<u32> = (0..n).map(|i| i * 31 % vocabulary).collect();
        let query = VocabularyQuery {
            rows: &rows,
            targets: &targets,
            reference: None,
            forms: [LogitForm { scale: 0.5, cap: Some(4.) }, LogitForm::PLAIN],
            diagnostics: false,
            collision: false,
        };
        let (hidden, matrix) = ([n as usize, width], [vocabulary as usize, width]);
        // Rounded logits are off by some of the largest, not of the log-probability.
        check_rounding(&[&hidden, &matrix], 4, &|x| {
            vocabulary_log_prob(&x[0], &Matrix::from(&x[1]), query)?.narrow(1, 0, 1)
        });
    }
}

#[test]
fn attention_is_rounded_by_kernels_alone() {
    let heads = Heads { query: 4, key_value: 2, size: 16 };
    let mut forest = Forest::default();
    let prompt = forest.push(None, 20);
    forest.push(Some(prompt), 24);
    let forest = Arc::new(forest);
    let shapes: [&[usize]; 3] = [&[44, 64], &[44, 32], &[44, 32]];
    check_rounding_by_kernels(&shapes, &|x| {
        forest_attention(&x[0], &x[1], &x[2], heads, AttentionForm::default(), &forest)
    });
    let blocks: Arc<[_]> = [super::Block { queries: 0..44, keys: 0..44 }].into();
    check_rounding_by_kernels(&shapes, &|x| block_attention(&x[0], &x[1], &x[2], heads, &blocks));
}
