//! Softmaxes of scores, `[key, query]`, and their gradients, rounded into operands of the next product.

use super::super::blocks::{Line, TILE};
use super::x86::{Unit, bits, store_vector};
use super::{Follow, Levels, PANEL, Running, column_of};
use std::arch::x86_64::{
    __m512, __m512i, __mmask16, _CMP_EQ_OQ, _CMP_NEQ_UQ, _mm512_add_ps, _mm512_cmp_ps_mask, _mm512_cvtne2ps_pbh,
    _mm512_fmadd_ps, _mm512_fmsub_ps, _mm512_fnmadd_ps, _mm512_loadu_ps, _mm512_mask_blend_ps, _mm512_mask_mov_ps,
    _mm512_max_ps, _mm512_mul_ps, _mm512_reduce_ps, _mm512_scalef_ps, _mm512_set1_ps, _mm512_setzero_ps,
    _mm512_setzero_si512, _mm512_store_si512, _mm512_sub_ps, _mm512_unpackhi_epi16, _mm512_unpacklo_epi16,
};

/// `2^r = sum_i C[i] r^i` for `r` from 0 to 1, to a relative 7.5e-5: a 26th of the rounding to bf16 that follows.
const POWER: [f32; 4] = [0.999_925_2, 0.695_833_5, 0.226_067_2, 0.078_024_5];

/// Numbers of both halves of a panel's queries.
type Halves = [__m512; 2];

