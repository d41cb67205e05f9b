//! Sliding-window attention, accepted where no window is shorter than the context.

use crate::ModelError;
use crate::fields::Fields;

/// transformers' defaults for Qwen2.
const WINDOW: usize = 4096;
const FIRST_LAYER: usize = 28;

/// Refuses a Qwen2 with a layer whose window is shorter than the model's context.
///
/// # Errors
/// Such a layer, or layer types other than Qwen2's.
pub(super) fn refuse_windows(fields: Fields<'_>, n_layers: usize, max_positions: usize) -> Result<(), ModelError> {
    let in_use = fields.flag("use_sliding_window", false)?;
    // A null window disables windows; a missing one has the default size.
    let default = (!fields.is_null("sliding_window")).then_some(WINDOW);
    let window = fields.size("sliding_window")?.or(default).filter(|_| in_use);
    let first = fields.count("max_window_layers")?.unwrap_or(FIRST_LAYER);
    let sliding = match fields.texts("layer_types")? {
        None => (window.is_some() && first < n_layers).then_some(first),
        Some(kinds) => first_sliding(&kinds, n_layers)?,
    };
    let Some(layer) = sliding else { return Ok(()) };
    match window {
        Some(window) if window >= max_positions => Ok(()),
        Some(window) => {
            let reason =
                format!("layer {layer} sees the last {window} tokens only; sliding-window attention is not supported");
            Err(ModelError::config("sliding_window", reason))
        }
        None => {
            let reason = format!("layer {layer} is to slide, and `use_sliding_window` gives it no window");
            Err(ModelError::config("layer_types", reason))
        }
    }
}

/// The first sliding layer in a list of layer types.
fn first_sliding(kinds: &[String], n_layers: usize) -> Result<Option<usize>, ModelError> {
    if kinds.len() != n_layers {
        let reason = format!("{} kinds for {n_layers} layers", kinds.len());
        return Err(ModelError::config("layer_types", reason));
    }
    match kinds.iter().find(|kind| !matches!(kind.as_str(), "full_attention" | "sliding_attention")) {
        Some(kind) => Err(ModelError::config("layer_types", format!("layers of kind `{kind}` are not supported"))),
        None => Ok(kinds.iter().position(|kind| kind == "sliding_attention")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::causal::CausalConfig;

    fn qwen2(settings: &Value) -> Result<CausalConfig, String> {
        let mut source = json!({ "model_type": "qwen2", "vocab_size": 96, "hidden_size": 32, "num_hidden_layers": 2,
            "num_attention_heads": 4, "intermediate_size": 48, "max_position_embeddings": 64 });
        for (key, value) in settings.as_object().unwrap() {
            source[key] = value.clone();
        }
        CausalConfig::from_json(source).map_err(|error| error.to_string())
    }

    #[test]
    fn windows_that_hide_nothing_are_accepted() {
        let full = ["full_attention", "full_attention"];
        for settings in [
            json!({ "use_sliding_window": false, "sliding_window": 4, "max_window_layers": 0 }),
            json!({ "use_sliding_window": true, "sliding_window": 4, "max_window_layers": 2 }),
            json!({ "use_sliding_window": true, "sliding_window": 4 }),
            json!({ "use_sliding_window": true, "sliding_window": null, "max_window_layers": 0 }),
            json!({ "use_sliding_window": true, "sliding_window": 64, "max_window_layers": 0 }),
            json!({ "use_sliding_window": true, "sliding_window": 4, "max_window_layers": 0, "layer_types": full }),
        ] {
            qwen2(&settings).unwrap();
        }
    }

    #[test]
    fn windows_that_hide_something_are_refused_by_name() {
        let second = ["full_attention", "sliding_attention"];
        let table = [
            (
                json!({ "use_sliding_window": true, "sliding_window": 4, "max_window_layers": 1 }),
                "layer 1 sees the last 4",
            ),
            (
                json!({ "use_sliding_window": true, "sliding_window": 4, "layer_types": second }),
                "layer 1 sees the last 4",
            ),
            (json!({ "use_sliding_window": true, "sliding_window": 63, "max_window_layers": 0 }), "layer 0"),
            (json!({ "layer_types": second }), "gives it no window"),
            (json!({ "layer_types": ["full_attention"] }), "1 kinds for 2 layers"),
            (json!({ "layer_types": ["full_attention", "chunked_attention"] }), "chunked_attention"),
            (json!({ "use_sliding_window": "yes" }), "use_sliding_window"),
        ];
        for (settings, expected) in table {
            let message = qwen2(&settings).map_or_else(|message| message, |_| "accepted".to_owned());
            assert!(message.contains(expected), "`{message}` does not say `{expected}`");
        }
    }
}
