//! Gradients written concurrently, in one buffer and in three, and refused targets.

use super::*;
use crate::ops::checks::{self, numbers};
use crate::ops::{Block, Forest};
use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};

const HEADS: Heads = Heads { query: 4, key_value: 2, size: 3 };
const FORM: AttentionForm = AttentionForm { scale: None, cap: Some(2.), window: None };

/// The columns of heads in separate matrices, and of queries, keys and values in one packed matrix.
fn columns(n_heads: usize) -> Columns {
    Columns { offset: 0, head_stride: HEADS.size, row_stride: n_heads * HEADS.size }
}

fn packed() -> [Columns; 3] {
    let Heads { query, key_value, .. } = HEADS;
    [0, query, query + key_value].map(|head| Columns { offset: head * HEADS.size, ..columns(query + 2 * key_value) })
}

/// Results and gradients of queries, keys and values, all in one matrix.
fn together(plan: &Plan, qkv: &[f64], upstream: &[f64]) -> (Vec<f64>, Vec<f64>) {
    let [queries, keys, values] = packed().map(|columns| Operand { data: qkv, columns });
    let attention = Attention { queries, keys, values, heads: HEADS, form: FORM, plan };
    let (output, normalisers) = attention.forward();
    let mut gradients = vec![0.; qkv.len()];
    let data = Shared::new(&mut gradients);
    attention.backward(&output, &normalisers, upstream, packed().map(|columns| Some(Target { data, columns })));
    (output, gradients)
}

/// [`together`] with separate matrices.
fn apart(plan: &Plan, qkv: &[f64], upstream: &[f64]) -> (Vec<f64>, Vec<f64>) {
    let heads = [HEADS.query, HEADS.key_value, HEADS.key_value];
    let all = columns(heads.iter().sum());
    let part = |which: usize| {
        let (width, start) = (heads[which] * HEADS.size, packed()[which].offset);
        qkv.chunks_exact(all.row_stride).flat_map(|row| row[start..][..width].to_vec()).collect::<Vec<_>>()
    };
    let data = [0, 1, 2].map(part);
    let operand = |which: usize| Operand { data: &data[which], columns: columns(heads[which]) };
    let attention =
        Attention { queries: operand(0), keys: operand(1), values: operand(2), heads: HEADS, form: FORM, plan };
    let (output, normalisers) = attention.forward();
    let mut gradients = data.clone().map(|data| vec![0.; data.len()]);
    let [q, k, v] = gradients.each_mut().map(|gradient| Shared::new(gradient));
    let target = |data, n_heads| Some(Target { data, columns: columns(n_heads) });
    let targets = [target(q, heads[0]), target(k, heads[1]), target(v, heads[2])];
    attention.backward(&output, &normalisers, upstream, targets);
    let mut rows = [0, 1, 2].map(|which| gradients[which].chunks_exact(heads[which] * HEADS.size));
    let row = |_| rows.each_mut().map(|rows| rows.next().unwrap_or_default()).concat();
    (output, (0..plan.n_queries).flat_map(row).collect())
}

pub(super) fn plans() -> [Plan; 3] {
    // A third of the rows under Miri, which is slow and has smaller tiles.
    let rows = |rows: usize| if cfg!(miri) { rows.div_ceil(3) } else { rows };
    let mut forest = Forest::default();
    // Two interleaved trees, with queries for several tiles.
    let (first, second) = (forest.push(None, rows(9)), forest.push(None, rows(3)));
    let child = forest.push(Some(first), rows(5));
    forest.push(Some(second), rows(2));
    forest.push(Some(child), rows(1));
    forest.push(Some(first), rows(4));
    // Blocks that share all or some keys, and a separate one.
    let block = |queries: Range<usize>, keys: Range<usize>| {
        let [queries, keys] = [queries, keys].map(|range| rows(range.start)..rows(range.end));
        Block { queries, keys }
    };
    let blocks = [block(0..9, 0..4), block(9..12, 10..17), block(12..17, 2..6), block(17..24, 0..4)];
    [Plan::of_forest(&forest, None), Plan::of_forest(&forest, Some(rows(6))), Plan::of_blocks(&blocks)]
}

/// A forward and backward pass: the output, and the gradient of queries, keys and values.
type Run = fn(&Plan, &[f64], &[f64]) -> (Vec<f64>, Vec<f64>);

#[test]
fn gradients_are_the_same_in_one_buffer_and_in_three_by_any_number_of_threads() {
    for plan in plans() {
        let qkv = numbers(1, plan.n_queries * columns(8).row_stride);
        let upstream = numbers(2, plan.n_queries * columns(4).row_stride);
        let with_threads = |n: usize, run: Run| {
            let threads = rayon::ThreadPoolBuilder::new().num_threads(n).build().unwrap();
            threads.install(|| run(&plan, &qkv, &upstream))
        };
        let expected = with_threads(1, together);
        assert!(
            expected.1.iter().all(|gradient| gradient.is_finite()) && expected.1.iter().any(|&gradient| gradient != 0.)
        );
        assert_eq!(with_threads(3, together), expected);
        assert_eq!(with_threads(3, apart), expected);
    }
}

