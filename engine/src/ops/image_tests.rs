//! The layers of image models: fused equals composed, gradients equal finite differences, values derived by hand.

use super::checks::{check, check_at, tensor};
use super::{Block, Grid, Heads, NormActivation, TimestepEmbedding, block_attention, composed};
use candle_core::{DType, Device, Tensor, Var};
use std::ops::Range;
use std::sync::Arc;

fn numbers(x: &Tensor) -> Vec<f64> {
    x.flatten_all().unwrap().to_vec1().unwrap()
}

#[test]
fn group_norms() {
    // Several blocks of rows with a remainder, one pixel, groups of one channel, one group.
    for (images, height, width, channels, groups) in
        [(2, 9, 5, 12, 4), (3, 1, 1, 64, 4), (1, 11, 9, 6, 6), (2, 5, 7, 40, 1)]
    {
        let grid = Grid { images, height, width };
        let shapes: [&[usize]; 3] = [&[grid.rows(), channels], &[channels], &[channels]];
        for activation in [NormActivation::None, NormActivation::Silu] {
            check(&shapes, &|x| super::group_norm(&x[0], &x[1], &x[2], groups, 1e-5, grid, activation), &|x| {
                composed::group_norm(&x[0], &x[1], &x[2], groups, 1e-5, grid, activation)
            });
        }
    }
}

#[test]
fn a_group_norm_by_hand() {
    // Two images of two pixels, two groups of one channel: each channel of an image becomes -1, 1.
    let x = Tensor::new(&[[1f64, 26.], [3., 10.], [7., 2.], [5., 6.]], &Device::Cpu).unwrap();
    let (weight, bias) =
        (Tensor::new(&[2f64, 3.], &Device::Cpu).unwrap(), Tensor::new(&[0f64, 1.], &Device::Cpu).unwrap());
    let grid = Grid { images: 2, height: 1, width: 2 };
    let y = super::group_norm(&x, &weight, &bias, 2, 0., grid, NormActivation::None).unwrap();
    assert_eq!(numbers(&y), [-2., 4., 2., -2., 2., -2., -2., 4.]);
    for (groups, channels) in [(0, 2), (3, 2), (2, 3)] {
        let weight = Tensor::ones(channels, DType::F64, &Device::Cpu).unwrap();
        assert!(super::group_norm(&x, &weight, &weight, groups, 0., grid, NormActivation::None).is_err());
    }
}

#[test]
fn a_group_norm_far_from_zero_keeps_its_digits() {
    let grid = Grid { images: 2, height: 16, width: 16 };
    let near = tensor(1, &[grid.rows(), 8]);
    let far = (&near + 1000.).unwrap().to_dtype(DType::F32).unwrap();
    // The same numbers, up to single precision.
    let near = (far.to_dtype(DType::F64).unwrap() - 1000.).unwrap();
    let ones = |dtype| Tensor::ones(8, dtype, &Device::Cpu).unwrap();
    let norm = |x: &Tensor| {
        super::group_norm(x, &ones(x.dtype()), &ones(x.dtype()), 4, 1e-6, grid, NormActivation::None).unwrap()
    };
    let difference = (norm(&far).to_dtype(DType::F64).unwrap() - norm(&near)).unwrap().abs().unwrap();
    assert!(difference.max_all().unwrap().to_scalar::<f64>().unwrap() < 2e-4);
}

#[test]
fn gates_and_sums() {
    let wide = (tensor(1, &[7, 38]) * 6.).unwrap();
    check_at(std::slice::from_ref(&wide), &|x| super::quick_gelu(&x[0]), &|x| composed::quick_gelu(&x[0]));
    check_at(std::slice::from_ref(&wide), &|x| super::geglu(&x[0]), &|x| composed::geglu(&x[0]));
    assert!(super::geglu(&tensor(1, &[2, 3])).is_err());
    check(&[&[6, 5], &[6, 9]], &|x| super::concat(&x[0], &x[1]), &|x| composed::concat(&x[0], &x[1]));
    assert!(super::concat(&tensor(1, &[2, 3]), &tensor(1, &[3, 3])).is_err());
    // More rows than one piece of a sum.
    let grid = Grid { images: 3, height: 10, width: 7 };
    check(&[&[210, 9], &[3, 9]], &|x| super::add_per_image(&x[0], &x[1], grid), &|x| {
        composed::add_per_image(&x[0], &x[1], grid)
    });
    assert!(super::add_per_image(&tensor(1, &[210, 9]), &tensor(1, &[2, 9]), grid).is_err());
}

