//! Scores text examples by a language model.
use std::sync::Arc;

use ::train::token::episode;
use datasets::{Example, ExampleKind};
use mdp::Steps;
use mdp::token::TokenMdp;
use models::causal::CausalLm;
use models::formats::ModelFiles;
use policies::Policy;

use super::{AnswerScore, AnswerScores, Scored, Scores, TextScores};
use crate::divided::{Travels, chunks, in_turns, places};
use crate::settings::Values;
use crate::{Call, Failure, model, text};

/// The scores of a data set, with the divergence of each example if it was asked for.
pub(crate) struct ScoredTexts {
    pub(crate) lines: Vec<Scored>,
    /// KL(reference, policy) summed over an example's answer tokens, nats, and their number.
    pub(crate) divergences: Vec<(f64, usize)>,
}

/// Which part of the data is scored, and whether the divergence from the reference is computed too.
#[derive(Clone, Copy)]
pub(crate) enum Depth {
    /// The scores alone, of the training part.
    Scores,
    /// Both, of the part that models are measured on.
    Divergence,
}

pub(super) fn score(call: &Call<'_>) -> Result<Vec<Scored>, Failure> {
    Ok(run(call, Depth::Scores, "score")?.lines)
}

/// Scores the data that the settings name.
pub(crate) fn run(call: &Call<'_>, depth: Depth, verb: &'static str) -> Result<ScoredTexts, Failure> {
    let mut values = call.values.clone();
    let name = call.values.model.model().ok_or_else(|| Failure::usage(format!("{verb} needs `model.model`")))?;
    let data = call.values.data.data().ok_or_else(|| Failure::usage(format!("{verb} needs `data.data`")))?;
    let beta = super::beta(&values)?;
    let micro = values.train.micro_batch_size();
    if micro == 0 {
        return Err(Failure::usage("`train.micro_batch_size` takes at least 1"));
    }
    let files = model::load(name, &values)?;
    model::say_ignored(&files, call.reporter);
    text::fit_lengths(&mut values, &files)?;
    let values = &values;
    let tokenise = text::tokenise(&files, values)?;
    let part = match depth {
        Depth::Scores => text::Part::Train,
        Depth::Divergence => text::Part::Measured,
    };
    let data = text::open(data, part, &tokenise, values, call.reporter)?;
    text::refuse_idle(values, data.audit())?;
    files.tokenizer()?.notes.iter().for_each(|note| call.reporter.info(note));
    call.reporter.info(&data.audit().to_string());
    let mdp = TokenMdp {
        vocabulary: files.config.vocabulary as u32,
        eos: files.eos().to_vec(),
        max_length: tokenise.settings().max_length,
    };
    let scorer = Scorer::load(mdp, files, values, beta, depth)?;
    let bar = call.reporter.bar(verb, data.len());
    let mut scored = ScoredTexts { lines: Vec::with_capacity(data.len()), divergences: Vec::new() };
    let of = |chunk: usize| places(chunk, micro, data.len());
    let examples = |chunk: usize| of(chunk).map(|i| data.get(i)).collect::<Result<Vec<Example>, _>>();
    let work = |chunk: usize| call.reporter.go_on().and_then(|()| scorer.score(&examples(chunk)?));
    in_turns(call.reporter.ranks(), chunks(data.len(), micro), work, |chunk, numbers| {
        scorer.add(&examples(chunk)?, &numbers, &mut scored);
        bar.set_position(of(chunk).end as u64);
        Ok(())
    })?;
    bar.finish_and_clear();
    Ok(scored)
}

/// A policy and its reference.
struct Scorer {
    mdp: TokenMdp,
    policy: CausalLm,
    reference: Option<Arc<CausalLm>>,
    beta: f64,
}