/// Result and gradients of attention with heads of eight numbers, in one matrix.
fn of_eight<T: Vectorised>(plan: &Plan, qkv: &[f64], upstream: &[f64]) -> Vec<f64> {
    let heads = Heads { query: 2, key_value: 1, size: 8 };
    let [qkv, upstream] = [qkv, upstream].map(|numbers| numbers.iter().map(|&x| T::of(x)).collect::<Vec<T>>());
    let places = [0, 16, 24].map(|offset| Columns { offset, head_stride: 8, row_stride: 32 });
    let [queries, keys, values] = places.map(|columns| Operand { data: &qkv, columns });
    let attention = Attention { queries, keys, values, heads, form: FORM, plan };
    let (output, normalisers) = attention.forward();
    let mut gradients = vec![T::zero(); qkv.len()];
    let data = Shared::new(&mut gradients);
    attention.backward(&output, &normalisers, &upstream, places.map(|columns| Some(Target { data, columns })));
    output.into_iter().chain(gradients).map(Real::wide).collect()
}

#[cfg_attr(miri, ignore = "its vectors are of one number")]
#[test]
fn heads_of_eight_numbers_have_two_queries_in_a_vector() {
    for plan in plans() {
        let [qkv, upstream] = [(3, 32), (4, 16)].map(|(seed, width)| numbers(seed, plan.n_queries * width));
        let [single, double] = [of_eight::<f32>, of_eight::<f64>].map(|run| run(&plan, &qkv, &upstream));
        let largest = double.iter().fold(0f64, |largest, x| largest.max(x.abs()));
        let error = single.iter().zip(&double).fold(0f64, |worst, (a, b)| worst.max((a - b).abs()));
        assert!(error < 1e-6 * largest, "off by {error} where the largest is {largest}");
    }
}

/// Runs an empty backward pass with targets at these columns of one buffer.
fn target(columns: [Columns; 3]) {
    let plan = Plan::of_forest(&Forest::default(), None);
    let nothing = |columns| Operand { data: &[0f64; 0][..], columns };
    let [queries, keys, values] = columns.map(nothing);
    let mut buffer = [0.; 48];
    let data = Shared::new(&mut buffer);
    let targets = columns.map(|columns| Some(Target { data, columns }));
    Attention { queries, keys, values, heads: HEADS, form: FORM, plan: &plan }.backward(&[], &Vec::new(), &[], targets);
}

#[test]
fn targets_may_share_a_buffer() {
    target(packed());
}

#[test]
#[should_panic(expected = "heads of gradients share columns")]
fn targets_in_the_same_columns_are_refused() {
    let [queries, keys, _] = packed();
    target([queries, keys, keys]);
}

#[test]
#[should_panic(expected = "heads of gradients share columns")]
fn heads_that_overlap_are_refused() {
    target(packed().map(|columns| Columns { head_stride: HEADS.size - 1, ..columns }));
}

#[test]
#[should_panic(expected = "heads of gradients share columns")]
fn heads_past_the_end_of_a_row_are_refused() {
    target(packed().map(|columns| Columns { row_stride: columns.row_stride - 1, ..columns }));
}

#[test]
#[should_panic(expected = "gradients in one buffer have rows of two lengths")]
fn targets_whose_rows_cross_are_refused() {
    let [queries, keys, values] = packed();
    target([queries, Columns { row_stride: 25, ..keys }, values]);
}

/// Columns of targets in one of two buffers: mostly small ones that fit, and some that overflow.
fn targets() -> impl Strategy<Value = Vec<Option<(usize, Columns)>>> {
    let offset = prop_oneof![20 => 0..16usize, 1 => Just(usize::MAX)];
    let row_stride = prop_oneof![4 => Just(20usize), 1 => 0..20usize];
    let columns = (offset, 0..6usize, row_stride).prop_map(|(offset, head_stride, row_stride)| Columns {
        offset,
        head_stride,
        row_stride,
    });
    vec(of((0..2usize, columns)), 3)
}

proptest! {
    #![proptest_config(checks::config())]

    #[cfg_attr(miri, ignore = "safe code alone, and slow there")]
    #[test]
    fn targets_are_accepted_exactly_if_each_head_has_columns_of_its_own(
        targets in targets(), group in 1..3usize, key_value in 1..3usize, size in 1..4usize
    ) {
        let heads = Heads { query: group * key_value, key_value, size };
        let mut buffers = [[0f64; 4]; 2];
        let buffers = buffers.each_mut().map(|buffer| Shared::new(buffer));
        let targets = [0, 1, 2].map(|index: usize| targets[index]);
        let given = targets.map(|target| target.map(|(buffer, columns)| Target { data: buffers[buffer], columns }));
        let accepted = catch_unwind(AssertUnwindSafe(|| check_apart(given, heads))).is_ok();

        // The first column of each head, with its buffer and that buffer's row length.
        let mut firsts = Vec::new();
        for (target, n_heads) in targets.into_iter().zip([heads.query, key_value, key_value]) {
            let Some((buffer, columns)) = target else { continue };
            let first = |head| head as u128 * columns.head_stride as u128 + columns.offset as u128;
            firsts.extend((0..n_heads).map(|head| (buffer, columns.row_stride, first(head))));
        }
        let fits = firsts.iter().all(|&(_, row_stride, first)| first + size as u128 <= row_stride as u128);
        let apart = firsts.iter().enumerate().all(|(index, a)| {
            let mut others = firsts[..index].iter().filter(|b| a.0 == b.0);
            others.all(|b| a.1 == b.1 && a.2.abs_diff(b.2) >= size as u128)
        });
        prop_assert_eq!(accepted, fits && apart);
    }
}
