//! Sections 5.2 and 6: reasoning that learns from checked answers, and a verifier that ranks them (STaR, V-STaR).
mod results;
mod votes;

use datasets::synthetic::arithmetic::{
    ArithmeticProblem, END_OF_TEXT, Expression, OPERATIONS, Oracle, Reading, STEP_TOKENS, Split, prompt_tokens,
    response_text, response_tokens, tokenizer_json,
};
use mdp::chance::Noise;
use mdp::token::{TokenMdp, TokenState};
use mdp::{Episode, EpisodeOf};
use models::causal::CausalLm;
use models::formats::ModelFiles;
use policies::Policy;
use serde::{Deserialize, Serialize};

use self::votes::{Candidate, Way};
use crate::small::{Lesson, Preferring, Small, Tried, right_and_wrong, right_ones, sampled};
use crate::statistics::mean;
use crate::{FigureResult, Result, Scale, Setup};

/// The strength of the verifier's KL penalty.
const BETA: f64 = 1.0;
/// Learning rates of the base, of imitation, and of DPO.
const RATES: [f64; 3] = [3e-3, 1e-3, 3e-4];
/// The most pairs of a problem.
const PAIRS: usize = 2;

/// The number of samples of a test problem, and those that a choice is among.
const AMONG: [usize; 5] = [1, 2, 4, 8, 16];

/// Models that propose answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Proposer {
    /// What learned from demonstrations.
    Base,
    /// What imitated its own right answers.
    Star,
    /// What learned from pairs of right and wrong answers; the verifier itself.
    Dpo,
}

impl Proposer {
    const ALL: [Self; 3] = [Self::Base, Self::Star, Self::Dpo];

    fn name(self) -> &'static str {
        match self {
            Self::Base => "base",
            Self::Star => "STaR",
            Self::Dpo => "DPO (the verifier)",
        }
    }
}

/// What was measured with a seed.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Numbers {
    /// Accuracy by proposer, way to choose, and number of samples.
    accuracy: Vec<Vec<Vec<f64>>>,
    /// Right answers that were imitated, and pairs.
    learned_from: [usize; 2],
    /// Shares of wrong answers whose result of least implicit reward, or of least log-probability by the base, is the first wrong
    /// one; `None` if no answer is wrong.
    pointing: Option<[f64; 2]>,
}

/// The models of a seed, without their training state.
struct Models {
    base: CausalLm,
    star: CausalLm,
    dpo: CausalLm,
}

/// Trains and judges with every seed.
pub(crate) fn run(setup: &Setup<'_>) -> Result<FigureResult> {
    let small = Small::new(tokenizer_json(), END_OF_TEXT, 40)?;
    let mut all: Vec<Numbers> = Vec::new();
    for seed in setup.seeds() {
        all.push(setup.kept(&format!("verifier-seed-{seed}"), || numbers(setup, &small, seed))?);
    }
    Ok(results::figure(setup, &all))
}

/// The base, which learned from demonstrations.
fn base(setup: &Setup<'_>, small: &Small, seed: u64) -> Result<ModelFiles> {
    let size = if setup.scale == Scale::Full { (64, 3) } else { (16, 1) };
    let (start, steps) = (small.untrained(size, seed)?, setup.sizes().reasoning.base_steps);
    let lesson = Lesson { seed, steps, rate: RATES[0] };
    setup.imitated(&format!("verifier-base-seed-{seed}"), (&small.mdp, &start), lesson, || {
        let problem = ArithmeticProblem::new(seed);
        let shown = |index| {
            let shown = problem.demonstration(Split::Train, index);
            Episode::whole(prompt(&shown.expression), response_tokens(&shown.expression, &shown.solution))
        };
        Ok((0..(steps * Lesson::BATCH) as u64).map(shown).collect())
    })
}

fn prompt(expression: &Expression) -> TokenState {
    TokenState::new(prompt_tokens(expression))
}

/// An answer with what the oracle reads in it.
struct Answer {
    episode: EpisodeOf<TokenMdp>,
    reading: Reading,
}

impl Answer {
    fn judged(&self) -> (&EpisodeOf<TokenMdp>, bool) {
        (&self.episode, self.reading.is_right)
    }
}

/// Several answers of a model to each problem.
fn answers(
    setup: &Setup<'_>,
    (small, model): (&Small, &CausalLm),
    problems: &[Expression],
    n: usize,
    rng: &mut mdp::Rng,
) -> Result<Vec<Vec<Answer>>> {
    let starts: Vec<TokenState> = problems.iter().flat_map(|problem| vec![prompt(problem); n]).collect();
    let episodes = sampled(setup, &small.mdp, model, &starts, rng)?;
    let mut all: Vec<Vec<Answer>> = Vec::with_capacity(problems.len());
    let mut episodes = episodes.into_iter();
    for problem in problems {
        let read = |episode: EpisodeOf<TokenMdp>| {
            let tokens: Vec<u32> = episode.pieces.iter().flat_map(|piece| piece.actions.iter().copied()).collect();
            Answer { reading: Oracle::read(problem, &response_text(&tokens)), episode }
        };
        all.push(episodes.by_ref().take(n).map(read).collect());
    }
    Ok(all)
}

