//! The source of the workspace, for tests that search it.
use std::collections::{BTreeMap, BTreeSet};
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

/// The modules of a crate, each with the other ones that it knows: by `crate::name`, or by a name that the crate's root takes
/// from them.
pub(crate) fn module_graph(crate_folder: &Path) -> BTreeMap<String, BTreeSet<String>> {
    let root = product_code(&fs::read_to_string(crate_folder.join("src/lib.rs")).unwrap());
    let files: Vec<PathBuf> = sources(crate_folder).into_iter().filter(|path| !path.ends_with("src/lib.rs")).collect();
    let place = |path: &Path| path.strip_prefix(crate_folder.join("src")).unwrap().with_extension("");
    let module = |path: &Path| place(path).iter().next().unwrap().to_str().unwrap().to_owned();
    let mut knows: BTreeMap<String, BTreeSet<String>> =
        files.iter().map(|path| (module(path), BTreeSet::new())).collect();
    let owners = owners(&root);
    for path in &files {
        let code = product_code(&fs::read_to_string(path).unwrap());
        let is_top = place(path).iter().filter(|part| *part != "mod").count() == 1;
        let climbs = code.lines().any(|line| line.starts_with("use super::"));
        assert!(!(is_top && climbs), "{}: the crate's root is called `crate`, not `super`", path.display());
        let name = module(path);
        for known in named_after_crate(&code) {
            let known = owners.get(&known).unwrap_or(&known).clone();
            if known != name && knows.contains_key(&known) {
                knows.get_mut(&name).unwrap().insert(known);
            }
        }
    }
    knows
}

/// The names that a crate's root re-exports, each with its module.
fn owners(root: &str) -> BTreeMap<String, String> {
    let mut owners = BTreeMap::new();
    for statement in root.split("pub use ").skip(1).filter_map(|rest| rest.split(';').next()) {
        let path = statement.trim_start_matches("self::");
        let Some((module, names)) = path.split_once("::") else { continue };
        let names = names.split(|c: char| !is_of_name(c)).filter(|name| !name.is_empty());
        owners.extend(names.map(|name| (name.to_owned(), module.to_owned())));
    }
    owners
}

/// The first names after `crate::`, also within braces.
fn named_after_crate(code: &str) -> BTreeSet<String> {
    code.split("crate::").skip(1).flat_map(first_names).collect()
}

/// The first name of a path, or of each path of a group in braces.
fn first_names(rest: &str) -> BTreeSet<String> {
    let first = |path: &str| path.trim().split(|c: char| !is_of_name(c)).next().unwrap_or_default().to_owned();
    let Some(group) = rest.strip_prefix('{') else { return BTreeSet::from([first(rest)]) };
    let (mut found, mut depth, mut begins) = (BTreeSet::new(), 0, true);
    for (at, c) in group.char_indices() {
        if begins && is_of_name(c) {
            found.insert(first(&group[at..]));
            begins = false;
        }
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' => begins = depth == 0,
            _ => {}
        }
    }
    found
}

/// The folders of a crate's modules that have modules of their own.
pub(crate) fn module_folders(crate_folder: &Path) -> BTreeSet<PathBuf> {
    let is_module = |path: &PathBuf| path.ends_with("mod.rs");
    sources(crate_folder).into_iter().filter(is_module).filter_map(|path| path.parent().map(Path::to_owned)).collect()
}

/// The modules in a module's folder, each with those beside it that it knows: by `super::name` or the whole path, or by a name
/// that their parent takes from them.
pub(crate) fn siblings_graph(folder: &Path, src: &Path) -> BTreeMap<String, BTreeSet<String>> {
    let owners = owners(&product_code(&fs::read_to_string(folder.join("mod.rs")).unwrap()));
    let path = folder.strip_prefix(src).unwrap().iter().map(|part| part.to_str().unwrap());
    let whole = format!("crate::{}::", path.collect::<Vec<&str>>().join("::"));
    let mut knows: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for path in sources(src.parent().unwrap()) {
        let Ok(place) = path.strip_prefix(folder) else { continue };
        let place = place.with_extension("");
        let parts: Vec<&str> = place.iter().map(|part| part.to_str().unwrap()).filter(|part| *part != "mod").collect();
        let Some(name) = parts.first() else { continue };
        let code = product_code(&fs::read_to_string(&path).unwrap());
        let known = knows.entry((*name).to_owned()).or_default();
        known.extend(named_above(&code, parts.len()));
        known.extend(code.split(&whole).skip(1).flat_map(first_names));
    }
    let modules: BTreeSet<String> = knows.keys().cloned().collect();
    for (name, known) in &mut knows {
        let named = std::mem::take(known).into_iter().map(|word| owners.get(&word).unwrap_or(&word).clone());
        known.extend(named.filter(|word| word != name && modules.contains(word)));
    }
    knows
}

/// The first names after exactly so many `super::`.
fn named_above(code: &str, levels: usize) -> BTreeSet<String> {
    let climb = "super::".repeat(levels);
    let after = code.match_indices(&climb).filter(|(at, _)| !code[..*at].ends_with("super::"));
    let rests = after.map(|(at, climb)| &code[at + climb.len()..]);
    rests.filter(|rest| !rest.starts_with("super::")).flat_map(first_names).collect()
}
