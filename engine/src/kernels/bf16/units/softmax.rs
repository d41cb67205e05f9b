//! Softmaxes of scores, `[key, query]`, and their gradients, rounded into operands of the next product.

use super::super::blocks::{Line, TILE};
use super::x86::{Unit, bits, load, store_vector};
use super::{Follow, Levels, PANEL, Running, column_of};
use std::arch::x86_64::{
    __m512, __m512i, __mmask16, _CMP_EQ_OQ, _CMP_NEQ_UQ, _mm512_add_ps, _mm512_cmp_ps_mask, _mm512_cvtne2ps_pbh,
    _mm512_fmadd_ps, _mm512_fmsub_ps, _mm512_fnmadd_ps, _mm512_mask_blend_ps, _mm512_mask_mov_ps, _mm512_max_ps,
    _mm512_mul_ps, _mm512_reduce_ps, _mm512_scalef_ps, _mm512_set1_ps, _mm512_setzero_ps, _mm512_setzero_si512, _mm512_store_si512, _mm512_sub_ps,
    _mm512_unpackhi_epi16, _mm512_unpacklo_epi16,
};

/// `2^r = sum_i C[i] r^i` for `r` from 0 to 1, to a relative 7.5e-5: a 26th of the rounding to bf16 that follows.
const POWER: [f32; 4] = [0.999_925_2, 0.695_833_5, 0.226_067_2, 0.078_024_5];

/// Numbers of both halves of a panel's queries.
type Halves = [__m512; 2];

impl Unit {
    /// Turns scores, `[key, query]`, into rounded weights, pairs of keys as [`super::super::blocks::Strip::right`], and follows
    /// the largest of them and their sum; scales earlier sums where a score is larger than all before.
    ///
    /// # Panics
    ///
    /// If there are fewer lines than scores.
    #[expect(unsafe_code, reason = "instructions that the CPU was found to have")]
    pub(in super::super::super) fn follow(self, given: Follow<'_>, running: &mut Running, pairs: &mut [Line]) {
        // SAFETY: the value is the proof that the CPU has them.
        unsafe { follow(given, running, pairs) }
    }

