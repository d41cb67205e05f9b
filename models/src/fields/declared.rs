//! Tables of the fields that a config may have, and their handling.
//!
//! A class of diffusers or transformers declares its fields. For each supported class a table marks each field as
//! honoured, harmless or refused, so that none is overlooked. Tests compare the tables with the names that the
//! libraries declare. Fields that the class does not declare are ignored, as in the libraries.

use serde_json::{Map, Value};

use crate::ModelError;

/// The type of a field's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// True or false; null is false, as in Python.
    Flag,
    /// One flag or a list of them.
    Flags,
    /// A whole number from 0 up.
    Whole,
    /// One whole number or a list of them.
    Wholes,
    /// A number.
    Number,
    /// A list of numbers.
    Numbers,
    /// A word.
    Text,
    /// A list of words.
    Texts,
    /// Checked by its reader.
    Any,
}

/// The handling of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FieldHandling {
    /// It is read.
    Honoured,
    /// It does not affect any result here.
    Harmless,
    /// It is refused, unless it is null or one of these values.
    Refused(&'static [&'static str]),
}

/// A field of a configuration.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Field {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) fate: FieldHandling,
    pub(crate) may_be_null: bool,
}

/// A field that is read.
pub(crate) const fn honoured(name: &'static str, kind: Kind) -> Field {
    Field { name, kind, fate: FieldHandling::Honoured, may_be_null: false }
}

/// A field that does not affect any result here; a comment beside it says why.
pub(crate) const fn harmless(name: &'static str, kind: Kind) -> Field {
    Field { name, kind, fate: FieldHandling::Harmless, may_be_null: true }
}

