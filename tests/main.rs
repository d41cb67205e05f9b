//! The one integration binary: every file and folder of modules beside this one is a module of it.

mod architecture;
mod causal_golden;
mod circles;
#[cfg(feature = "cli")]
mod cli;
mod families_golden;
mod formats;
mod gpu_script;
mod hybrid;
mod micro_batches;
mod objectives_golden;
mod readers;
mod rewards;
mod search;
mod source_files;
mod video;

use std::collections::BTreeSet;
use std::path::Path;

#[test]
fn no_test_file_is_forgotten() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let files: BTreeSet<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs") || path.join("mod.rs").is_file())
        .map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned())
        .filter(|name| name != "main")
        .collect();
    let modules: BTreeSet<String> = include_str!("main.rs")
        .lines()
        .filter_map(|line| line.strip_prefix("mod ")?.strip_suffix(';'))
        .map(str::to_owned)
        .collect();
    assert_eq!(files, modules, "files in tests/ on the left, `mod` lines of tests/main.rs on the right");
}
