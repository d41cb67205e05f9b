//! Packs episodes into a prefix forest of tokens, in which every shared prefix is computed once.

use std::ops::Range;
use std::sync::Arc;

use engine::ops::{Forest, Segment};
use mdp::token::{TokenMdp, TokenState};
use mdp::{EpisodeOf, Steps};

use super::decoder::DecoderInput;
use crate::ModelError;
use crate::input_limits::Limits;

/// A batch of token sequences as a prefix forest, with the rows and tokens to score.
///
/// Sequences are sorted, so neighbours share the longest prefixes and the packing does not depend on the order of the
/// batch.
#[derive(Clone, Debug, Default)]
pub(super) struct Packing {
    /// The forest of packed rows.
    pub(super) forest: Arc<Forest>,
    /// The token of each packed row.
    pub(super) tokens: Vec<u32>,
    /// The position of each packed row in its sequence.
    pub(super) positions: Vec<u32>,
    /// The rows that predict a scored token, each once, ascending.
    pub(super) rows: Vec<u32>,
    /// Distinct queries: the index in `rows` of the predicting row, and the token to score.
    pub(super) queries: Vec<(u32, u32)>,
    /// The query of each decision, in batch order.
    pub(super) query_of: Vec<u32>,
    /// Number of decisions of each episode.
    pub(super) lengths: Vec<usize>,
}

impl Packing {
    /// Packs episodes; each decision becomes a query.
    ///
    /// A token without a successor is scored but needs no row: a response of n tokens adds at most n - 1.
    pub(super) fn of_episodes(episodes: &[EpisodeOf<TokenMdp>], limits: Limits) -> Result<Self, ModelError> {
        let mut sequences = Vec::new();
        for (index, episode) in episodes.iter().enumerate() {
            for piece in episode.pieces.iter().filter(|piece| !piece.actions.is_empty()) {
                let mut tokens: Vec<u32> = piece.start.tokens().collect();
                let first = tokens.len();
                tokens.extend_from_slice(&piece.actions);
                check(limits, index, first, &tokens)?;
                sequences.push(Sequence { tokens, first });
            }
        }
        let rows_of = Trie::build(sequences.iter().map(|sequence| &sequence.tokens[..sequence.tokens.len() - 1]));
        let asked = sequences.iter().zip(&rows_of.rows).flat_map(|(sequence, rows)| {
            (sequence.first..sequence.tokens.len()).map(|at| (rows[at - 1], sequence.tokens[at]))
        });
        let asked: Vec<(u32, u32)> = asked.collect();
        let mut packing = rows_of.into_packing(&asked);
        packing.lengths = episodes.iter().map(mdp::Episode::n_decisions).collect();
        Ok(packing)
    }

    /// Packs states; `rows[query_of[i]]` is the last row of state `i`.
    pub(super) fn of_states(states: &[TokenState], limits: Limits) -> Result<Self, ModelError> {
        let sequences: Vec<Vec<u32>> = states.iter().map(|state| state.tokens().collect()).collect();
        for (index, tokens) in sequences.iter().enumerate() {
            check_inputs(limits, index, tokens.len(), tokens)?;
        }
        Ok(Self::of_prefixes(&sequences))
    }

    /// Packs non-empty sequences; `rows[queries[query_of[i]].0]` is the last row of sequence `i`.
    pub(super) fn of_prefixes(sequences: &[Vec<u32>]) -> Self {
        let trie = Trie::build(sequences.iter().map(Vec::as_slice));
        let asked: Vec<(u32, u32)> = trie.rows.iter().filter_map(|rows| Some((*rows.last()?, 0))).collect();
        trie.into_packing(&asked)
    }

    /// The decoder's input.
    pub(super) fn reading(&self) -> DecoderInput<'_> {
        DecoderInput { tokens: &self.tokens, positions: &self.positions, rows: Some(&self.rows) }
    }

    /// The rows and the tokens of all queries.
    pub(super) fn rows_and_tokens(&self) -> (Vec<u32>, Vec<u32>) {
        self.queries.iter().copied().unzip()
    }

    /// The rows of the prefix that ends with packed row `row`, root first.
    pub(super) fn path(&self, row: u32) -> impl Iterator<Item = Range<usize>> + '_ {
        let row = row as usize;
        let segments = &self.forest.segments;
        let last = segments.partition_point(|segment| segment.start <= row) - 1;
        self.forest.path(last).into_iter().map(move |index| {
            let segment = segments[index];
            segment.start..(segment.start + segment.len).min(row + 1)
        })
    }

    /// Expands a number per query to a number per decision.
    pub(super) fn steps(&self, of_query: impl Fn(usize) -> f64) -> Steps {
        let mut queries = self.query_of.iter();
        let rows = self
            .lengths
            .iter()
            .map(|&length| queries.by_ref().take(length).map(|&query| of_query(query as usize)).collect::<Vec<f64>>());
        rows.collect()
    }
}

