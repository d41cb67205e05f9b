//! The invariants of ARCHITECTURE.md, read from the manifests and the source.
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::source_files::{is_of_name, modules_of, product_code, root, sources};

/// Which of our crates each may know. A crate that is not listed fails the test, so a new room is drawn in here first.
pub(crate) const MAY_KNOW: [(&str, &[&str]); 19] = [
    ("mdp", &[]),
    ("objectives", &["mdp"]),
    ("engine", &["mdp"]),
    ("policies", &["mdp"]),
    ("tensorfile", &[]),
    ("search", &["mdp", "policies"]),
    ("hub", &[]),
    ("models", &["mdp", "engine", "policies", "tensorfile", "hub"]),
    ("datasets", &["mdp", "objectives", "tensorfile"]),
    ("train", &["mdp", "objectives", "policies", "datasets", "tensorfile"]),
    ("report", &[]),
    ("label", &["mdp", "objectives", "datasets"]),
    ("eval", &["mdp", "datasets", "train"]),
    ("torch", &["mdp", "models"]),
    ("recipes", RECIPES_MAY_KNOW),
    (
        "reproduce",
        &["mdp", "objectives", "engine", "policies", "search", "models", "datasets", "train", "report", "recipes"],
    ),
    ("bins", &["datasets", "train", "label", "hub", "recipes", "reproduce"]),
    ("benches", &[]),
    (
        "hybrid-dpo",
        &[
            "mdp",
            "objectives",
            "engine",
            "policies",
            "search",
            "models",
            "datasets",
            "train",
            "report",
            "label",
            "eval",
            "hub",
            "torch",
            "recipes",
            "bins",
        ],
    ),
];

/// Whole jobs know everything that does a part of one.
#[rustfmt::skip]
const RECIPES_MAY_KNOW: &[&str] = &[
    "mdp", "objectives", "engine", "policies", "search", "models", "datasets", "train", "report", "eval", "hub", "torch",
];

/// Which modules of `models` each of its modules may know, beside [`ModelError`](hybrid_dpo::models::ModelError). Each knows
/// only those that stand before it, so there is no circle: files know models, and no model knows a file.
const MODELS_MAY_KNOW: [(&str, &[&str]); 28] = [
    ("error", &[]),
    ("weights_file", &[]),
    ("fields", &[]),
    ("tensors", &[]),
    ("input_limits", &[]),
    ("export", &[]),
    ("image_batch", &[]),
    ("joint_rows", &[]),
    ("modulation", &[]),
    ("external", &[]),
    ("network", &["weights_file", "external"]),
    ("transformer", &["tensors", "image_batch", "network"]),
    ("sampler", &[]),
    ("scheduler", &["fields", "sampler"]),
    ("causal", &["fields", "tensors", "input_limits", "export", "external", "network"]),
    ("unet", &["fields", "tensors", "image_batch", "network"]),
    ("sd3", &["fields", "image_batch", "joint_rows", "modulation", "network", "transformer"]),
    ("flux", &["fields", "image_batch", "joint_rows", "modulation", "network", "transformer"]),
    ("zimage", &["fields", "image_batch", "joint_rows", "network", "transformer"]),
    ("dit", &["fields", "image_batch", "modulation", "network", "transformer"]),
    ("denoiser", DENOISER_MAY_KNOW),
    ("vae", &["fields", "tensors"]),
    ("t5", &["fields", "tensors", "input_limits"]),
    ("clip", &["fields", "tensors", "input_limits", "t5"]),
    ("gaussian", &["fields", "tensors", "export", "network"]),
    ("formats", FORMATS_MAY_KNOW),
    ("prompted", &["clip", "formats"]),
    ("codebook", &[]),
];

/// A denoiser knows every network that it may have.
#[rustfmt::skip]
const DENOISER_MAY_KNOW: &[&str] = &[
    "fields", "tensors", "export", "image_batch", "external", "network", "sampler", "unet", "sd3", "flux", "zimage", "dit",
];

/// Files know the models that they hold.
#[rustfmt::skip]
const FORMATS_MAY_KNOW: &[&str] = &[
    "weights_file", "fields", "tensors", "export", "external", "causal", "unet", "sd3", "flux", "zimage", "denoiser", "vae", "t5",
    "clip", "gaussian",
];

/// The modules of `train` that are its loop, which knows no kind of problem.
const LOOP: [&str; 27] = [
    "best",
    "cache",
    "decline",
    "demonstrations",
    "error",
    "evaluate",
    "evaluated",
    "files",
    "folder",
    "measures",
    "metrics",
    "observe",
    "preferences",
    "ranks",
    "run",
    "safeguard",
    "saving",
    "schedule",
    "settings",
    "source",
    "statistics",
    "step",
    "summary",
    "tensorboard",
    "together",
    "training",
    "trial",
];

