//! Activations and sums, element by element.

use super::composed;
use super::slices::{fused_or, like, read, slice, stored, wanted};
use crate::kernels::{Real, elementwise as kernel};
use candle_core::{CpuStorage, CustomOp1, CustomOp2, Layout, Result, Shape, Tensor, bail};
use std::marker::PhantomData;

/// The Gaussian error linear unit, `x Phi(x)`, with the exact normal distribution function Phi.
///
/// # References
///
/// Hendrycks and Gimpel, *Gaussian Error Linear Units* (2016).
pub fn gelu(x: &Tensor) -> Result<Tensor> {
    fused_or!(&[x], T => apply::<T, kernel::Gelu>(x), composed::gelu(x))
}

/// The tanh approximation of [`gelu`]: `x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))`.
pub fn gelu_tanh(x: &Tensor) -> Result<Tensor> {
    fused_or!(&[x], T => apply::<T, kernel::GeluTanh>(x), composed::gelu_tanh(x))
}

/// `x sigmoid(x)`.
pub fn silu(x: &Tensor) -> Result<Tensor> {
    fused_or!(&[x], T => apply::<T, kernel::Silu>(x), composed::silu(x))
}

/// `x sigmoid(1.702 x)`, CLIP's approximation of [`gelu`].
pub fn quick_gelu(x: &Tensor) -> Result<Tensor> {
    fused_or!(&[x], T => apply::<T, kernel::QuickGelu>(x), composed::quick_gelu(x))
}

/// The first half of each row times [`gelu`] of the second.
///
/// # Shapes
///
/// `x` `[T, 2 width]`, result `[T, width]`.
///
/// # References
///
/// Shazeer, *GLU Variants Improve Transformer* (2020).
pub fn geglu(x: &Tensor) -> Result<Tensor> {
    let width = x.dims2()?.1;
    if width == 0 || !width.is_multiple_of(2) {
        bail!("halves of rows of {:?}", x.dims());
    }
    fused_or!(&[x], T => x.contiguous()?.apply_op1(GeGlu::<T>(PhantomData)), composed::geglu(x))
}

/// `silu(gate) * up`, two tensors of one shape.
pub fn swiglu(gate: &Tensor, up: &Tensor) -> Result<Tensor> {
    if gate.shape() != up.shape() {
        return composed::swiglu(gate, up);
    }
    fused_or!(
        &[gate, up],
        T => gate.contiguous()?.apply_op2(&up.contiguous()?, SwiGlu::<T>(PhantomData)),
        composed::swiglu(gate, up)
    )
}

/// `a + b`, two tensors of one shape.
pub fn add(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    if a.shape() != b.shape() {
        return composed::add(a, b);
    }
    fused_or!(
        &[a, b],
        T => a.contiguous()?.apply_op2(&b.contiguous()?, Add::<T>(PhantomData)),
        composed::add(a, b)
    )
}

fn apply<T: Real, C: kernel::Curve>(x: &Tensor) -> Result<Tensor> {
    x.contiguous()?.apply_op1(Activation::<T, C>(PhantomData))
}

struct Activation<T, C>(PhantomData<(T, C)>);

impl<T: Real, C: kernel::Curve> CustomOp1 for Activation<T, C> {
    fn name(&self) -> &'static str {
        C::NAME
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        Ok(stored(kernel::values::<T, C>(slice(storage, layout)?), layout.shape()))
    }

    fn bwd(&self, x: &Tensor, _result: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        let gradient = gradient.contiguous()?;
        like(kernel::slopes::<T, C>(&read(x)?, &read(&gradient)?), x)
    }
}

struct SwiGlu<T>(PhantomData<T>);

impl<T: Real> CustomOp2 for SwiGlu<T> {
    fn name(&self) -> &'static str {
        "swiglu"
    }

    fn cpu_fwd(&self, s1: &CpuStorage, l1: &Layout, s2: &CpuStorage, l2: &Layout) -> Result<(CpuStorage, Shape)> {
        Ok(stored(kernel::swiglu::<T>(slice(s1, l1)?, slice(s2, l2)?), l1.shape()))
    }

    fn bwd(
        &self,
        gate: &Tensor,
        up: &Tensor,
        _result: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let gradient = gradient.contiguous()?;
        let (to_gate, to_up) = kernel::swiglu_slopes::<T>(&read(gate)?, &read(up)?, &read(&gradient)?);
        Ok((wanted(to_gate, gate)?, wanted(to_up, up)?))
    }
}

struct GeGlu<T>(PhantomData<T>);

impl<T: Real> CustomOp1 for GeGlu<T> {
    fn name(&self) -> &'static str {
        "geglu"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (n_rows, width) = (layout.dims()[0], layout.dims()[1] / 2);
        Ok(stored(kernel::geglu::<T>(slice(storage, layout)?, width), (n_rows, width)))
    }

    fn bwd(&self, x: &Tensor, _result: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        let gradient = gradient.contiguous()?;
        like(kernel::geglu_slopes::<T>(&read(x)?, &read(&gradient)?, x.dims()[1] / 2), x)
    }
}

struct Add<T>(PhantomData<T>);

impl<T: Real> CustomOp2 for Add<T> {
    fn name(&self) -> &'static str {
        "add"
    }

    fn cpu_fwd(&self, s1: &CpuStorage, l1: &Layout, s2: &CpuStorage, l2: &Layout) -> Result<(CpuStorage, Shape)> {
        Ok(stored(kernel::add::<T>(slice(s1, l1)?, slice(s2, l2)?), l1.shape()))
    }

    fn bwd(
        &self,
        a: &Tensor,
        b: &Tensor,
        _result: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        Ok((a.track_op().then(|| gradient.clone()), b.track_op().then(|| gradient.clone())))
    }
}
