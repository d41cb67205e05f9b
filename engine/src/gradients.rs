//! Gradients accumulated over micro-batches.

use std::collections::BTreeMap;

use candle_core::backprop::GradStore;
use candle_core::{DType, Tensor};

use crate::parameters::{Parameters, check_like};
use crate::transfer::{from_host, to_host};
use crate::{EngineError, host};

/// The gradients of a model's trainable parameters, by name, summed over any number of backward passes.
///
/// On the CPU the sum is in place, and [`Gradients::clear`] keeps the memory for the next step. Half-precision
/// gradients are summed in `f32`.
#[derive(Debug, Default)]
pub struct Gradients {
    /// `is_stale` marks kept memory with the numbers of an earlier step.
    sums: BTreeMap<String, Sum>,
}

#[derive(Debug)]
struct Sum {
    tensor: Tensor,
    is_stale: bool,
}

impl Gradients {
    /// Adds the gradient of every trainable parameter in `store`, which is left unchanged.
    ///
    /// # Errors
    /// A gradient does not have its parameter's shape.
    pub fn add_from(&mut self, store: &GradStore, parameters: &Parameters) -> Result<(), EngineError> {
        for (name, var) in parameters.trainable() {
            if let Some(gradient) = store.get(var) {
                check_shape(name, var, gradient)?;
                self.add(name, gradient)?;
            }
        }
        Ok(())
    }

    /// Adds as [`Gradients::add_from`] does, and takes ownership of first gradients instead of copying them.
    ///
    /// # Errors
    /// A gradient does not have its parameter's shape.
    pub fn absorb(&mut self, mut store: GradStore, parameters: &Parameters) -> Result<(), EngineError> {
        for (name, var) in parameters.trainable() {
            let Some(gradient) = store.remove(var) else { continue };
            check_shape(name, var, &gradient)?;
            if !self.sums.contains_key(name) && host::is_host_f32(&gradient) {
                // Candle computes a leaf's gradient by an addition, so its memory is not shared.
                self.sums.insert(name.to_owned(), Sum { tensor: gradient.detach(), is_stale: false });
            } else {
                self.add(name, &gradient)?;
            }
        }
        Ok(())
    }

    /// Adds one gradient.
    ///
    /// # Errors
    /// It does not have the shape of earlier ones.
    pub fn add(&mut self, name: &str, gradient: &Tensor) -> Result<(), EngineError> {
        let gradient = prepare(gradient).map_err(EngineError::named("add a gradient of", name))?;
        if let Some(sum) = self.sums.get_mut(name) {
            check_like(name, &sum.tensor, &gradient)?;
            return sum.add(&gradient).map_err(EngineError::named("add a gradient of", name));
        }
        let tensor = gradient.force_contiguous().map_err(EngineError::named("copy the gradient of", name))?;
        self.sums.insert(name.to_owned(), Sum { tensor, is_stale: false });
        Ok(())
    }

    /// The gradient of a parameter, if it has one.
    pub fn get(&self, name: &str) -> Option<&Tensor> {
        self.sums.get(name).filter(|sum| !sum.is_stale).map(|sum| &sum.tensor)
    }

