//! Layers with a weight that is plain or in blocks.

use super::composed;
use super::fused::{Backward, Fused, Gradient, Input, binary, unary};
use super::slices::fused_or;
use super::{WeightLayout, embedding, linear};
pub use crate::kernels::quantised::Matrix;
use crate::kernels::quantised::{QuantisedMatrix, product, to_input};
use crate::kernels::{Vectorised, rows};
use crate::transfer::from_host;
use candle_core::{Device, Result, Shape, Tensor, bail};
use std::sync::Arc;

impl Matrix {
    /// A linear layer with this weight: see [`linear`]; `layout` is that of plain numbers.
    ///
    /// # Shapes
    ///
    /// `x` `[T, in]`, `bias` `[out]`, result `[T, out]`.
    ///
    /// # Errors
    ///
    /// Shapes that do not fit.
    pub fn linear(&self, x: &Tensor, bias: Option<&Tensor>, layout: WeightLayout) -> Result<Tensor> {
        match self {
            Self::Dense(weight) => linear(x, weight, bias, layout),
            Self::Quantised(matrix) => quantised_linear(x, matrix, bias),
        }
    }

    /// Rows of this matrix: see [`embedding`]. Those of blocks are dequantised and put on `device`.
    ///
    /// # Errors
    ///
    /// An index outside the matrix.
    pub fn rows(&self, ids: &[u32], device: &Device) -> Result<Tensor> {
        let matrix = match self {
            Self::Dense(table) => return embedding(ids, table),
            Self::Quantised(matrix) => matrix,
        };
        let [n_rows, width] = matrix.dims();
        if let Some(id) = ids.iter().find(|&&id| id as usize >= n_rows) {
            bail!("token {id} of a table of {n_rows}");
        }
        from_host(matrix.gather::<f32>(ids), (ids.len(), width), device)
    }

    /// The squared norm of each row of the `[out, in]` matrix, `[out]`; a convolution's rows are its kernels. Those of blocks are
    /// computed in this process's memory and stay there.
    ///
    /// # Errors
    ///
    /// The device is out of memory.
    pub fn row_squares(&self, layout: WeightLayout) -> Result<Tensor> {
        match (self, layout) {
            (Self::Quantised(matrix), _) => matrix.row_squares(&Device::Cpu),
            (Self::Dense(weight), WeightLayout::OutIn) => weight.detach().flatten_from(1)?.sqr()?.sum(1),
            (Self::Dense(weight), WeightLayout::InOut) => weight.detach().sqr()?.sum(0),
        }
    }
}

fn quantised_linear(x: &Tensor, matrix: &Arc<QuantisedMatrix>, bias: Option<&Tensor>) -> Result<Tensor> {
    let (_, width) = x.dims2()?;
    let [n_out, n_in] = matrix.dims();
    if width != n_in || bias.is_some_and(|bias| bias.dims() != [n_out]) {
        bail!("linear map of {:?} by {matrix:?} with bias {:?}", x.dims(), bias.map(Tensor::dims));
    }
    let op = QuantisedLinear { matrix: Arc::clone(matrix) };
    fused_or!(
        &[x, bias.unwrap_or(x)],
        T => match bias {
            Some(bias) => binary::<T, T, _>(op, x, bias),
            None => unary::<T, T, _>(op, x),
        },
        composed::linear(x, &out_in(matrix, x)?, bias, WeightLayout::OutIn)
    )
}

/// The dequantised matrix as `[out, in]`, with numbers like those of `x`.
fn out_in(matrix: &QuantisedMatrix, x: &Tensor) -> Result<Tensor> {
    let dense = matrix.to_tensor(x.device())?.to_dtype(x.dtype())?;
    if matrix.is_turned() { dense.t() } else { Ok(dense) }
}

/// `x W^T + b`, W in blocks.
struct QuantisedLinear {
    matrix: Arc<QuantisedMatrix>,
}

impl<T: Vectorised, const N: usize> Fused<T, N> for QuantisedLinear {
    const NAME: &'static str = "quantised linear";

    fn shape(&self, inputs: [&[usize]; N]) -> Shape {
        (inputs[0][0], self.matrix.dims()[0]).into()
    }

