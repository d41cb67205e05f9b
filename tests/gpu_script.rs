//! `scripts/gpu-check.sh`, with a stub in the place of Python that says what it is called with.
#![cfg(unix)]

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use crate::source_files::root;

/// What the script calls Python with, in a folder.
fn called(folder: &Path, arguments: &[&str]) -> Vec<String> {
    let stub = folder.join("python3");
    std::fs::write(&stub, "#!/bin/sh\nprintf '%s\\n' \"$@\"\n").unwrap();
    std::fs::set_permissions(&stub, std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = Command::new("bash");
    command.arg("-c").arg("PATH=\"$PWD:$PATH\" exec \"$0\" \"$@\"").arg(root().join("scripts/gpu-check.sh"));
    let done = command.args(arguments).current_dir(folder).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn paths_are_those_of_the_caller_and_a_value_may_be_joined() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().canonicalize().unwrap();
    let at = |name: &str| folder.join(name).display().to_string();
    let expected = |device: &str, binary: &str| -> Vec<String> {
        let words =
            ["scripts/gpu_check.py", "--device", device, "--binary", binary, "--no-speed", "--out", &at("a b.json")];
        words.map(str::to_owned).to_vec()
    };
    for arguments in [
        &["--device=cpu", "--binary=some/program", "--no-speed", "--out=a b.json"][..],
        &["--device", "cpu", "--binary", "some/program", "--no-speed", "--out", "a b.json"],
    ] {
        assert_eq!(called(&folder, arguments), expected("cpu", &at("some/program")));
    }
    let whole = at("some/program");
    let by_default = called(&folder, &["--no-speed", "--out", &at("a b.json"), &format!("--binary={whole}")]);
    assert_eq!(by_default, expected("cuda:0", &whole));
}
