//! Tensor files, read header first; a header is validated before it is trusted.
//!
//! [`SafetensorsFile`] is the one reader of safetensors, for weights and datasets, so both report a damaged header the
//! same way. [`SizedFile`] and [`read_floats`] also serve formats whose headers are read elsewhere (GGUF, llama2.c).
//! Memory is allocated only after the file's length has been checked. [`NpzFile`] reads numpy's `.npz`, and [`write_npz`]
//! writes it. [`settle`] syncs a folder of such files before it gets its name.

mod error;
mod file;
mod npz;
mod safetensors;
mod settle;

pub use self::error::TensorFileError;
pub use self::file::{Floats, SizedFile, read_floats};
pub use self::npz::{NpzFile, NpzValues, write_npz};
pub use self::safetensors::{Entry, SafetensorsFile};
pub use self::settle::{settle, settle_name};
