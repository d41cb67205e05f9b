//! Every op: fused equals composed, gradients equal finite differences, frozen inputs cost nothing.

use super::checks::{check, check_at, tensor};
use super::{
    AttentionForm, AxialRope, Forest, Heads, LogitForm, Matrix, Pairing, QkvLayout, Rope, RopeScaling, VocabularyQuery,
    WeightLayout, composed, forest_attention,
};
use candle_core::{DType, Device, Tensor, Var};
use std::sync::Arc;

#[test]
fn activations() {
    // Wide enough for both tails, long enough for several lanes and a remainder.
    let x = (tensor(1, &[7, 19]) * 6.).unwrap();
    check_at(std::slice::from_ref(&x), &|x| super::gelu(&x[0]), &|x| composed::gelu(&x[0]));
    check_at(std::slice::from_ref(&x), &|x| super::gelu_tanh(&x[0]), &|x| composed::gelu_tanh(&x[0]));
    check_at(std::slice::from_ref(&x), &|x| super::silu(&x[0]), &|x| composed::silu(&x[0]));
    check_at(std::slice::from_ref(&x), &|x| super::tanh(&x[0]), &|x| composed::tanh(&x[0]));
    let up = tensor(2, &[7, 19]);
    check_at(&[x, up], &|x| super::swiglu(&x[0], &x[1]), &|x| composed::swiglu(&x[0], &x[1]));
    check(&[&[5, 33], &[5, 33]], &|x| super::add(&x[0], &x[1]), &|x| composed::add(&x[0], &x[1]));
}

#[test]
fn activations_of_single_precision_are_good_to_its_rounding() {
    let x: Vec<f64> = (-1200..1200).map(|i| f64::from(i) * 0.01).collect();
    let double = Tensor::new(x, &Device::Cpu).unwrap();
    let single = double.to_dtype(DType::F32).unwrap();
    let functions: [fn(&Tensor) -> candle_core::Result<Tensor>; 3] = [super::gelu, super::gelu_tanh, super::silu];
    for function in functions {
        let ours = function(&single).unwrap().to_dtype(DType::F64).unwrap();
        let exact = function(&single.to_dtype(DType::F64).unwrap()).unwrap();
        let (ours, exact) = (ours.to_vec1::<f64>().unwrap(), exact.to_vec1::<f64>().unwrap());
        assert_eq!((ours.len(), exact.len()), (2400, 2400));
        for (a, b) in ours.iter().zip(exact) {
            assert!((a - b).abs() <= 3e-7 * b.abs() + 1e-12 + 1e-5 * b.abs() * f64::from(b < 0.), "{a} for {b}");
        }
    }
}

#[test]
fn linear_maps() {
    for (layout, weight) in [(WeightLayout::OutIn, [11, 7]), (WeightLayout::InOut, [7, 11])] {
        check(&[&[5, 7], &weight, &[11]], &|x| super::linear(&x[0], &x[1], Some(&x[2]), layout), &|x| {
            composed::linear(&x[0], &x[1], Some(&x[2]), layout)
        });
        check(&[&[130, 7], &weight], &|x| super::linear(&x[0], &x[1], None, layout), &|x| {
            composed::linear(&x[0], &x[1], None, layout)
        });
    }
}

#[test]
fn norms() {
    for width in [5, 64, 77] {
        check(&[&[70, width], &[width], &[width]], &|x| super::layer_norm(&x[0], &x[1], Some(&x[2]), 1e-5), &|x| {
            composed::layer_norm(&x[0], &x[1], Some(&x[2]), 1e-5)
        });
    }
    check(&[&[3, 40], &[40]], &|x| super::layer_norm(&x[0], &x[1], None, 1e-5), &|x| {
        composed::layer_norm(&x[0], &x[1], None, 1e-5)
    });
    check(&[&[3, 40], &[40]], &|x| super::rms_norm(&x[0], &x[1], 1e-6), &|x| composed::rms_norm(&x[0], &x[1], 1e-6));
}