    /// All gradients, in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        self.sums.iter().filter(|(_, sum)| !sum.is_stale).map(|(name, sum)| (name.as_str(), &sum.tensor))
    }

    /// Whether no gradient has been added.
    pub fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }

    /// The names of trainable parameters without a gradient: after a backward pass through the whole model there should
    /// be none.
    pub fn missing<'p>(&self, parameters: &'p Parameters) -> Vec<&'p str> {
        parameters.trainable().map(|(name, _)| name).filter(|name| self.get(name).is_none()).collect()
    }

    /// The L2 norm of all gradients as one vector, summed in `f64` in a fixed order.
    ///
    /// # Errors
    /// A gradient that is not finite, by its name.
    pub fn norm(&self) -> Result<f64, EngineError> {
        let (names, gradients): (Vec<&str>, Vec<&Tensor>) = self.iter().unzip();
        let failed = |place: usize, source| EngineError::named("take the norm of", names[place])(source);
        let sums = host::sums_of_squares(&gradients).map_err(|(place, source)| failed(place, source))?;
        match names.iter().zip(&sums).find(|(_, sum)| !sum.is_finite()) {
            Some((name, _)) => Err(EngineError::NonFiniteGradient { name: (*name).to_owned() }),
            None => Ok(sums.iter().sum::<f64>().sqrt()),
        }
    }

    /// Multiplies all gradients by `factor`.
    ///
    /// # Errors
    /// The device fails.
    pub fn scale(&mut self, factor: f64) -> Result<(), EngineError> {
        for (name, sum) in self.sums.iter_mut().filter(|(_, sum)| !sum.is_stale) {
            if host::is_host_f32(&sum.tensor) {
                host::scale_in_place(&sum.tensor, factor as f32).map_err(EngineError::named("scale", name))?;
            } else {
                sum.tensor = sum.tensor.affine(factor, 0.).map_err(EngineError::named("scale", name))?;
            }
        }
        Ok(())
    }

    /// Clips the gradients to the norm `max_norm`; returns the norm before.
    ///
    /// As in torch the factor is `max_norm` / (norm + 1e-6).
    ///
    /// # Errors
    /// A gradient that is not finite, by its name.
    pub fn clip(&mut self, max_norm: f64) -> Result<f64, EngineError> {
        let norm = self.norm()?;
        let factor = max_norm / (norm + 1e-6);
        if factor < 1. {
            self.scale(factor)?;
        }
        Ok(norm)
    }

    /// Passes every trainable parameter's gradient to `visit`, in name order; values that it writes replace the
    /// gradient. A parameter without a gradient gets zeros.
    ///
    /// # Errors
    /// The visitor's own; the device fails.
    pub fn visit<E: From<EngineError>>(
        &mut self,
        parameters: &Parameters,
        visit: &mut (impl FnMut(&str, &mut [f64]) -> Result<(), E> + ?Sized),
    ) -> Result<(), E> {
        for (name, var) in parameters.trainable() {
            let failed = || EngineError::named("visit the gradient of", name);
            if self.get(name).is_none() {
                self.add(name, &var.zeros_like().map_err(failed())?)?;
            }
            let Some(sum) = self.sums.get_mut(name) else { continue };
            let mut numbers = sum.numbers().map_err(failed())?;
            visit(name, &mut numbers)?;
            sum.set(numbers).map_err(failed())?;
        }
        Ok(())
    }

    /// As [`visit`](Self::visit), by gradients in `f32`: those on the CPU are visited where they lie.
    ///
    /// # Errors
    /// The visitor's own; the device fails.
    pub fn visit_single<E: From<EngineError>>(
        &mut self,
        parameters: &Parameters,
        visit: &mut (impl FnMut(&mut [f32]) -> Result<(), E> + ?Sized),
    ) -> Result<(), E> {
        for (name, var) in parameters.trainable() {
            let failed = || EngineError::named("visit the gradient of", name);
            if self.get(name).is_none() {
                self.add(name, &var.zeros_like().map_err(failed())?)?;
            }
            let Some(sum) = self.sums.get_mut(name) else { continue };
            let mut visited = Ok(());
            if host::is_host_f32(&sum.tensor) {
                host::edit(&sum.tensor, |numbers| visited = visit(numbers)).map_err(failed())?;
                visited?;
                continue;
            }
            let mut numbers: Vec<f32> = sum.numbers().map_err(failed())?.into_iter().map(|x| x as f32).collect();
            visit(&mut numbers)?;
            sum.set(numbers.into_iter().map(f64::from).collect()).map_err(failed())?;
        }
        Ok(())
    }

    /// Clears all gradients but keeps their memory.
    pub fn clear(&mut self) {
        for sum in self.sums.values_mut() {
            sum.is_stale = true;
        }
    }
}

impl Sum {
    fn numbers(&self) -> candle_core::Result<Vec<f64>> {
        to_host(&self.tensor)
    }

    fn set(&mut self, numbers: Vec<f64>) -> candle_core::Result<()> {
        self.tensor = from_host(numbers, self.tensor.dims(), self.tensor.device())?.to_dtype(self.tensor.dtype())?;
        Ok(())
    }

