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
        let mut tally = Tally::default();
        choices.into_iter().for_each(|(first, second)| tally.add(&[(0, first), (1, second)]));
        tally.agreement()
    }
}

/// The counted answers.
const ANSWERS: [LabelChoice; 3] = [LabelChoice::A, LabelChoice::B, LabelChoice::Tie];

/// How often each answer was given.
type Counts = [usize; ANSWERS.len()];

/// The judgements that agreement depends on, counted, so that a change costs the same however many there are.
///
/// Labellers are numbers. A pair counts if two of them gave it one of the counted answers.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Tally {
    /// Number of pairs by the counts of their answers.
    pairs: BTreeMap<Counts, usize>,
    /// Each labeller's answers to these pairs.
    labellers: BTreeMap<u32, Counts>,
}

impl Tally {
    /// Counts a pair, given the choices of its labellers.
    pub(super) fn add(&mut self, pair: &[(u32, LabelChoice)]) {
        self.change(pair, |count| *count += 1);
    }

    /// Takes back what [`add`](Self::add) has counted of a pair.
    pub(super) fn remove(&mut self, pair: &[(u32, LabelChoice)]) {
        self.change(pair, |count| *count -= 1);
    }

    fn change(&mut self, pair: &[(u32, LabelChoice)], change: impl Fn(&mut usize)) {
        let place = |choice| ANSWERS.iter().position(|answer| *answer == choice);
        let answers = pair.iter().filter_map(|(labeller, choice)| Some((*labeller, place(*choice)?)));
        let mut counts = Counts::default();
        answers.clone().for_each(|(_, place)| counts[place] += 1);
        if counts.iter().sum::<usize>() < 2 {
            return;
        }
        for (labeller, place) in answers {
            let own = self.labellers.entry(labeller).or_default();
            change(&mut own[place]);
            if *own == Counts::default() {
                self.labellers.remove(&labeller);
            }
        }
        let pairs = self.pairs.entry(counts).or_default();
        change(pairs);
        if *pairs == 0 {
            self.pairs.remove(&counts);
        }
    }

    /// The agreement over all counted pairs; `None` if there are none.
    pub(super) fn agreement(&self) -> Option<Agreement> {
        let n_pairs: usize = self.pairs.values().sum();
        if n_pairs == 0 {
            return None;
        }
        let pairs = n_pairs as f64;
        let share = self.pairs.iter().map(|(counts, n)| share_agreeing(counts) * *n as f64).sum::<f64>() / pairs;
        let of: Vec<&Counts> = self.labellers.values().collect();
        let share_of = |counts: &Counts, answer: usize, all: f64| counts[answer] as f64 / all;
        let answers = 0..ANSWERS.len();
        let (kind, by_chance) = if let [first, second] = of[..] {
            (Kappa::Cohen, answers.map(|at| share_of(first, at, pairs) * share_of(second, at, pairs)).sum())
        } else {
            let all = of.iter().flat_map(|counts| counts.iter()).sum::<usize>() as f64;
            let overall = |at| of.iter().map(|counts| share_of(counts, at, all)).sum::<f64>();
            (Kappa::Fleiss, answers.map(|at| overall(at).powi(2)).sum())
        };
        let kappa = beyond_chance(share, by_chance);
        Some(Agreement { labellers: of.len(), pairs: n_pairs, share, kappa, kind })
    }
}

/// The observed agreement of a pair, from the counts of its answers.
fn share_agreeing(counts: &Counts) -> f64 {
    let n: usize = counts.iter().sum();
    counts.iter().map(|count| count * count.saturating_sub(1)).sum::<usize>() as f64 / (n * (n - 1)) as f64
}

fn beyond_chance(share: f64, by_chance: f64) -> Option<f64> {
    (by_chance < 1.0 - 1e-12).then(|| (share - by_chance) / (1.0 - by_chance))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of<const N: usize>(pairs: impl IntoIterator<Item = [(u32, LabelChoice); N]>) -> Option<Agreement> {
        let mut tally = Tally::default();
        pairs.into_iter().for_each(|pair| tally.add(&pair));
        tally.agreement()
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
        let pairs = cells.flat_map(|(x, y, n)| std::iter::repeat_n([(0, x), (1, y)], n));
        let found = of(pairs).unwrap();
        assert_eq!((found.labellers, found.pairs, found.kind), (2, 50, Kappa::Cohen));
        assert!((found.share - 0.7).abs() < 1e-12 && (found.kappa.unwrap() - 0.4).abs() < 1e-12, "{found:?}");
    }

    #[test]
    fn many_labellers_get_fleiss_kappa() {
        // Three pairs, three labellers: aaa, aab, bbt. Agreeing couples: 1, 1/3, 1/3; shares 5/9, 3/9, 1/9, so chance is
        // 35/81 and kappa (5/9 - 35/81) / (1 - 35/81) = 10/46.
        let triple = |choices: [LabelChoice; 3]| [(0, choices[0]), (1, choices[1]), (2, choices[2])];
        let (a, b, tie) = (LabelChoice::A, LabelChoice::B, LabelChoice::Tie);
        let found = of([[a, a, a], [a, a, b], [b, b, tie]].map(triple)).unwrap();
        assert_eq!((found.labellers, found.pairs, found.kind), (3, 3, Kappa::Fleiss));
        assert!((found.share - 5.0 / 9.0).abs() < 1e-12);
        assert!((found.kappa.unwrap() - 10.0 / 46.0).abs() < 1e-12, "{found:?}");
    }

    #[test]
    fn one_labeller_agrees_with_nobody_and_chance_may_explain_all() {
        assert_eq!(of([[(0, LabelChoice::A)], [(1, LabelChoice::A)]]), None);
        let found = of([[(0, LabelChoice::A), (1, LabelChoice::A)]]).unwrap();
        assert_eq!((found.share, found.kappa), (1.0, None));
    }

    #[test]
    fn opposites_are_worse_than_chance() {
        let pairs = [(LabelChoice::A, LabelChoice::B), (LabelChoice::B, LabelChoice::A)];
        let found = of(pairs.map(|(x, y)| [(0, x), (1, y)])).unwrap();
        assert_eq!((found.share, found.kappa), (0.0, Some(-1.0)));
    }
}