#[test]
fn embeddings() {
    let ids = [3, 0, 3, 8];
    check(&[&[9, 6]], &|x| super::embedding(&ids, &x[0]), &|x| composed::embedding(&ids, &x[0]));
    assert!(super::embedding(&[9], &tensor(1, &[9, 6])).is_err());
}

fn ropes() -> impl Iterator<Item = Rope> {
    let llama3 = RopeScaling::Llama3 { factor: 8., low_frequency: 1., high_frequency: 4., original_context: 50. };
    let yarn = RopeScaling::Yarn { factor: 4., fast: 32., slow: 1., original_context: 50., rounded: true };
    [
        (4, Pairing::Halves, RopeScaling::None),
        (8, Pairing::Halves, RopeScaling::Linear { factor: 2. }),
        (6, Pairing::Interleaved, RopeScaling::None),
        (8, Pairing::Interleaved, llama3),
        // Three coordinates rotate as two pairs.
        (3, Pairing::Halves, RopeScaling::None),
        (8, Pairing::Halves, yarn),
        (4, Pairing::Halves, RopeScaling::Divided { factors: vec![1., 2.5] }),
    ]
    .into_iter()
    .map(|(width, pairing, scaling)| Rope::new(10_000., width, pairing, &scaling).with_magnitude(1.1))
}

#[test]
fn rotary_embeddings() {
    // The last position is past the cached angles.
    let positions = [0, 1, 2, 1, 40_000];
    let near = [3, 0, 700, 2, 2];
    let heads = Heads { query: 3, key_value: 3, size: 8 };
    for rope in ropes() {
        check(&[&[5, 24]], &|x| super::rope(&x[0], &positions, 3, 8, &rope), &|x| {
            composed::rope(&x[0], &positions, 3, 8, &rope)
        });
        check(&[&[5, 24]], &|x| super::rope(&x[0], &near, 3, 8, &rope), &|x| composed::rope(&x[0], &near, 3, 8, &rope));
        for layout in [QkvLayout::PerHead, QkvLayout::Blocks] {
            check(&[&[5, 72]], &|x| super::rope_packed(&x[0], &positions, heads, layout, &rope), &|x| {
                composed::rope_packed(&x[0], &positions, heads, layout, &rope)
            });
        }
    }
}

#[test]
fn rotary_embeddings_over_axes() {
    let places = [[0, 0, 0], [0, 1, 2], [3, 0, 1]];
    let rows = vec![0, 2, 1, 1, 0];
    for pairing in [Pairing::Interleaved, Pairing::Halves] {
        let rope = AxialRope::new(10_000., &[2, 4, 2], pairing, &places, rows.clone()).unwrap();
        for size in [8, 10] {
            check(&[&[5, 3 * size]], &|x| super::axial_rope(&x[0], &rope, 3, size), &|x| {
                composed::axial_rope(&x[0], &rope, 3, size)
            });
        }
        assert!(super::axial_rope(&tensor(1, &[4, 24]), &rope, 3, 8).is_err());
        assert!(super::axial_rope(&tensor(1, &[5, 18]), &rope, 3, 6).is_err());
    }
    // The second axis has the pairs 1 and 2: of (0, 1, 2) those turn by 1 and 1 / 100, the last pair by 2.
    let rope = AxialRope::new(10_000., &[2, 4, 2], Pairing::Interleaved, &places, vec![1]).unwrap();
    let x = Tensor::new(&[[1f64, 0., 1., 0., 1., 0., 1., 0.]], &Device::Cpu).unwrap();
    let turned = super::axial_rope(&x, &rope, 1, 8).unwrap().to_vec2::<f64>().unwrap();
    for (pair, angle) in [0., 1., 0.01, 2f64].into_iter().enumerate() {
        let (cos, sin) = (turned[0][2 * pair], turned[0][2 * pair + 1]);
        assert!((cos - angle.cos()).abs() < 1e-12 && (sin - angle.sin()).abs() < 1e-12, "pair {pair}");
    }
    assert!(AxialRope::new(1e4, &[3], Pairing::Halves, &[[0]], vec![0]).is_err());
    assert!(AxialRope::new(1e4, &[2], Pairing::Halves, &[[0, 1]], vec![0]).is_err());
    assert!(AxialRope::new(1e4, &[2], Pairing::Halves, &[[0]], vec![1]).is_err());
}

