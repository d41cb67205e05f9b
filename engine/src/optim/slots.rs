//! The moments of each parameter and the loop over parameters, shared by all optimisers.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use candle_core::{DType, Device, Tensor, Var};

use super::OwnShare;

use crate::error::check_setting;
use crate::parameters::check_like;
use crate::transfer::{from_host, to_host};
use crate::{EngineError, Gradients, Parameters, host};

/// An update rule with `N` moments per number.
pub(super) trait Rule<const N: usize> {
    const NAME: &'static str;
    /// The moments' names in torch.
    const MOMENTS: [&'static str; N];
    /// Coefficients of one step, the same for all elements of a parameter.
    type Scalars;

    /// `step` counts from 1.
    fn scalars(&self, step: u64, rate: f64) -> Self::Scalars;
    /// Updates weight and moments in place, by a fused kernel.
    fn fused(scalars: &Self::Scalars, weight: &mut [f32], gradient: &[f32], moments: [&mut [f32]; N]);
    /// Computes the new weight and moments by tensor operations.
    fn composed(
        scalars: &Self::Scalars,
        weight: &Tensor,
        gradient: &Tensor,
        moments: &[Tensor; N],
    ) -> candle_core::Result<(Tensor, [Tensor; N])>;
}

/// The state of an optimiser: a slot for every parameter that has had a gradient.
#[derive(Debug)]
pub(super) struct Slots<const N: usize> {
    slots: BTreeMap<String, Slot<N>>,
}

#[derive(Debug)]
struct Slot<const N: usize> {
    n_steps: u64,
    moments: [Tensor; N],
    /// The `f32` master weight of a half-precision parameter.
    master: Option<Tensor>,
}

/// Writes the new numbers of a weight to its place.
type Store<'s> = dyn Fn(&Tensor) -> candle_core::Result<()> + 's;

/// Selects the implementation of a rule; the tests run both on the same numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    FusedWherePossible,
    #[cfg(test)]
    Composed,
}

const STEP: &str = "step";
const MASTER: &str = "master";

impl<const N: usize> Slots<N> {
    pub(super) fn new() -> Self {
        Self { slots: BTreeMap::new() }
    }

    pub(super) fn step<R: Rule<N>>(
        &mut self,
        rule: &R,
        parameters: &Parameters,
        gradients: &Gradients,
        rate: f64,
        form: Form,
    ) -> Result<(), EngineError> {
        check_rate::<R, N>(rate)?;
        for (name, var) in parameters.trainable() {
            let Some(gradient) = gradients.get(name) else { continue };
            check_gradient(name, var, gradient)?;
            let slot = self.of(name, var)?;
            slot.move_beside::<R>(name, gradient)?;
            let store = |weight: &Tensor| var.set(weight);
            slot.update(rule, (var, &store), gradient, rate, form).map_err(EngineError::named("update", name))?;
        }
        Ok(())
    }

    /// As [`Optimizer::step_own`](super::Optimizer::step_own).
    pub(super) fn step_own<R: Rule<N>>(
        &mut self,
        rule: &R,
        parameters: &Parameters,
        gradients: &Gradients,
        rate: f64,
        own: &OwnShare<'_>,
    ) -> Result<(), EngineError> {
        check_rate::<R, N>(rate)?;
        for (name, var) in parameters.trainable() {
            let Some(gradient) = gradients.get(name) else { continue };
            check_gradient(name, var, gradient)?;
            let (failed, own) = (EngineError::named("update", name), own(var.elem_count()));
            // Both share the memory of the whole: variables and summed gradients lie in one run.
            let cut = |whole: &Tensor| whole.flatten_all()?.narrow(0, own.start, own.len());
            let (weight, gradient) = match (cut(var), cut(gradient)) {
                (Ok(weight), Ok(gradient)) => (weight, gradient),
                (Err(error), _) | (_, Err(error)) => return Err(failed(error)),
            };
            if let Some(slot) = self.slots.get_mut(name) {
                slot.cut::<R>(name, var, &own)?;
            }
            let slot = self.of(name, &weight)?;
            slot.move_beside::<R>(name, &gradient)?;
            let store = |weight: &Tensor| var.flatten_all()?.slice_set(&weight.contiguous()?, 0, own.start);
            let form = Form::FusedWherePossible;
            slot.update(rule, (&weight, &store), &gradient, rate, form).map_err(failed)?;
        }
        Ok(())
    }

