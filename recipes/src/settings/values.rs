//! Settings from four places: flags win over `set`, `set` over the config file, the file over defaults.
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Deref;
use std::path::Path;

use toml::Value;

use super::words::words;
use super::{Field, Kind, Settings, fields};
use crate::Failure;

/// The table of a config file with the arguments of the chat template.
const TEMPLATE: &str = "template";

/// Words for losses in TRL, and the same ones here.
const OF_TRL: &[(&str, &str)] = &[
    ("sigmoid", "dpo"),
    ("sigmoid-norm", "dpo-norm"),
    ("exo-pair", "exo"),
    ("nca-pair", "nca"),
    ("bco-pair", "bco"),
    ("sppo-hard", "sppo"),
    ("aot-pair", "aot"),
];

/// Settings, with flags of those that were given.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Values {
    settings: Settings,
    given: BTreeSet<&'static str>,
    typed: BTreeSet<&'static str>,
    /// Those that the program determined, which no preset changes.
    fixed: BTreeSet<&'static str>,
}

impl Deref for Values {
    type Target = Settings;

    fn deref(&self) -> &Settings {
        &self.settings
    }
}

/// Values that differ from their defaults count as given.
impl From<Settings> for Values {
    fn from(settings: Settings) -> Self {
        let is_default = |field: &&Field| field.value(&settings) == field.value(&Settings::default());
        let given = fields().filter(|field| !is_default(field)).map(|field| field.path).collect();
        Self { settings, given, ..Self::default() }
    }
}

impl Values {
    /// Takes everything a config file says.
    ///
    /// # Errors
    /// The file can't be read, is no TOML, or says what no setting takes.
    pub fn merge_file(&mut self, path: &Path) -> Result<(), Failure> {
        let text = std::fs::read_to_string(path).map_err(|e| Failure::failed(format!("{}: {e}", path.display())))?;
        let table: toml::Table = text.parse().map_err(|e: toml::de::Error| {
            let line = 1 + text[..e.span().map_or(0, |span| span.start)].matches('\n').count();
            Failure::failed(format!(
                "{}, line {line}: broken TOML: {}",
                path.display(),
                e.message().replace('\n', ", ")
            ))
        })?;
        let mut arguments = Vec::new();
        for (section, content) in table {
            let Value::Table(content) = content else {
                let text = format!("{}: `{section}` stands outside any section; {}", path.display(), nearest(&section));
                return Err(Failure::usage(text));
            };
            for (name, value) in content {
                if section == TEMPLATE {
                    arguments
                        .push(Value::String(format!("{name}={}", serde_json::to_string(&value).unwrap_or_default())));
                    continue;
                }
                let full = format!("{section}.{name}");
                let within = |error: Failure| error.within(&path.display().to_string());
                let field = known(&full).map_err(within)?;
                self.give(field, &fit(field, value).map_err(within)?);
            }
        }
        if !arguments.is_empty() {
            self.give(&super::at::data::template, &Value::Array(arguments));
        }
        Ok(())
    }

    /// Takes one `section.key=value`.
    ///
    /// # Errors
    /// There is no such setting, or it does not take the value.
    pub fn merge_set(&mut self, text: &str) -> Result<(), Failure> {
        let Some((path, value)) = text.split_once('=') else {
            return Err(Failure::usage(format!("`set` takes section.key=value, not `{text}`")));
        };
        self.merge_flag(known(path.trim())?, value.trim())
    }

    /// Takes a flag's value.
    ///
    /// # Errors
    /// The setting does not take it.
    pub fn merge_flag(&mut self, field: &'static Field, text: &str) -> Result<(), Failure> {
        let value = parse(field, text)?;
        self.give(field, &value);
        self.typed.insert(field.path);
        Ok(())
    }

