//! Writes the data of `builtin:shapes` to files, for use by other programs.
//!
//! `cargo run -p datasets --example dump_shapes -- FOLDER N_DEMONSTRATIONS N_PAIRS [SEED]` writes `demonstrations.jsonl`
//! (caption, image, wrong), and `train.jsonl`, `validation.jsonl` and `test.jsonl` (prompt, chosen, rejected, differing);
//! a tenth as many pairs in the last two. Pictures are PNG files in `images/`.
//!
//! `cargo run -p datasets --example dump_shapes -- --judge FILE` reads JSONL with `caption` and `image` (a path relative
//! to the file) and writes what the oracle reads in each picture to standard output.
#![expect(clippy::print_stdout, clippy::disallowed_methods, reason = "an example speaks with its user")]

use std::fs::{self, File};
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::Path;

use datasets::Pixels;
use datasets::synthetic::shapes::{Attribute, Colour, Oracle, Position, Scene, Shape, ShapesProblem, Size, Split};
use serde_json::{Value, json};

type ComparisonOutcome<T = ()> = Result<T, Box<dyn std::error::Error>>;

fn main() -> ComparisonOutcome {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["--judge", file] => judge(Path::new(file)),
        [folder, demonstrations, pairs] => dump(Path::new(folder), demonstrations.parse()?, pairs.parse()?, 0),
        [folder, demonstrations, pairs, seed] => {
            dump(Path::new(folder), demonstrations.parse()?, pairs.parse()?, seed.parse()?)
        }
        _ => Err("usage: dump_shapes FOLDER N_DEMONSTRATIONS N_PAIRS [SEED] | dump_shapes --judge FILE".into()),
    }
}

fn dump(folder: &Path, n_demonstrations: u64, n_pairs: u64, seed: u64) -> ComparisonOutcome {
    fs::create_dir_all(folder.join("images"))?;
    let problem = ShapesProblem::new(seed);
    let save = |name: String, scene: &Scene| -> ComparisonOutcome<String> {
        let path = format!("images/{name}.png");
        scene.render().to_rgb8().save(folder.join(&path))?;
        Ok(path)
    };
    let names = |attributes: &[Attribute]| attributes.iter().map(|attribute| attribute.name()).collect::<Vec<_>>();
    write_lines(&folder.join("demonstrations.jsonl"), n_demonstrations, |index| {
        let shown = problem.demonstration(Split::Train, index);
        let image = save(format!("demonstration-{index}"), &shown.shown)?;
        Ok(json!({"caption": shown.caption, "image": image, "wrong": names(&shown.wrong)}))
    })?;
    for split in Split::ALL {
        let count = if split == Split::Train { n_pairs } else { n_pairs / 10 };
        write_lines(&folder.join(format!("{}.jsonl", split.name())), count, |index| {
            let pair = problem.pair(split, index);
            let chosen = save(format!("{}-{index}-chosen", split.name()), &pair.chosen)?;
            let rejected = save(format!("{}-{index}-rejected", split.name()), &pair.rejected)?;
            let differing = names(&pair.differing);
            Ok(json!({"prompt": pair.caption, "chosen": chosen, "rejected": rejected, "differing": differing}))
        })?;
    }
    Ok(())
}

fn write_lines(path: &Path, count: u64, line: impl Fn(u64) -> ComparisonOutcome<Value>) -> ComparisonOutcome {
    let mut file = BufWriter::new(File::create(path)?);
    for index in 0..count {
        writeln!(file, "{}", line(index)?)?;
    }
    Ok(file.flush()?)
}

fn judge(file: &Path) -> ComparisonOutcome {
    let folder = file.parent().unwrap_or(Path::new(""));
    for line in BufReader::new(File::open(file)?).lines() {
        let record: Value = serde_json::from_str(&line?)?;
        let text = |field: &str| record[field].as_str().ok_or(format!("no text called {field}"));
        let wanted = Scene::from_caption(text("caption")?).ok_or("not a caption of builtin:shapes")?;
        let picture = Pixels::from_rgb8(&image::open(folder.join(text("image")?))?.into_rgb8());
        let found = Oracle::read(&picture);
        println!(
            "{}",
            json!({
                "shape": found.shape.map(Shape::word), "colour": found.colour.map(Colour::word),
                "size": found.size.map(Size::word), "position": found.position.map(Position::words),
                "right": found.right(&wanted), "confidence": found.confidence, "residual": found.residual,
                "score": found.score(&wanted)
            })
        );
    }
    Ok(())
}