    /// The slot of a parameter with these numbers to update, which is made where there is none.
    fn of(&mut self, name: &str, weight: &Tensor) -> Result<&mut Slot<N>, EngineError> {
        Ok(match self.slots.entry(name.to_owned()) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => {
                entry.insert(Slot::new(weight).map_err(EngineError::named("make the moments of", name))?)
            }
        })
    }

    pub(super) fn state<R: Rule<N>>(&self) -> Result<BTreeMap<String, Tensor>, EngineError> {
        let mut state = BTreeMap::new();
        for (name, slot) in &self.slots {
            let copy =
                |tensor: &Tensor| tensor.force_contiguous().map_err(EngineError::named("copy the state of", name));
            for (moment, tensor) in R::MOMENTS.iter().zip(&slot.moments) {
                state.insert(format!("{moment}.{name}"), copy(tensor)?);
            }
            if let Some(master) = &slot.master {
                state.insert(format!("{MASTER}.{name}"), copy(master)?);
            }
            state.insert(format!("{STEP}.{name}"), from_host(vec![slot.n_steps as i64], (), &Device::Cpu)?);
        }
        Ok(state)
    }

    pub(super) fn load<R: Rule<N>>(mut state: BTreeMap<String, Tensor>) -> Result<Self, EngineError> {
        let names: BTreeSet<String> =
            state.keys().filter_map(|key| key.split_once('.')).map(|(_, name)| name.to_owned()).collect();
        let mut slots = BTreeMap::new();
        for name in names {
            let slot = Slot::load::<R>(&name, &mut state)?;
            slots.insert(name, slot);
        }
        match state.into_keys().next() {
            Some(name) => Err(EngineError::UnknownState { optimizer: R::NAME, name }),
            None => Ok(Self { slots }),
        }
    }
}

impl<const N: usize> Slot<N> {
    fn new(weight: &Tensor) -> candle_core::Result<Self> {
        let dtype = working_dtype(weight.dtype());
        let zeros = || Tensor::zeros(weight.dims(), dtype, weight.device());
        let master = if dtype == weight.dtype() { None } else { Some(weight.detach().to_dtype(dtype)?) };
        Ok(Self { n_steps: 0, moments: try_array(|_| zeros())?, master })
    }

    fn load<R: Rule<N>>(name: &str, state: &mut BTreeMap<String, Tensor>) -> Result<Self, EngineError> {
        let mut take = |kind: &str| {
            let key = format!("{kind}.{name}");
            match state.remove(&key) {
                // The copy isolates the caller's tensors from later steps.
                Some(tensor) => tensor.force_contiguous().map_err(EngineError::named("copy", &key)),
                None => Err(EngineError::MissingState { optimizer: R::NAME, name: key }),
            }
        };
        let moments = try_array(|i| take(R::MOMENTS[i]))?;
        let n_steps = match to_host::<i64>(&take(STEP)?)?[..] {
            [n_steps] => n_steps,
            _ => -1,
        };
        let n_steps = u64::try_from(n_steps).map_err(|_| EngineError::Setting {
            owner: R::NAME,
            setting: "the saved step count",
            expected: "not negative",
            got: n_steps as f64,
        })?;
        let master = state.remove(&format!("{MASTER}.{name}")).map(|master| master.force_contiguous()).transpose()?;
        Ok(Self { n_steps, moments, master })
    }

