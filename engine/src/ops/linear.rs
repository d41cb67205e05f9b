//! Affine maps.

use super::composed;
use super::slices::{fused_or, like, read, slice, stored};
use crate::kernels::Vectorised;
use crate::kernels::few_rows::{MOST_ROWS, multiply_few};
use crate::kernels::gemm::{Into, Threads, View, ViewMut, multiply};
use crate::kernels::rows;
use candle_core::{CpuStorage, CustomOp2, CustomOp3, Layout, Result, Shape, Tensor, bail};
use std::marker::PhantomData;

/// How a weight matrix lies in memory.
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
    fused_or!(&tensors, T => apply::<T>(x, weight, bias, layout), composed::linear(x, weight, bias, layout))
}

fn apply<T: Vectorised>(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>, layout: WeightLayout) -> Result<Tensor> {
    let op = Linear::<T> { layout, number: PhantomData };
    let (x, weight) = (x.contiguous()?, weight.contiguous()?);
    match bias {
        Some(bias) => x.apply_op3(&weight, &bias.contiguous()?, op),
        None => x.apply_op2(&weight, op),
    }
}

struct Linear<T> {
    layout: WeightLayout,
    number: PhantomData<T>,
}

impl<T: Vectorised> Linear<T> {
    /// The weight as `[in, out]`.
    fn matrix<'a>(&self, weight: &'a [T], dims: &[usize]) -> View<'a, T> {
        let view = View::new(weight, dims[0], dims[1]);
        if self.layout == WeightLayout::OutIn { view.t() } else { view }
    }

    fn forward(&self, x: &[T], x_layout: &Layout, weight: &[T], weight_layout: &Layout) -> (Vec<T>, (usize, usize)) {
        let (n_rows, n_in) = (x_layout.dims()[0], x_layout.dims()[1]);
        let n_out = weight.len() / n_in;
        if (1..=MOST_ROWS).contains(&n_rows) && self.layout == WeightLayout::OutIn {
            return (multiply_few(x, weight, n_in), (n_rows, n_out));
        }
        let mut y = vec![T::zero(); n_rows * n_out];
        let weight = self.matrix(weight, weight_layout.dims());
        let result = ViewMut::new(&mut y, n_rows, n_out);
        multiply(result, Into::Replace, T::one(), View::new(x, n_rows, n_in), weight, Threads::All);
        (y, (n_rows, n_out))
    }

    /// `dx = dy W`, if the input wants it.
    fn to_input(&self, x: &Tensor, weight: &Tensor, gradient: &[T]) -> Result<Option<Tensor>> {
        if !x.track_op() {
            return Ok(None);
        }
        let (n_rows, n_in) = x.dims2()?;
        let mut result = vec![T::zero(); n_rows * n_in];
        let values = read(weight)?;
        let matrix = self.matrix(&values, weight.dims()).t();
        let gradient = View::new(gradient, n_rows, weight.elem_count() / n_in);
        let view = ViewMut::new(&mut result, n_rows, n_in);
        multiply(view, Into::Replace, T::one(), gradient, matrix, Threads::All);
        like(result, x)
    }

    /// `dW = dy^T x` (or its transpose), if the weight wants it.
    fn to_weight(&self, x: &Tensor, weight: &Tensor, gradient: &[T]) -> Result<Option<Tensor>> {
        if !weight.track_op() {
            return Ok(None);
        }
        let (n_rows, n_in) = x.dims2()?;
        let mut result = vec![T::zero(); weight.elem_count()];
        let values = read(x)?;
        let x = View::new(&values, n_rows, n_in);
        let gradient = View::new(gradient, n_rows, weight.elem_count() / n_in);
        let (left, right) = if self.layout == WeightLayout::OutIn { (gradient, x) } else { (x, gradient) };
        let view = ViewMut::new(&mut result, weight.dims()[0], weight.dims()[1]);
        multiply(view, Into::Replace, T::one(), left.t(), right, Threads::All);
        like(result, weight)
    }
}

impl<T: Vectorised> CustomOp2 for Linear<T> {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn cpu_fwd(&self, s1: &CpuStorage, l1: &Layout, s2: &CpuStorage, l2: &Layout) -> Result<(CpuStorage, Shape)> {
        let (y, shape) = self.forward(slice(s1, l1)?, l1, slice(s2, l2)?, l2);
        Ok(stored(y, shape))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        _result: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let gradient = gradient.contiguous()?;
        let gradient = read(&gradient)?;
        Ok((self.to_input(x, weight, &gradient)?, self.to_weight(x, weight, &gradient)?))
    }
}

impl<T: Vectorised> CustomOp3 for Linear<T> {
    fn name(&self) -> &'static str {
        "linear-with-bias"
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
        let (mut y, shape) = self.forward(slice(s1, l1)?, l1, slice(s2, l2)?, l2);
        rows::add_bias(&mut y, slice(s3, l3)?);
        Ok(stored(y, shape))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        _result: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let gradient = gradient.contiguous()?;
        let gradient = read(&gradient)?;
        let to_bias =
            if bias.track_op() { like(rows::sum_rows::<T>(&gradient, bias.elem_count()), bias)? } else { None };
        Ok((self.to_input(x, weight, &gradient)?, self.to_weight(x, weight, &gradient)?, to_bias))
    }
}
