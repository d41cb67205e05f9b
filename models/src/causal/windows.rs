//! Sliding-window attention and other differences between layers.

use super::config::{CausalConfig, Layer, LayerPositions, Layers};
use crate::ModelError;
use crate::fields::Fields;

/// The most layers of a model whose layers differ; the largest published ones have some hundred.
const MAX_LISTED: usize = 1 << 14;

/// Whether each layer slides: as `layer_types` lists them, or else by `otherwise`.
///
/// # Errors
/// A list of another length, or with another kind of layer; too many layers.
pub(super) fn sliding_layers(
    fields: Fields<'_>,
    n_layers: usize,
    otherwise: impl Fn(usize) -> bool,
) -> Result<Vec<bool>, ModelError> {
    if n_layers > MAX_LISTED {
        let reason = format!("{n_layers} layers that differ; at most {MAX_LISTED} are read");
        return Err(ModelError::config("num_hidden_layers", reason));
    }
    let Some(kinds) = fields.texts("layer_types")? else { return Ok((0..n_layers).map(otherwise).collect()) };
    if kinds.len() != n_layers {
        let reason = format!("{} kinds for {n_layers} layers", kinds.len());
        return Err(ModelError::config("layer_types", reason));
    }
    let slides = |kind: &String| match kind.as_str() {
        "full_attention" => Ok(false),
        "sliding_attention" => Ok(true),
        other => Err(ModelError::config("layer_types", format!("layers of kind `{other}` are not supported"))),
    };
    kinds.iter().map(slides).collect()
}

/// The size of sliding windows; `default` without the key, none where it is null.
///
/// # Errors
/// A size that is not a positive number.
pub(super) fn window(fields: Fields<'_>, default: Option<usize>) -> Result<Option<usize>, ModelError> {
    let default = default.filter(|_| !fields.is_null("sliding_window"));
    Ok(fields.size("sliding_window")?.or(default))
}

impl CausalConfig {
    /// Gives all layers one window.
    pub(super) fn with_window(self, window: Option<usize>) -> Self {
        let window = window.filter(|window| *window < self.max_positions);
        Self { layers: Layers::Alike(Layer { window, ..Layer::FULL }), ..self }
    }

    /// Gives sliding layers a window, and the local rotary embedding where there is one.
    ///
    /// # Errors
    /// A layer that slides without a window.
    pub(super) fn with_sliding(self, slides: &[bool], window: Option<usize>) -> Result<Self, ModelError> {
        if let (None, Some(layer)) = (window, slides.iter().position(|slides| *slides)) {
            let reason = format!("layer {layer} is to slide, and the settings give it no window");
            return Err(ModelError::config("layer_types", reason));
        }
        // A window as long as the context hides nothing.
        let window = window.filter(|window| *window < self.max_positions);
        let sliding = match self.local_rotary {
            None => Layer { window, ..Layer::FULL },
            Some(_) => Layer { window, positions: LayerPositions::Local },
        };
        let layers: Vec<Layer> = slides.iter().map(|slides| if *slides { sliding } else { Layer::FULL }).collect();
        let is_alike = layers.iter().all(|layer| *layer == Layer::FULL);
        Ok(Self { layers: if is_alike { Layers::Alike(Layer::FULL) } else { Layers::Listed(layers) }, ..self })
    }
}