#[expect(clippy::unused_self, reason = "a unit is the proof that the CPU has the instructions")]
impl Unit {
    /// Turns scores, `[key, query]`, into rounded weights, pairs of keys as [`super::super::blocks::Strip::right`], and follows
    /// the largest of them and their sum; scales earlier sums where a score is larger than all before.
    ///
    /// # Panics
    ///
    /// If there are fewer lines than scores.
    #[expect(unsafe_code, reason = "instructions that the CPU was found to have")]
    pub(in super::super::super) fn follow(self, given: &mut Follow<'_>, running: &mut Running, pairs: &mut [Line]) {
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

// There are no closures below: the compiler leaves those that `map` is given uninlined, since `map` lacks the instructions.

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512bf16")]
fn follow(given: &mut Follow<'_>, running: &mut Running, pairs: &mut [Line]) {
    let keys = given.scores.as_chunks::<{ 2 * PANEL }>().0;
    let pairs = &mut pairs.as_chunks_mut::<{ 2 * TILE }>().0[..keys.len().div_ceil(TILE)];
    let before = halves(&running.largest);
    let (mut even, mut odd) = (before, before);
    for both in keys {
        let [first, second] = both_rows(both);
        even = larger(first, even);
        odd = larger(second, odd);
    }
    let (largest, factor) = (larger(even, odd), _mm512_set1_ps(given.factor));
    let level = [level(largest[0], factor), level(largest[1], factor)];
    let mut sum = halves(&running.sum);
    if are_apart(before[0], largest[0]) || are_apart(before[1], largest[1]) {
        let factors = power(before, factor, level);
        sum = times(sum, factors);
        rescale(given.sums, factors);
        store(&mut running.largest, largest);
    }
    for (keys, lines) in keys.chunks(TILE).zip(pairs) {
        let (even, odd) = lines.split_at_mut(TILE);
        for ((both, even), odd) in keys.iter().zip(even).zip(odd) {
            let [first, second] = both_rows(both);
            let (first, second) = (power(first, factor, level), power(second, factor, level));
            sum = plus(sum, plus(first, second));
            write_pair(even, odd, rounded(first), rounded(second));
        }
    }
    store(&mut running.sum, sum);
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512bf16")]
fn back([scores, slopes]: [&[f32]; 2], levels: &Levels, [weights, gradients]: [&mut [Line]; 2], pairs: &mut [Line]) {
    let [scores, slopes] = [scores.as_chunks::<{ 2 * PANEL }>().0, slopes.as_chunks::<{ 2 * PANEL }>().0];
    let n = scores.len();
    let (slopes, pairs) = (&slopes[..n], &mut pairs.as_chunks_mut::<{ 2 * TILE }>().0[..n.div_ceil(TILE)]);
    let [weights, gradients] = [&mut weights.as_chunks_mut::<2>().0[..n], &mut gradients.as_chunks_mut::<2>().0[..n]];
    let (factor, share) = (_mm512_set1_ps(levels.factor), _mm512_set1_ps(levels.share.unwrap_or_default()));
    let (normaliser, level) = (halves(&levels.normaliser), halves(&levels.level));
    for index in 0..n {
        let (scores, slopes) = (both_rows(&scores[index]), both_rows(&slopes[index]));
        let mut both = [_mm512_setzero_si512(); 2];
        for key in 0..2 {
            let weight = power(scores[key], factor, normaliser);
            let mut slope = times(weight, minus(slopes[key], level));
            if levels.share.is_some() {
                slope = [
                    bent(slope[0], weight[0], _mm512_mul_ps(scores[key][0], share)),
                    bent(slope[1], weight[1], _mm512_mul_ps(scores[key][1], share)),
                ];
            }
            both[key] = rounded(slope);
            set(&mut weights[index][key], rounded(weight));
            set(&mut gradients[index][key], both[key]);
        }
        let (even, odd) = pairs[index / TILE].split_at_mut(TILE);
        write_pair(&mut even[index % TILE], &mut odd[index % TILE], both[0], both[1]);
    }
}

/// A slope times that of the soft bound. Hidden scores are infinite, and their slopes are 0 already.
#[target_feature(enable = "avx512f")]
fn bent(slope: __m512, weight: __m512, tangent: __m512) -> __m512 {
    let bend = _mm512_fnmadd_ps(tangent, tangent, _mm512_set1_ps(1.));
    let none: __mmask16 = _mm512_cmp_ps_mask::<_CMP_EQ_OQ>(weight, _mm512_setzero_ps());
    _mm512_mask_mov_ps(_mm512_mul_ps(slope, bend), none, _mm512_setzero_ps())
}

/// `2^(factor x - level)`; 0 for minus infinity, NaN for NaN.
#[target_feature(enable = "avx512f,avx512dq")]
fn power(x: Halves, factor: __m512, level: Halves) -> Halves {
    [power_of_two(_mm512_fmsub_ps(x[0], factor, level[0])), power_of_two(_mm512_fmsub_ps(x[1], factor, level[1]))]
}

#[target_feature(enable = "avx512f,avx512dq")]
fn power_of_two(x: __m512) -> __m512 {
    /// What is left behind the next lower integer.
    const FRACTION: i32 = 1;
    let r = _mm512_reduce_ps::<FRACTION>(x);
    let [a, b, c, d] = POWER;
    let sum = _mm512_fmadd_ps(_mm512_set1_ps(d), r, _mm512_set1_ps(c));
    let sum = _mm512_fmadd_ps(sum, r, _mm512_set1_ps(b));
    _mm512_scalef_ps(_mm512_fmadd_ps(sum, r, _mm512_set1_ps(a)), x)
}

/// The largest scores times the factor; 0 of a query that has seen no key yet, so that it has weights of 0.
#[target_feature(enable = "avx512f")]
fn level(largest: __m512, factor: __m512) -> __m512 {
    let none = _mm512_cmp_ps_mask::<_CMP_EQ_OQ>(largest, _mm512_set1_ps(f32::NEG_INFINITY));
    _mm512_mul_ps(_mm512_mask_blend_ps(none, largest, _mm512_setzero_ps()), factor)
}

#[target_feature(enable = "avx512f")]
fn are_apart(a: __m512, b: __m512) -> bool {
    _mm512_cmp_ps_mask::<_CMP_NEQ_UQ>(a, b) != 0
}

#[target_feature(enable = "avx512f")]
fn larger(a: Halves, b: Halves) -> Halves {
    [_mm512_max_ps(a[0], b[0]), _mm512_max_ps(a[1], b[1])]
}

#[target_feature(enable = "avx512f")]
fn times(a: Halves, b: Halves) -> Halves {
    [_mm512_mul_ps(a[0], b[0]), _mm512_mul_ps(a[1], b[1])]
}

#[target_feature(enable = "avx512f")]
fn plus(a: Halves, b: Halves) -> Halves {
    [_mm512_add_ps(a[0], b[0]), _mm512_add_ps(a[1], b[1])]
}

#[target_feature(enable = "avx512f")]
fn minus(a: Halves, b: Halves) -> Halves {
    [_mm512_sub_ps(a[0], b[0]), _mm512_sub_ps(a[1], b[1])]
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
        store(row, times(halves(row), factors));
    }
}

#[target_feature(enable = "avx512f")]
fn halves(row: &[f32; PANEL]) -> Halves {
    let [first, second] = [&row.as_chunks::<TILE>().0[0], &row.as_chunks::<TILE>().0[1]];
    [vector(first), vector(second)]
}

/// Two rows of a panel.
#[target_feature(enable = "avx512f")]
fn both_rows(both: &[f32; 2 * PANEL]) -> [Halves; 2] {
    let rows = both.as_chunks::<PANEL>().0;
    [halves(&rows[0]), halves(&rows[1])]
}

#[target_feature(enable = "avx512f")]
#[expect(unsafe_code, reason = "loads by pointer")]
fn vector(numbers: &[f32; TILE]) -> __m512 {
    // SAFETY: there are sixteen numbers.
    unsafe { _mm512_loadu_ps(numbers.as_ptr()) }
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

/// Writes two rows in turns, in the order of [`column_of`].
#[target_feature(enable = "avx512f,avx512bw")]
fn write_pair(even: &mut Line, odd: &mut Line, first: __m512i, second: __m512i) {
    set(even, _mm512_unpacklo_epi16(first, second));
    set(odd, _mm512_unpackhi_epi16(first, second));
}

#[target_feature(enable = "avx512f")]
#[expect(unsafe_code, reason = "stores by pointer")]
fn set(line: &mut Line, bits: __m512i) {
    // SAFETY: a line has 64 bytes, aligned.
    unsafe { _mm512_store_si512(line.0.as_mut_ptr().cast(), bits) }
}
