//! What is asked for.
use std::path::Path;

use datasets::synthetic::shapes::Split;
use datasets::synthetic::{chimera, shapes, tldr};
use datasets::{Message, Text};

use crate::Failure;
use crate::values::Values;

/// Embedded prompts unless `--limit-prompts` says otherwise.
const BUILTIN_PROMPTS: usize = 8;

/// The prompts that `--prompts` names.
pub(super) fn read_prompts(source: &str, values: &Values) -> Result<Vec<Text>, Failure> {
    let seed = values.count("run.seed").unwrap_or(0) as u64;
    let n = values.count("sample.limit").unwrap_or(BUILTIN_PROMPTS) as u64;
    match source {
        "builtin:tldr" => {
            let problem = tldr::Problem::new(seed);
            return Ok((0..n).map(|i| Text::Plain(problem.pair(Split::Test, i).prompt)).collect());
        }
        "builtin:shapes" => {
            let problem = shapes::Problem::new(seed);
            return Ok((0..n).map(|i| Text::Plain(problem.pair(Split::Test, i).caption)).collect());
        }
        "builtin:chimera" => {
            let problem = chimera::Problem::new(seed);
            return Ok((0..n).map(|i| Text::Plain(problem.pair(Split::Test, i).request)).collect());
        }
        _ if source.starts_with("builtin:") => {
            let known = "builtin:tldr, builtin:shapes and builtin:chimera";
            let text = format!("there are no embedded prompts `{source}`; there are {known}");
            return Err(Failure::usage(text));
        }
        _ => {}
    }
    if let Some(ending) = [".json", ".gz", ".parquet"].into_iter().find(|ending| source.ends_with(ending)) {
        return Err(Failure::usage(format!("--prompts takes .txt or .jsonl, not {ending} ({source})")));
    }
    let path = Path::new(source);
    let text = std::fs::read_to_string(path).map_err(|e| Failure::failed(format!("{source}: {e}")))?;
    let json = path.extension().is_some_and(|extension| extension == "jsonl");
    let mut prompts = Vec::new();
    for (i, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        prompts.push(if json { parse_prompt(source, i + 1, line)? } else { Text::Plain(line.to_owned()) });
    }
    if prompts.is_empty() {
        return Err(Failure::failed(format!("{source}: there are no prompts in it")));
    }
    Ok(prompts)
}

fn parse_prompt(source: &str, line: usize, text: &str) -> Result<Text, Failure> {
    let failed = |what: String| Failure::failed(format!("{source}, line {line}: {what}"));
    let value: serde_json::Value = serde_json::from_str(text).map_err(|e| failed(format!("broken JSON: {e}")))?;
    match value.get("prompt") {
        Some(serde_json::Value::String(prompt)) => Ok(Text::Plain(prompt.clone())),
        Some(messages @ serde_json::Value::Array(_)) => {
            let messages: Vec<Message> = serde_json::from_value(messages.clone())
                .map_err(|e| failed(format!("`prompt` is no list of messages: {e}")))?;
            Ok(Text::Chat(messages))
        }
        _ => Err(failed("no field `prompt` with a text or messages".into())),
    }
}
