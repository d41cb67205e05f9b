//! Products of matrices in the precision of the process.
//!
//! With bf16 both operands of a product are rounded to it, that of a gradient among them, and so is its result, as PyTorch's
//! autocast does; sums are in `f32` (candle's on the CPU, those of cuBLAS on CUDA), and so is all that is kept. Kernels round the
//! same operands of the same products, not the results. The operands are rounded anew in every pass: a copy of a weight in bf16 that
//! lived as long as a step, as autocast's does, would be half as much memory again.

use super::operands::matrix;
use crate::Precision;
use crate::kernels::bf16::fits;
use crate::kernels::few_rows::MOST_ROWS;
use crate::ops::WeightLayout;
use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CudaStorage, CustomOp2, DType, Layout, Result, Shape, Tensor, bail};

/// `a b`.
pub(super) fn in_precision(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let rounded = is_rounded(a, a.dim(1)?, b.dim(1)?);
    multiplied(a, b, Rounded { forward: rounded, backward: rounded })
}

/// `x W^T`, or `x W`, of a linear layer. Few rows meet a weight `[out, in]` in `f32`, as they do in the kernel.
pub(super) fn by_weight(x: &Tensor, weight: &Tensor, layout: WeightLayout) -> Result<Tensor> {
    if layout == WeightLayout::InOut {
        return in_precision(x, weight);
    }
    let backward = is_rounded(x, weight.dim(1)?, weight.dim(0)?);
    let forward = backward && x.dim(0)? > MOST_ROWS;
    multiplied(x, &weight.t()?, Rounded { forward, backward })
}

/// `columns W^T` of a convolution of so many channels, whose columns are the pixels under every tap. The kernel's terms are the
/// channels.
pub(super) fn convolved(columns: &Tensor, weight: &Tensor, channels: usize) -> Result<Tensor> {
    let rounded = is_rounded(columns, channels, weight.dim(0)?);
    multiplied(columns, &weight.t()?, Rounded { forward: rounded, backward: rounded })
}

/// Whether a product of `x` with so many terms and columns is rounded. This one place decides it. The products of a backward pass have the same three
/// sizes in another order.
fn is_rounded(x: &Tensor, terms: usize, columns: usize) -> bool {
    let rows = x.dims().first().copied().unwrap_or(0);
    Precision::of_process() == Precision::Bf16 && x.dtype() == DType::F32 && fits(rows, columns, terms)
}

/// The passes of a product whose operands are rounded.
#[derive(Debug, Clone, Copy)]
struct Rounded {
    forward: bool,
    backward: bool,
}

/// A product of matrices that gives a gradient to what is trained alone; candle's own gives one to a frozen weight as well.
struct Product(Rounded);

fn multiplied(a: &Tensor, b: &Tensor, rounded: Rounded) -> Result<Tensor> {
    let (a, b) = (matrix(a)?, matrix(b)?);
    if a.elem_count() == 0 || b.elem_count() == 0 {
        return a.matmul(&b);
    }
    a.apply_op2(&b, Product(rounded))
}

impl Product {
    fn forward<S: BackendStorage>(&self, a: &S, of_a: &Layout, b: &S, of_b: &Layout) -> Result<(S, Shape)> {
        let ((rows, terms), (others, columns)) = (of_a.shape().dims2()?, of_b.shape().dims2()?);
        if terms != others {
            bail!("a product of {:?} and {:?}", of_a.dims(), of_b.dims());
        }
        let (sizes, shape) = ((1, rows, columns, terms), Shape::from((rows, columns)));
        if !self.0.forward {
            return Ok((a.matmul(b, sizes, of_a, of_b)?, shape));
        }
        let ((a, of_a), (b, of_b)) = (half(a, of_a)?, half(b, of_b)?);
        let result = a.matmul(&b, sizes, &of_a, &of_b)?;
        Ok((result.to_dtype(&Layout::contiguous(&shape), DType::F32)?, shape))
    }
}

/// The numbers of a matrix in bf16, in the order in which they lie.
fn half<S: BackendStorage>(x: &S, layout: &Layout) -> Result<(S, Layout)> {
    let is_turned = !layout.is_contiguous() && layout.is_fortran_contiguous();
    let lying = if is_turned { layout.transpose(0, 1)? } else { layout.clone() };
    let packed = Layout::contiguous(lying.shape());
    Ok((x.to_dtype(&lying, DType::BF16)?, if is_turned { packed.transpose(0, 1)? } else { packed }))
}

