//! Prints the summary of a finished training run.
use std::fmt::Write as _;

use recipes::amounts::counted;
use recipes::settings::{Modality, fields};
use recipes::{Suggestion, Trained, TrainingStatus};
use train::Ending;

use crate::console;
use crate::output::COLUMNS;

/// Prints a run's result and the suggested next command.
pub(crate) fn print(trained: &Trained) {
    let folder = trained.folder.display();
    match &trained.status {
        TrainingStatus::Finished => console::result(&done(trained)),
        TrainingStatus::FinishedBefore { steps, is_early } => {
            let longer = if *is_early {
                "early stopping ended it, so more steps change nothing".to_owned()
            } else {
                format!("longer       hybrid-dpo train --resume {folder} --max-steps {}", steps * 2)
            };
            console::result(&format!(
                "{}\n\n{folder} has finished: {} are done, and nothing has changed\n{longer}",
                trained.table,
                counted(*steps, "step")
            ));
        }
        TrainingStatus::Planned => console::result(&trained.table),
        TrainingStatus::Precomputed { examples, is_interrupted } => precomputed(trained, *examples, *is_interrupted),
        TrainingStatus::RoundsFinished { last } => {
            let last = last.display().to_string();
            let mut text = format!("{}\n\nrounds       {folder}\nlast run     {last}", trained.table);
            if let Some(suggestion) = &trained.suggestion {
                let _ = write!(text, "\n{}", next(&command(suggestion, &last)));
            }
            console::result(&text);
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

fn precomputed(trained: &Trained, examples: usize, is_interrupted: bool) {
    let what = format!("{}: the reference's numbers of {}", trained.folder.display(), counted(examples, "example"));
    if is_interrupted {
        console::notice(&format!("stopped; {what} are kept, and the same command goes on from there"));
    } else {
        console::result(&what);
    }
}

fn done(trained: &Trained) -> String {
    let folder = trained.folder.display();
    let mut text = format!("{}\n\nrun folder   {folder}", trained.table);
    if let Some((first, last)) = trained.pictures {
        let _ = write!(text, "\npictures     {folder}/samples/step-{first}.png and step-{last}.png");
    }
    let outcome = trained.outcome.as_ref();
    if let Some((metric, value)) = outcome.and_then(|outcome| outcome.best.as_ref()) {
        let _ = write!(text, "\nbest         {folder}/best ({metric} {value:.4})");
    }
    if let Some(steps) = outcome.filter(|outcome| outcome.ending == Ending::StoppedEarly).map(|outcome| outcome.steps) {
        let _ = write!(text, "\nended early  after {}: evaluations had stopped improving", counted(steps, "step"));
    }
    if let Some(dtype) = trained.rounded {
        let _ = write!(text, "\nrounded      model/ is in {dtype}, as its base: small steps are lost in part");
        text.push_str("\n             (--save-dtype f32 keeps all of them)");
    }
    if let Some(suggestion) = &trained.suggestion {
        let _ = write!(text, "\n{}", next(&command(suggestion, &folder.to_string())));
    }
    text
}

/// The row of the next command, continued as shells read it where it would not fit a terminal.
fn next(command: &str) -> String {
    let (mut row, mut width) = ("next         hybrid-dpo".to_owned(), "next         hybrid-dpo".len());
    for (at, part) in command.split(" --").enumerate() {
        let part = if at == 0 { part.to_owned() } else { format!("--{part}") };
        let length = part.chars().count();
        // A blank and the backslash stand behind it.
        if at > 0 && width + 1 + length + 2 > COLUMNS {
            row.push_str(" \\\n                ");
            width = 16;
        } else {
            row.push(' ');
            width += 1;
        }
        row.push_str(&part);
        width += length;
    }
    row
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
                Some(prompts) if recipes::is_embedded(prompts) => (format!("--prompts {prompts}"), ""),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_command_fits_a_terminal_and_a_shell_reads_it_whole() {
        let short = "sample --model run --prompts builtin:tldr --n 2";
        assert_eq!(next(short), format!("next         hybrid-dpo {short}"));
        let long = "sample --mdp hybrid --model run --prompts builtin:chimera --out pictures.jsonl";
        let row = next(long);
        assert!(row.lines().count() == 2 && row.lines().all(|line| line.len() <= COLUMNS), "{row}");
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(words(&row.replace("\\\n", "")), words(&format!("next hybrid-dpo {long}")));
    }
}
