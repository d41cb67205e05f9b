//! The verbs `sample` and `search`.
use std::process::ExitCode;

use recipes::Failure;
use recipes::settings::Modality;

use crate::{Invocation, piped, print, stop};

/// Examples of `sample`.
pub(crate) const HELP: &str = "Examples:
  hybrid-dpo sample --mdp hybrid --prompts builtin:chimera --n 2 --out pictures.jsonl
  hybrid-dpo sample --mdp hybrid --prompts builtin:chimera --limit-prompts 64 --pairs pairs
  hybrid-dpo sample --model runs/first --prompts prompts.txt --n 4 --temperature 0.7 --out samples.jsonl
  hybrid-dpo sample --model runs/first --prompts prompts.txt --search diverse --width 6 --groups 3 --pairs pairs
      the two sides of a pair are found by diverse beams instead of drawn";
/// Examples of `search`.
pub(crate) const HELP_SEARCH: &str = "Examples:
  hybrid-dpo search --model runs/first --prompts prompts.txt --method beam --width 5
  hybrid-dpo search --model runs/first --prompts prompts.txt --method best-of --width 16 --score implicit
  hybrid-dpo search --mdp diffusion --method smc --score implicit --model runs/second --out pictures.jsonl
  hybrid-dpo search --mdp hybrid --method refinements --prompts builtin:chimera --out pictures.jsonl";

/// Draws or finds answers and pictures; of pairs it says what comes next.
pub(crate) fn sample(asked: &Invocation) -> Result<ExitCode, Failure> {
    if asked.values.run.mdp() != Modality::Token || asked.values.sample.search().is_some() {
        stop::listen("stopping after this step")?;
    } else {
        stop::end_at_once()?;
    }
    print(asked, &piped::prompts(asked, recipes::sample)?);
    if let Some(pairs) = asked.values.label.pairs() {
        asked.console.info(&format!("next: hybrid-dpo judge --pairs {pairs} (or label, for people)"));
    }
    Ok(ExitCode::SUCCESS)
}

/// Searches for answers and pictures.
pub(crate) fn search(asked: &Invocation) -> Result<ExitCode, Failure> {
    stop::listen("stopping after this step")?;
    print(asked, &piped::prompts(asked, recipes::search)?);
    Ok(ExitCode::SUCCESS)
}
