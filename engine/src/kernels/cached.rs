//! Attention of single tokens over caches, for generation.

use super::Real;
use super::parallel::simd;
use super::rows::{maximum, sum_of, sum_of_pairs};
use crate::ops::Heads;
use rayon::prelude::*;

/// One query per sequence over that sequence's keys and values, `[length, key_value * size]` each.
pub(crate) fn attention(queries: &[f32], heads: Heads, caches: &[(&[f32], &[f32])]) -> Vec<f32> {
    let (size, row_stride) = (heads.size, heads.key_value * heads.size);
    let group = heads.query / heads.key_value;
    let mut output = vec![0.; queries.len()];
    let work = output.par_chunks_mut(size).zip(queries.par_chunks(size)).enumerate();
    work.for_each(|(index, (output, query))| {
        let (keys, values) = caches[index / heads.query];
        let column = index % heads.query / group * size;
        let scale = 1. / (size as f32).sqrt();
        simd(
            #[inline(always)]
            || {
                let mut scores = Vec::with_capacity(keys.len() / row_stride);
                for key in keys.chunks_exact(row_stride) {
                    scores.push(scale * dot(query, &key[column..][..size]));
                }
                let largest = maximum(&scores);
                for score in &mut scores {
                    *score = (*score - largest).exponential();
                }
                let share = 1.
                    / sum_of(
                        &scores,
                        #[inline(always)]
                        |x| x,
                    );
                for (&score, value) in scores.iter().zip(values.chunks_exact(row_stride)) {
                    for (sum, &value) in output.iter_mut().zip(&value[column..][..size]) {
                        *sum += score * share * value;
                    }
                }
            },
        );
    });
    output
}

#[inline(always)]
fn dot(a: &[f32], b: &[f32]) -> f32 {
    sum_of_pairs(
        a,
        b,
        #[inline(always)]
        |a, b| a * b,
    )
}
