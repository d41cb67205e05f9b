//! Language models.
use std::path::Path;

use datasets::pairs::{GeneratedPair, GeneratedResult, Modality, NewResult, PairWriter};
use datasets::{Origin, Prompt, Text};
use engine::Noise;
use models::causal::{CausalLm, GenerationConfig};
use models::formats::{ModelFiles, ModelTokenizer};
use policies::Persist as _;
use serde_json::{Map, Value, json};
use train::token::Sample;
use train::{can_write, write_lines};

use super::chat;
use super::prompts::{PromptSource, own_problem};
use super::stop::Stops;
use crate::divided::{chunks, in_turns, places};
use crate::embedded::{ModelKind, usual};
use crate::sampled::{Sampled, SampledAnswer, SampledResult};
use crate::settings::{Values, at};
use crate::{Call, Failure, device, model, text};

/// Samples one answer per prompt, which must leave room below `max_length`; each prompt has its own random stream.
pub(crate) fn draw(
    model: &CausalLm,
    tokenizer: &ModelTokenizer,
    prompts: &[Vec<u32>],
    sampling: &GenerationConfig,
    max_length: usize,
    seed: u64,
) -> Result<Vec<Sample>, Failure> {
    let noise = Noise::new(seed);
    let longest = prompts.iter().map(Vec::len).max().unwrap_or(0);
    let room = max_length.min(model.config().max_positions).saturating_sub(longest);
    let sampling = GenerationConfig {
        max_new: sampling.max_new.min(room.max(1)),
        vocabulary: Some(tokenizer.n_tokens()),
        ..sampling.clone()
    };
    let mut rngs: Vec<_> = (0..prompts.len()).map(|i| noise.stream("sample", i as u64)).collect();
    let answers = model.generate(prompts, &sampling, &mut rngs)?;
    prompts
        .iter()
        .zip(answers)
        .map(|(prompt, mut answer)| {
            if answer.last().is_some_and(|last| tokenizer.eos.contains(last)) {
                answer.pop();
            }
            Ok(Sample { prompt: tokenizer.decode(prompt)?, response: tokenizer.decode(&answer)? })
        })
        .collect()
}

pub(crate) fn sample(call: &Call<'_>) -> Result<Vec<Sampled>, Failure> {
    let values = &call.values;
    check_settings(values)?;
    let name = model_name(values);
    let files = model::load(name, values)?;
    model::say_ignored(&files, call.reporter);
    let tokenizer = files.tokenizer()?.clone();
    let room = Room::of(values, &files)?;
    let EncodedPrompts { prompts, encoded } = EncodedPrompts::read(call, &files)?;
    let n = values.sample.n();
    if values.label.pairs().is_some() {
        super::check_count(encoded.len(), n)?;
        let other = match values.model.reference() {
            Some(other) => Some(model::load_beside(&files, other, values)?.frozen()?),
            None => None,
        };
        let own = files.frozen()?;
        draw_pairs(call, (&own, other.as_ref()), &tokenizer, (&prompts, &encoded), n, room)?;
        return Ok(Vec::new());
    }
    let model = files.frozen()?;
    // Prompts take their turns.
    super::check_count(1, n)?;
    let lines = draw_all(call, &model, &tokenizer, (&prompts, &encoded), n, room)?;
    call.out().map_or(Ok(()), |out| write_lines(out, &lines))?;
    Ok(lines)
}

/// The prompts, and their tokens.
pub(crate) struct EncodedPrompts {
    pub(crate) prompts: Vec<Prompt>,
    pub(crate) encoded: Vec<Vec<u32>>,
}

impl EncodedPrompts {
    /// Reads the prompts that the settings name; each must leave room for an answer.
    pub(crate) fn read(call: &Call<'_>, files: &ModelFiles) -> Result<Self, Failure> {
        let values = &call.values;
        let tokenise = text::plain_tokenise(files)?;
        let most = Room::of(values, files)?.most;
        let asked = PromptSource::of(values, own_problem(model_name(values), Modality::Token))?;
        let source = asked.name();
        let mut prompts = asked.read(values, call.reporter)?;
        chat::prepare(&mut prompts, values, files.tokenizer()?, source)?;
        if let Some(hint) = chat::hint(&prompts, files.tokenizer()?) {
            call.reporter.info(hint);
        }
        let mut encoded = Vec::new();
        for (i, prompt) in prompts.iter().enumerate() {
            let origin = Origin::generated(source, i as u64 + 1);
            let tokens = tokenise.prompt(&origin, &prompt.text, &prompt.variables)?;
            if tokens.len() >= most {
                let text = format!("{source}, prompt {}: {} tokens leave no room below {most}", i + 1, tokens.len());
                return Err(Failure::failed(text));
            }
            encoded.push(tokens);
        }
        Ok(Self { prompts, encoded })
    }
}

