//! The measures of a model on preferences, as a table and as JSON.
use std::collections::BTreeMap;
use std::fmt;

use serde::ser::SerializeMap as _;
use serde::{Serialize, Serializer};
use train::statistics::wilson;

use super::interval::{Estimated, Ratio, stream};
use super::rows::{self, Measures};
use crate::score::Scored;
use crate::settings::{Modality, Values};

/// The measures of a model on the examples of a data set. It is displayed as a table and serialised as JSON.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Evaluation {
    /// The model that was measured, if it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The reference that it was compared with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// The data.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
    /// The factor from log-ratio to reward, where there is a reference.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub beta: Option<f64>,
    /// The number of examples.
    pub examples: usize,
    /// Pairs with a margin of exactly 0, which count as half right: a policy that equals its reference has nothing else.
    pub ties: usize,
    /// The measures, in the order of the table.
    #[serde(serialize_with = "by_name")]
    pub measures: Vec<Measurement>,
}

/// A measure with its 95% interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Measurement {
    /// Its name, as in `metrics.jsonl` where there is such a metric.
    #[serde(skip)]
    pub name: &'static str,
    /// The estimate: a share, nats, or a perplexity.
    pub value: f64,
    /// The lower end of the interval.
    pub low: f64,
    /// The upper end of the interval.
    pub high: f64,
    /// The number of examples that it is of.
    pub examples: usize,
}

/// How a measure is made of its examples.
#[derive(Clone, Copy, PartialEq)]
enum Statistic {
    /// A share, with Wilson's interval.
    Share,
    /// A mean or a quotient of sums, with the interval of a bootstrap.
    Mean,
    /// The exponential of a mean, likewise.
    Exp,
}

/// All measures: name, label, how it is made.
const TABLE: &[(&str, &str, Statistic)] = &[
    ("rewards/accuracies", "accuracy (margin > 0)", Statistic::Share),
    ("accuracies/refiner", "accuracy of the refiner", Statistic::Share),
    ("accuracies/generator", "accuracy of the generator", Statistic::Share),
    ("accuracies/likelihood", "chosen answer likelier", Statistic::Share),
    ("accuracies/errors", "chosen picture's error lower", Statistic::Share),
    ("rewards/margins", "margin, nats", Statistic::Mean),
    ("rewards/margins/refiner", "margin of the refiner", Statistic::Mean),
    ("rewards/margins/generator", "margin of the generator", Statistic::Mean),
    ("log_ratios/chosen", "log-ratio, chosen", Statistic::Mean),
    ("log_ratios/rejected", "log-ratio, rejected", Statistic::Mean),
    ("divergence", "KL(reference, model) per token", Statistic::Mean),
    ("perplexity/chosen", "perplexity, chosen", Statistic::Exp),
    ("perplexity/reference/chosen", "the same of the reference", Statistic::Exp),
    ("perplexity/rejected", "perplexity, rejected", Statistic::Exp),
    ("perplexity/reference/rejected", "the same of the reference", Statistic::Exp),
    ("errors/chosen", "squared error, chosen", Statistic::Mean),
    ("errors/reference/chosen", "the same of the reference", Statistic::Mean),
    ("errors/rejected", "squared error, rejected", Statistic::Mean),
    ("errors/reference/rejected", "the same of the reference", Statistic::Mean),
];

/// The sums behind the measures.
#[derive(Default)]
struct Sums {
    of: BTreeMap<&'static str, Ratio>,
    shares: BTreeMap<&'static str, (f64, usize)>,
}

impl Measures for Sums {
    fn share(&mut self, name: &'static str, right: f64) {
        let (sum, n) = self.shares.entry(name).or_default();
        *sum += right;
        *n += 1;
    }

    fn ratio(&mut self, name: &'static str, numerator: f64, denominator: f64) {
        self.of.entry(name).or_default().push(numerator, denominator);
    }
}

impl Sums {
    fn measurement(&self, &(name, _, made): &(&'static str, &str, Statistic), seed: u64) -> Option<Measurement> {
        if made == Statistic::Share {
            let &(right, n) = self.shares.get(name)?;
            let (low, high) = wilson(right, n as f64);
            return Some(Measurement { name, value: right / n as f64, low, high, examples: n });
        }
        let ratio = self.of.get(name)?;
        let of = if made == Statistic::Exp { f64::exp } else { |x| x };
        let Estimated { value, low, high } = ratio.estimate(of, &mut stream(seed, name))?;
        Some(Measurement { name, value, low, high, examples: ratio.len() })
    }
}

impl Evaluation {
    /// The measures of scored examples.
    pub(super) fn of_scores(lines: &[Scored], seed: u64) -> Self {
        Self::measure(lines, &[], seed)
    }

    /// The same with the divergence of each example: its sum over tokens, in nats, and their number.
    pub(super) fn measure(lines: &[Scored], divergences: &[(f64, usize)], seed: u64) -> Self {
        let mut sums = Sums::default();
        for line in lines {
            rows::add(line, &mut sums);
        }
        for &(sum, n) in divergences {
            sums.ratio("divergence", sum, n as f64);
        }
        let ties = lines.iter().filter(|line| line.margin() == Some(0.0)).count();
        let measures = TABLE.iter().filter_map(|row| sums.measurement(row, seed)).collect();
        Self { model: None, reference: None, data: None, beta: None, examples: lines.len(), ties, measures }
    }

