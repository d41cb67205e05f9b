//! Instructions of x86-64.

use super::super::blocks::{BLOCK, Form, Left, Line, Operand, Right, TILE, are_inside};
use super::Sums;
use std::arch::asm;
use std::arch::x86_64::{
    __m512, __m512bh, __m512i, __mmask16, _MM_HINT_T0, _mm_prefetch, _mm512_cvtne2ps_pbh, _mm512_dpbf16_ps,
    _mm512_fmadd_ps, _mm512_load_si512, _mm512_mask_storeu_ps, _mm512_maskz_loadu_ps, _mm512_mul_ps,
    _mm512_permutexvar_epi16, _mm512_set1_epi32, _mm512_set1_ps, _mm512_setzero_ps, _mm512_setzero_si512,
    _mm512_shuffle_i32x4, _mm512_store_si512, _mm512_unpackhi_epi32, _mm512_unpackhi_epi64, _mm512_unpacklo_epi32,
    _mm512_unpacklo_epi64,
};
use std::mem::MaybeUninit;
use std::sync::OnceLock;

/// A unit that this CPU has: values come from [`Unit::of_this_cpu`] alone, so that a value is the proof.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super::super) enum Unit {
    /// AMX with bf16, and AVX512-BF16 for packing.
    Tiles(Proof),
    /// AVX512-BF16.
    Vectors(Proof),
}

/// Keeps values of [`Unit`] from being made elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super::super) struct Proof(());

/// The layout of a tile register file: eight tiles of 16 rows of 64 bytes.
#[repr(C, align(64))]
struct Layout([u8; 64]);

static LAYOUT: Layout = {
    let mut bytes = [0; 64];
    bytes[0] = 1;
    let mut tile = 0;
    while tile < 8 {
        bytes[16 + 2 * tile] = 64;
        bytes[48 + tile] = TILE as u8;
        tile += 1;
    }
    Layout(bytes)
};

/// Whether the CPU has vectors of bf16.
fn has_vectors() -> bool {
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512bf16")
}

/// Whether CPU and kernel offer tiles; asks the kernel for their registers, which are off until a process wants them.
#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "a system call without memory")]
fn has_tiles() -> bool {
    /// `arch_prctl`: ask for a state component, and the component of the tiles' data.
    const ASK: libc::c_long = 0x1023;
    const TILES: libc::c_long = 18;
    /// AMX-BF16 and AMX-TILE in register d of leaf 7.
    const BITS: u32 = 1 << 22 | 1 << 24;
    let leaf = std::arch::x86_64::__cpuid_count(7, 0);
    // SAFETY: the call reads and writes no memory of ours.
    leaf.edx & BITS == BITS && unsafe { libc::syscall(libc::SYS_arch_prctl, ASK, TILES) } == 0
}

#[cfg(not(target_os = "linux"))]
fn has_tiles() -> bool {
    false
}

#[expect(clippy::unused_self, reason = "a unit is the proof that the CPU has the instructions")]
impl Unit {
    /// The best of this CPU.
    pub(in super::super::super) fn of_this_cpu() -> Option<Self> {
        static FOUND: OnceLock<Option<Unit>> = OnceLock::new();
        *FOUND.get_or_init(|| {
            has_vectors().then(|| if has_tiles() { Self::Tiles(Proof(())) } else { Self::Vectors(Proof(())) })
        })
    }

    /// All of this CPU.
    #[cfg(test)]
    pub(in super::super::super) fn all() -> impl Iterator<Item = Self> {
        Self::of_this_cpu().into_iter().flat_map(|best| {
            let vectors = Self::Vectors(Proof(()));
            std::iter::once(vectors).chain((best != vectors).then_some(best))
        })
    }

    /// Calls `work`, in which [`Unit::block`] may be called.
    #[expect(unsafe_code, reason = "sets up tile registers")]
    pub(in super::super::super) fn run(self, work: impl FnOnce()) {
        match self {
            Self::Vectors(_) => work(),
            Self::Tiles(_) => {
                // SAFETY: the CPU has tiles and the kernel has allowed them; nothing else here uses them. If `work` panics the
                // layout stays, and the next one replaces it.
                unsafe { asm!("ldtilecfg [{}]", in(reg) &raw const LAYOUT, options(nostack, readonly)) };
                work();
                // SAFETY: as above.
                unsafe { asm!("tilerelease", options(nostack, nomem)) };
            }
        }
    }

    /// The sums of products of a block of rows with a block of columns, over all steps of the rows.
    ///
    /// # Panics
    ///
    /// If a line of the block is in neither operand.
    #[expect(unsafe_code, reason = "instructions that the CPU was found to have")]
    pub(in super::super::super) fn block(self, left: Left<'_>, right: Right<'_>, sums: &mut Sums) {
        assert!(are_inside(&left, &right), "a block outside its operands");
        match self {
            // SAFETY: the value is the proof that the CPU has them, and the lines that are read were checked.
            Self::Tiles(_) => unsafe { by_tiles(left, right, sums) },
            // SAFETY: likewise.
            Self::Vectors(_) => unsafe { by_vectors(left, right, sums) },
        }
    }

