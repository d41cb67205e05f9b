//! Win rates at equal length.

/// A comparison with the lengths of its answers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Lengths {
    /// The outcome for the first: 1 won, 0 lost, 0.5 a tie.
    pub outcome: f64,
    /// Length of the first answer, in characters.
    pub a: usize,
    /// Length of the second answer, in characters.
    pub b: usize,
}

/// A win rate at equal length.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct LengthControlled {
    /// The win rate of the first, if both answers were always of one length.
    pub win_rate: f64,
    /// The weight of the length term: above 0 where the judge prefers longer answers.
    pub length_weight: f64,
}

/// The inverse strength of the ridge that keeps weights finite, that of AlpacaEval's fit without cross-validation.
const RIDGE: f64 = 100.0;

/// The length-controlled win rate of AlpacaEval 2.0 for two systems; `None` without a comparison, and where one answer is
/// always longer by the same number of characters: what the length does is then one with what the system does.
///
/// The outcome's probability is the logistic function of `theta + phi tanh(d / s)`, where `d` is the difference of the
/// lengths in characters and `s` the standard deviation of `d`. It is fitted to all comparisons by maximum likelihood (ties are
/// outcomes of one half), and the win rate is what it says for `d` = 0, the logistic function of `theta`. The third term of the
/// publication, the difficulty of each instruction, is known for AlpacaEval's own instructions alone and is left out; so is its
/// L1 penalty by cross-validation, in whose place a weak ridge stands.
///
/// # References
/// Y. Dubois, B. Galambosi, P. Liang, T. Hashimoto, "Length-controlled AlpacaEval: a simple way to debias automatic evaluators",
/// 2024 (arXiv 2404.04475), section 3.
pub fn length_controlled(comparisons: &[Lengths]) -> Option<LengthControlled> {
    if comparisons.is_empty() {
        return None;
    }
    let n = comparisons.len() as f64;
    let differences: Vec<f64> = comparisons.iter().map(|pair| pair.a as f64 - pair.b as f64).collect();
    let mean = differences.iter().sum::<f64>() / n;
    let variance = differences.iter().map(|d| (d - mean).powi(2)).sum::<f64>() / (n - 1.0).max(1.0);
    let spread = variance.sqrt();
    if spread == 0.0 && mean != 0.0 {
        return None;
    }
    let term = |d: f64| if spread > 0.0 { (d / spread).tanh() } else { 0.0 };
    let rows: Vec<(f64, f64)> =
        comparisons.iter().zip(&differences).map(|(pair, d)| (term(*d), pair.outcome)).collect();
    let [theta, phi] = fit(&rows);
    Some(LengthControlled { win_rate: sigmoid(theta), length_weight: phi })
}

/// The intercept and the slope of a logistic regression with a weak ridge, by Newton's method: the objective is strictly
/// concave, and steps that do not raise it are halved.
fn fit(rows: &[(f64, f64)]) -> [f64; 2] {
    let objective = |w: [f64; 2]| {
        let fits = rows.iter().map(|(x, y)| {
            let z = w[0] + w[1] * x;
            y * z - softplus(z)
        });
        fits.sum::<f64>() - (w[0] * w[0] + w[1] * w[1]) / (2.0 * RIDGE)
    };
    let mut w = [0.0; 2];
    for _ in 0..100 {
        let (mut gradient, mut h) = ([-w[0] / RIDGE, -w[1] / RIDGE], [1.0 / RIDGE, 0.0, 1.0 / RIDGE]);
        for (x, y) in rows {
            let p = sigmoid(w[0] + w[1] * x);
            gradient = [gradient[0] + y - p, gradient[1] + (y - p) * x];
            let v = p * (1.0 - p);
            h = [h[0] + v, h[1] + v * x, h[2] + v * x * x];
        }
        let determinant = h[0] * h[2] - h[1] * h[1];
        let step = [
            (h[2] * gradient[0] - h[1] * gradient[1]) / determinant,
            (h[0] * gradient[1] - h[1] * gradient[0]) / determinant,
        ];
        let before = objective(w);
        let mut share = 1.0;
        while share > 1e-9 && objective([w[0] + share * step[0], w[1] + share * step[1]]) < before {
            share /= 2.0;
        }
        w = [w[0] + share * step[0], w[1] + share * step[1]];
        if (step[0].abs() + step[1].abs()) * share < 1e-12 {
            break;
        }
    }
    w
}

