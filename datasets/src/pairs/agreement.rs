//! Inter-annotator agreement.

use std::collections::BTreeMap;

use super::choice::LabelChoice;

/// The agreement of labellers. Ties count as answers; skipped pairs do not.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Agreement {
    /// Number of labellers.
    pub labellers: usize,
    /// Number of pairs judged by at least two of them; only these count.
    pub pairs: usize,
    /// Observed agreement from 0 to 1: the share of agreeing couples of labellers, averaged over these pairs.
    pub share: f64,
    /// Chance-corrected agreement, at most 1; 0 is chance level. `None` if all answers are the same.
    pub kappa: Option<f64>,
    /// The statistic.
    pub kind: Kappa,
}

/// A statistic of chance-corrected agreement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kappa {
    /// Cohen's kappa, for two labellers: chance agreement is the product of their marginals.
    ///
    /// # References
    /// Cohen, A coefficient of agreement for nominal scales, 1960.
    Cohen,
    /// Fleiss' kappa, for more: chance agreement is the sum of squared overall shares. Pairs may have different numbers
    /// of labellers.
    ///
    /// # References
    /// Fleiss, Measuring nominal scale agreement among many raters, 1971.
    Fleiss,
}

impl Kappa {
    /// The name shown to users.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cohen => "Cohen's kappa",
            Self::Fleiss => "Fleiss' kappa",
        }
    }
}

impl Agreement {
    /// The agreement of two labellers, from their choices of the pairs that both judged; `None` without a pair.
    pub fn between(choices: impl IntoIterator<Item = (LabelChoice, LabelChoice)>) -> Option<Self> {
        let named = |(first, second)| BTreeMap::from([("first".to_owned(), first), ("second".to_owned(), second)]);
        of(choices.into_iter().map(named))
    }
}

/// The counted answers.
const ANSWERS: [LabelChoice; 3] = [LabelChoice::A, LabelChoice::B, LabelChoice::Tie];

/// Computes the agreement over pairs, each with its labellers' choices.
pub(super) fn of(pairs: impl Iterator<Item = BTreeMap<String, LabelChoice>>) -> Option<Agreement> {
    let pairs: Vec<BTreeMap<String, LabelChoice>> = pairs.filter(|pair| pair.len() > 1).collect();
    let mut labellers: Vec<&str> = pairs.iter().flat_map(BTreeMap::keys).map(String::as_str).collect();
    labellers.sort_unstable();
    labellers.dedup();
    if pairs.is_empty() {
        return None;
    }
    let count = |pair: &BTreeMap<String, LabelChoice>| {
        ANSWERS.map(|answer| pair.values().filter(|found| **found == answer).count() as f64)
    };
    let counts: Vec<[f64; 3]> = pairs.iter().map(count).collect();
    let share = shares_agreeing(&counts).sum::<f64>() / counts.len() as f64;
    let (kind, by_chance) = if let [first, second] = labellers[..] {
        let choices_by_labeller = |labeller: &str, answer: LabelChoice| {
            pairs.iter().filter(|pair| pair.get(labeller) == Some(&answer)).count() as f64 / pairs.len() as f64
        };
        (
            Kappa::Cohen,
            ANSWERS
                .iter()
                .map(|answer| choices_by_labeller(first, *answer) * choices_by_labeller(second, *answer))
                .sum(),
        )
    } else {
        (Kappa::Fleiss, fleiss_chance(&counts))
    };
    let kappa = beyond_chance(share, by_chance);
    Some(Agreement { labellers: labellers.len(), pairs: pairs.len(), share, kappa, kind })
}

/// The observed agreement of each pair, from the counts of each answer.
fn shares_agreeing<const N: usize>(counts: &[[f64; N]]) -> impl Iterator<Item = f64> {
    counts.iter().map(|of_pair| {
        let n: f64 = of_pair.iter().sum();
        of_pair.iter().map(|count| count * (count - 1.0)).sum::<f64>() / (n * (n - 1.0))
    })
}

/// The chance agreement by the overall shares of the answers.
fn fleiss_chance<const N: usize>(counts: &[[f64; N]]) -> f64 {
    let all: f64 = counts.iter().flatten().sum();
    (0..N).map(|answer| (counts.iter().map(|of_pair| of_pair[answer]).sum::<f64>() / all).powi(2)).sum()
}

fn beyond_chance(share: f64, by_chance: f64) -> Option<f64> {
    (by_chance < 1.0 - 1e-12).then(|| (share - by_chance) / (1.0 - by_chance))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choices_by_labeller(choices: &[(&str, LabelChoice)]) -> BTreeMap<String, LabelChoice> {
        choices.iter().map(|(labeller, choice)| ((*labeller).to_owned(), *choice)).collect()
    }

    #[test]
    fn two_labellers_get_cohens_kappa() {
        // Both yes 20, only the first 5, only the second 10, both no 15: observed 0.7, chance 0.5*0.6 + 0.5*0.4 = 0.5.
        let cells = [
            (LabelChoice::A, LabelChoice::A, 20),
            (LabelChoice::A, LabelChoice::B, 5),
            (LabelChoice::B, LabelChoice::A, 10),
        ];
        let cells = cells.into_iter().chain([(LabelChoice::B, LabelChoice::B, 15)]);
        let pairs = cells.flat_map(|(x, y, n)| std::iter::repeat_n(choices_by_labeller(&[("x", x), ("y", y)]), n));
        let found = of(pairs).unwrap();
        assert_eq!((found.labellers, found.pairs, found.kind), (2, 50, Kappa::Cohen));
        assert!((found.share - 0.7).abs() < 1e-12 && (found.kappa.unwrap() - 0.4).abs() < 1e-12, "{found:?}");
    }

    #[test]
    fn many_labellers_get_fleiss_kappa() {
        // Three pairs, three labellers: aaa, aab, bbt. Agreeing couples: 1, 1/3, 1/3; shares 5/9, 3/9, 1/9, so chance is
        // 35/81 and kappa (5/9 - 35/81) / (1 - 35/81) = 10/46.
        let triple =
            |choices: [LabelChoice; 3]| choices_by_labeller(&[("x", choices[0]), ("y", choices[1]), ("z", choices[2])]);
        let (a, b, tie) = (LabelChoice::A, LabelChoice::B, LabelChoice::Tie);
        let found = of([[a, a, a], [a, a, b], [b, b, tie]].into_iter().map(triple)).unwrap();
        assert_eq!((found.labellers, found.pairs, found.kind), (3, 3, Kappa::Fleiss));
        assert!((found.share - 5.0 / 9.0).abs() < 1e-12);
        assert!((found.kappa.unwrap() - 10.0 / 46.0).abs() < 1e-12, "{found:?}");
    }

    #[test]
    fn one_labeller_agrees_with_nobody_and_chance_may_explain_all() {
        assert_eq!(
            of([choices_by_labeller(&[("x", LabelChoice::A)]), choices_by_labeller(&[("y", LabelChoice::A)])]
                .into_iter()),
            None
        );
        let found = of([choices_by_labeller(&[("x", LabelChoice::A), ("y", LabelChoice::A)])].into_iter()).unwrap();
        assert_eq!((found.share, found.kappa), (1.0, None));
    }

    #[test]
    fn opposites_are_worse_than_chance() {
        let pairs = [(LabelChoice::A, LabelChoice::B), (LabelChoice::B, LabelChoice::A)];
        let found = of(pairs.into_iter().map(|(x, y)| choices_by_labeller(&[("x", x), ("y", y)]))).unwrap();
        assert_eq!((found.share, found.kappa), (0.0, Some(-1.0)));
    }
}
