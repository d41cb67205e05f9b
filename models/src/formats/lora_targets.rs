//! Matches layers to target settings, by PEFT's rules of names and patterns.
//!
//! Names are those in memory, where GPT-NeoX's output matrix is `lm_head`.

use serde_json::Value;
use tokenizers::utils::SysRegex;

/// Values for layers that match a pattern: `rank_pattern` or `alpha_pattern`.
#[derive(Debug)]
pub(super) struct Numbers(Vec<(SysRegex, f64)>);

impl Numbers {
    /// Reads an object of patterns and values.
    ///
    /// # Errors
    /// An invalid pattern, or a value that fails `is_number`.
    pub(super) fn read(settings: &Value, key: &str, is_number: fn(&Value) -> bool) -> Result<Self, String> {
        let Some(map) = settings[key].as_object() else { return Ok(Self(Vec::new())) };
        let one = |(pattern, number): (&String, &Value)| {
            // A pattern matches at the end of a name, after a dot, unless it begins with ^: then it matches the whole
            // name.
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

    /// The value of the first pattern that matches a layer.
    pub(super) fn find(&self, layer: &str) -> Option<f64> {
        self.0.iter().find(|(pattern, _)| pattern.find_iter(layer).next().is_some()).map(|(_, number)| *number)
    }
}

/// `target_modules` or `exclude_modules`.
#[derive(Debug)]
pub(super) enum Names {
    /// Names, or name suffixes after a dot, of some layers.
    Ends(Vec<String>, Layers),
    /// A pattern for whole names.
    Pattern(SysRegex),
    /// Every linear layer but the output layer.
    AllLinear,
}

impl Names {
    /// Reads a list or a pattern; `None` if there is neither.
    ///
    /// # Errors
    /// An invalid pattern, numbers of layers beside one.
    pub(super) fn read(settings: &Value, key: &str) -> Result<Option<Self>, String> {
        let are_targets = key == "target_modules";
        if are_targets && settings[key].is_string() {
            let by_number = ["layers_to_transform", "layers_pattern"].into_iter().find(|key| !settings[*key].is_null());
            if let Some(by_number) = by_number {
                return Err(format!(
                    "`{by_number}` goes with a list of names in `target_modules`, in peft too, not a text"
                ));
            }
        }
        Ok(match &settings[key] {
            // Of exclusions it is a pattern that no name matches.
            Value::String(text) if are_targets && text.eq_ignore_ascii_case("all-linear") => Some(Self::AllLinear),
            Value::String(pattern) => {
                let whole = SysRegex::new(&format!("\\A(?:{pattern})\\z"));
                Some(Self::Pattern(whole.map_err(|e| format!("`{key}` is not a pattern: {e}"))?))
            }
            Value::Array(names) => {
                let names = names.iter().filter_map(Value::as_str).map(ToOwned::to_owned).collect();
                // Exclusions apply to all layers.
                let layers = if are_targets { Layers::read(settings)? } else { Layers::default() };
                Some(Self::Ends(names, layers))
            }
            _ => None,
        })
    }

    /// Whether a layer matches.
    pub(super) fn mean(&self, layer: &str, is_output_or_embedding: bool) -> bool {
        match self {
            Self::AllLinear => !is_output_or_embedding,
            Self::Pattern(pattern) => pattern.find_iter(layer).next().is_some(),
            Self::Ends(names, layers) => {
                let is_end = |name: &String| layer.strip_suffix(name.as_str()).is_some_and(|rest| rest.ends_with('.'));
                names.iter().any(|name| name == layer) || (names.iter().any(is_end) && layers.have(layer))
            }
        }
    }
}

/// `layers_to_transform` and `layers_pattern`: layers by the number in their name.
#[derive(Debug, Default)]
pub(super) struct Layers {
    /// The layer numbers; empty for all layers.
    numbers: Vec<u64>,
    /// The name components before the number; empty for any.
    before: Vec<String>,
}

impl Layers {
    fn read(settings: &Value) -> Result<Self, String> {
        let list = |key: &str| match &settings[key] {
            Value::Null => Vec::new(),
            // An empty text is false in Python too.
            Value::String(text) if text.is_empty() => Vec::new(),
            Value::Array(values) => values.clone(),
            one => vec![one.clone()],
        };
        let number = |value: &Value| {
            value.as_u64().ok_or_else(|| format!("`layers_to_transform` has {value}, which is no number of a layer"))
        };
        let is_name = |name: &str| !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        let name = |value: &Value| {
            let name = value.as_str().filter(|name| is_name(name)).map(str::to_owned);
            name.ok_or_else(|| format!("`layers_pattern` has {value}; only the name of a list of layers is supported"))
        };
        let before: Vec<String> = list("layers_pattern").iter().map(name).collect::<Result<_, _>>()?;
        if !before.is_empty() && settings["layers_to_transform"].is_null() {
            return Err("`layers_pattern` goes with `layers_to_transform`, in peft too".to_owned());
        }
        Ok(Self { numbers: list("layers_to_transform").iter().map(number).collect::<Result<_, _>>()?, before })
    }

    /// Whether a module belongs to one of the layers, by the first number in its name.
    fn have(&self, module: &str) -> bool {
        if self.numbers.is_empty() {
            return true;
        }
        let parts: Vec<&str> = module.split('.').collect();
        let number = |at: usize| {
            let number = parts[at].parse::<u64>().ok().filter(|_| at + 1 < parts.len())?;
            let is_meant = if self.before.is_empty() {
                at >= 2
            } else {
                at >= 1 && self.before.iter().any(|name| name == parts[at - 1])
            };
            is_meant.then_some(number)
        };
        (0..parts.len()).find_map(number).is_some_and(|number| self.numbers.contains(&number))
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
        // With ^ a pattern matches the whole name.
        assert!(find("^model.layers.0.*", layer) && find("^model\\.layers\\.\\d+\\..*q_proj", layer));
        assert!(!find("^layers.0.self_attn.q_proj", layer) && !find("^q_proj", layer));
        assert!(find("k_proj|q_proj", layer));
        // The first pattern wins, in file order.
        assert_eq!(numbers(json!({ "p": { "q_proj": 1, "^model.*": 2 } })).unwrap().find(layer), Some(1.0));
        assert_eq!(numbers(json!({ "p": { "^model.*": 2, "q_proj": 1 } })).unwrap().find(layer), Some(2.0));
        assert!(numbers(json!({ "p": { "(": 2 } })).unwrap_err().contains("not a pattern"));
        assert!(numbers(json!({ "p": { "q": "2" } })).unwrap_err().contains("`q` in `p` is \"2\""));
    }

    /// As `check_target_module_exists` of peft 0.21.
    #[test]
    fn some_layers_are_meant_by_their_numbers() {
        let meant = |layers: Value, pattern: Value, name: &str| {
            let settings = json!({"target_modules": ["q_proj", "lm_head"], "layers_to_transform": layers, "layers_pattern": pattern});
            Names::read(&settings, "target_modules").unwrap().unwrap().mean(name, false)
        };
        let (first, second) = ("model.layers.0.self_attn.q_proj", "model.layers.1.self_attn.q_proj");
        for (layers, pattern) in
            [(json!([1]), json!(null)), (json!(1), json!("layers")), (json!([1, 7]), json!(["layers"]))]
        {
            assert!(!meant(layers.clone(), pattern.clone(), first) && meant(layers, pattern, second));
        }
        assert!(meant(json!(null), json!(null), first) && meant(json!([]), json!(null), first));
        assert!(!meant(json!([1]), json!(["h"]), second));
        // A whole name matches whatever its number; a suffix without a number does not.
        assert!(meant(json!([1]), json!(null), "lm_head") && !meant(json!([1]), json!(null), "model.q_proj"));
        let refused = |settings| Names::read(&settings, "target_modules").unwrap_err();
        assert!(
            refused(json!({"target_modules": ["q"], "layers_to_transform": [-1]})).contains("no number of a layer")
        );
        assert!(refused(json!({"target_modules": ["q"], "layers_pattern": "a|b"})).contains("only the name"));
        Names::read(&json!({"target_modules": ["q"], "layers_pattern": ""}), "target_modules").unwrap();
        assert!(refused(json!({"target_modules": ["q"], "layers_pattern": "layers"})).contains("goes with"));
        for (key, value) in [("layers_to_transform", json!([1])), ("layers_pattern", json!("layers"))] {
            for targets in ["all-linear", ".*q_proj"] {
                let message = refused(json!({"target_modules": targets, key: value}));
                assert!(message.contains(key) && message.contains("a list of names"), "{message}");
            }
        }
    }

    /// As peft's `fullmatch`: the word for all linear layers means nothing here.
    #[test]
    fn exclusions_are_ends_of_names_or_patterns_of_whole_names() {
        let mean = |excluded: Value, layer: &str| {
            let settings = json!({"exclude_modules": excluded, "layers_to_transform": [1]});
            Names::read(&settings, "exclude_modules").unwrap().unwrap().mean(layer, false)
        };
        let layer = "model.layers.0.self_attn.q_proj";
        assert!(mean(json!(["q_proj"]), layer) && mean(json!(["self_attn.q_proj"]), layer));
        assert!(mean(json!(r".*layers\.0\..*"), layer) && !mean(json!("layers.0"), layer));
        assert!(!mean(json!("all-linear"), layer) && !mean(json!(["proj"]), layer));
    }

    #[test]
    fn targets_are_ends_of_names_or_patterns_of_whole_names() {
        let mean = |targets: Value, layer: &str| {
            Names::read(&json!({ "target_modules": targets }), "target_modules")
                .unwrap()
                .unwrap()
                .mean(layer, layer == "lm_head")
        };
        let layer = "model.layers.0.self_attn.q_proj";
        assert!(mean(json!(["q_proj"]), layer) && mean(json!([layer]), layer) && !mean(json!(["proj"]), layer));
        assert!(mean(json!(".*q_proj"), layer) && !mean(json!("q_proj"), layer));
        assert!(mean(json!("all-linear"), layer) && !mean(json!("all-linear"), "lm_head"));
        assert!(Names::read(&json!({ "target_modules": null }), "target_modules").unwrap().is_none());
        assert!(Names::read(&json!({ "target_modules": "(" }), "target_modules").is_err());
    }
}