/// Reads the windows of Qwen2 and Qwen3, which a switch turns on from some layer on.
///
/// # Errors
/// As [`sliding_layers`] and [`CausalConfig::with_sliding`].
pub(super) fn switched_windows(config: CausalConfig, fields: Fields<'_>) -> Result<CausalConfig, ModelError> {
    let in_use = fields.flag("use_sliding_window", false)?;
    let window = window(fields, Some(4096))?.filter(|_| in_use);
    let first = fields.count("max_window_layers")?.unwrap_or(28);
    if window.is_none() && fields.value("layer_types").is_none() {
        return Ok(config);
    }
    let slides = sliding_layers(fields, config.n_layers, |layer| window.is_some() && layer >= first)?;
    config.with_sliding(&slides, window)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::causal::CausalConfig;

    fn read(family: &str, settings: &Value) -> Result<CausalConfig, String> {
        let mut source = json!({ "model_type": family, "vocab_size": 96, "hidden_size": 32, "num_hidden_layers": 2,
            "num_attention_heads": 4, "intermediate_size": 48, "max_position_embeddings": 64, "head_dim": 8,
            "num_key_value_heads": 2 });
        for (key, value) in settings.as_object().unwrap() {
            source[key] = value.clone();
        }
        CausalConfig::from_json(source).map_err(|error| error.to_string())
    }

    fn windows(family: &str, settings: &Value) -> [Option<usize>; 2] {
        let config = read(family, settings).unwrap();
        [0, 1].map(|layer| config.layers.at(layer).window)
    }

    #[test]
    fn windows_come_from_where_transformers_has_them() {
        let full = ["full_attention", "full_attention"];
        let second = ["full_attention", "sliding_attention"];
        let none = [None, None];
        for (family, settings, expected) in [
            ("qwen2", json!({ "use_sliding_window": false, "sliding_window": 4, "max_window_layers": 0 }), none),
            ("qwen2", json!({ "use_sliding_window": true, "sliding_window": 4, "max_window_layers": 2 }), none),
            ("qwen2", json!({ "use_sliding_window": true, "sliding_window": 4 }), none),
            ("qwen2", json!({ "use_sliding_window": true, "sliding_window": null, "max_window_layers": 0 }), none),
            ("qwen2", json!({ "use_sliding_window": true, "sliding_window": 64, "max_window_layers": 0 }), none),
            ("qwen2", json!({ "use_sliding_window": true, "sliding_window": 4, "layer_types": full }), none),
            (
                "qwen2",
                json!({ "use_sliding_window": true, "sliding_window": 4, "layer_types": second }),
                [None, Some(4)],
            ),
            (
                "qwen3",
                json!({ "use_sliding_window": true, "sliding_window": 4, "max_window_layers": 1 }),
                [None, Some(4)],
            ),
            ("mistral", json!({ "sliding_window": 5 }), [Some(5); 2]),
            ("mistral", json!({ "sliding_window": null }), none),
            ("mistral", json!({ "max_position_embeddings": 8192 }), [Some(4096); 2]),
            ("ministral", json!({ "sliding_window": 5, "layer_types": second }), [None, Some(5)]),
            ("gemma2", json!({ "sliding_window": 5 }), [Some(5), None]),
            ("gemma3_text", json!({ "sliding_window": 5, "sliding_window_pattern": 2 }), [Some(5), None]),
            ("gemma3_text", json!({ "sliding_window": 5 }), [Some(5); 2]),
            ("olmo3", json!({ "sliding_window": 5 }), [Some(5); 2]),
            ("phi3", json!({ "sliding_window": 5 }), [Some(5); 2]),
            (
                "smollm3",
                json!({ "use_sliding_window": true, "sliding_window": 5, "no_rope_layers": [0, 1] }),
                [Some(5), None],
            ),
        ] {
            assert_eq!(windows(family, &settings), expected, "{family} {settings}");
        }
    }

    #[test]
    fn windows_that_make_no_sense_are_refused_by_name() {
        let second = ["full_attention", "sliding_attention"];
        let table = [
            (json!({ "layer_types": second }), "give it no window"),
            (json!({ "layer_types": ["full_attention"] }), "1 kinds for 2 layers"),
            (json!({ "layer_types": ["full_attention", "chunked_attention"] }), "chunked_attention"),
            (json!({ "use_sliding_window": "yes" }), "use_sliding_window"),
            (json!({ "use_sliding_window": true, "sliding_window": 0 }), "sliding_window"),
        ];
        for (settings, expected) in table {
            let message = read("qwen2", &settings).map_or_else(|message| message, |_| "accepted".to_owned());
            assert!(message.contains(expected), "`{message}` does not say `{expected}`");
        }
    }
}