/// The room for prompts and answers, in tokens.
#[derive(Clone, Copy)]
pub(crate) struct Room {
    /// Of a prompt and its answer together.
    pub(crate) most: usize,
    /// Of an answer.
    new: usize,
}

impl Room {
    /// The model's positions, within `data.max_length` unless `sample.max_new_tokens` takes its place.
    pub(crate) fn of(values: &Values, files: &ModelFiles) -> Result<Self, Failure> {
        let positions = files.config.max_positions;
        match values.sample.max_new_tokens() {
            Some(0) => Err(Failure::usage("`sample.max_new_tokens` takes at least 1")),
            Some(new) if !values.is_given(&at::data::max_length) => Ok(Self { most: positions, new }),
            new => Ok(Self { most: values.data.max_length().min(positions), new: new.unwrap_or(usize::MAX) }),
        }
    }

    /// The most tokens of an answer to a prompt of so many.
    pub(crate) fn answer(self, prompt: usize) -> usize {
        self.most.saturating_sub(prompt).min(self.new)
    }
}

/// The name of the model that answers.
pub(crate) fn model_name(values: &Values) -> &str {
    values.model.model().unwrap_or(usual(Modality::Token).model_name(ModelKind::Language))
}

/// Checks the settings before anything is loaded.
fn check_settings(values: &Values) -> Result<(), Failure> {
    let sample = &values.sample;
    for (field, n) in
        [(&at::sample::n, Some(sample.n())), (&at::sample::top_k, sample.top_k()), (&at::sample::limit, sample.limit())]
    {
        if n == Some(0) {
            return Err(Failure::usage(format!("{field} takes at least 1")));
        }
    }
    let (temperature, top_p) = (sample.temperature(), sample.top_p().unwrap_or(1.0));
    if temperature < 0.0 {
        return Err(Failure::usage(format!("`sample.temperature` takes a number from 0 up, not {temperature}")));
    }
    if temperature == 0.0 && values.label.pairs().is_some() && values.model.reference().is_none() {
        return Err(Failure::usage(
            "`sample.temperature` 0 says the same twice: pairs need chance, or another model (`model.reference`)",
        ));
    }
    let (min_p, penalty) = (sample.min_p().unwrap_or(0.0), sample.repetition_penalty());
    if !(0.0..=1.0).contains(&min_p) {
        return Err(Failure::usage(format!("`sample.min_p` takes a number from 0 to 1, not {min_p}")));
    }
    if penalty <= 0.0 {
        return Err(Failure::usage(format!("`sample.repetition_penalty` takes a positive number, not {penalty}")));
    }
    if sample.stop().iter().any(String::is_empty) {
        return Err(Failure::usage("`sample.stop` takes a text that is not empty"));
    }
    if !(top_p > 0.0 && top_p <= 1.0) {
        return Err(Failure::usage(format!("`sample.top_p` takes a number above 0 and at most 1, not {top_p}")));
    }
    Ok(values.run.out().map_or(Ok(()), |out| can_write(Path::new(out)))?)
}

/// Answers that are drawn at once: those of one prompt, or of as many prompts as fit.
const ANSWERS_AT_ONCE: usize = 64;