/// A field that is accepted only with the supported values.
pub(crate) const fn refused(name: &'static str, built: &'static [&'static str]) -> Field {
    Field { name, kind: Kind::Any, fate: FieldHandling::Refused(built), may_be_null: true }
}

impl Field {
    /// Allows null, which has a meaning of its own.
    pub(crate) const fn or_null(self) -> Self {
        Self { may_be_null: true, ..self }
    }
}

/// A field with an invalid value, and the reason.
#[derive(Debug)]
pub(crate) struct Misfit {
    pub(crate) key: &'static str,
    pub(crate) reason: String,
}

impl From<Misfit> for ModelError {
    fn from(Misfit { key, reason }: Misfit) -> Self {
        Self::config(key, reason)
    }
}

/// All fields of a class.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Table(pub(crate) &'static [Field]);

impl Table {
    /// Refuses unsupported values.
    ///
    /// # Errors
    /// The first unsupported field.
    pub(crate) fn refuse(self, source: &Map<String, Value>) -> Result<(), Misfit> {
        for field in self.0 {
            let (FieldHandling::Refused(built), Some(value)) = (field.fate, source.get(field.name)) else { continue };
            let printed = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            if !value.is_null() && !built.contains(&printed.as_str()) {
                let built = if built.is_empty() { "null".to_owned() } else { built.join(", ") };
                return Err(Misfit {
                    key: field.name,
                    reason: format!("{value} is not supported; supported: {built}"),
                });
            }
        }
        Ok(())
    }

    /// Checks the types of values.
    ///
    /// # Errors
    /// The first field of another type.
    pub(crate) fn check_kinds(self, source: &Map<String, Value>) -> Result<(), Misfit> {
        for field in self.0 {
            let Some(value) = source.get(field.name) else { continue };
            let fits = if value.is_null() {
                field.may_be_null || matches!(field.kind, Kind::Flag | Kind::Any)
            } else {
                field.kind.has(value)
            };
            if !fits {
                let reason = format!("must be {}, not {value}", field.kind.name());
                return Err(Misfit { key: field.name, reason });
            }
        }
        Ok(())
    }

    /// The fields that the class declares, as it reads them: others are dropped, and a flag of null is false.
    pub(crate) fn known(self, source: &Map<String, Value>) -> Map<String, Value> {
        let understood = |field: &Field| {
            let value = source.get(field.name)?;
            let is_false = value.is_null() && field.kind == Kind::Flag;
            Some((field.name.to_owned(), if is_false { Value::Bool(false) } else { value.clone() }))
        };
        self.0.iter().filter_map(understood).collect()
    }
}

impl Kind {
    fn has(self, value: &Value) -> bool {
        let all = |kind: Self| value.as_array().is_some_and(|list| list.iter().all(|value| kind.has(value)));
        match self {
            Self::Flag => value.is_boolean(),
            Self::Flags => value.is_boolean() || all(Self::Flag),
            Self::Whole => value.is_u64(),
            Self::Wholes => value.is_u64() || all(Self::Whole),
            Self::Number => value.is_number(),
            Self::Numbers => all(Self::Number),
            Self::Text => value.is_string(),
            Self::Texts => all(Self::Text),
            Self::Any => true,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Flag => "true or false",
            Self::Flags => "true or false, or a list of them",
            Self::Whole => "a whole number from 0 up",
            Self::Wholes => "a whole number from 0 up, or a list of them",
            Self::Number => "a number",
            Self::Numbers => "a list of numbers",
            Self::Text => "text",
            Self::Texts => "a list of texts",
            Self::Any => "anything",
        }
    }
}

/// Compares a table with the fields that a class of the libraries declares.
#[cfg(test)]
pub(crate) mod golden {
    use serde_json::{Map, Value};

    use super::Table;

    /// Fields that a library reads although no class declares them.
    const BESIDE: [&str; 1] = ["quantization_config"];

    /// The declared fields of a class, with their defaults.
    pub(crate) fn declared(class: &str) -> Map<String, Value> {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/golden/diffusion/fields.json");
        let all: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        all["classes"][class].as_object().unwrap().clone()
    }

    /// Checks that the table has exactly the declared fields, and allows null where it is the default.
    pub(crate) fn check(class: &str, table: Table) {
        let declared = declared(class);
        for (name, default) in &declared {
            let field = table.0.iter().find(|field| field.name == name);
            let field =
                field.unwrap_or_else(|| panic!("{class} declares `{name}`, and no table says what becomes of it"));
            assert!(field.may_be_null || !default.is_null(), "{class}: `{name}` is null by default");
            let fits = default.is_null() || default == "required" || field.kind.has(default);
            assert!(fits || default == "-inf", "{class}: `{name}` is {default} by default, which is not of its kind");
        }
        for (index, field) in table.0.iter().enumerate() {
            let is_known = declared.contains_key(field.name) || BESIDE.contains(&field.name);
            assert!(is_known, "{class} declares no `{}`", field.name);
            assert!(table.0[..index].iter().all(|other| other.name != field.name), "`{}` is there twice", field.name);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const TABLE: Table = Table(&[
        honoured("size", Kind::Whole),
        honoured("mean", Kind::Numbers).or_null(),
        honoured("flag", Kind::Flag),
        harmless("dropout", Kind::Number),
        refused("act", &["silu", "swish"]),
        refused("variant", &["false"]),
    ]);

    fn object(value: &Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    fn error(value: &Value) -> String {
        let source = object(value);
        let found = TABLE.refuse(&source).and_then(|()| TABLE.check_kinds(&source));
        found.map_or_else(|misfit| format!("{}: {}", misfit.key, misfit.reason), |()| "fits".to_owned())
    }

    #[test]
    fn fields_are_of_their_kind_and_what_is_not_built_is_refused() {
        for (value, expected) in [
            (json!({"size": 3, "mean": null, "flag": null, "dropout": 0.1, "act": "swish", "variant": false}), "fits"),
            (json!({"act": null, "variant": null, "dropout": null, "unknown": "x"}), "fits"),
            (json!({"size": 3.0}), "size: must be a whole number from 0 up, not 3.0"),
            (json!({"size": null}), "size: must be a whole number from 0 up, not null"),
            (json!({"size": "3"}), "size: must be a whole number from 0 up, not \"3\""),
            (json!({"mean": [1, "x"]}), "mean: must be a list of numbers, not [1,\"x\"]"),
            (json!({"flag": "true"}), "flag: must be true or false, not \"true\""),
            (json!({"dropout": [0.1]}), "dropout: must be a number, not [0.1]"),
            (json!({"act": "mish"}), "act: \"mish\" is not supported; supported: silu, swish"),
            (json!({"variant": {"a": 1}}), "variant: {\"a\":1} is not supported; supported: false"),
        ] {
            assert_eq!(error(&value), expected);
        }
    }

    #[test]
    fn what_a_class_does_not_declare_is_no_part_of_it() {
        let known = TABLE.known(&object(&json!({"size": 3, "flag": null, "other": 7})));
        assert_eq!(Value::Object(known), json!({"size": 3, "flag": false}));
    }
}