/// Checks a sequence whose decisions start at token `first`: the last token is scored but not read.
fn check(limits: Limits, episode: usize, first: usize, tokens: &[u32]) -> Result<(), ModelError> {
    check_inputs(limits, episode, first, &tokens[..tokens.len() - 1])?;
    limits.check_tokens(tokens, format_args!("episode {episode}"))
}

/// Checks tokens that are all read; the first `n_given` are the prompt.
pub(super) fn check_inputs(limits: Limits, episode: usize, n_given: usize, tokens: &[u32]) -> Result<(), ModelError> {
    if n_given == 0 {
        return Err(ModelError::Argument {
            what: format!("the prompt of episode {episode}"),
            expected: "at least one token, for the first token of a text has no predictor (begin it with BOS)".into(),
            got: "an empty prompt".into(),
        });
    }
    limits.check_read(tokens, format_args!("episode {episode}"))
}

struct Sequence {
    tokens: Vec<u32>,
    /// The index of the first decision.
    first: usize,
}

/// The distinct prefixes of sequences, one row each.
struct Trie {
    tokens: Vec<u32>,
    /// The predecessor of each row.
    parents: Vec<Option<u32>>,
    /// The rows of each sequence, in the given order.
    rows: Vec<Vec<u32>>,
}

impl Trie {
    fn build<'a>(sequences: impl Iterator<Item = &'a [u32]>) -> Self {
        let sequences: Vec<&[u32]> = sequences.collect();
        let mut order: Vec<usize> = (0..sequences.len()).collect();
        order.sort_by_key(|&index| sequences[index]);
        let mut trie = Self { tokens: Vec::new(), parents: Vec::new(), rows: vec![Vec::new(); sequences.len()] };
        let mut before: Option<usize> = None;
        for index in order {
            let sequence = sequences[index];
            // In sorted order a sequence shares its longest prefix with the one right before it.
            let mut rows = before.map_or_else(Vec::new, |before| {
                let shared = sequences[before].iter().zip(sequence).take_while(|(a, b)| a == b).count();
                trie.rows[before][..shared].to_vec()
            });
            for &token in &sequence[rows.len()..] {
                let row = trie.tokens.len() as u32;
                trie.parents.push(rows.last().copied());
                trie.tokens.push(token);
                rows.push(row);
            }
            trie.rows[index] = rows;
            before = Some(index);
        }
        trie
    }

    /// Splits rows at branches: a segment ends where the next row is not its continuation, or not the only one.
    fn forest(&self) -> Forest {
        let mut n_children = vec![0u32; self.tokens.len()];
        for parent in self.parents.iter().flatten() {
            n_children[*parent as usize] += 1;
        }
        let mut segments: Vec<Segment> = Vec::new();
        let mut segment_of = vec![0; self.tokens.len()];
        for (row, parent) in self.parents.iter().enumerate() {
            let continues = parent.is_some_and(|parent| parent as usize + 1 == row && n_children[parent as usize] == 1);
            if let (true, Some(last)) = (continues, segments.last_mut()) {
                last.len += 1;
            } else {
                let parent = parent.map(|parent| segment_of[parent as usize]);
                let position = parent.map_or(0, |parent: usize| segments[parent].position + segments[parent].len);
                segments.push(Segment { parent, start: row, len: 1, position });
            }
            segment_of[row] = segments.len() - 1;
        }
        Forest { segments }
    }

    fn into_packing(self, asked: &[(u32, u32)]) -> Packing {
        let mut distinct = asked.to_vec();
        distinct.sort_unstable();
        distinct.dedup();
        let mut rows: Vec<u32> = distinct.iter().map(|&(row, _)| row).collect();
        rows.dedup();
        let mut queries = Vec::with_capacity(distinct.len());
        let mut kept = 0;
        for &(row, token) in &distinct {
            while rows[kept] != row {
                kept += 1;
            }
            queries.push((kept as u32, token));
        }
        let query_of = asked.iter().map(|question| distinct.partition_point(|other| other < question) as u32);
        let forest = self.forest();
        Packing {
            query_of: query_of.collect(),
            positions: forest.positions(),
            forest: Arc::new(forest),
            tokens: self.tokens,
            rows,
            queries,
            lengths: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use mdp::Episode;
    use mdp::Piece;

    use super::*;

    const LIMITS: Limits = Limits { vocabulary: 100, max_positions: 8 };

    fn episode(prompt: &[u32], response: &[u32]) -> EpisodeOf<TokenMdp> {
        Episode::whole(TokenState::new(prompt), response.to_vec())
    }

    /// The prefix that each decision's row has read, and the token to score.
    fn scored_prefixes(packing: &Packing) -> Vec<(Vec<u32>, u32)> {
        packing.forest.check().unwrap();
        let path = |row: usize| {
            let forest = &packing.forest;
            let at = forest.segments.iter().rposition(|segment| segment.start <= row).unwrap();
            let rows = forest.path(at).into_iter().flat_map(|segment| {
                let segment = forest.segments[segment];
                segment.start..segment.start + segment.len
            });
            rows.filter(|&other| other <= row).map(|row| packing.tokens[row]).collect::<Vec<_>>()
        };
        let question = |&query: &u32| {
            let (kept, token) = packing.queries[query as usize];
            (path(packing.rows[kept as usize] as usize), token)
        };
        packing.query_of.iter().map(question).collect()
    }

    fn expected(episodes: &[EpisodeOf<TokenMdp>]) -> Vec<(Vec<u32>, u32)> {
        let pieces = episodes.iter().flat_map(|episode| &episode.pieces);
        let questions =
            pieces.flat_map(|piece| {
                piece.actions.iter().enumerate().map(|(at, &token)| {
                    (piece.start.tokens().chain(piece.actions[..at].iter().copied()).collect(), token)
                })
            });
        questions.collect()
    }

    #[test]
    fn prompts_and_response_prefixes_are_rows_once() {
        let episodes = [
            episode(&[1, 2, 3], &[4, 5, 6]),
            episode(&[9], &[9, 9]),
            episode(&[1, 2, 3], &[4, 5, 7, 8]),
            episode(&[1, 2, 3], &[4, 5, 6]),
        ];
        let packing = Packing::of_episodes(&episodes, LIMITS).unwrap();
        // 1 2 3 4 5, then 7 of the third; of 9 9 the second token is read and the last one is not.
        assert_eq!(packing.tokens, [1, 2, 3, 4, 5, 7, 9, 9]);
        assert_eq!(packing.forest.positions(), [0, 1, 2, 3, 4, 5, 0, 1]);
        assert_eq!(packing.lengths, [3, 2, 4, 3]);
        assert_eq!(scored_prefixes(&packing), expected(&episodes));
        assert_eq!(packing.queries.len(), 7);
        assert_eq!(packing.steps(|query| query as f64).row(0), packing.steps(|query| query as f64).row(3));
    }

    #[test]
    fn a_branch_inside_a_run_splits_it() {
        let episodes = [episode(&[1, 2], &[3, 4, 5]), episode(&[1], &[7, 8]), episode(&[1, 2, 3], &[9, 9])];
        let packing = Packing::of_episodes(&episodes, LIMITS).unwrap();
        assert_eq!(scored_prefixes(&packing), expected(&episodes));
        assert_eq!(packing.tokens.len(), 6);
        assert!(packing.forest.segments.len() >= 4, "{:?}", packing.forest);
    }

    #[test]
    fn the_packing_does_not_depend_on_order() {
        let mut episodes = vec![episode(&[1, 2], &[3, 4]), episode(&[1, 2], &[5]), episode(&[6], &[7, 8])];
        let forwards = Packing::of_episodes(&episodes, LIMITS).unwrap();
        episodes.reverse();
        let backwards = Packing::of_episodes(&episodes, LIMITS).unwrap();
        assert_eq!(
            (&forwards.tokens, &forwards.forest, &forwards.queries),
            (&backwards.tokens, &backwards.forest, &backwards.queries)
        );
    }

    #[test]
    fn pieces_may_start_anywhere_and_be_empty() {
        let state = TokenState { prompt: [1u32, 2].as_slice().into(), response: vec![3] };
        let pieces = vec![
            Piece { start: state.clone(), actions: vec![4], weight: 1. },
            Piece { start: state, actions: vec![], weight: 1. },
            Piece { start: TokenState::new([5u32].as_slice()), actions: vec![6, 7], weight: 1. },
        ];
        let episodes = [Episode { pieces }, episode(&[1], &[])];
        let packing = Packing::of_episodes(&episodes, LIMITS).unwrap();
        assert_eq!(scored_prefixes(&packing), expected(&episodes));
        assert_eq!(packing.lengths, [3, 0]);
        assert_eq!(Packing::of_episodes(&[], LIMITS).unwrap().tokens.len(), 0);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let check = |prompt: &[u32], response: &[u32], expected: &str| {
            let error = Packing::of_episodes(&[episode(&[1], &[2]), episode(prompt, response)], LIMITS).unwrap_err();
            assert!(error.to_string().contains(expected), "{error}");
        };
        check(&[], &[1], "has no predictor");
        check(&[1, 100], &[1], "token 1 of episode 1: expected a token below the model's vocabulary of 100, got 100");
        check(&[1], &[100], "token 1 of episode 1");
        check(&[1; 5], &[1; 5], "9 tokens to read");
        assert!(Packing::of_episodes(&[episode(&[1; 5], &[1; 4])], LIMITS).is_ok());
    }
}
