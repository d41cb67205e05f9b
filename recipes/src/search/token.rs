//! Language models.
use std::path::Path;

use mdp::token::{TokenMdp, TokenState};
use models::causal::CausalLm;
use models::formats::{ModelFiles, ModelTokenizer};
use serde_json::{Value, json};
use train::write_lines;

use super::check::check_count;
use super::{Cast, methods};
use crate::sample::{Asked, prompt_text, response_text, sampling};
use crate::settings::{SearchMethod, Values, at};
use crate::{Call, Failure, model, sample};

pub(super) fn search(call: &Call<'_>) -> Result<Vec<Value>, Failure> {
    let values = &call.values;
    let name = sample::model_name(values);
    let files = model::load(name, values)?;
    model::say_ignored(&files, call.reporter);
    let tokenizer = files.tokenizer()?.clone();
    let asked = Asked::read(call, &files)?;
    let most = values.data.max_length().min(files.config.max_positions);
    // Prompts take their turns.
    check_count(values, 1)?;
    let vocabulary = files.config.vocabulary.min(tokenizer.n_tokens());
    check_width(values, name, vocabulary)?;
    let cast = cast(values, name, &files, &tokenizer, most)?;
    // A frozen model may share nothing with its files.
    drop(files);
    let mdp = TokenMdp { vocabulary: vocabulary as u32, eos: tokenizer.eos.clone(), max_length: most };
    let starts: Vec<TokenState> = asked.encoded.iter().map(|tokens| TokenState::new(tokens.clone())).collect();
    let longest: Vec<usize> = starts.iter().map(|start| most - start.len()).collect();
    let candidates = tokenizer.eos.len().saturating_add(1).max(2);
    let outcomes = methods::all(call, &mdp, &cast, (&starts, &longest), |running| running.named(candidates))?;
    let mut lines = Vec::new();
    for (prompt, outcome) in asked.prompts.iter().zip(outcomes) {
        for (found, numbers) in methods::all_described(values, &outcome) {
            let tokens = &found.episode.pieces[0].actions;
            let finished = tokens.last().is_some_and(|last| tokenizer.eos.contains(last));
            let response = response_text(&tokenizer, tokens)?;
            let line = json!({
                "prompt": prompt_text(prompt), "response": response, "tokens": tokens, "finished": finished,
            });
            lines.push(methods::line(line, numbers));
        }
    }
    values.run.out().map_or(Ok(()), |out| write_lines(Path::new(out), &lines))?;
    Ok(lines)
}

/// More actions than there are can't be looked at.
fn check_width(values: &Values, name: &str, vocabulary: usize) -> Result<(), Failure> {
    let width = values.search.width();
    let looks_at_actions = matches!(
        values.search.method(),
        SearchMethod::Greedy | SearchMethod::Beam | SearchMethod::Diverse | SearchMethod::Mcts
    );
    if looks_at_actions && width > vocabulary {
        let field = &at::search::width;
        return Err(Failure::usage(format!("{field} is {width}, but {name} has only {vocabulary} tokens")));
    }
    Ok(())
}

/// The models that the settings name; all read the tokens of the first.
fn cast(
    values: &Values,
    name: &str,
    files: &ModelFiles,
    tokenizer: &ModelTokenizer,
    most: usize,
) -> Result<Cast<CausalLm>, Failure> {
    let policy = files.clone().frozen()?.acting(sampling(values, tokenizer, most));
    Cast::of((name, policy), values, |field, other| {
        Ok(model::load_alike(files, other, &field.to_string(), values)?.frozen()?)
    })
}
