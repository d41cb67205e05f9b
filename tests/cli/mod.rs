//! The program as its users meet it: a process, judged by its exit code, its output and its files.

mod asking;
mod bad_data;
mod bad_models;
mod bad_settings;
mod completions;
mod contracts;
mod conversations;
mod credit;
mod credit_images;
mod dit;
mod eval;
mod export;
mod flux;
mod hybrid;
mod idle;
mod image_contracts;
mod image_damage;
mod image_resume;
mod image_settings;
mod image_training;
mod images;
mod inspect;
mod instructions;
mod judging;
mod label;
mod lasting;
mod mixing;
mod pictures;
mod precision;
mod precompute;
mod quantised;
mod report;
mod reproduce;
mod resume;
mod rewards;
mod rounds;
mod sample_search;
mod search;
mod training;
mod transformers;
mod zimage;

use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::Value;

/// The model of most tests: random weights drawn from the seed, with the embedded tokenizer.
const MODEL: &str = "builtin:tldr-untrained";

/// Eight pairs: answers of different lengths, one prompt that comes twice.
const PAIRS: &str = r#"{"prompt":"POST: my dog is 3\n\nTL;DR:","chosen":" dog is 3","rejected":" dog is 4"}
{"prompt":"POST: my cat is 5\n\nTL;DR:","chosen":" cat is 5","rejected":" a cow"}
{"prompt":"POST: we owe 50\n\nTL;DR:","chosen":" owe 50","rejected":" owe 60 dollars"}
{"prompt":"POST: i am late\n\nTL;DR:","chosen":" late","rejected":" early, very early"}
{"prompt":"POST: my dog is 3\n\nTL;DR:","chosen":" a dog of 3","rejected":" no dog"}
{"prompt":"POST: she left him in may\n\nTL;DR:","chosen":" she left in may","rejected":" he left"}
{"prompt":"POST: rent is 700\n\nTL;DR:","chosen":" 700 for rent","rejected":" rent is 70"}
{"prompt":"POST: the job is in ohio\n\nTL;DR:","chosen":" job in ohio","rejected":" job in utah, or so"}
"#;

/// A folder of its own for one test.
struct Scene {
    folder: tempfile::TempDir,
}

/// Leaves the user's cache and the hub out of a test.
fn without_hub(command: &mut Command, cache: &std::path::Path) {
    command.env("HF_HUB_OFFLINE", "1").env("HF_HUB_CACHE", cache);
}

/// What a process left behind.
#[derive(Debug)]
struct Ran {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Scene {
    /// A folder with `pairs.jsonl` in it.
    fn new() -> Self {
        let scene = Self { folder: tempfile::tempdir().unwrap() };
        scene.write("pairs.jsonl", PAIRS);
        scene
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }

    fn bytes(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap()
    }

    /// The program, to be started in this folder; arguments have no spaces of their own.
    fn command(&self, arguments: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hybrid-dpo"));
        command.args(arguments.split_whitespace()).current_dir(self.folder.path());
        without_hub(&mut command, &self.path("no-cache"));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// A command that hears interrupts whoever started the tests: a job in the background of a script ignores them.
    fn interruptible(&self, arguments: &str) -> Command {
        if !cfg!(target_os = "linux") {
            return self.command(arguments);
        }
        let mut command = Command::new("env");
        command.args(["--default-signal=INT", env!("CARGO_BIN_EXE_hybrid-dpo")]);
        command.args(arguments.split_whitespace()).current_dir(self.folder.path());
        without_hub(&mut command, &self.path("no-cache"));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn run(&self, arguments: &str) -> Ran {
        ran(&self.command(arguments).output().unwrap())
    }

    /// Runs what must succeed.
    fn done(&self, arguments: &str) -> Ran {
        let ran = self.run(arguments);
        assert_eq!(ran.code, Some(0), "{arguments}\n{}", ran.err);
        ran
    }

    /// Runs what must fail with one message that says all of `says`, and leave nothing half done.
    fn refused(&self, arguments: &str, code: i32, says: &[&str]) {
        let ran = self.run(arguments);
        assert_eq!(ran.code, Some(code), "{arguments}\n{ran:?}");
        assert_eq!(ran.out, "", "{arguments}");
        assert!(ran.err.starts_with("error: "), "{arguments}\n{}", ran.err);
        assert_eq!(ran.err.lines().count(), 1, "{arguments}\n{}", ran.err);
        for word in says.iter().copied() {
            assert!(ran.err.contains(word), "{arguments}\n{}\ndoes not say {word}", ran.err);
        }
        assert!(!ran.err.contains("panicked") && !ran.err.contains(".building-"), "{}", ran.err);
        assert!(!self.path("new/model").exists(), "{arguments}");
        assert!(self.unfinished().is_empty(), "{arguments}\n{:?}", self.unfinished());
    }

    /// Files and folders under temporary names, anywhere.
    fn unfinished(&self) -> Vec<PathBuf> {
        let (mut found, mut open) = (Vec::new(), vec![self.folder.path().to_owned()]);
        while let Some(folder) = open.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.file_name().unwrap().to_str().unwrap().starts_with('.') {
                    found.push(path);
                } else if path.is_dir() {
                    open.push(path);
                }
            }
        }
        found
    }

    /// A run's `metrics.jsonl` without what the clock decides.
    fn metrics(&self, run: &str) -> Vec<Value> {
        let text = self.read(&format!("{run}/metrics.jsonl"));
        let mut lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        for line in &mut lines {
            line.as_object_mut().unwrap().retain(|name, _| !name.ends_with("_per_second"));
        }
        lines
    }

    /// The numbers called `name` in a run's training steps.
    fn column(&self, run: &str, name: &str) -> Vec<f64> {
        let lines = self.metrics(run);
        let steps = lines.iter().filter(|line| line["split"] == "train");
        steps.map(|line| line[name].as_f64().unwrap()).collect()
    }
}

/// A table's rows with the lines joined that a backslash breaks.
fn unbroken(table: &str) -> String {
    let mut whole = String::new();
    for line in table.split_inclusive('\n') {
        let rest = if whole.ends_with(' ') { line.trim_start() } else { line };
        whole += rest.strip_suffix("\\\n").unwrap_or(rest);
    }
    whole
}

fn ran(output: &std::process::Output) -> Ran {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    Ran { code: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) }
}

/// The arguments of a short run on the pairs, nothing held out, nothing sampled, with `more` of them.
fn training(out: &str, more: &str) -> String {
    let mut arguments = vec![format!("train --out {out} --quiet {more}")];
    for (flag, value) in [
        ("--model", MODEL),
        ("--data", "pairs.jsonl"),
        ("--eval-share", "0"),
        ("--n-samples", "0"),
        ("--batch-size", "4"),
        ("--lr", "1e-3"),
        ("--warmup-steps", "0"),
    ] {
        if !more.split_whitespace().any(|word| word == flag) {
            arguments.push(format!("{flag} {value}"));
        }
    }
    arguments.join(" ")
}
