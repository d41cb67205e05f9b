//! Convolutions and upsampling: fused equals composed, gradients equal finite differences, values derived by hand.

use super::checks::{check, tensor};
use super::{Convolution, Grid, Padding, composed, conv2d, upsample_nearest};
use candle_core::{DType, Device, Tensor, Var};

/// (images, height, width), kernel, (in, out), stride, (top, bottom, left, right).
type Case = ([usize; 3], [usize; 2], [usize; 2], usize, [usize; 4]);

const CASES: [Case; 14] = [
    ([2, 5, 7], [3, 3], [3, 4], 1, [1, 1, 1, 1]),
    ([3, 7, 6], [3, 3], [4, 3], 2, [1, 1, 1, 1]),
    // The padding of a VAE's downsampling.
    ([2, 6, 5], [3, 3], [2, 5], 2, [0, 1, 0, 1]),
    ([2, 5, 4], [3, 3], [3, 2], 1, [2, 0, 3, 1]),
    ([2, 3, 5], [1, 1], [5, 3], 1, [0, 0, 0, 0]),
    ([2, 5, 6], [1, 1], [3, 4], 2, [0, 0, 0, 0]),
    ([1, 6, 9], [2, 5], [3, 2], 3, [1, 0, 2, 2]),
    // A kernel that skips pixels.
    ([1, 8, 8], [2, 2], [2, 2], 3, [0, 0, 0, 0]),
    // Patches, and more padding than the kernel size.
    ([2, 4, 4], [2, 2], [3, 6], 2, [3, 2, 0, 4]),
    // More channels than a pair of vectors holds, both ways.
    ([1, 4, 5], [3, 3], [35, 37], 1, [1, 1, 1, 1]),
    ([2, 5, 6], [3, 3], [37, 35], 2, [1, 1, 1, 1]),
    ([2, 4, 5], [1, 1], [33, 70], 1, [0, 0, 0, 0]),
    // The output is as large as the input, and other pixels.
    ([1, 3, 3], [1, 1], [2, 3], 2, [1, 1, 1, 1]),
    // More pixels than one block holds.
    ([2, 24, 25], [3, 3], [2, 3], 1, [1, 1, 1, 1]),
];

fn grid([images, height, width]: [usize; 3]) -> Grid {
    Grid { images, height, width }
}

#[test]
fn convolutions() {
    for (size, [height, width], [n_in, n_out], stride, [top, bottom, left, right]) in CASES {
        let grid = grid(size);
        let convolution = Convolution { stride, padding: Padding { top, bottom, left, right } };
        let (x, weight) = ([grid.rows(), n_in], [n_out, height, width, n_in]);
        check(&[&x, &weight, &[n_out]], &|x| conv2d(&x[0], &x[1], Some(&x[2]), grid, convolution), &|x| {
            composed::conv2d(&x[0], &x[1], Some(&x[2]), grid, convolution)
        });
        check(&[&x, &weight], &|x| conv2d(&x[0], &x[1], None, grid, convolution), &|x| {
            composed::conv2d(&x[0], &x[1], None, grid, convolution)
        });
    }
}

#[test]
fn upsampling() {
    let grid = grid([2, 3, 5]);
    check(&[&[30, 7]], &|x| upsample_nearest(&x[0], grid), &|x| composed::upsample_nearest(&x[0], grid));
    let x = Tensor::arange(0f64, 4., &Device::Cpu).unwrap().reshape((4, 1)).unwrap();
    let y = upsample_nearest(&x, Grid { images: 1, height: 2, width: 2 }).unwrap();
    let y = y.flatten_all().unwrap().to_vec1::<f64>().unwrap();
    assert_eq!(y, [0., 0., 1., 1., 0., 0., 1., 1., 2., 2., 3., 3., 2., 2., 3., 3.]);
}

