//! The cache of the process, in which adapters find their base.
use std::path::Path;
use std::sync::OnceLock;

use crate::{Cache, Kind, Name};

static CACHE: OnceLock<Cache> = OnceLock::new();

/// Makes a cache that of the process; has no effect where one was installed before.
pub fn install(cache: Cache) {
    let _ = CACHE.set(cache);
}

/// The path of a model that an adapter names as its base, with a revision or without: its folder in the cache of the process where
/// that has it. A path, and a name that is not in the cache, stay as they are.
pub fn local(base: &str, revision: Option<&str>) -> String {
    let name = Name::parse(Kind::Model, base).filter(|_| !Path::new(base).exists());
    let Some(mut name) = name else { return base.to_owned() };
    name.revision = name.revision.or_else(|| revision.map(str::to_owned));
    let found = CACHE.get().and_then(|cache| cache.find(&name));
    found.map_or_else(|| name.to_string(), |found| found.path().display().to_string())
}

/// The name and the commit by which others find the base of an adapter: those of a path in a cache, else the text itself.
pub fn shared(base: &str) -> (String, Option<String>) {
    match Name::of_path(Path::new(base)) {
        Some(Name { kind: Kind::Model, repository, revision, inside: None }) => (repository, revision),
        Some(_) | None => (base.to_owned(), None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_base_of_an_adapter_is_shared_by_its_name() {
        let commit = "0123456789abcdef0123456789abcdef01234567";
        let path = format!("/home/me/hub/models--org--name/snapshots/{commit}");
        assert_eq!(shared(&path), ("org/name".to_owned(), Some(commit.to_owned())));
        assert_eq!(shared("./base"), ("./base".to_owned(), None));
        assert_eq!(local("org/name", Some("v1")), "org/name@v1");
        assert_eq!(local("org/name@v2", Some("v1")), "org/name@v2");
        assert_eq!(local("/base", Some("v1")), "/base");
    }
}