    fn forward(&self, inputs: [Input<'_, T>; N]) -> Result<Vec<T>> {
        let mut y = product(inputs[0].data, &self.matrix);
        if let Some(bias) = inputs.get(1) {
            rows::add_bias(&mut y, bias.data);
        }
        Ok(y)
    }

    fn reads(&self, _: [bool; N]) -> [bool; N] {
        [false; N]
    }

    fn backward(&self, pass: &Backward<'_, T, N>) -> Result<[Gradient<T>; N]> {
        Ok(pass.each_required(|index| match index {
            0 => to_input(pass.gradient, &self.matrix),
            _ => rows::sum_rows(pass.gradient, self.matrix.dims()[0]),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::super::checks::{check, numbers};
    use super::super::{LogitForm, VocabularyQuery, vocabulary_log_prob};
    use super::*;
    use crate::quantised::BlockFormat;
    use candle_core::DType;

    /// Bytes with a scale of about 1 / 50.
    fn matrix(n_rows: usize, width: usize) -> Arc<QuantisedMatrix> {
        let mut bytes: Vec<u8> = numbers(3, n_rows * width / 32 * 34).iter().map(|x| (x * 60.) as i8 as u8).collect();
        bytes.chunks_exact_mut(34).for_each(|block| block[1] = 0x25);
        Arc::new(QuantisedMatrix::new(BlockFormat::Q8_0, n_rows, width, bytes).unwrap())
    }

    fn dense(matrix: &QuantisedMatrix, like: &Tensor) -> Tensor {
        matrix.to_tensor(&Device::Cpu).unwrap().to_dtype(like.dtype()).unwrap()
    }

    #[test]
    fn layers_in_blocks_have_gradients() {
        let matrix = matrix(9, 64);
        let quantised = Matrix::Quantised(Arc::clone(&matrix));
        for n in [1, 6] {
            check(&[&[n, 64], &[9]], &|x| quantised.linear(&x[0], Some(&x[1]), WeightLayout::InOut), &|x| {
                composed::linear(&x[0], &dense(&matrix, &x[0]), Some(&x[1]), WeightLayout::OutIn)
            });
        }
        check(&[&[130, 64]], &|x| quantised.linear(&x[0], None, WeightLayout::OutIn), &|x| {
            composed::linear(&x[0], &dense(&matrix, &x[0]), None, WeightLayout::OutIn)
        });
        assert!(
            quantised
                .linear(&Tensor::ones((2, 32), DType::F32, &Device::Cpu).unwrap(), None, WeightLayout::OutIn)
                .is_err()
        );
    }

    #[test]
    fn rows_and_norms_are_those_of_the_numbers() {
        let matrix = matrix(9, 64);
        let (quantised, dense) =
            (Matrix::Quantised(Arc::clone(&matrix)), Matrix::Dense(matrix.to_tensor(&Device::Cpu).unwrap()));
        let both =
            [&quantised, &dense].map(|matrix| matrix.rows(&[3, 0, 3], &Device::Cpu).unwrap().to_vec2::<f32>().unwrap());
        assert_eq!(both[0], both[1]);
        assert!(quantised.rows(&[9], &Device::Cpu).is_err());
        let both = [&quantised, &dense]
            .map(|matrix| matrix.row_squares(WeightLayout::OutIn).unwrap().to_vec1::<f32>().unwrap());
        assert!(both[0].iter().zip(&both[1]).all(|(a, b)| (a - b).abs() < 1e-5 * b));
    }

    #[test]
    fn vocabularies_in_blocks_have_gradients() {
        let matrix = matrix(300, 32);
        let quantised = Matrix::Quantised(Arc::clone(&matrix));
        let (rows, targets) = ([2, 0, 2], [299, 0, 150]);
        let reference = super::super::checks::tensor(5, &[4, 32]);
        for with_reference in [false, true] {
            let run = |x: &Tensor, matrix: &Matrix| {
                let reference = reference.to_dtype(x.dtype())?;
                let query = VocabularyQuery {
                    rows: &rows,
                    targets: &targets,
                    reference: with_reference.then_some((&reference, matrix)),
                    forms: [LogitForm { scale: 0.5, cap: Some(2.) }, LogitForm::PLAIN],
                    diagnostics: false,
                    collision: false,
                };
                match matrix {
                    Matrix::Dense(matrix) => composed::vocabulary_log_prob(x, matrix, query),
                    Matrix::Quantised(_) => vocabulary_log_prob(x, matrix, query),
                }
            };
            check(&[&[4, 32]], &|x| run(&x[0], &quantised), &|x| run(&x[0], &Matrix::Dense(dense(&matrix, &x[0]))));
        }
    }
}
