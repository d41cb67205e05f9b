//! Prints the summary of a finished training run.
use std::fmt::Write as _;

use recipes::settings::{Modality, fields};
use recipes::{Suggestion, Trained, TrainingStatus};

use crate::console;

/// Prints a run's result and the suggested next command.
pub(crate) fn print(trained: &Trained) {
    let folder = trained.folder.display();
    match &trained.status {
        TrainingStatus::Finished => console::result(&done(trained)),
        TrainingStatus::RoundsFinished { last } => {
            let last = last.display();
            console::result(&format!("{}\n\nrounds       {folder}\nlast run     {last}", trained.table));
        }
        TrainingStatus::Interrupted { after: Some(steps) } => {
            console::notice(&format!("stopped after step {steps}; go on with: hybrid-dpo train --resume {folder}"));
        }
        TrainingStatus::Interrupted { after: None } => {
            console::notice(&format!("stopped; go on with: hybrid-dpo train --resume {folder}"));
        }
        TrainingStatus::AwaitingLabels { round, pairs } => console::result(&format!(
            "round {round} waits for people: hybrid-dpo label --pairs {}\n\
             and then:                hybrid-dpo train --resume {folder}",
            pairs.display()
        )),
    }
}

fn done(trained: &Trained) -> String {
    let folder = trained.folder.display();
    let mut text = format!("{}\n\nrun folder   {folder}", trained.table);
    if let Some((first, last)) = trained.pictures {
        let _ = write!(text, "\npictures     {folder}/samples/step-{first}.png and step-{last}.png");
    }
    if let Some(suggestion) = &trained.suggestion {
        let _ = write!(text, "\nnext         hybrid-dpo {}", command(suggestion, &folder.to_string()));
    }
    text
}

/// The suggested next command.
fn command(suggestion: &Suggestion, run: &str) -> String {
    match suggestion {
        Suggestion::Sample { mdp, prompts } => {
            let (kind, n, out) = match mdp {
                Modality::Token => ("", " --n 2", ""),
                Modality::Diffusion => (" --mdp diffusion", " --n 2", " --out pictures.jsonl"),
                Modality::Hybrid => (" --mdp hybrid", "", " --out pictures.jsonl"),
            };
            let (asked, limit) = match prompts {
                None => ("--prompt 'TEXT'".to_owned(), ""),
                Some(prompts) if prompts.starts_with("builtin:") => (format!("--prompts {prompts}"), ""),
                Some(prompts) => (format!("--prompts {prompts}"), " --limit-prompts 4"),
            };
            format!("sample{kind} --model {run} {asked}{n}{limit}{out}")
        }
        Suggestion::Chat => format!("sample --model {run} --chat --prompt 'Who are you?'"),
        Suggestion::Score { reference, data: (path, value) } => {
            let flag = fields().find(|field| field.path == *path).map_or("data", |field| field.name);
            format!("score --mdp diffusion --model {run} --reference {reference} --{flag} {value}")
        }
    }
}