    /// The terms rounded, and zeros behind them: 32 at most.
    #[expect(unsafe_code, reason = "instructions that the CPU was found to have")]
    pub(in super::super::super) fn line(self, terms: &[f32]) -> Line {
        // SAFETY: the value is the proof that the CPU has them.
        unsafe { line(terms) }
    }

    /// Packs 16 rows by 32 terms from `[row, term]` on: writes all of the lines, which are 16.
    #[expect(unsafe_code, reason = "instructions that the CPU was found to have")]
    pub(in super::super::super) fn pack(
        self,
        operand: &Operand<'_>,
        at: [usize; 2],
        form: Form,
        lines: &mut [MaybeUninit<Line>],
    ) {
        // SAFETY: the value is the proof that the CPU has them.
        unsafe { pack(operand, at, form, lines) }
    }

    /// `to = scale * sums`, or `to += ..`, as many numbers as there are sums.
    ///
    /// # Safety
    ///
    /// The numbers may be written to, by the caller alone; where they are added to, they have been written before.
    #[expect(unsafe_code, reason = "writes memory that may not have been written before")]
    pub(in super::super::super) unsafe fn store(self, to: *mut f32, sums: &[f32], adds: bool, scale: f32) {
        // SAFETY: the value is the proof that the CPU has the instructions; the rest is passed on to the caller.
        unsafe { store(to, sums, adds, scale) }
    }
}

/// # Safety
///
/// The CPU must have AMX with the layout loaded, and the operands all lines of the block.
#[expect(unsafe_code, reason = "tiles have no intrinsics in stable Rust")]
#[expect(clippy::too_many_lines, reason = "one list of instructions")]
unsafe fn by_tiles(left: Left<'_>, right: Right<'_>, sums: &mut Sums) {
    if left.steps.is_empty() {
        *sums = Sums::default();
        return;
    }
    // SAFETY: reads two tiles of each operand a step, and writes the 4 KB of the sums.
    unsafe {
        asm!(
            "tilezero tmm0",
            "tilezero tmm1",
            "tilezero tmm2",
            "tilezero tmm3",
            "2:",
            "mov {at}, [{steps}]",
            "shl {at}, 6",
            "add {at}, {left}",
            "tileloadd tmm4, [{at} + {row}*1]",
            "tileloadd tmm6, [{first} + {line}*1]",
            "tdpbf16ps tmm0, tmm4, tmm6",
            "tileloadd tmm7, [{second} + {line}*1]",
            "tdpbf16ps tmm1, tmm4, tmm7",
            "add {at}, {half}",
            "tileloadd tmm5, [{at} + {row}*1]",
            "tdpbf16ps tmm2, tmm5, tmm6",
            "tdpbf16ps tmm3, tmm5, tmm7",
            "add {first}, {step}",
            "add {second}, {step}",
            "add {steps}, 8",
            "dec {n}",
            "jnz 2b",
            "tilestored [{sums} + {line}*2], tmm0",
            "tilestored [{sums} + {line}*2 + 64], tmm1",
            "tilestored [{sums} + {line}*2 + 2048], tmm2",
            "tilestored [{sums} + {line}*2 + 2112], tmm3",
            at = out(reg) _,
            left = in(reg) left.lines.as_ptr(),
            steps = inout(reg) left.steps.as_ptr() => _,
            row = in(reg) 64 * left.row,
            half = in(reg) 64 * TILE * left.row,
            n = inout(reg) left.steps.len() => _,
            first = inout(reg) right.halves[0].as_ptr() => _,
            second = inout(reg) right.halves[1].as_ptr() => _,
            step = in(reg) 64 * right.step,
            sums = in(reg) &raw mut *sums,
            line = in(reg) 64usize,
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack),
        );
    }
}

/// Rows whose sums are in registers together: with both halves 24 of 32.
const ROWS: usize = 12;

/// # Safety
///
/// The operands must have all lines of the block.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
#[expect(unsafe_code, reason = "with checks the sums leave their registers at each step")]
unsafe fn by_vectors(left: Left<'_>, right: Right<'_>, sums: &mut Sums) {
    // SAFETY: passed on to the caller, and the rows are those of a block.
    unsafe {
        rows_by_vectors::<ROWS>(left, right, 0, sums);
        rows_by_vectors::<ROWS>(left, right, ROWS, sums);
        rows_by_vectors::<{ BLOCK - 2 * ROWS }>(left, right, 2 * ROWS, sums);
    }
}

