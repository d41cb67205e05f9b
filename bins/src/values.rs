//! Settings from four places: flags win over `--set`, `--set` over the config file, the file over defaults.
use std::collections::BTreeMap;
use std::path::Path;

use toml::Value;

use crate::Failure;
use crate::keys::{self, Key, Kind, find};

/// Checked values by path.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Values {
    by_path: BTreeMap<&'static str, Value>,
    given: std::collections::BTreeSet<&'static str>,
    typed: std::collections::BTreeSet<&'static str>,
}

impl Values {
    /// The defaults.
    pub(crate) fn defaults() -> Self {
        let mut values = Self::default();
        for key in keys::all().filter(|key| !key.default.is_empty()) {
            if let Ok(value) = parse(key, key.default) {
                values.by_path.insert(key.path, value);
            }
        }
        values
    }

    /// Takes everything a config file says.
    pub(crate) fn merge_file(&mut self, path: &Path) -> Result<(), Failure> {
        let text = std::fs::read_to_string(path).map_err(|e| Failure::failed(format!("{}: {e}", path.display())))?;
        let table: toml::Table = text.parse().map_err(|e: toml::de::Error| {
            let line = 1 + text[..e.span().map_or(0, |span| span.start)].matches('\n').count();
            Failure::failed(format!(
                "{}, line {line}: broken TOML: {}",
                path.display(),
                e.message().replace('\n', ", ")
            ))
        })?;
        for (section, content) in table {
            let Value::Table(content) = content else {
                let text = format!("{}: `{section}` stands outside any section; {}", path.display(), nearest(&section));
                return Err(Failure::usage(text));
            };
            for (name, value) in content {
                let full = format!("{section}.{name}");
                let key = known(&full).map_err(|e| e.within(&path.display().to_string()))?;
                let value = fit(key, value).map_err(|e| e.within(&path.display().to_string()))?;
                self.insert(key, value);
            }
        }
        Ok(())
    }

    /// Takes one `section.key=value`.
    pub(crate) fn merge_set(&mut self, text: &str) -> Result<(), Failure> {
        let Some((path, value)) = text.split_once('=') else {
            return Err(Failure::usage(format!("--set takes section.key=value, not `{text}`")));
        };
        let key = known(path.trim())?;
        self.insert(key, parse(key, value.trim())?);
        self.typed.insert(key.path);
        Ok(())
    }

    /// Takes a flag's value.
    pub(crate) fn merge_flag(&mut self, key: &'static Key, text: &str) -> Result<(), Failure> {
        self.insert(key, parse(key, text)?);
        self.typed.insert(key.path);
        Ok(())
    }

    /// Changes a default; what the user gave stays.
    pub(crate) fn preset(&mut self, path: &'static str, text: &str) {
        if let Some(key) = find(path)
            && !self.given.contains(path)
            && let Ok(value) = parse(key, text)
        {
            self.by_path.insert(path, value);
        }
    }