/// The modules of `train` for kinds of problems.
const PROBLEMS: [&str; 5] = ["token", "diffusion", "hybrid", "control", "pictures"];

/// All that the crates of pure numbers may depend on from outside.
const PURE: [(&str, &[&str]); 4] = [
    ("mdp", &["blake3", "rand", "rand_chacha", "serde", "thiserror"]),
    ("objectives", &["thiserror"]),
    ("policies", &["blake3", "rand", "serde", "serde_json", "thiserror"]),
    ("search", &["thiserror"]),
];

/// Starts of the names of packages that compute with tensors.
const TENSORS: [&str; 8] = ["candle", "gemm", "burn", "tch", "ndarray", "safetensors", "cudarc", "ort"];

/// Packages that open sockets.
const SOCKETS: [&str; 10] =
    ["reqwest", "hyper", "ureq", "tokio", "hf-hub", "axum", "tiny_http", "curl", "socket2", "mio"];

/// Those of them that go out and ask.
const CLIENTS: [&str; 4] = ["reqwest", "ureq", "hf-hub", "curl"];

/// The manifests of the workspace; `--no-deps` needs neither the network nor a registry on disk.
fn packages() -> Vec<Value> {
    let arguments = ["metadata", "--no-deps", "--offline", "--format-version=1", "--manifest-path"];
    let output = Command::new(env!("CARGO")).args(arguments).arg(root().join("Cargo.toml")).output().unwrap();
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    metadata["packages"].as_array().unwrap().clone()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

/// The normal dependencies of each of our crates.
fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let normal = |package: &Value| {
        let all = package["dependencies"].as_array().unwrap().iter().filter(|dependency| dependency["kind"].is_null());
        all.map(|dependency| text(&dependency["name"])).collect()
    };
    packages().iter().map(|package| (text(&package["name"]), normal(package))).collect()
}

/// What each locked package depends on, versions merged.
fn locked() -> BTreeMap<String, BTreeSet<String>> {
    let text = fs::read_to_string(root().join("Cargo.lock")).unwrap();
    let mut packages: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for package in text.split("[[package]]").skip(1) {
        let name = package.lines().find_map(|line| line.strip_prefix("name = ")).unwrap().trim_matches('"');
        let entries = package.lines().filter_map(|line| line.strip_prefix(" \"")?.strip_suffix("\","));
        let names = entries.map(|entry| entry.split(' ').next().unwrap().to_owned());
        packages.entry(name.to_owned()).or_default().extend(names);
    }
    packages
}

/// Every package that one of our crates is built from (optional and build dependencies of others counted in).
fn reach(name: &str) -> BTreeSet<String> {
    reach_around(name, &[])
}

/// The same, without what comes in through some of our crates alone.
fn reach_around(name: &str, shut: &[&str]) -> BTreeSet<String> {
    let (mut ours, locked) = (dependencies(), locked());
    for shut in shut {
        ours.insert((*shut).to_owned(), BTreeSet::new());
    }
    let mut found = BTreeSet::new();
    let mut open = vec![name.to_owned()];
    while let Some(name) = open.pop() {
        // The lock file mixes our dev-dependencies with the others; the manifest tells them apart.
        let next = ours.get(&name).or_else(|| locked.get(&name)).cloned().unwrap_or_default();
        open.extend(next.into_iter().filter(|name| found.insert(name.clone())));
    }
    found
}

/// Asserts that a crate is built from none of the packages that `is_banned`.
fn check_reach(name: &str, is_banned: impl Fn(&str) -> bool) {
    let banned: Vec<String> = reach(name).into_iter().filter(|package| is_banned(package)).collect();
    assert!(banned.is_empty(), "{name} is built from {banned:?}");
}

#[test]
fn crates_know_only_whom_they_may() {
    let may_know: BTreeMap<&str, &[&str]> = MAY_KNOW.into_iter().collect();
    let ours = dependencies();
    for (name, dependencies) in &ours {
        let allowed = may_know.get(name.as_str()).unwrap_or_else(|| panic!("{name} is not in the list of rooms"));
        for known in dependencies.iter().filter(|dependency| ours.contains_key(*dependency)) {
            assert!(allowed.contains(&known.as_str()), "{name} may not know {known}");
        }
    }
}

#[test]
fn every_crate_lives_in_the_folder_of_its_name() {
    for package in packages() {
        let (name, manifest) = (text(&package["name"]), text(&package["manifest_path"]));
        let folder = Path::new(&manifest).parent().unwrap();
        let is_root = folder == root() && name == "hybrid-dpo";
        assert!(is_root || folder == root().join(&name), "{name} lives in {manifest}");
    }
}