#[test]
fn rotary_embedding_of_a_unit_vector() {
    // One pair, frequency 1: (1, 0) at position 2 rotates to (cos 2, sin 2).
    let rope = Rope::new(10_000., 2, Pairing::Halves, &RopeScaling::None);
    let turned = super::rope(&Tensor::new(&[[1f64, 0.]], &Device::Cpu).unwrap(), &[2], 1, 2, &rope).unwrap();
    let turned = turned.to_vec2::<f64>().unwrap();
    assert!((turned[0][0] + 0.416_146_836_547).abs() < 1e-12 && (turned[0][1] - 0.909_297_426_826).abs() < 1e-12);
}

#[test]
fn an_odd_width_turns_one_coordinate_more() {
    let rope = Rope::new(10_000., 3, Pairing::Halves, &RopeScaling::None);
    // 10000^(-2/3) = 0.0021544
    assert_eq!((rope.rotated, rope.frequencies().len(), rope.frequencies()[0]), (4, 2, 1.));
    assert!((rope.frequencies()[1] - 0.002_154_434_69).abs() < 1e-12);
}

#[test]
fn yarn_keeps_fast_pairs_and_divides_slow_ones() {
    // Base 10, width 8, context 1000: pair(turns) = 8 log10(1000 / (2 pi turns)) / 2, so 32 turns are at 2.79 and one turn
    // at 8.81, of which 7 is the last coordinate. Rounded, the blend goes from 2 to 7: pair 3 is scaled by a fifth.
    let of = |rounded| RopeScaling::Yarn { factor: 5., fast: 32., slow: 1., original_context: 1000., rounded };
    let shares = |rounded| {
        let rope = Rope::new(10., 8, Pairing::Halves, &of(rounded));
        let plain = Rope::new(10., 8, Pairing::Halves, &RopeScaling::None);
        rope.frequencies().iter().zip(plain.frequencies()).map(|(a, b)| a / b).collect::<Vec<f64>>()
    };
    let close = |found: Vec<f64>, expected: [f64; 4]| found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-3);
    assert!(close(shares(true), [1., 1., 1., 0.84]), "{:?}", shares(true));
    assert!(close(shares(false), [1., 1., 1., 0.9595]), "{:?}", shares(false));
}

/// Two trees: a prompt with two answers, one of which branches again, and a chain longer than a block of queries.
fn forest() -> Arc<Forest> {
    let mut forest = Forest::default();
    let prompt = forest.push(None, 9);
    let answer = forest.push(Some(prompt), 4);
    let lone = forest.push(None, 70);
    forest.push(Some(prompt), 5);
    forest.push(Some(answer), 3);
    forest.push(Some(lone), 1);
    Arc::new(forest)
}

#[test]
fn attention() {
    let forest = forest();
    let n = forest.n_rows();
    let plain = AttentionForm::default();
    let forms = [
        plain,
        AttentionForm { window: Some(7), ..plain },
        // Scores that reach the bend of a cap; a window longer than a block of queries.
        AttentionForm { scale: Some(1.5), cap: Some(1.), window: Some(66) },
    ];
    for ((query, key_value), form) in [((2, 2), forms[0]), ((4, 2), forms[1]), ((3, 1), forms[2]), ((2, 1), forms[0])] {
        let heads = Heads { query, key_value, size: 5 };
        check(
            &[&[n, query * 5], &[n, key_value * 5], &[n, key_value * 5]],
            &|x| forest_attention(&x[0], &x[1], &x[2], heads, form, &forest),
            &|x| composed::forest_attention(&x[0], &x[1], &x[2], heads, form, &forest),
        );
        check(
            &[&[n, (query + 2 * key_value) * 5]],
            &|x| super::forest_attention_packed(&x[0], heads, form, QkvLayout::Blocks, &forest),
            &|x| composed::forest_attention_packed(&x[0], heads, form, QkvLayout::Blocks, &forest),
        );
    }
    let (heads, form) = (Heads { query: 3, key_value: 3, size: 4 }, forms[1]);
    check(&[&[n, 36]], &|x| super::forest_attention_packed(&x[0], heads, form, QkvLayout::PerHead, &forest), &|x| {
        composed::forest_attention_packed(&x[0], heads, form, QkvLayout::PerHead, &forest)
    });
}

