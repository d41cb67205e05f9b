//! Blocks against numbers computed by hand, products against those of dequantised matrices.

use candle_core::Device;

use super::{BlockFormat, MatrixRows, QuantisedMatrix, product, to_input};
use crate::kernels::few_rows::multiply_few;
use crate::kernels::gemm::{Into, Threads, View, ViewMut, multiply};
use crate::ops::checks::numbers;

const FORMATS: [BlockFormat; 15] = [
    BlockFormat::Q4_0,
    BlockFormat::Q4_1,
    BlockFormat::Q5_0,
    BlockFormat::Q5_1,
    BlockFormat::Q8_0,
    BlockFormat::Q2K,
    BlockFormat::Q3K,
    BlockFormat::Q4K,
    BlockFormat::Q5K,
    BlockFormat::Q6K,
    BlockFormat::Iq4Nl,
    BlockFormat::Iq4Xs,
    BlockFormat::Mxfp4,
    BlockFormat::Tq1,
    BlockFormat::Tq2,
];

/// The places of half-precision scales in a block.
fn scales(format: BlockFormat) -> &'static [usize] {
    match format {
        BlockFormat::Q4_1 | BlockFormat::Q5_1 | BlockFormat::Q4K | BlockFormat::Q5K => &[0, 2],
        BlockFormat::Q2K => &[80, 82],
        BlockFormat::Q3K => &[108],
        BlockFormat::Q6K => &[208],
        BlockFormat::Tq1 => &[52],
        BlockFormat::Tq2 => &[64],
        BlockFormat::Mxfp4 => &[],
        BlockFormat::Q4_0 | BlockFormat::Q5_0 | BlockFormat::Q8_0 | BlockFormat::Iq4Nl | BlockFormat::Iq4Xs => &[0],
    }
}

/// A matrix of pseudo-random blocks with small scales.
fn matrix(format: BlockFormat, n_rows: usize, width: usize) -> QuantisedMatrix {
    let n = n_rows * width / format.block_size();
    let mut bytes: Vec<u8> = numbers(7, n * format.block_bytes()).iter().map(|x| ((x + 1.) * 127.9) as u8).collect();
    for block in bytes.chunks_exact_mut(format.block_bytes()) {
        for &place in scales(format) {
            // About 1 / 100 in half precision.
            block[place + 1] = 0x21;
        }
        if format == BlockFormat::Mxfp4 {
            block[0] = 120 + block[0] % 4;
        }
    }
    QuantisedMatrix::new(format, n_rows, width, bytes).unwrap()
}

#[test]
fn blocks_are_what_their_format_says() {
    let of = |format: BlockFormat, bytes: &[(usize, u8)]| {
        let mut block = vec![0; format.block_bytes()];
        for &(at, byte) in bytes {
            block[at] = byte;
        }
        let matrix = QuantisedMatrix::new(format, 1, format.block_size(), block).unwrap();
        matrix.to_tensor(&Device::Cpu).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap()
    };
    // A scale of 1 is 0x3c00, one of 0.5 is 0x3800.
    let x = of(BlockFormat::Q4_0, &[(1, 0x3c), (2, 0xf3)]);
    assert_eq!((x[0], x[16], x[1]), (-5., 7., -8.));
    let x = of(BlockFormat::Q4_1, &[(1, 0x3c), (3, 0x38), (4, 0xf3)]);
    assert_eq!((x[0], x[16], x[1]), (3.5, 15.5, 0.5));
    // The fifth bits of numbers 0 and 17.
    let x = of(BlockFormat::Q5_0, &[(1, 0x3c), (2, 1), (4, 2), (6, 0xf3), (7, 0x20)]);
    assert_eq!((x[0], x[16], x[17]), (3., -1., 2.));
    let x = of(BlockFormat::Q5_1, &[(1, 0x3c), (3, 0x38), (4, 1), (8, 0xf3)]);
    assert_eq!((x[0], x[16], x[1]), (19.5, 15.5, 0.5));
    let x = of(BlockFormat::Q8_0, &[(1, 0x38), (2, 0xff), (33, 100)]);
    assert_eq!((x[0], x[31]), (-0.5, 50.));
    // Group 1 of 16 has scale 3 and offset 2; its first number is 2: 3 * 2 - 0.5 * 2.
    let x = of(BlockFormat::Q2K, &[(1, 0x23), (81, 0x3c), (83, 0x38), (32, 2)]);
    assert_eq!((x[16], x[17], x[0]), (5., -1., 0.));
    // Group 9, the second of the second half: scale 5 + 16 * 2 - 32 = 5; two bits 3, third bit set: 3 + 4 - 4.
    let x = of(BlockFormat::Q3K, &[(97, 0x50), (105, 0x20), (109, 0x3c), (32 + 32 + 16, 3), (16, 0x10)]);
    assert_eq!((x[144], x[145]), (15., -20.));
    // Group 5: scale 3 | 1 << 4 = 19, offset 2; its number 7 in the high bits of the third 32 bytes.
    let x = of(BlockFormat::Q4K, &[(1, 0x3c), (3, 0x38), (4 + 1, 0x40), (4 + 9, 0x23), (16 + 64, 0x70)]);
    assert_eq!((x[160], x[161]), (132., -1.));
    // The same with the sixth bit of the first byte of fifth bits.
    let x = of(BlockFormat::Q5K, &[(1, 0x3c), (3, 0x38), (5, 0x40), (13, 0x23), (48 + 64, 0x70), (16, 0x20)]);
    assert_eq!((x[160], x[161]), (436., -1.));
    // Group 14, quarter 3 of the second half: the high four bits of byte 96, the highest two of byte 32.
    let x = of(BlockFormat::Q6K, &[(192 + 14, 0xfe), (209, 0x3c), (96, 0x50), (128 + 32, 0xc0)]);
    assert_eq!((x[224], x[225]), (-42., 64.));
}

