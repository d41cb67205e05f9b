//! Exponential moving averages (EMA) of weights.

use std::collections::BTreeMap;

use candle_core::{DType, Tensor, Var};

use crate::error::check_setting;
use crate::parameters::check_like;
use crate::{EngineError, Parameters, host};

const OWNER: &str = "the moving average";
/// The name prefix of a saved average.
const SHADOW: &str = "shadow";

/// Exponential moving averages (EMA) of the trainable tensors of a model: after each step, average = decay average + (1
/// - decay) weight.
///
/// An average starts at the weight's value at creation. Averages of half-precision weights are in `f32`, since a step
/// at decay 0.9999 would round to nothing.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use engine::Parameters;
/// use engine::ema::Ema;
///
/// # fn main() -> Result<(), engine::EngineError> {
/// let mut parameters = Parameters::default();
/// parameters.insert_trainable("x", Tensor::new(&[0f32], &Device::Cpu)?)?;
/// let mut ema = Ema::new(0.75, &parameters)?;
/// parameters.set("x", &Tensor::new(&[8f32], &Device::Cpu)?)?;
/// ema.update(&parameters)?;
/// ema.apply_to(&mut parameters)?;
/// assert_eq!(parameters.get("x")?.to_vec1::<f32>()?, [2.]);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Ema {
    decay: f64,
    shadows: BTreeMap<String, Tensor>,
}

impl Ema {
    /// Starts averages at the present trainable tensors.
    ///
    /// # Errors
    /// Unless 0 <= decay < 1; the device is out of memory.
    pub fn new(decay: f64, parameters: &Parameters) -> Result<Self, EngineError> {
        check_setting((0. ..1.).contains(&decay), OWNER, "the decay", "in [0, 1)", decay)?;
        let mut shadows = BTreeMap::new();
        for (name, var) in parameters.trainable() {
            let shadow = copy(var).map_err(EngineError::named("copy", name))?;
            shadows.insert(name.to_owned(), shadow);
        }
        Ok(Self { decay, shadows })
    }

    /// The decay.
    pub fn decay(&self) -> f64 {
        self.decay
    }

    /// Updates every average from its weight, in place. Call it after each step.
    ///
    /// # Errors
    /// A weight without an average, or of another shape.
    pub fn update(&mut self, parameters: &Parameters) -> Result<(), EngineError> {
        for (name, var) in parameters.trainable() {
            let missing = || EngineError::MissingTensor { name: format!("{SHADOW}.{name}") };
            let shadow = self.shadows.get_mut(name).ok_or_else(missing)?;
            let named = || EngineError::named("average", name);
            if shadow.dtype() == var.dtype() {
                check_like(name, shadow, var)?;
            }
            // A loaded average may be on another device.
            *shadow = shadow.to_device(var.device()).map_err(named())?;
            move_towards(shadow, var, 1. - self.decay).map_err(named())?;
        }
        Ok(())
    }

    /// The averages, in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        self.shadows.iter().map(|(name, shadow)| (name.as_str(), shadow))
    }

    /// Writes the averages into the tensors of their names, rounded to their type.
    ///
    /// # Errors
    /// `parameters` lacks a tensor, or its shape differs.
    pub fn apply_to(&self, parameters: &mut Parameters) -> Result<(), EngineError> {
        for (name, shadow) in &self.shadows {
            let (dtype, device) = {
                let tensor = parameters.get(name)?;
                (tensor.dtype(), tensor.device().clone())
            };
            let average = shadow.to_dtype(dtype).and_then(|average| average.to_device(&device));
            parameters.set(name, &average.map_err(EngineError::named("convert", name))?)?;
        }
        Ok(())
    }

    /// A copy of the averages as named tensors: `shadow.PARAMETER`.
    ///
    /// # Errors
    /// The device is out of memory.
    pub fn state(&self) -> Result<BTreeMap<String, Tensor>, EngineError> {
        let copy = |(name, shadow): (&String, &Tensor)| {
            let shadow = shadow.force_contiguous().map_err(EngineError::named("copy the average of", name))?;
            Ok((format!("{SHADOW}.{name}"), shadow))
        };
        self.shadows.iter().map(copy).collect()
    }

    /// Restores the saved averages of the same parameters.
    ///
    /// # Errors
    /// Tensors that are missing, have no parameter, or are of another shape or type.
    pub fn load_state(&mut self, mut state: BTreeMap<String, Tensor>) -> Result<(), EngineError> {
        let mut shadows = BTreeMap::new();
        for (name, shadow) in &self.shadows {
            let key = format!("{SHADOW}.{name}");
            let missing = || EngineError::MissingState { optimizer: OWNER, name: key.clone() };
            let saved = state.remove(&key).ok_or_else(missing)?;
            check_like(&key, shadow, &saved)?;
            // The copy keeps later updates out of the caller's tensors.
            shadows.insert(name.clone(), saved.force_contiguous().map_err(EngineError::named("copy", &key))?);
        }
        if let Some(name) = state.into_keys().next() {
            return Err(EngineError::UnknownState { optimizer: OWNER, name });
        }
        self.shadows = shadows;
        Ok(())
    }
}

