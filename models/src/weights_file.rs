//! Safetensors files as tensors.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use engine::transfer::from_host;
use tensorfile::{Entry, SafetensorsFile, TensorFileError};

use crate::ModelError;

/// An open safetensors file of weights.
#[derive(Debug)]
pub(crate) struct WeightsFile(SafetensorsFile);

impl WeightsFile {
    /// Opens a file and validates its header.
    pub(crate) fn open(path: &Path) -> Result<Self, ModelError> {
        Ok(Self(SafetensorsFile::open(path)?))
    }

    /// The file's path.
    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// The tensors by name.
    pub(crate) fn entries(&self) -> &BTreeMap<String, Entry> {
        self.0.entries()
    }

    /// The header's metadata.
    pub(crate) fn metadata(&self) -> &BTreeMap<String, String> {
        self.0.metadata()
    }

    /// Reads one tensor as f32.
    ///
    /// # Errors
    /// A missing tensor, a tensor that is not floating-point or holds NaN or an infinity.
    pub(crate) fn read(&self, name: &str, device: &Device) -> Result<Tensor, ModelError> {
        let values = self.0.floats(name)?;
        check_finite(self.path(), name, &values)?;
        Ok(from_host(values, self.0.entry(name)?.shape.as_slice(), device)?)
    }

    /// Reads the numbers of a floating-point tensor, whatever they are.
    pub(crate) fn floats(&self, name: &str) -> Result<Vec<f32>, ModelError> {
        Ok(self.0.floats(name)?)
    }

    /// Reads the bytes of a tensor as they are stored.
    pub(crate) fn bytes(&self, name: &str) -> Result<Vec<u8>, ModelError> {
        Ok(self.0.bytes(name)?)
    }

    /// Reads one tensor in its stored type.
    ///
    /// # Errors
    /// A missing tensor, or one of an unsupported type.
    pub(crate) fn read_as_stored(&self, name: &str) -> Result<Tensor, ModelError> {
        let entry = self.0.entry(name)?;
        let dtype = match entry.dtype.as_str() {
            "F64" => DType::F64,
            "F32" => DType::F32,
            "F16" => DType::F16,
            "BF16" => DType::BF16,
            "I64" => DType::I64,
            "U32" => DType::U32,
            "U8" => DType::U8,
            other => return Err(ModelError::tensor(self.path(), name, format!("stored as {other}"))),
        };
        Ok(Tensor::from_raw_buffer(&self.0.bytes(name)?, dtype, &entry.shape, &Device::Cpu)?)
    }
}

/// Refuses non-finite weights.
pub(crate) fn check_finite(path: &Path, tensor: &str, values: &[f32]) -> Result<(), ModelError> {
    match values.iter().position(|v| !v.is_finite()) {
        None => Ok(()),
        Some(at) => Err(ModelError::tensor(path, tensor, not_finite(at, values[at]))),
    }
}

/// The message about a non-finite weight.
pub(crate) fn not_finite(at: usize, value: f32) -> String {
    format!("element {at} is {value}; every weight must be finite")
}

impl From<TensorFileError> for ModelError {
    fn from(error: TensorFileError) -> Self {
        match error {
            TensorFileError::Io { path, source } => Self::Io { path, source },
            TensorFileError::File { path, reason } => Self::Format { path, reason },
            TensorFileError::Tensor { path, tensor, reason } => Self::Tensor { path, tensor, reason },
        }
    }
}
