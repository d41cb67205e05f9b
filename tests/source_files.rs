//! The source of the workspace, for tests that search it.
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The modules of its crate that a file names, which is so many modules deep itself.
pub(crate) fn modules_of(code: &str, depth: usize) -> BTreeSet<String> {
    assert!(!code.contains("crate::{"), "a module of the crate is named in a line of its own");
    assert!(!code.contains(&"super::".repeat(depth)), "the crate's root is called `crate`, not `super`");
    let named = code.split("crate::").skip(1).filter_map(|rest| rest.split(|c: char| !is_of_name(c)).next());
    named.filter(|name| *name != "ModelError").map(str::to_owned).collect()
}

pub(crate) fn is_of_name(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}

/// Rust files of a crate's `src`, without those that hold only tests.
pub(crate) fn sources(folder: &Path) -> Vec<PathBuf> {
    let (mut found, mut open) = (Vec::new(), vec![folder.join("src")]);
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs")
                && !path.components().any(|part| part.as_os_str() == "tests" || part.as_os_str() == "tests.rs")
            {
                found.push(path);
            }
        }
    }
    found
}

/// A file without its comments and its unit tests, which stand last; line numbers stay.
pub(crate) fn product_code(text: &str) -> String {
    let end = text.find("#[cfg(test)]\nmod ").unwrap_or(text.len());
    let without_comment = |line: &str| match line.find("//") {
        // `//` after a colon is an address in a string.
        Some(at) if !line[..at].ends_with(':') => line[..at].to_owned(),
        _ => line.to_owned(),
    };
    text[..end].lines().map(without_comment).collect::<Vec<String>>().join("\n")
}
