//! Writes the data of `builtin:chimera` to files, and judges pictures, for use by other programs.
//!
//! `cargo run -p datasets --example dump_chimera -- FOLDER N_DEMONSTRATIONS N_PAIRS [SEED]` writes `refiner.jsonl` (prompt,
//! response), `generator.jsonl` (caption, image), and `train.jsonl`, `validation.jsonl` and `test.jsonl` (request, chosen,
//! rejected, each with its refined prompt and image); a tenth as many pairs in the last two. Pictures are PNG files in
//! `images/`.
//!
//! `... -- --perfect` reads JSONL of `request` and `refined` from standard input and adds `score`: what the oracle makes of
//! a picture of exactly what the refined prompt says.
//!
//! `... -- --judge` reads JSONL of `request` and `image` (a path) and adds what the oracle reads in each picture, and its
//! `score`.
#![expect(clippy::print_stdout, clippy::disallowed_methods, reason = "an example speaks with its user")]

use std::fs::{self, File};
use std::io::{BufRead, BufWriter, Write};
use std::path::Path;

use datasets::Pixels;
use datasets::synthetic::chimera::{
    Body, ChimeraProblem, ChimeraSide, Colour, Field, Head, Oracle, Said, Scene, Split, Wanted, refiner_prompt,
    refiner_response,
};
use serde_json::{Value, json};

type ComparisonOutcome<T = ()> = Result<T, Box<dyn std::error::Error>>;

fn main() -> ComparisonOutcome {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["--perfect"] => each_line(perfect),
        ["--judge"] => each_line(judge),
        [folder, demonstrations, pairs] => dump(Path::new(folder), demonstrations.parse()?, pairs.parse()?, 0),
        [folder, demonstrations, pairs, seed] => {
            dump(Path::new(folder), demonstrations.parse()?, pairs.parse()?, seed.parse()?)
        }
        _ => Err("usage: dump_chimera FOLDER N_DEMONSTRATIONS N_PAIRS [SEED] | --perfect | --judge".into()),
    }
}

fn dump(folder: &Path, n_demonstrations: u64, n_pairs: u64, seed: u64) -> ComparisonOutcome {
    fs::create_dir_all(folder.join("images"))?;
    let problem = ChimeraProblem::new(seed);
    let save = |name: String, scene: &Scene| -> ComparisonOutcome<String> {
        let path = format!("images/{name}.png");
        scene.render().to_rgb8().save(folder.join(&path))?;
        Ok(path)
    };
    write_lines(&folder.join("refiner.jsonl"), n_demonstrations, |index| {
        let shown = problem.refinement(Split::Train, index);
        let prompt = refiner_prompt(&shown.request.text());
        Ok(json!({"prompt": prompt, "response": refiner_response(&shown.refined)}))
    })?;
    write_lines(&folder.join("generator.jsonl"), n_demonstrations, |index| {
        let shown = problem.demonstration(Split::Train, index);
        let image = save(format!("demonstration-{index}"), &shown.shown)?;
        Ok(json!({"caption": shown.caption, "image": image}))
    })?;
    for split in Split::ALL {
        let count = if split == Split::Train { n_pairs } else { n_pairs / 10 };
        write_lines(&folder.join(format!("{}.jsonl", split.name())), count, |index| {
            let pair = problem.pair(split, index);
            let side = |name: &str, side: &ChimeraSide| -> ComparisonOutcome<Value> {
                let image = save(format!("{}-{index}-{name}", split.name()), &side.scene)?;
                Ok(json!({"refined": side.refined, "image": image}))
            };
            let (chosen, rejected) = (side("chosen", &pair.chosen)?, side("rejected", &pair.rejected)?);
            Ok(json!({"request": pair.request, "chosen": chosen, "rejected": rejected}))
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

fn each_line(add: impl Fn(&mut Value, Wanted) -> ComparisonOutcome) -> ComparisonOutcome {
    for line in std::io::stdin().lock().lines() {
        let mut record: Value = serde_json::from_str(&line?)?;
        let wanted = Wanted::from_request(text(&record, "request")?).ok_or("not a request of builtin:chimera")?;
        add(&mut record, wanted)?;
        println!("{record}");
    }
    Ok(())
}

fn text<'r>(record: &'r Value, field: &str) -> ComparisonOutcome<&'r str> {
    Ok(record[field].as_str().ok_or(format!("no text called {field}"))?)
}

/// What isn't said is drawn as something else than what is wanted.
fn perfect(record: &mut Value, wanted: Wanted) -> ComparisonOutcome {
    let wrong = Scene::all().find(|scene| wanted.share(scene) == 0.0).ok_or("every scene has something right")?;
    let shown = Said::read(text(record, "refined")?).scene(wrong);
    record["score"] = json!(Oracle::score(&wanted, &shown.render()));
    Ok(())
}

fn judge(record: &mut Value, wanted: Wanted) -> ComparisonOutcome {
    let picture = Pixels::from_rgb8(&image::open(text(record, "image")?)?.into_rgb8());
    let found = Oracle::read(&picture);
    record["head"] = json!(found.head.map(Head::word));
    record["body"] = json!(found.body.map(Body::word));
    record["colour"] = json!(found.colour.map(Colour::word));
    record["field"] = json!(found.field.map(Field::word));
    record["residual"] = json!(found.residual);
    record["score"] = json!(found.score(&wanted));
    Ok(())
}