#[test]
fn a_branch_attends_as_its_own_sequence() {
    a_branch_attends_alike(AttentionForm::default());
    a_branch_attends_alike(AttentionForm { window: Some(5), ..AttentionForm::default() });
}

fn a_branch_attends_alike(form: AttentionForm) {
    let heads = Heads { query: 2, key_value: 1, size: 4 };
    let (q, k, v) = (tensor(1, &[92, 8]), tensor(2, &[92, 4]), tensor(3, &[92, 4]));
    let packed = forest_attention(&q, &k, &v, heads, form, &forest()).unwrap();
    // Prompt, answer and the answer's branch, without the rest of the forest.
    let rows: Vec<u32> = (0..13).chain(88..91).collect();
    let rows = Tensor::new(rows, &Device::Cpu).unwrap();
    let [q, k, v] = [q, k, v].map(|x| x.index_select(&rows, 0).unwrap());
    let alone = forest_attention(&q, &k, &v, heads, form, &Arc::new(Forest::chains(&[16]))).unwrap();
    let difference = (packed.index_select(&rows, 0).unwrap() - alone).unwrap().abs().unwrap();
    assert!(difference.max_all().unwrap().to_scalar::<f64>().unwrap() < 1e-12);
}

#[test]
fn token_log_probabilities() {
    // 300 words make three tiles of 128; one row scores two tokens, as the last token of a shared prompt does.
    let (rows, targets) = ([2, 0, 2, 4], [299, 0, 150, 7]);
    let (hidden, matrix) = ((tensor(1, &[5, 6]) * 3.).unwrap(), (tensor(2, &[300, 6]) * 2.).unwrap());
    let (other_hidden, other_matrix) = (tensor(3, &[5, 9]), tensor(4, &[300, 9]));
    let others: Vec<_> = [DType::F32, DType::F64]
        .map(|t| (other_hidden.to_dtype(t).unwrap(), Matrix::Dense(other_matrix.to_dtype(t).unwrap())))
        .into();
    let plain = LogitForm::PLAIN;
    let bounded = [LogitForm { scale: 0.5, cap: Some(2.) }, LogitForm { scale: 2., cap: Some(3.) }];
    for (with_reference, diagnostics, forms) in [
        (false, false, [plain; 2]),
        (false, true, bounded),
        (true, false, [plain; 2]),
        (true, true, [plain; 2]),
        (true, true, bounded),
    ] {
        let query = |dtype| VocabularyQuery {
            forms,
            rows: &rows,
            targets: &targets,
            reference: with_reference.then(|| &others[usize::from(dtype == DType::F64)]).map(|(h, m)| (h, m)),
            diagnostics,
            collision: diagnostics,
        };
        // Diagnostic columns, from the entropy on, have no gradient.
        let read = |x: Tensor| if diagnostics { x.narrow(1, 0, 2) } else { Ok(x) };
        check_at(
            &[hidden.clone(), matrix.clone()],
            &|x| read(super::vocabulary_log_prob(&x[0], &Matrix::from(&x[1]), query(x[0].dtype()))?),
            &|x| read(composed::vocabulary_log_prob(&x[0], &x[1], query(x[0].dtype()))?),
        );
        let fused = super::vocabulary_log_prob(&hidden, &Matrix::from(&matrix), query(DType::F64)).unwrap();
        let composed = composed::vocabulary_log_prob(&hidden, &matrix, query(DType::F64)).unwrap();
        let difference = (fused - composed).unwrap().abs().unwrap().max_all().unwrap();
        assert!(difference.to_scalar::<f64>().unwrap() < 1e-10);
    }
}

