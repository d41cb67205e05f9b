//! Products of sixteen rows, one after the other in the same sums.

use super::super::blocks::{Strip, TILE};
use super::x86::{Unit, load, pairs, read, store_vector};
use std::arch::asm;
use std::arch::x86_64::{_mm512_dpbf16_ps, _mm512_set1_epi32, _mm512_setzero_ps};

impl Unit {
    /// Sets or adds to sixteen rows of `sums`, of [`Strip::WIDTH`] numbers each, the first 16 of them or all.
    ///
    /// With [`Unit::Tiles`] this is called within [`Unit::run`].
    ///
    /// # Panics
    ///
    /// If a line of the strip is in neither operand, or there are too few sums.
    #[expect(unsafe_code, reason = "instructions that the CPU was found to have")]
    pub(in super::super::super) fn strip(self, strip: &Strip<'_>, sums: &mut [f32], adds: bool) {
        assert!(strip.is_inside() && sums.len() >= TILE * Strip::WIDTH, "a strip outside its operands");
        match (self, strip.is_wide) {
            // SAFETY: the value is the proof that the CPU has them, and the lines and sums were checked.
            (Self::Tiles(_), true) => unsafe { wide(strip, sums, adds) },
            // SAFETY: likewise.
            (Self::Tiles(_), false) => unsafe { narrow(strip, sums, adds) },
            // SAFETY: likewise.
            (Self::Vectors(_), true) => unsafe { by_vectors::<2>(strip, sums, adds) },
            // SAFETY: likewise.
            (Self::Vectors(_), false) => unsafe { by_vectors::<1>(strip, sums, adds) },
        }
    }
}

/// # Safety
///
/// The CPU must have AMX with the layout loaded, and the strip was checked.
#[expect(unsafe_code, reason = "tiles have no intrinsics in stable Rust")]
unsafe fn wide(strip: &Strip<'_>, sums: &mut [f32], adds: bool) {
    // SAFETY: reads a tile of the left operand and two of the right one a step, and reads and writes sixteen rows of the sums.
    unsafe {
        asm!(
            "test {adds}, {adds}",
            "jz 2f",
            "tileloadd tmm0, [{sums} + {line}*2]",
            "tileloadd tmm1, [{sums} + {line}*2 + 64]",
            "jmp 3f",
            "2:",
            "tilezero tmm0",
            "tilezero tmm1",
            "3:",
            "tileloadd tmm4, [{left} + {row}*1]",
            "tileloadd tmm6, [{first} + {line}*1]",
            "tdpbf16ps tmm0, tmm4, tmm6",
            "tileloadd tmm7, [{second} + {line}*1]",
            "tdpbf16ps tmm1, tmm4, tmm7",
            "add {left}, {left_step}",
            "add {first}, {right_step}",
            "add {second}, {right_step}",
            "dec {n}",
            "jnz 3b",
            "tilestored [{sums} + {line}*2], tmm0",
            "tilestored [{sums} + {line}*2 + 64], tmm1",
            adds = in(reg) usize::from(adds),
            sums = in(reg) sums.as_mut_ptr(),
            line = in(reg) 64usize,
            left = inout(reg) strip.left.as_ptr() => _,
            row = in(reg) 64 * strip.row,
            left_step = in(reg) 64 * strip.left_step,
            first = inout(reg) strip.right.as_ptr() => _,
            second = inout(reg) strip.right[TILE..].as_ptr() => _,
            right_step = in(reg) 64 * strip.right_step,
            n = inout(reg) strip.steps => _,
            out("tmm0") _, out("tmm1") _, out("tmm4") _, out("tmm6") _, out("tmm7") _,
            options(nostack),
        );
    }
}

/// # Safety
///
/// As of [`wide`].
#[expect(unsafe_code, reason = "tiles have no intrinsics in stable Rust")]
unsafe fn narrow(strip: &Strip<'_>, sums: &mut [f32], adds: bool) {
    // SAFETY: reads a tile of each operand a step, and reads and writes half of sixteen rows of the sums.
    unsafe {
        asm!(
            "test {adds}, {adds}",
            "jz 2f",
            "tileloadd tmm0, [{sums} + {line}*2]",
            "jmp 3f",
            "2:",
            "tilezero tmm0",
            "3:",
            "tileloadd tmm4, [{left} + {row}*1]",
            "tileloadd tmm6, [{right} + {line}*1]",
            "tdpbf16ps tmm0, tmm4, tmm6",
            "add {left}, {left_step}",
            "add {right}, {right_step}",
            "dec {n}",
            "jnz 3b",
            "tilestored [{sums} + {line}*2], tmm0",
            adds = in(reg) usize::from(adds),
            sums = in(reg) sums.as_mut_ptr(),
            line = in(reg) 64usize,
            left = inout(reg) strip.left.as_ptr() => _,
            row = in(reg) 64 * strip.row,
            left_step = in(reg) 64 * strip.left_step,
            right = inout(reg) strip.right.as_ptr() => _,
            right_step = in(reg) 64 * strip.right_step,
            n = inout(reg) strip.steps => _,
            out("tmm0") _, out("tmm4") _, out("tmm6") _,
            options(nostack),
        );
    }
}

/// Rows whose sums are in registers together: with both halves half of all registers.
const ROWS: usize = 8;

/// # Safety
///
/// The strip was checked, and so was the length of the sums.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
#[expect(unsafe_code, reason = "with checks the sums leave their registers at each step")]
unsafe fn by_vectors<const HALVES: usize>(strip: &Strip<'_>, sums: &mut [f32], adds: bool) {
    for first in (0..TILE).step_by(ROWS) {
        let mut vectors = [[_mm512_setzero_ps(); HALVES]; ROWS];
        if adds {
            for (row, vectors) in vectors.iter_mut().enumerate() {
                for (half, vector) in vectors.iter_mut().enumerate() {
                    *vector = load(&sums[(first + row) * Strip::WIDTH + half * TILE..]);
                }
            }
        }
        let (mut left, mut right) = (strip.left.as_ptr().wrapping_add(first * strip.row), strip.right.as_ptr());
        let mut pairs_left = strip.pairs;
        while pairs_left > 0 {
            let rows = left.cast::<i32>();
            for pair in 0..pairs_left.min(TILE) {
                for (row, vectors) in vectors.iter_mut().enumerate() {
                    // SAFETY: the line of each row is in the left operand at every step, and has as many pairs.
                    let left = unsafe { *rows.add(row * strip.row * TILE + pair) };
                    let left = pairs(_mm512_set1_epi32(left));
                    for (half, vector) in vectors.iter_mut().enumerate() {
                        // SAFETY: a step has a line for each pair and half, which is in the right operand.
                        let right = unsafe { pairs(read(&*right.add(half * TILE + pair))) };
                        *vector = _mm512_dpbf16_ps(*vector, left, right);
                    }
                }
            }
            pairs_left = pairs_left.saturating_sub(TILE);
            left = left.wrapping_add(strip.left_step);
            right = right.wrapping_add(strip.right_step);
        }
        for (row, vectors) in vectors.iter().enumerate() {
            for (half, &vector) in vectors.iter().enumerate() {
                store_vector(&mut sums[(first + row) * Strip::WIDTH + half * TILE..][..TILE], vector);
            }
        }
    }
}
