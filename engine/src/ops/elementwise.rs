//! Activations and sums, element by element.

use super::composed;
use super::fused::{Backward, Fused, Gradient, Input, binary, onto, unary};
use super::remade::let_go;
use super::slices::fused_or;
use crate::kernels::{Real, elementwise as kernel};
use candle_core::{Result, Shape, Tensor, bail};
use std::marker::PhantomData;

/// The Gaussian error linear unit, `x Phi(x)`, with the exact normal distribution function Phi.
///
/// # References
///
/// Hendrycks and Gimpel, *Gaussian Error Linear Units* (2016).
pub fn gelu(x: &Tensor) -> Result<Tensor> {
    fused_or!(&[x], T => activation::<T, kernel::Gelu>(x), composed::gelu(x))
}

/// The tanh approximation of [`gelu`]: `x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))`.
pub fn gelu_tanh(x: &Tensor) -> Result<Tensor> {
    fused_or!(&[x], T => activation::<T, kernel::GeluTanh>(x), composed::gelu_tanh(x))
}

/// The sigmoid linear unit (Swish), `x sigmoid(x)`.
pub fn silu(x: &Tensor) -> Result<Tensor> {
    fused_or!(&[x], T => activation::<T, kernel::Silu>(x), composed::silu(x))
}

/// `x sigmoid(1.702 x)`, CLIP's approximation of [`gelu`].
pub fn quick_gelu(x: &Tensor) -> Result<Tensor> {
    fused_or!(&[x], T => activation::<T, kernel::QuickGelu>(x), composed::quick_gelu(x))
}

/// The hyperbolic tangent.
pub fn tanh(x: &Tensor) -> Result<Tensor> {
    fused_or!(&[x], T => activation::<T, kernel::Tanh>(x), composed::tanh(x))
}

/// The gated linear unit with [`gelu`]: the first half of each row times [`gelu`] of the second.
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
    fused_or!(&[x], T => unary::<T, _, _>(GeGlu, x), composed::geglu(x))
}

/// The gated linear unit with [`silu`]: `silu(gate) * up`, two tensors of one shape.
pub fn swiglu(gate: &Tensor, up: &Tensor) -> Result<Tensor> {
    if gate.shape() != up.shape() {
        return composed::swiglu(gate, up);
    }
    fused_or!(
        &[gate, up],
        T => binary::<T, _, _>(SwiGlu, gate, up),
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
        T => binary::<T, _, _>(Add, a, b),
        composed::add(a, b)
    )
}

/// [`add`] in the memory of `a`, which nothing else may use: the result of a layer that no other one reads.
#[expect(clippy::needless_pass_by_value, reason = "who gives its memory up keeps no tensor")]
pub fn add_into(a: Tensor, b: &Tensor) -> Result<Tensor> {
    if a.shape() != b.shape() || a.is_variable() || a.id() == b.id() {
        return add(&a, b);
    }
    fused_or!(
        &[&a, b],
        T => onto::<T, _>(Add, &a, b, |_, a, b| kernel::add_onto(a, b)),
        composed::add(&a, b)
    )
}

/// [`add`] of two results of layers that nothing else may use: in the memory of `a`, and `b` gives up its own.
pub fn add_both(a: Tensor, b: Tensor) -> Result<Tensor> {
    let sum = add_into(a, &b)?;
    let_go(b)?;
    Ok(sum)
}

fn activation<T: Real, C: kernel::Curve>(x: &Tensor) -> Result<Tensor> {
    unary::<T, _, _>(Activation::<C>(PhantomData), x)
}

struct Activation<C>(PhantomData<C>);

impl<T: Real, C: kernel::Curve> Fused<T, 1> for Activation<C> {
    const NAME: &'static str = C::NAME;

    fn forward(&self, [x]: [Input<'_, T>; 1]) -> Result<Vec<T>> {
        Ok(kernel::values::<T, C>(x.data))
    }

    fn backward(&self, pass: &Backward<'_, T, 1>) -> Result<[Gradient<T>; 1]> {
        let [x] = pass.inputs;
        Ok([Gradient::Values(kernel::slopes::<T, C>(x.data, pass.gradient))])
    }
}

struct SwiGlu;

impl<T: Real> Fused<T, 2> for SwiGlu {
    const NAME: &'static str = "swiglu";

    fn forward(&self, [gate, up]: [Input<'_, T>; 2]) -> Result<Vec<T>> {
        Ok(kernel::swiglu(gate.data, up.data))
    }

    fn backward(&self, pass: &Backward<'_, T, 2>) -> Result<[Gradient<T>; 2]> {
        let [gate, up] = pass.inputs;
        let (to_gate, to_up) = kernel::swiglu_slopes(gate.data, up.data, pass.gradient);
        Ok([to_gate, to_up].map(Gradient::Values))
    }
}

struct GeGlu;

impl<T: Real> Fused<T, 1> for GeGlu {
    const NAME: &'static str = "geglu";

    fn shape(&self, [x]: [&[usize]; 1]) -> Shape {
        (x[0], x[1] / 2).into()
    }

    fn forward(&self, [x]: [Input<'_, T>; 1]) -> Result<Vec<T>> {
        Ok(kernel::geglu(x.data, x.dims[1] / 2))
    }

    fn backward(&self, pass: &Backward<'_, T, 1>) -> Result<[Gradient<T>; 1]> {
        let [x] = pass.inputs;
        Ok([Gradient::Values(kernel::geglu_slopes(x.data, pass.gradient, x.dims[1] / 2))])
    }
}

struct Add;

impl<T: Real> Fused<T, 2> for Add {
    const NAME: &'static str = "add";

    fn forward(&self, [a, b]: [Input<'_, T>; 2]) -> Result<Vec<T>> {
        Ok(kernel::add(a.data, b.data))
    }

    fn reads(&self, _: [bool; 2]) -> [bool; 2] {
        [false; 2]
    }

    fn backward(&self, _pass: &Backward<'_, T, 2>) -> Result<[Gradient<T>; 2]> {
        Ok([Gradient::Same, Gradient::Same])
    }
}