#[test]
fn problems_and_objectives_know_no_tensor() {
    for (name, allowed) in PURE {
        let ours = dependencies();
        for known in ours[name].iter().filter(|known| !ours.contains_key(*known)) {
            assert!(allowed.contains(&known.as_str()), "{name} may not depend on {known}");
        }
        check_reach(name, |package| TENSORS.iter().any(|start| package.starts_with(start)));
    }
}

#[test]
fn only_the_label_page_listens_on_a_socket_and_only_judges_and_the_hub_go_out() {
    let elsewhere = reach_around("hybrid-dpo", &["label", "eval", "hub"]);
    assert!(!elsewhere.iter().any(|package| SOCKETS.contains(&&**package)), "{elsewhere:?}");
    assert!(elsewhere.contains("label") && reach("label").contains("tokio"), "the page is where it should be");
    assert!(elsewhere.contains("eval") && reach("eval").contains("ureq"), "the judges are where they should be");
    assert!(elsewhere.contains("hub") && reach("hub").contains("ureq"), "downloads are where they should be");
    let but_judges = reach_around("hybrid-dpo", &["eval", "hub"]);
    assert!(!but_judges.iter().any(|package| CLIENTS.contains(&&**package)), "{but_judges:?}");
    for (name, _) in MAY_KNOW.into_iter().filter(|(name, _)| *name != "label") {
        check_source(name, &["TcpListener", "TcpStream", "UdpSocket", "UnixListener", "UnixStream"]);
    }
    check_source("label", &["TcpStream::connect", "UdpSocket"]);
    // The client would read proxies from the environment.
    for client in ["eval/src/http.rs", "hub/src/download/client.rs"] {
        let http = product_code(&fs::read_to_string(root().join(client)).unwrap());
        assert!(http.contains(".proxy(proxy)") && http.contains(".max_redirects(0)"), "{client}");
    }
}

#[test]
fn judges_know_no_model() {
    check_reach("eval", |package| TENSORS.iter().any(|start| *start != "safetensors" && package.starts_with(start)));
}

#[test]
fn layers_that_do_not_learn_are_out_of_reach() {
    // candle-nn draws from a generator that can't be seeded, and its norms cut the graph without an error.
    check_reach("hybrid-dpo", |package| matches!(package, "candle-nn" | "candle-transformers"));
}

#[test]
fn problems_and_objectives_do_no_input_or_output() {
    for name in ["mdp", "objectives", "search"] {
        check_source(name, &["std::fs", "std::io", "std::net", "std::process", "std::time", "std::thread"]);
    }
}

#[test]
fn only_the_command_line_prints_and_reads_the_environment() {
    // The debugging macro is clippy's to refuse (`dbg_macro`), here as everywhere.
    let banned = ["std::env", "env::var", "println!", "print!(", "io::stdout", "io::stderr", "process::exit"];
    for (name, _) in MAY_KNOW.into_iter().filter(|(name, _)| !["bins", "hybrid-dpo"].contains(name)) {
        check_source(name, &banned);
    }
}

#[test]
fn only_the_command_line_knows_a_flag() {
    for (name, _) in MAY_KNOW.into_iter().filter(|(name, _)| !["bins", "hybrid-dpo"].contains(name)) {
        for path in sources(&root().join(name)) {
            let text = fs::read_to_string(&path).unwrap();
            let end = text.find("#[cfg(test)]\nmod ").unwrap_or(text.len());
            for (number, line) in text[..end].lines().enumerate() {
                // Cargo's own flag.
                let line = line.replace("--features", "");
                let flag = line.match_indices("--").any(|(at, _)| is_flag(&line, at));
                let of_program = line.contains("hybrid-dpo train") || line.contains("hybrid-dpo label -");
                assert!(!flag && !of_program, "{}:{}: a flag is not for {name}", path.display(), number + 1);
            }
        }
    }
}

/// Whether a flag begins there, and not a variable of a style: `var(--x)`, `{--x:..}`.
fn is_flag(line: &str, at: usize) -> bool {
    let (before, name) = (&line[..at], &line[at + 2..]);
    let is_text = before.is_empty() || before.ends_with([' ', '`', '"', '\'']);
    let end = name.find(|c: char| !c.is_ascii_lowercase() && c != '-').unwrap_or(name.len());
    is_text && end > 0 && !name[end..].starts_with(':')
}

#[test]
fn every_generator_is_seeded() {
    let banned = [
        "rand::rng(",
        "thread_rng",
        "rand::random",
        "make_rng",
        "from_os_rng",
        "from_entropy",
        "SysRng",
        "OsRng",
        "Tensor::rand",
        "Var::rand",
        "rand_like(",
        "randn_like(",
        "RandomState::new",
    ];
    for (name, _) in MAY_KNOW {
        check_source(name, &banned);
    }
}

