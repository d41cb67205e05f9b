//! The handling of each setting of an `adapter_config.json`.
//!
//! Every field that PEFT declares is followed, harmless, or refused by name, and its type is checked. A setting that
//! PEFT does not declare, such as a later version's, is refused if it enables something: if it is true, or a non-empty
//! list or object.

use serde_json::Value;

use crate::fields::table::{
    SettingHandling, SettingHandling::Harmless, SettingHandling::Honoured, Table, first_refused, is_nothing, refused,
    unknown,
};

/// A variant that an object enables, even an empty one.
const fn variant(what: &'static str) -> SettingHandling {
    SettingHandling::Refused { what, is_off: |value| matches!(value, Value::Null | Value::Bool(false)) }
}

const LORA: Table = &[
    ("alora_invocation_tokens", variant("activated LoRA (aLoRA)")),
    ("alpha_pattern", Honoured),
    ("arrow_config", variant("Arrow routing")),
    ("auto_mapping", Harmless),
    ("base_model_name_or_path", Honoured),
    ("bias", Honoured),
    // The computation of an initialisation; `init_lora_weights` selects it and refuses the unsupported ones.
    ("corda_config", Harmless),
    ("ensure_weight_tying", Honoured),
    ("eva_config", Harmless),
    ("exclude_modules", Honoured),
    // PEFT, too, decides by the layer's class.
    ("fan_in_fan_out", Harmless),
    ("inference_mode", Harmless),
    ("init_lora_weights", Honoured),
    ("kasa_config", variant("KaSA")),
    ("layer_replication", refused("replicated layers")),
    ("layers_pattern", Honoured),
    ("layers_to_transform", Honoured),
    ("loftq_config", Harmless),
    ("lora_alpha", Honoured),
    ("lora_bias", Honoured),
    // Training only; dropout is not applied here.
    ("lora_dropout", Harmless),
    ("lora_ga_config", Harmless),
    ("megatron_config", refused("Megatron's parallel layers")),
    ("megatron_core", Harmless),
    ("modules_to_save", Honoured),
    ("monteclora_config", variant("Monte Carlo LoRA")),
    ("peft_type", Honoured),
    ("peft_version", Harmless),
    ("qalora_group_size", Harmless),
    ("r", Honoured),
    ("rank_pattern", Honoured),
    ("revision", Harmless),
    ("runtime_config", Harmless),
    ("target_modules", Honoured),
    ("target_parameters", refused("LoRA of parameters")),
    ("task_type", Harmless),
    ("trainable_token_indices", refused("single trained rows of the embedding")),
    ("use_bdlora", variant("block-diagonal LoRA")),
    ("use_dora", Honoured),
    ("use_qalora", refused("QALoRA")),
    ("use_rslora", Honoured),
    ("velora_config", variant("VeLoRA")),
];

/// Fields of older versions and other tools.
const OLDER: Table = &[
    ("enable_lora", refused("LoRA of parts of a layer")),
    ("merge_weights", Harmless),
    ("unsloth_fixed", Harmless),
    ("use_lora", Harmless),
];

/// The type of a setting in PEFT.
struct Type {
    name: &'static str,
    is: fn(&Value) -> bool,
}

const FLAG: Type = Type { name: "true or false", is: Value::is_boolean };
const TEXT: Type = Type { name: "text", is: Value::is_string };
const NUMBER: Type = Type { name: "a positive number", is: |v| v.as_f64().is_some_and(|n| n.is_finite() && n > 0.0) };
const COUNT: Type = Type { name: "a positive whole number", is: |v| v.as_u64().is_some_and(|n| n > 0) };
const SHARE: Type = Type { name: "a number", is: Value::is_number };
const PATTERNS: Type = Type { name: "an object of patterns and numbers", is: Value::is_object };
const NAMES: Type = Type { name: "a list of names", is: is_names };
const TARGETS: Type = Type { name: "a list of names, a pattern or all-linear", is: |v| v.is_string() || is_names(v) };
const START: Type = Type { name: "true, false or a name", is: |v| v.is_boolean() || v.is_string() };

fn is_names(value: &Value) -> bool {
    value.as_array().is_some_and(|names| names.iter().all(Value::is_string))
}

const TYPES: &[(&str, &Type)] = &[
    ("alpha_pattern", &PATTERNS),
    ("base_model_name_or_path", &TEXT),
    ("bias", &TEXT),
    ("ensure_weight_tying", &FLAG),
    ("exclude_modules", &TARGETS),
    ("fan_in_fan_out", &FLAG),
    ("inference_mode", &FLAG),
    ("init_lora_weights", &START),
    ("lora_alpha", &NUMBER),
    ("lora_bias", &FLAG),
    ("lora_dropout", &SHARE),
    ("modules_to_save", &NAMES),
    ("r", &COUNT),
    ("rank_pattern", &PATTERNS),
    ("target_modules", &TARGETS),
    ("target_parameters", &NAMES),
    ("use_dora", &FLAG),
    ("use_qalora", &FLAG),
    ("use_rslora", &FLAG),
];

