//! The named tensors of a model.

use std::collections::BTreeMap;

use candle_core::{Tensor, Var};

use crate::EngineError;

/// The named tensors of a model, in the order of their names, each either trainable or frozen.
///
/// The order makes everything that iterates over them (norms, checkpoints, fingerprints) deterministic. Tied weights
/// are one parameter under one name: the layers that share them use the same name, and the gradients of all uses add
/// up.
///
/// An update changes a trainable tensor in place: a tensor from an earlier [`Parameters::get`] sees the new numbers
/// too. A fixed copy, such as a reference policy's, is a [`Parameters::frozen_copy`].
///
/// # Examples
/// ```
/// use candle_core::{Device, Tensor};
/// use engine::parameters::Parameters;
///
/// # fn main() -> Result<(), engine::EngineError> {
/// let mut parameters = Parameters::default();
/// parameters.insert_trainable("scale", Tensor::new(2f32, &Device::Cpu)?)?;
/// parameters.insert_frozen("shift", Tensor::new(1f32, &Device::Cpu)?)?;
/// assert_eq!(parameters.trainable().map(|(name, _)| name).collect::<Vec<_>>(), ["scale"]);
/// assert_eq!(parameters.len(), 2);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Default)]
pub struct Parameters {
    tensors: BTreeMap<String, Parameter>,
}

#[derive(Debug)]
enum Parameter {
    Trainable(Var),
    Frozen(Tensor),
}

impl Parameter {
    fn tensor(&self) -> &Tensor {
        match self {
            Self::Trainable(var) => var.as_tensor(),
            Self::Frozen(tensor) => tensor,
        }
    }
}

impl Parameters {
    /// Frozen tensors.
    ///
    /// # Errors
    /// A duplicate name; the device is out of memory for a copy of a variable.
    pub fn frozen(tensors: impl IntoIterator<Item = (String, Tensor)>) -> Result<Self, EngineError> {
        let mut parameters = Self::default();
        for (name, tensor) in tensors {
            parameters.insert_frozen(name, tensor)?;
        }
        Ok(parameters)
    }

    /// Adds a trainable tensor. Its numbers are copied, so training changes no other tensor.
    ///
    /// # Errors
    /// The name is taken.
    pub fn insert_trainable(&mut self, name: impl Into<String>, tensor: Tensor) -> Result<(), EngineError> {
        let name = name.into();
        // `Var::from_tensor` copies, except that it returns a variable itself: hence the detour.
        let var = Var::from_tensor(&tensor.detach()).map_err(EngineError::named("copy", &name))?;
        // At most one tensor is in memory twice while a model is loaded.
        drop(tensor);
        self.insert(name, Parameter::Trainable(var))
    }

    /// Adds a frozen tensor: it gets no gradient, and ops spend no time on one.
    ///
    /// A variable is copied, since it may change; any other tensor is shared.
    ///
    /// # Errors
    /// The name is taken.
    pub fn insert_frozen(&mut self, name: impl Into<String>, tensor: Tensor) -> Result<(), EngineError> {
        let name = name.into();
        let tensor = if tensor.is_variable() {
            tensor.detach().force_contiguous().map_err(EngineError::named("copy", &name))?
        } else if tensor.track_op() {
            tensor.detach()
        } else {
            tensor
        };
        self.insert(name, Parameter::Frozen(tensor))
    }

    fn insert(&mut self, name: String, parameter: Parameter) -> Result<(), EngineError> {
        if self.tensors.contains_key(&name) {
            return Err(EngineError::DuplicateTensor { name });
        }
        self.tensors.insert(name, parameter);
        Ok(())
    }

    /// The tensor of this name.
    ///
    /// # Errors
    /// There is no such tensor.
    pub fn get(&self, name: &str) -> Result<&Tensor, EngineError> {
        self.find(name).ok_or_else(|| EngineError::MissingTensor { name: name.to_owned() })
    }

    /// An optional tensor (a bias, an adapter) by name.
    pub fn find(&self, name: &str) -> Option<&Tensor> {
        self.tensors.get(name).map(Parameter::tensor)
    }

    /// Whether the tensor exists and is trainable.
    pub fn is_trainable(&self, name: &str) -> bool {
        matches!(self.tensors.get(name), Some(Parameter::Trainable(_)))
    }