#[test]
fn sizes_must_fit() {
    let refuse = |rows, width, n: usize| QuantisedMatrix::new(BlockFormat::Q4K, rows, width, vec![0; n]).is_err();
    assert!(refuse(1, 255, 144) && refuse(2, 256, 144) && refuse(1, 0, 0) && !refuse(2, 256, 288));
}

#[test]
fn infinite_scales_are_found() {
    let mut block = vec![0_u8; 34 * 3];
    block[34 * 2..34 * 2 + 2].copy_from_slice(&[0x00, 0x7c]);
    block[34 * 2 + 5] = 1;
    let matrix = QuantisedMatrix::new(BlockFormat::Q8_0, 3, 32, block).unwrap();
    // Zero times infinity is not a number.
    assert!(matches!(matrix.first_not_finite(), Some((64, x)) if x.is_nan()));
}

#[test]
fn products_have_the_bits_of_the_dequantised_matrix() {
    for format in FORMATS {
        let (n_out, n_in) = (300, 512);
        let matrix = matrix(format, n_out, n_in);
        assert_eq!(matrix.first_not_finite(), None, "{format:?}");
        let dense = matrix.to_tensor(&Device::Cpu).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
        for n in [1, 5, 140] {
            let single = |seed, n: usize| -> Vec<f32> { numbers(seed, n).iter().map(|x| *x as f32).collect() };
            let (x, gradient) = (single(1, n * n_in), single(2, n * n_out));
            let expected = if n == 140 {
                let mut y = vec![0.; n * n_out];
                let words = View::new(&dense, n_out, n_in).t();
                multiply(
                    ViewMut::new(&mut y, n, n_out),
                    Into::Replace,
                    1.,
                    View::new(&x, n, n_in),
                    words,
                    Threads::All,
                );
                y
            } else {
                multiply_few(&x, &dense, n_in)
            };
            assert_eq!(product(&x, &matrix), expected, "{format:?} {n}");
            let mut back = vec![0.; n * n_in];
            let (slopes, words) = (View::new(&gradient, n, n_out), View::new(&dense, n_out, n_in));
            multiply(ViewMut::new(&mut back, n, n_in), Into::Replace, 1., slopes, words, Threads::All);
            assert_eq!(to_input(&gradient, &matrix), back, "{format:?} {n}");
        }
    }
}

#[test]
fn parts_of_rows_and_columns_are_read_where_they_are() {
    let matrix = matrix(BlockFormat::Q4K, 7, 768);
    let whole = matrix.to_tensor(&Device::Cpu).unwrap().to_vec2::<f32>().unwrap();
    let mut part = vec![0_f64; 3 * 512];
    matrix.read(2..5, 256..768, &mut part);
    for (row, part) in part.chunks(512).enumerate() {
        assert!(part.iter().zip(&whole[2 + row][256..]).all(|(a, b)| *a == f64::from(*b)));
    }
    assert_eq!(matrix.gather::<f32>(&[4, 0]), [&whole[4][..], &whole[0]].concat());
    let turned = matrix.reordered(|row| 6 - row).to_tensor(&Device::Cpu).unwrap().to_vec2::<f32>().unwrap();
    assert_eq!((&turned[0], &turned[6]), (&whole[6], &whole[0]));
    let squares = matrix.row_squares(&Device::Cpu).unwrap().to_vec1::<f32>().unwrap();
    let expected: f32 = whole[3].iter().map(|x| x * x).sum();
    assert!((squares[3] - expected).abs() < 1e-5 * expected);
}

#[test]
fn tiles_of_a_vocabulary_have_the_bits_of_the_dequantised_matrix() {
    let (matrix, n, width) = (matrix(BlockFormat::Q6K, 700, 256), 9, 256);
    let dense = matrix.to_tensor(&Device::Cpu).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let single = |seed, n: usize| -> Vec<f32> { numbers(seed, n).iter().map(|x| *x as f32).collect() };
    let (x, gradient) = (single(1, n * width), single(2, n * 500));
    let both = [MatrixRows::Dense(&dense), MatrixRows::Quantised(&matrix)].map(|rows| {
        let (mut y, mut back) = (vec![0.; n * 500], vec![1.; n * width]);
        rows.times(&mut y, 0.5, &x, width, 100..600);
        rows.add_back(&mut back, 2., &gradient, width, 100..600);
        (rows.n_rows(width), y, back)
    });
    assert_eq!(both[0], both[1]);
}