#[test]
fn a_convolution_by_hand() {
    // The image 1 2 3 / 4 5 6 under the kernel 1 10 / 100 1000, with a column of zeros to the right.
    let x = Tensor::arange(1f64, 7., &Device::Cpu).unwrap().reshape((6, 1)).unwrap();
    let weight = Tensor::new(&[1f64, 10., 100., 1000.], &Device::Cpu).unwrap().reshape((1, 2, 2, 1)).unwrap();
    let convolution = Convolution { stride: 1, padding: Padding { right: 1, ..Padding::default() } };
    let bias = Tensor::new(&[0.5f64], &Device::Cpu).unwrap();
    let y = conv2d(&x, &weight, Some(&bias), grid([1, 2, 3]), convolution).unwrap();
    // 1 + 20 + 400 + 5000; 2 + 30 + 500 + 6000; 3 + 600.
    assert_eq!(y.flatten_all().unwrap().to_vec1::<f64>().unwrap(), [5421.5, 6532.5, 603.5]);
}

#[test]
fn the_bits_do_not_depend_on_the_threads() {
    let grid = grid([3, 9, 10]);
    let run = || {
        let x = Var::from_tensor(&tensor(1, &[grid.rows(), 20]).to_dtype(DType::F32).unwrap()).unwrap();
        let weight = Var::from_tensor(&tensor(2, &[40, 3, 3, 20]).to_dtype(DType::F32).unwrap()).unwrap();
        let y = conv2d(&x, &weight, None, grid, Convolution::same(3)).unwrap();
        let store = y.sqr().unwrap().sum_all().unwrap().backward().unwrap();
        let numbers = |x: &Tensor| x.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        [numbers(&y), numbers(store.get(&x).unwrap()), numbers(store.get(&weight).unwrap())]
    };
    let with_threads = |n| rayon::ThreadPoolBuilder::new().num_threads(n).build().unwrap().install(run);
    assert_eq!(with_threads(1), with_threads(3));
}

#[test]
fn sizes_that_come_out() {
    let output = |convolution: Convolution, kernel| convolution.output(grid([2, 32, 33]), kernel);
    assert_eq!(output(Convolution::same(3), (3, 3)), Some(grid([2, 32, 33])));
    let halving = Convolution { stride: 2, padding: Padding::all(1) };
    assert_eq!(output(halving, (3, 3)), Some(grid([2, 16, 17])));
    let lopsided = Convolution { stride: 2, padding: Padding { bottom: 1, right: 1, ..Padding::default() } };
    assert_eq!(output(lopsided, (3, 3)), Some(grid([2, 16, 16])));
    let plain = Convolution { stride: 1, padding: Padding::default() };
    assert_eq!(output(plain, (33, 1)), None);
    assert_eq!(output(plain, (0, 1)), None);
    assert_eq!(output(Convolution { stride: 0, ..plain }, (1, 1)), None);
}

#[test]
fn no_images_give_no_rows() {
    let (x, weight) = (tensor(1, &[12, 2]).narrow(0, 0, 0).unwrap(), tensor(2, &[4, 3, 3, 2]));
    let y = conv2d(&x, &weight, None, grid([0, 3, 4]), Convolution::same(3)).unwrap();
    assert_eq!(y.dims(), [0, 4]);
    assert_eq!(upsample_nearest(&x, grid([0, 3, 4])).unwrap().dims(), [0, 2]);
}

#[test]
fn shapes_that_do_not_fit_are_refused() {
    let refuse = |rows, weight: &[usize], bias: usize, size| {
        let (x, weight, bias) = (tensor(1, &[rows, 2]), tensor(2, weight), tensor(3, &[bias]));
        let error = conv2d(&x, &weight, Some(&bias), grid(size), Convolution::same(3)).unwrap_err().to_string();
        assert!(error.contains(&format!("[{rows}, 2]")), "{error}");
    };
    refuse(11, &[4, 3, 3, 2], 4, [1, 3, 4]);
    refuse(12, &[4, 3, 3, 3], 4, [1, 3, 4]);
    refuse(12, &[4, 3, 3, 2], 3, [1, 3, 4]);
    refuse(12, &[4, 7, 3, 2], 4, [1, 3, 4]);
    assert!(upsample_nearest(&tensor(1, &[11, 2]), grid([1, 3, 4])).is_err());
}
