//! Prompts of rounds.
use std::path::Path;

use ::train::write_whole;
use datasets::holdout::{PromptHash, hold_out};
use datasets::synthetic::Split;
use datasets::{Prompt, Text};
use mdp::chance::drawn;

use crate::embedded::is_embedded;
use crate::sampling::{embedded_prompts, read_prompts};
use crate::settings::{Modality, Values};
use crate::{Failure, Reporter, embedded, holdout};

/// The source of the prompts; an embedded model defaults to its problem's.
pub(super) fn source(values: &mut Values) -> Result<String, Failure> {
    let mdp = values.run.mdp();
    let model = match mdp {
        Modality::Hybrid => values.hybrid.refiner(),
        Modality::Token | Modality::Diffusion => values.model.model(),
    };
    let problem = embedded::owner(model.unwrap_or_default(), mdp);
    let source = values.sample.prompts().or(problem.map(|problem| problem.name)).unwrap_or_default().to_owned();
    if source.is_empty() {
        return Err(Failure::usage("`rounds.rounds` need `sample.prompts` FILE: what the policy is asked"));
    }
    if let Some(problem) = embedded::find(&source) {
        values.preset(|settings| embedded::answer_requests(problem, settings));
    }
    Ok(source)
}

/// Training and evaluation prompts of rounds.
pub(super) struct Prompts {
    source: String,
    /// The prompts of a file; embedded ones are generated on demand.
    asked: Vec<Prompt>,
    pub(super) held_out: Vec<Prompt>,
    /// A hash of the held-out prompts of a file.
    split: Option<String>,
}

/// The file with that hash, in the folder of rounds.
const SPLIT: &str = "held-out.hash";

impl Prompts {
    pub(super) fn read(source: String, values: &Values, reporter: &dyn Reporter) -> Result<Self, Failure> {
        let n = values.train.eval_examples();
        if is_embedded(&source) {
            let held_out = embedded_prompts(&source, Split::Test, 0..n as u64, values)?;
            return Ok(Self { source, asked: Vec::new(), held_out, split: None });
        }
        let all = read_prompts(&source, values, reporter)?;
        let share = holdout::eval_share(values)?;
        let seed = values.run.seed();
        let (asked, held_out) = hold_out(all.iter().map(|prompt| PromptHash::of(&prompt.text)), share, seed)?;
        holdout::check_rest(share, asked.len(), all.len(), "prompts")?;
        let split = blake3::hash(format!("{held_out:?}").as_bytes()).to_hex().to_string();
        let looked_at = drawn(seed, "evaluation", n, held_out.len());
        let held_out = looked_at.into_iter().map(|place| held_out[place]).collect();
        let pick = |rows: Vec<usize>| rows.into_iter().map(|row| all[row].clone()).collect();
        Ok(Self { source, asked: pick(asked), held_out: pick(held_out), split: Some(split) })
    }

    /// Whether any of them is a chat.
    pub(super) fn have_chats(&self) -> bool {
        self.asked.iter().chain(&self.held_out).any(|prompt| matches!(prompt.text, Text::Chat(_)))
    }

    /// Records the held-out prompts in a new folder; resumed rounds must hold out the same ones, or they would train on
    /// evaluation prompts.
    pub(super) fn keep_split(&self, folder: &Path) -> Result<(), Failure> {
        let Some(split) = &self.split else { return Ok(()) };
        let path = folder.join(SPLIT);
        if folder.join("round-1").exists() {
            let noted = std::fs::read_to_string(&path).unwrap_or_default();
            return if noted.trim() == split {
                Ok(())
            } else {
                let source = &self.source;
                Err(Failure::failed(format!(
                    "{}: the rounds began with other prompts held out than {source} has now; begin them anew",
                    folder.display()
                )))
            };
        }
        Ok(write_whole(&path, |file| std::io::Write::write_all(file, split.as_bytes()))?)
    }

    /// The prompts of a round; each round continues where the one before ended.
    pub(super) fn of_round(&self, round: usize, n: usize, values: &Values) -> Result<Vec<Prompt>, Failure> {
        let numbers = (round - 1) * n..round * n;
        if is_embedded(&self.source) {
            return embedded_prompts(&self.source, Split::Train, numbers.start as u64..numbers.end as u64, values);
        }
        Ok(numbers.map(|i| self.asked[i % self.asked.len()].clone()).collect())
    }
}

/// A prompt as a line of a prompt file.
pub(super) fn line(prompt: &Prompt) -> String {
    prompt.to_json().to_string()
}

#[cfg(test)]
mod tests {
    use datasets::Text;
    use serde_json::json;

    use super::*;
    use crate::QUIET;

    /// The split agrees with that of pair files with these prompts.
    #[test]
    fn prompts_are_held_out_by_their_text_whatever_file_they_are_in() {
        let folder = tempfile::tempdir().unwrap();
        let prompts: Vec<String> = (0..20).map(|number| format!("say {}", number * 7 % 13)).collect();
        let record = |prompt: &String| format!("{}\n", json!({"prompt": prompt, "chosen": "yes", "rejected": "no"}));
        let files =
            [("prompts.txt", prompts.join("\n")), ("pairs.jsonl", prompts.iter().map(record).collect::<String>())];
        let mut values = Values::default();
        values.merge_set("data.eval_share=0.25").unwrap();
        let hashes = prompts.iter().map(|prompt| PromptHash::of_plain(prompt));
        let (asked, held_out) = hold_out(hashes, 0.25, values.run.seed()).unwrap();
        assert!((4..=6).contains(&held_out.len()), "{held_out:?}");
        let of = |rows: Vec<usize>| -> Vec<Prompt> {
            rows.into_iter().map(|row| Text::from(prompts[row].as_str()).into()).collect()
        };
        let (asked, held_out) = (of(asked), of(held_out));
        for (name, text) in files {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            let found = Prompts::read(path.display().to_string(), &values, &QUIET).unwrap();
            assert_eq!((&found.asked, &found.held_out), (&asked, &held_out), "{name}");
        }
    }
}
