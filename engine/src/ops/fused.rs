//! Custom candle ops from a kernel and its derivative.

use super::remade::{Remade, take};
use super::slices::{ReadGuard, read, slice};
use super::variable_gradients;
use crate::kernels::Real;
use candle_core::{CpuStorage, CustomOp1, CustomOp2, CustomOp3, Error, Layout, Result, Shape, Tensor};
use std::array;
use std::marker::PhantomData;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// A differentiable function of N tensors of `T`, computed on the CPU; the result is a tensor of `R`.
pub(super) trait Fused<T: Real, const N: usize, R: Real = T>: Send + Sync + 'static {
    /// The name in candle's errors.
    const NAME: &'static str;

    /// Whether the backward pass reads the result.
    const READS_RESULT: bool = false;

    /// The inputs whose numbers the backward pass reads, by those that require gradients: all, unless an op says otherwise. The
    /// others are empty there.
    fn reads(&self, _requires_grad: [bool; N]) -> [bool; N] {
        [true; N]
    }

    /// The shape of the result for inputs of given shapes: the first one's, unless an op says otherwise.
    fn shape(&self, inputs: [&[usize]; N]) -> Shape {
        inputs[0].into()
    }

    /// The elements of the result.
    fn forward(&self, inputs: [Input<'_, T>; N]) -> Result<Vec<R>>;

    /// The gradient of each input (a vector-Jacobian product). A gradient that is not required is dropped.
    fn backward(&self, pass: &Backward<'_, T, N, R>) -> Result<[Gradient<T>; N]>;
}

/// An input of an op: its elements in row-major order, and its shape.
#[derive(Debug, Clone, Copy)]
pub(super) struct Input<'a, T> {
    pub(super) data: &'a [T],
    pub(super) dims: &'a [usize],
}

/// The operands of a backward pass.
#[derive(Debug)]
pub(super) struct Backward<'a, T, const N: usize, R = T> {
    /// The inputs of the forward pass.
    pub(super) inputs: [Input<'a, T>; N],
    /// Whether each input is, or was computed from, a trainable tensor.
    pub(super) requires_grad: [bool; N],
    /// The result of the forward pass; empty unless the op reads it.
    pub(super) result: &'a [R],
    /// The gradient of the result.
    pub(super) gradient: &'a [R],
}

impl<T, const N: usize, R> Backward<'_, T, N, R> {
    /// The gradient of one input, computed if it is required.
    pub(super) fn if_required(&self, index: usize, gradient: impl FnOnce() -> Vec<T>) -> Gradient<T> {
        if self.requires_grad[index] { Gradient::Values(gradient()) } else { Gradient::None }
    }

    /// The gradients that are required, each computed on its own from the index of its input.
    pub(super) fn each_required(&self, gradient: impl Fn(usize) -> Vec<T>) -> [Gradient<T>; N] {
        array::from_fn(|index| self.if_required(index, || gradient(index)))
    }
}

/// The gradient of an input.
#[derive(Debug)]
pub(super) enum Gradient<T> {
    /// None: the result is constant in this input, or no gradient is required.
    None,
    /// The result's gradient itself, not copied.
    Same,
    /// These elements, in the shape of the input.
    Values(Vec<T>),
}

impl<T: Real> Gradient<T> {
    /// The gradients of the N given inputs, of all possible ones.
    pub(super) fn first<const N: usize, const ALL: usize>(gradients: [Vec<T>; ALL]) -> [Self; N] {
        let mut gradients = gradients.into_iter();
        array::from_fn(|_| gradients.next().map_or(Self::None, Self::Values))
    }

    fn into_tensor(self, input: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        match self {
            Self::Same if input.track_op() => Ok(Some(gradient.clone())),
            Self::Values(data) if input.track_op() => {
                variable_gradients::accumulate(input, Tensor::from_vec(data, input.shape(), input.device())?)
            }
            Self::None | Self::Same | Self::Values(_) => Ok(None),
        }
    }
}

/// Values that the forward pass saves for the backward pass.
#[derive(Debug)]
pub(super) struct Saved<S>(OnceLock<S>);

impl<S> Saved<S> {
    pub(super) fn new() -> Self {
        Self(OnceLock::new())
    }

    pub(super) fn set(&self, values: S) {
        // Ops run forward once; a second run would give the same numbers.
        let _ = self.0.set(values);
    }

    pub(super) fn get(&self) -> Result<&S> {
        self.0.get().ok_or_else(|| Error::msg("a backward pass without a forward pass"))
    }
}

/// Applies an op of one input.
pub(super) fn unary<T: Real, R: Real, F: Fused<T, 1, R>>(op: F, x: &Tensor) -> Result<Tensor> {
    let x = x.contiguous()?;
    x.apply_op1(Custom::new(op, [&x]))
}

/// Applies an op of two inputs.
pub(super) fn binary<T: Real, R: Real, F: Fused<T, 2, R>>(op: F, a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let (a, b) = (a.contiguous()?, b.contiguous()?);
    a.apply_op2(&b, Custom::new(op, [&a, &b]))
}

/// Applies an op of two inputs in the memory of the first: `onto` gets its numbers and those of the second. The backward pass
/// may read neither.
///
/// Where the first is a part of other memory the op is applied as [`binary`] does.
pub(super) fn onto<T: Real, F: Fused<T, 2>>(
    op: F,
    a: &Tensor,
    b: &Tensor,
    onto: impl FnOnce(&F, &mut [T], &[T]),
) -> Result<Tensor> {
    let b = b.contiguous()?;
    let Some(storage) = take(a)? else { return binary::<T, T, F>(op, a, &b) };
    let mut numbers = T::cpu_storage_data(storage)?;
    onto(&op, &mut numbers, &read(&b)?);
    let custom = Custom { given: Mutex::new(Some(numbers)), ..Custom::<F, T, T>::new(op, [a, &b]) };
    a.apply_op2(&b, custom)
}

