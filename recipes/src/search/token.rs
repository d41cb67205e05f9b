//! Language models.
use std::path::Path;

use ::search::OutcomeOf;
use datasets::pairs::{GeneratedPair, Modality, PairWriter};
use mdp::token::{TokenMdp, TokenState};
use models::causal::CausalLm;
use models::formats::{ModelFiles, ModelTokenizer};
use train::write_lines;

use super::check::check_count;
use super::{Cast, methods, pairs};
use crate::sampled::{Sampled, SampledAnswer, SampledResult};
use crate::sampling::{self, EncodedPrompts, Room, candidate, chat, continued_text, prompt_text, response_text};
use crate::settings::{SearchMethod, Values, at};
use crate::{Call, Failure, model, text};

pub(super) fn search(call: &Call<'_>) -> Result<Vec<Sampled>, Failure> {
    let values = &call.values;
    let searched = Searched::open(call)?;
    if let Some(folder) = values.label.pairs() {
        searched.pairs(call, Path::new(folder))?;
        return Ok(Vec::new());
    }
    let mut lines = Vec::new();
    searched.each(call, |i, outcome| {
        for (found, numbers) in methods::all_described(values, &outcome) {
            let tokens = &found.episode.pieces[0].actions;
            let (prompt, response) = (&searched.asked.prompts[i], response_text(&searched.tokenizer, tokens)?);
            let answer = SampledAnswer {
                prompt: prompt_text(prompt),
                messages: chat::with_answer(prompt, &response),
                response,
                tokens: tokens.clone(),
                finished: searched.is_finished(tokens),
            };
            lines.push(Sampled { result: SampledResult::Answer(answer), search: Some(numbers) });
        }
        Ok(())
    })?;
    call.out().map_or(Ok(()), |out| write_lines(out, &lines))?;
    Ok(lines)
}

/// The models of a search and what they are asked.
struct Searched {
    asked: EncodedPrompts,
    tokenizer: ModelTokenizer,
    mdp: TokenMdp,
    cast: Cast<CausalLm>,
    room: Room,
}

impl Searched {
    /// Loads what the settings name.
    fn open(call: &Call<'_>) -> Result<Self, Failure> {
        let values = &call.values;
        let name = sampling::model_name(values);
        let files = model::load(name, values)?;
        model::say_ignored(&files, call.reporter);
        let tokenizer = files.tokenizer()?.clone();
        let asked = EncodedPrompts::read(call, &files)?;
        let room = Room::of(values, &files)?;
        let most = room.most;
        // Prompts take their turns.
        check_count(values, 1)?;
        let vocabulary = files.config.vocabulary.min(tokenizer.n_tokens());
        check_width(values, name, vocabulary)?;
        let cast = cast(values, name, &files, &tokenizer, most)?;
        let mdp = TokenMdp { vocabulary: vocabulary as u32, eos: tokenizer.eos.clone(), max_length: most };
        Ok(Self { asked, tokenizer, mdp, cast, room })
    }

    /// Searches for answers to every prompt.
    fn each(
        &self,
        call: &Call<'_>,
        done: impl FnMut(usize, OutcomeOf<TokenMdp>) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let starts: Vec<TokenState> = self.asked.encoded.iter().map(|tokens| TokenState::new(tokens.clone())).collect();
        let longest: Vec<usize> = starts.iter().map(|start| self.room.answer(start.len())).collect();
        let candidates = self.tokenizer.eos.len().saturating_add(1).max(2);
        methods::each(call, &self.mdp, &self.cast, (&starts, &longest), |running| running.named(candidates), done)
    }

    fn is_finished(&self, tokens: &[u32]) -> bool {
        tokens.last().is_some_and(|last| self.tokenizer.eos.contains(last))
    }

    /// Pairs of answers, to be judged.
    fn pairs(&self, call: &Call<'_>, folder: &Path) -> Result<(), Failure> {
        let values = &call.values;
        let (prompts, n) = (self.asked.prompts.len(), values.sample.n());
        check_count(values, prompts)?;
        let policy = &self.cast.policy;
        let settings = sampling::pair_settings(values, (policy, None), self.mdp.max_length)?;
        let settings = pairs::with_search(settings, values, &self.cast, |model| vec![model])?;
        let create = || PairWriter::create(folder, Modality::Token, settings, None);
        let mut writer = call.reporter.ranks().is_leader().then(create).transpose()?;
        let mut cut = 0;
        self.each(call, |i, outcome| {
            let asked = (&self.asked.prompts[i], &self.asked.encoded[i][..]);
            for sides in pairs::sides(&outcome.found, n) {
                let answers = sides.map(|found| &found.episode.pieces[0].actions[..]);
                cut += answers.iter().filter(|answer| !self.is_finished(answer)).count();
                let [a, b] = answers.map(|answer| continued_text(&self.tokenizer, asked, answer));
                let (a, b, seed) = (a?, b?, i as u64);
                let (request, a, b) = (prompt_text(asked.0), candidate(&a, seed), candidate(&b, seed));
                writer.as_mut().map_or(Ok(()), |writer| writer.push(&GeneratedPair { request, a, b }))?;
            }
            Ok(())
        })?;
        if cut > 0 {
            call.reporter.info(&format!("{cut} answers are cut off at `data.max_length` or by `search.budget`"));
        }
        pairs::finish(call, writer, (prompts * n, folder))
    }
}

/// More actions than there are can't be looked at.
pub(super) fn check_width(values: &Values, name: &str, vocabulary: usize) -> Result<(), Failure> {
    let width = values.search.width();
    let looks_at_actions = match values.search.method() {
        SearchMethod::Greedy
        | SearchMethod::Beam
        | SearchMethod::Diverse
        | SearchMethod::Mcts
        | SearchMethod::Refinements => true,
        SearchMethod::Sample | SearchMethod::BestOf | SearchMethod::Smc | SearchMethod::Verifier => false,
    };
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
    let policy = files.clone().frozen()?.acting(text::generation(values, tokenizer, most));
    Cast::of((name, policy), values, |field, other| {
        Ok(model::load_alike(files, other, &field.to_string(), values)?.frozen()?)
    })
}