#[test]
fn the_search_of_the_source_finds_what_it_should() {
    let text = "//! println! in docs\nuse std::fs; // std::io\nlet a = \"http://x\";\n#[cfg(test)]\nmod tests {\n    std::net\n}\n";
    let kept = product_code(text);
    assert!(kept.contains("std::fs") && kept.contains("let a"));
    assert!(!kept.contains("println!") && !kept.contains("std::io") && !kept.contains("std::net"));
    assert!(sources(&root().join("mdp")).len() > 5);
    let code = "use crate::ModelError;\nuse crate::weights_file::File;\npub(in crate::unet) use super::super::x;\n";
    assert_eq!(modules_of(code, 3), BTreeSet::from(["unet", "weights_file"].map(str::to_owned)));
}

#[test]
fn a_model_knows_no_file() {
    let may_know: BTreeMap<&str, &[&str]> = MODELS_MAY_KNOW.into_iter().collect();
    for (index, (name, allowed)) in MODELS_MAY_KNOW.into_iter().enumerate() {
        let is_before = |known: &&str| MODELS_MAY_KNOW[..index].iter().any(|(before, _)| before == known);
        assert!(allowed.iter().all(is_before), "{name} may know only what stands before it in the list");
    }
    let folder = root().join("models/src");
    for path in sources(&root().join("models")).iter().filter(|path| !path.ends_with("src/lib.rs")) {
        let place = path.strip_prefix(&folder).unwrap().with_extension("");
        let modules: Vec<&str> =
            place.iter().map(|part| part.to_str().unwrap()).filter(|part| *part != "mod").collect();
        let name = modules[0];
        let allowed = may_know.get(name).unwrap_or_else(|| panic!("{name} is not in the list of modules of models"));
        for known in modules_of(&product_code(&fs::read_to_string(path).unwrap()), modules.len()) {
            let is_allowed = known == name || allowed.contains(&known.as_str());
            assert!(is_allowed, "{}: {name} may not know {known}", path.display());
        }
    }
}

#[test]
fn the_training_loop_knows_no_kind_of_problem() {
    let folder = root().join("train/src");
    for path in sources(&root().join("train")).iter().filter(|path| !path.ends_with("src/lib.rs")) {
        let place = path.strip_prefix(&folder).unwrap().with_extension("");
        let name = place.iter().next().unwrap().to_str().unwrap();
        if PROBLEMS.contains(&name) {
            continue;
        }
        assert!(LOOP.contains(&name), "{name} is not in the lists of modules of train");
        let code = product_code(&fs::read_to_string(path).unwrap());
        let words: BTreeSet<&str> =
            code.split("::").filter_map(|part| part.rsplit(|c: char| !is_of_name(c)).next()).collect();
        for problem in PROBLEMS.iter().chain(&["datasets", "image", "font8x8"]) {
            assert!(!words.contains(problem), "{}: {problem} is not for the loop", path.display());
        }
    }
}

#[test]
fn no_downcast_decides_what_an_error_means() {
    for name in ["search", "train", "recipes", "reproduce", "bins"] {
        check_source(name, &["downcast", "dyn Any"]);
    }
}

/// A copy between a device and this process's memory waits for the device, so all are counted in one place.
#[test]
fn numbers_enter_and_leave_tensors_where_copies_are_counted() {
    let reads = ["to_vec0", "to_vec1", "to_vec2", "to_vec3", "to_scalar"];
    let writes = ["Tensor::from_vec", "Tensor::from_slice", "Tensor::new("];
    let is_of_tests = |path: &Path| path.to_string_lossy().ends_with("tests.rs") || path.ends_with("ops/checks.rs");
    for name in ["engine", "models", "recipes", "train"] {
        for path in sources(&root().join(name)) {
            if is_of_tests(&path) || path.ends_with("engine/src/transfer.rs") {
                continue;
            }
            // What a kernel has computed becomes a tensor without a copy.
            let banned = if name == "engine" { reads.to_vec() } else { [&reads[..], &writes].concat() };
            let code = product_code(&fs::read_to_string(&path).unwrap());
            let found = banned.iter().find(|word| code.contains(**word));
            assert!(found.is_none(), "{}: {found:?} is for engine::transfer", path.display());
        }
    }
}

/// Asserts that no banned word is in a crate's source, comments and tests apart.
fn check_source(name: &str, banned: &[&str]) {
    let folder = if name == "hybrid-dpo" { root().to_owned() } else { root().join(name) };
    for path in sources(&folder) {
        let code = product_code(&fs::read_to_string(&path).unwrap());
        for (number, line) in code.lines().enumerate() {
            if let Some(word) = banned.iter().find(|word| line.contains(**word)) {
                panic!("{}:{}: {word} is not for {name}", path.display(), number + 1);
            }
        }
    }
}
