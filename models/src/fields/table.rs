//! Tables of the handling of each setting of a file, so that none is overlooked.
//!
//! A field added by a new library version may change results, and a reader that looks up known keys misses it. So every
//! field of every supported class is in a table, and a test compares the tables with the fields that the libraries
//! declare (`tests/golden/settings`).

use serde_json::Value;

/// The handling of a setting.
#[derive(Clone, Copy, Debug)]
pub(crate) enum SettingHandling {
    /// Read and followed.
    Honoured,
    /// It does not affect any result here.
    Harmless,
    /// Not supported: refused, unless its value disables it.
    Refused {
        /// Its effect, for the message.
        what: &'static str,
        /// Whether a value disables it.
        is_off: fn(&Value) -> bool,
    },
}

/// The settings of one class, by name.
pub(crate) type Table = &'static [(&'static str, SettingHandling)];

/// A setting that is refused whenever it is present.
pub(crate) const fn refused(what: &'static str) -> SettingHandling {
    SettingHandling::Refused { what, is_off: is_nothing }
}

/// A setting that is refused unless it is true.
pub(crate) const fn refused_unless_true(what: &'static str) -> SettingHandling {
    SettingHandling::Refused { what, is_off: |value| matches!(value, Value::Null | Value::Bool(true)) }
}

/// Whether a value is null, false, zero or empty.
pub(crate) fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Bool(true) => false,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
    }
}

/// Looks a setting up.
pub(crate) fn find(tables: &[Table], key: &str) -> Option<SettingHandling> {
    tables.iter().flat_map(|table| table.iter()).find(|(name, _)| *name == key).map(|(_, found)| *found)
}

/// The first refused setting of `object`, and its effect.
pub(crate) fn first_refused<'a>(tables: &[Table], object: &'a Value) -> Option<(&'a str, &'static str)> {
    object.as_object()?.iter().find_map(|(key, value)| match find(tables, key) {
        Some(SettingHandling::Refused { what, is_off }) if !is_off(value) => Some((key.as_str(), what)),
        _ => None,
    })
}

/// The settings of `object` that are in no table and have a non-empty value.
pub(crate) fn unknown<'a>(tables: &[Table], object: &'a Value) -> Vec<&'a str> {
    let settings = object.as_object().into_iter().flatten();
    let unknown = settings.filter(|(key, value)| !is_nothing(value) && find(tables, key).is_none());
    unknown.map(|(key, _)| key.as_str()).collect()
}

/// Fails if a class declares a setting that is missing in the tables.
#[cfg(test)]
pub(crate) fn check_complete(class: &str, tables: &[Table]) {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/golden/settings/settings.json");
    let golden: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let fields = golden["classes"][class].as_array().unwrap_or_else(|| panic!("no class {class}"));
    assert!(!fields.is_empty(), "{class} declares nothing");
    let missing: Vec<_> = fields.iter().filter_map(Value::as_str).filter(|key| find(tables, key).is_none()).collect();
    assert!(missing.is_empty(), "{class} declares settings that are in no table: {missing:?}");
    for table in tables {
        for (at, (key, _)) in table.iter().enumerate() {
            assert!(table[..at].iter().all(|(other, _)| other != key), "`{key}` is in a table of {class} twice");
        }
    }
}