#[test]
fn norms_and_sums_of_groups() {
    // Groups of several pieces, of one row, without rows; one group alone.
    for (ends, width) in [(vec![70, 71, 71, 90], 12), (vec![5], 3), (vec![1, 2, 3], 40)] {
        let (n_rows, ends): (usize, Arc<[usize]>) = (*ends.last().unwrap(), ends.into());
        let (rows, groups): (&[usize], &[usize]) = (&[n_rows, width], &[ends.len(), width]);
        check(&[rows, groups, groups], &|x| super::adaptive_layer_norm(&x[0], &x[1], &x[2], &ends, 1e-6), &|x| {
            composed::adaptive_layer_norm(&x[0], &x[1], &x[2], &ends, 1e-6)
        });
        check(&[rows, rows, groups], &|x| super::gated_add(&x[0], &x[1], &x[2], &ends), &|x| {
            composed::gated_add(&x[0], &x[1], &x[2], &ends)
        });
    }
}

#[test]
fn norms_and_sums_of_groups_by_hand() {
    let x = Tensor::new(&[[1f64, 3.], [5., 1.], [2., 4.]], &Device::Cpu).unwrap();
    let of_groups = |numbers: [[f64; 2]; 2]| Tensor::new(&numbers, &Device::Cpu).unwrap();
    let ends: Arc<[usize]> = [2, 3].into();
    // The rows become (-1, 1), (1, -1), (-1, 1).
    let (scale, shift) = (of_groups([[1., 2.], [-1., 0.]]), of_groups([[0., 10.], [5., 0.]]));
    let y = super::adaptive_layer_norm(&x, &scale, &shift, &ends, 0.).unwrap();
    assert_eq!(numbers(&y), [-2., 13., 2., 7., 5., 1.]);
    let y = super::gated_add(&x, &x, &scale, &ends).unwrap();
    assert_eq!(numbers(&y), [2., 9., 10., 3., 0., 4.]);
    for ends in [vec![2, 2], vec![3, 2, 3], vec![3]] {
        assert!(super::gated_add(&x, &x, &scale, &ends.into()).is_err());
    }
    assert!(super::gated_add(&x, &tensor(1, &[2, 2]), &scale, &ends).is_err());
}

#[test]
fn gates_by_hand() {
    let x = Tensor::new(&[[3f64, 1., 0., 1.]], &Device::Cpu).unwrap();
    // 3 * 0 Phi(0), 1 * Phi(1).
    let y = numbers(&super::geglu(&x).unwrap());
    assert!(y[0] == 0. && (y[1] - 0.841_344_746_068_543).abs() < 1e-12);
    let y = numbers(&super::quick_gelu(&x).unwrap());
    assert!((y[1] - 1. / (1. + (-1.702f64).exp())).abs() < 1e-12 && y[2] == 0.);
}