/// Samples, imitates the right, prefers the right to the wrong, and judges.
fn numbers(setup: &Setup<'_>, small: &Small, seed: u64) -> Result<Numbers> {
    let base = base(setup, small, seed)?;
    let (sizes, noise) = (setup.sizes().reasoning, Noise::new(seed));
    let problem = ArithmeticProblem::new(seed);
    let problems: Vec<Expression> = (0..sizes.tried[0]).map(|index| problem.expression(Split::Train, index)).collect();
    let model = base.clone().frozen()?;
    let n = sizes.tried[1] as usize;
    let tried = answers(setup, (small, &model), &problems, n, &mut noise.stream("tries", 0))?;
    let tried: Vec<Tried<'_>> = tried.iter().map(|answers| answers.iter().map(Answer::judged).collect()).collect();
    let (right, pairs) = (right_ones(&tried), right_and_wrong(&tried, PAIRS));
    let learned_from = [right.len(), pairs.len()];
    let lesson = |at: usize| Lesson { seed, steps: sizes.steps[at], rate: RATES[1 + at] };
    let (start, preferring) = ((&small.mdp, &base), Preferring { beta: BETA, sft_weight: 0.0 });
    let star = setup.imitated(&format!("verifier-star-seed-{seed}"), start, lesson(0), || Ok(right))?;
    let dpo = setup.preferring(&format!("verifier-dpo-seed-{seed}"), start, (lesson(1), preferring), pairs)?;
    let models = Models { base: model, star: star.frozen()?, dpo: dpo.frozen()? };
    judged(setup, small, &models, (problem, noise), learned_from)
}

/// Judges every proposer's answers to the test problems.
fn judged(
    setup: &Setup<'_>,
    small: &Small,
    models: &Models,
    (problem, noise): (ArithmeticProblem, Noise),
    learned_from: [usize; 2],
) -> Result<Numbers> {
    let tests: Vec<Expression> =
        (0..setup.sizes().reasoning.tests).map(|index| problem.expression(Split::Test, index)).collect();
    let n = AMONG[AMONG.len() - 1];
    let (mut accuracy, mut pointing) = (Vec::new(), None);
    for proposer in Proposer::ALL {
        let model = match proposer {
            Proposer::Base => &models.base,
            Proposer::Star => &models.star,
            Proposer::Dpo => &models.dpo,
        };
        let answers = answers(setup, (small, model), &tests, n, &mut noise.stream("tests", proposer as u64))?;
        if proposer == Proposer::Base {
            pointing = pointed(small, models, &answers)?;
        }
        let candidates = candidates(small, (model, models), &answers)?;
        let by_way = |way: Way| AMONG.iter().map(|k| way.accuracy(&candidates, *k)).collect();
        accuracy.push(Way::ALL.into_iter().map(by_way).collect());
    }
    Ok(Numbers { accuracy, learned_from, pointing })
}

/// The log-probabilities of each answer's tokens, in nats.
fn log_probs(small: &Small, model: &CausalLm, answers: &[Vec<Answer>]) -> Result<mdp::Steps> {
    let episodes: Vec<EpisodeOf<TokenMdp>> = answers.iter().flatten().map(|answer| answer.episode.clone()).collect();
    Ok(model.score(&small.mdp, &episodes)?.log_probs)
}

fn candidates(
    small: &Small,
    (own, models): (&CausalLm, &Models),
    answers: &[Vec<Answer>],
) -> Result<Vec<Vec<Candidate>>> {
    let scores = |model| -> Result<Vec<f64>> {
        Ok(log_probs(small, model, answers)?.rows().map(|row| row.iter().sum()).collect())
    };
    let (own, verifier, reference) = (scores(own)?, scores(&models.dpo)?, scores(&models.base)?);
    let mut rows = own.into_iter().zip(verifier).zip(reference);
    let mut all = Vec::with_capacity(answers.len());
    for answers in answers {
        let of = |(answer, ((own, verifier), reference)): (&Answer, ((f64, f64), f64))| {
            let Reading { answer, is_right, .. } = answer.reading;
            Candidate { is_right, answer, own, verifier, reference }
        };
        all.push(answers.iter().zip(rows.by_ref()).map(of).collect());
    }
    Ok(all)
}

/// How often the result with the least number is the first wrong one: by implicit reward and by the base's log-probability, among
/// wrong answers that have all their steps.
fn pointed(small: &Small, models: &Models, answers: &[Vec<Answer>]) -> Result<Option<[f64; 2]>> {
    let (verifier, base) = (log_probs(small, &models.dpo, answers)?, log_probs(small, &models.base, answers)?);
    let (mut by_reward, mut by_base) = (Vec::new(), Vec::new());
    for ((answer, verifier), base) in answers.iter().flatten().zip(verifier.rows()).zip(base.rows()) {
        let Some(wrong) = answer.reading.first_wrong.filter(|_| base.len() == OPERATIONS * STEP_TOKENS + 3) else {
            continue;
        };
        let result = |step: usize| (step + 1) * STEP_TOKENS - 2;
        let least = |number: &dyn Fn(usize) -> f64| {
            (0..OPERATIONS).min_by(|a, b| number(result(*a)).total_cmp(&number(result(*b))))
        };
        by_reward.push(f64::from(u8::from(least(&|at| verifier[at] - base[at]) == Some(wrong))));
        by_base.push(f64::from(u8::from(least(&|at| base[at]) == Some(wrong))));
    }
    Ok((!by_base.is_empty()).then(|| [mean(by_reward), mean(by_base)]))
}
