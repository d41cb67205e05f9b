//! The tokens of an answer, and which of them are scored.
use std::ops::{Deref, Range};

/// A scored turn of an answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Turn {
    /// Its tokens, as places in the answer. The end-of-turn token that the policy writes is the last one.
    pub range: Range<usize>,
    /// The weight of its log-probabilities in the answer's return; 1 unless the data says otherwise.
    pub weight: f64,
}

/// The tokens of an answer. Those of its turns are the policy's decisions; all others (what a user says, what a tool
/// returns, the template's headers) are given: context that is not scored.
///
/// A plain answer has one turn of weight 1, which is all of it; it is made by `From<Vec<u32>>`.
///
/// # Examples
/// ```
/// use datasets::{Response, Turn};
///
/// let plain = Response::from(vec![5, 6, 7]);
/// assert!(plain.is_plain());
/// let turn = |range| Turn { range, weight: 1.0 };
/// let talk = Response::new(vec![5, 6, 7, 8, 9], vec![turn(0..2), turn(4..5)]);
/// assert_eq!(talk.weights(), [1.0, 1.0, 0.0, 0.0, 1.0]);
/// assert_eq!((talk.len(), talk.n_scored()), (5, 3));
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Response {
    tokens: Vec<u32>,
    turns: Vec<Turn>,
}

impl Response {
    /// An answer with these scored turns.
    ///
    /// # Panics
    /// The turns are not in order, overlap, or end behind the last token.
    pub fn new(tokens: Vec<u32>, turns: Vec<Turn>) -> Self {
        let mut end = 0;
        for Turn { range, .. } in &turns {
            assert!(end <= range.start && range.start <= range.end, "turns are in order: {turns:?}");
            end = range.end;
        }
        assert!(end <= tokens.len(), "turns end with the answer: {turns:?} of {} tokens", tokens.len());
        Self { tokens, turns }
    }

    /// All tokens, given and scored.
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// The scored turns, in order.
    pub fn turns(&self) -> &[Turn] {
        &self.turns
    }

    /// Whether all tokens are one turn of weight 1.
    pub fn is_plain(&self) -> bool {
        matches!(&self.turns[..], [Turn { range, weight }] if *range == (0..self.tokens.len()) && *weight == 1.0)
    }

    /// Number of scored tokens.
    pub fn n_scored(&self) -> usize {
        self.turns.iter().map(|turn| turn.range.len()).sum()
    }

    /// The weight of every token; 0 for given ones.
    pub fn weights(&self) -> Vec<f64> {
        let mut weights = vec![0.0; self.tokens.len()];
        for turn in &self.turns {
            weights[turn.range.clone()].fill(turn.weight);
        }
        weights
    }

    /// The weight of every scored token.
    pub fn scored_weights(&self) -> Vec<f64> {
        self.turns.iter().flat_map(|turn| std::iter::repeat_n(turn.weight, turn.range.len())).collect()
    }

    /// Spreads a value per scored token over all tokens; given ones have `None`.
    pub fn spread<T: Copy>(&self, of_scored: &[T]) -> Vec<Option<T>> {
        let mut spread = vec![None; self.tokens.len()];
        let scored = self.turns.iter().flat_map(|turn| turn.range.clone());
        for (at, value) in scored.zip(of_scored) {
            spread[at] = Some(*value);
        }
        spread
    }

    /// Keeps the first `n` tokens.
    pub fn truncate(&mut self, n: usize) {
        self.tokens.truncate(n);
        let is_plain = self.turns.len() == 1;
        for turn in &mut self.turns {
            turn.range = turn.range.start.min(n)..turn.range.end.min(n);
        }
        // The one turn of a plain answer stays, even without a token.
        self.turns.retain(|turn| is_plain && turn.range.start == 0 || !turn.range.is_empty());
    }

    /// Keeps at most `room` tokens: the turns that fit whole; if none does, the first one's beginning.
    pub(crate) fn truncate_to_turns(&mut self, room: usize) {
        if self.tokens.len() > room {
            let whole = self.turns.iter().map(|turn| turn.range.end).filter(|end| (1..=room).contains(end)).max();
            self.truncate(whole.unwrap_or(room));
        }
    }

    /// Appends a token; it belongs to the last turn if that is at the end.
    pub(crate) fn push(&mut self, token: u32) {
        let n = self.tokens.len();
        self.tokens.push(token);
        if let Some(last) = self.turns.last_mut().filter(|turn| turn.range.end == n) {
            last.range.end = n + 1;
        }
    }
}

impl From<Vec<u32>> for Response {
    fn from(tokens: Vec<u32>) -> Self {
        let turns = vec![Turn { range: 0..tokens.len(), weight: 1.0 }];
        Self { tokens, turns }
    }
}

impl Deref for Response {
    type Target = [u32];

    fn deref(&self) -> &[u32] {
        &self.tokens
    }
}

/// A plain answer equals its tokens.
impl PartialEq<Vec<u32>> for Response {
    fn eq(&self, tokens: &Vec<u32>) -> bool {
        self.is_plain() && self.tokens == *tokens
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn talk() -> Response {
        let turn = |range, weight| Turn { range, weight };
        Response::new((0..10).collect(), vec![turn(1..3, 1.0), turn(5..8, 0.5)])
    }

    #[test]
    fn whole_turns_stay_where_they_fit() {
        let cut = |room| {
            let mut cut = talk();
            cut.truncate_to_turns(room);
            (cut.len(), cut.turns().iter().map(|turn| (turn.range.start, turn.range.end)).collect::<Vec<_>>())
        };
        assert_eq!(cut(10), (10, vec![(1, 3), (5, 8)]));
        assert_eq!(cut(9), (8, vec![(1, 3), (5, 8)]));
        assert_eq!(cut(7), (3, vec![(1, 3)]));
        assert_eq!(cut(2), (2, vec![(1, 2)]));
        assert_eq!(cut(1), (1, vec![]));
        let mut plain = Response::from(vec![7, 7, 7]);
        plain.truncate_to_turns(2);
        assert_eq!(plain, vec![7, 7]);
        plain.truncate(0);
        assert_eq!((plain.is_plain(), plain.n_scored()), (true, 0));
    }

    #[test]
    fn a_token_at_the_end_belongs_to_a_turn_that_is_there() {
        let mut given = talk();
        given.push(3);
        assert_eq!((given.len(), given.n_scored()), (11, 5));
        let mut plain = Response::from(vec![7]);
        plain.push(3);
        assert_eq!(plain, vec![7, 3]);
    }

    #[test]
    fn numbers_of_scored_tokens_stand_at_their_places() {
        let spread = talk().spread(&[1, 2, 3, 4, 5]);
        let expected = [None, Some(1), Some(2), None, None, Some(3), Some(4), Some(5), None, None];
        assert_eq!(spread, expected);
        assert_eq!(talk().weights(), [0.0, 1.0, 1.0, 0.0, 0.0, 0.5, 0.5, 0.5, 0.0, 0.0]);
    }
}
