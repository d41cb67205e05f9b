//! Writes the data of `builtin:tldr` to files, for use by other programs.
//!
//! `cargo run -p datasets --example dump_tldr -- FOLDER N_DEMONSTRATIONS N_PAIRS [SEED]` writes `tokenizer.json`,
//! `sft.jsonl` (prompt, response, damage), and `train.jsonl`, `validation.jsonl` and `test.jsonl` (prompt, chosen,
//! rejected, damage); a tenth as many pairs in the last two.
//!
//! `cargo run -p datasets --example dump_tldr -- --judge FILE` reads JSONL with `prompt` and `response` and writes each
//! judgement to standard output.
#![expect(clippy::print_stdout, clippy::disallowed_methods, reason = "an example speaks with its user")]

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::Path;

use datasets::synthetic::tldr::{Facts, Oracle, Split, TldrProblem, tokenizer_json};
use serde_json::{Value, json};

type ComparisonOutcome = Result<(), Box<dyn std::error::Error>>;

fn main() -> ComparisonOutcome {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["--judge", file] => judge(Path::new(file)),
        [folder, demonstrations, pairs] => dump(Path::new(folder), demonstrations.parse()?, pairs.parse()?, 0),
        [folder, demonstrations, pairs, seed] => {
            dump(Path::new(folder), demonstrations.parse()?, pairs.parse()?, seed.parse()?)
        }
        _ => Err("usage: dump_tldr FOLDER N_DEMONSTRATIONS N_PAIRS [SEED] | dump_tldr --judge FILE".into()),
    }
}

fn dump(folder: &Path, n_demonstrations: u64, n_pairs: u64, seed: u64) -> ComparisonOutcome {
    std::fs::create_dir_all(folder)?;
    std::fs::write(folder.join("tokenizer.json"), tokenizer_json())?;
    let problem = TldrProblem::new(seed);
    write_lines(&folder.join("sft.jsonl"), n_demonstrations, |index| {
        let shown = problem.demonstration(Split::Train, index);
        let damage = shown.damage.map(|damage| damage.kind());
        json!({"prompt": shown.prompt, "response": shown.response, "damage": damage})
    })?;
    for split in Split::ALL {
        let count = if split == Split::Train { n_pairs } else { n_pairs / 10 };
        write_lines(&folder.join(format!("{}.jsonl", split.name())), count, |index| {
            let pair = problem.pair(split, index);
            let damage = pair.damage.kind();
            json!({"prompt": pair.prompt, "chosen": pair.chosen, "rejected": pair.rejected, "damage": damage})
        })?;
    }
    Ok(())
}

fn write_lines(path: &Path, count: u64, line: impl Fn(u64) -> Value) -> ComparisonOutcome {
    let mut file = BufWriter::new(File::create(path)?);
    for index in 0..count {
        writeln!(file, "{}", line(index))?;
    }
    Ok(file.flush()?)
}

fn judge(file: &Path) -> ComparisonOutcome {
    for line in BufReader::new(File::open(file)?).lines() {
        let record: Value = serde_json::from_str(&line?)?;
        let text = |field: &str| record[field].as_str().ok_or(format!("no text called {field}"));
        let facts = Facts::from_prompt(text("prompt")?).ok_or("not a post of builtin:tldr")?;
        let found = Oracle::score(&facts, text("response")?);
        println!("{}", json!({"right": found.right, "wrong": found.wrong, "words": found.words, "score": found.score}));
    }
    Ok(())
}
