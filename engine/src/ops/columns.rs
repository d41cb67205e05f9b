//! Scales of columns.

use super::composed;
use super::fused::{Backward, Fused, Gradient, Input, affine};
use super::slices::fused_or;
use crate::kernels::{Real, columns as kernel, rows};
use candle_core::{Result, Tensor, bail};

/// Every row times `scale`, number by number, plus `shift`.
///
/// # Shapes
///
/// `x` and the result `[T, width]`, `scale` and `shift` `[width]`.
///
/// # Errors
///
/// Shapes that do not fit.
pub fn scale_columns(x: &Tensor, scale: &Tensor, shift: Option<&Tensor>) -> Result<Tensor> {
    let (_, width) = x.dims2()?;
    if scale.dims() != [width] || width == 0 || shift.is_some_and(|shift| shift.dims() != [width]) {
        bail!("rows {:?} scaled by {:?}, shifted by {:?}", x.dims(), scale.dims(), shift.map(Tensor::dims));
    }
    let tensors = [x, scale, shift.unwrap_or(scale)];
    fused_or!(&tensors, T => affine::<T, _>(ScaleColumns, x, scale, shift), composed::scale_columns(x, scale, shift))
}

struct ScaleColumns;

impl<T: Real, const N: usize> Fused<T, N> for ScaleColumns {
    const NAME: &'static str = "scale columns";

    fn forward(&self, inputs: [Input<'_, T>; N]) -> Result<Vec<T>> {
        Ok(kernel::scale(inputs[0].data, inputs[1].data, inputs.get(2).map(|shift| shift.data)))
    }

    fn backward(&self, pass: &Backward<'_, T, N>) -> Result<[Gradient<T>; N]> {
        let (x, scale) = (pass.inputs[0], pass.inputs[1]);
        let width = scale.data.len();
        Ok(pass.each_required(|index| match index {
            0 => kernel::scale(pass.gradient, scale.data, None),
            1 => kernel::sum_of_products(pass.gradient, x.data, width),
            _ => rows::sum_rows(pass.gradient, width),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::super::checks::check;
    use super::*;

    #[test]
    fn columns_are_scaled_and_shifted() {
        check(&[&[5, 7], &[7], &[7]], &|x| scale_columns(&x[0], &x[1], Some(&x[2])), &|x| {
            composed::scale_columns(&x[0], &x[1], Some(&x[2]))
        });
        check(&[&[1, 3], &[3]], &|x| scale_columns(&x[0], &x[1], None), &|x| {
            composed::scale_columns(&x[0], &x[1], None)
        });
        let x = Tensor::ones((2, 3), candle_core::DType::F32, &candle_core::Device::Cpu).unwrap();
        assert!(scale_columns(&x, &x.get(0).unwrap().narrow(0, 0, 2).unwrap(), None).is_err());
    }
}