    /// Takes the values of a flag, which texts and lists may be given once for each.
    ///
    /// # Errors
    /// The setting does not take one.
    pub fn merge_flags<'a>(
        &mut self,
        field: &'static Field,
        texts: impl IntoIterator<Item = &'a String>,
    ) -> Result<(), Failure> {
        let texts: Vec<Value> = match field.kind {
            Kind::Texts => texts.into_iter().cloned().map(Value::String).collect(),
            Kind::List => texts.into_iter().flat_map(|text| listed(text)).collect(),
            Kind::Count | Kind::Number | Kind::Switch | Kind::Text | Kind::Choice(_) => {
                return texts.into_iter().try_for_each(|text| self.merge_flag(field, text));
            }
        };
        if !texts.is_empty() {
            self.give(field, &Value::Array(texts));
            self.typed.insert(field.path);
        }
        Ok(())
    }

    /// Changes defaults; what was given or [`set`](Self::set) stays.
    pub fn preset(&mut self, change: impl FnOnce(&mut Settings)) {
        let before = self.settings.clone();
        change(&mut self.settings);
        for field in fields().filter(|field| self.given.contains(field.path) || self.fixed.contains(field.path)) {
            (field.reset)(&mut self.settings);
            if let Some(value) = field.value(&before) {
                (field.set)(&mut self.settings, &value);
            }
        }
    }

    /// Sets a value that the program determined, such as a generated folder name; no later preset changes it.
    pub fn set(&mut self, change: impl FnOnce(&mut Settings)) {
        let before = self.settings.clone();
        change(&mut self.settings);
        let changed = fields().filter(|field| field.value(&before) != field.value(&self.settings));
        self.fixed.extend(changed.map(|field| field.path));
    }

    /// The settings of a step of this work, such as the sampling of a round.
    ///
    /// What `change` leaves as it is was given in the step if it was given here. What it puts back to its default counts as
    /// not given, and what it changes otherwise as [`set`](Self::set): no preset of the step changes it. Nothing counts as typed.
    pub(crate) fn derived(&self, change: impl FnOnce(Settings) -> Settings) -> Self {
        let (mut values, usual) = (self.clone(), Settings::default());
        // What was typed is checked with this work, and not again with each step.
        values.typed.clear();
        values.settings = change(values.settings);
        for field in fields() {
            let value = field.value(&values.settings);
            if value == field.value(&self.settings) {
                continue;
            }
            values.forget(field);
            if value != field.value(&usual) {
                values.fixed.insert(field.path);
            }
        }
        values
    }

    /// Takes some settings of a run, unless they were given here.
    pub(crate) fn follow(&mut self, run: &Self, fields: &[&'static Field]) {
        for field in fields {
            if let Some(value) = field.value(&run.settings).filter(|_| !self.given.contains(field.path)) {
                self.give(field, &value);
            }
        }
    }

    /// Takes back some settings that were given before a file was merged.
    pub(crate) fn give_again(&mut self, before: &Self, fields: &[&'static Field]) {
        for field in fields.iter().filter(|field| before.is_given(field)) {
            if let Some(value) = field.value(&before.settings) {
                self.give(field, &value);
            }
        }
    }

    /// Resets a setting to its default, as if it had not been given.
    pub fn reset(&mut self, field: &Field) {
        (field.reset)(&mut self.settings);
        self.forget(field);
    }

    /// Forgets where the value of a setting came from.
    fn forget(&mut self, field: &Field) {
        for origin in [&mut self.given, &mut self.typed, &mut self.fixed] {
            origin.remove(field.path);
        }
    }

    /// Whether it was given.
    pub fn is_given(&self, field: &Field) -> bool {
        self.given.contains(field.path)
    }

    /// Whether it was given and differs from its default: a run's config file gives all values.
    pub fn is_changed(&self, field: &Field) -> bool {
        self.is_given(field) && field.value(&self.settings) != field.value(&Settings::default())
    }

    /// Whether it was given on the command line: config files, such as a run's own, hold inapplicable settings.
    pub fn is_typed(&self, field: &Field) -> bool {
        self.typed.contains(field.path)
    }

    /// Whether its value is what this text says.
    pub fn is(&self, field: &Field, text: &str) -> bool {
        parse(field, text).ok() == field.value(&self.settings)
    }

    /// The values of some fields as a config file.
    pub fn to_toml<'a>(&self, fields: impl Iterator<Item = &'a Field>) -> String {
        let mut sections: BTreeMap<&str, toml::Table> = BTreeMap::new();
        for field in fields {
            if let (Some(value), Some((section, name))) = (field.value(&self.settings), field.path.split_once('.')) {
                sections.entry(section).or_default().insert(name.to_owned(), value);
            }
        }
        let table: toml::Table = sections.into_iter().map(|(s, t)| (s.to_owned(), Value::Table(t))).collect();
        table.to_string()
    }

    fn give(&mut self, field: &'static Field, value: &Value) {
        // Values that were checked against the field's kind fit its type.
        if (field.set)(&mut self.settings, value) {
            self.given.insert(field.path);
        }
    }
}

