//! Records as a model reads them, token by token.
use datasets::{Dataset, Example, ExampleKind, Response};
use models::formats::ModelTokenizer;

use crate::Failure;

/// A record as the model reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShownRecord {
    /// Its index in the data.
    pub index: u64,
    /// The texts of the prompt's tokens, which are given and not scored.
    pub given: Vec<String>,
    /// The answers.
    pub answers: Vec<ShownAnswer>,
}

/// An answer of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShownAnswer {
    /// What it is: `chosen`, `rejected`, `rank 1`, `liked`, `disliked`, `answer`.
    pub label: String,
    /// Its tokens in runs, each given or scored; a plain answer is one scored run.
    pub runs: Vec<ShownRun>,
}

/// Tokens of an answer that stand together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShownRun {
    /// Whether the policy wrote them, so that they are scored.
    pub is_scored: bool,
    /// Their texts.
    pub tokens: Vec<String>,
}

/// The first records of a data set.
pub(super) fn records(data: &Dataset, tokenizer: &ModelTokenizer, n: usize) -> Result<Vec<ShownRecord>, Failure> {
    (0..n.min(data.len())).map(|index| Ok(record(&data.get(index)?, tokenizer))).collect()
}

fn record(example: &Example, tokenizer: &ModelTokenizer) -> ShownRecord {
    let label = |i: usize| match example.kind {
        ExampleKind::Pair => if i == 0 { "chosen" } else { "rejected" }.to_owned(),
        ExampleKind::Ranked => format!("rank {}", i + 1),
        ExampleKind::Forest => format!("reply {}", i + 1),
        ExampleKind::Labelled { desirable } => if desirable { "liked" } else { "disliked" }.to_owned(),
        ExampleKind::Demonstration => "answer".to_owned(),
    };
    let n_given = example.prompt.len();
    let answer = |(i, response): (usize, &Response)| {
        let whole = [&example.prompt[..], response].concat();
        ShownAnswer { label: label(i), runs: runs(response, pieces(&whole, n_given, tokenizer)) }
    };
    ShownRecord {
        index: example.index,
        given: pieces(&example.prompt, 0, tokenizer),
        answers: example.responses.iter().enumerate().map(answer).collect(),
    }
}

/// The tokens of an answer in runs.
fn runs(response: &Response, tokens: Vec<String>) -> Vec<ShownRun> {
    let is_scored = response.spread(&vec![(); response.n_scored()]);
    let mut runs: Vec<ShownRun> = Vec::new();
    for (token, is_scored) in tokens.into_iter().zip(is_scored.iter().map(Option::is_some)) {
        match runs.last_mut().filter(|run| run.is_scored == is_scored) {
            Some(run) => run.tokens.push(token),
            None => runs.push(ShownRun { is_scored, tokens: vec![token] }),
        }
    }
    runs
}

/// Tokens before one that its text may depend on.
const CONTEXT: usize = 4;

/// The texts of the tokens from `from` on: what each adds to the text, or its name in the vocabulary where it adds none.
fn pieces(tokens: &[u32], from: usize, tokenizer: &ModelTokenizer) -> Vec<String> {
    let piece = |at: usize| {
        let start = at.saturating_sub(CONTEXT);
        let (before, with) = (tokenizer.decode(&tokens[start..at]).ok()?, tokenizer.decode(&tokens[start..=at]).ok()?);
        let added = with.strip_prefix(&before)?;
        (!added.is_empty() && !added.contains('\u{fffd}')).then(|| added.to_owned())
    };
    let name = |token: u32| tokenizer.tokenizer().id_to_token(token).unwrap_or_else(|| format!("<{token}>"));
    (from..tokens.len()).map(|at| piece(at).unwrap_or_else(|| name(tokens[at]))).collect()
}
