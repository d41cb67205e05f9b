//! Held to attention in `f64` of the same rounded numbers.

use super::super::super::bf16::{Unit, rounded_numbers};
use super::super::super::gemm::Shared;
use super::super::plan::Plan;
use super::super::tests::plans;
use super::super::{Attention, Columns, Operand, Target};
use super::Rounded;
use crate::layout::{AttentionForm, Block, Forest, Heads};
use crate::ops::checks::numbers;

/// Queries, keys and values packed in one matrix, and what is computed of them.
struct Case {
    heads: Heads,
    form: AttentionForm,
    plan: Plan,
    qkv: Vec<f32>,
    upstream: Vec<f32>,
}

impl Case {
    fn new(heads: Heads, cap: Option<f64>, plan: Plan) -> Self {
        let form = AttentionForm { scale: None, cap, window: None };
        let width = (heads.query + 2 * heads.key_value) * heads.size;
        let singles = |seed, n| rounded_numbers(&numbers(seed, n).into_iter().map(|x| x as f32).collect::<Vec<_>>());
        let (qkv, upstream) =
            (singles(1, plan.n_queries * width), singles(2, plan.n_queries * heads.query * heads.size));
        Self { heads, form, plan, qkv, upstream }
    }

    fn columns(&self) -> [Columns; 3] {
        let Heads { query, key_value, size } = self.heads;
        let row_stride = (query + 2 * key_value) * size;
        [0, query, query + key_value].map(|head| Columns { offset: head * size, head_stride: size, row_stride })
    }

    fn attention<'a, T>(&'a self, qkv: &'a [T]) -> Attention<'a, T> {
        let [queries, keys, values] = self.columns().map(|columns| Operand { data: qkv, columns });
        Attention { queries, keys, values, heads: self.heads, form: self.form, plan: &self.plan }
    }

    /// Results and gradients in `f64`.
    fn exact(&self) -> [Vec<f64>; 2] {
        let [qkv, upstream] = [&self.qkv, &self.upstream].map(|x| x.iter().map(|&x| f64::from(x)).collect::<Vec<_>>());
        let attention = self.attention(&qkv);
        let (output, normalisers) = attention.forward();
        let mut gradients = vec![0.; qkv.len()];
        let data = Shared::new(&mut gradients);
        attention.backward(
            &output,
            &normalisers,
            &upstream,
            self.columns().map(|columns| Some(Target { data, columns })),
        );
        [output, gradients]
    }

    /// Results and gradients in bf16, by so many threads.
    fn rounded(&self, unit: Unit, threads: usize) -> [Vec<f32>; 2] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let attention = self.attention(&self.qkv);
            let rounded = Rounded::by(unit, &attention).unwrap();
            let (output, normalisers) = rounded.forward();
            let mut gradients = vec![0.; self.qkv.len()];
            let data = Shared::new(&mut gradients);
            let columns = attention.output_columns();
            let known = [&output, &self.upstream].map(|data| Operand { data: &data[..], columns });
            let normalisers: Vec<&[f32]> = normalisers.iter().map(|numbers| &numbers[..]).collect();
            let targets = self.columns().map(|columns| Some(Target { data, columns }));
            rounded.backward(known, &normalisers, targets);
            [output, gradients]
        })
    }
}

fn cases() -> Vec<Case> {
    let all = |query, key_value, size, cap| plans().map(|plan| Case::new(Heads { query, key_value, size }, cap, plan));
    let mut cases: Vec<Case> =
        [all(4, 2, 3, Some(2.)), all(2, 1, 8, None), all(1, 1, 40, None)].into_iter().flatten().collect();
    // Several tiles of queries and windows of keys, that are no whole number of them; keys of others before and between them.
    let mut forest = Forest::default();
    let first = forest.push(None, 45);
    forest.push(None, 7);
    let child = forest.push(Some(first), 100);
    forest.push(Some(child), 33);
    for (size, window) in [(16, None), (64, Some(50)), (80, None)] {
        let heads = Heads { query: 2, key_value: 1, size };
        cases.push(Case::new(heads, None, Plan::of_forest(&forest, window)));
    }
    let blocks = [Block { queries: 0..130, keys: 3..80 }, Block { queries: 130..140, keys: 80..181 }];
    cases.extend([8, 32].map(|size| {
        let mut case = Case::new(Heads { query: 2, key_value: 2, size }, None, Plan::of_blocks(&blocks));
        case.qkv = rounded_numbers(&numbers(3, 181 * 6 * size).into_iter().map(|x| x as f32).collect::<Vec<_>>());
        case
    }));
    cases
}

/// The largest distance, as a part of the largest number.
fn distance(found: &[f32], expected: &[f64]) -> f64 {
    let largest = expected.iter().fold(0f64, |largest, x| largest.max(x.abs()));
    let error = found.iter().zip(expected).map(|(&a, b)| (f64::from(a) - b).abs());
    error.fold(0., |worst: f64, x| if x.is_nan() { f64::NAN } else { worst.max(x) }) / largest
}

#[test]
fn attention_is_that_of_rounded_numbers_by_every_unit_and_any_number_of_threads() {
    for (index, case) in cases().iter().enumerate() {
        let exact = case.exact();
        for unit in Unit::all() {
            let found = case.rounded(unit, 1);
            assert_eq!(case.rounded(unit, 3), found, "case {index}");
            for (found, exact) in found.iter().zip(&exact) {
                // Weights and gradients of scores are rounded to eight bits.
                let distance = distance(found, exact);
                assert!(distance < 1. / 256., "case {index}, {unit:?}: off by {distance}");
            }
        }
    }
}
