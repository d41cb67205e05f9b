//! Names on the hub.
use std::fmt;
use std::path::Path;

/// The kind of a repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A model, or adapters of one.
    Model,
    /// A data set.
    Dataset,
}

impl Kind {
    /// The word for it in messages.
    pub fn word(self) -> &'static str {
        match self {
            Self::Model => "model",
            Self::Dataset => "data set",
        }
    }

    /// The word for it in the cache and in addresses.
    pub(crate) fn plural(self) -> &'static str {
        match self {
            Self::Model => "models",
            Self::Dataset => "datasets",
        }
    }
}

/// The name of a repository, or of a part of it: `org/name[@revision][/path]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    /// Whether it is a model or a data set.
    pub kind: Kind,
    /// `org/name`.
    pub repository: String,
    /// A branch, a tag or a commit; `None`: the branch `main`.
    pub revision: Option<String>,
    /// A file or a folder within the repository, with `/` between its parts.
    pub inside: Option<String>,
}

/// Endings of files that a path of two parts names, such as `data/pairs.jsonl`, and no repository.
const FILES: [&str; 18] = [
    ".jsonl",
    ".json",
    ".csv",
    ".tsv",
    ".parquet",
    ".arrow",
    ".gz",
    ".zst",
    ".txt",
    ".toml",
    ".gguf",
    ".bin",
    ".safetensors",
    ".npz",
    ".jinja",
    ".pem",
    ".png",
    ".html",
];

/// Revisions with slashes: pull requests and converted data.
const SLASHED: [&str; 2] = ["refs/pr/", "refs/convert/"];

/// Stands for a slash in the name of another branch, since one ends the revision.
const SLASH: &str = "%2F";

impl Name {
    /// Reads a name; `None` if the text can't be one. Whether there is a path of that name here is the caller's to ask first.
    pub fn parse(kind: Kind, text: &str) -> Option<Self> {
        let (owner, rest) = text.split_once('/')?;
        let end = rest.find(['@', '/']).unwrap_or(rest.len());
        let (name, rest) = rest.split_at(end);
        if !is_part(owner) || !is_part(name) {
            return None;
        }
        let (revision, rest) = match rest.strip_prefix('@') {
            Some(rest) => divided(rest).map(|(revision, rest)| (Some(revision), rest))?,
            None => (None, rest),
        };
        let inside = match rest.strip_prefix('/').map(|inside| inside.trim_end_matches('/')) {
            Some(inside) if is_inside(inside) => Some(inside.to_owned()),
            Some(_) => return None,
            None => None,
        };
        let is_file = inside.is_none() && FILES.iter().any(|ending| name.to_ascii_lowercase().ends_with(ending));
        (!is_file).then(|| Self { kind, repository: format!("{owner}/{name}"), revision, inside })
    }

    /// The name of what a path in a cache holds, at its commit: the inverse of [`Snapshot::path`](crate::Snapshot::path).
    pub fn of_path(path: &Path) -> Option<Self> {
        let parts: Vec<&str> = path.iter().map(|part| part.to_str()).collect::<Option<_>>()?;
        let at = parts.windows(3).rposition(|parts| parts[1] == "snapshots" && is_commit(parts[2]))?;
        let (kind, repository) = of_folder(parts[at])?;
        let inside = parts[at + 3..].join("/");
        let inside = Some(inside).filter(|inside| !inside.is_empty());
        Some(Self { kind, repository, revision: Some(parts[at + 2].to_owned()), inside })
    }

    /// The folder of the repository in a cache.
    pub(crate) fn folder(&self) -> String {
        format!("{}--{}", self.kind.plural(), self.repository.replace('/', "--"))
    }

    /// The revision, `main` where none is given.
    pub(crate) fn revision_or_main(&self) -> &str {
        self.revision.as_deref().unwrap_or("main")
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.repository)?;
        if let Some(revision) = &self.revision {
            let has_slashes = SLASHED.iter().any(|start| revision.starts_with(start));
            let written = if has_slashes { revision.clone() } else { revision.replace('/', SLASH) };
            write!(f, "@{written}")?;
        }
        self.inside.iter().try_for_each(|inside| write!(f, "/{inside}"))
    }
}

/// The repository that a folder of a cache holds.
pub(crate) fn of_folder(folder: &str) -> Option<(Kind, String)> {
    let kinds = [Kind::Model, Kind::Dataset].into_iter();
    let found = kinds.filter_map(|kind| Some((kind, folder.strip_prefix(kind.plural())?.strip_prefix("--")?)));
    let (kind, name) = found.into_iter().next()?;
    let (owner, name) = name.split_once("--")?;
    (is_part(owner) && is_part(name)).then(|| (kind, format!("{owner}/{name}")))
}

