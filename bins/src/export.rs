//! `export` and `merge`: their help, and what was written.
use std::process::ExitCode;

use recipes::Failure;

use crate::{Invocation, console};

/// The description of `export`.
pub(crate) const ABOUT: &str = "Writes a model as a Hugging Face or diffusers folder";
/// Examples of it.
pub(crate) const HELP: &str = "Examples:
  hybrid-dpo convert --model SmolLM2-135M-Q8_0.gguf --out SmolLM2 --save-dtype f16
  hybrid-dpo export --model runs/second --out pipeline --save-dtype bf16
      a run of pictures: every part of its pipeline, in bf16";
/// The description of `merge`.
pub(crate) const ABOUT_MERGE: &str = "Merges an adapter into its base, as a plain folder";
/// Examples of it.
pub(crate) const HELP_MERGE: &str = "Examples:
  hybrid-dpo merge --model runs/lora --out merged
      transformers and vLLM load merged/ as any other model
  hybrid-dpo merge --model ./SmolLM2-135M+./adapter --out merged --save-dtype bf16";

/// Writes a model and prints what was written.
pub(crate) fn export(asked: &Invocation) -> Result<ExitCode, Failure> {
    console::result(&recipes::export(asked.call())?.to_string());
    Ok(ExitCode::SUCCESS)
}

/// Merges an adapter and prints what was written.
pub(crate) fn merge(asked: &Invocation) -> Result<ExitCode, Failure> {
    console::result(&recipes::merge(asked.call())?.to_string());
    Ok(ExitCode::SUCCESS)
}