    fn add(&mut self, gradient: &Tensor) -> candle_core::Result<()> {
        if !host::is_host_f32(&self.tensor) {
            self.tensor = if self.is_stale { gradient.force_contiguous()? } else { (&self.tensor + gradient)? };
        } else if self.is_stale {
            host::zip_in_place(&self.tensor, gradient, <[f32]>::copy_from_slice)?;
        } else {
            host::zip_in_place(&self.tensor, gradient, add_all)?;
        }
        self.is_stale = false;
        Ok(())
    }
}

#[expect(clippy::inline_always, reason = "only what is inlined is compiled for the vector instructions at hand")]
#[inline(always)]
fn add_all(sum: &mut [f32], gradient: &[f32]) {
    for (sum, gradient) in sum.iter_mut().zip(gradient) {
        *sum += gradient;
    }
}

/// A contiguous tensor, in a dtype for sums.
fn prepare(gradient: &Tensor) -> candle_core::Result<Tensor> {
    let gradient = gradient.detach();
    match gradient.dtype() {
        DType::F32 | DType::F64 => gradient.contiguous(),
        _ => gradient.to_dtype(DType::F32)?.contiguous(),
    }
}

fn check_shape(name: &str, like: &Tensor, gradient: &Tensor) -> Result<(), EngineError> {
    if like.dims() == gradient.dims() {
        return Ok(());
    }
    let (expected, got) = (like.dims().to_vec(), gradient.dims().to_vec());
    Err(EngineError::Shape { name: name.to_owned(), expected, got })
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device, Tensor};

    use super::Gradients;
    use crate::noise::{self, Noise};
    use crate::parameters::Parameters;

    fn tensor(values: &[f32]) -> Tensor {
        Tensor::new(values, &Device::Cpu).unwrap()
    }

    fn two_parameters() -> Parameters {
        let mut parameters = Parameters::default();
        parameters.insert_trainable("a", tensor(&[1., 2.])).unwrap();
        parameters.insert_trainable("b", tensor(&[3., 4.])).unwrap();
        parameters.insert_frozen("c", tensor(&[5., 6.])).unwrap();
        parameters
    }

    fn numbers(gradients: &Gradients, name: &str) -> Vec<f32> {
        gradients.get(name).unwrap().to_vec1().unwrap()
    }

    #[test]
    fn gradients_add_up_and_the_store_is_not_touched() {
        let parameters = two_parameters();
        let loss = parameters.get("a").unwrap().mul(parameters.get("c").unwrap()).unwrap().sum_all().unwrap();
        let store = loss.backward().unwrap();
        let mut gradients = Gradients::default();
        assert!(gradients.is_empty());
        gradients.add_from(&store, &parameters).unwrap();
        gradients.add_from(&store, &parameters).unwrap();
        assert_eq!(numbers(&gradients, "a"), [10., 12.]);
        assert_eq!(store.get(parameters.get("a").unwrap()).unwrap().to_vec1::<f32>().unwrap(), [5., 6.]);
        gradients.absorb(store, &parameters).unwrap();
        assert_eq!(numbers(&gradients, "a"), [15., 18.]);
        assert_eq!(gradients.missing(&parameters), ["b"]);
        assert_eq!(gradients.iter().map(|(name, _)| name).collect::<Vec<_>>(), ["a"]);
    }

    #[test]
    fn a_cleared_gradient_is_gone_and_its_memory_is_used_again() {
        let parameters = two_parameters();
        let backward = || parameters.get("a").unwrap().sqr().unwrap().sum_all().unwrap().backward().unwrap();
        let mut gradients = Gradients::default();
        gradients.absorb(backward(), &parameters).unwrap();
        let id = gradients.get("a").unwrap().id();
        gradients.clear();
        assert!(gradients.is_empty() && gradients.get("a").is_none());
        assert_eq!(gradients.missing(&parameters), ["a", "b"]);
        assert_eq!(gradients.norm().unwrap(), 0.);
        gradients.absorb(backward(), &parameters).unwrap();
        assert_eq!((numbers(&gradients, "a"), gradients.get("a").unwrap().id()), (vec![2., 4.], id));
    }

    #[test]
    fn the_norm_is_exact_and_clipping_follows_it() {
        let mut gradients = Gradients::default();
        gradients.add("a", &tensor(&[3., 0.])).unwrap();
        gradients.add("b", &tensor(&[0., 4.])).unwrap();
        assert_eq!(gradients.norm().unwrap(), 5.);
        assert_eq!(gradients.clip(10.).unwrap(), 5.);
        assert_eq!(numbers(&gradients, "b"), [0., 4.]);
        assert_eq!(gradients.clip(1.).unwrap(), 5.);
        // 4 / (5 + 1e-6)
        assert!((numbers(&gradients, "b")[1] - 0.799_999_84).abs() < 1e-7);
    }

    #[test]
    fn the_norm_of_many_numbers_does_not_depend_on_the_threads() {
        let gradient = noise::normal(&mut Noise::new(1).stream("gradient", 0), 100_003, 1., &Device::Cpu).unwrap();
        let mut gradients = Gradients::default();
        gradients.add("a", &gradient).unwrap();
        let norm_with = |n| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(n).build().unwrap();
            pool.install(|| gradients.norm().unwrap())
        };
        assert_eq!(norm_with(1).to_bits(), norm_with(3).to_bits());
        let exact: f64 = gradient.to_vec1::<f32>().unwrap().iter().map(|&x| f64::from(x).powi(2)).sum();
        assert!((norm_with(2) - exact.sqrt()).abs() < 1e-9);
    }

    #[test]
    fn every_parameter_is_visited_and_what_is_written_counts() {
        let parameters = two_parameters();
        let mut gradients = Gradients::default();
        gradients.add("b", &tensor(&[0.1, -7.])).unwrap();
        let mut seen = Vec::new();
        let mut visit = |name: &str, numbers: &mut [f64]| {
            seen.push((name.to_owned(), numbers.to_vec()));
            numbers[1] += 0.5;
            Ok::<(), crate::EngineError>(())
        };
        gradients.visit(&parameters, &mut visit).unwrap();
        let mut singles = Vec::new();
        let mut visit = |numbers: &mut [f32]| {
            singles.push(numbers.to_vec());
            numbers[0] += 0.25;
            Ok::<(), crate::EngineError>(())
        };
        let mut others = Gradients::default();
        others.add("b", &tensor(&[0.1, -7.])).unwrap();
        others.visit_single(&parameters, &mut visit).unwrap();
        assert_eq!(singles, [[0., 0.], [0.1, -7.]]);
        assert_eq!((numbers(&others, "a"), numbers(&others, "b")), (vec![0.25, 0.], vec![0.1 + 0.25, -7.]));
        let expected = [("a".to_owned(), vec![0., 0.]), ("b".to_owned(), vec![f64::from(0.1f32), -7.])];
        assert_eq!(seen, expected);
        assert_eq!((numbers(&gradients, "a"), numbers(&gradients, "b")), (vec![0., 0.5], vec![0.1, -6.5]));
        // Earlier numbers are not part of the next step.
        gradients.clear();
        gradients
            .visit(&parameters, &mut |_, numbers| {
                assert_eq!(numbers, [0., 0.]);
                Ok::<(), crate::EngineError>(())
            })
            .unwrap();
    }

    #[test]
    fn what_is_not_finite_is_named() {
        let mut gradients = Gradients::default();
        gradients.add("fine", &tensor(&[1.])).unwrap();
        gradients.add("layer.weight", &tensor(&[f32::NAN])).unwrap();
        assert_eq!(gradients.norm().unwrap_err().to_string(), "the gradient of `layer.weight` is not finite");
    }

    #[test]
    fn types_can_cross_threads() {
        fn check<T: Send + Sync>() {}
        check::<Gradients>();
        check::<Parameters>();
        check::<crate::checkpoint::Tape<'_>>();
        check::<Box<dyn crate::optim::Optimizer>>();
        check::<crate::EngineError>();
    }

    #[test]
    fn other_types_add_up_too() {
        let mut gradients = Gradients::default();
        for _ in 0..2 {
            gradients.add("double", &Tensor::new(&[0.1f64], &Device::Cpu).unwrap()).unwrap();
            gradients.add("half", &tensor(&[0.5]).to_dtype(DType::BF16).unwrap()).unwrap();
        }
        gradients.scale(2.).unwrap();
        assert_eq!(gradients.get("double").unwrap().to_vec1::<f64>().unwrap(), [0.4]);
        assert_eq!(numbers(&gradients, "half"), [2.]);
        assert!(gradients.add("half", &tensor(&[1., 2.])).is_err());
    }
}