#[test]
fn errors_of_images() {
    // 40,000 numbers make several pieces per image. The errors are small there, for the accuracy of finite differences.
    for (shape, target) in [([6, 3], tensor(7, &[6, 3])), ([200, 400], (tensor(1, &[200, 400]) * 0.95).unwrap())] {
        let against = |x: &Tensor| target.to_dtype(x.dtype()).unwrap();
        check(&[&shape], &|x| super::squared_errors(&x[0], &against(&x[0]), 2), &|x| {
            composed::squared_errors(&x[0], &against(&x[0]), 2)
        });
    }
    let prediction = Var::new(&[[1f32, 2.], [3., 4.]], &Device::Cpu).unwrap();
    let target = Var::new(&[[0f32, 0.], [3., 2.]], &Device::Cpu).unwrap();
    let errors = super::squared_errors(&prediction, &target, 2).unwrap();
    assert_eq!(errors.to_vec1::<f64>().unwrap(), [5., 4.]);
    let gradients = errors.sum_all().unwrap().backward().unwrap();
    assert_eq!(gradients.get(&prediction).unwrap().to_vec2::<f32>().unwrap(), [[2., 4.], [0., 4.]]);
    assert!(gradients.get(&target).is_none());
    assert!(super::squared_errors(&prediction, &target, 3).is_err());
}

fn blocks(ranges: &[(Range<usize>, Range<usize>)]) -> Arc<[Block]> {
    ranges.iter().map(|(queries, keys)| Block { queries: queries.clone(), keys: keys.clone() }).collect()
}

#[test]
fn attention_in_blocks() {
    // Blocks of more than one tile; two that share keys, out of order; two whose keys overlap; one without queries.
    let blocks =
        blocks(&[(0..70, 3..9), (70..71, 0..3), (71..80, 3..9), (80..80, 0..0), (80..90, 10..20), (90..97, 15..77)]);
    for (query, key_value) in [(2, 2), (4, 2), (3, 1)] {
        let heads = Heads { query, key_value, size: 5 };
        check(
            &[&[97, query * 5], &[77, key_value * 5], &[77, key_value * 5]],
            &|x| block_attention(&x[0], &x[1], &x[2], heads, &blocks),
            &|x| composed::block_attention(&x[0], &x[1], &x[2], heads, &blocks),
        );
    }
}

#[test]
fn attention_to_equal_keys_is_their_mean() {
    let heads = Heads { query: 1, key_value: 1, size: 2 };
    let q = Tensor::new(&[[1f64, 5.], [2., 1.]], &Device::Cpu).unwrap();
    let k = Tensor::new(&[[0f64, 0.], [0., 0.], [9., 9.]], &Device::Cpu).unwrap();
    let v = Tensor::new(&[[1f64, 2.], [3., 6.], [7., 8.]], &Device::Cpu).unwrap();
    let y = block_attention(&q, &k, &v, heads, &blocks(&[(0..1, 0..2), (1..2, 2..3)])).unwrap();
    assert_eq!(numbers(&y), [2., 4., 7., 8.]);
    for bad in [vec![(0..1, 0..2)], vec![(0..2, 0..4)], vec![(0..1, 0..1), (0..2, 0..1)], vec![(0..2, 1..1)]] {
        assert!(block_attention(&q, &k, &v, heads, &blocks(&bad)).is_err(), "{bad:?}");
    }
}

#[test]
fn times_as_diffusers_has_them() {
    // get_timestep_embedding of diffusers: sines first; frequencies 10000^(-i / (half - shift)).
    let embed = |channels, flip_sin_to_cos, downscale_freq_shift| {
        let embedding = TimestepEmbedding { channels, flip_sin_to_cos, downscale_freq_shift };
        embedding.embed(&[0., 7.], DType::F64, &Device::Cpu).map(|x| x.to_vec2::<f64>().unwrap())
    };
    let near = |got: &[f64], expected: &[f64]| {
        assert!(got.len() == expected.len() && got.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12), "{got:?}");
    };
    let (fast, slow) = (7f64, 7e-4f64);
    let x = embed(4, false, 1.).unwrap();
    near(&x[0], &[0., 0., 1., 1.]);
    near(&x[1], &[fast.sin(), slow.sin(), fast.cos(), slow.cos()]);
    near(&embed(5, true, 0.).unwrap()[1], &[fast.cos(), 0.07f64.cos(), fast.sin(), 0.07f64.sin(), 0.]);
    assert!(embed(1, false, 0.).is_err() && embed(4, false, 2.).is_err() && embed(4, false, f64::NAN).is_err());
}