/// The sums of some rows of a block from one on.
///
/// # Safety
///
/// As of [`by_vectors`]; the rows must be those of a block.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
#[expect(unsafe_code, reason = "with checks the sums leave their registers at each step")]
unsafe fn rows_by_vectors<const N: usize>(left: Left<'_>, right: Right<'_>, first: usize, sums: &mut Sums) {
    let mut both = [[_mm512_setzero_ps(); 2]; N];
    let [mut even, mut odd] = right.halves.map(<[Line]>::as_ptr);
    for &step in left.steps {
        let rows = left.lines.as_ptr().wrapping_add(step + first * left.row).cast::<i32>();
        for pair in 0..TILE {
            // SAFETY: a step has as many lines of each half, which are in the right operand.
            let right = unsafe { [pairs(read(&*even.add(pair))), pairs(read(&*odd.add(pair)))] };
            for (row, both) in both.iter_mut().enumerate() {
                // SAFETY: the line of each row is in the left operand, and has as many pairs.
                let left = unsafe { *rows.add(row * left.row * TILE + pair) };
                let left = pairs(_mm512_set1_epi32(left));
                both[0] = _mm512_dpbf16_ps(both[0], left, right[0]);
                both[1] = _mm512_dpbf16_ps(both[1], left, right[1]);
            }
        }
        even = even.wrapping_add(right.step);
        odd = odd.wrapping_add(right.step);
    }
    for (row, both) in sums.0.chunks_exact_mut(BLOCK).skip(first).zip(both) {
        for (to, half) in row.chunks_exact_mut(16).zip(both) {
            store_vector(to, half);
        }
    }
}

/// The same bits as pairs of bf16.
#[expect(unsafe_code, reason = "vectors of pairs can't be made otherwise")]
pub(super) fn pairs(bits: __m512i) -> __m512bh {
    // SAFETY: both are 64 bytes of which any value is one.
    unsafe { std::mem::transmute(bits) }
}

#[expect(unsafe_code, reason = "vectors of pairs can't be read otherwise")]
pub(super) fn bits(pairs: __m512bh) -> __m512i {
    // SAFETY: both are 64 bytes of which any value is one.
    unsafe { std::mem::transmute(pairs) }
}

#[target_feature(enable = "avx512f")]
#[expect(unsafe_code, reason = "loads by pointer")]
pub(super) fn read(line: &Line) -> __m512i {
    // SAFETY: a line has 64 bytes, aligned.
    unsafe { _mm512_load_si512(line.0.as_ptr().cast()) }
}

#[target_feature(enable = "avx512f")]
#[expect(unsafe_code, reason = "stores by pointer")]
fn write(line: &mut MaybeUninit<Line>, bits: __m512i) {
    // SAFETY: a line has 64 bytes, aligned.
    unsafe { _mm512_store_si512(line.as_mut_ptr().cast(), bits) }
}

#[target_feature(enable = "avx512f")]
#[expect(unsafe_code, reason = "stores by pointer")]
pub(super) fn store_vector(to: &mut [f32], vector: __m512) {
    let mask = mask(to.len());
    // SAFETY: writes no more numbers than the slice has.
    unsafe { _mm512_mask_storeu_ps(to.as_mut_ptr(), mask, vector) }
}

/// The first sixteen numbers of a slice, or zeros behind its end.
#[target_feature(enable = "avx512f")]
#[expect(unsafe_code, reason = "loads by pointer")]
pub(super) fn load(from: &[f32]) -> __m512 {
    // SAFETY: reads no more numbers than the slice has.
    unsafe { _mm512_maskz_loadu_ps(mask(from.len()), from.as_ptr()) }
}

/// The first `n` of sixteen lanes.
fn mask(n: usize) -> __mmask16 {
    if n >= 16 { !0 } else { (1 << n) - 1 }
}