    /// Turns scores and the gradients of weights, both `[key, query]`, into weights and the gradients of scores less their scale:
    /// rows of both, one to a key, and pairs of keys of the latter.
    ///
    /// # Panics
    ///
    /// If there are fewer lines than scores, or fewer gradients.
    #[expect(unsafe_code, reason = "instructions that the CPU was found to have")]
    pub(in super::super::super) fn slopes(
        self,
        [scores, slopes]: [&[f32]; 2],
        levels: &Levels,
        rows: [&mut [Line]; 2],
        pairs: &mut [Line],
    ) {
        // SAFETY: the value is the proof that the CPU has them.
        unsafe { back([scores, slopes], levels, rows, pairs) }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512bf16")]
fn follow(given: Follow<'_>, running: &mut Running, pairs: &mut [Line]) {
    let keys = given.scores.as_chunks::<{ 2 * PANEL }>().0;
    let before = halves(&running.largest);
    let mut largest = [before; 2];
    for both in keys {
        for (largest, key) in largest.iter_mut().zip(both.as_chunks::<PANEL>().0) {
            let key = halves(key);
            *largest = [_mm512_max_ps(key[0], largest[0]), _mm512_max_ps(key[1], largest[1])];
        }
    }
    let largest = [0, 1].map(|half| _mm512_max_ps(largest[0][half], largest[1][half]));
    let factor = _mm512_set1_ps(given.factor);
    // A query that has seen no key yet has weights of 0.
    let level = largest.map(|largest| {
        let none = _mm512_cmp_ps_mask::<_CMP_EQ_OQ>(largest, _mm512_set1_ps(f32::NEG_INFINITY));
        _mm512_mul_ps(_mm512_mask_blend_ps(none, largest, _mm512_setzero_ps()), factor)
    });
    let mut sum = halves(&running.sum);
    if (0..2).any(|half| _mm512_cmp_ps_mask::<_CMP_NEQ_UQ>(before[half], largest[half]) != 0) {
        let factors = [0, 1].map(|half| power(_mm512_fmsub_ps(before[half], factor, level[half])));
        sum = [0, 1].map(|half| _mm512_mul_ps(sum[half], factors[half]));
        rescale(given.sums, factors);
        store(&mut running.largest, largest);
    }
    for (index, both) in keys.iter().enumerate() {
        let weights = [0, 1].map(|key| {
            let scores = halves(&both.as_chunks::<PANEL>().0[key]);
            [0, 1].map(|half| power(_mm512_fmsub_ps(scores[half], factor, level[half])))
        });
        sum = [0, 1].map(|half| _mm512_add_ps(sum[half], _mm512_add_ps(weights[0][half], weights[1][half])));
        write_pair(pairs, index, weights.map(|weights| rounded(weights)));
    }
    store(&mut running.sum, sum);
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512bf16")]
fn back(given: [&[f32]; 2], levels: &Levels, [weight_rows, slope_rows]: [&mut [Line]; 2], pairs: &mut [Line]) {
    let [scores, slopes] = given.map(|numbers| numbers.as_chunks::<PANEL>().0);
    let factor = _mm512_set1_ps(levels.factor);
    let [normaliser, level] = [halves(&levels.normaliser), halves(&levels.level)];
    let share = levels.share.map(|share| _mm512_set1_ps(share));
    for index in 0..scores.len() / 2 {
        let mut rows = [_mm512_setzero_si512(); 2];
        for key in 0..2 {
            let place = 2 * index + key;
            let [scores, slopes] = [scores, slopes].map(|numbers| halves(&numbers[place]));
            let weights = [0, 1].map(|half| power(_mm512_fmsub_ps(scores[half], factor, normaliser[half])));
            let mut found = [0, 1].map(|half| _mm512_mul_ps(weights[half], _mm512_sub_ps(slopes[half], level[half])));
            if let Some(share) = share {
                found = [0, 1].map(|half| bent(found[half], weights[half], _mm512_mul_ps(scores[half], share)));
            }
            rows[key] = rounded(found);
            set(&mut weight_rows[place], rounded(weights));
            set(&mut slope_rows[place], rows[key]);
        }
        write_pair(pairs, index, rows);
    }
}

/// A slope times that of the soft bound. Hidden scores are infinite, and their slopes are 0 already.
#[target_feature(enable = "avx512f")]
fn bent(slope: __m512, weight: __m512, tangent: __m512) -> __m512 {
    let bend = _mm512_fnmadd_ps(tangent, tangent, _mm512_set1_ps(1.));
    let none: __mmask16 = _mm512_cmp_ps_mask::<_CMP_EQ_OQ>(weight, _mm512_setzero_ps());
    _mm512_mask_mov_ps(_mm512_mul_ps(slope, bend), none, _mm512_setzero_ps())
}

/// `2^x`; 0 for minus infinity, NaN for NaN.
#[target_feature(enable = "avx512f,avx512dq")]
fn power(x: __m512) -> __m512 {
    /// What is left behind the next lower integer.
    const FRACTION: i32 = 1;
    let r = _mm512_reduce_ps::<FRACTION>(x);
    let [a, b, c, d] = POWER;
    let [a, b, c, d] = [_mm512_set1_ps(a), _mm512_set1_ps(b), _mm512_set1_ps(c), _mm512_set1_ps(d)];
    let polynomial = _mm512_fmadd_ps(_mm512_fmadd_ps(_mm512_fmadd_ps(d, r, c), r, b), r, a);
    _mm512_scalef_ps(polynomial, x)
}

/// Scales sums, whose columns are those of pairs.
#[target_feature(enable = "avx512f")]
fn rescale(sums: &mut [f32], factors: Halves) {
    let mut by_query = [0.; PANEL];
    store(&mut by_query, factors);
    let mut by_column = [0.; PANEL];
    for (query, factor) in by_query.into_iter().enumerate() {
        by_column[column_of(query)] = factor;
    }
    let factors = halves(&by_column);
    for row in sums.as_chunks_mut::<PANEL>().0 {
        let scaled = halves(row);
        store(row, [0, 1].map(|half| _mm512_mul_ps(scaled[half], factors[half])));
    }
}

#[target_feature(enable = "avx512f")]
fn halves(row: &[f32; PANEL]) -> Halves {
    [load(&row[..TILE]), load(&row[TILE..])]
}

#[target_feature(enable = "avx512f")]
fn store(row: &mut [f32; PANEL], halves: Halves) {
    store_vector(&mut row[..TILE], halves[0]);
    store_vector(&mut row[TILE..], halves[1]);
}

/// A row of 32 numbers in bf16.
#[target_feature(enable = "avx512f,avx512bf16")]
fn rounded(halves: Halves) -> __m512i {
    bits(_mm512_cvtne2ps_pbh(halves[1], halves[0]))
}

/// Writes the pair `index` of keys: two rows in turns, in the order of [`column_of`].
#[target_feature(enable = "avx512f,avx512bw")]
fn write_pair(pairs: &mut [Line], index: usize, rows: [__m512i; 2]) {
    let lines = &mut pairs[index / TILE * 2 * TILE..][..2 * TILE];
    set(&mut lines[index % TILE], _mm512_unpacklo_epi16(rows[0], rows[1]));
    set(&mut lines[TILE + index % TILE], _mm512_unpackhi_epi16(rows[0], rows[1]));
}

#[target_feature(enable = "avx512f")]
#[expect(unsafe_code, reason = "stores by pointer")]
fn set(line: &mut Line, bits: __m512i) {
    // SAFETY: a line has 64 bytes, aligned.
    unsafe { _mm512_store_si512(line.0.as_mut_ptr().cast(), bits) }
}
