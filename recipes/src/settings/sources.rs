//! The sources of `data.data`.
use serde::{Deserialize, Serialize};
use toml::Value;

use super::Kind;
use super::setting::Setting;

/// Where examples come from: one source, or several that are mixed, each as `FILE` or `FILE:WEIGHT`. Nothing where there is none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Written", into = "Written")]
pub struct Sources(Vec<String>);

/// Sources in a config file.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Written {
    One(String),
    Several(Vec<String>),
}

impl Sources {
    /// The source; the first of several.
    pub fn first(&self) -> Option<&str> {
        self.0.first().map(String::as_str)
    }

    /// All of them, as they were given.
    pub fn all(&self) -> &[String] {
        &self.0
    }

    /// Whether there are several.
    pub fn are_several(&self) -> bool {
        self.0.len() > 1
    }
}

/// An empty text names nothing.
impl FromIterator<String> for Sources {
    fn from_iter<I: IntoIterator<Item = String>>(texts: I) -> Self {
        Self(texts.into_iter().filter(|text| !text.is_empty()).collect())
    }
}

impl From<&str> for Sources {
    fn from(text: &str) -> Self {
        Self::from(text.to_owned())
    }
}

impl From<String> for Sources {
    fn from(text: String) -> Self {
        std::iter::once(text).collect()
    }
}

impl From<Option<String>> for Sources {
    fn from(text: Option<String>) -> Self {
        text.into_iter().collect()
    }
}

impl From<Written> for Sources {
    fn from(written: Written) -> Self {
        match written {
            Written::One(text) => text.into(),
            Written::Several(texts) => texts.into_iter().collect(),
        }
    }
}

impl From<Sources> for Written {
    fn from(Sources(mut texts): Sources) -> Self {
        if texts.len() == 1 { Self::One(texts.remove(0)) } else { Self::Several(texts) }
    }
}

impl Setting for Sources {
    const KIND: Kind = Kind::Texts;
    type Read<'a> = Option<&'a str>;

    fn read(&self) -> Option<&str> {
        self.first()
    }

    fn to_value(&self) -> Option<Value> {
        match &self.0[..] {
            [] => None,
            [one] => Some(Value::String(one.clone())),
            several => Some(Value::Array(several.iter().cloned().map(Value::String).collect())),
        }
    }

    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::String(text) => Some(text.as_str().into()),
            other => Vec::from_value(other).map(|texts| texts.into_iter().collect()),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::settings::{Settings, Values, at};

    #[test]
    fn one_source_is_a_text_and_several_are_a_list() {
        let read = |text: &str| toml::from_str::<Settings>(text).unwrap().data.data;
        assert_eq!(read("[data]\ndata = \"a\"").all(), ["a"]);
        assert_eq!(read("[data]\ndata = [\"a:2\", \"b\"]").all(), ["a:2", "b"]);
        assert_eq!(read("[data]\ndata = \"\"").first(), None);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c.toml");
        for text in ["data = \"a\"", "data = [\"a:2\", \"b,c\"]"] {
            std::fs::write(&path, format!("[data]\n{text}\n")).unwrap();
            let mut values = Values::default();
            values.merge_file(&path).unwrap();
            assert_eq!(values.to_toml(std::iter::once(&at::data::data)).trim(), format!("[data]\n{text}"));
        }
        let mut values = Values::default();
        values.merge_flags(&at::data::data, &["a".to_owned(), "b:0.5".to_owned()]).unwrap();
        assert_eq!((values.data.data.all().len(), values.data.data.first()), (2, Some("a")));
        values.merge_set("data.data=c").unwrap();
        assert_eq!(values.data.data.all(), ["c"]);
    }
}
