//! Memory of the forward pass that the backward pass does without.
//!
//! Candle keeps every result until the backward pass is over. Of some the numbers are never read again (what a residual sum adds
//! up), and of others they are made from their inputs in far less time than a product takes (norms, activations): those give up
//! their memory here, and the graph keeps the empty tensor.

use super::slices::fused_dtype;
use candle_core::{CpuStorage, InplaceOp1, Layout, Result, Tensor, TensorId, bail};
use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

type Make = Box<dyn Fn() -> Result<Tensor> + Send + Sync>;

/// Numbers that are made again, once for all ops whose backward passes read them.
pub(super) struct Remade {
    make: Make,
    /// What it is made from that is made again itself.
    from: Vec<Arc<Self>>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The ops that read them.
    readers: usize,
    /// The ops that have yet to read what was made.
    left: usize,
    made: Option<Tensor>,
}

impl fmt::Debug for Remade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remade").finish_non_exhaustive()
    }
}

thread_local! {
    /// The tensors of this thread that are being used, and will be made again.
    static USED: RefCell<HashMap<TensorId, Arc<Remade>>> = RefCell::default();
}

impl Remade {
    /// How a tensor is made again, for an op whose backward pass reads it; `None` for tensors that keep their numbers.
    pub(super) fn of(tensor: &Tensor) -> Option<Arc<Self>> {
        let remade = Self::used(tensor)?;
        remade.add_reader();
        Some(remade)
    }

    fn used(tensor: &Tensor) -> Option<Arc<Self>> {
        USED.with_borrow(|used| used.get(&tensor.id()).cloned())
    }

    /// Counts an op; the first of them reads what the numbers are made from, which is read only if they are.
    fn add_reader(&self) {
        let readers = {
            let mut state = self.state();
            state.readers += 1;
            state.readers
        };
        if readers == 1 {
            self.from.iter().for_each(|from| from.add_reader());
        }
    }