#[test]
fn log_probabilities_stay_finite_and_exact_at_large_logits() {
    // Logits 0 and 1000: the second token has log-probability -e^-1000 = 0, the first -1000.
    let hidden = Tensor::new(&[[1f32]], &Device::Cpu).unwrap();
    let matrix = Tensor::new(&[[0f32], [1000.]], &Device::Cpu).unwrap();
    let reference = Matrix::from(&matrix);
    let query = VocabularyQuery {
        rows: &[0, 0],
        targets: &[0, 1],
        reference: Some((&hidden, &reference)),
        forms: [LogitForm::PLAIN; 2],
        diagnostics: true,
        collision: true,
    };
    let matrix = Var::from_tensor(&matrix).unwrap();
    let result = super::vocabulary_log_prob(&hidden, &Matrix::from(matrix.as_tensor()), query).unwrap();
    assert_eq!(result.to_vec2::<f32>().unwrap(), [[-1000., 0., 0., 500., 0., 0.], [0., 0., 0., 500., 1., 0.]]);
    let gradients = result.sum_all().unwrap().backward().unwrap();
    assert_eq!(gradients.get(&matrix).unwrap().to_vec2::<f32>().unwrap(), [[1.], [-1.]]);
}

#[test]
fn gradients_of_a_variable_used_by_several_ops_are_summed() {
    for dtype in [DType::F32, DType::F64] {
        let x = Var::from_tensor(&tensor(1, &[4, 4]).to_dtype(dtype).unwrap()).unwrap();
        // Products by ops of this crate, by one that shares its gradient's memory, and by candle's.
        let product = super::linear(&x, &x, None, WeightLayout::OutIn).unwrap();
        let sum = super::add(&super::gelu(&x).unwrap(), &x).unwrap();
        let loss = ((product * sum).unwrap() + x.sqr().unwrap()).unwrap().sum_all().unwrap();
        let [expected, ours] = [loss.backward().unwrap(), super::backward(&loss).unwrap()];
        let difference = (expected.get(&x).unwrap() - ours.get(&x).unwrap()).unwrap().abs().unwrap();
        let difference = difference.max_all().unwrap().to_dtype(DType::F64).unwrap().to_scalar::<f64>().unwrap();
        assert!(difference < 1e-6, "{dtype:?}: {difference}");
    }
}

#[test]
fn bad_numbers_and_bad_shapes_show() {
    let hidden = Tensor::new(&[[f32::NAN, 1.], [1., 1.]], &Device::Cpu).unwrap();
    let matrix = tensor(1, &[5, 2]).to_dtype(DType::F32).unwrap();
    let query = |rows, targets| VocabularyQuery {
        rows,
        targets,
        reference: None,
        forms: [LogitForm::PLAIN; 2],
        diagnostics: false,
        collision: false,
    };
    let result = super::vocabulary_log_prob(&hidden, &Matrix::from(&matrix), query(&[0, 1], &[1, 1])).unwrap();
    let result = result.to_vec2::<f32>().unwrap();
    assert!(result[0][0].is_nan() && result[1][0].is_finite());
    for (rows, targets) in [(&[2][..], &[0][..]), (&[0], &[5]), (&[0, 1], &[0])] {
        assert!(super::vocabulary_log_prob(&hidden, &Matrix::from(&matrix), query(rows, targets)).is_err());
    }
    let none = super::vocabulary_log_prob(&hidden, &Matrix::from(&matrix), query(&[], &[])).unwrap();
    assert_eq!(none.dims(), [0, super::VOCABULARY_NUMBERS]);
    assert!(
        super::linear(&hidden, &tensor(1, &[2, 3]).to_dtype(DType::F32).unwrap(), None, WeightLayout::OutIn).is_err()
    );
}

#[test]
fn forests_know_their_positions() {
    let forest = forest();
    assert_eq!(forest.positions()[82..], [69, 9, 10, 11, 12, 13, 13, 14, 15, 70]);
    assert_eq!(forest.path(4), [0, 1, 4]);
    assert!(forest.check().is_ok());
    let mut broken = (*forest).clone();
    broken.segments[1].position = 3;
    assert!(broken.check().is_err());
}