    /// With the names that the settings have.
    pub(super) fn described(self, values: &Values) -> Self {
        let text = |name: Option<&str>| name.map(str::to_owned);
        let both = |halves: [Option<&str>; 2]| {
            let named: Vec<&str> = halves.into_iter().flatten().collect();
            (!named.is_empty()).then(|| named.join(" and "))
        };
        let (model, reference) = match values.run.mdp() {
            Modality::Hybrid => (
                both([values.hybrid.refiner(), values.hybrid.generator()]).or(text(values.model.model())),
                both([values.hybrid.refiner_reference(), values.hybrid.generator_reference()]),
            ),
            Modality::Token | Modality::Diffusion => (text(values.model.model()), text(values.model.reference())),
        };
        let data = text(values.data.data().or(values.data.latents()));
        let beta = reference.is_some().then(|| values.objective.beta());
        Self { model, reference, data, beta, ..self }
    }

    /// A measure by name, such as `rewards/accuracies`.
    pub fn measure_named(&self, name: &str) -> Option<&Measurement> {
        self.measures.iter().find(|measure| measure.name == name)
    }
}

/// The measures as an object by name.
fn by_name<S: Serializer>(measures: &[Measurement], serializer: S) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(Some(measures.len()))?;
    for measure in measures {
        map.serialize_entry(measure.name, measure)?;
    }
    map.end()
}

impl fmt::Display for Evaluation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = format!("{} examples", self.examples);
        write!(f, "{what:<32}{:>10}   95% interval", "")?;
        for measure in &self.measures {
            let label =
                TABLE.iter().find(|(name, ..)| *name == measure.name).map_or(measure.name, |(_, label, _)| label);
            let Measurement { value, low, high, .. } = *measure;
            write!(f, "\n{label:<32}{:>10}   {} to {}", number(value), number(low), number(high))?;
            if measure.examples != self.examples {
                write!(f, " ({} examples)", measure.examples)?;
            }
        }
        if self.ties > 0 {
            write!(f, "\n{:<32}{:>10}   margins of 0, each half right", "ties", self.ties)?;
        }
        Ok(())
    }
}

/// Four decimals, fewer of large numbers, and no minus before a zero.
fn number(value: f64) -> String {
    let digits = if value.abs() >= 1000.0 {
        0
    } else if value.abs() >= 100.0 {
        2
    } else {
        4
    };
    let text = format!("{value:.digits$}");
    match text.strip_prefix('-') {
        Some(rest) if rest.chars().all(|c| matches!(c, '0' | '.')) => rest.to_owned(),
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::score::{AnswerScore, AnswerScores, Scores, TextScores};

    fn answer(log_probs: &[f64], reference: Option<&[f64]>) -> AnswerScore {
        let response = vec![1; log_probs.len()].into();
        AnswerScore { response, log_probs: log_probs.to_vec(), reference_log_probs: reference.map(<[f64]>::to_vec) }
    }

    fn pair(index: u64, margin: Option<f64>) -> Scored {
        let reference = margin.map(|_| &[-2.0][..]);
        let (chosen, rejected) = (answer(&[-1.0, -1.0], reference), answer(&[-3.0], reference));
        let answers = AnswerScores::Pair { chosen, rejected, margin };
        Scored { index, scores: Scores::Texts(TextScores { prompt_tokens: vec![0], answers }) }
    }

    #[test]
    fn a_tie_is_half_right_and_counted() {
        let lines = [pair(0, Some(1.0)), pair(1, Some(0.0)), pair(2, Some(-2.0)), pair(3, Some(3.0))];
        let found = Evaluation::measure(&lines, &[(0.5, 3), (0.1, 3), (0.0, 3), (0.0, 3)], 0);
        let accuracy = found.measure_named("rewards/accuracies").unwrap();
        assert_eq!((accuracy.value, accuracy.examples, found.ties), (0.625, 4, 1));
        assert_eq!(found.measure_named("rewards/margins").unwrap().value, 0.5);
        assert!((found.measure_named("divergence").unwrap().value - 0.05).abs() < 1e-12);
        let perplexity = found.measure_named("perplexity/chosen").unwrap();
        assert!((perplexity.value - 1f64.exp()).abs() < 1e-12 && (perplexity.low - perplexity.high).abs() < 1e-12);
        assert_eq!(found.measure_named("accuracies/likelihood").unwrap().value, 1.0);
        let table = found.to_string();
        assert!(table.contains("\nties ") && table.lines().all(|line| line.len() <= 80), "{table}");
    }

    #[test]
    fn without_a_reference_likelihoods_are_left() {
        let found = Evaluation::of_scores(&[pair(0, None)], 0);
        assert!(found.measure_named("rewards/accuracies").is_none());
        let json = serde_json::to_value(&found).unwrap();
        assert_eq!(json["measures"]["accuracies/likelihood"]["value"], 1.0);
        assert!(json.get("beta").is_none() && json["examples"] == 1);
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!([-0.000_01, 0.5, 123.456, 12_345.6].map(number), ["0.0000", "0.5000", "123.46", "12346"]);
    }
}