    /// The numbers; the last of the readers lets them go.
    pub(super) fn numbers(&self) -> Result<Tensor> {
        let mut state = self.state();
        let made = if let Some(made) = state.made.take() {
            made
        } else {
            state.left = state.readers;
            (self.make)()?
        };
        state.left = state.left.saturating_sub(1);
        state.made = (state.left > 0).then(|| made.clone());
        Ok(made)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes a tensor from others and uses it; after that its numbers are dropped, and made again for the backward pass.
///
/// What `used` returns must not share the tensor's memory, as a view of it does, nor may what `make` returns share that of an input, and
/// only layers of [`ops`](super) may use it: they check that a tensor has its numbers, and candle's own ops, which do not, may read
/// outside of the memory of one that has given them up. A tensor without a gradient, or on a device without kernels, is simply made and used.
///
/// # Errors
///
/// Those of `make` and `used`.
pub fn remade<R, E: From<candle_core::Error>>(
    inputs: &[&Tensor],
    make: impl Fn(&[Tensor]) -> Result<Tensor> + Send + Sync + 'static,
    used: impl FnOnce(&Tensor) -> std::result::Result<R, E>,
) -> std::result::Result<R, E> {
    let inputs: Vec<Tensor> = inputs.iter().map(|&input| input.clone()).collect();
    let value = make(&inputs)?;
    let is_input = inputs.iter().any(|input| input.id() == value.id());
    if is_input || !value.track_op() || fused_dtype(&[&value]).is_none() {
        return used(&value);
    }
    let sources: Vec<Source> = inputs.iter().map(Source::of).collect();
    let from = sources.iter().filter_map(Source::remade).collect();
    let make = move || make(&sources.iter().map(Source::numbers).collect::<Result<Vec<Tensor>>>()?);
    let remade = Remade { make: Box::new(make), from, state: Mutex::default() };
    let place = Place::take(&value, Arc::new(remade));
    let result = used(&value)?;
    drop(place);
    take(&value)?;
    Ok(result)
}

/// Gives up the memory of a layer's result that nothing reads any more: neither later layers, nor ops of candle (see [`remade`]), nor a
/// backward pass.
///
/// # Errors
///
/// The tensor's memory is in use.
#[expect(clippy::needless_pass_by_value, reason = "who gives its memory up keeps no tensor")]
pub fn let_go(tensor: Tensor) -> Result<()> {
    if tensor.is_variable() || fused_dtype(&[&tensor]).is_none() {
        return Ok(());
    }
    take(&tensor).map(drop)
}

/// What a tensor is made from again.
enum Source {
    Kept(Tensor),
    Remade(Arc<Remade>),
}

impl Source {
    fn of(tensor: &Tensor) -> Self {
        Remade::used(tensor).map_or_else(|| Self::Kept(tensor.detach()), Self::Remade)
    }

    fn remade(&self) -> Option<Arc<Remade>> {
        match self {
            Self::Kept(_) => None,
            Self::Remade(remade) => Some(remade.clone()),
        }
    }

    fn numbers(&self) -> Result<Tensor> {
        match self {
            Self::Kept(tensor) => Ok(tensor.clone()),
            Self::Remade(remade) => remade.numbers(),
        }
    }
}

/// A tensor among those that are used, until it is dropped.
struct Place(TensorId);

impl Place {
    fn take(tensor: &Tensor, remade: Arc<Remade>) -> Self {
        USED.with_borrow_mut(|used| used.insert(tensor.id(), remade));
        Self(tensor.id())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        USED.with_borrow_mut(|used| used.remove(&self.0));
    }
}

/// Takes a tensor's numbers away; `None` where it has only a part of its memory, which it keeps.
///
/// Whoever of this crate reads it after that gets an error.
pub(super) fn take(tensor: &Tensor) -> Result<Option<CpuStorage>> {
    let taken = Take(Mutex::default());
    tensor.inplace_op1(&taken)?;
    Ok(taken.0.into_inner().unwrap_or_else(PoisonError::into_inner))
}

struct Take(Mutex<Option<CpuStorage>>);

impl InplaceOp1 for Take {
    fn name(&self) -> &'static str {
        "take"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> Result<()> {
        let (len, empty) = match &*storage {
            CpuStorage::F32(numbers) => (numbers.len(), CpuStorage::F32(Vec::new())),
            CpuStorage::F64(numbers) => (numbers.len(), CpuStorage::F64(Vec::new())),
            _ => bail!("the kernels' numbers are f32 and f64"),
        };
        if layout.contiguous_offsets() == Some((0, len)) {
            let mut taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            *taken = Some(std::mem::replace(storage, empty));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::checks::{check, tensor};
    use super::super::{WeightLayout, add, add_both, add_into, backward, composed, geglu, layer_norm, linear};
    use super::*;
    use candle_core::{DType, Var};
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// Two products of one norm, one of them with the residual stream added to it.
    fn layers(x: &[Tensor], light: bool) -> Result<Tensor> {
        let [x, norm, first, second] = x else { bail!("four tensors") };
        let used = |read: &Tensor| {
            Ok::<_, candle_core::Error>([
                linear(read, first, None, WeightLayout::OutIn)?,
                linear(read, second, None, WeightLayout::OutIn)?,
            ])
        };
        if !light {
            let [wide, same] = used(&composed::layer_norm(x, norm, None, 1e-5)?)?;
            return composed::add(&composed::add(&composed::geglu(&wide)?, &same)?, x);
        }
        let [wide, same] = remade(&[x, norm], |x| layer_norm(&x[0], &x[1], None, 1e-5), used)?;
        // What is made again is made from what is made again.
        let gated =
            |wide: &Tensor| remade(&[wide], |x| geglu(&x[0]), |x| linear(x, &identity(x)?, None, WeightLayout::OutIn));
        let inner = remade(&[&wide], |x| &x[0] * 1., gated)?;
        add_into(add_both(inner, same)?, x)
    }

    fn identity(like: &Tensor) -> Result<Tensor> {
        Tensor::eye(like.dims()[1], like.dtype(), like.device())
    }

    #[test]
    fn layers_that_keep_less_have_the_same_gradients() {
        let shapes: [&[usize]; 4] = [&[7, 6], &[6], &[12, 6], &[6, 6]];
        check(&shapes, &|x| layers(x, true), &|x| layers(x, false));
    }

    #[test]
    fn numbers_are_made_again_once_for_all_readers() {
        static MADE: AtomicUsize = AtomicUsize::new(0);
        let x = Var::from_tensor(&tensor(1, &[5, 4]).to_dtype(DType::F32).unwrap()).unwrap();
        let norm = Var::from_tensor(&tensor(2, &[4]).to_dtype(DType::F32).unwrap()).unwrap();
        let weight = Var::from_tensor(&tensor(3, &[4, 4]).to_dtype(DType::F32).unwrap()).unwrap();
        let make = |x: &[Tensor]| {
            MADE.fetch_add(1, Ordering::Relaxed);
            layer_norm(&x[0], &x[1], None, 1e-5)
        };
        let used = |read: &Tensor| {
            let product = || linear(read, &weight, None, WeightLayout::OutIn);
            add(&product()?, &product()?)
        };
        let sum = remade(&[&x, &norm], make, used).unwrap();
        assert_eq!(MADE.load(Ordering::Relaxed), 1);
        for passes in 1..3 {
            let store = backward(&sum.sqr().unwrap().sum_all().unwrap()).unwrap();
            assert!([&x, &norm, &weight].iter().all(|variable| store.get(variable).is_some()));
            assert_eq!(MADE.load(Ordering::Relaxed), 1 + passes);
        }
    }

    #[test]
    fn what_has_no_gradient_keeps_its_numbers() {
        let x = tensor(1, &[5, 4]);
        let kept = remade(&[&x], |x| geglu(&x[0]), |x| Ok::<_, candle_core::Error>(x.clone())).unwrap();
        assert_eq!(kept.to_vec2::<f64>().unwrap(), geglu(&x).unwrap().to_vec2::<f64>().unwrap());
    }

    #[test]
    fn a_tensor_without_numbers_can_not_be_read() {
        let x = tensor(1, &[5, 4]);
        assert!(take(&x).unwrap().is_some());
        assert!(geglu(&x).is_err());
        let part = tensor(2, &[5, 4]).narrow(0, 1, 3).unwrap();
        assert!(take(&part).unwrap().is_none());
        assert!(geglu(&part).is_ok());
    }

    fn alone(from: Vec<Arc<Remade>>) -> Arc<Remade> {
        let sources = from.clone();
        let make = move || {
            sources.iter().try_for_each(|source| source.numbers().map(drop))?;
            Tensor::new(&[1f32], &candle_core::Device::Cpu)
        };
        Arc::new(Remade { make: Box::new(make), from, state: Mutex::default() })
    }

    #[test]
    fn numbers_are_let_go_by_their_last_reader_whether_what_is_made_from_them_is_read_or_not() {
        let is_held = |remade: &Remade| remade.state().made.is_some();
        for outer_readers in [0, 1, 2] {
            let inner = alone(vec![]);
            let outer = alone(vec![inner.clone()]);
            inner.add_reader();
            (0..outer_readers).for_each(|_| outer.add_reader());
            // A backward pass reads what was used last first, and there may be two.
            for _ in 0..2 {
                for reader in 1..=outer_readers {
                    outer.numbers().unwrap();
                    assert!(is_held(&inner) && is_held(&outer) == (reader < outer_readers));
                }
                inner.numbers().unwrap();
                assert!(!is_held(&inner) && !is_held(&outer));
            }
        }
    }
}
