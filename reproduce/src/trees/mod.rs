//! Section 6: conversation trees, as forests and as pairs of sibling replies.
mod forests;
mod results;

use datasets::TreePairs;
use datasets::synthetic::dialogue::{
    DialogueProblem, END_OF_TEXT, Split, TURNS, Turn, question_tokens, read, reply_tokens, tokenizer_json,
};
use mdp::chance::Noise;
use mdp::token::{TokenMdp, TokenState};
use mdp::{Episode, EpisodeOf, Piece};
use models::causal::CausalLm;
use models::formats::ModelFiles;
use serde::{Deserialize, Serialize};

use self::forests::{Conversation, Forests, Losses, accuracy, losses};
use crate::small::{Lesson, Preferring, Small, sampled};
use crate::statistics::mean;
use crate::{FigureResult, Result, Scale, Setup};

/// The strength of the KL penalty.
const BETA: f64 = 1.0;
/// Learning rates of the base and of DPO.
const RATES: [f64; 2] = [3e-3, 3e-4];
/// Conversations of a step of DPO.
const BATCH: usize = 4;

/// How a policy learns from trees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// Each conversation as one forest, with every pair of its siblings.
    Forest,
    /// Every pair of siblings by itself.
    All,
    /// The pairs of neighbouring ranks.
    Adjacent,
    /// The pair of the best and the worst sibling.
    BestWorst,
}

impl Way {
    const ALL: [Self; 4] = [Self::Forest, Self::All, Self::Adjacent, Self::BestWorst];

    fn name(self) -> &'static str {
        match self {
            Self::Forest => "forests",
            Self::All => "all pairs",
            Self::Adjacent => "adjacent pairs",
            Self::BestWorst => "best and worst",
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Forest => "forest",
            Self::All => "all",
            Self::Adjacent => "adjacent",
            Self::BestWorst => "best-worst",
        }
    }

    fn pairs(self) -> TreePairs {
        match self {
            Self::Forest => TreePairs::Forest,
            Self::All => TreePairs::All,
            Self::Adjacent => TreePairs::Adjacent,
            Self::BestWorst => TreePairs::BestWorst,
        }
    }
}

/// How good the replies of a policy are.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Quality {
    /// The mean grade by user turn, from 0 to 3.
    grades: [f64; TURNS],
    /// Share of replies with the right list.
    right: f64,
    /// Share of replies in the good manner.
    polite: f64,
}

/// What was measured of one way to learn.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct OfWay {
    /// Comparisons in a pass over the data.
    comparisons: usize,
    /// Tokens that a pass computes, of each item alone.
    tokens: usize,
    /// Share of held-out pairs of siblings that the implicit reward orders rightly.
    accuracy: f64,
    quality: Quality,
}

/// What was measured with a seed.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Numbers {
    ways: Vec<OfWay>,
    base: Quality,
    /// Tokens of all sides of all pairs, with nothing shared.
    unshared: usize,
    losses: Losses,
}

/// Trains and judges with every seed.
pub(crate) fn run(setup: &Setup<'_>) -> Result<FigureResult> {
    let small = Small::new(tokenizer_json(), END_OF_TEXT, 48)?;
    let mut all: Vec<Numbers> = Vec::new();
    for seed in setup.seeds() {
        all.push(setup.kept(&format!("trees-seed-{seed}"), || numbers(setup, &small, seed))?);
    }
    Ok(results::figure(setup, &all))
}

/// The tokens of turns as context.
fn said(turns: &[Turn]) -> Vec<u32> {
    turns.iter().flat_map(|turn| [&question_tokens(turn.thing)[..], &reply_tokens(&turn.reply)].concat()).collect()
}

/// The base, which learned from demonstrations.
fn base(setup: &Setup<'_>, small: &Small, seed: u64) -> Result<ModelFiles> {
    let size = if setup.scale == Scale::Full { (64, 2) } else { (16, 1) };
    let (start, steps) = (small.untrained(size, seed)?, setup.sizes().trees.base_steps);
    let lesson = Lesson { seed, steps, rate: RATES[0] };
    setup.imitated(&format!("trees-base-seed-{seed}"), (&small.mdp, &start), lesson, || {
        let problem = DialogueProblem::new(seed);
        let shown = |index| of_turns(&problem.demonstration(Split::Train, index));
        Ok((0..(steps * Lesson::BATCH) as u64).map(shown).collect())
    })
}

