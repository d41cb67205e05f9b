//! Inputs as files.

use std::path::{Path, PathBuf};

use tempfile::TempDir;

/// What begins a file within an input: two bytes that no UTF-8 text has, the name, and a line break.
const MARK: &[u8] = b"\xff\xfe";

/// Writes an input into a new folder as one file.
pub(crate) fn file(name: &str, bytes: &[u8]) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join(name);
    write(&path, bytes);
    (folder, path)
}

/// The files of an input: after each mark a name, which ends its line, and the bytes up to the next mark.
pub(crate) fn parts(input: &[u8]) -> Vec<(&str, &[u8])> {
    let starts = input.windows(MARK.len()).enumerate().filter(|(_, two)| *two == MARK).map(|(at, _)| at);
    let starts: Vec<usize> = starts.chain([input.len()]).collect();
    let part = |ends: &[usize]| {
        let part = &input[ends[0] + MARK.len()..ends[1]];
        let line = part.iter().position(|byte| *byte == b'\n')?;
        Some((std::str::from_utf8(&part[..line]).ok()?, &part[line + 1..]))
    };
    starts.windows(2).filter_map(part).collect()
}

/// Writes a folder of the files that an input has and `names` lists, and of those of `base` that it lacks.
pub(crate) fn folder(input: &[u8], base: &[(&str, &[u8])], names: &[&str]) -> TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let given: Vec<(&str, &[u8])> = parts(input).into_iter().filter(|(name, _)| names.contains(name)).collect();
    let missing = base.iter().filter(|(name, _)| !given.iter().any(|(other, _)| other == name));
    for (name, bytes) in given.iter().chain(missing) {
        write(&folder.path().join(name), bytes);
    }
    folder
}

fn write(path: &Path, bytes: &[u8]) {
    std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
    std::fs::write(path, bytes).expect("a file");
}