    /// Changes several defaults.
    pub(crate) fn preset_all(&mut self, defaults: &[(&'static str, &str)]) {
        for (path, text) in defaults {
            self.preset(path, text);
        }
    }

    /// Sets a value the program has found out, such as the folder it made up a name for.
    pub(crate) fn settle(&mut self, path: &'static str, text: &str) {
        if let Some(value) = find(path).and_then(|key| parse(key, text).ok()) {
            self.by_path.insert(path, value);
        }
    }

    /// Leaves a setting without a value.
    pub(crate) fn clear(&mut self, path: &'static str) {
        self.by_path.remove(path);
        self.given.remove(path);
        self.typed.remove(path);
    }

    /// Whether the user gave it.
    pub(crate) fn is_given(&self, path: &str) -> bool {
        self.given.contains(path)
    }

    /// Whether it differs from its default: a run's config file gives all values, meant or not.
    pub(crate) fn is_changed(&self, path: &str) -> bool {
        let default = find(path).and_then(|key| parse(key, key.default).ok());
        self.is_given(path) && self.by_path.get(path) != default.as_ref()
    }

    /// Whether it stands on the command line: a config file, such as a run's own, holds settings that do not apply.
    pub(crate) fn is_typed(&self, path: &str) -> bool {
        self.typed.contains(path)
    }

    /// Whether it has a value.
    pub(crate) fn has(&self, path: &str) -> bool {
        self.by_path.get(path).is_some_and(|value| value.as_str() != Some(""))
    }

    /// The value of a setting that a run reads. What decides which settings are read only peeks.
    fn read(&self, path: &str) -> Option<&Value> {
        #[cfg(test)]
        reads::note(path);
        self.by_path.get(path)
    }

    pub(crate) fn peek_word(&self, path: &str) -> &str {
        self.by_path.get(path).and_then(Value::as_str).unwrap_or_default()
    }

    pub(crate) fn peek_count(&self, path: &str) -> Option<i64> {
        self.by_path.get(path).and_then(Value::as_integer)
    }

    pub(crate) fn peek_number(&self, path: &str) -> Option<f64> {
        self.by_path.get(path).and_then(Value::as_float)
    }

    /// Whether its value asks for nothing: a switch that is as it would be, a share of 0.
    pub(crate) fn is_off(&self, key: &Key) -> bool {
        let off = match (key.kind == Kind::Switch, key.default) {
            (true, "") => "false",
            (true, default) => default,
            (false, _) => key.off,
        };
        !off.is_empty() && parse(key, off).ok().as_ref() == self.by_path.get(key.path)
    }

    pub(crate) fn text(&self, path: &str) -> Option<&str> {
        self.read(path).and_then(Value::as_str).filter(|text| !text.is_empty())
    }

    /// A text that always has a value (a choice with a default).
    pub(crate) fn word(&self, path: &str) -> &str {
        self.text(path).unwrap_or_default()
    }

    pub(crate) fn count(&self, path: &str) -> Option<usize> {
        self.read(path).and_then(Value::as_integer).and_then(|n| usize::try_from(n).ok())
    }

    pub(crate) fn number(&self, path: &str) -> Option<f64> {
        self.read(path).and_then(Value::as_float)
    }

    pub(crate) fn switch(&self, path: &str) -> bool {
        self.read(path).and_then(Value::as_bool).unwrap_or(false)
    }

    pub(crate) fn list(&self, path: &str) -> Vec<String> {
        let words = self.read(path).and_then(Value::as_array);
        words.map(|w| w.iter().filter_map(Value::as_str).map(str::to_owned).collect()).unwrap_or_default()
    }

    /// All values of the settings a verb takes, as a config file.
    pub(crate) fn to_toml(&self, verb: crate::keys::Verbs) -> String {
        let mut sections: BTreeMap<&str, toml::Table> = BTreeMap::new();
        let mdp = self.word("run.mdp");
        for key in keys::all().filter(|key| key.verbs & verb != 0 && key.is_for(mdp)) {
            if let (Some(value), Some((section, name))) = (self.by_path.get(key.path), key.path.split_once('.')) {
                sections.entry(section).or_default().insert(name.to_owned(), value.clone());
            }
        }
        let table: toml::Table = sections.into_iter().map(|(s, t)| (s.to_owned(), Value::Table(t))).collect();
        table.to_string()
    }

    fn insert(&mut self, key: &'static Key, value: Value) {
        self.given.insert(key.path);
        self.by_path.insert(key.path, value);
    }
}

/// Which settings have been read on this thread, for the test that walks the table.
#[cfg(test)]
pub(crate) mod reads {
    use std::cell::RefCell;
    use std::collections::BTreeSet;

    thread_local! {
        static READ: RefCell<BTreeSet<String>> = const { RefCell::new(BTreeSet::new()) };
    }

    pub(super) fn note(path: &str) {
        READ.with_borrow_mut(|read| read.insert(path.to_owned()));
    }

    /// What was read since this was last asked.
    pub(crate) fn take() -> BTreeSet<String> {
        READ.take()
    }
}

fn known(path: &str) -> Result<&'static Key, Failure> {
    find(path).ok_or_else(|| Failure::usage(format!("unknown key `{path}`; {}", nearest(path))))
}

fn nearest(path: &str) -> String {
    let name = path.rsplit('.').next().unwrap_or(path);
    let score = |key: &Key| {
        let own = key.path.rsplit('.').next().unwrap_or(key.path);
        strsim::jaro_winkler(path, key.path).max(strsim::jaro_winkler(name, own))
    };
    let best = keys::all().max_by(|a, b| score(a).total_cmp(&score(b)));
    best.map(|key| format!("the nearest known key is `{}`", key.path)).unwrap_or_default()
}

/// A word of the command line as a value.
fn parse(key: &Key, text: &str) -> Result<Value, Failure> {
    let refuse = |takes: &str| Err(Failure::usage(format!("--{} takes {takes}, not `{text}`", key.flag)));
    match key.kind {
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
                None => refuse(&format!("one of {}", words.join(", "))),
            }
        }
        Kind::Text => Ok(Value::String(text.to_owned())),
        Kind::List => {
            let words = text.split(',').map(str::trim).filter(|w| !w.is_empty());
            Ok(Value::Array(words.map(|w| Value::String(w.to_owned())).collect()))
        }
    }
}