impl CustomOp2 for Product {
    fn name(&self) -> &'static str {
        "product"
    }

    fn cpu_fwd(&self, a: &CpuStorage, of_a: &Layout, b: &CpuStorage, of_b: &Layout) -> Result<(CpuStorage, Shape)> {
        self.forward(a, of_a, b, of_b)
    }

    fn cuda_fwd(&self, a: &CudaStorage, of_a: &Layout, b: &CudaStorage, of_b: &Layout) -> Result<(CudaStorage, Shape)> {
        self.forward(a, of_a, b, of_b)
    }

    fn bwd(&self, a: &Tensor, b: &Tensor, _: &Tensor, gradient: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let rounded = Rounded { forward: self.0.backward, ..self.0 };
        let gradient = gradient.detach();
        let to_a = || multiplied(&gradient, &b.detach().t()?, rounded);
        let to_b = || multiplied(&a.detach().t()?, &gradient, rounded);
        Ok((a.track_op().then(to_a).transpose()?, b.track_op().then(to_b).transpose()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::WithPrecision;
    use crate::ops::checks::tensor;
    use candle_core::Var;

    fn single(seed: u64, shape: [usize; 2]) -> Tensor {
        tensor(seed, &shape).to_dtype(DType::F32).unwrap()
    }

    fn rounded(x: &Tensor) -> Tensor {
        x.to_dtype(DType::BF16).unwrap().to_dtype(DType::F32).unwrap()
    }

    fn numbers(x: &Tensor) -> Vec<f32> {
        x.flatten_all().unwrap().to_vec1().unwrap()
    }

    /// A product, rounded, of rounded operands.
    fn by_hand(a: &Tensor, b: &Tensor) -> Vec<f32> {
        numbers(&rounded(&rounded(a).contiguous().unwrap().matmul(&rounded(b).contiguous().unwrap()).unwrap()))
    }

    #[test]
    fn results_and_gradients_are_products_of_rounded_operands() {
        let _guard = WithPrecision::begin(Precision::Bf16);
        let upstream = single(3, [40, 24]);
        for turned in 0..4 {
            let lying = |seed, [rows, columns]: [usize; 2], is_turned: bool| {
                let shape = if is_turned { [columns, rows] } else { [rows, columns] };
                Var::from_tensor(&single(seed, shape)).unwrap()
            };
            let (a, b) = (lying(1, [40, 17], turned % 2 == 1), lying(2, [17, 24], turned / 2 == 1));
            let as_product = |x: &Var, is_turned: bool| if is_turned { x.t().unwrap() } else { x.as_tensor().clone() };
            let (left, right) = (as_product(&a, turned % 2 == 1), as_product(&b, turned / 2 == 1));
            let y = in_precision(&left, &right).unwrap();
            assert_eq!(numbers(&y), by_hand(&left, &right), "{turned}");
            let gradients = (y * &upstream).unwrap().sum_all().unwrap().backward().unwrap();
            let of = |x: &Var, is_turned: bool| {
                let gradient = gradients.get(x).unwrap();
                numbers(&if is_turned { gradient.t().unwrap() } else { gradient.clone() })
            };
            assert_eq!(of(&a, turned % 2 == 1), by_hand(&upstream, &right.t().unwrap()), "{turned}");
            assert_eq!(of(&b, turned / 2 == 1), by_hand(&left.t().unwrap(), &upstream), "{turned}");
        }
    }

    #[test]
    fn small_products_other_types_and_other_precisions_are_not_rounded() {
        let exact = |rows, terms, columns| {
            let (a, b) = (single(1, [rows, terms]), single(2, [terms, columns]));
            numbers(&in_precision(&a, &b).unwrap()) == numbers(&a.matmul(&b).unwrap())
        };
        assert!(exact(16, 16, 16));
        let _guard = WithPrecision::begin(Precision::Bf16);
        assert!(!exact(16, 16, 16));
        assert!(exact(15, 16, 16) && exact(16, 15, 16) && exact(16, 16, 15));
        let (a, b) = (tensor(1, &[16, 16]), tensor(2, &[16, 16]));
        let double = |x: &Tensor| x.flatten_all().unwrap().to_vec1::<f64>().unwrap();
        assert_eq!(double(&in_precision(&a, &b).unwrap()), double(&a.matmul(&b).unwrap()));
        // Few rows of a linear layer, and channels of a convolution.
        let weight = single(2, [32, 144]);
        let of_layer = |rows| {
            let x = single(1, [rows, 144]);
            let exact = numbers(&x.matmul(&weight.t().unwrap()).unwrap());
            let by_weight = numbers(&by_weight(&x, &weight, WeightLayout::OutIn).unwrap());
            let convolved = |channels| numbers(&convolved(&x, &weight, channels).unwrap()) == exact;
            [by_weight == exact, convolved(16), convolved(9)]
        };
        assert_eq!([of_layer(MOST_ROWS), of_layer(MOST_ROWS + 1)], [[true, false, true], [false, false, true]]);
    }

    #[test]
    fn what_is_frozen_gets_no_gradient() {
        let (x, weight) = (Var::from_tensor(&single(1, [3, 4])).unwrap(), single(2, [4, 5]));
        let gradients = in_precision(&x, &weight).unwrap().sum_all().unwrap().backward().unwrap();
        assert!(gradients.get(&x).is_some() && gradients.get(&weight).is_none());
        assert_eq!(in_precision(&x, &weight.narrow(1, 0, 0).unwrap()).unwrap().dims(), [3, 0]);
        assert!(in_precision(&x, &single(2, [3, 5])).is_err());
    }
}
