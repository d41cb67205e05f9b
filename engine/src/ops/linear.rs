//! Linear layers.

use super::composed;
use super::fused::{Backward, Fused, Gradient, Input, affine};
use super::slices::fused_or;
use crate::kernels::Vectorised;
use crate::kernels::few_rows::{MOST_ROWS, multiply_few};
use crate::kernels::gemm::View;
use crate::kernels::products::product_of;
use crate::kernels::rows;
use candle_core::{Result, Shape, Tensor, bail};

/// The memory layout of a weight matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WeightLayout {
    /// `[out, in]`, as in PyTorch's `Linear`.
    OutIn,
    /// `[in, out]`, as in GPT-2's `Conv1D`.
    InOut,
}

/// `y = x W^T + b` (or `x W + b` with [`WeightLayout::InOut`]).
///
/// # Shapes
///
/// `x` `[T, in]`, `bias` `[out]`, result `[T, out]`.
pub fn linear(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>, layout: WeightLayout) -> Result<Tensor> {
    let ((_, width), (first, second)) = (x.dims2()?, weight.dims2()?);
    let (n_in, n_out) = if layout == WeightLayout::OutIn { (second, first) } else { (first, second) };
    if n_in == 0 || width != n_in || bias.is_some_and(|bias| bias.dims() != [n_out]) {
        let bias = bias.map(Tensor::dims);
        bail!("linear map of {:?} by {layout:?} {:?} with bias {bias:?}", x.dims(), weight.dims());
    }
    let tensors = [x, weight, bias.unwrap_or(weight)];
    fused_or!(&tensors, T => affine::<T, _>(Linear { layout }, x, weight, bias), composed::linear(x, weight, bias, layout))
}

struct Linear {
    layout: WeightLayout,
}

impl Linear {
    /// The weight as `[in, out]`.
    fn matrix<'a, T: Vectorised>(&self, weight: Input<'a, T>) -> View<'a, T> {
        let view = View::new(weight.data, weight.dims[0], weight.dims[1]);
        if self.layout == WeightLayout::OutIn { view.t() } else { view }
    }

    /// `x W^T`.
    fn product<T: Vectorised>(&self, x: Input<'_, T>, weight: Input<'_, T>) -> Vec<T> {
        let (n_rows, n_in) = (x.dims[0], x.dims[1]);
        if (1..=MOST_ROWS).contains(&n_rows) && self.layout == WeightLayout::OutIn {
            return multiply_few(x.data, weight.data, n_in);
        }
        product_of(T::one(), View::new(x.data, n_rows, n_in), self.matrix(weight))
    }

    /// `dx = dy W`.
    fn to_input<T: Vectorised>(&self, weight: Input<'_, T>, gradient: View<'_, T>) -> Vec<T> {
        product_of(T::one(), gradient, self.matrix(weight).t())
    }

    /// `dW = dy^T x` (or its transpose).
    fn to_weight<T: Vectorised>(&self, x: Input<'_, T>, gradient: View<'_, T>) -> Vec<T> {
        let x = View::new(x.data, x.dims[0], x.dims[1]);
        let (left, right) = if self.layout == WeightLayout::OutIn { (gradient, x) } else { (x, gradient) };
        product_of(T::one(), left.t(), right)
    }
}

impl<T: Vectorised, const N: usize> Fused<T, N> for Linear {
    const NAME: &'static str = "linear";

    fn shape(&self, inputs: [&[usize]; N]) -> Shape {
        let [first, second] = [inputs[1][0], inputs[1][1]];
        (inputs[0][0], if self.layout == WeightLayout::OutIn { first } else { second }).into()
    }

    fn forward(&self, inputs: [Input<'_, T>; N]) -> Result<Vec<T>> {
        let mut y = self.product(inputs[0], inputs[1]);
        if let Some(bias) = inputs.get(2) {
            rows::add_bias(&mut y, bias.data);
        }
        Ok(y)
    }

    fn reads(&self, requires_grad: [bool; N]) -> [bool; N] {
        std::array::from_fn(|index| index < 2 && requires_grad[1 - index])
    }

    fn backward(&self, pass: &Backward<'_, T, N>) -> Result<[Gradient<T>; N]> {
        let (x, weight) = (pass.inputs[0], pass.inputs[1]);
        let n_out = if self.layout == WeightLayout::OutIn { weight.dims[0] } else { weight.dims[1] };
        let gradient = View::new(pass.gradient, x.dims[0], n_out);
        Ok(pass.each_required(|index| match index {
            0 => self.to_input(weight, gradient),
            1 => self.to_weight(x, gradient),
            _ => rows::sum_rows(pass.gradient, n_out),
        }))
    }
}