/// A copy of the weight, in a dtype that averages need.
fn copy(var: &Var) -> candle_core::Result<Tensor> {
    let weight = var.as_detached_tensor();
    match weight.dtype() {
        DType::F32 | DType::F64 => weight.force_contiguous(),
        _ => weight.to_dtype(DType::F32),
    }
}

fn move_towards(shadow: &mut Tensor, weight: &Tensor, share: f64) -> candle_core::Result<()> {
    if host::is_host_f32(shadow) && host::is_host_f32(weight) {
        let share = share as f32;
        return host::zip_in_place(
            shadow,
            weight,
            #[inline(always)]
            |shadow, weight| {
                for (shadow, &weight) in shadow.iter_mut().zip(weight) {
                    *shadow += share * (weight - *shadow);
                }
            },
        );
    }
    let weight = weight.detach().to_dtype(shadow.dtype())?;
    *shadow = (&*shadow + ((weight - &*shadow)? * share)?)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device, Tensor};

    use super::Ema;
    use crate::{EngineError, Parameters};

    fn tensor(values: &[f32]) -> Tensor {
        Tensor::new(values, &Device::Cpu).unwrap()
    }

    fn model(dtype: DType) -> Parameters {
        let mut parameters = Parameters::default();
        parameters.insert_trainable("a", tensor(&[1., 2.]).to_dtype(dtype).unwrap()).unwrap();
        parameters.insert_frozen("b", tensor(&[5.])).unwrap();
        parameters
    }

    fn take_steps(parameters: &mut Parameters, ema: &mut Ema, steps: std::ops::Range<u64>) {
        for step in steps {
            let dtype = parameters.get("a").unwrap().dtype();
            parameters.set("a", &tensor(&[step as f32, 0.]).to_dtype(dtype).unwrap()).unwrap();
            ema.update(parameters).unwrap();
        }
    }

    fn averages(ema: &Ema) -> Vec<f64> {
        ema.iter().next().unwrap().1.to_dtype(DType::F64).unwrap().to_vec1().unwrap()
    }

    #[test]
    fn averages_follow_their_definition() {
        for dtype in [DType::F32, DType::F64, DType::BF16] {
            let mut parameters = model(dtype);
            let mut ema = Ema::new(0.5, &parameters).unwrap();
            assert_eq!(averages(&ema), [1., 2.]);
            take_steps(&mut parameters, &mut ema, 3..5);
            // (1 + 3) / 2 = 2, (2 + 4) / 2 = 3; 2 / 4.
            assert_eq!(averages(&ema), [3., 0.5], "{dtype:?}");
            assert_eq!(ema.iter().count(), 1, "frozen tensors have no average");
            ema.apply_to(&mut parameters).unwrap();
            let applied = parameters.get("a").unwrap();
            assert_eq!((applied.dtype(), parameters.is_trainable("a")), (dtype, true));
            assert_eq!(applied.to_dtype(DType::F64).unwrap().to_vec1::<f64>().unwrap(), [3., 0.5]);
            // Applied values are copies.
            take_steps(&mut parameters, &mut ema, 9..10);
            assert_eq!(averages(&ema), [6., 0.25]);
        }
    }

    #[test]
    fn slow_averages_of_half_precision_move() {
        let mut parameters = model(DType::BF16);
        let mut ema = Ema::new(0.9999, &parameters).unwrap();
        take_steps(&mut parameters, &mut ema, 2..3);
        assert!((averages(&ema)[0] - 1.0001).abs() < 1e-7);
    }

    #[test]
    fn a_saved_state_resumes_to_the_bit() {
        let mut parameters = model(DType::F32);
        let mut ema = Ema::new(0.3, &parameters).unwrap();
        take_steps(&mut parameters, &mut ema, 0..3);
        let state = ema.state().unwrap();
        let mut resumed = Ema::new(0.3, &parameters).unwrap();
        resumed.load_state(state).unwrap();
        for ema in [&mut ema, &mut resumed] {
            take_steps(&mut parameters, ema, 3..6);
        }
        assert_eq!(averages(&ema), averages(&resumed));
    }

    #[test]
    fn what_does_not_fit_is_refused_by_name() {
        let parameters = model(DType::F32);
        for decay in [-0.1, 1., f64::NAN] {
            let message = Ema::new(decay, &parameters).unwrap_err().to_string();
            assert!(message.contains("decay"), "{message}");
        }
        let mut ema = Ema::new(0.9, &parameters).unwrap();
        let mut load = |entries: &[(&str, &[f32])]| {
            let state = entries.iter().map(|&(name, values)| (name.to_owned(), tensor(values))).collect();
            ema.load_state(state).map_err(|error| error.to_string())
        };
        assert!(load(&[]).unwrap_err().contains("shadow.a"));
        assert!(load(&[("shadow.a", &[1.])]).unwrap_err().contains("shadow.a"));
        assert!(load(&[("shadow.a", &[1., 2.]), ("shadow.c", &[1.])]).unwrap_err().contains("shadow.c"));
        assert!(load(&[("shadow.a", &[1., 2.])]).is_ok());
        let mut other = Parameters::default();
        other.insert_trainable("c", tensor(&[1.])).unwrap();
        assert!(matches!(ema.update(&other), Err(EngineError::MissingTensor { .. })));
        assert!(ema.apply_to(&mut other).is_err());
    }
}