/// A conversation whose replies are decisions.
fn of_turns(turns: &[Turn]) -> EpisodeOf<TokenMdp> {
    let first = turns.first().map(|turn| question_tokens(turn.thing)).unwrap_or_default();
    let prompt = TokenState::new(first).prompt;
    let piece = |at: usize| {
        let turn = &turns[at];
        let before = [&said(&turns[..at])[..], &question_tokens(turn.thing)].concat();
        let start = TokenState { prompt: std::sync::Arc::clone(&prompt), response: before[first.len()..].to_vec() };
        Piece { start, actions: reply_tokens(&turn.reply), weight: 1.0 }
    };
    Episode { pieces: (0..turns.len()).map(piece).collect() }
}

/// Trains in every way from the same trees, and judges.
fn numbers(setup: &Setup<'_>, small: &Small, seed: u64) -> Result<Numbers> {
    let (files, sizes) = (base(setup, small, seed)?, setup.sizes().trees);
    let problem = DialogueProblem::new(seed);
    let conversations = |split, n: usize| -> Vec<Conversation> {
        (0..n as u64).map(|index| Conversation::of(&problem.tree(split, index))).collect()
    };
    let (trained, tests) = (conversations(Split::Train, sizes.trees), conversations(Split::Test, sizes.tests));
    let base = files.clone().frozen()?;
    let mut ways = Vec::new();
    let mut by_forests = None;
    for way in Way::ALL {
        let data = Forests::of(&trained, way);
        let steps = sizes.trees.div_ceil(BATCH);
        let lesson = Lesson { seed, steps, rate: RATES[1] };
        let settings = lesson.settings_of(data.n_items().div_ceil(steps));
        let name = format!("trees-{}-seed-{seed}", way.word());
        let preferring = Preferring { beta: BETA, sft_weight: 0.0 };
        let model = setup.comparing(&name, (&small.mdp, &files), (settings, preferring), &data)?.frozen()?;
        ways.push(OfWay {
            comparisons: data.n_comparisons(),
            tokens: data.n_computed(&base)?,
            accuracy: accuracy(small, (&model, &base), &tests)?,
            quality: quality(setup, small, &model, (problem, seed))?,
        });
        by_forests.get_or_insert(model);
    }
    let losses = match &by_forests {
        Some(model) => losses(small, (model, &base), &tests, BETA)?,
        None => Losses::default(),
    };
    let unshared = Forests::of(&trained, Way::All).n_unshared();
    Ok(Numbers { ways, base: quality(setup, small, &base, (problem, seed))?, unshared, losses })
}

/// The replies of a policy in held-out conversations, whose turns before are as demonstrations have them.
fn quality(
    setup: &Setup<'_>,
    small: &Small,
    model: &CausalLm,
    (problem, seed): (DialogueProblem, u64),
) -> Result<Quality> {
    let mut asked: Vec<(Vec<usize>, TokenState)> = Vec::new();
    for index in 0..setup.sizes().trees.tests as u64 {
        let turns = problem.demonstration(Split::Test, index);
        for n in 0..TURNS {
            let things = turns[..=n].iter().map(|turn| turn.thing).collect();
            let context = [&said(&turns[..n])[..], &question_tokens(turns[n].thing)].concat();
            asked.push((things, TokenState::new(context)));
        }
    }
    let starts: Vec<TokenState> = asked.iter().map(|(_, start)| start.clone()).collect();
    let rng = &mut Noise::new(seed).stream("replies", 0);
    let replies = sampled(setup, &small.mdp, model, &starts, rng)?;
    let (mut grades, mut right, mut polite): ([Vec<f64>; TURNS], _, _) = (Default::default(), Vec::new(), Vec::new());
    for ((things, _), episode) in asked.iter().zip(&replies) {
        let reply = episode.pieces.first().and_then(|piece| read(&piece.actions));
        let is = |is: bool| f64::from(u8::from(is));
        grades[things.len() - 1].push(reply.as_ref().map_or(0, |reply| reply.grade(things)) as f64);
        right.push(is(reply.as_ref().is_some_and(|reply| reply.list == *things)));
        polite.push(is(reply.is_some_and(|reply| reply.is_polite)));
    }
    Ok(Quality { grades: grades.map(mean), right: mean(right), polite: mean(polite) })
}
