//! Scores text examples by a language model.
use std::path::PathBuf;
use std::sync::Arc;

use datasets::{Example, ExampleKind};
use mdp::token::{TokenMdp, TokenState};
use mdp::{Episode, Steps};
use models::causal::CausalLm;
use policies::Policy;
use train::{can_write, write_lines};

use super::{AnswerScore, AnswerScores, Scored, Scores, TextScores};
use crate::{Call, Failure, model, text};

pub(super) fn score(call: &Call<'_>) -> Result<Vec<Scored>, Failure> {
    let mut values = call.values.clone();
    let name = call.values.model.model().ok_or_else(|| Failure::usage("score needs `model.model`"))?;
    let data = call.values.data.data().ok_or_else(|| Failure::usage("score needs `data.data`"))?;
    let beta = super::beta(&values)?;
    let micro = values.train.micro_batch_size();
    if micro == 0 {
        return Err(Failure::usage("`train.micro_batch_size` takes at least 1"));
    }
    let out = values.run.out().map(PathBuf::from);
    out.as_deref().map_or(Ok(()), can_write)?;
    let files = model::load(name, &values)?;
    model::say_ignored(&files, call.reporter);
    text::fit_lengths(&mut values, &files)?;
    let values = &values;
    let tokenise = text::tokenise(&files, values)?;
    let data = text::open(data, text::Part::Train, &tokenise, values, call.reporter)?;
    files.tokenizer()?.notes.iter().for_each(|note| call.reporter.info(note));
    call.reporter.info(&data.audit().to_string());
    let mdp = TokenMdp {
        vocabulary: files.config.vocabulary as u32,
        eos: files.eos().to_vec(),
        max_length: tokenise.settings().max_length,
    };
    let reference = match values.model.reference() {
        Some(name) => Some(model::load_beside(&files, name, values)?.frozen()?),
        None => None,
    };
    let policy = files.frozen()?;
    let bar = call.reporter.bar("score", data.len());
    let mut lines = Vec::with_capacity(data.len());
    for from in (0..data.len()).step_by(micro) {
        let to = (from + micro).min(data.len());
        let examples = (from..to).map(|i| data.get(i)).collect::<Result<Vec<_>, _>>()?;
        lines.extend(score_examples(&mdp, &policy, reference.as_ref(), &examples, beta)?);
        bar.set_position(to as u64);
    }
    bar.finish_and_clear();
    out.map_or(Ok(()), |out| write_lines(&out, &lines))?;
    Ok(lines)
}

/// One line for each example.
fn score_examples(
    mdp: &TokenMdp,
    policy: &CausalLm,
    reference: Option<&CausalLm>,
    examples: &[Example],
    beta: f64,
) -> Result<Vec<Scored>, Failure> {
    let episodes: Vec<_> = examples
        .iter()
        .flat_map(|example| {
            let start = TokenState::new(Arc::clone(&example.prompt));
            example.responses.iter().map(move |response| Episode::whole(start.clone(), response.clone()))
        })
        .collect();
    let log_probs = policy.score(mdp, &episodes)?.log_probs;
    let reference = reference.map(|model| model.score(mdp, &episodes)).transpose()?.map(|channels| channels.log_probs);
    let mut lines = Vec::with_capacity(examples.len());
    let mut at = 0;
    for example in examples {
        lines.push(line(example, at, &log_probs, reference.as_ref(), beta));
        at += example.responses.len();
    }
    Ok(lines)
}

/// An example whose responses are the rows from `at` on.
fn line(example: &Example, at: usize, log_probs: &Steps, reference: Option<&Steps>, beta: f64) -> Scored {
    let answer = |i: usize| AnswerScore {
        tokens: example.responses[i].clone(),
        log_probs: log_probs.row(at + i).to_vec(),
        reference_log_probs: reference.map(|r| r.row(at + i).to_vec()),
    };
    let ratio = |i: usize| {
        let own: f64 = log_probs.row(at + i).iter().sum();
        reference.map(|r| own - r.row(at + i).iter().sum::<f64>())
    };
    let answers = match example.kind {
        ExampleKind::Pair => AnswerScores::Pair {
            chosen: answer(0),
            rejected: answer(1),
            margin: ratio(0).zip(ratio(1)).map(|(c, r)| beta * (c - r)),
        },
        ExampleKind::Ranked => AnswerScores::Ranked { ranked: (0..example.responses.len()).map(answer).collect() },
        ExampleKind::Labelled { desirable } => AnswerScores::Labelled { completion: answer(0), label: desirable },
        ExampleKind::Demonstration => AnswerScores::Demonstration { completion: answer(0) },
    };
    let scores = Scores::Texts(TextScores { prompt_tokens: example.prompt.to_vec(), answers });
    Scored { index: example.index, scores }
}
