//! In-place, multi-threaded work on the numbers of CPU tensors, with the same bits at any number of cores.

use std::cell::RefCell;

use candle_core::{CpuStorage, DType, Error, InplaceOp1, InplaceOp2, Layout, Result, Storage, Tensor, WithDType};
use pulp::Arch;
use rayon::prelude::*;

use crate::device::has_kernels;
use crate::transfer::to_host;

/// Numbers per task. Fixed, so that sums over tasks do not depend on the number of threads; 128 KiB of `f32`, so that
/// the streams of an update fit in the L2 cache.
pub(crate) const CHUNK: usize = 32 * 1024;

/// Whether the tensor is a contiguous `f32` CPU tensor, which is updated in place.
pub(crate) fn is_host_f32(tensor: &Tensor) -> bool {
    has_kernels(tensor.device()) && tensor.dtype() == DType::F32 && tensor.is_contiguous()
}

/// Calls `kernel(target, source)` on matching chunks of both tensors.
pub(crate) fn zip_in_place(target: &Tensor, source: &Tensor, kernel: impl Fn(&mut [f32], &[f32]) + Sync) -> Result<()> {
    with_mut(target, source, |target, source| {
        let arch = Arch::new();
        let runs = target.par_chunks_mut(CHUNK).zip(source.par_chunks(CHUNK));
        runs.for_each(|(target, source)| {
            arch.dispatch(
                #[inline(always)]
                || kernel(target, source),
            );
        });
    })
}

/// Multiplies every number by `factor`.
pub(crate) fn scale_in_place(target: &Tensor, factor: f32) -> Result<()> {
    edit(target, |target| {
        let arch = Arch::new();
        target.par_chunks_mut(CHUNK).for_each(|run| {
            arch.dispatch(
                #[inline(always)]
                || run.iter_mut().for_each(|x| *x *= factor),
            );
        });
    })
}

/// Borrows the numbers of all tensors for `action`, all but the source's mutably.
///
/// All must satisfy [`is_host_f32`], have the same shape and not share memory.
pub(crate) fn with_all_mut<const N: usize>(
    target: &Tensor,
    source: &Tensor,
    others: &[Tensor; N],
    mut action: impl FnMut(&mut [f32], &[f32], [&mut [f32]; N]),
) -> Result<()> {
    let mut outcome = Ok(());
    with_mut(target, source, |target, source| {
        outcome = lend(others, Vec::with_capacity(N), &mut |lent| match lent.try_into() {
            Ok(others) => action(target, source, others),
            Err(_) => unreachable!("one run is lent for each tensor"),
        });
    })?;
    outcome
}

/// Borrows one tensor after another, then calls `action` with all slices.
fn lend(tensors: &[Tensor], lent: Vec<&mut [f32]>, action: &mut dyn FnMut(Vec<&mut [f32]>)) -> Result<()> {
    let Some((first, rest)) = tensors.split_first() else {
        action(lent);
        return Ok(());
    };
    let (mut outcome, mut lent) = (Ok(()), Some(lent));
    edit(first, |run| {
        let mut lent: Vec<&mut [f32]> = lent.take().unwrap_or_default();
        lent.push(run);
        outcome = lend(rest, lent, action);
    })?;
    outcome
}

/// Calls `kernel` on every number of `target`, with the corresponding numbers of `source` and `moments`.
pub(crate) fn for_each_number<const N: usize>(
    target: &mut [f32],
    source: &[f32],
    moments: [&mut [f32]; N],
    kernel: impl Fn(&mut f32, f32, [&mut f32; N]) + Sync,
) {
    let arch = Arch::new();
    let n_chunks = target.len().div_ceil(CHUNK);
    let mut runs: Vec<Vec<&mut [f32]>> = (0..n_chunks).map(|_| Vec::with_capacity(N)).collect();
    for moment in moments {
        moment.chunks_mut(CHUNK).zip(&mut runs).for_each(|(chunk, runs)| runs.push(chunk));
    }
    target.par_chunks_mut(CHUNK).zip(source.par_chunks(CHUNK)).zip(runs).for_each(|((target, source), moments)| {
        let Ok(moments) = <[&mut [f32]; N]>::try_from(moments) else { unreachable!("each moment has as many chunks") };
        arch.dispatch(
            #[inline(always)]
            || update_run(target, source, moments, &kernel),
        );
    });
}

#[expect(clippy::inline_always, reason = "only what is inlined is compiled for the vector instructions at hand")]
#[inline(always)]
fn update_run<const N: usize>(
    target: &mut [f32],
    source: &[f32],
    moments: [&mut [f32]; N],
    kernel: &impl Fn(&mut f32, f32, [&mut f32; N]),
) {
    let n = target.len();
    // Slices of one known length let the compiler drop bounds checks and vectorise.
    let (source, mut moments) = (&source[..n], moments.map(|moment| &mut moment[..n]));
    for i in 0..n {
        kernel(&mut target[i], source[i], moments.each_mut().map(|moment| &mut moment[i]));
    }
}

/// Borrows the numbers of both tensors for `action`, the first mutably.
fn with_mut(target: &Tensor, source: &Tensor, action: impl FnMut(&mut [f32], &[f32])) -> Result<()> {
    if target.shape() != source.shape() {
        let (lhs, rhs) = (target.shape().clone(), source.shape().clone());
        return Err(Error::ShapeMismatchBinaryOp { lhs, rhs, op: "in-place update" }.bt());
    }
    target.inplace_op2(source, &Edit(RefCell::new(action)))
}

