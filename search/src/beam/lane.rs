use mdp::Mdp;

use super::{Beam, EarlyStopping};
use crate::rows::{Choice, Row, Rows};

/// The beam of one group and start: its finished rows, and whether it may improve.
pub(super) struct Lane<A> {
    beam: Beam,
    longest: usize,
    /// The best finished rows, best first, with their ranking keys.
    ended: Vec<(f64, Row<A>)>,
}

impl<A: Clone> Lane<A> {
    pub(super) fn new(beam: &Beam, longest: usize) -> Self {
        Self { beam: *beam, longest, ended: Vec::new() }
    }

    /// The finished rows.
    pub(super) fn into_ended(self) -> impl Iterator<Item = Row<A>> {
        self.ended.into_iter().map(|(_, row)| row)
    }

    fn is_full(&self) -> bool {
        self.ended.len() >= self.beam.width
    }

    /// Keeps the finished ones of the continuations, which come best first, and returns the unfinished ones; `taken`
    /// gets the actions of both.
    pub(super) fn step<M: Mdp<Action = A>>(
        &mut self,
        rows: &mut Rows<'_, M>,
        continuations: Vec<Choice<A>>,
        taken: &mut Vec<A>,
    ) -> Vec<Choice<A>> {
        let mut goes_on: Vec<Choice<A>> = Vec::new();
        let mut ended = Vec::new();
        for (rank, choice) in continuations.into_iter().enumerate() {
            if let Some(row) = rows.ending(choice.row, &choice.candidate) {
                // A finished candidate ranked below the width is dropped, as in transformers: no worse one takes its
                // place.
                if rank < self.beam.width {
                    let row = row.noted(choice.group, choice.key);
                    taken.push(choice.candidate.proposal.action);
                    ended.push((self.beam.normalised(row.key, row.actions.len()), row));
                }
            } else if goes_on.len() < self.beam.width {
                goes_on.push(choice);
            }
        }
        self.ended.append(&mut ended);
        self.ended.sort_by(|a, b| b.0.total_cmp(&a.0));
        self.ended.truncate(self.beam.width);
        let length = goes_on.first().map_or(0, |choice| rows.rows()[choice.row].actions.len() + 1);
        if !goes_on.first().is_some_and(|best| self.may_improve(best.key, length)) {
            return Vec::new();
        }
        taken.extend(goes_on.iter().map(|choice| choice.candidate.proposal.action.clone()));
        goes_on
    }

    /// Whether a row of this score and length could still beat a finished one.
    fn may_improve(&self, score: f64, length: usize) -> bool {
        let Some((worst, _)) = self.ended.last().filter(|_| self.is_full()) else { return true };
        match self.beam.early_stopping {
            EarlyStopping::Exhausted => true,
            EarlyStopping::WhenFull => false,
            EarlyStopping::Never if self.beam.length_penalty > 0.0 => {
                self.beam.normalised(score, self.longest) > *worst
            }
            EarlyStopping::Heuristic | EarlyStopping::Never => self.beam.normalised(score, length) > *worst,
        }
    }
}
