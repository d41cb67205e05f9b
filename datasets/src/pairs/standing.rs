//! The judgements that stand, indexed so that a change of one costs little however many there are.

use std::collections::{BTreeMap, BTreeSet};

use super::agreement::{Agreement, Tally};
use super::choice::LabelChoice;
use super::judgement::{Judge, Judgement, JudgementChange};

/// The standing judgements of a folder. Labellers are numbered in the order of their first judgement.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Standings {
    numbers: BTreeMap<String, u32>,
    /// By the labeller's number.
    courses: Vec<Course>,
    /// By pair and labeller.
    standing: BTreeMap<(usize, u32), Standing>,
    tally: Tally,
    /// Number of judgements so far.
    lines: u64,
}

/// A choice that stands.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Standing {
    choice: LabelChoice,
    by: Judge,
    /// The line of the choice.
    line: u64,
}

/// What a labeller has judged or skipped.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Course {
    /// The pairs by the line of their choice.
    by_line: BTreeMap<u64, usize>,
    pairs: BTreeSet<usize>,
    /// The first pair that is not among them.
    next: usize,
}

impl Course {
    pub(super) fn len(&self) -> usize {
        self.pairs.len()
    }

    /// The pair judged last.
    pub(super) fn last(&self) -> Option<usize> {
        self.by_line.last_key_value().map(|(_, index)| *index)
    }

    /// The first pair that is not judged.
    pub(super) fn next(&self) -> usize {
        self.next
    }

    /// The judged pairs, in order.
    pub(super) fn pairs(&self) -> impl Iterator<Item = usize> {
        self.pairs.iter().copied()
    }

    fn judge(&mut self, index: usize, line: u64) {
        self.by_line.insert(line, index);
        self.pairs.insert(index);
        if index == self.next {
            self.next += self.pairs.range(index..).zip(index..).take_while(|(judged, at)| *judged == at).count();
        }
    }

    fn undo(&mut self, index: usize) {
        self.pairs.remove(&index);
        self.next = self.next.min(index);
    }
}

impl Standings {
    /// Applies one more judgement.
    pub(super) fn apply(&mut self, label: &Judgement) {
        self.lines += 1;
        let labeller = self.number(&label.labeller);
        let course = &mut self.courses[labeller as usize];
        let pair = (label.index, labeller);
        self.tally.remove(&of_pair(&self.standing, label.index));
        if let Some(old) = self.standing.remove(&pair) {
            course.by_line.remove(&old.line);
        }
        match label.change {
            JudgementChange::Chosen(choice) => {
                self.standing.insert(pair, Standing { choice, by: label.by, line: self.lines });
                course.judge(label.index, self.lines);
            }
            JudgementChange::Undone => course.undo(label.index),
        }
        self.tally.add(&of_pair(&self.standing, label.index));
    }

    fn number(&mut self, labeller: &str) -> u32 {
        if let Some(number) = self.numbers.get(labeller) {
            return *number;
        }
        let number = self.courses.len() as u32;
        self.numbers.insert(labeller.to_owned(), number);
        self.courses.push(Course::default());
        number
    }

    pub(super) fn choice(&self, index: usize, labeller: &str) -> Option<LabelChoice> {
        let number = self.numbers.get(labeller)?;
        self.standing.get(&(index, *number)).map(|standing| standing.choice)
    }

    /// What a labeller has judged, if any of it stands.
    pub(super) fn course(&self, labeller: &str) -> Option<&Course> {
        self.numbers.get(labeller).map(|number| &self.courses[*number as usize])
    }

    /// The labellers whose judgements stand, by name.
    pub(super) fn labellers(&self) -> impl Iterator<Item = &str> {
        let stands = |number: u32| self.courses[number as usize].len() > 0;
        self.numbers.iter().filter(move |(_, number)| stands(**number)).map(|(name, _)| name.as_str())
    }

    /// The choices, pair by pair.
    pub(super) fn choices(&self) -> impl Iterator<Item = (usize, LabelChoice)> {
        self.standing.iter().map(|((index, _), standing)| (*index, standing.choice))
    }

    /// The judgements of one kind of judge.
    pub(super) fn only(&self, by: Judge) -> Self {
        let mut kept = Self { numbers: self.numbers.clone(), lines: self.lines, ..Self::default() };
        kept.courses = vec![Course::default(); self.courses.len()];
        kept.standing =
            self.standing.iter().filter(|(_, standing)| standing.by == by).map(|(at, one)| (*at, *one)).collect();
        for ((index, labeller), standing) in &kept.standing {
            kept.courses[*labeller as usize].judge(*index, standing.line);
        }
        let indices: BTreeSet<usize> = kept.standing.keys().map(|(index, _)| *index).collect();
        for index in indices {
            kept.tally.add(&of_pair(&kept.standing, index));
        }
        kept
    }

    pub(super) fn agreement(&self) -> Option<Agreement> {
        self.tally.agreement()
    }
}

/// The choices of a pair's labellers.
fn of_pair(standing: &BTreeMap<(usize, u32), Standing>, index: usize) -> Vec<(u32, LabelChoice)> {
    let range = (index, 0)..=(index, u32::MAX);
    standing.range(range).map(|((_, labeller), standing)| (*labeller, standing.choice)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The same counts as from all judgements at once, which `standing` holds.
    fn anew(standings: &Standings) -> Standings {
        let mut again =
            Standings { numbers: standings.numbers.clone(), lines: standings.lines, ..Standings::default() };
        again.courses = vec![Course::default(); standings.courses.len()];
        again.standing = standings.standing.clone();
        for ((index, labeller), one) in &again.standing {
            again.courses[*labeller as usize].judge(*index, one.line);
        }
        (0..16).for_each(|index| again.tally.add(&of_pair(&again.standing, index)));
        again
    }

    #[test]
    fn what_is_counted_on_the_way_is_what_counting_at_the_end_gives() {
        let mut standings = Standings::default();
        let mut state = 7_u64;
        let mut draw = |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % below
        };
        for _ in 0..600 {
            let index = draw(16) as usize;
            let labeller = ["anna", "ben", "carl", "dora"][draw(4) as usize].to_owned();
            let by = Judge::ALL[draw(3) as usize];
            let stands = standings.choice(index, &labeller).is_some();
            let change = match draw(6) {
                0 | 1 if stands => JudgementChange::Undone,
                chosen => JudgementChange::Chosen(LabelChoice::ALL[chosen as usize % 4]),
            };
            standings.apply(&Judgement { index, labeller, by, change });
            assert_eq!(standings, anew(&standings));
        }
        let next = |name: &str| (0..100).find(|index| standings.choice(*index, name).is_none());
        for name in ["anna", "ben", "carl", "dora"] {
            assert_eq!(standings.course(name).map(Course::next), next(name), "{name}");
        }
        assert_eq!(standings.labellers().count(), 4);
    }
}