/// Borrows the numbers of a tensor mutably for `action`.
pub(crate) fn edit(target: &Tensor, action: impl FnMut(&mut [f32])) -> Result<()> {
    target.inplace_op1(&Edit(RefCell::new(action)))
}

/// The sum of squares of each tensor, in `f64`, in an order that does not depend on the number of threads; or the place of one that
/// fails. What other devices sum is read together.
pub(crate) fn sums_of_squares(tensors: &[&Tensor]) -> std::result::Result<Vec<f64>, (usize, Error)> {
    let mut sums = vec![0.; tensors.len()];
    let mut of_devices = Vec::new();
    for (place, tensor) in tensors.iter().enumerate() {
        let failed = |error| (place, error);
        match sum_of_squares_here(tensor).map_err(failed)? {
            Some(sum) => sums[place] = sum,
            None => of_devices.push((place, sum_of_squares_there(tensor).map_err(failed)?)),
        }
    }
    let (places, of_devices): (Vec<usize>, Vec<Tensor>) = of_devices.into_iter().unzip();
    if let Some(&first) = places.first() {
        let read = Tensor::stack(&of_devices, 0).and_then(|sums| to_host::<f64>(&sums));
        for (place, sum) in places.into_iter().zip(read.map_err(|error| (first, error))?) {
            sums[place] = sum;
        }
    }
    Ok(sums)
}

/// The sum of squares of a tensor in this process's memory.
fn sum_of_squares_here(tensor: &Tensor) -> Result<Option<f64>> {
    if !has_kernels(tensor.device()) {
        return Ok(None);
    }
    let tensor = tensor.contiguous()?;
    let (storage, layout) = tensor.storage_and_layout();
    match &*storage {
        Storage::Cpu(CpuStorage::F32(values)) => Ok(Some(squares(run_of(values, layout)?))),
        Storage::Cpu(CpuStorage::F64(values)) => Ok(Some(squares(run_of(values, layout)?))),
        _ => Ok(None),
    }
}

/// The sum of squares of any tensor, on its device.
fn sum_of_squares_there(tensor: &Tensor) -> Result<Tensor> {
    let tensor = if tensor.dtype() == DType::F64 { tensor.clone() } else { tensor.to_dtype(DType::F32)? };
    tensor.sqr()?.sum_all()?.to_dtype(DType::F64)
}

fn squares<T: WithDType>(values: &[T]) -> f64 {
    let arch = Arch::new();
    let sums: Vec<f64> = values.par_chunks(CHUNK).map(|run| arch.dispatch(SumOfSquares(run))).collect();
    sums.iter().sum()
}

/// A sum with 16 accumulators, which the compiler can keep in vector registers.
struct SumOfSquares<'a, T>(&'a [T]);

impl<T: WithDType> pulp::WithSimd for SumOfSquares<'_, T> {
    type Output = f64;

    #[expect(clippy::inline_always, reason = "only what is inlined is compiled for the vector instructions at hand")]
    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _simd: S) -> f64 {
        let mut totals = [0f64; 16];
        let (blocks, rest) = self.0.as_chunks::<16>();
        for block in blocks {
            for (total, x) in totals.iter_mut().zip(block) {
                let x = x.to_f64();
                *total += x * x;
            }
        }
        totals.iter().sum::<f64>() + rest.iter().map(|x| x.to_f64() * x.to_f64()).sum::<f64>()
    }
}

fn run_of<'a, T>(values: &'a [T], layout: &Layout) -> Result<&'a [T]> {
    let (start, end) = layout.contiguous_offsets().ok_or_else(not_one_run)?;
    Ok(&values[start..end])
}

fn run_of_mut<'a, T>(values: &'a mut [T], layout: &Layout) -> Result<&'a mut [T]> {
    let (start, end) = layout.contiguous_offsets().ok_or_else(not_one_run)?;
    Ok(&mut values[start..end])
}

fn not_one_run() -> Error {
    Error::Msg("the numbers of an in-place update must lie in one run".into()).bt()
}

fn f32s<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    run_of(storage.as_slice::<f32>()?, layout)
}

fn f32s_mut<'a>(storage: &'a mut CpuStorage, layout: &Layout) -> Result<&'a mut [f32]> {
    match storage {
        CpuStorage::F32(values) => run_of_mut(values, layout),
        _ => Err(Error::Msg("in-place updates on the CPU are for f32".into()).bt()),
    }
}

/// An action on borrowed numbers, as a candle op. Candle passes ops by shared reference, hence the cell.
struct Edit<F>(RefCell<F>);

impl<F: FnMut(&mut [f32])> InplaceOp1 for Edit<F> {
    fn name(&self) -> &'static str {
        "in-place edit"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> Result<()> {
        (self.0.borrow_mut())(f32s_mut(storage, layout)?);
        Ok(())
    }
}

impl<F: FnMut(&mut [f32], &[f32])> InplaceOp2 for Edit<F> {
    fn name(&self) -> &'static str {
        "in-place update"
    }

    fn cpu_fwd(
        &self,
        target: &mut CpuStorage,
        target_layout: &Layout,
        source: &CpuStorage,
        source_layout: &Layout,
    ) -> Result<()> {
        (self.0.borrow_mut())(f32s_mut(target, target_layout)?, f32s(source, source_layout)?);
        Ok(())
    }
}