fn draw_all(
    call: &Call<'_>,
    model: &CausalLm,
    tokenizer: &ModelTokenizer,
    (prompts, encoded): (&[Prompt], &[Vec<u32>]),
    n: usize,
    room: Room,
) -> Result<Vec<Sampled>, Failure> {
    let values = &call.values;
    let noise = Noise::new(values.run.seed());
    let bar = call.reporter.bar("sample", encoded.len());
    let mut lines = Vec::new();
    let (sampling, stops) =
        (text::generation(values, tokenizer, room.most), Stops::new(values.sample.stop(), tokenizer));
    let at_once = (ANSWERS_AT_ONCE / n).max(1);
    let of = |chunk: usize| places(chunk, at_once, encoded.len());
    let answer = |chunk: usize| {
        call.reporter.go_on()?;
        let asked: Vec<usize> = of(chunk).flat_map(|i| i * n..(i + 1) * n).collect();
        let copies: Vec<Vec<u32>> = asked.iter().map(|number| encoded[number / n].clone()).collect();
        let longest: Vec<usize> = copies.iter().map(|tokens| room.answer(tokens.len())).collect();
        let mut rngs: Vec<_> = asked.iter().map(|&number| noise.stream("sample", number as u64)).collect();
        let answers = model.generate_until(&copies, &longest, &sampling, &mut rngs, &mut |tokens| stops.end(tokens));
        answers.map_err(|error| Failure::failed(error.to_string()))
    };
    in_turns(call.reporter.ranks(), chunks(encoded.len(), at_once), answer, |chunk, answers: Vec<Vec<u32>>| {
        for (number, tokens) in (of(chunk).start * n..).zip(answers) {
            let prompt = &prompts[number / n];
            let (response, is_stopped) = stops.cut(response_text(tokenizer, &tokens)?);
            let finished = is_stopped || tokens.last().is_some_and(|last| tokenizer.eos.contains(last));
            let messages = chat::with_answer(prompt, &response);
            let answer = SampledAnswer { prompt: prompt_text(prompt), response, tokens, finished, messages };
            lines.push(Sampled::drawn(SampledResult::Answer(answer)));
        }
        bar.inc(of(chunk).len() as u64);
        Ok(())
    })?;
    bar.finish_and_clear();
    Ok(lines)
}

/// Pairs that are made at once.
const PAIRS_AT_ONCE: usize = 32;

/// Two answers to each prompt, `sample.n` times, to be judged. Several processes divide them, and the first writes all.
fn draw_pairs(
    call: &Call<'_>,
    makers: (&CausalLm, Option<&CausalLm>),
    tokenizer: &ModelTokenizer,
    (prompts, encoded): (&[Prompt], &[Vec<u32>]),
    n: usize,
    room: Room,
) -> Result<(), Failure> {
    let values = &call.values;
    let path = Path::new(values.label.pairs().unwrap_or_default());
    let ranks = call.reporter.ranks();
    let create = || {
        Ok::<_, Failure>(PairWriter::create(path, Modality::Token, pair_settings(values, makers, room.most)?, None)?)
    };
    let writer = ranks.is_leader().then(create).transpose()?;
    // Batches have prompts of one length, so that every answer has all the room that its own prompt leaves.
    let mut numbers: Vec<usize> = (0..encoded.len() * n).collect();
    numbers.sort_by_key(|i| encoded[i / n].len());
    let batches = numbers.chunk_by(|i, j| encoded[i / n].len() == encoded[j / n].len());
    let batches: Vec<&[usize]> = batches.flat_map(|numbers| numbers.chunks(PAIRS_AT_ONCE)).collect();
    let makers = [makers.0, makers.1.unwrap_or(makers.0)];
    let work = |batch: usize| {
        call.reporter.go_on()?;
        draw_batch(values, makers, tokenizer, (prompts, encoded), (batches[batch], n), room)
    };
    let bar = call.reporter.bar("pairs", numbers.len());
    let (mut all, mut cut) = (Vec::with_capacity(numbers.len()), 0);
    in_turns(ranks, batches.len(), work, |_, (drawn, n_cut): (Vec<Drawn>, usize)| {
        bar.inc(drawn.len() as u64);
        all.extend(drawn);
        cut += n_cut;
        Ok(())
    })?;
    bar.finish_and_clear();
    let Some(writer) = writer else { return Ok(()) };
    if cut > 0 {
        call.reporter.info(&format!("{cut} answers are cut off at `data.max_length`"));
    }
    all.sort_by_key(|(number, _)| *number);
    write_pairs(writer, prompts, &all, n)?;
    call.reporter.info(&super::describe_pairs(all.len(), path));
    Ok(())
}

/// The number of a pair, and its answers.
type Drawn = (usize, [String; 2]);

