//! Tables of what is done with each setting of a file, so that none is read past.
//!
//! Libraries grow: a field that a new version declares changes numbers, and a reader that looks up the keys it knows
//! never sees it. So every field of every class that is read here is in a table, and a test holds the tables against the
//! fields that the libraries declare (`tests/golden/settings`).

use serde_json::Value;

/// What is done with a setting.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Use {
    /// Read and followed.
    Honoured,
    /// Changes no number that is computed here.
    Harmless,
    /// Not built: refused, unless its value is one that switches it off.
    Refused {
        /// What it would do, for the message.
        what: &'static str,
        /// Whether a value leaves the numbers as they are.
        is_off: fn(&Value) -> bool,
    },
}

/// The settings of one class, by name.
pub(crate) type Table = &'static [(&'static str, Use)];

/// A setting that is refused wherever it is given at all.
pub(crate) const fn refused(what: &'static str) -> Use {
    Use::Refused { what, is_off: is_nothing }
}

/// A setting that is refused unless it is true.
pub(crate) const fn refused_unless_true(what: &'static str) -> Use {
    Use::Refused { what, is_off: |value| matches!(value, Value::Null | Value::Bool(true)) }
}

/// Whether a value says nothing: null, false, zero, or empty.
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
pub(crate) fn find(tables: &[Table], key: &str) -> Option<Use> {
    tables.iter().flat_map(|table| table.iter()).find(|(name, _)| *name == key).map(|(_, found)| *found)
}

/// The first setting of `object` that is refused, and what it would do.
pub(crate) fn first_refused<'a>(tables: &[Table], object: &'a Value) -> Option<(&'a str, &'static str)> {
    object.as_object()?.iter().find_map(|(key, value)| match find(tables, key) {
        Some(Use::Refused { what, is_off }) if !is_off(value) => Some((key.as_str(), what)),
        _ => None,
    })
}

/// The settings of `object` that no table has and whose values say something.
pub(crate) fn unknown<'a>(tables: &[Table], object: &'a Value) -> Vec<&'a str> {
    let settings = object.as_object().into_iter().flatten();
    let unknown = settings.filter(|(key, value)| !is_nothing(value) && find(tables, key).is_none());
    unknown.map(|(key, _)| key.as_str()).collect()
}

/// Fails where a class declares a setting that the tables do not have.
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