/// Checks the settings of an adapter.
///
/// # Errors
/// A method other than LoRA, a value of another type, an unsupported variant; the message has the setting's name.
pub(super) fn check(settings: &Value) -> Result<(), String> {
    match settings["peft_type"].as_str() {
        Some("LORA") => {}
        Some(other) => return Err(format!("adapters of type {other} are not supported; supported: LORA")),
        None => return Err("`peft_type` is missing; it must be LORA".to_owned()),
    }
    for (key, of_type) in TYPES {
        // Null is Python's None, valid except where a number is required.
        let may_be_null = !matches!(*key, "r" | "lora_alpha");
        match settings.get(*key) {
            Some(Value::Null) if may_be_null => {}
            Some(value) if !(of_type.is)(value) => return Err(format!("`{key}` is {value}, not {}", of_type.name)),
            _ => {}
        }
    }
    check_start(&settings["init_lora_weights"])?;
    check_bias(&settings["bias"])?;
    if settings["use_dora"] == true && settings["lora_bias"] == true {
        return Err("`use_dora` and `lora_bias` together are not supported, nor by peft".to_owned());
    }
    if let Some((key, what)) = first_refused(&[LORA, OLDER], settings) {
        return Err(format!("{what} (`{key}`) is not supported; only plain LoRA is"));
    }
    match unknown(&[LORA, OLDER], settings).into_iter().find(|key| is_switched_on(&settings[*key])) {
        Some(key) => Err(format!("`{key}` is {}, a setting that is not known here; only plain LoRA is", settings[key])),
        None => Ok(()),
    }
}

fn is_switched_on(value: &Value) -> bool {
    !is_nothing(value) && matches!(value, Value::Bool(_) | Value::Array(_) | Value::Object(_))
}

/// Accepts initialisations that keep the base unchanged; others subtract from its weights, and PEFT does so again when
/// it loads the adapter.
fn check_start(start: &Value) -> Result<(), String> {
    // PEFT compares this value case-insensitively.
    match start.as_str() {
        None | Some("eva" | "orthogonal") => Ok(()),
        Some(name) if name.eq_ignore_ascii_case("gaussian") => Ok(()),
        Some(name) => Err(format!(
            "`init_lora_weights` {name} is not supported, as it may change the base's weights; supported: true, false, \
             gaussian, eva, orthogonal (peft converts an adapter with path_initial_model_for_weight_conversion)"
        )),
    }
}

fn check_bias(bias: &Value) -> Result<(), String> {
    match bias.as_str() {
        None | Some("none" | "all" | "lora_only") => Ok(()),
        Some(other) => Err(format!("`bias` is {other}, not none, all or lora_only")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::fields::table::{check_complete, find};

    #[test]
    fn every_setting_that_peft_declares_is_in_the_table() {
        check_complete("LoraConfig", &[LORA, OLDER]);
        assert!(TYPES.iter().all(|(key, _)| find(&[LORA], key).is_some()));
    }

    /// Settings with one key set to `value`.
    fn with(key: &str, value: Value) -> Result<(), String> {
        let mut settings = json!({ "peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["q_proj"] });
        settings[key] = value;
        check(&settings)
    }

    #[test]
    fn values_of_another_type_are_errors() {
        let table = [
            ("use_rslora", json!("true")),
            ("r", json!(2.9)),
            ("r", json!("8")),
            ("r", Value::Null),
            ("r", json!(0)),
            ("lora_alpha", json!("16")),
            ("lora_alpha", json!(true)),
            ("rank_pattern", json!(["q_proj"])),
            ("alpha_pattern", json!("q_proj")),
            ("target_modules", json!({ "q_proj": 1 })),
            ("target_modules", json!(["q_proj", 1])),
            ("modules_to_save", json!("lm_head")),
            ("fan_in_fan_out", json!(1)),
            ("bias", json!("some")),
            ("bias", json!(false)),
            ("init_lora_weights", json!(1)),
        ];
        for (key, value) in table {
            let message = with(key, value.clone()).unwrap_err();
            assert!(message.contains(key), "{key} {value}: {message}");
        }
        for (key, value) in [("use_rslora", Value::Null), ("lora_alpha", json!(0.5)), ("bias", json!("all"))] {
            with(key, value).unwrap();
        }
    }

    #[test]
    fn variants_are_refused_by_name() {
        let table = [
            ("alora_invocation_tokens", json!([1])),
            ("trainable_token_indices", json!([0, 1])),
            ("target_parameters", json!(["a.weight"])),
            ("layer_replication", json!([[0, 1]])),
            ("kasa_config", json!({})),
            ("use_bdlora", json!({ "nblocks": 2 })),
            ("init_lora_weights", json!("loftq")),
            ("init_lora_weights", json!("OLoRA")),
            ("init_lora_weights", json!("pissa_niter_16")),
            ("init_lora_weights", json!("corda")),
            ("init_lora_weights", json!("lora_ga")),
            ("use_something_new", json!(true)),
            ("something_new_config", json!({ "a": 1 })),
        ];
        for (key, value) in table {
            let message = with(key, value.clone()).unwrap_err();
            assert!(
                message.contains(key) && message.contains("support") || message.contains("plain LoRA"),
                "{message}"
            );
        }
        let fine = [
            ("init_lora_weights", json!("eva")),
            ("init_lora_weights", json!("Gaussian")),
            ("use_something_new", json!(false)),
            ("something_new_config", Value::Null),
            ("note", json!("a text")),
            ("eva_config", json!({ "rho": 2.0 })),
            ("use_dora", json!(true)),
            ("lora_bias", json!(true)),
        ];
        for (key, value) in fine {
            with(key, value).unwrap();
        }
    }
}
