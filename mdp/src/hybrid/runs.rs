use super::Half;
use crate::{Episode, Steps};

/// The layout of the halves' decisions in hybrid episodes, to split their numbers by half and merge them again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Runs(Vec<Vec<(bool, usize)>>);

impl Runs {
    /// The layout of episodes whose pieces do not cross the hand-off.
    pub fn of<S, T, A>(episodes: &[Episode<Half<S, T>, A>]) -> Self {
        let runs = |episode: &Episode<Half<S, T>, A>| {
            let run =
                |piece: &crate::Piece<Half<S, T>, A>| (matches!(piece.start, Half::Outer(_)), piece.actions.len());
            episode.pieces.iter().map(run).collect()
        };
        Self(episodes.iter().map(runs).collect())
    }

    /// Merges the halves' numbers in the order of the episodes' decisions.
    ///
    /// # Panics
    /// If `outer` or `inner` has fewer rows than there are episodes.
    pub fn weave(&self, outer: &Steps, inner: &Steps) -> Steps {
        let weave = |(episode, runs): (usize, &Vec<(bool, usize)>)| {
            let (mut outer, mut inner) = (outer.row(episode).iter(), inner.row(episode).iter());
            let mut row = Vec::with_capacity(outer.len() + inner.len());
            for &(is_outer, n) in runs {
                row.extend(if is_outer { outer.by_ref() } else { inner.by_ref() }.take(n));
            }
            row
        };
        self.0.iter().enumerate().map(weave).collect()
    }

    /// Splits numbers of whole episodes into the outer and the inner half.
    ///
    /// # Panics
    /// If an episode has fewer decisions than its layout.
    pub fn unweave(&self, whole: &Steps) -> (Steps, Steps) {
        let (mut outer, mut inner) = (Steps::default(), Steps::default());
        for (row, runs) in whole.rows().zip(&self.0) {
            let (mut of_outer, mut of_inner, mut at) = (Vec::new(), Vec::new(), 0);
            for &(is_outer, n) in runs {
                if is_outer { &mut of_outer } else { &mut of_inner }.extend_from_slice(&row[at..at + n]);
                at += n;
            }
            outer.push(&of_outer);
            inner.push(&of_inner);
        }
        (outer, inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Piece;

    #[test]
    fn numbers_are_woven_as_the_pieces_stand() {
        let piece = |start, n| Piece { start, actions: vec![(); n], weight: 1.0 };
        let episodes = [
            Episode { pieces: vec![piece(Half::Outer(()), 2), piece(Half::Inner(()), 1), piece(Half::Inner(()), 1)] },
            Episode { pieces: vec![piece(Half::Inner(()), 1)] },
        ];
        let runs = Runs::of(&episodes);
        let outer: Steps = [vec![1.0, 2.0], vec![]].into_iter().collect();
        let inner: Steps = [vec![3.0, 4.0], vec![5.0]].into_iter().collect();
        let whole = runs.weave(&outer, &inner);
        assert_eq!(whole.rows().collect::<Vec<_>>(), [&[1.0, 2.0, 3.0, 4.0][..], &[5.0]]);
        assert_eq!(runs.unweave(&whole), (outer, inner));
    }
}