/// A value of a config file, if it is of the right kind.
fn fit(key: &Key, value: Value) -> Result<Value, Failure> {
    match (key.kind, value) {
        (Kind::List, Value::Array(words)) if words.iter().all(Value::is_str) => Ok(Value::Array(words)),
        (_, Value::String(text)) => parse(key, &text),
        (Kind::Count | Kind::Number, Value::Integer(n)) => parse(key, &n.to_string()),
        (Kind::Number, Value::Float(x)) => parse(key, &x.to_string()),
        (Kind::Switch, Value::Boolean(on)) => Ok(Value::Boolean(on)),
        (_, other) => Err(Failure::usage(format!("key `{}` can't be {}", key.path, other.type_str()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_sources_win_and_a_preset_only_moves_defaults() {
        let mut values = Values::defaults();
        assert_eq!(values.number("objective.beta"), Some(0.1));
        values.merge_set("objective.beta=0.3").unwrap();
        values.preset("objective.beta", "0.7");
        values.preset("optimizer.lr", "1e-3");
        assert_eq!(values.number("objective.beta"), Some(0.3));
        assert_eq!(values.number("optimizer.lr"), Some(1e-3));
    }

    #[test]
    fn an_unknown_key_names_its_neighbour() {
        let error = Values::defaults().merge_set("train.batchsize=3").unwrap_err().to_string();
        assert!(error.contains("`train.batch_size`"), "{error}");
        let error = Values::defaults().merge_set("beta=3").unwrap_err().to_string();
        assert!(error.contains("`objective.beta`"), "{error}");
    }

    #[test]
    fn bad_values_name_the_flag_and_what_it_takes() {
        for (set, says) in [
            ("train.batch_size=-1", "--batch-size takes a whole number"),
            ("objective.beta=NaN", "--beta takes a finite number"),
            ("objective.name=dpx", "--objective takes one of sft, dpo"),
            ("model.rslora=yes", "--rslora takes true or false"),
        ] {
            let error = Values::defaults().merge_set(set).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
    }

    #[test]
    fn a_written_config_reads_back_the_same() {
        let mut values = Values::defaults();
        values.merge_set("model.lora_targets=q_proj,v_proj").unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c.toml");
        std::fs::write(&path, values.to_toml(crate::keys::TRAIN)).unwrap();
        let mut back = Values::defaults();
        back.merge_file(&path).unwrap();
        assert_eq!(back.to_toml(crate::keys::TRAIN), values.to_toml(crate::keys::TRAIN));
    }
}
