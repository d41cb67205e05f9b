//! The committed corpora, read again, and damaged.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::READERS;

fn fuzz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz")
}

fn names(folder: &Path) -> BTreeSet<String> {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let stem = |path: PathBuf| path.file_stem().unwrap().to_str().unwrap().to_owned();
    entries.map(|entry| stem(entry.unwrap().path())).collect()
}

#[test]
fn every_reader_has_a_fuzz_target_and_a_corpus() {
    let readers: BTreeSet<String> = READERS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(readers, names(&fuzz().join("targets/fuzz_targets")));
    assert_eq!(readers, names(&fuzz().join("corpora")));
    let manifest = std::fs::read_to_string(fuzz().join("targets/Cargo.toml")).unwrap();
    for name in readers {
        assert!(manifest.contains(&format!("path = \"fuzz_targets/{name}.rs\"")), "{name} is not built");
    }
}

#[test]
fn readers_take_or_refuse_every_input_of_their_corpora() {
    let mut one_sided = Vec::new();
    for (name, read) in READERS {
        let mut outcomes = BTreeSet::new();
        let folder = fuzz().join("corpora").join(name);
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let input = std::fs::read(&path).unwrap();
            let outcome = std::panic::catch_unwind(|| read(&input));
            let outcome = outcome.unwrap_or_else(|_| panic!("{} makes its reader panic", path.display()));
            if let Err(message) = &outcome {
                assert!(!message.trim().is_empty(), "{} is refused without a word", path.display());
            }
            outcomes.insert(outcome.is_ok());
        }
        if outcomes.len() < 2 {
            one_sided.push((name, outcomes));
        }
    }
    assert_eq!(one_sided, [], "of every corpus some inputs are taken and some refused");
}

/// Inputs that the damage begins with.
fn inputs(name: &str) -> Vec<Vec<u8>> {
    let folder = fuzz().join("corpora").join(name);
    let mut paths: Vec<PathBuf> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.iter().map(|path| std::fs::read(path).unwrap()).collect()
}

/// Draws numbers below a bound; the same ones in every run.
struct Draws(u64);

impl Draws {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % bound.max(1)
    }
}

/// What parsers stumble over.
const PIECES: [&[u8]; 14] = [
    b"\0",
    b"\xff\xff\xff\xff",
    b"\xff\xff\xff\xff\xff\xff\xff\x7f",
    b"\0\0\0\0\0\0\0\x80",
    b"-1",
    b"1e999",
    b"18446744073709551616",
    b"null",
    b"[]",
    b"{}",
    b"\"\"",
    b"\\ud800",
    b"{% for x in y %}",
    b"\n",
];

/// A few changes of an input: bits, cuts, copies from elsewhere, pieces, and a number in decimal digits.
fn damaged(draws: &mut Draws, input: &[u8], other: &[u8]) -> Vec<u8> {
    let mut bytes = input.to_vec();
    for _ in 0..=draws.below(4) {
        let at = draws.below(bytes.len());
        match draws.below(7) {
            0 if !bytes.is_empty() => bytes[at] ^= 1 << draws.below(8),
            1 => bytes.truncate(at.max(bytes.len() / 2)),
            2 => {
                let end = bytes.len().min(at + 1 + draws.below(16));
                bytes.drain(at..end);
            }
            3 if !other.is_empty() => {
                let from = draws.below(other.len());
                let to = other.len().min(from + 1 + draws.below(64));
                bytes.splice(at..at, other[from..to].iter().copied());
            }
            4 => {
                let piece = PIECES[draws.below(PIECES.len())];
                let end = bytes.len().min(at + draws.below(2) * piece.len());
                bytes.splice(at..end, piece.iter().copied());
            }
            5 => {
                let Some(at) = (at..bytes.len()).find(|at| bytes[*at].is_ascii_digit()) else { continue };
                let end = (at..bytes.len()).find(|at| !bytes[*at].is_ascii_digit()).unwrap_or(bytes.len());
                let number = ["0", "1", "-1", "3", "65536", "2147483648", "9223372036854775807"][draws.below(7)];
                bytes.splice(at..end, number.bytes());
            }
            _ if !bytes.is_empty() => bytes[at] = draws.below(256) as u8,
            _ => {}
        }
    }
    bytes
}

fn check_damaged(name: &str, read: super::Reader, rounds: usize, seed: u64) {
    let inputs = inputs(name);
    let mut draws = Draws(seed);
    for round in 0..rounds {
        let (input, other) = (&inputs[draws.below(inputs.len())], &inputs[draws.below(inputs.len())]);
        let input = damaged(&mut draws, input, other);
        if std::panic::catch_unwind(|| read(&input)).is_err() {
            let path = std::env::temp_dir().join(format!("{name}-{seed}-{round}"));
            std::fs::write(&path, &input).unwrap();
            panic!("{} makes its reader panic", path.display());
        }
    }
}

#[test]
fn readers_take_or_refuse_damaged_inputs() {
    for (name, read) in READERS {
        check_damaged(name, read, 40, 1);
    }
}

/// Damage by chance, for where libFuzzer can't be built: `cargo test --release --test main damaged_for_long -- --ignored`.
#[test]
#[ignore = "takes an hour"]
fn readers_take_or_refuse_inputs_damaged_for_long() {
    for seed in 2..102 {
        for (name, read) in READERS {
            check_damaged(name, read, 200, seed);
        }
    }
}
