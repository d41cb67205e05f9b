//! Products and rows of operands with any strides.
//!
//! The CPU takes more strides than CUDA does, whose products want a matrix row after row or transposed, and whose lookups want it
//! row after row. Whatever else is copied here.

use candle_core::{D, Result, Tensor};

/// `a b`, of two matrices or of two batches of them, in the type that they have.
pub(crate) fn product(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    matrix(a)?.matmul(&matrix(b)?)
}

/// The matrix itself where its numbers lie row after row or column after column, else a copy.
pub(super) fn matrix(x: &Tensor) -> Result<Tensor> {
    if x.is_contiguous() || x.transpose(D::Minus2, D::Minus1)?.is_contiguous() { Ok(x.clone()) } else { x.contiguous() }
}

/// Rows of a matrix by their indices.
pub(crate) fn rows_at(x: &Tensor, indices: &Tensor) -> Result<Tensor> {
    x.contiguous()?.index_select(&indices.contiguous()?, 0)
}

/// The number of each row in the column that `columns`, `[T, 1]`, has for it.
pub(crate) fn columns_at(x: &Tensor, columns: &Tensor) -> Result<Tensor> {
    x.contiguous()?.gather(&columns.contiguous()?, 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{Device, IndexOp};

    fn numbers(x: &Tensor) -> Vec<f32> {
        x.flatten_all().unwrap().to_vec1().unwrap()
    }

    #[test]
    fn strided_operands_are_copied_and_others_are_not() {
        let wide = Tensor::arange(0f32, 24., &Device::Cpu).unwrap().reshape((4, 6)).unwrap();
        let columns = wide.i((.., 1..4)).unwrap();
        assert!(matrix(&columns).unwrap().is_contiguous());
        for kept in [wide.clone(), wide.t().unwrap(), wide.i(1..3).unwrap()] {
            assert_eq!(matrix(&kept).unwrap().stride(), kept.stride());
        }
        let square = Tensor::eye(3, candle_core::DType::F32, &Device::Cpu).unwrap();
        assert_eq!(numbers(&product(&columns, &square).unwrap()), numbers(&columns));
        assert_eq!(numbers(&product(&square, &columns.t().unwrap()).unwrap()), numbers(&columns.t().unwrap()));
        let indices = Tensor::new(&[2u32, 0], &Device::Cpu).unwrap();
        assert_eq!(numbers(&rows_at(&columns, &indices).unwrap()), [13., 14., 15., 1., 2., 3.]);
        let at = Tensor::new(&[[1u32], [0], [2], [2]], &Device::Cpu).unwrap();
        assert_eq!(numbers(&columns_at(&columns, &at).unwrap()), [2., 7., 15., 21.]);
    }
}
