//! Section 4 on problems that can be solved exactly.
mod checks;
mod problems;
mod residual;

use policies::BoxError;

use self::problems::Exact;
use self::residual::Data;
use crate::result::{Chart, Claim, FigureResult, Point, Rule, Series, Table};
use crate::statistics::{Measured, number};
use crate::{Figure, Result, Setup};

/// What rounding may leave of an identity.
const ROUNDING: f64 = 1e-9;

/// Checks the statements of Section 4, and trains tables.
pub(crate) fn run(setup: &Setup<'_>) -> Result<FigureResult> {
    let n = setup.sizes().problems;
    let mut problems = Vec::new();
    for index in 0..n {
        problems.push(Exact::of_tokens(setup.seed, index)?);
        problems.push(Exact::of_places(setup.seed, index)?);
    }
    let mut claims = identities(&problems)?;
    let (claim, table, chart) = residuals(setup)?;
    claims.extend(claim);
    let about = format!(
        "{} small problems with random rewards, references and betas, half of them token problems and half with ways \
         that meet again. Identities are checked as the largest deviation over all states, actions and pairs of \
         episodes. Tables of logits then learn by DPO from preferences of a known reward.",
        problems.len()
    );
    Ok(FigureResult { figure: Figure::Theory, about, claims, tables: vec![table], charts: vec![chart] })
}

/// The largest deviation over problems.
fn worst(problems: &[Exact], check: impl Fn(&Exact, u64) -> std::result::Result<f64, BoxError>) -> Result<Measured> {
    let mut most: f64 = 0.0;
    for (index, exact) in problems.iter().enumerate() {
        let deviation = check(exact, index as u64)?;
        most = if deviation.is_nan() { f64::NAN } else { most.max(deviation.abs()) };
    }
    Ok(Measured::exact(most))
}

fn identities(problems: &[Exact]) -> Result<Vec<Claim>> {
    let mut claims = vec![
        identity(
            "Lemma 1, App. A",
            "Rewards and optimal Q functions belong to each other one to one: a reward is recovered from its Q function",
            "largest difference of a reward from the reward of its Q function",
            worst(problems, |exact, _| checks::reward_comes_back(exact))?,
        ),
        identity(
            "Lemma 1, App. A",
            "Every table of Q values, so every set of logits, is the optimal Q function of some reward",
            "largest difference of a random Q table from the Q function of its reward",
            worst(problems, checks::q_comes_back)?,
        ),
        identity(
            "Theorem 1",
            "Shaping a reward by a potential keeps the optimal policy",
            "largest change of an optimal log-probability",
            worst(problems, checks::shaping_moves_the_policy)?,
        ),
        identity(
            "Theorem 1",
            "Shaping a reward by a potential that is 0 at the end keeps all preferences",
            "largest change of a preference between two episodes",
            worst(problems, |exact, index| checks::shaping_moves_preferences(exact, index, false))?,
        ),
    ];
    claims.extend(of_log_ratios(problems)?);
    claims.push(condition(problems)?);
    claims.extend(searches(problems)?);
    Ok(claims)
}

/// A claim that two sides are equal, up to rounding.
fn identity(place: &'static str, claim: &'static str, what: &str, measured: Measured) -> Claim {
    Claim::new(place, claim, what, measured, Rule::AtMost(ROUNDING))
}

/// Identities of the log-ratio to the reference.
fn of_log_ratios(problems: &[Exact]) -> Result<[Claim; 3]> {
    Ok([
        identity(
            "Theorem 1, Eq. 8 and 11",
            "The log-ratio of the optimal policy induces the preferences of the reward",
            "largest difference of a preference",
            worst(problems, |exact, _| checks::implicit_reward_moves_preferences(exact))?,
        ),
        identity(
            "Eq. 10",
            "beta log(pi*/pi_ref) is the reward shaped by the optimal value",
            "largest difference of the two sides",
            worst(problems, |exact, _| checks::advantage_is_shaped_reward(exact))?,
        ),
        identity(
            "Eq. 14",
            "The expected log-ratio of the reference's action is minus beta times KL(pi_ref, pi)",
            "largest difference of the two sides, for random policies",
            worst(problems, checks::expected_reward_is_divergence)?,
        ),
    ])
}

/// The theorem's condition is not idle.
fn condition(problems: &[Exact]) -> Result<Claim> {
    let mut least = f64::INFINITY;
    for (index, exact) in problems.iter().enumerate() {
        least = least.min(checks::shaping_moves_preferences(exact, index as u64, true)?);
    }
    Ok(Claim::new(
        "Theorem 1, its condition",
        "The potential has to be 0 in terminal states: Definition 1 alone does not keep preferences",
        "smallest over the problems of the largest change of a preference by a potential that is not 0 at the end",
        Measured::exact(least),
        Rule::Above(ROUNDING),
    ))
}