/// # Safety
///
/// As of [`Unit::store`].
#[target_feature(enable = "avx512f")]
#[expect(unsafe_code, reason = "writes memory that may not have been written before")]
unsafe fn store(to: *mut f32, sums: &[f32], adds: bool, scale: f32) {
    let scale = _mm512_set1_ps(scale);
    for (index, sums) in sums.chunks(16).enumerate() {
        let (to, mask) = (to.wrapping_add(16 * index), mask(sums.len()));
        let sums = load(sums);
        // SAFETY: the mask has as many numbers as are left of the sums.
        unsafe {
            let vector = if adds {
                _mm512_fmadd_ps(scale, sums, _mm512_maskz_loadu_ps(mask, to))
            } else {
                _mm512_mul_ps(scale, sums)
            };
            _mm512_mask_storeu_ps(to, mask, vector);
        }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
fn line(terms: &[f32]) -> Line {
    let (low, high) = terms.split_at(terms.len().min(16));
    let mut line = MaybeUninit::uninit();
    write(&mut line, bits(_mm512_cvtne2ps_pbh(load(high), load(low))));
    // SAFETY: it was written.
    #[expect(unsafe_code, reason = "a line is made by writing it")]
    unsafe {
        line.assume_init()
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
fn pack(operand: &Operand<'_>, [row, term]: [usize; 2], form: Form, lines: &mut [MaybeUninit<Line>]) {
    let mut tile = [_mm512_setzero_si512(); TILE];
    let found = if operand.terms_lie_together {
        for (index, line) in tile.iter_mut().enumerate() {
            let terms = operand.strip(row + index, term, BLOCK);
            ask_for(terms.as_ptr().wrapping_add(BLOCK));
            ask_for(terms.as_ptr().wrapping_add(BLOCK + TILE));
            let (low, high) = terms.split_at(terms.len().min(16));
            *line = bits(_mm512_cvtne2ps_pbh(load(high), load(low)));
        }
        Form::Rows
    } else {
        for (index, line) in tile.iter_mut().enumerate() {
            // No closure: one would be compiled without the vector instructions.
            let low = operand.strip(term + 2 * index, row, TILE);
            let high = operand.strip(term + 2 * index + 1, row, TILE);
            ask_for(operand.strip(term + BLOCK + 2 * index, row, TILE).as_ptr());
            ask_for(operand.strip(term + BLOCK + 2 * index + 1, row, TILE).as_ptr());
            *line = interleaved(bits(_mm512_cvtne2ps_pbh(load(high), load(low))));
        }
        Form::Pairs
    };
    if found != form {
        transpose(&mut tile);
    }
    for (line, bits) in lines.iter_mut().zip(tile) {
        write(line, bits);
    }
}

/// Asks for a line of memory that the next block of terms reads: rows lie too far from each other for the CPU to guess.
#[expect(unsafe_code, reason = "an instruction that reads nothing")]
fn ask_for(place: *const f32) {
    // SAFETY: the CPU reads what is there in advance, or nothing.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(place.cast()) }
}

/// Sixteen 16-bit numbers and sixteen more, in turns.
#[target_feature(enable = "avx512f,avx512bw")]
fn interleaved(halves: __m512i) -> __m512i {
    const ORDER: [u16; 32] = {
        let (mut order, mut place) = ([0; 32], 0);
        while place < 32 {
            order[place as usize] = place / 2 + place % 2 * 16;
            place += 1;
        }
        order
    };
    // SAFETY: both are 64 bytes of which any value is one.
    #[expect(unsafe_code, reason = "vectors can't be made of an array otherwise")]
    let order = unsafe { std::mem::transmute::<[u16; 32], __m512i>(ORDER) };
    _mm512_permutexvar_epi16(order, halves)
}

/// Sixteen rows of sixteen 32-bit numbers become columns.
#[target_feature(enable = "avx512f")]
fn transpose(rows: &mut [__m512i; TILE]) {
    // Within each quarter of the vectors four by four numbers ...
    let mut pairs = [rows[0]; TILE];
    for four in (0..TILE).step_by(4) {
        let [a, b, c, d] = [rows[four], rows[four + 1], rows[four + 2], rows[four + 3]];
        let [ab, cd] = [_mm512_unpacklo_epi32(a, b), _mm512_unpacklo_epi32(c, d)];
        pairs[four] = _mm512_unpacklo_epi64(ab, cd);
        pairs[four + 1] = _mm512_unpackhi_epi64(ab, cd);
        let [ab, cd] = [_mm512_unpackhi_epi32(a, b), _mm512_unpackhi_epi32(c, d)];
        pairs[four + 2] = _mm512_unpacklo_epi64(ab, cd);
        pairs[four + 3] = _mm512_unpackhi_epi64(ab, cd);
    }
    // ... and then four by four quarters.
    for column in 0..4 {
        let [a, b, c, d] = [0, 4, 8, 12].map(|four| pairs[four + column]);
        let [even_ab, odd_ab] = [_mm512_shuffle_i32x4::<0x88>(a, b), _mm512_shuffle_i32x4::<0xdd>(a, b)];
        let [even_cd, odd_cd] = [_mm512_shuffle_i32x4::<0x88>(c, d), _mm512_shuffle_i32x4::<0xdd>(c, d)];
        rows[column] = _mm512_shuffle_i32x4::<0x88>(even_ab, even_cd);
        rows[column + 4] = _mm512_shuffle_i32x4::<0x88>(odd_ab, odd_cd);
        rows[column + 8] = _mm512_shuffle_i32x4::<0xdd>(even_ab, even_cd);
        rows[column + 12] = _mm512_shuffle_i32x4::<0xdd>(odd_ab, odd_cd);
    }
}