fn sigmoid(z: f64) -> f64 {
    if z >= 0.0 { 1.0 / (1.0 + (-z).exp()) } else { z.exp() / (1.0 + z.exp()) }
}

/// ln(1 + e^z) without overflow.
fn softplus(z: f64) -> f64 {
    z.max(0.0) + (-z.abs()).exp().ln_1p()
}

#[cfg(test)]
mod tests {
    use mdp::chance::{Noise, standard_normal, unit};

    use super::*;

    /// Outcomes of the model itself, with these weights.
    fn outcomes(theta: f64, phi: f64, longer: f64, n: usize) -> Vec<Lengths> {
        let mut rng = Noise::new(3).stream("lengths", 0);
        // The standard deviation of the difference is 120, as drawn.
        let lengths: Vec<(usize, usize)> = (0..n)
            .map(|_| {
                let d = longer + 120.0 * standard_normal(&mut rng);
                ((1000.0 + d).max(1.0) as usize, 1000)
            })
            .collect();
        let outcome = |&(a, b): &(usize, usize)| {
            let p = sigmoid(theta + phi * ((a as f64 - b as f64) / 120.0).tanh());
            Lengths { outcome: if unit(&mut rng) < p { 1.0 } else { 0.0 }, a, b }
        };
        lengths.iter().map(outcome).collect()
    }

    #[test]
    fn the_win_rate_at_equal_length_is_that_of_the_model_that_made_the_outcomes() {
        // Without any length the first wins sigmoid(-0.4) = .401; being longer makes it win most comparisons.
        let made = outcomes(-0.4, 1.5, 200.0, 20_000);
        let raw = made.iter().map(|pair| pair.outcome).sum::<f64>() / made.len() as f64;
        let found = length_controlled(&made).unwrap();
        assert!(raw > 0.65, "{raw}");
        assert!((found.win_rate - sigmoid(-0.4)).abs() < 0.02, "{found:?}");
        assert!((found.length_weight - 1.5).abs() < 0.1, "{found:?}");
    }

    #[test]
    fn a_judge_that_does_not_look_at_length_changes_nothing() {
        let made = outcomes(0.7, 0.0, 200.0, 20_000);
        let raw = made.iter().map(|pair| pair.outcome).sum::<f64>() / made.len() as f64;
        let found = length_controlled(&made).unwrap();
        assert!((found.win_rate - raw).abs() < 0.03 && found.length_weight.abs() < 0.1, "{raw} {found:?}");
    }

    #[test]
    fn it_is_antisymmetric_and_finite_where_one_always_wins() {
        let made = outcomes(-0.4, 1.5, 100.0, 500);
        let swapped: Vec<Lengths> = made.iter().map(|p| Lengths { outcome: 1.0 - p.outcome, a: p.b, b: p.a }).collect();
        let (one, other) = (length_controlled(&made).unwrap(), length_controlled(&swapped).unwrap());
        assert!((one.win_rate + other.win_rate - 1.0).abs() < 1e-9);
        assert!((one.length_weight - other.length_weight).abs() < 1e-9);
        let all: Vec<Lengths> = (0..50).map(|i| Lengths { outcome: 1.0, a: 100 + i, b: 90 }).collect();
        let found = length_controlled(&all).unwrap();
        assert!(found.win_rate > 0.95 && found.win_rate < 1.0, "{found:?}");
        // One length: the win rate itself, but for the ridge.
        let equal: Vec<Lengths> = (0..40).map(|i| Lengths { outcome: f64::from(i % 4 == 0), a: 7, b: 7 }).collect();
        let found = length_controlled(&equal).unwrap();
        assert!((found.win_rate - 0.25).abs() < 1e-3 && found.length_weight == 0.0, "{found:?}");
        assert_eq!(length_controlled(&[]), None);
        // Always longer by the same: no comparison says what length does.
        let longer: Vec<Lengths> =
            (0..40).map(|i| Lengths { outcome: f64::from(i % 4 == 0), a: 4 + i, b: 8 + i }).collect();
        assert_eq!(length_controlled(&longer), None);
    }
}