/// The pairs of a batch, and how many of their answers are cut off.
fn draw_batch(
    values: &Values,
    makers: [&CausalLm; 2],
    tokenizer: &ModelTokenizer,
    (prompts, encoded): (&[Prompt], &[Vec<u32>]),
    (numbers, n): (&[usize], usize),
    room: Room,
) -> Result<(Vec<Drawn>, usize), Failure> {
    let stops = Stops::new(values.sample.stop(), tokenizer);
    let finished = |answer: &[u32]| answer.last().is_some_and(|last| tokenizer.eos.contains(last));
    let asked: Vec<Vec<u32>> = numbers.iter().map(|i| encoded[i / n].clone()).collect();
    let longest = vec![room.answer(asked[0].len()); asked.len()];
    let sampling = text::generation(values, tokenizer, room.most);
    let mut drawn: Vec<Drawn> = numbers.iter().map(|number| (*number, Default::default())).collect();
    let mut cut = 0;
    for (side, maker) in makers.into_iter().enumerate() {
        let stream = |&i: &usize| Noise::new(values.run.seed()).stream("pair", (i * 2 + side) as u64);
        let mut rngs: Vec<_> = numbers.iter().map(stream).collect();
        let mut ends = |tokens: &[u32]| stops.end(tokens);
        let made = maker.generate_until(&asked, &longest, &sampling, &mut rngs, &mut ends)?;
        for ((number, sides), answer) in drawn.iter_mut().zip(made) {
            let asked = (&prompts[*number / n], &encoded[*number / n][..]);
            let (text, is_stopped) = stops.cut(continued_text(tokenizer, asked, &answer)?);
            cut += usize::from(!is_stopped && !finished(&answer));
            sides[side] = text;
        }
    }
    Ok((drawn, cut))
}

/// Writes the pairs, `n` for each prompt.
fn write_pairs(mut writer: PairWriter, prompts: &[Prompt], drawn: &[Drawn], n: usize) -> Result<(), Failure> {
    for (number, sides) in drawn {
        let side = |side: usize| candidate(&sides[side], (number * 2 + side) as u64);
        writer.push(&GeneratedPair { request: prompt_text(&prompts[number / n]), a: side(0), b: side(1) })?;
    }
    Ok(writer.finish().map(drop)?)
}

/// One side of a pair.
pub(crate) fn candidate(answer: &str, seed: u64) -> GeneratedResult<NewResult<'_>> {
    GeneratedResult { refined: None, made: NewResult::Response(answer), seed, log_probs: None }
}

/// The settings that reproduce a folder of pairs.
///
/// Where one model makes both sides there is no `other`.
pub(crate) fn pair_settings(
    values: &Values,
    (own, other): (&CausalLm, Option<&CausalLm>),
    most: usize,
) -> Result<Map<String, Value>, Failure> {
    Ok(super::settings_map(&json!({
        "model": model_name(values), "side_b_model": other.and(values.model.reference()),
        "fingerprint": own.fingerprint()?, "side_b_fingerprint": other.unwrap_or(own).fingerprint()?,
        "seed": values.run.seed(), "temperature": Some(values.sample.temperature()), "top_k": values.sample.top_k(),
        "top_p": values.sample.top_p(), "min_p": values.sample.min_p(), "max_length": most,
        "repetition_penalty": values.sample.repetition_penalty(), "max_new_tokens": values.sample.max_new_tokens(),
        "precision": device::kept(values),
    })))
}

/// An answer without its end.
pub(crate) fn response_text(tokenizer: &ModelTokenizer, answer: &[u32]) -> Result<String, Failure> {
    let finished = answer.last().is_some_and(|last| tokenizer.eos.contains(last));
    Ok(tokenizer.decode(&answer[..answer.len() - usize::from(finished)])?)
}

/// An answer without EOS as a side of a pair: the text that continues a plain prompt, or what is said in a chat.
pub(crate) fn continued_text(
    tokenizer: &ModelTokenizer,
    (prompt, encoded): (&Prompt, &[u32]),
    answer: &[u32],
) -> Result<String, Failure> {
    match &prompt.text {
        Text::Plain(_) => continuation_text(tokenizer, encoded, answer),
        Text::Chat(_) => response_text(tokenizer, answer),
    }
}

/// An answer without EOS, as the text that continues a plain prompt: with the space before its first word, which some
/// tokenizers drop at the start of a text.
fn continuation_text(tokenizer: &ModelTokenizer, prompt: &[u32], answer: &[u32]) -> Result<String, Failure> {
    let alone = response_text(tokenizer, answer)?;
    let finished = answer.last().is_some_and(|last| tokenizer.eos.contains(last));
    let whole = tokenizer.decode(&[prompt, &answer[..answer.len() - usize::from(finished)]].concat())?;
    let rest = whole.strip_prefix(&tokenizer.decode(prompt)?).filter(|rest| rest.trim_start() == alone.trim_start());
    Ok(rest.map_or(alone.clone(), str::to_owned))
}

pub(crate) fn prompt_text(prompt: &Prompt) -> String {
    match &prompt.text {
        Text::Plain(text) => text.clone(),
        Text::Chat(messages) if prompt.variables.is_empty() => serde_json::to_string(messages).unwrap_or_default(),
        Text::Chat(_) => prompt.to_json().to_string(),
    }
}
