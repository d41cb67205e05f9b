//! The activation of the MLP of CLIP's encoders.

use crate::ModelError;
use crate::fields::Fields;

/// The activation of the MLP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClipActivation {
    /// `x sigmoid(1.702 x)`, OpenAI's.
    QuickGelu,
    /// Exact GELU, OpenCLIP's.
    Gelu,
}

/// The activation that `hidden_act` names.
pub(super) fn activation(fields: Fields<'_>) -> Result<ClipActivation, ModelError> {
    match fields.text("hidden_act")?.as_deref() {
        None | Some("quick_gelu") => Ok(ClipActivation::QuickGelu),
        Some("gelu") => Ok(ClipActivation::Gelu),
        Some(other) => {
            let reason = format!("`{other}` is not supported; supported: quick_gelu, gelu");
            Err(ModelError::config("hidden_act", reason))
        }
    }
}
