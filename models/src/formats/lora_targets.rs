//! Which layers an adapter's settings mean, by PEFT's rules of names and patterns.
//!
//! Names are those that the layers have in memory, where GPT-NeoX's output matrix is `lm_head`.

use serde_json::Value;
use tokenizers::utils::SysRegex;

/// Numbers for the layers that match a pattern: `rank_pattern` or `alpha_pattern`.
#[derive(Debug)]
pub(super) struct Numbers(Vec<(SysRegex, f64)>);

impl Numbers {
    /// Reads an object of patterns and numbers.
    ///
    /// # Errors
    /// What is no pattern, or no number as `is_number` wants it; the reason.
    pub(super) fn read(settings: &Value, key: &str, is_number: fn(&Value) -> bool) -> Result<Self, String> {
        let Some(map) = settings[key].as_object() else { return Ok(Self(Vec::new())) };
        let one = |(pattern, number): (&String, &Value)| {
            // A pattern is about the end of a name, after a dot, unless it begins with ^: then about the whole.
            let anchored = format!("\\A(.*\\.)?({pattern})$");
            let compiled = SysRegex::new(&anchored)
                .map_err(|e| format!("`{pattern}` in `{key}` is not a pattern of layers: {e}"))?;
            match number.as_f64().filter(|_| is_number(number)) {
                Some(number) => Ok((compiled, number)),
                None => Err(format!("`{pattern}` in `{key}` is {number}, not a positive number of its kind")),
            }
        };
        map.iter().map(one).collect::<Result<_, _>>().map(Self)
    }

    /// The number of the first pattern that a layer matches.
    pub(super) fn find(&self, layer: &str) -> Option<f64> {
        self.0.iter().find(|(pattern, _)| pattern.find_iter(layer).next().is_some()).map(|(_, number)| *number)
    }
}

/// `target_modules` or `exclude_modules`.
#[derive(Debug)]
pub(super) enum Names {
    /// Names, or the ends of names after a dot.
    Ends(Vec<String>),
    /// A pattern of whole names.
    Pattern(SysRegex),
    /// Every linear layer but the output layer.
    AllLinear,
}

impl Names {
    /// Reads a list or a pattern; `None` where there is neither.
    ///
    /// # Errors
    /// What is no pattern; the reason.
    pub(super) fn read(settings: &Value, key: &str) -> Result<Option<Self>, String> {
        Ok(match &settings[key] {
            Value::String(text) if text.eq_ignore_ascii_case("all-linear") => Some(Self::AllLinear),
            Value::String(pattern) => {
                let whole = SysRegex::new(&format!("\\A(?:{pattern})\\z"));
                Some(Self::Pattern(whole.map_err(|e| format!("`{key}` is not a pattern: {e}"))?))
            }
            Value::Array(names) => {
                Some(Self::Ends(names.iter().filter_map(Value::as_str).map(ToOwned::to_owned).collect()))
            }
            _ => None,
        })
    }

    /// Whether a layer is meant.
    pub(super) fn mean(&self, layer: &str, is_output_or_embedding: bool) -> bool {
        match self {
            Self::AllLinear => !is_output_or_embedding,
            Self::Pattern(pattern) => pattern.find_iter(layer).next().is_some(),
            Self::Ends(names) => names.iter().any(|name| {
                layer.strip_suffix(name.as_str()).is_some_and(|parent| parent.is_empty() || parent.ends_with('.'))
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn patterns_match_as_in_peft() {
        let numbers = |settings: Value| Numbers::read(&settings, "p", Value::is_number);
        let find = |pattern: &str, layer: &str| numbers(json!({ "p": { pattern: 3 } })).unwrap().find(layer).is_some();
        let layer = "model.layers.0.self_attn.q_proj";
        assert!(find("q_proj", layer) && find("self_attn.q_proj", layer) && find("layers.0.*q_proj", layer));
        assert!(!find("proj", layer) && !find("layers.0", layer) && !find("_proj", layer));
        // With ^ a pattern is about the whole name.
        assert!(find("^model.layers.0.*", layer) && find("^model\\.layers\\.\\d+\\..*q_proj", layer));
        assert!(!find("^layers.0.self_attn.q_proj", layer) && !find("^q_proj", layer));
        assert!(find("k_proj|q_proj", layer));
        // The first one wins, in the order of the file.
        assert_eq!(numbers(json!({ "p": { "q_proj": 1, "^model.*": 2 } })).unwrap().find(layer), Some(1.0));
        assert_eq!(numbers(json!({ "p": { "^model.*": 2, "q_proj": 1 } })).unwrap().find(layer), Some(2.0));
        assert!(numbers(json!({ "p": { "(": 2 } })).unwrap_err().contains("not a pattern"));
        assert!(numbers(json!({ "p": { "q": "2" } })).unwrap_err().contains("`q` in `p` is \"2\""));
    }

    #[test]
    fn targets_are_ends_of_names_or_patterns_of_whole_names() {
        let mean = |targets: Value, layer: &str| {
            Names::read(&json!({ "t": targets }), "t").unwrap().unwrap().mean(layer, layer == "lm_head")
        };
        let layer = "model.layers.0.self_attn.q_proj";
        assert!(mean(json!(["q_proj"]), layer) && mean(json!([layer]), layer) && !mean(json!(["proj"]), layer));
        assert!(mean(json!(".*q_proj"), layer) && !mean(json!("q_proj"), layer));
        assert!(mean(json!("all-linear"), layer) && !mean(json!("all-linear"), "lm_head"));
        assert!(Names::read(&json!({ "t": null }), "t").unwrap().is_none());
        assert!(Names::read(&json!({ "t": "(" }), "t").is_err());
    }
}