/// Eq. 12 and 13 by exhaustive search, at every length of the expansion.
fn searches(problems: &[Exact]) -> Result<[Claim; 2]> {
    let (mut n, mut same, mut most) = (0.0, 0.0, 0.0_f64);
    for exact in problems {
        for length in 1..=exact.mdp.horizon() {
            let (is_same, difference) = checks::reward_search_is_likelihood_search(exact, length)?;
            n += 1.0;
            same += f64::from(u8::from(is_same));
            most = most.max(difference.abs());
        }
    }
    Ok([
        Claim::new(
            "Eq. 12 and 13",
            "Search by reward, reference and optimal value is search by the likelihood of the optimal policy",
            format!("share of {n} exhaustive searches, of all lengths, with the same best expansion"),
            Measured::exact(same / n),
            Rule::AtLeast(1.0),
        ),
        Claim::new(
            "Eq. 12 and 13",
            "The two objectives differ by the constant V*(s_0) alone",
            "largest difference of the best value by Eq. 12 and by Eq. 13",
            Measured::exact(most),
            Rule::AtMost(ROUNDING),
        ),
    ])
}

/// Residuals of tables by seed: of the reference, after drawn preferences (a list for each number of them), and after
/// the probabilities of all pairs.
struct Residuals {
    before: Vec<f64>,
    drawn: Vec<Vec<f64>>,
    all: Vec<f64>,
}

/// The residual of trained tables by the number of preferences.
fn residuals(setup: &Setup<'_>) -> Result<([Claim; 2], Table, Chart)> {
    let sizes = setup.sizes();
    let seeds: Vec<u64> = setup.seeds().collect();
    let bar = setup.reporter.bar("theory", seeds.len() * (sizes.preferences.len() + 1));
    let (mut drawn, mut all, mut before) = (vec![Vec::new(); sizes.preferences.len()], Vec::new(), Vec::new());
    for &seed in &seeds {
        let exact = Exact::of_tokens(seed, 0)?;
        before.push(residual::before(&exact)?);
        for (residuals, n) in drawn.iter_mut().zip(sizes.preferences) {
            setup.go_on()?;
            residuals.push(residual::after(&exact, Data::Drawn(*n), sizes.table_steps, seed)?);
            bar.inc(1);
        }
        all.push(residual::after(&exact, Data::All, sizes.table_steps, seed)?);
        bar.inc(1);
    }
    bar.finish_and_clear();
    let measured = Residuals { before, drawn, all };
    let (table, chart) = measured.shown(sizes.preferences);
    Ok((measured.claims(sizes.preferences), table, chart))
}

impl Residuals {
    fn claims(&self, preferences: &[usize]) -> [Claim; 2] {
        let n_seeds = self.all.len();
        let slope = |at: usize| {
            let points = self.drawn.iter().zip(preferences);
            let points: Vec<(f64, f64)> = points.map(|(by_seed, n)| ((*n as f64).ln(), by_seed[at].ln())).collect();
            residual::slope(&points)
        };
        let slopes: Vec<f64> = (0..n_seeds).map(slope).collect();
        let left: Vec<f64> = self.all.iter().zip(&self.before).map(|(after, before)| after / before).collect();
        [
            Claim::new(
                "Section 4.1",
                "DPO learns the best estimate of Q* that its preferences allow: more preferences, less Bellman residual",
                format!(
                    "slope of log residual over log number of preferences, {n_seeds} seeds; -0.5 is the rate of an efficient \
                     estimate"
                ),
                Measured::over_seeds(&slopes),
                Rule::Below(0.0),
            ),
            Claim::new(
                "Section 4.2",
                "DPO learns the optimal policy of any reward on tokens: with all preferences nothing else is left",
                "share of the start's residual that is left after learning from the exact probability of every pair",
                Measured::over_seeds(&left),
                Rule::AtMost(0.05),
            ),
        ]
    }

    /// A table and a chart by number of preferences.
    fn shown(&self, preferences: &[usize]) -> (Table, Chart) {
        let mut table = Table::new(
            "Bellman residual of tables that learned by DPO, in units of reward (standard deviation 1)",
            &["preferences", "residual"],
        );
        table.push(["none (the reference)".to_owned(), Measured::over_seeds(&self.before).to_string()]);
        let mut points = Vec::new();
        for (residuals, n) in self.drawn.iter().zip(preferences) {
            let y = Measured::over_seeds(residuals);
            table.push([n.to_string(), y.to_string()]);
            points.push(Point { x: *n as f64, y });
        }
        table.push(["the probability of every pair".to_owned(), Measured::over_seeds(&self.all).to_string()]);
        let name = format!("{} seeds, reward of deviation {}", self.all.len(), number(1.0));
        let chart = Chart {
            name: "theory-residual".to_owned(),
            title: "Bellman residual of DPO by number of preferences".to_owned(),
            x_label: "preferences".to_owned(),
            y_label: "residual (root mean square)".to_owned(),
            is_log: true,
            series: vec![Series { name, points }],
        };
        (table, chart)
    }
}
