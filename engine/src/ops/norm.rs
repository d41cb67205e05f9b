//! Normalisation of rows.

use super::composed;
use super::slices::{fused_or, read, slice, stored, wanted};
use crate::kernels::Real;
use crate::kernels::norm::{self as kernel, Centre, NormGradients};
use candle_core::{CpuStorage, CustomOp2, CustomOp3, Layout, Result, Shape, Tensor, bail};
use std::marker::PhantomData;

/// `(x - mean) / sqrt(variance + eps) * weight + bias` over each row.
///
/// # Shapes
///
/// `x` and the result `[T, width]`, `weight` and `bias` `[width]`.
///
/// # References
///
/// Ba, Kiros and Hinton, *Layer Normalization* (2016).
pub fn layer_norm(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>, eps: f64) -> Result<Tensor> {
    check(x, weight, bias)?;
    let tensors = [x, weight, bias.unwrap_or(weight)];
    fused_or!(&tensors, T => apply::<T>(x, weight, bias, eps, Centre::Mean), composed::layer_norm(x, weight, bias, eps))
}

/// `x / sqrt(mean(x^2) + eps) * weight` over each row.
///
/// # Shapes
///
/// `x` and the result `[T, width]`, `weight` `[width]`.
///
/// # References
///
/// Zhang and Sennrich, *Root Mean Square Layer Normalization* (2019).
pub fn rms_norm(x: &Tensor, weight: &Tensor, eps: f64) -> Result<Tensor> {
    check(x, weight, None)?;
    fused_or!(&[x, weight], T => apply::<T>(x, weight, None, eps, Centre::Zero), composed::rms_norm(x, weight, eps))
}

fn check(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<()> {
    let width = x.dims().last().copied().unwrap_or(0);
    for parameter in [Some(weight), bias].into_iter().flatten() {
        if width == 0 || parameter.dims() != [width] {
            bail!("norm of {:?} with parameters {:?}", x.dims(), parameter.dims());
        }
    }
    Ok(())
}

fn apply<T: Real>(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>, eps: f64, centre: Centre) -> Result<Tensor> {
    let op = Norm::<T> { eps: T::of(eps), centre, number: PhantomData };
    let (x, weight) = (x.contiguous()?, weight.contiguous()?);
    match bias {
        Some(bias) => x.apply_op3(&weight, &bias.contiguous()?, op),
        None => x.apply_op2(&weight, op),
    }
}

struct Norm<T> {
    eps: T,
    centre: Centre,
    number: PhantomData<T>,
}

impl<T: Real> Norm<T> {
    fn backward(&self, x: &Tensor, weight: &Tensor, gradient: &Tensor) -> Result<NormGradients<T>> {
        let gradient = gradient.contiguous()?;
        Ok(kernel::backward(&read(x)?, &read(weight)?, &read(&gradient)?, self.eps, self.centre))
    }
}

impl<T: Real> CustomOp2 for Norm<T> {
    fn name(&self) -> &'static str {
        "norm"
    }

    fn cpu_fwd(&self, s1: &CpuStorage, l1: &Layout, s2: &CpuStorage, l2: &Layout) -> Result<(CpuStorage, Shape)> {
        let y = kernel::forward::<T>(slice(s1, l1)?, slice(s2, l2)?, None, self.eps, self.centre);
        Ok(stored(y, l1.shape()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        _result: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let gradients = self.backward(x, weight, gradient)?;
        Ok((wanted(gradients.x, x)?, wanted(gradients.weight, weight)?))
    }
}

impl<T: Real> CustomOp3 for Norm<T> {
    fn name(&self) -> &'static str {
        "norm-with-bias"
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
        let bias = Some(slice(s3, l3)?);
        let y = kernel::forward::<T>(slice(s1, l1)?, slice(s2, l2)?, bias, self.eps, self.centre);
        Ok(stored(y, l1.shape()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        _result: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let gradients = self.backward(x, weight, gradient)?;
        Ok((wanted(gradients.x, x)?, wanted(gradients.weight, weight)?, wanted(gradients.bias, bias)?))
    }
}
