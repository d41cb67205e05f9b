//! The cache on disk.
use std::fs;
use std::path::{Path, PathBuf};

use crate::name::{is_commit, of_folder};
use crate::{Kind, Name};

/// A cache in the layout of huggingface_hub.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cache {
    folder: PathBuf,
}

/// A repository at a commit, as it lies in the cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// The name that it was found by.
    pub name: Name,
    /// The commit.
    pub commit: String,
    /// The folder of all of it, `snapshots/COMMIT`.
    pub folder: PathBuf,
}

impl Snapshot {
    /// The path to read: the folder, what the name has within it, or the only GGUF file of a repository that has no other model.
    pub fn path(&self) -> PathBuf {
        let path = self.name.inside.as_ref().map_or_else(|| self.folder.clone(), |inside| self.folder.join(inside));
        let lone = if self.name.kind == Kind::Model { lone_gguf(&path) } else { None };
        lone.unwrap_or(path)
    }
}

/// The only GGUF file in a folder without safetensors.
fn lone_gguf(folder: &Path) -> Option<PathBuf> {
    let files: Vec<PathBuf> = fs::read_dir(folder).ok()?.filter_map(|entry| Some(entry.ok()?.path())).collect();
    let of = |kind: &str| {
        files.iter().filter(|path| path.extension().is_some_and(|found| found == kind)).collect::<Vec<_>>()
    };
    match (&of("gguf")[..], &of("safetensors")[..]) {
        ([one], []) => Some((*one).clone()),
        _ => None,
    }
}

impl Cache {
    /// A cache in a folder (`HF_HUB_CACHE`), which need not exist.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into() }
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Finds a name; how much of it is there is another question.
    pub fn find(&self, name: &Name) -> Option<Snapshot> {
        let repository = self.folder.join(name.folder());
        let commit = self.commit(name)?;
        let folder = repository.join("snapshots").join(&commit);
        let found = Snapshot { name: name.clone(), commit, folder };
        let wanted = name.inside.as_ref().map_or_else(|| found.folder.clone(), |inside| found.folder.join(inside));
        wanted.exists().then_some(found)
    }

    /// The commit that a name's revision is here.
    pub(crate) fn commit(&self, name: &Name) -> Option<String> {
        let revision = name.revision_or_main();
        if is_commit(revision) {
            return Some(revision.to_owned());
        }
        // A branch of a pull request is a file in folders of its own.
        let reference = self.folder.join(name.folder()).join("refs").join(revision);
        let commit = fs::read_to_string(reference).ok()?.trim().to_owned();
        is_commit(&commit).then_some(commit)
    }

    /// The names of what is here of a kind, those most like `name` first. One whose `main` is not here is named with its commit.
    pub fn names(&self, kind: Kind, like: &str) -> Vec<String> {
        let entries = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        let mut names: Vec<String> =
            entries.filter_map(|entry| self.readable(kind, entry.file_name().to_str()?)).collect();
        let distance = |name: &String| -strsim::jaro_winkler(name, like);
        names.sort_by(|a, b| distance(a).total_cmp(&distance(b)).then_with(|| a.cmp(b)));
        names
    }

    /// Names here that are near to another.
    #[cfg(feature = "download")]
    pub(crate) fn near(&self, kind: Kind, like: &str) -> Vec<String> {
        // One that is far off would mislead.
        let mut names = self.names(kind, like);
        names.retain(|name| strsim::jaro_winkler(name, like) > 0.75);
        names.truncate(3);
        names
    }

    /// The name by which a folder of the cache can be read.
    fn readable(&self, kind: Kind, folder: &str) -> Option<String> {
        let (found, repository) = of_folder(folder).filter(|(found, _)| *found == kind)?;
        let name = Name { kind: found, repository, revision: None, inside: None };
        if self.find(&name).is_some() {
            return Some(name.repository);
        }
        let snapshots = fs::read_dir(self.folder.join(folder).join("snapshots")).ok()?;
        let commits = snapshots.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let commit = commits.filter(|commit| is_commit(commit)).min()?;
        Some(format!("{}@{commit}", name.repository))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

    #[test]
    fn revisions_are_found_by_branch_and_by_commit() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write(&format!("models--org--name/snapshots/{COMMIT}/config.json"), "{}");
        write("models--org--name/refs/main", COMMIT);
        write("models--org--name/refs/bad", "../../..");
        write(&format!("datasets--org--data/snapshots/{COMMIT}/a.jsonl"), "{}");
        write(&format!("models--org--file/snapshots/{COMMIT}/model-q8.gguf"), "GGUF");
        write("models--org--file/refs/main", &format!("{COMMIT}\n"));
        write("models--org--file/refs/refs/pr/1", COMMIT);
        let cache = Cache::new(folder.path());
        let found = |kind, text: &str| {
            let path = cache.find(&Name::parse(kind, text).unwrap())?.path();
            Some(path.strip_prefix(folder.path()).unwrap().display().to_string())
        };
        let root = format!("models--org--name/snapshots/{COMMIT}");
        assert_eq!(found(Kind::Model, "org/name").as_ref(), Some(&root));
        assert_eq!(found(Kind::Model, &format!("org/name@{COMMIT}")).as_ref(), Some(&root));
        assert_eq!(found(Kind::Model, "org/name/config.json"), Some(format!("{root}/config.json")));
        assert!(found(Kind::Model, "org/file@refs/pr/1").unwrap().ends_with("model-q8.gguf"));
        for (kind, text) in [
            (Kind::Model, "org/name@v2"),
            (Kind::Model, "org/name@bad"),
            (Kind::Dataset, "org/name"),
            (Kind::Dataset, "org/data"),
            (Kind::Model, "org/name/tokenizer.json"),
        ] {
            assert_eq!(found(kind, text), None, "{text}");
        }
        assert_eq!(cache.names(Kind::Model, "org/fil"), ["org/file", "org/name"]);
        assert_eq!(cache.names(Kind::Dataset, ""), [format!("org/data@{COMMIT}")]);
    }
}