fn known(path: &str) -> Result<&'static Field, Failure> {
    let found = fields().find(|field| field.path == path);
    found.ok_or_else(|| Failure::usage(format!("unknown key `{path}`; {}", nearest(path))))
}

fn nearest(path: &str) -> String {
    let name = path.rsplit('.').next().unwrap_or(path);
    let score = |field: &Field| {
        let own = field.path.rsplit('.').next().unwrap_or(field.path);
        strsim::jaro_winkler(path, field.path).max(strsim::jaro_winkler(name, own))
    };
    let best = fields().max_by(|a, b| score(a).total_cmp(&score(b)));
    best.map(|field| format!("the nearest known key is `{}`", field.path)).unwrap_or_default()
}

/// A word of the command line as a value.
fn parse(field: &Field, text: &str) -> Result<Value, Failure> {
    let refuse = |takes: &str| Err(Failure::usage(format!("{field} takes {takes}, not `{text}`")));
    match field.kind {
        Kind::Count => match text.parse::<i64>() {
            Ok(n) if n >= 0 => Ok(Value::Integer(n)),
            _ => refuse("a whole number"),
        },
        Kind::Number => match text.parse::<f64>() {
            Ok(x) if x.is_finite() => Ok(Value::Float(x)),
            _ => refuse("a finite number"),
        },
        Kind::Switch => match text.to_ascii_lowercase().as_str() {
            "true" => Ok(Value::Boolean(true)),
            "false" => Ok(Value::Boolean(false)),
            _ => refuse("true or false"),
        },
        Kind::Choice(words) => {
            let plain = text.replace('_', "-");
            match words.iter().find(|word| **word == plain) {
                Some(word) => Ok(Value::String((*word).to_owned())),
                None if words.len() == 1 => refuse(&format!("only {} in this version", words[0])),
                None => match OF_TRL.iter().find(|(theirs, here)| *theirs == plain && words.contains(here)) {
                    Some((_, here)) => Err(Failure::usage(format!("{field} takes no `{text}`: here it is {here}"))),
                    None => refuse(&format!("one of {}", words.join(", "))),
                },
            }
        }
        Kind::Text => Ok(Value::String(text.to_owned())),
        Kind::Texts => Ok(Value::Array(vec![Value::String(text.to_owned())])),
        Kind::List => Ok(Value::Array(listed(text).collect())),
    }
}

/// The words of a list.
fn listed(text: &str) -> impl Iterator<Item = Value> + use<> {
    let words: Vec<Value> = words(text)
        .into_iter()
        .map(str::trim)
        .filter(|word| !word.is_empty())
        .map(|word| Value::String(word.to_owned()))
        .collect();
    words.into_iter()
}

/// A value of a config file, if it is of the right kind.
fn fit(field: &Field, value: Value) -> Result<Value, Failure> {
    match (field.kind, value) {
        (Kind::List | Kind::Texts, Value::Array(words)) if words.iter().all(Value::is_str) => Ok(Value::Array(words)),
        (_, Value::String(text)) => parse(field, &text),
        (Kind::Count | Kind::Number, Value::Integer(n)) => parse(field, &n.to_string()),
        (Kind::Number, Value::Float(x)) => parse(field, &x.to_string()),
        (Kind::Switch, Value::Boolean(on)) => Ok(Value::Boolean(on)),
        // A choice may have `true` and `false` among its words.
        (Kind::Choice(_), Value::Boolean(on)) if parse(field, &on.to_string()).is_ok() => parse(field, &on.to_string()),
        (_, other) => Err(Failure::usage(format!("key `{}` can't be {}", field.path, other.type_str()))),
    }
}