    /// All tensors, in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        self.tensors.iter().map(|(name, parameter)| (name.as_str(), parameter.tensor()))
    }

    /// The trainable tensors, in the order of their names.
    pub fn trainable(&self) -> impl Iterator<Item = (&str, &Var)> {
        self.tensors.iter().filter_map(|(name, parameter)| match parameter {
            Parameter::Trainable(var) => Some((name.as_str(), var)),
            Parameter::Frozen(_) => None,
        })
    }

    /// Freezes every tensor.
    pub fn freeze_all(&mut self) {
        for parameter in self.tensors.values_mut() {
            *parameter = Parameter::Frozen(parameter.tensor().detach());
        }
    }

    /// Writes new numbers into a tensor, trainable or frozen.
    ///
    /// # Errors
    /// There is no such tensor, or its shape or dtype differs.
    pub fn set(&mut self, name: &str, value: &Tensor) -> Result<(), EngineError> {
        let missing = || EngineError::MissingTensor { name: name.to_owned() };
        let parameter = self.tensors.get_mut(name).ok_or_else(missing)?;
        check_like(name, parameter.tensor(), value)?;
        match parameter {
            Parameter::Trainable(var) => var.set(value).map_err(EngineError::named("set", name))?,
            Parameter::Frozen(tensor) => *tensor = value.detach(),
        }
        Ok(())
    }

    /// A frozen copy: a reference that does not change when this one is trained.
    ///
    /// Frozen tensors cannot change, so their memory is shared.
    ///
    /// # Errors
    /// The device is out of memory.
    pub fn frozen_copy(&self) -> Result<Self, EngineError> {
        Self::frozen(self.iter().map(|(name, tensor)| (name.to_owned(), tensor.clone())))
    }

    /// The number of tensors.
    pub fn len(&self) -> usize {
        self.tensors.len()
    }

    /// Whether there is no tensor.
    pub fn is_empty(&self) -> bool {
        self.tensors.is_empty()
    }
}

/// Refuses a value that cannot replace `like`.
pub(crate) fn check_like(name: &str, like: &Tensor, value: &Tensor) -> Result<(), EngineError> {
    if like.dims() != value.dims() {
        let (expected, got) = (like.dims().to_vec(), value.dims().to_vec());
        return Err(EngineError::Shape { name: name.to_owned(), expected, got });
    }
    if like.dtype() != value.dtype() {
        return Err(EngineError::DType { name: name.to_owned(), expected: like.dtype(), got: value.dtype() });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Tensor, Var};

    use super::Parameters;
    use crate::EngineError;

    fn tensor(values: &[f32]) -> Tensor {
        Tensor::new(values, &Device::Cpu).unwrap()
    }

    fn numbers(tensor: &Tensor) -> Vec<f32> {
        tensor.to_vec1().unwrap()
    }

    #[test]
    fn names_are_ordered_and_unique() {
        let mut parameters = Parameters::default();
        for name in ["b", "a", "c"] {
            parameters.insert_frozen(name, tensor(&[1.])).unwrap();
        }
        assert_eq!(parameters.iter().map(|(name, _)| name).collect::<Vec<_>>(), ["a", "b", "c"]);
        assert!(matches!(parameters.insert_trainable("b", tensor(&[2.])), Err(EngineError::DuplicateTensor { .. })));
        assert_eq!(parameters.get("d").unwrap_err().to_string(), "there is no tensor named `d`");
        assert_eq!((parameters.len(), parameters.trainable().count()), (3, 0));
    }

    #[test]
    fn a_trainable_tensor_shares_memory_with_nothing() {
        let (plain, var) = (tensor(&[1., 2.]), Var::from_tensor(&tensor(&[3., 4.])).unwrap());
        let mut parameters = Parameters::default();
        parameters.insert_trainable("plain", plain.clone()).unwrap();
        parameters.insert_trainable("var", var.as_tensor().clone()).unwrap();
        for name in ["plain", "var"] {
            parameters.set(name, &tensor(&[9., 9.])).unwrap();
        }
        assert_eq!((numbers(&plain), numbers(&var)), (vec![1., 2.], vec![3., 4.]));
    }

    #[test]
    fn a_frozen_copy_stays_when_the_original_moves() {
        let mut parameters = Parameters::default();
        parameters.insert_trainable("weight", tensor(&[1., 2.])).unwrap();
        let copy = parameters.frozen_copy().unwrap();
        parameters.set("weight", &tensor(&[5., 6.])).unwrap();
        assert_eq!(numbers(copy.get("weight").unwrap()), [1., 2.]);
        assert!(!copy.is_trainable("weight") && parameters.is_trainable("weight"));
    }

    #[test]
    fn freezing_ends_tracking() {
        let mut parameters = Parameters::default();
        parameters.insert_trainable("a", tensor(&[1.])).unwrap();
        assert!(parameters.get("a").unwrap().track_op());
        parameters.freeze_all();
        assert!(!parameters.get("a").unwrap().track_op());
        assert_eq!(parameters.trainable().count(), 0);
    }

    #[test]
    fn set_refuses_what_does_not_fit() {
        let mut parameters = Parameters::default();
        parameters.insert_trainable("a", tensor(&[1., 2.])).unwrap();
        assert!(matches!(parameters.set("a", &tensor(&[1.])), Err(EngineError::Shape { .. })));
        let double = Tensor::new(&[1f64, 2.], &Device::Cpu).unwrap();
        assert!(matches!(parameters.set("a", &double), Err(EngineError::DType { .. })));
    }
}