impl Scorer {
    fn load(mdp: TokenMdp, files: ModelFiles, values: &Values, beta: f64, depth: Depth) -> Result<Self, Failure> {
        let reference = match values.model.reference() {
            Some(name) => Some(Arc::new(model::load_beside(&files, name, values)?.frozen()?)),
            None => None,
        };
        let policy = files.frozen()?;
        let policy = match (&reference, depth) {
            (Some(reference), Depth::Divergence) => policy.diagnosed_against(Arc::clone(reference))?,
            (None, Depth::Divergence) | (_, Depth::Scores) => policy,
        };
        Ok(Self { mdp, policy, reference, beta })
    }

    /// The numbers of the examples' responses.
    fn score(&self, examples: &[Example]) -> Result<Numbers, Failure> {
        let episodes: Vec<_> = examples
            .iter()
            .flat_map(|example| example.responses.iter().map(|response| episode(&example.prompt, response)))
            .collect();
        let own = self.policy.score(&self.mdp, &episodes)?;
        let reference = self.reference.as_ref().map(|model| model.score(&self.mdp, &episodes)).transpose()?;
        let reference = reference.map(|channels| channels.log_probs);
        Ok(Numbers { log_probs: own.log_probs, reference, divergence: own.divergence })
    }

    /// Adds a line for each example.
    fn add(&self, examples: &[Example], numbers: &Numbers, scored: &mut ScoredTexts) {
        let Numbers { log_probs, reference, divergence } = numbers;
        let mut at = 0;
        for example in examples {
            let to = at + example.responses.len();
            scored.lines.push(line(example, at, log_probs, reference.as_ref(), self.beta));
            if let Some(divergence) = divergence {
                let rows = || (at..to).map(|row| divergence.row(row));
                scored.divergences.push((rows().flatten().sum(), rows().map(<[f64]>::len).sum()));
            }
            at = to;
        }
    }
}

/// The numbers of some responses, a row each.
struct Numbers {
    log_probs: Steps,
    reference: Option<Steps>,
    divergence: Option<Steps>,
}

impl Travels for Numbers {
    fn write(&self, to: &mut Vec<f64>) {
        self.log_probs.write(to);
        self.reference.write(to);
        self.divergence.write(to);
    }

    fn read(from: &mut dyn Iterator<Item = f64>) -> Option<Self> {
        Some(Self { log_probs: Steps::read(from)?, reference: Option::read(from)?, divergence: Option::read(from)? })
    }
}

/// An example whose responses are the rows from `at` on.
fn line(example: &Example, at: usize, log_probs: &Steps, reference: Option<&Steps>, beta: f64) -> Scored {
    let answer = |i: usize| AnswerScore {
        response: example.responses[i].clone(),
        log_probs: log_probs.row(at + i).to_vec(),
        reference_log_probs: reference.map(|r| r.row(at + i).to_vec()),
    };
    let ratio = |i: usize| {
        let weights = example.responses[i].scored_weights();
        let total = |row: &[f64]| row.iter().zip(&weights).map(|(number, weight)| number * weight).sum::<f64>();
        let own = total(log_probs.row(at + i));
        reference.map(|r| own - total(r.row(at + i)))
    };
    let answers = match example.kind {
        ExampleKind::Pair => AnswerScores::Pair {
            chosen: answer(0),
            rejected: answer(1),
            margin: ratio(0).zip(ratio(1)).map(|(c, r)| beta * (c - r)),
        },
        ExampleKind::Forest => AnswerScores::Forest {
            answers: (0..example.responses.len()).map(answer).collect(),
            comparisons: example.comparisons.iter().map(|&(better, worse)| [better, worse]).collect(),
        },
        ExampleKind::Ranked => AnswerScores::Ranked { ranked: (0..example.responses.len()).map(answer).collect() },
        ExampleKind::Labelled { desirable } => AnswerScores::Labelled { completion: answer(0), label: desirable },
        ExampleKind::Demonstration => AnswerScores::Demonstration { completion: answer(0) },
    };
    let scores = Scores::Texts(TextScores { prompt_tokens: example.prompt.to_vec(), answers });
    Scored { index: example.index, scores }
}
