//! Files of tensors, read header first and suspicious of it.
//!
//! [`SafetensorsFile`] is the one reader of safetensors: weights and datasets both stand on it, so a damaged header is found the
//! same way in both. [`SizedFile`] and [`read_floats`] also serve formats whose headers are read elsewhere (GGUF, llama2.c).
//! Nothing is allocated before the file has been seen to be long enough for it.

mod error;
mod file;
mod safetensors;

pub use self::error::TensorFileError;
pub use self::file::{Floats, SizedFile, read_floats};
pub use self::safetensors::{Entry, SafetensorsFile};