/// Whether a text is a commit.
pub(crate) fn is_commit(text: &str) -> bool {
    text.len() == 40 && text.chars().all(|c| c.is_ascii_hexdigit())
}

/// Whether a text is a path within a repository, which leads nowhere else.
pub(crate) fn is_inside(text: &str) -> bool {
    let is_plain = |part: &str| {
        !matches!(part, "" | "." | "..") && !part.contains(['\\', ':']) && !part.contains(char::is_control)
    };
    text.split('/').all(is_plain)
}

/// Whether a text may be an owner or a name, by the hub's rules.
fn is_part(text: &str) -> bool {
    let is_of_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let is_edge = |c: char| matches!(c, '-' | '.');
    (1..=96).contains(&text.len())
        && text.chars().all(is_of_name)
        && !text.starts_with(is_edge)
        && !text.ends_with(is_edge)
        && !text.contains("--")
        && !text.contains("..")
}

/// Divides what follows `@` into the revision and the rest.
fn divided(text: &str) -> Option<(String, &str)> {
    let skipped = SLASHED.iter().find(|start| text.starts_with(**start)).map_or(0, |start| start.len());
    let end = text[skipped..].find('/').map_or(text.len(), |at| skipped + at);
    let (revision, rest) = text.split_at(end);
    let revision = revision.replace(SLASH, "/").replace("%2f", "/");
    let is_of_revision = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let is_word = |part: &str| !part.is_empty() && part.chars().all(is_of_revision) && !part.starts_with(['-', '.']);
    revision.split('/').all(is_word).then_some((revision, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_an_owner_a_revision_and_a_path() {
        let parsed = |text: &str| {
            let name = Name::parse(Kind::Model, text)?;
            assert_eq!(name.to_string(), text.trim_end_matches('/'));
            Some((name.repository, name.revision.unwrap_or_default(), name.inside.unwrap_or_default()))
        };
        let some = |parts: [&str; 3]| Some((parts[0].to_owned(), parts[1].to_owned(), parts[2].to_owned()));
        assert_eq!(parsed("org/name"), some(["org/name", "", ""]));
        assert_eq!(parsed("org/name@v1.0"), some(["org/name", "v1.0", ""]));
        assert_eq!(
            parsed("org/Name-2.5_x@abc/data/train.parquet"),
            some(["org/Name-2.5_x", "abc", "data/train.parquet"])
        );
        assert_eq!(parsed("org/name/unet/"), some(["org/name", "", "unet"]));
        assert_eq!(parsed("org/name@refs/pr/3"), some(["org/name", "refs/pr/3", ""]));
        assert_eq!(parsed("org/name@feature%2Fx/unet"), some(["org/name", "feature/x", "unet"]));
        assert_eq!(
            parsed("org/name@refs/convert/parquet/default"),
            some(["org/name", "refs/convert/parquet", "default"])
        );
        assert!(parsed("org/name/file.gguf").is_some());
    }

    #[test]
    fn paths_addresses_and_files_are_no_names() {
        for text in [
            "name",
            "./a",
            "../a",
            "/a/b",
            "~/a",
            "a/",
            "/b",
            "a/.b",
            "a/b--c",
            "org/name@",
            "org/name@/a",
            "org/name@-x",
            "org/name@a%2F..%2Fb",
            "org/name@a%20b",
            "org/name/../x",
            "org/name//x",
            "org/na me",
            "builtin:a/b",
            "data/pairs.jsonl",
            "data/model.GGUF",
            "http://a.b/c",
        ] {
            assert_eq!(Name::parse(Kind::Model, text), None, "{text}");
        }
    }

    #[test]
    fn a_path_in_the_cache_tells_its_name() {
        let commit = "0123456789abcdef0123456789abcdef01234567";
        let path = format!("/home/me/hub/models--org--name/snapshots/{commit}");
        let name = Name::of_path(Path::new(&path)).unwrap();
        assert_eq!(name.to_string(), format!("org/name@{commit}"));
        assert_eq!(Name::parse(Kind::Model, &name.to_string()), Some(name));
        let inside = Name::of_path(Path::new(&format!("{path}/data/a.parquet"))).unwrap();
        assert_eq!(inside.inside.as_deref(), Some("data/a.parquet"));
        assert_eq!(Name::of_path(Path::new("/home/models--org--name/snapshots/short")), None);
        assert_eq!(Name::of_path(Path::new(&format!("/home/name/snapshots/{commit}"))), None);
    }
}