/// Applies an op of three inputs.
pub(super) fn ternary<T: Real, R: Real, F: Fused<T, 3, R>>(
    op: F,
    a: &Tensor,
    b: &Tensor,
    c: &Tensor,
) -> Result<Tensor> {
    let (a, b, c) = (a.contiguous()?, b.contiguous()?, c.contiguous()?);
    a.apply_op3(&b, &c, Custom::new(op, [&a, &b, &c]))
}

/// Applies an op of an input, a weight and an optional bias.
pub(super) fn affine<T: Real, F: Fused<T, 2> + Fused<T, 3>>(
    op: F,
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
) -> Result<Tensor> {
    match bias {
        Some(bias) => ternary::<T, T, F>(op, x, weight, bias),
        None => binary::<T, T, F>(op, x, weight),
    }
}

/// A [`Fused`] op as a candle custom op. The functions above make its inputs contiguous.
struct Custom<F, T, R> {
    op: F,
    /// How inputs that keep no numbers are made again.
    remade: Vec<Option<Arc<Remade>>>,
    /// The result, where it is there before the op is applied.
    given: Mutex<Option<Vec<R>>>,
    numbers: PhantomData<(T, R)>,
}

impl<F, T: Real, R: Real> Custom<F, T, R> {
    fn new<const N: usize>(op: F, inputs: [&Tensor; N]) -> Self
    where
        F: Fused<T, N, R>,
    {
        let reads = op.reads(inputs.map(Tensor::track_op));
        let remade = |(input, reads): (&&Tensor, bool)| if reads { Remade::of(input) } else { None };
        let remade = inputs.iter().zip(reads).map(remade).collect();
        Self { op, remade, given: Mutex::default(), numbers: PhantomData }
    }

    fn forward<const N: usize>(&self, inputs: [(&CpuStorage, &Layout); N]) -> Result<(CpuStorage, Shape)>
    where
        F: Fused<T, N, R>,
    {
        let mut operands = inputs.map(|(_, layout)| Input { data: &[], dims: layout.dims() });
        let shape = self.op.shape(operands.map(|operand| operand.dims));
        if let Some(given) = self.given.lock().unwrap_or_else(PoisonError::into_inner).take() {
            return Ok((R::to_cpu_storage_owned(given), shape));
        }
        for (operand, (storage, layout)) in operands.iter_mut().zip(inputs) {
            operand.data = slice(storage, layout)?;
        }
        Ok((R::to_cpu_storage_owned(self.op.forward(operands)?), shape))
    }

    fn backward<const N: usize>(
        &self,
        inputs: [&Tensor; N],
        result: &Tensor,
        upstream: &Tensor,
    ) -> Result<[Option<Tensor>; N]>
    where
        F: Fused<T, N, R>,
    {
        let gradients = {
            let contiguous = upstream.contiguous()?;
            let requires_grad = inputs.map(Tensor::track_op);
            let reads = self.op.reads(requires_grad);
            let made = |remade: &Option<Arc<Remade>>| remade.as_ref().map(|remade| remade.numbers()).transpose();
            let made = self.remade.iter().map(made).collect::<Result<Vec<Option<Tensor>>>>()?;
            let data =
                |index: usize| reads[index].then(|| read(made[index].as_ref().unwrap_or(inputs[index]))).transpose();
            let data = (0..N).map(data).collect::<Result<Vec<Option<ReadGuard<'_, T>>>>>()?;
            let of = |index: usize| data[index].as_deref().unwrap_or_default();
            let result = F::READS_RESULT.then(|| read(result)).transpose()?;
            self.op.backward(&Backward {
                inputs: array::from_fn(|index| Input { data: of(index), dims: inputs[index].dims() }),
                requires_grad,
                result: result.as_deref().unwrap_or_default(),
                gradient: &read(&contiguous)?,
            })?
        };
        let mut tensors = [const { None }; N];
        for ((tensor, gradient), input) in tensors.iter_mut().zip(gradients).zip(inputs) {
            *tensor = gradient.into_tensor(input, upstream)?;
        }
        Ok(tensors)
    }
}

impl<T: Real, R: Real, F: Fused<T, 1, R>> CustomOp1 for Custom<F, T, R> {
    fn name(&self) -> &'static str {
        F::NAME
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        self.forward([(storage, layout)])
    }

    fn bwd(&self, x: &Tensor, result: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        let [to_x] = self.backward([x], result, gradient)?;
        Ok(to_x)
    }
}

impl<T: Real, R: Real, F: Fused<T, 2, R>> CustomOp2 for Custom<F, T, R> {
    fn name(&self) -> &'static str {
        F::NAME
    }

    fn cpu_fwd(&self, s1: &CpuStorage, l1: &Layout, s2: &CpuStorage, l2: &Layout) -> Result<(CpuStorage, Shape)> {
        self.forward([(s1, l1), (s2, l2)])
    }

    fn bwd(
        &self,
        a: &Tensor,
        b: &Tensor,
        result: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        Ok(self.backward([a, b], result, gradient)?.into())
    }
}

impl<T: Real, R: Real, F: Fused<T, 3, R>> CustomOp3 for Custom<F, T, R> {
    fn name(&self) -> &'static str {
        F::NAME
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
        s3: &CpuStorage,
        l3: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        self.forward([(s1, l1), (s2, l2), (s3, l3)])
    }

    fn bwd(
        &self,
        a: &Tensor,
        b: &Tensor,
        c: &Tensor,
        result: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        Ok(self.backward([a, b, c], result, gradient)?.into())
    }
}
