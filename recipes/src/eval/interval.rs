//! Numbers with their 95% intervals.
use mdp::Rng;
use mdp::chance::{Noise, below};

/// A quotient of sums over examples, of which a mean is one.
#[derive(Clone, Debug, Default)]
pub(super) struct Ratio {
    /// Numerator and denominator of each example.
    rows: Vec<(f64, f64)>,
}

/// An estimate and the ends of its interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Estimated {
    pub(super) value: f64,
    pub(super) low: f64,
    pub(super) high: f64,
}

/// Resamples of an estimate.
const RESAMPLES: usize = 1000;

/// Draws of all resamples together, beyond which there are fewer of them.
const MOST_DRAWS: usize = 20_000_000;

impl Ratio {
    pub(super) fn push(&mut self, numerator: f64, denominator: f64) {
        self.rows.push((numerator, denominator));
    }

    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    /// `of` the quotient, with the percentile interval of the bootstrap over examples; `None` without examples.
    ///
    /// Source: B. Efron, "Bootstrap methods: another look at the jackknife", 1979.
    pub(super) fn estimate(&self, of: fn(f64) -> f64, rng: &mut Rng) -> Option<Estimated> {
        let value = of(quotient(self.rows.iter())?);
        let n = self.rows.len();
        let resamples = (MOST_DRAWS / n).clamp(200, RESAMPLES);
        let mut drawn: Vec<f64> = (0..resamples)
            .filter_map(|_| quotient((0..n).map(|_| &self.rows[below(rng, n as u64) as usize])))
            .map(of)
            .collect();
        drawn.sort_by(f64::total_cmp);
        let at = |share: f64| drawn.get(((drawn.len() as f64 - 1.0) * share).round() as usize).copied();
        Some(Estimated { value, low: at(0.025).unwrap_or(value), high: at(0.975).unwrap_or(value) })
    }
}

fn quotient<'a>(rows: impl Iterator<Item = &'a (f64, f64)>) -> Option<f64> {
    let (numerator, denominator) = rows.fold((0.0, 0.0), |(n, d), row| (n + row.0, d + row.1));
    (denominator > 0.0).then(|| numerator / denominator)
}

/// The stream of a measure's resamples.
pub(super) fn stream(seed: u64, name: &str) -> Rng {
    Noise::new(seed).stream(&format!("bootstrap {name}"), 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_of_a_mean_is_about_the_normal_one() {
        let mut mean = Ratio::default();
        (0..400).for_each(|i| mean.push(f64::from(i % 4), 1.0));
        let found = mean.estimate(|x| x, &mut stream(3, "x")).unwrap();
        // Standard deviation sqrt(1.25), of the mean sqrt(1.25 / 400) = .0559, times 1.96: .1096.
        assert_eq!(found.value, 1.5);
        assert!((found.low - 1.39).abs() < 0.02 && (found.high - 1.61).abs() < 0.02, "{found:?}");
        assert_eq!(mean.estimate(|x| x, &mut stream(3, "x")), Some(found));
        assert_ne!(mean.estimate(|x| x, &mut stream(4, "x")), Some(found));
    }

    #[test]
    fn examples_count_by_their_denominators() {
        let mut nll = Ratio::default();
        nll.push(2.0, 1.0);
        nll.push(2.0, 3.0);
        assert_eq!(nll.estimate(f64::exp, &mut stream(0, "p")).unwrap().value, 1f64.exp());
        assert_eq!(Ratio::default().estimate(|x| x, &mut stream(0, "p")), None);
    }
}
