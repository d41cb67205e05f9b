//! Pairs of answers that several processes draw.
use ::train::Ranks;

use crate::Failure;

/// The two answers of pairs, by the number of the pair.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Answers {
    pub(super) drawn: Vec<(usize, [String; 2])>,
    /// How many of them were cut off.
    pub(super) cut: usize,
}

impl Answers {
    /// Those of all processes, in the order of their numbers.
    ///
    /// # Errors
    /// What another process has sent are no answers.
    pub(super) fn of_all(self, ranks: &dyn Ranks) -> Result<Self, Failure> {
        if ranks.size() == 1 {
            return Ok(self.sorted());
        }
        let mut all = Self::default();
        for (rank, sent) in ranks.gather(&self.values()).iter().enumerate() {
            all.read(&mut sent.iter().copied()).ok_or(Failure::OfOtherRank(rank))?;
        }
        Ok(all.sorted())
    }

    fn sorted(mut self) -> Self {
        self.drawn.sort_by_key(|(number, _)| *number);
        self
    }

    /// The answers as numbers, a byte in each.
    fn values(&self) -> Vec<f64> {
        let mut values = vec![self.cut as f64];
        for (number, sides) in &self.drawn {
            values.push(*number as f64);
            for side in sides {
                values.push(side.len() as f64);
                values.extend(side.bytes().map(f64::from));
            }
        }
        values
    }

    /// Adds what [`values`](Self::values) has made numbers of.
    fn read(&mut self, values: &mut impl Iterator<Item = f64>) -> Option<()> {
        self.cut += values.next()? as usize;
        while let Some(number) = values.next() {
            let mut side = || {
                let len = values.next()? as usize;
                String::from_utf8(values.by_ref().take(len).map(|byte| byte as u8).collect()).ok()
            };
            let sides = [side()?, side()?];
            self.drawn.push((number as usize, sides));
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use ::train::{Alone, Threads};

    use super::*;

    #[test]
    fn answers_of_all_are_in_order() {
        let of = |numbers: &[usize]| {
            let answer = |&number: &usize| (number, [format!("ä{number}"), String::new()]);
            Answers { drawn: numbers.iter().map(answer).collect(), cut: numbers.len() }
        };
        let expected = of(&[0, 1, 2, 3, 4]);
        assert_eq!(of(&[4, 0, 1, 3, 2]).of_all(&Alone).unwrap(), expected);
        std::thread::scope(|scope| {
            let parts = [vec![3, 0], vec![], vec![1, 4, 2]];
            let gathered = |(ranks, part): (Threads, Vec<usize>)| scope.spawn(move || of(&part).of_all(&ranks));
            let running: Vec<_> = Threads::new(3).into_iter().zip(parts).map(gathered).collect();
            for thread in running {
                assert_eq!(thread.join().unwrap().unwrap(), expected);
            }
        });
    }
}