    /// Cuts the state of a whole parameter to an own share; one that is cut stays as it is.
    fn cut<R: Rule<N>>(&mut self, name: &str, whole: &Var, own: &Range<usize>) -> Result<(), EngineError> {
        let state = self.moments.iter_mut().zip(R::MOMENTS).chain(self.master.as_mut().map(|master| (master, MASTER)));
        for (tensor, kind) in state {
            if tensor.dims() == [own.len()] {
                continue;
            }
            let what = format!("{kind}.{name}");
            if tensor.dims() != whole.dims() {
                let (expected, got) = (whole.dims().to_vec(), tensor.dims().to_vec());
                return Err(EngineError::Shape { name: what, expected, got });
            }
            // The copy lets the whole go.
            let cut = tensor.flatten_all().and_then(|flat| flat.narrow(0, own.start, own.len())?.force_contiguous());
            *tensor = cut.map_err(EngineError::named("cut", &what))?;
        }
        Ok(())
    }

    /// Moves a loaded slot to the gradient's device, and refuses one of another shape.
    fn move_beside<R: Rule<N>>(&mut self, name: &str, gradient: &Tensor) -> Result<(), EngineError> {
        for (moment, kind) in self.moments.iter_mut().zip(R::MOMENTS) {
            check_like(&format!("{kind}.{name}"), gradient, moment)?;
            *moment = moment.to_device(gradient.device())?;
        }
        if let Some(master) = &mut self.master {
            check_like(&format!("{MASTER}.{name}"), gradient, master)?;
            *master = master.to_device(gradient.device())?;
        }
        Ok(())
    }

    /// Updates a weight, in place or by `store`, and the moments.
    fn update<R: Rule<N>>(
        &mut self,
        rule: &R,
        (target, store): (&Tensor, &Store<'_>),
        gradient: &Tensor,
        rate: f64,
        form: Form,
    ) -> candle_core::Result<()> {
        self.n_steps += 1;
        let scalars = rule.scalars(self.n_steps, rate);
        if form == Form::FusedWherePossible && host::is_host_f32(target) && host::is_host_f32(gradient) {
            return host::with_all_mut(target, gradient, &self.moments, |weight, gradient, moments| {
                R::fused(&scalars, weight, gradient, moments);
            });
        }
        let weight = self.master.clone().unwrap_or_else(|| target.detach());
        let (weight, moments) = R::composed(&scalars, &weight, gradient, &self.moments)?;
        self.moments = moments;
        if self.master.is_some() {
            store(&weight.to_dtype(target.dtype())?)?;
            self.master = Some(weight);
            return Ok(());
        }
        store(&weight)
    }
}

fn check_rate<R: Rule<N>, const N: usize>(rate: f64) -> Result<(), EngineError> {
    check_setting(rate.is_finite() && rate >= 0., R::NAME, "the rate", "finite and not negative", rate)
}

/// Moments of half-precision weights are in `f32`, as their gradients are.
fn working_dtype(dtype: DType) -> DType {
    if dtype == DType::F64 { DType::F64 } else { DType::F32 }
}

fn check_gradient(name: &str, var: &Var, gradient: &Tensor) -> Result<(), EngineError> {
    let expected = working_dtype(var.dtype());
    if gradient.dtype() != expected {
        return Err(EngineError::DType { name: format!("gradient of {name}"), expected, got: gradient.dtype() });
    }
    if gradient.dims() != var.dims() {
        let (expected, got) = (var.dims().to_vec(), gradient.dims().to_vec());
        return Err(EngineError::Shape { name: format!("gradient of {name}"), expected, got });
    }
    Ok(())
}

fn try_array<T, E, const N: usize>(mut make: impl FnMut(usize) -> Result<T, E>) -> Result<[T; N], E> {
    let mut error = None;
    let items: [Option<T>; N] = std::array::from_fn(|i| match make(i) {
        Ok(item) => Some(item),
        Err(e) => {
            error.get_or_insert(e);
            None
        }
    });
    match error {
        Some(error) => Err(error),
        None => Ok(items.map(|item| item.expect("no error, so every item was made"))),
    }
}
